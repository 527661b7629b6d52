/* SPDX-License-Identifier: MIT
 *
 * wide_linear.h - a linear whose INT8 codes may have a second digit on both sides.
 *
 * A picture goes through the vision tower once, and what is lost there no later layer restores:
 * docs/QUANT.md measures that one 8-bit digit a side is not enough for touchy towers. So where it
 * costs little memory, weights and activations get two INT8 digits, w = high + low, x = Q(x) + r:
 *
 *   y = high(x) + low(x) + high(r)      three ordinary INT8 linears; low(r) is below rounding
 *
 * Everything stays exact integer arithmetic with the same kernels.
 */
#ifndef NR_WIDE_LINEAR_H
#define NR_WIDE_LINEAR_H

#include "weight_loader.h"

/* Bytes that second digits of one model may cost; a tower beyond it has one digit. */
#define NR_WIDE_BYTES_MAX ((uint64_t)16 << 20)

typedef struct nr_wide_linear {
    nr_linear high;
    nr_linear low; /* unused unless wide */
    bool wide;
} nr_wide_linear;

typedef struct nr_wide_spec {
    nr_dtype dtype; /* wide has no effect on f32 */
    int32_t n_out, n_in;
    bool has_bias, gamma_fed, wide;
} nr_wide_spec;

void nr_wide_linear_carve(nr_wide_linear *w, nr_arena *a, const nr_wide_spec *spec);
nr_status nr_wide_linear_load(nr_loader *l, nr_wide_linear *w, const nr_linear_source *source,
                              nr_error *err);

/* As the backend's linear with args->linear left NULL; ldx, ldy 0: no gaps between rows. r: device
 * scratch [m, n_in], used when wide. A residual and an activation exclude each other; with an
 * activation ldy is n_out. */
void nr_wide_linear_apply(nr_backend *be, const nr_wide_linear *w, const nr_linear_args *args,
                          float *r);

#endif
