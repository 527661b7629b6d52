/* SPDX-License-Identifier: MIT
 *
 * test_cuda_engine.c - the bundled model on the card, whole and split between the card and the CPU:
 * the answers of the CPU, memory as planned and nothing more however many questions come. Skips
 * visibly where there is no card.
 */
#include "../engine/engine_fixture.h"

static const char model[] = "models/reader";
static const char *const pictures[] = {"samples/harbour-courier.png", "samples/northwind-daily.png",
                                       "samples/valley-gazette.png"};
static const char *const questions[] = {"What is the headline?", "Who wrote it?",
                                        "What site or paper is it?", "When was it published?",
                                        "Read the first paragraph."};

static nr_engine_options on(const char *device) {
    nr_engine_options o = nr_engine_options_default();
    o.device = device;
    return o;
}

static void need_card(void) {
    nr_engine *engine = NULL;
    nr_error problem = {0};
    nr_engine_options o = on("cuda:0");
    nr_status status = nr_engine_open(model, &o, &engine, &problem);
    nr_engine_close(engine);
    if (status == NR_STATUS_OK) return;
    print_message("skipped: %s\n", problem.message);
    if (status == NR_STATUS_UNSUPPORTED) skip();
    fail();
}

static void ask(nr_session *session, const char *question, char answer[4096]) {
    nr_step step = {0};
    size_t used = 0;
    MUST(nr_session_ask(session, question, NULL, err));
    while (!step.done) {
        MUST(nr_session_step(session, &step, err));
        assert_true(used + step.n_bytes < 4096);
        memcpy(answer + used, step.text, step.n_bytes);
        used += step.n_bytes;
    }
    answer[used] = '\0';
}

/* Answers with these options, on the CPU and on the card. */
static void compare(nr_engine_options both, int32_t gpu_layers, nr_vision_place vision) {
    nr_engine *engines[2];
    nr_session *sessions[2];
    static char answers[2][4096];
    int n_equal = 0, n = 0;
    need_card();
    for (int i = 0; i < 2; i++) {
        nr_engine_options o = both;
        o.device = i ? "cuda:0" : "cpu";
        o.gpu_layers = i ? gpu_layers : NR_GPU_LAYERS_AUTO;
        o.vision = i ? vision : NR_VISION_AUTO;
        MUST(nr_engine_open(model, &o, &engines[i], err));
        MUST(nr_session_create(engines[i], &sessions[i], err));
    }
    for (size_t p = 0; p < NR_COUNT(pictures); p++) {
        nr_picture *picture = NULL;
        MUST(nr_picture_read_file(pictures[p], &picture, err));
        for (int i = 0; i < 2; i++)
            MUST(nr_session_set_picture(sessions[i], picture, NR_FIT_AUTO, err));
        nr_picture_free(picture);
        for (size_t q = 0; q < NR_COUNT(questions); q++, n++) {
            for (int i = 0; i < 2; i++) ask(sessions[i], questions[q], answers[i]);
            if (strcmp(answers[0], answers[1]) == 0)
                n_equal++;
            else
                print_message("%s: %s\n  cpu   %s\n  cuda  %s\n", pictures[p], questions[q],
                              answers[0], answers[1]);
        }
    }
    nr_memory_plan plan = nr_engine_get_plan(engines[1]);
    assert_int_equal(nr_device_usage_get(engines[1]).reserved_bytes, plan.vram_bytes);
    print_message("%s: %d of %d answers are the CPU's\n",
                  *plan.placement ? plan.placement : "all on the card", n_equal, n);
    for (int i = 0; i < 2; i++) {
        nr_session_free(sessions[i]);
        nr_engine_close(engines[i]);
    }
    assert_int_equal(n_equal, n);
}

static void test_answers_int8(void **state) {
    (void)state;
    compare(on(NULL), NR_GPU_LAYERS_ALL, NR_VISION_AUTO);
}

static void test_answers_f16_cache(void **state) {
    (void)state;
    nr_engine_options o = on(NULL);
    o.kv = NR_KV_F16;
    compare(o, NR_GPU_LAYERS_ALL, NR_VISION_AUTO);
}

static void test_answers_f32(void **state) {
    (void)state;
    nr_engine_options o = on(NULL);
    o.precision = NR_PRECISION_F32;
    compare(o, NR_GPU_LAYERS_ALL, NR_VISION_AUTO);
}

/* A few of the splits; tests/engine/test_split.c has all of them without a card. */
static void test_answers_split(void **state) {
    (void)state;
    compare(on(NULL), 3, NR_VISION_CPU);
    compare(on(NULL), 1, NR_VISION_GPU);
    compare(on(NULL), 0, NR_VISION_GPU);
    compare(on(NULL), 6, NR_VISION_CPU);
}

/* Reserved is planned, to the byte; the card is as full after many questions as after the second
 * round of them, when every graph was made. */
static void test_memory(void **state) {
    (void)state;
    nr_engine *engine = NULL;
    nr_session *session = NULL;
    nr_engine_options o = on("cuda:0");
    static char answer[4096];
    uint64_t used_bytes = 0;
    need_card();
    o.image_cache = 2;
    MUST(nr_engine_open(model, &o, &engine, err));
    MUST(nr_session_create(engine, &session, err));
    for (int round = 0; round < 4; round++) {
        nr_picture *picture = NULL;
        MUST(nr_picture_read_file(pictures[round % 3], &picture, err));
        MUST(nr_session_set_picture(session, picture, NR_FIT_AUTO, err));
        nr_picture_free(picture);
        for (size_t q = 0; q < NR_COUNT(questions); q++) ask(session, questions[q], answer);
        nr_device_usage d = nr_device_usage_get(engine);
        assert_int_equal(d.reserved_bytes, nr_engine_get_plan(engine).vram_bytes);
        print_message(
            "round %d: reserved %llu, planned %llu, context %llu, process %llu, card %llu "
            "of %llu bytes\n",
            round, (unsigned long long)d.reserved_bytes,
            (unsigned long long)nr_engine_get_plan(engine).vram_bytes,
            (unsigned long long)d.context_bytes, (unsigned long long)d.process_bytes,
            (unsigned long long)d.used_bytes, (unsigned long long)d.total_bytes);
        if (round == 1) used_bytes = d.process_bytes;
        if (round > 1) assert_int_equal(d.process_bytes, used_bytes);
    }
    nr_session_free(session);
    nr_engine_close(engine);
}

static void test_ceiling(void **state) {
    (void)state;
    nr_engine *engine = NULL;
    nr_error problem = {0};
    nr_memory_plan plan;
    nr_engine_options o = on("cuda:0");
    need_card();
    MUST(nr_memory_plan_read(model, &o, &plan, err));
    o.vram_bytes_max = plan.vram_bytes - 1;
    MUST(nr_engine_open(model, &o, &engine, err)); /* with a part of it on the CPU */
    assert_string_not_equal(nr_engine_get_info(engine).placement, "");
    assert_true(nr_device_usage_get(engine).reserved_bytes <= o.vram_bytes_max);
    nr_engine_close(engine);
    o.gpu_layers = NR_GPU_LAYERS_ALL;
    assert_int_equal(nr_engine_open(model, &o, &engine, &problem), NR_STATUS_CEILING);
    assert_non_null(strstr(problem.message, "1 bytes short"));
    o.vram_bytes_max = plan.vram_bytes;
    MUST(nr_engine_open(model, &o, &engine, err));
    nr_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_int8), cmocka_unit_test(test_answers_f16_cache),
        cmocka_unit_test(test_answers_f32), cmocka_unit_test(test_answers_split),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_ceiling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
