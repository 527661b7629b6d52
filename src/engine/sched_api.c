/* SPDX-License-Identifier: MIT
 *
 * sched_api.c - newsreader_sched.h over src/sched: what a request needs before it can wait.
 * Pictures are preprocessed and prompts made on the caller's thread, with one set of scratch memory
 * for all.
 */
#include "newsreader_sched.h"

#include "engine_internal.h"
#include "scheduler.h"

#include "nr_alloc.h"
#include "nr_clock.h"
#include "nr_limits.h"

#include <pthread.h>
#include <string.h>

#define SLOTS_DEFAULT 4
#define QUEUED_DEFAULT 32
#define QUEUED_MAX 4096

struct nr_sched {
    nr_engine *engine;       /* borrows */
    nr_scheduler *scheduler; /* owns */
    pthread_mutex_t prepare; /* the three below */
    nr_encoder *encoder;     /* owns */
    nr_arena scratch;
    size_t scratch_bytes;
    int32_t n_slots;
};

nr_sched_options nr_sched_options_default(void) {
    return (nr_sched_options){.struct_bytes = sizeof(nr_sched_options),
                              .n_slots = SLOTS_DEFAULT,
                              .n_queued = QUEUED_DEFAULT};
}

nr_request nr_request_default(void) {
    return (nr_request){.struct_bytes = sizeof(nr_request),
                        .generation = nr_generation_options_default()};
}

/* All but the kit. */
static nr_status make_config(const nr_model_info *info, const nr_sched_options *o,
                             nr_scheduler_config *out, nr_error *err) {
    NR_FAIL_IF(o->struct_bytes != sizeof *o, ARG,
               "nr_sched_options of %u bytes, expected %zu: use nr_sched_options_default",
               o->struct_bytes, sizeof *o);
    NR_FAIL_IF(o->n_slots < 1 || o->n_slots > NR_BATCH_MAX, ARG, "slots: %d, expected 1 to %d",
               o->n_slots, NR_BATCH_MAX);
    NR_FAIL_IF(o->n_queued < 0 || o->n_queued > QUEUED_MAX, ARG,
               "queued requests: %d, expected 0 to %d", o->n_queued, QUEUED_MAX);
    *out = (nr_scheduler_config){.n_slots = o->n_slots,
                                 .n_jobs = o->n_slots + o->n_queued,
                                 .notify = o->notify,
                                 .notify_ctx = o->notify_ctx};
    if (info->n_image_tokens > 0)
        out->pixels_n =
            3 * (size_t)info->preprocess.out_width * (size_t)info->preprocess.out_height;
    return NR_STATUS_OK;
}

static nr_status carve_scratch(nr_sched *s, const nr_model_info *info, nr_error *err) {
    if (info->n_image_tokens > 0) NR_TRY(nr_preprocess_room(info, &s->scratch_bytes, err));
    nr_arena_take(&s->scratch, s->scratch_bytes, 1);
    return NR_STATUS_OK;
}

nr_status nr_sched_measure(nr_model *model, int32_t n_slots, int32_t n_queued, nr_sched_parts *out,
                           nr_error *err) {
    nr_sched_options o = nr_sched_options_default();
    nr_scheduler_config config;
    nr_sched measured = {.scratch = nr_arena_measure()};
    nr_arena host = nr_arena_measure(), caches[NR_SIDES] = {0};
    o.n_slots = n_slots;
    o.n_queued = n_queued;
    NR_TRY(make_config(&model->info, &o, &config, err));
    NR_TRY(carve_scratch(&measured, &model->info, err));
    config.kit.model = model;
    nr_scheduler_measure(&config, &host, caches);
    NR_FAIL_IF(host.overflow || caches[0].overflow || caches[1].overflow, LIMIT,
               "size of a scheduler of %d slots does not fit 64 bits", n_slots);
    size_t one_picture = nr_round_up(config.pixels_n * sizeof(float), NR_ALIGN_BYTES);
    for (int i = 0; i < NR_SIDES; i++) out->cache_bytes[i] = caches[i].used;
    out->picture_bytes = (uint64_t)config.n_jobs * one_picture;
    out->other_bytes = host.used + measured.scratch.used - out->picture_bytes;
    return NR_STATUS_OK;
}

nr_status nr_sched_bytes(const nr_engine *engine, const nr_sched_options *options, uint64_t *bytes,
                         nr_error *err) {
    nr_sched_options o = options ? *options : nr_sched_options_default();
    nr_scheduler_config unused;
    nr_sched_parts parts;
    NR_TRY(make_config(&engine->model->info, &o, &unused, err));
    NR_TRY(nr_sched_measure(engine->model, o.n_slots, o.n_queued, &parts, err));
    *bytes = parts.cache_bytes[0] + parts.cache_bytes[1] + parts.picture_bytes +
             parts.other_bytes +
             nr_encoder_bytes(engine->tokenizer, nr_prompt_room(engine->model->info.context));
    return NR_STATUS_OK;
}

static nr_status check_ceiling(const nr_engine *e, const nr_sched_options *o, nr_error *err) {
    const nr_memory_plan *p = &e->plan;
    uint64_t room = p->scheduler_bytes, bytes;
    if (room == 0) room = (uint64_t)p->n_slots * p->session_bytes;
    NR_FAIL_IF(e->has_scheduler || e->n_sessions > 0, CEILING,
               "a scheduler beside %s, the plan under a ceiling has room for one of both",
               e->has_scheduler ? "another" : "sessions");
    NR_TRY(nr_sched_bytes(e, o, &bytes, err));
    NR_FAIL_IF(bytes > room, CEILING,
               "scheduler of %llu bytes, the plan under a ceiling has room for %llu",
               (unsigned long long)bytes, (unsigned long long)room);
    return NR_STATUS_OK;
}

_Static_assert(NR_CLIENTS_MAX == NR_JOB_CLIENTS_MAX, "a job's clients are a request's");
_Static_assert(NR_PICTURE_KEY_BYTES == NR_IMAGE_KEY_BYTES, "a job's key is the image cache's");

static nr_image_key key_of(const uint8_t *bytes) {
    nr_image_key key;
    memcpy(key.bytes, bytes, sizeof key.bytes);
    return key;
}

static bool recall_picture(void *images, const uint8_t *key, float *features) {
    nr_image_key k = key_of(key);
    return nr_image_cache_get(images, &k, features);
}

static void keep_picture(void *images, const uint8_t *key, const float *features) {
    nr_image_key k = key_of(key);
    nr_image_cache_put(images, &k, features);
}

static nr_status open_parts(nr_sched *s, const nr_sched_options *o, nr_error *err) {
    nr_scheduler_config config;
    NR_TRY(make_config(&s->engine->model->info, o, &config, err));
    if (s->engine->options.ram_bytes_max) NR_TRY(check_ceiling(s->engine, o, err));
    config.kit = nr_engine_kit(s->engine);
    if (s->engine->images.n > 0) {
        config.recall = recall_picture;
        config.keep = keep_picture;
        config.pictures_ctx = &s->engine->images;
    }
    s->n_slots = o->n_slots;
    NR_TRY(carve_scratch(s, &s->engine->model->info, err)); /* measures */
    NR_TRY(nr_arena_alloc(&s->scratch, false, "preprocessing", err));
    NR_TRY(nr_engine_encoder(s->engine, &s->encoder, err));
    return nr_scheduler_create(&config, &s->scheduler, err);
}

static void release(nr_sched *s) {
    nr_scheduler_free(s->scheduler);
    nr_encoder_free(s->encoder);
    nr_arena_free(&s->scratch);
    pthread_mutex_destroy(&s->prepare);
    nr_free(s);
}

nr_status nr_sched_open(nr_engine *engine, const nr_sched_options *options, nr_sched **out,
                        nr_error *err) {
    nr_sched_options o = options ? *options : nr_sched_options_default();
    nr_sched *s = nr_calloc(1, sizeof *s);
    NR_FAIL_IF(!s, NO_MEMORY, "scheduler");
    s->engine = engine;
    s->scratch = nr_arena_measure();
    pthread_mutex_init(&s->prepare, NULL);
    nr_status status = open_parts(s, &o, err);
    if (status != NR_STATUS_OK) {
        release(s);
        return status;
    }
    engine->has_scheduler = true;
    *out = s;
    return NR_STATUS_OK;
}

void nr_sched_drain(nr_sched *s) {
    nr_scheduler_drain(s->scheduler);
}

void nr_sched_close(nr_sched *s) {
    if (!s) return;
    s->engine->has_scheduler = false;
    release(s);
}

static nr_status prepare_picture(nr_sched *s, const nr_request *r, nr_job *job, nr_error *err) {
    const nr_model_info *info = &s->engine->model->info;
    nr_preprocess_settings settings;
    nr_fit used;
    job->has_picture = r->picture != NULL;
    if (!r->picture) return NR_STATUS_OK;
    NR_FAIL_IF(info->n_image_tokens == 0, ARG, "model \"%s\" reads text only, a picture was given",
               s->engine->info.model);
    NR_TRY(nr_engine_check_picture(s->engine, r->picture, err));
    NR_TRY(nr_fit_resolve(info, r->fit, &settings, &used, err));
    if (s->engine->images.n > 0) {
        nr_image_key key = nr_image_key_of(&r->picture->image, (int)used);
        memcpy(job->picture_key, key.bytes, sizeof key.bytes);
    }
    return nr_preprocess_run(&settings, &r->picture->image, job->pixels, s->scratch.base,
                             s->scratch_bytes, err);
}

static nr_status prepare_questions(nr_sched *s, const nr_request *r, nr_job *job, nr_error *err) {
    const nr_model_info *info = &s->engine->model->info;
    int32_t n_image_tokens = job->has_picture ? info->n_image_tokens : 0;
    job->n_questions = r->n_questions;
    for (int32_t i = 0; i < r->n_questions; i++) {
        nr_id_list list = {.ids = job->ids + (int64_t)i * info->context,
                           .cap = (size_t)info->context};
        NR_TRY(nr_engine_build_prompt(s->engine, s->encoder, r->questions[i],
                                      r->generation.raw_prompt, n_image_tokens, &list, err));
        job->n_ids[i] = (int32_t)list.n;
    }
    return NR_STATUS_OK;
}

static nr_status prepare(nr_sched *s, const nr_request *r, nr_job *job, nr_error *err) {
    NR_FAIL_IF(r->struct_bytes != sizeof *r, ARG,
               "nr_request of %u bytes, expected %zu: use nr_request_default", r->struct_bytes,
               sizeof *r);
    NR_FAIL_IF(r->n_questions < 1 || r->n_questions > NR_REQUEST_QUESTIONS_MAX, ARG,
               "%d questions, expected 1 to %d", r->n_questions, NR_REQUEST_QUESTIONS_MAX);
    NR_FAIL_IF(r->client < 0 || r->client >= NR_CLIENTS_MAX, ARG, "client: %d, expected 0 to %d",
               r->client, NR_CLIENTS_MAX - 1);
    NR_FAIL_IF(r->deadline_ms < 0, ARG, "deadline: %d ms, expected 0 or more", r->deadline_ms);
    NR_TRY(nr_generation_settings(&r->generation, &job->settings, err));
    job->deadline_ms = r->deadline_ms > 0 ? nr_clock_ms() + r->deadline_ms : 0;
    job->client = r->client;
    pthread_mutex_lock(&s->prepare);
    nr_status status = prepare_picture(s, r, job, err);
    if (status == NR_STATUS_OK) status = prepare_questions(s, r, job, err);
    pthread_mutex_unlock(&s->prepare);
    return status;
}

nr_status nr_sched_submit(nr_sched *s, const nr_request *request, nr_job **out, nr_error *err) {
    nr_job *job = nr_scheduler_take(s->scheduler);
    NR_FAIL_IF(!job, BUSY, "all slots and places in the queue are taken");
    nr_status status = prepare(s, request, job, err);
    if (status != NR_STATUS_OK) {
        nr_job_release(job);
        return status;
    }
    nr_scheduler_submit(job);
    *out = job;
    return NR_STATUS_OK;
}

static nr_event_kind kind_of(nr_record_kind kind) {
    switch (kind) {
    case NR_RECORD_START: return NR_EVENT_START;
    case NR_RECORD_TEXT: return NR_EVENT_TEXT;
    case NR_RECORD_ANSWER: return NR_EVENT_ANSWER;
    case NR_RECORD_END: return NR_EVENT_END;
    }
    return NR_EVENT_NONE;
}

nr_event nr_job_next(nr_job *job, int32_t timeout_ms) {
    nr_record r;
    if (!nr_job_take_record(job, timeout_ms, &r)) return (nr_event){.kind = NR_EVENT_NONE};
    nr_event event = {.kind = kind_of(r.kind),
                      .i_question = r.i_question,
                      .text = job->text,
                      .n_bytes = r.n_bytes,
                      .queued_ms = r.stats.queued_ms,
                      .status = r.status};
    if (r.kind != NR_RECORD_ANSWER) return event;
    event.finish = r.stopped ? NR_FINISH_STOP : NR_FINISH_LENGTH;
    event.stats = (nr_session_stats){.image_tokens = r.stats.image_tokens,
                                     .prompt_tokens = r.stats.prompt_tokens,
                                     .cached_tokens = r.stats.cached_tokens,
                                     .answer_tokens = r.stats.answer_tokens,
                                     .image_cached = r.stats.image_cached,
                                     .vision_ms = r.stats.vision_ms,
                                     .prefill_ms = r.stats.prefill_ms,
                                     .decode_ms = r.stats.decode_ms};
    return event;
}

void nr_job_cancel(nr_job *job) {
    nr_job_stop(job);
}

void nr_job_close(nr_job *job) {
    if (job) nr_job_release(job);
}

nr_sched_stats nr_sched_get_stats(nr_sched *s) {
    nr_scheduler_stats r = nr_scheduler_get_stats(s->scheduler);
    return (nr_sched_stats){.n_slots = s->n_slots,
                            .n_running = r.n_running,
                            .n_queued = r.n_queued,
                            .n_free = r.n_free,
                            .n_submitted = r.n_submitted,
                            .n_done = r.n_done,
                            .n_cancelled = r.n_cancelled,
                            .n_timed_out = r.n_timed_out,
                            .n_failed = r.n_failed,
                            .n_put_back = r.n_put_back,
                            .n_pictures = r.n_pictures,
                            .n_prompt_tokens = r.n_prompt_tokens,
                            .n_answer_tokens = r.n_answer_tokens,
                            .n_batches = r.n_batches,
                            .n_batch_rows = r.n_batch_rows,
                            .vision_ms = r.vision_ms,
                            .forward_ms = r.forward_ms};
}
