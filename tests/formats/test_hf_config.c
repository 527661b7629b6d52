/* SPDX-License-Identifier: MIT
 *
 * test_hf_config.c - the JSON files of a model folder: which one wins, and what is refused.
 */
#include "fmt_test.h"
#include "hf_config.h"

static nr_hf_config loaded(const scratch *s) {
    nr_hf_config hf;
    nr_error err = {0};
    nr_status status = nr_hf_config_load(s->dir, &hf, &err);
    if (status != NR_STATUS_OK) print_message("%s\n", err.message);
    assert_int_equal(status, NR_STATUS_OK);
    return hf;
}

static void expect_refused(const scratch *s, nr_status expected, const char *part) {
    nr_hf_config hf;
    nr_error err = {0};
    uint64_t live = nr_alloc_get_stats().live_count;
    assert_int_equal(nr_hf_config_load(s->dir, &hf, &err), expected);
    assert_message_has(err, part);
    assert_null(hf.config.node);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void reads_the_least(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_text(&s, "config.json", "{\"model_type\": \"llava\"}");
    nr_hf_config hf = loaded(&s);
    assert_string_equal(hf.model_type, "llava");
    assert_null(hf.architecture);
    assert_true(hf.bos_id == -1 && hf.pad_id == -1 && hf.n_eos_ids == 0);
    assert_null(hf.chat_template);
    assert_null(hf.chat_template_file);
    assert_null(hf.quantization.node);
    assert_null(hf.generation.node);
    assert_null(hf.preprocessor.node);
    int32_t side = 224; /* reads from files that are not there keep their defaults */
    assert_int_equal(nr_json_opt_i32(&hf.preprocessor, "crop_size.height", 1, 999, &side, NULL), 0);
    assert_int_equal(side, 224);
    nr_hf_config_reset(&hf);
    nr_hf_config_reset(&hf);
    scratch_remove(&s);
}

static void strongest_ids_win(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_text(&s, "config.json",
             "{\"model_type\": \"x\", \"architectures\": [\"XForY\"], \"pad_token_id\": 5,"
             " \"eos_token_id\": null,"
             " \"text_config\": {\"bos_token_id\": 1, \"eos_token_id\": 2, \"pad_token_id\": 0}}");
    nr_hf_config hf = loaded(&s);
    assert_string_equal(hf.architecture, "XForY");
    assert_true(hf.bos_id == 1 && hf.pad_id == 5 && hf.n_eos_ids == 1 && hf.eos_ids[0] == 2);
    nr_hf_config_reset(&hf);
    put_text(&s, "generation_config.json", "{\"eos_token_id\": [7, 9, 7, 8], \"pad_token_id\": 6}");
    hf = loaded(&s);
    assert_true(hf.bos_id == 1 && hf.pad_id == 6 && hf.n_eos_ids == 3);
    assert_true(hf.eos_ids[0] == 7 && hf.eos_ids[1] == 9 && hf.eos_ids[2] == 8);
    nr_hf_config_reset(&hf);
    put_text(&s, "generation_config.json", "{\"eos_token_id\": []}");
    hf = loaded(&s);
    assert_true(hf.n_eos_ids == 1 && hf.eos_ids[0] == 2);
    nr_hf_config_reset(&hf);
    put_text(&s, "generation_config.json",
             "{\"eos_token_id\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}");
    expect_refused(&s, NR_STATUS_LIMIT, "generation_config.json: eos_token_id: found a list of 17");
    put_text(&s, "generation_config.json", "{\"eos_token_id\": [1, -2]}");
    expect_refused(&s, NR_STATUS_LIMIT, "generation_config.json: eos_token_id[1]: found -2");
    scratch_remove(&s);
}

static void finds_the_template(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_text(&s, "config.json", "{\"model_type\": \"x\"}");
    put_text(&s, "tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"tool\", \"template\": \"T\"},"
             " {\"name\": \"default\", \"template\": \"D\"}],"
             " \"model_max_length\": 1000000000000000019884624838656}");
    nr_hf_config hf = loaded(&s);
    assert_string_equal(hf.chat_template, "D");
    assert_string_equal(hf.chat_template_file, "tokenizer_config.json");
    nr_hf_config_reset(&hf);
    put_text(&s, "tokenizer_config.json", "{\"chat_template\": \"one\"}");
    hf = loaded(&s);
    assert_string_equal(hf.chat_template, "one");
    nr_hf_config_reset(&hf);
    put_text(&s, "chat_template.json", "{\"chat_template\": \"from json\"}");
    hf = loaded(&s);
    assert_string_equal(hf.chat_template, "from json");
    assert_string_equal(hf.chat_template_file, "chat_template.json");
    nr_hf_config_reset(&hf);
    put_text(&s, "chat_template.jinja", "{{ jinja }}\n");
    hf = loaded(&s);
    assert_string_equal(hf.chat_template, "{{ jinja }}\n");
    assert_string_equal(hf.chat_template_file, "chat_template.jinja");
    nr_hf_config_reset(&hf);
    put_file(&s, "chat_template.jinja", "a\0b", 3);
    expect_refused(&s, NR_STATUS_FORMAT, "NUL at byte 1");
    scratch_remove(&s);
}

static void finds_quantization(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    const char *const texts[] = {
        "{\"model_type\": \"x\", \"quantization_config\": {\"quant_method\": \"q\"}}",
        "{\"model_type\": \"x\", \"text_config\": {\"quantization_config\": {\"quant_method\": "
        "\"q\"}}}",
    };
    for (size_t i = 0; i < NR_COUNT(texts); i++) {
        put_text(&s, "config.json", texts[i]);
        nr_hf_config hf = loaded(&s);
        const char *method;
        assert_int_equal(nr_json_need_str(&hf.quantization, "quant_method", 9, &method, NULL), 0);
        assert_string_equal(method, "q");
        nr_hf_config_reset(&hf);
    }
    scratch_remove(&s);
}

static void refuses_what_is_wrong(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    expect_refused(&s, NR_STATUS_NOT_FOUND, "not the folder of a Hugging Face checkpoint");
    const struct {
        const char *text;
        nr_status status;
        const char *part;
    } cases[] = {
        {"", NR_STATUS_FORMAT, "config.json: line 1"},
        {"[]", NR_STATUS_FORMAT, "config.json: expected an object"},
        {"{}", NR_STATUS_FORMAT, "config.json: model_type: found nothing, expected a string"},
        {"{\"model_type\": 3}", NR_STATUS_FORMAT, "found 3"},
        {"{\"model_type\": \"x\", \"model_type\": \"y\"}", NR_STATUS_FORMAT, "duplicate"},
        {"{\"model_type\": \"x\", \"architectures\": \"X\"}", NR_STATUS_FORMAT, "expected a list"},
        {"{\"model_type\": \"x\", \"architectures\": [1]}", NR_STATUS_FORMAT, "architectures[0]"},
        {"{\"model_type\": \"x\", \"text_config\": 1}", NR_STATUS_FORMAT, "text_config: found 1"},
        {"{\"model_type\": \"x\", \"bos_token_id\": \"<s>\"}", NR_STATUS_FORMAT, "bos_token_id"},
        {"{\"model_type\": \"x\", \"quantization_config\": 8}", NR_STATUS_FORMAT, "quantization"},
    };
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        put_text(&s, "config.json", cases[i].text);
        expect_refused(&s, cases[i].status, cases[i].part);
    }
    put_text(&s, "config.json", "{\"model_type\": \"x\"}");
    const char *const others[] = {"generation_config.json", "preprocessor_config.json",
                                  "processor_config.json", "tokenizer_config.json",
                                  "chat_template.json"};
    for (size_t i = 0; i < NR_COUNT(others); i++) {
        put_text(&s, others[i], "{");
        expect_refused(&s, NR_STATUS_FORMAT, others[i]);
        remove(scratch_path(&s, others[i]));
    }
    char *large = calloc(1, NR_CONFIG_BYTES_MAX + 1);
    put_file(&s, "config.json", large, NR_CONFIG_BYTES_MAX + 1);
    free(large);
    expect_refused(&s, NR_STATUS_LIMIT, "at most 4194304");
    scratch_remove(&s);
    expect_refused(&s, NR_STATUS_NOT_FOUND, "no such folder");
}

static nr_status load_and_reset(void *ctx, nr_error *err) {
    nr_hf_config hf;
    NR_TRY(nr_hf_config_load(ctx, &hf, err));
    nr_hf_config_reset(&hf);
    return NR_STATUS_OK;
}

static void survives_failing_allocations(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_text(&s, "config.json",
             "{\"model_type\": \"x\", \"text_config\": {\"eos_token_id\": [2, 3]}}");
    put_text(&s, "generation_config.json", "{\"bos_token_id\": 1}");
    put_text(&s, "tokenizer_config.json",
             "{\"model_max_length\": 1000000000000000019884624838656}");
    put_text(&s, "chat_template.jinja", "{{ x }}");
    sweep_allocations(load_and_reset, s.dir);
    scratch_remove(&s);
}

static void reads_real_folders(void **state) {
    (void)state;
    nr_hf_config hf;
    nr_error err = {0};
    const char *dir = shared_or_skip("data/model-configs/llava-1.5-7b-hf");
    assert_int_equal(nr_hf_config_load(dir, &hf, &err), 0);
    assert_string_equal(hf.model_type, "llava");
    assert_string_equal(hf.architecture, "LlavaForConditionalGeneration");
    assert_true(hf.bos_id == 1 && hf.pad_id == 32001 && hf.n_eos_ids == 1 && hf.eos_ids[0] == 2);
    assert_string_equal(hf.chat_template_file, "chat_template.jinja");
    double longest;
    assert_int_equal(
        nr_json_need_f64(&hf.tokenizer_config, "model_max_length", 0, 1e40, &longest, &err), 0);
    assert_true(longest == 1e30);
    float mean[3];
    assert_int_equal(nr_json_need_f32s(&hf.preprocessor, "image_mean", 3, mean, &err), 0);
    assert_true(mean[0] == 0.48145466f);
    nr_hf_config_reset(&hf);
    dir = shared_or_skip("golden/blip2-tiny");
    assert_int_equal(nr_hf_config_load(dir, &hf, &err), 0);
    assert_true(hf.n_eos_ids == 1 && hf.eos_ids[0] == 50118);
    nr_hf_config_reset(&hf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_least),       cmocka_unit_test(strongest_ids_win),
        cmocka_unit_test(finds_the_template),    cmocka_unit_test(finds_quantization),
        cmocka_unit_test(refuses_what_is_wrong), cmocka_unit_test(survives_failing_allocations),
        cmocka_unit_test(reads_real_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
