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

/* Where a decoder block's tensors are. */
typedef struct block {
    nr_loader *l;
    const char *prefix;
    int32_t i_layer;
} block;

/* Linears of one block stacked into w: modules[i] gives source.rows[i] of its rows. source comes
 * with n_parts, rows and gamma. */
static nr_status load_stacked(const block *b, nr_linear *w, nr_linear_source source,
                              const char *const *modules, bool has_bias, nr_error *err) {
    char weight[3][NR_LOAD_NAME_MAX], bias[3][NR_LOAD_NAME_MAX];
    for (int i = 0; i < source.n_parts; i++) {
        source.weight[i] =
            nr_load_name(weight[i], "%slayers.%d.%s.weight", b->prefix, b->i_layer, modules[i]);
        nr_load_name(bias[i], "%slayers.%d.%s.bias", b->prefix, b->i_layer, modules[i]);
        source.bias[i] = has_bias ? bias[i] : NULL;
    }
    return nr_load_linear(b->l, w, &source, err);
}

static nr_status load_norm(const block *b, const char *which, int32_t hidden, float *dst,
                           float *gamma, nr_error *err) {
    char name[NR_LOAD_NAME_MAX];
    nr_load_name(name, "%slayers.%d.%s.weight", b->prefix, b->i_layer, which);
    return nr_load_tensor(b->l, name, 1, (int64_t[]){hidden}, dst, gamma, err);
}

static nr_status load_layer(nr_llama *m, const block *b, float *gamma, nr_error *err) {
    static const char *const qkv[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
    static const char *const gate_up[] = {"mlp.gate_proj", "mlp.up_proj"};
    static const char *const attn_out[] = {"self_attn.o_proj"}, *const down[] = {"mlp.down_proj"};
    const nr_llama_config *c = &m->config;
    nr_llama_layer *layer = &m->layers[b->i_layer];
    int32_t q_rows = c->n_heads * c->head_dim, kv_rows = c->n_kv_heads * c->head_dim;
    nr_linear_source qkv_source = {
        .n_parts = 3, .rows = {q_rows, kv_rows, kv_rows}, .gamma = gamma};
    nr_linear_source ffn_source = {.n_parts = 2, .rows = {c->ffn, c->ffn}, .gamma = gamma};
    nr_linear_source out_source = {.n_parts = 1, .rows = {c->hidden}};
    NR_TRY(load_norm(b, "input_layernorm", c->hidden, layer->attn_norm, gamma, err));
    NR_TRY(load_stacked(b, &layer->qkv, qkv_source, qkv, c->attention_bias, err));
    NR_TRY(load_stacked(b, &layer->attn_out, out_source, attn_out, c->attention_bias, err));
    NR_TRY(load_norm(b, "post_attention_layernorm", c->hidden, layer->ffn_norm, gamma, err));
    NR_TRY(load_stacked(b, &layer->gate_up, ffn_source, gate_up, c->mlp_bias, err));
    return load_stacked(b, &layer->down, out_source, down, c->mlp_bias, err);
}

static nr_status load_table(nr_llama *m, nr_loader *l, nr_linear *w, const char *name,
                            const float *gamma, bool keep, nr_error *err) {
    nr_linear_source source = {
        .n_parts = 1, .weight = {name}, .rows = {m->config.vocab}, .keep = keep, .gamma = gamma};
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
        NR_TRY(load_layer(m, &(block){.l = l, .prefix = prefix, .i_layer = i}, gamma, err));
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
