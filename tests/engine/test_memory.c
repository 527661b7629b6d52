/* SPDX-License-Identifier: MIT
 *
 * test_memory.c - predicted and measured side by side; a process that reads picture after picture
 * and grows by no page; no allocation of ours for a request; a ceiling under an address-space
 * limit.
 *
 * Measured is what the page tables hold (smaps_rollup), not the kernel's rounded counters. With
 * sanitizers memory means something else: nothing is measured then.
 */
#include "engine_fixture.h"

#include "nr_limits.h"

#include <jansson.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEASURABLE 0
#else
#define MEASURABLE 1
#endif

static char tiny[4096], command[4096];

static int set_up(void **state) {
    char build[4096];
    if (fixture_make_temp(state) != 0) return -1;
    fixture_make_checkpoint("tiny", fixture_path(tiny, "%s/tiny", temp), "");
    fixture_build_dir(build);
    fixture_path(command, "%s/newsreader", build);
    return 0;
}

/* A line of smaps_rollup in bytes; skips where there is none. */
static uint64_t mapped(const char *key) {
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    if (!f || !MEASURABLE) {
        if (f) fclose(f);
        print_message("skipped: resident memory cannot be measured here\n");
        skip();
    }
    while (fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) sscanf(line + strlen(key), " %llu", &kib);
    fclose(f);
    return (uint64_t)kib * 1024;
}

typedef struct reader {
    nr_engine *engine;
    nr_session *session;
    nr_picture *picture;
} reader;

static reader open_reader(const char *model, const nr_engine_options *o) {
    reader r;
    MUST(nr_engine_open(model, o, &r.engine, err));
    MUST(nr_session_create(r.engine, &r.session, err));
    MUST(nr_picture_reserve(o->picture_pixels_max, &r.picture, err));
    return r;
}

static void close_reader(reader *r) {
    nr_picture_free(r->picture);
    nr_session_free(r->session);
    nr_engine_close(r->engine);
}

static void read_file(reader *r, const char *path, nr_fit fit, int32_t max_tokens) {
    nr_generation_options g = nr_generation_options_default();
    nr_step step = {0};
    g.max_tokens = max_tokens;
    g.ignore_stop = true;
    MUST(nr_picture_load_file(r->picture, path, err));
    MUST(nr_session_set_picture(r->session, r->picture, fit, err));
    MUST(nr_session_ask(r->session, "What is the headline?", &g, err));
    while (!step.done) MUST(nr_session_step(r->session, &step, err));
}

/* Private memory that a model, a session and a reading add, against the plan less the constant for
 * the process; the context is used to its end. Within 1 %. */
static void check_prediction(const char *model) {
    nr_engine_options o = nr_engine_options_default();
    o.picture_pixels_max = 2000000;
    o.n_threads = 2;
    free(malloc(1)); /* the heap itself is the process's */
    uint64_t before = mapped("Anonymous:");
    reader r = open_reader(model, &o);
    nr_memory_plan plan = nr_engine_get_plan(r.engine);
    read_file(&r, "tests/tiny/tiny/tall.png", NR_FIT_AUTO, plan.context_tokens);
    uint64_t measured = mapped("Anonymous:") - before;
    uint64_t predicted = plan.resident_bytes - plan.process_bytes;
    double error = ((double)measured - (double)predicted) / (double)predicted;
    print_message("%s: predicted %llu, measured %llu bytes: %+.2f %%\n", plan.model,
                  (unsigned long long)predicted, (unsigned long long)measured, 100 * error);
    assert_true(fabs(error) < 0.01);
    close_reader(&r);
}

static void test_prediction_reader(void **state) {
    (void)state;
    check_prediction("models/reader");
}

/* 440 MB of weights: 1 % is less than the process itself. */
static void test_prediction_middle(void **state) {
    (void)state;
    char dir[4096];
    if (!getenv("NR_TEST_FULL")) {
        print_message("skipped: only in make test-full\n");
        skip();
    }
    fixture_make_checkpoint("tiny", fixture_path(dir, "%s/middle", temp),
                            "text.hidden_size=1536 text.intermediate_size=4096 "
                            "text.num_hidden_layers=16 text.num_attention_heads=16 "
                            "text.num_key_value_heads=16 text.head_dim=96 text.vocab_size=8002 "
                            "base_tokens=8000");
    check_prediction(dir);
    nr_engine_options o = nr_engine_options_default();
    nr_self_test t;
    nr_engine *engine;
    o.picture_pixels_max = 2000000;
    MUST(nr_engine_open(dir, &o, &engine, err));
    MUST(nr_engine_self_test(engine, &t, err));
    nr_memory_plan plan = nr_engine_get_plan(engine);
    double error = (double)t.resident_bytes / (double)plan.resident_bytes - 1;
    print_message("the whole process: planned %llu, measured %llu bytes: %+.2f %%\n",
                  (unsigned long long)plan.resident_bytes, (unsigned long long)t.resident_bytes,
                  100 * error);
    assert_true(fabs(error) < 0.01);
    nr_engine_close(engine);
}

/* Every kind of file, upright and turned, large and small, over and over. */
static const char *const files[] = {"tests/data/image/small/420.jpg",
                                    "tests/data/image/small/progressive.jpg",
                                    "tests/data/image/small/exif6.jpg",
                                    "tests/data/image/small/c2b8i.png",
                                    "tests/data/image/small/lossless.webp",
                                    "tests/data/image/small/lossy.webp",
                                    "tests/data/image/small/plain.gif",
                                    "tests/data/image/small/cmyk.jpg",
                                    "tests/tiny/tiny/tall.png",
                                    "tests/tiny/tiny/wide.png",
                                    "samples/valley-gazette.png"};
#define N_FILES ((int)NR_COUNT(files))

static void test_flat(void **state) {
    (void)state;
    int n = getenv("NR_TEST_FULL") ? 10000 : 300, warm_up = 4 * N_FILES;
    nr_engine_options o = nr_engine_options_default();
    (void)mapped("Rss:"); /* or skip */
    o.picture_pixels_max = 2000000;
    o.image_cache = 3;
    o.n_threads = 2;
    reader r = open_reader(tiny, &o);
    nr_memory_usage warm = {0};
    uint64_t resident = 0;
    for (int i = 0; i < n; i++) {
        if (i == warm_up) {
            resident = mapped("Rss:");
            warm = nr_memory_usage_get();
        }
        read_file(&r, files[i % N_FILES], i % 3 ? NR_FIT_PAD : NR_FIT_CROP, 1 + i % 5);
    }
    nr_memory_usage end = nr_memory_usage_get();
    uint64_t ours =
        end.allocations - end.library_allocations - (warm.allocations - warm.library_allocations);
    uint64_t now = mapped("Rss:");
    print_message("%d pictures: %llu bytes resident after %d, %llu at the end; %llu allocations\n",
                  n, (unsigned long long)resident, warm_up, (unsigned long long)now,
                  (unsigned long long)ours);
    assert_int_equal(now, resident);
    assert_int_equal(ours, 0);
    close_reader(&r);
}

/* Without the library's own counting: from the first picture on, and for a text question. */
static void test_no_allocations(void **state) {
    (void)state;
    nr_engine_options o = nr_engine_options_default();
    o.n_threads = 2;
    reader r = open_reader(tiny, &o);
    for (int i = 0; i < N_FILES; i++) {
        nr_memory_usage before = nr_memory_usage_get();
        read_file(&r, files[i], NR_FIT_AUTO, 3);
        nr_memory_usage after = nr_memory_usage_get();
        if (after.allocations - before.allocations !=
            after.library_allocations - before.library_allocations)
            fail_msg("%s: %llu allocations", files[i],
                     (unsigned long long)(after.allocations - before.allocations));
    }
    close_reader(&r);
}

/* ---- an address-space limit */

#define ADDRESS_BYTES ((uint64_t)16 << 20) /* beside the plan: program and libraries as mapped */
#define STACK_BYTES ((uint64_t)1 << 20)    /* of a worker, guard and rounding included */

static int run_under(uint64_t limit, const char *args, char out[4096]) {
    char line[12288];
    snprintf(line, sizeof line, "ulimit -v %llu; exec %s %s 2>&1",
             (unsigned long long)(limit / 1024), command, args);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, 4095, f);
    out[n] = '\0';
    int state = pclose(f);
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static void test_address_space(void **state) {
    (void)state;
    char args[8192], out[4096];
    nr_memory_plan plan;
    nr_engine_options o = nr_engine_options_default();
    if (!MEASURABLE) skip();
    o.picture_pixels_max = 2000000;
    o.n_threads = 4;
    MUST(nr_memory_plan_read("models/reader", &o, &plan, err));
    /* The room to turn a picture is addresses only, while none is turned. */
    uint64_t limit = plan.total_bytes + ADDRESS_BYTES + 4 * STACK_BYTES + 3 * o.picture_pixels_max;
    snprintf(args, sizeof args,
             "read --model models/reader --threads 4 --max-pixels 2000000 --max-ram %llu --fields "
             "headline samples/valley-gazette.png %s %s %s",
             (unsigned long long)plan.total_bytes, files[1], files[2], files[4]);
    if (run_under(limit, args, out) != 0)
        fail_msg("under %llu: %s", (unsigned long long)limit, out);
    assert_non_null(strstr(out, "contest ends in a tie"));
    /* Far below it: an error with its bytes, not a crash. */
    assert_int_equal(run_under(plan.weights_bytes + plan.scratch_bytes, args, out), 3);
    assert_non_null(strstr(out, "out of memory"));
}

/* The command as a whole: planned and measured, the constant for the process included. */
static void test_command(void **state) {
    (void)state;
    char line[8192], out[8192];
    if (!MEASURABLE) skip();
    snprintf(line, sizeof line, "%s test --model models/reader --json", command);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, sizeof out - 1, f);
    out[n] = '\0';
    assert_int_equal(pclose(f), 0);
    json_t *reply = json_loads(out, 0, NULL);
    double planned = json_number_value(json_object_get(reply, "planned_resident_bytes"));
    double resident = json_number_value(json_object_get(reply, "resident_bytes"));
    print_message("planned %.0f, measured %.0f bytes\n", planned, resident);
    assert_true(resident <= planned && planned - resident < NR_PROCESS_BYTES);
    json_decref(reply);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prediction_reader),
                                       cmocka_unit_test(test_prediction_middle),
                                       cmocka_unit_test(test_flat),
                                       cmocka_unit_test(test_no_allocations),
                                       cmocka_unit_test(test_address_space),
                                       cmocka_unit_test(test_command)};
    return cmocka_run_group_tests(tests, set_up, fixture_remove_temp);
}
