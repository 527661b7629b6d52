/* SPDX-License-Identifier: MIT
 *
 * test_tokenizer.c - features and refusals of tokenizer.json on small files of our own, limits,
 * user text that spells control tokens, memory that runs out, long texts.
 *
 * Expected ids of the small files were computed with the tokenizers library (0.23).
 */
#define _GNU_SOURCE
#include "text_fixture.h"

#include <time.h>

static int32_t found[IDS_CAP];

/* Encode said (NUL-terminated) and compare with a JSON list. */
static void check(const nr_tokenizer *tok, const char *said, unsigned flags, const char *want) {
    nr_encoder *enc = encoder_of(tok, 4096);
    json_t *list = parse_json(want);
    size_t n = encode_text(enc, said, strlen(said), flags, found);
    expect_ids(said, found, n, list);
    json_decref(list);
    nr_encoder_free(enc);
}

/* --- small files ----------------------------------------------------------------------------- */

static void test_sentencepiece_like(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/letters.json");
    check(tok, "", 1, "[1]");
    check(tok, " ", 0, "[259, 259]");
    check(tok, "hello the hello", 1, "[1, 309, 303, 309]");
    check(tok, "\xf0\x9f\xa6\x99Q\n", 0, "[259, 300, 84, 13]");
    check(tok, "a<image>b", 0, "[259, 264, 263, 259, 265]"); /* not special: always found */
    check(tok, "a<pad>b", 2, "[259, 264, 315, 259, 265]");
    check(tok, "a  <mask> \n b", 2, "[259, 264, 316, 259, 265]"); /* takes the blanks with it */
    check(tok, "two words", 0, "[317]"); /* looked for after normalisation */
    check(tok, "a two words", 0, "[259, 264, 317]");
    nr_tokenizer_free(tok);
}

static void test_byte_level(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/bytes.json");
    check(tok, "hello world", 0, "[259, 264]");
    check(tok, "hello  world\n\n", 0, "[259, 32, 264, 267]");
    check(tok, "12345", 0, "[266, 52, 53]");
    check(tok, "\xc3\xa9<|end|>", 2, "[195, 169, 268]");
    check(tok, "<|end|>", 0, "[60, 124, 101, 110, 100, 124, 62]");
    nr_tokenizer_free(tok);
}

static void test_wordpiece(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/wordpiece.json");
    check(tok, "H\xc3\x89LLO, World\xe4\xb8\xad!", 1, "[2, 83, 42, 84, 85, 87, 41, 3]");
    check(tok, "a [MASK]b", 2, "[5, 4, 6]");
    check(tok, "aaaaaaaaaaaaaaaaaaaaa", 0, "[1]"); /* over max_input_chars_per_word */
    check(tok, "x\xc2\xbdy", 0, "[1]");
    nr_tokenizer_free(tok);
}

static void test_metaspace(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/metaspace.json");
    check(tok, "abcd abcd", 0, "[15, 15]");
    check(tok, "  ab<s>ab", 2, "[3, 13, 1, 4, 5]"); /* "first": no mark after <s> */
    check(tok, "zz", 0, "[3, 0, 0]");
    nr_tokenizer_free(tok);
}

static void test_lookups(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/letters.json");
    assert_int_equal(nr_tokenizer_vocab_size(tok), 318);
    assert_int_equal(nr_tokenizer_id(tok, "<image>", 7), 263);
    assert_int_equal(nr_tokenizer_id(tok, "two words", 9), 317);
    assert_int_equal(nr_tokenizer_id(tok, "\xe2\x96\x81hello", 8), 309);
    assert_int_equal(nr_tokenizer_id(tok, "nothing", 7), -1);
    assert_int_equal(nr_tokenizer_id(tok, "", 0), -1);
    assert_true(nr_tokenizer_is_special(tok, 1) && !nr_tokenizer_is_special(tok, 263));
    assert_true(!nr_tokenizer_is_special(tok, -1) && !nr_tokenizer_is_special(tok, 318));
    nr_tokenizer_free(tok);
    tok = open_tokenizer("tests/data/text/bytes.json");
    assert_int_equal(nr_tokenizer_id(tok, "\xc4\xa0world", 7), 264); /* spelled as in the file */
    assert_int_equal(nr_tokenizer_id(tok, "<|end|>", 7), 268);
    nr_tokenizer_free(tok);
}

static void test_parts_are_one_text(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/letters.json");
    nr_encoder *enc = encoder_of(tok, 16);
    nr_error err = {0};
    int32_t ids[8];
    nr_id_list out = {ids, 8, 0};
    const nr_text_part parts[] = {{"he", 2}, {NULL, 0}, {"llo\xc3", 4}, {"\xa9", 1}};
    expect_ok(nr_encode_parts(enc, parts, 4, 0, &out, &err), &err);
    json_t *want = parse_json("[309, 299]");
    expect_ids("parts", ids, out.n, want);
    json_decref(want);
    const nr_text_part long_parts[] = {{"aaaaaaaaaa", 10}, {"aaaaaaa", 7}};
    assert_int_equal(nr_encode_parts(enc, long_parts, 2, 0, &out, &err), NR_STATUS_LIMIT);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

/* --- Split's behaviours ----------------------------------------------------------------------- */

/* Words of "1a22b" as a WordPiece vocabulary that has every substring shows them. */
static void check_split(const char *behavior, const char *invert, const char *const *words) {
    char text[1024];
    static const char said[] = "-a--b";
    json_t *vocab = json_object();
    json_object_set_new(vocab, "[UNK]", json_integer(0));
    for (size_t i = 0, id = 1; i < 5; i++)
        for (size_t n = 1; i + n <= 5; n++) {
            char part[8] = "";
            memcpy(part, said + i, n);
            if (!json_object_get(vocab, part))
                json_object_set_new(vocab, part, json_integer((json_int_t)id++));
        }
    snprintf(text, sizeof text,
             "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"-\"},"
             " \"behavior\": \"%s\", \"invert\": %s}, \"model\": {\"type\": \"WordPiece\"}}",
             behavior, invert);
    json_t *root = parse_json(text);
    json_object_set_new(json_object_get(root, "model"), "vocab", vocab);
    nr_tokenizer *tok = tokenizer_of(root);
    nr_encoder *enc = encoder_of(tok, 64);
    size_t n = encode_text(enc, said, 5, 0, found), n_words = 0;
    for (; words[n_words]; n_words++)
        assert_int_equal(found[n_words],
                         nr_tokenizer_id(tok, words[n_words], strlen(words[n_words])));
    assert_int_equal(n, n_words);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
    json_decref(root);
}

static void test_split_behaviors(void **state) {
    (void)state;
    nr_json_use_our_alloc();
    check_split("Isolated", "false", (const char *[]){"-", "a", "-", "-", "b", NULL});
    check_split("Removed", "false", (const char *[]){"a", "b", NULL});
    check_split("Removed", "true", (const char *[]){"-", "-", "-", NULL});
    check_split("MergedWithPrevious", "false", (const char *[]){"-", "a-", "-", "b", NULL});
    check_split("MergedWithNext", "false", (const char *[]){"-a", "-", "-b", NULL});
    check_split("Contiguous", "false", (const char *[]){"-", "a", "--", "b", NULL});
}

/* --- patterns --------------------------------------------------------------------------------- */

/* A tokenizer of single bytes with this split pattern. */
static nr_tokenizer *with_pattern(const char *pattern, const char *behavior) {
    json_t *root = read_json("tests/data/text/bytes.json");
    json_t *stages = json_object_get(json_object_get(root, "pre_tokenizer"), "pretokenizers");
    json_t *split = json_array_get(stages, 0);
    json_object_set_new(split, "behavior", json_string(behavior));
    json_object_set_new(split, "pattern", json_pack("{s:s}", "Regex", pattern));
    nr_tokenizer *tok = tokenizer_of(root);
    json_decref(root);
    return tok;
}

/* The same words with and without PCRE2's JIT (which a hardened system may refuse). */
static void test_without_jit(void **state) {
    (void)state;
    static const char said[] =
        "hello world\xc2\x85 it's  \n\n 12345 \xe4\xb8\xad\xf0\x9f\xa6\x99!? hello";
    static const char pattern[] =
        "(*NO_JIT)'s|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    int32_t other[256];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        nr_tokenizer *tok = with_pattern(i ? pattern : strchr(pattern, ')') + 1, "Isolated");
        nr_encoder *enc = encoder_of(tok, 256);
        n[i] = encode_text(enc, said, sizeof said - 1, 0, i ? other : found);
        nr_encoder_free(enc);
        nr_tokenizer_free(tok);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(found, other, n[0] * sizeof *found);
}

/* \\s is Unicode's White_Space: U+0085 is in it, U+180E is not. */
static void test_white_space(void **state) {
    (void)state;
    static const char *const patterns[] = {"\\s", "[\\s]+", "\\S+"};
    for (size_t i = 0; i < NR_COUNT(patterns); i++) {
        nr_tokenizer *tok = with_pattern(patterns[i], "Removed");
        check(tok, "a\xc2\x85\xe3\x80\x80 \t\xe1\xa0\x8e", 0,
              i < 2 ? "[97, 225, 160, 142]" : "[194, 133, 227, 128, 128, 32, 9]");
        nr_tokenizer_free(tok);
    }
}

/* A pattern that explodes is stopped. */
static void test_exploding_pattern(void **state) {
    (void)state;
    static const char *const patterns[] = {"(a|aa)+b", "(*NO_JIT)(a|aa)+b", "(a+a+)+b"};
    for (size_t i = 0; i < NR_COUNT(patterns); i++) {
        nr_tokenizer *tok = with_pattern(patterns[i], "Isolated");
        nr_encoder *enc = encoder_of(tok, 64);
        nr_error err = {0};
        nr_id_list out = {found, IDS_CAP, 0};
        static const char said[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaacb";
        assert_int_equal(nr_encode(enc, said, 48, 0, &out, &err), NR_STATUS_LIMIT);
        assert_non_null(strstr(err.message, "split pattern at byte 0 of 48"));
        nr_encoder_free(enc);
        nr_tokenizer_free(tok);
    }
}

/* --- refusals --------------------------------------------------------------------------------- */

typedef struct bad_file {
    nr_status status;
    const char *part; /* of the message */
    const char *json;
} bad_file;

#define BPE \
    "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": "
#define OK_BPE BPE "[\"a b\"]}"

static const bad_file bad_files[] = {
    {NR_STATUS_FORMAT, "expected an object", "[]"},
    {NR_STATUS_FORMAT, "model", "{}"},
    {NR_STATUS_UNSUPPORTED, "model.type: found \"Unigram\"",
     "{\"model\": {\"type\": \"Unigram\"}}"},
    {NR_STATUS_FORMAT, "model.vocab", "{\"model\": {\"type\": \"BPE\", \"vocab\": []}}"},
    {NR_STATUS_FORMAT, "no entries",
     "{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}}"},
    {NR_STATUS_FORMAT, "model.merges", "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}}"},
    {NR_STATUS_FORMAT, "id 0 is given twice",
     "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}"},
    {NR_STATUS_LIMIT, "id 9999999",
     "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 9999999}, \"merges\": []}}"},
    {NR_STATUS_LIMIT, "id -1",
     "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}"},
    {NR_STATUS_FORMAT, "expected an integer",
     "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": \"x\"}, \"merges\": []}}"},
    {NR_STATUS_FORMAT, "model.merges[0]: its result", "{" BPE "[\"b a\"]}}"},
    {NR_STATUS_FORMAT, "model.merges[1]: its second part", "{" BPE "[\"a b\", [\"a\", \"c\"]]}}"},
    {NR_STATUS_FORMAT, "model.merges[0]", "{" BPE "[\"ab\"]}}"},
    {NR_STATUS_FORMAT, "model.merges[0]", "{" BPE "[7]}}"},
    {NR_STATUS_UNSUPPORTED, "dropout", "{" BPE "[], \"dropout\": 0.1}}"},
    {NR_STATUS_FORMAT, "unk_token", "{" BPE "[], \"unk_token\": \"?\"}}"},
    {NR_STATUS_UNSUPPORTED, "end_of_word_suffix", "{" BPE "[], \"end_of_word_suffix\": \"</w>\"}}"},
    {NR_STATUS_UNSUPPORTED, "normalizer.type: \"Nmt\"",
     "{\"normalizer\": {\"type\": \"Nmt\"}, " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "normalizer.normalizers[1].type: \"NFKC\"",
     "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\","
     " \"prepend\": \"x\"}, {\"type\": \"NFKC\"}]}, " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "normalizer.pattern.Regex",
     "{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a\"},"
     " \"content\": \"b\"}, " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "pre_tokenizer.pretokenizers[0].type: \"Digits\"",
     "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
     "\"Digits\"}]}, " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "missing closing",
     "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a\"},"
     " \"behavior\": \"Isolated\"}, " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "behavior",
     "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"},"
     " \"behavior\": \"Odd\"}, " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "decoder: expected ByteLevel",
     "{\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "decoder.type: \"CTC\"",
     "{\"decoder\": {\"type\": \"CTC\"}, " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "order",
     "{\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"},"
     " {\"type\": \"ByteFallback\"}]}, " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "post_processor.type",
     "{\"post_processor\": {\"type\": \"Other\"}, " OK_BPE "}"},
    {NR_STATUS_FORMAT, "post_processor: id 77",
     "{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\":"
     " {\"id\": \"x\"}}, {\"Sequence\": {\"id\": \"A\"}}], \"special_tokens\": {\"x\":"
     " {\"ids\": [77]}}}, " OK_BPE "}"},
    {NR_STATUS_FORMAT, "added_tokens[0]: id 1 is another entry",
     "{\"added_tokens\": [{\"id\": 1, \"content\": \"x\", \"special\": true}], " OK_BPE "}"},
    {NR_STATUS_FORMAT, "added_tokens[0]: id 5, but model.vocab has the same text as 0",
     "{\"added_tokens\": [{\"id\": 5, \"content\": \"a\", \"special\": true}], " OK_BPE "}"},
    {NR_STATUS_UNSUPPORTED, "added_tokens[0].single_word",
     "{\"added_tokens\": [{\"id\": 5, \"content\": \"x\", \"single_word\": true}], " OK_BPE "}"},
    {NR_STATUS_FORMAT, "added_tokens[0].content", "{\"added_tokens\": [{\"id\": 5}], " OK_BPE "}"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < NR_COUNT(bad_files); i++) {
        json_t *root = parse_json(bad_files[i].json);
        nr_tokenizer *tok = NULL;
        nr_error err = {0};
        uint64_t live = nr_alloc_get_stats().live_count;
        nr_status status = nr_tokenizer_create(root, &tok, &err);
        if (status != bad_files[i].status || !strstr(err.message, bad_files[i].part))
            fail_msg("%s\n  gave %s: %s", bad_files[i].json, nr_status_name(status), err.message);
        assert_null(tok);
        assert_int_equal(nr_alloc_get_stats().live_count, live);
        json_decref(root);
    }
}

static void test_missing_file(void **state) {
    (void)state;
    nr_tokenizer *tok = NULL;
    nr_error err = {0};
    assert_int_equal(nr_tokenizer_open("tests/data/text/absent.json", &tok, &err),
                     NR_STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "absent.json"));
}

static void test_bad_texts(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/letters.json");
    nr_encoder *enc = encoder_of(tok, 8);
    nr_error err = {0};
    int32_t ids[2];
    nr_id_list out = {ids, 2, 0};
    assert_int_equal(nr_encode(enc, "ab\xff" "cd", 5, 0, &out, &err), NR_STATUS_FORMAT);
    assert_non_null(strstr(err.message, "byte 2"));
    assert_int_equal(nr_encode(enc, "ab\xe2\x82", 4, 0, &out, &err), NR_STATUS_FORMAT);
    assert_int_equal(nr_encode(enc, "123456789", 9, 0, &out, &err), NR_STATUS_LIMIT);
    assert_int_equal(out.n, 0);
    assert_int_equal(nr_encode(enc, "abcd", 4, 1, &out, &err), NR_STATUS_LIMIT);
    assert_string_equal(err.message, "text of 6 tokens, at most 2 fit");
    out.n = 0;
    expect_ok(nr_encode(enc, "\0", 1, 0, &out, &err), &err);
    assert_int_equal(ids[1], 3);
    nr_encoder_free(enc);
    nr_encoder *huge = NULL;
    assert_int_equal(nr_encoder_create(tok, NR_PROMPT_BYTES_MAX + 1, &huge, &err), NR_STATUS_LIMIT);
    nr_tokenizer_free(tok);
}

/* --- control tokens --------------------------------------------------------------------------- */

/* Random texts from the letters of special names: parsing off never yields a special id, and
 * parsing on yields exactly those spelled in full. */
static void spell_randomly(const nr_tokenizer *tok, const char *const *bits, size_t n_bits) {
    nr_encoder *enc = encoder_of(tok, 4096);
    uint32_t seed = 3;
    size_t n_special_on = 0;
    for (int round = 0; round < 2000; round++) {
        char said[1024] = "";
        for (int i = 0; i < 10; i++) {
            seed = seed * 1664525u + 1013904223u;
            strcat(said, bits[(seed >> 16) % n_bits]);
        }
        size_t n = encode_text(enc, said, strlen(said), 0, found);
        for (size_t i = 0; i < n; i++)
            if (nr_tokenizer_is_special(tok, found[i])) fail_msg("%s: id %d", said, found[i]);
        n = encode_text(enc, said, strlen(said), NR_ENCODE_PARSE_SPECIAL, found);
        for (size_t i = 0; i < n; i++) n_special_on += nr_tokenizer_is_special(tok, found[i]);
    }
    assert_true(n_special_on > 1000);
    nr_encoder_free(enc);
}

static void test_control_tokens_own(void **state) {
    (void)state;
    static const char *const bits[] = {"</s>", "<s>", "<", "/", "s", ">", "<pad>", "<mask>", "</s",
                                       "<unk>", " ", "two words", "<image>"};
    nr_tokenizer *tok = open_tokenizer("tests/data/text/letters.json");
    spell_randomly(tok, bits, NR_COUNT(bits));
    nr_tokenizer_free(tok);
}

static void test_control_tokens_llama3(void **state) {
    (void)state;
    static const char *const bits[] = {"<|eot_id|>", "<|begin_of_text|>", "<|", "|>", "eot_id",
                                       "<|reserved_special_token_", "1", "7|>", " ", "\n", "<|eot",
                                       "_id|>"};
    nr_tokenizer *tok = open_tokenizer(shared_path("data/tokenizers/llama3/tokenizer.json"));
    spell_randomly(tok, bits, NR_COUNT(bits));
    nr_tokenizer_free(tok);
}

static void test_forbidden_id(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/letters.json");
    nr_encoder *enc = encoder_of(tok, 64);
    nr_encoder_forbid(enc, 263);
    size_t n = encode_text(enc, "a<image>", 8, NR_ENCODE_PARSE_SPECIAL, found);
    for (size_t i = 0; i < n; i++) assert_int_not_equal(found[i], 263);
    nr_encoder_forbid(enc, -1);
    n = encode_text(enc, "a<image>", 8, 0, found);
    assert_int_equal(found[n - 1], 263);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

/* --- memory and time ---------------------------------------------------------------------------
 */

static nr_status load_and_encode(const char *path, nr_id_list *out, nr_error *err) {
    nr_tokenizer *tok = NULL;
    nr_encoder *enc = NULL;
    nr_status status;
    out->n = 0;
    NR_TRY_GOTO(nr_tokenizer_open(path, &tok, err));
    NR_TRY_GOTO(nr_encoder_create(tok, 256, &enc, err));
    NR_TRY_GOTO(nr_encode(enc, "hello the world 123", 19, 3, out, err));
done:
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    static const char *const files[] = {"letters", "bytes", "metaspace", "wordpiece"};
    char path[100];
    for (size_t i = 0; i < NR_COUNT(files); i++) {
        snprintf(path, sizeof path, "tests/data/text/%s.json", files[i]);
        nr_error err = {0};
        int32_t good_ids[64], ids[64];
        nr_id_list good = {good_ids, 64, 0}, out = {ids, 64, 0};
        expect_ok(load_and_encode(path, &good, &err), &err);
        uint64_t live = nr_alloc_get_stats().live_count, n = 0;
        bool happened = true;
        while (happened) {
            n++;
            nr_alloc_fail_nth(n, n % 2);
            nr_status status = load_and_encode(path, &out, &err);
            happened = nr_alloc_fail_happened();
            nr_alloc_fail_nth(0, false);
            /* Patterns work without JIT, so its memory may be missing; ids are right or absent. */
            bool right = status == NR_STATUS_OK && out.n == good.n &&
                         memcmp(ids, good_ids, out.n * sizeof *ids) == 0;
            if (!right && status != NR_STATUS_NO_MEMORY)
                fail_msg("%s, allocation %llu: %s: %s", path, (unsigned long long)n,
                         nr_status_name(status), err.message);
            assert_int_equal(nr_alloc_get_stats().live_count, live);
        }
        printf("%s: %llu allocations\n", path, (unsigned long long)n - 1);
        assert_true(n > 10);
    }
}

static void test_no_allocation(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer("tests/data/text/bytes.json");
    nr_encoder *enc = encoder_of(tok, 1 << 16);
    char *said = malloc(1 << 16);
    for (size_t i = 0; i < 1 << 16; i++) said[i] = "hello world 12 \n"[i % 16];
    uint64_t calls = nr_alloc_get_stats().calls;
    encode_text(enc, said, 1 << 16, 3, found);
    assert_int_equal(nr_alloc_get_stats().calls, calls);
    free(said);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

/* Time of this process alone: others on the machine do not count. */
static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* A MiB of one letter, of blanks, of marks: about linear, whatever the pre-tokenizer. The bound is
 * ten times what a slow machine needs; quadratic behaviour would take minutes. */
static void check_long(const char *path, const char *unit) {
    nr_tokenizer *tok = open_tokenizer(path);
    nr_encoder *enc = encoder_of(tok, NR_PROMPT_BYTES_MAX);
    size_t n = NR_PROMPT_BYTES_MAX / strlen(unit) * strlen(unit);
    char *said = malloc(NR_PROMPT_BYTES_MAX);
    int32_t *ids = malloc(4 * sizeof *ids * NR_PROMPT_BYTES_MAX);
    for (size_t i = 0; i < n; i++) said[i] = unit[i % strlen(unit)];
    nr_error err = {0};
    nr_id_list out = {ids, 4u * NR_PROMPT_BYTES_MAX, 0};
    double start = cpu_ms();
    expect_ok(nr_encode(enc, said, n, NR_ENCODE_PARSE_SPECIAL, &out, &err), &err);
    double ms = cpu_ms() - start;
    printf("%s, %zu bytes of \"%s\": %zu ids, %.0f ms\n", path, n, unit, out.n, ms);
    assert_true(ms < 10000);
    free(said);
    free(ids);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

static void test_long_texts(void **state) {
    (void)state;
    static const char *const units[] = {"a", " ", "hello ", "</s>", "\xc3\xa9", "!", "7", "\n "};
    static const char *const files[] = {"letters", "bytes", "metaspace", "wordpiece"};
    char path[100];
    for (size_t f = 0; f < NR_COUNT(files); f++)
        for (size_t i = 0; i < NR_COUNT(units); i++) {
            snprintf(path, sizeof path, "tests/data/text/%s.json", files[f]);
            check_long(path, units[i]);
        }
}

static void test_long_llama(void **state) {
    (void)state;
    static const char *const units[] = {"a", " ", "hello "};
    for (size_t i = 0; i < NR_COUNT(units); i++) {
        check_long(shared_path("data/tokenizers/llama2/tokenizer.json"), units[i]);
        check_long(shared_path("data/tokenizers/llama3/tokenizer.json"), units[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentencepiece_like), cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_wordpiece),          cmocka_unit_test(test_metaspace),
        cmocka_unit_test(test_lookups),            cmocka_unit_test(test_parts_are_one_text),
        cmocka_unit_test(test_split_behaviors),    cmocka_unit_test(test_without_jit),
        cmocka_unit_test(test_white_space),        cmocka_unit_test(test_exploding_pattern),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_missing_file),       cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_control_tokens_own), cmocka_unit_test(test_control_tokens_llama3),
        cmocka_unit_test(test_forbidden_id),       cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_no_allocation),      cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_long_llama),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
