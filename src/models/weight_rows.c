/* SPDX-License-Identifier: MIT
 * weight_rows.c - see weight_rows.h. */
#include "weight_rows.h"

#include "outliers.h"
#include "quant.h"

#include "nr_limits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A matrix of rows x n_in of a type that can be read; flatten: a convolution kernel counts as one
 * when its first dimension is rows and it has as many values. */
static nr_status find_matrix(nr_loader *l, const char *name, int32_t rows, int32_t n_in,
                             bool flatten, const nr_weight **out, nr_error *err) {
    int64_t dims[2] = {rows, n_in};
    NR_TRY(nr_load_find(l, name, flatten ? -1 : 2, dims, out, err));
    const nr_weight *w = *out;
    NR_FAIL_IF(w->n_dims < 2 || w->dims[0] != rows || w->n_elements != (int64_t)rows * n_in, SHAPE,
               "tensor \"%s\": %lld values in %d dims, expected %d x %d", name,
               (long long)w->n_elements, w->n_dims, rows, n_in);
    bool known = w->dtype == NR_DTYPE_F32 || w->dtype == NR_DTYPE_F16 ||
                 w->dtype == NR_DTYPE_BF16 || w->dtype == NR_DTYPE_I8;
    NR_FAIL_IF(!known, SHAPE, "tensor \"%s\": type %s, expected F32, F16, BF16 or I8", name,
               w->dtype_name);
    return NR_STATUS_OK;
}

/* A quantised part's scales, and which columns it keeps in float. */
static nr_status bind_quantised(nr_row_source *rows, nr_weight_part *part, nr_error *err) {
    nr_loader *l = rows->loader;
    char name[NR_LOAD_NAME_MAX + 32];
    const nr_weight *scale, *columns;
    snprintf(name, sizeof name, "%s_scale", part->weight->name);
    NR_TRY(nr_load_find(l, name, -1, NULL, &scale, err));
    NR_FAIL_IF(scale->n_elements != part->n_rows, SHAPE,
               "tensor \"%s\": %lld values, expected one a row: %d", name,
               (long long)scale->n_elements, part->n_rows);
    NR_TRY(nr_weights_read_f32(l->weights, scale, 0, part->n_rows, l->scale + part->row0, err));
    snprintf(name, sizeof name, "%s_low", part->weight->name);
    if (rows->dtype == NR_DTYPE_F32 && nr_weights_find(l->weights, name)) {
        NR_TRY(find_matrix(l, name, part->n_rows, rows->n_in, false, &part->low, err));
        snprintf(name, sizeof name, "%s_low_scale", part->weight->name);
        NR_TRY(nr_load_find(l, name, -1, NULL, &part->low_scale, err));
        NR_FAIL_IF(part->low->dtype != NR_DTYPE_I8 || part->low_scale->n_elements != part->n_rows,
                   SHAPE, "tensor \"%s\": not one value for each of %d rows of I8", name,
                   part->n_rows);
    }
    snprintf(name, sizeof name, "%s_outlier_columns", part->weight->name);
    columns = nr_weights_find(l->weights, name);
    if (!columns || rows->n_outliers == 0 || rows->low_digit) return NR_STATUS_OK;
    int32_t found[NR_LINEAR_OUTLIERS_MAX];
    NR_FAIL_IF(columns->dtype != NR_DTYPE_I32 || columns->n_elements != rows->n_outliers, SHAPE,
               "tensor \"%s\": %lld values, expected %d of type I32", name,
               (long long)columns->n_elements, rows->n_outliers);
    NR_TRY(nr_weights_read(l->weights, columns, 0, found,
                           (size_t)rows->n_outliers * sizeof found[0], err));
    NR_FAIL_IF(memcmp(found, rows->columns, (size_t)rows->n_outliers * sizeof found[0]) != 0,
               FORMAT, "tensor \"%s\": not the columns that the norm's weight gives", name);
    snprintf(name, sizeof name, "%s_outliers", part->weight->name);
    NR_TRY(nr_load_find(l, name, -1, NULL, &part->outliers, err));
    NR_FAIL_IF(part->outliers->dtype != NR_DTYPE_F32 ||
                   part->outliers->n_elements != (int64_t)part->n_rows * rows->n_outliers,
               SHAPE, "tensor \"%s\": %lld values, expected F32 [%d, %d]", name,
               (long long)part->outliers->n_elements, part->n_rows, rows->n_outliers);
    return NR_STATUS_OK;
}

/* A second digit lies beside the first in a quantised checkpoint: X.weight_low. */
static nr_status bind_low(nr_row_source *rows, nr_weight_part *part, int32_t n_in, nr_error *err) {
    nr_loader *l = rows->loader;
    char name[NR_LOAD_NAME_MAX + 32];
    snprintf(name, sizeof name, "%s_low", part->weight->name);
    part->weight = NULL;
    for (int32_t r = 0; r < part->n_rows; r++) l->scale[part->row0 + r] = 1.0f;
    if (!nr_weights_find(l->weights, name)) return NR_STATUS_OK;
    NR_TRY(find_matrix(l, name, part->n_rows, n_in, false, &part->weight, err));
    NR_FAIL_IF(part->weight->dtype != NR_DTYPE_I8, SHAPE, "tensor \"%s\": expected type I8", name);
    return bind_quantised(rows, part, err);
}

static nr_status bind_part(nr_row_source *rows, const nr_linear_source *source, int i, int32_t row0,
                           nr_error *err) {
    nr_weight_part *part = &rows->parts[i];
    *part = (nr_weight_part){.row0 = row0, .n_rows = source->rows[i]};
    NR_TRY(find_matrix(rows->loader, source->weight[i], part->n_rows, rows->n_in, source->flatten,
                       &part->weight, err));
    if (part->weight->dtype != NR_DTYPE_I8) return NR_STATUS_OK;
    return rows->low_digit ? bind_low(rows, part, rows->n_in, err)
                           : bind_quantised(rows, part, err);
}

nr_status nr_row_source_bind(nr_row_source *rows, nr_loader *l, const nr_linear_source *source,
                             const nr_linear *shape, bool low_digit, nr_error *err) {
    bool packing = l->mode == NR_LOAD_PACK;
    *rows = (nr_row_source){.loader = l,
                            .dtype = packing ? shape->dtype : NR_DTYPE_I8,
                            .n_out = shape->n_out,
                            .n_in = shape->n_in,
                            .n_parts = source->n_parts,
                            .low_digit = low_digit,
                            .zero_outliers = packing};
    /* An f32 linear has no outlier columns of its own, but a quantised file may hold their exact
     * values. */
    if (source->gamma) {
        rows->n_outliers = nr_outlier_count(shape->n_in);
        nr_outlier_columns(source->gamma, shape->n_in, rows->n_outliers, rows->columns);
    }
    int32_t row = 0;
    for (int i = 0; i < source->n_parts; i++) {
        NR_TRY(bind_part(rows, source, i, row, err));
        row += source->rows[i];
    }
    NR_ASSERT(row == shape->n_out);
    return NR_STATUS_OK;
}

/* What the codes leave of f32 rows, quantised again; nothing is left of outlier columns. */
static void next_digit(const nr_row_source *rows, int32_t row0, int32_t n, float *f32,
                       int8_t *codes) {
    nr_loader *l = rows->loader;
    int64_t n_in = rows->n_in;
    for (int32_t r = 0; r < n; r++) {
        float *x = f32 + r * n_in, scale = l->scale[row0 + r];
        int8_t *q = codes + r * n_in;
        for (int64_t k = 0; k < n_in; k++) x[k] = fmaf(-(float)q[k], scale, x[k]);
        for (int32_t j = 0; j < rows->n_outliers; j++) x[rows->columns[j]] = 0.0f;
        l->scale[row0 + r] = nr_quantize_row(q, x, n_in, NULL, 0);
    }
}

/* Codes of one float row; the outlier columns take no part in its scale. They get codes all the
 * same, for engines that know nothing of outlier columns; we pack zeros in their place. */
static void quantize_row(const nr_row_source *rows, int32_t row, const float *x, int8_t *codes) {
    nr_loader *l = rows->loader;
    float scale = nr_quantize_row(codes, x, rows->n_in, rows->columns, rows->n_outliers);
    for (int32_t j = 0; j < rows->n_outliers; j++) {
        float value = x[rows->columns[j]], code = rintf(value / scale);
        codes[rows->columns[j]] =
            (int8_t)NR_MAX(-NR_QUANT_CODE_MAX, NR_MIN(code, NR_QUANT_CODE_MAX));
        l->outliers[j * l->n_out_max + row] = value;
    }
    l->scale[row] = scale;
}

/* Float tensor -> f32 rows, and codes where wanted. */
static nr_status fetch_float(const nr_row_source *rows, const nr_weight_part *part, int32_t row0,
                             int32_t n, float *f32, int8_t *codes, nr_error *err) {
    nr_loader *l = rows->loader;
    int64_t n_in = rows->n_in;
    NR_TRY(nr_weights_read_f32(l->weights, part->weight, (row0 - part->row0) * n_in, n * n_in, f32,
                               err));
    if (rows->dtype == NR_DTYPE_F32) return NR_STATUS_OK;
    for (int32_t r = 0; r < n; r++) quantize_row(rows, row0 + r, f32 + r * n_in, codes + r * n_in);
    if (rows->low_digit) next_digit(rows, row0, n, f32, codes);
    return NR_STATUS_OK;
}

/* The file's exact values of the outlier columns, or what the codes say where it has none. */
static nr_status fetch_outliers(const nr_row_source *rows, const nr_weight_part *part, int32_t row0,
                                int32_t n, const int8_t *codes, nr_error *err) {
    nr_loader *l = rows->loader;
    int32_t n_outliers = rows->n_outliers;
    float exact[NR_LOAD_ROWS * NR_LINEAR_OUTLIERS_MAX];
    if (n_outliers == 0 || rows->low_digit) return NR_STATUS_OK;
    if (part->outliers)
        NR_TRY(nr_weights_read_f32(l->weights, part->outliers,
                                   (int64_t)(row0 - part->row0) * n_outliers,
                                   (int64_t)n * n_outliers, exact, err));
    for (int32_t r = 0; r < n; r++)
        for (int32_t j = 0; j < n_outliers; j++) {
            int8_t code = codes[(int64_t)r * rows->n_in + rows->columns[j]];
            l->outliers[j * l->n_out_max + row0 + r] =
                part->outliers ? exact[r * n_outliers + j] : (float)code * l->scale[row0 + r];
        }
    return NR_STATUS_OK;
}

/* f32 rows += second digit. codes is staging. */
static nr_status add_low_digit(const nr_row_source *rows, const nr_weight_part *part, int32_t row0,
                               int32_t n, float *f32, int8_t *codes, nr_error *err) {
    nr_loader *l = rows->loader;
    int64_t n_in = rows->n_in, first = row0 - part->row0;
    float scale[NR_LOAD_ROWS];
    if (!part->low) return NR_STATUS_OK;
    NR_TRY(nr_weights_read_f32(l->weights, part->low_scale, first, n, scale, err));
    NR_TRY(nr_weights_read(l->weights, part->low, (uint64_t)(first * n_in), codes,
                           (size_t)(n * n_in), err));
    for (int32_t r = 0; r < n; r++)
        for (int64_t k = 0; k < n_in; k++)
            f32[r * n_in + k] = fmaf((float)codes[r * n_in + k], scale[r], f32[r * n_in + k]);
    return NR_STATUS_OK;
}

/* Codes of the file -> codes, or f32 rows where wanted. Others' files may hold -128; the kernels'
 * range is [-127, 127]. */
static nr_status fetch_codes(const nr_row_source *rows, const nr_weight_part *part, int32_t row0,
                             int32_t n, float *f32, int8_t *codes, nr_error *err) {
    nr_loader *l = rows->loader;
    int64_t n_in = rows->n_in;
    NR_TRY(nr_weights_read(l->weights, part->weight, (uint64_t)((row0 - part->row0) * n_in), codes,
                           (size_t)(n * n_in), err));
    for (int64_t i = 0; i < n * n_in; i++) codes[i] = NR_MAX(codes[i], (int8_t)-127);
    NR_TRY(fetch_outliers(rows, part, row0, n, codes, err));
    if (rows->dtype == NR_DTYPE_I8) return NR_STATUS_OK;
    for (int32_t r = 0; r < n; r++) {
        float scale = l->scale[row0 + r];
        for (int64_t k = 0; k < n_in; k++) f32[r * n_in + k] = (float)codes[r * n_in + k] * scale;
        for (int32_t j = 0; j < rows->n_outliers; j++)
            f32[r * n_in + rows->columns[j]] = l->outliers[j * l->n_out_max + row0 + r];
    }
    return add_low_digit(rows, part, row0, n, f32, codes, err);
}

nr_status nr_row_source_fetch(const nr_row_source *rows, int32_t row0, int32_t n, float *f32,
                              int8_t *codes, nr_error *err) {
    int64_t n_in = rows->n_in;
    for (int i = 0; i < rows->n_parts; i++) {
        const nr_weight_part *part = &rows->parts[i];
        int32_t begin = NR_MAX(row0, part->row0);
        int32_t end = NR_MIN(row0 + n, part->row0 + part->n_rows);
        if (begin >= end) continue;
        int64_t at = (begin - row0) * n_in;
        if (!part->weight) {
            memset(codes + at, 0, (size_t)((end - begin) * n_in));
            continue;
        }
        bool quantised = part->weight->dtype == NR_DTYPE_I8;
        NR_TRY((quantised ? fetch_codes : fetch_float)(rows, part, begin, end - begin, f32 + at,
                                                       codes + at, err));
    }
    if (rows->dtype != NR_DTYPE_I8 || !rows->zero_outliers) return NR_STATUS_OK;
    for (int32_t r = 0; r < n; r++)
        for (int32_t j = 0; j < rows->n_outliers; j++) codes[r * n_in + rows->columns[j]] = 0;
    return NR_STATUS_OK;
}
