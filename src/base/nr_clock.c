/* SPDX-License-Identifier: MIT */
#define _POSIX_C_SOURCE 200809L
#include "nr_clock.h"

#include <time.h>

double nr_clock_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}
