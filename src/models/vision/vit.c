/* SPDX-License-Identifier: MIT
 * vit.c - see vit.h: memory and the forward pass. */
#include "vit.h"

#include "memory_parts.h"

static int32_t patch_dim(const nr_vit_config *c) {
    return 3 * c->patch * c->patch;
}

static float *take(nr_arena *a, int64_t rows, int64_t cols) {
    return nr_arena_take(a, (size_t)rows * (size_t)cols, sizeof(float));
}

uint64_t nr_vit_patch_bytes(const nr_vit_config *c) {
    return (uint64_t)c->hidden * (uint64_t)patch_dim(c);
}

uint64_t nr_vit_block_bytes(const nr_vit_config *c) {
    uint64_t d = (uint64_t)c->hidden;
    return (uint64_t)c->n_layers_used * (4 * d * d + 2 * d * (uint64_t)c->ffn);
}

void nr_vit_carve_embeddings(nr_vit *m, nr_arena *a) {
    const nr_vit_config *c = &m->config;
    nr_part_begin(a, NR_PART_VISION);
    nr_wide_linear_carve(&m->patches, a,
                         &(nr_wide_spec){.dtype = m->precision,
                                         .n_out = c->hidden,
                                         .n_in = patch_dim(c),
                                         .has_bias = c->patch_bias,
                                         .wide = m->wide_patches});
    m->class_token = take(a, 1, c->hidden);
    m->positions = take(a, c->n_positions, c->hidden);
}

void nr_vit_carve_layers(nr_vit *m, nr_arena *a) {
    const nr_vit_config *c = &m->config;
    nr_wide_spec norm_fed = {.dtype = m->precision,
                             .n_in = c->hidden,
                             .has_bias = true,
                             .gamma_fed = true,
                             .wide = m->wide};
    nr_wide_spec inner = norm_fed;
    inner.gamma_fed = false;
    inner.n_out = c->hidden;
    for (int32_t i = 0; i < m->n_layers_loaded; i++) {
        nr_vit_layer *layer = &m->layers[i];
        nr_norm_carve(&layer->norm1, a, c->hidden);
        norm_fed.n_out = 3 * c->hidden;
        norm_fed.has_bias = c->qkv_bias;
        nr_wide_linear_carve(&layer->qkv, a, &norm_fed);
        inner.n_in = c->hidden;
        nr_wide_linear_carve(&layer->attn_out, a, &inner);
        nr_norm_carve(&layer->norm2, a, c->hidden);
        norm_fed.n_out = c->ffn;
        norm_fed.has_bias = true;
        nr_wide_linear_carve(&layer->fc1, a, &norm_fed);
        inner.n_in = c->ffn;
        nr_wide_linear_carve(&layer->fc2, a, &inner);
    }
}

void nr_vit_carve_scratch(nr_vit *m, nr_arena *a) {
    const nr_vit_config *c = &m->config;
    m->pixels = take(a, 3 * (int64_t)c->image_side, c->image_side);
    m->patch_rows = take(a, (int64_t)c->grid * c->grid, patch_dim(c));
    m->x = take(a, c->n_positions, c->hidden);
    m->h = take(a, c->n_positions, c->hidden);
    m->qkv_rows = take(a, c->n_positions, 3 * (int64_t)c->hidden);
    m->ffn_rows = take(a, c->n_positions, c->ffn);
    m->kv = nr_kv_carve(a, NR_DTYPE_F32, c->n_heads, c->hidden / c->n_heads, c->n_positions);
    m->r = NULL;
    if (m->wide || m->wide_patches)
        m->r = take(a, c->n_positions, NR_MAX(patch_dim(c), NR_MAX(c->ffn, c->hidden)));
}

static void project(nr_vit *m, nr_backend *be, float *y, const float *x, int64_t rows,
                    const nr_wide_linear *w, nr_activation activation, const float *residual) {
    nr_wide_linear_apply(
        be, w,
        &(nr_linear_args){.y = y,
                          .x = x,
                          .m = rows,
                          .activation = activation,
                          .residual = residual,
                          .x_spent = true},
        m->r);
}

void nr_vit_embed(nr_vit *m, nr_backend *be, const float *pixels) {
    const nr_vit_config *c = &m->config;
    int32_t d = c->hidden, n_patches = c->n_positions - 1;
    size_t pixel_bytes = 3 * (size_t)c->image_side * (size_t)c->image_side * sizeof(float);
    be->ops->upload(be, m->pixels, pixels, pixel_bytes);
    be->ops->patchify(be, m->patch_rows, m->pixels, c->image_side, c->image_side, c->patch);
    be->ops->copy(be, m->x, m->class_token, (size_t)d * sizeof(float));
    project(m, be, m->x + d, m->patch_rows, n_patches, &m->patches, NR_ACTIVATION_NONE, NULL);
    be->ops->add_rows(be, m->x, d, m->positions, m->position_ids, c->n_positions, d);
}

static void attend(nr_vit *m, nr_backend *be) {
    const nr_vit_config *c = &m->config;
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

void nr_vit_run_block(nr_vit *m, nr_backend *be, int32_t i, float *x) {
    const nr_vit_config *c = &m->config;
    const nr_vit_layer *layer = &m->layers[i];
    int32_t d = c->hidden, n = c->n_positions;
    float eps = c->layer_norm_eps;
    be->ops->layer_norm(be, m->h, x, n, d, layer->norm1.weight, layer->norm1.bias, eps);
    project(m, be, m->qkv_rows, m->h, n, &layer->qkv, NR_ACTIVATION_NONE, NULL);
    attend(m, be);
    project(m, be, x, m->h, n, &layer->attn_out, NR_ACTIVATION_NONE, x);
    be->ops->layer_norm(be, m->h, x, n, d, layer->norm2.weight, layer->norm2.bias, eps);
    project(m, be, m->ffn_rows, m->h, n, &layer->fc1, c->activation, NULL);
    project(m, be, x, m->ffn_rows, n, &layer->fc2, NR_ACTIVATION_NONE, x);
}
