/* SPDX-License-Identifier: MIT
 *
 * clip_vit.h - CLIP's vision transformer (Radford et al. 2021; transformers' CLIPVisionModel) up to
 * one hidden state: vit.h with pre_layrnorm (sic) behind the embeddings and no bias on the patches.
 * post_layernorm is not on the path LLaVA uses.
 *
 * Tensor names, after the prefix: embeddings.{class_embedding, patch_embedding.weight,
 * position_embedding.weight}, pre_layrnorm.{weight,bias}, encoder.layers.N.{layer_norm1,
 * self_attn.{q,k,v,out}_proj, layer_norm2, mlp.fc1, mlp.fc2}.{weight,bias}.
 */
#ifndef NR_CLIP_VIT_H
#define NR_CLIP_VIT_H

#include "vit.h"

typedef struct nr_clip {
    nr_vit vit;
    nr_norm pre_norm; /* [hidden] */
    float *x_rest;    /* scratch [n_positions, hidden] of blocks that only a trace runs, or NULL */
} nr_clip;

/* feature_layer: transformers' vision_feature_layer, an index into the hidden states (0: the
 * embeddings; negative: from the end). CLIPVisionConfig's defaults. */
nr_status nr_clip_configure(nr_clip *m, const nr_json_at *vision_config, int32_t feature_layer,
                            const nr_model_options *options, nr_error *err);
void nr_clip_release(nr_clip *m);
void nr_clip_carve_weights(nr_clip *m, nr_arena *a);
nr_status nr_clip_load(nr_clip *m, nr_loader *l, const char *prefix, nr_error *err);
void nr_clip_carve_scratch(nr_clip *m, nr_arena *a);

/* host pixels [3, side, side] -> hidden state [n_positions, hidden] in m->vit.x (device), class
 * token first. Loaded blocks behind it are run as well, for the tap, on a copy. */
const float *nr_clip_forward(nr_clip *m, nr_backend *be, const float *pixels, const nr_tap *tap,
                             const char *stage);

#endif
