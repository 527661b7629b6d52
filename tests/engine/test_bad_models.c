/* SPDX-License-Identifier: MIT
 *
 * test_bad_models.c - what is wrong with a checkpoint or a request is said: what was found, what
 * was expected and where; nothing stays allocated.
 */
#include "engine_fixture.h"

#include "nr_alloc.h"
#include "spoil.h"

static void make(char dir[4096], const char *name, const char *options) {
    fixture_make_checkpoint("tiny", fixture_path(dir, "%s/%s", temp, name), options);
}

static void make_blip2(char dir[4096], const char *name) {
    fixture_make_checkpoint("blip2-tiny", fixture_path(dir, "%s/%s", temp, name), "");
}

/* Opening fails with `status` and a message that has each of the words; no block is left. */
static void refused(const char *dir, const nr_engine_options *o, nr_status status,
                    const char *const *words) {
    nr_engine *engine = NULL;
    nr_error problem = {0};
    uint64_t live = nr_alloc_get_stats().live_count;
    nr_status found = nr_engine_open(dir, o, &engine, &problem);
    if (found != status)
        fail_msg("%s: %s (%s)", dir, nr_status_name(found), problem.message);
    print_message("%s\n", problem.message);
    for (; *words; words++)
        if (!strstr(problem.message, *words))
            fail_msg("\"%s\" not in: %s", *words, problem.message);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_missing(void **state) {
    char dir[4096], path[4096];
    (void)state;
    refused(fixture_path(dir, "%s/nowhere", temp), NULL, NR_STATUS_NOT_FOUND,
            WORDS("nowhere", "no such folder"));
    make(dir, "no-tokenizer", "");
    unlink(fixture_path(path, "%s/tokenizer.json", dir));
    refused(dir, NULL, NR_STATUS_NOT_FOUND, WORDS("tokenizer.json"));
    make(dir, "no-weights", "");
    unlink(fixture_path(path, "%s/model.safetensors", dir));
    refused(dir, NULL, NR_STATUS_NOT_FOUND, WORDS("no-weights", "model.safetensors"));
}

static void test_shards(void **state) {
    char dir[4096], path[4096];
    (void)state;
    make(dir, "shard-missing", "--shard-bytes 300000");
    unlink(fixture_path(path, "%s/model-00002-of-00003.safetensors", dir));
    if (access(fixture_path(path, "%s/model-00001-of-00003.safetensors", dir), R_OK) != 0)
        fail_msg("the checkpoint was expected in three shards");
    refused(dir, NULL, NR_STATUS_NOT_FOUND, WORDS("model-00002-of-00003.safetensors"));
    make(dir, "shard-short", "--shard-bytes 300000");
    spoil_cut(dir, "model-00002-of-00003.safetensors", 100);
    fixture_path(path, "%s/model-00002-of-00003.safetensors", dir);
    refused(dir, NULL, NR_STATUS_FORMAT, WORDS(path, "100 bytes short"));
}

static void test_configuration(void **state) {
    char dir[4096];
    (void)state;
    make(dir, "unknown", "");
    spoil_edit(dir, "config.json", "\"model_type\": \"llava\"", "\"model_type\": \"pixtral\"");
    refused(dir, NULL, NR_STATUS_UNSUPPORTED, WORDS("pixtral", "llava", "config.json"));
    make(dir, "no-json", "");
    spoil_edit(dir, "config.json", "{", "[");
    refused(dir, NULL, NR_STATUS_FORMAT, WORDS("config.json"));
    make(dir, "heads", "");
    spoil_edit(dir, "config.json", "\"num_attention_heads\": ", "\"num_attention_heads\": 9");
    refused(dir, NULL, NR_STATUS_SHAPE, WORDS("attention heads"));
    make(dir, "crop", "");
    spoil_edit(dir, "preprocessor_config.json", "\"height\": 56", "\"height\": 10");
    refused(dir, NULL, NR_STATUS_SHAPE, WORDS("preprocessor_config.json: crop_size is 56 x 10"));
}

/* The config asks for another width than the tensors have. */
static void test_wrong_shape(void **state) {
    char dir[4096];
    (void)state;
    make(dir, "shape", "");
    spoil_edit(dir, "config.json", "\"intermediate_size\": 1", "\"intermediate_size\": 2");
    refused(dir, NULL, NR_STATUS_SHAPE, WORDS("tensor", "shape [", "expected ["));
}

static void test_not_finite(void **state) {
    static const char *const tensors[] = {
        "language_model.model.layers.1.mlp.down_proj.weight",
        "language_model.model.norm.weight",
        "vision_tower.vision_model.embeddings.patch_embedding.weight",
        "multi_modal_projector.linear_1.bias"};
    char dir[4096], name[64];
    (void)state;
    for (size_t i = 0; i < NR_COUNT(tensors); i++) {
        snprintf(name, sizeof name, "nan-%zu", i);
        make(dir, name, "");
        spoil_value(dir, tensors[i], i % 2 ? 0x7c00 : 0x7e00); /* infinity, NaN */
        nr_engine_options o = nr_engine_options_default();
        for (int p = 0; p < 2; p++) {
            o.precision = p ? NR_PRECISION_F32 : NR_PRECISION_INT8;
            refused(dir, &o, NR_STATUS_NOT_FINITE, WORDS(tensors[i], name));
        }
    }
}

/* Settings of BLIP-2's parts that are another network, or none. */
static void test_blip2_configuration(void **state) {
    static const struct {
        const char *from, *to;
        nr_status status;
        const char *words[3];
    } cases[] = {
        {"\"do_layer_norm_before\": true", "\"do_layer_norm_before\": false",
         NR_STATUS_UNSUPPORTED, {"text_config", "do_layer_norm_before", "false"}},
        {"\"_remove_final_layer_norm\": false", "\"_remove_final_layer_norm\": true",
         NR_STATUS_UNSUPPORTED, {"text_config", "_remove_final_layer_norm", "true"}},
        {"\"word_embed_proj_dim\": 64", "\"word_embed_proj_dim\": 32", NR_STATUS_UNSUPPORTED,
         {"word_embed_proj_dim", "32", "64"}},
        {"\"model_type\": \"opt\"", "\"model_type\": \"t5\"", NR_STATUS_UNSUPPORTED,
         {"text_config.model_type", "t5", "opt"}},
        {"\"use_qformer_text_input\": false", "\"use_qformer_text_input\": true",
         NR_STATUS_UNSUPPORTED, {"qformer_config", "use_qformer_text_input", "true"}},
        {"\"hidden_size\": 48", "\"hidden_size\": 50", NR_STATUS_SHAPE,
         {"qformer_config", "50", "4 attention heads"}},
        {"\"cross_attention_frequency\": 2", "\"cross_attention_frequency\": 0",
         NR_STATUS_LIMIT, {"qformer_config", "cross_attention_frequency", "0"}},
        {"\"num_query_tokens\": 8", "\"num_query_tokens\": 9", NR_STATUS_SHAPE,
         {"query_tokens", "[1, 8, 48]", "[1, 9, 48]"}},
        {"\"image_token_index\": 600", "\"image_token_index\": 640", NR_STATUS_LIMIT,
         {"image_token_index", "640", "639"}},
        {"\"max_position_embeddings\": 512", "\"max_position_embeddings\": 500",
         NR_STATUS_SHAPE, {"embed_positions", "[514, 64]", "[502, 64]"}}};
    char dir[4096], path[4096];
    size_t n;
    (void)state;
    make_blip2(dir, "blip2-config");
    char *config = fixture_read_file(fixture_path(path, "%s/config.json", dir), &n);
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        spoil_edit(dir, "config.json", cases[i].from, cases[i].to);
        refused(dir, NULL, cases[i].status,
                WORDS(cases[i].words[0], cases[i].words[1], cases[i].words[2]));
        fixture_write_file(path, config, n);
    }
    free(config);
    spoil_edit(dir, "preprocessor_config.json", "\"height\": 56", "\"height\": 60");
    refused(dir, NULL, NR_STATUS_SHAPE, WORDS("preprocessor_config.json", "56 x 60", "56 x 56"));
}

static void test_blip2_not_finite(void **state) {
    static const char *const tensors[] = {
        "query_tokens", "qformer.encoder.layer.2.crossattention.attention.key.weight",
        "vision_model.post_layernorm.weight",
        "language_model.model.decoder.embed_positions.weight"};
    char dir[4096], name[64];
    (void)state;
    for (size_t i = 0; i < NR_COUNT(tensors); i++) {
        snprintf(name, sizeof name, "blip2-nan-%zu", i);
        make_blip2(dir, name);
        spoil_value(dir, tensors[i], i % 2 ? 0x7c00 : 0x7e00);
        refused(dir, NULL, NR_STATUS_NOT_FINITE, WORDS(tensors[i], name));
    }
}

static void test_options(void **state) {
    char dir[4096];
    (void)state;
    make(dir, "options", "");
    nr_engine_options o = nr_engine_options_default();
    o.context_tokens = 100000;
    refused(dir, &o, NR_STATUS_LIMIT, WORDS("100000"));
    o = nr_engine_options_default();
    o.cpu_kernels = "sse9";
    refused(dir, &o, NR_STATUS_ARG, WORDS("sse9", "scalar"));
    o = nr_engine_options_default();
    o.n_threads = -1;
    refused(dir, &o, NR_STATUS_ARG, WORDS("-1"));
    o = nr_engine_options_default();
    o.struct_bytes = 3;
    refused(dir, &o, NR_STATUS_ARG, WORDS("nr_engine_options"));
}

static void test_requests(void **state) {
    char dir[4096];
    nr_engine *engine = NULL;
    nr_session *session = NULL;
    nr_error problem = {0};
    nr_step step;
    (void)state;
    make(dir, "requests", "");
    nr_engine_options o = nr_engine_options_default();
    o.context_tokens = 64;
    MUST(nr_engine_open(dir, &o, &engine, err));
    MUST(nr_session_create(engine, &session, err));
    assert_int_equal(nr_session_step(session, &step, &problem), NR_STATUS_ARG);
    char *longest = malloc(40000);
    memset(longest, 'x', 39999);
    longest[39999] = '\0';
    assert_int_equal(nr_session_ask(session, longest, NULL, &problem), NR_STATUS_CONTEXT_FULL);
    print_message("%s\n", problem.message);
    assert_non_null(strstr(problem.message, "64"));
    longest[0] = (char)0xff;
    longest[1] = '\0';
    assert_int_equal(nr_session_ask(session, longest, NULL, &problem), NR_STATUS_FORMAT);
    free(longest);
    nr_generation_options g = nr_generation_options_default();
    g.top_p = 0;
    assert_int_equal(nr_session_ask(session, "x", &g, &problem), NR_STATUS_ARG);
    assert_non_null(strstr(problem.message, "top_p"));
    nr_session_cancel(session);
    assert_int_equal(nr_session_ask(session, "x", NULL, &problem), NR_STATUS_CANCELLED);
    MUST(nr_session_ask(session, "x", NULL, err)); /* once */
    nr_session_cancel(session);
    assert_int_equal(nr_session_step(session, &step, &problem), NR_STATUS_CANCELLED);
    MUST(nr_session_step(session, &step, err));
    nr_session_free(session);
    nr_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing),       cmocka_unit_test(test_shards),
        cmocka_unit_test(test_configuration), cmocka_unit_test(test_wrong_shape),
        cmocka_unit_test(test_not_finite),    cmocka_unit_test(test_blip2_configuration),
        cmocka_unit_test(test_blip2_not_finite), cmocka_unit_test(test_options),
        cmocka_unit_test(test_requests)};
    return cmocka_run_group_tests(tests, fixture_make_temp, fixture_remove_temp);
}
