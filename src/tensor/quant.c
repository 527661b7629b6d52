/* SPDX-License-Identifier: MIT
 * quant.c - see quant.h.
 *
 * Loops run in fixed groups of 16 so that the compiler vectorises them at -O2 without flags: a
 * checkpoint passes through here row by row while it is loaded. Rounding adds and looks at
 * 1.5 * 2^23: the sum's low mantissa bits are then the integer, rounded half to even by the
 * addition itself, the same on every machine and with no call into libm. */
#include "quant.h"

#include <math.h>
#include <string.h>

#define GROUP 16
#define ROUND_MAGIC 12582912.0f /* 1.5 * 2^23: its bits end in 22 zeros */

static float amax_of_range(const float *x, int64_t n) {
    float lanes[GROUP] = {0}, amax = 0.0f;
    int64_t i = 0;
    for (; i + GROUP <= n; i += GROUP)
        for (int l = 0; l < GROUP; l++) {
            float a = fabsf(x[i + l]);
            lanes[l] = a > lanes[l] ? a : lanes[l];
        }
    for (; i < n; i++) amax = NR_MAX(amax, fabsf(x[i]));
    for (int l = 0; l < GROUP; l++) amax = NR_MAX(amax, lanes[l]);
    return amax;
}

/* No clamp: |x| <= amax, so |x * inverse| exceeds 127 by less than its rounding. An excluded value
 * may give any code; the caller overwrites it. */
static void codes_of_row(int8_t *restrict codes, const float *restrict x, int64_t n,
                         float inverse) {
    int64_t i = 0;
    for (; i + GROUP <= n; i += GROUP) {
        float t[GROUP];
        int32_t bits[GROUP];
        for (int l = 0; l < GROUP; l++) t[l] = x[i + l] * inverse + ROUND_MAGIC;
        memcpy(bits, t, sizeof bits);
        for (int l = 0; l < GROUP; l++) codes[i + l] = (int8_t)(bits[l] & 0xff);
    }
    for (; i < n; i++) {
        float t = x[i] * inverse + ROUND_MAGIC;
        int32_t bits;
        memcpy(&bits, &t, sizeof bits);
        codes[i] = (int8_t)(bits & 0xff);
    }
}

float nr_quantize_row(int8_t *restrict codes, const float *restrict x, int64_t n,
                      const int32_t *excluded, int32_t n_excluded) {
    float amax = 0.0f;
    int64_t begin = 0;
    for (int32_t j = 0; j < n_excluded; j++) {
        NR_ASSERT(excluded[j] >= begin && excluded[j] < n);
        amax = NR_MAX(amax, amax_of_range(x + begin, excluded[j] - begin));
        begin = excluded[j] + 1;
    }
    amax = NR_MAX(amax, amax_of_range(x + begin, n - begin));
    nr_quant_scale s = nr_quant_scale_of(amax);
    codes_of_row(codes, x, n, s.inverse);
    for (int32_t j = 0; j < n_excluded; j++) codes[excluded[j]] = 0;
    return s.scale;
}

void nr_dequantize_row(float *restrict dst, const int8_t *restrict codes, int64_t n, float scale) {
    for (int64_t i = 0; i < n; i++) dst[i] = (float)codes[i] * scale;
}
