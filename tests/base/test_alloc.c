/* SPDX-License-Identifier: MIT
 *
 * The allocator's counts and its injected failures, which every out-of-memory test relies on; and
 * the checked size arithmetic.
 */
#include "base_test.h"
#include "nr_alloc.h"

#include <pthread.h>

static void counts_live_blocks(void **state) {
    (void)state;
    nr_alloc_stats start = nr_alloc_get_stats();
    void *a = nr_malloc(0), *b = nr_calloc(0, 8), *c = nr_realloc(NULL, 10);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_int_equal(nr_alloc_get_stats().live_count, start.live_count + 3);
    c = nr_realloc(c, 100000);
    assert_non_null(c);
    c = nr_realloc(c, 0);
    assert_non_null(c);
    assert_int_equal(nr_alloc_get_stats().live_count, start.live_count + 3);
    void *pages = nr_map_pages(123456, true);
    assert_non_null(pages);
    assert_int_equal(nr_alloc_get_stats().live_count, start.live_count + 4);
    assert_int_equal(nr_alloc_get_stats().page_bytes, start.page_bytes + 123456);
    assert_null(nr_map_pages(0, false));
    nr_unmap_pages(pages, 123456);
    nr_free(a);
    nr_free(b);
    nr_free(c);
    nr_free(NULL);
    nr_unmap_pages(NULL, 5);
    assert_int_equal(nr_alloc_get_stats().live_count, start.live_count);
    assert_int_equal(nr_alloc_get_stats().page_bytes, start.page_bytes);
    assert_int_equal(nr_alloc_get_stats().calls - start.calls, 6);
}

static bool allocate_one(void) {
    void *p = nr_malloc(16);
    nr_free(p);
    return p != NULL;
}

static void nth_allocation_fails_once(void **state) {
    (void)state;
    for (uint64_t n = 1; n < 6; n++) {
        nr_alloc_fail_nth(n, false);
        for (uint64_t i = 1; i < 10; i++) {
            assert_int_equal(nr_alloc_fail_happened(), i > n);
            assert_int_equal(allocate_one(), i != n);
        }
        assert_true(nr_alloc_fail_happened());
    }
    nr_alloc_fail_nth(0, false);
    assert_false(nr_alloc_fail_happened());
    assert_true(allocate_one());
}

static void sticky_failure_stays(void **state) {
    (void)state;
    nr_alloc_fail_nth(3, true);
    for (int i = 1; i < 10; i++) assert_int_equal(allocate_one(), i < 3);
    nr_alloc_fail_nth(0, false);
    assert_true(allocate_one());
}

static void every_door_can_fail(void **state) {
    (void)state;
    uint64_t live = nr_alloc_get_stats().live_count;
    void *kept = nr_malloc(8);
    nr_alloc_fail_nth(1, true);
    assert_null(nr_malloc(1));
    assert_null(nr_calloc(1, 1));
    assert_null(nr_realloc(NULL, 1));
    assert_null(nr_realloc(kept, 100));
    assert_null(nr_map_pages(1, false));
    nr_alloc_fail_nth(0, false);
    nr_free(kept); /* still valid after the failed nr_realloc */
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void *allocate_many(void *arg) {
    uint64_t *n_failed = arg;
    for (int i = 0; i < 10000; i++) *n_failed += !allocate_one();
    return NULL;
}

static void one_failure_among_threads(void **state) {
    (void)state;
    uint64_t failed[4] = {0}, live = nr_alloc_get_stats().live_count;
    pthread_t threads[4];
    nr_alloc_fail_nth(5000, false);
    for (int i = 0; i < 4; i++) {
        int refused = pthread_create(&threads[i], NULL, allocate_many, &failed[i]);
        assert_int_equal(refused, 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    nr_alloc_fail_nth(0, false);
    assert_int_equal(failed[0] + failed[1] + failed[2] + failed[3], 1);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void checked_sizes(void **state) {
    (void)state;
    size_t out = 7;
    assert_false(nr_mul_size(SIZE_MAX, 2, &out));
    assert_false(nr_mul_size((size_t)1 << 32, (size_t)1 << 32, &out));
    assert_false(nr_add_size(SIZE_MAX, 1, &out));
    assert_int_equal(out, 7); /* untouched */
    assert_true(nr_mul_size(SIZE_MAX, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_true(nr_mul_size(SIZE_MAX, 0, &out));
    assert_int_equal(out, 0);
    assert_true(nr_add_size(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_int_equal(nr_round_up(0, 64), 0);
    assert_int_equal(nr_round_up(1, 64), 64);
    assert_int_equal(nr_round_up(64, 64), 64);
    assert_int_equal(nr_round_up(10, 3), 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_live_blocks),        cmocka_unit_test(nth_allocation_fails_once),
        cmocka_unit_test(sticky_failure_stays),      cmocka_unit_test(every_door_can_fail),
        cmocka_unit_test(one_failure_among_threads), cmocka_unit_test(checked_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
