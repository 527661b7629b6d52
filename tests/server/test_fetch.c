/* SPDX-License-Identifier: MIT
 *
 * test_fetch.c - image URLs: addresses that no socket may be opened for, servers that send too
 * much, redirect without end or to where they should not, cut off, or say nothing.
 */
#define _GNU_SOURCE
#include "../engine/engine_fixture.h"

#include "helper.h"
#include "server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

static const atomic_bool never = false;

/* A listener that accepts and says nothing. */
static int silent_listener(int *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 8), 0);
    getsockname(fd, (struct sockaddr *)&a, &n);
    *port = ntohs(a.sin_port);
    return fd;
}

static bool has_connection(int fd) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    int peer = accept(fd, NULL, NULL);
    if (peer >= 0) close(peer);
    return peer >= 0;
}

/* No socket is opened for an address that is not public, however it is written. */
static void test_fetch_refuses(void **state) {
    static const char *const urls[] = {"http://127.0.0.1:%d/",
                                       "http://localhost:%d/",
                                       "http://127.1:%d/",
                                       "http://2130706433:%d/",
                                       "http://0x7f000001:%d/",
                                       "http://0177.0.0.1:%d/",
                                       "http://0:%d/",
                                       "http://[::1]:%d/",
                                       "http://[::ffff:127.0.0.1]:%d/",
                                       "http://[::127.0.0.1]:%d/",
                                       "http://example.com\\@127.0.0.1:%d/",
                                       "http://example.com@127.0.0.1:%d/",
                                       "http://127.0.0.1%%2f:%d/",
                                       "http://127.0.0.1.:%d/",
                                       "HTTP://127.0.0.1:%d/",
                                       "http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1:%d/"};
    int port, fd = silent_listener(&port);
    helper h;
    (void)state;
    MUST(helper_open(&h, NULL, 0, err));
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        char url[256];
        uint8_t *bytes = NULL;
        size_t n;
        nr_error problem = {0};
        snprintf(url, sizeof url, urls[i], port);
        nr_status status = helper_fetch(&h, url, &never, &bytes, &n, &problem);
        if (status == NR_STATUS_OK) fail_msg("%s was fetched", url);
        if (strstr(problem.message, "127.")) fail_msg("the message names an address");
        if (has_connection(fd)) fail_msg("%s made a connection", url);
    }
    static const char *const schemes[] = {"file:///etc/passwd",
                                          "ftp://127.0.0.1/",
                                          "gopher://a/",
                                          "dict://127.0.0.1:%d/",
                                          "",
                                          "//a/",
                                          "http://",
                                          "http:///a"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        uint8_t *bytes = NULL;
        size_t n;
        nr_error problem = {0};
        if (helper_fetch(&h, schemes[i], &never, &bytes, &n, &problem) == NR_STATUS_OK)
            fail_msg("%s was fetched", schemes[i]);
    }
    close(fd);
    helper_close(&h);
}

static void *set_soon(void *flag) {
    usleep(200000);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

/* A server that is silent; the client goes away: the fetch ends then, not after ten seconds. */
static void test_fetch_cancelled(void **state) {
    int port, fd = silent_listener(&port);
    atomic_bool gone = false;
    net_range net;
    helper h;
    pthread_t thread;
    char url[64];
    uint8_t *bytes = NULL;
    size_t n;
    nr_error problem = {0};
    struct timespec begin, end;
    (void)state;
    assert_true(net_parse("127.0.0.1", &net));
    MUST(helper_open(&h, &net, 1, err));
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_int_equal(pthread_create(&thread, NULL, set_soon, &gone), 0);
    assert_int_equal(helper_fetch(&h, url, &gone, &bytes, &n, &problem), NR_STATUS_CANCELLED);
    clock_gettime(CLOCK_MONOTONIC, &end);
    pthread_join(thread, NULL);
    assert_true(end.tv_sec - begin.tv_sec < 8);
    assert_true(has_connection(fd));
    close(fd);
    helper_close(&h);
}

/* ---- a server that misbehaves by path ------------------------------------------------------- */

#define MIB ((size_t)1 << 20)

static void say(int fd, const char *text) {
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void send_zeros(int fd, size_t n) {
    static const char zeros[65536];
    for (size_t done = 0; done < n; done += sizeof zeros)
        if (send(fd, zeros, sizeof zeros, MSG_NOSIGNAL) < 0) return;
}

static const char whole_reply[] = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
                                  "Content-Length: 20\r\n\r\n01234567890123456789";

static void answer(int fd, const char *path, int port) {
    char line[256];
    if (strncmp(path, "/fine", 5) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes");
    } else if (strncmp(path, "/hop", 4) == 0 && path[4] > '0') {
        snprintf(line, sizeof line,
                 "HTTP/1.1 302 a\r\nLocation: /hop%c\r\nContent-Length: 4\r\n\r\ngone",
                 path[4] - 1);
        say(fd, line);
    } else if (strncmp(path, "/hop0", 5) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend");
    } else if (strncmp(path, "/elsewhere", 10) == 0) {
        snprintf(line, sizeof line, "HTTP/1.1 301 a\r\nLocation: http://127.0.0.2:%d/fine\r\n\r\n",
                 port);
        say(fd, line);
    } else if (strncmp(path, "/file", 5) == 0) {
        say(fd, "HTTP/1.1 302 a\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n");
    } else if (strncmp(path, "/password", 9) == 0) {
        snprintf(line, sizeof line,
                 "HTTP/1.1 302 a\r\nLocation: http://a:b@127.0.0.1:%d/fine\r\n\r\n", port);
        say(fd, line);
    } else if (strncmp(path, "/announced", 10) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20971521\r\n\r\n");
        send_zeros(fd, 21 * MIB);
    } else if (strncmp(path, "/endless", 8) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        send_zeros(fd, 64 * MIB);
    } else if (strncmp(path, "/most", 5) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n");
        send_zeros(fd, 20 * MIB);
    } else if (strncmp(path, "/cut", 4) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nonly this");
    } else if (strncmp(path, "/nonsense", 9) == 0) {
        say(fd, "\x01\x02\x03 what\r\n\r\n");
    } else if (strncmp(path, "/reset", 6) == 0) {
        send(fd, whole_reply, (size_t)atoi(path + 6), MSG_NOSIGNAL);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    } else if (strncmp(path, "/drip", 5) == 0) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while (send(fd, "a", 1, MSG_NOSIGNAL) == 1) usleep(100000);
    } else {
        say(fd, "HTTP/1.1 404 a\r\nContent-Length: 0\r\n\r\n");
    }
}

typedef struct host {
    int fd, port;
} host;

static void *run_host(void *arg) {
    const host *h = arg;
    char request[4096];
    int fd;
    while ((fd = accept(h->fd, NULL, NULL)) >= 0) {
        ssize_t n = recv(fd, request, sizeof request - 1, 0);
        request[n > 0 ? n : 0] = '\0';
        if (strncmp(request, "GET ", 4) == 0) answer(fd, request + 4, h->port);
        close(fd);
    }
    return NULL;
}

static void host_start(host *at, pthread_t *thread) {
    at->fd = silent_listener(&at->port);
    assert_int_equal(pthread_create(thread, NULL, run_host, at), 0);
}

/* A fetcher that may reach 127.0.0.1. */
static void open_for_this_machine(helper *h) {
    net_range net;
    assert_true(net_parse("127.0.0.1", &net));
    MUST(helper_open(h, &net, 1, err));
}

static void host_stop(const host *at, pthread_t thread) {
    shutdown(at->fd, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(at->fd);
}

static void test_misbehaviour(void **state) {
    static const struct {
        const char *path;
        nr_status status;
        size_t n_bytes;
    } cases[] = {{"/fine", NR_STATUS_OK, 5},         {"/hop0", NR_STATUS_OK, 3},
                 {"/hop3", NR_STATUS_OK, 3},         {"/hop4", NR_STATUS_IO, 0},
                 {"/hop9", NR_STATUS_IO, 0},         {"/elsewhere", NR_STATUS_IO, 0},
                 {"/file", NR_STATUS_FORMAT, 0},     {"/password", NR_STATUS_FORMAT, 0},
                 {"/announced", NR_STATUS_LIMIT, 0}, {"/endless", NR_STATUS_LIMIT, 0},
                 {"/most", NR_STATUS_OK, 20 * MIB},  {"/cut", NR_STATUS_IO, 0},
                 {"/nonsense", NR_STATUS_IO, 0},     {"/none", NR_STATUS_IO, 0}};
    host at;
    pthread_t thread;
    helper h;
    (void)state;
    host_start(&at, &thread);
    open_for_this_machine(&h);
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        char url[128];
        uint8_t *bytes = NULL;
        size_t n = 0;
        nr_error problem = {0};
        snprintf(url, sizeof url, "http://127.0.0.1:%d%s", at.port, cases[i].path);
        nr_status status = helper_fetch(&h, url, &never, &bytes, &n, &problem);
        if (status != cases[i].status || n != cases[i].n_bytes)
            fail_msg("%s: %s, %zu bytes: %s", cases[i].path, nr_status_name(status), n,
                     problem.message);
        if (strstr(problem.message, "127.") || strstr(problem.message, "passwd"))
            fail_msg("the message tells too much: %s", problem.message);
        if (bytes) helper_release(bytes, n);
    }
    host_stop(&at, thread);
    helper_close(&h);
}

/* The connection is reset behind every byte of an answer: an error, never a shorter picture. */
static void test_resets(void **state) {
    host at;
    pthread_t thread;
    helper h;
    (void)state;
    host_start(&at, &thread);
    open_for_this_machine(&h);
    for (size_t k = 0; k < strlen(whole_reply); k++) {
        char url[128];
        uint8_t *bytes = NULL;
        size_t n = 0;
        nr_error problem = {0};
        snprintf(url, sizeof url, "http://127.0.0.1:%d/reset%zu", at.port, k);
        nr_status status = helper_fetch(&h, url, &never, &bytes, &n, &problem);
        if (status != NR_STATUS_IO) fail_msg("%zu bytes: %s", k, nr_status_name(status));
    }
    print_message("%zu cuts\n", strlen(whole_reply));
    host_stop(&at, thread);
    helper_close(&h);
}

typedef struct slow {
    char url[128];
    pthread_t thread;
    double ms;
    nr_status status;
} slow;

static void *run_slow(void *arg) {
    slow *s = arg;
    uint8_t *bytes = NULL;
    size_t n = 0;
    nr_error problem = {0};
    helper h;
    struct timespec begin, end;
    open_for_this_machine(&h);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    s->status = helper_fetch(&h, s->url, &never, &bytes, &n, &problem);
    clock_gettime(CLOCK_MONOTONIC, &end);
    s->ms =
        (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) * 1e-6;
    helper_close(&h);
    return NULL;
}

/* A byte in a tenth of a second, silence, a handshake that does not come, a name that is not known:
 * over at the deadline, all at the same time. */
static void test_slow(void **state) {
    static const char *const urls[] = {"http://127.0.0.1:%d/drip", "http://127.0.0.1:%d/",
                                       "https://127.0.0.1:%d/", "http://no-such-host.invalid:%d/"};
    slow all[NR_COUNT(urls)];
    host at;
    pthread_t thread;
    int silent_port, silent;
    (void)state;
    if (!getenv("NR_TEST_FULL")) {
        print_message("takes ten seconds: NR_TEST_FULL\n");
        skip();
    }
    silent = silent_listener(&silent_port);
    host_start(&at, &thread);
    for (size_t i = 0; i < NR_COUNT(urls); i++) {
        snprintf(all[i].url, sizeof all[i].url, urls[i], i == 0 ? at.port : silent_port);
        assert_int_equal(pthread_create(&all[i].thread, NULL, run_slow, &all[i]), 0);
    }
    for (size_t i = 0; i < NR_COUNT(urls); i++) {
        pthread_join(all[i].thread, NULL);
        print_message("%s: %s after %.0f ms\n", urls[i], nr_status_name(all[i].status), all[i].ms);
        if (i < 3) assert_int_equal(all[i].status, NR_STATUS_TIMEOUT);
        assert_int_not_equal(all[i].status, NR_STATUS_OK);
        assert_true(all[i].ms < HELPER_FETCH_MS + 1500);
    }
    close(silent);
    host_stop(&at, thread);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "serve-helper") == 0) return helper_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fetch_refuses),
                                       cmocka_unit_test(test_fetch_cancelled),
                                       cmocka_unit_test(test_misbehaviour),
                                       cmocka_unit_test(test_resets), cmocka_unit_test(test_slow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
