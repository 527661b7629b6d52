/* SPDX-License-Identifier: MIT
 *
 * api_read.c - POST /v1/read (JSON, a picture as the body, or a form) and POST /analyze_image_url,
 * which answers in the shape its callers know.
 */
#define _GNU_SOURCE
#include "form.h"
#include "server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_PROMPT                                                                             \
    "What does this news picture show? Give the headline, the visible text and a short "           \
    "description."

static bool bad(http_exchange *x, const char *message) {
    server_error(x, 400, "invalid_request", message, 0);
    return false;
}

/* Nothing was asked: what the model is best at. */
static bool ask_default(http_exchange *x, task *t) {
    nr_engine_info info = nr_engine_get_info(t->server->engine);
    if (t->n_questions > 0) return true;
    if (info.captions) return input_set_prompt(x, t, "", 0);
    if (!info.reads_fields)
        return input_set_prompt(x, t, DEFAULT_PROMPT, strlen(DEFAULT_PROMPT));
    input_all_fields(t);
    return true;
}

/* ---- /v1/read ------------------------------------------------------------------------------- */

static json_t *times_object(const task *t) {
    double prefill = 0, generate = 0;
    for (int i = 0; i < t->n_questions; i++) {
        prefill += t->answers[i].stats.prefill_ms;
        generate += t->answers[i].stats.decode_ms;
    }
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "fetch", t->fetch_ms, "decode_image",
                     t->decode_ms, "queued", t->queued_ms, "vision", t->answers[0].stats.vision_ms,
                     "prefill", prefill, "generate", generate, "total",
                     http_now_ms() - t->exchange->start_ms);
}

static json_t *tokens_object(const task *t) {
    int prompt = 0, n_answer = 0;
    for (int i = 0; i < t->n_questions; i++) {
        const nr_session_stats *stats = &t->answers[i].stats;
        prompt += stats->prompt_tokens - (i > 0 ? stats->cached_tokens : 0);
        n_answer += stats->answer_tokens;
    }
    return json_pack("{s:i, s:i, s:i}", "image", t->answers[0].stats.image_tokens, "prompt", prompt,
                     "answer", n_answer);
}

static json_t *read_object(const task *t) {
    nr_engine_info info = nr_engine_get_info(t->server->engine);
    const server *s = t->server;
    json_t *reply = json_pack(
        "{s:s, s:b, s:s, s:s, s:s, s:s, s:{s:i, s:i, s:b, s:b}, s:o, s:o}", "model", s->model,
        "degraded", s->report.degraded, "reason", s->report.reason, "dtype", info.dtype, "device",
        info.device, "kernels", info.kernels, "image", "width", t->width, "height", t->height,
        "damaged", t->damaged, "cached", t->answers[0].stats.image_cached, "tokens",
        tokens_object(t), "ms", times_object(t));
    if (t->prompt) {
        const answer *a = &t->answers[0];
        json_object_set_new(reply, "text", json_stringn(a->text, a->n_bytes));
        json_object_set_new(reply, "finish_reason", json_string(nr_finish_name(a->finish)));
        return reply;
    }
    json_t *values = json_object(), *reasons = json_object();
    for (int i = 0; i < t->n_questions; i++) {
        const answer *a = &t->answers[i];
        json_object_set_new(values, a->name,
                            answer_is_none(a) ? json_null() : json_string(a->text));
        json_object_set_new(reasons, a->name, json_string(nr_finish_name(a->finish)));
    }
    json_object_set_new(reply, "fields", values);
    json_object_set_new(reply, "finish_reasons", reasons);
    return reply;
}

static void read_end(task *t) {
    server_reply_json(t->exchange, 200, read_object(t));
}

static void send_event(task *t, const char *name, json_t *owned) {
    char *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL, *event = NULL;
    int n = text ? asprintf(&event, "event: %s\ndata: %s\n\n", name, text) : -1;
    if (n > 0) http_stream_write(t->exchange, event, (size_t)n);
    free(event);
    free(text);
    json_decref(owned);
}

static void read_begin_stream(task *t) {
    http_stream_begin(t->exchange, 200, "text/event-stream", NULL);
}

static void read_text_stream(task *t, int i_question, const char *text, size_t n) {
    const char *name = t->answers[i_question].name;
    send_event(t, "text", json_pack("{s:s, s:s%}", "field", name ? name : "text", "text", text, n));
}

static void read_end_stream(task *t) {
    send_event(t, "answer", read_object(t));
    http_stream_end(t->exchange);
}

static void read_fail(task *t, int status, const char *code, const char *message) {
    if (!t->exchange->streaming) {
        server_error(t->exchange, status, code, message, status == 503 ? 1 : 0);
        return;
    }
    send_event(t, "error", json_pack("{s:s, s:s}", "code", code, "message", message));
    http_stream_end(t->exchange);
}

static const task_shape read_whole = {.end = read_end, .fail = read_fail};
static const task_shape read_streamed = {.begin = read_begin_stream,
                                         .text = read_text_stream,
                                         .end = read_end_stream,
                                         .fail = read_fail};

static bool fields_member(http_exchange *x, task *t, const json_t *fields) {
    char list[512] = "";
    const json_t *name;
    size_t i;
    if (json_is_string(fields)) return input_set_fields(x, t, json_string_value(fields));
    if (!json_is_array(fields)) return bad(x, "fields: expected a list of names");
    json_array_foreach(fields, i, name) {
        size_t used = strlen(list);
        if (!json_is_string(name)) return bad(x, "fields: expected a list of names");
        snprintf(list + used, sizeof list - used, "%s%s", i ? "," : "", json_string_value(name));
    }
    return input_set_fields(x, t, list);
}

static bool read_json(http_exchange *x, task *t, const json_t *body) {
    const json_t *image = json_object_get(body, "image"), *prompt = json_object_get(body, "prompt");
    const json_t *fields = json_object_get(body, "fields"),
                 *stream = json_object_get(body, "stream");
    if (!json_is_string(image)) return bad(x, "image: expected a data:, http: or https: URL");
    if (prompt && fields) return bad(x, "prompt and fields exclude each other");
    if (prompt && !json_is_string(prompt)) return bad(x, "prompt: expected a text");
    if (stream && !json_is_boolean(stream)) return bad(x, "stream: expected true or false");
    t->stream = json_is_true(stream);
    if (!input_set_picture_url(x, t, json_string_value(image))) return false;
    if (prompt && !input_set_prompt(x, t, json_string_value(prompt), json_string_length(prompt)))
        return false;
    if (fields && !fields_member(x, t, fields)) return false;
    return input_generation(x, body, t);
}

static bool copy_picture(http_exchange *x, task *t, const char *bytes, size_t n) {
    t->picture_bytes = malloc(n + 1);
    if (!t->picture_bytes) return bad(x, "out of memory");
    memcpy(t->picture_bytes, bytes, n);
    t->picture_n = n;
    return true;
}

static bool take_part(http_exchange *x, task *t, const form_part *part) {
    char list[512];
    if (strcmp(part->name, "image") == 0 || strcmp(part->name, "file") == 0)
        return t->picture_bytes ? bad(x, "form: more than one picture")
                                : copy_picture(x, t, part->bytes, part->n);
    bool prompt = strcmp(part->name, "prompt") == 0;
    if (!prompt && strcmp(part->name, "fields") != 0)
        return bad(x, "form: parts are image, prompt and fields");
    if (t->n_questions > 0) return bad(x, "form: prompt and fields exclude each other");
    if (prompt) return input_set_prompt(x, t, part->bytes, part->n);
    if (part->n >= sizeof list) return bad(x, "form: fields too long");
    memcpy(list, part->bytes, part->n);
    list[part->n] = '\0';
    return input_set_fields(x, t, list);
}

static bool read_form(http_exchange *x, task *t, const char *type) {
    form f;
    form_part part;
    int more;
    if (!form_open(&f, type, x->body, (size_t)x->head.content_length))
        return bad(x, "form: no boundary, or the body does not begin with it");
    while ((more = form_next(&f, &part)) > 0)
        if (!take_part(x, t, &part)) return false;
    if (more < 0) return bad(x, "form: malformed or cut off");
    return t->picture_bytes ? true : bad(x, "form: no image");
}

void api_read(server *s, http_exchange *x) {
    const char *type = http_head_get(&x->head, "content-type");
    json_t *body = NULL;
    bool is_json = strncasecmp(type, "application/json", 16) == 0;
    if (is_json && !(body = input_json(x))) return;
    task *t = server_task_create(s, x, &read_whole);
    bool fine = t != NULL;
    if (fine && is_json)
        fine = read_json(x, t, body);
    else if (fine && strncasecmp(type, "multipart/", 10) == 0)
        fine = read_form(x, t, type);
    else if (fine)
        fine = copy_picture(x, t, x->body, (size_t)x->head.content_length);
    if (fine && ask_default(x, t)) {
        if (t->stream) t->shape = &read_streamed;
        tasks_submit(t);
    } else if (t) {
        tasks_free(t);
    }
    json_decref(body);
}

/* ---- /analyze_image_url --------------------------------------------------------------------- */

static void analyze_fail(task *t, int status, const char *code, const char *message) {
    (void)code;
    server_reply_json(
        t->exchange, status,
        json_pack("{s:b, s:s, s:s?}", "success", 0, "error", message, "image_url", t->url));
}

/* Fields as lines, "Headline: ...". */
static char *fields_text(const task *t) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) return NULL;
    for (int i = 0; i < t->n_questions; i++) {
        const answer *a = &t->answers[i];
        if (answer_is_none(a)) continue;
        fprintf(f, "%c%s: %s\n", a->name[0] - 'a' + 'A', a->name + 1, a->text);
    }
    if (fclose(f) != 0) return NULL;
    return text;
}

static void analyze_end(task *t) {
    char *lines = t->prompt ? NULL : fields_text(t);
    const char *text = t->prompt ? t->answers[0].text : lines;
    double gb = (double)nr_memory_usage_get().resident_bytes * 1e-9;
    server_reply_json(t->exchange, 200,
                      json_pack("{s:b, s:s, s:s?, s:f, s:s}", "success", 1, "analysis",
                                text ? text : "", "image_url", t->url, "memory_usage_gb", gb,
                                "model_used", t->server->model));
    free(lines);
}

static const task_shape analyze = {.end = analyze_end, .fail = analyze_fail};

/* {"args": [url, prompt?], "kwargs": {"image_url": ..., "prompt": ...}} */
static bool read_call(http_exchange *x, task *t, const json_t *body) {
    const json_t *args = json_object_get(body, "args"), *kwargs = json_object_get(body, "kwargs");
    const json_t *url = json_array_get(args, 0), *prompt = json_array_get(args, 1);
    if (args && !json_is_array(args)) return bad(x, "args: expected a list");
    if (kwargs && !json_is_object(kwargs)) return bad(x, "kwargs: expected an object");
    if (!url) url = json_object_get(kwargs, "image_url");
    if (!prompt) prompt = json_object_get(kwargs, "prompt");
    if (!json_is_string(url))
        return bad(x, "image_url: expected a URL as args[0] or kwargs.image_url");
    if (prompt && !json_is_string(prompt) && !json_is_null(prompt))
        return bad(x, "prompt: expected a text");
    if (!input_set_picture_url(x, t, json_string_value(url))) return false;
    if (!t->url) t->url = strndup(json_string_value(url), 64); /* a data: URL is not sent back */
    if (json_is_string(prompt) && json_string_length(prompt) > 0 &&
        !input_set_prompt(x, t, json_string_value(prompt), json_string_length(prompt)))
        return false;
    return ask_default(x, t);
}

void api_analyze(server *s, http_exchange *x) {
    json_t *body = input_json(x);
    if (!body) return;
    task *t = server_task_create(s, x, &analyze);
    if (t && read_call(x, t, body))
        tasks_submit(t);
    else if (t)
        tasks_free(t);
    json_decref(body);
}
