/* SPDX-License-Identifier: MIT
 *
 * test_llama2c.c - llama2.c models converted to Hugging Face folders: directory of tensors, order
 * of rotary rows, and a tokenizer that reproduces the texts those models are known to write.
 */
#define _GNU_SOURCE
#include "text_fixture.h"

#include <unistd.h>

#define main llama2c_to_hf_main
#include "../../tools/llama2c_to_hf.c"
#undef main

static char dir[] = "/tmp/nr-llama2c-XXXXXX";
static char text[TEXT_CAP];

static void in_dir(char *path, size_t cap, const char *name) {
    snprintf(path, cap, "%s/%s", dir, name);
}

static void remove_outputs(void) {
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors", "tokenizer.json"};
    char path[4096];
    for (size_t i = 0; i < NR_COUNT(names); i++) {
        in_dir(path, sizeof path, names[i]);
        unlink(path);
    }
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : 1;
}

static int remove_dir(void **state) {
    (void)state;
    remove_outputs();
    return rmdir(dir);
}

static nr_tokenizer *convert_shared(const char *model, const char *tokenizer) {
    nr_error err = {0};
    char path[4096];
    expect_ok(convert(shared_path(model), shared_path(tokenizer), dir, &err), &err);
    in_dir(path, sizeof path, "tokenizer.json");
    return open_tokenizer(path);
}

/* text -> ids -> the same text, with fewer ids than characters (so merges are at work). */
static void check_round_trip(const nr_tokenizer *tok, const char *said) {
    int32_t *ids = malloc(IDS_CAP * sizeof *ids);
    nr_encoder *enc = encoder_of(tok, 1 << 16);
    size_t n = encode_text(enc, said, strlen(said), NR_ENCODE_SPECIAL_FRAME, ids);
    nr_error err = {0};
    nr_text_buf out = {text, sizeof text, 0};
    assert_int_equal(ids[0], 1);
    assert_true(n < strlen(said) / 2 + 8);
    for (size_t i = 1; i < n; i++) assert_true(ids[i] >= N_SPECIAL);
    expect_ok(nr_tokenizer_decode(tok, ids, n, NR_DECODE_SKIP_SPECIAL, &out, &err), &err);
    assert_int_equal(out.n, strlen(said));
    assert_memory_equal(text, said, out.n);
    nr_encoder_free(enc);
    free(ids);
}

static void check_file_round_trip(const nr_tokenizer *tok, const char *name) {
    nr_error err = {0};
    char *said;
    size_t n;
    expect_ok(nr_file_read_all(shared_path(name), 1 << 16, &said, &n, &err), &err);
    check_round_trip(tok, said);
    nr_free(said);
}

static void test_stories(void **state) {
    (void)state;
    nr_tokenizer *tok = convert_shared("data/tiny-llama/stories260K.bin",
                                       "data/tiny-llama/tok512.bin");
    assert_int_equal(nr_tokenizer_vocab_size(tok), 512);
    check_file_round_trip(tok, "data/tiny-llama/stories260K.greedy256.txt");
    json_t *expected = read_json(shared_path("data/tiny-llama/expected.json")), *one;
    size_t i;
    json_array_foreach(expected, i, one) {
        const char *said = json_string_value(json_object_get(one, "text"));
        if (!said) said = json_string_value(json_object_get(one, "text_begins"));
        check_round_trip(tok, said);
    }
    json_decref(expected);
    check_round_trip(tok, "caf\xc3\xa9 \xf0\x9f\xa6\x99\n");
    nr_tokenizer_free(tok);
}

/* Rows of one tensor: embedding first, then by name. */
static void read_row(const nr_safetensors *st, const nr_file *f, const char *name, int64_t row,
                     float *dst) {
    nr_error err = {0};
    const nr_safetensor *t = nr_safetensors_find(st, name);
    assert_non_null(t);
    size_t bytes = (size_t)t->dims[t->n_dims - 1] * sizeof *dst;
    expect_ok(nr_file_read_at(f, t->offset + (uint64_t)row * bytes, dst, bytes, &err), &err);
}

static void test_weights(void **state) {
    (void)state;
    nr_tokenizer_free(convert_shared("data/tiny-llama/aidreams260K.bin",
                                     "data/tiny-llama/aidreams-tok512.bin"));
    char path[4096];
    nr_error err = {0};
    nr_file f, in;
    nr_safetensors st;
    float row[172], want[172];
    in_dir(path, sizeof path, "model.safetensors");
    expect_ok(nr_file_open(path, &f, &err), &err);
    expect_ok(nr_file_open(shared_path("data/tiny-llama/aidreams260K.bin"), &in, &err), &err);
    expect_ok(nr_safetensors_read(&f, &st, &err), &err);
    assert_int_equal(st.n_tensors, 4 * 9 + 2); /* tied: no lm_head */
    /* head size 16; row 3 of head 1 is pair 3's first half: input row 16 + 6; row 11: 16 + 7 */
    uint64_t q = 28 + 4 * (512 * 64 + 4 * 64);
    for (int k = 0; k < 2; k++) {
        read_row(&st, &f, "model.layers.0.self_attn.q_proj.weight", 16 + 3 + 8 * k, row);
        expect_ok(nr_file_read_at(&in, q + (uint64_t)(22 + k) * 256, want, 256, &err), &err);
        assert_memory_equal(row, want, 256);
    }
    /* the last layer's up projection comes before the final norm and the rotary tables */
    uint64_t tail = in.size - 4u * 128 * 16 - 4 * 64;
    read_row(&st, &f, "model.norm.weight", 0, row);
    expect_ok(nr_file_read_at(&in, tail, want, 256, &err), &err);
    assert_memory_equal(row, want, 256);
    read_row(&st, &f, "model.layers.3.mlp.up_proj.weight", 171, row);
    expect_ok(nr_file_read_at(&in, tail - 256, want, 256, &err), &err);
    assert_memory_equal(row, want, 256);
    nr_safetensors_reset(&st);
    nr_file_close(&f);
    nr_file_close(&in);
}

static void write_file(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void expect_refused(const void *bytes, size_t n, const char *part) {
    char path[4096];
    nr_error err = {0};
    in_dir(path, sizeof path, "bad.bin");
    write_file(path, bytes, n);
    remove_outputs();
    assert_int_equal(convert(path, "/nowhere", dir, &err), NR_STATUS_FORMAT);
    if (!strstr(err.message, part)) fail_msg("%s", err.message);
    unlink(path);
    in_dir(path, sizeof path, "model.safetensors");
    assert_false(nr_file_exists(path));
}

static void test_bad_files(void **state) {
    (void)state;
    int32_t h[7] = {64, 172, 5, 8, 4, 512, 512};
    expect_refused(h, 20, "");
    expect_refused(h, sizeof h, "its header says 1056540");
    h[3] = 0;
    expect_refused(h, sizeof h, "n_heads: found 0");
    h[3] = 7;
    expect_refused(h, sizeof h, "do not divide");
    h[3] = 8;
    h[5] = INT32_MIN;
    expect_refused(h, sizeof h, "vocab_size");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_bad_files),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
