/* SPDX-License-Identifier: MIT
 *
 * tasks.c - requests for the model on their way: to a worker that loads the picture and submits it,
 * back to the loop, which hands the scheduler's events to the client as fast as the client reads.
 */
#define _GNU_SOURCE
#include "server_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BACKLOG_MAX 16384 /* bytes a client may leave unread before its events wait in the job */

void server_wake(void *server_ptr) {
    const server *s = server_ptr;
    uint64_t one = 1;
    ssize_t n = write(s->wake_fd, &one, sizeof one); /* full: a wake-up is pending anyway */
    (void)n;
}

/* ---- workers -------------------------------------------------------------------------------- */

static nr_status submit_picture(task *t, const nr_picture *picture, nr_error *err) {
    nr_request r = nr_request_default();
    if (picture) nr_picture_size(picture, &t->width, &t->height);
    double left_ms = t->deadline_ms - http_now_ms();
    r.picture = picture;
    r.fit = t->fit;
    r.questions = t->questions;
    r.n_questions = t->n_questions;
    r.generation = t->generation;
    r.client = t->key;
    r.deadline_ms = left_ms < 1 ? 1 : (int32_t)left_ms;
    return nr_sched_submit(t->server->sched, &r, &t->job, err);
}

static nr_status submit(task *t, helper *h, nr_error *err) {
    nr_picture *picture = NULL;
    nr_status status = picture_fetch(t, h, err);
    t->url_failed = status != NR_STATUS_OK;
    if (status != NR_STATUS_OK) return status;
    share_take_decoder(t->server, t->key);
    status = picture_decode(t, h, &picture, err);
    t->url_failed = status != NR_STATUS_OK;
    if (status == NR_STATUS_OK) status = submit_picture(t, picture, err);
    nr_picture_free(picture); /* never more decoded pictures than decoders */
    share_return_decoder(t->server, t->key);
    return status;
}

static void *run_worker(void *arg) {
    server *s = arg;
    helper *h = &s->helpers[atomic_fetch_add(&s->next_helper, 1)];
    pthread_mutex_lock(&s->lock);
    for (;;) {
        task *t;
        while (!(t = share_take_task(s)) && !s->stopping) pthread_cond_wait(&s->work, &s->lock);
        if (!t) break;
        int key = t->key;
        pthread_mutex_unlock(&s->lock);
        t->status = atomic_load(&t->cancelled) ? NR_STATUS_CANCELLED : submit(t, h, &t->error);
        pthread_mutex_lock(&s->lock);
        share_return_worker(s, key);
        t->next = s->done;
        s->done = t;
        server_wake(s);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* A helper that decodes has confined itself: it refuses to decode otherwise. */
static bool helper_works(helper *h) {
    static const uint8_t gif[] = "GIF89a\1\0\1\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\1\0\1\0\0"
                                 "\2\2D\1\0;";
    static const atomic_bool never = false;
    nr_picture *picture = NULL;
    nr_error err = {0};
    nr_status status = helper_decode(h, gif, sizeof gif - 1, &never, &picture, &err);
    nr_picture_free(picture);
    if (status != NR_STATUS_OK) server_say("%s", err.message);
    return status == NR_STATUS_OK;
}

bool tasks_open(server *s) {
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->decoded, NULL);
    for (; s->n_workers < SERVER_WORKERS; s->n_workers++) {
        nr_error err = {0};
        helper *h = &s->helpers[s->n_workers];
        if (helper_open(h, s->options.nets, s->options.n_nets, &err) != NR_STATUS_OK) {
            server_say("%s", err.message);
            return false;
        }
        h->pixels_max = nr_engine_get_plan(s->engine).picture_pixels_max;
        if (!helper_works(h) ||
            pthread_create(&s->workers[s->n_workers], NULL, run_worker, s) != 0) {
            helper_close(h);
            return false;
        }
    }
    return true;
}

void tasks_submit(task *t) {
    server *s = t->server;
    t->generation.stop_texts = (const char *const *)t->stop_texts;
    http_drop_body(t->exchange);
    t->next = NULL;
    pthread_mutex_lock(&s->lock);
    task **end = &s->todo;
    while (*end) end = &(*end)->next;
    *end = t;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the loop ------------------------------------------------------------------------------- */

void tasks_free(task *t) {
    server *s = t->server;
    share_return_place(s, t->key, t->bytes_admitted);
    nr_job_close(t->job);
    for (size_t i = 0; i < sizeof t->stop_texts / sizeof t->stop_texts[0]; i++)
        free(t->stop_texts[i]);
    for (int i = 0; i < NR_REQUEST_QUESTIONS_MAX; i++) {
        if (t->answers[i].out) fclose(t->answers[i].out);
        free(t->answers[i].text);
    }
    free(t->url);
    picture_drop(t);
    free(t->prompt);
    free(t);
}

int server_status_of(const task *t, const char **code) {
    switch (t->status) {
    case NR_STATUS_ARG: *code = "invalid_request"; return 400;
    case NR_STATUS_CONTEXT_FULL: *code = "context_length_exceeded"; return 400;
    case NR_STATUS_BUSY: *code = "overloaded"; return 503;
    case NR_STATUS_NO_MEMORY: *code = "overloaded"; return 503;
    case NR_STATUS_CANCELLED: *code = "shutting_down"; return 503;
    case NR_STATUS_TIMEOUT: *code = "timeout"; return 504;
    case NR_STATUS_FORMAT:
    case NR_STATUS_UNSUPPORTED:
    case NR_STATUS_LIMIT:
    case NR_STATUS_NOT_FOUND:
    case NR_STATUS_IO:
        *code = t->url_failed ? "invalid_image" : "invalid_request";
        return t->url_failed ? 422 : 400;
    default: *code = "internal_error"; return 500;
    }
}

static void fail(task *t) {
    const char *code, *message = t->error.message[0] ? t->error.message : nr_status_text(t->status);
    int status = server_status_of(t, &code);
    if (status == 500) message = "internal error"; /* nothing of the inside goes out */
    if (t->url && t->picture_n > 0 && t->url_failed && t->status != NR_STATUS_TIMEOUT)
        message =
            "image URL: no JPEG, PNG, WebP or GIF picture that can be read"; /* nor of others' */
    t->shape->fail(t, status, code, message);
}

/* Byte-level vocabularies begin an answer with a blank. */
static void skip_blanks(const answer *a, const char **text, size_t *n) {
    while (!a->begun && *n > 0 && (**text == ' ' || **text == '\n')) {
        (*text)++;
        (*n)--;
    }
}

/* Text goes to a stream in memory; complete: the stream is closed, and what it made is there. */
static bool put(answer *a, const char *text, size_t n, bool complete) {
    if (!a->out) a->out = open_memstream(&a->text, &a->n_bytes);
    if (!a->out || fwrite(text, 1, n, a->out) != n) return false;
    a->begun |= n > 0;
    if (!complete) return true;
    bool fine = fclose(a->out) == 0;
    a->out = NULL;
    return fine && a->text;
}

bool answer_is_none(const answer *a) {
    return !a->text || strcmp(a->text, "none") == 0;
}

static void take_event(task *t, const nr_event *e) {
    answer *a = &t->answers[e->i_question];
    const char *text = e->text;
    size_t n = e->n_bytes;
    switch (e->kind) {
    case NR_EVENT_NONE: break;
    case NR_EVENT_START:
        t->queued_ms = e->queued_ms;
        t->slot_ms = http_now_ms();
        break;
    case NR_EVENT_TEXT:
        skip_blanks(a, &text, &n);
        if (!put(a, text, n, false))
            nr_job_cancel(t->job);
        else if (n > 0 && t->shape->text)
            t->shape->text(t, e->i_question, text, n);
        break;
    case NR_EVENT_ANSWER:
        if (!put(a, "", 0, true)) nr_job_cancel(t->job);
        a->finish = e->finish;
        a->stats = e->stats;
        break;
    case NR_EVENT_END: t->status = e->status; break;
    }
}

static void count_times(server *s, const task *t) {
    double prefill_ms = 0, generate_ms = 0;
    for (int i = 0; i < t->n_questions; i++) {
        prefill_ms += t->answers[i].stats.prefill_ms;
        generate_ms += t->answers[i].stats.decode_ms;
    }
    if (t->url) metrics_stage(s, STAGE_FETCH, t->fetch_ms);
    if (t->width > 0) metrics_stage(s, STAGE_DECODE_IMAGE, t->decode_ms);
    if (t->width > 0) metrics_stage(s, STAGE_VISION, t->answers[0].stats.vision_ms);
    metrics_stage(s, STAGE_QUEUE, t->queued_ms);
    metrics_stage(s, STAGE_PREFILL, prefill_ms);
    metrics_stage(s, STAGE_GENERATE, generate_ms);
    metrics_stage(s, STAGE_WHOLE, http_now_ms() - t->exchange->start_ms);
    s->slot_ms += 0.2 * (http_now_ms() - t->slot_ms - s->slot_ms);
}

/* True when the task is at its end. */
static bool advance(server *s, task *t) {
    if (!t->exchange) return true;
    if (t->status != NR_STATUS_OK || !t->job) {
        fail(t);
        return true;
    }
    if (!t->begun && t->shape->begin) t->shape->begin(t);
    t->begun = true;
    while (http_backlog(t->exchange) < BACKLOG_MAX) {
        nr_event event = nr_job_next(t->job, 0);
        if (event.kind == NR_EVENT_NONE) return false;
        take_event(t, &event);
        if (event.kind != NR_EVENT_END) continue;
        if (t->status == NR_STATUS_OK) {
            count_times(s, t);
            t->shape->end(t);
        } else {
            fail(t);
        }
        return true;
    }
    return false;
}

void tasks_advance(server *s) {
    pthread_mutex_lock(&s->lock);
    task *done = s->done;
    s->done = NULL;
    pthread_mutex_unlock(&s->lock);
    while (done) {
        task *t = done;
        done = t->next;
        t->next = s->active;
        s->active = t;
    }
    for (task **link = &s->active; *link;) {
        task *t = *link;
        if (!advance(s, t)) {
            link = &t->next;
            continue;
        }
        *link = t->next;
        tasks_free(t);
    }
}

void tasks_cancel_all(server *s) {
    for (task *t = s->active; t; t = t->next)
        if (t->job) nr_job_cancel(t->job);
}

void tasks_close(server *s) {
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->n_workers; i++) pthread_join(s->workers[i], NULL);
    for (int i = 0; i < s->n_workers; i++) helper_close(&s->helpers[i]);
    for (task *t = s->done, *next; t; t = next) {
        next = t->next;
        tasks_free(t);
    }
    for (task *t = s->active, *next; t; t = next) {
        next = t->next;
        tasks_free(t);
    }
    s->done = s->active = NULL;
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->decoded);
    pthread_mutex_destroy(&s->lock);
}
