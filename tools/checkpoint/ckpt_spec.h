/* SPDX-License-Identifier: MIT
 *
 * ckpt_spec.h - what a made-up LLaVA checkpoint consists of: its sizes, the list of its tensors in
 * the order in which transformers registers them, and the split into shards.
 */
#ifndef CKPT_SPEC_H
#define CKPT_SPEC_H

#include "dtype.h"
#include "nr_limits.h"
#include "nr_status.h"

#include <stdio.h>

typedef struct ckpt_spec {
    struct {
        int32_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
        int32_t num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings;
    } text;
    struct {
        int32_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
        int32_t image_size, patch_size, projection_dim;
    } vision;
    int32_t n_base_tokens; /* <unk> to the last filler; <image> and <pad> are the next two ids */
    nr_dtype dtype;        /* F16, BF16 or F32 */
    int64_t shard_bytes;   /* most data of one file */
    uint64_t seed;
    const char *prefix_vision, *prefix_projector, *prefix_text, *prefix_head; /* of names */
} ckpt_spec;

/* "llava-1.5-7b", "tiny" or "odd". False when the name is none of them. */
bool ckpt_spec_preset(const char *name, ckpt_spec *out);
/* Spelling of names: "hub", "new" or "short". False when the style is none of them. */
bool ckpt_spec_names(ckpt_spec *spec, const char *style);
/* "text.hidden_size=96". Errors: ARG (no such key), LIMIT. */
nr_status ckpt_spec_override(ckpt_spec *spec, const char *assignment, nr_error *err);
void ckpt_spec_print_keys(FILE *to);
/* Sizes that do not go together: ARG. */
nr_status ckpt_spec_check(const ckpt_spec *spec, nr_error *err);

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

#endif
