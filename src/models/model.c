/* SPDX-License-Identifier: MIT
 * model.c - see model.h: what all models share. */
#include "model.h"
#include "nr_alloc.h"

#include <math.h>

float nr_attention_scale(int32_t head_dim) {
    return (float)(1.0 / sqrt((double)head_dim));
}

nr_dtype nr_kv_dtype(const nr_model_options *options) {
    if (options->kv_int8) return NR_DTYPE_I8;
    return options->precision == NR_DTYPE_F32 ? NR_DTYPE_F32 : NR_DTYPE_F16;
}

nr_kv nr_kv_carve(nr_arena *a, nr_dtype dtype, int32_t n_kv_heads, int32_t head_dim,
                  int32_t n_keys) {
    size_t cap = nr_round_up((size_t)n_keys, NR_KV_BLOCK), rows = (size_t)n_kv_heads * cap;
    size_t v_dim = nr_round_up((size_t)head_dim, NR_KV_BLOCK), cell = nr_dtype_bytes(dtype);
    nr_kv kv = {
        .dtype = dtype, .n_kv_heads = n_kv_heads, .head_dim = head_dim, .cap = (int32_t)cap};
    kv.k = nr_arena_take(a, rows * (size_t)head_dim, cell);
    kv.v = nr_arena_take(a, rows * v_dim, cell);
    if (dtype != NR_DTYPE_I8) return kv;
    kv.k_scale = nr_arena_take(a, rows, sizeof(float));
    kv.v_scale = nr_arena_take(a, rows, sizeof(float));
    return kv;
}

void nr_carve_overlaid(nr_model *model, nr_arena *arenas, nr_carve_fn first, nr_carve_fn second) {
    nr_arena one[NR_SIDES], other[NR_SIDES];
    for (int i = 0; i < NR_SIDES; i++) one[i] = other[i] = nr_arena_within(NULL, 0);
    first(model, one);
    second(model, other);
    for (int i = 0; i < NR_SIDES; i++) {
        size_t bytes = NR_MAX(one[i].used, other[i].used);
        void *block = bytes ? nr_arena_take(&arenas[i], bytes, 1) : NULL;
        arenas[i].overflow |= one[i].overflow || other[i].overflow;
        one[i] = other[i] = nr_arena_within(block, bytes);
    }
    first(model, one);
    second(model, other);
}

size_t nr_features_bytes(const nr_model_info *info) {
    return (size_t)info->n_image_tokens * (size_t)info->hidden * sizeof(float);
}

void nr_features_carve(nr_model *model, nr_arena *vision) {
    const nr_model_info *info = &model->info;
    model->feature_rows = NULL;
    if (info->vision_side != info->features_side)
        model->feature_rows = nr_arena_take(vision, nr_features_bytes(info), 1);
}

float *nr_features_rows(const nr_model *model, const nr_cache *cache) {
    return model->feature_rows ? model->feature_rows : cache->image_features;
}

void nr_features_hand_over(const nr_model *model, const nr_sides *sides, const nr_cache *cache) {
    const nr_model_info *info = &model->info;
    if (!model->feature_rows) return;
    nr_sides_copy(sides, info->features_side, cache->image_features, info->vision_side,
                  model->feature_rows, nr_features_bytes(info));
}

/* Only a trace has a tap, so this may allocate. */
void nr_tap_rows(const nr_tap *tap, nr_backend *be, const char *name, const float *rows,
                 int64_t n_rows, int64_t n_cols) {
    if (!nr_tap_on(tap)) return;
    size_t bytes = (size_t)n_rows * (size_t)n_cols * sizeof(float);
    float *host = nr_malloc(bytes);
    if (host) be->ops->download(be, host, rows, bytes);
    tap->fn(tap->ctx, name, host, n_rows, n_cols); /* NULL rows: the receiver reports NO_MEMORY */
    nr_free(host);
}
