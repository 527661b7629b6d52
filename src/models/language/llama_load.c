/* SPDX-License-Identifier: MIT
 * llama_load.c - binds the decoder's tensors and fills the rotary table. */
#include "llama.h"

#include "nr_alloc.h"

#include <math.h>

/* transformers' LlamaRotaryEmbedding: frequencies and angles in f32, as torch rounds them. */
static nr_status fill_rotary(nr_llama *m, nr_side side, nr_loader *l, nr_error *err) {
    int32_t head_dim = m->base.shape.head_dim, half = head_dim / 2;
    float *row = nr_malloc((size_t)head_dim * sizeof *row);
    NR_FAIL_IF(!row, NO_MEMORY, "rotary table row");
    nr_load_to(l, side);
    for (int32_t p = 0; p < m->base.context; p++) {
        for (int32_t i = 0; i < half; i++) {
            float exponent = (float)(2 * i) / (float)head_dim;
            float inv_freq = 1.0f / (float)pow(m->config.rope_theta, exponent);
            float angle = (float)p * inv_freq;
            row[i] = (float)cos(angle);
            row[half + i] = (float)sin(angle);
        }
        l->be->ops->upload(l->be, m->cos_sin[side] + (int64_t)p * head_dim, row,
                           (size_t)head_dim * sizeof *row);
    }
    nr_free(row);
    return NR_STATUS_OK;
}

static nr_status load_gain(nr_loader *l, const char *prefix, const char *name, int32_t hidden,
                           float *dst, float *gamma, nr_error *err) {
    char tensor[NR_LOAD_NAME_MAX];
    nr_load_name(tensor, "%s%s.weight", prefix, name);
    return nr_load_tensor(l, tensor, 1, (int64_t[]){hidden}, dst, gamma, err);
}

static nr_status load_layer(nr_llama *m, nr_loader *l, const char *prefix, nr_llama_layer *layer,
                            float *gamma, nr_error *err) {
    const nr_decoder_shape *s = &m->base.shape;
    const nr_llama_config *c = &m->config;
    int32_t hidden = s->hidden, q = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim;
    bool attn_bias = c->attention_bias, mlp_bias = c->mlp_bias;
    nr_modules qkv = {prefix,
                      {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                      {q, kv, kv},
                      attn_bias,
                      gamma};
    nr_modules attn_out = {prefix, {"self_attn.o_proj"}, {hidden}, attn_bias, NULL};
    nr_modules gate_up = {
        prefix, {"mlp.gate_proj", "mlp.up_proj"}, {c->ffn, c->ffn}, mlp_bias, gamma};
    nr_modules down = {prefix, {"mlp.down_proj"}, {hidden}, mlp_bias, NULL};
    NR_TRY(load_gain(l, prefix, "input_layernorm", hidden, layer->attn_norm, gamma, err));
    NR_TRY(nr_modules_load(l, &layer->qkv, &qkv, err));
    NR_TRY(nr_modules_load(l, &layer->attn_out, &attn_out, err));
    NR_TRY(load_gain(l, prefix, "post_attention_layernorm", hidden, layer->ffn_norm, gamma, err));
    NR_TRY(nr_modules_load(l, &layer->gate_up, &gate_up, err));
    return nr_modules_load(l, &layer->down, &down, err);
}

static nr_status load_all(nr_llama *m, nr_loader *l, const char *prefix, const char *head_name,
                          float *gamma, nr_error *err) {
    char name[NR_LOAD_NAME_MAX];
    nr_load_to(l, nr_decoder_head_side(&m->base));
    NR_TRY(load_gain(l, prefix, "norm", m->base.shape.hidden, m->norm, gamma, err));
    nr_load_name(name, "%sembed_tokens.weight", prefix);
    NR_TRY(nr_decoder_load(&m->base, l, name, head_name, gamma, err));
    for (int32_t i = 0; i < m->base.shape.n_layers; i++) {
        nr_load_name(name, "%slayers.%d.", prefix, i);
        nr_load_to(l, nr_decoder_side(&m->base, i));
        NR_TRY(load_layer(m, l, name, &m->layers[i], gamma, err));
    }
    for (nr_side side = 0; side < NR_SIDES && l->mode == NR_LOAD_PACK; side++)
        if (nr_decoder_is_on(&m->base, side)) NR_TRY(fill_rotary(m, side, l, err));
    return NR_STATUS_OK;
}

nr_status nr_llama_load(nr_llama *m, nr_loader *l, const char *prefix, const char *head_name,
                        nr_error *err) {
    float *gamma = nr_calloc((size_t)m->base.shape.hidden, sizeof *gamma);
    NR_FAIL_IF(!gamma, NO_MEMORY, "norm weights");
    nr_status status = load_all(m, l, prefix, head_name, gamma, err);
    nr_free(gamma);
    return status;
}
