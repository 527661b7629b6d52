/* SPDX-License-Identifier: MIT
 * clip_vit.c - see clip_vit.h: memory and the forward pass. */
#include "clip_vit.h"

#include "memory_parts.h"

#include "nr_alloc.h"

#include <stdio.h>

void nr_clip_release(nr_clip *m) {
    nr_free(m->layers);
    nr_free(m->position_ids);
    m->layers = NULL;
    m->position_ids = NULL;
}

static int32_t patch_dim(const nr_clip_config *c) {
    return 3 * c->patch * c->patch;
}

static float *take(nr_arena *a, int64_t rows, int64_t cols) {
    return nr_arena_take(a, (size_t)rows * (size_t)cols, sizeof(float));
}

uint64_t nr_clip_patch_bytes(const nr_clip_config *c) {
    return (uint64_t)c->hidden * (uint64_t)patch_dim(c);
}

uint64_t nr_clip_block_bytes(const nr_clip_config *c) {
    uint64_t d = (uint64_t)c->hidden;
    return (uint64_t)c->n_layers_used * (4 * d * d + 2 * d * (uint64_t)c->ffn);
}

static void carve_linear(const nr_clip *m, nr_wide_linear *w, nr_arena *a, int32_t n_out,
                         int32_t n_in, bool gamma_fed) {
    nr_wide_linear_carve(w, a, &(nr_wide_spec){.dtype = m->precision,
                                               .n_out = n_out,
                                               .n_in = n_in,
                                               .has_bias = true,
                                               .gamma_fed = gamma_fed,
                                               .wide = m->wide});
}

void nr_clip_carve_weights(nr_clip *m, nr_arena *a) {
    const nr_clip_config *c = &m->config;
    int32_t d = c->hidden;
    nr_part_begin(a, NR_PART_VISION);
    nr_wide_linear_carve(&m->patches, a, &(nr_wide_spec){.dtype = m->precision,
                                                         .n_out = d,
                                                         .n_in = patch_dim(c),
                                                         .wide = m->wide_patches});
    m->class_token = take(a, 1, d);
    m->positions = take(a, c->n_positions, d);
    m->pre_norm_weight = take(a, 1, d);
    m->pre_norm_bias = take(a, 1, d);
    for (int32_t i = 0; i < m->n_layers_loaded; i++) {
        nr_clip_layer *layer = &m->layers[i];
        layer->norm1_weight = take(a, 1, d);
        layer->norm1_bias = take(a, 1, d);
        carve_linear(m, &layer->qkv, a, 3 * d, d, true);
        carve_linear(m, &layer->attn_out, a, d, d, false);
        layer->norm2_weight = take(a, 1, d);
        layer->norm2_bias = take(a, 1, d);
        carve_linear(m, &layer->fc1, a, c->ffn, d, true);
        carve_linear(m, &layer->fc2, a, d, c->ffn, false);
    }
}

void nr_clip_carve_scratch(nr_clip *m, nr_arena *a) {
    const nr_clip_config *c = &m->config;
    int32_t head_dim = c->hidden / c->n_heads;
    int64_t cap = (int64_t)nr_round_up((size_t)c->n_positions, NR_KV_BLOCK);
    int64_t v_dim = (int64_t)nr_round_up((size_t)head_dim, NR_KV_BLOCK);
    m->pixels = take(a, 3 * (int64_t)c->image_side, c->image_side);
    m->patch_rows = take(a, (int64_t)c->grid * c->grid, patch_dim(c));
    m->x = take(a, c->n_positions, c->hidden);
    m->h = take(a, c->n_positions, c->hidden);
    m->qkv_rows = take(a, c->n_positions, 3 * (int64_t)c->hidden);
    m->ffn_rows = take(a, c->n_positions, c->ffn);
    m->kv = (nr_kv){.dtype = NR_DTYPE_F32,
                    .n_kv_heads = c->n_heads,
                    .head_dim = head_dim,
                    .cap = (int32_t)cap};
    m->kv.k = take(a, c->n_heads * cap, head_dim);
    m->kv.v = take(a, c->n_heads * cap, v_dim);
    m->r = NULL;
    if (m->wide || m->wide_patches)
        m->r = take(a, c->n_positions, NR_MAX(patch_dim(c), NR_MAX(c->ffn, c->hidden)));
    m->x_rest = NULL;
    if (m->n_layers_loaded > c->n_layers_used) m->x_rest = take(a, c->n_positions, c->hidden);
}

static void project(nr_clip *m, nr_backend *be, float *y, const float *x, int64_t rows,
                    const nr_wide_linear *w, nr_activation activation, const float *residual) {
    nr_linear_args args = {.y = y,
                           .x = x,
                           .ldy = w->high.n_out,
                           .ldx = w->high.n_in,
                           .m = rows,
                           .activation = activation,
                           .residual = residual};
    nr_wide_linear_apply(be, w, &args, m->r);
}

static void embed(nr_clip *m, nr_backend *be, const float *pixels) {
    const nr_clip_config *c = &m->config;
    int32_t d = c->hidden, n_patches = c->n_positions - 1;
    size_t pixel_bytes = 3 * (size_t)c->image_side * (size_t)c->image_side * sizeof(float);
    be->ops->upload(be, m->pixels, pixels, pixel_bytes);
    be->ops->patchify(be, m->patch_rows, m->pixels, c->image_side, c->image_side, c->patch);
    be->ops->copy(be, m->x, m->class_token, (size_t)d * sizeof(float));
    project(m, be, m->x + d, m->patch_rows, n_patches, &m->patches, NR_ACTIVATION_NONE, NULL);
    be->ops->add_rows(be, m->x, d, m->positions, m->position_ids, c->n_positions, d);
    be->ops->layer_norm(be, m->x, m->x, c->n_positions, d, m->pre_norm_weight, m->pre_norm_bias,
                        c->layer_norm_eps);
}

static void attend(nr_clip *m, nr_backend *be) {
    const nr_clip_config *c = &m->config;
    int64_t d = c->hidden, ld = 3 * d;
    const float *q = m->qkv_rows;
    be->ops->kv_store(be, &m->kv, 0, q + d, ld, q + 2 * d, ld, c->n_positions);
    be->ops->attention(be, &(nr_attention_args){.y = m->h,
                                                .q = q,
                                                .ldy = d,
                                                .ldq = ld,
                                                .m = c->n_positions,
                                                .n_heads = c->n_heads,
                                                .kv = &m->kv,
                                                .n_keys = c->n_positions,
                                                .scale = nr_attention_scale(m->kv.head_dim)});
}

static void run_block(nr_clip *m, nr_backend *be, const nr_clip_layer *layer, float *x) {
    const nr_clip_config *c = &m->config;
    int32_t d = c->hidden, n = c->n_positions;
    float eps = c->layer_norm_eps;
    be->ops->layer_norm(be, m->h, x, n, d, layer->norm1_weight, layer->norm1_bias, eps);
    project(m, be, m->qkv_rows, m->h, n, &layer->qkv, NR_ACTIVATION_NONE, NULL);
    attend(m, be);
    project(m, be, x, m->h, n, &layer->attn_out, NR_ACTIVATION_NONE, x);
    be->ops->layer_norm(be, m->h, x, n, d, layer->norm2_weight, layer->norm2_bias, eps);
    project(m, be, m->ffn_rows, m->h, n, &layer->fc1, c->activation, NULL);
    project(m, be, x, m->ffn_rows, n, &layer->fc2, NR_ACTIVATION_NONE, x);
}

const float *nr_clip_forward(nr_clip *m, nr_backend *be, const float *pixels, const nr_tap *tap,
                             const char *stage) {
    const nr_clip_config *c = &m->config;
    int64_t n = c->n_positions, d = c->hidden;
    char name[128];
    embed(m, be, pixels);
    snprintf(name, sizeof name, "%s.pre_layrnorm", stage);
    nr_tap_rows(tap, be, name, m->x, n, d);
    for (int32_t i = 0; i < m->n_layers_loaded; i++) {
        float *x = i < c->n_layers_used ? m->x : m->x_rest;
        if (i == c->n_layers_used)
            be->ops->copy(be, x, m->x, (size_t)(n * d) * sizeof(float));
        run_block(m, be, &m->layers[i], x);
        snprintf(name, sizeof name, "%s.encoder.layers.%d", stage, i);
        nr_tap_rows(tap, be, name, x, n, d);
    }
    return m->x;
}
