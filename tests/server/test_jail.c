/* SPDX-License-Identifier: MIT
 *
 * test_jail.c - what a taken-over decoder could try, tried: each ends the process or is denied. And
 * the helper: good and bad pictures, a helper that is killed, a client that goes away.
 */
#define _GNU_SOURCE
#include "../engine/engine_fixture.h"

#include "helper.h"
#include "server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

static void try_open(void) {
    open("/etc/passwd", O_RDONLY);
}
static void try_create(void) {
    open("/tmp/newsreader-jail", O_CREAT | O_WRONLY, 0600);
}
static void try_proc(void) {
    open("/proc/self/maps", O_RDONLY);
}
static void try_socket(void) {
    socket(AF_INET, SOCK_STREAM, 0);
}
static void try_unix(void) {
    int pair[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}
static void try_exec(void) {
    execl("/bin/true", "true", (char *)NULL);
}
static void try_fork(void) {
    fork();
}
static void try_kill(void) {
    kill(getppid(), 0);
}
static void try_trace(void) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}
static void try_code(void) {
    if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
        _exit(9);
}
static void try_unlink(void) {
    unlink("/tmp/newsreader-jail");
}
static void try_read(void) {
    char c;
    if (read(0, &c, 1) < 0) _exit(9);
}

/* How a child ends that locks itself up and then tries. */
static int end_of(void (*what)(void)) {
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!jail_enter((size_t)256 << 20, 2)) _exit(7);
        if (what) what();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_attempts(void **state) {
    static void (*const attempts[])(void) = {try_open,  try_create, try_proc,   try_socket,
                                             try_unix,  try_exec,   try_fork,   try_kill,
                                             try_trace, try_code,   try_unlink, try_read};
    (void)state;
    int status = end_of(NULL);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        status = end_of(attempts[i]);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("attempt %zu: status %x, expected an end by SIGSYS", i, (unsigned)status);
    }
}

static void spin(void) {
    for (volatile unsigned i = 0;; i++) continue;
}

static void test_time(void **state) {
    (void)state;
    int status = end_of(spin); /* two seconds of processor time */
    assert_true(WIFSIGNALED(status));
    assert_true(WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL);
}

static const atomic_bool never = false;

static nr_status decode(helper *h, const char *path, nr_error *err) {
    size_t n;
    char *bytes = fixture_read_file(path, &n);
    nr_picture *picture = NULL;
    nr_status status = helper_decode(h, (uint8_t *)bytes, n, &never, &picture, err);
    nr_picture_free(picture);
    free(bytes);
    return status;
}

/* The jailed pixels are the pixels. */
static void test_decode(void **state) {
    static const char path[] = "samples/valley-gazette.png";
    helper h;
    nr_error problem = {0};
    nr_picture *jailed = NULL, *plain = NULL;
    size_t n;
    int32_t w, height, w2, h2;
    (void)state;
    MUST(helper_open(&h, NULL, 0, err));
    char *bytes = fixture_read_file(path, &n);
    MUST(helper_decode(&h, (uint8_t *)bytes, n, &never, &jailed, err));
    MUST(nr_picture_read(bytes, n, &plain, err));
    nr_picture_size(jailed, &w, &height);
    nr_picture_size(plain, &w2, &h2);
    assert_int_equal(w, w2);
    assert_int_equal(height, h2);
    assert_memory_equal(nr_picture_rgb(jailed), nr_picture_rgb(plain),
                        3 * (size_t)w * (size_t)height);
    nr_picture_free(jailed);
    nr_picture_free(plain);
    assert_int_equal(helper_decode(&h, (uint8_t *)bytes, n / 2, &never, &jailed, &problem),
                     NR_STATUS_FORMAT);
    assert_true(problem.message[0] != '\0');
    assert_int_equal(helper_decode(&h, (uint8_t *)bytes, 0, &never, &jailed, &problem),
                     NR_STATUS_FORMAT);
    free(bytes);
    assert_int_equal(decode(&h, "samples/README.md", &problem), NR_STATUS_FORMAT);
    assert_int_equal(decode(&h, path, &problem), NR_STATUS_OK);
    helper_close(&h);
}

/* Killed between requests: one request fails, the next has a new helper. */
static void test_helper_killed(void **state) {
    static const char path[] = "samples/valley-gazette.png";
    helper h;
    nr_error problem = {0};
    (void)state;
    MUST(helper_open(&h, NULL, 0, err));
    assert_int_equal(decode(&h, path, &problem), NR_STATUS_OK);
    kill(h.pid, SIGKILL);
    assert_int_equal(decode(&h, path, &problem), NR_STATUS_INTERNAL);
    assert_int_equal(decode(&h, path, &problem), NR_STATUS_OK);
    helper_close(&h);
}

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
    assert_int_equal(decode(&h, "samples/valley-gazette.png", &problem), NR_STATUS_OK);
    close(fd);
    helper_close(&h);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "serve-helper") == 0) return helper_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attempts),      cmocka_unit_test(test_time),
        cmocka_unit_test(test_decode),        cmocka_unit_test(test_helper_killed),
        cmocka_unit_test(test_fetch_refuses), cmocka_unit_test(test_fetch_cancelled)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
