/* SPDX-License-Identifier: MIT
 *
 * test_text_models.c - text-only Llama checkpoints: really trained ones whose published text comes
 * out again, and a LLaMA-3-shaped toy against transformers' ids and logits.
 */
#include "engine_fixture.h"

#include "engine_internal.h"
#include "nr_file.h"
#include "registry.h"
#include "safetensors.h"
#include "weight_loader.h"

#include "../tolerances.h"

#include <jansson.h>

/* llama2.c's files as a Hugging Face folder. */
static void convert(const char *weights, const char *tokenizer, const char *out) {
    char build[4096], command[12288];
    fixture_build_dir(build);
    int n = snprintf(command, sizeof command, "%s/tools/llama2c_to_hf %s/data/tiny-llama/%s "
                     "%s/data/tiny-llama/%s %s >/dev/null 2>&1", build, fixture_shared(), weights,
                     fixture_shared(), tokenizer, out);
    assert_true(n > 0 && (size_t)n < sizeof command);
    assert_int_equal(system(command), 0);
}

/* Greedy text from an empty prompt, n_steps tokens. */
static char *greedy_text(const char *model, nr_precision precision, int n_steps) {
    nr_engine *engine = NULL;
    nr_session *session = NULL;
    nr_step step = {0};
    char *text = calloc(1, 65536);
    size_t used = 0;
    nr_engine_options o = nr_engine_options_default();
    nr_generation_options g = nr_generation_options_default();
    o.precision = precision;
    g.raw_prompt = true;
    g.max_tokens = n_steps;
    MUST(nr_engine_open(model, &o, &engine, err));
    MUST(nr_session_create(engine, &session, err));
    MUST(nr_session_ask(session, "", &g, err));
    while (!step.done) {
        MUST(nr_session_step(session, &step, err));
        assert_true(used + step.n_bytes < 65535);
        memcpy(text + used, step.text, step.n_bytes);
        used += step.n_bytes;
    }
    nr_session_free(session);
    nr_engine_close(engine);
    return text;
}

static void test_stories_published_text(void **state) {
    char dir[4096], model[4096], path[4096];
    (void)state;
    fixture_path(path, "%s/data/tiny-llama/expected.json", fixture_shared());
    json_t *cases = json_load_file(path, 0, NULL);
    const json_t *first = json_array_get(cases, 0);
    const char *want = json_string_value(json_object_get(first, "text"));
    assert_non_null(want);
    fixture_temp_dir(dir);
    convert("stories260K.bin", "tok512.bin", fixture_path(model, "%s/stories", dir));
    char *text = greedy_text(model, NR_PRECISION_F32,
                             (int)json_integer_value(json_object_get(first, "steps")));
    assert_string_equal(text, want);
    free(text);
    text = greedy_text(model, NR_PRECISION_INT8, 60); /* INT8 keeps the story's opening */
    assert_memory_equal(text, want, 60);
    free(text);
    json_decref(cases);
    fixture_remove_tree(dir);
}

static void check_whole_text(const char *weights, const char *tokenizer, const char *expected,
                             int n_steps) {
    char dir[4096], model[4096], path[4096];
    fixture_path(path, "%s/data/tiny-llama/%s", fixture_shared(), expected);
    char *want = fixture_read_file(path, NULL);
    fixture_temp_dir(dir);
    convert(weights, tokenizer, fixture_path(model, "%s/model", dir));
    char *text = greedy_text(model, NR_PRECISION_F32, n_steps);
    size_t n = strlen(text), m = strlen(want);
    while (m > 0 && want[m - 1] == '\n') m--; /* run.c ends its output with a line break */
    while (n > 0 && text[n - 1] == '\n') n--;
    if (n != m || memcmp(text, want, m) != 0) fail_msg("found: %s\nexpected: %s", text, want);
    free(text);
    free(want);
    fixture_remove_tree(dir);
}

static void test_stories_256(void **state) {
    (void)state;
    check_whole_text("stories260K.bin", "tok512.bin", "stories260K.greedy256.txt", 256);
}

static void test_aidreams_128(void **state) {
    (void)state;
    check_whole_text("aidreams260K.bin", "aidreams-tok512.bin", "aidreams260K.greedy128.txt", 128);
}

/* A model without tokenizer: the layers below the engine, driven by ids. */
typedef struct bare {
    nr_hf_config config;
    nr_weights *weights_file;
    nr_sides sides;
    nr_model *model;
    nr_arena weights[NR_SIDES], scratch[NR_SIDES], host, caches[NR_SIDES];
    nr_sequence sequence;
} bare;

static void carve_all(bare *b) {
    const nr_model_info *info = &b->model->info;
    nr_backend *be = b->sides.be[NR_SIDE_DEVICE];
    b->model->desc->carve_scratch(b->model, b->scratch);
    size_t bytes =
        be->ops->scratch_bytes(be, info->op_rows_max, info->op_n_in_max, info->op_keys_max);
    void *scratch = nr_arena_take(&b->scratch[NR_SIDE_DEVICE], bytes, 1);
    if (scratch) be->ops->set_scratch(be, scratch, bytes);
    nr_sequence_carve(&b->sequence, b->model, &b->host, b->caches);
}

static void open_bare(bare *b, const char *dir, nr_dtype precision) {
    nr_loader loader;
    nr_model_options o = {.precision = precision, .context = 128};
    *b = (bare){0};
    MUST(nr_hf_config_load(dir, &b->config, err));
    const nr_model_desc *desc = nr_registry_find(b->config.model_type);
    assert_non_null(desc);
    MUST(desc->create(&b->config, &o, &b->model, err));
    MUST(nr_backend_cpu_open(2, NULL, &b->sides.be[NR_SIDE_DEVICE], err));
    MUST(nr_weights_open(dir, &b->weights_file, err));
    desc->carve_weights(b->model, b->weights);
    MUST(nr_sides_alloc(&b->sides, b->weights, "weights", err));
    desc->carve_weights(b->model, b->weights);
    MUST(nr_loader_open(&loader, NR_LOAD_PACK, b->weights_file, &b->sides, NULL, 2, err));
    MUST(desc->load(b->model, &loader, err));
    nr_loader_close(&loader);
    carve_all(b);
    MUST(nr_arena_alloc(&b->host, false, "host", err));
    MUST(nr_sides_alloc(&b->sides, b->scratch, "scratch", err));
    MUST(nr_sides_alloc(&b->sides, b->caches, "cache", err));
    carve_all(b);
    nr_sequence_set_image(&b->sequence, &b->sides, NULL, NULL);
}

static void close_bare(bare *b) {
    nr_sides_free(&b->sides, b->weights);
    nr_sides_free(&b->sides, b->scratch);
    nr_sides_free(&b->sides, b->caches);
    nr_arena_free(&b->host);
    b->model->desc->destroy(b->model);
    nr_backend_close(b->sides.be[NR_SIDE_DEVICE]);
    nr_weights_close(b->weights_file);
    nr_hf_config_reset(&b->config);
}

static int32_t read_ids(const json_t *list, int32_t *ids) {
    for (size_t i = 0; i < json_array_size(list); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return (int32_t)json_array_size(list);
}

static float *read_logits(const char *path, int64_t *n) {
    nr_file f;
    nr_safetensors table;
    MUST(nr_file_open(path, &f, err));
    MUST(nr_safetensors_read(&f, &table, err));
    const nr_safetensor *t = nr_safetensors_find(&table, "logits");
    assert_non_null(t);
    float *logits = malloc(t->bytes);
    MUST(nr_file_read_at(&f, t->offset, logits, t->bytes, err));
    *n = t->n_elements;
    nr_safetensors_reset(&table);
    nr_file_close(&f);
    return logits;
}

static void test_llama3_tiny(void **state) {
    char dir[4096], path[4096];
    int32_t ids[128], want[64], n_reused;
    int64_t n_logits;
    (void)state;
    fixture_path(dir, "%s/golden/llama3-tiny", fixture_shared());
    json_t *meta = json_load_file(fixture_path(path, "%s/golden/text.json", dir), 0, NULL);
    int32_t n = read_ids(json_object_get(meta, "input_ids"), ids);
    int32_t n_want = read_ids(json_object_get(meta, "greedy_ids"), want);
    float *theirs = read_logits(fixture_path(path, "%s/golden/text.safetensors", dir), &n_logits);
    for (int p = 0; p < 2; p++) {
        bare b;
        open_bare(&b, dir, p ? NR_DTYPE_I8 : NR_DTYPE_F32);
        int32_t vocab = b.model->info.vocab;
        MUST(nr_sequence_prefill(&b.sequence, ids, n, 4, &n_reused, NULL, err));
        const float *ours = b.sequence.logits - 3 * (int64_t)vocab;
        double error = fixture_relative_error(ours, theirs, n_logits);
        double cosine = fixture_cosine(ours, theirs, n_logits);
        print_message("%s cosine %.5f relative error %.2g\n", p ? "int8" : "f32", cosine, error);
        assert_true(p ? cosine >= TOL_INT8_COSINE : error <= TOL_F32_STAGE);
        for (int32_t i = 0; i < n_want && !p; i++) {
            nr_backend *be = b.sides.be[NR_SIDE_DEVICE];
            int32_t id = be->ops->argmax(be, b.sequence.logits, vocab);
            assert_int_equal(id, want[i]);
            nr_sequence_append(&b.sequence, id);
            nr_sequences_read(&(nr_share){&b.sequence, 1}, 1, NULL);
        }
        close_bare(&b);
    }
    free(theirs);
    json_decref(meta);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stories_published_text),
                                       cmocka_unit_test(test_stories_256),
                                       cmocka_unit_test(test_aidreams_128),
                                       cmocka_unit_test(test_llama3_tiny)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
