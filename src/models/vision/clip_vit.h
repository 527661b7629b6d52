/* SPDX-License-Identifier: MIT
 *
 * clip_vit.h - CLIP's vision transformer (Radford et al. 2021; transformers' CLIPVisionModel) up to
 * one hidden state: patches as a linear, class token first, learned positions, pre_layrnorm (sic),
 * pre-LN blocks. post_layernorm is not on the path LLaVA uses.
 *
 * Tensor names, after the prefix: embeddings.{class_embedding, patch_embedding.weight,
 * position_embedding.weight}, pre_layrnorm.{weight,bias}, encoder.layers.N.{layer_norm1,
 * self_attn.{q,k,v,out}_proj, layer_norm2, mlp.fc1, mlp.fc2}.{weight,bias}.
 */
#ifndef NR_CLIP_VIT_H
#define NR_CLIP_VIT_H

#include "model.h"
#include "wide_linear.h"

typedef struct nr_clip_config {
    int32_t hidden, ffn, n_layers, n_heads, image_side, patch;
    int32_t grid;        /* patches along a side: image_side / patch */
    int32_t n_positions; /* grid^2 + 1 */
    int32_t n_layers_used; /* blocks up to the hidden state asked for */
    float layer_norm_eps;
    nr_activation activation;
} nr_clip_config;

typedef struct nr_clip_layer {
    float *norm1_weight, *norm1_bias; /* [hidden] */
    nr_wide_linear qkv;                    /* [3 hidden, hidden] */
    nr_wide_linear attn_out;               /* [hidden, hidden] */
    float *norm2_weight, *norm2_bias; /* [hidden] */
    nr_wide_linear fc1, fc2;               /* [ffn, hidden], [hidden, ffn] */
} nr_clip_layer;

typedef struct nr_clip {
    nr_clip_config config;
    nr_dtype precision;
    bool wide;               /* linears have two digits, where INT8 */
    bool wide_patches;       /* the patch embedding has */
    int32_t n_layers_loaded; /* n_layers_used, or all for a trace */
    nr_wide_linear patches;       /* [hidden, 3 * patch * patch], no bias */
    float *class_token;      /* [hidden] */
    float *positions;        /* [n_positions, hidden] */
    float *pre_norm_weight, *pre_norm_bias; /* [hidden] */
    nr_clip_layer *layers;   /* owns, host [n_layers] */
    int32_t *position_ids;   /* owns, host [n_positions]: 0, 1, ... */
    /* scratch, f32 */
    float *pixels;           /* [3, side, side] */
    float *patch_rows;       /* [grid^2, 3 * patch * patch] */
    float *x, *h;            /* [n_positions, hidden] */
    float *qkv_rows;         /* [n_positions, 3 hidden] */
    float *ffn_rows;         /* [n_positions, ffn] */
    float *r;                /* [n_positions, widest n_in] second digit of activations, or NULL */
    float *x_rest;           /* [n_positions, hidden] of blocks that only a trace runs, or NULL */
    nr_kv kv;                /* keys and values of the current block */
} nr_clip;

/* feature_layer: transformers' vision_feature_layer, an index into the hidden states (0: the
 * embeddings; negative: from the end). */
nr_status nr_clip_configure(nr_clip *m, const nr_json_at *vision_config, int32_t feature_layer,
                            const nr_model_options *options, nr_error *err);
/* Bytes of a second digit of the patch embedding, and of all other linears. */
uint64_t nr_clip_patch_bytes(const nr_clip_config *c);
uint64_t nr_clip_block_bytes(const nr_clip_config *c);
void nr_clip_release(nr_clip *m);
void nr_clip_carve_weights(nr_clip *m, nr_arena *a);
nr_status nr_clip_load(nr_clip *m, nr_loader *l, const char *prefix, nr_error *err);
void nr_clip_carve_scratch(nr_clip *m, nr_arena *a);

/* host pixels [3, side, side] -> hidden state [n_positions, hidden] in m->x (device), class token
 * first. Loaded blocks behind it are run as well, for the tap, on a copy. */
const float *nr_clip_forward(nr_clip *m, nr_backend *be, const float *pixels, const nr_tap *tap,
                             const char *stage);

#endif
