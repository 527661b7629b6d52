/* SPDX-License-Identifier: MIT
 *
 * fair.h - the model's time, shared between clients. What the model does for one alone (pictures,
 * prompts) that client pays; a turn that reads a token for each of many is paid by the one of them
 * that has had least, because it is the one for whom others are held back. Who has had least goes
 * first, equals take turns; others are only held back for one who has had less by more than a
 * request's worth. Who was away comes back with credit for a few requests, so that a rare one is
 * answered nearly as fast as alone, and not with more, so that nobody waits for what another did
 * not ask.
 *
 * Once a turn, under the scheduler's lock:
 *   nr_fair_begin(f); nr_fair_want(f, client) for everybody who could use the model;
 *   nr_fair_settle(f); then nr_fair_first, nr_fair_behind
 *   nr_fair_serve, nr_fair_charge, nr_fair_learn for what was done
 *
 * Rejected: shares of time set beforehand, which leave the model idle or hold back who is alone;
 * usage that fades with time, whose memory is too short for one model and too long for another.
 */
#ifndef NR_FAIR_H
#define NR_FAIR_H

#include "nr_base.h"

#define NR_JOB_CLIENTS_MAX 256

typedef struct nr_fair {
    double used_ms[NR_JOB_CLIENTS_MAX]; /* of the model's time, or as if, by credit */
    uint64_t turn[NR_JOB_CLIENTS_MAX];  /* when it was given a slot last; 0: never */
    uint64_t n_turns;
    double request_ms; /* pictures and prompts of a request; a moving average, 0: not known yet */
    double least_ms;   /* of used_ms of those who want the model, this turn */
    double past_ms;    /* what least_ms was at most: who comes now is served from here on */
} nr_fair;

void nr_fair_begin(nr_fair *f);
void nr_fair_want(nr_fair *f, int32_t client);
void nr_fair_settle(nr_fair *f);
/* a goes before b: it has had less, or as much and its turn was longer ago. */
bool nr_fair_first(const nr_fair *f, int32_t a, int32_t b);
/* a has had less than b by more than a request's worth. */
bool nr_fair_behind(const nr_fair *f, int32_t a, int32_t b);
void nr_fair_charge(nr_fair *f, int32_t client, double ms);
/* A request was answered whose picture and prompts took so long. */
void nr_fair_learn(nr_fair *f, double ms);
/* A slot goes to this client now. */
void nr_fair_serve(nr_fair *f, int32_t client);

#endif
