/* SPDX-License-Identifier: MIT
 *
 * pack.h - the packed weight layouts that CPU kernels read. A panel is 16 output rows laid side by
 * side, so that one vector holds one reduction step of 16 outputs:
 *
 *   i8   [ceil(n_out/16)][ceil(n_in/4)][16][4]   four codes of a row together: one dot-product lane
 *   f32  [ceil(n_out/16)][n_in][16]
 *
 * Rows past n_out and columns past n_in are zero. Pure functions; any thread; panels are
 * independent of each other.
 */
#ifndef NR_PACK_H
#define NR_PACK_H

#include "nr_base.h"

#define NR_PANEL_ROWS 16
#define NR_PANEL_I8_STEP 4 /* columns a 64-byte line of an i8 panel covers */

static inline int64_t nr_panel_count(int64_t n_out) {
    return (n_out + NR_PANEL_ROWS - 1) / NR_PANEL_ROWS;
}
static inline int64_t nr_panel_i8_bytes(int64_t n_in) {
    return (n_in + NR_PANEL_I8_STEP - 1) / NR_PANEL_I8_STEP * (NR_PANEL_ROWS * NR_PANEL_I8_STEP);
}
static inline int64_t nr_panel_f32_count(int64_t n_in) {
    return n_in * NR_PANEL_ROWS;
}

/* One panel of n_rows (1..16) rows of n_in values, rows `ld` apart. row_sum: [16] sums of the
 * rows' codes, 0 past n_rows. */
void nr_pack_panel_i8(int8_t *restrict panel, int32_t *restrict row_sum,
                      const int8_t *restrict rows, int64_t ld, int n_rows, int32_t n_in);
void nr_pack_panel_f32(float *restrict panel, const float *restrict rows, int64_t ld, int n_rows,
                       int32_t n_in);

/* Element (row, column) of packed weights: where it lies, counted in elements. */
static inline int64_t nr_packed_i8_at(int64_t row, int64_t column, int64_t n_in) {
    return row / NR_PANEL_ROWS * nr_panel_i8_bytes(n_in) +
           column / NR_PANEL_I8_STEP * (NR_PANEL_ROWS * NR_PANEL_I8_STEP) +
           row % NR_PANEL_ROWS * NR_PANEL_I8_STEP + column % NR_PANEL_I8_STEP;
}
static inline int64_t nr_packed_f32_at(int64_t row, int64_t column, int64_t n_in) {
    return row / NR_PANEL_ROWS * nr_panel_f32_count(n_in) + column * NR_PANEL_ROWS +
           row % NR_PANEL_ROWS;
}

#endif
