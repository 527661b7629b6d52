/* SPDX-License-Identifier: MIT
 *
 * text_fixture.h - what the text tests share: files of the shared data (skipped where absent),
 * JSON lines, comparison of id lists with a message that shows both.
 */
#ifndef NR_TEXT_FIXTURE_H
#define NR_TEXT_FIXTURE_H

#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_json.h"
#include "nr_limits.h"
#include "tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define IDS_CAP 200000
#define TEXT_CAP (1u << 20)

static inline const char *shared_root(void) {
    const char *root = getenv("NEWSREADER_SHARED");
    return root ? root : "../shared";
}

/* Path of a shared file in one of four static buffers; skips the test where it is absent. */
static inline const char *shared_path(const char *name) {
    static char paths[4][4096];
    static int next;
    char *path = paths[next++ & 3];
    snprintf(path, sizeof paths[0], "%s/%s", shared_root(), name);
    if (!nr_file_exists(path)) {
        printf("SKIPPED: %s is not here\n", path);
        skip();
    }
    return path;
}

static inline void expect_ok(nr_status status, const nr_error *err) {
    if (status != NR_STATUS_OK)
        fail_msg("%s: %s (%s:%d)", nr_status_name(status), err->message, err->file, err->line);
}

static inline json_t *read_json(const char *path) {
    nr_error err = {0};
    json_t *root = NULL;
    expect_ok(nr_json_read_file(path, NR_JSON_BYTES_MAX, &root, &err), &err);
    return root;
}

static inline json_t *parse_json(const char *text) {
    nr_error err = {0};
    json_t *root = NULL;
    expect_ok(nr_json_parse(text, strlen(text), "test", &root, &err), &err);
    return root;
}

/* A list with one value per line of the file. */
static inline json_t *read_json_lines(const char *path) {
    nr_error err = {0};
    char *text;
    size_t n;
    nr_json_use_our_alloc();
    expect_ok(nr_file_read_all(path, 64u << 20, &text, &n, &err), &err);
    json_t *list = json_array();
    for (char *line = text, *end; *line; line = end) {
        end = strchr(line, '\n');
        end = end ? end + 1 : line + strlen(line);
        json_t *one = NULL;
        expect_ok(nr_json_parse(line, (size_t)(end - line), path, &one, &err), &err);
        json_array_append_new(list, one);
    }
    nr_free(text);
    return list;
}

static inline nr_tokenizer *tokenizer_of(const json_t *root) {
    nr_error err = {0};
    nr_tokenizer *tok = NULL;
    expect_ok(nr_tokenizer_create(root, &tok, &err), &err);
    return tok;
}

static inline nr_tokenizer *open_tokenizer(const char *path) {
    nr_error err = {0};
    nr_tokenizer *tok = NULL;
    expect_ok(nr_tokenizer_open(path, &tok, &err), &err);
    return tok;
}

static inline nr_encoder *encoder_of(const nr_tokenizer *tok, size_t bytes) {
    nr_error err = {0};
    nr_encoder *enc = NULL;
    expect_ok(nr_encoder_create(tok, bytes, &enc, &err), &err);
    return enc;
}

static inline void print_ids(const char *what, const int32_t *ids, size_t n) {
    printf("  %s (%zu):", what, n);
    for (size_t i = 0; i < n && i < 60; i++) printf(" %d", ids[i]);
    printf("\n");
}

/* Fails with both lists when ids[0..n) is not the JSON list `want`. */
static inline void expect_ids(const char *what, const int32_t *ids, size_t n, const json_t *want) {
    size_t n_want = json_array_size(want);
    bool same = n == n_want;
    for (size_t i = 0; same && i < n; i++)
        same = ids[i] == (int32_t)json_integer_value(json_array_get(want, i));
    if (same) return;
    print_ids("found", ids, n);
    char *dump = json_dumps(want, 0);
    printf("  expected: %.400s\n", dump);
    nr_free(dump);
    fail_msg("ids differ: %s", what);
}

static inline size_t encode_text(nr_encoder *enc, const char *text, size_t n_bytes, unsigned flags,
                                 int32_t *ids) {
    nr_error err = {0};
    nr_id_list list = {ids, IDS_CAP, 0};
    expect_ok(nr_encode(enc, text, n_bytes, flags, &list, &err), &err);
    return list.n;
}

static inline void expect_encoding(nr_encoder *enc, const json_t *text, unsigned flags,
                                   const json_t *want) {
    int32_t *ids = malloc(IDS_CAP * sizeof *ids);
    size_t n = encode_text(enc, json_string_value(text), json_string_length(text), flags, ids);
    expect_ids(json_string_value(text), ids, n, want);
    free(ids);
}

/* Decode a JSON list of ids into dst [cap], NUL-terminated. */
static inline void decode_ids(const nr_tokenizer *tok, const json_t *ids, size_t from,
                              unsigned flags, char *dst, size_t cap) {
    nr_error err = {0};
    nr_text_buf out = {dst, cap - 1, 0};
    size_t n = json_array_size(ids);
    int32_t *list = malloc((n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++) list[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    expect_ok(nr_tokenizer_decode(tok, list + from, n - from, flags, &out, &err), &err);
    dst[out.n] = '\0';
    free(list);
}

#endif
