/* SPDX-License-Identifier: MIT
 * cli_common.c - messages, progress, interrupts, input files, the default
 * model. */
#define _GNU_SOURCE
#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STDIN_BYTES_MAX ((size_t)20 << 20) /* as the library's limit for encoded pictures */

void cli_error(const char *fmt, ...) {
    va_list args;
    cli_progress_clear();
    fputs("newsreader: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

void cli_report(const cli_options *options, const char *file, const nr_error *err) {
    cli_progress_clear();
    if (options->json) {
        json_t *object = json_pack("{s:{s:s, s:s}}", "error", "code", nr_status_name(err->status),
                                   "message", err->message);
        if (file) json_object_set_new(object, "file", cli_json_name(file));
        cli_print_json(object);
    }
    cli_error("%s: %s", nr_status_text(err->status), err->message);
}

json_t *cli_json_name(const char *name) {
    json_t *text = json_string(name);
    if (text) return text;
    char *copy = strdup(name);
    for (char *p = copy; p && *p; p++)
        if ((unsigned char)*p >= 0x80) *p = '?';
    text = copy ? json_string(copy) : NULL;
    free(copy);
    return text;
}

json_t *cli_device_json(const nr_device_usage *d) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "card", d->card, "total_bytes",
                     (json_int_t)d->total_bytes, "used_bytes", (json_int_t)d->used_bytes,
                     "free_bytes", (json_int_t)d->free_bytes, "reserved_bytes",
                     (json_int_t)d->reserved_bytes, "process_bytes", (json_int_t)d->process_bytes,
                     "context_bytes", (json_int_t)d->context_bytes);
}

void cli_print_json(json_t *owned) {
    char *line = owned ? json_dumps(owned, JSON_COMPACT | JSON_REAL_PRECISION(8)) : NULL;
    if (line)
        puts(line);
    else
        cli_error("out of memory while writing JSON");
    fflush(stdout);
    free(line);
    json_decref(owned);
}

nr_status cli_fail(nr_error *err, nr_status status, const char *fmt, ...) {
    va_list args;
    *err = (nr_error){.status = status, .file = __FILE__, .line = __LINE__};
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return status;
}

nr_status cli_flush(nr_error *err) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return NR_STATUS_OK;
    return cli_fail(err, NR_STATUS_IO, "standard output: %s",
                    errno ? strerror(errno) : "not all of it could be written");
}

double cli_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* ---- interrupts */

static _Atomic(nr_session *) running;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
    if (interrupted) _exit(CLI_INTERRUPTED);
    interrupted = 1;
    nr_session *session = atomic_load(&running);
    if (session) nr_session_cancel(session); /* stores one atomic flag */
    (void)signal_number;
}

void cli_catch_interrupt(void) {
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cli_set_session(nr_session *session) {
    atomic_store(&running, session);
}

bool cli_interrupted(void) {
    return interrupted != 0;
}

/* ---- progress */

static bool progress_shown;

bool cli_progress(void *ctx, uint64_t bytes_done, uint64_t bytes_total) {
    static int shown_percent = -1;
    const char *what = ctx;
    if (interrupted) return false;
    if (!isatty(STDERR_FILENO) || bytes_total == 0) return true;
    int percent = (int)(100.0 * (double)bytes_done / (double)bytes_total);
    if (percent > 100) percent = 100;
    if (percent == shown_percent) return true;
    shown_percent = percent;
    progress_shown = true;
    fprintf(stderr, "\r%s %3d %% of %.2f GB ", what, percent, (double)bytes_total * 1e-9);
    fflush(stderr);
    return true;
}

void cli_progress_picture(int i_picture, int n_pictures, const char *file) {
    if (n_pictures < 2 || !isatty(STDERR_FILENO)) return;
    const char *slash = strrchr(file, '/');
    fprintf(stderr, "\r\033[K[%d/%d] %.60s ", i_picture, n_pictures, slash ? slash + 1 : file);
    fflush(stderr);
    progress_shown = true;
}

void cli_progress_clear(void) {
    if (!progress_shown) return;
    fputs("\r\033[K", stderr);
    progress_shown = false;
}

/* ---- model and session */

static bool is_model(const char *dir) {
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/config.json", dir);
    return n > 0 && (size_t)n < sizeof path && access(path, R_OK) == 0;
}

const char *cli_default_model(void) {
    static char dir[4096];
    static const char *const places[] = {"../../models/reader",
                                         "../share/newsreader/models/reader"};
    const char *named = getenv("NEWSREADER_MODEL");
    if (named && *named) return named;
    char program[4096];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0) return NULL;
    program[n] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash) return NULL;
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int used = snprintf(dir, sizeof dir, "%s/%s", program, places[i]);
        if (used > 0 && (size_t)used < sizeof dir && is_model(dir)) return dir;
    }
    return NULL;
}

const char *cli_model_dir(const cli_options *options) {
    const char *dir = options->model_dir ? options->model_dir : cli_default_model();
    if (!dir) cli_error("no model: name a Hugging Face folder with --model DIR");
    return dir;
}

/* ---- pictures */

/* Into *picture where it is reserved, else a new one. */
static nr_status read_stdin(nr_picture *reserved, nr_picture **out, nr_error *err) {
    size_t cap = STDIN_BYTES_MAX + 1, used = 0, n;
    uint8_t *bytes = malloc(cap);
    if (!bytes) return cli_fail(err, NR_STATUS_NO_MEMORY, "standard input: no room for it");
    while (used < cap && (n = fread(bytes + used, 1, cap - used, stdin)) > 0) used += n;
    nr_status status;
    if (ferror(stdin))
        status = cli_fail(err, NR_STATUS_IO, "standard input: %s", strerror(errno));
    else if (used == 0)
        status = cli_fail(err, NR_STATUS_FORMAT, "standard input: empty, expected a picture");
    else
        status = reserved ? nr_picture_load(reserved, bytes, used, err)
                          : nr_picture_read(bytes, used, out, err);
    free(bytes);
    return status;
}

nr_status cli_picture_read(const char *path, nr_picture **out, nr_error *err) {
    return strcmp(path, "-") == 0 ? read_stdin(NULL, out, err)
                                  : nr_picture_read_file(path, out, err);
}

nr_status cli_picture_load(nr_picture *picture, const char *path, nr_error *err) {
    return strcmp(path, "-") == 0 ? read_stdin(picture, NULL, err)
                                  : nr_picture_load_file(picture, path, err);
}
