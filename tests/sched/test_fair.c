/* SPDX-License-Identifier: MIT
 *
 * test_fair.c - the model's time shared out, with times made up: who goes first, what a client that
 * was away is owed, and that nobody is kept from the model for long.
 */
#include "../engine/engine_fixture.h"

#include "fair.h"

/* A turn of the scheduler: these clients, to -1, want the model. */
static void turn(nr_fair *f, const int32_t *clients) {
    nr_fair_begin(f);
    for (; *clients >= 0; clients++) nr_fair_want(f, *clients);
    nr_fair_settle(f);
}

static void serve(nr_fair *f, int32_t client, double ms) {
    nr_fair_serve(f, client);
    nr_fair_charge(f, client, ms);
    nr_fair_learn(f, ms);
}

/* Requests that take the same: by turns, whatever else was before. */
static void test_equal_requests(void **state) {
    static const int32_t both[] = {3, 200, -1};
    nr_fair f = {0};
    (void)state;
    turn(&f, both);
    int32_t last = nr_fair_first(&f, 3, 200) ? 200 : 3;
    for (int i = 0; i < 100; i++) {
        turn(&f, both);
        int32_t now = nr_fair_first(&f, 3, 200) ? 3 : 200;
        assert_int_equal(now, last == 3 ? 200 : 3);
        serve(&f, now, 100);
        last = now;
    }
}

/* One asks for ten times as much a request: of the time both have half. */
static void test_unequal_requests(void **state) {
    static const int32_t both[] = {0, 1, -1};
    nr_fair f = {0};
    double ms[2] = {0};
    int n[2] = {0};
    (void)state;
    for (int i = 0; i < 2000; i++) {
        turn(&f, both);
        int32_t now = nr_fair_first(&f, 0, 1) ? 0 : 1;
        serve(&f, now, now == 0 ? 100 : 10);
        ms[now] += now == 0 ? 100 : 10;
        n[now]++;
    }
    assert_true(n[1] > 8 * n[0]);
    assert_true(fabs(ms[0] - ms[1]) < 300);
}

/* An hour of one alone, then another: it goes first for four requests, three of which hold
 * the first back, then they take turns. The same after every absence, whoever was away. */
static void test_credit(void **state) {
    static const int32_t only[] = {0, -1}, both[] = {0, 1, -1};
    nr_fair f = {0};
    (void)state;
    for (int round = 0; round < 3; round++) {
        int n_held = 0, n[2] = {0};
        for (int i = 0; i < 36000; i++) {
            turn(&f, only);
            serve(&f, 0, 100);
        }
        turn(&f, both);
        assert_true(nr_fair_behind(&f, 1, 0));
        assert_false(nr_fair_behind(&f, 0, 1));
        for (int i = 0; i < 100; i++) {
            turn(&f, both);
            n_held += nr_fair_behind(&f, 1, 0);
            assert_false(nr_fair_behind(&f, 0, 1));
            int32_t now = nr_fair_first(&f, 0, 1) ? 0 : 1;
            serve(&f, now, 100);
            n[now]++;
        }
        assert_int_equal(n_held, 3); /* what is owed, and the one under way when it came */
        assert_in_range(n[1], 52, 53);
        turn(&f, (const int32_t[]){1, -1}); /* now the first is away */
        for (int i = 0; i < 1000; i++) {
            turn(&f, (const int32_t[]){1, -1});
            serve(&f, 1, 100);
        }
        turn(&f, both);
        assert_true(nr_fair_behind(&f, 0, 1));
        assert_true(f.used_ms[0] >= f.past_ms - 3 * f.request_ms);
    }
}

/* Nobody had anything yet, or nobody wants anything. */
static void test_nothing(void **state) {
    static const int32_t none[] = {-1}, both[] = {0, 255, -1};
    nr_fair f = {0};
    (void)state;
    turn(&f, none);
    assert_true(f.past_ms == 0);
    turn(&f, both);
    assert_false(nr_fair_behind(&f, 0, 255) || nr_fair_behind(&f, 255, 0));
    nr_fair_charge(&f, 255, 5);
    turn(&f, both);
    assert_true(nr_fair_behind(&f, 0, 255)); /* before a request's worth is known: who had less */
}

/* Clients come, ask for what they like and go, at random, each time with new credit: who wants the
 * model all the time never waits longer than for that credit and a request of each. */
static void test_never_long(void **state) {
    enum { N = 12 };
    uint32_t random = 777;
    nr_fair f = {0};
    double waited = 0, longest = 0, total = 0, had = 0;
    bool there[N] = {true};
    (void)state;
    for (int i = 0; i < 200000; i++) {
        int32_t clients[N + 1], n = 0, now = -1;
        for (int32_t c = 0; c < N; c++) {
            random = random * 1664525u + 1013904223u;
            if (c > 0 && random >> 24 < 8) there[c] = !there[c];
            if (there[c]) clients[n++] = c;
        }
        clients[n] = -1;
        turn(&f, clients);
        for (int k = 0; k < n; k++)
            if (now < 0 || nr_fair_first(&f, clients[k], now)) now = clients[k];
        double ms = 50 + (random >> 16) % 100;
        serve(&f, now, ms);
        total += ms / n;
        had += now == 0 ? ms : 0;
        waited = now == 0 ? 0 : waited + ms;
        longest = fmax(longest, waited);
    }
    print_message("longest %.0f ms, had %.2f of its share\n", longest, had / total);
    assert_true(longest < (N - 1) * (4 * 100 + 150));
    assert_true(had > 0.6 * total);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_requests), cmocka_unit_test(test_unequal_requests),
        cmocka_unit_test(test_credit), cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_never_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
