/* SPDX-License-Identifier: MIT
 *
 * llama.h - the Llama decoder (Touvron et al. 2023; transformers' LlamaModel and LlamaForCausalLM):
 * pre-RMSNorm, rotate-half rotary positions, grouped-query attention, SiLU-gated MLP. Serves
 * LLaVA's Vicuna, Mistral without sliding window, and Llama text models.
 *
 * Tensor names, after the prefix: embed_tokens.weight, layers.N.{input_layernorm.weight,
 * self_attn.{q,k,v,o}_proj.weight, post_attention_layernorm.weight,
 * mlp.{gate,up,down}_proj.weight}, norm.weight; lm_head.weight beside it unless tied.
 */
#ifndef NR_LLAMA_H
#define NR_LLAMA_H

#include "decoder.h"

typedef struct nr_llama_config {
    int32_t ffn;
    float rms_eps;
    double rope_theta;
    bool attention_bias, mlp_bias;
    nr_activation activation;
} nr_llama_config;

typedef struct nr_llama_layer {
    float *attn_norm;  /* [hidden] input_layernorm */
    nr_linear qkv;     /* [(n_heads + 2 n_kv_heads) * head_dim, hidden] q_proj, k_proj, v_proj */
    nr_linear attn_out; /* [hidden, n_heads * head_dim] o_proj */
    float *ffn_norm;   /* [hidden] post_attention_layernorm */
    nr_linear gate_up; /* [2 ffn, hidden] gate_proj, up_proj */
    nr_linear down;    /* [hidden, ffn] down_proj */
} nr_llama_layer;

typedef struct nr_llama {
    nr_decoder base;
    nr_llama_config config;
    float *norm;            /* [hidden] */
    float *cos_sin[NR_SIDES]; /* [context, head_dim] wherever layers are */
    nr_llama_layer *layers; /* owns, host [n_layers] */
} nr_llama;

/* From a text_config object (or config.json itself for text models); LlamaConfig's defaults. */
nr_status nr_llama_configure(nr_llama *m, const nr_json_at *text_config,
                             const nr_model_options *options, nr_error *err);
/* Fills what a decoder knows of nr_model_info. */
void nr_llama_describe(const nr_llama *m, nr_model_info *info);
void nr_llama_release(nr_llama *m); /* host arrays */
void nr_llama_carve_weights(nr_llama *m, nr_arena *arenas); /* [NR_SIDES] */
/* prefix ends in '.'; head_name is not used when tied. Fills the rotary table too. */
nr_status nr_llama_load(nr_llama *m, nr_loader *l, const char *prefix, const char *head_name,
                        nr_error *err);
void nr_llama_carve_scratch(nr_llama *m, nr_arena *arenas); /* [NR_SIDES] */

/* As nr_model_desc.forward. image_token_id -1: none. stage: module path for the tap, such as
 * "model.language_model". */
const float *nr_llama_forward(nr_llama *m, const nr_sides *sides, const nr_span *spans, int n_spans,
                              int32_t image_token_id, const nr_tap *tap, const char *stage);

#endif
