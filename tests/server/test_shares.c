/* SPDX-License-Identifier: MIT
 *
 * test_shares.c - what a key may take of places, bytes, workers and decoders: all when it is the
 * only one there is, else never so much that the next key finds nothing.
 */
#include "../engine/engine_fixture.h"

#include "server_internal.h"

static int take_all(server *s, int key, uint64_t bytes) {
    int n = 0;
    while (share_take_place(s, key, bytes)) n++;
    return n;
}

static server make_server(int n_keys) {
    return (server){.n_keys = n_keys,
                    .admitted_max = 36,
                    .n_workers = SERVER_WORKERS,
                    .options.bodies_bytes_max = 128 << 20};
}

static void test_places(void **state) {
    server s = make_server(0);
    (void)state;
    assert_int_equal(take_all(&s, 0, 10), 36);
    s = make_server(1);
    assert_int_equal(take_all(&s, 0, 10), 36);
    s = make_server(5);
    assert_int_equal(take_all(&s, 3, 10), 18);
    assert_int_equal(take_all(&s, 1, 10), 9);
    assert_int_equal(take_all(&s, 4, 10), 5);
    assert_int_equal(take_all(&s, 0, 10), 2);
    share_return_place(&s, 3, 10);
    assert_int_equal(take_all(&s, 3, 10), 0); /* it still has more than is left */
    assert_true(share_take_place(&s, 2, 10));
    for (int i = 0; i < 17; i++) share_return_place(&s, 3, 10);
    for (int i = 0; i < 9; i++) share_return_place(&s, 1, 10);
    assert_int_equal(take_all(&s, 3, 10), 14);
    assert_int_equal(s.n_admitted, 5 + 2 + 1 + 14);
    assert_int_equal(s.bytes_admitted, 10 * s.n_admitted);
}

static void test_bytes(void **state) {
    server s = make_server(0);
    (void)state;
    assert_int_equal(take_all(&s, 0, 32 << 20), 4);
    s = make_server(2);
    assert_int_equal(take_all(&s, 0, 32 << 20), 2);
    assert_int_equal(take_all(&s, 1, 32 << 20), 1);
    assert_int_equal(take_all(&s, 1, (uint64_t)-1), 0);
}

/* A queue of tasks with these keys; which keys get workers, in order, -1 ends the list. */
static void check_workers(int n_keys, const int *keys, int n, const int *expected) {
    server s = make_server(n_keys);
    task all[32] = {0};
    pthread_cond_init(&s.work, NULL);
    for (int i = n - 1; i >= 0; i--) {
        all[i].key = keys[i];
        all[i].next = s.todo;
        s.todo = &all[i];
    }
    for (int k = 0; expected[k] >= 0; k++) {
        task *t = share_take_task(&s);
        assert_non_null(t);
        assert_int_equal(t - all, expected[k]);
    }
    assert_null(share_take_task(&s));
    if (s.todo && n_keys > 1) { /* one comes back and is used again */
        share_return_worker(&s, keys[0]);
        assert_non_null(share_take_task(&s));
        s.stopping = true; /* all that is left is to be taken, and cancelled */
        while (share_take_task(&s)) continue;
        assert_null(s.todo);
    }
    pthread_cond_destroy(&s.work);
}

static void test_workers(void **state) {
    static const int one[] = {0, 0, 0, 0, 0, 0, 0, 0};
    static const int flood[] = {0, 0, 0, 0, 0, 0, 1, 1, 2};
    (void)state;
    check_workers(0, one, 8, (const int[]){0, 1, 2, 3, 4, 5, 6, 7, -1});
    check_workers(2, one, 8, (const int[]){0, 1, 2, 3, -1});
    check_workers(3, flood, 9, (const int[]){0, 6, 8, 1, 7, 2, -1});
}

static void *take_decoder(void *arg) {
    share_take_decoder(arg, 0);
    return NULL;
}

/* The second picture of a key waits for its first; of two decoders the other key has one. */
static void test_decoders(void **state) {
    server s = make_server(2);
    pthread_t thread;
    (void)state;
    s.n_decoders = 2;
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.decoded, NULL);
    share_take_decoder(&s, 0);
    assert_int_equal(pthread_create(&thread, NULL, take_decoder, &s), 0);
    usleep(50000);
    share_take_decoder(&s, 1);
    assert_int_equal(s.uses[0].n_decoding, 1);
    share_return_decoder(&s, 1);
    usleep(50000);
    pthread_mutex_lock(&s.lock);
    assert_int_equal(s.uses[0].n_decoding, 1);
    pthread_mutex_unlock(&s.lock);
    share_return_decoder(&s, 0);
    pthread_join(thread, NULL);
    assert_int_equal(s.uses[0].n_decoding, 1);
    s.n_keys = 1; /* it is the only one: all are its own */
    share_take_decoder(&s, 0);
    assert_int_equal(s.n_decoding, 2);
    pthread_cond_destroy(&s.decoded);
    pthread_mutex_destroy(&s.lock);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places), cmocka_unit_test(test_bytes),
                                       cmocka_unit_test(test_workers),
                                       cmocka_unit_test(test_decoders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
