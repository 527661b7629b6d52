/* SPDX-License-Identifier: MIT
 * api_metrics.c - /metrics, for Prometheus, and what is counted for it. */
#define _GNU_SOURCE
#include "server_internal.h"

#include <stdio.h>
#include <stdlib.h>

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
    put(f, "http_in_bytes_total", "counter", (double)s->counters.bytes_in);
    put(f, "http_out_bytes_total", "counter", (double)s->counters.bytes_out);
    put(f, "model_degraded", "gauge", s->report.degraded);
    put_model(f, s);
    put(f, "fetch_seconds_total", "counter", s->counters.fetch_ms * 1e-3);
    put(f, "decode_image_seconds_total", "counter", s->counters.decode_ms * 1e-3);
    put(f, "queued_seconds_total", "counter", s->counters.queued_ms * 1e-3);
    put(f, "prefill_seconds_total", "counter", s->counters.prefill_ms * 1e-3);
    put(f, "generate_seconds_total", "counter", s->counters.generate_ms * 1e-3);
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
