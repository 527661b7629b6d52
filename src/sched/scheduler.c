/* SPDX-License-Identifier: MIT
 *
 * scheduler.c - see scheduler.h: memory, the queue, what other threads call. The model's thread is
 * in model_thread.c.
 */
#define _GNU_SOURCE
#include "scheduler_internal.h"

#include "nr_alloc.h"
#include "nr_clock.h"

#include <time.h>

static void carve_job(nr_scheduler *s, nr_job *job, nr_arena *host) {
    size_t ids = (size_t)s->config.kit.model->info.context * NR_JOB_QUESTIONS_MAX;
    *job = (nr_job){.scheduler = s, .ring.cap = NR_JOB_RING_BYTES};
    if (s->config.pixels_n > 0)
        job->pixels = nr_arena_take(host, s->config.pixels_n, sizeof(float));
    job->ids = nr_arena_take(host, ids, sizeof(int32_t));
    job->ring.bytes = nr_arena_take(host, NR_JOB_RING_BYTES, 1);
    job->text = nr_arena_take(host, NR_ANSWER_PIECE_MAX, 1);
}

/* Measures with empty arenas, then makes everything. */
static void carve(nr_scheduler *s, nr_arena *host, nr_arena *caches) {
    const nr_scheduler_config *c = &s->config;
    nr_job measured;
    nr_slot measured_slot = {0};
    nr_answer_kit_carve(&s->config.kit, c->kit.model, host);
    s->piece = nr_arena_take(host, NR_ANSWER_PIECE_MAX, 1);
    s->slots = nr_arena_take(host, (size_t)c->n_slots, sizeof *s->slots);
    s->jobs = nr_arena_take(host, (size_t)c->n_jobs, sizeof *s->jobs);
    for (int32_t i = 0; i < c->n_slots; i++) {
        nr_slot *slot = s->slots ? &s->slots[i] : &measured_slot;
        nr_sequence_carve(&slot->sequence, c->kit.model, host, caches);
    }
    for (int32_t i = 0; i < c->n_jobs; i++) carve_job(s, s->jobs ? &s->jobs[i] : &measured, host);
}

void nr_scheduler_measure(const nr_scheduler_config *config, nr_arena *host, nr_arena *caches) {
    nr_scheduler s = {.config = *config};
    carve(&s, host, caches);
}

static nr_status start_thread(nr_scheduler *s, nr_error *err) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, &monotonic);
    pthread_cond_init(&s->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->started = pthread_create(&s->thread, NULL, nr_scheduler_thread, s) == 0;
    NR_FAIL_IF(!s->started, NO_MEMORY, "thread of the model");
    return NR_STATUS_OK;
}

static nr_status create_parts(nr_scheduler *s, nr_error *err) {
    const nr_sides *sides = s->config.kit.sides;
    carve(s, &s->host, s->caches);
    NR_TRY(nr_arena_alloc(&s->host, false, "requests", err));
    NR_TRY(nr_sides_alloc(sides, s->caches, "KV caches", err));
    carve(s, &s->host, s->caches);
    for (int32_t i = 0; i < s->config.n_slots; i++)
        nr_sequence_set_image(&s->slots[i].sequence, sides, NULL, NULL);
    for (int32_t i = s->config.n_jobs - 1; i >= 0; i--) {
        s->jobs[i].next = s->free_jobs;
        s->free_jobs = &s->jobs[i];
    }
    s->stats.n_free = s->config.n_jobs;
    return start_thread(s, err);
}

nr_status nr_scheduler_create(const nr_scheduler_config *config, nr_scheduler **out,
                              nr_error *err) {
    NR_ASSERT(config->n_slots >= 1 && config->n_slots <= NR_BATCH_MAX);
    NR_ASSERT(config->n_jobs >= config->n_slots);
    nr_scheduler *s = nr_calloc(1, sizeof *s);
    NR_FAIL_IF(!s, NO_MEMORY, "scheduler");
    s->config = *config;
    if (!config->clock_ms) s->config.clock_ms = nr_clock_ms;
    s->host = nr_arena_measure();
    nr_status status = create_parts(s, err);
    if (status != NR_STATUS_OK) {
        nr_scheduler_free(s);
        return status;
    }
    *out = s;
    return NR_STATUS_OK;
}

void nr_scheduler_free(nr_scheduler *s) {
    if (!s) return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->stopping = s->draining = true;
        pthread_cond_signal(&s->work);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
        pthread_cond_destroy(&s->work);
        pthread_cond_destroy(&s->news);
        pthread_mutex_destroy(&s->lock);
    }
    nr_sides_free(s->config.kit.sides, s->caches);
    nr_arena_free(&s->host);
    nr_free(s);
}

nr_job *nr_scheduler_take(nr_scheduler *s) {
    pthread_mutex_lock(&s->lock);
    nr_job *job = s->draining ? NULL : s->free_jobs;
    if (job) {
        s->free_jobs = job->next;
        s->stats.n_free--;
        job->next = NULL;
        job->state = NR_JOB_PREPARING;
        job->cancelled = job->released = job->put_back = false;
        job->n_told = job->n_again = 0;
        job->ring.head = job->ring.used = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return job;
}

void nr_scheduler_submit(nr_job *job) {
    nr_scheduler *s = job->scheduler;
    pthread_mutex_lock(&s->lock);
    job->state = NR_JOB_QUEUED;
    job->submitted_ms = nr_clock_ms();
    *(s->queue_end ? &s->queue_end->next : &s->queue) = job;
    s->queue_end = job;
    s->stats.n_queued++;
    s->stats.n_submitted++;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

void nr_scheduler_drain(nr_scheduler *s) {
    pthread_mutex_lock(&s->lock);
    s->draining = true;
    pthread_mutex_unlock(&s->lock);
}

void nr_scheduler_return(nr_scheduler *s, nr_job *job) {
    job->state = NR_JOB_FREE;
    job->next = s->free_jobs;
    s->free_jobs = job;
    s->stats.n_free++;
}

struct timespec nr_scheduler_time(double ms) {
    struct timespec t = {.tv_sec = (time_t)(ms / 1e3)};
    t.tv_nsec = (long)((ms - (double)t.tv_sec * 1e3) * 1e6);
    if (t.tv_nsec < 0) t.tv_nsec = 0;
    if (t.tv_nsec > 999999999) t.tv_nsec = 999999999;
    return t;
}

bool nr_job_take_record(nr_job *job, int32_t timeout_ms, nr_record *out) {
    nr_scheduler *s = job->scheduler;
    struct timespec until = nr_scheduler_time(nr_clock_ms() + timeout_ms);
    bool late = timeout_ms == 0, taken;
    pthread_mutex_lock(&s->lock);
    while (!(taken = nr_ring_take(&job->ring, out, job->text)) && !late &&
           job->state != NR_JOB_ENDED) {
        if (timeout_ms < 0)
            pthread_cond_wait(&s->news, &s->lock);
        else
            late = pthread_cond_timedwait(&s->news, &s->lock, &until) != 0;
    }
    if (taken && job->state == NR_JOB_RUNNING) pthread_cond_signal(&s->work); /* it may rest */
    pthread_mutex_unlock(&s->lock);
    return taken;
}

void nr_job_stop(nr_job *job) {
    nr_scheduler *s = job->scheduler;
    pthread_mutex_lock(&s->lock);
    job->cancelled = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

void nr_job_release(nr_job *job) {
    nr_scheduler *s = job->scheduler;
    pthread_mutex_lock(&s->lock);
    if (job->state == NR_JOB_ENDED || job->state == NR_JOB_PREPARING) {
        nr_scheduler_return(s, job);
    } else {
        job->cancelled = job->released = true;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
}

nr_scheduler_stats nr_scheduler_get_stats(nr_scheduler *s) {
    pthread_mutex_lock(&s->lock);
    nr_scheduler_stats stats = s->stats;
    pthread_mutex_unlock(&s->lock);
    return stats;
}
