/* SPDX-License-Identifier: MIT
 *
 * plan.c - the memory bill of a model before a byte of it is allocated.
 *
 * Arenas are measured by the functions that will carve them, and booked by what they are for; the
 * few blocks beside arenas (vocabulary, prompt buffers, staging) are counted by the module that
 * allocates them. What no code can count - program, libraries, stacks - is one stated constant.
 *
 *   resident = weights + scratch + slots * session (or a scheduler) + image cache + tokenizer +
 *              process + the program's own
 *   peak     = the larger of: resident + pictures being decoded + what passes through the program;
 *              weights + tokenizer + process + the program's own + staging, while loading
 */
#include "engine_internal.h"

#include "known_checkpoints.h"
#include "memory_parts.h"
#include "placement.h"
#include "registry.h"
#include "weight_loader.h"

#include "nr_file.h"
#include "nr_limits.h"
#include "nr_machine.h"

#include <stdio.h>
#include <string.h>

void nr_scratch_carve(nr_model *model, const nr_sides *sides, nr_arena *arenas) {
    const nr_model_info *info = &model->info;
    model->desc->carve_scratch(model, arenas);
    for (int i = 0; i < NR_SIDES; i++) {
        nr_backend *be = sides->be[i];
        if (!be) continue;
        size_t bytes =
            be->ops->scratch_bytes(be, info->op_rows_max, info->op_n_in_max, info->op_keys_max);
        void *scratch = nr_arena_take(&arenas[i], bytes, 1);
        if (scratch) be->ops->set_scratch(be, scratch, bytes);
    }
}

void nr_plan_add(nr_memory_plan *p, const char *name, const char *note, uint64_t bytes,
                 bool on_device) {
    NR_ASSERT(p->n_parts < NR_MEMORY_PARTS_MAX);
    if (bytes == 0) return;
    p->parts[p->n_parts++] =
        (nr_memory_part){.name = name, .note = note, .bytes = bytes, .on_device = on_device};
}

static void add_passing(nr_memory_plan *p, const char *name, const char *note, uint64_t bytes) {
    nr_plan_add(p, name, note, bytes, false);
    if (bytes) p->parts[p->n_parts - 1].passing = true;
}

/* Matrices by the part of the model, the rest by kind. */
static void add_weights(nr_memory_plan *p, const nr_ledger *l, bool on_device) {
    static const struct {
        nr_part part;
        const char *name;
    } parts[] = {{NR_PART_VISION, "weights: vision"},
                 {NR_PART_BRIDGE, "weights: bridge"},
                 {NR_PART_LANGUAGE, "weights: language"},
                 {NR_PART_HEAD, "weights: head"}};
    static const struct {
        nr_kind kind;
        const char *name, *note;
    } kinds[] = {{NR_KIND_SCALES, "weights: scales, biases", "f32 a row"},
                 {NR_KIND_OUTLIERS, "weights: outlier columns", "kept in float"},
                 {NR_KIND_OTHER, "weights: norms, positions", "rotary table: context"}};
    for (size_t i = 0; i < NR_COUNT(parts); i++)
        nr_plan_add(p, parts[i].name, "packed", l->bytes[parts[i].part][NR_KIND_MATRIX],
                    on_device);
    for (size_t i = 0; i < NR_COUNT(kinds); i++) {
        uint64_t bytes = 0;
        for (int part = 0; part < NR_LEDGER_ROWS; part++) bytes += l->bytes[part][kinds[i].kind];
        nr_plan_add(p, kinds[i].name, kinds[i].note, bytes, on_device);
    }
}

/* What all slots take of each side: keys and values, and the features where they lie. */
static void add_caches(nr_memory_plan *p, const nr_model *model, const uint64_t bytes[NR_SIDES]) {
    uint64_t features = (uint64_t)p->n_slots * nr_image_features_bytes(model);
    nr_side side = model->info.features_side;
    for (nr_side i = 0; i < NR_SIDES; i++)
        nr_plan_add(p, "kv cache", "context x slots", bytes[i] - (i == side ? features : 0),
                    i == NR_SIDE_DEVICE);
    nr_plan_add(p, "picture features", "x slots", features, side == NR_SIDE_DEVICE);
}

static void add_sessions(nr_memory_plan *p, const nr_model *model, const nr_session *s,
                         uint64_t encoder_bytes) {
    uint64_t n = (uint64_t)p->n_slots, image = s->pixels_host_bytes;
    uint64_t caches[NR_SIDES] = {n * s->caches[0].used, n * s->caches[1].used};
    add_caches(p, model, caches);
    nr_plan_add(p, "picture preprocessing", "x slots", n * image, false);
    nr_plan_add(p, "prompt and logits buffers", "context x slots",
                n * (s->host.used - image + encoder_bytes), false);
}

static void add_scheduler(nr_memory_plan *p, const nr_model *model, const nr_sched_parts *s,
                          uint64_t encoder_bytes) {
    add_caches(p, model, s->cache_bytes);
    nr_plan_add(p, "waiting pictures", "slots and queue", s->picture_bytes, false);
    nr_plan_add(p, "prompts and answers", "slots and queue", s->other_bytes + encoder_bytes, false);
    p->scheduler_bytes = s->cache_bytes[0] + s->cache_bytes[1] + s->picture_bytes +
                         s->other_bytes + encoder_bytes;
}

/* What lies on the device and stays. */
static uint64_t device_bytes(const nr_memory_plan *p) {
    uint64_t sum = 0;
    for (int32_t i = 0; i < p->n_parts; i++)
        if (p->parts[i].on_device && !p->parts[i].passing) sum += p->parts[i].bytes;
    return sum;
}

void nr_plan_sum(nr_memory_plan *p) {
    uint64_t sessions = (uint64_t)p->n_slots * p->session_bytes;
    uint64_t on_host = p->tokenizer_bytes + p->process_bytes + p->program_bytes;
    uint64_t works = p->scratch_bytes + (p->scheduler_bytes ? p->scheduler_bytes : sessions) +
                     p->image_cache_bytes;
    uint64_t weights = p->apart ? p->weights_host_bytes : p->weights_bytes;
    uint64_t stays = on_host + weights;
    p->vram_bytes = p->apart ? device_bytes(p) : 0;
    works += p->weights_bytes - weights + p->rounding_bytes - p->vram_bytes; /* what is in RAM */
    p->ram_bytes = stays + NR_MAX(works + p->picture_bytes + p->passing_bytes, p->staging_bytes);
    p->resident_bytes = stays + works + p->vram_bytes;
    p->total_bytes = p->ram_bytes + p->vram_bytes;
}

/* A card's memory comes in pages of 2 MiB, and arenas begin at multiples of 256 bytes in it. */
static void round_device(nr_memory_plan *p) {
    uint64_t bytes = device_bytes(p), slack = (uint64_t)(p->n_slots + 8) * 256;
    p->rounding_bytes = nr_round_up(bytes + slack, (size_t)2 << 20) - bytes;
    nr_plan_add(p, "rounding", "pages of 2 MiB", p->rounding_bytes, true);
}

static void begin(nr_memory_plan *p, const char *name, nr_device device,
                  const nr_engine_options *o) {
    *p = (nr_memory_plan){.n_slots = o->n_slots ? o->n_slots : 1,
                          .kv = nr_kv_used(o),
                          .device = nr_device_name(device),
                          .apart = device.kind == NR_DEVICE_CUDA,
                          .process_bytes = NR_PROCESS_BYTES,
                          .program_bytes = o->program_bytes,
                          .passing_bytes = o->passing_bytes};
    snprintf(p->model, sizeof p->model, "%s", name);
    uint64_t pixels = o->picture_pixels_max ? o->picture_pixels_max : NR_IMAGE_PIXELS_MAX;
    p->picture_pixels_max = pixels;
    p->picture_bytes = nr_picture_bytes_max(pixels, o->n_pictures ? o->n_pictures : 1);
    if (!p->apart) return;
    p->process_bytes += NR_CUDA_PROCESS_BYTES;
    p->context_bytes = NR_CUDA_CONTEXT_BYTES;
}

static void finish(nr_memory_plan *p) {
    if (p->apart) round_device(p);
    nr_plan_add(p, "tokenizer", "vocabulary", p->tokenizer_bytes, false);
    nr_plan_add(p, "process", "program, libraries, stacks", p->process_bytes, false);
    nr_plan_add(p, "program's own", "as it says", p->program_bytes, false);
    add_passing(p, "pictures being decoded", "largest picture", p->picture_bytes);
    add_passing(p, "requests being received", "as the program says", p->passing_bytes);
    add_passing(p, "staging", "while loading", p->staging_bytes);
    nr_plan_sum(p);
}

/* All arenas of an engine, empty, and what they would hold. */
typedef struct measured {
    nr_arena weights[NR_SIDES], scratch[NR_SIDES];
    nr_ledger ledgers[NR_SIDES];
    nr_session session;
    nr_sched_parts sched;
    size_t image_cache;
} measured;

static nr_status measure(const nr_plan_input *in, measured *m, nr_error *err) {
    const nr_engine_options *o = in->options;
    bool overflow = false;
    *m = (measured){0};
    in->model->desc->place(in->model, &in->placement);
    for (int i = 0; i < NR_SIDES; i++) m->weights[i].ledger = &m->ledgers[i];
    in->model->desc->carve_weights(in->model, m->weights);
    nr_scratch_carve(in->model, in->sides, m->scratch);
    NR_TRY(nr_session_carve(&m->session, in->model, err));
    if (o->scheduler)
        NR_TRY(nr_sched_measure(in->model, NR_MAX(o->n_slots, 1), o->n_queued, &m->sched, err));
    m->image_cache = nr_image_cache_bytes(in->model, o->image_cache);
    for (int i = 0; i < NR_SIDES; i++)
        overflow |= m->weights[i].overflow || m->scratch[i].overflow ||
                    m->session.caches[i].overflow;
    NR_FAIL_IF(overflow || m->session.host.overflow || m->image_cache == SIZE_MAX, LIMIT,
               "planned size does not fit 64 bits");
    return NR_STATUS_OK;
}

static void describe_placement(nr_memory_plan *p, const nr_plan_input *in) {
    const nr_placement *at = &in->placement;
    p->n_layers = in->model->info.n_layers;
    if (!p->apart) return;
    p->n_layers_on_card = p->n_layers - at->layers_on_host;
    p->vision_on_card = in->model->info.n_image_tokens > 0 && !at->vision_on_host;
}

nr_status nr_plan_make(const nr_plan_input *in, nr_memory_plan *out, nr_error *err) {
    nr_memory_plan p;
    measured m;
    const nr_model_info *info = &in->model->info;
    begin(&p, in->name, in->device, in->options);
    NR_TRY(measure(in, &m, err));
    describe_placement(&p, in);
    if (info->n_image_tokens == 0) p.picture_bytes = 0;
    p.weights_bytes = m.weights[NR_SIDE_DEVICE].used + m.weights[NR_SIDE_HOST].used;
    p.weights_host_bytes = m.weights[NR_SIDE_HOST].used;
    p.scratch_bytes = m.scratch[NR_SIDE_DEVICE].used + m.scratch[NR_SIDE_HOST].used;
    p.image_cache_bytes = m.image_cache;
    p.context_tokens = info->context;
    p.tokenizer_bytes = in->tokenizer ? nr_tokenizer_bytes(in->tokenizer) : in->tokenizer_bytes;
    p.staging_bytes = in->staging_bytes;
    uint64_t encoder = in->encoder_bytes;
    if (in->tokenizer) encoder = nr_encoder_bytes(in->tokenizer, nr_prompt_room(info->context));
    p.session_bytes = m.session.caches[NR_SIDE_DEVICE].used + m.session.caches[NR_SIDE_HOST].used +
                      m.session.host.used + encoder;
    for (nr_side i = 0; i < NR_SIDES; i++) add_weights(&p, &m.ledgers[i], i == NR_SIDE_DEVICE);
    if (in->options->scheduler)
        add_scheduler(&p, in->model, &m.sched, encoder);
    else
        add_sessions(&p, in->model, &m.session, encoder);
    for (nr_side i = 0; i < NR_SIDES; i++)
        nr_plan_add(&p, "scratch", "largest forward call", m.scratch[i].used, i == NR_SIDE_DEVICE);
    nr_plan_add(&p, "image cache", "pictures kept", p.image_cache_bytes,
                info->features_side == NR_SIDE_DEVICE);
    finish(&p);
    *out = p;
    return NR_STATUS_OK;
}

static nr_status check_ceiling(uint64_t bytes, uint64_t ceiling, const char *where, nr_error *err) {
    NR_FAIL_IF(ceiling && bytes > ceiling, CEILING,
               "plan of %llu bytes%s, ceiling of %llu: %llu bytes short", (unsigned long long)bytes,
               where, (unsigned long long)ceiling, (unsigned long long)(bytes - ceiling));
    return NR_STATUS_OK;
}

nr_status nr_plan_check(const nr_memory_plan *p, const nr_engine_options *o, nr_error *err) {
    char on_card[64];
    snprintf(on_card, sizeof on_card, " on the card, with %d of %d layers there",
             p->n_layers_on_card, p->n_layers);
    NR_TRY(check_ceiling(p->ram_bytes, o->ram_bytes_max, "", err));
    NR_TRY(check_ceiling(p->vram_bytes, o->vram_bytes_max, on_card, err));
    nr_machine m = nr_machine_read("");
    NR_FAIL_IF(m.available_bytes && p->ram_bytes > m.available_bytes, CEILING,
               "plan of %llu bytes, %s has %llu available: %llu bytes short",
               (unsigned long long)p->ram_bytes,
               m.by_cgroup ? "this control group" : "this machine",
               (unsigned long long)m.available_bytes,
               (unsigned long long)(p->ram_bytes - m.available_bytes));
    return NR_STATUS_OK;
}

/* Staging that loading such a model will need, without its files. */
static uint64_t staging_of(const nr_model *model, const nr_known *known, int n_threads) {
    int64_t tallest = NR_MAX(model->info.vocab, (int32_t)known->rows_max);
    return nr_loader_bytes_of(model->info.op_n_in_max, 3 * tallest, n_threads);
}

/* From shapes alone: no backend says what its ops need. */
static nr_status plan_estimate(const nr_known *known, const nr_engine_options *o,
                               nr_memory_plan *out, nr_error *err) {
    nr_device device;
    NR_TRY(nr_device_parse(o->device, &device, err));
    if (device.kind == NR_DEVICE_AUTO) device.kind = NR_DEVICE_CPU;
    begin(out, known->name, device, o);
    nr_known_estimate(known, o, out);
    finish(out);
    return NR_STATUS_OK;
}

static nr_status plan_known(const nr_known *known, nr_device device, nr_sides *sides,
                            const nr_engine_options *o, nr_memory_plan *out, nr_error *err) {
    int n_threads = sides->be[NR_SIDE_DEVICE]->n_threads;
    nr_blueprint blueprint;
    NR_TRY(nr_blueprint_parse(known->config_json, known->name, o, &blueprint, err));
    nr_plan_input input = {.name = known->name,
                           .options = o,
                           .model = blueprint.model,
                           .sides = sides,
                           .device = device,
                           .tokenizer_bytes = known->tokenizer_bytes,
                           .staging_bytes = staging_of(blueprint.model, known, n_threads)};
    input.encoder_bytes = known->encoder_factor * nr_prompt_room(blueprint.model->info.context);
    nr_status status = nr_placement_plan(&input, out, err);
    nr_blueprint_close(&blueprint);
    return status;
}

static nr_status plan_folder(const char *model_dir, nr_device device, nr_sides *sides,
                             const nr_engine_options *o, nr_memory_plan *out, nr_error *err) {
    int n_threads = sides->be[NR_SIDE_DEVICE]->n_threads;
    nr_blueprint blueprint;
    nr_weights *weights = NULL;
    nr_tokenizer *tokenizer = NULL;
    char path[4096], name[sizeof out->model];
    NR_TRY(nr_blueprint_open(model_dir, o, &blueprint, err));
    nr_status status = NR_STATUS_OK;
    NR_TRY_GOTO(nr_weights_open(model_dir, &weights, err));
    NR_TRY_GOTO(nr_path_join(path, sizeof path, model_dir, "tokenizer.json", err));
    NR_TRY_GOTO(nr_tokenizer_open(path, &tokenizer, err));
    nr_base_name(name, sizeof name, model_dir);
    nr_plan_input input = {.name = name,
                           .options = o,
                           .model = blueprint.model,
                           .sides = sides,
                           .device = device,
                           .tokenizer = tokenizer,
                           .staging_bytes = nr_loader_bytes(weights, n_threads)};
    NR_TRY_GOTO(nr_placement_plan(&input, out, err));
done:
    nr_tokenizer_free(tokenizer);
    nr_weights_close(weights);
    nr_blueprint_close(&blueprint);
    return status;
}

nr_status nr_memory_plan_read(const char *model_dir, const nr_engine_options *options,
                              nr_memory_plan *out, nr_error *err) {
    nr_engine_options o = options ? *options : nr_engine_options_default();
    const nr_known *known = nr_file_exists(model_dir) ? NULL : nr_known_find(model_dir);
    nr_device device;
    nr_sides sides = {0};
    if (known && !nr_registry_find(known->model_type)) return plan_estimate(known, &o, out, err);
    NR_TRY(nr_device_parse(o.device, &device, err));
    NR_TRY(nr_device_open_for_plan(&device, &o, &sides.be[NR_SIDE_DEVICE], err));
    nr_status status = nr_device_settle(device, &o, err);
    if (status == NR_STATUS_OK)
        status = known ? plan_known(known, device, &sides, &o, out, err)
                       : plan_folder(model_dir, device, &sides, &o, out, err);
    for (int i = 0; i < NR_SIDES; i++) nr_backend_close(sides.be[i]);
    return status;
}
