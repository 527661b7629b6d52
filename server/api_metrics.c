/* SPDX-License-Identifier: MIT
 * api_metrics.c - /metrics, for Prometheus, and what is counted for it. */
#define _GNU_SOURCE
#include "server_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* The last one has everything. */
static const double bucket_ms[HISTOGRAM_BUCKETS - 1] = {
    1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000};

static void count_time(histogram *h, double ms) {
    int i = 0;
    while (i < HISTOGRAM_BUCKETS - 1 && ms > bucket_ms[i]) i++;
    h->n[i]++;
    h->sum_ms += ms;
}

void metrics_stage(server *s, stage which, double ms) {
    count_time(&s->counters.stages[which], ms);
}

void metrics_count(server *s, const http_exchange *x) {
    counters *c = &s->counters;
    int class = x->status / 100;
    c->requests[class >= 1 && class <= 5 ? class : 0]++;
    c->gone += x->gone;
    c->bytes_in += x->head.content_length;
    c->bytes_out += x->sent;
    count_time(&c->http, http_now_ms() - x->start_ms);
}

/* label: `stage="fetch"`, or "". */
static void put_histogram(FILE *f, const char *name, const char *label, const histogram *h) {
    const char *comma = *label ? "," : "", *open = *label ? "{" : "", *close = *label ? "}" : "";
    uint64_t sum = 0;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        char bound[32] = "+Inf";
        sum += h->n[i];
        if (i < HISTOGRAM_BUCKETS - 1) snprintf(bound, sizeof bound, "%g", bucket_ms[i] * 1e-3);
        fprintf(f, "newsreader_%s_bucket{%s%sle=\"%s\"} %llu\n", name, label, comma, bound,
                (unsigned long long)sum);
    }
    fprintf(f, "newsreader_%s_sum%s%s%s %.6f\n", name, open, label, close, h->sum_ms * 1e-3);
    fprintf(f, "newsreader_%s_count%s%s%s %llu\n", name, open, label, close,
            (unsigned long long)sum);
}

static void put_requests(FILE *f, const counters *c) {
    static const char *const stages[STAGE_COUNT] = {"fetch",   "decode_image", "queue", "vision",
                                                    "prefill", "generate",     "whole"};
    fputs("# TYPE newsreader_http_requests_total counter\n", f);
    for (int i = 1; i <= 5; i++)
        fprintf(f, "newsreader_http_requests_total{class=\"%dxx\"} %llu\n", i,
                (unsigned long long)c->requests[i]);
    fputs("# TYPE newsreader_http_request_seconds histogram\n", f);
    put_histogram(f, "http_request_seconds", "", &c->http);
    fputs("# TYPE newsreader_stage_seconds histogram\n", f);
    for (int i = 0; i < STAGE_COUNT; i++) {
        char label[64];
        snprintf(label, sizeof label, "stage=\"%s\"", stages[i]);
        put_histogram(f, "stage_seconds", label, &c->stages[i]);
    }
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
    put(f, "requests_put_back_total", "counter", (double)q.n_put_back);
    put(f, "pictures_total", "counter", (double)q.n_pictures);
    put(f, "prompt_tokens_total", "counter", (double)q.n_prompt_tokens);
    put(f, "answer_tokens_total", "counter", (double)q.n_answer_tokens);
    put(f, "batches_total", "counter", (double)q.n_batches);
    put(f, "batch_rows_total", "counter", (double)q.n_batch_rows);
    put(f, "vision_seconds_total", "counter", q.vision_ms * 1e-3);
    put(f, "forward_seconds_total", "counter", q.forward_ms * 1e-3);
}

static void put_card(FILE *f, server *s, const nr_memory_plan *plan) {
    nr_device_usage d = nr_device_usage_get(s->engine);
    put(f, "card_planned_bytes", "gauge", (double)plan->vram_bytes);
    put(f, "card_reserved_bytes", "gauge", (double)d.reserved_bytes);
    put(f, "card_process_bytes", "gauge", (double)d.process_bytes);
    put(f, "card_context_bytes", "gauge", (double)d.context_bytes);
    put(f, "card_used_bytes", "gauge", (double)d.used_bytes);
    put(f, "card_total_bytes", "gauge", (double)d.total_bytes);
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
    put(f, "log_lines_dropped_total", "counter", (double)log_dropped(&s->log));
    put(f, "http_in_bytes_total", "counter", (double)s->counters.bytes_in);
    put(f, "http_out_bytes_total", "counter", (double)s->counters.bytes_out);
    put(f, "model_degraded", "gauge", s->report.degraded);
    put_model(f, s);
    put(f, "memory_planned_bytes", "gauge", (double)plan.total_bytes);
    put(f, "memory_planned_resident_bytes", "gauge", (double)plan.resident_bytes);
    put(f, "memory_resident_bytes", "gauge", (double)usage.resident_bytes);
    put(f, "memory_peak_bytes", "gauge", (double)usage.resident_peak_bytes);
    put(f, "allocations_total", "counter", (double)usage.allocations);
    if (plan.apart) put_card(f, s, &plan);
    fclose(f);
    http_reply(x, 200, "text/plain; version=0.0.4", NULL, text, n);
    free(text);
}
