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
    nr_engine *engine;
    nr_session *session;
    const nr_field *fields[FIELDS_MAX];
    int n_fields;       /* 0: one prompt */
    const char *prompt; /* "" asks some models for a caption */
    cli_answer answer;
    double decode_ms; /* of the current picture's file */
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

/* The bundled model answers its five questions best, so it gets them where nothing is asked. */
static bool choose_questions(reader *r) {
    const cli_options *o = r->options;
    bool bundled = !o->model_dir && cli_default_model();
    if (o->fields && o->prompt) {
        cli_error("--fields and --prompt exclude each other");
        return false;
    }
    if (o->fields) return parse_fields(r, o->fields);
    if (!o->prompt && bundled) return parse_fields(r, DEFAULT_FIELDS);
    r->prompt = o->prompt; /* NULL: read_all chooses by the model */
    return true;
}

static void heading(const reader *r, const char *file) {
    if (isatty(STDOUT_FILENO)) cli_progress_clear();
    if (r->options->json) return;
    if (r->n_read > 1) putchar('\n');
    if (r->options->n_files > 1 || r->n_fields > 0) printf("%s\n", file);
}

/* What every reply says about how it came about. prefill and generate are of all questions. */
static json_t *reply_object(const reader *r, const char *file, const nr_picture *picture,
                            double prefill_ms, double generate_ms, int n_prompt, int n_answer) {
    nr_engine_info info = nr_engine_get_info(r->engine);
    nr_memory_usage memory = nr_memory_usage_get();
    const nr_session_stats *s = &r->answer.stats;
    int32_t width, height;
    nr_picture_size(picture, &width, &height);
    return json_pack(
        "{s:o, s:o, s:s, s:s, s:s, s:s, s:{s:i, s:i, s:b}, s:{s:i, s:i, s:i}, s:{s:f, s:f, s:f, "
        "s:f, s:f, s:f}, s:{s:I, s:I}}",
        "file", cli_json_name(file), "model", cli_json_name(info.model), "dtype", info.dtype,
        "kernels", info.kernels, "prompt_template", info.prompt_template, "image_fit",
        nr_fit_name(s->fit), "image", "width", width, "height", height, "damaged",
        nr_picture_is_damaged(picture), "tokens", "image", s->image_tokens, "prompt", n_prompt,
        "answer", n_answer, "ms", "load", info.load_ms, "decode_image", r->decode_ms, "preprocess",
        s->preprocess_ms, "vision", s->vision_ms, "prefill", prefill_ms, "generate", generate_ms,
        "memory", "planned_bytes", (json_int_t)nr_engine_get_plan(r->engine).total_bytes,
        "peak_bytes", (json_int_t)memory.resident_peak_bytes);
}

static nr_status read_prompt(reader *r, const char *file, const nr_picture *picture,
                             nr_error *err) {
    const cli_options *o = r->options;
    nr_status status = cli_ask(r->session, r->prompt, &o->generation, !o->json, &r->answer, err);
    if (!o->json) putchar('\n');
    if (status != NR_STATUS_OK || !o->json) return status;
    const nr_session_stats *s = &r->answer.stats;
    json_t *reply = reply_object(r, file, picture, s->prefill_ms, s->decode_ms, s->prompt_tokens,
                                 s->answer_tokens);
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

static nr_status read_fields(reader *r, const char *file, const nr_picture *picture,
                             nr_error *err) {
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
        status = cli_ask(r->session, question, &o->generation, !o->json, &r->answer, err);
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
        json_t *reply = reply_object(r, file, picture, prefill_ms, generate_ms, n_prompt, n_answer);
        json_object_set(reply, "fields", values);
        json_object_set(reply, "finish_reasons", reasons);
        cli_print_json(reply);
    }
    json_decref(values);
    json_decref(reasons);
    return status;
}

static nr_status read_picture(reader *r, const char *file, nr_error *err) {
    nr_picture *picture = NULL;
    double start_ms = cli_now_ms();
    cli_progress_picture(r->n_read, r->options->n_files, file);
    nr_status status = cli_picture_read(file, &picture, err);
    r->decode_ms = cli_now_ms() - start_ms;
    if (status == NR_STATUS_OK)
        status = nr_session_set_picture(r->session, picture, r->options->fit, err);
    if (status == NR_STATUS_OK && nr_picture_is_damaged(picture))
        cli_error("%s: damaged, parts of the picture are not what they were", file);
    if (status == NR_STATUS_OK) heading(r, file);
    if (status == NR_STATUS_OK)
        status = (r->n_fields > 0 ? read_fields : read_prompt)(r, file, picture, err);
    nr_picture_free(picture);
    return status;
}

static int read_all(reader *r) {
    int code = CLI_OK;
    if (!r->prompt) r->prompt = nr_engine_get_info(r->engine).captions ? "" : DEFAULT_PROMPT;
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
    int code = cli_open(options, &r.engine, &r.session);
    if (code != CLI_OK) return code;
    code = read_all(&r);
    cli_set_session(NULL);
    cli_answer_free(&r.answer);
    nr_session_free(r.session);
    nr_engine_close(r.engine);
    return code;
}
