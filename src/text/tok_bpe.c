/* SPDX-License-Identifier: MIT
 *
 * tok_bpe.c - byte-pair encoding of one word: symbols in a doubly linked list, candidate merges in
 * a binary heap ordered by (rank, position). Each merge adds at most two candidates and removes
 * one, so a word of n symbols costs O(n log n) and the heap never holds more than 2n entries.
 *
 * A candidate is stale when its left symbol is gone or the pair at its position has another rank
 * by now; positions only grow to the right, so an equal rank means the same pair.
 */
#include "tok_internal.h"
#include "utf8.h"

typedef struct heap {
    uint64_t *items; /* rank << 32 | position of the left symbol */
    size_t n, cap;
} heap;

static void heap_push(heap *h, uint64_t item) {
    NR_ASSERT(h->n < h->cap);
    size_t i = h->n++;
    while (i > 0) {
        size_t up = (i - 1) / 2;
        if (h->items[up] <= item) break;
        h->items[i] = h->items[up];
        i = up;
    }
    h->items[i] = item;
}

static uint64_t heap_pop(heap *h) {
    uint64_t top = h->items[0], last = h->items[--h->n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n) break;
        if (child + 1 < h->n && h->items[child + 1] < h->items[child]) child++;
        if (last <= h->items[child]) break;
        h->items[i] = h->items[child];
        i = child;
    }
    if (h->n) h->items[i] = last;
    return top;
}

static const nr_merge *merge_at(const nr_encode_run *run, int32_t pos) {
    const nr_symbol *s = run->enc->symbols;
    if (s[pos].next < 0) return NULL;
    return nr_tok_tables_merge(&run->tok->tables, s[pos].id, s[s[pos].next].id);
}

static void consider(const nr_encode_run *run, heap *h, int32_t pos) {
    const nr_merge *m = merge_at(run, pos);
    if (m) heap_push(h, (uint64_t)(uint32_t)m->rank << 32 | (uint32_t)pos);
}

static void merge_all(nr_encode_run *run, size_t n) {
    nr_symbol *s = run->enc->symbols;
    heap h = {run->enc->heap, 0, 2 * run->enc->symbol_cap};
    for (size_t i = 0; i + 1 < n; i++) consider(run, &h, (int32_t)i);
    while (h.n) {
        uint64_t top = heap_pop(&h);
        int32_t pos = (int32_t)(top & 0xffffffffu);
        const nr_merge *m = s[pos].id < 0 ? NULL : merge_at(run, pos);
        if (!m || (uint32_t)m->rank != top >> 32) continue;
        int32_t gone = s[pos].next;
        s[pos].id = m->id;
        s[pos].next = s[gone].next;
        s[gone].id = -1;
        if (s[pos].next >= 0) s[s[pos].next].prev = pos;
        if (s[pos].prev >= 0) consider(run, &h, s[pos].prev);
        consider(run, &h, pos);
    }
}

static nr_status add_symbol(nr_encode_run *run, size_t *n, int32_t id) {
    nr_error *err = run->err;
    NR_FAIL_IF(*n == run->enc->symbol_cap, LIMIT, "a word of more than %zu symbols",
               run->enc->symbol_cap);
    run->enc->symbols[(*n)++].id = id;
    return NR_STATUS_OK;
}

/* Entry of the vocabulary that ordinary text may become, or -1. */
static int32_t plain_id(const nr_tokenizer *tok, const uint8_t *text, size_t n) {
    int32_t id = nr_tok_tables_find(&tok->tables, text, n);
    return id >= 0 && (tok->tables.pieces[id].flags & NR_PIECE_SPECIAL) ? -1 : id;
}

static bool has_byte_ids(const nr_tokenizer *tok, const uint8_t *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (tok->byte_id[text[i]] < 0) return false;
    return true;
}

/* One symbol a character; what the vocabulary lacks becomes bytes, or the unknown token (a run of
 * them one token when fused), or nothing. */
static nr_status first_symbols(nr_encode_run *run, const uint8_t *word, size_t n_bytes,
                               size_t *n_out) {
    const nr_tokenizer *tok = run->tok;
    size_t n = 0, i = 0;
    bool after_unknown = false;
    while (i < n_bytes) {
        size_t bytes = tok->byte_level ? 1 : nr_utf8_next(word + i, n_bytes - i).bytes;
        int32_t id = tok->byte_level ? tok->byte_id[word[i]] : plain_id(tok, word + i, bytes);
        bool unknown = false;
        if (id >= 0) {
            NR_TRY(add_symbol(run, &n, id));
        } else if (!tok->byte_level && tok->byte_fallback && has_byte_ids(tok, word + i, bytes)) {
            for (size_t b = 0; b < bytes; b++)
                NR_TRY(add_symbol(run, &n, tok->byte_id[word[i + b]]));
        } else {
            unknown = true;
            if (tok->unk_id >= 0 && !(after_unknown && tok->fuse_unk))
                NR_TRY(add_symbol(run, &n, tok->unk_id));
        }
        after_unknown = unknown;
        i += bytes;
    }
    *n_out = n;
    return NR_STATUS_OK;
}

nr_status nr_tok_bpe_word(nr_encode_run *run, const uint8_t *word, size_t n_bytes) {
    const nr_tokenizer *tok = run->tok;
    if (tok->ignore_merges && n_bytes <= NR_TOKEN_BYTES_MAX) {
        int32_t whole = plain_id(tok, word, n_bytes);
        if (whole >= 0) {
            nr_id_list_push(run->out, whole);
            return NR_STATUS_OK;
        }
    }
    size_t n;
    NR_TRY(first_symbols(run, word, n_bytes, &n));
    nr_symbol *s = run->enc->symbols;
    for (size_t i = 0; i < n; i++) {
        s[i].prev = (int32_t)i - 1;
        s[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    }
    if (n > 1) merge_all(run, n);
    for (int32_t i = n ? 0 : -1; i >= 0; i = s[i].next) nr_id_list_push(run->out, s[i].id);
    return NR_STATUS_OK;
}
