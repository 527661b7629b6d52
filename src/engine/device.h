/* SPDX-License-Identifier: MIT
 *
 * device.h - which device computes: what options.device says, the backends behind the names, and
 * why "auto" chose as it did.
 */
#ifndef NR_DEVICE_H
#define NR_DEVICE_H

#include "newsreader.h"

#include "backend.h"

#define NR_DEVICE_CARDS_MAX 16
#define NR_DEVICE_NOTE_BYTES 512

typedef enum nr_device_kind { NR_DEVICE_CPU, NR_DEVICE_CUDA, NR_DEVICE_AUTO } nr_device_kind;

typedef struct nr_device {
    nr_device_kind kind;
    int card; /* CUDA and AUTO: number of the card */
} nr_device;

/* "cpu"; "cuda", "cuda:N"; "auto": cuda:0 where it will do; NULL: environment NR_DEVICE, else cpu.
 * Errors: ARG. */
nr_status nr_device_parse(const char *text, nr_device *out, nr_error *err);
/* "cpu", "cuda:1", static; AUTO is not a device yet. */
const char *nr_device_name(nr_device device);

/* The backend of a device that is not AUTO. plan_only: sizes alone. Errors: as the backends'. */
nr_status nr_device_open(nr_device device, const nr_engine_options *options, bool plan_only,
                         nr_backend **out, nr_error *err);
/* For a plan: AUTO is the card where there is one, else the CPU, and the options forget it; *device
 * becomes that. */
nr_status nr_device_open_for_plan(nr_device *device, nr_engine_options *options, nr_backend **out,
                                  nr_error *err);

/* The options without those that speak of a card. */
void nr_device_forget_card(nr_engine_options *options);

/* The options as they are meant on this device: rows of a forward call where none were asked for.
 * Errors: UNSUPPORTED (a ceiling of VRAM or parts for a card, but the CPU computes). */
nr_status nr_device_settle(nr_device device, nr_engine_options *options, nr_error *err);

/* May AUTO go on with the CPU after this failure of the card? */
bool nr_device_may_fall_back(nr_status status);

#endif
