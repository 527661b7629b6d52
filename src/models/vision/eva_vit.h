/* SPDX-License-Identifier: MIT
 *
 * eva_vit.h - BLIP-2's vision transformer (EVA-CLIP, Fang et al. 2022; transformers'
 * Blip2VisionModel): vit.h with biases on the patches, q, k and v in one tensor, and a norm behind
 * the last block, on the class token too.
 *
 * Tensor names, after the prefix: embeddings.{class_embedding, position_embedding,
 * patch_embedding.{weight,bias}}, encoder.layers.N.{layer_norm1, self_attn.{qkv,projection},
 * layer_norm2, mlp.fc1, mlp.fc2}.{weight,bias}, post_layernorm.{weight,bias}.
 */
#ifndef NR_EVA_VIT_H
#define NR_EVA_VIT_H

#include "vit.h"

typedef struct nr_eva {
    nr_vit vit;
    nr_norm post_norm; /* [hidden] */
} nr_eva;

/* Blip2VisionConfig's defaults. */
nr_status nr_eva_configure(nr_eva *m, const nr_json_at *vision_config,
                           const nr_model_options *options, nr_error *err);
void nr_eva_release(nr_eva *m);
void nr_eva_carve_weights(nr_eva *m, nr_arena *a);
/* gamma: host [hidden], receives the weight of post_layernorm, which feeds what comes behind. */
nr_status nr_eva_load(nr_eva *m, nr_loader *l, const char *prefix, float *gamma, nr_error *err);
void nr_eva_carve_scratch(nr_eva *m, nr_arena *a);

/* host pixels [3, side, side] -> [n_positions, hidden] (device), class token first; valid until the
 * next call. */
const float *nr_eva_forward(nr_eva *m, nr_backend *be, const float *pixels, const nr_tap *tap,
                            const char *stage);

#endif
