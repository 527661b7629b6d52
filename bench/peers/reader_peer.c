/* SPDX-License-Identifier: MIT
 *
 * reader_peer.c - newsreader's side of `make bench-peers`: loads a model, then does what it reads
 * from standard input, a word a line, and answers with lines of JSON.
 *
 *   reader_peer MODEL THREADS CONTEXT TOKENS STEPS
 *
 *   request   a picture, 40 tokens of text, TOKENS of answer: vision, prefill, decode
 *   four      four such requests at once on a scheduler: STEPS tokens of each answer, timed from
 *             where all four have read their prompts
 *
 * Every answer ends with {"stage": "done"}.
 */
#define _POSIX_C_SOURCE 200809L
#include "newsreader_sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIDE 336
#define TEXT_TOKENS 40
#define QUESTION_BYTES_MAX 1024
#define SEQUENCES 4

typedef struct peer {
    nr_engine *engine;
    nr_session *session;
    nr_picture *picture;
    char question[QUESTION_BYTES_MAX];
    int32_t n_tokens, n_steps;
} peer;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void say(const char *stage, double ms, uint64_t tokens) {
    printf("{\"stage\": \"%s\", \"ms\": %.3f, \"tokens\": %llu}\n", stage, ms,
           (unsigned long long)tokens);
    fflush(stdout);
}

static nr_status make_picture(nr_picture **out, nr_error *err) {
    static uint8_t rgb[SIDE * SIDE * 3];
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * 2654435761u >> 13);
    return nr_picture_from_rgb(rgb, SIDE, SIDE, out, err);
}

/* Letters until picture and text are as long as they shall be. */
static nr_status make_question(peer *p, nr_error *err) {
    int32_t wanted = nr_engine_get_info(p->engine).image_tokens + TEXT_TOKENS, n = 0;
    for (size_t used = 0; used + 1 < sizeof p->question; used++) {
        nr_status status = nr_session_count_tokens(p->session, p->question, &n, err);
        if (status != NR_STATUS_OK || n >= wanted) return status;
        p->question[used] = "news page "[used % 10];
    }
    return NR_STATUS_OK;
}

static nr_generation_options answer_of(int32_t n_tokens) {
    nr_generation_options g = nr_generation_options_default();
    g.max_tokens = n_tokens;
    g.ignore_stop = true;
    return g;
}

static nr_status request(peer *p, nr_error *err) {
    nr_generation_options g = answer_of(p->n_tokens);
    nr_step step = {0};
    nr_status status = nr_session_set_picture(p->session, p->picture, NR_FIT_AUTO, err);
    if (status == NR_STATUS_OK) status = nr_session_ask(p->session, p->question, &g, err);
    while (status == NR_STATUS_OK && !step.done) status = nr_session_step(p->session, &step, err);
    nr_session_stats s = nr_session_get_stats(p->session);
    say("vision", s.vision_ms, (uint64_t)s.image_tokens);
    say("prefill", s.prefill_ms, (uint64_t)s.prompt_tokens);
    say("decode", s.decode_ms, (uint64_t)s.answer_tokens);
    return status;
}

/* The first state with more forward calls; false: a job ended. */
static bool next_batch(nr_sched *sched, uint64_t n_batches, nr_sched_stats *out) {
    for (;;) {
        *out = nr_sched_get_stats(sched);
        if (out->n_done + out->n_failed > 0) return false;
        if (out->n_batches > n_batches) return true;
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
}

/* Wait for a call of four rows, a token for each: all prompts have been read. Then time calls. */
static void time_steps(nr_sched *sched, uint64_t n_steps) {
    nr_sched_stats last = {0}, now = {0};
    do {
        last = now;
        if (!next_batch(sched, last.n_batches, &now)) return;
    } while (now.n_batch_rows - last.n_batch_rows != SEQUENCES * (now.n_batches - last.n_batches));
    double start = now_ms();
    last = now;
    while (now.n_batches < last.n_batches + n_steps)
        if (!next_batch(sched, now.n_batches, &now)) return;
    say("decode4", now_ms() - start, now.n_batch_rows - last.n_batch_rows);
}

static nr_status four(peer *p, nr_error *err) {
    nr_sched_options o = nr_sched_options_default();
    nr_sched *sched = NULL;
    nr_job *jobs[SEQUENCES] = {NULL};
    const char *questions[] = {p->question};
    nr_request r = nr_request_default();
    r.picture = p->picture;
    r.questions = questions;
    r.n_questions = 1;
    r.generation = answer_of(p->n_steps + 64);
    o.n_slots = SEQUENCES;
    nr_status status = nr_sched_open(p->engine, &o, &sched, err);
    for (int i = 0; i < SEQUENCES && status == NR_STATUS_OK; i++)
        status = nr_sched_submit(sched, &r, &jobs[i], err);
    if (status == NR_STATUS_OK) time_steps(sched, (uint64_t)p->n_steps);
    for (int i = 0; i < SEQUENCES; i++) {
        if (jobs[i]) nr_job_cancel(jobs[i]);
        nr_job_close(jobs[i]);
    }
    nr_sched_close(sched);
    return status;
}

static nr_status open_all(peer *p, char **argv, nr_error *err) {
    nr_engine_options o = nr_engine_options_default();
    o.n_threads = atoi(argv[2]);
    o.context_tokens = atoi(argv[3]);
    nr_status status = nr_engine_open(argv[1], &o, &p->engine, err);
    if (status == NR_STATUS_OK) status = nr_session_create(p->engine, &p->session, err);
    if (status == NR_STATUS_OK) status = make_picture(&p->picture, err);
    if (status == NR_STATUS_OK)
        status = nr_session_set_picture(p->session, p->picture, NR_FIT_AUTO, err);
    return status == NR_STATUS_OK ? make_question(p, err) : status;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: reader_peer MODEL THREADS CONTEXT TOKENS STEPS\n");
        return 2;
    }
    static peer p;
    nr_error err = {0};
    char word[32];
    p.n_tokens = atoi(argv[4]);
    p.n_steps = atoi(argv[5]);
    nr_status status = open_all(&p, argv, &err);
    if (status == NR_STATUS_OK) {
        nr_engine_info info = nr_engine_get_info(p.engine);
        printf("{\"stage\": \"open\", \"kernels\": \"%s\", \"load_ms\": %.1f}\n", info.kernels,
               info.load_ms);
        say("done", 0, 0);
    }
    while (status == NR_STATUS_OK && scanf("%31s", word) == 1) {
        if (strcmp(word, "request") == 0) status = request(&p, &err);
        if (strcmp(word, "four") == 0) status = four(&p, &err);
        say("done", 0, nr_memory_usage_get().resident_peak_bytes);
    }
    if (status != NR_STATUS_OK) fprintf(stderr, "reader_peer: %s\n", err.message);
    nr_picture_free(p.picture);
    nr_session_free(p.session);
    nr_engine_close(p.engine);
    return status != NR_STATUS_OK;
}
