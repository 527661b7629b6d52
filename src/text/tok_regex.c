/* SPDX-License-Identifier: MIT
 *
 * tok_regex.c - split patterns through PCRE2.
 *
 * tokenizer.json patterns are written for Oniguruma, where \s is Unicode's White_Space. PCRE2's
 * differs in two characters (it lacks U+0085 and has U+180E), so \s and \S are spelled out while
 * the pattern is copied. The rest of the syntax in use (classes, \p, look-ahead, (?i:)) is common.
 *
 * Matching never checks UTF-8 again (the text was checked once) and is bounded: steps grow with
 * the text, memory by a constant. JIT is used where the system allows it; it also keeps matching
 * free of allocations.
 */
#include "nr_alloc.h"
#include "tok_internal.h"

#include <string.h>

#define SPACE_SET \
    "\\t-\\r "    \
    "\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* Copy pattern with \s and \S written out. Returns bytes, or 0 when it does not fit cap or has \S
 * inside a class (which cannot be spelled as a list). */
static size_t translate(const char *pattern, char *dst, size_t cap, const char **why) {
    size_t n = 0;
    bool in_class = false;
    *why = "too long";
    for (const char *p = pattern; *p; p++) {
        char one[4] = {*p, 0, 0, 0};
        const char *put = one;
        if (*p == '\\' && p[1]) {
            one[1] = *++p;
            if (*p == 's') put = in_class ? SPACE_SET : "[" SPACE_SET "]";
            if (*p == 'S' && in_class) {
                *why = "\\S inside [] is not supported";
                return 0;
            }
            if (*p == 'S') put = "[^" SPACE_SET "]";
        } else if (*p == '[' && !in_class) {
            in_class = true;
            if (p[1] == '^') one[1] = *++p;
            if (p[1] == ']') one[strlen(one)] = *++p;
        } else if (*p == ']') {
            in_class = false;
        }
        size_t bytes = strlen(put);
        if (bytes >= cap - n) return 0;
        memcpy(dst + n, put, bytes);
        n += bytes;
    }
    dst[n] = '\0';
    return n;
}

nr_status nr_tok_regex_compile(const nr_tokenizer *tok, const char *pattern, bool literal,
                               const char *path, pcre2_code **out, nr_error *err) {
    char text[4 * NR_REGEX_BYTES_MAX];
    const char *why = NULL;
    size_t n = strlen(pattern);
    NR_FAIL_IF(n > NR_REGEX_BYTES_MAX, LIMIT, "%s: pattern of %zu bytes, at most %d", path, n,
               NR_REGEX_BYTES_MAX);
    NR_FAIL_IF(n == 0, FORMAT, "%s: empty pattern", path);
    if (literal)
        memcpy(text, pattern, n + 1);
    else
        n = translate(pattern, text, sizeof text, &why);
    NR_FAIL_IF(n == 0, UNSUPPORTED, "%s: pattern: %s", path, why);
    pcre2_compile_context *context = pcre2_compile_context_create(tok->regex_memory);
    NR_FAIL_IF(!context, NO_MEMORY, "%s", path);
    uint32_t options = PCRE2_UTF | PCRE2_UCP | (literal ? PCRE2_LITERAL : PCRE2_NEVER_BACKSLASH_C);
    if (literal) options &= ~(uint32_t)PCRE2_UCP; /* not allowed together; means nothing there */
    int code = 0;
    PCRE2_SIZE place = 0;
    *out = pcre2_compile((PCRE2_SPTR)text, n, options, &code, &place, context);
    pcre2_compile_context_free(context);
    if (!*out) {
        PCRE2_UCHAR message[120] = {0};
        pcre2_get_error_message(code, message, sizeof message);
        NR_FAIL_IF(code == PCRE2_ERROR_HEAP_FAILED, NO_MEMORY, "%s", path);
        NR_FAIL(UNSUPPORTED, "%s: pattern: %s (near byte %zu)", path, (const char *)message, place);
    }
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return NR_STATUS_OK;
}

nr_status nr_tok_regex_find(nr_encoder *enc, const pcre2_code *code, const uint8_t *text,
                            size_t n_bytes, size_t from, bool *found, nr_span *out, nr_error *err) {
    pcre2_set_match_limit(enc->limits, (uint32_t)NR_MIN(100000 + 64 * n_bytes, UINT32_MAX / 2));
    int rc = pcre2_match(code, text, n_bytes, from, PCRE2_NO_UTF_CHECK, enc->match, enc->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, text, n_bytes, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, enc->match,
                         enc->limits);
    *found = rc >= 0;
    if (rc >= 0) {
        const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(enc->match);
        NR_FAIL_IF(ends[0] < from || ends[1] < ends[0], UNSUPPORTED,
                   "split pattern: a match of bytes %zu to %zu, expected one from %zu on", ends[0],
                   ends[1], from);
        *out = (nr_span){ends[0], ends[1]};
        return NR_STATUS_OK;
    }
    if (rc == PCRE2_ERROR_NOMATCH) return NR_STATUS_OK;
    NR_FAIL_IF(rc == PCRE2_ERROR_NOMEMORY, NO_MEMORY, "split pattern at byte %zu", from);
    NR_FAIL(LIMIT, "split pattern at byte %zu of %zu: too many steps (PCRE2 error %d)", from,
            n_bytes, rc);
}
