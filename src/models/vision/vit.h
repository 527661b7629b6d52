/* SPDX-License-Identifier: MIT
 *
 * vit.h - what the vision transformers share: patches as a linear, class token first, learned
 * positions, blocks with the norm in front. clip_vit.h and eva_vit.h add what differs: a norm
 * before or behind, names of tensors, which hidden state is taken.
 */
#ifndef NR_VIT_H
#define NR_VIT_H

#include "model.h"
#include "modules.h"

typedef struct nr_vit_config {
    int32_t hidden, ffn, n_layers, n_heads, image_side, patch;
    int32_t grid;          /* patches along a side: image_side / patch */
    int32_t n_positions;   /* grid^2 + 1 */
    int32_t n_layers_used; /* blocks up to the hidden state asked for */
    bool patch_bias, qkv_bias;
    float layer_norm_eps;
    nr_activation activation;
} nr_vit_config;

typedef struct nr_vit_layer {
    nr_norm norm1;           /* [hidden] */
    nr_wide_linear qkv;      /* [3 hidden, hidden] */
    nr_wide_linear attn_out; /* [hidden, hidden] */
    nr_norm norm2;           /* [hidden] */
    nr_wide_linear fc1, fc2; /* [ffn, hidden], [hidden, ffn] */
} nr_vit_layer;

typedef struct nr_vit {
    nr_vit_config config;
    nr_dtype precision;
    bool wide;               /* linears have two digits, where INT8 */
    bool wide_patches;       /* the patch embedding has */
    int32_t n_layers_loaded; /* n_layers_used, or all for a trace */
    nr_wide_linear patches;  /* [hidden, 3 * patch * patch] */
    float *class_token;      /* [hidden] */
    float *positions;        /* [n_positions, hidden] */
    nr_vit_layer *layers;    /* owns, host [n_layers] */
    int32_t *position_ids;   /* owns, host [n_positions]: 0, 1, ... */
    /* scratch, f32 */
    float *pixels;     /* [3, side, side] */
    float *patch_rows; /* [grid^2, 3 * patch * patch] */
    float *x, *h;      /* [n_positions, hidden] */
    float *qkv_rows;   /* [n_positions, 3 hidden] */
    float *ffn_rows;   /* [n_positions, ffn] */
    float *r;          /* [n_positions, widest n_in] second digit of activations, or NULL */
    nr_kv kv;          /* keys and values of the current block */
} nr_vit;

/* How a checkpoint names and shapes what differs, behind the prefix of the tower or layer. */
typedef struct nr_vit_names {
    const char *qkv[3]; /* modules; one that holds all three, or three */
    const char *attn_out;
    const char *positions;         /* tensor */
    int class_dims, position_dims; /* [hidden] or [1, 1, hidden]; [n, hidden] or [1, n, hidden] */
} nr_vit_names;

/* Fields of a vision_config over the class's defaults in *c, checked; the derived ones filled in,
 * n_layers_used with n_layers. Errors: FORMAT, LIMIT, SHAPE, UNSUPPORTED. */
nr_status nr_vit_read_config(const nr_json_at *vision_config, nr_vit_config *c, nr_error *err);
/* The rest of *m from m->config. Errors: NO_MEMORY. */
nr_status nr_vit_init(nr_vit *m, const nr_model_options *options, nr_error *err);
void nr_vit_release(nr_vit *m); /* host arrays */
/* Largest shapes its ops are called with. */
void nr_vit_describe(const nr_vit *m, nr_model_info *info);
/* Bytes of a second digit of the patch embedding, and of all other linears. */
uint64_t nr_vit_patch_bytes(const nr_vit_config *c);
uint64_t nr_vit_block_bytes(const nr_vit_config *c);

void nr_vit_carve_embeddings(nr_vit *m, nr_arena *a);
void nr_vit_carve_layers(nr_vit *m, nr_arena *a);
void nr_vit_carve_scratch(nr_vit *m, nr_arena *a);
nr_status nr_vit_load_embeddings(nr_vit *m, nr_loader *l, const char *prefix,
                                 const nr_vit_names *names, nr_error *err);
/* gamma: host scratch [hidden]. */
nr_status nr_vit_load_layers(nr_vit *m, nr_loader *l, const char *prefix, const nr_vit_names *names,
                             float *gamma, nr_error *err);

/* host pixels [3, side, side] -> m->x [n_positions, hidden] (device), class token first. */
void nr_vit_embed(nr_vit *m, nr_backend *be, const float *pixels);
/* x [n_positions, hidden] through block i, in place. */
void nr_vit_run_block(nr_vit *m, nr_backend *be, int32_t i, float *x);

#endif
