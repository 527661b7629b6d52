/* SPDX-License-Identifier: MIT
 *
 * opt.h - the OPT decoder (Zhang et al. 2022; transformers' OPTForCausalLM) with the norm in front:
 * LayerNorm, learned positions, ReLU MLP, biases, the head tied to the table. Serves BLIP-2.
 *
 * Tensor names, after the prefix: embed_tokens.weight, embed_positions.weight (its first two rows
 * are no position), layers.N.{self_attn_layer_norm, self_attn.{q,k,v,out}_proj, final_layer_norm,
 * fc1, fc2}.{weight,bias}, final_layer_norm.{weight,bias}; lm_head.weight beside it unless tied.
 */
#ifndef NR_OPT_H
#define NR_OPT_H

#include "decoder.h"

typedef struct nr_opt_layer {
    nr_norm attn_norm;  /* [hidden] self_attn_layer_norm */
    nr_linear qkv;      /* [3 hidden, hidden] q_proj, k_proj, v_proj */
    nr_linear attn_out; /* [hidden, hidden] out_proj */
    nr_norm ffn_norm;   /* [hidden] final_layer_norm of the layer */
    nr_linear fc1, fc2; /* [ffn, hidden], [hidden, ffn] */
} nr_opt_layer;

typedef struct nr_opt {
    nr_decoder base;
    int32_t ffn;
    bool bias; /* of linears */
    nr_activation activation;
    nr_norm norm;         /* [hidden] final_layer_norm of the decoder */
    float *positions;     /* [context, hidden] embed_positions from its third row on; beside the
                             table */
    nr_opt_layer *layers; /* owns, host [n_layers] */
} nr_opt;

/* From a text_config object; OPTConfig's defaults. Refused: the norm behind (OPT-350M), a width of
 * the table other than hidden_size, no final norm. Errors: UNSUPPORTED, SHAPE, FORMAT, LIMIT. */
nr_status nr_opt_configure(nr_opt *m, const nr_json_at *text_config,
                           const nr_model_options *options, nr_error *err);
/* Fills what a decoder knows of nr_model_info. */
void nr_opt_describe(const nr_opt *m, nr_model_info *info);
void nr_opt_release(nr_opt *m); /* host arrays */
void nr_opt_carve_weights(nr_opt *m, nr_arena *arenas); /* [NR_SIDES] */
/* prefix ends in '.'; head_name is not used when tied. */
nr_status nr_opt_load(nr_opt *m, nr_loader *l, const char *prefix, const char *head_name,
                      nr_error *err);
void nr_opt_carve_scratch(nr_opt *m, nr_arena *arenas); /* [NR_SIDES] */

/* As nr_llama_forward; stage such as "language_model.model.decoder". */
const float *nr_opt_forward(nr_opt *m, const nr_sides *sides, const nr_span *spans, int n_spans,
                            int32_t image_token_id, const nr_tap *tap, const char *stage);

#endif
