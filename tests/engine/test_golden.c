/* SPDX-License-Identifier: MIT
 *
 * test_golden.c - tiny LLaVA and BLIP-2 checkpoints against every stage that transformers computed
 * on them: pixels equal, f32 stages within the gate, greedy ids identical; INT8 logits close to
 * f32's.
 */
#include "engine_fixture.h"

#include "nr_file.h"
#include "safetensors.h"
#include "../tolerances.h"

#include <jansson.h>

#define CASES_MAX 8

/* A checkpoint and what transformers computed on it. */
typedef struct golden {
    char model[4096], folder[4096]; /* folder: CASE.json, CASE.safetensors, pictures */
    const char *cases[CASES_MAX];
    size_t n_cases;
} golden;

typedef struct tensors {
    nr_file file;
    nr_safetensors table;
} tensors;

static void open_tensors(tensors *t, const char *path) {
    MUST(nr_file_open(path, &t->file, err));
    MUST(nr_safetensors_read(&t->file, &t->table, err));
}

static void close_tensors(tensors *t) {
    nr_safetensors_reset(&t->table);
    nr_file_close(&t->file);
}

/* The data of a tensor; free() it. */
static void *read_tensor(const tensors *t, const nr_safetensor *s) {
    void *data = malloc(s->bytes);
    assert_non_null(data);
    MUST(nr_file_read_at(&t->file, s->offset, data, s->bytes, err));
    return data;
}

static json_t *read_meta(const golden *g, const char *name) {
    char path[4096];
    json_error_t problem;
    json_t *meta = json_load_file(fixture_path(path, "%s/%s.json", g->folder, name), 0, &problem);
    if (!meta) fail_msg("%s: %s", path, problem.text);
    return meta;
}

/* The question inside "USER: <image>\nQUESTION ASSISTANT:"; other prompts are what is asked. */
static void question_of(const json_t *meta, char question[256]) {
    const char *prompt = json_string_value(json_object_get(meta, "prompt"));
    const char *begin = prompt, *end = prompt + strlen(prompt);
    if (strncmp(prompt, "USER: ", 6) == 0) {
        begin = strchr(prompt, '\n') + 1;
        end = strstr(begin, " ASSISTANT:");
        assert_non_null(end);
    }
    snprintf(question, 256, "%.*s", (int)(end - begin), begin);
}

static void run_trace(nr_engine *engine, const golden *g, const json_t *meta, const char *out) {
    char path[4096], question[256];
    nr_picture *picture = NULL;
    question_of(meta, question);
    fixture_path(path, "%s/%s", g->folder, json_string_value(json_object_get(meta, "image")));
    MUST(nr_picture_read_file(path, &picture, err));
    MUST(nr_trace(engine, picture, question, NR_FIT_CHECKPOINT, out, err));
    nr_picture_free(picture);
}

static nr_engine *open_engine(const char *model, nr_precision precision, nr_kv_type kv) {
    nr_engine *engine = NULL;
    nr_engine_options o = nr_engine_options_default();
    o.precision = precision;
    o.kv = kv;
    o.all_layers = true;
    o.prefill_rows = 512;
    MUST(nr_engine_open(model, &o, &engine, err));
    return engine;
}

static void compare_stages(const tensors *ours, const tensors *theirs, const char *name) {
    double worst = 0;
    for (int32_t i = 0; i < theirs->table.n_tensors; i++) {
        const nr_safetensor *want = &theirs->table.tensors[i];
        const nr_safetensor *have = nr_safetensors_find(&ours->table, want->name);
        if (!have) fail_msg("%s: no %s in the trace", name, want->name);
        assert_int_equal(have->n_elements, want->n_elements);
        float *a = read_tensor(ours, have), *b = read_tensor(theirs, want);
        double error = fixture_relative_error(a, b, want->n_elements);
        worst = NR_MAX(worst, error);
        if (strcmp(want->name, "pixel_values") == 0)
            assert_memory_equal(a, b, want->bytes);
        else if (!(error <= TOL_F32_STAGE))
            fail_msg("%s %s: relative error %g, at most %g", name, want->name, error,
                     TOL_F32_STAGE);
        free(a);
        free(b);
    }
    print_message("f32 %-7s worst stage %.2g\n", name, worst);
}

static void compare_ids(const tensors *ours, const json_t *meta, const char *name) {
    const json_t *want = json_object_get(meta, "greedy_ids");
    int64_t *ids = read_tensor(ours, nr_safetensors_find(&ours->table, "greedy_ids"));
    assert_int_equal(json_array_size(want), 24);
    for (size_t i = 0; i < json_array_size(want); i++)
        if (json_integer_value(json_array_get(want, i)) != ids[i])
            fail_msg("%s: greedy id %zu is %lld", name, i, (long long)ids[i]);
    free(ids);
}

/* What both sides say about one case. */
typedef struct pair {
    json_t *meta;
    tensors ours, theirs;
} pair;

static pair open_pair(nr_engine *engine, const golden *g, const char *name, const char *dir) {
    char out[4096], path[4096];
    pair p = {.meta = read_meta(g, name)};
    run_trace(engine, g, p.meta, fixture_path(out, "%s/trace.safetensors", dir));
    open_tensors(&p.ours, out);
    open_tensors(&p.theirs, fixture_path(path, "%s/%s.safetensors", g->folder, name));
    return p;
}

static void close_pair(pair *p) {
    close_tensors(&p->ours);
    close_tensors(&p->theirs);
    json_decref(p->meta);
}

static void check_f32(const golden *g) {
    char dir[4096];
    nr_engine *engine = open_engine(g->model, NR_PRECISION_F32, NR_KV_F16);
    fixture_temp_dir(dir);
    for (size_t i = 0; i < g->n_cases; i++) {
        pair p = open_pair(engine, g, g->cases[i], dir);
        compare_stages(&p.ours, &p.theirs, g->cases[i]);
        compare_ids(&p.ours, p.meta, g->cases[i]);
        close_pair(&p);
    }
    nr_engine_close(engine);
    fixture_remove_tree(dir);
}

/* Cosine of logits with transformers' f32 ones, every case gated; returns the mean. */
static double check_logits(const golden *g, nr_precision precision, nr_kv_type kv, double gate) {
    char dir[4096];
    double cosine_sum = 0;
    nr_engine *engine = open_engine(g->model, precision, kv);
    fixture_temp_dir(dir);
    for (size_t i = 0; i < g->n_cases; i++) {
        pair p = open_pair(engine, g, g->cases[i], dir);
        const nr_safetensor *have = nr_safetensors_find(&p.ours.table, "logits");
        const nr_safetensor *want = nr_safetensors_find(&p.theirs.table, "logits");
        float *a = read_tensor(&p.ours, have), *b = read_tensor(&p.theirs, want);
        double cosine = fixture_cosine(a, b, want->n_elements);
        print_message("%s, kv %s: %-7s cosine %.5f relative error %.4f\n",
                      precision == NR_PRECISION_F32 ? "f32" : "int8",
                      kv == NR_KV_INT8 ? "int8" : "f16", g->cases[i], cosine,
                      fixture_relative_error(a, b, want->n_elements));
        if (!(cosine >= gate)) fail_msg("%s: cosine %.5f", g->cases[i], cosine);
        cosine_sum += cosine;
        free(a);
        free(b);
        close_pair(&p);
    }
    nr_engine_close(engine);
    fixture_remove_tree(dir);
    return cosine_sum / (double)g->n_cases;
}

static double check_int8(const golden *g) {
    return check_logits(g, NR_PRECISION_INT8, NR_KV_F16, TOL_INT8_COSINE);
}

static golden shared_golden(const char *name) {
    golden g = {.cases = {"page", "photo", "real_a", "real_b", "tiny"}, .n_cases = 5};
    fixture_path(g.model, "%s/golden/%s", fixture_shared(), name);
    fixture_path(g.folder, "%s/golden", g.model);
    return g;
}

static void check_shared_int8(const char *name, double blocks32) {
    golden g = shared_golden(name);
    double mean = check_int8(&g);
    print_message("int8 mean cosine %.5f, 32-wide blocks %.5f\n", mean, blocks32);
    assert_true(mean >= blocks32);
}

static void test_llava_f32(void **state) {
    golden g = shared_golden("llava-tiny");
    (void)state;
    check_f32(&g);
}

static void test_llava_int8(void **state) {
    (void)state;
    check_shared_int8("llava-tiny", BLOCKS32_COSINE_LLAVA_TINY);
}

static void test_blip2_f32(void **state) {
    golden g = shared_golden("blip2-tiny");
    (void)state;
    check_f32(&g);
}

static void test_blip2_int8(void **state) {
    (void)state;
    check_shared_int8("blip2-tiny", BLOCKS32_COSINE_BLIP2_TINY);
}

/* Codes for keys and values alone, then on top of INT8 linears. */
static void check_kv_int8(const char *name) {
    golden g = shared_golden(name);
    double alone = check_logits(&g, NR_PRECISION_F32, NR_KV_INT8, TOL_KV_INT8_COSINE);
    double both = check_logits(&g, NR_PRECISION_INT8, NR_KV_INT8, TOL_INT8_COSINE);
    print_message("%s, kv int8: mean cosine %.5f in f32, %.5f in int8\n", name, alone, both);
}

static void test_shared_kv_int8(void **state) {
    (void)state;
    check_kv_int8("llava-tiny");
    check_kv_int8("blip2-tiny");
}

/* tests/tiny: made checkpoints, both precisions. */
static void check_made(const char *name, const char *preset, const char *options) {
    char dir[4096];
    golden g = {.cases = {"tall", "wide"}, .n_cases = 2};
    fixture_temp_dir(dir);
    fixture_path(g.model, "%s/model", dir);
    fixture_path(g.folder, "tests/tiny/%s", name);
    fixture_make_checkpoint(preset, g.model, options);
    check_f32(&g);
    check_int8(&g);
    fixture_remove_tree(dir);
}

static void test_tiny(void **state) {
    (void)state;
    check_made("tiny", "tiny", "");
}

static void test_odd_shapes(void **state) {
    (void)state;
    check_made("odd", "odd", "");
}

static void test_bf16_shards_gqa(void **state) {
    (void)state;
    check_made("bf16-gqa", "tiny",
               "--names new --dtype bf16 text.num_key_value_heads=2 --shard-bytes 300000");
}

static void test_blip2_bf16_shards(void **state) {
    (void)state;
    check_made("blip2-tiny", "blip2-tiny", "--dtype bf16 --shard-bytes 300000");
}

static void test_blip2_odd_shapes(void **state) {
    (void)state;
    check_made("blip2-odd", "blip2-odd", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiny),
                                       cmocka_unit_test(test_odd_shapes),
                                       cmocka_unit_test(test_bf16_shards_gqa),
                                       cmocka_unit_test(test_llava_f32),
                                       cmocka_unit_test(test_llava_int8),
                                       cmocka_unit_test(test_blip2_bf16_shards),
                                       cmocka_unit_test(test_blip2_odd_shapes),
                                       cmocka_unit_test(test_blip2_f32),
                                       cmocka_unit_test(test_blip2_int8),
                                       cmocka_unit_test(test_shared_kv_int8)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
