/* SPDX-License-Identifier: MIT
 *
 * weight_rows.h - rows of a linear from whatever the checkpoint holds (f32, f16, bf16, or codes
 * with scales) to what is wanted (f32 rows, or codes with scales and outlier values). Internal to
 * the loader.
 */
#ifndef NR_WEIGHT_ROWS_H
#define NR_WEIGHT_ROWS_H

#include "weight_loader.h"

/* One stacked tensor of a linear, bound and checked. */
typedef struct nr_weight_part {
    const nr_weight *weight;   /* NULL: a second digit that a quantised checkpoint lacks */
    const nr_weight *outliers; /* F32 [rows, n_outliers] of a quantised checkpoint, or NULL */
    const nr_weight *low, *low_scale; /* its second digit, where f32 is wanted of codes, or NULL */
    int32_t row0, n_rows;      /* its rows within the linear */
} nr_weight_part;

typedef struct nr_row_source {
    nr_loader *loader;
    nr_dtype dtype;     /* wanted: NR_DTYPE_I8 or NR_DTYPE_F32 */
    int32_t n_out, n_in;
    int n_parts;
    nr_weight_part parts[3];
    int32_t n_outliers;
    int32_t columns[NR_LINEAR_OUTLIERS_MAX]; /* ascending */
    bool low_digit;     /* codes of what the first codes leave over, with their own scale */
    bool zero_outliers; /* codes of outlier columns become 0 (packing), else stay (writing) */
} nr_row_source;

/* Bind the tensors of `source` to a linear of shape's n_out, n_in and (PACK) dtype; check shapes
 * and types, choose the outlier columns, read the scales of quantised parts into loader->scale.
 * Errors: NOT_FOUND, SHAPE, FORMAT, IO. */
nr_status nr_row_source_bind(nr_row_source *rows, nr_loader *l, const nr_linear_source *source,
                             const nr_linear *shape, bool low_digit, nr_error *err);

/* Rows [row0, row0+n) into f32 [n, n_in] or, for I8, codes [n, n_in] with loader->scale and
 * loader->outliers filled for these rows; f32 is staging then. Any thread, disjoint rows. */
nr_status nr_row_source_fetch(const nr_row_source *rows, int32_t row0, int32_t n, float *f32,
                              int8_t *codes, nr_error *err);

#endif
