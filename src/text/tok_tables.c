/* SPDX-License-Identifier: MIT
 *
 * tok_tables.c - pieces by bytes, merges by pair. Both tables probe linearly and are at most half
 * full; a chain longer than PROBES_MAX (honest files stay below 100) is refused while loading, so
 * a crafted file cannot make loading or encoding quadratic.
 */
#include "nr_alloc.h"
#include "tok_internal.h"
#include "utf8.h"

#include <string.h>

#define PROBES_MAX 1024

static uint32_t mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return (uint32_t)h;
}

static uint32_t hash_bytes(const uint8_t *bytes, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ bytes[i]) * 0x100000001b3u;
    return mix(h);
}

static uint32_t hash_pair(int32_t left, int32_t right) {
    return mix(((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u);
}

/* Power of two, at least twice n. */
static uint32_t table_size(size_t n) {
    uint32_t size = 16;
    while (size < 2 * n) size *= 2;
    return size;
}

nr_status nr_tok_tables_init(nr_tok_tables *t, size_t n_ids, size_t n_bytes, size_t n_merges,
                             nr_error *err) {
    NR_FAIL_IF(n_ids > NR_VOCAB_MAX, LIMIT, "vocabulary reaches id %zu, at most %d ids", n_ids - 1,
               NR_VOCAB_MAX);
    NR_FAIL_IF(n_merges > NR_MERGES_MAX, LIMIT, "model.merges: %zu items, at most %d", n_merges,
               NR_MERGES_MAX);
    NR_FAIL_IF(n_bytes > UINT32_MAX / 2, LIMIT, "vocabulary text of %zu bytes", n_bytes);
    uint32_t n_slots = table_size(n_ids), n_merge_slots = table_size(n_merges);
    t->n_ids = (int32_t)n_ids;
    t->bytes_cap = n_bytes;
    t->bytes = nr_malloc(n_bytes);
    t->pieces = nr_calloc(n_ids, sizeof *t->pieces);
    t->slots = nr_malloc(n_slots * sizeof *t->slots);
    if (n_merges) t->merges = nr_malloc(n_merge_slots * sizeof *t->merges);
    NR_FAIL_IF(!t->bytes || !t->pieces || !t->slots || (n_merges && !t->merges), NO_MEMORY,
               "tokenizer of %zu ids and %zu merges", n_ids, n_merges);
    t->slot_mask = n_slots - 1;
    for (uint32_t i = 0; i < n_slots; i++) t->slots[i] = -1;
    t->merge_mask = n_merge_slots - 1;
    if (t->merges)
        for (uint32_t i = 0; i < n_merge_slots; i++) t->merges[i].left = -1;
    return NR_STATUS_OK;
}

void nr_tok_tables_free(nr_tok_tables *t) {
    nr_free(t->bytes);
    nr_free(t->pieces);
    nr_free(t->slots);
    nr_free(t->merges);
    *t = (nr_tok_tables){0};
}

uint32_t nr_tok_tables_store(nr_tok_tables *t, const void *bytes, size_t n_bytes) {
    NR_ASSERT(n_bytes <= t->bytes_cap - t->bytes_used);
    size_t offset = t->bytes_used;
    if (n_bytes) memcpy(t->bytes + offset, bytes, n_bytes);
    t->bytes_used += n_bytes;
    return (uint32_t)offset;
}

static bool piece_is(const nr_tok_tables *t, int32_t id, const uint8_t *bytes, size_t n) {
    const nr_piece *p = &t->pieces[id];
    return p->n_bytes == n && memcmp(t->bytes + p->offset, bytes, n) == 0;
}

nr_status nr_tok_tables_index(nr_tok_tables *t, int32_t id, nr_error *err) {
    const nr_piece *p = &t->pieces[id];
    const uint8_t *bytes = t->bytes + p->offset;
    uint32_t i = hash_bytes(bytes, p->n_bytes) & t->slot_mask, probes = 0;
    for (; t->slots[i] >= 0; i = (i + 1) & t->slot_mask) {
        NR_FAIL_IF(piece_is(t, t->slots[i], bytes, p->n_bytes), FORMAT,
                   "model.vocab: ids %d and %d are the same text", t->slots[i], id);
        NR_FAIL_IF(++probes > PROBES_MAX, FORMAT, "model.vocab: %u entries fall on one hash",
                   probes);
    }
    t->slots[i] = id;
    return NR_STATUS_OK;
}

int32_t nr_tok_tables_find(const nr_tok_tables *t, const uint8_t *bytes, size_t n_bytes) {
    uint32_t i = hash_bytes(bytes, n_bytes) & t->slot_mask;
    for (; t->slots[i] >= 0; i = (i + 1) & t->slot_mask)
        if (piece_is(t, t->slots[i], bytes, n_bytes)) return t->slots[i];
    return -1;
}

nr_status nr_tok_tables_add_merge(nr_tok_tables *t, nr_merge merge, nr_error *err) {
    uint32_t i = hash_pair(merge.left, merge.right) & t->merge_mask, probes = 0;
    for (; t->merges[i].left >= 0; i = (i + 1) & t->merge_mask) {
        if (t->merges[i].left == merge.left && t->merges[i].right == merge.right) break;
        NR_FAIL_IF(++probes > PROBES_MAX, FORMAT, "model.merges: %u pairs fall on one hash",
                   probes);
    }
    t->merges[i] = merge;
    return NR_STATUS_OK;
}

const nr_merge *nr_tok_tables_merge(const nr_tok_tables *t, int32_t left, int32_t right) {
    if (!t->merges) return NULL;
    uint32_t i = hash_pair(left, right) & t->merge_mask;
    for (; t->merges[i].left >= 0; i = (i + 1) & t->merge_mask)
        if (t->merges[i].left == left && t->merges[i].right == right) return &t->merges[i];
    return NULL;
}

/* GPT-2's alphabet: printable Latin-1 bytes are themselves, the 68 others follow from U+0100 on in
 * order of their value: 00..20 (33), 7F..A0 (34), AD. */
uint32_t nr_tok_byte_char(uint8_t byte) {
    if (byte <= 0x20) return 0x100u + byte;
    if (byte >= 0x7f && byte <= 0xa0) return 0x121u + byte - 0x7fu;
    return byte == 0xad ? 0x143u : byte;
}

static int byte_of_char(uint32_t code) {
    if (code >= 0x100 && code <= 0x120) return (int)(code - 0x100);
    if (code >= 0x121 && code <= 0x142) return (int)(code - 0x121 + 0x7f);
    if (code == 0x143) return 0xad;
    if (code > 0xff || code <= 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0xad) return -1;
    return (int)code;
}

bool nr_tok_unspell(const uint8_t *text, size_t n_bytes, uint8_t *dst, size_t *n_out) {
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        nr_utf8_step s = nr_utf8_next(text + i, n_bytes - i);
        int byte = s.kind == NR_UTF8_CHAR ? byte_of_char(s.code) : -1;
        if (byte < 0) return false;
        dst[n++] = (uint8_t)byte;
        i += s.bytes;
    }
    *n_out = n;
    return true;
}
