/* SPDX-License-Identifier: MIT
 *
 * safetensors.h - the safetensors file: 8 bytes little-endian header length N, N bytes of JSON,
 * then the data of all tensors without gaps. Reading gives a validated directory; data is read by
 * the caller at the offsets it holds. Writing streams.
 *
 * Not here: several files as one checkpoint (weights_file.h), conversion of elements.
 *
 *   nr_safetensors st;                                   nr_safetensors_writer *w;
 *   NR_TRY(nr_safetensors_read(&file, &st, err));        nr_safetensors_writer_create(&w, err);
 *   t = nr_safetensors_find(&st, "lm_head.weight");      nr_safetensors_writer_add(w, ...);  // all
 *   nr_file_read_at(&file, t->offset, ...);              nr_safetensors_writer_open(w, path, err);
 *   nr_safetensors_reset(&st);                           nr_safetensors_writer_put(w, ...);  // all
 *                                                        nr_safetensors_writer_commit(w, err);
 *                                                        nr_safetensors_writer_free(w);
 *
 * What is refused on reading: a header longer than the file or NR_SAFETENSORS_HEADER_MAX, any key
 * twice, names that are empty, too long or hold control characters, unknown element types,
 * negative or too many dimensions, a byte count that is not the shape's, ranges that overlap, leave
 * holes or leave the file, bytes behind the last tensor.
 * Format: https://github.com/huggingface/safetensors ("Format").
 */
#ifndef NR_SAFETENSORS_H
#define NR_SAFETENSORS_H

#include "dtype.h"
#include "nr_file.h"
#include "nr_json.h"
#include "nr_limits.h"

typedef struct nr_safetensor {
    const char *name;       /* borrows from the directory */
    nr_dtype dtype;         /* NR_DTYPE_COUNT: the format has this type, this program does not */
    const char *dtype_name; /* "F16", "BOOL"; static */
    int n_dims;             /* 0: a single value */
    int64_t dims[NR_TENSOR_DIMS_MAX]; /* outermost first; a 0 is allowed and means no data */
    int64_t n_elements;               /* product of dims */
    uint64_t offset, bytes;           /* in the file */
} nr_safetensor;

typedef struct nr_safetensors {
    nr_safetensor *tensors; /* owns [n_tensors], in file order (ascending offset) */
    int32_t *by_name;       /* owns [n_tensors]: indices into tensors, names ascending by bytes */
    char *names;            /* owns */
    json_t *metadata;       /* owns; object of strings, or NULL */
    int32_t n_tensors;
    uint64_t data_begin; /* in the file */
} nr_safetensors;

/* Fills *out, which the caller resets. Errors: FORMAT, LIMIT, UNSUPPORTED (element type), IO,
 * NO_MEMORY. On failure *out is empty. The messages name tensors, not the file. */
nr_status nr_safetensors_read(const nr_file *file, nr_safetensors *out, nr_error *err);

/* The same over a whole file in memory, which need not outlive the call. */
nr_status nr_safetensors_parse(const void *file_bytes, size_t n_bytes, nr_safetensors *out,
                               nr_error *err);

void nr_safetensors_reset(nr_safetensors *st); /* accepts an empty one */

/* NULL when absent. Any thread. */
const nr_safetensor *nr_safetensors_find(const nr_safetensors *st, const char *name);
const char *nr_safetensors_metadata(const nr_safetensors *st, const char *key);

/* 1 to NR_TENSOR_NAME_MAX - 1 bytes without control characters, and not "__metadata__". */
bool nr_safetensors_name_is_fit(const char *name);

/* Writer. One thread. A failed call leaves only nr_safetensors_writer_free allowed. */
typedef struct nr_safetensors_writer nr_safetensors_writer;

nr_status nr_safetensors_writer_create(nr_safetensors_writer **out, nr_error *err);
/* Declare, before open. Copies its strings, which are UTF-8. Errors: ARG (tensor name unfit, name
 * or key twice), LIMIT, NO_MEMORY. */
nr_status nr_safetensors_writer_add_metadata(nr_safetensors_writer *w, const char *key,
                                             const char *value, nr_error *err);
nr_status nr_safetensors_writer_add(nr_safetensors_writer *w, const char *name, nr_dtype dtype,
                                    int n_dims, const int64_t *dims, nr_error *err);
/* Bytes the finished file will have; valid after open. */
uint64_t nr_safetensors_writer_bytes(const nr_safetensors_writer *w);
/* Write the header to a temporary file beside path. Errors: ARG, LIMIT, IO, NO_MEMORY. */
nr_status nr_safetensors_writer_open(nr_safetensors_writer *w, const char *path, nr_error *err);
/* The data of all tensors in the order declared, in pieces of any size, as little-endian as the
 * machine. Errors: IO (disk full), ARG (more than was declared). */
nr_status nr_safetensors_writer_put(nr_safetensors_writer *w, const void *src, size_t bytes,
                                    nr_error *err);
/* The file appears under its name, durably. ARG when data is missing. */
nr_status nr_safetensors_writer_commit(nr_safetensors_writer *w, nr_error *err);
void nr_safetensors_writer_free(nr_safetensors_writer *w); /* accepts NULL; removes what is not
                                                              committed */

#endif
