/* SPDX-License-Identifier: MIT
 *
 * load.h - many clients in one thread that takes next to nothing of the processor: the same request
 * again and again, either as soon as one of n clients has its answer (closed loop) or at fixed
 * moments whatever comes back (open loop). Each request has a connection of its own; its time is
 * from connect to the whole answer.
 */
#ifndef LOAD_H
#define LOAD_H

#include "serve_client.h"

#define LOAD_FLIGHTS_MAX 2048
#define LOAD_SAMPLES_MAX 65536

typedef struct load_flight {
    int fd; /* -1: free */
    double start_ms;
    size_t n_sent, n;
    char head[512]; /* the beginning of the answer; NUL-terminated */
} load_flight;

typedef struct load {
    const service *s;
    const char *request; /* borrows: head and body */
    size_t n_bytes;
    int n_clients;   /* closed loop: at a time; or 0 */
    double every_ms; /* open loop: between requests */
    /* what came of it */
    int n_sent, n_ok, n_busy, n_other, n_lost, n_without_retry, n_flying;
    double first_ms, last_ok_ms;
    double *busy_ms, *ok_ms; /* [LOAD_SAMPLES_MAX]; own */
    load_flight flights[LOAD_FLIGHTS_MAX];
    struct pollfd fds[LOAD_FLIGHTS_MAX]; /* of those under way, which are: */
    load_flight *of[LOAD_FLIGHTS_MAX];
} load;

static inline load *load_create(const service *s, const char *request, size_t n_bytes) {
    load *l = calloc(1, sizeof *l);
    *l = (load){.s = s, .request = request, .n_bytes = n_bytes};
    l->busy_ms = calloc(LOAD_SAMPLES_MAX, sizeof(double));
    l->ok_ms = calloc(LOAD_SAMPLES_MAX, sizeof(double));
    for (int i = 0; i < LOAD_FLIGHTS_MAX; i++) l->flights[i].fd = -1;
    return l;
}

static inline void load_free(load *l) {
    for (int i = 0; i < LOAD_FLIGHTS_MAX; i++)
        if (l->flights[i].fd >= 0) close(l->flights[i].fd);
    free(l->busy_ms);
    free(l->ok_ms);
    free(l);
}

static inline void load_push(load *l, load_flight *f) {
    while (f->n_sent < l->n_bytes) {
        ssize_t n = send(f->fd, l->request + f->n_sent, l->n_bytes - f->n_sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0) break;
        f->n_sent += (size_t)n;
    }
}

static inline void load_start(load *l) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)l->s->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    load_flight *f = l->flights;
    while (f < l->flights + LOAD_FLIGHTS_MAX && f->fd >= 0) f++;
    assert_true(f < l->flights + LOAD_FLIGHTS_MAX);
    *f = (load_flight){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                       .start_ms = client_now_ms()};
    assert_int_equal(connect(f->fd, (struct sockaddr *)&a, sizeof a), 0);
    load_push(l, f);
    l->n_sent++;
    l->n_flying++;
}

static inline void load_end(load *l, load_flight *f) {
    double now_ms = client_now_ms(), ms = now_ms - f->start_ms;
    int status = 0;
    close(f->fd);
    f->fd = -1;
    l->n_flying--;
    if (sscanf(f->head, "HTTP/1.1 %d", &status) != 1) {
        l->n_lost++;
    } else if (status == 200) {
        if (l->n_ok < LOAD_SAMPLES_MAX) l->ok_ms[l->n_ok] = ms;
        l->n_ok++;
        l->last_ok_ms = now_ms;
    } else if (status == 503) {
        if (l->n_busy < LOAD_SAMPLES_MAX) l->busy_ms[l->n_busy] = ms;
        l->n_busy++;
        l->n_without_retry += !strstr(f->head, "\r\nRetry-After: ");
    } else {
        l->n_other++;
    }
}

/* A refusal is whole when it says so; an answer when the service closes. */
static inline void load_pull(load *l, load_flight *f) {
    char part[16384];
    ssize_t n;
    while ((n = recv(f->fd, part, sizeof part, MSG_DONTWAIT)) > 0) {
        size_t room = sizeof f->head - 1 - NR_MIN(f->n, sizeof f->head - 1);
        memcpy(f->head + NR_MIN(f->n, sizeof f->head - 1), part, NR_MIN(room, (size_t)n));
        f->n += (size_t)n;
    }
    if (f->n >= client_whole(f->head) || n == 0 || (n < 0 && errno != EAGAIN)) load_end(l, f);
}

static inline void load_turn(load *l, double wait_ms) {
    struct pollfd *fds = l->fds;
    load_flight **of = l->of;
    nfds_t n = 0;
    struct timespec wait = {.tv_sec = (time_t)(wait_ms / 1e3),
                            .tv_nsec = (long)(fmod(wait_ms, 1e3) * 1e6)};
    for (load_flight *f = l->flights; f < l->flights + LOAD_FLIGHTS_MAX; f++) {
        if (f->fd < 0) continue;
        of[n] = f;
        fds[n++] = (struct pollfd){
            .fd = f->fd, .events = (short)(POLLIN | (f->n_sent < l->n_bytes ? POLLOUT : 0))};
    }
    if (ppoll(fds, n, &wait, NULL) <= 0) return;
    for (nfds_t i = 0; i < n; i++) {
        if (fds[i].revents & POLLOUT) load_push(l, of[i]);
        if (fds[i].revents & ~POLLOUT) load_pull(l, of[i]);
    }
}

/* For so long; those under way afterwards are waited for, not counted in the rates. */
static inline void load_run(load *l, double seconds) {
    double end_ms = client_now_ms() + 1e3 * seconds, next_ms = client_now_ms(), now_ms;
    l->first_ms = next_ms;
    while ((now_ms = client_now_ms()) < end_ms) {
        if (l->n_clients > 0) {
            while (l->n_flying < l->n_clients) load_start(l);
            load_turn(l, 20);
            continue;
        }
        for (; next_ms <= now_ms; next_ms += l->every_ms) load_start(l);
        load_turn(l, fmax(0, fmin(next_ms, end_ms) - client_now_ms()));
    }
}

static inline void load_land(load *l) {
    double end_ms = client_now_ms() + 120e3;
    while (l->n_flying > 0 && client_now_ms() < end_ms) load_turn(l, 100);
    l->n_lost += l->n_flying;
}

static inline int load_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double load_percentile(double *ms, int n, double percent) {
    if (n == 0) return 0;
    n = NR_MIN(n, LOAD_SAMPLES_MAX);
    qsort(ms, (size_t)n, sizeof *ms, load_compare);
    return ms[(int)fmin(n - 1, percent / 100 * n)];
}

#endif
