/* SPDX-License-Identifier: MIT
 *
 * server_main.c - start, run, stop. Nothing is served before a model has passed its self-test.
 * SIGTERM: new requests are refused, those admitted are finished, then status 0; a second signal or
 * the end of --drain-seconds gives up what is left.
 */
#define _GNU_SOURCE
#include "server.h"
#include "server_internal.h"

#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

#define MMAP_BYTES (256 << 10)
#define LOOP_TURN_NS 100000 /* the least that Linux takes */
#define OTHER_DESCRIPTORS 64 /* pictures on their way, helpers, the loop's own */

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
    if (!s->http) return; /* still loading */
    api_memory_tick(s);
    tasks_advance(s);
    stop_if_drained(s);
}

static void give_up(server *s) {
    tasks_cancel_all(s);
    if (s->n_admitted > 0) s->exit_code = EXIT_FAILED;
    event_base_loopexit(s->base, &(struct timeval){.tv_usec = 500000}); /* last events go out */
}

static void on_drain_limit(evutil_socket_t fd, short what, void *arg) {
    server *s = arg;
    (void)fd;
    (void)what;
    log_say(&s->log, "newsreader: %d requests are given up after %d seconds", s->n_admitted,
            s->options.drain_seconds);
    give_up(s);
}

static void on_stop(evutil_socket_t fd, short what, void *arg) {
    server *s = arg;
    (void)fd;
    (void)what;
    if (s->draining && s->http) {
        give_up(s);
        return;
    }
    s->draining = true;
    if (!s->http) return; /* still loading: server_going_on says no */
    if (!s->options.quiet)
        log_say(&s->log, "newsreader: finishing %d requests, then stopping", s->n_admitted);
    http_stop_accepting(s->http);
    api_memory_tick(s);
    event_add(s->tick, &(struct timeval){.tv_usec = 20000}); /* notices the end soon */
    evtimer_add(s->drain_limit, &(struct timeval){.tv_sec = s->options.drain_seconds});
    stop_if_drained(s);
}

bool server_going_on(void *server_ptr, uint64_t bytes_done, uint64_t bytes_total) {
    server *s = server_ptr;
    (void)bytes_done;
    (void)bytes_total;
    event_base_loop(s->base, EVLOOP_NONBLOCK);
    return !s->draining;
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

/* A descriptor for each connection: the soft limit goes up to the hard one; where that is not
 * enough, there are fewer connections. */
static void make_room_for_connections(server *s) {
    struct rlimit limit;
    int32_t *n = &s->options.connections_max;
    rlim_t wanted = (rlim_t)*n + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    rlim_t may = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (may > limit.rlim_cur) limit.rlim_cur = may;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    *n = limit.rlim_cur > 2 * OTHER_DESCRIPTORS ? (int32_t)limit.rlim_cur - OTHER_DESCRIPTORS
                                                : (int32_t)limit.rlim_cur / 2;
    server_say("%d connections at a time: the limit of open files is %llu", *n,
               (unsigned long long)limit.rlim_cur);
}

static bool listen_at(server *s) {
    char message[256];
    make_room_for_connections(s);
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
    fprintf(stderr, "newsreader: %s, %s, %s, %s kernels, %d slots, %d may wait; loaded in %.1f s\n",
            s->model, info.dtype, info.device, info.kernels, s->admitted_max - s->options.queue,
            s->options.queue, info.load_ms * 1e-3);
    printf("ready http://%s%s%s:%d/\n", v6 ? "[" : "", s->options.host, v6 ? "]" : "",
           http_port(s->http));
    fflush(stdout);
}

/* Large blocks go back to the system when they are freed, so that memory follows the requests. */
static void tame_heap(void) {
    mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
    mallopt(M_TRIM_THRESHOLD, MMAP_BYTES);
    mallopt(M_ARENA_MAX, 2);
}

/* The loop works for microseconds at a time: it asks Linux for turns so short that it need not wait
 * for the end of a turn of the threads that compute (EEVDF, Linux 6.12; before, the field is not
 * read). Its share of the processor is the same. Threads made earlier keep theirs, later ones too. */
static void take_short_turns(void) {
    struct { /* struct sched_attr, which no header of Debian 12's C library has */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = sizeof attributes,
                    .policy = SCHED_OTHER,
                    .flags = 1, /* SCHED_FLAG_RESET_ON_FORK */
                    .nice = getpriority(PRIO_PROCESS, 0),
                    .runtime = LOOP_TURN_NS};
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0); /* without it refusals take longer */
}

static int run(server *s, const server_start *start) {
    if (!server_keys_load(s)) return EXIT_USAGE;
    if (!open_events(s) || !openapi_build(s)) {
        server_say("out of memory or descriptors: %s", strerror(errno));
        return EXIT_FAILED;
    }
    int code = server_model_open(s, start);
    if (s->draining) return EXIT_DONE; /* SIGTERM came while it loaded */
    if (code != 0) return code;
    json_set_alloc_funcs(malloc, free); /* requests' JSON is not of the library's account */
    if (!tasks_open(s) || !listen_at(s)) return EXIT_FAILED;
    s->counters.allocations_at_start = nr_memory_usage_get().allocations;
    log_open(&s->log, STDERR_FILENO);
    take_short_turns();
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
    log_close(&s->log);
}

int server_main(const server_start *start) {
    static server s; /* large; one a process */
    s = (server){.wake_fd = -1, .slot_ms = 1000};
    tame_heap();
    signal(SIGPIPE, SIG_IGN);
    int code = server_options_read(start, &s.options);
    if (code == 0) code = run(&s, start);
    close_all(&s);
    server_options_free(&s.options);
    return code;
}
