/* SPDX-License-Identifier: MIT
 * opt_load.c - OPTConfig's fields with its defaults, checked; then the decoder's tensors. */
#include "activation_config.h"
#include "opt.h"

#include "nr_alloc.h"
#include "nr_limits.h"

#define POSITIONS_OFFSET 2 /* rows of embed_positions before position 0 */

static nr_status read_shape(const nr_json_at *at, nr_decoder_shape *s, nr_error *err) {
    *s = (nr_decoder_shape){.vocab = 50272,
                            .hidden = 768,
                            .n_layers = 12,
                            .n_heads = 12,
                            .context_max = 2048,
                            .tied = true};
    NR_TRY(nr_json_opt_i32(at, "vocab_size", 1, NR_VOCAB_MAX, &s->vocab, err));
    NR_TRY(nr_json_opt_i32(at, "hidden_size", 1, NR_HIDDEN_MAX, &s->hidden, err));
    NR_TRY(nr_json_opt_i32(at, "num_hidden_layers", 1, NR_LAYERS_MAX, &s->n_layers, err));
    NR_TRY(nr_json_opt_i32(at, "num_attention_heads", 1, NR_HEADS_MAX, &s->n_heads, err));
    NR_TRY(nr_json_opt_i32(at, "max_position_embeddings", 1, NR_CONTEXT_MAX, &s->context_max, err));
    NR_TRY(nr_json_opt_bool(at, "tie_word_embeddings", &s->tied, err));
    NR_FAIL_IF(s->hidden % s->n_heads != 0 || s->hidden / s->n_heads > NR_HEAD_DIM_MAX, SHAPE,
               "%s: hidden_size %d, expected 1 to %d values for each of the %d attention heads",
               at->where, s->hidden, NR_HEAD_DIM_MAX, s->n_heads);
    s->n_kv_heads = s->n_heads;
    s->head_dim = s->hidden / s->n_heads;
    return NR_STATUS_OK;
}

/* Members of the family that compute something else. */
static nr_status check_kind(const nr_json_at *at, int32_t hidden, nr_error *err) {
    static const struct {
        const char *key;
        bool expected;
    } flags[] = {{"do_layer_norm_before", true},
                 {"layer_norm_elementwise_affine", true},
                 {"_remove_final_layer_norm", false}};
    for (size_t i = 0; i < NR_COUNT(flags); i++) {
        bool found = flags[i].expected;
        NR_TRY(nr_json_opt_bool(at, flags[i].key, &found, err));
        NR_FAIL_IF(found != flags[i].expected, UNSUPPORTED, "%s: %s is %s, expected %s", at->where,
                   flags[i].key, found ? "true" : "false", found ? "false" : "true");
    }
    int32_t width = hidden;
    NR_TRY(nr_json_opt_i32(at, "word_embed_proj_dim", 1, NR_HIDDEN_MAX, &width, err));
    NR_FAIL_IF(width != hidden, UNSUPPORTED, "%s: word_embed_proj_dim %d, expected hidden_size, %d",
               at->where, width, hidden);
    return NR_STATUS_OK;
}

nr_status nr_opt_configure(nr_opt *m, const nr_json_at *text_config,
                           const nr_model_options *options, nr_error *err) {
    m->ffn = 3072;
    m->bias = true;
    m->activation = NR_ACTIVATION_RELU;
    NR_TRY(read_shape(text_config, &m->base.shape, err));
    NR_TRY(check_kind(text_config, m->base.shape.hidden, err));
    NR_TRY(nr_json_opt_i32(text_config, "ffn_dim", 1, NR_REDUCTION_MAX, &m->ffn, err));
    NR_TRY(nr_json_opt_bool(text_config, "enable_bias", &m->bias, err));
    NR_TRY(nr_activation_config(text_config, "activation_function", &m->activation, err));
    NR_TRY(nr_decoder_init(&m->base, options, err));
    m->layers = nr_calloc((size_t)m->base.shape.n_layers, sizeof *m->layers);
    NR_FAIL_IF(!m->layers, NO_MEMORY, "description of %d layers", m->base.shape.n_layers);
    return NR_STATUS_OK;
}

static nr_status load_layer(nr_opt *m, nr_loader *l, const char *prefix, nr_opt_layer *layer,
                            float *gamma, nr_error *err) {
    int32_t d = m->base.shape.hidden;
    nr_modules qkv = {prefix,
                      {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                      {d, d, d},
                      m->bias,
                      gamma};
    nr_modules attn_out = {prefix, {"self_attn.out_proj"}, {d}, m->bias, NULL};
    nr_modules fc1 = {prefix, {"fc1"}, {m->ffn}, m->bias, gamma};
    nr_modules fc2 = {prefix, {"fc2"}, {d}, m->bias, NULL};
    NR_TRY(nr_norm_load(l, &layer->attn_norm, prefix, "self_attn_layer_norm", d, gamma, err));
    NR_TRY(nr_modules_load(l, &layer->qkv, &qkv, err));
    NR_TRY(nr_modules_load(l, &layer->attn_out, &attn_out, err));
    NR_TRY(nr_norm_load(l, &layer->ffn_norm, prefix, "final_layer_norm", d, gamma, err));
    NR_TRY(nr_modules_load(l, &layer->fc1, &fc1, err));
    return nr_modules_load(l, &layer->fc2, &fc2, err);
}

static nr_status load_all(nr_opt *m, nr_loader *l, const char *prefix, const char *head_name,
                          float *gamma, nr_error *err) {
    const nr_decoder_shape *s = &m->base.shape;
    char name[NR_LOAD_NAME_MAX];
    int64_t dims[2] = {s->context_max + POSITIONS_OFFSET, s->hidden};
    nr_load_name(name, "%sembed_positions.weight", prefix);
    nr_load_to(l, nr_decoder_table_side(&m->base));
    NR_TRY(nr_load_rows(l, name, dims, POSITIONS_OFFSET, m->base.context, m->positions, err));
    nr_load_to(l, nr_decoder_head_side(&m->base));
    NR_TRY(nr_norm_load(l, &m->norm, prefix, "final_layer_norm", s->hidden, gamma, err));
    nr_load_name(name, "%sembed_tokens.weight", prefix);
    NR_TRY(nr_decoder_load(&m->base, l, name, head_name, gamma, err));
    for (int32_t i = 0; i < s->n_layers; i++) {
        nr_load_name(name, "%slayers.%d.", prefix, i);
        nr_load_to(l, nr_decoder_side(&m->base, i));
        NR_TRY(load_layer(m, l, name, &m->layers[i], gamma, err));
    }
    return NR_STATUS_OK;
}

nr_status nr_opt_load(nr_opt *m, nr_loader *l, const char *prefix, const char *head_name,
                      nr_error *err) {
    float *gamma = nr_calloc((size_t)m->base.shape.hidden, sizeof *gamma);
    NR_FAIL_IF(!gamma, NO_MEMORY, "norm weights");
    nr_status status = load_all(m, l, prefix, head_name, gamma, err);
    nr_free(gamma);
    return status;
}
