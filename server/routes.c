/* SPDX-License-Identifier: MIT
 *
 * routes.c - the one table that routes, and what every request passes before its body is read: path
 * and method, Host, Origin, key, length, a place in the queue. /openapi.json is made from the
 * table.
 */
#include "server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const route server_routes[] = {
    {"GET", "/", api_web, 0, "the web page", NULL, NULL},
    {"GET", "/app.js", api_web, 0, "its program", NULL, NULL},
    {"GET", "/style.css", api_web, 0, "its style", NULL, NULL},
    {"GET", "/health", api_health, ROUTE_PUBLIC, "is the service ready", NULL, "Health"},
    {"POST", "/analyze_image_url", api_analyze, ROUTE_MODEL | ROUTE_ANALYZE,
     "what a news picture behind a URL says", "AnalyzeRequest", "AnalyzeAnswer"},
    {"POST", "/v1/chat/completions", api_chat, ROUTE_MODEL | ROUTE_OPENAI,
     "OpenAI's chat completions, with one picture", "ChatRequest", "ChatAnswer"},
    {"GET", "/v1/models", api_models, ROUTE_OPENAI, "the model that runs", NULL, "Models"},
    {"POST", "/v1/read", api_read, ROUTE_MODEL | ROUTE_OPENAI | ROUTE_UPLOAD,
     "text or fields of a picture", "ReadRequest", "ReadAnswer"},
    {"GET", "/memory_status", api_memory, 0, "memory, planned and measured", NULL, "Memory"},
    {"GET", "/memory_status/stream", api_memory_stream, 0,
     "the same every second, as server-sent events", NULL, NULL},
    {"GET", "/metrics", api_metrics, 0, "counters for Prometheus", NULL, NULL},
    {"GET", "/openapi.json", api_openapi, 0, "this table", NULL, NULL},
    {"GET", "/docs", api_docs, 0, "this table, to read", NULL, NULL}};
const int server_n_routes = sizeof server_routes / sizeof server_routes[0];

#define RETRY_SECONDS_MAX 60
#define RETRY_MARGIN 1.75 /* without one, who comes a little early takes another's place */

/* What an exchange has taken until it is done; its user. */
typedef struct visit {
    const route *route; /* NULL: no such path */
    int key;            /* index of the key it came with; 0 where there are none */
    bool admitted;      /* holds a place that is not yet a task's */
    task *task;
} visit;

static visit *visit_of(const http_exchange *x) {
    return x->user;
}

void server_reply_json(http_exchange *x, int status, json_t *owned) {
    char *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL;
    json_decref(owned);
    if (text)
        http_reply(x, status, "application/json", NULL, text, strlen(text));
    else
        http_reply(x, 503, "application/json", "Retry-After: 1\r\n", "{}", 2);
    free(text);
}

static json_t *error_object(unsigned flags, int status, const char *code, const char *message) {
    const char *type = status == 401   ? "authentication_error"
                       : status < 500  ? "invalid_request_error"
                       : status == 503 ? "overloaded_error"
                                       : "server_error";
    if (flags & ROUTE_ANALYZE)
        return json_pack("{s:b, s:s, s:n}", "success", 0, "error", message, "image_url");
    if (flags & ROUTE_OPENAI)
        return json_pack("{s:{s:s, s:s, s:n, s:s}}", "error", "message", message, "type", type,
                         "param", "code", code);
    return json_pack("{s:{s:s, s:s}}", "error", "code", code, "message", message);
}

void server_error(http_exchange *x, int status, const char *code, const char *message,
                  int retry_seconds) {
    const visit *v = visit_of(x);
    char headers[256] = "";
    if (retry_seconds > 0) snprintf(headers, sizeof headers, "Retry-After: %d\r\n", retry_seconds);
    if (status == 401)
        snprintf(headers, sizeof headers,
                 "WWW-Authenticate: Bearer\r\n"
                 "WWW-Authenticate: Basic realm=\"newsreader\"\r\n");
    if (status == 405)
        snprintf(headers, sizeof headers, "Allow: %s\r\n",
                 strcmp(x->head.method, "GET") == 0 ? "POST" : "GET");
    json_t *object = error_object(v && v->route ? v->route->flags : 0, status, code, message);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    http_reply(x, status, "application/json", headers, text ? text : "{}", text ? strlen(text) : 2);
    free(text);
}

/* ---- checks before the body ----------------------------------------------------------------- */

static bool host_matches(const char *host, const char *name) {
    size_t n = strlen(name);
    bool bracket = strchr(name, ':') != NULL;
    if (bracket && *host++ != '[') return false;
    if (strncasecmp(host, name, n) != 0) return false;
    host += n;
    if (bracket && *host++ != ']') return false;
    return *host == '\0' || (*host == ':' && strspn(host + 1, "0123456789") == strlen(host + 1));
}

static bool host_allowed(const server *s, const char *host) {
    static const char *const local[] = {"127.0.0.1", "localhost", "::1"};
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        if (host_matches(host, local[i])) return true;
    for (int i = 0; i < s->options.n_names; i++)
        if (host_matches(host, s->options.names[i])) return true;
    return host_matches(host, s->options.host);
}

/* A page of another site must not use the reader's key or network. */
static bool origin_allowed(const http_head *head) {
    const char *origin = http_head_get(head, "origin");
    if (!origin) return true;
    const char *rest = strncmp(origin, "http://", 7) == 0    ? origin + 7
                       : strncmp(origin, "https://", 8) == 0 ? origin + 8
                                                             : NULL;
    return rest && strcasecmp(rest, head->host) == 0;
}

/* In time that depends on the length of what was given alone. */
static bool same_key(const char *key, const char *given, size_t n) {
    size_t length = strlen(key);
    unsigned char differs = length != n;
    for (size_t i = 0; i < n; i++)
        differs |= (unsigned char)(given[i] ^ key[length ? i % length : 0]);
    return !differs;
}

/* *key: which one it is. All keys are compared, wherever the right one is. */
static bool key_allowed(const server *s, const http_head *head, int *key) {
    const char *value = http_head_get(head, "authorization");
    bool found = s->n_keys == 0;
    uint8_t *decoded = NULL;
    const char *given = NULL;
    size_t n = 0;
    *key = 0;
    if (found || !value) return found;
    if (strncasecmp(value, "Bearer ", 7) == 0) {
        given = value + 7;
        n = strlen(given);
    } else if (strncasecmp(value, "Basic ", 6) == 0 &&
               input_base64(value + 6, strlen(value + 6), &decoded, &n) == NR_STATUS_OK) {
        const char *colon = memchr(decoded, ':', n); /* any name, the key as password */
        given = colon ? colon + 1 : NULL;
        n -= colon ? (size_t)(colon + 1 - (const char *)decoded) : 0;
    }
    for (int i = 0; given && i < s->n_keys; i++) {
        bool same = same_key(s->keys[i], given, n);
        *key += same && !found ? i : 0;
        found |= same;
    }
    free(decoded);
    return found;
}

static const route *find_route(const http_head *head, bool *path_known) {
    *path_known = false;
    for (int i = 0; i < server_n_routes; i++) {
        if (strcmp(server_routes[i].path, head->path) != 0) continue;
        *path_known = true;
        if (strcmp(server_routes[i].method, head->method) == 0) return &server_routes[i];
    }
    return NULL;
}

/* Seconds until a place should be free that nobody else was told of: as many are promised a second
 * as become free, the first after a whole request, since slots that began together end together. */
static int retry_after(server *s) {
    double now_ms = http_now_ms(), last_ms = now_ms + 1e3 * RETRY_SECONDS_MAX - 1;
    if (s->promised_ms < now_ms) s->promised_ms = now_ms + s->slot_ms;
    s->promised_ms += RETRY_MARGIN * s->slot_ms / nr_sched_get_stats(s->sched).n_slots;
    if (s->promised_ms > last_ms) s->promised_ms = last_ms; /* they do not all come back */
    return 1 + (int)((s->promised_ms - now_ms) / 1e3);
}

/* Takes a place, or has refused. */
static bool admit(server *s, http_exchange *x, visit *v) {
    if (s->draining) {
        server_error(x, 503, "shutting_down", "the service is shutting down", 5);
        return false;
    }
    if (!share_take_place(s, v->key, x->head.content_length)) {
        s->counters.refused_busy++;
        server_error(x, 503, "overloaded",
                     s->n_keys > 1 ? "all places in the queue that this key may have are taken"
                                   : "all places in the queue are taken",
                     retry_after(s));
        return false;
    }
    v->admitted = true;
    return true;
}

static bool type_allowed(const http_head *head, unsigned flags) {
    const char *type = http_head_get(head, "content-type");
    if (!type) return false;
    if (strncasecmp(type, "application/json", 16) == 0) return true;
    return (flags & ROUTE_UPLOAD) && (strncasecmp(type, "image/", 6) == 0 ||
                                      strncasecmp(type, "application/octet-stream", 24) == 0 ||
                                      strncasecmp(type, "multipart/form-data", 19) == 0);
}

static void on_head(void *ctx, http_exchange *x) {
    server *s = ctx;
    const http_head *head = &x->head;
    visit *v = calloc(1, sizeof *v);
    bool path_known;
    x->user = v;
    if (!v) {
        server_error(x, 503, "overloaded", "out of memory", 1);
        return;
    }
    v->route = find_route(head, &path_known);
    unsigned flags = v->route ? v->route->flags : 0;
    if (!host_allowed(s, head->host))
        server_error(x, 421, "wrong_host", "this Host is not served here; see --allow-host", 0);
    else if (!origin_allowed(head))
        server_error(x, 403, "wrong_origin", "requests from other origins are not served", 0);
    else if (!(flags & ROUTE_PUBLIC) && !key_allowed(s, head, &v->key))
        server_error(x, 401, "invalid_api_key", "a key is needed: Authorization: Bearer KEY", 0);
    else if (!path_known)
        server_error(x, 404, "not_found", "no such path; /docs lists them", 0);
    else if (!v->route)
        server_error(x, 405, "method_not_allowed", "no such method here", 0);
    else if (!(flags & ROUTE_MODEL) && head->content_length > 0)
        server_error(x, 413, "too_large", "no body is expected here", 0);
    else if (!(flags & ROUTE_MODEL))
        x->body_max = 0;
    else if (!head->has_length)
        server_error(x, 411, "length_required", "Content-Length?", 0);
    else if (!type_allowed(head, flags))
        server_error(x, 415, "unsupported_type", "expected Content-Type: application/json", 0);
    else if (head->content_length > SERVER_BODY_MAX)
        server_error(x, 413, "too_large", "a body may have 32 MiB", 0);
    else if (admit(s, x, v))
        x->body_max = SERVER_BODY_MAX;
}

static void on_request(void *ctx, http_exchange *x) {
    visit_of(x)->route->handle(ctx, x);
}

task *server_task_create(server *s, http_exchange *x, const task_shape *shape) {
    visit *v = visit_of(x);
    task *t = calloc(1, sizeof *t);
    if (!t) {
        server_error(x, 503, "overloaded", "out of memory", 1);
        return NULL;
    }
    t->server = s;
    t->shape = shape;
    t->exchange = x;
    t->bytes_admitted = x->head.content_length;
    t->key = v->key;
    t->generation = nr_generation_options_default();
    t->deadline_ms = x->start_ms + 1e3 * s->options.request_seconds;
    snprintf(t->id, sizeof t->id, "%08llx%04x", (unsigned long long)s->n_tasks++,
             (unsigned)((uint64_t)(x->start_ms * 1e3) & 0xffff));
    v->admitted = false;
    v->task = t;
    return t;
}

static void on_drain(void *ctx, http_exchange *x) {
    (void)x;
    tasks_advance(ctx);
}

static void log_line(server *s, const http_exchange *x) {
    if (s->options.quiet) return;
    const visit *v = visit_of(x);
    log_say(&s->log,
            "level=info event=request method=%s route=%s status=%d gone=%d in=%llu out=%llu "
            "ms=%.1f",
            v && v->route ? v->route->method : "-", v && v->route ? v->route->path : "-", x->status,
            x->gone, (unsigned long long)x->head.content_length, (unsigned long long)x->sent,
            http_now_ms() - x->start_ms);
}

static void on_done(void *ctx, http_exchange *x) {
    server *s = ctx;
    visit *v = visit_of(x);
    metrics_count(s, x);
    log_line(s, x);
    for (int i = 0; i < s->n_watchers; i++)
        if (s->watchers[i] == x) s->watchers[i] = s->watchers[--s->n_watchers];
    if (!v) return;
    if (v->admitted) share_return_place(s, v->key, x->head.content_length);
    if (v->task) {
        v->task->exchange = NULL;
        if (x->gone) atomic_store(&v->task->cancelled, true);
        server_wake(s);
    }
    free(v);
}

const http_callbacks server_callbacks = {on_head, on_request, on_drain, on_done};
