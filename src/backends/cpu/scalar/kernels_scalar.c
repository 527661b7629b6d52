/* SPDX-License-Identifier: MIT
 *
 * kernels_scalar.c - the kernel table for any machine: sixteen floats in a struct and plain loops.
 * fmaf rounds once whether or not the machine has the instruction.
 */
#include "cpu_kernels.h"
#include "dtype.h"
#include "quant.h"

#include <math.h>
#include <string.h>

/* No unrolling, and under AddressSanitizer no inlining: sixteen-element loops inlined everywhere
 * take the compiler minutes there. */
#undef NR_UNROLL
#define NR_UNROLL
#if defined(__SANITIZE_ADDRESS__)
#define V_INLINE static __attribute__((noinline, unused))
#else
#define V_INLINE static inline
#endif
#define V_TABLE nr_cpu_kernels_scalar
#define V_NAME "scalar"
#define V_CODE_OFFSET 0
#define V_BLOCK_BYTES (1 << 20)
#define V_I8_ROWS 4
#define V_I8_PANELS 1
#define V_STREAM_ROWS 4
#define V_STREAM_PANELS 1
#define V_F32_ROWS 4
#define V_F32_PANELS 1
#define V_F32_PANELS_ROW 1

typedef struct vf {
    float f[16];
} vf;

#define EACH for (int i = 0; i < 16; i++)
#define LANEWISE(expr)                                                                             \
    vf out;                                                                                        \
    EACH out.f[i] = (expr);                                                                        \
    return out

V_INLINE vf v_set1(float a) { LANEWISE(a); }
V_INLINE vf v_load(const float *p) { LANEWISE(p[i]); }
V_INLINE vf v_load_n(const float *p, int n) { LANEWISE(i < n ? p[i] : 0.0f); }
V_INLINE vf v_load_f16(const uint16_t *p) { LANEWISE(nr_f16_to_f32(p[i])); }
V_INLINE vf v_load_i8(const int8_t *p) { LANEWISE((float)p[i]); }
V_INLINE vf v_load_i8_of_4(const int8_t *p, uint32_t j) { LANEWISE((float)p[4 * i + (int)j]); }
V_INLINE vf v_load_i32(const int32_t *p) { LANEWISE((float)p[i]); }
V_INLINE void v_store(float *p, vf a) { EACH p[i] = a.f[i]; }
V_INLINE void v_store_past(float *p, vf a) { v_store(p, a); }
V_INLINE void v_stored_past(void) {}
V_INLINE void v_store_n(float *p, vf a, int n) {
    for (int i = 0; i < n; i++) p[i] = a.f[i];
}
V_INLINE void v_store_f16(uint16_t *p, vf a) { EACH p[i] = nr_f32_to_f16(a.f[i]); }
V_INLINE vf v_add(vf a, vf b) { LANEWISE(a.f[i] + b.f[i]); }
V_INLINE vf v_sub(vf a, vf b) { LANEWISE(a.f[i] - b.f[i]); }
V_INLINE vf v_mul(vf a, vf b) { LANEWISE(a.f[i] * b.f[i]); }
V_INLINE vf v_div(vf a, vf b) { LANEWISE(a.f[i] / b.f[i]); }
V_INLINE vf v_sqrt(vf a) { LANEWISE(sqrtf(a.f[i])); }
V_INLINE vf v_fma(vf a, vf b, vf c) { LANEWISE(fmaf(a.f[i], b.f[i], c.f[i])); }
V_INLINE vf v_max(vf a, vf b) { LANEWISE(a.f[i] > b.f[i] ? a.f[i] : b.f[i]); }
V_INLINE vf v_min(vf a, vf b) { LANEWISE(a.f[i] < b.f[i] ? a.f[i] : b.f[i]); }
V_INLINE vf v_abs(vf a) { LANEWISE(fabsf(a.f[i])); }
V_INLINE vf v_select_lt(vf x, vf y, vf a, vf b) { LANEWISE(x.f[i] < y.f[i] ? a.f[i] : b.f[i]); }
V_INLINE uint32_t v_mask_ge(vf x, vf y) {
    uint32_t mask = 0;
    EACH mask |= (uint32_t)(x.f[i] >= y.f[i]) << i;
    return mask;
}
V_INLINE vf v_first_n(vf a, int n, vf other) { LANEWISE(i < n ? a.f[i] : other.f[i]); }
V_INLINE vf v_exp2_of_magic(vf t) {
    uint32_t bits[16];
    memcpy(bits, &t, sizeof bits);
    EACH bits[i] = (bits[i] + 126u) << 23;
    memcpy(&t, bits, sizeof bits);
    return t;
}
V_INLINE float v_sum(vf a) {
    for (int step = 8; step > 0; step /= 2)
        for (int i = 0; i < step; i++) a.f[i] += a.f[i + step];
    return a.f[0];
}
V_INLINE float v_max_lane(vf a) {
    float m = a.f[0];
    for (int i = 1; i < 16; i++) m = a.f[i] > m ? a.f[i] : m;
    return m;
}

/* Values within +-127: adding 1.5 * 2^23 rounds half to even into the low mantissa bits. */
V_INLINE void v_store_codes(uint8_t *p, vf a) {
    int32_t bits[16];
    EACH a.f[i] += 12582912.0f;
    memcpy(bits, &a, sizeof bits);
    EACH p[i] = (uint8_t)(bits[i] - 0x4b400000);
}

static void dot_tile(nr_dot *d) {
    for (int r = 0; r < d->rows; r++) {
        int32_t sum[16] = {0};
        const int8_t *x = (const int8_t *)d->xq + r * d->ldq;
        for (int64_t k = 0; k < d->n_k4; k++)
            for (int i = 0; i < 16; i++)
                for (int j = 0; j < 4; j++)
                    sum[i] += (int32_t)x[4 * k + j] * d->w[64 * k + 4 * i + j];
        memcpy(d->acc + 16 * r, sum, sizeof sum);
    }
}

#define dot_stream dot_tile /* one panel at a time either way */
V_INLINE int stream_panels(int64_t rows) {
    (void)rows;
    return V_STREAM_PANELS;
}

#define dot_done() ((void)0)

#include "cpu_template.inc"
