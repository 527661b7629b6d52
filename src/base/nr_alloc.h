/* SPDX-License-Identifier: MIT
 *
 * nr_alloc.h - the only door to malloc and mmap'd memory. Counts what is live, and can be told to
 * fail the n-th allocation so that tests walk every out-of-memory path. Any thread may call.
 */
#ifndef NR_ALLOC_H
#define NR_ALLOC_H

#include "nr_base.h"

void *nr_malloc(size_t bytes);                   /* NULL when refused; bytes may be 0 */
void *nr_calloc(size_t count, size_t item_bytes); /* zeroed; NULL if refused or it wraps */
void *nr_realloc(void *owned, size_t bytes);     /* owned stays valid when NULL is returned */
void nr_free(void *owned);                       /* accepts NULL */

/* Hand free pages of the heap back to the system: after parsing, before what stays is measured. */
void nr_trim_heap(void);

/* Large page-aligned zeroed blocks for arenas, straight from the kernel; untouched pages cost no
 * resident memory. huge_pages asks for transparent huge pages (weights are streamed through). */
void *nr_map_pages(size_t bytes, bool huge_pages); /* NULL when refused */
void nr_unmap_pages(void *owned, size_t bytes);    /* accepts NULL */
/* Take the pages of a block now, so that no later request waits or fails for them. */
void nr_touch_pages(void *block, size_t bytes);
/* Give the pages of a page-aligned block back; it reads as zeros afterwards. */
void nr_drop_pages(void *block, size_t bytes);

/* nr_malloc for the hook of a library that allocates while it works; counted apart as well. */
void *nr_malloc_for_library(size_t bytes);

typedef struct nr_alloc_stats {
    uint64_t calls;      /* allocations asked for since start */
    uint64_t library_calls; /* of these, through nr_malloc_for_library */
    uint64_t live_count; /* blocks not yet freed (page blocks included) */
    uint64_t page_bytes; /* live bytes of nr_map_pages */
} nr_alloc_stats;
nr_alloc_stats nr_alloc_get_stats(void);

/* Tests: the n-th allocation from now (1 = next) fails; sticky makes all later ones fail too.
 * 0 turns it off. */
void nr_alloc_fail_nth(uint64_t n, bool sticky);
/* True when an injected failure has happened since the last nr_alloc_fail_nth. */
bool nr_alloc_fail_happened(void);

#endif
