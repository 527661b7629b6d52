/* SPDX-License-Identifier: MIT
 *
 * nr_threads.h - a pool owned by one engine. nr_pool_run splits an index range into chunks that
 * the workers and the caller take in turn; it returns when all are done. Work items write disjoint
 * outputs and never reduce across items, so results do not depend on the number of threads.
 *
 * Workers spin briefly after a job (layers follow each other within microseconds), then sleep.
 * One caller at a time per pool; the callback must not call nr_pool_run on the same pool.
 */
#ifndef NR_THREADS_H
#define NR_THREADS_H

#include "nr_status.h"

typedef struct nr_pool nr_pool;

/* Half-open range [begin, end) of work items; i_thread in [0, nr_pool_size) picks scratch. */
typedef void (*nr_pool_fn)(void *ctx, int64_t begin, int64_t end, int i_thread);

/* n_threads 0: one per usable core. Errors: NO_MEMORY, LIMIT. */
nr_status nr_pool_create(int n_threads, nr_pool **out, nr_error *err);
void nr_pool_free(nr_pool *pool); /* accepts NULL; joins the workers */
int nr_pool_size(const nr_pool *pool);

/* Run fn over [0, n_items) in chunks of `grain` items (the last may be shorter). */
void nr_pool_run(nr_pool *pool, int64_t n_items, int64_t grain, nr_pool_fn fn, void *ctx);

/* Cores this process may use, at least 1: affinity and the control groups' quota are respected. */
int nr_cpu_count(void);

#endif
