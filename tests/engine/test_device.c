/* SPDX-License-Identifier: MIT
 *
 * test_device.c - choosing the device, on machines with a card and without: names, refusals, what
 * "auto" falls back to and says, and the plan of a card, which needs none.
 */
#include "engine_fixture.h"

#include "device.h"

static const char model[] = "models/reader";

static bool has_card(void) {
    nr_backend *be = NULL;
    bool has = nr_backend_cuda_open(0, false, &be, NULL) == NR_STATUS_OK;
    nr_backend_close(be);
    return has;
}

static bool has_cuda(void) {
    nr_backend *be = NULL;
    bool has = nr_backend_cuda_open(0, true, &be, NULL) == NR_STATUS_OK;
    nr_backend_close(be);
    return has;
}

static void test_names(void **state) {
    (void)state;
    static const struct {
        const char *text;
        nr_device_kind kind;
        int card;
    } good[] = {{"cpu", NR_DEVICE_CPU, 0},
                {"auto", NR_DEVICE_AUTO, 0},
                {"cuda", NR_DEVICE_CUDA, 0},
                {"cuda:0", NR_DEVICE_CUDA, 0},
                {"cuda:15", NR_DEVICE_CUDA, 15}};
    static const char *const bad[] = {
        "",        "gpu",      "cuda:", "cuda:16",          "cuda:-1", "cuda: 1",
        "cuda:1 ", "cuda:0x1", "CPU",   "cuda:99999999999", "cudax",   "cuda:0,1"};
    nr_device device;
    for (size_t i = 0; i < NR_COUNT(good); i++) {
        MUST(nr_device_parse(good[i].text, &device, err));
        assert_int_equal(device.kind, good[i].kind);
        assert_int_equal(device.card, good[i].card);
    }
    for (size_t i = 0; i < NR_COUNT(bad); i++) {
        nr_error problem = {0};
        assert_int_equal(nr_device_parse(bad[i], &device, &problem), NR_STATUS_ARG);
        assert_non_null(strstr(problem.message, "cuda:15"));
    }
    setenv("NR_DEVICE", "cuda:3", 1);
    MUST(nr_device_parse(NULL, &device, err));
    assert_int_equal(device.card, 3);
    unsetenv("NR_DEVICE");
    MUST(nr_device_parse(NULL, &device, err));
    assert_int_equal(device.kind, NR_DEVICE_CPU);
    assert_string_equal(nr_device_name((nr_device){.kind = NR_DEVICE_CUDA, .card = 2}), "cuda:2");
}

static nr_engine_options on(const char *device) {
    nr_engine_options o = nr_engine_options_default();
    o.device = device;
    return o;
}

static void test_default_is_cpu(void **state) {
    (void)state;
    nr_engine *engine = NULL;
    nr_engine_options o = on(NULL);
    MUST(nr_engine_open(model, &o, &engine, err));
    nr_engine_info info = nr_engine_get_info(engine);
    assert_string_equal(info.device, "cpu");
    assert_string_equal(info.device_note, "the default");
    assert_int_equal(nr_engine_get_plan(engine).vram_bytes, 0);
    assert_int_equal(nr_device_usage_get(engine).reserved_bytes, 0);
    nr_engine_close(engine);
}

/* A card is refused with the reason: none, none with that number, or no CUDA in this build. */
static void test_refusals(void **state) {
    (void)state;
    nr_engine *engine = NULL;
    nr_error problem = {0};
    nr_engine_options o = on("cuda:13");
    assert_int_equal(nr_engine_open(model, &o, &engine, &problem), NR_STATUS_UNSUPPORTED);
    assert_non_null(strstr(problem.message, "cuda:13"));
    o = on("cpu");
    o.vram_bytes_max = 8000000000;
    assert_int_equal(nr_engine_open(model, &o, &engine, &problem), NR_STATUS_UNSUPPORTED);
    assert_non_null(strstr(problem.message, "8000000000"));
}

static void test_auto(void **state) {
    (void)state;
    nr_engine *engine = NULL;
    nr_engine_options o = on("auto");
    MUST(nr_engine_open(model, &o, &engine, err));
    nr_engine_info info = nr_engine_get_info(engine);
    bool card = has_card();
    assert_string_equal(info.device, card ? "cuda:0" : "cpu");
    assert_true(strncmp(info.device_note, card ? "auto: cuda:0, " : "auto: cpu, because ", 14) ==
                0);
    nr_engine_close(engine);
    o.vram_bytes_max = 1000; /* nothing fits: the CPU, whatever there is */
    MUST(nr_engine_open(model, &o, &engine, err));
    info = nr_engine_get_info(engine);
    assert_string_equal(info.device, "cpu");
    if (card) assert_non_null(strstr(info.device_note, "ceiling of 1000"));
    nr_engine_close(engine);
    nr_error problem = {0}; /* what the CPU cannot open either is not hidden behind the card */
    assert_int_equal(nr_engine_open("no-such-folder", &o, &engine, &problem), NR_STATUS_NOT_FOUND);
    assert_non_null(strstr(problem.message, "no-such-folder"));
}

/* The plan of a card adds up, and is the host's but for what moves. */
static void test_plan(void **state) {
    (void)state;
    nr_memory_plan cpu, card;
    nr_engine_options o = on("cuda:0");
    nr_error problem = {0};
    if (!has_cuda()) {
        assert_int_equal(nr_memory_plan_read(model, &o, &card, &problem), NR_STATUS_UNSUPPORTED);
        assert_non_null(strstr(problem.message, "nvcc"));
        print_message("skipped: %s\n", problem.message);
        skip();
    }
    MUST(nr_memory_plan_read(model, &o, &card, err));
    o.device = "cpu";
    MUST(nr_memory_plan_read(model, &o, &cpu, err));
    assert_string_equal(card.device, "cuda:0");
    assert_true(card.apart && !cpu.apart);
    assert_int_equal(card.weights_bytes, cpu.weights_bytes);
    assert_int_equal(card.vram_bytes + card.ram_bytes, card.total_bytes);
    uint64_t device = 0, host = 0;
    for (int32_t i = 0; i < card.n_parts; i++)
        if (!card.parts[i].passing)
            *(card.parts[i].on_device ? &device : &host) += card.parts[i].bytes;
    assert_int_equal(device, card.vram_bytes);
    assert_int_equal(device + host, card.resident_bytes);
    assert_int_equal(card.vram_bytes % (2 << 20), 0);
    for (int32_t slots = 1; slots <= 64; slots *= 4) { /* room for every session's arena */
        o = on("cuda:0");
        o.n_slots = slots;
        MUST(nr_memory_plan_read(model, &o, &card, err));
        assert_true(card.rounding_bytes >= (uint64_t)slots * 256);
    }
    MUST(nr_memory_plan_read("llava-1.5-7b", &o, &card, err));
    assert_true(card.vram_bytes > 7000000000u);
}

/* The configuration file has the key, for all and for a rung. */
static void test_file(void **state) {
    (void)state;
    char path[4096];
    nr_ladder_file file;
    fixture_temp_dir(temp);
    FILE *f = fopen(fixture_path(path, "%s/config.json", temp), "w");
    assert_non_null(f);
    fputs("{\"device\": \"auto\", \"max_vram\": \"8GB\", \"rungs\": [{\"model\": \"a\"}, "
          "{\"model\": \"b\", \"device\": \"cpu\", \"max_vram\": 0}]}",
          f);
    fclose(f);
    MUST(nr_ladder_file_read(path, NULL, &file, err));
    assert_string_equal(file.rungs[0].options.device, "auto");
    assert_int_equal(file.rungs[0].options.vram_bytes_max, 8000000000u);
    assert_string_equal(file.rungs[1].options.device, "cpu");
    assert_int_equal(file.rungs[1].options.vram_bytes_max, 0);
    nr_ladder_file_free(&file);
    fixture_remove_tree(temp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_default_is_cpu),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_auto),
        cmocka_unit_test(test_plan),     cmocka_unit_test(test_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
