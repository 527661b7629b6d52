/* SPDX-License-Identifier: MIT
 * pack.c - see pack.h.
 *
 * Rows are walked in blocks of one cache line (64 codes, 16 floats): rows of 2^n bytes map to the
 * same cache set, and sixteen of them walked in step would throw each other out. */
#include "pack.h"

#include <string.h>

#define LINE_CODES 64
#define LINE_FLOATS 16

static int32_t sum_of_codes(const int8_t *codes, int n) {
    int32_t sum = 0;
    for (int i = 0; i < n; i++) sum += codes[i];
    return sum;
}

/* Full line: constant counts, so the copies become plain moves. */
static int32_t pack_line_i8(int8_t *restrict dst, const int8_t *restrict src) {
    int32_t lanes[16] = {0}, sum = 0;
    for (int s = 0; s < LINE_CODES / NR_PANEL_I8_STEP; s++)
        memcpy(dst + s * NR_PANEL_ROWS * NR_PANEL_I8_STEP, src + s * NR_PANEL_I8_STEP,
               NR_PANEL_I8_STEP);
    for (int i = 0; i < LINE_CODES; i += 16)
        for (int l = 0; l < 16; l++) lanes[l] += src[i + l];
    for (int l = 0; l < 16; l++) sum += lanes[l];
    return sum;
}

void nr_pack_panel_i8(int8_t *restrict panel, int32_t *restrict row_sum,
                      const int8_t *restrict rows, int64_t ld, int n_rows, int32_t n_in) {
    NR_ASSERT(n_rows >= 1 && n_rows <= NR_PANEL_ROWS);
    memset(row_sum, 0, NR_PANEL_ROWS * sizeof *row_sum);
    int32_t full = n_in / LINE_CODES * LINE_CODES;
    int64_t tail_at = nr_packed_i8_at(0, full, n_in);
    if (n_rows < NR_PANEL_ROWS) memset(panel, 0, (size_t)nr_panel_i8_bytes(n_in));
    else memset(panel + tail_at, 0, (size_t)(nr_panel_i8_bytes(n_in) - tail_at));
    for (int32_t c = 0; c < full; c += LINE_CODES)
        for (int r = 0; r < n_rows; r++)
            row_sum[r] += pack_line_i8(panel + (int64_t)c * NR_PANEL_ROWS + r * NR_PANEL_I8_STEP,
                                       rows + r * ld + c);
    for (int r = 0; r < n_rows; r++) {
        const int8_t *row = rows + r * ld;
        row_sum[r] += sum_of_codes(row + full, n_in - full);
        for (int32_t c = full; c < n_in; c++) panel[nr_packed_i8_at(r, c, n_in)] = row[c];
    }
}

void nr_pack_panel_f32(float *restrict panel, const float *restrict rows, int64_t ld, int n_rows,
                       int32_t n_in) {
    NR_ASSERT(n_rows >= 1 && n_rows <= NR_PANEL_ROWS);
    if (n_rows < NR_PANEL_ROWS)
        memset(panel, 0, (size_t)nr_panel_f32_count(n_in) * sizeof *panel);
    for (int32_t c = 0; c < n_in; c += LINE_FLOATS)
        for (int r = 0; r < n_rows; r++)
            for (int32_t i = c; i < NR_MIN(c + LINE_FLOATS, n_in); i++)
                panel[(int64_t)i * NR_PANEL_ROWS + r] = rows[r * ld + i];
}
