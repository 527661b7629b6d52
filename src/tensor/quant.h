/* SPDX-License-Identifier: MIT
 *
 * quant.h - what INT8 means here, as scalar code: symmetric codes in [-127, 127], one scale a row
 * (a weight row, or one token's activations). Every kernel that quantises must give these bits.
 *
 *   amax  = largest |x| of the row, excluded columns left out
 *   scale = amax / 127, inverse = 127 / amax       amax < 1e-30: scale 1, inverse 0
 *   code  = round half to even(x * inverse), which lies in [-127, 127]; 0 in excluded columns
 *   value = code * scale
 *
 * Inputs are finite: weights are checked when they are read, activations come from finite sums.
 * Pure functions; any thread.
 */
#ifndef NR_QUANT_H
#define NR_QUANT_H

#include "nr_base.h"

#define NR_QUANT_CODE_MAX 127.0f
#define NR_QUANT_AMAX_MIN 1e-30f /* a smaller row is zero: its inverse scale would overflow */

typedef struct nr_quant_scale {
    float scale;   /* value of one code step */
    float inverse; /* 1 / scale, rounded on its own; 0 for a zero row */
} nr_quant_scale;

static inline nr_quant_scale nr_quant_scale_of(float amax) {
    if (!(amax >= NR_QUANT_AMAX_MIN)) return (nr_quant_scale){1.0f, 0.0f};
    return (nr_quant_scale){amax / NR_QUANT_CODE_MAX, NR_QUANT_CODE_MAX / amax};
}

/* Quantise one row of n values and return its scale. excluded: ascending columns in [0, n) that
 * take no part in the scale and get code 0 (they are kept in float elsewhere); may be NULL when
 * n_excluded is 0. codes and x do not overlap. */
float nr_quantize_row(int8_t *restrict codes, const float *restrict x, int64_t n,
                      const int32_t *excluded, int32_t n_excluded);

/* The spikes of a row of activations: its NR_QUANT_SPIKES largest |x| outside the excluded columns
 * (ties to the lower column). They are taken out of the row's scale, because trained models make a
 * few values of a token tens of times larger than the rest, in columns that no weight names. */
#define NR_QUANT_SPIKES 4
typedef struct nr_spikes {
    float magnitudes[NR_QUANT_SPIKES + 1]; /* descending; the last is the amax of all the others */
    int32_t columns[NR_QUANT_SPIKES + 1];  /* -1: fewer values than that */
} nr_spikes;

static inline nr_spikes nr_spikes_empty(void) {
    return (nr_spikes){{-1, -1, -1, -1, -1}, {-1, -1, -1, -1, -1}};
}
/* Columns come in ascending order. A magnitude not above magnitudes[NR_QUANT_SPIKES] changes
 * nothing, so a caller may skip it. */
static inline void nr_spikes_add(nr_spikes *s, float magnitude, int32_t column) {
    int at = NR_QUANT_SPIKES;
    if (!(magnitude > s->magnitudes[at])) return;
    for (; at > 0 && magnitude > s->magnitudes[at - 1]; at--) {
        s->magnitudes[at] = s->magnitudes[at - 1];
        s->columns[at] = s->columns[at - 1];
    }
    s->magnitudes[at] = magnitude;
    s->columns[at] = column;
}
/* amax of what is left; then the spikes' columns ascending, -1 last. */
static inline float nr_spikes_finish(nr_spikes *s) {
    float rest = NR_MAX(s->magnitudes[NR_QUANT_SPIKES], 0.0f);
    for (int i = 1; i < NR_QUANT_SPIKES; i++)
        for (int j = i; j > 0 && (uint32_t)s->columns[j] < (uint32_t)s->columns[j - 1]; j--) {
            int32_t t = s->columns[j];
            s->columns[j] = s->columns[j - 1];
            s->columns[j - 1] = t;
        }
    return rest;
}

/* dst[i] = codes[i] * scale, n values. */
void nr_dequantize_row(float *restrict dst, const int8_t *restrict codes, int64_t n, float scale);

#endif
