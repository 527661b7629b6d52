/* SPDX-License-Identifier: MIT
 *
 * tok_wordpiece.c - WordPiece: from the left, the longest entry that fits; parts after the first
 * are looked up with the prefix ("##") before them. A word with a part that has no entry, or with
 * too many characters, becomes one unknown token.
 */
#include "tok_internal.h"
#include "utf8.h"

#include <string.h>

/* Longest entry at word[from..n): its id and *end, or -1. */
static int32_t longest(const nr_tokenizer *tok, const uint8_t *word, size_t from, size_t n,
                       size_t *end) {
    uint8_t text[NR_TOK_AFFIX_MAX + NR_TOKEN_BYTES_MAX];
    size_t prefix = from ? tok->subword_prefix.n : 0;
    memcpy(text, tok->subword_prefix.bytes, prefix);
    size_t take = NR_MIN(n - from, (size_t)NR_TOKEN_BYTES_MAX);
    memcpy(text + prefix, word + from, take);
    for (; take > 0; take--) {
        if (from + take < n && (word[from + take] & 0xc0) == 0x80) continue; /* inside one */
        int32_t id = nr_tok_tables_find(&tok->tables, text, prefix + take);
        if (id < 0 || (tok->tables.pieces[id].flags & NR_PIECE_SPECIAL)) continue;
        *end = from + take;
        return id;
    }
    return -1;
}

nr_status nr_tok_wordpiece_word(nr_encode_run *run, const uint8_t *word, size_t n_bytes) {
    const nr_tokenizer *tok = run->tok;
    size_t n_chars = 0, from = 0, end = 0, n_before = run->out->n;
    for (size_t i = 0; i < n_bytes; i++) n_chars += (word[i] & 0xc0) != 0x80;
    bool known = n_chars <= tok->word_chars_max;
    for (; known && from < n_bytes; from = end) {
        int32_t id = longest(tok, word, from, n_bytes, &end);
        known = id >= 0;
        if (known) nr_id_list_push(run->out, id);
    }
    if (known) return NR_STATUS_OK;
    run->out->n = n_before;
    nr_id_list_push(run->out, tok->unk_id);
    return NR_STATUS_OK;
}
