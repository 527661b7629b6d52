/* SPDX-License-Identifier: MIT
 *
 * engine.c - opening a checkpoint: configuration, plan, weights.
 *
 * The plan and the allocation run the same carve functions, first over measuring arenas, then over
 * real ones, so they cannot disagree. Weights are loaded before scratch exists: the peak while
 * loading is the packed model plus the loader's staging.
 */
#include "engine_internal.h"

#include "registry.h"
#include "weight_loader.h"

#include "nr_alloc.h"
#include "nr_clock.h"
#include "nr_file.h"
#include "nr_limits.h"
#include "nr_threads.h"

#include <stdio.h>
#include <string.h>

#define NR_VERSION "0.1.0"

const char *nr_version(void) {
    return NR_VERSION;
}

nr_engine_options nr_engine_options_default(void) {
    return (nr_engine_options){.struct_bytes = sizeof(nr_engine_options)};
}

static nr_status check_options(const nr_engine_options *o, nr_error *err) {
    NR_FAIL_IF(o->struct_bytes != sizeof *o, ARG,
               "nr_engine_options of %u bytes, expected %zu: use nr_engine_options_default",
               o->struct_bytes, sizeof *o);
    NR_FAIL_IF(o->precision != NR_PRECISION_INT8 && o->precision != NR_PRECISION_F32, ARG,
               "precision %d, expected int8 or f32", (int)o->precision);
    NR_FAIL_IF(o->n_threads < 0 || o->n_threads > NR_THREADS_MAX, ARG,
               "threads: %d, expected 0 to %d", o->n_threads, NR_THREADS_MAX);
    NR_FAIL_IF(o->context_tokens < 0 || o->context_tokens > NR_CONTEXT_MAX, ARG,
               "context of %d tokens, expected 0 to %d", o->context_tokens, NR_CONTEXT_MAX);
    NR_FAIL_IF(o->prefill_rows < 0, ARG, "prefill rows: %d, expected 0 or more", o->prefill_rows);
    return NR_STATUS_OK;
}

nr_status nr_blueprint_open(const char *model_dir, const nr_engine_options *options,
                            nr_blueprint *out, nr_error *err) {
    NR_TRY(check_options(options, err));
    *out = (nr_blueprint){0};
    NR_TRY(nr_hf_config_load(model_dir, &out->config, err));
    nr_status status = NR_STATUS_OK;
    const nr_model_desc *desc = nr_registry_find(out->config.model_type);
    NR_FAIL_IF_GOTO(!desc, UNSUPPORTED, "%s/config.json: model_type \"%s\", known are: %s",
                    model_dir, out->config.model_type, nr_registry_names());
    nr_model_options model_options = {
        .precision = options->precision == NR_PRECISION_F32 ? NR_DTYPE_F32 : NR_DTYPE_I8,
        .context = options->context_tokens,
        .rows_max = options->prefill_rows,
        .all_layers = options->all_layers};
    status = desc->create(&out->config, &model_options, &out->model, err);
    if (status != NR_STATUS_OK) nr_error_prefix(err, status, "%s", model_dir);
done:
    if (status != NR_STATUS_OK) nr_blueprint_close(out);
    return status;
}

void nr_blueprint_close(nr_blueprint *b) {
    if (b->model) b->model->desc->destroy(b->model);
    nr_hf_config_reset(&b->config);
    *b = (nr_blueprint){0};
}

/* Activations of the model and what the backend's ops need on top. */
static void carve_scratch(nr_model *model, nr_backend *be, nr_arena *arena) {
    const nr_model_info *info = &model->info;
    model->desc->carve_scratch(model, be, arena);
    size_t bytes =
        be->ops->scratch_bytes(be, info->op_rows_max, info->op_n_in_max, info->op_keys_max);
    void *scratch = nr_arena_take(arena, bytes, 1);
    if (scratch) be->ops->set_scratch(be, scratch, bytes);
}

/* The bill of a measured model; the session is measured here. */
static nr_status make_plan(nr_model *model, size_t weights_bytes, size_t scratch_bytes,
                           uint64_t staging_bytes, nr_memory_plan *out, nr_error *err) {
    nr_session session = {0};
    NR_TRY(nr_session_carve(&session, model, err));
    nr_memory_plan plan = {.weights_bytes = weights_bytes,
                           .scratch_bytes = scratch_bytes,
                           .session_bytes = session.host.used + session.device.used,
                           .staging_bytes = staging_bytes};
    uint64_t running = plan.scratch_bytes + plan.session_bytes;
    plan.total_bytes = plan.weights_bytes + NR_MAX(running, plan.staging_bytes);
    *out = plan;
    return NR_STATUS_OK;
}

nr_status nr_memory_plan_read(const char *model_dir, const nr_engine_options *options,
                              nr_memory_plan *out, nr_error *err) {
    nr_engine_options o = options ? *options : nr_engine_options_default();
    nr_blueprint blueprint;
    nr_weights *weights_file = NULL;
    nr_backend *be = NULL;
    nr_arena weights = nr_arena_measure(), scratch = nr_arena_measure();
    nr_status status = nr_blueprint_open(model_dir, &o, &blueprint, err);
    if (status != NR_STATUS_OK) return status;
    nr_model *model = blueprint.model;
    NR_TRY_GOTO(nr_weights_open(model_dir, &weights_file, err));
    NR_TRY_GOTO(nr_backend_cpu_open(o.n_threads, o.cpu_kernels, &be, err));
    model->desc->carve_weights(model, &weights);
    carve_scratch(model, be, &scratch);
    NR_FAIL_IF_GOTO(weights.overflow || scratch.overflow, LIMIT,
                    "%s: planned size does not fit 64 bits", model_dir);
    NR_TRY_GOTO(make_plan(model, weights.used, scratch.used,
                          nr_loader_bytes(weights_file, be->n_threads), out, err));
done:
    nr_backend_close(be);
    nr_weights_close(weights_file);
    nr_blueprint_close(&blueprint);
    return status;
}

static nr_status load_weights(nr_engine *e, const char *model_dir, const nr_engine_options *o,
                              nr_error *err) {
    nr_weights *weights = NULL;
    nr_loader loader = {0};
    nr_status status = nr_weights_open(model_dir, &weights, err);
    if (status != NR_STATUS_OK) return status;
    e->model->desc->carve_weights(e->model, &e->weights); /* measures */
    NR_TRY_GOTO(e->be->ops->arena_alloc(e->be, &e->weights, "weights", err));
    e->model->desc->carve_weights(e->model, &e->weights);
    NR_TRY_GOTO(nr_loader_open(&loader, NR_LOAD_PACK, weights, e->be, NULL, e->be->n_threads, err));
    loader.progress = o->progress;
    loader.progress_ctx = o->progress_ctx;
    NR_TRY_GOTO(e->model->desc->load(e->model, &loader, err));
    e->plan.staging_bytes = nr_loader_bytes(weights, e->be->n_threads);
done:
    nr_loader_close(&loader);
    nr_weights_close(weights);
    return status == NR_STATUS_OK ? status : nr_error_prefix(err, status, "%s", model_dir);
}

static nr_status open_scratch(nr_engine *e, nr_error *err) {
    carve_scratch(e->model, e->be, &e->scratch); /* measures */
    NR_TRY(e->be->ops->arena_alloc(e->be, &e->scratch, "scratch", err));
    carve_scratch(e->model, e->be, &e->scratch);
    return NR_STATUS_OK;
}

/* Last part of a path, trailing slashes ignored. */
static void base_name(char *dst, size_t cap, const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    snprintf(dst, cap, "%.*s", (int)(end - begin), path + begin);
}

/* The tokenizer may not name ids that the model has no rows for. */
static nr_status open_tokenizer(nr_engine *e, const char *model_dir, nr_error *err) {
    char path[4096];
    NR_TRY(nr_path_join(path, sizeof path, model_dir, "tokenizer.json", err));
    NR_TRY(nr_tokenizer_open(path, &e->tokenizer, err));
    int32_t n = nr_tokenizer_vocab_size(e->tokenizer);
    NR_FAIL_IF(n > e->model->info.vocab, SHAPE, "%s: ids up to %d, the model has %d rows", path,
               n - 1, e->model->info.vocab);
    return NR_STATUS_OK;
}

/* Which template questions get, and a line for people about why. */
static nr_status choose_prompt(nr_engine *e, nr_error *err) {
    const nr_hf_config *c = &e->config;
    NR_TRY(nr_prompt_choose(c->chat_template, c->model_type, &e->prompt, err));
    const char *why = e->prompt.by_chat_template            ? "by its chat template"
                      : e->prompt.has_unknown_chat_template ? "by model type; its chat template is "
                                                              "not a known one"
                                                            : "by model type";
    snprintf(e->template_note, sizeof e->template_note, "%s (%s)", e->prompt.name, why);
    return NR_STATUS_OK;
}

static void fill_info(nr_engine *e, const char *model_dir) {
    const nr_model_info *m = &e->model->info;
    base_name(e->model_name, sizeof e->model_name, model_dir);
    e->info = (nr_engine_info){.model = e->model_name,
                               .model_type = e->model->desc->model_type,
                               .dtype = m->precision == NR_DTYPE_I8 ? "int8" : "f32",
                               .device = e->be->ops->name,
                               .kernels = e->be->isa,
                               .prompt_template = e->template_note,
                               .chat_template_unknown = e->prompt.has_unknown_chat_template,
                               .n_threads = e->be->n_threads,
                               .context_tokens = m->context,
                               .image_tokens = m->n_image_tokens,
                               .vocab_size = m->vocab,
                               .captions = e->prompt.captions};
}

static nr_status open_parts(nr_engine *e, const char *model_dir, const nr_engine_options *o,
                            nr_error *err) {
    nr_blueprint blueprint;
    NR_TRY(nr_blueprint_open(model_dir, o, &blueprint, err));
    e->config = blueprint.config;
    e->model = blueprint.model;
    NR_TRY(nr_backend_cpu_open(o->n_threads, o->cpu_kernels, &e->be, err));
    NR_TRY(open_tokenizer(e, model_dir, err));
    NR_TRY(choose_prompt(e, err));
    NR_TRY(load_weights(e, model_dir, o, err));
    NR_TRY(open_scratch(e, err));
    NR_TRY(
        make_plan(e->model, e->weights.cap, e->scratch.cap, e->plan.staging_bytes, &e->plan, err));
    fill_info(e, model_dir);
    return NR_STATUS_OK;
}

nr_status nr_engine_open(const char *model_dir, const nr_engine_options *options, nr_engine **out,
                         nr_error *err) {
    double start_ms = nr_clock_ms();
    nr_engine_options o = options ? *options : nr_engine_options_default();
    nr_engine *e = nr_calloc(1, sizeof *e);
    NR_FAIL_IF(!e, NO_MEMORY, "engine");
    nr_status status = open_parts(e, model_dir, &o, err);
    if (status != NR_STATUS_OK) {
        nr_engine_close(e);
        return status;
    }
    e->info.load_ms = nr_clock_ms() - start_ms;
    *out = e;
    return NR_STATUS_OK;
}

void nr_engine_close(nr_engine *e) {
    if (!e) return;
    if (e->be) {
        e->be->ops->arena_free(e->be, &e->scratch);
        e->be->ops->arena_free(e->be, &e->weights);
    }
    nr_tokenizer_free(e->tokenizer);
    if (e->model) e->model->desc->destroy(e->model);
    nr_backend_close(e->be);
    nr_hf_config_reset(&e->config);
    nr_free(e);
}

nr_memory_plan nr_engine_get_plan(const nr_engine *engine) {
    return engine->plan;
}

nr_engine_info nr_engine_get_info(const nr_engine *engine) {
    return engine->info;
}
