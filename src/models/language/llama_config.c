/* SPDX-License-Identifier: MIT
 * llama_config.c - LlamaConfig's fields with its defaults, checked before anything is sized. */
#include "activation_config.h"
#include "llama.h"

#include "nr_alloc.h"
#include "nr_limits.h"

#define ROWS_MAX_DEFAULT 256
#define LOGITS_ROWS 4          /* what a trace looks at */
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

static nr_status read_heads(const nr_json_at *at, nr_llama_config *c, nr_error *err) {
    NR_TRY(nr_json_opt_i32(at, "num_attention_heads", 1, NR_HEADS_MAX, &c->n_heads, err));
    c->n_kv_heads = c->n_heads;
    NR_TRY(nr_json_opt_i32(at, "num_key_value_heads", 1, NR_HEADS_MAX, &c->n_kv_heads, err));
    NR_FAIL_IF(c->n_heads % c->n_kv_heads != 0, SHAPE,
               "%s: %d attention heads, expected a multiple of the %d key/value heads", at->where,
               c->n_heads, c->n_kv_heads);
    c->head_dim = c->hidden / c->n_heads;
    if (!nr_json_has(at, "head_dim"))
        NR_FAIL_IF(c->hidden % c->n_heads != 0, SHAPE,
                   "%s: hidden_size %d, expected a multiple of the %d attention heads", at->where,
                   c->hidden, c->n_heads);
    NR_TRY(nr_json_opt_i32(at, "head_dim", 2, NR_HEAD_DIM_MAX, &c->head_dim, err));
    NR_FAIL_IF(c->head_dim < 2 || c->head_dim > NR_HEAD_DIM_MAX || c->head_dim % 2 != 0, SHAPE,
               "%s: head size %d, expected an even number from 2 to %d", at->where, c->head_dim,
               NR_HEAD_DIM_MAX);
    return NR_STATUS_OK;
}

static nr_status read_config(const nr_json_at *at, nr_llama_config *c, nr_error *err) {
    *c = (nr_llama_config){.vocab = 32000,
                           .hidden = 4096,
                           .ffn = 11008,
                           .n_layers = 32,
                           .n_heads = 32,
                           .context_max = 2048,
                           .rms_eps = 1e-6f,
                           .rope_theta = 10000.0,
                           .activation = NR_ACTIVATION_SILU};
    NR_TRY(nr_json_opt_i32(at, "vocab_size", 1, NR_VOCAB_MAX, &c->vocab, err));
    NR_TRY(nr_json_opt_i32(at, "hidden_size", 1, NR_HIDDEN_MAX, &c->hidden, err));
    NR_TRY(nr_json_opt_i32(at, "intermediate_size", 1, NR_REDUCTION_MAX, &c->ffn, err));
    NR_TRY(nr_json_opt_i32(at, "num_hidden_layers", 1, NR_LAYERS_MAX, &c->n_layers, err));
    NR_TRY(nr_json_opt_i32(at, "max_position_embeddings", 1, NR_CONTEXT_MAX, &c->context_max, err));
    NR_TRY(nr_json_opt_f32(at, "rms_norm_eps", 0.0f, 1.0f, &c->rms_eps, err));
    NR_TRY(nr_json_opt_bool(at, "attention_bias", &c->attention_bias, err));
    NR_TRY(nr_json_opt_bool(at, "mlp_bias", &c->mlp_bias, err));
    NR_TRY(nr_json_opt_bool(at, "tie_word_embeddings", &c->tied, err));
    NR_TRY(nr_activation_config(at, "hidden_act", &c->activation, err));
    NR_TRY(read_rope(at, c, err));
    return read_heads(at, c, err);
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
    nr_llama_config *c = &m->config;
    NR_TRY(read_config(text_config, c, err));
    int32_t context = options->context ? options->context
                                       : NR_MIN(options->context_default, c->context_max);
    NR_FAIL_IF(context < 1 || context > c->context_max, LIMIT,
               "context of %d tokens asked for, the checkpoint allows 1 to %d", context,
               c->context_max);
    m->precision = options->precision;
    m->kv_dtype = nr_kv_dtype(options);
    m->embed_dtype = m->precision;
    m->context = context;
    m->cache_cap = (int32_t)nr_round_up((size_t)context, NR_KV_BLOCK);
    m->rows_max = options->rows_max > 0 ? options->rows_max : ROWS_MAX_DEFAULT;
    m->rows_max = NR_MIN(m->rows_max, m->context);
    m->logits_rows = LOGITS_ROWS;
    NR_TRY(check_window(text_config, context, err));
    m->layers = nr_calloc((size_t)c->n_layers, sizeof *m->layers);
    m->positions = nr_calloc((size_t)m->rows_max, sizeof *m->positions);
    NR_FAIL_IF(!m->layers || !m->positions, NO_MEMORY, "description of %d layers", c->n_layers);
    return NR_STATUS_OK;
}

void nr_llama_choose_embedding(nr_llama *m, uint64_t bytes_max) {
    const nr_llama_config *c = &m->config;
    uint64_t bytes = (uint64_t)c->vocab * (uint64_t)c->hidden * sizeof(float);
    if (!c->tied && bytes <= bytes_max) m->embed_dtype = NR_DTYPE_F32;
}

void nr_llama_describe(const nr_llama *m, nr_model_info *info) {
    const nr_llama_config *c = &m->config;
    info->precision = m->precision;
    info->vocab = c->vocab;
    info->hidden = c->hidden;
    info->n_layers = c->n_layers;
    info->context = m->context;
    info->context_max = c->context_max;
    info->rows_max = m->rows_max;
    info->logits_rows = m->logits_rows;
    info->op_rows_max = NR_MAX(m->rows_max, m->logits_rows);
    info->op_n_in_max = NR_MAX(NR_MAX(c->hidden, c->ffn), c->n_heads * c->head_dim);
    info->op_keys_max = m->cache_cap;
}
