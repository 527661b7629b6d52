/* SPDX-License-Identifier: MIT
 *
 * counting.h - a scheduler whose moments a test chooses: the model's thread passes a gate at its
 * news, and its time is counted in stretches of work, each a 64th of a millisecond, so that what
 * it decides does not depend on the machine.
 */
#ifndef COUNTING_H
#define COUNTING_H

#include "../engine/engine_fixture.h"

#include "engine_internal.h"
#include "scheduler.h"

#include <pthread.h>

#define COUNTING_JOBS 80

static nr_engine *engine; /* a tiny one of random weights */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static int gate_passes = -1; /* how often it may still be passed; -1: always */
static bool gate_stopped;    /* somebody stands before it */
static void (*gate_hook)(void);

/* On the model's thread. */
static void gate_pass(void *ctx) {
    (void)ctx;
    if (gate_hook) gate_hook();
    pthread_mutex_lock(&gate);
    gate_stopped = gate_passes == 0;
    pthread_cond_broadcast(&gate_moved);
    while (gate_passes == 0) pthread_cond_wait(&gate_moved, &gate);
    gate_stopped = false;
    if (gate_passes > 0) gate_passes--;
    pthread_mutex_unlock(&gate);
}

static inline void gate_allow(int passes) {
    pthread_mutex_lock(&gate);
    gate_passes = passes;
    if (passes != 0) gate_stopped = false;
    pthread_cond_broadcast(&gate_moved);
    pthread_mutex_unlock(&gate);
}

/* Until the model's thread has used up what it was allowed. */
static inline void gate_await(void) {
    pthread_mutex_lock(&gate);
    while (!gate_stopped) pthread_cond_wait(&gate_moved, &gate);
    pthread_mutex_unlock(&gate);
}

static inline int counting_set_up(void **state) {
    char dir[4096];
    nr_engine_options o = nr_engine_options_default();
    (void)state;
    fixture_temp_dir(temp);
    fixture_make_checkpoint("odd", fixture_path(dir, "%s/model", temp), "");
    o.n_threads = 1;
    MUST(nr_engine_open(dir, &o, &engine, err));
    return 0;
}

static inline int counting_tear_down(void **state) {
    (void)state;
    nr_engine_close(engine);
    fixture_remove_tree(temp);
    return 0;
}

static double counting_ms(void) {
    static double ms;
    return ms += 1.0 / 64; /* sums of it are exact */
}

static inline size_t counting_pixels(void) {
    const nr_preprocess_settings *p = &engine->model->info.preprocess;
    return 3 * (size_t)p->out_width * (size_t)p->out_height;
}

static inline nr_scheduler *counting_open(int32_t n_slots) {
    nr_scheduler_config config = {.kit = nr_engine_kit(engine),
                                  .n_slots = n_slots,
                                  .n_jobs = n_slots + COUNTING_JOBS,
                                  .pixels_n = counting_pixels(),
                                  .notify = gate_pass,
                                  .clock_ms = counting_ms};
    nr_scheduler *s = NULL;
    MUST(nr_scheduler_create(&config, &s, err));
    return s;
}

/* n_questions about a picture (0: none, else which), each answered by n_tokens, greedily or, where
 * seed is not 0, by chance. */
typedef struct counting_ask {
    int32_t client, n_questions, n_tokens, picture;
    uint64_t seed;
} counting_ask;

static inline nr_job *counting_submit(nr_scheduler *s, const counting_ask *a) {
    const nr_model_info *info = &engine->model->info;
    nr_job *job = nr_scheduler_take(s);
    assert_non_null(job);
    job->has_picture = a->picture > 0;
    for (size_t i = 0; i < counting_pixels() && job->has_picture; i++)
        job->pixels[i] = (float)((i * (size_t)a->picture) % 17) / 8 - 1;
    for (int32_t q = 0; q < a->n_questions; q++) {
        int32_t *ids = job->ids + (int64_t)q * info->context, n = 0;
        ids[n++] = 1;
        for (int32_t i = 0; i < info->n_image_tokens && job->has_picture; i++)
            ids[n++] = info->image_token_id;
        for (int32_t i = 0; i < 5; i++) ids[n++] = 5 + 7 * i + q;
        job->n_ids[q] = n;
    }
    job->n_questions = a->n_questions;
    job->settings = (nr_answer_settings){.max_tokens = a->n_tokens, .ignore_stop = true};
    job->settings.sampler.temperature = a->seed ? 0.8f : 0;
    job->settings.sampler.top_p = 1;
    job->settings.sampler.seed = a->seed;
    job->deadline_ms = 0;
    job->client = a->client;
    nr_scheduler_submit(job);
    return job;
}

/* The first of several: the model's thread stands at the gate and has given it a slot, no more,
 * whatever it had still to tell of others before. */
static inline nr_job *counting_begin(nr_scheduler *s, const counting_ask *a) {
    gate_allow(0);
    nr_job *job = counting_submit(s, a);
    gate_await();
    while (nr_scheduler_get_stats(s).n_running == 0) {
        gate_allow(1);
        gate_await();
    }
    return job;
}

#endif
