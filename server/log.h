/* SPDX-License-Identifier: MIT
 *
 * log.h - lines for standard error that nobody waits for: whoever has something to say puts it into
 * a ring, a thread writes it out. A disk that is busy or a pipe that nobody reads holds up that
 * thread alone; what finds no room is counted, and the count is written when there is room again.
 */
#ifndef LOG_H
#define LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_RING_BYTES 65536
#define LOG_LINE_MAX 512

typedef struct server_log {
    bool open;
    int fd; /* borrows */
    pthread_t thread;
    char part[LOG_RING_BYTES + LOG_LINE_MAX]; /* the thread's */
    pthread_mutex_t lock;                     /* all below */
    pthread_cond_t work;
    char ring[LOG_RING_BYTES];
    size_t head, used;
    uint64_t n_dropped, n_told; /* lines; those that the log itself has told of */
    bool stopping;
} server_log;

/* False: no thread; log_say then writes by itself, as before log_open. */
bool log_open(server_log *log, int fd);
/* One line, cut at LOG_LINE_MAX; the newline is added. Any thread, never waits for the file. */
void log_say(server_log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t log_dropped(server_log *log);
/* Writes what is left, within a second: a file that takes longer is left to itself. */
void log_close(server_log *log);

#endif
