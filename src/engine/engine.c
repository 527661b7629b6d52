/* SPDX-License-Identifier: MIT
 *
 * engine.c - opening a checkpoint: configuration, plan, weights.
 *
 * The plan and the allocation run the same carve functions, first over measuring arenas, then over
 * real ones, so they cannot disagree. Weights are loaded before scratch exists: the peak while
 * loading is the packed model plus the loader's staging.
 */
#include "engine_internal.h"

#include "placement.h"
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
    return (nr_engine_options){.struct_bytes = sizeof(nr_engine_options),
                               .gpu_layers = NR_GPU_LAYERS_AUTO};
}

static nr_status check_memory_options(const nr_engine_options *o, nr_error *err) {
    NR_FAIL_IF(o->kv != NR_KV_AUTO && o->kv != NR_KV_F16 && o->kv != NR_KV_INT8, ARG,
               "kv %d, expected auto, f16 or int8", (int)o->kv);
    NR_FAIL_IF(o->n_slots < 0 || o->n_slots > NR_SLOTS_MAX, ARG, "slots: %d, expected 0 to %d",
               o->n_slots, NR_SLOTS_MAX);
    NR_FAIL_IF(o->image_cache < 0 || o->image_cache > NR_IMAGE_CACHE_MAX, ARG,
               "image cache of %d pictures, expected 0 to %d", o->image_cache, NR_IMAGE_CACHE_MAX);
    NR_FAIL_IF(o->n_pictures < 0 || o->n_pictures > NR_PICTURES_MAX, ARG,
               "pictures at once: %d, expected 0 to %d", o->n_pictures, NR_PICTURES_MAX);
    NR_FAIL_IF(o->picture_pixels_max != 0 && (o->picture_pixels_max > NR_IMAGE_PIXELS_MAX ||
                                               o->picture_pixels_max < NR_PICTURE_PIXELS_MIN),
               ARG, "pictures of at most %llu pixels, expected 0 or %u to %u",
               (unsigned long long)o->picture_pixels_max, NR_PICTURE_PIXELS_MIN,
               NR_IMAGE_PIXELS_MAX);
    return NR_STATUS_OK;
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
    NR_FAIL_IF(o->gpu_layers < NR_GPU_LAYERS_ALL, ARG,
               "layers on the card: %d, expected 0 or more, auto or all", o->gpu_layers);
    NR_FAIL_IF(o->vision < NR_VISION_AUTO || o->vision > NR_VISION_CPU, ARG,
               "vision %d, expected auto, gpu or cpu", (int)o->vision);
    return check_memory_options(o, err);
}

static nr_status create_model(const char *where, const nr_engine_options *options,
                              nr_blueprint *b, nr_error *err) {
    const nr_model_desc *desc = nr_registry_find(b->config.model_type);
    NR_FAIL_IF(!desc, UNSUPPORTED, "%s/config.json: model_type \"%s\", known are: %s", where,
               b->config.model_type, nr_registry_names());
    nr_model_options model_options = {
        .precision = options->precision == NR_PRECISION_F32 ? NR_DTYPE_F32 : NR_DTYPE_I8,
        .kv_int8 = nr_kv_used(options) == NR_KV_INT8,
        .context = options->context_tokens,
        .rows_max = options->prefill_rows,
        .logits_rows = options->scheduler ? options->n_slots : 0, /* all may write in one call */
        .all_layers = options->all_layers};
    nr_status status = desc->create(&b->config, &model_options, &b->model, err);
    return status == NR_STATUS_OK ? status : nr_error_prefix(err, status, "%s", where);
}

nr_status nr_blueprint_open(const char *model_dir, const nr_engine_options *options,
                            nr_blueprint *out, nr_error *err) {
    NR_TRY(check_options(options, err));
    *out = (nr_blueprint){0};
    NR_TRY(nr_hf_config_load(model_dir, &out->config, err));
    nr_status status = create_model(model_dir, options, out, err);
    if (status != NR_STATUS_OK) nr_blueprint_close(out);
    return status;
}

nr_status nr_blueprint_parse(const char *config_json, const char *name,
                             const nr_engine_options *options, nr_blueprint *out, nr_error *err) {
    NR_TRY(check_options(options, err));
    *out = (nr_blueprint){0};
    NR_TRY(nr_hf_config_parse(config_json, name, &out->config, err));
    nr_status status = create_model(name, options, out, err);
    if (status != NR_STATUS_OK) nr_blueprint_close(out);
    return status;
}

void nr_blueprint_close(nr_blueprint *b) {
    if (b->model) b->model->desc->destroy(b->model);
    nr_hf_config_reset(&b->config);
    *b = (nr_blueprint){0};
}

static nr_status load_weights(nr_engine *e, const nr_weights *weights, const nr_engine_options *o,
                              nr_error *err) {
    nr_loader loader = {0};
    nr_status status = NR_STATUS_OK;
    int n_threads = e->sides.be[NR_SIDE_DEVICE]->n_threads;
    e->model->desc->carve_weights(e->model, e->weights); /* measures */
    NR_TRY(nr_sides_alloc(&e->sides, e->weights, "weights", err));
    e->model->desc->carve_weights(e->model, e->weights);
    NR_TRY_GOTO(nr_loader_open(&loader, NR_LOAD_PACK, weights, &e->sides, NULL, n_threads, err));
    loader.progress = o->progress;
    loader.progress_ctx = o->progress_ctx;
    NR_TRY_GOTO(e->model->desc->load(e->model, &loader, err));
done:
    nr_loader_close(&loader);
    return status;
}

/* Headers first, the plan from them, and only where it fits the weights. */
static nr_status plan_and_load(nr_engine *e, const char *model_dir, const nr_engine_options *o,
                               nr_error *err) {
    nr_weights *weights = NULL;
    nr_backend *be = e->sides.be[NR_SIDE_DEVICE];
    nr_status status = nr_weights_open(model_dir, &weights, err);
    if (status == NR_STATUS_OK) {
        nr_plan_input input = {.name = e->model_name,
                               .options = o,
                               .model = e->model,
                               .sides = &e->sides,
                               .device = e->device,
                               .tokenizer = e->tokenizer,
                               .staging_bytes = nr_loader_bytes(weights, be->n_threads)};
        status = nr_placement_plan(&input, &e->plan, err);
    }
    if (status == NR_STATUS_OK) status = nr_plan_check(&e->plan, o, err);
    if (status == NR_STATUS_OK && e->plan.apart)
        status = be->ops->reserve(be, (size_t)e->plan.vram_bytes, err);
    if (status == NR_STATUS_OK) status = load_weights(e, weights, o, err);
    if (status == NR_STATUS_OK) status = nr_sides_check(&e->sides, err);
    nr_weights_close(weights);
    return status == NR_STATUS_OK ? status : nr_error_prefix(err, status, "%s", model_dir);
}

static nr_status open_scratch(nr_engine *e, nr_error *err) {
    nr_scratch_carve(e->model, &e->sides, e->scratch); /* measures */
    NR_TRY(nr_sides_alloc(&e->sides, e->scratch, "scratch", err));
    nr_scratch_carve(e->model, &e->sides, e->scratch);
    return NR_STATUS_OK;
}

/* Last part of a path, trailing slashes ignored. */
void nr_base_name(char *dst, size_t cap, const char *path) {
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

static nr_status fill_info(nr_engine *e, nr_error *err) {
    const nr_model_info *m = &e->model->info;
    const nr_backend *be = e->sides.be[NR_SIDE_DEVICE], *beside = e->sides.be[NR_SIDE_HOST];
    snprintf(e->kernels, sizeof e->kernels, "%s%s%s", be->isa, beside ? ", " : "",
             beside ? beside->isa : "");
    e->info = (nr_engine_info){.model = e->model_name,
                               .model_type = e->model->desc->model_type,
                               .dtype = m->precision == NR_DTYPE_I8 ? "int8" : "f32",
                               .device = nr_device_name(e->device),
                               .device_note = e->device_note,
                               .placement = e->plan.placement,
                               .kernels = e->kernels,
                               .prompt_template = e->template_note,
                               .chat_template_unknown = e->prompt.has_unknown_chat_template,
                               .n_threads = be->n_threads,
                               .context_tokens = m->context,
                               .image_tokens = m->n_image_tokens,
                               .vocab_size = m->vocab,
                               .captions = e->prompt.captions,
                               .answer_mark = e->prompt.answer_mark,
                               .question_mark = e->prompt.question_mark};
    return nr_json_opt_bool(&e->config.config, "newsreader_fields", &e->info.reads_fields, err);
}

static nr_status open_parts(nr_engine *e, const char *model_dir, const nr_engine_options *o,
                            nr_error *err) {
    nr_blueprint blueprint;
    NR_TRY(nr_blueprint_open(model_dir, o, &blueprint, err));
    e->config = blueprint.config;
    e->model = blueprint.model;
    nr_base_name(e->model_name, sizeof e->model_name, model_dir);
    NR_TRY(nr_device_open(e->device, o, false, &e->sides.be[NR_SIDE_DEVICE], err));
    NR_TRY(open_tokenizer(e, model_dir, err));
    NR_TRY(choose_prompt(e, err));
    nr_trim_heap(); /* a vocabulary's JSON takes ten times what stays of it */
    NR_TRY(plan_and_load(e, model_dir, o, err));
    nr_trim_heap();
    NR_TRY(open_scratch(e, err));
    NR_TRY(nr_image_cache_open(&e->images, e->sides.be[e->model->info.features_side], e->model,
                               o->image_cache, err));
    NR_TRY(fill_info(e, err));
    return NR_STATUS_OK;
}

/* On one device. */
static nr_status open_on(nr_device device, const char *model_dir, const nr_engine_options *options,
                         nr_memory_plan *plan, nr_engine **out, nr_error *err) {
    double start_ms = nr_clock_ms();
    nr_engine_options o = *options;
    NR_TRY(nr_device_settle(device, &o, err));
    nr_engine *e = nr_calloc(1, sizeof *e);
    NR_FAIL_IF(!e, NO_MEMORY, "engine");
    e->options = o;
    e->device = device;
    nr_status status = open_parts(e, model_dir, &o, err);
    *plan = e->plan;
    if (status != NR_STATUS_OK) {
        nr_engine_close(e);
        return status;
    }
    e->info.load_ms = nr_clock_ms() - start_ms;
    *out = e;
    return NR_STATUS_OK;
}

/* The card where it is there and the plan fits it; else the CPU, with the reason. */
static nr_status open_auto(nr_device device, const char *model_dir, const nr_engine_options *o,
                           nr_memory_plan *plan, nr_engine **out, nr_error *err) {
    nr_error reason = {0};
    nr_engine_options on_cpu = *o;
    nr_device card = {.kind = NR_DEVICE_CUDA, .card = device.card}, cpu = {.kind = NR_DEVICE_CPU};
    nr_status status = open_on(card, model_dir, o, plan, out, &reason);
    if (status == NR_STATUS_OK) {
        nr_device_usage usage = nr_device_usage_get(*out);
        snprintf((*out)->device_note, sizeof (*out)->device_note,
                 "auto: %s, %s: the plan of %llu bytes fits it%s%s", nr_device_name(card),
                 usage.card, (unsigned long long)plan->vram_bytes, *plan->placement ? "; " : "",
                 plan->placement);
        return status;
    }
    if (!nr_device_may_fall_back(status)) {
        if (err) *err = reason;
        return status;
    }
    nr_device_forget_card(&on_cpu);
    NR_TRY(open_on(cpu, model_dir, &on_cpu, plan, out, err));
    snprintf((*out)->device_note, sizeof (*out)->device_note, "auto: cpu, because %s",
             reason.message);
    return NR_STATUS_OK;
}

nr_status nr_engine_open_planned(const char *model_dir, const nr_engine_options *options,
                                 nr_memory_plan *plan, nr_engine **out, nr_error *err) {
    nr_engine_options o = options ? *options : nr_engine_options_default();
    nr_device device;
    *plan = (nr_memory_plan){0};
    NR_FAIL_IF(o.struct_bytes != sizeof o, ARG,
               "nr_engine_options of %u bytes, expected %zu: use nr_engine_options_default",
               o.struct_bytes, sizeof o);
    NR_TRY(nr_device_parse(o.device, &device, err));
    if (device.kind == NR_DEVICE_AUTO) return open_auto(device, model_dir, &o, plan, out, err);
    NR_TRY(open_on(device, model_dir, &o, plan, out, err));
    snprintf((*out)->device_note, sizeof (*out)->device_note, "%s%s%s",
             o.device ? "as asked" : "the default", *plan->placement ? "; " : "", plan->placement);
    return NR_STATUS_OK;
}

nr_status nr_engine_open(const char *model_dir, const nr_engine_options *options, nr_engine **out,
                         nr_error *err) {
    nr_memory_plan plan;
    return nr_engine_open_planned(model_dir, options, &plan, out, err);
}

void nr_engine_close(nr_engine *e) {
    if (!e) return;
    nr_image_cache_close(&e->images);
    nr_sides_free(&e->sides, e->scratch);
    nr_sides_free(&e->sides, e->weights);
    nr_tokenizer_free(e->tokenizer);
    if (e->model) e->model->desc->destroy(e->model);
    for (int i = 0; i < NR_SIDES; i++) nr_backend_close(e->sides.be[i]);
    nr_hf_config_reset(&e->config);
    nr_free(e);
}

nr_device_usage nr_device_usage_get(const nr_engine *engine) {
    nr_device_memory m = {0};
    nr_device_usage out = {0};
    const nr_backend *be = engine->sides.be[NR_SIDE_DEVICE];
    if (!be->ops->memory) return out;
    be->ops->memory(be, &m);
    memcpy(out.card, m.card, sizeof out.card);
    out.total_bytes = m.total_bytes;
    out.used_bytes = m.used_bytes;
    out.free_bytes = m.free_bytes;
    out.reserved_bytes = m.arena_bytes;
    out.process_bytes = m.process_bytes;
    out.context_bytes = m.context_bytes;
    return out;
}

nr_memory_plan nr_engine_get_plan(const nr_engine *engine) {
    return engine->plan;
}

nr_engine_info nr_engine_get_info(const nr_engine *engine) {
    return engine->info;
}
