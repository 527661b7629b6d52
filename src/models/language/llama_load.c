/* SPDX-License-Identifier: MIT
 * llama_load.c - binds the decoder's tensors and fills the rotary table. */
#include "llama.h"

#include "nr_alloc.h"

#include <math.h>

/* transformers' LlamaRotaryEmbedding: frequencies and angles in f32, as torch rounds them. */
static nr_status fill_rotary(nr_llama *m, nr_loader *l, nr_error *err) {
    int32_t head_dim = m->config.head_dim, half = head_dim / 2;
    float *row = nr_malloc((size_t)head_dim * sizeof *row);
    NR_FAIL_IF(!row, NO_MEMORY, "rotary table row");
    for (int32_t p = 0; p < m->context; p++) {
        for (int32_t i = 0; i < half; i++) {
            float exponent = (float)(2 * i) / (float)head_dim;
            float inv_freq = 1.0f / (float)pow(m->config.rope_theta, exponent);
            float angle = (float)p * inv_freq;
            row[i] = (float)cos(angle);
            row[half + i] = (float)sin(angle);
        }
        l->be->ops->upload(l->be, m->cos_sin + (int64_t)p * head_dim, row,
                           (size_t)head_dim * sizeof *row);
    }
    nr_free(row);
    return NR_STATUS_OK;
}

typedef struct layer_names {
    char q[NR_LOAD_NAME_MAX], k[NR_LOAD_NAME_MAX], v[NR_LOAD_NAME_MAX];
    char q_bias[NR_LOAD_NAME_MAX], k_bias[NR_LOAD_NAME_MAX], v_bias[NR_LOAD_NAME_MAX];
} layer_names;

static nr_status load_single(nr_loader *l, nr_linear *w, const char *prefix, int32_t i,
                             const char *name, bool has_bias, nr_error *err) {
    char weight[NR_LOAD_NAME_MAX], bias[NR_LOAD_NAME_MAX];
    nr_load_name(weight, "%slayers.%d.%s.weight", prefix, i, name);
    nr_load_name(bias, "%slayers.%d.%s.bias", prefix, i, name);
    nr_linear_source source = {.n_parts = 1,
                               .weight = {weight},
                               .bias = {has_bias ? bias : NULL},
                               .rows = {w->n_out}};
    return nr_load_linear(l, w, &source, err);
}

static nr_status load_qkv(nr_llama *m, nr_loader *l, const char *prefix, int32_t i,
                          const float *gamma, nr_error *err) {
    const nr_llama_config *c = &m->config;
    layer_names n;
    nr_load_name(n.q, "%slayers.%d.self_attn.q_proj.weight", prefix, i);
    nr_load_name(n.k, "%slayers.%d.self_attn.k_proj.weight", prefix, i);
    nr_load_name(n.v, "%slayers.%d.self_attn.v_proj.weight", prefix, i);
    nr_load_name(n.q_bias, "%slayers.%d.self_attn.q_proj.bias", prefix, i);
    nr_load_name(n.k_bias, "%slayers.%d.self_attn.k_proj.bias", prefix, i);
    nr_load_name(n.v_bias, "%slayers.%d.self_attn.v_proj.bias", prefix, i);
    int32_t kv_rows = c->n_kv_heads * c->head_dim;
    nr_linear_source source = {.n_parts = 3,
                               .weight = {n.q, n.k, n.v},
                               .rows = {c->n_heads * c->head_dim, kv_rows, kv_rows},
                               .gamma = gamma};
    if (c->attention_bias) {
        source.bias[0] = n.q_bias;
        source.bias[1] = n.k_bias;
        source.bias[2] = n.v_bias;
    }
    return nr_load_linear(l, &m->layers[i].qkv, &source, err);
}

static nr_status load_gate_up(nr_llama *m, nr_loader *l, const char *prefix, int32_t i,
                              const float *gamma, nr_error *err) {
    const nr_llama_config *c = &m->config;
    layer_names n;
    nr_load_name(n.q, "%slayers.%d.mlp.gate_proj.weight", prefix, i);
    nr_load_name(n.k, "%slayers.%d.mlp.up_proj.weight", prefix, i);
    nr_load_name(n.q_bias, "%slayers.%d.mlp.gate_proj.bias", prefix, i);
    nr_load_name(n.k_bias, "%slayers.%d.mlp.up_proj.bias", prefix, i);
    nr_linear_source source = {
        .n_parts = 2, .weight = {n.q, n.k}, .rows = {c->ffn, c->ffn}, .gamma = gamma};
    if (c->mlp_bias) {
        source.bias[0] = n.q_bias;
        source.bias[1] = n.k_bias;
    }
    return nr_load_linear(l, &m->layers[i].gate_up, &source, err);
}

static nr_status load_norm(nr_llama *m, nr_loader *l, const char *prefix, int32_t i,
                           const char *which, float *dst, float *gamma, nr_error *err) {
    char name[NR_LOAD_NAME_MAX];
    int64_t dims[1] = {m->config.hidden};
    nr_load_name(name, "%slayers.%d.%s.weight", prefix, i, which);
    return nr_load_tensor(l, name, 1, dims, dst, gamma, err);
}

static nr_status load_layer(nr_llama *m, nr_loader *l, const char *prefix, int32_t i, float *gamma,
                            nr_error *err) {
    nr_llama_layer *layer = &m->layers[i];
    NR_TRY(load_norm(m, l, prefix, i, "input_layernorm", layer->attn_norm, gamma, err));
    NR_TRY(load_qkv(m, l, prefix, i, gamma, err));
    NR_TRY(load_single(l, &layer->attn_out, prefix, i, "self_attn.o_proj",
                       m->config.attention_bias, err));
    NR_TRY(load_norm(m, l, prefix, i, "post_attention_layernorm", layer->ffn_norm, gamma, err));
    NR_TRY(load_gate_up(m, l, prefix, i, gamma, err));
    return load_single(l, &layer->down, prefix, i, "mlp.down_proj", m->config.mlp_bias, err);
}

static nr_status load_table(nr_llama *m, nr_loader *l, nr_linear *w, const char *name,
                            const float *gamma, bool keep, nr_error *err) {
    nr_linear_source source = {.n_parts = 1,
                               .weight = {name},
                               .rows = {m->config.vocab},
                               .keep = keep,
                               .gamma = gamma};
    return nr_load_linear(l, w, &source, err);
}

static nr_status load_all(nr_llama *m, nr_loader *l, const char *prefix, const char *head_name,
                          float *gamma, nr_error *err) {
    char name[NR_LOAD_NAME_MAX];
    int64_t dims[1] = {m->config.hidden};
    nr_load_name(name, "%snorm.weight", prefix);
    NR_TRY(nr_load_tensor(l, name, 1, dims, m->norm, gamma, err));
    nr_load_name(name, "%sembed_tokens.weight", prefix);
    NR_TRY(load_table(m, l, &m->embed, name, m->config.tied ? gamma : NULL, true, err));
    if (!m->config.tied) NR_TRY(load_table(m, l, &m->head, head_name, gamma, false, err));
    for (int32_t i = 0; i < m->config.n_layers; i++)
        NR_TRY(load_layer(m, l, prefix, i, gamma, err));
    return l->mode == NR_LOAD_PACK ? fill_rotary(m, l, err) : NR_STATUS_OK;
}

nr_status nr_llama_load(nr_llama *m, nr_loader *l, const char *prefix, const char *head_name,
                        nr_error *err) {
    float *gamma = nr_calloc((size_t)m->config.hidden, sizeof *gamma);
    NR_FAIL_IF(!gamma, NO_MEMORY, "norm weights");
    nr_status status = load_all(m, l, prefix, head_name, gamma, err);
    nr_free(gamma);
    return status;
}
