/* SPDX-License-Identifier: MIT
 *
 * nr_threads.c - see nr_threads.h.
 *
 * A job is published by storing its description and raising `generation`; chunks are handed out by
 * one atomic counter. Workers that finish the job decrement `n_busy`; the caller spins on it (it
 * has just run out of work itself, so the wait is one chunk at most).
 *
 * Idle workers poll `generation` for SPIN_ROUNDS, then wait on the condition variable. Publishing
 * takes the mutex only to make sleepers visible.
 */
#define _GNU_SOURCE
#include "nr_threads.h"

#include "nr_alloc.h"
#include "nr_cgroup.h"
#include "nr_limits.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

/* Kernels keep a few KiB of tiles on the stack; the system's default of 8 MiB a thread would count
 * against an address-space limit. */
#define STACK_BYTES ((size_t)512 << 10)
#define SPIN_ROUNDS 20000 /* 0.1 to 1 ms of `pause`: layers follow each other faster */

typedef struct worker {
    nr_pool *pool;
    pthread_t thread;
    int i_thread;
} worker;

struct nr_pool {
    int n_threads;
    worker *workers; /* owns [n_threads - 1] */
    int n_started;
    pthread_mutex_t sleep_lock; /* guards waiting on wake */
    pthread_cond_t wake;
    atomic_uint generation; /* raised once a job */
    atomic_bool quit;
    atomic_int n_busy;
    /* the job; written before generation is raised */
    nr_pool_fn fn;
    void *ctx;
    int64_t n_items, grain;
    /* A cache line apart from what every worker reads. Padding, not _Alignas: the block comes from
     * nr_calloc, which aligns to 16 bytes. */
    char pad[64];
    atomic_int_fast64_t next;
};

static inline void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_chunks(nr_pool *pool, int i_thread) {
    for (;;) {
        int64_t begin = atomic_fetch_add(&pool->next, pool->grain);
        if (begin >= pool->n_items) return;
        int64_t end = NR_MIN(begin + pool->grain, pool->n_items);
        pool->fn(pool->ctx, begin, end, i_thread);
    }
}

static unsigned wait_for_job(nr_pool *pool, unsigned seen) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        unsigned now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen) return now;
        cpu_relax();
    }
    pthread_mutex_lock(&pool->sleep_lock);
    unsigned now;
    while ((now = atomic_load(&pool->generation)) == seen)
        pthread_cond_wait(&pool->wake, &pool->sleep_lock);
    pthread_mutex_unlock(&pool->sleep_lock);
    return now;
}

static void *worker_main(void *arg) {
    worker *w = arg;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_job(w->pool, seen);
        if (atomic_load(&w->pool->quit)) return NULL;
        take_chunks(w->pool, w->i_thread);
        atomic_fetch_sub_explicit(&w->pool->n_busy, 1, memory_order_release);
    }
}

static void publish(nr_pool *pool) {
    pthread_mutex_lock(&pool->sleep_lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->sleep_lock);
}

void nr_pool_run(nr_pool *pool, int64_t n_items, int64_t grain, nr_pool_fn fn, void *ctx) {
    NR_ASSERT(grain > 0);
    if (n_items <= 0) return;
    if (pool->n_started == 0 || n_items <= grain) { /* the same chunks, without waking anyone */
        for (int64_t begin = 0; begin < n_items; begin += NR_MIN(grain, n_items - begin))
            fn(ctx, begin, begin + NR_MIN(grain, n_items - begin), 0);
        return;
    }
    pool->fn = fn;
    pool->ctx = ctx;
    pool->n_items = n_items;
    pool->grain = grain;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->n_busy, pool->n_started);
    publish(pool);
    take_chunks(pool, 0);
    for (int i = 0; atomic_load_explicit(&pool->n_busy, memory_order_acquire) > 0; i++) {
        if (i < SPIN_ROUNDS) cpu_relax();
        else sched_yield(); /* a worker was descheduled: let it have this core */
    }
}

int nr_cpu_count(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                        : (int)sysconf(_SC_NPROCESSORS_ONLN);
    int allowed = nr_cgroup_cpu_count(NR_CGROUP_MEMBERSHIP, NR_CGROUP_ROOT);
    if (allowed > 0) n = NR_MIN(n, allowed); /* more would be stopped in the midst of a layer */
    return NR_MAX(1, n);
}

int nr_pool_size(const nr_pool *pool) {
    return pool->n_threads;
}

static bool start_worker(worker *w) {
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0) return false;
    bool ok = pthread_attr_setstacksize(&attr, STACK_BYTES) == 0 &&
              pthread_create(&w->thread, &attr, worker_main, w) == 0;
    pthread_attr_destroy(&attr);
    return ok;
}

nr_status nr_pool_create(int n_threads, nr_pool **out, nr_error *err) {
    NR_FAIL_IF(n_threads < 0 || n_threads > NR_THREADS_MAX, LIMIT, "threads: %d, expected 0 to %d",
               n_threads, NR_THREADS_MAX);
    if (n_threads == 0) n_threads = NR_MIN(nr_cpu_count(), NR_THREADS_MAX);
    nr_pool *pool = nr_calloc(1, sizeof *pool);
    NR_FAIL_IF(!pool, NO_MEMORY, "thread pool");
    pool->workers = nr_calloc((size_t)n_threads, sizeof *pool->workers);
    if (!pool->workers) {
        nr_free(pool);
        NR_FAIL(NO_MEMORY, "thread pool of %d", n_threads);
    }
    pool->n_threads = n_threads;
    pthread_mutex_init(&pool->sleep_lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (int i = 1; i < n_threads; i++) {
        worker *w = &pool->workers[i - 1];
        *w = (worker){.pool = pool, .i_thread = i};
        if (!start_worker(w)) {
            nr_pool_free(pool);
            NR_FAIL(NO_MEMORY, "the system refused thread %d of %d", i + 1, n_threads);
        }
        pool->n_started++;
    }
    *out = pool;
    return NR_STATUS_OK;
}

void nr_pool_free(nr_pool *pool) {
    if (!pool) return;
    atomic_store(&pool->quit, true);
    publish(pool);
    for (int i = 0; i < pool->n_started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->sleep_lock);
    nr_free(pool->workers);
    nr_free(pool);
}
