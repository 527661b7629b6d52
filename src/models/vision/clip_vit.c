/* SPDX-License-Identifier: MIT
 * clip_vit.c - see clip_vit.h. */
#include "clip_vit.h"

#include "nr_alloc.h"

#include <stdio.h>

nr_status nr_clip_configure(nr_clip *m, const nr_json_at *vision_config, int32_t feature_layer,
                            const nr_model_options *options, nr_error *err) {
    nr_vit_config *c = &m->vit.config;
    *c = (nr_vit_config){.hidden = 768,
                         .ffn = 3072,
                         .n_layers = 12,
                         .n_heads = 12,
                         .image_side = 224,
                         .patch = 32,
                         .qkv_bias = true,
                         .layer_norm_eps = 1e-5f,
                         .activation = NR_ACTIVATION_QUICK_GELU};
    NR_TRY(nr_vit_read_config(vision_config, c, err));
    int32_t n_states = c->n_layers + 1; /* the embeddings, then one a block */
    NR_FAIL_IF(feature_layer < -n_states || feature_layer >= n_states, LIMIT,
               "vision_feature_layer %d, expected %d to %d", feature_layer, -n_states,
               n_states - 1);
    c->n_layers_used = feature_layer < 0 ? n_states + feature_layer : feature_layer;
    return nr_vit_init(&m->vit, options, err);
}

void nr_clip_release(nr_clip *m) {
    nr_vit_release(&m->vit);
}

void nr_clip_carve_weights(nr_clip *m, nr_arena *a) {
    nr_vit_carve_embeddings(&m->vit, a);
    nr_norm_carve(&m->pre_norm, a, m->vit.config.hidden);
    nr_vit_carve_layers(&m->vit, a);
}

static nr_status load_all(nr_clip *m, nr_loader *l, const char *prefix, float *gamma,
                          nr_error *err) {
    static const nr_vit_names names = {
        .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
        .attn_out = "self_attn.out_proj",
        .positions = "embeddings.position_embedding.weight",
        .class_dims = 1,
        .position_dims = 2};
    NR_TRY(nr_vit_load_embeddings(&m->vit, l, prefix, &names, err));
    NR_TRY(nr_norm_load(l, &m->pre_norm, prefix, "pre_layrnorm", m->vit.config.hidden, NULL, err));
    return nr_vit_load_layers(&m->vit, l, prefix, &names, gamma, err);
}

nr_status nr_clip_load(nr_clip *m, nr_loader *l, const char *prefix, nr_error *err) {
    float *gamma = nr_calloc((size_t)m->vit.config.hidden, sizeof *gamma);
    NR_FAIL_IF(!gamma, NO_MEMORY, "norm weights");
    nr_status status = load_all(m, l, prefix, gamma, err);
    nr_free(gamma);
    return status;
}

void nr_clip_carve_scratch(nr_clip *m, nr_arena *a) {
    const nr_vit_config *c = &m->vit.config;
    nr_vit_carve_scratch(&m->vit, a);
    m->x_rest = NULL;
    if (m->vit.n_layers_loaded > c->n_layers_used)
        m->x_rest = nr_arena_take(a, (size_t)c->n_positions * (size_t)c->hidden, sizeof(float));
}

const float *nr_clip_forward(nr_clip *m, nr_backend *be, const float *pixels, const nr_tap *tap,
                             const char *stage) {
    nr_vit *v = &m->vit;
    const nr_vit_config *c = &v->config;
    int64_t n = c->n_positions, d = c->hidden;
    char name[128];
    nr_vit_embed(v, be, pixels);
    be->ops->layer_norm(be, v->x, v->x, n, c->hidden, m->pre_norm.weight, m->pre_norm.bias,
                        c->layer_norm_eps);
    snprintf(name, sizeof name, "%s.pre_layrnorm", stage);
    nr_tap_rows(tap, be, name, v->x, n, d);
    for (int32_t i = 0; i < v->n_layers_loaded; i++) {
        float *x = i < c->n_layers_used ? v->x : m->x_rest;
        if (i == c->n_layers_used) be->ops->copy(be, x, v->x, (size_t)(n * d) * sizeof(float));
        nr_vit_run_block(v, be, i, x);
        snprintf(name, sizeof name, "%s.encoder.layers.%d", stage, i);
        nr_tap_rows(tap, be, name, x, n, d);
    }
    return v->x;
}
