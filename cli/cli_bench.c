/* SPDX-License-Identifier: MIT
 *
 * cli_bench.c - `newsreader bench`: one whole request, timed by stage: load, a picture, 40 tokens
 * of text, 128 tokens of answer (stop tokens suppressed). With --slots N, N of them at once on top.
 */
#include "cli_bench.h"

#include <stdio.h>
#include <stdlib.h>

#define PICTURE_SIDE 336
#define TEXT_TOKENS 40
#define QUESTION_BYTES_MAX 4096

/* A gradient with a grid: deterministic, neither flat nor noise. */
static nr_status make_picture(nr_picture **out, nr_error *err) {
    uint8_t *rgb = malloc((size_t)PICTURE_SIDE * PICTURE_SIDE * 3);
    if (!rgb)
        return cli_fail(err, NR_STATUS_NO_MEMORY, "picture of %d x %d", PICTURE_SIDE, PICTURE_SIDE);
    for (int y = 0; y < PICTURE_SIDE; y++)
        for (int x = 0; x < PICTURE_SIDE; x++) {
            uint8_t *p = rgb + 3 * (y * PICTURE_SIDE + x);
            bool line = x % 24 == 0 || y % 24 == 0;
            p[0] = (uint8_t)(line ? 30 : x * 255 / PICTURE_SIDE);
            p[1] = (uint8_t)(line ? 30 : y * 255 / PICTURE_SIDE);
            p[2] = (uint8_t)(line ? 30 : (x * y) % 256);
        }
    nr_status status = nr_picture_from_rgb(rgb, PICTURE_SIDE, PICTURE_SIDE, out, err);
    free(rgb);
    return status;
}

/* A question that makes the prompt `wanted` tokens long, or as little more as letters allow. */
static nr_status make_question(nr_session *session, int32_t wanted, char *question, nr_error *err) {
    static const char letters[] = "news page ";
    int32_t n = 0;
    size_t used = 0;
    question[0] = '\0';
    for (;;) {
        nr_status status = nr_session_count_tokens(session, question, &n, err);
        if (status != NR_STATUS_OK || n >= wanted || used + 1 >= QUESTION_BYTES_MAX) return status;
        question[used] = letters[used % (sizeof letters - 1)];
        question[++used] = '\0';
    }
}

typedef struct result {
    nr_session_stats stats;
    double total_ms;
    uint64_t load_peak_bytes; /* of this process when the model was loaded */
} result;

static nr_status run_once(nr_session *session, const nr_picture *picture, const char *question,
                          const cli_options *o, result *out, nr_error *err) {
    nr_generation_options g = o->generation;
    nr_step step = {0};
    g.max_tokens = o->n_tokens;
    g.ignore_stop = true;
    double start_ms = cli_now_ms();
    nr_status status = nr_session_set_picture(session, picture, o->fit, err);
    if (status == NR_STATUS_OK) status = nr_session_ask(session, question, &g, err);
    while (status == NR_STATUS_OK && !step.done) status = nr_session_step(session, &step, err);
    out->total_ms = cli_now_ms() - start_ms;
    out->stats = nr_session_get_stats(session);
    return status;
}

static void print_json(nr_engine *engine, const result *r) {
    nr_engine_info info = nr_engine_get_info(engine);
    const nr_session_stats *s = &r->stats;
    json_t *line = json_pack(
        "{s:o, s:s, s:s, s:s, s:s, s:s, s:i, s:f, s:I, s:f, s:f, s:i, s:f, s:i, s:f, s:f, s:I, "
        "s:I, s:I}",
        "model", cli_json_name(info.model), "dtype", info.dtype, "device", info.device,
        "device_note", info.device_note, "kernels", info.kernels, "prompt_template",
        info.prompt_template, "threads", info.n_threads, "load_ms", info.load_ms, "load_peak_bytes",
        (json_int_t)r->load_peak_bytes, "preprocess_ms", s->preprocess_ms, "vision_ms",
        s->vision_ms, "prompt_tokens", s->prompt_tokens, "prefill_ms", s->prefill_ms,
        "answer_tokens", s->answer_tokens, "decode_ms", s->decode_ms, "total_ms", r->total_ms,
        "planned_bytes", (json_int_t)nr_engine_get_plan(engine).total_bytes,
        "planned_resident_bytes", (json_int_t)nr_engine_get_plan(engine).resident_bytes,
        "peak_bytes", (json_int_t)nr_memory_usage_get().resident_peak_bytes);
    nr_device_usage card = nr_device_usage_get(engine);
    if (line && card.card[0]) json_object_set_new(line, "card", cli_device_json(&card));
    cli_print_json(line);
}

static void print_card(nr_engine *engine) {
    nr_device_usage d = nr_device_usage_get(engine);
    if (d.card[0])
        printf(
            "card         %9.3f GB   planned %.3f GB, the driver's own %.3f GB on top; whole card "
            "%.3f of %.3f GB used\n",
            (double)d.reserved_bytes * 1e-9, (double)nr_engine_get_plan(engine).vram_bytes * 1e-9,
            (double)d.context_bytes * 1e-9, (double)d.used_bytes * 1e-9,
            (double)d.total_bytes * 1e-9);
}

static void print_text(nr_engine *engine, const result *r, bool first) {
    nr_engine_info info = nr_engine_get_info(engine);
    const nr_session_stats *s = &r->stats;
    double prefill_s = s->prefill_ms * 1e-3, decode_s = s->decode_ms * 1e-3;
    if (first)
        printf("%s  %s  %s, %s kernels  %d threads\n"
               "load         %9.1f ms   peak memory %.3f GB\n",
               info.model, info.dtype, info.device, info.kernels, info.n_threads, info.load_ms,
               (double)r->load_peak_bytes * 1e-9);
    printf("picture      %9.1f ms   %d image tokens (preprocess %.1f ms)\n"
           "prefill      %9.1f ms   %d tokens, %.1f tok/s\n"
           "decode       %9.1f ms   %d tokens, %.2f tok/s\n"
           "first token  %9.1f ms\n"
           "request      %9.1f ms\n",
           s->vision_ms, s->image_tokens, s->preprocess_ms, s->prefill_ms, s->prompt_tokens,
           s->prompt_tokens / prefill_s, s->decode_ms, s->answer_tokens,
           s->answer_tokens / decode_s, s->preprocess_ms + s->vision_ms + s->prefill_ms,
           r->total_ms);
    printf("peak memory  %9.3f GB   planned %.3f GB, and room for pictures\n",
           (double)nr_memory_usage_get().resident_peak_bytes * 1e-9,
           (double)(nr_engine_get_plan(engine).resident_bytes -
                    nr_engine_get_plan(engine).vram_bytes) *
               1e-9);
    print_card(engine);
}

static void print_slots(const cli_options *o, const cli_slots_result *r) {
    double rate = (double)r->window_tokens / (r->window_ms * 1e-3);
    if (o->json)
        cli_print_json(json_pack("{s:i, s:f, s:f, s:I, s:f, s:f}", "slots", r->n_slots, "begun_ms",
                                 r->begun_ms, "window_ms", r->window_ms, "window_tokens",
                                 (json_int_t)r->window_tokens, "tokens_per_second", rate,
                                 "total_ms", r->total_ms));
    else
        printf("%2d at once   %9.1f ms   all have begun after %.1f ms; then %.2f tok/s together\n",
               r->n_slots, r->total_ms, r->begun_ms, rate);
}

static nr_status run_all(const cli_options *o, nr_engine *engine, nr_session **session,
                         nr_error *err) {
    char question[QUESTION_BYTES_MAX];
    nr_picture *picture = NULL;
    nr_engine_info info = nr_engine_get_info(engine);
    uint64_t load_peak_bytes = nr_memory_usage_get().resident_peak_bytes;
    nr_status status = NR_STATUS_OK;
    if (info.image_tokens > 0)
        status = o->image ? cli_picture_read(o->image, &picture, err) : make_picture(&picture, err);
    if (status == NR_STATUS_OK) status = nr_session_set_picture(*session, picture, o->fit, err);
    if (status == NR_STATUS_OK)
        status = make_question(*session, info.image_tokens + TEXT_TOKENS, question, err);
    for (int i = 0; i < o->n_runs && status == NR_STATUS_OK; i++) {
        result r = {.load_peak_bytes = load_peak_bytes};
        status = run_once(*session, picture, question, o, &r, err);
        if (status != NR_STATUS_OK) break;
        if (o->json)
            print_json(engine, &r);
        else
            print_text(engine, &r, i == 0);
    }
    if (status == NR_STATUS_OK && o->engine.n_slots > 1) {
        cli_slots_result r;
        cli_set_session(NULL);
        nr_session_free(*session); /* a scheduler has the engine to itself */
        *session = NULL;
        status = cli_bench_slots(engine, picture, question, o, &r, err);
        if (status == NR_STATUS_OK) print_slots(o, &r);
    }
    nr_picture_free(picture);
    return status;
}

int cmd_bench(const cli_options *given) {
    cli_options with_slots = *given, *options = &with_slots;
    nr_engine *engine = NULL;
    nr_session *session = NULL;
    nr_error err;
    if (!cli_no_files(options, "bench")) return CLI_USAGE;
    options->engine.scheduler = options->engine.n_slots > 1;
    nr_ladder_report report;
    int code = cli_open(options, &report, &engine, &session);
    if (code != CLI_OK) return code;
    nr_status status = run_all(options, engine, &session, &err);
    if (status != NR_STATUS_OK) cli_report(options, NULL, &err);
    cli_set_session(NULL);
    nr_session_free(session);
    nr_engine_close(engine);
    return cli_interrupted() ? CLI_INTERRUPTED : status == NR_STATUS_OK ? CLI_OK : CLI_FAILED;
}
