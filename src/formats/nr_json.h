/* SPDX-License-Identifier: MIT
 *
 * nr_json.h - JSON text to a checked tree, and typed reads from it. jansson does the parsing; in
 * front of it stands a scan without recursion that caps bytes, depth and the number of values, so
 * that nothing is built from a text that would need too much of either.
 *
 * Not for writing JSON (jansson's json_dumps does that), and not for tables of 100k entries: walk
 * those with jansson's own iterators.
 *
 *   json_t *root;
 *   NR_TRY(nr_json_read_file("DIR/config.json", NR_CONFIG_BYTES_MAX, &root, err));
 *   nr_json_at top = nr_json_root(root, "config.json"), text;
 *   NR_TRY_GOTO(nr_json_enter(&top, "text_config", &text, err));   // absent: text.node is NULL
 *   config.n_heads = 32;                                           // the class default
 *   NR_TRY_GOTO(nr_json_opt_i32(&text, "num_attention_heads", 1, 256, &config.n_heads, err));
 *   NR_TRY_GOTO(nr_json_need_i32(&text, "vocab_size", 1, NR_VOCAB_MAX, &config.n_vocab, err));
 *   nr_json_free(root);
 *
 * A failed read says `config.json: text_config.vocab_size: found "x", expected an integer from 1 to
 * 1048576`. A tree is immutable once parsed: any thread may read it. Texts may be parsed by several
 * threads at once.
 *
 * Process-wide effect: the first parse points jansson's allocator at nr_malloc and nr_free (once,
 * for good), so a program that uses jansson itself must not free later what it built before.
 */
#ifndef NR_JSON_H
#define NR_JSON_H

#include "nr_status.h"

#include <jansson.h>

#define NR_JSON_WHERE_MAX 160 /* bytes of a place in messages, with the final NUL */

/* Points jansson's allocator at ours; any number of calls. Call it before building values with
 * jansson directly; the parsers below do it themselves. */
void nr_json_use_our_alloc(void);

/* `bytes` of UTF-8 text (no NUL needed) to a tree. `where` opens messages ("config.json").
 * Any JSON value is accepted at the top. Duplicate keys, NUL in strings, text after the value are
 * refused; integers that do not fit 64 bits become reals. Transfers *out (nr_json_free).
 * Errors: FORMAT (with line and column), LIMIT (bytes, depth, values, length of a string),
 * NO_MEMORY. */
nr_status nr_json_parse(const char *text, size_t bytes, const char *where, json_t **out,
                        nr_error *err);

/* A whole file of at most bytes_max. Messages name the path. Errors: as nr_file_read_all and
 * nr_json_parse. Transfers *out (nr_json_free). */
nr_status nr_json_read_file(const char *path, size_t bytes_max, json_t **out, nr_error *err);

void nr_json_free(json_t *owned); /* accepts NULL */

/* text for a message: at most cap-1 bytes, control characters shown as '?', cut between
 * characters, "..." where cut. Returns dst. cap >= 8. */
const char *nr_json_printable(char *dst, size_t cap, const char *text);

/* A place in a tree with its name. Plain value: copy it freely; valid while the tree lives. */
typedef struct nr_json_at {
    const json_t *node; /* borrows; NULL: nothing there, every opt_ read keeps its default */
    char where[NR_JSON_WHERE_MAX]; /* "config.json: text_config" */
    bool is_file; /* the top of one: where is its name alone */
} nr_json_at;

nr_json_at nr_json_root(const json_t *root, const char *file_name); /* root may be NULL: no file */

/* Paths are keys joined by dots ("rope_parameters.rope_theta"); "" is the place itself. JSON null
 * is the same as absent everywhere, as in Hugging Face configs. */

bool nr_json_has(const nr_json_at *at, const char *path); /* there, and not null */

/* No other keys than these may be there: a misspelt one is not lost silently.
 * Errors: FORMAT (not an object; which key). */
nr_status nr_json_only(const nr_json_at *at, const char *const *keys, size_t n_keys,
                       nr_error *err);

/* Sub-object at path; node NULL when absent. Errors: FORMAT (not an object). */
nr_status nr_json_enter(const nr_json_at *at, const char *path, nr_json_at *out, nr_error *err);

/* Number of items of a list at path (0 when absent). Errors: FORMAT (not a list), LIMIT (over
 * n_max). */
nr_status nr_json_list(const nr_json_at *at, const char *path, int n_max, nr_json_at *list,
                       int *n_items, nr_error *err);
nr_json_at nr_json_item(const nr_json_at *list, int i_item); /* 0 <= i_item < n_items */

/* need_: absent is an error. opt_: *out keeps what it holds (the default) when absent.
 * Both leave *out alone on failure. min and max are inclusive. Reals must be finite; an integer
 * is accepted where a real is asked for, never the other way round.
 * Errors: FORMAT (absent, wrong type), LIMIT (out of range). */
nr_status nr_json_need_i32(const nr_json_at *at, const char *path, int32_t min, int32_t max,
                           int32_t *out, nr_error *err);
nr_status nr_json_opt_i32(const nr_json_at *at, const char *path, int32_t min, int32_t max,
                          int32_t *out, nr_error *err);
nr_status nr_json_need_i64(const nr_json_at *at, const char *path, int64_t min, int64_t max,
                           int64_t *out, nr_error *err);
nr_status nr_json_opt_i64(const nr_json_at *at, const char *path, int64_t min, int64_t max,
                          int64_t *out, nr_error *err);
nr_status nr_json_need_f64(const nr_json_at *at, const char *path, double min, double max,
                           double *out, nr_error *err);
nr_status nr_json_opt_f64(const nr_json_at *at, const char *path, double min, double max,
                          double *out, nr_error *err);
/* As f64, then rounded once to float; min and max are checked before rounding. */
nr_status nr_json_need_f32(const nr_json_at *at, const char *path, float min, float max, float *out,
                           nr_error *err);
nr_status nr_json_opt_f32(const nr_json_at *at, const char *path, float min, float max, float *out,
                          nr_error *err);
nr_status nr_json_need_bool(const nr_json_at *at, const char *path, bool *out, nr_error *err);
nr_status nr_json_opt_bool(const nr_json_at *at, const char *path, bool *out, nr_error *err);

/* *out borrows from the tree; at most bytes_max bytes without the final NUL. LIMIT when longer. */
nr_status nr_json_need_str(const nr_json_at *at, const char *path, size_t bytes_max,
                           const char **out, nr_error *err);
nr_status nr_json_opt_str(const nr_json_at *at, const char *path, size_t bytes_max,
                          const char **out, nr_error *err);

/* One of n names; *out is its index. A name that is not listed: UNSUPPORTED, the message lists
 * what is. */
nr_status nr_json_need_choice(const nr_json_at *at, const char *path, const char *const *names,
                              int n_names, int *out, nr_error *err);
nr_status nr_json_opt_choice(const nr_json_at *at, const char *path, const char *const *names,
                             int n_names, int *out, nr_error *err);

/* Exactly n_items numbers. FORMAT when the count differs. */
nr_status nr_json_need_f32s(const nr_json_at *at, const char *path, int n_items, float *out,
                            nr_error *err);
nr_status nr_json_opt_f32s(const nr_json_at *at, const char *path, int n_items, float *out,
                           nr_error *err);

/* At most list->n_max integers; one integer outside a list counts as a list of one.
 * list->n is 0 when absent. LIMIT when there are more or one is out of range. */
typedef struct nr_json_i32_list {
    int32_t min, max; /* each item */
    int n_max;        /* capacity of items */
    int32_t *items;   /* borrows [n_max] */
    int n;            /* result */
} nr_json_i32_list;
nr_status nr_json_opt_i32s(const nr_json_at *at, const char *path, nr_json_i32_list *list,
                           nr_error *err);

#endif
