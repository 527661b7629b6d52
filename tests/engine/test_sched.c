/* SPDX-License-Identifier: MIT
 *
 * test_sched.c - the scheduler against sessions: the same bytes for any number of slots and any
 * company; cancelling at every step, full queues, readers that do not read, deadlines, drain.
 */
#include "engine_fixture.h"

#include "engine_internal.h"
#include "newsreader_sched.h"
#include "nr_alloc.h"

#include <pthread.h>

#define TEXT_MAX 16384
#define N_CASES 12

/* One question about one picture (or none) and what a session alone answers. */
typedef struct sched_case {
    int picture; /* index, -1: none */
    const char *question;
    float temperature;
    int32_t max_tokens;
    char want[TEXT_MAX];
    nr_finish want_finish;
    int32_t want_tokens;
} sched_case;

static sched_case cases[N_CASES] = {{0, "What is the headline?", 0, 256, "", 0, 0},
                                    {1, "Who wrote it?", 0, 256, "", 0, 0},
                                    {2, "Read the first paragraph.", 0, 256, "", 0, 0},
                                    {0, "Read the first paragraph.", 0, 7, "", 0, 0},
                                    {1, "What is the headline?", 0.9f, 40, "", 0, 0},
                                    {-1, "What is the headline?", 0, 12, "", 0, 0},
                                    {2, "What site or paper is it?", 0, 256, "", 0, 0},
                                    {1, "When was it published?", 0, 1, "", 0, 0},
                                    {-1, "Tell me.", 1.0f, 30, "", 0, 0},
                                    {2, "What is the headline?", 0.7f, 64, "", 0, 0},
                                    {0, "Who wrote it?", 0, 256, "", 0, 0},
                                    {1, "Read the first paragraph.", 0, 256, "", 0, 0}};

static nr_picture *pictures[3];
static nr_engine *engine;
static int n_cases; /* of cases, used */

static nr_generation_options options_of(const sched_case *c) {
    nr_generation_options o = nr_generation_options_default();
    o.temperature = c->temperature;
    o.max_tokens = c->max_tokens;
    o.seed = 11;
    return o;
}

/* What the session says, for comparison. */
static void answer_alone(nr_session *session, sched_case *c) {
    nr_generation_options o = options_of(c);
    nr_step step = {0};
    size_t used = 0;
    MUST(nr_session_set_picture(session, c->picture < 0 ? NULL : pictures[c->picture], NR_FIT_AUTO,
                                err));
    MUST(nr_session_ask(session, c->question, &o, err));
    while (!step.done) {
        MUST(nr_session_step(session, &step, err));
        assert_true(used + step.n_bytes < TEXT_MAX);
        memcpy(c->want + used, step.text, step.n_bytes);
        used += step.n_bytes;
    }
    c->want[used] = '\0';
    c->want_finish = step.finish;
    c->want_tokens = nr_session_get_stats(session).answer_tokens;
}

static void open_model(const char *dir, int n) {
    nr_session *session = NULL;
    nr_engine_options o = nr_engine_options_default();
    o.n_threads = 1;
    MUST(nr_engine_open(dir, &o, &engine, err));
    MUST(nr_session_create(engine, &session, err));
    n_cases = n;
    for (int i = 0; i < n_cases; i++) answer_alone(session, &cases[i]);
    nr_session_free(session);
}

/* Small checkpoints with random weights, whose answers are long nonsense: the whole machinery. */
static int open_preset(const char *preset, int n) {
    char dir[4096];
    fixture_temp_dir(temp);
    fixture_make_checkpoint(preset, fixture_path(dir, "%s/model", temp), "");
    for (int i = 0; i < 3; i++) pictures[i] = fixture_picture(90 - 20 * i, 50 + 27 * i);
    open_model(dir, n);
    return 0;
}

static int set_up(void **state) {
    (void)state;
    return open_preset("odd", N_CASES);
}

static int set_up_blip2(void **state) {
    (void)state;
    return open_preset("blip2-odd", 4); /* those with a picture */
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) nr_picture_free(pictures[i]);
    nr_engine_close(engine);
    if (temp[0]) fixture_remove_tree(temp);
    temp[0] = '\0';
    return 0;
}

static nr_sched *open_sched(int32_t n_slots, int32_t n_queued) {
    nr_sched_options o = nr_sched_options_default();
    nr_sched *sched = NULL;
    o.n_slots = n_slots;
    o.n_queued = n_queued;
    MUST(nr_sched_open(engine, &o, &sched, err));
    return sched;
}

static nr_status submit(nr_sched *sched, const sched_case *c, int32_t deadline_ms, nr_job **job) {
    nr_request r = nr_request_default();
    nr_error problem = {0};
    r.picture = c->picture < 0 ? NULL : pictures[c->picture];
    r.questions = &c->question;
    r.n_questions = 1;
    r.generation = options_of(c);
    r.deadline_ms = deadline_ms;
    nr_status status = nr_sched_submit(sched, &r, job, &problem);
    if (status != NR_STATUS_OK && status != NR_STATUS_BUSY) fail_msg("%s", problem.message);
    return status;
}

typedef struct sched_result {
    char text[TEXT_MAX];
    size_t used;
    nr_finish finish;
    int32_t n_tokens, n_starts, n_answers;
    nr_status status;
} sched_result;

/* Takes one event in; false at the end. */
static bool take(sched_result *r, const nr_event *event) {
    if (event->kind == NR_EVENT_START) r->n_starts++;
    if (event->kind == NR_EVENT_TEXT) {
        assert_int_equal(r->n_starts, 1);
        assert_true(r->used + event->n_bytes < TEXT_MAX);
        memcpy(r->text + r->used, event->text, event->n_bytes);
        r->used += event->n_bytes;
    }
    if (event->kind == NR_EVENT_ANSWER) {
        r->n_answers++;
        r->finish = event->finish;
        r->n_tokens = event->stats.answer_tokens;
    }
    r->status = event->status;
    r->text[r->used] = '\0';
    return event->kind != NR_EVENT_END;
}

static void read_to_end(nr_job *job, sched_result *r) {
    nr_event event;
    *r = (sched_result){0};
    do {
        event = nr_job_next(job, 60000);
        if (event.kind == NR_EVENT_NONE) fail_msg("a minute without news");
    } while (take(r, &event));
}

static void assert_answer(const sched_result *r, const sched_case *c) {
    assert_int_equal(r->status, NR_STATUS_OK);
    assert_int_equal(r->n_answers, 1);
    assert_string_equal(r->text, c->want);
    assert_int_equal(r->finish, c->want_finish);
    assert_int_equal(r->n_tokens, c->want_tokens);
}

/* All at once, in some order, over some slots. stride has no factor in common with n_cases. Returns
 * how many forward calls it took. */
static uint64_t compare_all(int32_t n_slots, int stride) {
    nr_sched *sched = open_sched(n_slots, n_cases);
    nr_job *jobs[N_CASES];
    sched_result r;
    for (int i = 0; i < n_cases; i++) {
        int at = i * stride % n_cases;
        assert_int_equal(submit(sched, &cases[at], 0, &jobs[at]), NR_STATUS_OK);
    }
    for (int i = 0; i < n_cases; i++) {
        read_to_end(jobs[i], &r);
        assert_answer(&r, &cases[i]);
        nr_job_close(jobs[i]);
    }
    nr_sched_stats stats = nr_sched_get_stats(sched);
    assert_int_equal(stats.n_done, n_cases);
    assert_int_equal(stats.n_free, n_slots + n_cases);
    assert_int_equal(stats.n_running + stats.n_queued, 0);
    nr_sched_close(sched);
    return stats.n_batches;
}

static void test_equal_to_alone(void **state) {
    static const int32_t slots[] = {1, 2, 3, 4, 7, 12};
    static const int strides[] = {1, 5, 7, 11};
    (void)state;
    for (size_t k = 0; k < NR_COUNT(slots); k++)
        for (size_t i = 0; i < NR_COUNT(strides); i++) compare_all(slots[k], strides[i]);
}

/* Several questions about one picture: one look at it, each answer as if asked alone. */
static void test_questions(void **state) {
    static const int order[] = {0, 10, 3};
    const char *questions[] = {cases[0].question, cases[10].question};
    nr_request request = nr_request_default();
    nr_sched *sched = open_sched(2, 2);
    nr_job *job = NULL;
    nr_event event;
    char text[2][TEXT_MAX] = {"", ""};
    int n_answers = 0;
    (void)state;
    request.picture = pictures[0];
    request.questions = questions;
    request.n_questions = 2;
    request.generation = options_of(&cases[0]);
    MUST(nr_sched_submit(sched, &request, &job, err));
    while ((event = nr_job_next(job, 60000)).kind != NR_EVENT_END) {
        if (event.kind == NR_EVENT_TEXT) strncat(text[event.i_question], event.text, event.n_bytes);
        if (event.kind == NR_EVENT_ANSWER) {
            assert_int_equal(event.i_question, n_answers++);
            assert_int_equal(event.stats.image_tokens, nr_engine_get_info(engine).image_tokens);
            if (event.i_question > 0)
                assert_true(event.stats.cached_tokens >= event.stats.image_tokens);
        }
    }
    assert_int_equal(n_answers, 2);
    for (int i = 0; i < 2; i++) assert_string_equal(text[i], cases[order[i]].want);
    assert_int_equal(nr_sched_get_stats(sched).n_pictures, 1);
    nr_job_close(job);
    nr_sched_close(sched);
}

/* Cancelled after k pieces: it ends soon, what came is a beginning of the answer, company is not
 * disturbed, the slot is free again. */
static void test_cancel_at_every_step(void **state) {
    nr_sched *sched = open_sched(2, 4);
    sched_result r, other;
    int n_cancelled = 0;
    (void)state;
    for (int k = 0; k < 12; k++) {
        nr_job *job = NULL, *company = NULL;
        nr_event event;
        int n_pieces = 0;
        assert_int_equal(submit(sched, &cases[2], 0, &job), NR_STATUS_OK);
        assert_int_equal(submit(sched, &cases[5], 0, &company), NR_STATUS_OK);
        r = (sched_result){0};
        if (k == 0) nr_job_cancel(job);
        while (event = nr_job_next(job, 60000), take(&r, &event))
            if (event.kind == NR_EVENT_TEXT && ++n_pieces == k) nr_job_cancel(job);
        if (r.status == NR_STATUS_CANCELLED)
            n_cancelled++;
        else
            assert_answer(&r, &cases[2]);
        assert_true(strncmp(r.text, cases[2].want, r.used) == 0);
        read_to_end(company, &other);
        assert_answer(&other, &cases[5]);
        nr_job_close(job);
        nr_job_close(company);
        assert_int_equal(nr_sched_get_stats(sched).n_free, 6);
    }
    assert_true(n_cancelled >= 8);
    nr_sched_close(sched);
}

/* Closed without being read, at any moment: everything comes back. */
static void test_close_without_reading(void **state) {
    nr_sched *sched = open_sched(2, 4);
    nr_job *jobs[6];
    sched_result r;
    (void)state;
    for (int k = 0; k < 6; k++) {
        for (int i = 0; i < 6; i++)
            assert_int_equal(submit(sched, &cases[i], 0, &jobs[i]), NR_STATUS_OK);
        for (int i = 0; i < k; i++) nr_job_next(jobs[0], 1000);
        for (int i = 0; i < 6; i++) nr_job_close(jobs[(i + k) % 6]);
        for (int n = 0; nr_sched_get_stats(sched).n_free < 6 && n < 6000; n++) usleep(10000);
        assert_int_equal(nr_sched_get_stats(sched).n_free, 6);
    }
    assert_int_equal(submit(sched, &cases[0], 0, &jobs[0]), NR_STATUS_OK);
    read_to_end(jobs[0], &r);
    assert_answer(&r, &cases[0]);
    nr_job_close(jobs[0]);
    nr_sched_close(sched);
}

static void test_full_and_drain(void **state) {
    nr_sched *sched = open_sched(1, 1);
    nr_job *one = NULL, *two = NULL, *three = NULL;
    sched_result r;
    (void)state;
    assert_int_equal(submit(sched, &cases[2], 0, &one), NR_STATUS_OK);
    assert_int_equal(submit(sched, &cases[0], 0, &two), NR_STATUS_OK);
    assert_int_equal(submit(sched, &cases[1], 0, &three), NR_STATUS_BUSY);
    read_to_end(one, &r);
    assert_answer(&r, &cases[2]);
    nr_job_close(one);
    assert_int_equal(submit(sched, &cases[1], 0, &three), NR_STATUS_OK);
    nr_sched_drain(sched);
    assert_int_equal(submit(sched, &cases[1], 0, &one), NR_STATUS_BUSY);
    read_to_end(two, &r);
    assert_answer(&r, &cases[0]);
    read_to_end(three, &r);
    assert_answer(&r, &cases[1]);
    nr_job_close(two);
    nr_job_close(three);
    nr_sched_close(sched);
}

/* More text than a ring holds: it rests in its slot while nobody reads. */
static nr_job *submit_endless(nr_sched *sched, int32_t deadline_ms) {
    nr_request request = nr_request_default();
    const char *questions[NR_REQUEST_QUESTIONS_MAX];
    nr_job *job = NULL;
    for (int i = 0; i < NR_REQUEST_QUESTIONS_MAX; i++) questions[i] = "Tell me.";
    request.questions = questions;
    request.n_questions = NR_REQUEST_QUESTIONS_MAX;
    request.generation.max_tokens = 200;
    request.generation.ignore_stop = true;
    request.deadline_ms = deadline_ms;
    MUST(nr_sched_submit(sched, &request, &job, err));
    return job;
}

/* A long answer that nobody reads rests; others go on; nothing is lost. */
static void test_reader_that_rests(void **state) {
    nr_sched *sched = open_sched(2, 2);
    nr_job *job = submit_endless(sched, 0), *company = NULL;
    nr_event event;
    sched_result r;
    int n_answers = 0, n_tokens = 0;
    uint64_t before = 0, now = 1;
    (void)state;
    while (before != now) { /* until it rests */
        before = now;
        usleep(200000);
        now = nr_sched_get_stats(sched).n_batches;
    }
    assert_int_equal(nr_sched_get_stats(sched).n_running, 1);
    assert_int_equal(submit(sched, &cases[0], 0, &company), NR_STATUS_OK);
    read_to_end(company, &r);
    assert_answer(&r, &cases[0]);
    nr_job_close(company);
    while ((event = nr_job_next(job, 60000)).kind != NR_EVENT_END) {
        assert_true(event.kind != NR_EVENT_NONE);
        n_answers += event.kind == NR_EVENT_ANSWER;
        n_tokens += event.kind == NR_EVENT_ANSWER ? event.stats.answer_tokens : 0;
    }
    assert_int_equal(event.status, NR_STATUS_OK);
    assert_int_equal(n_answers, NR_REQUEST_QUESTIONS_MAX);
    assert_int_equal(n_tokens, 200 * NR_REQUEST_QUESTIONS_MAX);
    nr_job_close(job);
    nr_sched_close(sched);
}

/* Late in the queue, behind one that rests; late while resting in the slot. */
static void test_deadlines(void **state) {
    nr_sched *sched = open_sched(1, 3);
    nr_job *first = submit_endless(sched, 0), *waiting = NULL, *patient = NULL;
    nr_event event;
    sched_result r;
    (void)state;
    assert_int_equal(submit(sched, &cases[0], 100, &waiting), NR_STATUS_OK);
    read_to_end(waiting, &r);
    assert_int_equal(r.status, NR_STATUS_TIMEOUT);
    assert_int_equal(r.n_starts, 0);
    nr_job_close(first);
    first = submit_endless(sched, 100);
    assert_int_equal(submit(sched, &cases[1], 3600 * 1000, &patient), NR_STATUS_OK);
    read_to_end(patient, &r); /* gets the slot only because the first was late */
    assert_answer(&r, &cases[1]);
    do event = nr_job_next(first, 60000);
    while (event.kind != NR_EVENT_END);
    assert_int_equal(event.status, NR_STATUS_TIMEOUT);
    assert_int_equal(nr_sched_get_stats(sched).n_timed_out, 2);
    nr_job_close(first);
    nr_job_close(waiting);
    nr_job_close(patient);
    nr_sched_close(sched);
}

/* Several clients, each with its own order of questions; once warm nothing is allocated. */
typedef struct client {
    nr_sched *sched;
    int first;
} client;

static void *run_client(void *arg) {
    const client *c = arg;
    sched_result *r = malloc(sizeof *r);
    for (int i = 0; i < 6; i++) {
        const sched_case *one = &cases[(c->first + 5 * i) % N_CASES];
        nr_job *job = NULL;
        assert_int_equal(submit(c->sched, one, 0, &job), NR_STATUS_OK);
        read_to_end(job, r);
        assert_answer(r, one);
        nr_job_close(job);
    }
    free(r);
    return NULL;
}

static void test_clients(void **state) {
    enum { N = 6 };
    pthread_t threads[N];
    client clients[N];
    nr_sched *sched = open_sched(4, N);
    (void)state;
    run_client(&(client){sched, 0});
    uint64_t calls = nr_alloc_get_stats().calls;
    for (int i = 0; i < N; i++) {
        clients[i] = (client){sched, i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
    }
    for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
    assert_int_equal(nr_alloc_get_stats().calls, calls);
    nr_sched_close(sched);
}

static void test_refusals(void **state) {
    nr_sched *sched = open_sched(1, 0);
    nr_sched *none = NULL;
    nr_job *job = NULL;
    nr_error e = {0};
    nr_sched_options o = nr_sched_options_default();
    nr_request r = nr_request_default();
    const char *bad[] = {"\xff"}, *fine[] = {"What?"};
    (void)state;
    assert_int_equal(nr_sched_submit(sched, &r, &job, &e), NR_STATUS_ARG);
    r.questions = bad;
    r.n_questions = 1;
    assert_int_equal(nr_sched_submit(sched, &r, &job, &e), NR_STATUS_FORMAT);
    r.questions = fine;
    r.generation.top_p = 2;
    assert_int_equal(nr_sched_submit(sched, &r, &job, &e), NR_STATUS_ARG);
    assert_int_equal(nr_sched_get_stats(sched).n_free, 1); /* nothing is lost */
    nr_sched_close(sched);
    o.n_slots = 0;
    assert_int_equal(nr_sched_open(engine, &o, &none, &e), NR_STATUS_ARG);
    o = nr_sched_options_default();
    o.n_queued = -1;
    assert_int_equal(nr_sched_open(engine, &o, &none, &e), NR_STATUS_ARG);
}

static void ask(nr_sched *sched, const sched_case *c, bool cached) {
    nr_job *job = NULL;
    nr_event event;
    sched_result r = {0};
    assert_int_equal(submit(sched, c, 0, &job), NR_STATUS_OK);
    do {
        event = nr_job_next(job, 60000);
        if (event.kind == NR_EVENT_ANSWER) assert_int_equal(event.stats.image_cached, cached);
    } while (take(&r, &event));
    assert_answer(&r, c);
    nr_job_close(job);
}

/* With room for two pictures: a second look gives the same bytes, the tower has not run. */
static void test_pictures_kept(void **state) {
    nr_engine *plain = engine;
    nr_engine_options o = nr_engine_options_default();
    char dir[4096];
    (void)state;
    o.n_threads = 1;
    o.image_cache = 2;
    MUST(nr_engine_open(fixture_path(dir, "%s/model", temp), &o, &engine, err));
    nr_sched *sched = open_sched(2, n_cases);
    ask(sched, &cases[0], false);
    ask(sched, &cases[3], true); /* the same picture, another question */
    ask(sched, &cases[1], false);
    ask(sched, &cases[10], true);
    ask(sched, &cases[2], false); /* takes the place of cases[1]'s */
    ask(sched, &cases[7], false);
    ask(sched, &cases[9], true);
    ask(sched, &cases[5], false); /* no picture */
    assert_int_equal(nr_sched_get_stats(sched).n_pictures, 4);
    nr_sched_close(sched);
    compare_all(3, 5);
    nr_engine_close(engine);
    engine = plain;
}

/* Planned for twelve slots, all of them write in one call; without, four at a time. Who rests and
 * who is still to come when a call starts is a matter of timing: the best of ten says what it can. */
static void test_wide(void **state) {
    nr_engine *plain = engine;
    nr_engine_options o = nr_engine_options_default();
    char dir[4096];
    (void)state;
    o.n_threads = 1;
    o.scheduler = true;
    o.n_slots = 12;
    uint64_t narrow = compare_all(12, 5);
    MUST(nr_engine_open(fixture_path(dir, "%s/model", temp), &o, &engine, err));
    uint64_t wide = narrow;
    for (int i = 0; i < 10 && 4 * wide >= 3 * narrow; i++) wide = compare_all(12, 5);
    print_message("forward calls: %llu four at a time, %llu\n", (unsigned long long)narrow,
                  (unsigned long long)wide);
    assert_true(4 * wide < 3 * narrow);
    nr_engine_close(engine);
    engine = plain;
}

/* What is announced is what is mapped, to the page (on a card: reserved with the engine). */
static void test_bytes(void **state) {
    nr_sched_options o = nr_sched_options_default();
    nr_sched *sched = NULL;
    uint64_t bytes = 0, before = nr_alloc_get_stats().page_bytes;
    (void)state;
    o.n_slots = 3;
    MUST(nr_sched_bytes(engine, &o, &bytes, err));
    bytes -= nr_encoder_bytes(engine->tokenizer, nr_prompt_room(engine->model->info.context));
    MUST(nr_sched_open(engine, &o, &sched, err));
    uint64_t mapped = nr_alloc_get_stats().page_bytes - before;
    if (!nr_engine_get_plan(engine).apart)
        assert_true(mapped >= bytes && mapped - bytes < 4 * 4096);
    else
        assert_true(mapped < bytes);
    nr_sched_close(sched);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_equal_to_alone),
                                       cmocka_unit_test(test_questions),
                                       cmocka_unit_test(test_cancel_at_every_step),
                                       cmocka_unit_test(test_close_without_reading),
                                       cmocka_unit_test(test_full_and_drain),
                                       cmocka_unit_test(test_reader_that_rests),
                                       cmocka_unit_test(test_deadlines),
                                       cmocka_unit_test(test_clients),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_pictures_kept),
                                       cmocka_unit_test(test_wide),
                                       cmocka_unit_test(test_bytes)};
    const struct CMUnitTest with_blip2[] = {cmocka_unit_test(test_equal_to_alone)};
    return cmocka_run_group_tests(tests, set_up, tear_down) +
           cmocka_run_group_tests(with_blip2, set_up_blip2, tear_down);
}
