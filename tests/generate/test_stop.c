/* SPDX-License-Identifier: MIT
 *
 * test_stop.c - texts that end an answer: whatever the pieces are, what comes out is the text up to
 * the first of them to be complete, and nothing that may still become one is given out early.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "stop.h"

#include <string.h>

/* Text in pieces of n bytes through the filter; returns whether it ended, out what came out. */
static bool run(const nr_stop_texts *stop, const char *text, size_t n, char *out) {
    nr_stop_filter filter = {0};
    char bytes[256];
    size_t used = 0, length = strlen(text);
    bool ended = false;
    for (size_t at = 0; at < length && !ended; at += n) {
        nr_text_buf piece = {.bytes = bytes, .cap = sizeof bytes};
        size_t part = NR_MIN(n, length - at);
        nr_stop_filter_begin(&filter, &piece);
        memcpy(piece.bytes + piece.n, text + at, part);
        piece.n += part;
        ended = nr_stop_filter_end(&filter, stop, &piece, at + part == length);
        memcpy(out + used, piece.bytes, piece.n);
        used += piece.n;
        out[used] = '\0';
        assert_true(memcmp(out, text, used) == 0);
    }
    return ended;
}

static void test_pieces(void **state) {
    static const struct {
        const char *stops[3], *text, *want;
        bool ended;
    } cases[] = {{{"END"}, "one two END three", "one two ", true},
                 {{"END"}, "EN EEND", "EN E", true},
                 {{"END"}, "nothing here E", "nothing here E", false},
                 {{"abcX", "b"}, "zabcd", "za", true},
                 {{"\n\n"}, "a\nb\n\nc", "a\nb", true},
                 {{"aab"}, "aaab", "a", true},
                 {{"x", "y", "zz"}, "zyx", "z", true},
                 {{"\xc3\xa8"}, "\xc3\xa9\xc3\xa8", "\xc3\xa9", true}};
    (void)state;
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        nr_stop_texts stop = {0};
        for (int k = 0; k < 3 && cases[i].stops[k]; k++)
            assert_int_equal(
                nr_stop_texts_add(&stop, cases[i].stops[k], strlen(cases[i].stops[k]), NULL),
                NR_STATUS_OK);
        for (size_t n = 1; n < 20; n++) {
            char out[256] = "";
            assert_int_equal(run(&stop, cases[i].text, n, out), cases[i].ended);
            assert_string_equal(out, cases[i].want);
        }
    }
}

static void test_limits(void **state) {
    nr_stop_texts stop = {0};
    char longest[NR_STOP_BYTES_MAX + 1];
    (void)state;
    memset(longest, 'a', sizeof longest);
    assert_int_equal(nr_stop_texts_add(&stop, "", 0, NULL), NR_STATUS_ARG);
    assert_int_equal(nr_stop_texts_add(&stop, longest, sizeof longest, NULL), NR_STATUS_LIMIT);
    for (int i = 0; i < NR_STOP_TEXTS_MAX; i++)
        assert_int_equal(nr_stop_texts_add(&stop, longest, NR_STOP_BYTES_MAX, NULL), NR_STATUS_OK);
    assert_int_equal(nr_stop_texts_add(&stop, "a", 1, NULL), NR_STATUS_LIMIT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
