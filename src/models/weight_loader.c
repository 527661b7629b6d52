/* SPDX-License-Identifier: MIT
 *
 * weight_loader.c - see weight_loader.h.
 *
 * A linear goes through in batches of n_threads blocks of NR_LOAD_ROWS rows. Each thread fetches
 * its block (weight_rows.c) and, in PACK mode, packs it; in WRITE mode the batch is then written in
 * order. Memory stays at the staging of one batch whatever the size of the tensor.
 */
#include "weight_loader.h"

#include "memory_parts.h"
#include "outliers.h"
#include "weight_rows.h"

#include "nr_alloc.h"
#include "nr_limits.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *nr_load_name(char *buf, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(buf, NR_LOAD_NAME_MAX, fmt, args);
    va_end(args);
    NR_ASSERT(n >= 0 && n < NR_LOAD_NAME_MAX); /* names are ours: prefix, layer, module */
    (void)n;
    return buf;
}

nr_status nr_load_prefix(const nr_weights *weights, const char *const *prefixes, int n,
                         const char *probe, const char **out, nr_error *err) {
    char name[NR_LOAD_NAME_MAX];
    for (int i = 0; i < n; i++) {
        nr_load_name(name, "%s%s", prefixes[i], probe);
        if (nr_weights_find(weights, name)) {
            *out = prefixes[i];
            return NR_STATUS_OK;
        }
    }
    NR_FAIL(NOT_FOUND, "tensor \"%s%s\" is missing, under this and %d other spellings", prefixes[0],
            probe, n - 1);
}

/* Rows and columns of the widest matrix; three of the tallest may be stacked into one linear. */
static void measure(nr_loader *l) {
    l->n_in_max = l->n_out_max = 1;
    for (int32_t i = 0; i < nr_weights_count(l->weights); i++) {
        const nr_weight *w = nr_weights_at(l->weights, i);
        l->bytes_total += w->bytes;
        if (w->n_dims < 2 || w->dims[0] == 0) continue;
        l->n_out_max = NR_MAX(l->n_out_max, 3 * w->dims[0]);
        l->n_in_max = NR_MAX(l->n_in_max, w->n_elements / w->dims[0]);
    }
    l->n_in_max = NR_MIN(l->n_in_max, NR_REDUCTION_MAX); /* wider ones are refused by their shape */
}

uint64_t nr_loader_bytes_of(int64_t n_in_max, int64_t n_out_max, int n_threads) {
    uint64_t rows = (uint64_t)n_threads * NR_LOAD_ROWS;
    return rows * (uint64_t)n_in_max * (sizeof(float) + 1) +
           (uint64_t)n_out_max * (NR_OUTLIER_COLUMNS + 1) * sizeof(float);
}

uint64_t nr_loader_bytes(const nr_weights *weights, int n_threads) {
    nr_loader l = {.weights = weights};
    measure(&l);
    return nr_loader_bytes_of(l.n_in_max, l.n_out_max, n_threads);
}

nr_status nr_loader_open(nr_loader *l, nr_load_mode mode, const nr_weights *weights,
                         const nr_sides *sides, nr_safetensors_writer *writer, int n_threads,
                         nr_error *err) {
    *l = (nr_loader){.mode = mode, .weights = weights, .sides = sides, .writer = writer};
    nr_load_to(l, NR_SIDE_DEVICE);
    measure(l);
    l->touched = nr_calloc((size_t)nr_weights_count(weights), 1);
    NR_FAIL_IF(!l->touched, NO_MEMORY, "marks of %d tensors", nr_weights_count(weights));
    if (mode == NR_LOAD_DECLARE) return NR_STATUS_OK;
    nr_status status = nr_pool_create(n_threads, &l->pool, err);
    if (status != NR_STATUS_OK) {
        nr_loader_close(l);
        return status;
    }
    size_t n_out = (size_t)l->n_out_max, n_slots = (size_t)nr_pool_size(l->pool);
    size_t cells = n_slots * NR_LOAD_ROWS * (size_t)l->n_in_max;
    l->rows_f32 = nr_calloc(cells, sizeof(float));
    l->rows_i8 = nr_calloc(cells, 1);
    l->scale = nr_calloc(n_out, sizeof(float));
    l->outliers = nr_calloc(n_out * NR_OUTLIER_COLUMNS, sizeof(float));
    l->slot_errors = nr_calloc(n_slots, sizeof *l->slot_errors);
    if (l->rows_f32 && l->rows_i8 && l->scale && l->outliers && l->slot_errors)
        return NR_STATUS_OK;
    nr_loader_close(l);
    NR_FAIL(NO_MEMORY, "staging for loading: %zu values", cells);
}

void nr_loader_close(nr_loader *l) {
    nr_pool_free(l->pool);
    nr_free(l->touched);
    nr_free(l->rows_f32);
    nr_free(l->rows_i8);
    nr_free(l->scale);
    nr_free(l->outliers);
    nr_free(l->slot_errors);
    *l = (nr_loader){0};
}

static nr_status report(nr_loader *l, uint64_t bytes, nr_error *err) {
    l->bytes_done += bytes;
    bool go_on = !l->progress || l->progress(l->progress_ctx, l->bytes_done, l->bytes_total);
    NR_FAIL_IF(!go_on, CANCELLED, "loading given up after %llu of %llu bytes",
               (unsigned long long)l->bytes_done, (unsigned long long)l->bytes_total);
    return NR_STATUS_OK;
}

/* The tensor as it is, in pieces of the staging rows. */
static nr_status write_raw(nr_loader *l, const nr_weight *w, nr_error *err) {
    size_t piece_max = (size_t)l->n_in_max * NR_LOAD_ROWS;
    for (uint64_t at = 0; at < w->bytes;) {
        size_t piece = (size_t)NR_MIN(w->bytes - at, (uint64_t)piece_max);
        NR_TRY(nr_weights_read(l->weights, w, at, l->rows_i8, piece, err));
        NR_TRY(nr_safetensors_writer_put(l->writer, l->rows_i8, piece, err));
        at += piece;
    }
    return NR_STATUS_OK;
}

nr_status nr_load_find(nr_loader *l, const char *name, int n_dims, const int64_t *dims,
                       const nr_weight **out, nr_error *err) {
    NR_TRY(nr_weights_need(l->weights, name, n_dims, dims, out, err));
    l->touched[*out - nr_weights_at(l->weights, 0)] = 1;
    return NR_STATUS_OK;
}

nr_status nr_load_rest(nr_loader *l, nr_error *err) {
    for (int i = 0; i < nr_weights_count(l->weights); i++) {
        const nr_weight *w = nr_weights_at(l->weights, i);
        if (l->touched[i] || w->dtype == NR_DTYPE_COUNT) continue;
        if (l->mode == NR_LOAD_DECLARE)
            NR_TRY(nr_safetensors_writer_add(l->writer, w->name, w->dtype, w->n_dims, w->dims,
                                             err));
        else NR_TRY(write_raw(l, w, err));
    }
    return NR_STATUS_OK;
}

/* Elements [begin, end) of a tensor that is read as a whole. */
typedef struct wanted {
    int64_t begin, end;
    float *device_dst, *host_copy; /* [end - begin] or NULL */
} wanted;

/* What is wanted of a piece of n elements at `at` of the tensor, in the staging rows. */
static void deliver(nr_loader *l, const wanted *to, int64_t at, int64_t n) {
    int64_t begin = NR_MAX(at, to->begin), end = NR_MIN(at + n, to->end);
    if (begin >= end) return;
    const float *src = l->rows_f32 + (begin - at);
    size_t bytes = (size_t)(end - begin) * sizeof(float);
    if (to->device_dst)
        l->be->ops->upload(l->be, to->device_dst + (begin - to->begin), src, bytes);
    if (to->host_copy) memcpy(to->host_copy + (begin - to->begin), src, bytes);
}

static nr_status load_plain(nr_loader *l, const char *name, int n_dims, const int64_t *dims,
                            const wanted *to, nr_error *err) {
    const nr_weight *w;
    NR_TRY(nr_load_find(l, name, n_dims, dims, &w, err));
    if (l->mode == NR_LOAD_DECLARE)
        return nr_safetensors_writer_add(l->writer, name, w->dtype, n_dims, dims, err);
    int64_t piece_max = NR_LOAD_ROWS * l->n_in_max;
    for (int64_t at = 0; at < w->n_elements;) {
        int64_t n = NR_MIN(w->n_elements - at, piece_max);
        NR_TRY(nr_weights_read_f32(l->weights, w, at, n, l->rows_f32, err));
        deliver(l, to, at, n);
        at += n;
    }
    NR_TRY(report(l, w->bytes, err));
    return l->mode == NR_LOAD_WRITE ? write_raw(l, w, err) : NR_STATUS_OK;
}

nr_status nr_load_tensor(nr_loader *l, const char *name, int n_dims, const int64_t *dims,
                         float *device_dst, float *host_copy, nr_error *err) {
    wanted all = {.end = INT64_MAX, .device_dst = device_dst, .host_copy = host_copy};
    return load_plain(l, name, n_dims, dims, &all, err);
}

nr_status nr_load_rows(nr_loader *l, const char *name, const int64_t *dims, int64_t row0, int64_t n,
                       float *device_dst, nr_error *err) {
    NR_ASSERT(row0 >= 0 && n >= 0 && row0 + n <= dims[0]);
    wanted rows = {
        .begin = row0 * dims[1], .end = (row0 + n) * dims[1], .device_dst = device_dst};
    return load_plain(l, name, 2, dims, &rows, err);
}

/* Next block, booked as what it is. */
static void *take(nr_arena *a, nr_kind kind, size_t count, size_t item_bytes) {
    uint8_t before = a->col;
    a->col = (uint8_t)kind;
    void *block = nr_arena_take(a, count, item_bytes);
    a->col = before;
    return block;
}

void nr_linear_carve(nr_linear *w, nr_arena *a, nr_dtype dtype, int32_t n_out, int32_t n_in,
                     bool has_bias, bool gamma_fed) {
    size_t rows = nr_round_up((size_t)n_out, NR_LINEAR_ROWS_STEP);
    *w = (nr_linear){.dtype = dtype, .n_out = n_out, .n_in = n_in};
    if (dtype == NR_DTYPE_I8) {
        if (gamma_fed) w->n_outliers = nr_outlier_count(n_in);
        size_t n_outliers = (size_t)w->n_outliers;
        w->weights = take(a, NR_KIND_MATRIX, rows,
                          nr_round_up((size_t)n_in, NR_LINEAR_CODES_STEP));
        w->scale = take(a, NR_KIND_SCALES, rows, sizeof(float));
        w->row_sum = take(a, NR_KIND_SCALES, rows, sizeof(int32_t));
        if (n_outliers) {
            w->outlier_columns = take(a, NR_KIND_OUTLIERS, n_outliers, sizeof(int32_t));
            w->outlier_weights = take(a, NR_KIND_OUTLIERS, n_outliers * rows, sizeof(float));
        }
    } else {
        w->weights = take(a, NR_KIND_MATRIX, rows * (size_t)n_in, sizeof(float));
    }
    if (has_bias) w->bias = take(a, NR_KIND_SCALES, rows, sizeof(float));
}

/* "NAMEsuffix" of a declared tensor. */
static nr_status declare(nr_loader *l, const char *name, const char *suffix, nr_dtype dtype,
                         int64_t rows, int64_t cols, nr_error *err) {
    char full[NR_LOAD_NAME_MAX + 32];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    return nr_safetensors_writer_add(l->writer, full, dtype, cols ? 2 : 1, (int64_t[]){rows, cols},
                                     err);
}

static nr_status declare_part(nr_loader *l, const nr_row_source *rows, const nr_weight_part *part,
                              bool keep, nr_error *err) {
    const nr_weight *w = part->weight;
    int64_t n = part->n_rows;
    if (rows->low_digit) {
        NR_TRY(declare(l, w->name, "_low", NR_DTYPE_I8, n, rows->n_in, err));
        return declare(l, w->name, "_low_scale", NR_DTYPE_F32, n, 1, err);
    }
    if (keep)
        return nr_safetensors_writer_add(l->writer, w->name, w->dtype, w->n_dims, w->dims, err);
    NR_TRY(declare(l, w->name, "", NR_DTYPE_I8, n, rows->n_in, err));
    NR_TRY(declare(l, w->name, "_scale", NR_DTYPE_F32, n, 1, err));
    if (rows->n_outliers == 0) return NR_STATUS_OK;
    NR_TRY(declare(l, w->name, "_outlier_columns", NR_DTYPE_I32, rows->n_outliers, 0, err));
    return declare(l, w->name, "_outliers", NR_DTYPE_F32, n, rows->n_outliers, err);
}

typedef struct batch {
    const nr_row_source *rows;
    nr_linear *linear;
    int32_t row0, end; /* rows of this batch; block i starts at row0 + i * NR_LOAD_ROWS */
} batch;

static void run_block(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const batch *b = ctx;
    nr_loader *l = b->rows->loader;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t at = i * NR_LOAD_ROWS * l->n_in_max;
        int32_t row0 = b->row0 + (int32_t)i * NR_LOAD_ROWS;
        int32_t n = NR_MIN(NR_LOAD_ROWS, b->end - row0);
        float *f32 = l->rows_f32 + at;
        int8_t *codes = l->rows_i8 + at;
        nr_status status = nr_row_source_fetch(b->rows, row0, n, f32, codes, &l->slot_errors[i]);
        if (status != NR_STATUS_OK || l->mode != NR_LOAD_PACK) continue;
        bool i8 = b->linear->dtype == NR_DTYPE_I8;
        l->be->ops->pack_rows(l->be, b->linear, row0, n, i8 ? (const void *)codes : f32);
    }
}

static nr_status write_codes(nr_loader *l, const batch *b, nr_error *err) {
    for (int32_t row0 = b->row0, i = 0; row0 < b->end; row0 += NR_LOAD_ROWS, i++) {
        const int8_t *codes = l->rows_i8 + i * NR_LOAD_ROWS * l->n_in_max;
        size_t bytes = (size_t)NR_MIN(NR_LOAD_ROWS, b->end - row0) * (size_t)b->rows->n_in;
        NR_TRY(nr_safetensors_writer_put(l->writer, codes, bytes, err));
    }
    return NR_STATUS_OK;
}

/* Rows [begin, end) of the linear, batch by batch. */
static nr_status run_rows(nr_loader *l, const nr_row_source *rows, nr_linear *w, int32_t begin,
                          int32_t end, nr_error *err) {
    int32_t n_slots = nr_pool_size(l->pool), step = n_slots * NR_LOAD_ROWS;
    for (int32_t row0 = begin; row0 < end; row0 += step) {
        batch b = {.rows = rows, .linear = w, .row0 = row0, .end = NR_MIN(end, row0 + step)};
        int32_t n_blocks = (b.end - row0 + NR_LOAD_ROWS - 1) / NR_LOAD_ROWS;
        for (int32_t i = 0; i < n_blocks; i++) l->slot_errors[i].status = NR_STATUS_OK;
        nr_pool_run(l->pool, n_blocks, 1, run_block, &b);
        for (int32_t i = 0; i < n_blocks; i++) {
            nr_status status = l->slot_errors[i].status;
            if (status == NR_STATUS_OK) continue;
            if (err) *err = l->slot_errors[i];
            return status;
        }
        if (l->mode == NR_LOAD_WRITE) NR_TRY(write_codes(l, &b, err));
    }
    return NR_STATUS_OK;
}

/* Scales, columns and outlier values behind a part's codes, in the order declared. */
static nr_status write_part_tail(nr_loader *l, const nr_row_source *rows,
                                 const nr_weight_part *part, nr_error *err) {
    size_t n = (size_t)rows->n_outliers;
    NR_TRY(nr_safetensors_writer_put(l->writer, l->scale + part->row0,
                                     (size_t)part->n_rows * sizeof(float), err));
    if (n == 0 || rows->low_digit) return NR_STATUS_OK;
    NR_TRY(nr_safetensors_writer_put(l->writer, rows->columns, n * sizeof(int32_t), err));
    for (int32_t r = 0; r < part->n_rows; r++) {
        float row[NR_LINEAR_OUTLIERS_MAX];
        for (size_t j = 0; j < n; j++)
            row[j] = l->outliers[(int64_t)j * l->n_out_max + part->row0 + r];
        NR_TRY(nr_safetensors_writer_put(l->writer, row, n * sizeof(float), err));
    }
    return NR_STATUS_OK;
}

static nr_status write_linear(nr_loader *l, const nr_row_source *rows, bool keep, nr_error *err) {
    for (int i = 0; i < rows->n_parts; i++) {
        const nr_weight_part *part = &rows->parts[i];
        if (keep) {
            NR_TRY(write_raw(l, part->weight, err));
            continue;
        }
        NR_TRY(run_rows(l, rows, NULL, part->row0, part->row0 + part->n_rows, err));
        NR_TRY(write_part_tail(l, rows, part, err));
    }
    return NR_STATUS_OK;
}

/* What belongs to the linear beside its codes: scales, outlier columns and their values. */
static void upload_sides(nr_loader *l, nr_linear *w, const nr_row_source *rows) {
    size_t n_out = (size_t)w->n_out, step = nr_round_up(n_out, NR_LINEAR_ROWS_STEP);
    const nr_backend_ops *ops = l->be->ops;
    if (w->dtype != NR_DTYPE_I8) return;
    ops->upload(l->be, w->scale, l->scale, n_out * sizeof(float));
    if (w->n_outliers == 0) return;
    ops->upload(l->be, w->outlier_columns, rows->columns,
                (size_t)w->n_outliers * sizeof(int32_t));
    for (int32_t j = 0; j < w->n_outliers; j++)
        ops->upload(l->be, w->outlier_weights + (size_t)j * step,
                    l->outliers + j * l->n_out_max, n_out * sizeof(float));
}

static nr_status load_biases(nr_loader *l, nr_linear *w, const nr_linear_source *source,
                             nr_error *err) {
    int32_t row = 0;
    for (int i = 0; i < source->n_parts; i++) {
        int64_t dims[1] = {source->rows[i]};
        if (source->bias[i])
            NR_TRY(nr_load_tensor(l, source->bias[i], 1, dims, w->bias ? w->bias + row : NULL, NULL,
                                  err));
        row += source->rows[i];
    }
    return NR_STATUS_OK;
}

/* One digit of the stacked rows, in whatever the loader's mode makes of it. keep: its source stays
 * as it is in a quantised folder. */
static nr_status load_digit(nr_loader *l, nr_linear *w, const nr_linear_source *source,
                            bool low_digit, nr_error *err) {
    nr_row_source rows;
    bool keep = source->keep && !low_digit;
    if (source->keep && low_digit && l->mode != NR_LOAD_PACK) return NR_STATUS_OK;
    NR_TRY(nr_row_source_bind(&rows, l, source, w, low_digit, err));
    if (l->mode == NR_LOAD_DECLARE) {
        for (int i = 0; i < rows.n_parts; i++)
            NR_TRY(declare_part(l, &rows, &rows.parts[i], keep, err));
    } else if (l->mode == NR_LOAD_WRITE) {
        NR_TRY(write_linear(l, &rows, keep, err));
    } else {
        NR_TRY(run_rows(l, &rows, w, 0, w->n_out, err));
        upload_sides(l, w, &rows);
    }
    for (int i = 0; i < rows.n_parts && l->mode != NR_LOAD_DECLARE && !low_digit; i++)
        NR_TRY(report(l, rows.parts[i].weight->bytes, err));
    return NR_STATUS_OK;
}

nr_status nr_load_linear(nr_loader *l, nr_linear *w, const nr_linear_source *source,
                         nr_error *err) {
    NR_TRY(load_digit(l, w, source, false, err));
    return load_biases(l, w, source, err);
}

nr_status nr_load_low_digit(nr_loader *l, nr_linear *w, const nr_linear_source *source,
                            nr_error *err) {
    return load_digit(l, w, source, true, err);
}
