/* SPDX-License-Identifier: MIT
 * nr_arena.c - see nr_arena.h. */
#include "nr_arena.h"

#include "nr_alloc.h"

#if defined(__SANITIZE_ADDRESS__)
#define NR_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NR_HAS_ASAN 1
#endif
#endif

#ifdef NR_HAS_ASAN
#include <sanitizer/asan_interface.h>
#define RED_ZONE_BYTES ((size_t)NR_ALIGN_BYTES)
#else
#define RED_ZONE_BYTES ((size_t)0)
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

nr_arena nr_arena_measure(void) {
    return (nr_arena){0};
}

nr_arena nr_arena_within(void *block, size_t bytes) {
    return (nr_arena){.base = block, .cap = block ? bytes : 0, .borrowed = true};
}

nr_status nr_arena_alloc(nr_arena *a, bool huge_pages, const char *what, nr_error *err) {
    NR_ASSERT(!a->base && !a->borrowed);
    NR_FAIL_IF(a->overflow, LIMIT, "%s: planned size does not fit 64 bits", what);
    size_t bytes = NR_MAX(a->used, (size_t)1);
    a->base = nr_map_pages(bytes, huge_pages);
    NR_FAIL_IF(!a->base, NO_MEMORY, "%s: the system refused %zu bytes", what, bytes);
    nr_touch_pages(a->base, bytes);
    a->cap = bytes;
    a->used = 0;
    return NR_STATUS_OK;
}

void *nr_arena_take(nr_arena *a, size_t count, size_t item_bytes) {
    size_t bytes, span, end, red_zone = a->borrowed ? 0 : RED_ZONE_BYTES;
    if (!nr_mul_size(count, item_bytes, &bytes) || bytes > SIZE_MAX / 4 ||
        !nr_add_size(nr_round_up(bytes, NR_ALIGN_BYTES), red_zone, &span) ||
        !nr_add_size(a->used, span, &end) || end > SIZE_MAX / 2) {
        a->overflow = true;
        return NULL;
    }
    size_t offset = a->used;
    a->used = end;
    if (a->ledger) a->ledger->bytes[a->row][a->col] += span;
    if (!a->base) return NULL;
    NR_ASSERT(end <= a->cap);
    if (!a->borrowed) {
        ASAN_POISON_MEMORY_REGION(a->base + offset, span);
        ASAN_UNPOISON_MEMORY_REGION(a->base + offset, bytes);
    }
    return a->base + offset;
}

void nr_arena_free(nr_arena *a) {
    if (a->base && !a->borrowed) {
        ASAN_UNPOISON_MEMORY_REGION(a->base, a->cap);
        nr_unmap_pages(a->base, a->cap);
    }
    *a = (nr_arena){0};
}
