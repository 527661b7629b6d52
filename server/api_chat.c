/* SPDX-License-Identifier: MIT
 *
 * api_chat.c - POST /v1/chat/completions and GET /v1/models in OpenAI's shapes. At most one picture
 * may be among the messages, and goes before the first question, as the templates have it. Earlier
 * turns stand before the question in the template's own form where that is text; for other models,
 * and for readers of news, which know single questions only, all texts are put together in order.
 * response_format json_schema asks for fields of the news page.
 */
#define _GNU_SOURCE
#include "server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_QUESTION "What does this news picture show?"

typedef struct text_list {
    char *bytes; /* owns */
    size_t n;
    const char *role, *last; /* whose text comes now, and whose came last; NULL: nobody's */
    nr_engine_info info;     /* of the model that reads it */
} text_list;

static bool bad(http_exchange *x, const char *message) {
    server_error(x, 400, "invalid_request", message, 0);
    return false;
}

/* What stands between the text before and the one that comes now. */
static const char *mark_of(const text_list *all) {
    if (!all->last) return "";
    bool turns = all->info.answer_mark && !all->info.reads_fields;
    bool asked = strcmp(all->last, "user") == 0, asks = strcmp(all->role, "user") == 0;
    if (turns && asked && strcmp(all->role, "assistant") == 0) return all->info.answer_mark;
    if (turns && asks && strcmp(all->last, "assistant") == 0) return all->info.question_mark;
    return "\n";
}

static bool add_text(http_exchange *x, text_list *all, const json_t *text) {
    size_t n = json_string_length(text), n_mark;
    if (!json_is_string(text)) return bad(x, "messages: a text is not a string");
    if (n == 0) return true;
    const char *mark = mark_of(all);
    n_mark = strlen(mark);
    if (all->n + n_mark + n > SERVER_PROMPT_MAX)
        return bad(x, "messages: over 32768 bytes of text");
    memcpy(all->bytes + all->n, mark, n_mark);
    memcpy(all->bytes + all->n + n_mark, json_string_value(text), n);
    all->n += n_mark + n;
    all->last = all->role;
    return true;
}

static bool add_picture(http_exchange *x, task *t, const json_t *part) {
    const json_t *image = json_object_get(part, "image_url");
    const json_t *url = json_is_object(image) ? json_object_get(image, "url") : image;
    if (!json_is_string(url)) return bad(x, "messages: image_url without a url");
    if (t->url || t->picture_bytes) return bad(x, "messages: more than one picture");
    return input_set_picture_url(x, t, json_string_value(url));
}

static bool add_part(http_exchange *x, task *t, text_list *all, const json_t *part) {
    const char *type = json_string_value(json_object_get(part, "type"));
    if (type && strcmp(type, "text") == 0) return add_text(x, all, json_object_get(part, "text"));
    if (type && strcmp(type, "image_url") == 0) return add_picture(x, t, part);
    return bad(x, "messages: a part is neither text nor image_url");
}

static bool add_message(http_exchange *x, task *t, text_list *all, const json_t *message) {
    static const char *const roles[] = {"system", "developer", "user", "assistant"};
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *content = json_object_get(message, "content"), *part;
    size_t i;
    all->role = NULL;
    for (i = 0; role && i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(role, roles[i]) == 0) all->role = roles[i];
    if (!all->role) return bad(x, "messages: role is not system, developer, user or assistant");
    if (json_is_string(content)) return add_text(x, all, content);
    if (!json_is_array(content)) return bad(x, "messages: content is neither text nor parts");
    json_array_foreach(content, i, part) if (!add_part(x, t, all, part)) return false;
    return true;
}

static bool read_messages(http_exchange *x, task *t, const json_t *body, text_list *all) {
    const json_t *messages = json_object_get(body, "messages"), *message;
    size_t i;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return bad(x, "messages: expected a list with at least one message");
    json_array_foreach(messages, i, message) if (!add_message(x, t, all, message)) return false;
    return true;
}

static bool read_schema(http_exchange *x, task *t, const json_t *format) {
    const json_t *schema = json_object_get(json_object_get(format, "json_schema"), "schema");
    char problem[256] = "response_format: ";
    size_t used = strlen(problem);
    t->fields_as_json = true;
    return news_schema_read(t, schema, problem + used, sizeof problem - used) || bad(x, problem);
}

static bool read_format(http_exchange *x, task *t, const json_t *body) {
    const json_t *format = json_object_get(body, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!format || json_is_null(format) || (type && strcmp(type, "text") == 0)) return true;
    if (type && strcmp(type, "json_schema") == 0) return read_schema(x, t, format);
    return bad(x, "response_format: expected text, or json_schema with fields of a news page");
}

static bool read_flags(http_exchange *x, task *t, const json_t *body) {
    const json_t *stream = json_object_get(body, "stream"), *n = json_object_get(body, "n");
    const json_t *options = json_object_get(body, "stream_options");
    const json_t *model = json_object_get(body, "model");
    if (stream && !json_is_boolean(stream) && !json_is_null(stream))
        return bad(x, "stream: expected true or false");
    if (n && !json_is_null(n) && json_integer_value(n) != 1) return bad(x, "n: expected 1");
    if (model && !json_is_string(model)) return bad(x, "model: expected a text");
    t->stream = json_is_true(stream);
    t->stream_usage = json_is_true(json_object_get(options, "include_usage"));
    return true;
}

/* ---- replies -------------------------------------------------------------------------------- */

static json_t *usage_object(const task *t) {
    int prompt = 0, written = 0;
    for (int i = 0; i < t->n_questions; i++) {
        const nr_session_stats *stats = &t->answers[i].stats;
        prompt += stats->prompt_tokens - (i > 0 ? stats->cached_tokens : 0);
        written += stats->answer_tokens;
    }
    return json_pack("{s:i, s:i, s:i}", "prompt_tokens", prompt, "completion_tokens", written,
                     "total_tokens", prompt + written);
}

static json_t *envelope(const task *t, const char *object, json_t *choices) {
    char id[64];
    snprintf(id, sizeof id, "chatcmpl-%s", t->id);
    const server *s = t->server;
    json_t *reply = json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", id, "object", object, "created",
                              (json_int_t)time(NULL), "model", s->model, "choices", choices);
    if (s->report.degraded) /* members that OpenAI does not have: clients pass over them */
        json_object_update_new(reply, json_pack("{s:b, s:s}", "degraded", 1, "reason",
                                                s->report.reason));
    return reply;
}

/* What the message says: the text, or the fields as a JSON object in a text. */
static json_t *content_of(const task *t) {
    if (!t->fields_as_json) return json_stringn(t->answers[0].text, t->answers[0].n_bytes);
    json_t *fields = json_object();
    for (int i = 0; i < t->n_questions; i++) {
        const answer *a = &t->answers[i];
        json_t *none = a->never_null ? json_string("") : json_null();
        json_object_set(fields, a->name, none);
        if (!answer_is_none(a)) json_object_set_new(fields, a->name, json_string(a->text));
        json_decref(none);
    }
    char *text = json_dumps(fields, JSON_COMPACT);
    json_t *content = text ? json_string(text) : NULL;
    free(text);
    json_decref(fields);
    return content;
}

static const char *finish_of(const task *t) {
    for (int i = 0; i < t->n_questions; i++)
        if (t->answers[i].finish == NR_FINISH_LENGTH) return "length";
    return "stop";
}

static void end_whole(task *t) {
    json_t *choices = json_pack("[{s:i, s:{s:s, s:o, s:n}, s:n, s:s}]", "index", 0, "message",
                                "role", "assistant", "content", content_of(t), "refusal",
                                "logprobs", "finish_reason", finish_of(t));
    json_t *reply = envelope(t, "chat.completion", choices);
    json_object_set_new(reply, "usage", usage_object(t));
    server_reply_json(t->exchange, 200, reply);
}

static void send_event(task *t, json_t *owned) {
    char *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL, *event = NULL;
    int n = text ? asprintf(&event, "data: %s\n\n", text) : -1;
    if (n > 0) http_stream_write(t->exchange, event, (size_t)n);
    free(event);
    free(text);
    json_decref(owned);
}

static void send_delta(task *t, json_t *delta, const char *finish) {
    json_t *choices = json_pack("[{s:i, s:o, s:n, s:s?}]", "index", 0, "delta", delta, "logprobs",
                                "finish_reason", finish);
    json_t *chunk = envelope(t, "chat.completion.chunk", choices);
    if (t->stream_usage) json_object_set_new(chunk, "usage", json_null());
    send_event(t, chunk);
}

static void begin_stream(task *t) {
    http_stream_begin(t->exchange, 200, "text/event-stream", NULL);
    send_delta(t, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL);
}

static void text_stream(task *t, int i_question, const char *text, size_t n) {
    (void)i_question;
    if (!t->fields_as_json) send_delta(t, json_pack("{s:s%}", "content", text, n), NULL);
}

static void end_stream(task *t) {
    if (t->fields_as_json) send_delta(t, json_pack("{s:o}", "content", content_of(t)), NULL);
    send_delta(t, json_object(), finish_of(t));
    if (t->stream_usage) {
        json_t *last = envelope(t, "chat.completion.chunk", json_array());
        json_object_set_new(last, "usage", usage_object(t));
        send_event(t, last);
    }
    http_stream_write(t->exchange, "data: [DONE]\n\n", 14);
    http_stream_end(t->exchange);
}

static void fail(task *t, int status, const char *code, const char *message) {
    if (!t->exchange->streaming) {
        server_error(t->exchange, status, code, message, status == 503 ? 1 : 0);
        return;
    }
    send_event(t, json_pack("{s:{s:s, s:s, s:n, s:s}}", "error", "message", message, "type",
                            "server_error", "param", "code", code));
    http_stream_end(t->exchange);
}

static const task_shape whole = {.end = end_whole, .fail = fail};
static const task_shape streamed = {
    .begin = begin_stream, .text = text_stream, .end = end_stream, .fail = fail};

static bool read_request(server *s, http_exchange *x, task *t, const json_t *body) {
    text_list all = {.bytes = malloc(SERVER_PROMPT_MAX),
                     .info = nr_engine_get_info(s->engine)};
    bool fine = all.bytes != NULL || bad(x, "out of memory");
    fine = fine && read_flags(x, t, body) && read_messages(x, t, body, &all) &&
           input_generation(x, body, t) && read_format(x, t, body);
    if (fine && t->n_questions == 0) {
        if (all.n > 0)
            fine = input_set_prompt(x, t, all.bytes, all.n);
        else
            fine = input_set_prompt(x, t, DEFAULT_QUESTION, strlen(DEFAULT_QUESTION));
    }
    free(all.bytes);
    return fine;
}

void api_chat(server *s, http_exchange *x) {
    json_t *body = input_json(x);
    if (!body) return;
    task *t = server_task_create(s, x, &whole);
    if (t && read_request(s, x, t, body)) {
        if (t->stream) t->shape = &streamed;
        tasks_submit(t);
    } else if (t) {
        tasks_free(t);
    }
    json_decref(body);
}

void api_models(server *s, http_exchange *x) {
    server_reply_json(x, 200,
                      json_pack("{s:s, s:[{s:s, s:s, s:i, s:s, s:b, s:s}]}", "object", "list",
                                "data", "id", s->model, "object", "model", "created", 0,
                                "owned_by", "newsreader", "degraded", s->report.degraded, "reason",
                                s->report.reason));
}
