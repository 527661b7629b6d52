/* SPDX-License-Identifier: MIT
 *
 * nr_json.c - the scan in front of jansson, and parsing (see nr_json.h).
 *
 * The scan splits the text into the same tokens as jansson does and only counts: it judges no
 * grammar. Up to the first malformed token both see the same sequence, and jansson stops there, so
 * what the scan has bounded bounds the parser too.
 *
 * Integers beyond 64 bits (tokenizer_config.json says model_max_length 10^30) are an error in
 * jansson, and its switch for that turns every integer into a real. Instead the scan finds such
 * integers, and a copy of the text with "e0" behind each is parsed: they alone become reals.
 *
 * jansson 2.14 ignores failed allocations while it collects a token: it loses bytes of it, or stops
 * the process by an assertion of its own. Its allocator therefore notes the first refusal of a
 * parse; from then on it refuses everything, so that the parse ends at the next value, except for
 * growth of the token buffer, which is served from a reserve that was taken before the parse began.
 * A parse during which memory was refused counts as failed, whatever it returned.
 */
#define _POSIX_C_SOURCE 200809L
#include "nr_json.h"

#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_limits.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define OBJECT_WEIGHT 4 /* an empty object costs jansson about four times a number */

/* Of the parse that runs on this thread. */
static _Thread_local struct {
    bool refused;     /* memory was refused */
    uint8_t *reserve; /* borrows; NULL outside a parse */
    size_t cap, used;
} guard;

/* The token buffer begins at 16 bytes and doubles; total growth for a token of n bytes stays below
 * 4 n, and at most two strings of such a size can be copied before the parse ends. */
static bool is_token_buffer_size(size_t bytes) {
    return bytes >= 32 && (bytes & (bytes - 1)) == 0;
}

static size_t reserve_for(size_t token_bytes) {
    return 6 * (token_bytes + 32);
}

static void *json_alloc(size_t bytes) {
    if (!guard.refused) {
        void *block = nr_malloc(bytes);
        guard.refused = !block && guard.reserve;
        if (!guard.refused) return block;
    }
    if (!is_token_buffer_size(bytes) || bytes > guard.cap - guard.used) return NULL;
    void *block = guard.reserve + guard.used;
    guard.used += bytes;
    return block;
}

static void json_release(void *block) {
    uint8_t *p = block;
    if (guard.cap > 0 && p >= guard.reserve && p < guard.reserve + guard.cap) return;
    nr_free(block);
}

static void set_alloc(void) {
    json_set_alloc_funcs(json_alloc, json_release);
}

void nr_json_use_our_alloc(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_alloc);
}

/* One token: [begin, end) of the text. kind is its first byte; '0' stands for any number. */
typedef struct token {
    char kind;
    size_t begin, end;
} token;

static bool is_number_byte(char c) {
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* End of the string whose opening quote is at `at`; `bytes` when it never closes. */
static size_t string_end(const char *text, size_t bytes, size_t at) {
    for (size_t i = at + 1; i < bytes; i++) {
        if (text[i] == '"') return i + 1;
        if (text[i] == '\\') i++;
    }
    return bytes;
}

/* Next token at or after *pos; false at the end of the text. */
static bool next_token(const char *text, size_t bytes, size_t *pos, token *out) {
    size_t i = *pos;
    while (i < bytes && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r'))
        i++;
    if (i >= bytes) return false;
    token t = {.kind = text[i], .begin = i, .end = i + 1};
    if (t.kind == '"') {
        t.end = string_end(text, bytes, i);
    } else if (t.kind == '-' || (t.kind >= '0' && t.kind <= '9')) {
        t.kind = '0';
        while (t.end < bytes && is_number_byte(text[t.end])) t.end++;
    } else if (is_letter(t.kind)) {
        while (t.end < bytes && is_letter(text[t.end])) t.end++;
    }
    *pos = t.end;
    *out = t;
    return true;
}

/* An integer token that does not fit int64. */
static bool is_wide_integer(const char *text, token t) {
    bool negative = text[t.begin] == '-';
    size_t begin = t.begin + (negative ? 1 : 0), n_digits = t.end - begin;
    if (n_digits < 19) return false;
    for (size_t i = begin; i < t.end; i++)
        if (text[i] < '0' || text[i] > '9') return false;
    if (n_digits > 19) return true;
    return memcmp(text + begin, negative ? "9223372036854775808" : "9223372036854775807", 19) > 0;
}

typedef struct counts {
    size_t n_wide;      /* integers beyond 64 bits */
    size_t token_bytes; /* longest token */
} counts;

static nr_status scan(const char *text, size_t bytes, const char *where, counts *out,
                      nr_error *err) {
    NR_FAIL_IF(bytes > NR_JSON_BYTES_MAX, LIMIT, "%s: %zu bytes of JSON, at most %u are parsed",
               where, bytes, NR_JSON_BYTES_MAX);
    size_t pos = 0, n_nodes = 0;
    counts c = {0};
    int depth = 0;
    token t;
    while (next_token(text, bytes, &pos, &t)) {
        if (t.kind == ',' || t.kind == ':') continue;
        if (t.kind == '}' || t.kind == ']') {
            depth--;
            continue;
        }
        n_nodes += t.kind == '{' ? OBJECT_WEIGHT : 1;
        if (t.kind == '{' || t.kind == '[') depth++;
        if (t.kind == '0' && is_wide_integer(text, t)) c.n_wide++;
        c.token_bytes = NR_MAX(c.token_bytes, t.end - t.begin);
        NR_FAIL_IF(c.token_bytes > NR_JSON_TOKEN_BYTES_MAX, LIMIT,
                   "%s: a string of more than %u bytes at byte %zu", where, NR_JSON_TOKEN_BYTES_MAX,
                   t.begin);
        NR_FAIL_IF(depth > NR_JSON_DEPTH_MAX, LIMIT, "%s: nested deeper than %d at byte %zu", where,
                   NR_JSON_DEPTH_MAX, t.begin);
        NR_FAIL_IF(n_nodes > NR_JSON_NODES_MAX, LIMIT, "%s: more than %u values at byte %zu", where,
                   NR_JSON_NODES_MAX, t.begin);
    }
    *out = c;
    return NR_STATUS_OK;
}

/* text with "e0" behind every wide integer, into dst of bytes + 2 * n_wide. */
static void copy_wide_as_real(char *dst, const char *text, size_t bytes) {
    size_t pos = 0, copied = 0;
    token t;
    while (next_token(text, bytes, &pos, &t)) {
        if (t.kind != '0' || !is_wide_integer(text, t)) continue;
        memcpy(dst, text + copied, t.end - copied);
        dst += t.end - copied;
        *dst++ = 'e';
        *dst++ = '0';
        copied = t.end;
    }
    memcpy(dst, text + copied, bytes - copied);
}

/* jansson's parse with the reserve in place; NULL with a cause, or with guard.refused. */
static json_t *guarded_load(const char *text, size_t bytes, void *reserve, size_t reserve_bytes,
                            json_error_t *cause, bool *refused) {
    guard.refused = false;
    guard.reserve = reserve;
    guard.cap = reserve_bytes;
    guard.used = 0;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, cause);
    *refused = guard.refused;
    if (*refused) { /* may have lost bytes, and may lie in the reserve */
        json_decref(root);
        root = NULL;
    }
    memset(&guard, 0, sizeof guard);
    return root;
}

static nr_status load(const char *text, size_t bytes, size_t token_bytes, const char *where,
                      json_t **out, nr_error *err) {
    json_error_t cause;
    bool refused = true;
    json_t *root = NULL;
    size_t reserve_bytes = reserve_for(token_bytes);
    void *reserve = nr_malloc(reserve_bytes);
    if (reserve) root = guarded_load(text, bytes, reserve, reserve_bytes, &cause, &refused);
    nr_free(reserve);
    NR_FAIL_IF(refused, NO_MEMORY, "%s: no memory for the tree of %zu bytes of JSON", where, bytes);
    if (!root) {
        char shown[120];
        NR_FAIL(FORMAT, "%s: line %d, column %d: %s", where, cause.line, cause.column,
                nr_json_printable(shown, sizeof shown, cause.text));
    }
    *out = root;
    return NR_STATUS_OK;
}

nr_status nr_json_parse(const char *text, size_t bytes, const char *where, json_t **out,
                        nr_error *err) {
    counts c = {0};
    size_t extra, total;
    NR_TRY(scan(text, bytes, where, &c, err));
    nr_json_use_our_alloc();
    if (c.n_wide == 0) return load(text, bytes, c.token_bytes, where, out, err);
    NR_FAIL_IF(!nr_mul_size(c.n_wide, 2, &extra) || !nr_add_size(bytes, extra, &total), LIMIT,
               "%s: too many wide integers", where);
    char *copy = nr_malloc(total);
    NR_FAIL_IF(!copy, NO_MEMORY, "%s: %zu bytes", where, total);
    copy_wide_as_real(copy, text, bytes);
    nr_status status = load(copy, total, c.token_bytes + 2, where, out, err);
    nr_free(copy);
    return status;
}

nr_status nr_json_read_file(const char *path, size_t bytes_max, json_t **out, nr_error *err) {
    char *text;
    size_t bytes;
    NR_TRY(
        nr_file_read_all(path, NR_MIN(bytes_max, (size_t)NR_JSON_BYTES_MAX), &text, &bytes, err));
    nr_status status = nr_json_parse(text, bytes, path, out, err);
    nr_free(text);
    return status;
}

void nr_json_free(json_t *owned) {
    json_decref(owned);
}

const char *nr_json_printable(char *dst, size_t cap, const char *text) {
    NR_ASSERT(cap >= 8);
    size_t n = strlen(text), keep = n;
    if (n >= cap) {
        keep = cap - 4;
        while (keep > 0 && ((unsigned char)text[keep] & 0xc0u) == 0x80u) keep--;
    }
    for (size_t i = 0; i < keep; i++) {
        unsigned char c = (unsigned char)text[i];
        dst[i] = c < 0x20 || c == 0x7f ? '?' : text[i];
    }
    memcpy(dst + keep, "...", keep < n ? 4 : 0);
    if (keep == n) dst[keep] = '\0';
    return dst;
}
