/* SPDX-License-Identifier: MIT
 *
 * blip2.c - see blip2.h. Vision part and decoder never run at the same time, so their scratch
 * shares one block.
 */
#include "blip2.h"

#include "eva_vit.h"
#include "opt.h"
#include "preprocess_config.h"
#include "qformer.h"

#include "nr_alloc.h"
#include "nr_limits.h"

#define ANSWER_ROOM 224      /* positions beside the picture in the default context */
#define QUERIES_MAX 1024     /* published: 32 */
#define IMAGE_TOKEN_ID 50265 /* where the config names none, as files before it had a token */

typedef struct blip2 {
    nr_model base;
    nr_eva vision;
    nr_qformer bridge;
    nr_opt language;
} blip2;

static void blip2_destroy(nr_model *model) {
    blip2 *m = (blip2 *)model;
    if (!m) return;
    nr_eva_release(&m->vision);
    nr_qformer_release(&m->bridge);
    nr_opt_release(&m->language);
    nr_free(m);
}

/* A sub-object whose model_type, where it says one, is `type`. */
static nr_status enter(const nr_json_at *top, const char *key, const char *type, nr_json_at *out,
                       nr_error *err) {
    int i = 0;
    NR_TRY(nr_json_enter(top, key, out, err));
    return nr_json_opt_choice(out, "model_type", &type, 1, &i, err);
}

static nr_status configure_parts(blip2 *m, const nr_json_at *top, const nr_model_options *options,
                                 nr_error *err) {
    nr_json_at vision, bridge, text;
    nr_model_options text_options = *options;
    nr_qformer_config *q = &m->bridge.config;
    q->n_queries = 32;
    NR_TRY(nr_json_opt_i32(top, "num_query_tokens", 1, QUERIES_MAX, &q->n_queries, err));
    NR_TRY(enter(top, "vision_config", "blip_2_vision_model", &vision, err));
    NR_TRY(nr_eva_configure(&m->vision, &vision, options, err));
    text_options.context_default = q->n_queries + ANSWER_ROOM;
    NR_TRY(enter(top, "text_config", "opt", &text, err));
    NR_TRY(nr_opt_configure(&m->language, &text, &text_options, err));
    q->n_vision = m->vision.vit.config.n_positions;
    q->vision_hidden = m->vision.vit.config.hidden;
    q->text_hidden = m->language.base.shape.hidden;
    m->bridge.precision = options->precision;
    NR_TRY(enter(top, "qformer_config", "blip_2_qformer", &bridge, err));
    return nr_qformer_configure(&m->bridge, &bridge, err);
}

/* Second digits for whatever fits the allowance, the cheapest first. */
static void choose_wide(blip2 *m) {
    const struct {
        uint64_t bytes;
        bool *wide;
    } parts[] = {{nr_vit_patch_bytes(&m->vision.vit.config), &m->vision.vit.wide_patches},
                 {nr_qformer_projection_bytes(&m->bridge.config), &m->bridge.wide_projection},
                 {nr_qformer_out_bytes(&m->bridge.config), &m->bridge.wide_out},
                 {nr_qformer_layer_bytes(&m->bridge.config), &m->bridge.wide},
                 {nr_vit_block_bytes(&m->vision.vit.config), &m->vision.vit.wide}};
    uint64_t left = NR_WIDE_BYTES_MAX;
    for (size_t i = 0; i < NR_COUNT(parts); i++) {
        *parts[i].wide = parts[i].bytes <= left;
        if (*parts[i].wide) left -= parts[i].bytes;
    }
    nr_decoder_choose_embedding(&m->language.base, left);
}

static nr_status configure(blip2 *m, const nr_hf_config *config, const nr_model_options *options,
                           nr_error *err) {
    nr_json_at top = config->config;
    nr_model_info *info = &m->base.info;
    NR_TRY(configure_parts(m, &top, options, err));
    choose_wide(m);
    nr_opt_describe(&m->language, info);
    nr_vit_describe(&m->vision.vit, info);
    nr_qformer_describe(&m->bridge, info);
    info->n_image_tokens = m->bridge.config.n_queries;
    info->image_token_id = IMAGE_TOKEN_ID;
    NR_TRY(
        nr_json_opt_i32(&top, "image_token_index", 0, info->vocab - 1, &info->image_token_id, err));
    NR_TRY(nr_json_opt_i32(&top, "image_token_id", 0, info->vocab - 1, &info->image_token_id, err));
    NR_FAIL_IF(info->image_token_id >= info->vocab, LIMIT,
               "%s: image token id %d, the vocabulary has %d entries", top.where,
               info->image_token_id, info->vocab);
    NR_TRY(nr_preprocess_config(config, m->vision.vit.config.image_side, &info->preprocess, err));
    if (!config->preprocessor.node) info->preprocess.fit = NR_IMAGE_FIT_SQUASH;
    return NR_STATUS_OK;
}

static nr_status blip2_create(const nr_hf_config *config, const nr_model_options *options,
                              nr_model **out, nr_error *err) {
    blip2 *m = nr_calloc(1, sizeof *m);
    NR_FAIL_IF(!m, NO_MEMORY, "model description");
    m->base.desc = &nr_blip2_desc;
    nr_status status = configure(m, config, options, err);
    if (status != NR_STATUS_OK) {
        blip2_destroy(&m->base);
        return status;
    }
    *out = &m->base;
    return NR_STATUS_OK;
}

static void blip2_place(nr_model *model, const nr_placement *placement) {
    model->info.vision_side = placement->vision_on_host ? NR_SIDE_HOST : NR_SIDE_DEVICE;
    nr_decoder_place(&((blip2 *)model)->language.base, placement, &model->info);
}

static void blip2_carve_weights(nr_model *model, nr_arena *arenas) {
    blip2 *m = (blip2 *)model;
    nr_arena *vision = &arenas[model->info.vision_side];
    nr_eva_carve_weights(&m->vision, vision);
    nr_qformer_carve_weights(&m->bridge, vision);
    nr_opt_carve_weights(&m->language, arenas);
}

static nr_status load_vision_parts(blip2 *m, nr_loader *l, float *gamma, nr_error *err) {
    static const char *const vision[] = {"vision_model.", "model.vision_model."};
    static const char *const bridge[] = {"", "model."};
    const char *prefix;
    nr_load_to(l, m->base.info.vision_side);
    NR_TRY(nr_load_prefix(l->weights, vision, 2, "post_layernorm.weight", &prefix, err));
    NR_TRY(nr_eva_load(&m->vision, l, prefix, gamma, err));
    NR_TRY(nr_load_prefix(l->weights, bridge, 2, "query_tokens", &prefix, err));
    return nr_qformer_load(&m->bridge, l, prefix, gamma, err);
}

/* The spellings in use: the hub's, with the modules moved into an inner model, without OPT's own
 * inner modules. A head beside a tied table is the same tensor again. */
static nr_status load_language(blip2 *m, nr_loader *l, nr_error *err) {
    static const char *const language[] = {
        "language_model.model.decoder.", "model.language_model.decoder.",
        "model.language_model.model.decoder.", "language_model.decoder."};
    static const char *const heads[] = {"language_model.lm_head.", "lm_head.",
                                        "model.language_model.lm_head."};
    const char *prefix, *head = "";
    char head_name[NR_LOAD_NAME_MAX];
    NR_TRY(nr_load_prefix(l->weights, language, 4, "embed_tokens.weight", &prefix, err));
    if (!m->language.base.shape.tied)
        NR_TRY(nr_load_prefix(l->weights, heads, 3, "weight", &head, err));
    nr_load_name(head_name, "%sweight", head);
    return nr_opt_load(&m->language, l, prefix, head_name, err);
}

static nr_status blip2_load(nr_model *model, nr_loader *l, nr_error *err) {
    blip2 *m = (blip2 *)model;
    float *gamma = nr_calloc((size_t)m->vision.vit.config.hidden, sizeof *gamma);
    NR_FAIL_IF(!gamma, NO_MEMORY, "norm weights");
    nr_status status = load_vision_parts(m, l, gamma, err);
    nr_free(gamma);
    return status == NR_STATUS_OK ? load_language(m, l, err) : status;
}

static void carve_vision(nr_model *model, nr_arena *arenas) {
    blip2 *m = (blip2 *)model;
    nr_arena *vision = &arenas[model->info.vision_side];
    nr_eva_carve_scratch(&m->vision, vision);
    nr_qformer_carve_scratch(&m->bridge, vision);
    nr_features_carve(model, vision);
}

static void carve_language(nr_model *model, nr_arena *arenas) {
    nr_opt_carve_scratch(&((blip2 *)model)->language, arenas);
}

static void blip2_carve_scratch(nr_model *model, nr_arena *arenas) {
    nr_carve_overlaid(model, arenas, carve_vision, carve_language);
}

static void blip2_carve_cache(const nr_model *model, nr_cache *cache, nr_arena *host,
                              nr_arena *arenas) {
    const blip2 *m = (const blip2 *)model;
    const nr_model_info *info = &model->info;
    size_t n = (size_t)info->n_image_tokens * (size_t)info->hidden;
    nr_decoder_carve_cache(&m->language.base, cache, host, arenas);
    cache->image_features = nr_arena_take(&arenas[info->features_side], n, sizeof(float));
}

static void blip2_encode_image(nr_model *model, const nr_sides *sides, const nr_cache *cache,
                               const float *pixels, const nr_tap *tap) {
    blip2 *m = (blip2 *)model;
    nr_backend *be = sides->be[model->info.vision_side];
    const float *rows = nr_eva_forward(&m->vision, be, pixels, tap, "vision_model");
    nr_qformer_forward(&m->bridge, be, nr_features_rows(model, cache), rows, tap);
    nr_features_hand_over(model, sides, cache);
}

static const float *blip2_forward(nr_model *model, const nr_sides *sides, const nr_span *spans,
                                  int n_spans, const nr_tap *tap) {
    blip2 *m = (blip2 *)model;
    return nr_opt_forward(&m->language, sides, spans, n_spans, m->base.info.image_token_id, tap,
                          "language_model.model.decoder");
}

const nr_model_desc nr_blip2_desc = {.model_type = "blip-2",
                                     .create = blip2_create,
                                     .destroy = blip2_destroy,
                                     .place = blip2_place,
                                     .carve_weights = blip2_carve_weights,
                                     .load = blip2_load,
                                     .carve_scratch = blip2_carve_scratch,
                                     .carve_cache = blip2_carve_cache,
                                     .encode_image = blip2_encode_image,
                                     .forward = blip2_forward};
