/* SPDX-License-Identifier: MIT
 *
 * nr_base.h - what every file may rely on: fixed-width types, checked size arithmetic, alignment.
 * Sizes that come from outside are multiplied and added only with nr_mul_size / nr_add_size.
 */
#ifndef NR_BASE_H
#define NR_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NR_ALIGN_BYTES 64 /* every tensor starts on a cache line and an AVX-512 vector */

#define NR_MIN(a, b) ((a) < (b) ? (a) : (b))
#define NR_MAX(a, b) ((a) > (b) ? (a) : (b))
#define NR_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__GNUC__)
#define NR_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#else
#define NR_PRINTF(fmt_index, first_arg)
#endif

/* Our own invariants only, never input. On unless NDEBUG. */
#include <assert.h>
#define NR_ASSERT(cond) assert(cond)

/* Return true and set *out when the result fits; *out is untouched otherwise. */
static inline bool nr_mul_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool nr_add_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* Next multiple of step (any step > 0). The caller has bounded value. */
static inline size_t nr_round_up(size_t value, size_t step) {
    return (value + step - 1) / step * step;
}

#endif
