/* SPDX-License-Identifier: MIT
 * vit_load.c - binds the tensors that vision transformers share. */
#include "vit.h"

nr_status nr_vit_load_embeddings(nr_vit *m, nr_loader *l, const char *prefix,
                                 const nr_vit_names *names, nr_error *err) {
    const nr_vit_config *c = &m->config;
    char name[NR_LOAD_NAME_MAX], bias[NR_LOAD_NAME_MAX];
    int64_t token[3] = {1, 1, c->hidden}, positions[3] = {1, c->n_positions, c->hidden};
    nr_load_name(name, "%sembeddings.class_embedding", prefix);
    NR_TRY(nr_load_tensor(l, name, names->class_dims, token + 3 - names->class_dims, m->class_token,
                          NULL, err));
    nr_load_name(name, "%s%s", prefix, names->positions);
    NR_TRY(nr_load_tensor(l, name, names->position_dims, positions + 3 - names->position_dims,
                          m->positions, NULL, err));
    nr_load_name(name, "%sembeddings.patch_embedding.weight", prefix);
    nr_load_name(bias, "%sembeddings.patch_embedding.bias", prefix);
    nr_linear_source source = {.n_parts = 1,
                               .weight = {name},
                               .bias = {c->patch_bias ? bias : NULL},
                               .rows = {c->hidden},
                               .flatten = true,
                               .keep = true};
    return nr_wide_linear_load(l, &m->patches, &source, err);
}

static nr_status load_qkv(nr_vit *m, nr_loader *l, nr_modules at, const nr_vit_names *names,
                          nr_wide_linear *w, nr_error *err) {
    int32_t n = 0, hidden = m->config.hidden;
    at.has_bias = m->config.qkv_bias;
    for (; n < 3 && names->qkv[n]; n++) at.names[n] = names->qkv[n];
    for (int32_t i = 0; i < n; i++) at.rows[i] = 3 * hidden / n;
    return nr_modules_load_wide(l, w, &at, err);
}

static nr_status load_one(nr_loader *l, const char *prefix, const char *name, nr_wide_linear *w,
                          const float *gamma, nr_error *err) {
    return nr_modules_load_wide(l, w,
                                &(nr_modules){.prefix = prefix,
                                              .names = {name},
                                              .rows = {w->high.n_out},
                                              .has_bias = true,
                                              .gamma = gamma},
                                err);
}

nr_status nr_vit_load_layers(nr_vit *m, nr_loader *l, const char *prefix, const nr_vit_names *names,
                             float *gamma, nr_error *err) {
    int32_t d = m->config.hidden;
    for (int32_t i = 0; i < m->n_layers_loaded; i++) {
        nr_vit_layer *layer = &m->layers[i];
        char at[NR_LOAD_NAME_MAX];
        nr_load_name(at, "%sencoder.layers.%d.", prefix, i);
        NR_TRY(nr_norm_load(l, &layer->norm1, at, "layer_norm1", d, gamma, err));
        NR_TRY(load_qkv(m, l, (nr_modules){.prefix = at, .gamma = gamma}, names, &layer->qkv, err));
        NR_TRY(load_one(l, at, names->attn_out, &layer->attn_out, NULL, err));
        NR_TRY(nr_norm_load(l, &layer->norm2, at, "layer_norm2", d, gamma, err));
        NR_TRY(load_one(l, at, "mlp.fc1", &layer->fc1, gamma, err));
        NR_TRY(load_one(l, at, "mlp.fc2", &layer->fc2, NULL, err));
    }
    return NR_STATUS_OK;
}
