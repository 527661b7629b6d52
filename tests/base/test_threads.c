/* SPDX-License-Identifier: MIT
 *
 * The pool: every index exactly once, in chunks of at most the grain, no thread number used twice
 * at a time; idle workers cost no processor time; failures while creating leave nothing.
 */
#define _GNU_SOURCE
#include "base_test.h"
#include "nr_alloc.h"
#include "nr_limits.h"
#include "nr_threads.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define ITEMS_MAX 5000

typedef struct seen {
    int64_t n_items, grain;
    int n_threads;
    int times[ITEMS_MAX]; /* plain: items are disjoint, and a race is for ThreadSanitizer to see */
    atomic_int in_use[NR_THREADS_MAX];
    atomic_int n_bad;
} seen;

static void mark(void *ctx, int64_t begin, int64_t end, int i_thread) {
    seen *s = ctx;
    bool good = begin >= 0 && begin < end && end <= s->n_items && end - begin <= s->grain &&
                begin % s->grain == 0 && i_thread >= 0 && i_thread < s->n_threads;
    if (!good) {
        atomic_fetch_add(&s->n_bad, 1);
        return;
    }
    if (atomic_fetch_add(&s->in_use[i_thread], 1) != 0) atomic_fetch_add(&s->n_bad, 1);
    for (int64_t i = begin; i < end; i++) s->times[i]++;
    atomic_fetch_sub(&s->in_use[i_thread], 1);
}

static void every_index_exactly_once(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 3, 8};
    static const int64_t sizes[] = {0, 1, 2, 7, 64, 1000, 4097}, grains[] = {1, 3, 64, 5000};
    static seen s;
    for (size_t t = 0; t < NR_COUNT(threads); t++) {
        nr_pool *pool = NULL;
        nr_error err;
        assert_int_equal(nr_pool_create(threads[t], &pool, &err), NR_STATUS_OK);
        assert_int_equal(nr_pool_size(pool), threads[t]);
        for (size_t n = 0; n < NR_COUNT(sizes); n++)
            for (size_t g = 0; g < NR_COUNT(grains); g++) {
                memset(&s, 0, sizeof s);
                s.n_items = sizes[n];
                s.grain = grains[g];
                s.n_threads = threads[t];
                nr_pool_run(pool, sizes[n], grains[g], mark, &s);
                assert_int_equal(atomic_load(&s.n_bad), 0);
                for (int64_t i = 0; i < ITEMS_MAX; i++)
                    assert_int_equal(s.times[i], i < sizes[n] ? 1 : 0);
            }
        nr_pool_free(pool);
    }
}

static void add_one(void *ctx, int64_t begin, int64_t end, int i_thread) {
    (void)i_thread;
    int *values = ctx;
    for (int64_t i = begin; i < end; i++) values[i]++;
}

static void many_jobs_in_a_row(void **state) {
    (void)state;
    int values[16] = {0};
    nr_pool *pool = NULL;
    assert_int_equal(nr_pool_create(4, &pool, NULL), NR_STATUS_OK);
    for (int job = 0; job < 500; job++) nr_pool_run(pool, 16, 1, add_one, values);
    for (int i = 0; i < 16; i++) assert_int_equal(values[i], 500);
    nr_pool_free(pool);
}

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void idle_workers_sleep(void **state) {
    (void)state;
    int values[16] = {0};
    nr_pool *pool = NULL;
    assert_int_equal(nr_pool_create(4, &pool, NULL), NR_STATUS_OK);
    nr_pool_run(pool, 16, 1, add_one, values);
    /* They fall asleep sooner or later, on a busy machine later; spinning on, they would use all
     * of every interval. */
    double used = 0;
    for (int attempt = 0; attempt < 50; attempt++) {
        double before = cpu_ms();
        pause_ms(100);
        used = cpu_ms() - before;
        if (used < 10) break;
    }
    assert_true(used < 10);
    nr_pool_run(pool, 16, 1, add_one, values); /* and wake up again */
    for (int i = 0; i < 16; i++) assert_int_equal(values[i], 2);
    nr_pool_free(pool);
}

static void bad_sizes_are_refused(void **state) {
    (void)state;
    nr_pool *pool = NULL;
    nr_error err;
    assert_int_equal(nr_pool_create(-1, &pool, &err), NR_STATUS_LIMIT);
    assert_int_equal(nr_pool_create(NR_THREADS_MAX + 1, &pool, &err), NR_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "257"));
    assert_null(pool);
    assert_int_equal(nr_pool_create(0, &pool, &err), NR_STATUS_OK);
    assert_int_equal(nr_pool_size(pool), NR_MIN(nr_cpu_count(), NR_THREADS_MAX));
    nr_pool_free(pool);
    nr_pool_free(NULL);
}

static void failed_creation_leaves_nothing(void **state) {
    (void)state;
    uint64_t live = nr_alloc_get_stats().live_count;
    for (uint64_t n = 1;; n++) {
        nr_pool *pool = NULL;
        nr_alloc_fail_nth(n, false);
        nr_status status = nr_pool_create(3, &pool, NULL);
        bool failed = nr_alloc_fail_happened();
        nr_alloc_fail_nth(0, false);
        assert_int_equal(status, failed ? NR_STATUS_NO_MEMORY : NR_STATUS_OK);
        nr_pool_free(pool);
        assert_int_equal(nr_alloc_get_stats().live_count, live);
        if (!failed) break;
        assert_in_range(n, 1, 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_exactly_once),
        cmocka_unit_test(many_jobs_in_a_row),
        cmocka_unit_test(idle_workers_sleep),
        cmocka_unit_test(bad_sizes_are_refused),
        cmocka_unit_test(failed_creation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
