/* SPDX-License-Identifier: MIT
 *
 * nr_child.h - run a function in a forked child, so that what crashes there does not crash here.
 * The child has only the calling thread: fn may compute on memory that exists already, and must not
 * take locks that other threads may hold (so: no malloc where there are other threads). It leaves
 * through _exit, without the parent's exit handlers.
 */
#ifndef NR_CHILD_H
#define NR_CHILD_H

#include "nr_status.h"

/* *code: what fn returned (0 to 255). what opens messages. seconds: the child is ended by SIGALRM
 * after that. Errors: SELF_TEST (ended by a signal, which is named), NO_MEMORY (no process). */
nr_status nr_child_run(const char *what, unsigned seconds, int (*fn)(void *ctx), void *ctx,
                       int *code, nr_error *err);

#endif
