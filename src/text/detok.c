/* SPDX-License-Identifier: MIT
 *
 * detok.c - see detok.h. What a token gives was worked out while loading (nr_piece.text_offset), so
 * a push copies bytes, with three things kept across tokens: an unfinished character or run of byte
 * tokens, how many leading blanks are still to go, and whether a token has been seen.
 */
#include "detok.h"
#include "nr_alloc.h"
#include "tok_internal.h"
#include "utf8.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"
#define DECODED_MAX ((size_t)4 * NR_TOKEN_BYTES_MAX)
_Static_assert(DECODED_MAX + 3 * NR_DETOK_RUN_MAX + 16 <= NR_DETOK_PIECE_MAX,
               "a run and a token fit one piece");

/* --- while loading: what each token gives ---------------------------------------------------- */

/* Replace all `from` in text [*n, at most DECODED_MAX] by `to`; false when it gets too long. */
static bool replace_all(uint8_t *text, size_t *n, const nr_affix *from, const nr_affix *to) {
    uint8_t out[DECODED_MAX];
    size_t o = 0, i = 0;
    while (i < *n) {
        bool hit = *n - i >= from->n && memcmp(text + i, from->bytes, from->n) == 0;
        size_t take = hit ? to->n : 1;
        if (take > DECODED_MAX - o) return false;
        memcpy(out + o, hit ? to->bytes : text + i, take);
        o += take;
        i += hit ? from->n : 1;
    }
    memcpy(text, out, o);
    *n = o;
    return true;
}

/* Clean-up of the WordPiece decoder: blanks that the tokenizer of English put there go away. */
static bool clean_up(uint8_t *text, size_t *n) {
    static const struct {
        nr_affix from, to;
    } rules[] = {
        {{" .", 2}, {".", 1}},           {{" ?", 2}, {"?", 1}},        {{" !", 2}, {"!", 1}},
        {{" ,", 2}, {",", 1}},           {{" ' ", 3}, {"'", 1}},       {{" n't", 4}, {"n't", 3}},
        {{" 'm", 3}, {"'m", 2}},         {{" do not", 7}, {" don't", 6}}, {{" 's", 3}, {"'s", 2}},
        {{" 've", 4}, {"'ve", 3}},       {{" 're", 4}, {"'re", 3}},
    };
    for (size_t i = 0; i < NR_COUNT(rules); i++)
        if (!replace_all(text, n, &rules[i].from, &rules[i].to)) return false;
    return true;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0x0A>" as a byte, or -1. */
static int byte_token(const uint8_t *text, size_t n) {
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Text of an entry that is not the first token; false when it gets too long. */
static bool decoded_form(const nr_tokenizer *tok, const nr_piece *p, uint8_t *text, size_t *n) {
    const nr_decoder *d = &tok->decoder;
    const uint8_t *bytes = tok->tables.bytes + p->offset;
    *n = p->n_bytes;
    memcpy(text, bytes, *n);
    switch (d->kind) {
    case NR_DECODE_BYTES:
        if (!tok->byte_level && !nr_tok_unspell(bytes, p->n_bytes, text, n)) {
            memcpy(text, bytes, p->n_bytes);
            *n = p->n_bytes;
        }
        return true;
    case NR_DECODE_WORDPIECE: {
        bool inside = p->n_bytes >= d->mark.n && memcmp(bytes, d->mark.bytes, d->mark.n) == 0;
        size_t skip = inside ? d->mark.n : 0;
        text[0] = ' ';
        memcpy(text + (inside ? 0 : 1), bytes + skip, p->n_bytes - skip);
        *n = inside ? *n - skip : *n + 1;
        return !d->cleanup || clean_up(text, n);
    }
    case NR_DECODE_JOIN:
        text[0] = ' ';
        memcpy(text + 1, bytes, p->n_bytes);
        *n += 1;
        return true;
    case NR_DECODE_PIECES:
    case NR_DECODE_METASPACE: break;
    }
    for (uint32_t i = 0; i < d->n_replace; i++)
        if (!replace_all(text, n, &d->from[i], &d->to[i])) return false;
    return true;
}

nr_status nr_tok_prepare_decoding(nr_tokenizer *tok, nr_error *err) {
    nr_tok_tables *t = &tok->tables;
    uint8_t text[DECODED_MAX];
    size_t n, more = 0;
    for (int32_t id = 0; id < t->n_ids; id++) {
        NR_FAIL_IF(!decoded_form(tok, &t->pieces[id], text, &n), LIMIT,
                   "decoder: id %d gives more than %zu bytes", id, DECODED_MAX);
        if (n != t->pieces[id].n_bytes || memcmp(text, t->bytes + t->pieces[id].offset, n) != 0)
            more += n;
    }
    NR_FAIL_IF(more > UINT32_MAX / 2, LIMIT, "decoder: %zu bytes of text", more);
    uint8_t *bytes = nr_realloc(t->bytes, t->bytes_cap + more);
    NR_FAIL_IF(!bytes, NO_MEMORY, "decoder: %zu bytes", more);
    t->bytes = bytes;
    t->bytes_cap += more;
    for (int32_t id = 0; id < t->n_ids; id++) {
        nr_piece *p = &t->pieces[id];
        (void)decoded_form(tok, p, text, &n);
        bool same = n == p->n_bytes && memcmp(text, t->bytes + p->offset, n) == 0;
        p->text_offset = same ? p->offset : nr_tok_tables_store(t, text, n);
        p->text_bytes = (uint16_t)n;
        int byte = tok->decoder.byte_fallback ? byte_token(text, n) : -1;
        if (byte < 0) continue;
        p->flags = (uint8_t)(p->flags | NR_PIECE_BYTE);
        p->byte_value = (uint8_t)byte;
    }
    return NR_STATUS_OK;
}

/* --- running --------------------------------------------------------------------------------- */

void nr_detok_init(nr_detok *d, const nr_tokenizer *tok, unsigned flags) {
    *d = (nr_detok){.tok = tok, .flags = flags, .is_first = true};
    if (!(flags & NR_DECODE_KEEP_SPACE)) d->strip_left = tok->decoder.strip_left;
}

static nr_status put(nr_detok *d, const void *text, size_t n, nr_text_buf *out, nr_error *err) {
    const char *p = text;
    while (n && d->strip_left) {
        if (*p != ' ') {
            d->strip_left = 0;
            break;
        }
        d->strip_left--;
        p++;
        n--;
    }
    NR_FAIL_IF(n > out->cap - out->n, LIMIT, "text of more than %zu bytes", out->cap);
    if (n) memcpy(out->bytes + out->n, p, n);
    out->n += n;
    return NR_STATUS_OK;
}

static nr_status put_replacements(nr_detok *d, size_t n, nr_text_buf *out, nr_error *err) {
    for (size_t i = 0; i < n; i++) NR_TRY(put(d, REPLACEMENT, 3, out, err));
    return NR_STATUS_OK;
}

static void drop_run(nr_detok *d, size_t n) {
    memmove(d->run, d->run + n, d->n_run - n);
    d->n_run -= (uint32_t)n;
}

/* A run of byte tokens is over: all of it is UTF-8 and becomes text, or each byte is replaced. */
static nr_status end_run(nr_detok *d, nr_text_buf *out, nr_error *err) {
    size_t n = d->n_run;
    d->n_run = 0;
    d->run_is_bad = false;
    if (n == 0) return NR_STATUS_OK;
    if (nr_utf8_valid_bytes(d->run, n) != n) return put_replacements(d, n, out, err);
    return put(d, d->run, n, out, err);
}

/* One byte token more. Once the run is certainly bad nothing needs to be held back. */
static nr_status push_byte(nr_detok *d, uint8_t byte, nr_text_buf *out, nr_error *err) {
    if (d->run_is_bad) return put_replacements(d, 1, out, err);
    if (d->n_run == NR_DETOK_RUN_MAX) {
        size_t whole = nr_utf8_valid_bytes(d->run, d->n_run);
        NR_TRY(put(d, d->run, whole, out, err));
        drop_run(d, whole);
    }
    d->run[d->n_run++] = byte;
    size_t valid = nr_utf8_valid_bytes(d->run, d->n_run);
    if (valid == d->n_run ||
        nr_utf8_next(d->run + valid, d->n_run - valid).kind == NR_UTF8_SHORT)
        return NR_STATUS_OK;
    size_t n = d->n_run;
    d->n_run = 0;
    d->run_is_bad = true;
    return put_replacements(d, n, out, err);
}

/* Raw bytes: characters go out as they are completed, what cannot be one becomes U+FFFD. */
static nr_status push_raw(nr_detok *d, const uint8_t *text, size_t n, nr_text_buf *out,
                          nr_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (d->n_run == 0) { /* whole characters straight from the token */
            size_t whole = nr_utf8_valid_bytes(text + i, n - i);
            NR_TRY(put(d, text + i, whole, out, err));
            i += whole;
            if (i == n) break;
        }
        d->run[d->n_run++] = text[i];
        nr_utf8_step s = nr_utf8_next(d->run, d->n_run);
        if (s.kind == NR_UTF8_SHORT) continue;
        if (s.kind == NR_UTF8_CHAR) {
            NR_TRY(put(d, d->run, s.bytes, out, err));
            d->n_run = 0;
            continue;
        }
        NR_TRY(put_replacements(d, 1, out, err));
        if (s.bytes < d->n_run) i--; /* the last byte is not part of it: look at it afresh */
        d->n_run = 0;
    }
    return NR_STATUS_OK;
}

/* The first token of a decoder that treats it differently. */
static nr_status push_first(nr_detok *d, const nr_piece *p, nr_text_buf *out, nr_error *err) {
    const nr_decoder *dec = &d->tok->decoder;
    const nr_affix nothing = {0};
    uint8_t text[DECODED_MAX];
    size_t n = p->n_bytes;
    memcpy(text, d->tok->tables.bytes + p->offset, n);
    if (dec->kind == NR_DECODE_METASPACE)
        (void)replace_all(text, &n, &dec->mark, d->flags & NR_DECODE_KEEP_SPACE ? &dec->to[0]
                                                                               : &nothing);
    if (dec->kind == NR_DECODE_WORDPIECE && dec->cleanup) (void)clean_up(text, &n);
    return put(d, text, n, out, err);
}

static nr_status push_piece(nr_detok *d, int32_t id, nr_text_buf *out, nr_error *err) {
    const nr_tokenizer *tok = d->tok;
    if (id < 0 || id >= tok->tables.n_ids) return NR_STATUS_OK;
    const nr_piece *p = &tok->tables.pieces[id];
    if (!(p->flags & NR_PIECE_PRESENT)) return NR_STATUS_OK;
    if ((p->flags & NR_PIECE_SPECIAL) && (d->flags & NR_DECODE_SKIP_SPECIAL)) return NR_STATUS_OK;
    const uint8_t *text = tok->tables.bytes + p->text_offset;
    bool first = d->is_first;
    d->is_first = false;
    switch (tok->decoder.kind) {
    case NR_DECODE_BYTES: return push_raw(d, text, p->text_bytes, out, err);
    case NR_DECODE_PIECES:
        if (p->flags & NR_PIECE_BYTE) return push_byte(d, p->byte_value, out, err);
        NR_TRY(end_run(d, out, err));
        break;
    default:
        if (first) return push_first(d, p, out, err);
    }
    return put(d, text, p->text_bytes, out, err);
}

nr_status nr_detok_push(nr_detok *d, int32_t id, nr_text_buf *out, nr_error *err) {
    size_t before = out->n;
    nr_status status = push_piece(d, id, out, err);
    if (status != NR_STATUS_OK) out->n = before;
    return status;
}

nr_status nr_detok_finish(nr_detok *d, nr_text_buf *out, nr_error *err) {
    size_t before = out->n;
    nr_status status = NR_STATUS_OK;
    if (d->tok->decoder.kind != NR_DECODE_BYTES)
        status = end_run(d, out, err);
    else if (d->n_run)
        status = put_replacements(d, 1, out, err); /* the beginning of one character */
    d->n_run = 0;
    if (status != NR_STATUS_OK) out->n = before;
    return status;
}

nr_status nr_tokenizer_decode(const nr_tokenizer *tok, const int32_t *ids, size_t n,
                              unsigned flags, nr_text_buf *out, nr_error *err) {
    nr_detok d;
    nr_detok_init(&d, tok, flags);
    for (size_t i = 0; i < n; i++) NR_TRY(nr_detok_push(&d, ids[i], out, err));
    return nr_detok_finish(&d, out, err);
}
