/* SPDX-License-Identifier: MIT
 *
 * test_turns.c - whose request gets the next free slot: clients take turns however many requests
 * each has waiting, one client's are answered in order, and nobody is lost on the way. The model's
 * thread is held at its first news, so that the whole queue is there before it chooses; where the
 * order matters its time is counted in turns, which take the same for everybody.
 */
#include "counting.h"

#include "newsreader_sched.h"

#define N_MAX 64

static nr_sched *open_sched(int32_t n_slots) {
    nr_sched_options o = nr_sched_options_default();
    nr_sched *sched = NULL;
    o.n_slots = n_slots;
    o.n_queued = N_MAX;
    o.notify = gate_pass;
    MUST(nr_sched_open(engine, &o, &sched, err));
    return sched;
}

static nr_job *submit(nr_sched *sched, int32_t client) {
    static const char *const questions[] = {"What?"};
    nr_request r = nr_request_default();
    nr_job *job = NULL;
    r.questions = questions;
    r.n_questions = 1;
    r.generation.max_tokens = 2;
    r.client = client;
    MUST(nr_sched_submit(sched, &r, &job, err));
    return job;
}

/* When a slot took it, by the scheduler's own clock; how it ended. */
static double started_ms(nr_job *job, nr_status *status) {
    double start_ms = 0;
    nr_record record;
    do {
        if (!nr_job_take_record(job, 60000, &record)) fail_msg("a minute without news");
        if (record.kind == NR_RECORD_START) start_ms = job->submitted_ms + record.stats.queued_ms;
    } while (record.kind != NR_RECORD_END);
    *status = record.status;
    return start_ms;
}

/* Requests of these clients, all waiting before the first is looked at: order[k] is the index of
 * the one that was answered k-th. */
static void run(const int32_t *clients, int n, int *order) {
    nr_scheduler *s = counting_open(1);
    nr_job *jobs[N_MAX];
    double start_ms[N_MAX];
    nr_status status;
    gate_allow(0);
    for (int i = 0; i < n; i++) {
        jobs[i] = counting_submit(s, &(counting_ask){clients[i], 1, 2, 0, 0});
        while (i == 0 && nr_scheduler_get_stats(s).n_running == 0) usleep(100);
    }
    gate_allow(-1);
    for (int i = 0; i < n; i++) {
        start_ms[i] = started_ms(jobs[i], &status);
        assert_int_equal(status, NR_STATUS_OK);
        int at = i; /* sorted in */
        for (; at > 0 && start_ms[order[at - 1]] > start_ms[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    assert_int_equal(nr_scheduler_get_stats(s).n_done, n);
    assert_int_equal(nr_scheduler_get_stats(s).n_queued, 0);
    for (int i = 0; i < n; i++) nr_job_release(jobs[i]);
    nr_scheduler_free(s);
}

static void test_flood(void **state) {
    static const int32_t clients[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 255};
    static const int expected[] = {0, 10, 12, 1, 11, 2, 3, 4, 5, 6, 7, 8, 9};
    int order[N_MAX];
    (void)state;
    run(clients, NR_COUNT(clients), order);
    for (size_t i = 0; i < NR_COUNT(clients); i++) assert_int_equal(order[i], expected[i]);
}

static void test_one_client(void **state) {
    static const int32_t clients[19];
    int order[N_MAX];
    (void)state;
    run(clients, 19, order);
    for (int i = 0; i < 19; i++) assert_int_equal(order[i], i);
}

/* No client is served twice while another has one request waiting: checked as counts, for queues
 * made at random. */
static void test_random(void **state) {
    uint32_t random = 12345;
    (void)state;
    for (int round = 0; round < 20; round++) {
        int32_t clients[N_MAX], n_waiting[8] = {0}, last[8];
        int order[N_MAX], n = 10 + round * 2;
        for (int i = 0; i < n; i++) {
            random = random * 1664525u + 1013904223u;
            clients[i] = (int32_t)(random >> 24) % (1 + round % 8);
            n_waiting[clients[i]]++;
        }
        for (int c = 0; c < 8; c++) last[c] = -1;
        run(clients, n, order);
        for (int k = 0; k < n; k++) {
            int32_t c = clients[order[k]];
            for (int other = 0; other < 8; other++)
                if (n_waiting[other] > 0 && last[other] < last[c])
                    fail_msg("round %d: %d before %d", round, c, other);
            for (int i = 0; i < order[k]; i++) /* of one client the oldest first */
                if (clients[i] == c)
                    for (int later = k + 1; later < n; later++) assert_true(order[later] != i);
            n_waiting[c]--;
            last[c] = k;
        }
    }
}

/* Taken out at the end, in the middle and at the beginning of the queue; then more come. */
static void test_cancelled_in_queue(void **state) {
    nr_sched *sched = open_sched(1);
    nr_job *jobs[12];
    int n_done = 0;
    (void)state;
    gate_allow(0);
    for (int i = 0; i < 8; i++) {
        jobs[i] = submit(sched, i % 3);
        while (i == 0 && nr_sched_get_stats(sched).n_running == 0) usleep(100);
    }
    nr_job_cancel(jobs[7]);
    nr_job_cancel(jobs[4]);
    nr_job_cancel(jobs[1]);
    gate_allow(-1);
    for (int i = 8; i < 12; i++) jobs[i] = submit(sched, i % 3);
    for (int i = 0; i < 12; i++) {
        nr_status status;
        started_ms(jobs[i], &status);
        n_done += status == NR_STATUS_OK;
        nr_job_close(jobs[i]);
    }
    assert_int_equal(n_done, 9);
    assert_int_equal(nr_sched_get_stats(sched).n_free, 1 + N_MAX);
    nr_sched_close(sched);
}

static void test_range(void **state) {
    static const char *const questions[] = {"What?"};
    static const int32_t bad[] = {-1, NR_CLIENTS_MAX};
    nr_sched *sched = open_sched(1);
    nr_request r = nr_request_default();
    nr_job *job = NULL;
    nr_error e = {0};
    (void)state;
    r.questions = questions;
    r.n_questions = 1;
    for (size_t i = 0; i < NR_COUNT(bad); i++) {
        r.client = bad[i];
        assert_int_equal(nr_sched_submit(sched, &r, &job, &e), NR_STATUS_ARG);
        assert_non_null(strstr(e.message, "client: "));
    }
    nr_sched_close(sched);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flood), cmocka_unit_test(test_one_client),
        cmocka_unit_test(test_random), cmocka_unit_test(test_cancelled_in_queue),
        cmocka_unit_test(test_range)};
    return cmocka_run_group_tests(tests, counting_set_up, counting_tear_down);
}
