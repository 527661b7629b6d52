/* SPDX-License-Identifier: MIT
 *
 * nr_alloc.c - see nr_alloc.h. The counters are the only process-wide state of the library; they
 * are atomics, so any thread may allocate.
 */
#define _GNU_SOURCE
#include "nr_alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#define PAGE_BYTES ((size_t)4096) /* the smallest there is */

static atomic_uint_fast64_t n_calls, n_library_calls, n_live, n_page_bytes;
static atomic_uint_fast64_t fail_countdown; /* 0: off; 1: the next one fails */
static atomic_bool fail_sticky, fail_happened;

static bool refuse_this_one(void) {
    atomic_fetch_add(&n_calls, 1);
    uint_fast64_t left = atomic_load(&fail_countdown);
    while (left != 0) {
        if (left == 1 && atomic_load(&fail_sticky)) {
            atomic_store(&fail_happened, true);
            return true;
        }
        if (atomic_compare_exchange_weak(&fail_countdown, &left, left - 1)) {
            if (left == 1) atomic_store(&fail_happened, true);
            return left == 1;
        }
    }
    return false;
}

static void *counted(void *block) {
    if (block) atomic_fetch_add(&n_live, 1);
    return block;
}

void *nr_malloc(size_t bytes) {
    if (refuse_this_one()) return NULL;
    return counted(malloc(bytes ? bytes : 1));
}

void *nr_malloc_for_library(size_t bytes) {
    atomic_fetch_add(&n_library_calls, 1);
    return nr_malloc(bytes);
}

void *nr_calloc(size_t count, size_t item_bytes) {
    if (refuse_this_one()) return NULL;
    return counted(calloc(count ? count : 1, item_bytes ? item_bytes : 1));
}

void *nr_realloc(void *owned, size_t bytes) {
    if (refuse_this_one()) return NULL;
    void *block = realloc(owned, bytes ? bytes : 1);
    if (block && !owned) atomic_fetch_add(&n_live, 1);
    return block;
}

void nr_free(void *owned) {
    if (!owned) return;
    atomic_fetch_sub(&n_live, 1);
    free(owned);
}

void nr_trim_heap(void) {
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void *nr_map_pages(size_t bytes, bool huge_pages) {
    if (bytes == 0 || refuse_this_one()) return NULL;
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
    if (huge_pages) (void)madvise(block, bytes, MADV_HUGEPAGE);
#else
    (void)huge_pages;
#endif
    atomic_fetch_add(&n_page_bytes, bytes);
    return counted(block);
}

void nr_unmap_pages(void *owned, size_t bytes) {
    if (!owned) return;
    munmap(owned, bytes);
    atomic_fetch_sub(&n_page_bytes, bytes);
    atomic_fetch_sub(&n_live, 1);
}

/* One call where the kernel knows MADV_POPULATE_WRITE (5.14), else a write to each page. */
void nr_touch_pages(void *block, size_t bytes) {
#ifdef MADV_POPULATE_WRITE
    if (madvise(block, bytes, MADV_POPULATE_WRITE) == 0) return;
#endif
    volatile uint8_t *p = block;
    for (size_t at = 0; at < bytes; at += PAGE_BYTES) p[at] = p[at];
}

void nr_drop_pages(void *block, size_t bytes) {
    (void)madvise(block, bytes, MADV_DONTNEED);
}

nr_alloc_stats nr_alloc_get_stats(void) {
    return (nr_alloc_stats){.calls = atomic_load(&n_calls),
                            .library_calls = atomic_load(&n_library_calls),
                            .live_count = atomic_load(&n_live),
                            .page_bytes = atomic_load(&n_page_bytes)};
}

void nr_alloc_fail_nth(uint64_t n, bool sticky) {
    atomic_store(&fail_happened, false);
    atomic_store(&fail_sticky, sticky);
    atomic_store(&fail_countdown, n);
}

bool nr_alloc_fail_happened(void) {
    return atomic_load(&fail_happened);
}
