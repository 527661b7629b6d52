/* SPDX-License-Identifier: MIT
 * llama_lm.c - see llama_lm.h: the decoder of llama.h as a model of its own. */
#include "llama_lm.h"

#include "llama.h"

#include "nr_alloc.h"

#define CONTEXT_DEFAULT 2048

typedef struct llama_lm {
    nr_model base;
    nr_llama language;
} llama_lm;

static void llama_lm_destroy(nr_model *model) {
    llama_lm *m = (llama_lm *)model;
    if (!m) return;
    nr_llama_release(&m->language);
    nr_free(m);
}

static nr_status llama_lm_create(const nr_hf_config *config, const nr_model_options *options,
                                 nr_model **out, nr_error *err) {
    llama_lm *m = nr_calloc(1, sizeof *m);
    NR_FAIL_IF(!m, NO_MEMORY, "model description");
    nr_json_at top = config->config;
    nr_model_options text_options = *options;
    text_options.context_default = CONTEXT_DEFAULT;
    m->base.desc = &nr_llama_lm_desc;
    nr_status status = nr_llama_configure(&m->language, &top, &text_options, err);
    if (status != NR_STATUS_OK) {
        llama_lm_destroy(&m->base);
        return status;
    }
    nr_decoder_choose_embedding(&m->language.base, NR_WIDE_BYTES_MAX);
    nr_llama_describe(&m->language, &m->base.info);
    m->base.info.image_token_id = -1;
    *out = &m->base;
    return NR_STATUS_OK;
}

static void llama_lm_place(nr_model *model, const nr_placement *placement) {
    nr_decoder_place(&((llama_lm *)model)->language.base, placement, &model->info);
}

static void llama_lm_carve_weights(nr_model *model, nr_arena *arenas) {
    nr_llama_carve_weights(&((llama_lm *)model)->language, arenas);
}

static nr_status llama_lm_load(nr_model *model, nr_loader *l, nr_error *err) {
    llama_lm *m = (llama_lm *)model;
    return nr_llama_load(&m->language, l, "model.", "lm_head.weight", err);
}

static void llama_lm_carve_scratch(nr_model *model, nr_arena *arenas) {
    nr_llama_carve_scratch(&((llama_lm *)model)->language, arenas);
}

static void llama_lm_carve_cache(const nr_model *model, nr_cache *cache, nr_arena *host,
                                 nr_arena *arenas) {
    nr_decoder_carve_cache(&((const llama_lm *)model)->language.base, cache, host, arenas);
    cache->image_features = NULL;
}

static const float *llama_lm_forward(nr_model *model, const nr_sides *sides, const nr_span *spans,
                                     int n_spans, const nr_tap *tap) {
    nr_llama *m = &((llama_lm *)model)->language;
    return nr_llama_forward(m, sides, spans, n_spans, -1, tap, "model");
}

const nr_model_desc nr_llama_lm_desc = {.model_type = "llama",
                                        .create = llama_lm_create,
                                        .destroy = llama_lm_destroy,
                                        .place = llama_lm_place,
                                        .carve_weights = llama_lm_carve_weights,
                                        .load = llama_lm_load,
                                        .carve_scratch = llama_lm_carve_scratch,
                                        .carve_cache = llama_lm_carve_cache,
                                        .forward = llama_lm_forward};
