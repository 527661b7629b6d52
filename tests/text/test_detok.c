/* SPDX-License-Identifier: MIT
 *
 * test_detok.c - ids to text: streaming equals the whole, pieces are UTF-8 by themselves, bytes
 * that are none become U+FFFD in the numbers transformers gives, UTF-8 steps.
 */
#include "detok.h"
#include "text_fixture.h"
#include "utf8.h"

#define FFFD "\xef\xbf\xbd"

static char whole[TEXT_CAP], streamed[TEXT_CAP];

typedef struct sample {
    int32_t ids[16];
    size_t n;
    unsigned flags;
    const char *text;
} sample;

static void check(const nr_tokenizer *tok, const sample *s) {
    nr_error err = {0};
    nr_text_buf out = {whole, sizeof whole - 1, 0};
    expect_ok(nr_tokenizer_decode(tok, s->ids, s->n, s->flags, &out, &err), &err);
    whole[out.n] = '\0';
    assert_string_equal(whole, s->text);
}

/* Ids of tests/data/text/letters.json: byte b is 3 + b. */
#define BYTE(b) (3 + (b))

static void test_byte_fallback(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/letters.json");
    int32_t hello = nr_tokenizer_id(tok, "\xe2\x96\x81hello", 8),
            he = nr_tokenizer_id(tok, "he", 2);
    int32_t blank = nr_tokenizer_id(tok, "\xe2\x96\x81", 3);
    const sample samples[] = {
        {{1, hello, hello}, 3, 1, "hello hello"},
        {{1, hello, hello}, 3, 0, "<s> hello hello"},
        {{1, hello, 2}, 3, NR_DECODE_SKIP_SPECIAL | NR_DECODE_KEEP_SPACE, " hello"},
        {{blank, blank, he}, 3, 1, " he"},
        {{BYTE(0xc3), BYTE(0xa9)}, 2, 1, "\xc3\xa9"},
        {{BYTE(0xc3), he}, 2, 1, FFFD "he"},
        {{he, BYTE(0xe2), BYTE(0x82)}, 3, 1, "he" FFFD FFFD},
        {{BYTE(0x41), BYTE(0xff), BYTE(0x42), he, BYTE(0x43)}, 5, 1, FFFD FFFD FFFD "heC"},
        {{BYTE(0xc3), 2, BYTE(0xa9)}, 3, 1, "\xc3\xa9"}, /* a skipped token ends no run */
        {{BYTE(0xc3), 2, BYTE(0xa9)}, 3, 0, FFFD "</s>" FFFD},
        {{BYTE(' '), he}, 2, 1, "he"},
        {{-1, he, 100000, he}, 4, 1, "hehe"},
        {{0}, 0, 1, ""},
    };
    for (size_t i = 0; i < NR_COUNT(samples); i++) check(tok, &samples[i]);
    nr_tokenizer_free(tok);
}

/* Ids of tests/data/text/bytes.json: byte b is b. */
static void test_byte_level(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/bytes.json");
    int32_t end = nr_tokenizer_id(tok, "<|end|>", 7);
    const sample samples[] = {
        {{0xf0, 0x9f, 0xa6, 0x99}, 4, 0, "\xf0\x9f\xa6\x99"},
        {{0xf0, 0x9f, 'a'}, 3, 0, FFFD "a"},
        {{0xf0, 0x9f, 0xf0, 0x9f, 0xa6, 0x99}, 6, 0, FFFD "\xf0\x9f\xa6\x99"},
        {{0xff, 0xfe}, 2, 0, FFFD FFFD},
        {{0xed, 0xa0, 0x80}, 3, 0, FFFD FFFD FFFD},
        {{'a', 0xe2, 0x82}, 3, 0, "a" FFFD},
        {{' ', 'a', end}, 3, 0, " a<|end|>"},
        {{' ', 'a', end}, 3, NR_DECODE_SKIP_SPECIAL, " a"},
    };
    for (size_t i = 0; i < NR_COUNT(samples); i++) check(tok, &samples[i]);
    nr_tokenizer_free(tok);
}

static void test_other_decoders(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/metaspace.json");
    int32_t ab = nr_tokenizer_id(tok, "\xe2\x96\x81" "ab", 5), c = nr_tokenizer_id(tok, "c", 1);
    check(tok, &(sample){{ab, c, ab}, 3, 0, "abc ab"});
    check(tok, &(sample){{ab, c, ab}, 3, NR_DECODE_KEEP_SPACE, " abc ab"});
    nr_tokenizer_free(tok);
    tok = open_tokenizer("tests/data/text/wordpiece.json");
    int32_t hello = nr_tokenizer_id(tok, "hello", 5), ld = nr_tokenizer_id(tok, "##ld", 4);
    int32_t comma = nr_tokenizer_id(tok, ",", 1), wor = nr_tokenizer_id(tok, "wor", 3);
    check(tok, &(sample){{hello, comma, wor, ld}, 4, 0, "hello, world"});
    nr_tokenizer_free(tok);
}

/* Random ids, bytes often: pieces concatenated are the whole, each is UTF-8, none over the
 * bound. */
static void stream_random(const char *path, unsigned flags) {
    nr_tokenizer *tok = open_tokenizer(path);
    nr_error err = {0};
    uint32_t seed = 7;
    int32_t ids[600];
    for (int round = 0; round < 400; round++) {
        size_t n = 0;
        while (n < (size_t)(round % 3 ? 40 : 600)) {
            seed = seed * 1664525u + 1013904223u;
            int32_t any = (int32_t)((seed >> 8) % (uint32_t)nr_tokenizer_vocab_size(tok));
            int32_t byte = BYTE((int32_t)(seed >> 20 & 0xff));
            ids[n++] = seed >> 30 ? any : byte;
        }
        nr_text_buf a = {whole, sizeof whole, 0}, b = {streamed, sizeof streamed, 0};
        expect_ok(nr_tokenizer_decode(tok, ids, n, flags, &a, &err), &err);
        nr_detok d;
        nr_detok_init(&d, tok, flags);
        for (size_t i = 0; i <= n; i++) {
            nr_text_buf piece = {streamed + b.n, NR_DETOK_PIECE_MAX, 0};
            if (i < n)
                expect_ok(nr_detok_push(&d, ids[i], &piece, &err), &err);
            else
                expect_ok(nr_detok_finish(&d, &piece, &err), &err);
            assert_int_equal(nr_utf8_valid_bytes((uint8_t *)piece.bytes, piece.n), piece.n);
            b.n += piece.n;
        }
        assert_int_equal(a.n, b.n);
        assert_memory_equal(whole, streamed, a.n);
    }
    nr_tokenizer_free(tok);
}

static void test_streaming(void **state) {
    (void)state;
    static const char *const files[] = {"letters", "bytes", "metaspace", "wordpiece"};
    for (size_t i = 0; i < NR_COUNT(files); i++) {
        char path[100];
        snprintf(path, sizeof path, "tests/data/text/%s.json", files[i]);
        for (unsigned flags = 0; flags < 4; flags++) stream_random(path, flags);
    }
}

/* Ordinary text comes out at once; an unfinished character does not. */
static void test_pieces_are_early(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/bytes.json");
    nr_error err = {0};
    nr_detok d;
    nr_text_buf out = {streamed, sizeof streamed, 0};
    nr_detok_init(&d, tok, 0);
    expect_ok(nr_detok_push(&d, 'a', &out, &err), &err);
    assert_int_equal(out.n, 1);
    static const int32_t llama[] = {0xf0, 0x9f, 0xa6};
    for (size_t i = 0; i < 3; i++) {
        expect_ok(nr_detok_push(&d, llama[i], &out, &err), &err);
        assert_int_equal(out.n, 1);
    }
    expect_ok(nr_detok_push(&d, 0x99, &out, &err), &err);
    assert_int_equal(out.n, 5);
    nr_tokenizer_free(tok);
}

/* A run of byte tokens longer than what is held back still gives all its text. */
static void test_long_run(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/letters.json");
    nr_error err = {0};
    nr_detok d;
    nr_text_buf out = {streamed, sizeof streamed, 0};
    nr_detok_init(&d, tok, 0);
    for (int i = 0; i < 3000; i++) {
        expect_ok(nr_detok_push(&d, BYTE(i % 2 ? 0xa9 : 0xc3), &out, &err), &err);
        assert_true(out.n + NR_DETOK_RUN_MAX >= (size_t)i);
    }
    expect_ok(nr_detok_finish(&d, &out, &err), &err);
    assert_int_equal(out.n, 3000);
    assert_int_equal(nr_utf8_valid_bytes((uint8_t *)streamed, out.n), out.n);
    nr_tokenizer_free(tok);
}

static void test_no_room(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/letters.json");
    int32_t he = nr_tokenizer_id(tok, "he", 2), ids[2] = {he, he};
    nr_error err = {0};
    nr_text_buf out = {streamed, 3, 0};
    assert_int_equal(nr_tokenizer_decode(tok, ids, 2, 0, &out, &err), NR_STATUS_LIMIT);
    assert_int_equal(out.n, 2);
    nr_tokenizer_free(tok);
}

static void test_utf8(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c < 0xe000) continue;
        uint8_t bytes[4];
        size_t n = nr_utf8_put(bytes, c);
        nr_utf8_step s = nr_utf8_next(bytes, n);
        assert_true(s.kind == NR_UTF8_CHAR && s.code == c && s.bytes == n);
        if (n > 1) assert_int_equal(nr_utf8_next(bytes, n - 1).kind, NR_UTF8_SHORT);
    }
    static const struct {
        const char *bytes;
        nr_utf8_kind kind;
        uint32_t n;
    } bad[] = {
        {"\x80", NR_UTF8_BAD, 1},         {"\xc0\xaf", NR_UTF8_BAD, 1},
        {"\xc1\xbf", NR_UTF8_BAD, 1},     {"\xe0\x9f\xbf", NR_UTF8_BAD, 1},
        {"\xed\xa0\x80", NR_UTF8_BAD, 1}, {"\xf0\x8f\xbf\xbf", NR_UTF8_BAD, 1},
        {"\xf4\x90\x80\x80", NR_UTF8_BAD, 1}, {"\xf5", NR_UTF8_BAD, 1},
        {"\xe2\x82" "a", NR_UTF8_BAD, 2}, {"\xf0\x9f\xa6" "a", NR_UTF8_BAD, 3},
        {"\xc3", NR_UTF8_SHORT, 1},       {"\xf0\x9f\xa6", NR_UTF8_SHORT, 3},
    };
    for (size_t i = 0; i < NR_COUNT(bad); i++) {
        nr_utf8_step s = nr_utf8_next((const uint8_t *)bad[i].bytes, strlen(bad[i].bytes));
        assert_int_equal(s.kind, bad[i].kind);
        assert_int_equal(s.bytes, bad[i].n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_fallback), cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_other_decoders), cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_pieces_are_early), cmocka_unit_test(test_long_run),
        cmocka_unit_test(test_no_room), cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
