/* SPDX-License-Identifier: MIT
 *
 * kernels_avx512vnni.c - AVX-512 (F, BW, VL, DQ) with VNNI.
 */
#include "cpu_avx512.inc"

#define V_TABLE nr_cpu_kernels_avx512vnni
#define V_NAME "avx512vnni"
#define V_BLOCK_BYTES (1 << 20)
#define V_I8_ROWS 6
#define V_I8_PANELS 4

/* 6 x 4 accumulators, 4 weight lines and one broadcast fill 29 of 32 registers. A step of four
 * columns is 24 products over 10 loads, so the multiplier is the limit while weights come from the
 * second-level cache. */
V_INLINE void dot_fixed(const nr_dot *d, const int rows, const int panels) {
    __m512i sum[V_I8_ROWS][V_I8_PANELS];
    const uint8_t *xq = d->xq;
    const int8_t *w = d->w;
    const int64_t ldq = d->ldq, panel_bytes = d->panel_bytes, n_k4 = d->n_k4;
    NR_UNROLL for (int p = 0; p < panels; p++) {
        __m512i start = offset_of(d->row_sum + 16 * p);
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
            _mm512_storeu_si512(d->acc + (r * panels + p) * 16, sum[r][p]);
    }
}

#define DOT(r, p)                                                                                  \
    case (r) * 8 + (p): dot_fixed(d, r, p); return
#define DOT_ROWS(r) DOT(r, 1); DOT(r, 2); DOT(r, 3); DOT(r, 4)

static void dot_tile(nr_dot *d) {
    switch (d->rows * 8 + d->panels) {
        DOT_ROWS(1);
        DOT_ROWS(2);
        DOT_ROWS(3);
        DOT_ROWS(4);
        DOT_ROWS(5);
        DOT_ROWS(6);
    default: NR_ASSERT(false && "tile out of range"); return;
    }
}

#define dot_done() ((void)0)

#include "cpu_template.inc"
