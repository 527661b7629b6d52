/* SPDX-License-Identifier: MIT
 * dtype.c - see dtype.h. */
#include "dtype.h"

#include <string.h>

static const struct {
    const char *name;
    uint8_t bytes;
} table[NR_DTYPE_COUNT] = {
    [NR_DTYPE_F32] = {"F32", 4}, [NR_DTYPE_F16] = {"F16", 2}, [NR_DTYPE_BF16] = {"BF16", 2},
    [NR_DTYPE_I8] = {"I8", 1},   [NR_DTYPE_U8] = {"U8", 1},   [NR_DTYPE_I32] = {"I32", 4},
    [NR_DTYPE_I64] = {"I64", 8},
};

size_t nr_dtype_bytes(nr_dtype t) {
    return table[t].bytes;
}

const char *nr_dtype_name(nr_dtype t) {
    return table[t].name;
}

bool nr_dtype_from_name(const char *name, nr_dtype *out) {
    for (int t = 0; t < NR_DTYPE_COUNT; t++)
        if (strcmp(table[t].name, name) == 0) {
            *out = (nr_dtype)t;
            return true;
        }
    return false;
}

static float bits_to_f32(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t f32_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float nr_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu, mantissa = h & 0x3ffu;
    if (exponent == 0x1f) return bits_to_f32(sign | 0x7f800000u | (mantissa << 13));
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24, exact in f32 */
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return bits_to_f32(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t nr_f32_to_f16(float value) {
    uint32_t bits = f32_to_bits(value), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* >= 65536 */
    if (magnitude < 0x38800000u) { /* subnormal: adding 2^-1 * 2^-9 aligns the mantissa */
        float shifted = bits_to_f32(magnitude) + 0.5f;
        return (uint16_t)(sign | (f32_to_bits(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

void nr_dtype_to_f32(float *restrict dst, const void *restrict src, nr_dtype t, int64_t n) {
    const uint16_t *h = src;
    const int8_t *q = src;
    switch (t) {
    case NR_DTYPE_F32: memcpy(dst, src, (size_t)n * sizeof *dst); return;
    case NR_DTYPE_F16:
        for (int64_t i = 0; i < n; i++) dst[i] = nr_f16_to_f32(h[i]);
        return;
    case NR_DTYPE_BF16:
        for (int64_t i = 0; i < n; i++) dst[i] = bits_to_f32((uint32_t)h[i] << 16);
        return;
    case NR_DTYPE_I8:
        for (int64_t i = 0; i < n; i++) dst[i] = (float)q[i];
        return;
    default: NR_ASSERT(!"no conversion to f32"); return;
    }
}
