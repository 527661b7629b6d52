/* SPDX-License-Identifier: MIT
 *
 * api_status.c - what the service says about itself: /health, /memory_status and its stream; and
 * the web page's files.
 */
#define _GNU_SOURCE
#include "server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_BACKLOG_MAX 16384 /* a watcher that does not read misses seconds */

static json_t *queue_object(server *s) {
    nr_sched_stats q = nr_sched_get_stats(s->sched);
    return json_pack("{s:i, s:i, s:i, s:i}", "slots", q.n_slots, "running", q.n_running, "waiting",
                     q.n_queued, "places", s->admitted_max - s->n_admitted);
}

static json_t *planned_object(const nr_memory_plan *p) {
    json_t *parts = json_array();
    for (int i = 0; i < p->n_parts; i++)
        json_array_append_new(parts, json_pack("{s:s, s:s, s:I, s:b}", "name", p->parts[i].name,
                                               "where", p->parts[i].on_device ? p->device : "host",
                                               "bytes", (json_int_t)p->parts[i].bytes, "passing",
                                               p->parts[i].passing));
    return json_pack("{s:o, s:I, s:I}", "parts", parts, "resident_bytes",
                     (json_int_t)p->resident_bytes, "total_bytes", (json_int_t)p->total_bytes);
}

/* Private memory of the processes that wait for pictures; their children of a moment not. */
static uint64_t helpers_bytes(const server *s) {
    uint64_t sum = 0;
    for (int i = 0; i < s->n_workers; i++) {
        char path[64], line[128];
        unsigned long long kib = 0;
        snprintf(path, sizeof path, "/proc/%d/status", (int)s->helpers[i].pid);
        FILE *f = fopen(path, "re");
        while (f && fgets(line, sizeof line, f))
            if (sscanf(line, "RssAnon: %llu", &kib) == 1) break;
        if (f) fclose(f);
        sum += kib * 1024;
    }
    return sum;
}

static json_t *measured_object(const server *s, const nr_memory_usage *usage) {
    return json_pack("{s:I, s:I, s:I, s:I}", "resident_bytes", (json_int_t)usage->resident_bytes,
                     "peak_bytes", (json_int_t)usage->resident_peak_bytes, "arena_bytes",
                     (json_int_t)usage->arena_bytes, "helpers_bytes", (json_int_t)helpers_bytes(s));
}

/* The card that the model is on, as planned and as the driver counts. */
static json_t *card_object(server *s, const nr_memory_plan *plan) {
    nr_device_usage d = nr_device_usage_get(s->engine);
    return json_pack("{s:s, s:s, s:s, s:{s:I}, s:{s:I, s:I, s:I}, s:o, s:{s:I, s:I, s:I}}",
                     "device", plan->device, "card", d.card, "placement", plan->placement,
                     "planned", "total_bytes",
                     (json_int_t)plan->vram_bytes, "measured", "reserved_bytes",
                     (json_int_t)d.reserved_bytes, "process_bytes", (json_int_t)d.process_bytes,
                     "context_bytes", (json_int_t)d.context_bytes, "ceiling_bytes",
                     s->vram_bytes_max ? json_integer((json_int_t)s->vram_bytes_max) : json_null(),
                     "machine", "total_bytes", (json_int_t)d.total_bytes, "used_bytes",
                     (json_int_t)d.used_bytes, "free_bytes", (json_int_t)d.free_bytes);
}

json_t *api_memory_object(server *s) {
    nr_memory_plan plan = nr_engine_get_plan(s->engine);
    nr_memory_usage usage = nr_memory_usage_get();
    nr_machine_memory m = nr_machine_memory_get();
    json_t *machine =
        json_pack("{s:I, s:I, s:b}", "total_bytes", (json_int_t)m.total_bytes, "available_bytes",
                  (json_int_t)m.available_bytes, "by_cgroup", m.by_cgroup);
    json_t *ceiling = s->ram_bytes_max ? json_integer((json_int_t)s->ram_bytes_max) : json_null();
    json_t *device = json_pack("{s:s, s:o, s:o, s:o, s:o}", "device", "cpu", "planned",
                               planned_object(&plan), "measured", measured_object(s, &usage),
                               "ceiling_bytes", ceiling, "machine", machine);
    json_t *devices = json_pack("[o]", device);
    if (plan.apart) json_array_append_new(devices, card_object(s, &plan));
    return json_pack("{s:o, s:I, s:o}", "devices", devices, "allocations_since_start",
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
                      json_pack("{s:s, s:b, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:o, s:s}",
                                "status", s->draining ? "draining" : "ok", "model_loaded", 1,
                                "memory_usage", memory, "model", s->model, "dtype", info.dtype,
                                "device", info.device, "device_note", info.device_note,
                                "placement", info.placement, "kernels", info.kernels, "degraded",
                                s->report.degraded, "reason", s->report.reason, "queue",
                                queue_object(s), "version", nr_version()));
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
