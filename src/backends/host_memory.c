/* SPDX-License-Identifier: MIT
 * host_memory.c - see host_memory.h. */
#include "host_memory.h"

#include "pack.h"

#include <string.h>

nr_status nr_host_arena_alloc(nr_backend *be, nr_arena *a, const char *what, nr_error *err) {
    (void)be;
    return nr_arena_alloc(a, true, what, err);
}

void nr_host_arena_free(nr_backend *be, nr_arena *a) {
    (void)be;
    nr_arena_free(a);
}

void nr_host_copy(nr_backend *be, void *dst, const void *src, size_t bytes) {
    (void)be;
    memcpy(dst, src, bytes);
}

/* Called by several loading threads at once, so the pool (one caller at a time) stays out of it. */
void nr_host_pack_rows(nr_backend *be, nr_linear *w, int32_t row0, int32_t n_rows,
                       const void *host_rows) {
    (void)be;
    NR_ASSERT(row0 % NR_PANEL_ROWS == 0 && row0 + n_rows <= w->n_out);
    NR_ASSERT(n_rows % NR_PANEL_ROWS == 0 || row0 + n_rows == w->n_out);
    for (int32_t r = 0; r < n_rows; r += NR_PANEL_ROWS) {
        int64_t at = (int64_t)r * w->n_in, panel = (row0 + r) / NR_PANEL_ROWS;
        int n = NR_MIN(NR_PANEL_ROWS, n_rows - r);
        if (w->dtype == NR_DTYPE_I8)
            nr_pack_panel_i8((int8_t *)w->weights + panel * nr_panel_i8_bytes(w->n_in),
                             w->row_sum + row0 + r, (const int8_t *)host_rows + at, w->n_in, n,
                             w->n_in);
        else
            nr_pack_panel_f32((float *)w->weights + panel * nr_panel_f32_count(w->n_in),
                              (const float *)host_rows + at, w->n_in, n, w->n_in);
    }
}
