/* SPDX-License-Identifier: MIT
 * vit_config.c - a vision_config's fields, checked before anything is sized. */
#include "activation_config.h"
#include "vit.h"

#include "nr_alloc.h"
#include "nr_limits.h"

static nr_status read_fields(const nr_json_at *at, nr_vit_config *c, nr_error *err) {
    int32_t channels = 3;
    NR_TRY(nr_json_opt_i32(at, "hidden_size", 1, NR_HIDDEN_MAX, &c->hidden, err));
    NR_TRY(nr_json_opt_i32(at, "intermediate_size", 1, NR_REDUCTION_MAX, &c->ffn, err));
    NR_TRY(nr_json_opt_i32(at, "num_hidden_layers", 1, NR_LAYERS_MAX, &c->n_layers, err));
    NR_TRY(nr_json_opt_i32(at, "num_attention_heads", 1, NR_HEADS_MAX, &c->n_heads, err));
    NR_TRY(nr_json_opt_i32(at, "image_size", 1, NR_VISION_SIDE_MAX, &c->image_side, err));
    NR_TRY(nr_json_opt_i32(at, "patch_size", 1, NR_VISION_SIDE_MAX, &c->patch, err));
    NR_TRY(nr_json_opt_i32(at, "num_channels", 3, 3, &channels, err));
    NR_TRY(nr_json_opt_f32(at, "layer_norm_eps", 0.0f, 1.0f, &c->layer_norm_eps, err));
    return nr_activation_config(at, "hidden_act", &c->activation, err);
}

nr_status nr_vit_read_config(const nr_json_at *at, nr_vit_config *c, nr_error *err) {
    NR_TRY(read_fields(at, c, err));
    NR_FAIL_IF(c->hidden % c->n_heads != 0 || c->hidden / c->n_heads > NR_HEAD_DIM_MAX, SHAPE,
               "%s: hidden_size %d, expected 1 to %d values for each of the %d attention heads",
               at->where, c->hidden, NR_HEAD_DIM_MAX, c->n_heads);
    c->grid = c->image_side / c->patch; /* a convolution of stride `patch` drops the rest */
    NR_FAIL_IF(c->grid < 1 || c->grid > NR_PATCH_GRID_MAX, SHAPE,
               "%s: image_size %d over patch_size %d, expected 1 to %d patches a side", at->where,
               c->image_side, c->patch, NR_PATCH_GRID_MAX);
    NR_FAIL_IF(3 * (int64_t)c->patch * c->patch > NR_REDUCTION_MAX, LIMIT,
               "%s: patch_size %d gives %lld values a patch, expected at most %d", at->where,
               c->patch, 3LL * c->patch * c->patch, NR_REDUCTION_MAX);
    c->n_positions = c->grid * c->grid + 1;
    c->n_layers_used = c->n_layers;
    return NR_STATUS_OK;
}

nr_status nr_vit_init(nr_vit *m, const nr_model_options *options, nr_error *err) {
    const nr_vit_config *c = &m->config;
    m->n_layers_loaded = options->all_layers ? c->n_layers : c->n_layers_used;
    m->precision = options->precision;
    m->layers = nr_calloc((size_t)c->n_layers, sizeof *m->layers);
    m->position_ids = nr_calloc((size_t)c->n_positions, sizeof *m->position_ids);
    NR_FAIL_IF(!m->layers || !m->position_ids, NO_MEMORY, "description of %d vision layers",
               c->n_layers);
    for (int32_t i = 0; i < c->n_positions; i++) m->position_ids[i] = i;
    return NR_STATUS_OK;
}

void nr_vit_release(nr_vit *m) {
    nr_free(m->layers);
    nr_free(m->position_ids);
    m->layers = NULL;
    m->position_ids = NULL;
}

void nr_vit_describe(const nr_vit *m, nr_model_info *info) {
    const nr_vit_config *c = &m->config;
    info->op_rows_max = NR_MAX(info->op_rows_max, c->n_positions);
    info->op_keys_max = NR_MAX(info->op_keys_max, c->n_positions);
    info->op_n_in_max = NR_MAX(info->op_n_in_max, NR_MAX(c->hidden, c->ffn));
    info->op_n_in_max = NR_MAX(info->op_n_in_max, 3 * (int64_t)c->patch * c->patch);
}
