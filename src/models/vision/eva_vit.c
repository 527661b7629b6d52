/* SPDX-License-Identifier: MIT
 * eva_vit.c - see eva_vit.h. */
#include "eva_vit.h"

#include <stdio.h>

nr_status nr_eva_configure(nr_eva *m, const nr_json_at *vision_config,
                           const nr_model_options *options, nr_error *err) {
    nr_vit_config *c = &m->vit.config;
    *c = (nr_vit_config){.hidden = 1408,
                         .ffn = 6144,
                         .n_layers = 39,
                         .n_heads = 16,
                         .image_side = 224,
                         .patch = 14,
                         .patch_bias = true,
                         .qkv_bias = true,
                         .layer_norm_eps = 1e-6f,
                         .activation = NR_ACTIVATION_GELU};
    NR_TRY(nr_vit_read_config(vision_config, c, err));
    NR_TRY(nr_json_opt_bool(vision_config, "qkv_bias", &c->qkv_bias, err));
    return nr_vit_init(&m->vit, options, err);
}

void nr_eva_release(nr_eva *m) {
    nr_vit_release(&m->vit);
}

void nr_eva_carve_weights(nr_eva *m, nr_arena *a) {
    nr_vit_carve_embeddings(&m->vit, a);
    nr_vit_carve_layers(&m->vit, a);
    nr_norm_carve(&m->post_norm, a, m->vit.config.hidden);
}

nr_status nr_eva_load(nr_eva *m, nr_loader *l, const char *prefix, float *gamma, nr_error *err) {
    static const nr_vit_names names = {.qkv = {"self_attn.qkv"},
                                       .attn_out = "self_attn.projection",
                                       .positions = "embeddings.position_embedding",
                                       .class_dims = 3,
                                       .position_dims = 3};
    NR_TRY(nr_vit_load_embeddings(&m->vit, l, prefix, &names, err));
    NR_TRY(nr_vit_load_layers(&m->vit, l, prefix, &names, gamma, err));
    return nr_norm_load(l, &m->post_norm, prefix, "post_layernorm", m->vit.config.hidden, gamma,
                        err);
}

void nr_eva_carve_scratch(nr_eva *m, nr_arena *a) {
    nr_vit_carve_scratch(&m->vit, a);
}

const float *nr_eva_forward(nr_eva *m, nr_backend *be, const float *pixels, const nr_tap *tap,
                            const char *stage) {
    nr_vit *v = &m->vit;
    const nr_vit_config *c = &v->config;
    char name[128];
    nr_vit_embed(v, be, pixels);
    for (int32_t i = 0; i < c->n_layers; i++) {
        nr_vit_run_block(v, be, i, v->x);
        snprintf(name, sizeof name, "%s.encoder.layers.%d", stage, i);
        nr_tap_rows(tap, be, name, v->x, c->n_positions, c->hidden);
    }
    be->ops->layer_norm(be, v->x, v->x, c->n_positions, c->hidden, m->post_norm.weight,
                        m->post_norm.bias, c->layer_norm_eps);
    nr_tap_rows(tap, be, stage, v->x, c->n_positions, c->hidden);
    return v->x;
}
