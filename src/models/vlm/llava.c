/* SPDX-License-Identifier: MIT
 *
 * llava.c - see llava.h. Vision tower and decoder never run at the same time, so their scratch
 * shares one block.
 */
#include "llava.h"

#include "clip_vit.h"
#include "llama.h"
#include "mlp_projector.h"
#include "preprocess_config.h"

#include "activation_config.h"
#include "nr_alloc.h"
#include "nr_limits.h"

#define ANSWER_ROOM 448 /* positions beside the image in the default context: question and answer */

typedef struct llava {
    nr_model base;
    nr_clip vision;
    nr_projector projector;
    nr_llama language;
    bool keep_class_token; /* vision_feature_select_strategy "full" */
} llava;

static void llava_destroy(nr_model *model) {
    llava *m = (llava *)model;
    if (!m) return;
    nr_clip_release(&m->vision);
    nr_llama_release(&m->language);
    nr_free(m);
}

static nr_status configure_vision(llava *m, const nr_json_at *top, const nr_model_options *options,
                                  nr_error *err) {
    static const char *const strategies[] = {"default", "full"};
    static const char *const towers[] = {"clip_vision_model"};
    nr_json_at vision;
    int strategy = 0, tower = 0;
    int32_t feature_layer = -2;
    NR_TRY(nr_json_enter(top, "vision_config", &vision, err));
    NR_TRY(nr_json_opt_choice(&vision, "model_type", towers, 1, &tower, err));
    NR_TRY(nr_json_opt_choice(top, "vision_feature_select_strategy", strategies, 2, &strategy,
                              err));
    NR_TRY(nr_json_opt_i32(top, "vision_feature_layer", -NR_LAYERS_MAX, NR_LAYERS_MAX,
                           &feature_layer, err));
    m->keep_class_token = strategy == 1;
    return nr_clip_configure(&m->vision, &vision, feature_layer, options, err);
}

static nr_status configure_language(llava *m, const nr_json_at *top,
                                    const nr_model_options *options, nr_error *err) {
    static const char *const decoders[] = {"llama"};
    nr_json_at text;
    int decoder = 0;
    nr_model_options text_options = *options;
    text_options.context_default = m->base.info.n_image_tokens + ANSWER_ROOM;
    NR_TRY(nr_json_enter(top, "text_config", &text, err));
    NR_TRY(nr_json_opt_choice(&text, "model_type", decoders, 1, &decoder, err));
    return nr_llama_configure(&m->language, &text, &text_options, err);
}

static nr_status configure_projector(llava *m, const nr_json_at *top, nr_error *err) {
    m->projector = (nr_projector){.vision_hidden = m->vision.vit.config.hidden,
                                  .text_hidden = m->language.base.shape.hidden,
                                  .rows_max = m->base.info.n_image_tokens,
                                  .bias = true,
                                  .activation = NR_ACTIVATION_GELU,
                                  .precision = m->language.base.precision};
    NR_TRY(nr_json_opt_bool(top, "multimodal_projector_bias", &m->projector.bias, err));
    return nr_activation_config(top, "projector_hidden_act", &m->projector.activation, err);
}

/* Second digits for whatever fits the allowance, the cheapest first. */
static void choose_wide(llava *m) {
    uint64_t left = NR_WIDE_BYTES_MAX, patches = nr_vit_patch_bytes(&m->vision.vit.config);
    uint64_t bridge = nr_projector_bytes(&m->projector);
    uint64_t blocks = nr_vit_block_bytes(&m->vision.vit.config);
    m->vision.vit.wide_patches = patches <= left;
    if (m->vision.vit.wide_patches) left -= patches;
    m->projector.wide = bridge <= left;
    if (m->projector.wide) left -= bridge;
    m->vision.vit.wide = blocks <= left;
    if (m->vision.vit.wide) left -= blocks;
    nr_decoder_choose_embedding(&m->language.base, left);
}

static nr_status configure(llava *m, const nr_hf_config *config, const nr_model_options *options,
                           nr_error *err) {
    nr_json_at top = config->config;
    nr_model_info *info = &m->base.info;
    NR_TRY(configure_vision(m, &top, options, err));
    int32_t n_positions = m->vision.vit.config.n_positions;
    info->n_image_tokens = m->keep_class_token ? n_positions : n_positions - 1;
    NR_TRY(configure_language(m, &top, options, err));
    NR_TRY(configure_projector(m, &top, err));
    choose_wide(m);
    nr_llama_describe(&m->language, info);
    nr_vit_describe(&m->vision.vit, info);
    info->image_token_id = 32000;
    NR_TRY(nr_json_opt_i32(&top, "image_token_id", 0, info->vocab - 1, &info->image_token_id, err));
    NR_TRY(nr_json_opt_i32(&top, "image_token_index", 0, info->vocab - 1, &info->image_token_id,
                           err));
    NR_FAIL_IF(info->image_token_id >= info->vocab, LIMIT,
               "%s: image token id %d, the vocabulary has %d entries", top.where,
               info->image_token_id, info->vocab);
    int32_t side = m->vision.vit.config.image_side;
    return nr_preprocess_config(config, side, &info->preprocess, err);
}

static nr_status llava_create(const nr_hf_config *config, const nr_model_options *options,
                              nr_model **out, nr_error *err) {
    llava *m = nr_calloc(1, sizeof *m);
    NR_FAIL_IF(!m, NO_MEMORY, "model description");
    m->base.desc = &nr_llava_desc;
    nr_status status = configure(m, config, options, err);
    if (status != NR_STATUS_OK) {
        llava_destroy(&m->base);
        return status;
    }
    *out = &m->base;
    return NR_STATUS_OK;
}

static void llava_place(nr_model *model, const nr_placement *placement) {
    model->info.vision_side = placement->vision_on_host ? NR_SIDE_HOST : NR_SIDE_DEVICE;
    nr_decoder_place(&((llava *)model)->language.base, placement, &model->info);
}

static void llava_carve_weights(nr_model *model, nr_arena *arenas) {
    llava *m = (llava *)model;
    nr_arena *vision = &arenas[model->info.vision_side];
    nr_clip_carve_weights(&m->vision, vision);
    nr_projector_carve_weights(&m->projector, vision);
    nr_llama_carve_weights(&m->language, arenas);
}

/* The spellings in use: the hub's, transformers 4.52 and later, and without the inner module. */
static nr_status llava_load(nr_model *model, nr_loader *l, nr_error *err) {
    llava *m = (llava *)model;
    static const char *const vision[] = {
        "vision_tower.vision_model.", "model.vision_tower.vision_model.", "model.vision_tower.",
        "vision_tower."};
    static const char *const bridge[] = {"multi_modal_projector.", "model.multi_modal_projector."};
    static const char *const language[] = {"language_model.model.", "model.language_model.",
                                           "model.language_model.model.", "language_model."};
    static const char *const heads[] = {"language_model.lm_head.", "lm_head.",
                                        "model.language_model.lm_head."};
    const char *prefix, *head = "";
    char head_name[NR_LOAD_NAME_MAX];
    nr_load_to(l, m->base.info.vision_side);
    NR_TRY(nr_load_prefix(l->weights, vision, 4, "pre_layrnorm.weight", &prefix, err));
    NR_TRY(nr_clip_load(&m->vision, l, prefix, err));
    NR_TRY(nr_load_prefix(l->weights, bridge, 2, "linear_1.weight", &prefix, err));
    NR_TRY(nr_projector_load(&m->projector, l, prefix, err));
    NR_TRY(nr_load_prefix(l->weights, language, 4, "embed_tokens.weight", &prefix, err));
    if (!m->language.base.shape.tied)
        NR_TRY(nr_load_prefix(l->weights, heads, 3, "weight", &head, err));
    nr_load_name(head_name, "%sweight", head);
    return nr_llama_load(&m->language, l, prefix, head_name, err);
}

static void carve_vision(nr_model *model, nr_arena *arenas) {
    llava *m = (llava *)model;
    nr_arena *vision = &arenas[model->info.vision_side];
    nr_clip_carve_scratch(&m->vision, vision);
    nr_projector_carve_scratch(&m->projector, vision);
    nr_features_carve(model, vision);
}

static void carve_language(nr_model *model, nr_arena *arenas) {
    nr_llama_carve_scratch(&((llava *)model)->language, arenas);
}

static void llava_carve_scratch(nr_model *model, nr_arena *arenas) {
    nr_carve_overlaid(model, arenas, carve_vision, carve_language);
}

static void llava_carve_cache(const nr_model *model, nr_cache *cache, nr_arena *host,
                              nr_arena *arenas) {
    const llava *m = (const llava *)model;
    const nr_model_info *info = &model->info;
    size_t n = (size_t)info->n_image_tokens * (size_t)info->hidden;
    nr_decoder_carve_cache(&m->language.base, cache, host, arenas);
    cache->image_features = nr_arena_take(&arenas[info->features_side], n, sizeof(float));
}

static void llava_encode_image(nr_model *model, const nr_sides *sides, const nr_cache *cache,
                               const float *pixels, const nr_tap *tap) {
    llava *m = (llava *)model;
    nr_backend *be = sides->be[model->info.vision_side];
    const float *hidden = nr_clip_forward(&m->vision, be, pixels, tap, "model.vision_tower");
    int64_t d = m->vision.vit.config.hidden, n = m->base.info.n_image_tokens;
    float *rows = nr_features_rows(model, cache);
    nr_projector_forward(&m->projector, be, rows, hidden + (m->keep_class_token ? 0 : d), n);
    nr_tap_rows(tap, be, "model.multi_modal_projector", rows, n, m->base.info.hidden);
    nr_features_hand_over(model, sides, cache);
}

static const float *llava_forward(nr_model *model, const nr_sides *sides, const nr_span *spans,
                                  int n_spans, const nr_tap *tap) {
    llava *m = (llava *)model;
    return nr_llama_forward(&m->language, sides, spans, n_spans, m->base.info.image_token_id, tap,
                            "model.language_model");
}

const nr_model_desc nr_llava_desc = {.model_type = "llava",
                                     .create = llava_create,
                                     .destroy = llava_destroy,
                                     .place = llava_place,
                                     .carve_weights = llava_carve_weights,
                                     .load = llava_load,
                                     .carve_scratch = llava_carve_scratch,
                                     .carve_cache = llava_carve_cache,
                                     .encode_image = llava_encode_image,
                                     .forward = llava_forward};
