/* SPDX-License-Identifier: MIT
 * clip_load.c - binds the vision tower's tensors. */
#include "clip_vit.h"

#include "nr_alloc.h"

/* "PREFIXencoder.layers.N." into dst. */
static const char *layer_prefix(char *dst, const char *prefix, int32_t i) {
    return nr_load_name(dst, "%sencoder.layers.%d.", prefix, i);
}

/* weight and bias of one norm; gamma [hidden] receives the weight, or NULL. */
static nr_status load_norm(nr_clip *m, nr_loader *l, const char *prefix, const char *which,
                           float *weight, float *bias, float *gamma, nr_error *err) {
    char name[NR_LOAD_NAME_MAX];
    int64_t dims[1] = {m->config.hidden};
    nr_load_name(name, "%s%s.weight", prefix, which);
    NR_TRY(nr_load_tensor(l, name, 1, dims, weight, gamma, err));
    nr_load_name(name, "%s%s.bias", prefix, which);
    return nr_load_tensor(l, name, 1, dims, bias, NULL, err);
}

static nr_status load_qkv(nr_clip *m, nr_loader *l, const char *prefix, nr_wide_linear *w,
                          const float *gamma, nr_error *err) {
    static const char *const which[3] = {"q", "k", "v"};
    char weight[3][NR_LOAD_NAME_MAX], bias[3][NR_LOAD_NAME_MAX];
    nr_linear_source source = {.n_parts = 3, .gamma = gamma};
    for (int i = 0; i < 3; i++) {
        source.weight[i] =
            nr_load_name(weight[i], "%sself_attn.%s_proj.weight", prefix, which[i]);
        source.bias[i] = nr_load_name(bias[i], "%sself_attn.%s_proj.bias", prefix, which[i]);
        source.rows[i] = m->config.hidden;
    }
    return nr_wide_linear_load(l, w, &source, err);
}

static nr_status load_single(nr_loader *l, const char *prefix, const char *which, nr_wide_linear *w,
                             const float *gamma, nr_error *err) {
    char weight[NR_LOAD_NAME_MAX], bias[NR_LOAD_NAME_MAX];
    nr_load_name(weight, "%s%s.weight", prefix, which);
    nr_load_name(bias, "%s%s.bias", prefix, which);
    nr_linear_source source = {
        .n_parts = 1, .weight = {weight}, .bias = {bias}, .rows = {w->high.n_out}, .gamma = gamma};
    return nr_wide_linear_load(l, w, &source, err);
}

static nr_status load_embeddings(nr_clip *m, nr_loader *l, const char *prefix, nr_error *err) {
    const nr_clip_config *c = &m->config;
    char name[NR_LOAD_NAME_MAX];
    int64_t token_dims[1] = {c->hidden}, position_dims[2] = {c->n_positions, c->hidden};
    nr_load_name(name, "%sembeddings.class_embedding", prefix);
    NR_TRY(nr_load_tensor(l, name, 1, token_dims, m->class_token, NULL, err));
    nr_load_name(name, "%sembeddings.position_embedding.weight", prefix);
    NR_TRY(nr_load_tensor(l, name, 2, position_dims, m->positions, NULL, err));
    nr_load_name(name, "%sembeddings.patch_embedding.weight", prefix);
    nr_linear_source source = {.n_parts = 1,
                               .weight = {name},
                               .rows = {c->hidden},
                               .flatten = true,
                               .keep = true};
    return nr_wide_linear_load(l, &m->patches, &source, err);
}

static nr_status load_layer(nr_clip *m, nr_loader *l, const char *prefix, int32_t i, float *gamma,
                            nr_error *err) {
    nr_clip_layer *layer = &m->layers[i];
    char at[NR_LOAD_NAME_MAX];
    layer_prefix(at, prefix, i);
    NR_TRY(load_norm(m, l, at, "layer_norm1", layer->norm1_weight, layer->norm1_bias, gamma, err));
    NR_TRY(load_qkv(m, l, at, &layer->qkv, gamma, err));
    NR_TRY(load_single(l, at, "self_attn.out_proj", &layer->attn_out, NULL, err));
    NR_TRY(load_norm(m, l, at, "layer_norm2", layer->norm2_weight, layer->norm2_bias, gamma, err));
    NR_TRY(load_single(l, at, "mlp.fc1", &layer->fc1, gamma, err));
    return load_single(l, at, "mlp.fc2", &layer->fc2, NULL, err);
}

static nr_status load_all(nr_clip *m, nr_loader *l, const char *prefix, float *gamma,
                          nr_error *err) {
    NR_TRY(load_embeddings(m, l, prefix, err));
    NR_TRY(load_norm(m, l, prefix, "pre_layrnorm", m->pre_norm_weight, m->pre_norm_bias, NULL,
                     err));
    for (int32_t i = 0; i < m->n_layers_loaded; i++)
        NR_TRY(load_layer(m, l, prefix, i, gamma, err));
    return NR_STATUS_OK;
}

nr_status nr_clip_load(nr_clip *m, nr_loader *l, const char *prefix, nr_error *err) {
    float *gamma = nr_calloc((size_t)m->config.hidden, sizeof *gamma);
    NR_FAIL_IF(!gamma, NO_MEMORY, "norm weights");
    nr_status status = load_all(m, l, prefix, gamma, err);
    nr_free(gamma);
    return status;
}
