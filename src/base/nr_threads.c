/* SPDX-License-Identifier: MIT
 *
 * nr_threads.c - see nr_threads.h.
 *
 * Chunks are handed out by one atomic counter. Nobody waits for a worker that has not begun: a job
 * is open until the caller finds no chunk left, workers enter it while it is open, and the caller
 * waits for those inside. So a worker that the system keeps from running costs nothing but its
 * help. (Waiting for every worker made two threads seven times slower than one where other
 * programs used the same two cores.)
 *
 * `state` holds the number of the job, whether it is open, and how many workers are inside; the
 * job's description is written while it is closed and empty. Whoever has to wait, worker or caller,
 * spins for SPIN_ROUNDS and then sleeps on a condition. Each side first says that it sleeps and
 * then looks at `state`, the other changes `state` and then looks for sleepers, all in sequential
 * order: one of them sees the other.
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
#define SPIN_ROUNDS 2000 /* 10 to 100 us of `pause`: layers follow each other faster */

#define INSIDE ((uint64_t)0x7fffffff) /* bits of `state`; above them the number of the job */
#define OPEN ((uint64_t)0x80000000)
#define JOB(state) ((state) >> 32)

typedef struct worker {
    nr_pool *pool;
    pthread_t thread;
    int i_thread;
} worker;

struct nr_pool {
    int n_threads;
    worker *workers; /* owns [n_threads - 1] */
    int n_started;
    pthread_mutex_t sleep_lock; /* guards waiting on wake and on left */
    pthread_cond_t wake;        /* workers: another job */
    pthread_cond_t left;        /* the caller: nobody inside */
    atomic_int n_sleeping;      /* workers waiting on wake */
    atomic_bool caller_sleeps;
    atomic_bool quit;
    /* the job */
    nr_pool_fn fn;
    void *ctx;
    int64_t n_items, grain;
    /* A cache line apart from what every worker reads. Padding, not _Alignas: the block comes from
     * nr_calloc, which aligns to 16 bytes. */
    char pad[64];
    _Atomic uint64_t state;
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

/* Returns once there is another job than `seen`, or the pool ends. */
static void wait_for_job(nr_pool *pool, uint64_t seen) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (JOB(atomic_load_explicit(&pool->state, memory_order_relaxed)) != seen) return;
        cpu_relax();
    }
    pthread_mutex_lock(&pool->sleep_lock);
    atomic_fetch_add(&pool->n_sleeping, 1);
    while (JOB(atomic_load(&pool->state)) == seen && !atomic_load(&pool->quit))
        pthread_cond_wait(&pool->wake, &pool->sleep_lock);
    atomic_fetch_sub(&pool->n_sleeping, 1);
    pthread_mutex_unlock(&pool->sleep_lock);
}

/* True: counted inside the job that is open now. *seen: the newest job. */
static bool enter(nr_pool *pool, uint64_t *seen) {
    uint64_t state = atomic_load(&pool->state);
    while (JOB(state) != *seen && (state & OPEN)) {
        if (!atomic_compare_exchange_weak(&pool->state, &state, state + 1)) continue;
        *seen = JOB(state);
        return true;
    }
    *seen = JOB(state);
    return false;
}

static void leave(nr_pool *pool) {
    uint64_t before = atomic_fetch_sub(&pool->state, 1);
    if ((before & INSIDE) != 1 || !atomic_load(&pool->caller_sleeps)) return;
    pthread_mutex_lock(&pool->sleep_lock);
    pthread_cond_signal(&pool->left);
    pthread_mutex_unlock(&pool->sleep_lock);
}

static void *worker_main(void *arg) {
    worker *w = arg;
    uint64_t seen = 0;
    for (;;) {
        wait_for_job(w->pool, seen);
        if (atomic_load(&w->pool->quit)) return NULL;
        if (!enter(w->pool, &seen)) continue;
        take_chunks(w->pool, w->i_thread);
        leave(w->pool);
    }
}

static void wake_workers(nr_pool *pool) {
    if (atomic_load(&pool->n_sleeping) == 0) return;
    pthread_mutex_lock(&pool->sleep_lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->sleep_lock);
}

/* Nobody enters any more; returns when nobody is inside. */
static void close_job(nr_pool *pool) {
    uint64_t state = atomic_fetch_and(&pool->state, ~OPEN);
    for (int i = 0; i < SPIN_ROUNDS && (state & INSIDE); i++) {
        cpu_relax();
        state = atomic_load(&pool->state);
    }
    if (!(state & INSIDE)) return;
    pthread_mutex_lock(&pool->sleep_lock);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->state) & INSIDE) pthread_cond_wait(&pool->left, &pool->sleep_lock);
    atomic_store(&pool->caller_sleeps, false);
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
    atomic_store(&pool->state, (JOB(atomic_load(&pool->state)) + 1) << 32 | OPEN);
    wake_workers(pool);
    take_chunks(pool, 0);
    close_job(pool);
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
    pthread_cond_init(&pool->left, NULL);
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
    wake_workers(pool);
    for (int i = 0; i < pool->n_started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->left);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->sleep_lock);
    nr_free(pool->workers);
    nr_free(pool);
}
