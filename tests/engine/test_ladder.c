/* SPDX-License-Identifier: MIT
 *
 * test_ladder.c - for every rung and every way a rung can fail, the next one answers or the refusal
 * names the cause; what failed leaves no block and no page. The configuration file; the self-test;
 * kernels.
 */
#include "engine_fixture.h"

#include "nr_alloc.h"
#include "spoil.h"

#include <jansson.h>

#define MODELS 3 /* a sound checkpoint for each rung */

static char sound[MODELS][4096];
static nr_ladder_report report; /* large */

static int set_up(void **state) {
    if (fixture_make_temp(state) != 0) return -1;
    for (int i = 0; i < MODELS; i++)
        fixture_make_checkpoint("tiny", fixture_path(sound[i], "%s/sound-%d", temp, i),
                                "--shard-bytes 300000");
    return 0;
}

/* ---- ways to fail: each prepares a rung, and undoes nothing of the sound ones */

typedef struct way {
    const char *name;
    nr_cause cause;
    nr_status status;
    const char *word; /* in the message */
    const char *make; /* options of make_checkpoint */
} way;

#define SHARDS "--shard-bytes 300000"
static const way ways[] = {
    {"folder", NR_CAUSE_MISSING, NR_STATUS_NOT_FOUND, "no such folder", ""},
    {"shard", NR_CAUSE_MISSING, NR_STATUS_NOT_FOUND, "model-00002", SHARDS},
    {"cut", NR_CAUSE_CORRUPT, NR_STATUS_FORMAT, "model-00002", SHARDS},
    {"config", NR_CAUSE_CORRUPT, NR_STATUS_FORMAT, "config.json", ""},
    {"nan", NR_CAUSE_CORRUPT, NR_STATUS_NOT_FINITE, "language_model.model.norm.weight", ""},
    {"type", NR_CAUSE_UNSUPPORTED, NR_STATUS_UNSUPPORTED, "lava", ""},
    {"ceiling", NR_CAUSE_DOES_NOT_FIT, NR_STATUS_CEILING, ": 1 bytes short", ""},
    {"silent", NR_CAUSE_SELF_TEST, NR_STATUS_SELF_TEST, "empty", "--dtype f32"},
    {"special", NR_CAUSE_SELF_TEST, NR_STATUS_SELF_TEST, "no text", "--dtype f32"},
    {"overflow", NR_CAUSE_SELF_TEST, NR_STATUS_SELF_TEST, "logit", "--dtype f32"}};

/* Equal logits: the answer is id 0 for ever, a special token; or, as a stop token, nothing. */
static void make_silent(const char *dir, bool stop) {
    char path[4096];
    static const char eos[] = "{\"eos_token_id\": 0}";
    spoil_fill(dir, "language_model.lm_head.weight", 0.0f);
    fixture_path(path, "%s/generation_config.json", dir);
    if (stop) fixture_write_file(path, eos, sizeof eos - 1);
}

/* Finite weights, infinite logits. */
static void make_overflow(const char *dir, nr_rung *rung) {
    rung->options.precision = NR_PRECISION_F32;
    spoil_fill(dir, "language_model.model.norm.weight", 1e30f);
    spoil_fill(dir, "language_model.lm_head.weight", 1e30f);
}

/* A rung that fails in this way: a damaged copy, or a sound one with impossible options. */
static void spoil(nr_rung *rung, const way *w, const char *dir) {
    char path[4096];
    nr_memory_plan plan;
    rung->model_dir = dir;
    if (strcmp(w->name, "folder") == 0) return;
    fixture_make_checkpoint("tiny", dir, w->make);
    if (strcmp(w->name, "shard") == 0)
        unlink(fixture_path(path, "%s/model-00002-of-00003.safetensors", dir));
    if (strcmp(w->name, "cut") == 0) spoil_cut(dir, "model-00002-of-00003.safetensors", 100);
    if (strcmp(w->name, "config") == 0) spoil_cut(dir, "config.json", 5);
    if (strcmp(w->name, "nan") == 0) spoil_value(dir, "language_model.model.norm.weight", 0x7e00);
    if (strcmp(w->name, "type") == 0) spoil_edit(dir, "config.json", "\"llava\"", "\"lava\"");
    if (strcmp(w->name, "silent") == 0) make_silent(dir, true);
    if (strcmp(w->name, "special") == 0) make_silent(dir, false);
    if (strcmp(w->name, "ceiling") == 0) {
        MUST(nr_memory_plan_read(dir, &rung->options, &plan, err));
        rung->options.ram_bytes_max = plan.total_bytes - 1;
    }
    if (strcmp(w->name, "overflow") == 0) make_overflow(dir, rung);
}

static nr_rung rung_of(const char *dir) {
    nr_rung rung = {.model_dir = dir, .options = nr_engine_options_default()};
    rung.options.n_threads = 1;
    return rung;
}

static void check_answers(nr_engine *engine, int32_t chosen) {
    nr_self_test t;
    assert_int_equal(report.chosen, chosen);
    assert_true(report.degraded == (chosen > 0));
    assert_true(report.reason[0] != '\0');
    assert_string_equal(nr_engine_get_info(engine).model, report.rungs[chosen].model);
    assert_true(report.rungs[chosen].self_test.passed);
    assert_true(report.rungs[chosen].planned && report.rungs[chosen].load_ms > 0);
    MUST(nr_engine_self_test(engine, &t, err));
    assert_string_equal(t.preview, report.rungs[chosen].self_test.preview);
}

static void check_cause(const nr_rung_report *r, const way *w) {
    if (r->cause != w->cause || r->error.status != w->status || !strstr(r->error.message, w->word))
        fail_msg("%s: %s, %s (%s)", w->name, nr_cause_name(r->cause),
                 nr_status_name(r->error.status), r->error.message);
    assert_non_null(strstr(report.reason, nr_cause_name(w->cause)));
}

/* One way at rung 0, 1 and 2 of three. */
static void check_way(const way *w) {
    char dir[4096];
    nr_rung bad = rung_of(NULL);
    spoil(&bad, w, fixture_path(dir, "%s/%s", temp, w->name));
    for (int at = 0; at < MODELS; at++) {
        nr_rung rungs[MODELS];
        nr_engine *engine = NULL;
        for (int i = 0; i < MODELS; i++) rungs[i] = i <= at ? bad : rung_of(sound[i]);
        nr_alloc_stats before = nr_alloc_get_stats();
        nr_error problem = {0};
        nr_status status = nr_ladder_open(rungs, MODELS, NULL, &engine, &report, &problem);
        for (int i = 0; i <= at; i++) check_cause(&report.rungs[i], w);
        if (at < MODELS - 1) {
            assert_int_equal(status, NR_STATUS_OK);
            check_answers(engine, at + 1);
            for (int i = at + 2; i < MODELS; i++) assert_false(report.rungs[i].tried);
        } else {
            assert_int_equal(status, w->status);
            assert_non_null(strstr(problem.message, w->word));
            assert_int_equal(report.chosen, -1);
            assert_null(engine);
        }
        nr_engine_close(engine);
        assert_int_equal(nr_alloc_get_stats().live_count, before.live_count);
        assert_int_equal(nr_alloc_get_stats().page_bytes, before.page_bytes);
    }
}

static void test_every_way(void **state) {
    (void)state;
    for (size_t i = 0; i < NR_COUNT(ways); i++) check_way(&ways[i]);
}

/* When the second rung begins to load, nothing of the first is there. */
static uint64_t pages_seen;
static bool look(void *ctx, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    if (ctx && pages_seen == 0) pages_seen = nr_alloc_get_stats().page_bytes;
    return true;
}

static void test_one_model_at_a_time(void **state) {
    (void)state;
    nr_engine *engine;
    nr_rung rungs[2] = {rung_of(NULL), rung_of(sound[0])};
    char dir[4096];
    spoil(&rungs[0], &ways[7], fixture_path(dir, "%s/one", temp)); /* fails after loading */
    rungs[1].options.progress = look;
    rungs[1].options.progress_ctx = &pages_seen;
    uint64_t before = nr_alloc_get_stats().page_bytes;
    MUST(nr_ladder_open(rungs, 2, NULL, &engine, &report, err));
    assert_int_equal(pages_seen - before, report.rungs[1].plan.weights_bytes);
    nr_engine_close(engine);
}

static void test_policy(void **state) {
    (void)state;
    nr_engine *engine = NULL;
    nr_error problem = {0};
    nr_rung rungs[2] = {rung_of("/no/such/model"), rung_of(sound[1])};
    nr_ladder_policy policy = nr_ladder_policy_default();
    policy.refuse[NR_CAUSE_MISSING] = true;
    assert_int_equal(nr_ladder_open(rungs, 2, &policy, &engine, &report, &problem),
                     NR_STATUS_NOT_FOUND);
    assert_false(report.rungs[1].tried);
    assert_null(engine);
    policy.refuse[NR_CAUSE_MISSING] = false;
    policy.self_test = false;
    MUST(nr_ladder_open(rungs, 2, &policy, &engine, &report, err));
    assert_int_equal(report.chosen, 1);
    assert_false(report.rungs[1].self_test.passed);
    nr_engine_close(engine);
    rungs[0] = rung_of(sound[0]);
    MUST(nr_ladder_open(rungs, 2, NULL, &engine, &report, err));
    check_answers(engine, 0);
    nr_engine_close(engine);
    engine = NULL;
    rungs[0].options.cpu_kernels = "sse9"; /* the caller's mistake: no other rung hides it */
    assert_int_equal(nr_ladder_open(rungs, 2, NULL, &engine, &report, NULL), NR_STATUS_ARG);
    assert_false(report.rungs[1].tried);
    assert_int_equal(nr_ladder_open(rungs, 0, NULL, &engine, &report, NULL), NR_STATUS_ARG);
    policy.struct_bytes = 1;
    assert_int_equal(nr_ladder_open(rungs, 1, &policy, &engine, &report, NULL), NR_STATUS_ARG);
}

/* Reasons are cut between characters, so that they stay UTF-8 whatever folders are called. */
static void test_long_names(void **state) {
    (void)state;
    char dir[1024] = "/no/";
    nr_engine *engine = NULL;
    nr_rung rungs[NR_RUNGS_MAX];
    for (size_t n = strlen(dir); n + 3 < sizeof dir; n += 2) memcpy(dir + n, "\xc3\xa9", 3);
    for (int i = 0; i < NR_RUNGS_MAX; i++) rungs[i] = rung_of(dir);
    assert_int_equal(nr_ladder_open(rungs, NR_RUNGS_MAX, NULL, &engine, &report, NULL),
                     NR_STATUS_NOT_FOUND);
    assert_true(strlen(report.reason) > 100);
    json_t *text = json_string(report.reason); /* NULL where it is not UTF-8 */
    assert_non_null(text);
    json_decref(text);
    text = json_string(report.rungs[0].model);
    assert_non_null(text);
    json_decref(text);
}

/* Each allocation of the first rung is refused in turn: the second answers. */
static void test_refused_memory(void **state) {
    (void)state;
    nr_rung rungs[2] = {rung_of(sound[0]), rung_of(sound[1])};
    uint64_t step = getenv("NR_TEST_FULL") ? 1 : 23, n_second = 0;
    nr_engine *warm = NULL;
    MUST(nr_ladder_open(rungs, 2, NULL, &warm, &report, err));
    nr_engine_close(warm);
    nr_alloc_stats before = nr_alloc_get_stats();
    for (uint64_t n = 1;; n += step) {
        nr_engine *engine = NULL;
        nr_error problem = {0};
        nr_alloc_fail_nth(n, false);
        nr_status status = nr_ladder_open(rungs, 2, NULL, &engine, &report, &problem);
        bool happened = nr_alloc_fail_happened();
        nr_alloc_fail_nth(0, false);
        if (status != NR_STATUS_OK) fail_msg("%llu: %s", (unsigned long long)n, problem.message);
        if (report.chosen == 1) {
            assert_int_equal(report.rungs[0].cause, NR_CAUSE_DOES_NOT_FIT);
            n_second++;
        }
        nr_engine_close(engine);
        assert_int_equal(nr_alloc_get_stats().live_count, before.live_count);
        assert_int_equal(nr_alloc_get_stats().page_bytes, before.page_bytes);
        if (!happened) break;
    }
    assert_true(n_second > 10);
}

/* ---- configuration file */

static void write_config(char path[4096], const char *text) {
    fixture_write_file(fixture_path(path, "%s/newsreader.json", temp), text, strlen(text));
}

static void test_file(void **state) {
    (void)state;
    char path[4096], expected[4096];
    nr_ladder_file file = {0};
    nr_engine_options base = nr_engine_options_default();
    base.n_threads = 1;
    write_config(path, "{\"rungs\": [{\"model\": \"sound-0\", \"dtype\": \"f32\", \"context\": 64},"
                       " {\"model\": \"/abs/B\", \"max_ram\": \"1.5GB\", \"kv\": \"int8\"}],"
                       " \"max_ram\": 5000000000, \"slots\": 2, \"image_cache\": 7,"
                       " \"max_pixels\": 1000000, \"self_test\": false,"
                       " \"policy\": {\"missing\": \"refuse\", \"self_test\": \"next\"},"
                       " \"server\": {\"anything\": 1}}");
    MUST(nr_ladder_file_read(path, &base, &file, err));
    assert_int_equal(file.n_rungs, 2);
    assert_string_equal(file.rungs[0].model_dir, fixture_path(expected, "%s/sound-0", temp));
    assert_string_equal(file.rungs[1].model_dir, "/abs/B");
    const nr_engine_options *a = &file.rungs[0].options, *b = &file.rungs[1].options;
    assert_int_equal(a->precision, NR_PRECISION_F32);
    assert_int_equal(a->context_tokens, 64);
    assert_int_equal(a->ram_bytes_max, 5000000000);
    assert_int_equal(a->n_threads, 1);
    assert_int_equal(b->precision, NR_PRECISION_INT8);
    assert_int_equal(b->kv, NR_KV_INT8);
    assert_int_equal(b->ram_bytes_max, 1500000000);
    assert_int_equal(b->n_slots, 2);
    assert_int_equal(b->image_cache, 7);
    assert_int_equal(b->picture_pixels_max, 1000000);
    assert_false(file.policy.self_test);
    assert_true(file.policy.refuse[NR_CAUSE_MISSING]);
    assert_false(file.policy.refuse[NR_CAUSE_SELF_TEST]);
    nr_ladder_file_free(&file);
    assert_null(file.owned);
}

static void test_file_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
        nr_status status;
    } bad[] = {
        {"{}", "rungs", NR_STATUS_FORMAT},
        {"{\"rungs\": []}", "rungs", NR_STATUS_FORMAT},
        {"[1]", "", NR_STATUS_FORMAT},
        {"{\"rungs\": [{\"model\": 3}]}", "model", NR_STATUS_FORMAT},
        {"{\"rungs\": [{\"modell\": \"a\"}]}", "model", NR_STATUS_FORMAT},
        {"{\"rungs\": [{\"model\": \"a\", \"contxt\": 3}]}", "contxt", NR_STATUS_FORMAT},
        {"{\"rungs\": [{\"model\": \"a\"}], \"maxram\": 3}", "maxram", NR_STATUS_FORMAT},
        {"{\"rungs\": [{\"model\": \"a\"}], \"max_ram\": \"5 apples\"}", "apples",
         NR_STATUS_FORMAT},
        {"{\"rungs\": [{\"model\": \"a\", \"dtype\": \"int3\"}]}", "int3", NR_STATUS_UNSUPPORTED},
        {"{\"rungs\": [{\"model\": \"a\"}], \"policy\": {\"missing\": \"panic\"}}", "panic",
         NR_STATUS_UNSUPPORTED},
        {"{\"rungs\": [{\"model\": \"a\"}], \"policy\": {\"lost\": \"next\"}}", "lost",
         NR_STATUS_FORMAT},
        {"{\"rungs\": [{\"model\": \"a\"}]", "", NR_STATUS_FORMAT},
        {"{\"rungs\": [{\"model\": \"a\"}], \"slots\": -3}", "slots", NR_STATUS_LIMIT}};
    char path[4096];
    for (size_t i = 0; i < NR_COUNT(bad); i++) {
        nr_ladder_file file = {0};
        nr_error problem = {0};
        write_config(path, bad[i].text);
        uint64_t live = nr_alloc_get_stats().live_count;
        nr_status status = nr_ladder_file_read(path, NULL, &file, &problem);
        if (status != bad[i].status || !strstr(problem.message, bad[i].word))
            fail_msg("%s: %s (%s)", bad[i].text, nr_status_name(status), problem.message);
        assert_int_equal(nr_alloc_get_stats().live_count, live);
    }
    nr_ladder_file file = {0};
    assert_int_equal(nr_ladder_file_read("/no/such/file", NULL, &file, NULL), NR_STATUS_NOT_FOUND);
}

/* ---- kernels */

static void test_kernels(void **state) {
    (void)state;
    static const char *const names[] = {"scalar", "avx2", "avx512vnni", "amx", "neon"};
    nr_engine_options o = nr_engine_options_default();
    int n_run = 0;
    MUST(nr_kernel_test(NULL, err));
    for (size_t i = 0; i < NR_COUNT(names); i++) {
        nr_error problem = {0};
        o.cpu_kernels = names[i];
        nr_status status = nr_kernel_test(&o, &problem);
        n_run += status == NR_STATUS_OK;
        if (status != NR_STATUS_OK && status != NR_STATUS_UNSUPPORTED && status != NR_STATUS_ARG)
            fail_msg("%s: %s", names[i], problem.message);
    }
    assert_true(n_run >= 1);
    o.cpu_kernels = "sse9";
    assert_int_equal(nr_kernel_test(&o, NULL), NR_STATUS_ARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way),    cmocka_unit_test(test_one_model_at_a_time),
        cmocka_unit_test(test_policy),       cmocka_unit_test(test_refused_memory),
        cmocka_unit_test(test_long_names),   cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_refused), cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, set_up, fixture_remove_temp);
}
