/* SPDX-License-Identifier: MIT
 *
 * test_engine_oom.c - every allocation of loading, reading and quantizing fails once, and from
 * some point on always: a clean NO_MEMORY, nothing left allocated, nothing left on disk. The same
 * of a model that is split between a far device and the CPU.
 */
#include "engine_fixture.h"

#include "far_device.h"
#include "newsreader_sched.h"
#include "nr_alloc.h"

static char llava[4096], blip2[4096], quantized[4096];
static const char *checkpoint = llava; /* of the current test */
static bool split; /* between a far device and the CPU */
static char *picture_bytes;
static size_t picture_n_bytes;

static int set_up(void **state) {
    char path[4096];
    (void)state;
    fixture_temp_dir(temp);
    fixture_make_checkpoint("tiny", fixture_path(llava, "%s/tiny", temp), "");
    fixture_make_checkpoint("blip2-tiny", fixture_path(blip2, "%s/blip2-tiny", temp), "");
    fixture_path(quantized, "%s/int8", temp);
    fixture_path(path, "tests/tiny/tiny/tall.png");
    picture_bytes = fixture_read_file(path, &picture_n_bytes);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(picture_bytes);
    fixture_remove_tree(temp);
    return 0;
}

static nr_engine_options options_on(int n_threads) {
    nr_engine_options o = nr_engine_options_default();
    o.n_threads = n_threads;
    if (!split) return o;
    o.device = "cuda:0";
    o.gpu_layers = 1;
    o.vision = NR_VISION_GPU;
    return o;
}

/* Load, read a picture, three tokens. */
static nr_status read_once(nr_error *err) {
    nr_engine *engine = NULL;
    nr_session *session = NULL;
    nr_picture *picture = NULL;
    nr_engine_options o = options_on(2);
    nr_generation_options g = nr_generation_options_default();
    nr_memory_plan plan;
    nr_step step = {0};
    g.max_tokens = 3;
    nr_status status = nr_memory_plan_read(checkpoint, &o, &plan, err);
    if (status == NR_STATUS_OK) status = nr_engine_open(checkpoint, &o, &engine, err);
    if (status == NR_STATUS_OK) status = nr_session_create(engine, &session, err);
    if (status == NR_STATUS_OK)
        status = nr_picture_read(picture_bytes, picture_n_bytes, &picture, err);
    if (status == NR_STATUS_OK) status = nr_session_set_picture(session, picture, NR_FIT_AUTO, err);
    if (status == NR_STATUS_OK) status = nr_session_ask(session, "What is it?", &g, err);
    while (status == NR_STATUS_OK && !step.done) status = nr_session_step(session, &step, err);
    nr_picture_free(picture);
    nr_session_free(session);
    nr_engine_close(engine);
    return status;
}

/* Load, open a scheduler, one answer. */
static nr_status serve_once(nr_error *err) {
    nr_engine *engine = NULL;
    nr_sched *sched = NULL;
    nr_picture *picture = NULL;
    nr_job *job = NULL;
    const char *question = "What is it?";
    nr_engine_options o = options_on(1);
    nr_request r = nr_request_default();
    o.scheduler = true;
    o.n_slots = 4;
    o.n_queued = 32;
    o.image_cache = 1;
    r.questions = &question;
    r.n_questions = 1;
    r.generation.max_tokens = 3;
    nr_status status = nr_engine_open(checkpoint, &o, &engine, err);
    if (status == NR_STATUS_OK) status = nr_sched_open(engine, NULL, &sched, err);
    if (status == NR_STATUS_OK)
        status = nr_picture_read(picture_bytes, picture_n_bytes, &picture, err);
    r.picture = picture;
    if (status == NR_STATUS_OK) status = nr_sched_submit(sched, &r, &job, err);
    if (status == NR_STATUS_OK)
        while (nr_job_next(job, -1).kind != NR_EVENT_END) continue;
    nr_job_close(job);
    nr_picture_free(picture);
    nr_sched_close(sched);
    nr_engine_close(engine);
    return status;
}

/* Everything that is allocated before weights are read. */
static nr_status plan_once(nr_error *err) {
    nr_engine_options o = nr_engine_options_default();
    nr_memory_plan plan;
    o.n_threads = 1;
    return nr_memory_plan_read(checkpoint, &o, &plan, err);
}

static nr_status quantize_once(nr_error *err) {
    nr_engine_options o = nr_engine_options_default();
    o.n_threads = 1;
    fixture_remove_tree(quantized);
    return nr_quantize(checkpoint, quantized, &o, err);
}

/* Fail the n-th allocation for n = 1, 1+step, ... until none is left to fail. */
static void sweep(nr_status (*once)(nr_error *), bool sticky, uint64_t step) {
    uint64_t n_failed = 0;
    MUST(once(err)); /* what the first run sets up for good */
    uint64_t live = nr_alloc_get_stats().live_count;
    for (uint64_t n = 1;; n += step) {
        nr_error problem = {0};
        nr_alloc_fail_nth(n, sticky);
        nr_status status = once(&problem);
        bool happened = nr_alloc_fail_happened();
        nr_alloc_fail_nth(0, false);
        if (!happened) break;
        if (status != NR_STATUS_OK && (status != NR_STATUS_NO_MEMORY || !problem.message[0]))
            fail_msg("allocation %llu: %s: %s", (unsigned long long)n, nr_status_name(status),
                     problem.message);
        if (nr_alloc_get_stats().live_count != live)
            fail_msg("allocation %llu: %lld blocks left", (unsigned long long)n,
                     (long long)(nr_alloc_get_stats().live_count - live));
        n_failed++;
    }
    print_message("%llu failed allocations survived\n", (unsigned long long)n_failed);
    assert_true(n_failed > 10);
}

static uint64_t stride(void) {
    return getenv("NR_TEST_FULL") ? 1 : 7; /* `make test-full` takes every one */
}

static void test_read_each(void **state) {
    (void)state;
    sweep(read_once, false, stride());
}

static void test_read_from_then_on(void **state) {
    (void)state;
    sweep(read_once, true, stride());
}

static void test_serve(void **state) {
    (void)state;
    sweep(serve_once, false, stride());
    sweep(serve_once, true, stride());
}

static void test_blip2(void **state) {
    (void)state;
    checkpoint = blip2;
    sweep(plan_once, false, getenv("NR_TEST_FULL") ? 1 : 3);
    sweep(read_once, false, 5 * stride() - 4); /* most of them are the tokenizer's */
    sweep(quantize_once, true, 5 * stride() - 4);
    checkpoint = llava;
}

static void test_split(void **state) {
    (void)state;
    split = true;
    sweep(read_once, false, 3 * stride() - 2);
    sweep(serve_once, true, 3 * stride() - 2);
    split = false;
    assert_int_equal(far.n_open, 0);
}

static void test_quantize(void **state) {
    (void)state;
    sweep(quantize_once, false, stride());
    sweep(quantize_once, true, stride());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_each), cmocka_unit_test(test_read_from_then_on),
        cmocka_unit_test(test_serve), cmocka_unit_test(test_split),
        cmocka_unit_test(test_quantize), cmocka_unit_test(test_blip2)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
