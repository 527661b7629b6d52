/* SPDX-License-Identifier: MIT
 *
 * serve_client.h - a service of this build on 127.0.0.1 and a client that sends exactly the bytes
 * it is given. Every connection is closed after one answer unless a test says otherwise.
 */
#ifndef SERVE_CLIENT_H
#define SERVE_CLIENT_H

#define _GNU_SOURCE
#include "../engine/engine_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <png.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* times and memory are not those of the service */
#else
#define SANITIZED 0
#endif

typedef struct service {
    pid_t pid;
    int port;
    char log[4096]; /* file with its standard error */
} service;

/* `make test-full` takes the larger number. */
static inline int full(int small, int large) {
    return getenv("NR_TEST_FULL") ? large : small;
}

static inline double client_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* `program serve --port 0 --threads 1` and more, NULL-terminated; waits for "ready". */
static inline service serve_start_program(const char *program, const char *log,
                                          const char *const *more) {
    char line[256];
    const char *argv[32] = {program, "serve", "--port", "0", "--threads", "1"};
    int out[2], n = 6;
    service s = {0};
    for (; more && *more; more++) argv[n++] = *more;
    snprintf(s.log, sizeof s.log, "%s", log);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    s.pid = fork();
    if (s.pid == 0) {
        int err = open(log, O_CREAT | O_WRONLY | O_TRUNC, 0600);
        dup2(out[1], 1);
        dup2(err, 2);
        execv(program, (char **)argv);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    if (!fgets(line, sizeof line, f)) {
        size_t size;
        fail_msg("no service: %s", fixture_read_file(log, &size));
    }
    assert_int_equal(sscanf(line, "ready http://127.0.0.1:%d/", &s.port), 1);
    fclose(f);
    return s;
}

/* That of this build. */
static inline service serve_start(const char *log, const char *const *more) {
    char program[4096];
    fixture_build_dir(program);
    strcat(program, "/newsreader");
    return serve_start_program(program, log, more);
}

/* Exit status after SIGTERM. */
static inline int serve_stop(const service *s) {
    int status;
    kill(s->pid, SIGTERM);
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline int client_connect(const service *s) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)s->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 60};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline void client_send(int fd, const void *bytes, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t part = send(fd, (const char *)bytes + done, n - done, MSG_NOSIGNAL);
        if (part <= 0) return; /* refused while sending: the answer is there to be read */
        done += (size_t)part;
    }
}

typedef struct reply {
    int status;  /* 0: no answer */
    char *bytes; /* owns; all of it, NUL-terminated */
    char *body;  /* in bytes */
    size_t n;
} reply;

static inline void reply_free(reply *r) {
    free(r->bytes);
    *r = (reply){0};
}

/* Bytes that a whole answer of Content-Length has; SIZE_MAX while that is not known. */
static inline size_t client_whole(const char *bytes) {
    const char *end = strstr(bytes, "\r\n\r\n"), *length = strcasestr(bytes, "\r\ncontent-length:");
    if (!end || !length || length > end) return SIZE_MAX;
    return (size_t)(end + 4 - bytes) + strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
}

/* Until the other side closes, or, where it need not, until the answer is whole. */
static inline reply client_receive_from(int fd, bool until_close) {
    reply r = {.bytes = calloc(1, 1)};
    char part[16384];
    ssize_t n;
    while ((until_close || r.n < client_whole(r.bytes)) &&
           (n = recv(fd, part, sizeof part, 0)) > 0) {
        r.bytes = realloc(r.bytes, r.n + (size_t)n + 1);
        memcpy(r.bytes + r.n, part, (size_t)n);
        r.n += (size_t)n;
        r.bytes[r.n] = '\0';
    }
    close(fd);
    if (sscanf(r.bytes, "HTTP/1.1 %d", &r.status) != 1) r.status = 0;
    r.body = strstr(r.bytes, "\r\n\r\n");
    r.body = r.body ? r.body + 4 : r.bytes + r.n;
    return r;
}

static inline reply client_receive(int fd) {
    return client_receive_from(fd, true);
}

static inline reply client_raw(const service *s, const void *bytes, size_t n) {
    int fd = client_connect(s);
    assert_true(fd >= 0);
    client_send(fd, bytes, n);
    return client_receive(fd);
}

/* headers: further lines, or "". */
static inline reply client_request(const service *s, const char *method, const char *path,
                                   const char *headers, const void *body, size_t n) {
    char *text = malloc(strlen(path) + strlen(headers) + n + 512);
    int head = sprintf(text,
                       "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n%s"
                       "Content-Length: %zu\r\n\r\n",
                       method, path, s->port, headers, n);
    if (n > 0) memcpy(text + head, body, n);
    reply r = client_raw(s, text, (size_t)head + n);
    free(text);
    return r;
}

#define H "Host: localhost\r\n"
#define JSON_TYPE "Content-Type: application/json\r\n"

static inline reply client_get(const service *s, const char *path) {
    return client_request(s, "GET", path, "", NULL, 0);
}

/* Takes the body over. */
static inline reply client_post(const service *s, const char *path, json_t *body) {
    char *text = json_dumps(body, JSON_COMPACT);
    assert_non_null(text);
    reply r = client_request(s, "POST", path, JSON_TYPE, text, strlen(text));
    free(text);
    json_decref(body);
    return r;
}

/* Body as JSON after checking the status; frees the reply. */
static inline json_t *reply_json(reply *r, int status) {
    json_error_t problem;
    if (r->status != status) fail_msg("status %d, expected %d: %s", r->status, status, r->bytes);
    json_t *object = json_loads(r->body, JSON_ALLOW_NUL, &problem);
    if (!object) fail_msg("%s: %s", problem.text, r->body);
    reply_free(r);
    return object;
}

/* "data:image/png;base64,..."; free it. */
static inline char *data_url_of(const unsigned char *b, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *url = malloc(n / 3 * 4 + 64), *p = url + sprintf(url, "data:image/png;base64,");
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)b[i] << 16 | (i + 1 < n ? (unsigned)b[i + 1] << 8 : 0) |
                     (i + 2 < n ? b[i + 2] : 0);
        *p++ = digits[v >> 18];
        *p++ = digits[v >> 12 & 63];
        *p++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *p++ = i + 2 < n ? digits[v & 63] : '=';
    }
    *p = '\0';
    return url;
}

/* The same of pixels without gaps between rows, as a PNG of the size and format in *image. */
static inline char *data_url_of_pixels(png_image *image, const unsigned char *pixels) {
    png_alloc_size_t n = 0;
    unsigned char *png;
    assert_true(png_image_write_get_memory_size(*image, n, 0, pixels, 0, NULL));
    assert_non_null(png = malloc(n));
    assert_true(png_image_write_to_memory(image, png, &n, 0, pixels, 0, NULL));
    char *url = data_url_of(png, n);
    free(png);
    return url;
}

static inline char *data_url(const char *path) {
    size_t n;
    char *file = fixture_read_file(path, &n), *url = data_url_of((unsigned char *)file, n);
    free(file);
    return url;
}

static inline json_t *chat_body(const char *url, const char *question, int max_tokens) {
    json_t *content = json_pack("[{s:s, s:s}]", "type", "text", "text", question);
    if (url)
        json_array_append_new(
            content, json_pack("{s:s, s:{s:s}}", "type", "image_url", "image_url", "url", url));
    return json_pack("{s:s, s:[{s:s, s:o}], s:i}", "model", "any", "messages", "role", "user",
                     "content", content, "max_tokens", max_tokens);
}

static inline const char *chat_content(const json_t *r) {
    const json_t *choice = json_array_get(json_object_get(r, "choices"), 0);
    return json_string_value(json_object_get(json_object_get(choice, "message"), "content"));
}

/* Requests that the service would take now; *running, where wanted, those that have a slot. */
static inline int client_places_and(const service *s, int *running) {
    reply r = client_get(s, "/health");
    json_t *h = reply_json(&r, 200), *q = json_object_get(h, "queue");
    int n = (int)json_integer_value(json_object_get(q, "places"));
    if (running) *running = (int)json_integer_value(json_object_get(q, "running"));
    json_decref(h);
    return n;
}

static inline int client_places(const service *s) {
    return client_places_and(s, NULL);
}

/* Waits until the service has all its places again. */
static inline void await_idle(const service *s, int places) {
    for (int i = 0; i < 1000; i++) {
        int n_running;
        if (client_places_and(s, &n_running) == places && n_running == 0) return;
        usleep(10000);
    }
    fail_msg("places are not given back");
}

#endif
