/* SPDX-License-Identifier: MIT
 *
 * weights_file.h - the weights of a Hugging Face folder as one table of named tensors, whether they
 * lie in model.safetensors or in shards listed by model.safetensors.index.json. Files stay open;
 * data is read on demand (pread: several threads at once, no mapping that could fault).
 *
 *   nr_weights *w;
 *   NR_TRY(nr_weights_open(dir, &w, err));
 *   const nr_weight *q;
 *   NR_TRY_GOTO(nr_weights_need(w, "model.norm.weight", 1, (int64_t[]){d_model}, &q, err));
 *   NR_TRY_GOTO(nr_weights_read_f32(w, q, 0, q->n_elements, dst, err));
 *   nr_weights_close(w);
 *
 * Refused: a shard that is missing, shorter than its header says, or named with a path; a tensor
 * that the index places in a shard which does not have it. Tensors in a shard that the index does
 * not place there are not part of the checkpoint and are left out. Pickle files are never read.
 */
#ifndef NR_WEIGHTS_FILE_H
#define NR_WEIGHTS_FILE_H

#include "dtype.h"
#include "nr_limits.h"
#include "nr_status.h"

typedef struct nr_weights nr_weights;

typedef struct nr_weight {
    const char *name;       /* borrows from the nr_weights */
    nr_dtype dtype;         /* NR_DTYPE_COUNT: known to the format, not to this program */
    const char *dtype_name; /* "F16"; static */
    int n_dims;
    int64_t dims[NR_TENSOR_DIMS_MAX]; /* outermost first */
    int64_t n_elements;
    uint64_t offset, bytes; /* in its shard */
    int i_shard;
} nr_weight;

/* Reads headers only. Transfers *out. Errors: NOT_FOUND (folder, file or shard), FORMAT, LIMIT,
 * UNSUPPORTED, IO, NO_MEMORY; the message names the file. */
nr_status nr_weights_open(const char *dir, nr_weights **out, nr_error *err);
void nr_weights_close(nr_weights *w); /* accepts NULL */

/* All below: any thread. Returned weights are valid until close. */
int nr_weights_count(const nr_weights *w);
const nr_weight *nr_weights_at(const nr_weights *w, int i); /* 0 <= i < count; names ascending */
const nr_weight *nr_weights_find(const nr_weights *w, const char *name); /* NULL when absent */
int nr_weights_n_shards(const nr_weights *w);
const char *nr_weights_shard_name(const nr_weights *w, int i_shard); /* file name; borrows */

/* Find, and check the shape: dims [n_dims], -1 accepts any size there. n_dims -1 accepts any
 * shape. Errors: NOT_FOUND, SHAPE. */
nr_status nr_weights_need(const nr_weights *w, const char *name, int n_dims, const int64_t *dims,
                          const nr_weight **out, nr_error *err);

/* `bytes` of the stored form from byte_offset within the tensor. Errors: ARG (outside the tensor),
 * IO, FORMAT (file has shrunk); the message names shard and tensor. */
nr_status nr_weights_read(const nr_weights *w, const nr_weight *t, uint64_t byte_offset, void *dst,
                          size_t bytes, nr_error *err);

/* Elements [first, first + count) of an F32, F16, BF16 or I8 tensor as f32, row-major. Allocates
 * nothing. Errors: as nr_weights_read, UNSUPPORTED (element type), NOT_FINITE (names the
 * element). dst is unspecified after a failure. */
nr_status nr_weights_read_f32(const nr_weights *w, const nr_weight *t, int64_t first, int64_t count,
                              float *dst, nr_error *err);

/* Let the kernel drop its cached copy of a tensor that will not be read again soon. */
void nr_weights_forget(const nr_weights *w, const nr_weight *t);

#endif
