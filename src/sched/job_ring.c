/* SPDX-License-Identifier: MIT
 * job_ring.c - see job_ring.h. */
#include "job_ring.h"

#include <string.h>

static void put(nr_ring *r, const void *src, size_t n) {
    size_t at = (r->head + r->used) % r->cap, first = NR_MIN(n, r->cap - at);
    if (n == 0) return;
    memcpy(r->bytes + at, src, first);
    memcpy(r->bytes, (const uint8_t *)src + first, n - first);
    r->used += n;
}

static void take(nr_ring *r, void *dst, size_t n) {
    size_t first = NR_MIN(n, r->cap - r->head);
    if (n == 0) return;
    memcpy(dst, r->bytes + r->head, first);
    memcpy((uint8_t *)dst + first, r->bytes, n - first);
    r->head = (r->head + n) % r->cap;
    r->used -= n;
}

void nr_ring_put(nr_ring *r, const nr_record *record, const char *text) {
    NR_ASSERT(nr_ring_room(r) >= sizeof *record + record->n_bytes);
    put(r, record, sizeof *record);
    put(r, text, record->n_bytes);
}

bool nr_ring_take(nr_ring *r, nr_record *record, char *text) {
    if (r->used == 0) return false;
    take(r, record, sizeof *record);
    take(r, text, record->n_bytes);
    return true;
}
