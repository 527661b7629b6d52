/* SPDX-License-Identifier: MIT
 *
 * session_api.c - sessions of newsreader.h: picture in, question in, pieces of text out.
 *
 * A token is generated one step before the model reads it: step() first reads what the last step
 * chose (pending_id), then chooses. So the last token of an answer costs no forward pass.
 */
#include "engine_internal.h"

#include "nr_alloc.h"
#include "nr_clock.h"
#include "nr_limits.h"

#include <math.h>
#include <string.h>

#define PROMPT_BYTES_MIN ((size_t)64 << 10)
#define PROMPT_BYTES_PER_TOKEN ((size_t)32) /* more than text ever has; longer ones cannot fit */

size_t nr_prompt_room(int32_t context) {
    size_t bytes = (size_t)context * PROMPT_BYTES_PER_TOKEN;
    return NR_MIN(NR_MAX(bytes, PROMPT_BYTES_MIN), (size_t)NR_PROMPT_BYTES_MAX);
}

nr_generation_options nr_generation_options_default(void) {
    return (nr_generation_options){
        .struct_bytes = sizeof(nr_generation_options), .max_tokens = 256, .top_p = 1.0f};
}

/* Room for the largest picture under any fit this model may be asked for. */
static nr_status preprocess_room(const nr_model_info *info, size_t *bytes, nr_error *err) {
    static const nr_fit fits[] = {NR_FIT_CHECKPOINT, NR_FIT_CROP, NR_FIT_PAD, NR_FIT_SQUASH};
    *bytes = 0;
    for (size_t i = 0; i < NR_COUNT(fits); i++) {
        nr_preprocess_settings settings;
        nr_fit used;
        size_t need;
        NR_TRY(nr_fit_resolve(info, fits[i], &settings, &used, err));
        NR_TRY(nr_preprocess_scratch_bytes_max(&settings, &need, err));
        *bytes = NR_MAX(*bytes, need);
    }
    return NR_STATUS_OK;
}

nr_status nr_session_carve(nr_session *s, nr_model *model, nr_error *err) {
    const nr_model_info *info = &model->info;
    if (info->n_image_tokens > 0) {
        size_t side_w = (size_t)info->preprocess.out_width;
        size_t side_h = (size_t)info->preprocess.out_height;
        NR_TRY(preprocess_room(info, &s->preprocess_scratch_bytes, err));
        s->pixels = nr_arena_take(&s->host, 3 * side_w * side_h, sizeof(float));
        s->preprocess_scratch = nr_arena_take(&s->host, s->preprocess_scratch_bytes, 1);
        s->pixels_host_bytes = s->host.used;
    }
    s->prompt_ids = nr_arena_take(&s->host, (size_t)info->context, sizeof *s->prompt_ids);
    s->logits = nr_arena_take(&s->host, (size_t)info->vocab, sizeof *s->logits);
    s->candidates = nr_arena_take(&s->host, (size_t)info->vocab, sizeof *s->candidates);
    s->piece = nr_arena_take(&s->host, 2 * NR_DETOK_PIECE_MAX, 1);
    nr_sequence_carve(&s->sequence, model, &s->host, &s->device);
    return NR_STATUS_OK;
}

static nr_status create_parts(nr_session *s, nr_error *err) {
    nr_engine *e = s->engine;
    NR_TRY(nr_session_carve(s, e->model, err)); /* measures */
    NR_TRY(nr_arena_alloc(&s->host, false, "session", err));
    NR_TRY(e->be->ops->arena_alloc(e->be, &s->device, "KV cache", err));
    NR_TRY(nr_session_carve(s, e->model, err));
    size_t bytes = nr_prompt_room(e->model->info.context);
    NR_TRY(nr_encoder_create(e->tokenizer, bytes, &s->encoder, err));
    if (e->model->info.image_token_id >= 0)
        nr_encoder_forbid(s->encoder, e->model->info.image_token_id);
    nr_sequence_set_image(&s->sequence, e->be, NULL, NULL);
    return NR_STATUS_OK;
}

nr_status nr_session_create(nr_engine *engine, nr_session **out, nr_error *err) {
    NR_FAIL_IF(engine->options.ram_bytes_max && engine->n_sessions >= engine->plan.n_slots, CEILING,
               "session %d, the plan under a ceiling has room for %d", engine->n_sessions + 1,
               engine->plan.n_slots);
    nr_session *s = nr_calloc(1, sizeof *s);
    NR_FAIL_IF(!s, NO_MEMORY, "session");
    s->engine = engine;
    engine->n_sessions++;
    s->pending_id = -1;
    s->done = true;
    nr_status status = create_parts(s, err);
    if (status != NR_STATUS_OK) {
        nr_session_free(s);
        return status;
    }
    *out = s;
    return NR_STATUS_OK;
}

void nr_session_free(nr_session *s) {
    if (!s) return;
    s->engine->n_sessions--;
    nr_encoder_free(s->encoder);
    s->engine->be->ops->arena_free(s->engine->be, &s->device);
    nr_arena_free(&s->host);
    nr_free(s);
}

static nr_status check_picture(const nr_session *s, const nr_picture *picture, nr_error *err) {
    uint64_t most = s->engine->options.picture_pixels_max;
    uint64_t pixels = (uint64_t)picture->image.width * (uint64_t)picture->image.height;
    NR_FAIL_IF(pixels == 0, ARG, "the picture is empty");
    NR_FAIL_IF(most && pixels > most, LIMIT, "picture of %dx%d pixels, the plan has room for %llu",
               picture->image.width, picture->image.height, (unsigned long long)most);
    return NR_STATUS_OK;
}

/* Preprocess, then the vision tower. */
static nr_status see(nr_session *s, const nr_preprocess_settings *settings, const nr_image *image,
                     const nr_tap *tap, nr_error *err) {
    NR_TRY(nr_preprocess_run(settings, image, s->pixels, s->preprocess_scratch,
                             s->preprocess_scratch_bytes, err));
    double ready_ms = nr_clock_ms();
    nr_sequence_set_image(&s->sequence, s->engine->be, s->pixels, tap);
    s->stats.vision_ms = nr_clock_ms() - ready_ms;
    return NR_STATUS_OK;
}

nr_status nr_session_take_picture(nr_session *s, const nr_picture *picture, nr_fit fit,
                                  const nr_tap *tap, nr_error *err) {
    const nr_model_info *info = &s->engine->model->info;
    NR_FAIL_IF(picture && info->n_image_tokens == 0, ARG,
               "model \"%s\" reads text only, a picture was given", s->engine->info.model);
    s->asked = false;
    s->done = true;
    s->stats = (nr_session_stats){.fit = fit};
    nr_sequence_set_image(&s->sequence, s->engine->be, NULL, NULL); /* none, should this fail */
    if (!picture) return NR_STATUS_OK;
    NR_TRY(check_picture(s, picture, err));
    nr_preprocess_settings settings;
    nr_image_key key;
    nr_image_cache *images = &s->engine->images;
    double start_ms = nr_clock_ms();
    NR_TRY(nr_fit_resolve(info, fit, &settings, &s->stats.fit, err));
    bool cache = images->n > 0 && !nr_tap_on(tap);
    if (cache) key = nr_image_key_of(&picture->image, (int)s->stats.fit);
    if (cache && nr_image_cache_get(images, &key, s->sequence.cache.image_features)) {
        nr_sequence_reuse_image(&s->sequence);
        s->stats.image_cached = true;
    } else {
        NR_TRY(see(s, &settings, &picture->image, tap, err));
        if (cache) nr_image_cache_put(images, &key, s->sequence.cache.image_features);
    }
    s->stats.preprocess_ms = nr_clock_ms() - start_ms - s->stats.vision_ms;
    s->stats.image_tokens = info->n_image_tokens;
    return NR_STATUS_OK;
}

nr_status nr_session_set_picture(nr_session *s, const nr_picture *picture, nr_fit fit,
                                 nr_error *err) {
    return nr_session_take_picture(s, picture, fit, NULL, err);
}

nr_status nr_session_build_prompt(nr_session *s, const char *question, bool raw, int32_t *n_ids,
                                  nr_error *err) {
    const nr_engine *e = s->engine;
    nr_prompt_request request = {.template = raw ? NR_PROMPT_PLAIN : e->prompt.template,
                                 .question = question,
                                 .question_bytes = strlen(question),
                                 .image_token_id = e->model->info.image_token_id,
                                 .n_image_tokens = s->sequence.cache.n_image_rows};
    nr_id_list list = {.ids = s->prompt_ids, .cap = (size_t)e->model->info.context};
    NR_TRY(nr_prompt_build(s->encoder, &request, &list, err));
    NR_FAIL_IF(list.n == 0, ARG, "the prompt is empty");
    *n_ids = (int32_t)list.n;
    return NR_STATUS_OK;
}

nr_status nr_session_count_tokens(nr_session *session, const char *question, int32_t *n_tokens,
                                  nr_error *err) {
    return nr_session_build_prompt(session, question, false, n_tokens, err);
}

static nr_status check_generation(const nr_generation_options *o, nr_error *err) {
    NR_FAIL_IF(o->struct_bytes != sizeof *o, ARG,
               "nr_generation_options of %u bytes, expected %zu: use the _default function",
               o->struct_bytes, sizeof *o);
    NR_FAIL_IF(o->max_tokens < 1, ARG, "max_tokens: %d, expected 1 or more", o->max_tokens);
    NR_FAIL_IF(!(o->temperature >= 0 && o->temperature <= 100), ARG,
               "temperature: %g, expected 0 to 100", (double)o->temperature);
    NR_FAIL_IF(o->top_k < 0, ARG, "top_k: %d, expected 0 or more", o->top_k);
    NR_FAIL_IF(!(o->top_p > 0 && o->top_p <= 1), ARG, "top_p: %g, expected over 0, at most 1",
               (double)o->top_p);
    return NR_STATUS_OK;
}

nr_status nr_session_ask(nr_session *s, const char *question, const nr_generation_options *options,
                         nr_error *err) {
    nr_generation_options o = options ? *options : nr_generation_options_default();
    double start_ms = nr_clock_ms();
    int32_t n_ids = 0, n_reused = 0;
    s->asked = false;
    s->done = true;
    NR_TRY(check_generation(&o, err));
    NR_TRY(nr_session_build_prompt(s, question, o.raw_prompt, &n_ids, err));
    NR_TRY(nr_sequence_prefill(&s->sequence, s->prompt_ids, n_ids, 1, &n_reused, NULL, err));
    s->options = o;
    s->asked = true;
    s->done = false;
    s->pending_id = -1;
    nr_detok_init(&s->detok, s->engine->tokenizer, NR_DECODE_SKIP_SPECIAL);
    s->stats.prompt_tokens = n_ids;
    s->stats.cached_tokens = n_reused;
    s->stats.answer_tokens = 0;
    s->stats.decode_ms = 0;
    s->stats.prefill_ms = nr_clock_ms() - start_ms;
    return NR_STATUS_OK;
}

static bool is_stop(const nr_engine *e, int32_t id) {
    for (int i = 0; i < e->config.n_eos_ids; i++)
        if (e->config.eos_ids[i] == id) return true;
    return false;
}

static int32_t choose(nr_session *s) {
    const nr_model_info *info = &s->engine->model->info;
    nr_backend *be = s->engine->be;
    const nr_generation_options *o = &s->options;
    if (o->temperature <= 0 && !o->ignore_stop)
        return be->ops->argmax(be, s->sequence.logits, info->vocab);
    be->ops->download(be, s->logits, s->sequence.logits, (size_t)info->vocab * sizeof(float));
    for (int i = 0; o->ignore_stop && i < s->engine->config.n_eos_ids; i++)
        if (s->engine->config.eos_ids[i] < info->vocab)
            s->logits[s->engine->config.eos_ids[i]] = -INFINITY;
    nr_sampler sampler = {.temperature = o->temperature,
                          .top_k = o->top_k,
                          .top_p = o->top_p,
                          .seed = o->seed};
    return nr_sampler_pick(&sampler, s->logits, info->vocab, (uint64_t)s->stats.answer_tokens,
                           s->candidates);
}

/* The text that this step completes; what the detokenizer held back when it is the last. */
static nr_status fill_text(nr_session *s, nr_step *step, nr_error *err) {
    nr_text_buf text = {.bytes = s->piece, .cap = 2 * NR_DETOK_PIECE_MAX};
    if (step->id >= 0) NR_TRY(nr_detok_push(&s->detok, step->id, &text, err));
    if (step->done) NR_TRY(nr_detok_finish(&s->detok, &text, err));
    step->text = s->piece;
    step->n_bytes = text.n;
    return NR_STATUS_OK;
}

nr_status nr_session_step(nr_session *s, nr_step *out, nr_error *err) {
    NR_FAIL_IF(!s->asked, ARG, "step without a question: call nr_session_ask first");
    NR_FAIL_IF(s->done, ARG, "step after the answer was complete");
    NR_FAIL_IF(atomic_exchange(&s->sequence.cancelled, false), CANCELLED,
               "cancelled after %d tokens", s->stats.answer_tokens);
    double start_ms = nr_clock_ms();
    nr_step step = {.id = -1, .text = "", .finish = NR_FINISH_NONE};
    if (s->pending_id >= 0) nr_sequence_append(&s->sequence, s->pending_id);
    int32_t id = choose(s);
    if (is_stop(s->engine, id)) {
        step.done = true;
        step.finish = NR_FINISH_STOP;
    } else {
        step.id = id;
        s->pending_id = id;
        s->stats.answer_tokens++;
        if (s->stats.answer_tokens >= s->options.max_tokens ||
            s->sequence.n_cached >= s->engine->model->info.context) {
            step.done = true;
            step.finish = NR_FINISH_LENGTH;
        }
    }
    s->done = step.done;
    NR_TRY(fill_text(s, &step, err));
    s->stats.decode_ms += nr_clock_ms() - start_ms;
    *out = step;
    return NR_STATUS_OK;
}

void nr_session_cancel(nr_session *session) {
    atomic_store(&session->sequence.cancelled, true);
}

nr_session_stats nr_session_get_stats(const nr_session *session) {
    return session->stats;
}

const char *nr_finish_name(nr_finish finish) {
    return finish == NR_FINISH_STOP ? "stop" : finish == NR_FINISH_LENGTH ? "length" : "none";
}
