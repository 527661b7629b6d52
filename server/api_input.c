/* SPDX-License-Identifier: MIT
 *
 * api_input.c - what clients send: JSON within limits, members with ranges, pictures as data: URLs.
 * A function that returns false or NULL has replied with what was wrong.
 */
#define _GNU_SOURCE
#include "base64.h"
#include "server_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MAX 32
#define NODES_MAX 4096
#define URL_MAX 2048

/* jansson takes far more memory than a hostile text has bytes, so count before it looks. */
static const char *json_problem(const char *p, size_t n) {
    int depth = 0, nodes = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        in_string = c == '"';
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        nodes += c == '{' || c == '[' || c == ',' || c == ':';
        if (depth > DEPTH_MAX) return "the JSON is nested deeper than 32";
        if (nodes > NODES_MAX) return "the JSON has more than 4096 values";
    }
    return NULL;
}

json_t *input_json(http_exchange *x) {
    json_error_t problem;
    char message[256];
    size_t n = (size_t)x->head.content_length;
    const char *bad = json_problem(x->body, n);
    json_t *root = bad ? NULL : json_loadb(x->body, n, JSON_REJECT_DUPLICATES, &problem);
    if (root && json_is_object(root)) return root;
    if (bad)
        snprintf(message, sizeof message, "%s", bad);
    else if (root)
        snprintf(message, sizeof message, "the body is JSON, but not an object");
    else
        snprintf(message, sizeof message, "the body is not JSON: line %d, column %d", problem.line,
                 problem.column);
    json_decref(root);
    server_error(x, 400, "invalid_json", message, 0);
    return NULL;
}

static bool refuse(http_exchange *x, const char *member, const char *expected) {
    char message[256];
    snprintf(message, sizeof message, "%s: expected %s", member, expected);
    server_error(x, 400, "invalid_request", message, 0);
    return false;
}

static bool read_int(http_exchange *x, const json_t *body, const char *name, int32_t min,
                     int32_t max, int32_t *out) {
    const json_t *v = json_object_get(body, name);
    char expected[64];
    if (!v || json_is_null(v)) return true;
    snprintf(expected, sizeof expected, "a whole number from %d to %d", min, max);
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return refuse(x, name, expected);
    *out = (int32_t)json_integer_value(v);
    return true;
}

static bool read_float(http_exchange *x, const json_t *body, const char *name, double min,
                       double max, float *out) {
    const json_t *v = json_object_get(body, name);
    char expected[64];
    if (!v || json_is_null(v)) return true;
    double value = json_number_value(v);
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    if (!json_is_number(v) || !(value >= min && value <= max)) return refuse(x, name, expected);
    *out = (float)value;
    return true;
}

static bool add_stop(http_exchange *x, task *t, const json_t *text) {
    static const char expected[] = "up to 4 texts of 1 to 64 bytes";
    size_t n = json_string_length(text);
    int at = t->generation.n_stop_texts;
    if (!json_is_string(text) || at == 4 || n < 1 || n > 64 || strlen(json_string_value(text)) != n)
        return refuse(x, "stop", expected);
    t->stop_texts[at] = strdup(json_string_value(text));
    if (!t->stop_texts[at]) return refuse(x, "stop", "memory");
    t->generation.n_stop_texts = at + 1;
    return true;
}

static bool read_stop(http_exchange *x, const json_t *body, task *t) {
    const json_t *v = json_object_get(body, "stop"), *text;
    size_t i;
    if (!v || json_is_null(v)) return true;
    if (json_is_string(v)) return add_stop(x, t, v);
    if (!json_is_array(v)) return refuse(x, "stop", "a text or a list of texts");
    json_array_foreach(v, i, text) if (!add_stop(x, t, text)) return false;
    return true;
}

bool input_generation(http_exchange *x, const json_t *body, task *t) {
    nr_generation_options *g = &t->generation;
    const json_t *seed = json_object_get(body, "seed");
    if (seed && !json_is_null(seed)) {
        if (!json_is_integer(seed)) return refuse(x, "seed", "a whole number");
        g->seed = (uint64_t)json_integer_value(seed);
    }
    return read_int(x, body, "max_tokens", 1, 1 << 20, &g->max_tokens) &&
           read_int(x, body, "max_completion_tokens", 1, 1 << 20, &g->max_tokens) &&
           read_float(x, body, "temperature", 0, 2, &g->temperature) &&
           read_float(x, body, "top_p", 1e-6, 1, &g->top_p) &&
           read_int(x, body, "top_k", 0, 1 << 20, &g->top_k) && read_stop(x, body, t);
}

bool input_set_prompt(http_exchange *x, task *t, const char *text, size_t n) {
    if (n > SERVER_PROMPT_MAX) return refuse(x, "prompt", "at most 32768 bytes");
    if (memchr(text, '\0', n)) return refuse(x, "prompt", "no zero bytes");
    t->prompt = strndup(text, n);
    if (!t->prompt) return refuse(x, "prompt", "memory");
    t->questions[0] = t->prompt;
    t->n_questions = 1;
    return true;
}

/* A model that goes on with a text needs to be told that it is asked. */
static void add_field(task *t, const nr_field *field) {
    int i = t->n_questions++;
    bool captions = nr_engine_get_info(t->server->engine).captions;
    snprintf(t->framed[i], sizeof t->framed[i], captions ? "Question: %s Answer:" : "%s",
             field->question);
    t->answers[i].name = field->name;
    t->questions[i] = t->framed[i];
}

bool input_add_field(task *t, const char *name, size_t n) {
    const nr_field *field = nr_field_find(name, n);
    bool twice = false;
    for (int i = 0; field && i < t->n_questions; i++) twice |= t->answers[i].name == field->name;
    if (!field || twice || t->n_questions == NR_REQUEST_QUESTIONS_MAX) return false;
    add_field(t, field);
    return true;
}

bool input_set_fields(http_exchange *x, task *t, const char *list) {
    while (*list) {
        size_t n = strcspn(list, ",");
        if (!input_add_field(t, list, n))
            return refuse(x, "fields", "some of headline, byline, site, date, lead, each once");
        list += n + (list[n] == ',');
    }
    return t->n_questions > 0 ||
           refuse(x, "fields", "some of headline, byline, site, date, lead, each once");
}

void input_all_fields(task *t) {
    const nr_field *field;
    for (int32_t i = 0; (field = nr_field_at(i)); i++) add_field(t, field);
}

/* ---- pictures ------------------------------------------------------------------------------- */

nr_status input_base64(const char *text, size_t n, uint8_t **out, size_t *out_n) {
    uint8_t *bytes = malloc(n / 4 * 3 + 3);
    if (!bytes) return NR_STATUS_NO_MEMORY;
    if (!base64_decode(text, n, bytes, out_n)) {
        free(bytes);
        return NR_STATUS_FORMAT;
    }
    *out = bytes;
    return NR_STATUS_OK;
}

bool input_set_picture_url(http_exchange *x, task *t, const char *url) {
    static const char expected[] = "a data: URL with base64, or an http: or https: URL";
    if (strncasecmp(url, "data:", 5) == 0) {
        const char *comma = strchr(url, ',');
        if (!comma || comma - url < 12 || strncasecmp(comma - 7, ";base64", 7) != 0)
            return refuse(x, "image_url", expected);
        nr_status status =
            input_base64(comma + 1, strlen(comma + 1), &t->picture_bytes, &t->picture_n);
        if (status != NR_STATUS_OK) return refuse(x, "image_url", "valid base64");
        return true;
    }
    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return refuse(x, "image_url", expected);
    if (strlen(url) > URL_MAX) return refuse(x, "image_url", "at most 2048 bytes");
    t->url = strdup(url);
    return t->url ? true : refuse(x, "image_url", "memory");
}
