/* SPDX-License-Identifier: MIT
 *
 * kernels_avx2.c - AVX2, FMA and F16C (x86-64-v3). Sixteen lanes are two registers: `a` lanes
 * 0-7, `b` lanes 8-15.
 *
 * int8: vpmaddubsw multiplies unsigned by signed bytes, so the weight's sign is moved onto the
 * activation: |w| * sign(x, w). Codes lie in [-127, 127], so a pair's sum is at most 2 * 127 * 127
 * = 32258 and the 16-bit step cannot saturate.
 */
#include "cpu_kernels.h"
#include "quant.h"

#include <immintrin.h>
#include <string.h>

#define V_INLINE static inline __attribute__((always_inline))
#define V_TABLE nr_cpu_kernels_avx2
#define V_NAME "avx2"
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
    __m256 a, b;
} vf;

V_INLINE vf v_pair(__m256 a, __m256 b) {
    vf v = {a, b};
    return v;
}
V_INLINE vf v_set1(float x) { return v_pair(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
V_INLINE vf v_load(const float *p) { return v_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
V_INLINE void v_store(float *p, vf v) {
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}
V_INLINE void v_store_past(float *p, vf v) {
    _mm256_stream_ps(p, v.a);
    _mm256_stream_ps(p + 8, v.b);
}
V_INLINE void v_stored_past(void) { _mm_sfence(); }
/* Lanes of the register that starts at lane `first` and are below n: all ones. */
V_INLINE __m256i mask_below(int n, int first) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n - first), lane);
}
V_INLINE vf v_load_n(const float *p, int n) { /* masked loads do not touch masked memory */
    return v_pair(_mm256_maskload_ps(p, mask_below(n, 0)),
                  n > 8 ? _mm256_maskload_ps(p + 8, mask_below(n, 8)) : _mm256_setzero_ps());
}
V_INLINE void v_store_n(float *p, vf v, int n) {
    _mm256_maskstore_ps(p, mask_below(n, 0), v.a);
    if (n > 8) _mm256_maskstore_ps(p + 8, mask_below(n, 8), v.b);
}
V_INLINE vf v_load_f16(const uint16_t *p) {
    return v_pair(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                  _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
V_INLINE void v_store_f16(uint16_t *p, vf v) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}
V_INLINE vf v_load_i8(const int8_t *p) {
    __m128i codes = _mm_loadu_si128((const __m128i *)p);
    return v_pair(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
                  _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8))));
}
V_INLINE __m256 code_of_4(const int8_t *p, uint32_t i) { /* up to the sign's place, and down */
    __m256i line = _mm256_loadu_si256((const __m256i *)p);
    line = _mm256_sllv_epi32(line, _mm256_set1_epi32(24 - 8 * (int)i));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(line, 24));
}
V_INLINE vf v_load_i8_of_4(const int8_t *p, uint32_t i) {
    return v_pair(code_of_4(p, i), code_of_4(p + 32, i));
}
V_INLINE vf v_load_i32(const int32_t *p) {
    return v_pair(_mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)p)),
                  _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(p + 8))));
}
#define TWO(op, x, y) v_pair(op((x).a, (y).a), op((x).b, (y).b))
V_INLINE vf v_add(vf x, vf y) { return TWO(_mm256_add_ps, x, y); }
V_INLINE vf v_sub(vf x, vf y) { return TWO(_mm256_sub_ps, x, y); }
V_INLINE vf v_mul(vf x, vf y) { return TWO(_mm256_mul_ps, x, y); }
V_INLINE vf v_div(vf x, vf y) { return TWO(_mm256_div_ps, x, y); }
V_INLINE vf v_max(vf x, vf y) { return TWO(_mm256_max_ps, x, y); }
V_INLINE vf v_min(vf x, vf y) { return TWO(_mm256_min_ps, x, y); }
V_INLINE vf v_fma(vf x, vf y, vf z) {
    return v_pair(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
V_INLINE vf v_sqrt(vf x) { return v_pair(_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)); }
V_INLINE vf v_abs(vf x) {
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    return v_pair(_mm256_and_ps(x.a, magnitude), _mm256_and_ps(x.b, magnitude));
}
V_INLINE vf v_select_lt(vf x, vf y, vf if_less, vf other) {
    return v_pair(
        _mm256_blendv_ps(other.a, if_less.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
        _mm256_blendv_ps(other.b, if_less.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)));
}
V_INLINE uint32_t v_mask_ge(vf x, vf y) {
    int lo = _mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ));
    int hi = _mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ));
    return (uint32_t)lo | (uint32_t)hi << 8;
}
V_INLINE vf v_first_n(vf x, int n, vf other) {
    return v_pair(_mm256_blendv_ps(other.a, x.a, _mm256_castsi256_ps(mask_below(n, 0))),
                  _mm256_blendv_ps(other.b, x.b, _mm256_castsi256_ps(mask_below(n, 8))));
}
V_INLINE __m256 exp2_of_magic8(__m256 t) {
    __m256i bits = _mm256_add_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(126));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}
V_INLINE vf v_exp2_of_magic(vf t) { return v_pair(exp2_of_magic8(t.a), exp2_of_magic8(t.b)); }
V_INLINE float v_sum(vf v) {
    __m256 s8 = _mm256_add_ps(v.a, v.b);
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}
V_INLINE float v_max_lane(vf v) {
    __m256 m8 = _mm256_max_ps(v.a, v.b);
    __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
    return _mm_cvtss_f32(_mm_max_ss(m2, _mm_shuffle_ps(m2, m2, 1)));
}
V_INLINE void v_store_codes(uint8_t *p, vf v) {
    __m256i lo = _mm256_cvtps_epi32(v.a), hi = _mm256_cvtps_epi32(v.b); /* half to even */
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(lo, hi), 0xd8); /* undo lanes */
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words),
                                    _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)p, bytes);
}

V_INLINE __m256i dot_step(__m256i acc, __m256i w_abs, __m256i w, __m256i x) {
    __m256i pairs = _mm256_maddubs_epi16(w_abs, _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

V_INLINE void dot_rows(int32_t *restrict acc, const uint8_t *xq, int64_t ldq, const int8_t *w,
                       int64_t n_k4, const int rows) {
    __m256i sum[V_I8_ROWS][2];
    NR_UNROLL for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int64_t k = 0; k < n_k4; k++) {
        __m256i w0 = _mm256_loadu_si256((const __m256i *)(w + 64 * k));
        __m256i w1 = _mm256_loadu_si256((const __m256i *)(w + 64 * k + 32));
        __m256i abs0 = _mm256_abs_epi8(w0), abs1 = _mm256_abs_epi8(w1);
        NR_UNROLL for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, xq + r * ldq + 4 * k, sizeof four);
            __m256i x = _mm256_set1_epi32(four);
            sum[r][0] = dot_step(sum[r][0], abs0, w0, x);
            sum[r][1] = dot_step(sum[r][1], abs1, w1, x);
        }
    }
    NR_UNROLL for (int r = 0; r < rows; r++) {
        _mm256_storeu_si256((__m256i *)(acc + 16 * r), sum[r][0]);
        _mm256_storeu_si256((__m256i *)(acc + 16 * r + 8), sum[r][1]);
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
