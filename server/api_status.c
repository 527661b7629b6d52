/* SPDX-License-Identifier: MIT
 *
 * api_status.c - what the service says about itself: /health, /memory_status and its stream,
 * /metrics, and the web page's files.
 */
#define _GNU_SOURCE
#include "server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_BACKLOG_MAX 16384 /* a watcher that does not read misses seconds */

static const double bucket_ms[8] = {50, 100, 250, 500, 1000, 2500, 10000, 1e18};

void metrics_count(server *s, const http_exchange *x) {
    counters *c = &s->counters;
    double ms = http_now_ms() - x->start_ms;
    int class = x->status / 100;
    c->requests[class >= 1 && class <= 5 ? class : 0]++;
    c->gone += x->gone;
    c->bytes_in += x->head.content_length;
    c->bytes_out += x->sent;
    c->request_ms_sum += ms;
    for (int i = 0; i < 8; i++)
        if (ms <= bucket_ms[i]) {
            c->request_ms_bucket[i]++;
            break;
        }
}

/* "MemTotal:  123 kB" of /proc/meminfo in bytes; 0 when it is not there. */
static uint64_t machine_bytes(const char *key) {
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), " %llu", &kib) == 1)
            break;
    if (f) fclose(f);
    return kib * 1024;
}

static json_t *queue_object(server *s) {
    nr_sched_stats q = nr_sched_get_stats(s->sched);
    return json_pack("{s:i, s:i, s:i, s:i}", "slots", q.n_slots, "running", q.n_running, "waiting",
                     q.n_queued, "places", s->admitted_max - s->n_admitted);
}

/* What stays beside weights, scratch and requests: the program, its tables, seen pictures. */
static uint64_t program_bytes(const nr_memory_plan *plan) {
    return plan->process_bytes + plan->tokenizer_bytes + plan->image_cache_bytes;
}

static uint64_t planned_bytes(const server *s, const nr_memory_plan *plan) {
    return plan->weights_bytes + plan->scratch_bytes + s->sched_bytes + program_bytes(plan);
}

json_t *api_memory_object(server *s) {
    nr_memory_plan plan = nr_engine_get_plan(s->engine);
    nr_memory_usage usage = nr_memory_usage_get();
    json_t *planned =
        json_pack("{s:I, s:I, s:I, s:I, s:I}", "weights_bytes", (json_int_t)plan.weights_bytes,
                  "scratch_bytes", (json_int_t)plan.scratch_bytes, "requests_bytes",
                  (json_int_t)s->sched_bytes, "program_bytes", (json_int_t)program_bytes(&plan),
                  "total_bytes", (json_int_t)planned_bytes(s, &plan));
    json_t *measured = json_pack("{s:I, s:I}", "resident_bytes", (json_int_t)usage.resident_bytes,
                                 "peak_bytes", (json_int_t)usage.resident_peak_bytes);
    json_t *machine = json_pack("{s:I, s:I}", "total_bytes", (json_int_t)machine_bytes("MemTotal:"),
                                "available_bytes", (json_int_t)machine_bytes("MemAvailable:"));
    json_t *device =
        json_pack("{s:s, s:o, s:o, s:n, s:o}", "device", nr_engine_get_info(s->engine).device,
                  "planned", planned, "measured", measured, "ceiling_bytes", "machine", machine);
    return json_pack("{s:[o], s:I, s:o}", "devices", device, "allocations_since_start",
                     (json_int_t)(usage.allocations - s->counters.allocations_at_start), "queue",
                     queue_object(s));
}

void api_memory(server *s, http_exchange *x) {
    server_reply_json(x, 200, api_memory_object(s));
}

static void send_memory(http_exchange *x, const char *text) {
    char *event = NULL;
    int n = asprintf(&event, "data: %s\n\n", text);
    if (n > 0) http_stream_write(x, event, (size_t)n);
    free(event);
}

static char *memory_text(server *s) {
    json_t *object = api_memory_object(s);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

void api_memory_stream(server *s, http_exchange *x) {
    if (s->n_watchers == (int)(sizeof s->watchers / sizeof s->watchers[0]) || s->draining) {
        server_error(x, 503, "overloaded", "too many watch the memory already", 5);
        return;
    }
    s->watchers[s->n_watchers++] = x;
    http_stream_begin(x, 200, "text/event-stream", NULL);
    char *text = memory_text(s);
    if (text) send_memory(x, text);
    free(text);
}

void api_memory_tick(server *s) {
    char *text = s->n_watchers > 0 ? memory_text(s) : NULL;
    for (int i = s->n_watchers - 1; i >= 0; i--) {
        if (s->draining)
            http_stream_end(s->watchers[i]); /* leaves the list in on_done */
        else if (text && http_backlog(s->watchers[i]) < STREAM_BACKLOG_MAX)
            send_memory(s->watchers[i], text);
    }
    free(text);
}

void api_health(server *s, http_exchange *x) {
    nr_engine_info info = nr_engine_get_info(s->engine);
    nr_memory_usage usage = nr_memory_usage_get();
    json_t *memory = json_pack("{s:f, s:f}", "resident_gb", (double)usage.resident_bytes * 1e-9,
                               "peak_gb", (double)usage.resident_peak_bytes * 1e-9);
    server_reply_json(x, s->draining ? 503 : 200,
                      json_pack("{s:s, s:b, s:o, s:s, s:s, s:s, s:b, s:s?, s:o, s:s}", "status",
                                s->draining ? "draining" : "ok", "model_loaded", 1, "memory_usage",
                                memory, "model", info.model, "dtype", info.dtype, "kernels",
                                info.kernels, "degraded", s->degraded != NULL, "reason",
                                s->degraded, "queue", queue_object(s), "version", nr_version()));
}

static void put_requests(FILE *f, const counters *c) {
    fputs("# TYPE newsreader_http_requests_total counter\n", f);
    for (int i = 1; i <= 5; i++)
        fprintf(f, "newsreader_http_requests_total{class=\"%dxx\"} %llu\n", i,
                (unsigned long long)c->requests[i]);
    fputs("# TYPE newsreader_http_request_seconds histogram\n", f);
    uint64_t sum = 0;
    for (int i = 0; i < 8; i++) {
        sum += c->request_ms_bucket[i];
        if (i < 7)
            fprintf(f, "newsreader_http_request_seconds_bucket{le=\"%g\"} %llu\n",
                    bucket_ms[i] * 1e-3, (unsigned long long)sum);
    }
    fprintf(
        f,
        "newsreader_http_request_seconds_bucket{le=\"+Inf\"} %llu\n"
        "newsreader_http_request_seconds_sum %.6f\nnewsreader_http_request_seconds_count %llu\n",
        (unsigned long long)sum, c->request_ms_sum * 1e-3, (unsigned long long)sum);
}

static void put(FILE *f, const char *name, const char *kind, double value) {
    fprintf(f, "# TYPE newsreader_%s %s\nnewsreader_%s %.17g\n", name, kind, name, value);
}

static void put_model(FILE *f, server *s) {
    nr_sched_stats q = nr_sched_get_stats(s->sched);
    put(f, "slots", "gauge", q.n_slots);
    put(f, "requests_running", "gauge", q.n_running);
    put(f, "requests_waiting", "gauge", q.n_queued);
    put(f, "requests_done_total", "counter", (double)q.n_done);
    put(f, "requests_cancelled_total", "counter", (double)q.n_cancelled);
    put(f, "requests_timed_out_total", "counter", (double)q.n_timed_out);
    put(f, "pictures_total", "counter", (double)q.n_pictures);
    put(f, "prompt_tokens_total", "counter", (double)q.n_prompt_tokens);
    put(f, "answer_tokens_total", "counter", (double)q.n_answer_tokens);
    put(f, "batches_total", "counter", (double)q.n_batches);
    put(f, "batch_rows_total", "counter", (double)q.n_batch_rows);
    put(f, "vision_seconds_total", "counter", q.vision_ms * 1e-3);
    put(f, "forward_seconds_total", "counter", q.forward_ms * 1e-3);
}

void api_metrics(server *s, http_exchange *x) {
    char *text = NULL;
    size_t n = 0;
    nr_memory_plan plan = nr_engine_get_plan(s->engine);
    nr_memory_usage usage = nr_memory_usage_get();
    FILE *f = open_memstream(&text, &n);
    if (!f) {
        server_error(x, 503, "overloaded", "out of memory", 1);
        return;
    }
    put_requests(f, &s->counters);
    put(f, "http_connections", "gauge", http_connections(s->http));
    put(f, "http_refused_busy_total", "counter", (double)s->counters.refused_busy);
    put(f, "http_clients_gone_total", "counter", (double)s->counters.gone);
    put(f, "http_in_bytes_total", "counter", (double)s->counters.bytes_in);
    put(f, "http_out_bytes_total", "counter", (double)s->counters.bytes_out);
    put_model(f, s);
    put(f, "fetch_seconds_total", "counter", s->counters.fetch_ms * 1e-3);
    put(f, "decode_image_seconds_total", "counter", s->counters.decode_ms * 1e-3);
    put(f, "queued_seconds_total", "counter", s->counters.queued_ms * 1e-3);
    put(f, "prefill_seconds_total", "counter", s->counters.prefill_ms * 1e-3);
    put(f, "generate_seconds_total", "counter", s->counters.generate_ms * 1e-3);
    put(f, "memory_planned_bytes", "gauge", (double)planned_bytes(s, &plan));
    put(f, "memory_resident_bytes", "gauge", (double)usage.resident_bytes);
    put(f, "memory_peak_bytes", "gauge", (double)usage.resident_peak_bytes);
    put(f, "allocations_total", "counter", (double)usage.allocations);
    fclose(f);
    http_reply(x, 200, "text/plain; version=0.0.4", NULL, text, n);
    free(text);
}

void api_web(server *s, http_exchange *x) {
    static const char headers[] =
        "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n";
    (void)s;
    for (int i = 0; i < web_n_files; i++) {
        const web_file *f = &web_files[i];
        if (strcmp(f->path, x->head.path) != 0) continue;
        http_reply(x, 200, f->type, headers, f->bytes, f->n_bytes);
        return;
    }
    server_error(x, 404, "not_found", "no such file", 0);
}
