/* SPDX-License-Identifier: MIT
 *
 * ckpt_list.h - the tensors of a made-up checkpoint in the order in which transformers registers
 * them, and their split into shards.
 */
#ifndef CKPT_LIST_H
#define CKPT_LIST_H

#include "ckpt_spec.h"
#include "nr_limits.h"

/* How a tensor's random values are spread. */
typedef enum ckpt_kind {
    CKPT_MATRIX,    /* 1.3 / sqrt(inputs) times a normal */
    CKPT_EMBEDDING, /* 0.7 times a normal */
    CKPT_VECTOR,    /* 0.2 times a normal */
    CKPT_NORM       /* 1 + 0.2 times a normal; two elements nine times that */
} ckpt_kind;

typedef struct ckpt_tensor {
    char name[NR_TENSOR_NAME_MAX];
    ckpt_kind kind;
    int n_dims;
    int64_t dims[4];
    int64_t n_elements;
    int i_shard;
} ckpt_tensor;

typedef struct ckpt_list {
    ckpt_tensor *tensors; /* owns; sorted by shard, then name: the order in the files */
    int n, cap;
    int n_shards;
    uint64_t n_parameters, bytes;
} ckpt_list;

/* Errors: NO_MEMORY. The caller frees. */
nr_status ckpt_list_make(const ckpt_spec *spec, ckpt_list *out, nr_error *err);
void ckpt_list_free(ckpt_list *list);

/* "model.safetensors", or "model-00002-of-00003.safetensors". */
void ckpt_shard_name(char *dst, size_t cap, int i_shard, int n_shards);

/* Building the list. Running out of memory is remembered as n < 0, so that the long lists need no
 * checks. */

/* Append a tensor prefix + suffix of shape [d0, d1]; d1 0: of shape [d0]. */
void ckpt_add(ckpt_list *list, ckpt_kind kind, const char *prefix, const char *suffix, int64_t d0,
              int64_t d1);
/* The last tensor gets this shape of as many elements. */
void ckpt_reshape(ckpt_list *list, int n_dims, const int64_t *dims);
/* NAME.weight [out, in] and NAME.bias [out]; of a layer norm both [width]. */
void ckpt_add_linear(ckpt_list *list, const char *prefix, const char *name, int64_t out,
                     int64_t in);
void ckpt_add_layer_norm(ckpt_list *list, const char *prefix, const char *name, int64_t width);

/* All tensors of one kind of checkpoint. */
void ckpt_llava_add(ckpt_list *list, const ckpt_spec *spec);
void ckpt_blip2_add(ckpt_list *list, const ckpt_spec *spec);

#endif
