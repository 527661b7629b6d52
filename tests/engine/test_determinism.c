/* SPDX-License-Identifier: MIT
 *
 * test_determinism.c - the same question gives the same bytes for every instruction set, number of
 * threads and prefill chunk, with a warm or a cold cache, greedy or sampled.
 */
#include "engine_fixture.h"

#include "engine_internal.h"

static char llava[4096], blip2[4096];
static const char *checkpoint; /* of the current test */

static int make_checkpoints(void **state) {
    (void)state;
    fixture_temp_dir(temp);
    fixture_make_checkpoint("odd", fixture_path(llava, "%s/odd", temp), "");
    fixture_make_checkpoint("blip2-odd", fixture_path(blip2, "%s/blip2-odd", temp), "");
    return 0;
}

static int use_llava(void **state) {
    (void)state;
    checkpoint = llava;
    return 0;
}

static int use_blip2(void **state) {
    (void)state;
    checkpoint = blip2;
    return 0;
}

typedef struct setup {
    const char *kernels;
    int n_threads, prefill_rows;
    nr_precision precision;
    nr_kv_type kv;
} setup;

/* Everything an answer consists of. */
typedef struct answer {
    float *logits; /* owns [vocab] after the prompt */
    int32_t vocab, ids[40];
    int n_ids;
} answer;

static nr_engine *open_engine(const setup *s) {
    nr_engine *engine = NULL;
    nr_engine_options o = nr_engine_options_default();
    o.cpu_kernels = s->kernels;
    o.n_threads = s->n_threads;
    o.prefill_rows = s->prefill_rows;
    o.precision = s->precision;
    o.kv = s->kv;
    MUST(nr_engine_open(checkpoint, &o, &engine, err));
    return engine;
}

static void ask(nr_session *session, const char *question, float temperature, answer *out) {
    nr_generation_options o = nr_generation_options_default();
    nr_step step = {0};
    o.temperature = temperature;
    o.top_p = 0.9f;
    o.top_k = 50;
    o.seed = 7;
    o.max_tokens = 30;
    o.ignore_stop = true;
    MUST(nr_session_ask(session, question, &o, err));
    out->vocab = nr_engine_get_info(session->engine).vocab_size;
    out->logits = malloc((size_t)out->vocab * sizeof(float));
    nr_backend *be = session->kit.be;
    be->ops->download(be, out->logits, session->sequence.logits,
                      (size_t)out->vocab * sizeof(float));
    out->n_ids = 0;
    while (!step.done) {
        MUST(nr_session_step(session, &step, err));
        out->ids[out->n_ids++] = step.id;
    }
}

static void assert_same(const answer *a, const answer *b, const char *what) {
    if (a->n_ids != b->n_ids || memcmp(a->ids, b->ids, (size_t)a->n_ids * sizeof a->ids[0]) != 0)
        fail_msg("%s: other tokens", what);
    if (memcmp(a->logits, b->logits, (size_t)a->vocab * sizeof(float)) != 0)
        fail_msg("%s: other logits", what);
}

/* A picture, a question, greedy or sampled, in a new engine. */
static void run(const setup *s, float temperature, answer *out) {
    nr_engine *engine = open_engine(s);
    nr_session *session = NULL;
    nr_picture *picture = fixture_picture(90, 61);
    MUST(nr_session_create(engine, &session, err));
    MUST(nr_session_set_picture(session, picture, NR_FIT_AUTO, err));
    ask(session, "What is the headline?", temperature, out);
    nr_session_free(session);
    nr_picture_free(picture);
    nr_engine_close(engine);
}

static bool has_kernels(const char *name) {
    nr_backend *be = NULL;
    bool has = nr_backend_cpu_open(1, name, &be, NULL) == NR_STATUS_OK;
    nr_backend_close(be);
    return has;
}

static void compare_all(nr_precision precision, nr_kv_type kv, float temperature) {
    static const char *const kernels[] = {"scalar", "avx2", "avx512vnni", "amx", "neon"};
    static const int threads[] = {1, 2, 3, 7}, rows[] = {0, 1, 7, 64};
    answer first, other;
    setup base = {.kernels = "scalar", .n_threads = 1, .precision = precision, .kv = kv};
    char what[128];
    int n_compared = 0;
    size_t step = checkpoint == blip2 ? 2 : 1; /* the kernels are the same */
    run(&base, temperature, &first);
    for (size_t k = 0; k < NR_COUNT(kernels); k++) {
        if (!has_kernels(kernels[k])) continue;
        for (size_t i = 0; i < NR_COUNT(threads); i += step) {
            setup s = {kernels[k], threads[i], rows[(i + k) % NR_COUNT(rows)], precision, kv};
            snprintf(what, sizeof what, "%s, %d threads, %d rows", s.kernels, s.n_threads,
                     s.prefill_rows);
            run(&s, temperature, &other);
            assert_same(&first, &other, what);
            free(other.logits);
            n_compared++;
        }
    }
    free(first.logits);
    assert_true(n_compared >= 4);
}

static void test_int8_greedy(void **state) {
    (void)state;
    compare_all(NR_PRECISION_INT8, NR_KV_F16, 0);
}

static void test_int8_sampled(void **state) {
    (void)state;
    compare_all(NR_PRECISION_INT8, NR_KV_F16, 0.8f);
}

static void test_f32_greedy(void **state) {
    (void)state;
    compare_all(NR_PRECISION_F32, NR_KV_F16, 0);
}

static void test_int8_cache(void **state) {
    (void)state;
    compare_all(NR_PRECISION_INT8, NR_KV_INT8, 0);
}

/* A question after others equals the same question asked first; the picture's part is reused. */
static void test_cache_reuse(void **state) {
    setup s = {.precision = NR_PRECISION_INT8};
    nr_session *session = NULL;
    answer cold, warm;
    (void)state;
    run(&s, 0, &cold);
    nr_engine *engine = open_engine(&s);
    nr_picture *picture = fixture_picture(90, 61), *other = fixture_picture(40, 77);
    MUST(nr_session_create(engine, &session, err));
    MUST(nr_session_set_picture(session, other, NR_FIT_AUTO, err));
    ask(session, "What is the headline?", 0, &warm);
    free(warm.logits);
    MUST(nr_session_set_picture(session, picture, NR_FIT_AUTO, err));
    ask(session, "Who wrote it? In what town?", 0, &warm);
    assert_int_equal(nr_session_get_stats(session).cached_tokens, 0);
    free(warm.logits);
    ask(session, "What is the headline?", 0, &warm);
    assert_true(nr_session_get_stats(session).cached_tokens >=
                nr_session_get_stats(session).image_tokens);
    assert_same(&cold, &warm, "after other questions");
    free(cold.logits);
    free(warm.logits);
    nr_session_free(session);
    nr_picture_free(picture);
    nr_picture_free(other);
    nr_engine_close(engine);
}

/* Two sessions of one engine, used in turns, do not see each other; not even when one has read its
 * prompt and the other uses the model before the first token is asked for. */
static void test_sessions_are_apart(void **state) {
    setup s = {.precision = NR_PRECISION_INT8};
    nr_session *one = NULL, *two = NULL;
    nr_step step = {0};
    answer alone, together = {0}, late = {0};
    (void)state;
    run(&s, 0, &alone);
    nr_engine *engine = open_engine(&s);
    nr_picture *picture = fixture_picture(90, 61), *other = fixture_picture(33, 80);
    nr_generation_options o = nr_generation_options_default();
    o.ignore_stop = true;
    o.max_tokens = 30;
    MUST(nr_session_create(engine, &one, err));
    MUST(nr_session_create(engine, &two, err));
    MUST(nr_session_set_picture(two, picture, NR_FIT_AUTO, err));
    MUST(nr_session_ask(two, "What is the headline?", &o, err));
    MUST(nr_session_set_picture(one, other, NR_FIT_AUTO, err));
    MUST(nr_session_set_picture(one, picture, NR_FIT_AUTO, err));
    MUST(nr_session_ask(one, "What is the headline?", &o, err));
    for (int i = 0; i < 30; i++) {
        MUST(nr_session_step(two, &step, err));
        late.ids[i] = step.id;
        MUST(nr_session_step(one, &step, err));
        together.ids[i] = step.id;
    }
    assert_memory_equal(alone.ids, together.ids, 30 * sizeof alone.ids[0]);
    assert_memory_equal(alone.ids, late.ids, 30 * sizeof alone.ids[0]);
    free(alone.logits);
    nr_session_free(one);
    nr_session_free(two);
    nr_picture_free(picture);
    nr_picture_free(other);
    nr_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_int8_greedy, use_llava),
                                       cmocka_unit_test_setup(test_int8_sampled, use_llava),
                                       cmocka_unit_test_setup(test_f32_greedy, use_llava),
                                       cmocka_unit_test_setup(test_int8_cache, use_llava),
                                       cmocka_unit_test_setup(test_cache_reuse, use_llava),
                                       cmocka_unit_test_setup(test_sessions_are_apart, use_llava),
                                       cmocka_unit_test_setup(test_int8_greedy, use_blip2),
                                       cmocka_unit_test_setup(test_int8_cache, use_blip2),
                                       cmocka_unit_test_setup(test_cache_reuse, use_blip2),
                                       cmocka_unit_test_setup(test_sessions_are_apart, use_blip2)};
    return cmocka_run_group_tests(tests, make_checkpoints, fixture_remove_temp);
}
