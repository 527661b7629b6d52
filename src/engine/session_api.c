/* SPDX-License-Identifier: MIT
 *
 * session_api.c - sessions of newsreader.h: picture in, question in, pieces of text out.
 *
 * ask() reads the prompt and chooses the first token at once, because logits do not live beyond the
 * model's next call, which may be another session's; step() gives a token out and, before the next
 * one, has the model read it.
 */
#include "engine_internal.h"

#include "nr_alloc.h"
#include "nr_clock.h"
#include "nr_limits.h"

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

nr_status nr_preprocess_room(const nr_model_info *info, size_t *bytes, nr_error *err) {
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
        NR_TRY(nr_preprocess_room(info, &s->preprocess_scratch_bytes, err));
        s->pixels = nr_arena_take(&s->host, 3 * side_w * side_h, sizeof(float));
        s->preprocess_scratch = nr_arena_take(&s->host, s->preprocess_scratch_bytes, 1);
        s->pixels_host_bytes = s->host.used;
    }
    s->prompt_ids = nr_arena_take(&s->host, (size_t)info->context, sizeof *s->prompt_ids);
    nr_answer_kit_carve(&s->kit, model, &s->host);
    s->piece = nr_arena_take(&s->host, NR_ANSWER_PIECE_MAX, 1);
    nr_sequence_carve(&s->sequence, model, &s->host, s->caches);
    return NR_STATUS_OK;
}

nr_answer_kit nr_engine_kit(const nr_engine *e) {
    return (nr_answer_kit){.model = e->model,
                           .sides = &e->sides,
                           .be = e->sides.be[e->model->info.logits_side],
                           .tokenizer = e->tokenizer,
                           .stop_ids = e->config.eos_ids,
                           .n_stop_ids = e->config.n_eos_ids};
}

nr_status nr_engine_encoder(const nr_engine *e, nr_encoder **out, nr_error *err) {
    NR_TRY(nr_encoder_create(e->tokenizer, nr_prompt_room(e->model->info.context), out, err));
    if (e->model->info.image_token_id >= 0)
        nr_encoder_forbid(*out, e->model->info.image_token_id);
    return NR_STATUS_OK;
}

static nr_status create_parts(nr_session *s, nr_error *err) {
    nr_engine *e = s->engine;
    s->kit = nr_engine_kit(e);
    NR_TRY(nr_session_carve(s, e->model, err)); /* measures */
    NR_TRY(nr_arena_alloc(&s->host, false, "session", err));
    NR_TRY(nr_sides_alloc(&e->sides, s->caches, "KV cache", err));
    NR_TRY(nr_session_carve(s, e->model, err));
    NR_TRY(nr_engine_encoder(e, &s->encoder, err));
    nr_sequence_set_image(&s->sequence, &e->sides, NULL, NULL);
    return NR_STATUS_OK;
}

/* Under a ceiling. Where a scheduler is planned its memory lends a session to the self-test. */
static int32_t sessions_max(const nr_engine *e) {
    if (e->has_scheduler) return 0;
    return e->options.scheduler ? 1 : e->plan.n_slots;
}

nr_status nr_session_create(nr_engine *engine, nr_session **out, nr_error *err) {
    NR_FAIL_IF(engine->options.ram_bytes_max && engine->n_sessions >= sessions_max(engine), CEILING,
               "session %d, the plan under a ceiling has room for %d", engine->n_sessions + 1,
               sessions_max(engine));
    nr_session *s = nr_calloc(1, sizeof *s);
    NR_FAIL_IF(!s, NO_MEMORY, "session");
    s->engine = engine;
    engine->n_sessions++;
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
    nr_sides_free(&s->engine->sides, s->caches);
    nr_arena_free(&s->host);
    nr_free(s);
}

nr_status nr_engine_check_picture(const nr_engine *e, const nr_picture *picture, nr_error *err) {
    uint64_t most = e->options.picture_pixels_max;
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
    nr_sequence_set_image(&s->sequence, &s->engine->sides, s->pixels, tap);
    nr_status status = nr_sides_check(&s->engine->sides, err);
    s->stats.vision_ms = nr_clock_ms() - ready_ms;
    return status;
}

nr_status nr_session_take_picture(nr_session *s, const nr_picture *picture, nr_fit fit,
                                  const nr_tap *tap, nr_error *err) {
    const nr_model_info *info = &s->engine->model->info;
    NR_FAIL_IF(picture && info->n_image_tokens == 0, ARG,
               "model \"%s\" reads text only, a picture was given", s->engine->info.model);
    s->asked = false;
    s->stats = (nr_session_stats){.fit = fit};
    nr_sequence_set_image(&s->sequence, &s->engine->sides, NULL, NULL); /* none, should this fail */
    if (!picture) return NR_STATUS_OK;
    NR_TRY(nr_engine_check_picture(s->engine, picture, err));
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

nr_status nr_engine_build_prompt(const nr_engine *e, nr_encoder *encoder, const char *question,
                                 bool raw, int32_t n_image_tokens, nr_id_list *out,
                                 nr_error *err) {
    nr_prompt_request request = {.template = raw ? NR_PROMPT_PLAIN : e->prompt.template,
                                 .question = question,
                                 .question_bytes = strlen(question),
                                 .image_token_id = e->model->info.image_token_id,
                                 .n_image_tokens = n_image_tokens};
    NR_TRY(nr_prompt_build(encoder, &request, out, err));
    NR_FAIL_IF(out->n == 0, ARG, "the prompt is empty");
    return NR_STATUS_OK;
}

nr_status nr_session_build_prompt(nr_session *s, const char *question, bool raw, int32_t *n_ids,
                                  nr_error *err) {
    nr_id_list list = {.ids = s->prompt_ids, .cap = (size_t)s->engine->model->info.context};
    NR_TRY(nr_engine_build_prompt(s->engine, s->encoder, question, raw,
                                  s->sequence.cache.n_image_rows, &list, err));
    *n_ids = (int32_t)list.n;
    return NR_STATUS_OK;
}

nr_status nr_session_count_tokens(nr_session *session, const char *question, int32_t *n_tokens,
                                  nr_error *err) {
    return nr_session_build_prompt(session, question, false, n_tokens, err);
}

nr_status nr_generation_settings(const nr_generation_options *o, nr_answer_settings *out,
                                 nr_error *err) {
    NR_FAIL_IF(o->struct_bytes != sizeof *o, ARG,
               "nr_generation_options of %u bytes, expected %zu: use the _default function",
               o->struct_bytes, sizeof *o);
    NR_FAIL_IF(o->max_tokens < 1, ARG, "max_tokens: %d, expected 1 or more", o->max_tokens);
    NR_FAIL_IF(!(o->temperature >= 0 && o->temperature <= 100), ARG,
               "temperature: %g, expected 0 to 100", (double)o->temperature);
    NR_FAIL_IF(o->top_k < 0, ARG, "top_k: %d, expected 0 or more", o->top_k);
    NR_FAIL_IF(!(o->top_p > 0 && o->top_p <= 1), ARG, "top_p: %g, expected over 0, at most 1",
               (double)o->top_p);
    *out = (nr_answer_settings){.sampler = {.temperature = o->temperature,
                                            .top_k = o->top_k,
                                            .top_p = o->top_p,
                                            .seed = o->seed},
                                .max_tokens = o->max_tokens,
                                .ignore_stop = o->ignore_stop};
    for (int32_t i = 0; i < o->n_stop_texts; i++)
        NR_TRY(nr_stop_texts_add(&out->stop, o->stop_texts[i], strlen(o->stop_texts[i]), err));
    return NR_STATUS_OK;
}

nr_status nr_session_ask(nr_session *s, const char *question, const nr_generation_options *options,
                         nr_error *err) {
    nr_generation_options o = options ? *options : nr_generation_options_default();
    nr_answer_settings settings;
    double start_ms = nr_clock_ms();
    int32_t n_ids = 0, n_reused = 0;
    s->asked = false;
    NR_TRY(nr_generation_settings(&o, &settings, err));
    NR_TRY(nr_session_build_prompt(s, question, o.raw_prompt, &n_ids, err));
    NR_TRY(nr_sequence_prefill(&s->sequence, s->prompt_ids, n_ids, 1, &n_reused, NULL, err));
    nr_answer_begin(&s->answer, &s->kit, &s->sequence, &settings);
    nr_answer_choose(&s->answer);
    NR_TRY(nr_sides_check(&s->engine->sides, err));
    s->asked = true;
    s->stats.prompt_tokens = n_ids;
    s->stats.cached_tokens = n_reused;
    s->stats.answer_tokens = 0;
    s->stats.decode_ms = 0;
    s->stats.prefill_ms = nr_clock_ms() - start_ms;
    return NR_STATUS_OK;
}

nr_status nr_session_step(nr_session *s, nr_step *out, nr_error *err) {
    nr_answer *a = &s->answer;
    NR_FAIL_IF(!s->asked, ARG, "step without a question: call nr_session_ask first");
    NR_FAIL_IF(a->done, ARG, "step after the answer was complete");
    NR_FAIL_IF(atomic_exchange(&s->sequence.cancelled, false), CANCELLED,
               "cancelled after %d tokens", a->n_tokens);
    double start_ms = nr_clock_ms();
    if (nr_sequence_left(&s->sequence) > 0) {
        nr_sequences_read(&(nr_share){&s->sequence, 1}, 1, NULL);
        nr_answer_choose(a);
        NR_TRY(nr_sides_check(&s->engine->sides, err));
    }
    nr_text_buf text = {.bytes = s->piece, .cap = NR_ANSWER_PIECE_MAX};
    nr_step step = {.text = s->piece};
    NR_TRY(nr_answer_give(a, &text, &step.id, err));
    step.n_bytes = text.n;
    step.done = a->done;
    step.finish = !a->done ? NR_FINISH_NONE : a->stopped ? NR_FINISH_STOP : NR_FINISH_LENGTH;
    s->stats.answer_tokens = a->n_tokens;
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
