/* SPDX-License-Identifier: MIT
 *
 * tok_bert.c - BertNormalizer, one character at a time: control characters go, white space becomes
 * a blank, CJK ideographs get blanks around them, accents are stripped (canonical decomposition
 * without its non-spacing marks), letters become small. Properties come from libunistring.
 *
 * Method: the order of combining marks does not matter, since the non-spacing ones are dropped;
 * so each character is decomposed by itself, recursively, with a small stack instead of the
 * library's allocating u8_normalize. Compared with the tokenizers library over all of Unicode, what
 * differs are some 400 marks and format characters that came after that library's tables.
 */
#include "tok_internal.h"
#include "utf8.h"

#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>

#include <string.h>

#define PARTS_MAX 32 /* characters that one character decomposes into; Unicode's longest has 4 */

typedef struct sink {
    uint8_t *dst;
    size_t n, cap;
    bool full;
} sink;

static void emit(sink *s, uint32_t code) {
    uint8_t bytes[4];
    size_t n = nr_utf8_put(bytes, code);
    if (n > s->cap - s->n) {
        s->full = true;
        return;
    }
    memcpy(s->dst + s->n, bytes, n);
    s->n += n;
}

static bool is_ideograph(uint32_t c) {
    static const struct {
        uint32_t first, last;
    } blocks[] = {
        {0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
        {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f},
    };
    for (size_t i = 0; i < NR_COUNT(blocks); i++)
        if (c >= blocks[i].first && c <= blocks[i].last) return true;
    return false;
}

static bool is_dropped(uint32_t c) {
    if (c == 0 || c == 0xfffd) return true;
    if (c == '\t' || c == '\n' || c == '\r') return false;
    return uc_is_general_category_withtable(
        c, UC_CATEGORY_MASK_Cc | UC_CATEGORY_MASK_Cf | UC_CATEGORY_MASK_Co);
}

static void emit_lower(const nr_norm_step *step, uint32_t c, sink *s) {
    if (!step->lowercase) {
        emit(s, c);
        return;
    }
    if (c == 0x130) { /* the one letter whose small form is two characters: i, dot above */
        emit(s, 'i');
        emit(s, 0x307);
        return;
    }
    emit(s, uc_tolower(c));
}

static void emit_stripped(const nr_norm_step *step, uint32_t c, sink *s) {
    ucs4_t stack[PARTS_MAX], parts[UC_DECOMPOSITION_MAX_LENGTH];
    size_t n = 0;
    stack[n++] = c;
    while (n) {
        ucs4_t top = stack[--n];
        int n_parts = uc_canonical_decomposition(top, parts);
        if (n_parts > 0 && n + (size_t)n_parts <= PARTS_MAX) {
            for (int i = n_parts; i-- > 0;) stack[n++] = parts[i];
        } else if (!uc_is_general_category_withtable(top, UC_CATEGORY_MASK_Mn)) {
            emit_lower(step, top, s);
        }
    }
}

nr_status nr_tok_bert_normalize(const nr_norm_step *step, const uint8_t *src, size_t n_bytes,
                                uint8_t *dst, size_t cap, size_t *n_out, nr_error *err) {
    sink s = {dst, 0, cap, false};
    for (size_t i = 0; i < n_bytes && !s.full;) {
        nr_utf8_step one = nr_utf8_next(src + i, n_bytes - i);
        uint32_t c = one.code;
        i += one.bytes;
        if (step->clean_text) {
            if (is_dropped(c)) continue;
            if (nr_utf8_is_space(c)) c = ' ';
        }
        bool apart = step->chinese_chars && is_ideograph(c);
        if (apart) emit(&s, ' ');
        if (step->strip_accents)
            emit_stripped(step, c, &s);
        else
            emit_lower(step, c, &s);
        if (apart) emit(&s, ' ');
    }
    NR_FAIL_IF(s.full, LIMIT, "normalised text is longer than %zu bytes", cap);
    *n_out = s.n;
    return NR_STATUS_OK;
}
