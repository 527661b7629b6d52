/* SPDX-License-Identifier: MIT
 *
 * weight_loader.h - from a checkpoint's tensors to packed weights, one block of rows at a time, so
 * that loading never holds more than the packed model and a few staging rows.
 *
 * The same calls serve three purposes, chosen by `mode`:
 *   NR_LOAD_PACK     read, check, quantise, pack into the backend's memory
 *   NR_LOAD_DECLARE  write down which tensors the quantised form of the checkpoint has
 *   NR_LOAD_WRITE    read, check, quantise, write those tensors (same order as declared)
 * so the quantised folder holds exactly what a direct load would have computed.
 *
 * Quantised form of a linear `X.weight` [n_out, n_in]:
 *   X.weight                  I8  [n_out, n_in]     codes of every column
 *   X.weight_scale            F32 [n_out, 1]        compressed-tensors' channel scale
 *   X.weight_outlier_columns  I32 [n]               ours: columns kept in float
 *   X.weight_outliers         F32 [n_out, n]        ours: their values
 *   X.weight_low, _low_scale  I8, F32               ours: second digit of wide linears
 * Other engines read the first two; we zero the outlier columns' codes and use the others.
 */
#ifndef NR_WEIGHT_LOADER_H
#define NR_WEIGHT_LOADER_H

#include "nr_threads.h"
#include "safetensors.h"
#include "sides.h"
#include "weights_file.h"

typedef enum nr_load_mode { NR_LOAD_PACK, NR_LOAD_DECLARE, NR_LOAD_WRITE } nr_load_mode;

#define NR_LOAD_NAME_MAX 256
#define NR_LOAD_ROWS 64 /* rows of one block; a multiple of NR_LINEAR_ROWS_STEP */

typedef struct nr_loader {
    nr_load_mode mode;
    const nr_weights *weights;     /* borrows */
    const nr_sides *sides;         /* borrows; PACK only */
    nr_backend *be;                /* the side that tensors go to: nr_load_to; PACK only */
    nr_pool *pool;                 /* owns */
    nr_safetensors_writer *writer; /* borrows; DECLARE and WRITE */
    /* Or NULL; false gives up: CANCELLED. */
    bool (*progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total);
    void *progress_ctx;
    uint64_t bytes_done, bytes_total; /* of the checkpoint's tensors */
    uint8_t *touched; /* owns [tensors of the checkpoint]: 1 where a load call asked for it */
    /* staging, owned; sized for the widest tensors of the checkpoint */
    int64_t n_in_max, n_out_max; /* n_out_max: stacked rows of one linear */
    float *rows_f32;      /* [n_threads * NR_LOAD_ROWS, n_in_max] */
    int8_t *rows_i8;      /* [n_threads * NR_LOAD_ROWS, n_in_max] */
    float *scale;         /* [n_out_max] */
    float *outliers;      /* [NR_OUTLIER_COLUMNS, n_out_max] */
    nr_error *slot_errors; /* [n_threads] */
} nr_loader;

/* n_threads as for nr_pool_create. sides NULL unless PACK, writer NULL if PACK. Errors: NO_MEMORY.
 */
nr_status nr_loader_open(nr_loader *l, nr_load_mode mode, const nr_weights *weights,
                         const nr_sides *sides, nr_safetensors_writer *writer, int n_threads,
                         nr_error *err);
/* From now on tensors go to memory of this side; at first NR_SIDE_DEVICE. */
static inline void nr_load_to(nr_loader *l, nr_side side) {
    l->be = l->sides ? l->sides->be[side] : NULL;
}
/* Staging that nr_loader_open will allocate. */
uint64_t nr_loader_bytes(const nr_weights *weights, int n_threads);
/* The same from shapes: the widest matrix's columns, and three times the tallest's rows. */
uint64_t nr_loader_bytes_of(int64_t n_in_max, int64_t n_out_max, int n_threads);
void nr_loader_close(nr_loader *l); /* accepts a zeroed one */

/* f32 vector (or small matrix) of exactly n elements into device memory; host_copy [n] or NULL.
 * Shape must be dims[n_dims]. Errors: NOT_FOUND, SHAPE, NOT_FINITE, IO. */
nr_status nr_load_tensor(nr_loader *l, const char *name, int n_dims, const int64_t *dims,
                         float *device_dst, float *host_copy, nr_error *err);

/* n rows from row0 on of a matrix of shape dims[2] into device memory as f32; the whole tensor is
 * read, checked and kept in a quantised folder. Errors: as nr_load_tensor. */
nr_status nr_load_rows(nr_loader *l, const char *name, const int64_t *dims, int64_t row0, int64_t n,
                       float *device_dst, nr_error *err);

/* Rows of up to three tensors stacked into one linear (q, k, v; gate, up). */
typedef struct nr_linear_source {
    int n_parts;
    const char *weight[3]; /* tensor names; [rows[i], n_in], or any shape with that many elements
                              in rows[i] rows where `flatten` is set */
    const char *bias[3];   /* names or NULL */
    int32_t rows[3];
    bool flatten;          /* a convolution kernel [rows, c, h, w] seen as [rows, c*h*w] */
    bool keep;             /* the quantised folder keeps the original type (embeddings, patches) */
    const float *gamma;    /* host [n_in]: weight of the norm that feeds it, or NULL */
} nr_linear_source;

/* DECLARE and WRITE: tensors that no call asked for, as they are, so that the folder stays complete
 * for other engines. Call last. */
nr_status nr_load_rest(nr_loader *l, nr_error *err);

/* The tensor, marked as asked for; shape as for nr_weights_need. Errors: NOT_FOUND, SHAPE. */
nr_status nr_load_find(nr_loader *l, const char *name, int n_dims, const int64_t *dims,
                       const nr_weight **out, nr_error *err);

/* Carve the pointers of a linear from the weights arena. gamma_fed: outlier columns are kept. */
void nr_linear_carve(nr_linear *w, nr_arena *a, nr_dtype dtype, int32_t n_out, int32_t n_in,
                     bool has_bias, bool gamma_fed);
nr_status nr_load_linear(nr_loader *l, nr_linear *w, const nr_linear_source *source,
                         nr_error *err);

/* The second digit of the same source: codes of what the first digit's codes leave over, without
 * bias and outlier columns (wide_linear.h). A quantised checkpoint without it gives zeros. */
nr_status nr_load_low_digit(nr_loader *l, nr_linear *w, const nr_linear_source *source,
                            nr_error *err);

/* printf into a name buffer of NR_LOAD_NAME_MAX bytes; returns buf. */
const char *nr_load_name(char *buf, const char *fmt, ...) NR_PRINTF(2, 3);

/* First of n prefixes for which prefix + probe names a tensor. Errors: NOT_FOUND, naming the
 * spellings tried. */
nr_status nr_load_prefix(const nr_weights *weights, const char *const *prefixes, int n,
                         const char *probe, const char **out, nr_error *err);

#endif
