/* SPDX-License-Identifier: MIT
 *
 * helper.h - what touches strangers' bytes happens in processes of its own. A helper is this
 * program started again (`newsreader serve-helper`), small and without secrets; for every request
 * it forks a child that fetches one URL, or locks itself up and decodes one picture. A child that
 * crashes, hangs or wants too much costs that one request.
 *
 *   helper_open(&h, nets, n)     h belongs to one thread; a helper that died is started again
 *   helper_fetch, helper_decode
 *   helper_close(&h)
 */
#ifndef HELPER_H
#define HELPER_H

#include "address.h"
#include "newsreader.h"

#include <stdatomic.h>
#include <sys/types.h>

#define HELPER_URL_MAX 2048
#define HELPER_FETCH_MS 10000
#define HELPER_DECODE_MS 5000
#define HELPER_BYTES_MAX ((size_t)20 << 20) /* fetched: the library's limit for a picture */

typedef struct helper {
    int fd; /* owns; -1: not running */
    pid_t pid;
    bool damaged;        /* as nr_picture_is_damaged, of the picture decoded last */
    uint64_t pixels_max; /* of a picture; 0: the library's limit. May be set once it is open */
    const net_range *nets; /* borrows; addresses that may be fetched from though not global */
    int n_nets;
} helper;

/* Starts the process. Errors: IO. */
nr_status helper_open(helper *h, const net_range *nets, int n_nets, nr_error *err);
void helper_close(helper *h);

/* The bytes behind an http: or https: URL, at most HELPER_BYTES_MAX, within HELPER_FETCH_MS.
 * Transfers *out (helper_release). Errors: IO (not fetched; the message does not name addresses),
 * FORMAT (no bytes), LIMIT, TIMEOUT, CANCELLED (the flag was set). */
nr_status helper_fetch(helper *h, const char *url, const atomic_bool *cancelled, uint8_t **out,
                       size_t *n_bytes, nr_error *err);
void helper_release(uint8_t *bytes, size_t n_bytes);
/* nr_picture_read in a jail. Errors: as that, FORMAT where the decoder crashed, took too long or
 * reported what cannot be. */
nr_status helper_decode(helper *h, const uint8_t *bytes, size_t n_bytes,
                        const atomic_bool *cancelled, nr_picture **out, nr_error *err);

/* ---- inside the helper */

/* One page shared between a helper and its child: the child's report. */
typedef struct helper_report {
    int32_t status; /* nr_status */
    int32_t width, height, damaged;
    uint64_t n_bytes; /* in the result's file */
    char message[256];
} helper_report;

/* Both run in the child, write to the file out_fd, fill the report and return. */
void fetch_run(const char *url, const net_range *nets, int n_nets, int out_fd,
               helper_report *report);
void decode_run(int in_fd, size_t n_bytes, uint64_t pixels_max, int out_fd, helper_report *report);
void helper_say(helper_report *r, nr_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* No files, no network, no new processes, bounded memory, results and time, from now on. False: the
 * kernel refuses, and nothing may be decoded. */
bool jail_enter(size_t memory_bytes, size_t file_bytes, int cpu_seconds);

#endif
