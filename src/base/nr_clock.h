/* SPDX-License-Identifier: MIT
 * nr_clock.h - monotonic time. Wall-clock time is never used for durations. */
#ifndef NR_CLOCK_H
#define NR_CLOCK_H

double nr_clock_ms(void); /* milliseconds since an arbitrary start, monotonic */

#endif
