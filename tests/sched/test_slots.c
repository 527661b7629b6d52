/* SPDX-License-Identifier: MIT
 *
 * test_slots.c - a client that has had little of the model beside one that has had much: its
 * picture and prompt go first, the other's running answers go on; without a slot it gets one whose
 * request begins again later and says nothing twice.
 */
#include "counting.h"

#define N_FLOOD 5
#define N_STOPS 12
#define TEXT_MAX 65536

/* All that a job says, one line a record. */
static char *read_all(nr_job *job) {
    char *text = malloc(TEXT_MAX);
    size_t n = 0;
    nr_record r;
    do {
        if (!nr_job_take_record(job, 60000, &r)) fail_msg("a minute without news");
        n += (size_t)snprintf(text + n, TEXT_MAX - n, "%d %d %d %.*s\n", (int)r.kind, r.i_question,
                              r.stats.answer_tokens, (int)r.n_bytes, job->text);
        assert_true(n < TEXT_MAX);
    } while (r.kind != NR_RECORD_END);
    assert_int_equal(r.status, NR_STATUS_OK);
    nr_job_release(job);
    return text;
}

static void assert_says(nr_job *job, const char *expected) {
    char *text = read_all(job);
    assert_string_equal(text, expected);
    free(text);
}

static counting_ask flood_ask(int i) {
    return (counting_ask){0, 3, 30, 1 + i, i % 2 ? (uint64_t)i : 0};
}

static const counting_ask rare_ask = {1, 1, 3, 9, 0};

/* What everybody says alone; and a request's worth is known then. */
static void ask_alone(nr_scheduler *s, char *want[N_FLOOD + 1]) {
    for (int i = 0; i < N_FLOOD; i++) {
        counting_ask ask = flood_ask(i);
        want[i] = read_all(counting_submit(s, &ask));
    }
    want[N_FLOOD] = read_all(counting_submit(s, &rare_ask));
}

/* Of client 0, all there before the first is begun; then so many passes of the gate. */
static void start_flood(nr_scheduler *s, nr_job **jobs, int n, int passes) {
    for (int i = 0; i < n; i++) {
        counting_ask ask = flood_ask(i);
        jobs[i] = i == 0 ? counting_begin(s, &ask) : counting_submit(s, &ask);
    }
    gate_allow(passes);
    gate_await();
}

/* A flood with both slots, stopped after n turns; then somebody else comes. He gets a slot, and
 * what everybody says is, record by record, what it is alone. True: one was put back for him. */
static bool stop_flood(nr_scheduler *s, int n, char *const *want) {
    nr_job *jobs[N_FLOOD], *rare;
    uint64_t before = nr_scheduler_get_stats(s).n_put_back;
    start_flood(s, jobs, N_FLOOD, n);
    rare = counting_submit(s, &rare_ask);
    usleep(20000); /* more than anybody was worked for */
    gate_allow(-1);
    assert_says(rare, want[N_FLOOD]);
    for (int i = 0; i < N_FLOOD; i++) assert_says(jobs[i], want[i]);
    return nr_scheduler_get_stats(s).n_put_back > before;
}

static void test_put_back(void **state) {
    nr_scheduler *s = counting_open(2);
    char *want[N_FLOOD + 1];
    int n_put_back = 0;
    (void)state;
    ask_alone(s, want);
    for (int k = 0; k < N_STOPS; k++) n_put_back += stop_flood(s, k * k, want);
    print_message("%d of %d stops put somebody back\n", n_put_back, N_STOPS);
    assert_in_range(n_put_back, N_STOPS - 3, N_STOPS); /* not where a slot had just become free */
    assert_int_equal(nr_scheduler_get_stats(s).n_free, 2 + COUNTING_JOBS);
    nr_scheduler_free(s);
    for (int i = 0; i <= N_FLOOD; i++) free(want[i]);
}

/* Others come again and again: nobody gives his slot up twice, everybody is answered. */
static void test_put_back_once(void **state) {
    enum { N_RARE = 12 };
    nr_scheduler *s = counting_open(2);
    nr_job *jobs[N_FLOOD], *rare[N_RARE];
    char *want[N_FLOOD + 1];
    (void)state;
    ask_alone(s, want);
    start_flood(s, jobs, N_FLOOD, 20);
    for (int i = 0; i < N_RARE; i++) {
        counting_ask ask = rare_ask;
        ask.client = 1 + i;
        rare[i] = counting_submit(s, &ask);
        usleep(5000);
        gate_allow(20);
        gate_await();
    }
    gate_allow(-1);
    for (int i = 0; i < N_FLOOD; i++) assert_says(jobs[i], want[i]);
    for (int i = 0; i < N_RARE; i++) assert_says(rare[i], want[N_FLOOD]);
    assert_in_range(nr_scheduler_get_stats(s).n_put_back, 2, N_FLOOD);
    nr_scheduler_free(s);
    for (int i = 0; i <= N_FLOOD; i++) free(want[i]);
}

/* Cancelled or closed while it waits to begin again, with text that nobody has read. */
static void test_put_back_and_ended(void **state) {
    nr_scheduler *s = counting_open(2);
    (void)state;
    free(read_all(counting_submit(s, &rare_ask)));
    for (int i = 0; i < 4; i++) {
        nr_job *jobs[2], *rare;
        counting_ask other = rare_ask;
        other.client = 1 + i;
        start_flood(s, jobs, 2, 40);
        rare = counting_submit(s, &other);
        usleep(20000);
        gate_allow(1); /* it has the slot now */
        gate_await();
        assert_int_equal(nr_scheduler_get_stats(s).n_put_back, i + 1);
        for (int k = 0; k < 2; k++) {
            if (i % 2) nr_job_stop(jobs[k]);
            nr_job_release(jobs[k]);
        }
        nr_job_release(rare);
        gate_allow(-1);
        for (int n = 0; nr_scheduler_get_stats(s).n_free < 2 + COUNTING_JOBS && n < 6000; n++)
            usleep(10000);
        assert_int_equal(nr_scheduler_get_stats(s).n_free, 2 + COUNTING_JOBS);
    }
    nr_scheduler_free(s);
}

/* ---- who begins first ------------------------------------------------------------------------ */

static nr_job *watched, *beside;
static uint32_t n_told_beside; /* records of the one when the other ended */

static void look_beside(void) {
    if (!watched || watched->state != NR_JOB_ENDED) return;
    n_told_beside = beside->n_told;
    watched = NULL;
}

/* Three answers of client 0 are being written when it and `client` get a slot each: how much of its
 * fourth was told when the other's was complete. */
static uint32_t told_before(int32_t client) {
    nr_scheduler *s = counting_open(5);
    nr_job *jobs[4], *other;
    counting_ask ask = rare_ask;
    nr_record r;
    free(read_all(counting_submit(s, &(counting_ask){0, 1, 3, 9, 0})));
    start_flood(s, jobs, 3, 12);
    counting_ask one = flood_ask(3);
    jobs[3] = counting_submit(s, &one);
    ask.client = client;
    beside = jobs[3];
    other = watched = counting_submit(s, &ask);
    gate_hook = look_beside;
    gate_allow(-1);
    do
        if (!nr_job_take_record(other, 60000, &r)) fail_msg("a minute without news");
    while (r.kind != NR_RECORD_END);
    for (int i = 0; i < 4; i++) free(read_all(jobs[i]));
    assert_int_equal(nr_scheduler_get_stats(s).n_put_back, 0); /* there was a slot for each */
    nr_job_release(other);
    nr_scheduler_free(s);
    gate_hook = NULL;
    assert_null(watched);
    return n_told_beside;
}

static void test_goes_first(void **state) {
    (void)state;
    assert_true(told_before(0) > 1);     /* of one client they go on together */
    assert_int_equal(told_before(1), 1); /* of two: that it has a slot, and not a word */
}

/* Three slots of three clients; a fourth that has had less cannot have one, and nobody is held back
 * for it: a picture is looked at before another's answer is complete. */
static void test_holds_nobody_in_vain(void **state) {
    static const counting_ask asks[] = {{0, 1, 90, 0, 1}, {1, 1, 40, 1, 0}, {2, 1, 10, 2, 0}};
    nr_scheduler *s = counting_open(3);
    nr_job *jobs[4];
    (void)state;
    for (int i = 0; i < 3; i++) free(read_all(counting_submit(s, &asks[2])));
    jobs[0] = counting_begin(s, &asks[0]);
    for (int i = 1; i < 3; i++) jobs[i] = counting_submit(s, &asks[i]);
    gate_allow(2);
    gate_await(); /* so have all */
    assert_int_equal(nr_scheduler_get_stats(s).n_running, 3);
    gate_allow(1);
    gate_await(); /* one of the pictures was looked at */
    assert_int_equal(nr_scheduler_get_stats(s).n_pictures, 3 + 1);
    jobs[3] = counting_submit(s, &(counting_ask){3, 1, 3, 3, 0});
    watched = jobs[1];
    beside = jobs[2];
    gate_hook = look_beside;
    gate_allow(-1);
    static const int order[] = {3, 2, 0, 1}; /* the watched one is there when it is looked at */
    for (int i = 0; i < 4; i++) free(read_all(jobs[order[i]]));
    nr_scheduler_free(s);
    gate_hook = NULL;
    assert_null(watched);
    assert_true(n_told_beside > 1);
}

/* Slots whose readers do not read are not kept for them. */
static void test_resting(void **state) {
    static const counting_ask ask = {0, 8, 200, 0, 3};
    nr_scheduler *s = counting_open(2);
    nr_job *jobs[2] = {counting_submit(s, &ask), counting_submit(s, &ask)};
    uint64_t before = 0, now = 1;
    (void)state;
    while (before != now) { /* until both rest */
        before = now;
        usleep(200000);
        now = nr_scheduler_get_stats(s).n_batches;
    }
    assert_int_equal(nr_scheduler_get_stats(s).n_running, 2);
    free(read_all(counting_submit(s, &rare_ask)));
    assert_int_equal(nr_scheduler_get_stats(s).n_put_back, 1);
    char *first = read_all(jobs[0]), *second = read_all(jobs[1]);
    assert_string_equal(first, second);
    free(first);
    free(second);
    nr_scheduler_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_put_back),
                                       cmocka_unit_test(test_put_back_once),
                                       cmocka_unit_test(test_put_back_and_ended),
                                       cmocka_unit_test(test_goes_first),
                                       cmocka_unit_test(test_holds_nobody_in_vain),
                                       cmocka_unit_test(test_resting)};
    return cmocka_run_group_tests(tests, counting_set_up, counting_tear_down);
}
