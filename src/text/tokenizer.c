/* SPDX-License-Identifier: MIT
 * tokenizer.c - look-ups in a loaded tokenizer, the set of added tokens, id lists. */
#include "tok_internal.h"

#include <stdlib.h>
#include <string.h>

size_t nr_tokenizer_bytes(const nr_tokenizer *tok) {
    const nr_tok_tables *t = &tok->tables;
    size_t bytes = sizeof *tok + t->bytes_cap + (size_t)t->n_ids * sizeof *t->pieces +
                   ((size_t)t->slot_mask + 1) * sizeof *t->slots;
    if (t->merges) bytes += ((size_t)t->merge_mask + 1) * sizeof *t->merges;
    bytes += tok->added_cap + ((size_t)tok->raw.n + tok->normalized.n) * sizeof(nr_added);
    for (uint32_t i = 0; i < tok->n_pretok; i++) {
        size_t code_bytes = 0;
        if (tok->pretok[i].code)
            (void)pcre2_pattern_info(tok->pretok[i].code, PCRE2_INFO_SIZE, &code_bytes);
        bytes += code_bytes;
    }
    return bytes;
}

int32_t nr_tokenizer_vocab_size(const nr_tokenizer *tok) {
    return tok->tables.n_ids;
}

static int32_t find_added(const nr_added_set *set, const uint8_t *text, size_t n) {
    for (uint32_t i = set->starts[text[0]]; i < set->starts[text[0] + 1]; i++)
        if (set->items[i].n_bytes == n && memcmp(set->items[i].text, text, n) == 0)
            return set->items[i].id;
    return -1;
}

int32_t nr_tokenizer_id(const nr_tokenizer *tok, const char *text, size_t n_bytes) {
    if (n_bytes == 0 || n_bytes > NR_TOKEN_BYTES_MAX) return -1;
    const uint8_t *bytes = (const uint8_t *)text;
    uint8_t raw[NR_TOKEN_BYTES_MAX];
    int32_t id = find_added(&tok->raw, bytes, n_bytes);
    if (id >= 0) return id;
    if (tok->byte_level) {
        size_t n;
        if (nr_tok_unspell(bytes, n_bytes, raw, &n)) id = nr_tok_tables_find(&tok->tables, raw, n);
    } else {
        id = nr_tok_tables_find(&tok->tables, bytes, n_bytes);
    }
    if (id >= 0) return id;
    /* Added tokens that are looked for in their normalised form, and spellings no text reaches. */
    for (id = 0; id < tok->tables.n_ids; id++) {
        const nr_piece *p = &tok->tables.pieces[id];
        if ((p->flags & NR_PIECE_HIDDEN) && p->n_bytes == n_bytes &&
            memcmp(tok->tables.bytes + p->offset, bytes, n_bytes) == 0)
            return id;
    }
    return -1;
}

bool nr_tokenizer_is_special(const nr_tokenizer *tok, int32_t id) {
    return id >= 0 && id < tok->tables.n_ids && (tok->tables.pieces[id].flags & NR_PIECE_SPECIAL);
}

nr_frame nr_tokenizer_frame(const nr_tokenizer *tok) {
    return (nr_frame){tok->prefix, tok->suffix, tok->n_prefix, tok->n_suffix};
}

static int by_text(const void *a, const void *b) {
    const nr_added *x = a, *y = b;
    int order = memcmp(x->text, y->text, NR_MIN(x->n_bytes, y->n_bytes));
    if (order) return order;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

void nr_added_set_sort(nr_added_set *set) {
    if (set->n) qsort(set->items, set->n, sizeof *set->items, by_text);
    uint32_t i = 0;
    for (unsigned b = 0; b < 256; b++) {
        set->starts[b] = i;
        while (i < set->n && set->items[i].text[0] == b) i++;
    }
    set->starts[256] = set->n;
}

/* Items that share the first d bytes of text are neighbours; each step narrows [low, high) to those
 * that go on with text[d]. A prefix of others sorts first among them. */
const nr_added *nr_added_set_longest(const nr_added_set *set, const uint8_t *text, size_t n_bytes) {
    const nr_added *best = NULL;
    if (n_bytes == 0) return NULL;
    uint32_t low = set->starts[text[0]], high = set->starts[text[0] + 1];
    for (size_t d = 1; low < high; d++) {
        if (set->items[low].n_bytes == d) best = &set->items[low++];
        while (low < high && set->items[low].n_bytes == d) low++; /* the same text again */
        if (d == n_bytes) break;
        uint32_t a = low, b = high; /* first item whose byte d is >= text[d] */
        while (a < b) {
            uint32_t mid = a + (b - a) / 2;
            if (set->items[mid].text[d] < text[d])
                a = mid + 1;
            else
                b = mid;
        }
        low = a;
        b = high; /* first item whose byte d is > text[d] */
        while (a < b) {
            uint32_t mid = a + (b - a) / 2;
            if (set->items[mid].text[d] <= text[d])
                a = mid + 1;
            else
                b = mid;
        }
        high = a;
    }
    return best;
}

void nr_id_list_push(nr_id_list *list, int32_t id) {
    if (list->n < list->cap) list->ids[list->n] = id;
    list->n++;
}

nr_status nr_id_list_check(const nr_id_list *list, nr_error *err) {
    NR_FAIL_IF(list->n > list->cap, LIMIT, "text of %zu tokens, at most %zu fit", list->n,
               list->cap);
    return NR_STATUS_OK;
}
