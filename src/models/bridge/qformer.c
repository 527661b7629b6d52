/* SPDX-License-Identifier: MIT
 * qformer.c - see qformer.h: memory and the forward pass. */
#include "qformer.h"

#include "memory_parts.h"

#include <stdio.h>

static bool has_cross(const nr_qformer_config *c, int32_t i_layer) {
    return i_layer % c->cross_every == 0;
}

static int32_t keys_max(const nr_qformer_config *c) {
    return NR_MAX(c->n_queries, c->n_vision);
}

static int32_t n_in_max(const nr_qformer_config *c) {
    return NR_MAX(NR_MAX(c->hidden, c->ffn), c->vision_hidden);
}

void nr_qformer_describe(const nr_qformer *m, nr_model_info *info) {
    const nr_qformer_config *c = &m->config;
    info->op_rows_max = NR_MAX(info->op_rows_max, keys_max(c));
    info->op_keys_max = NR_MAX(info->op_keys_max, keys_max(c));
    info->op_n_in_max = NR_MAX(info->op_n_in_max, n_in_max(c));
}

uint64_t nr_qformer_projection_bytes(const nr_qformer_config *c) {
    return (uint64_t)c->text_hidden * (uint64_t)c->hidden;
}

static uint64_t n_cross(const nr_qformer_config *c) {
    return ((uint64_t)c->n_layers + (uint64_t)c->cross_every - 1) / (uint64_t)c->cross_every;
}

uint64_t nr_qformer_out_bytes(const nr_qformer_config *c) {
    return ((uint64_t)c->n_layers + n_cross(c)) * (uint64_t)c->hidden * (uint64_t)c->hidden;
}

uint64_t nr_qformer_layer_bytes(const nr_qformer_config *c) {
    uint64_t d = (uint64_t)c->hidden;
    uint64_t self = 3 * d * d, cross = d * (d + 2 * (uint64_t)c->vision_hidden);
    return (uint64_t)c->n_layers * (self + 2 * d * (uint64_t)c->ffn) + n_cross(c) * cross;
}

static void carve_linear(const nr_qformer *m, nr_wide_linear *w, nr_arena *a, int32_t n_out,
                         int32_t n_in, bool gamma_fed, bool wide) {
    nr_wide_linear_carve(w, a,
                         &(nr_wide_spec){.dtype = m->precision,
                                         .n_out = n_out,
                                         .n_in = n_in,
                                         .has_bias = true,
                                         .gamma_fed = gamma_fed,
                                         .wide = wide});
}

static void carve_attention(const nr_qformer *m, nr_qformer_attention *at, nr_arena *a,
                            int32_t n_in) {
    int32_t d = m->config.hidden;
    carve_linear(m, &at->query, a, d, d, true, m->wide);
    carve_linear(m, &at->kv, a, 2 * d, n_in, true, m->wide);
    carve_linear(m, &at->out, a, d, d, false, m->wide_out);
    nr_norm_carve(&at->norm, a, d);
}

void nr_qformer_carve_weights(nr_qformer *m, nr_arena *a) {
    const nr_qformer_config *c = &m->config;
    nr_part_begin(a, NR_PART_BRIDGE);
    m->queries = nr_arena_take(a, (size_t)c->n_queries * (size_t)c->hidden, sizeof(float));
    nr_norm_carve(&m->norm, a, c->hidden);
    for (int32_t i = 0; i < c->n_layers; i++) {
        nr_qformer_layer *layer = &m->layers[i];
        carve_attention(m, &layer->self, a, c->hidden);
        if (has_cross(c, i)) carve_attention(m, &layer->cross, a, c->vision_hidden);
        carve_linear(m, &layer->fc1, a, c->ffn, c->hidden, true, m->wide);
        carve_linear(m, &layer->fc2, a, c->hidden, c->ffn, false, m->wide);
        nr_norm_carve(&layer->norm, a, c->hidden);
    }
    carve_linear(m, &m->projection, a, c->text_hidden, c->hidden, true, m->wide_projection);
}

static float *take(nr_arena *a, int64_t rows, int64_t cols) {
    return nr_arena_take(a, (size_t)rows * (size_t)cols, sizeof(float));
}

void nr_qformer_carve_scratch(nr_qformer *m, nr_arena *a) {
    const nr_qformer_config *c = &m->config;
    m->x = take(a, c->n_queries, c->hidden);
    m->q = take(a, c->n_queries, c->hidden);
    m->h = take(a, c->n_queries, c->hidden);
    m->kv_rows = take(a, keys_max(c), 2 * (int64_t)c->hidden);
    m->ffn_rows = take(a, c->n_queries, c->ffn);
    m->kv = nr_kv_carve(a, NR_DTYPE_F32, c->n_heads, c->hidden / c->n_heads, keys_max(c));
    m->r = NULL;
    if (m->wide || m->wide_out || m->wide_projection) m->r = take(a, keys_max(c), n_in_max(c));
}

static void project(nr_qformer *m, nr_backend *be, float *y, const float *x, int64_t rows,
                    const nr_wide_linear *w, nr_activation activation, const float *residual) {
    nr_wide_linear_apply(
        be, w,
        &(nr_linear_args){
            .y = y, .x = x, .m = rows, .activation = activation, .residual = residual},
        m->r);
}

static void norm_rows(nr_qformer *m, nr_backend *be, float *x, const nr_norm *norm) {
    const nr_qformer_config *c = &m->config;
    be->ops->layer_norm(be, x, x, c->n_queries, c->hidden, norm->weight, norm->bias,
                        c->layer_norm_eps);
}

/* x = norm(x + attention of x to the n rows of `to`), to [n, n_in of at->kv]. */
static void attend(nr_qformer *m, nr_backend *be, const nr_qformer_attention *at, const float *to,
                   int32_t n) {
    const nr_qformer_config *c = &m->config;
    int64_t d = c->hidden;
    project(m, be, m->q, m->x, c->n_queries, &at->query, NR_ACTIVATION_NONE, NULL);
    project(m, be, m->kv_rows, to, n, &at->kv, NR_ACTIVATION_NONE, NULL);
    be->ops->kv_store(be, &m->kv, 0, m->kv_rows, 2 * d, m->kv_rows + d, 2 * d, n);
    be->ops->attention(be, &(nr_attention_args){.y = m->h,
                                                .q = m->q,
                                                .ldy = d,
                                                .ldq = d,
                                                .m = c->n_queries,
                                                .n_heads = c->n_heads,
                                                .kv = &m->kv,
                                                .n_keys = n,
                                                .scale = nr_attention_scale(m->kv.head_dim)});
    project(m, be, m->x, m->h, c->n_queries, &at->out, NR_ACTIVATION_NONE, m->x);
    norm_rows(m, be, m->x, &at->norm);
}

void nr_qformer_forward(nr_qformer *m, nr_backend *be, float *y, const float *vision,
                        const nr_tap *tap) {
    const nr_qformer_config *c = &m->config;
    int64_t n = c->n_queries, d = c->hidden;
    char name[128];
    be->ops->copy(be, m->x, m->queries, (size_t)(n * d) * sizeof(float));
    norm_rows(m, be, m->x, &m->norm);
    for (int32_t i = 0; i < c->n_layers; i++) {
        const nr_qformer_layer *layer = &m->layers[i];
        attend(m, be, &layer->self, m->x, c->n_queries);
        if (has_cross(c, i)) attend(m, be, &layer->cross, vision, c->n_vision);
        project(m, be, m->ffn_rows, m->x, n, &layer->fc1, c->activation, NULL);
        project(m, be, m->x, m->ffn_rows, n, &layer->fc2, NR_ACTIVATION_NONE, m->x);
        norm_rows(m, be, m->x, &layer->norm);
        snprintf(name, sizeof name, "qformer.encoder.layer.%d", i);
        nr_tap_rows(tap, be, name, m->x, n, d);
    }
    nr_tap_rows(tap, be, "qformer", m->x, n, d);
    project(m, be, y, m->x, n, &m->projection, NR_ACTIVATION_NONE, NULL);
    nr_tap_rows(tap, be, "language_projection", y, n, c->text_hidden);
}
