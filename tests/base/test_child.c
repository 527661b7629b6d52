/* SPDX-License-Identifier: MIT
 * test_child.c - a function in a child: its result, its death, its time limit. */
#define _GNU_SOURCE
#include "base_test.h"

#include "nr_child.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static int give(void *ctx) {
    return *(int *)ctx;
}

static int die(void *ctx) {
    raise(*(int *)ctx);
    return 0;
}

static int hang(void *ctx) {
    (void)ctx;
    for (;;) pause();
    return 0;
}

static void test_result(void **state) {
    nr_error err;
    int code = -1;
    (void)state;
    for (int wanted = 0; wanted < 256; wanted += 51) {
        assert_int_equal(nr_child_run("give", 10, give, &wanted, &code, &err), NR_STATUS_OK);
        assert_int_equal(code, wanted);
    }
}

/* SIGKILL and SIGTERM: a sanitizer would make something else of SIGSEGV and SIGILL. */
static void test_death(void **state) {
    static const int deaths[] = {SIGKILL, SIGTERM};
    (void)state;
    for (size_t i = 0; i < NR_COUNT(deaths); i++) {
        nr_error err = {0};
        int how = deaths[i], code = 7;
        assert_int_equal(nr_child_run("kernels x", 10, die, &how, &code, &err),
                         NR_STATUS_SELF_TEST);
        assert_int_equal(code, 7);
        assert_non_null(strstr(err.message, "kernels x"));
        assert_non_null(strstr(err.message, strsignal(how)));
    }
}

static void test_time(void **state) {
    nr_error err = {0};
    int code;
    (void)state;
    assert_int_equal(nr_child_run("hang", 1, hang, NULL, &code, &err), NR_STATUS_SELF_TEST);
    assert_non_null(strstr(err.message, "signal 14"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_result), cmocka_unit_test(test_death),
                                       cmocka_unit_test(test_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
