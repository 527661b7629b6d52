/* SPDX-License-Identifier: MIT
 *
 * kernels_avx512vnni.c - AVX-512 (F, BW, VL, DQ) with VNNI. One register is the 16-lane vector.
 *
 * int8: vpdpbusd multiplies unsigned by signed bytes. Activations are stored as code + 128 and
 * broadcast four at a time; weights are the signed operand, 16 outputs x 4 columns a line. The
 * offset adds 128 * (sum of the row's codes), so accumulators start at -128 * row_sum; int32
 * wraps around, so the end value is exact.
 */
#include "cpu_kernels.h"
#include "quant.h"

#include <immintrin.h>
#include <string.h>

#define V_INLINE static inline __attribute__((always_inline))
#define V_TABLE nr_cpu_kernels_avx512vnni
#define V_NAME "avx512vnni"
#define V_CODE_OFFSET 128
#define V_I8_ROWS 6
#define V_I8_PANELS 4
#define V_STREAM_ROWS 8
#define V_STREAM_PANELS 2
#define V_F32_ROWS 6
#define V_F32_PANELS 4
#define V_F32_PANELS_ROW 8

typedef __m512 vf;

V_INLINE __mmask16 lanes_below(int n) {
    return (__mmask16)((1u << n) - 1u);
}
V_INLINE vf v_set1(float x) { return _mm512_set1_ps(x); }
V_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
V_INLINE vf v_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(lanes_below(n), p); }
V_INLINE void v_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
V_INLINE void v_store_n(float *p, vf v, int n) { _mm512_mask_storeu_ps(p, lanes_below(n), v); }
V_INLINE vf v_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
V_INLINE void v_store_f16(uint16_t *p, vf v) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
V_INLINE vf v_load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
V_INLINE vf v_load_i32(const int32_t *p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
V_INLINE vf v_add(vf x, vf y) { return _mm512_add_ps(x, y); }
V_INLINE vf v_sub(vf x, vf y) { return _mm512_sub_ps(x, y); }
V_INLINE vf v_mul(vf x, vf y) { return _mm512_mul_ps(x, y); }
V_INLINE vf v_div(vf x, vf y) { return _mm512_div_ps(x, y); }
V_INLINE vf v_fma(vf x, vf y, vf z) { return _mm512_fmadd_ps(x, y, z); }
V_INLINE vf v_max(vf x, vf y) { return _mm512_max_ps(x, y); }
V_INLINE vf v_min(vf x, vf y) { return _mm512_min_ps(x, y); }
V_INLINE vf v_sqrt(vf x) { return _mm512_sqrt_ps(x); }
V_INLINE vf v_abs(vf x) { return _mm512_abs_ps(x); }
V_INLINE vf v_select_lt(vf x, vf y, vf if_less, vf other) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), other, if_less);
}
V_INLINE uint32_t v_mask_ge(vf x, vf y) { return _mm512_cmp_ps_mask(x, y, _CMP_GE_OQ); }
V_INLINE vf v_first_n(vf x, int n, vf other) {
    return _mm512_mask_blend_ps(lanes_below(n), other, x);
}
V_INLINE vf v_exp2_of_magic(vf t) {
    __m512i bits = _mm512_add_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(126));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 23));
}
V_INLINE float v_sum(vf v) {
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}
V_INLINE float v_max_lane(vf v) { return _mm512_reduce_max_ps(v); }
V_INLINE void v_store_codes(uint8_t *p, vf v) {
    __m128i codes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)); /* half to even */
    _mm_storeu_si128((__m128i *)p, _mm_xor_si128(codes, _mm_set1_epi8((char)0x80))); /* + 128 */
}

V_INLINE __m512i offset_of(const int32_t *row_sum) {
    return _mm512_sub_epi32(_mm512_setzero_si512(),
                            _mm512_slli_epi32(_mm512_loadu_si512(row_sum), 7));
}

V_INLINE __m512i four_codes(const uint8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
}

/* 6 x 4 accumulators, 4 weight lines and one broadcast fill 29 of 32 registers. A step of four
 * columns is 24 products over 10 loads, so the multiplier is the limit while weights come from the
 * second-level cache. */
V_INLINE void dot_fixed(int32_t *restrict acc, const uint8_t *xq, int64_t ldq, const int8_t *w,
                        int64_t panel_bytes, int64_t n_k4, const int32_t *row_sum, const int rows,
                        const int panels) {
    __m512i sum[V_I8_ROWS][V_I8_PANELS];
    NR_UNROLL for (int p = 0; p < panels; p++) {
        __m512i start = offset_of(row_sum + 16 * p);
        NR_UNROLL for (int r = 0; r < rows; r++) sum[r][p] = start;
    }
    for (int64_t k = 0; k < n_k4; k++) {
        __m512i b[V_I8_PANELS];
        NR_UNROLL for (int p = 0; p < panels; p++)
            b[p] = _mm512_loadu_si512(w + p * panel_bytes + 64 * k);
        NR_UNROLL for (int r = 0; r < rows; r++) {
            __m512i a = four_codes(xq + r * ldq + 4 * k);
            NR_UNROLL for (int p = 0; p < panels; p++)
                sum[r][p] = _mm512_dpbusd_epi32(sum[r][p], a, b[p]);
        }
    }
    NR_UNROLL for (int r = 0; r < rows; r++) {
        NR_UNROLL for (int p = 0; p < panels; p++)
            _mm512_storeu_si512(acc + (r * panels + p) * 16, sum[r][p]);
    }
}

#define DOT(r, p)                                                                                  \
    case (r) * 8 + (p): dot_fixed(acc, xq, ldq, w, panel_bytes, n_k4, row_sum, r, p); return
#define DOT_ROWS(r) DOT(r, 1); DOT(r, 2); DOT(r, 3); DOT(r, 4)

static void dot_tile(int32_t *restrict acc, const uint8_t *xq, int64_t ldq, int rows,
                     const int8_t *w, int64_t panel_bytes, int panels, int64_t n_k4,
                     const int32_t *row_sum) {
    switch (rows * 8 + panels) {
        DOT_ROWS(1);
        DOT_ROWS(2);
        DOT_ROWS(3);
        DOT_ROWS(4);
        DOT_ROWS(5);
        DOT_ROWS(6);
    default: NR_ASSERT(false && "tile out of range"); return;
    }
}

/* Few rows: panels come from memory, every line is used for all rows and prefetched STREAM_AHEAD
 * bytes ahead (beyond the panel's end lies the next one). Up to four rows take panels one by one,
 * with two or four accumulators a row to hide the instruction's latency; more rows take two panels
 * at once, so that a broadcast serves two products: the load ports would be the limit. */
#define STREAM_AHEAD 4096

V_INLINE void stream_step(__m512i sum[V_STREAM_ROWS][4], const uint8_t *xq, int64_t ldq,
                          const int8_t *w, int64_t panel_bytes, const int rows, const int panels,
                          const int chain) {
    __m512i b[V_STREAM_PANELS];
    NR_UNROLL for (int p = 0; p < panels; p++) {
        b[p] = _mm512_loadu_si512(w + p * panel_bytes);
        _mm_prefetch((const char *)(w + p * panel_bytes + STREAM_AHEAD), _MM_HINT_T0);
    }
    NR_UNROLL for (int r = 0; r < rows; r++) {
        __m512i a = four_codes(xq + r * ldq);
        NR_UNROLL for (int p = 0; p < panels; p++)
            sum[r][p + chain] = _mm512_dpbusd_epi32(sum[r][p + chain], a, b[p]);
    }
}

/* panels * chains <= 4: accumulators of a row. */
V_INLINE void stream_fixed(int32_t *restrict acc, const uint8_t *xq, int64_t ldq, const int8_t *w,
                           int64_t panel_bytes, int64_t n_k4, const int32_t *row_sum,
                           const int rows, const int panels, const int chains) {
    __m512i sum[V_STREAM_ROWS][4];
    NR_UNROLL for (int r = 0; r < rows; r++) {
        NR_UNROLL for (int c = 0; c < panels * chains; c++)
            sum[r][c] = c < panels ? offset_of(row_sum + 16 * c) : _mm512_setzero_si512();
    }
    int64_t k = 0;
    for (; k + chains <= n_k4; k += chains) {
        NR_UNROLL for (int c = 0; c < chains; c++)
            stream_step(sum, xq + 4 * (k + c), ldq, w + 64 * (k + c), panel_bytes, rows, panels,
                        c * panels);
    }
    for (; k < n_k4; k++)
        stream_step(sum, xq + 4 * k, ldq, w + 64 * k, panel_bytes, rows, panels, 0);
    NR_UNROLL for (int r = 0; r < rows; r++) {
        NR_UNROLL for (int p = 0; p < panels; p++) {
            NR_UNROLL for (int c = 1; c < chains; c++)
                sum[r][p] = _mm512_add_epi32(sum[r][p], sum[r][p + c * panels]);
            _mm512_storeu_si512(acc + (r * panels + p) * 16, sum[r][p]);
        }
    }
}

#define STREAM(r, p, chains)                                                                       \
    case (r) * 8 + (p):                                                                            \
        stream_fixed(acc, xq, ldq, w, panel_bytes, n_k4, row_sum, r, p, chains);                   \
        return

static void dot_stream(int32_t *restrict acc, const uint8_t *xq, int64_t ldq, int rows,
                       const int8_t *w, int64_t panel_bytes, int panels, int64_t n_k4,
                       const int32_t *row_sum) {
    switch (rows * 8 + panels) {
        STREAM(1, 1, 4);
        STREAM(2, 1, 4);
        STREAM(3, 1, 2);
        STREAM(4, 1, 2);
        STREAM(5, 1, 1);
        STREAM(6, 1, 1);
        STREAM(7, 1, 1);
        STREAM(8, 1, 1);
        STREAM(5, 2, 1);
        STREAM(6, 2, 1);
        STREAM(7, 2, 1);
        STREAM(8, 2, 1);
    default: NR_ASSERT(false && "stream out of range"); return;
    }
}

/* Panels that dot_stream takes at once. */
V_INLINE int stream_panels(int64_t rows) {
    return rows <= 4 ? 1 : V_STREAM_PANELS;
}

#include "cpu_template.inc"
