/* SPDX-License-Identifier: MIT
 *
 * Error records: names, forwarding, prefixes that never hide the cause, and messages that stay one
 * line of UTF-8 whatever a file calls its tensors.
 */
#include "base_test.h"
#include "nr_status.h"

#include <stdio.h>
#include <string.h>

static void every_status_has_name_and_text(void **state) {
    (void)state;
    assert_string_equal(nr_status_name(NR_STATUS_OK), "OK");
    assert_string_equal(nr_status_name(NR_STATUS_NO_MEMORY), "NO_MEMORY");
    assert_string_equal(nr_status_name((nr_status)-999), "UNKNOWN");
    for (int s = NR_STATUS_INTERNAL; s <= 0; s++) {
        assert_string_not_equal(nr_status_name((nr_status)s), "UNKNOWN");
        assert_string_not_equal(nr_status_text((nr_status)s), "unknown status");
    }
}

static nr_status fails(int value, nr_error *err) {
    NR_FAIL_IF(value > 3, LIMIT, "value: %d, at most %d", value, 3);
    return NR_STATUS_OK;
}

static nr_status forwards(int value, nr_error *err) {
    NR_TRY(fails(value, err));
    return NR_STATUS_OK;
}

static void first_cause_is_kept(void **state) {
    (void)state;
    nr_error err = {0};
    assert_int_equal(forwards(3, &err), NR_STATUS_OK);
    assert_int_equal(forwards(4, NULL), NR_STATUS_LIMIT);
    assert_int_equal(forwards(4, &err), NR_STATUS_LIMIT);
    assert_int_equal(err.status, NR_STATUS_LIMIT);
    assert_string_equal(err.message, "value: 4, at most 3");
    assert_non_null(strstr(err.file, "test_status.c"));
    assert_true(err.line > 0);
}

static void prefix_keeps_cause_and_place(void **state) {
    (void)state;
    nr_error err;
    nr_status status = fails(9, &err);
    int line = err.line;
    assert_int_equal(nr_error_prefix(&err, status, "%s", "model.safetensors"), NR_STATUS_LIMIT);
    assert_string_equal(err.message, "model.safetensors: value: 9, at most 3");
    assert_int_equal(err.line, line);
    assert_int_equal(nr_error_prefix(NULL, NR_STATUS_IO, "x"), NR_STATUS_IO);
    /* A record nobody filled must not turn a failure into success. */
    nr_error empty = {0};
    assert_int_equal(nr_error_prefix(&empty, NR_STATUS_IO, "x"), NR_STATUS_IO);
}

static void long_prefix_does_not_hide_the_cause(void **state) {
    (void)state;
    char path[4096];
    memset(path, 'd', sizeof path);
    memcpy(path + sizeof path - 8, "/a.json", 8);
    nr_error err;
    nr_status status = fails(9, &err);
    nr_error_prefix(&err, status, "%s", path);
    assert_non_null(strstr(err.message, "dd/a.json: value: 9, at most 3"));
    assert_memory_equal(err.message, "...d", 4);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    /* Both long: each gets half. */
    memset(path, 'c', 300);
    path[300] = '\0';
    nr_error_set(&err, NR_STATUS_IO, "f", 1, "%s", path);
    nr_error_prefix(&err, NR_STATUS_IO, "%.500s/name", path);
    assert_non_null(strstr(err.message, "/name: cccccccccc"));
}

static void message_is_one_line_of_utf8(void **state) {
    (void)state;
    nr_error err;
    nr_error_set(&err, NR_STATUS_FORMAT, "f", 1, "tensor \"%s\"", "a\nb\x1b[31m\x7f");
    assert_string_equal(err.message, "tensor \"a?b?[31m?\"");
    nr_error_set(&err, NR_STATUS_FORMAT, "f", 1, "%s", "\xc2\x9b"
                           "31m \xff\xc0\x80 \xed\xa0\x80 \xe4\xb8\xad\xe6\x96\x87");
    assert_string_equal(err.message, "??31m ??? ??? \xe4\xb8\xad\xe6\x96\x87");
    /* A character cut by the end of the message goes as a whole. */
    for (int shift = 0; shift < 4; shift++) {
        char text[600];
        memset(text, 'x', 4);
        for (size_t i = 0; i < 100; i++) memcpy(text + shift + 4 * i, "\xf0\x9f\x93\xb0", 4);
        text[shift + 400] = '\0';
        nr_error_set(&err, NR_STATUS_FORMAT, "f", 1, "%s", text);
        size_t n = strlen(err.message);
        assert_int_equal((n - (size_t)shift) % 4, 0);
        assert_true(n > sizeof err.message - 6);
        assert_null(strchr(err.message, '?'));
    }
}

static void message_may_be_its_own_argument(void **state) {
    (void)state;
    nr_error err;
    nr_error_set(&err, NR_STATUS_IO, "f", 1, "cause");
    nr_error_set(&err, NR_STATUS_IO, "f", 2, "again: %s", err.message);
    assert_string_equal(err.message, "again: cause");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_name_and_text),
        cmocka_unit_test(first_cause_is_kept),
        cmocka_unit_test(prefix_keeps_cause_and_place),
        cmocka_unit_test(long_prefix_does_not_hide_the_cause),
        cmocka_unit_test(message_is_one_line_of_utf8),
        cmocka_unit_test(message_may_be_its_own_argument),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
