/* SPDX-License-Identifier: MIT
 *
 * kernels_neon.c - AArch64 with the dot product extension (armv8.2-a+dotprod). Sixteen lanes are
 * four registers.
 *
 * int8: sdot by lane multiplies four signed bytes of each of four outputs by one group of four
 * activations; one 16-byte load of activations serves four steps.
 */
#include "cpu_kernels.h"
#include "quant.h"

#include <arm_neon.h>
#include <string.h>

#define V_INLINE static inline __attribute__((always_inline))
#define V_TABLE nr_cpu_kernels_neon
#define V_NAME "neon"
#define V_CODE_OFFSET 0
#define V_BLOCK_BYTES (1 << 20)
#define V_I8_ROWS 4
#define V_I8_PANELS 1
#define V_STREAM_ROWS 4
#define V_STREAM_PANELS 1
#define V_F32_ROWS 6
#define V_F32_PANELS 1
#define V_F32_PANELS_ROW 4

typedef struct vf {
    float32x4_t q[4];
} vf;

#define FOUR(expr)                                                                                 \
    vf out;                                                                                        \
    NR_UNROLL for (int i = 0; i < 4; i++) out.q[i] = (expr);                         \
    return out

V_INLINE vf v_set1(float x) { FOUR(vdupq_n_f32(x)); }
V_INLINE vf v_load(const float *p) { FOUR(vld1q_f32(p + 4 * i)); }
V_INLINE void v_store(float *p, vf v) {
    NR_UNROLL for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, v.q[i]);
}
/* Part vectors go through a buffer: nothing past the n-th element is touched. */
V_INLINE vf v_load_n(const float *p, int n) {
    float part[16] = {0};
    memcpy(part, p, (size_t)n * sizeof *p);
    return v_load(part);
}
V_INLINE void v_store_n(float *p, vf v, int n) {
    float part[16];
    v_store(part, v);
    memcpy(p, part, (size_t)n * sizeof *p);
}
V_INLINE vf v_load_f16(const uint16_t *p) {
    FOUR(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}
V_INLINE void v_store_f16(uint16_t *p, vf v) {
    NR_UNROLL for (int i = 0; i < 4; i++)
        vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(v.q[i])));
}
V_INLINE void v_store_past(float *p, vf v) { v_store(p, v); }
V_INLINE void v_stored_past(void) {}
V_INLINE vf v_load_i8_of_4(const int8_t *p, uint32_t j) { /* up to the sign's place, and down */
    const int32x4_t up = vdupq_n_s32(24 - 8 * (int)j);
    FOUR(vcvtq_f32_s32(
        vshrq_n_s32(vshlq_s32(vreinterpretq_s32_s8(vld1q_s8(p + 16 * i)), up), 24)));
}
V_INLINE vf v_load_i8(const int8_t *p) {
    int8x16_t codes = vld1q_s8(p);
    int16x8_t low = vmovl_s8(vget_low_s8(codes)), high = vmovl_s8(vget_high_s8(codes));
    vf out = {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
               vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
               vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
               vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
    return out;
}
V_INLINE vf v_load_i32(const int32_t *p) { FOUR(vcvtq_f32_s32(vld1q_s32(p + 4 * i))); }
V_INLINE vf v_add(vf x, vf y) { FOUR(vaddq_f32(x.q[i], y.q[i])); }
V_INLINE vf v_sub(vf x, vf y) { FOUR(vsubq_f32(x.q[i], y.q[i])); }
V_INLINE vf v_mul(vf x, vf y) { FOUR(vmulq_f32(x.q[i], y.q[i])); }
V_INLINE vf v_div(vf x, vf y) { FOUR(vdivq_f32(x.q[i], y.q[i])); }
V_INLINE vf v_fma(vf x, vf y, vf z) { FOUR(vfmaq_f32(z.q[i], x.q[i], y.q[i])); }
/* Comparison and selection, not fmax/fmin: equal zeros and NaN then come out as on x86. */
V_INLINE vf v_max(vf x, vf y) { FOUR(vbslq_f32(vcgtq_f32(x.q[i], y.q[i]), x.q[i], y.q[i])); }
V_INLINE vf v_min(vf x, vf y) { FOUR(vbslq_f32(vcltq_f32(x.q[i], y.q[i]), x.q[i], y.q[i])); }
V_INLINE vf v_sqrt(vf x) { FOUR(vsqrtq_f32(x.q[i])); }
V_INLINE vf v_abs(vf x) { FOUR(vabsq_f32(x.q[i])); }
V_INLINE vf v_select_lt(vf x, vf y, vf if_less, vf other) {
    FOUR(vbslq_f32(vcltq_f32(x.q[i], y.q[i]), if_less.q[i], other.q[i]));
}
V_INLINE uint32_t v_mask_ge(vf x, vf y) {
    static const uint32_t bit[4] = {1, 2, 4, 8};
    const uint32x4_t bits = vld1q_u32(bit);
    uint32_t mask = 0;
    NR_UNROLL for (int i = 0; i < 4; i++)
        mask |= vaddvq_u32(vandq_u32(vcgeq_f32(x.q[i], y.q[i]), bits)) << (4 * i);
    return mask;
}
V_INLINE vf v_first_n(vf x, int n, vf other) {
    static const int32_t lane[4] = {0, 1, 2, 3};
    const int32x4_t lanes = vld1q_s32(lane);
    FOUR(vbslq_f32(vcltq_s32(lanes, vdupq_n_s32(n - 4 * i)), x.q[i], other.q[i]));
}
V_INLINE vf v_exp2_of_magic(vf t) {
    FOUR(vreinterpretq_f32_s32(
        vshlq_n_s32(vaddq_s32(vreinterpretq_s32_f32(t.q[i]), vdupq_n_s32(126)), 23)));
}
V_INLINE float v_sum(vf v) {
    float32x4_t s4 = vaddq_f32(vaddq_f32(v.q[0], v.q[2]), vaddq_f32(v.q[1], v.q[3]));
    float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
    return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
}
V_INLINE float v_max_lane(vf v) {
    float lanes[16], m;
    v_store(lanes, v);
    m = lanes[0];
    for (int i = 1; i < 16; i++) m = lanes[i] > m ? lanes[i] : m;
    return m;
}
V_INLINE void v_store_codes(uint8_t *p, vf v) {
    int16x8_t lo = vcombine_s16(vmovn_s32(vcvtnq_s32_f32(v.q[0])), /* half to even */
                                vmovn_s32(vcvtnq_s32_f32(v.q[1])));
    int16x8_t hi = vcombine_s16(vmovn_s32(vcvtnq_s32_f32(v.q[2])),
                                vmovn_s32(vcvtnq_s32_f32(v.q[3])));
    vst1q_u8(p, vreinterpretq_u8_s8(vcombine_s8(vmovn_s16(lo), vmovn_s16(hi))));
}

/* One step of four columns; `lane` picks the group of activations. */
#define DOT_STEP(lane)                                                                             \
    do {                                                                                           \
        const int8_t *line = w + 64 * (k + (lane));                                                \
        NR_UNROLL for (int q = 0; q < 4; q++) {                                      \
            int8x16_t b = vld1q_s8(line + 16 * q);                                                 \
            NR_UNROLL for (int r = 0; r < rows; r++)                                 \
                sum[r][q] = vdotq_laneq_s32(sum[r][q], b, x[r], lane);                             \
        }                                                                                          \
    } while (0)

V_INLINE void dot_rows(int32_t *restrict acc, const uint8_t *xq, int64_t ldq, const int8_t *w,
                       int64_t n_k4, const int rows) {
    int32x4_t sum[V_I8_ROWS][4];
    int8x16_t x[V_I8_ROWS];
    NR_UNROLL for (int r = 0; r < rows; r++) {
        NR_UNROLL for (int q = 0; q < 4; q++) sum[r][q] = vdupq_n_s32(0);
    }
    int64_t k = 0;
    for (; k + 4 <= n_k4; k += 4) {
        NR_UNROLL for (int r = 0; r < rows; r++)
            x[r] = vreinterpretq_s8_u8(vld1q_u8(xq + r * ldq + 4 * k));
        DOT_STEP(0);
        DOT_STEP(1);
        DOT_STEP(2);
        DOT_STEP(3);
    }
    for (; k < n_k4; k++) {
        NR_UNROLL for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, xq + r * ldq + 4 * k, sizeof four);
            x[r] = vreinterpretq_s8_s32(vdupq_n_s32(four));
        }
        DOT_STEP(0);
    }
    NR_UNROLL for (int r = 0; r < rows; r++) {
        NR_UNROLL for (int q = 0; q < 4; q++)
            vst1q_s32(acc + 16 * r + 4 * q, sum[r][q]);
    }
}

static void dot_tile(nr_dot *d) { /* one panel a tile, no offset */
    switch (d->rows) {
    case 4: dot_rows(d->acc, d->xq, d->ldq, d->w, d->n_k4, 4); return;
    case 3: dot_rows(d->acc, d->xq, d->ldq, d->w, d->n_k4, 3); return;
    case 2: dot_rows(d->acc, d->xq, d->ldq, d->w, d->n_k4, 2); return;
    default: dot_rows(d->acc, d->xq, d->ldq, d->w, d->n_k4, 1); return;
    }
}

#define dot_stream dot_tile /* one panel at a time either way */
V_INLINE int stream_panels(int64_t rows) {
    (void)rows;
    return V_STREAM_PANELS;
}

#define dot_done() ((void)0)

#include "cpu_template.inc"
