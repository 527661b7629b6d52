/* SPDX-License-Identifier: MIT
 *
 * server_main.c - start, run, stop. Nothing is served before the model has answered a question of
 * its own twice alike. SIGTERM: new requests are refused, those admitted are finished, then status
 * 0; a second signal or the end of --drain-seconds gives up what is left.
 */
#define _GNU_SOURCE
#include "server.h"
#include "server_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_MODEL = 3 };

#define SELF_TEST_SIDE 64
#define SELF_TEST_TOKENS 4

/* ---- the model ------------------------------------------------------------------------------ */

/* The one place that decides which model runs. */
static bool open_model(server *s) {
    nr_error err = {0};
    nr_status status = nr_engine_open(s->options.model_dir, &s->options.engine, &s->engine, &err);
    if (status == NR_STATUS_OK)
        status = nr_sched_bytes(s->engine, &s->options.sched, &s->sched_bytes, &err);
    if (status == NR_STATUS_OK)
        status = nr_sched_open(s->engine, &s->options.sched, &s->sched, &err);
    if (status != NR_STATUS_OK) server_say("%s: %s", nr_status_text(status), err.message);
    return status == NR_STATUS_OK;
}

static bool ask_once(server *s, const nr_picture *picture, char *text, size_t cap) {
    static const char *const questions[] = {"What is the headline?"};
    nr_request r = nr_request_default();
    nr_job *job = NULL;
    nr_error err = {0};
    nr_event event;
    size_t used = 0;
    r.picture = picture;
    r.questions = questions;
    r.n_questions = 1;
    r.generation.max_tokens = SELF_TEST_TOKENS;
    r.generation.ignore_stop = true;
    if (nr_sched_submit(s->sched, &r, &job, &err) != NR_STATUS_OK) {
        server_say("self-test: %s", err.message);
        return false;
    }
    while ((event = nr_job_next(job, -1)).kind != NR_EVENT_END) {
        if (event.kind != NR_EVENT_TEXT || used + event.n_bytes >= cap) continue;
        memcpy(text + used, event.text, event.n_bytes);
        used += event.n_bytes;
    }
    text[used] = '\0';
    nr_job_close(job);
    return event.status == NR_STATUS_OK;
}

/* A picture and a question through everything, twice, with the same answer. */
static bool self_test(server *s) {
    static uint8_t rgb[SELF_TEST_SIDE * SELF_TEST_SIDE * 3];
    char first[4096], second[4096];
    nr_picture *picture = NULL;
    nr_error err = {0};
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * 37 % 251);
    if (nr_engine_get_info(s->engine).image_tokens > 0 &&
        nr_picture_from_rgb(rgb, SELF_TEST_SIDE, SELF_TEST_SIDE, &picture, &err) != NR_STATUS_OK) {
        server_say("self-test: %s", err.message);
        return false;
    }
    bool fine = ask_once(s, picture, first, sizeof first) &&
                ask_once(s, picture, second, sizeof second) && strcmp(first, second) == 0;
    nr_picture_free(picture);
    if (!fine) server_say("the self-test failed: the model does not answer alike twice");
    return fine;
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void stop_if_drained(server *s) {
    if (s->draining && s->n_admitted == 0 && http_connections(s->http) == 0)
        event_base_loopexit(s->base, NULL);
}

static void on_wake(evutil_socket_t fd, short what, void *arg) {
    server *s = arg;
    uint64_t n;
    (void)what;
    while (read(fd, &n, sizeof n) > 0) continue;
    tasks_advance(s);
    stop_if_drained(s);
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    server *s = arg;
    (void)fd;
    (void)what;
    api_memory_tick(s);
    tasks_advance(s);
    stop_if_drained(s);
}

static void give_up(server *s) {
    tasks_cancel_all(s);
    s->exit_code = EXIT_FAILED;
    event_base_loopexit(s->base, &(struct timeval){.tv_usec = 500000}); /* last events go out */
}

static void on_drain_limit(evutil_socket_t fd, short what, void *arg) {
    server *s = arg;
    (void)fd;
    (void)what;
    server_say("%d requests are given up after %d seconds", s->n_admitted,
               s->options.drain_seconds);
    give_up(s);
}

static void on_stop(evutil_socket_t fd, short what, void *arg) {
    server *s = arg;
    (void)fd;
    (void)what;
    if (s->draining) {
        give_up(s);
        return;
    }
    s->draining = true;
    if (!s->options.quiet) server_say("finishing %d requests, then stopping", s->n_admitted);
    http_stop_accepting(s->http);
    api_memory_tick(s);
    event_add(s->tick, &(struct timeval){.tv_usec = 20000}); /* notices the end soon */
    evtimer_add(s->drain_limit, &(struct timeval){.tv_sec = s->options.drain_seconds});
    stop_if_drained(s);
}

static bool open_events(server *s) {
    static const struct timeval second = {.tv_sec = 1};
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    s->base = event_base_new();
    if (s->wake_fd < 0 || !s->base) return false;
    s->wake = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
    s->tick = event_new(s->base, -1, EV_PERSIST, on_tick, s);
    s->drain_limit = evtimer_new(s->base, on_drain_limit, s);
    s->stop[0] = evsignal_new(s->base, SIGTERM, on_stop, s);
    s->stop[1] = evsignal_new(s->base, SIGINT, on_stop, s);
    return s->wake && s->tick && s->drain_limit && s->stop[0] && s->stop[1] &&
           event_add(s->wake, NULL) == 0 && event_add(s->tick, &second) == 0 &&
           event_add(s->stop[0], NULL) == 0 && event_add(s->stop[1], NULL) == 0;
}

static bool listen_at(server *s) {
    char message[256];
    http_options o = {.host = s->options.host,
                      .port = s->options.port,
                      .connections_max = s->options.connections_max,
                      .head_seconds = 10,
                      .body_seconds = 60,
                      .idle_seconds = 60,
                      .write_seconds = 30};
    if (http_open(s->base, &o, server_callbacks, s, &s->http, message, sizeof message)) return true;
    server_say("%s", message);
    return false;
}

static void announce(const server *s) {
    nr_engine_info info = nr_engine_get_info(s->engine);
    bool v6 = strchr(s->options.host, ':') != NULL;
    fprintf(stderr, "newsreader: %s, %s, %s kernels, %d slots, %d may wait; loaded in %.1f s\n",
            info.model, info.dtype, info.kernels, s->options.sched.n_slots,
            s->options.sched.n_queued, info.load_ms * 1e-3);
    printf("ready http://%s%s%s:%d/\n", v6 ? "[" : "", s->options.host, v6 ? "]" : "",
           http_port(s->http));
    fflush(stdout);
}

static int run(server *s) {
    if (!server_keys_load(s)) return EXIT_USAGE;
    if (!open_events(s) || !openapi_build(s)) {
        server_say("out of memory or descriptors: %s", strerror(errno));
        return EXIT_FAILED;
    }
    s->options.sched.notify = server_wake;
    s->options.sched.notify_ctx = s;
    if (!open_model(s)) return EXIT_NO_MODEL;
    if (!self_test(s)) return EXIT_NO_MODEL;
    s->counters.allocations_at_start = nr_memory_usage_get().allocations;
    s->admitted_max = s->options.sched.n_slots + s->options.sched.n_queued;
    if (!tasks_open(s)) return EXIT_FAILED;
    if (!listen_at(s)) return EXIT_FAILED;
    announce(s);
    event_base_dispatch(s->base);
    return s->exit_code;
}

static void close_all(server *s) {
    http_close(s->http);
    if (s->n_workers > 0) tasks_close(s);
    nr_sched_close(s->sched);
    nr_engine_close(s->engine);
    struct event *events[] = {s->wake, s->tick, s->drain_limit, s->stop[0], s->stop[1]};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i]) event_free(events[i]);
    if (s->base) event_base_free(s->base);
    if (s->wake_fd >= 0) close(s->wake_fd);
    for (int i = 0; i < s->n_keys; i++) {
        explicit_bzero(s->keys[i], strlen(s->keys[i]));
        free(s->keys[i]);
    }
    free(s->openapi);
    free(s->docs);
}

int server_main(int argc, char **argv, const char *default_model) {
    static server s; /* large; one a process */
    s = (server){.wake_fd = -1,
                 .request_ms = 1000,
                 .options = {.model_dir = default_model,
                             .bundled = default_model != NULL,
                             .host = "127.0.0.1",
                             .port = 8009,
                             .request_seconds = 120,
                             .drain_seconds = 30,
                             .connections_max = 1024,
                             .engine = nr_engine_options_default(),
                             .sched = nr_sched_options_default()}};
    int code = server_options_parse(argc, argv, &s.options);
    if (code == 0 && !s.options.model_dir) {
        server_say("no model: name a Hugging Face folder with --model DIR");
        code = EXIT_NO_MODEL;
    }
    signal(SIGPIPE, SIG_IGN);
    if (code == 0) code = run(&s);
    close_all(&s);
    free(s.options.config_text);
    return code;
}
