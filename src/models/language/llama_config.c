/* SPDX-License-Identifier: MIT
 * llama_config.c - LlamaConfig's fields with its defaults, checked before anything is sized. */
#include "activation_config.h"
#include "llama.h"

#include "nr_alloc.h"
#include "nr_limits.h"

#define THETA_MAX 1e12

/* rope_parameters (newer) or rope_theta + rope_scaling (older). Only the unscaled kind. */
static nr_status read_rope(const nr_json_at *at, nr_llama_config *c, nr_error *err) {
    static const char *const kinds[] = {"default"};
    int kind = 0;
    NR_TRY(nr_json_opt_f64(at, "rope_theta", 1.0, THETA_MAX, &c->rope_theta, err));
    NR_TRY(nr_json_opt_f64(at, "rope_parameters.rope_theta", 1.0, THETA_MAX, &c->rope_theta, err));
    NR_TRY(nr_json_opt_choice(at, "rope_parameters.rope_type", kinds, 1, &kind, err));
    NR_TRY(nr_json_opt_choice(at, "rope_scaling.rope_type", kinds, 1, &kind, err));
    return nr_json_opt_choice(at, "rope_scaling.type", kinds, 1, &kind, err);
}

static nr_status read_heads(const nr_json_at *at, nr_decoder_shape *s, nr_error *err) {
    NR_TRY(nr_json_opt_i32(at, "num_attention_heads", 1, NR_HEADS_MAX, &s->n_heads, err));
    s->n_kv_heads = s->n_heads;
    NR_TRY(nr_json_opt_i32(at, "num_key_value_heads", 1, NR_HEADS_MAX, &s->n_kv_heads, err));
    NR_FAIL_IF(s->n_heads % s->n_kv_heads != 0, SHAPE,
               "%s: %d attention heads, expected a multiple of the %d key/value heads", at->where,
               s->n_heads, s->n_kv_heads);
    s->head_dim = s->hidden / s->n_heads;
    if (!nr_json_has(at, "head_dim"))
        NR_FAIL_IF(s->hidden % s->n_heads != 0, SHAPE,
                   "%s: hidden_size %d, expected a multiple of the %d attention heads", at->where,
                   s->hidden, s->n_heads);
    NR_TRY(nr_json_opt_i32(at, "head_dim", 2, NR_HEAD_DIM_MAX, &s->head_dim, err));
    NR_FAIL_IF(s->head_dim < 2 || s->head_dim > NR_HEAD_DIM_MAX || s->head_dim % 2 != 0, SHAPE,
               "%s: head size %d, expected an even number from 2 to %d", at->where, s->head_dim,
               NR_HEAD_DIM_MAX);
    return NR_STATUS_OK;
}

static nr_status read_shape(const nr_json_at *at, nr_decoder_shape *s, nr_error *err) {
    *s = (nr_decoder_shape){
        .vocab = 32000, .hidden = 4096, .n_layers = 32, .n_heads = 32, .context_max = 2048};
    NR_TRY(nr_json_opt_i32(at, "vocab_size", 1, NR_VOCAB_MAX, &s->vocab, err));
    NR_TRY(nr_json_opt_i32(at, "hidden_size", 1, NR_HIDDEN_MAX, &s->hidden, err));
    NR_TRY(nr_json_opt_i32(at, "num_hidden_layers", 1, NR_LAYERS_MAX, &s->n_layers, err));
    NR_TRY(nr_json_opt_i32(at, "max_position_embeddings", 1, NR_CONTEXT_MAX, &s->context_max, err));
    NR_TRY(nr_json_opt_bool(at, "tie_word_embeddings", &s->tied, err));
    return read_heads(at, s, err);
}

static nr_status read_config(const nr_json_at *at, nr_llama_config *c, nr_error *err) {
    *c = (nr_llama_config){.ffn = 11008,
                           .rms_eps = 1e-6f,
                           .rope_theta = 10000.0,
                           .activation = NR_ACTIVATION_SILU};
    NR_TRY(nr_json_opt_i32(at, "intermediate_size", 1, NR_REDUCTION_MAX, &c->ffn, err));
    NR_TRY(nr_json_opt_f32(at, "rms_norm_eps", 0.0f, 1.0f, &c->rms_eps, err));
    NR_TRY(nr_json_opt_bool(at, "attention_bias", &c->attention_bias, err));
    NR_TRY(nr_json_opt_bool(at, "mlp_bias", &c->mlp_bias, err));
    NR_TRY(nr_activation_config(at, "hidden_act", &c->activation, err));
    return read_rope(at, c, err);
}

/* Sliding windows shorter than the context would change attention; refuse rather than ignore. */
static nr_status check_window(const nr_json_at *at, int32_t context, nr_error *err) {
    int32_t window = context;
    NR_TRY(nr_json_opt_i32(at, "sliding_window", 1, INT32_MAX, &window, err));
    NR_FAIL_IF(window < context, UNSUPPORTED,
               "%s: sliding_window %d is shorter than the context of %d tokens", at->where, window,
               context);
    return NR_STATUS_OK;
}

nr_status nr_llama_configure(nr_llama *m, const nr_json_at *text_config,
                             const nr_model_options *options, nr_error *err) {
    NR_TRY(read_shape(text_config, &m->base.shape, err));
    NR_TRY(read_config(text_config, &m->config, err));
    NR_TRY(nr_decoder_init(&m->base, options, err));
    NR_TRY(check_window(text_config, m->base.context, err));
    int32_t n_layers = m->base.shape.n_layers;
    m->layers = nr_calloc((size_t)n_layers, sizeof *m->layers);
    NR_FAIL_IF(!m->layers, NO_MEMORY, "description of %d layers", n_layers);
    return NR_STATUS_OK;
}
