/* SPDX-License-Identifier: MIT
 *
 * test_jail.c - what a taken-over decoder could try, tried: each ends the process or is denied. And
 * the helper: good and bad pictures, a helper that is killed, a client that goes away.
 */
#define _GNU_SOURCE
#include "../engine/engine_fixture.h"

#include "helper.h"
#include "server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>

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
        if (!jail_enter((size_t)256 << 20, 1 << 20, 2)) _exit(7);
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

#define DAMAGED "tests/data/image/small/bad_scan.jpg"

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
    assert_false(h.damaged);
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
    assert_int_equal(decode(&h, DAMAGED, &problem), NR_STATUS_OK);
    assert_true(h.damaged);
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

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "serve-helper") == 0) return helper_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attempts), cmocka_unit_test(test_time),
                                       cmocka_unit_test(test_decode),
                                       cmocka_unit_test(test_helper_killed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
