/* SPDX-License-Identifier: MIT
 *
 * kernels_amx.c - AMX for many rows, AVX-512 with VNNI for everything else.
 *
 * A tile register holds 16 rows of 64 bytes. tdpbusd multiplies a tile of activations (16 tokens,
 * 64 columns) by a tile of weights (64 columns of 16 outputs: 16 lines of a packed panel as they
 * lie) and adds to 16 x 16 int32 sums: 16,384 products in 16 cycles. Codes are unsigned, with the
 * offset of cpu_avx512.inc. Four tiles are loaded for four products, which the second-level cache
 * just bears; weights have to be there before they are needed, so every step fetches some, a line
 * each of several places: memory gives a core more from eight streams than from one.
 *
 * The products leave the vector units free: the epilogue of the tile before goes along, some rows
 * a step. Activations are loaded past the first-level cache (their rows come round when it has long
 * been filled anew), which then keeps two panels of up to 1024 columns.
 */
#include "cpu_avx512.inc"

#define V_TABLE nr_cpu_kernels_amx
#define V_NAME "amx"
#define V_BLOCK_BYTES (1000 << 10)
#define V_I8_ROWS 32
#define V_I8_PANELS 2

#define TILE_ROWS 16
#define TILE_LINES 16 /* of a panel: 64 columns */
#define TILE_BYTES 1024

/* Memory is as written: gcc's tile intrinsics do not say how much they read. */
#define FOR_TILES(p) __asm__ volatile("" ::"r"(p) : "memory")

/* What ldtilecfg reads. Registers: sums 0 and 1 (upper rows), 2 and 3 (lower rows), activations 4
 * and 5, weights 6 and 7. */
typedef struct tile_shapes {
    uint8_t palette, start_row, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;
_Static_assert(sizeof(tile_shapes) == 64, "ldtilecfg");

/* Shapes for so many rows. What the registers held is lost, and it takes as long as ten products:
 * once for whole tiles, once for the rest. */
static void shape_tiles(int rows) {
    _Alignas(64) tile_shapes s = {.palette = 1};
    for (int i = 0; i < 8; i++) s.row_bytes[i] = 64, s.rows[i] = TILE_ROWS;
    s.rows[0] = s.rows[1] = s.rows[4] = (uint8_t)NR_MIN(rows, TILE_ROWS);
    s.rows[2] = s.rows[3] = s.rows[5] = (uint8_t)NR_MAX(rows - TILE_ROWS, 1);
    FOR_TILES(&s);
    _tile_loadconfig(&s);
}

/* Back to the state in which switching threads saves no tiles. */
static void dot_done(void) {
    _tile_release();
}

/* acc: what sums begin with, the offset and the lines from k4 on, which fill no tile. */
static void start_with_rest(const nr_dot *d, int64_t k4) {
    for (int r = 0; r < d->rows; r++)
        for (int p = 0; p < d->panels; p++) {
            __m512i sum = offset_of(d->row_sum + 16 * p);
            for (int64_t k = k4; k < d->n_k4; k++)
                sum = _mm512_dpbusd_epi32(sum, four_codes(d->xq + r * d->ldq + 4 * k),
                                          _mm512_loadu_si512(d->w + p * d->panel_bytes + 64 * k));
            _mm512_storeu_si512(d->acc + (r * d->panels + p) * 16, sum);
        }
}

static void finish_rows(nr_dot *d, int until, const nr_dot *now); /* cpu_linear.inc */

/* Lines [from, until) of those ahead, counted across the streams; returns until. */
V_INLINE uint64_t fetch_ahead(const nr_dot *d, uint64_t from, uint64_t until) {
    const char *w = (const char *)d->ahead;
    for (uint64_t i = from; i < until; i++)
        _mm_prefetch(w + i % NR_AHEAD_STREAMS * (uint64_t)d->ahead_step +
                         i / NR_AHEAD_STREAMS * 64, _MM_HINT_T1);
    return until;
}

/* Sums from `start`, whose rows are start_step bytes apart (0: the same for all rows). */
V_INLINE void multiply(const nr_dot *d, int64_t steps, const int32_t *start, int64_t start_step,
                       const bool lower, const bool two) {
    const int64_t ldq = d->ldq, out_step = d->panels * 64;
    const uint8_t *xq = d->xq, *xq_lower = xq + TILE_ROWS * ldq;
    const int8_t *w0 = d->w, *w1 = w0 + d->panel_bytes;
    const uint64_t lines = (uint64_t)d->ahead_bytes / 64 * NR_AHEAD_STREAMS;
    const uint64_t lines_step = lines / (uint64_t)NR_MAX(steps, 1) + 1;
    uint64_t fetched = 0;
    nr_dot *before = d->before;
    int64_t due = 0;
    int32_t *acc = d->acc, *acc_lower = acc + TILE_ROWS * d->panels * 16;
    const int32_t *start_lower = start + TILE_ROWS * start_step / 4;
    FOR_TILES(start);
    _tile_loadd(0, start, start_step);
    if (two) _tile_loadd(1, start + 16, start_step);
    if (lower) _tile_loadd(2, start_lower, start_step);
    if (lower && two) _tile_loadd(3, start_lower + 16, start_step);
    for (int64_t i = 0; i < steps; i++) {
        _tile_stream_loadd(4, xq + 64 * i, ldq);
        _tile_loadd(6, w0 + TILE_BYTES * i, 64);
        fetched = fetch_ahead(d, fetched, NR_MIN(fetched + lines_step, lines));
        _tile_dpbusd(0, 4, 6);
        if (lower) _tile_stream_loadd(5, xq_lower + 64 * i, ldq);
        if (lower) _tile_dpbusd(2, 5, 6);
        if (two) _tile_loadd(7, w1 + TILE_BYTES * i, 64);
        if (two) _tile_dpbusd(1, 4, 7);
        if (lower && two) _tile_dpbusd(3, 5, 7);
        for (due += before->rows; due >= steps; due -= steps)
            finish_rows(before, before->finished + 1, d);
    }
    _tile_stored(0, acc, out_step);
    if (two) _tile_stored(1, acc + 16, out_step);
    if (lower) _tile_stored(2, acc_lower, out_step);
    if (lower && two) _tile_stored(3, acc_lower + 16, out_step);
}

static void dot_tile(nr_dot *d) {
    _Alignas(64) int32_t offsets[V_I8_PANELS * 16];
    const int32_t *start = offsets;
    int64_t steps = d->n_k4 / TILE_LINES, start_step = 0;
    for (int p = 0; p < d->panels; p++)
        _mm512_store_si512(offsets + 16 * p, offset_of(d->row_sum + 16 * p));
    if (d->n_k4 % TILE_LINES) {
        start_with_rest(d, steps * TILE_LINES);
        start = d->acc;
        start_step = d->panels * 64;
    }
    if (d->shape != d->rows) shape_tiles(d->shape = d->rows);
    bool lower = d->rows > TILE_ROWS, two = d->panels > 1;
    if (lower && two) multiply(d, steps, start, start_step, true, true);
    else if (lower) multiply(d, steps, start, start_step, true, false);
    else if (two) multiply(d, steps, start, start_step, false, true);
    else multiply(d, steps, start, start_step, false, false);
}

#include "cpu_template.inc"
