/* SPDX-License-Identifier: MIT
 *
 * test_tokenizer_conformance.c - published test cases of other tokenizers, every one of them.
 *
 *   llama-spm, phi-3       LLaMA-2's tokenizer.json, no frame (the ids have no <s>)
 *   llama-tokenizer-js     the same, with the frame; decoding with and without <s> and first blank
 *   llama-bpe              LLaMA-3's tokenizer.json, no frame
 *   llama3-tokenizer-js    the same with the added tokens' names of LLaMA 3.1, special names in the
 *                          text parsed; <|begin_of_text|> and <|end_of_text|> as each case says
 *   opt-derived, gpt-2     GPT-2's vocabulary with OPT's ids; no frame
 *   bert-bge               WordPiece over vocab.txt, no [CLS] and [SEP]
 */
#define _GNU_SOURCE /* memmem */
#include "text_fixture.h"

#define DATA "data/"
#define CASES DATA "tokenizer-conformance/"

static char text[TEXT_CAP];

/* Every case of a file {text, KEY: ids}. */
static void check_file(const nr_tokenizer *tok, const char *name, const char *key, unsigned flags) {
    json_t *cases = read_json_lines(shared_path(name)), *one;
    nr_encoder *enc = encoder_of(tok, 1 << 16);
    size_t i;
    json_array_foreach(cases, i, one)
        expect_encoding(enc, json_object_get(one, "text"), flags, json_object_get(one, key));
    assert_int_equal(json_array_size(cases), 47);
    nr_encoder_free(enc);
    json_decref(cases);
}

static void test_llama_spm(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer(shared_path(DATA "tokenizers/llama2/tokenizer.json"));
    check_file(tok, CASES "llama.cpp/llama-spm.cases.jsonl", "ids", 0);
    check_file(tok, CASES "llama.cpp/phi-3.cases.jsonl", "ids", 0);
    nr_tokenizer_free(tok);
}

static void test_llama_bpe(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer(shared_path(DATA "tokenizers/llama3/tokenizer.json"));
    check_file(tok, CASES "llama.cpp/llama-bpe.cases.jsonl", "ids", 0);
    nr_tokenizer_free(tok);
}

/* One decode case; without the preceding blank the decoder's strip is off, and with a bos token
 * the first <s> is not part of the text. */
static void check_js_decode(const nr_tokenizer *tok, const json_t *c) {
    const json_t *ids = json_object_get(c, "ids");
    bool bos = json_is_true(json_object_get(c, "add_bos_token"));
    bool blank = json_is_true(json_object_get(c, "add_preceding_space"));
    size_t from = bos && json_integer_value(json_array_get(ids, 0)) == 1;
    decode_ids(tok, ids, from, blank ? 0 : NR_DECODE_KEEP_SPACE, text, sizeof text);
    assert_string_equal(text, json_string_value(json_object_get(c, "text")));
}

static void test_llama_js(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer(shared_path(DATA "tokenizers/llama2/tokenizer.json"));
    json_t *cases = read_json_lines(shared_path(CASES "llama-tokenizer-js/cases.jsonl")), *c;
    nr_encoder *enc = encoder_of(tok, 1 << 16);
    size_t i, n_encode = 0;
    json_array_foreach(cases, i, c) {
        if (strcmp(json_string_value(json_object_get(c, "op")), "decode") == 0) {
            check_js_decode(tok, c);
            continue;
        }
        expect_encoding(enc, json_object_get(c, "text"), NR_ENCODE_SPECIAL_FRAME,
                        json_object_get(c, "ids"));
        n_encode++;
    }
    assert_int_equal(n_encode, 12);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
    json_decref(cases);
}

/* LLaMA 3.1 gave three of the reserved tokens names and renumbered the rest. */
static void rename_to_3_1(json_t *root) {
    static const struct {
        int id;
        const char *name;
    } named[] = {{128004, "<|finetune_right_pad_id|>"}, {128008, "<|eom_id|>"},
                 {128010, "<|python_tag|>"}};
    json_t *added = json_object_get(root, "added_tokens"), *one;
    size_t i;
    int n_reserved = 0;
    json_array_foreach(added, i, one) {
        int id = (int)json_integer_value(json_object_get(one, "id"));
        const char *content = json_string_value(json_object_get(one, "content"));
        char name[64] = "";
        for (size_t k = 0; k < NR_COUNT(named); k++)
            if (named[k].id == id) snprintf(name, sizeof name, "%s", named[k].name);
        if (!name[0] && strncmp(content, "<|reserved_special_token_", 25) == 0)
            snprintf(name, sizeof name, "<|reserved_special_token_%d|>", n_reserved++);
        if (name[0]) json_object_set_new(one, "content", json_string(name));
    }
}

static void test_llama3_js(void **state) {
    (void)state;
    json_t *root = read_json(shared_path(DATA "tokenizers/llama3/tokenizer.json"));
    rename_to_3_1(root);
    nr_tokenizer *tok = tokenizer_of(root);
    nr_encoder *enc = encoder_of(tok, 1 << 16);
    json_t *cases = read_json_lines(shared_path(CASES "llama3-tokenizer-js/cases.jsonl")), *c;
    size_t i, n_encode = 0;
    int32_t ids[4096];
    json_array_foreach(cases, i, c) {
        const json_t *want = json_object_get(c, "ids"), *said = json_object_get(c, "text");
        if (strcmp(json_string_value(json_object_get(c, "op")), "decode") == 0) {
            decode_ids(tok, want, 0, 0, text, sizeof text);
            assert_string_equal(text, json_string_value(said));
            continue;
        }
        size_t n = 0;
        if (json_is_true(json_object_get(c, "bos"))) ids[n++] = 128000;
        n += encode_text(enc, json_string_value(said), json_string_length(said),
                         NR_ENCODE_PARSE_SPECIAL, ids + n);
        if (json_is_true(json_object_get(c, "eos"))) ids[n++] = 128001;
        expect_ids(json_string_value(said), ids, n, want);
        n_encode++;
    }
    assert_true(n_encode >= 19);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
    json_decref(cases);
    json_decref(root);
}

/* tokenizer.json's content for GPT-2's files: vocab.json and merges.txt ("#version" line first). */
static json_t *gpt2_root(void) {
    (void)shared_path(DATA "tokenizers/gpt2-opt/gpt2-vocab.json"); /* may skip */
    (void)shared_path(DATA "tokenizers/gpt2-opt/gpt2-merges.txt");
    nr_error err = {0};
    char *merges;
    size_t n;
    json_t *root =
        parse_json("{\"pre_tokenizer\": {\"type\": \"ByteLevel\","
                   " \"add_prefix_space\": false}, \"decoder\": {\"type\": \"ByteLevel\"},"
                   " \"model\": {\"type\": \"BPE\"}}");
    json_t *model = json_object_get(root, "model"), *list = json_array();
    json_object_set_new(model, "vocab",
                        read_json(shared_path(DATA "tokenizers/gpt2-opt/gpt2-vocab.json")));
    expect_ok(nr_file_read_all(shared_path(DATA "tokenizers/gpt2-opt/gpt2-merges.txt"), 1 << 20,
                               &merges, &n, &err), &err);
    for (char *line = strtok(merges, "\n"); line; line = strtok(NULL, "\n"))
        if (strncmp(line, "#version", 8) != 0) json_array_append_new(list, json_string(line));
    json_object_set_new(model, "merges", list);
    nr_free(merges);
    return root;
}

static void test_opt(void **state) {
    (void)state;
    json_t *root = gpt2_root();
    nr_tokenizer *tok = tokenizer_of(root);
    check_file(tok, CASES "opt-derived/cases.jsonl", "opt_ids", 0);
    nr_tokenizer_free(tok);
    json_decref(root);
    tok = open_tokenizer(shared_path("golden/blip2-tiny/tokenizer.json"));
    check_file(tok, CASES "opt-derived/cases.jsonl", "opt_ids", 0);
    nr_tokenizer_free(tok);
}

/* {piece: id} from the tokens of a GGUF file: after the key come the types (array of strings), the
 * count, and each string with its length before it. */
static json_t *gguf_vocab(const char *path) {
    static const char key[] = "tokenizer.ggml.tokens";
    nr_error err = {0};
    char *file, *p;
    size_t n_file;
    uint64_t count, n;
    uint32_t types[2];
    expect_ok(nr_file_read_all(path, 8u << 20, &file, &n_file, &err), &err);
    p = memmem(file, n_file, key, sizeof key - 1);
    assert_non_null(p);
    p += sizeof key - 1;
    memcpy(types, p, sizeof types);
    assert_int_equal(types[0], 9);
    assert_int_equal(types[1], 8);
    memcpy(&count, p + 8, sizeof count);
    p += 16;
    json_t *vocab = json_object();
    for (uint64_t id = 0; id < count; id++, p += 8 + n) {
        memcpy(&n, p, sizeof n);
        assert_true(n <= (size_t)(file + n_file - p) - 8);
        json_object_setn_new(vocab, p + 8, n, json_integer((json_int_t)id));
    }
    nr_free(file);
    return vocab;
}

/* GPT-2's own ids: the vocabulary from llama.cpp's file of it, the merges are OPT's. */
static void test_gpt2(void **state) {
    (void)state;
    (void)shared_path(DATA "tokenizers/gguf-vocab/ggml-vocab-gpt-2.gguf"); /* may skip */
    json_t *root = gpt2_root();
    json_t *vocab = gguf_vocab(shared_path(DATA "tokenizers/gguf-vocab/ggml-vocab-gpt-2.gguf"));
    assert_int_equal(json_object_size(vocab), 50257);
    json_object_set_new(json_object_get(root, "model"), "vocab", vocab);
    nr_tokenizer *tok = tokenizer_of(root);
    check_file(tok, CASES "llama.cpp/gpt-2.cases.jsonl", "ids", 0);
    nr_tokenizer_free(tok);
    json_decref(root);
}

static void test_bert(void **state) {
    (void)state;
    (void)shared_path(DATA "tokenizers/bert-uncased/vocab.txt"); /* skips before it owns */
    nr_error err = {0};
    char *lines;
    size_t n;
    json_t *root = parse_json(
        "{\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true,"
        " \"handle_chinese_chars\": true, \"strip_accents\": null, \"lowercase\": true},"
        " \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"},"
        " \"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\", \"cleanup\": true},"
        " \"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\"}}");
    json_t *vocab = json_object();
    expect_ok(nr_file_read_all(shared_path(DATA "tokenizers/bert-uncased/vocab.txt"), 1 << 20,
                               &lines, &n, &err), &err);
    int id = 0;
    for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n"))
        json_object_set_new(vocab, line, json_integer(id++));
    nr_free(lines);
    json_object_set_new(json_object_get(root, "model"), "vocab", vocab);
    nr_tokenizer *tok = tokenizer_of(root);
    check_file(tok, CASES "llama.cpp/bert-bge.cases.jsonl", "ids", 0);
    json_t *ids = parse_json("[101, 7592, 1010, 2088, 999, 102]");
    decode_ids(tok, ids, 0, 0, text, sizeof text);
    assert_string_equal(text, "[CLS] hello, world! [SEP]");
    json_decref(ids);
    nr_tokenizer_free(tok);
    json_decref(root);
}

/* What BLIP-2 wrote in transformers' own tests, as ids and as text. */
static void test_blip2_texts(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer(shared_path("golden/blip2-tiny/tokenizer.json"));
    json_t *lines = read_json_lines(shared_path(DATA "expected-outputs/generation.jsonl")), *c;
    size_t i, n = 0;
    json_array_foreach(lines, i, c) {
        const json_t *ids = json_object_get(c, "ids");
        if (!ids || !strstr(json_string_value(json_object_get(c, "model")), "opt")) continue;
        decode_ids(tok, ids, 0, NR_DECODE_SKIP_SPECIAL, text, sizeof text);
        size_t end = strlen(text); /* the stop token is a line end; the published text is trimmed */
        while (end && (text[end - 1] == '\n' || text[end - 1] == ' ')) text[--end] = '\0';
        assert_string_equal(text, json_string_value(json_object_get(c, "text")));
        n++;
    }
    printf("%zu id lists of BLIP-2\n", n);
    assert_true(n >= 4);
    nr_tokenizer_free(tok);
    json_decref(lines);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_spm), cmocka_unit_test(test_llama_bpe),
        cmocka_unit_test(test_llama_js),  cmocka_unit_test(test_llama3_js),
        cmocka_unit_test(test_opt),       cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_bert),      cmocka_unit_test(test_blip2_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
