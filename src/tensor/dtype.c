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

/* f16 to f32 without branches, so that the compiler vectorises it for any instruction set:
 * exponent and mantissa are moved into place and the exponent bias corrected by 112, twice for
 * infinities and NaN; a subnormal gets the implicit bit 2^-14 and has it subtracted again, which
 * is exact and never touches an f32 subnormal (some CPUs take 150 cycles for one). */
static inline float f16_to_f32_flat(uint16_t h) {
    int32_t magnitude = (int32_t)(h & 0x7fffu) << 13;
    int32_t is_special = -(magnitude >= (31 << 23)); /* masks: a ?: would become a branch */
    int32_t is_small = -(magnitude < (1 << 23));
    uint32_t normal = (uint32_t)(magnitude + (112 << 23) + (is_special & (112 << 23)));
    float subnormal = bits_to_f32((uint32_t)(magnitude + (113 << 23))) - 0x1p-14f;
    uint32_t bits = (f32_to_bits(subnormal) & (uint32_t)is_small) | (normal & ~(uint32_t)is_small);
    return bits_to_f32(bits | (uint32_t)(h & 0x8000u) << 16);
}

#define BLOCK 64 /* fixed inner trip count: vectorised without a scalar epilogue at -O2 */

static void f16_row(float *restrict dst, const uint16_t *restrict src, int64_t n) {
    int64_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        for (int j = 0; j < BLOCK; j++) dst[i + j] = f16_to_f32_flat(src[i + j]);
    for (; i < n; i++) dst[i] = f16_to_f32_flat(src[i]);
}

static void bf16_row(float *restrict dst, const uint16_t *restrict src, int64_t n) {
    int64_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        for (int j = 0; j < BLOCK; j++) dst[i + j] = bits_to_f32((uint32_t)src[i + j] << 16);
    for (; i < n; i++) dst[i] = bits_to_f32((uint32_t)src[i] << 16);
}

void nr_dtype_to_f32(float *restrict dst, const void *restrict src, nr_dtype t, int64_t n) {
    const int8_t *q = src;
    switch (t) {
    case NR_DTYPE_F32: memcpy(dst, src, (size_t)n * sizeof *dst); return;
    case NR_DTYPE_F16: f16_row(dst, src, n); return;
    case NR_DTYPE_BF16: bf16_row(dst, src, n); return;
    case NR_DTYPE_I8:
        for (int64_t i = 0; i < n; i++) dst[i] = (float)q[i];
        return;
    default: NR_ASSERT(false); return; /* the caller asked for what the header excludes */
    }
}

int64_t nr_f32_find_not_finite(const float *values, int64_t n) {
    int64_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        uint32_t any = 0;
        for (int j = 0; j < BLOCK; j++)
            any |= (f32_to_bits(values[i + j]) & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
        if (any) break;
    }
    for (; i < n; i++)
        if ((f32_to_bits(values[i]) & 0x7f800000u) == 0x7f800000u) return i;
    return n;
}
