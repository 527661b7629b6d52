/* SPDX-License-Identifier: MIT
 *
 * nr_status.h - raising and forwarding errors. NR_FAIL_IF(cond, CODE, fmt, ...) raises at the place
 * of failure; NR_TRY(expr) forwards. Both need a variable `nr_error *err` in scope (may be NULL).
 * The *_GOTO forms jump to `done` with a variable `nr_status status` in scope, for functions that
 * own something.
 */
#ifndef NR_STATUS_H
#define NR_STATUS_H

#include "newsreader_types.h"
#include "nr_base.h"

/* Fill *err (if not NULL) with the first cause and return status. The message is made UTF-8 on one
 * line: control characters and stray bytes, which come from names in files, become '?'. */
nr_status nr_error_set(nr_error *err, nr_status status, const char *file, int line, const char *fmt,
                       ...) NR_PRINTF(5, 6);

/* Put "context: " before the message of a failure that is being forwarded: which file, which
 * tensor. The first cause keeps its place, and at least half of the message when both are long (of
 * the prefix, the end is kept). Returns `status`. */
nr_status nr_error_prefix(nr_error *err, nr_status status, const char *fmt, ...) NR_PRINTF(3, 4);

#define NR_FAIL(code, ...)                                                                         \
    return nr_error_set(err, NR_STATUS_##code, __FILE__, __LINE__, __VA_ARGS__)
#define NR_FAIL_IF(cond, code, ...)                                                                \
    do {                                                                                           \
        if (cond) NR_FAIL(code, __VA_ARGS__);                                                      \
    } while (0)
#define NR_TRY(expr)                                                                               \
    do {                                                                                           \
        nr_status nr_try_status = (expr);                                                          \
        if (nr_try_status != NR_STATUS_OK) return nr_try_status;                                   \
    } while (0)

#define NR_FAIL_GOTO(code, ...)                                                                    \
    do {                                                                                           \
        status = nr_error_set(err, NR_STATUS_##code, __FILE__, __LINE__, __VA_ARGS__);             \
        goto done;                                                                                 \
    } while (0)
#define NR_FAIL_IF_GOTO(cond, code, ...)                                                           \
    do {                                                                                           \
        if (cond) NR_FAIL_GOTO(code, __VA_ARGS__);                                                 \
    } while (0)
#define NR_TRY_GOTO(expr)                                                                          \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != NR_STATUS_OK) goto done;                                                     \
    } while (0)

#endif
