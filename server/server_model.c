/* SPDX-License-Identifier: MIT
 *
 * server_model.c - which model the service runs, and the memory of the whole service in its plan:
 * the scheduler's as counted by the library, what the service itself holds and what passes through
 * it as bounded here.
 */
#include "server_internal.h"

#include <stdio.h>
#include <string.h>

#define NO_MODEL 3

/* What stays: the heap of the event loop and its libraries, keys, tables; the helpers' processes
 * (docs/MEMORY.md measures both). */
#define PROGRAM_BYTES ((uint64_t)4 << 20)
#define HELPER_BYTES ((uint64_t)512 << 10)
/* A picture that is being fetched: its file, and the child with libcurl. */
#define FETCH_BYTES ((uint64_t)HELPER_BYTES_MAX + ((uint64_t)4 << 20))
/* A connection's head, events and backlog. */
#define CONNECTION_BYTES ((uint64_t)48 << 10)

/* The largest JSON being read is there three times: as it came, as texts, as a picture. */
static uint64_t passing_bytes(const server_options *o) {
    return o->bodies_bytes_max + 2 * SERVER_BODY_MAX +
           SERVER_WORKERS * FETCH_BYTES + (uint64_t)o->connections_max * CONNECTION_BYTES;
}

/* A plan with these options is one of the whole service. */
static void plan_for(const server_options *s, nr_engine_options *o) {
    o->scheduler = true;
    o->n_queued = s->queue;
    o->program_bytes = PROGRAM_BYTES + SERVER_WORKERS * HELPER_BYTES;
    o->passing_bytes = passing_bytes(s);
    if (o->n_slots == 0) o->n_slots = SERVER_SLOTS;
    if (o->n_pictures == 0) o->n_pictures = SERVER_DECODERS;
}

int server_plan_options(const server_start *start, nr_engine_options *out) {
    server_options options;
    int code = server_options_read(start, &options);
    if (code == 0) plan_for(&options, out);
    server_options_free(&options);
    return code;
}

static nr_rung rung_of(server *s, const nr_rung *asked) {
    nr_rung r = *asked;
    plan_for(&s->options, &r.options);
    r.options.progress = server_going_on;
    r.options.progress_ctx = s;
    return r;
}

static void say_choice(const server *s) {
    nr_engine_info info = nr_engine_get_info(s->engine);
    if (s->report.n_rungs > 1) server_say("%s answers: %s", s->model, s->report.reason);
    if (*info.placement || strncmp(info.device_note, "auto", 4) == 0)
        server_say("device %s", info.device_note);
    if (info.chat_template_unknown)
        server_say("%s: prompt template %s", s->model, info.prompt_template);
}

static void say_refusal(const server *s, const nr_error *err) {
    if (s->report.n_rungs > 1)
        server_say("no model: %s", s->report.reason);
    else
        server_say("%s: %s", nr_status_text(err->status), err->message);
}

static nr_status open_sched(server *s, nr_error *err) {
    nr_sched_options o = nr_sched_options_default();
    o.n_slots = nr_engine_get_plan(s->engine).n_slots;
    o.n_queued = s->options.queue;
    o.notify = server_wake;
    o.notify_ctx = s;
    s->admitted_max = o.n_slots + o.n_queued;
    return nr_sched_open(s->engine, &o, &s->sched, err);
}

int server_model_open(server *s, const server_start *start) {
    nr_rung rungs[NR_RUNGS_MAX];
    nr_error err = {0};
    for (int i = 0; i < start->n_rungs; i++) rungs[i] = rung_of(s, &start->rungs[i]);
    nr_status status =
        nr_ladder_open(rungs, start->n_rungs, start->policy, &s->engine, &s->report, &err);
    if (status != NR_STATUS_OK) {
        if (!s->draining) say_refusal(s, &err);
        return NO_MODEL;
    }
    const nr_rung *chosen = &rungs[s->report.chosen];
    s->model = s->report.rungs[s->report.chosen].model;
    s->n_decoders = chosen->options.n_pictures;
    s->ram_bytes_max = chosen->options.ram_bytes_max;
    s->vram_bytes_max = chosen->options.vram_bytes_max;
    say_choice(s);
    status = open_sched(s, &err);
    if (status != NR_STATUS_OK) server_say("%s: %s", nr_status_text(status), err.message);
    return status == NR_STATUS_OK ? 0 : NO_MODEL;
}
