/* SPDX-License-Identifier: MIT
 *
 * test_placement.c - which part of a model goes to the card: the most that the ceiling and the
 * card's free memory hold, never more, and said; by hand; all or nothing; down to what no ceiling
 * can hold, which is refused with both numbers. With far_device.h for a card.
 */
#include "engine_fixture.h"

#include "engine_internal.h"
#include "far_device.h"

static char tiny[4096], blip2[4096];

static int set_up(void **state) {
    if (fixture_make_temp(state) != 0) return -1;
    fixture_make_checkpoint("tiny", fixture_path(tiny, "%s/tiny", temp), "");
    fixture_make_checkpoint("blip2-tiny", fixture_path(blip2, "%s/blip2-tiny", temp), "");
    return 0;
}

static nr_engine_options on_card(void) {
    nr_engine_options o = nr_engine_options_default();
    o.device = "cuda:0";
    o.n_threads = 1;
    return o;
}

static nr_memory_plan plan_of(const char *model, const nr_engine_options *o) {
    nr_memory_plan p;
    MUST(nr_memory_plan_read(model, o, &p, err));
    return p;
}

static bool is_whole(const nr_memory_plan *p) {
    return p->n_layers_on_card == p->n_layers && *p->placement == '\0';
}

/* The placement by hand that has one thing more on the card than this one. */
static nr_engine_options one_more(const nr_memory_plan *p, bool has_vision) {
    nr_engine_options o = on_card();
    bool tower = has_vision && p->n_layers_on_card == p->n_layers;
    o.gpu_layers = tower ? p->n_layers : p->n_layers_on_card + 1;
    o.vision = tower ? NR_VISION_GPU : NR_VISION_CPU;
    return o;
}

static void check_sums(const nr_memory_plan *p) {
    uint64_t card = 0, weights = 0, stays = 0;
    for (int i = 0; i < p->n_parts; i++) {
        const nr_memory_part *part = &p->parts[i];
        if (part->passing) continue;
        stays += part->bytes;
        if (part->on_device) card += part->bytes;
        if (strncmp(part->name, "weights", 7) == 0) weights += part->bytes;
    }
    assert_int_equal(card, p->vram_bytes);
    assert_int_equal(weights, p->weights_bytes);
    assert_int_equal(stays, p->resident_bytes);
    assert_int_equal(p->ram_bytes + p->vram_bytes, p->total_bytes);
    assert_true(p->total_bytes >= p->resident_bytes);
}

static void check_note(const nr_memory_plan *p, uint64_t ceiling, uint64_t whole) {
    char text[64];
    snprintf(text, sizeof text, "%llu bytes of VRAM do not hold %llu", (unsigned long long)ceiling,
             (unsigned long long)whole);
    if (!strstr(p->placement, text)) fail_msg("%s: no \"%s\"", p->placement, text);
    snprintf(text, sizeof text, "%d of %d layers", p->n_layers - p->n_layers_on_card, p->n_layers);
    assert_true(p->n_layers_on_card == p->n_layers || strstr(p->placement, text));
}

/* At every ceiling from all to nothing: what is planned fits and nothing more would, or it is the
 * smallest that there is. */
static void sweep(const char *model, bool has_vision, int n_steps) {
    nr_engine_options o = on_card();
    nr_memory_plan whole = plan_of(model, &o);
    int32_t layers = whole.n_layers;
    int n_kinds = 0;
    assert_true(is_whole(&whole));
    for (int i = 0; i <= n_steps; i++) {
        o.vram_bytes_max = whole.vram_bytes - whole.vram_bytes / (uint64_t)n_steps * (uint64_t)i;
        if (o.vram_bytes_max == 0) break;
        nr_memory_plan p = plan_of(model, &o);
        check_sums(&p);
        bool smallest = p.n_layers_on_card == 1 && !p.vision_on_card;
        assert_true(p.vram_bytes <= o.vram_bytes_max || smallest);
        assert_true(p.n_layers_on_card <= layers && p.n_layers_on_card >= 1);
        assert_true(!p.vision_on_card || p.n_layers_on_card == p.n_layers);
        assert_int_equal(is_whole(&p), o.vram_bytes_max >= whole.vram_bytes);
        n_kinds += p.n_layers_on_card < layers;
        layers = p.n_layers_on_card;
        if (is_whole(&p)) continue;
        check_note(&p, o.vram_bytes_max, whole.vram_bytes);
        nr_engine_options more = one_more(&p, has_vision);
        assert_true(plan_of(model, &more).vram_bytes > o.vram_bytes_max);
    }
    assert_int_equal(layers, 1); /* all of them were seen */
    assert_true(n_kinds >= NR_MIN(whole.n_layers, n_steps) / 2);
}

static void test_every_ceiling(void **state) {
    (void)state;
    sweep("models/reader", true, 24);
    sweep("llava-1.5-7b", true, 60);
    sweep("blip2-opt-2.7b", true, 60);
    sweep("llama-3-8b", false, 60);
}

/* The tower is kept on the card, or off it, where that was asked for; then only layers leave. */
static void test_tower_by_hand(void **state) {
    (void)state;
    for (int gpu = 0; gpu < 2; gpu++) {
        nr_engine_options o = on_card();
        o.vision = gpu ? NR_VISION_GPU : NR_VISION_CPU;
        nr_memory_plan whole = plan_of("llava-1.5-7b", &o);
        assert_int_equal(whole.n_layers_on_card, whole.n_layers);
        for (uint64_t eighth = 8; eighth > 0; eighth--) {
            o.gpu_layers = NR_GPU_LAYERS_AUTO;
            o.vram_bytes_max = whole.vram_bytes / 8 * eighth;
            nr_memory_plan p = plan_of("llava-1.5-7b", &o);
            assert_int_equal(p.vision_on_card, gpu == 1);
            assert_true(p.vram_bytes <= o.vram_bytes_max && p.n_layers_on_card > 0);
            if (p.n_layers_on_card == p.n_layers) continue;
            o.gpu_layers = p.n_layers_on_card + 1;
            assert_true(plan_of("llava-1.5-7b", &o).vram_bytes > o.vram_bytes_max);
        }
    }
}

/* Kept to the byte, by the smallest too; below it both numbers are in the refusal. */
static void test_to_the_byte(void **state) {
    static const char model[] = "models/reader";
    nr_engine *engine = NULL;
    nr_error problem = {0};
    char text[128];
    nr_engine_options o = on_card();
    (void)state;
    o.gpu_layers = 1;
    o.vision = NR_VISION_CPU;
    nr_memory_plan least = plan_of(model, &o);
    assert_non_null(strstr(least.placement, "as asked"));
    o = on_card();
    o.vram_bytes_max = least.vram_bytes;
    nr_memory_plan most = plan_of(model, &o); /* pages of 2 MiB may hold more than the least */
    MUST(nr_engine_open(model, &o, &engine, err));
    nr_memory_plan p = nr_engine_get_plan(engine);
    assert_int_equal(p.vram_bytes, least.vram_bytes);
    assert_int_equal(p.ram_bytes, most.ram_bytes);
    assert_true(p.ram_bytes <= least.ram_bytes);
    nr_engine_info info = nr_engine_get_info(engine);
    assert_string_equal(info.placement, p.placement);
    assert_non_null(strstr(info.device_note, p.placement));
    assert_non_null(strstr(info.kernels, "far, "));
    nr_engine_close(engine);
    o.vram_bytes_max--;
    assert_int_equal(nr_engine_open(model, &o, &engine, &problem), NR_STATUS_CEILING);
    snprintf(text, sizeof text, "plan of %llu bytes on the card, with 1 of 6 layers there, "
             "ceiling of %llu: 1 bytes short", (unsigned long long)least.vram_bytes,
             (unsigned long long)o.vram_bytes_max);
    if (!strstr(problem.message, text)) fail_msg("%s: no \"%s\"", problem.message, text);
}

/* All, or the plan is refused; which the next model of a ladder may be glad of. */
static void test_all_or_nothing(void **state) {
    nr_engine *engine = NULL;
    nr_error problem = {0};
    nr_engine_options o = on_card();
    static nr_ladder_report report;
    nr_ladder_policy policy = nr_ladder_policy_default();
    (void)state;
    o.gpu_layers = NR_GPU_LAYERS_ALL;
    nr_memory_plan whole = plan_of("models/reader", &o);
    o.vram_bytes_max = whole.vram_bytes;
    assert_true(is_whole(&whole));
    nr_memory_plan p = plan_of("models/reader", &o);
    assert_true(is_whole(&p));
    o.vram_bytes_max--;
    assert_int_equal(nr_engine_open("models/reader", &o, &engine, &problem), NR_STATUS_CEILING);
    assert_non_null(strstr(problem.message, "with 6 of 6 layers there"));
    policy.self_test = false;
    nr_rung rungs[] = {{"models/reader", o}, {tiny, o}};
    MUST(nr_ladder_open(rungs, 2, &policy, &engine, &report, err));
    assert_int_equal(report.chosen, 1);
    assert_int_equal(report.rungs[0].cause, NR_CAUSE_DOES_NOT_FIT);
    nr_engine_close(engine);
    rungs[0].options.gpu_layers = NR_GPU_LAYERS_AUTO;
    MUST(nr_ladder_open(rungs, 2, &policy, &engine, &report, err));
    assert_int_equal(report.chosen, 0);
    assert_string_not_equal(nr_engine_get_info(engine).placement, "");
    nr_engine_close(engine);
}

/* Without a ceiling: what is free, less a little. */
static void test_free_memory(void **state) {
    nr_engine *engine = NULL;
    nr_engine_options o = on_card();
    (void)state;
    nr_memory_plan whole = plan_of("models/reader", &o);
    far.total_bytes = (uint64_t)1 << 30;
    far.free_bytes = whole.vram_bytes + NR_CUDA_SPARE_BYTES;
    nr_memory_plan p = plan_of("models/reader", &o);
    assert_true(is_whole(&p));
    far.free_bytes--;
    p = plan_of("models/reader", &o);
    assert_false(is_whole(&p));
    check_note(&p, whole.vram_bytes - 1, whole.vram_bytes);
    o.device = "auto";
    MUST(nr_engine_open("models/reader", &o, &engine, err));
    nr_engine_info info = nr_engine_get_info(engine);
    assert_string_equal(info.device, "cuda:0");
    assert_non_null(strstr(info.device_note, "auto: cuda:0, Far device"));
    assert_non_null(strstr(info.device_note, "of VRAM do not hold"));
    nr_engine_close(engine);
    far.free_bytes = 1000; /* not even the smallest */
    MUST(nr_engine_open("models/reader", &o, &engine, err));
    info = nr_engine_get_info(engine);
    assert_string_equal(info.device, "cpu");
    assert_non_null(strstr(info.device_note, "1000 are free"));
    assert_string_equal(info.placement, "");
    nr_engine_close(engine);
    far.total_bytes = far.free_bytes = 0;
}

static void expect_refusal(const char *model, const nr_engine_options *o, nr_status status,
                           const char *text) {
    nr_engine *engine = NULL;
    nr_error problem = {0};
    nr_memory_plan p;
    assert_int_equal(nr_engine_open(model, o, &engine, &problem), status);
    if (!strstr(problem.message, text)) fail_msg("%s: no \"%s\"", problem.message, text);
    assert_int_equal(nr_memory_plan_read(model, o, &p, &problem), status);
    assert_int_equal(far.n_open, 0);
}

static void test_by_hand(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *model = i ? blip2 : tiny;
        nr_engine_options o = on_card();
        o.gpu_layers = 99; /* more than there are: all */
        nr_memory_plan p = plan_of(model, &o);
        assert_true(is_whole(&p) && p.vision_on_card);
        o.gpu_layers = 0;
        p = plan_of(model, &o);
        assert_true(p.n_layers_on_card == 0 && p.vision_on_card);
        assert_true(strncmp(p.placement, "the vision tower on cuda:0, all 3 layers on the CPU: as "
                            "asked", 55) == 0);
        o.vision = NR_VISION_CPU;
        expect_refusal(model, &o, NR_STATUS_ARG, "no layer on the card and no vision tower either");
        o.gpu_layers = 2;
        p = plan_of(model, &o);
        assert_string_equal(p.placement, "2 of 3 layers on cuda:0, 1 of 3 layers and the vision "
                            "tower on the CPU: as asked");
        o.gpu_layers = -3;
        expect_refusal(model, &o, NR_STATUS_ARG, "-3");
    }
    nr_engine_options o = on_card();
    o.gpu_layers = 0;
    nr_memory_plan p;
    nr_error problem = {0};
    assert_int_equal(nr_memory_plan_read("llama-3-8b", &o, &p, &problem), NR_STATUS_ARG);
    o.device = "cpu";
    expect_refusal(tiny, &o, NR_STATUS_UNSUPPORTED, "the device is the CPU");
    o.gpu_layers = NR_GPU_LAYERS_AUTO;
    o.vision = NR_VISION_CPU; /* where it is anyway */
    p = plan_of(tiny, &o);
    assert_int_equal(p.n_layers_on_card, 0);
}

static void test_words(void **state) {
    static const char *const bad[] = {"", "-1", "+1", "all ", "1.5", "9999999999", "gpu", "0x1"};
    static const char text[] =
        "{\"gpu_layers\": \"all\", \"rungs\": [{\"model\": \"a\"}, {\"model\": \"b\", "
        "\"gpu_layers\": 12, \"vision\": \"cpu\"}, {\"model\": \"c\", \"gpu_layers\": \"auto\"}]}";
    static const char wrong[] = "{\"gpu_layers\": \"some\", \"rungs\": [{\"model\": \"a\"}]}";
    char path[4096];
    nr_ladder_file file;
    nr_error problem = {0};
    int32_t n = 7;
    (void)state;
    for (size_t i = 0; i < NR_COUNT(bad); i++)
        assert_int_equal(nr_gpu_layers_parse(bad[i], &n, &problem), NR_STATUS_FORMAT);
    assert_int_equal(n, 7);
    fixture_write_file(fixture_path(path, "%s/config.json", temp), text, sizeof text - 1);
    MUST(nr_ladder_file_read(path, NULL, &file, err));
    assert_int_equal(file.rungs[0].options.gpu_layers, NR_GPU_LAYERS_ALL);
    assert_int_equal(file.rungs[1].options.gpu_layers, 12);
    assert_int_equal(file.rungs[1].options.vision, NR_VISION_CPU);
    assert_int_equal(file.rungs[2].options.gpu_layers, NR_GPU_LAYERS_AUTO);
    nr_ladder_file_free(&file);
    fixture_write_file(path, wrong, sizeof wrong - 1);
    assert_int_equal(nr_ladder_file_read(path, NULL, &file, &problem), NR_STATUS_FORMAT);
    assert_non_null(strstr(problem.message, "gpu_layers"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_ceiling), cmocka_unit_test(test_tower_by_hand),
        cmocka_unit_test(test_to_the_byte),   cmocka_unit_test(test_all_or_nothing),
        cmocka_unit_test(test_free_memory),   cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, set_up, fixture_remove_temp);
}
