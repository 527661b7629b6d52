/* SPDX-License-Identifier: MIT
 * model.c - see model.h: what all models share. */
#include "model.h"
#include "nr_alloc.h"

#include <math.h>

float nr_attention_scale(int32_t head_dim) {
    return (float)(1.0 / sqrt((double)head_dim));
}

/* Only a trace has a tap, so this may allocate. */
void nr_tap_rows(const nr_tap *tap, nr_backend *be, const char *name, const float *rows,
                 int64_t n_rows, int64_t n_cols) {
    if (!nr_tap_on(tap)) return;
    size_t bytes = (size_t)n_rows * (size_t)n_cols * sizeof(float);
    float *host = nr_malloc(bytes);
    if (host) be->ops->download(be, host, rows, bytes);
    tap->fn(tap->ctx, name, host, n_rows, n_cols); /* NULL rows: the receiver reports NO_MEMORY */
    nr_free(host);
}
