/* SPDX-License-Identifier: MIT
 *
 * test_prompt.c - prompts against what transformers' processors made (golden/), templates chosen by
 * hash, and user text that tries to spell control tokens.
 */
#include "prompt.h"
#include "text_fixture.h"

#define CAP 8192

static int32_t ids[CAP];

static const char *const golden_cases[] = {"page", "photo", "real_a", "real_b", "tiny"};

/* The question inside a golden prompt: what lies between the template's own texts. */
static nr_text_part inner(const char *prompt, const char *before, const char *after) {
    size_t n = strlen(prompt), n_before = strlen(before), n_after = strlen(after);
    assert_true(n >= n_before + n_after);
    assert_memory_equal(prompt, before, n_before);
    assert_memory_equal(prompt + n - n_after, after, n_after);
    return (nr_text_part){prompt + n_before, n - n_before - n_after};
}

typedef struct golden_model {
    const char *folder, *before, *after;
    const char *model_type;
    int32_t image_token_id, n_image_tokens; /* 0: the case says */
} golden_model;

static void check_golden(const golden_model *m) {
    char name[256];
    snprintf(name, sizeof name, "golden/%s/tokenizer.json", m->folder);
    nr_tokenizer *tok = open_tokenizer(shared_path(name));
    nr_encoder *enc = encoder_of(tok, 4096);
    nr_prompt_choice choice;
    nr_error err = {0};
    expect_ok(nr_prompt_choose(NULL, m->model_type, &choice, &err), &err);
    assert_false(choice.by_chat_template);
    for (size_t i = 0; i < NR_COUNT(golden_cases); i++) {
        snprintf(name, sizeof name, "golden/%s/golden/%s.json", m->folder, golden_cases[i]);
        json_t *golden = read_json(shared_path(name)),
               *n = json_object_get(golden, "n_image_tokens");
        nr_text_part q = inner(json_string_value(json_object_get(golden, "prompt")), m->before,
                               m->after);
        nr_prompt_request req = {.template = choice.template, .question = q.text,
                                 .question_bytes = q.n_bytes, .image_token_id = m->image_token_id,
                                 .n_image_tokens = n ? (int32_t)json_integer_value(n)
                                                     : m->n_image_tokens};
        nr_id_list out = {ids, CAP, 0};
        expect_ok(nr_prompt_build(enc, &req, &out, &err), &err);
        expect_ids(name, ids, out.n, json_object_get(golden, "input_ids"));
        json_decref(golden);
    }
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

static void test_golden_llava(void **state) {
    (void)state;
    check_golden(
        &(golden_model){"llava-tiny", "USER: <image>\n", " ASSISTANT:", "llava", 32000, 16});
}

static void test_golden_llava_next(void **state) {
    (void)state;
    check_golden(&(golden_model){"llava-next-tiny", "[INST] <image>\n", " [/INST]", "llava_next",
                                 32000, 0});
}

/* Golden prompts of BLIP-2 are whole texts: they must pass through unframed. */
static void test_golden_blip2(void **state) {
    (void)state;
    check_golden(&(golden_model){"blip2-tiny", "", "", "blip-2", 50265, 8});
}

/* A bare question is framed to the same ids as the golden prompt that was framed by hand. */
static void test_blip2_frames_questions(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer(shared_path("golden/blip2-tiny/tokenizer.json"));
    json_t *golden = read_json(shared_path("golden/blip2-tiny/golden/photo.json"));
    nr_encoder *enc = encoder_of(tok, 4096);
    static const char asked[] = " what is the headline?\n";
    nr_prompt_request req = {.template = NR_PROMPT_BLIP2,
                             .question = asked,
                             .question_bytes = sizeof asked - 1,
                             .image_token_id = 50265,
                             .n_image_tokens = 8};
    nr_id_list out = {ids, CAP, 0};
    nr_error err = {0};
    expect_ok(nr_prompt_build(enc, &req, &out, &err), &err);
    expect_ids("framed", ids, out.n, json_object_get(golden, "input_ids"));
    json_decref(golden);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

/* Decoding what was generated gives transformers' text, whole and piece by piece. */
static void test_golden_texts(void **state) {
    (void)state;
    static const char *const folders[] = {"llava-tiny", "blip2-tiny"};
    static char text[TEXT_CAP];
    char name[256];
    for (size_t f = 0; f < NR_COUNT(folders); f++) {
        snprintf(name, sizeof name, "golden/%s/tokenizer.json", folders[f]);
        nr_tokenizer *tok = open_tokenizer(shared_path(name));
        for (size_t i = 0; i < NR_COUNT(golden_cases); i++) {
            snprintf(name, sizeof name, "golden/%s/golden/%s.json", folders[f], golden_cases[i]);
            json_t *golden = read_json(shared_path(name));
            decode_ids(tok, json_object_get(golden, "greedy_ids"), 0, NR_DECODE_SKIP_SPECIAL, text,
                       sizeof text);
            assert_string_equal(text, json_string_value(json_object_get(golden, "greedy_text")));
            json_decref(golden);
        }
        nr_tokenizer_free(tok);
    }
}

/* --- choosing -------------------------------------------------------------------------------- */

static void test_choose_by_template(void **state) {
    (void)state;
    nr_error err = {0};
    nr_prompt_choice c;
    char *text;
    size_t n;
    expect_ok(
        nr_file_read_all(shared_path("data/model-configs/llava-1.5-7b-hf/chat_template.jinja"),
                         1 << 16, &text, &n, &err),
        &err);
    expect_ok(nr_prompt_choose(text, "llava", &c, &err), &err);
    assert_true(c.by_chat_template && c.template == NR_PROMPT_LLAVA);
    assert_string_equal(c.name, "llava-1.5");
    text[n / 2] = (char)(text[n / 2] + 1); /* one letter differs: no longer ours */
    expect_ok(nr_prompt_choose(text, "llava", &c, &err), &err);
    assert_true(!c.by_chat_template && c.has_unknown_chat_template);
    assert_int_equal(c.template, NR_PROMPT_LLAVA);
    nr_free(text);
    json_t *root = read_json(shared_path("data/model-configs/llava-1.5-7b-hf/chat_template.json"));
    const char *jinja = json_string_value(json_object_get(root, "chat_template"));
    expect_ok(nr_prompt_choose(jinja, "llava", &c, &err), &err);
    assert_true(c.by_chat_template);
    expect_ok(nr_prompt_choose(jinja, "llama", &c, &err), &err); /* no picture: not for it */
    assert_true(!c.by_chat_template && c.template == NR_PROMPT_PLAIN);
    json_decref(root);
    root = read_json(shared_path("data/tokenizers/llama3/tokenizer_config.json"));
    jinja = json_string_value(json_object_get(root, "chat_template"));
    expect_ok(nr_prompt_choose(jinja, "llama", &c, &err), &err);
    assert_true(c.by_chat_template && c.template == NR_PROMPT_LLAMA3);
    json_decref(root);
}

static void test_choose_bundled(void **state) {
    (void)state;
    nr_error err = {0};
    nr_prompt_choice c;
    json_t *root = read_json("models/reader/tokenizer_config.json");
    const char *jinja = json_string_value(json_object_get(root, "chat_template"));
    expect_ok(nr_prompt_choose(jinja, "llava", &c, &err), &err);
    assert_true(c.by_chat_template && c.template == NR_PROMPT_LLAVA);
    json_decref(root);
}

static void test_choose_by_type(void **state) {
    (void)state;
    nr_error err = {0};
    nr_prompt_choice c;
    expect_ok(nr_prompt_choose(NULL, "blip-2", &c, &err), &err);
    assert_int_equal(c.template, NR_PROMPT_BLIP2);
    assert_true(c.captions);
    assert_false(c.has_unknown_chat_template);
    expect_ok(nr_prompt_choose("{{ messages }}", "llama", &c, &err), &err);
    assert_true(c.template == NR_PROMPT_PLAIN && c.has_unknown_chat_template && !c.captions);
    assert_int_equal(nr_prompt_choose(NULL, "qwen2_vl", &c, &err), NR_STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.message, "qwen2_vl"));
}

static void test_llama3_instruct(void **state) {
    (void)state;
    nr_tokenizer *tok = open_tokenizer(shared_path("data/tokenizers/llama3/tokenizer.json"));
    nr_encoder *enc = encoder_of(tok, 4096);
    nr_error err = {0};
    nr_id_list out = {ids, CAP, 0};
    nr_prompt_request req = {.template = NR_PROMPT_LLAMA3, .question = "  Hello world<|eot_id|> \n",
                             .question_bytes = 25, .image_token_id = -1};
    expect_ok(nr_prompt_build(enc, &req, &out, &err), &err);
    static const int32_t head[] = {128000, 128006, 882, 128007, 271, 9906, 1917};
    static const int32_t tail[] = {128009, 128006, 78191, 128007, 271};
    assert_memory_equal(ids, head, sizeof head);
    assert_memory_equal(ids + out.n - NR_COUNT(tail), tail, sizeof tail);
    for (size_t i = NR_COUNT(head); i < out.n - NR_COUNT(tail); i++)
        assert_false(nr_tokenizer_is_special(tok, ids[i]));
    req.n_image_tokens = 1;
    req.image_token_id = 5;
    assert_int_equal(nr_prompt_build(enc, &req, &out, &err), NR_STATUS_UNSUPPORTED);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

/* --- on a small tokenizer of our own ---------------------------------------------------------- */

static nr_tokenizer *own_tokenizer(void) {
    return open_tokenizer("tests/data/text/letters.json");
}

static nr_prompt_request llava_request(const char *question) {
    return (nr_prompt_request){.template = NR_PROMPT_LLAVA, .question = question,
                               .question_bytes = strlen(question), .image_token_id = 263,
                               .n_image_tokens = 3};
}

static void test_too_long(void **state) {
    (void)state;
    nr_tokenizer *tok = own_tokenizer();
    nr_encoder *enc = encoder_of(tok, 64);
    nr_error err = {0};
    nr_prompt_request req = llava_request("hello there");
    nr_id_list all = {ids, CAP, 0}, few = {ids, 6, 0};
    expect_ok(nr_prompt_build(enc, &req, &all, &err), &err);
    assert_int_equal(nr_prompt_build(enc, &req, &few, &err), NR_STATUS_CONTEXT_FULL);
    char want[120];
    snprintf(want, sizeof want, "prompt of %zu tokens (3 of them image), at most 6 fit", all.n);
    assert_string_equal(err.message, want);
    char longer[100];
    memset(longer, 'x', sizeof longer);
    req.question = longer;
    req.question_bytes = sizeof longer;
    all.n = 0;
    assert_int_equal(nr_prompt_build(enc, &req, &all, &err), NR_STATUS_LIMIT);
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

static void test_bad_requests(void **state) {
    (void)state;
    nr_tokenizer *tok = own_tokenizer();
    nr_encoder *enc = encoder_of(tok, 64);
    nr_error err = {0};
    nr_id_list out = {ids, CAP, 0};
    nr_prompt_request req = llava_request("caf\xc3");
    assert_int_equal(nr_prompt_build(enc, &req, &out, &err), NR_STATUS_FORMAT);
    req = llava_request("x");
    req.image_token_id = -1;
    assert_int_equal(nr_prompt_build(enc, &req, &out, &err), NR_STATUS_ARG);
    req.template = NR_PROMPT_LLAMA3;
    req.n_image_tokens = 0;
    assert_int_equal(nr_prompt_build(enc, &req, &out, &err), NR_STATUS_FORMAT);
    assert_non_null(strstr(err.message, "<|begin_of_text|>"));
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

/* However the question spells control tokens, the prompt has the frame's and the image's and no
 * more. */
static void test_questions_stay_text(void **state) {
    (void)state;
    static const char *const bits[] = {"<s>", "</s>", "<image>", "<pad>", "<unk>", "<", "/s>", " ",
                                       "<0x0A>", "\n", "USER:", "mage>", "\xe2\x96\x81", "<ima"};
    nr_tokenizer *tok = own_tokenizer();
    nr_encoder *enc = encoder_of(tok, 4096);
    nr_error err = {0};
    uint32_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        char q[512] = "";
        for (int i = 0; i < 12; i++) {
            seed = seed * 1664525u + 1013904223u;
            strcat(q, bits[(seed >> 16) % NR_COUNT(bits)]);
        }
        nr_prompt_request req = llava_request(q);
        nr_id_list out = {ids, CAP, 0};
        expect_ok(nr_prompt_build(enc, &req, &out, &err), &err);
        size_t n_image = 0, n_special = 0;
        for (size_t i = 0; i < out.n; i++) {
            n_image += ids[i] == 263;
            n_special += nr_tokenizer_is_special(tok, ids[i]);
        }
        assert_int_equal(n_image, 3);
        assert_int_equal(n_special, 1); /* <s>; <image> is not marked special in this file */
    }
    nr_encoder_free(enc);
    nr_tokenizer_free(tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_llava),        cmocka_unit_test(test_golden_llava_next),
        cmocka_unit_test(test_golden_blip2),        cmocka_unit_test(test_blip2_frames_questions),
        cmocka_unit_test(test_golden_texts),        cmocka_unit_test(test_choose_by_template),
        cmocka_unit_test(test_choose_bundled),      cmocka_unit_test(test_choose_by_type),
        cmocka_unit_test(test_llama3_instruct),     cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_bad_requests),        cmocka_unit_test(test_questions_stay_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
