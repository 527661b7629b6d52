/* SPDX-License-Identifier: MIT
 *
 * tok_encode.c - text to ids: added tokens cut the text, what is between is normalised, cut into
 * words by the pre-tokenizer's stages and given to the model. All memory is the encoder's.
 *
 * Stages call the next one for each piece, so no list of words exists. A stage that puts
 * something before a word writes it over the bytes in front (a finished word, or the headroom) and
 * puts those bytes back afterwards.
 */
#include "nr_alloc.h"
#include "tok_internal.h"
#include "utf8.h"

#include <string.h>

#define REGEX_HEAP_KIB 65536u /* most that a pattern without JIT may use for backtracking */

/* --- encoder -------------------------------------------------------------------------------- */

/* Take count*item_bytes from a block that is being laid out; base NULL only counts. */
typedef struct layout {
    uint8_t *base;
    size_t used;
    bool overflow;
} layout;

static void *take(layout *l, size_t count, size_t item_bytes) {
    size_t bytes, end;
    if (!nr_mul_size(count, item_bytes, &bytes) || bytes > SIZE_MAX / 4 ||
        !nr_add_size(l->used, nr_round_up(bytes, 16), &end)) {
        l->overflow = true;
        return NULL;
    }
    void *block = l->base ? l->base + l->used : NULL;
    l->used = end;
    return block;
}

static void carve(layout *l, nr_encoder *e) {
    const nr_tokenizer *tok = e->tok;
    size_t longest = e->text_cap + (size_t)tok->n_norm * NR_TOK_AFFIX_MAX;
    if (!nr_mul_size(longest, tok->norm_factor, &e->buf_cap)) l->overflow = true;
    e->symbol_cap = longest + NR_TOK_HEADROOM;
    uint8_t *a = take(l, e->buf_cap + NR_TOK_HEADROOM, 1);
    uint8_t *b = tok->n_norm > 1 ? take(l, e->buf_cap + NR_TOK_HEADROOM, 1) : a;
    uint8_t *meta = tok->has_metaspace ? take(l, 3 * e->buf_cap + NR_TOK_HEADROOM, 1) : NULL;
    e->joined = take(l, e->text_cap, 1);
    if (tok->model == NR_MODEL_BPE) {
        e->symbols = take(l, e->symbol_cap, sizeof *e->symbols);
        e->heap = take(l, 2 * e->symbol_cap, sizeof *e->heap);
    }
    if (!l->base) return;
    e->buf[0] = a + NR_TOK_HEADROOM;
    e->buf[1] = b + NR_TOK_HEADROOM;
    if (meta) e->meta = meta + NR_TOK_HEADROOM;
}

size_t nr_encoder_bytes(const nr_tokenizer *tok, size_t text_bytes_max) {
    nr_encoder e = {.tok = tok, .text_cap = text_bytes_max};
    layout l = {0};
    if (text_bytes_max > NR_PROMPT_BYTES_MAX) return 0;
    (void)take(&l, 1, sizeof e);
    carve(&l, &e);
    return l.overflow ? 0 : l.used;
}

/* PCRE2 takes its backtracking memory at the first match: let that happen now. */
static nr_status warm_up(nr_encoder *e, nr_error *err) {
    for (uint32_t i = 0; i < e->tok->n_pretok; i++) {
        bool found;
        nr_span span;
        if (e->tok->pretok[i].code)
            NR_TRY(nr_tok_regex_find(e, e->tok->pretok[i].code, (const uint8_t *)"a b", 3, 0,
                                     &found, &span, err));
    }
    return NR_STATUS_OK;
}

nr_status nr_encoder_create(const nr_tokenizer *tok, size_t text_bytes_max, nr_encoder **out,
                            nr_error *err) {
    NR_FAIL_IF(text_bytes_max > NR_PROMPT_BYTES_MAX, LIMIT, "encoder for %zu bytes, at most %u",
               text_bytes_max, NR_PROMPT_BYTES_MAX);
    size_t bytes = nr_encoder_bytes(tok, text_bytes_max);
    NR_FAIL_IF(bytes == 0, LIMIT, "encoder for %zu bytes", text_bytes_max);
    layout l = {.base = nr_malloc(bytes)};
    NR_FAIL_IF(!l.base, NO_MEMORY, "encoder of %zu bytes", bytes);
    memset(l.base, 0, bytes); /* its pages are taken now, not by the first long prompt */
    nr_encoder *e = take(&l, 1, sizeof *e);
    *e = (nr_encoder){.tok = tok, .text_cap = text_bytes_max, .forbidden_id = -1};
    carve(&l, e);
    NR_ASSERT(l.used == bytes);
    nr_status status = NR_STATUS_OK;
    if (tok->n_pretok) {
        e->match = pcre2_match_data_create(1, tok->regex_memory);
        e->limits = pcre2_match_context_create(tok->regex_memory);
        NR_FAIL_IF_GOTO(!e->match || !e->limits, NO_MEMORY, "encoder");
        pcre2_set_heap_limit(e->limits, REGEX_HEAP_KIB);
        NR_TRY_GOTO(warm_up(e, err));
    }
    *out = e;
    e = NULL;
done:
    nr_encoder_free(e);
    return status;
}

void nr_encoder_free(nr_encoder *enc) {
    if (!enc) return;
    pcre2_match_data_free(enc->match);
    pcre2_match_context_free(enc->limits);
    nr_free(enc);
}

const nr_tokenizer *nr_encoder_tokenizer(const nr_encoder *enc) {
    return enc->tok;
}

void nr_encoder_forbid(nr_encoder *enc, int32_t id) {
    enc->forbidden_id = id;
}

/* --- stages --------------------------------------------------------------------------------- */

static nr_status run_stage(nr_encode_run *run, uint32_t i_stage, uint8_t *text, size_t n,
                           bool at_start);

/* Put affix before text in place, run the stage, restore what stood there. */
static nr_status with_prefix(nr_encode_run *run, uint32_t i_stage, const nr_affix *affix,
                             uint8_t *text, size_t n) {
    uint8_t saved[NR_TOK_AFFIX_MAX];
    uint8_t *front = text - affix->n;
    memcpy(saved, front, affix->n);
    memcpy(front, affix->bytes, affix->n);
    nr_status status = run_stage(run, i_stage, front, n + affix->n, false);
    memcpy(front, saved, affix->n);
    return status;
}

/* Pieces of one Split, handed on as its behaviour says; at most one is held back. */
typedef struct splitter {
    nr_encode_run *run;
    uint32_t i_stage;
    uint8_t *text;
    bool at_start;
    bool holds, held_is_match, last_was_match;
    nr_span held;
} splitter;

static nr_status hand_on(splitter *s, nr_span piece) {
    return run_stage(s->run, s->i_stage + 1, s->text + piece.begin, piece.end - piece.begin,
                     s->at_start && piece.begin == 0);
}

static nr_status release(splitter *s) {
    if (!s->holds) return NR_STATUS_OK;
    s->holds = false;
    return hand_on(s, s->held);
}

static void hold(splitter *s, nr_span piece, bool is_match) {
    s->held = piece;
    s->held_is_match = is_match;
    s->holds = true;
}

static nr_status piece(splitter *s, nr_span span, bool is_match) {
    const nr_pretok_stage *stage = &s->run->tok->pretok[s->i_stage];
    if (span.begin == span.end) return NR_STATUS_OK;
    is_match ^= stage->invert;
    bool after_match = s->last_was_match, join;
    s->last_was_match = is_match;
    switch (stage->behavior) {
    case NR_SPLIT_ISOLATED: return hand_on(s, span);
    case NR_SPLIT_REMOVED: return is_match ? NR_STATUS_OK : hand_on(s, span);
    case NR_SPLIT_MERGED_WITH_PREVIOUS: join = is_match && !after_match; break;
    case NR_SPLIT_MERGED_WITH_NEXT: join = !is_match && s->held_is_match; break;
    default: join = is_match == s->held_is_match; break;
    }
    if (join && s->holds) {
        s->held.end = span.end;
        s->held_is_match = is_match;
        return NR_STATUS_OK;
    }
    NR_TRY(release(s));
    hold(s, span, is_match);
    return NR_STATUS_OK;
}

static nr_status run_split(nr_encode_run *run, uint32_t i_stage, uint8_t *text, size_t n,
                           bool at_start) {
    splitter s = {.run = run, .i_stage = i_stage, .text = text, .at_start = at_start};
    size_t from = 0, done = 0;
    while (from <= n) {
        bool found;
        nr_span m;
        NR_TRY(nr_tok_regex_find(run->enc, run->tok->pretok[i_stage].code, text, n, from, &found,
                                 &m, run->err));
        if (!found) break;
        NR_TRY(piece(&s, (nr_span){done, m.begin}, false));
        NR_TRY(piece(&s, m, true));
        done = from = m.end;
        if (m.begin == m.end) from += m.end < n ? nr_utf8_next(text + m.end, n - m.end).bytes : 1;
    }
    NR_TRY(piece(&s, (nr_span){done, n}, false));
    return release(&s);
}

/* Blanks become the mark, the mark may be put in front, and each mark begins a word. */
static nr_status run_metaspace(nr_encode_run *run, uint32_t i_stage, const uint8_t *text, size_t n,
                               bool at_start) {
    const nr_pretok_stage *st = &run->tok->pretok[i_stage];
    const nr_affix *mark = &st->affix;
    uint8_t *dst = run->enc->meta;
    size_t o = 0, begin = 0;
    bool marked = text[0] == ' ' || (n >= mark->n && memcmp(text, mark->bytes, mark->n) == 0);
    if (!marked &&
        (st->prepend == NR_PREPEND_ALWAYS || (st->prepend == NR_PREPEND_FIRST && at_start))) {
        dst -= mark->n;
        memcpy(dst, mark->bytes, mark->n);
        o = mark->n;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') {
            memcpy(dst + o, mark->bytes, mark->n);
            o += mark->n;
        } else {
            dst[o++] = text[i];
        }
    }
    for (size_t i = 1; st->split && mark->n && i + mark->n <= o; i++) {
        if (memcmp(dst + i, mark->bytes, mark->n) != 0) continue;
        NR_TRY(run_stage(run, i_stage + 1, dst + begin, i - begin, at_start && begin == 0));
        begin = i;
    }
    return run_stage(run, i_stage + 1, dst + begin, o - begin, at_start && begin == 0);
}

static nr_status run_stage(nr_encode_run *run, uint32_t i_stage, uint8_t *text, size_t n,
                           bool at_start) {
    if (n == 0) return NR_STATUS_OK;
    if (i_stage == run->tok->n_pretok)
        return run->tok->model == NR_MODEL_BPE ? nr_tok_bpe_word(run, text, n)
                                               : nr_tok_wordpiece_word(run, text, n);
    const nr_pretok_stage *st = &run->tok->pretok[i_stage];
    switch (st->kind) {
    case NR_PRETOK_SPLIT: return run_split(run, i_stage, text, n, at_start);
    case NR_PRETOK_METASPACE: return run_metaspace(run, i_stage, text, n, at_start);
    case NR_PRETOK_PREFIX:
        if (n >= st->affix.n && memcmp(text, st->affix.bytes, st->affix.n) == 0)
            return run_stage(run, i_stage + 1, text, n, at_start);
        return with_prefix(run, i_stage + 1, &st->affix, text, n);
    }
    return NR_STATUS_OK;
}

/* --- added tokens --------------------------------------------------------------------------- */

static bool wanted(const nr_encode_run *run, const nr_added *a) {
    if (a->id == run->enc->forbidden_id) return false;
    return !a->special || (run->flags & NR_ENCODE_PARSE_SPECIAL);
}

/* Where the white space that ends text[from..end) begins. */
static size_t spaces_before(const uint8_t *text, size_t from, size_t end) {
    while (end > from) {
        size_t at = end - 1;
        while (at > from && (text[at] & 0xc0) == 0x80) at--;
        nr_utf8_step s = nr_utf8_next(text + at, end - at);
        if (!nr_utf8_is_space(s.code)) break;
        end = at;
    }
    return end;
}

static size_t spaces_after(const uint8_t *text, size_t from, size_t n) {
    while (from < n) {
        nr_utf8_step s = nr_utf8_next(text + from, n - from);
        if (!nr_utf8_is_space(s.code)) break;
        from += s.bytes;
    }
    return from;
}

typedef nr_status (*segment_fn)(nr_encode_run *run, uint8_t *text, size_t n);

/* Leftmost-longest added tokens become ids, what is between goes to next. */
static nr_status cut_at_added(nr_encode_run *run, const nr_added_set *set, uint8_t *text, size_t n,
                              segment_fn next) {
    size_t done = 0, i = 0;
    bool at_start = run->at_start;
    while (set->n && i < n) {
        const nr_added *a = nr_added_set_longest(set, text + i, n - i);
        if (!a) {
            i++;
            continue;
        }
        size_t begin = i, end = i + a->n_bytes;
        i = end;
        if (!wanted(run, a)) continue;
        if (a->lstrip) begin = spaces_before(text, done, begin);
        if (a->rstrip) end = spaces_after(text, end, n);
        if (begin > done) NR_TRY(next(run, text + done, begin - done));
        nr_id_list_push(run->out, a->id);
        run->at_start = false;
        done = i = end;
    }
    if (n > done) NR_TRY(next(run, text + done, n - done));
    run->at_start = at_start && n == 0;
    return NR_STATUS_OK;
}

static nr_status words(nr_encode_run *run, uint8_t *text, size_t n) {
    nr_status status = run_stage(run, 0, text, n, run->at_start);
    run->at_start = false;
    return status;
}

static nr_status raw_segment(nr_encode_run *run, uint8_t *text, size_t n) {
    nr_norm_bufs bufs = {{run->enc->buf[0], run->enc->buf[1]}, run->enc->buf_cap};
    uint8_t *normal;
    size_t n_normal;
    NR_TRY(nr_tok_normalize(run->tok, bufs, text, n, &normal, &n_normal, run->err));
    return cut_at_added(run, &run->tok->normalized, normal, n_normal, words);
}

nr_status nr_encode(nr_encoder *enc, const char *text, size_t n_bytes, unsigned flags,
                    nr_id_list *out, nr_error *err) {
    const nr_tokenizer *tok = enc->tok;
    NR_FAIL_IF(n_bytes > enc->text_cap, LIMIT, "text of %zu bytes, at most %zu", n_bytes,
               enc->text_cap);
    size_t valid = nr_utf8_valid_bytes((const uint8_t *)text, n_bytes);
    NR_FAIL_IF(valid != n_bytes, FORMAT, "text is not UTF-8 at byte %zu (found 0x%02x)", valid,
               (unsigned)(uint8_t)text[valid]);
    nr_encode_run run = {.enc = enc, .tok = tok, .flags = flags, .at_start = true, .out = out,
                         .err = err};
    bool frame = flags & NR_ENCODE_SPECIAL_FRAME;
    for (size_t i = 0; frame && i < tok->n_prefix; i++) nr_id_list_push(out, tok->prefix[i]);
    /* Raw segments are only read; the cast lets both levels share one function. */
    NR_TRY(cut_at_added(&run, &tok->raw, (uint8_t *)(uintptr_t)text, n_bytes, raw_segment));
    for (size_t i = 0; frame && i < tok->n_suffix; i++) nr_id_list_push(out, tok->suffix[i]);
    return nr_id_list_check(out, err);
}

nr_status nr_encode_parts(nr_encoder *enc, const nr_text_part *parts, size_t n_parts,
                          unsigned flags, nr_id_list *out, nr_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < n_parts; i++) {
        NR_FAIL_IF(parts[i].n_bytes > enc->text_cap - n, LIMIT,
                   "text of at least %zu bytes, at most %zu", enc->text_cap + 1, enc->text_cap);
        if (parts[i].n_bytes) memcpy(enc->joined + n, parts[i].text, parts[i].n_bytes);
        n += parts[i].n_bytes;
    }
    return nr_encode(enc, enc->joined, n, flags, out, err);
}
