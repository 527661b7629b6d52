/* SPDX-License-Identifier: MIT
 *
 * cli_read.c - `newsreader read`: text as it is generated, or one JSON object a picture.
 *
 * With --fields each field is a question of its own; the picture goes through the vision tower
 * once, and the part of the prompt up to the picture's end stays in the cache between questions.
 */
#include "cli_answer.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PROMPT                                                                             \
    "What does this news picture show? Give the headline, the visible text and a short "           \
    "description."
#define DEFAULT_FIELDS "headline,byline,site,date"
#define FIELDS_MAX 16

typedef struct reader {
    const cli_options *options;
    nr_ladder_report ladder;
    nr_engine *engine;
    nr_session *session;
    nr_picture *picture; /* room for one after another */
    const nr_field *fields[FIELDS_MAX];
    int n_fields;       /* 0: one prompt */
    const char *prompt; /* "" asks some models for a caption */
    cli_answer answer;
    double decode_ms;                          /* of the current picture's file */
    uint64_t allocations, library_allocations; /* while the current picture was served */
    int n_read;
} reader;

/* "headline,byline" into r->fields. */
static bool parse_fields(reader *r, const char *list) {
    do {
        size_t n = strcspn(list, ",");
        const nr_field *field = nr_field_find(list, n);
        if (!field || r->n_fields == FIELDS_MAX) {
            cli_error("--fields: \"%.*s\" is not one of headline, byline, site, date, lead", (int)n,
                      list);
            return false;
        }
        r->fields[r->n_fields++] = field;
        list += n + (list[n] == ',');
    } while (*list);
    return true;
}

static bool choose_questions(reader *r) {
    const cli_options *o = r->options;
    if (o->fields && o->prompt) {
        cli_error("--fields and --prompt exclude each other");
        return false;
    }
    r->prompt = o->prompt;
    return !o->fields || parse_fields(r, o->fields);
}

/* Nothing was asked: what the model that answers is best at. */
static void default_questions(reader *r) {
    nr_engine_info info = nr_engine_get_info(r->engine);
    if (r->prompt || r->n_fields > 0) return;
    if (info.reads_fields) parse_fields(r, DEFAULT_FIELDS);
    else r->prompt = info.captions ? "" : DEFAULT_PROMPT;
}

static void heading(const reader *r, const char *file) {
    if (isatty(STDOUT_FILENO)) cli_progress_clear();
    if (r->options->json) return;
    if (r->n_read > 1) putchar('\n');
    if (r->options->n_files > 1 || r->n_fields > 0) printf("%s\n", file);
}

/* Calls to the allocator so far go off, or on, the current picture's account. JSON is built outside
 * of it. */
static void count(reader *r, bool begin) {
    nr_memory_usage u = nr_memory_usage_get();
    r->allocations += begin ? -u.allocations : u.allocations;
    r->library_allocations += begin ? -u.library_allocations : u.library_allocations;
}

static nr_status ask(reader *r, const char *question, nr_error *err) {
    const cli_options *o = r->options;
    count(r, true);
    nr_status status = cli_ask(r->session, question, &o->generation, !o->json, &r->answer, err);
    count(r, false);
    return status;
}

static json_t *memory_object(const reader *r) {
    nr_memory_plan plan = nr_engine_get_plan(r->engine);
    nr_memory_usage memory = nr_memory_usage_get();
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I}", "planned_bytes", (json_int_t)plan.total_bytes,
        "planned_resident_bytes", (json_int_t)plan.resident_bytes, "resident_bytes",
        (json_int_t)memory.resident_bytes, "peak_bytes", (json_int_t)memory.resident_peak_bytes,
        "request_allocations", (json_int_t)(r->allocations - r->library_allocations),
        "library_allocations", (json_int_t)r->library_allocations);
}

/* What every reply says about how it came about. prefill and generate are of all questions. */
static json_t *reply_object(const reader *r, const char *file, double prefill_ms,
                            double generate_ms, int n_prompt, int n_answer) {
    nr_engine_info info = nr_engine_get_info(r->engine);
    const nr_session_stats *s = &r->answer.stats;
    int32_t width, height;
    nr_picture_size(r->picture, &width, &height);
    return json_pack(
        "{s:o, s:o, s:b, s:o, s:s, s:s, s:s, s:s, s:s, s:b, s:{s:i, s:i, s:b}, s:{s:i, s:i, s:i}, "
        "s:{s:f, s:f, s:f, s:f, s:f, s:f}, s:o}",
        "file", cli_json_name(file), "model", cli_json_name(info.model), "degraded",
        r->ladder.degraded, "reason", cli_json_name(r->ladder.reason), "dtype", info.dtype,
        "device", info.device, "kernels", info.kernels, "prompt_template", info.prompt_template,
        "image_fit",
        nr_fit_name(s->fit), "image_cached", s->image_cached, "image", "width", width, "height",
        height, "damaged", nr_picture_is_damaged(r->picture), "tokens", "image", s->image_tokens,
        "prompt", n_prompt, "answer", n_answer, "ms", "load", info.load_ms, "decode_image",
        r->decode_ms, "preprocess", s->preprocess_ms, "vision", s->vision_ms, "prefill", prefill_ms,
        "generate", generate_ms, "memory", memory_object(r));
}

static nr_status read_prompt(reader *r, const char *file, nr_error *err) {
    const cli_options *o = r->options;
    nr_status status = ask(r, r->prompt, err);
    if (!o->json) putchar('\n');
    if (status != NR_STATUS_OK || !o->json) return status;
    const nr_session_stats *s = &r->answer.stats;
    json_t *reply =
        reply_object(r, file, s->prefill_ms, s->decode_ms, s->prompt_tokens, s->answer_tokens);
    json_object_set_new(reply, "text", json_stringn(r->answer.text, r->answer.n_bytes));
    json_object_set_new(reply, "finish_reason", json_string(nr_finish_name(r->answer.finish)));
    cli_print_json(reply);
    return NR_STATUS_OK;
}

/* A model that goes on with a text needs to be told that it is asked. */
static const char *question_of(const reader *r, const nr_field *field, char *dst, size_t cap) {
    if (!nr_engine_get_info(r->engine).captions) return field->question;
    snprintf(dst, cap, "Question: %s Answer:", field->question);
    return dst;
}

static bool is_none(const cli_answer *a) {
    return strcmp(a->text, "none") == 0;
}

static nr_status read_fields(reader *r, const char *file, nr_error *err) {
    const cli_options *o = r->options;
    json_t *values = json_object(), *reasons = json_object();
    double prefill_ms = 0, generate_ms = 0;
    int n_prompt = 0, n_answer = 0;
    nr_status status = NR_STATUS_OK;
    for (int i = 0; i < r->n_fields; i++) {
        const nr_field *field = r->fields[i];
        char framed[128];
        const char *question = question_of(r, field, framed, sizeof framed);
        if (!o->json) printf("  %-9s ", field->name);
        status = ask(r, question, err);
        if (!o->json) putchar('\n');
        if (status != NR_STATUS_OK) break;
        json_object_set_new(values, field->name,
                            is_none(&r->answer) ? json_null()
                                                : json_stringn(r->answer.text, r->answer.n_bytes));
        json_object_set_new(reasons, field->name, json_string(nr_finish_name(r->answer.finish)));
        prefill_ms += r->answer.stats.prefill_ms;
        generate_ms += r->answer.stats.decode_ms;
        n_prompt += r->answer.stats.prompt_tokens - r->answer.stats.cached_tokens;
        n_answer += r->answer.stats.answer_tokens;
    }
    if (status == NR_STATUS_OK && o->json) {
        json_t *reply = reply_object(r, file, prefill_ms, generate_ms, n_prompt, n_answer);
        json_object_set(reply, "fields", values);
        json_object_set(reply, "finish_reasons", reasons);
        cli_print_json(reply);
    }
    json_decref(values);
    json_decref(reasons);
    return status;
}

static nr_status read_picture(reader *r, const char *file, nr_error *err) {
    double start_ms = cli_now_ms();
    cli_progress_picture(r->n_read, r->options->n_files, file);
    r->allocations = r->library_allocations = 0;
    count(r, true);
    nr_status status = cli_picture_load(r->picture, file, err);
    r->decode_ms = cli_now_ms() - start_ms;
    if (status == NR_STATUS_OK)
        status = nr_session_set_picture(r->session, r->picture, r->options->fit, err);
    count(r, false);
    if (status != NR_STATUS_OK) return status;
    if (nr_picture_is_damaged(r->picture))
        cli_error("%s: damaged, parts of the picture are not what they were", file);
    heading(r, file);
    return (r->n_fields > 0 ? read_fields : read_prompt)(r, file, err);
}

static int read_all(reader *r) {
    int code = CLI_OK;
    default_questions(r);
    for (int i = 0; i < r->options->n_files && !cli_interrupted(); i++) {
        nr_error err = {0};
        r->n_read = i + 1;
        if (read_picture(r, r->options->files[i], &err) == NR_STATUS_OK) continue;
        if (cli_interrupted()) break;
        code = CLI_FAILED;
        cli_report(r->options, r->options->files[i], &err);
    }
    cli_progress_clear();
    return cli_interrupted() ? CLI_INTERRUPTED : code;
}

int cmd_read(const cli_options *options) {
    reader r = {.options = options};
    if (options->n_files == 0) {
        cli_error("read: no pictures named; newsreader --help shows how");
        return CLI_USAGE;
    }
    if (!choose_questions(&r)) return CLI_USAGE;
    int code = cli_open(options, &r.ladder, &r.engine, &r.session);
    if (code != CLI_OK) return code;
    nr_error err;
    uint64_t pixels_max = nr_engine_get_plan(r.engine).picture_pixels_max;
    if (nr_picture_reserve(pixels_max, &r.picture, &err) == NR_STATUS_OK) {
        code = read_all(&r);
    } else {
        cli_report(options, NULL, &err);
        code = CLI_FAILED;
    }
    cli_set_session(NULL);
    cli_answer_free(&r.answer);
    nr_picture_free(r.picture);
    nr_session_free(r.session);
    nr_engine_close(r.engine);
    return code;
}
