/* SPDX-License-Identifier: MIT
 * log.c - see log.h. */
#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLOSE_SECONDS 1

static void write_all(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t part = write(fd, bytes, n);
        if (part < 0 && errno == EINTR) continue;
        if (part <= 0) return; /* a log that cannot be written is no reason to stop */
        bytes += part;
        n -= (size_t)part;
    }
}

/* What is in the ring, up to its end, into part; and a line on what was not. The lock is held. */
static size_t take(server_log *log, char *part) {
    size_t n = LOG_RING_BYTES - log->head < log->used ? LOG_RING_BYTES - log->head : log->used;
    memcpy(part, log->ring + log->head, n);
    log->head = (log->head + n) % LOG_RING_BYTES;
    log->used -= n;
    if (log->used > 0 || log->n_told == log->n_dropped) return n;
    n += (size_t)snprintf(part + n, LOG_LINE_MAX, "level=warn event=log_dropped lines=%llu\n",
                          (unsigned long long)(log->n_dropped - log->n_told));
    log->n_told = log->n_dropped;
    return n;
}

static void *run(void *arg) {
    server_log *log = arg;
    pthread_mutex_lock(&log->lock);
    for (;;) {
        while (log->used == 0 && !log->stopping) pthread_cond_wait(&log->work, &log->lock);
        if (log->used == 0) break;
        size_t n = take(log, log->part);
        pthread_mutex_unlock(&log->lock);
        write_all(log->fd, log->part, n);
        pthread_mutex_lock(&log->lock);
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

bool log_open(server_log *log, int fd) {
    *log = (server_log){.fd = fd};
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->work, NULL);
    log->open = pthread_create(&log->thread, NULL, run, log) == 0;
    return log->open;
}

static void put(server_log *log, const char *line, size_t n) {
    size_t at = (log->head + log->used) % LOG_RING_BYTES;
    size_t first = LOG_RING_BYTES - at < n ? LOG_RING_BYTES - at : n;
    memcpy(log->ring + at, line, first);
    memcpy(log->ring, line + first, n - first);
    log->used += n;
}

void log_say(server_log *log, const char *fmt, ...) {
    char line[LOG_LINE_MAX];
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(line, sizeof line - 1, fmt, args);
    va_end(args);
    size_t n = wanted < 0 ? 0 : wanted > (int)sizeof line - 2 ? sizeof line - 2 : (size_t)wanted;
    line[n++] = '\n';
    if (!log->open) {
        write_all(STDERR_FILENO, line, n);
        return;
    }
    pthread_mutex_lock(&log->lock);
    if (n <= LOG_RING_BYTES - log->used)
        put(log, line, n);
    else
        log->n_dropped++;
    pthread_cond_signal(&log->work);
    pthread_mutex_unlock(&log->lock);
}

uint64_t log_dropped(server_log *log) {
    if (!log->open) return 0;
    pthread_mutex_lock(&log->lock);
    uint64_t n = log->n_dropped;
    pthread_mutex_unlock(&log->lock);
    return n;
}

void log_close(server_log *log) {
    struct timespec until;
    if (!log->open) return;
    pthread_mutex_lock(&log->lock);
    log->stopping = true;
    pthread_cond_signal(&log->work);
    pthread_mutex_unlock(&log->lock);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLOSE_SECONDS;
    if (pthread_timedjoin_np(log->thread, NULL, &until) != 0) return; /* ends with the process */
    log->open = false;
    pthread_cond_destroy(&log->work);
    pthread_mutex_destroy(&log->lock);
}
