/* SPDX-License-Identifier: MIT
 * fair.c - see fair.h. */
#include "fair.h"

#include <math.h>

#define CREDIT_REQUESTS 3 /* one is had as an equal, two while others are held back */
#define LEARN 0.2

void nr_fair_begin(nr_fair *f) {
    f->least_ms = INFINITY;
}

void nr_fair_want(nr_fair *f, int32_t client) {
    double *used = &f->used_ms[client];
    *used = fmax(*used, f->past_ms - CREDIT_REQUESTS * f->request_ms);
    f->least_ms = fmin(f->least_ms, *used);
}

void nr_fair_settle(nr_fair *f) {
    if (f->least_ms < INFINITY) f->past_ms = fmax(f->past_ms, f->least_ms);
}

bool nr_fair_first(const nr_fair *f, int32_t a, int32_t b) {
    if (f->used_ms[a] != f->used_ms[b]) return f->used_ms[a] < f->used_ms[b];
    return f->turn[a] < f->turn[b];
}

bool nr_fair_behind(const nr_fair *f, int32_t a, int32_t b) {
    return f->used_ms[a] + f->request_ms < f->used_ms[b];
}

void nr_fair_charge(nr_fair *f, int32_t client, double ms) {
    f->used_ms[client] += ms;
}

void nr_fair_learn(nr_fair *f, double ms) {
    f->request_ms += f->request_ms > 0 ? LEARN * (ms - f->request_ms) : ms;
}

void nr_fair_serve(nr_fair *f, int32_t client) {
    f->turn[client] = ++f->n_turns;
}
