/* SPDX-License-Identifier: MIT
 *
 * nr_json_get.c - typed reads with ranges (see nr_json.h).
 *
 * Every read is one lookup() that ends in a node or NULL, then a check of its type and range.
 * need_ and opt_ differ only in what NULL means. Messages are composed by wrong(): place, what was
 * found, what was expected.
 */
#include "nr_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define KEY_BYTES_MAX 64

/* "config.json: text_config.hidden_size" into dst [NR_JSON_WHERE_MAX], cut where too long. */
static const char *place(char *dst, const nr_json_at *at, const char *path) {
    size_t n = strlen(at->where);
    const char *joint = *path == '\0' || n == 0 ? "" : at->is_file ? ": " : ".";
    size_t cap = NR_JSON_WHERE_MAX;
    if (snprintf(dst, cap, "%s%s%s", at->where, joint, path) >= (int)cap)
        memcpy(dst + cap - 4, "...", 4);
    return dst;
}

/* What stands there, for a message: `"x"`, `12`, `a list of 3`. */
static const char *found(char *dst, size_t cap, const json_t *node) {
    char shown[40];
    switch (node ? json_typeof(node) : JSON_NULL) {
    case JSON_OBJECT: snprintf(dst, cap, "an object"); break;
    case JSON_ARRAY: snprintf(dst, cap, "a list of %zu", json_array_size(node)); break;
    case JSON_STRING:
        snprintf(dst, cap, "\"%s\"",
                 nr_json_printable(shown, sizeof shown, json_string_value(node)));
        break;
    case JSON_INTEGER: snprintf(dst, cap, "%lld", (long long)json_integer_value(node)); break;
    case JSON_REAL: snprintf(dst, cap, "%.9g", json_real_value(node)); break;
    case JSON_TRUE: snprintf(dst, cap, "true"); break;
    case JSON_FALSE: snprintf(dst, cap, "false"); break;
    case JSON_NULL: snprintf(dst, cap, node ? "null" : "nothing"); break;
    }
    return dst;
}

#define WRONG(code, at, path, node, ...)                                                           \
    do {                                                                                           \
        char wrong_place[NR_JSON_WHERE_MAX], wrong_found[64], wrong_expected[96];                  \
        snprintf(wrong_expected, sizeof wrong_expected, __VA_ARGS__);                              \
        NR_FAIL(code, "%s: found %s, expected %s", place(wrong_place, at, path),                   \
                found(wrong_found, sizeof wrong_found, node), wrong_expected);                     \
    } while (0)

/* Node at path, NULL when a key is absent or null. FORMAT when a step leads into a non-object. */
static nr_status lookup(const nr_json_at *at, const char *path, const json_t **out, nr_error *err) {
    const json_t *node = at->node;
    for (const char *p = path; node && *p != '\0';) {
        if (json_is_null(node)) break;
        const char *dot = strchr(p, '.');
        size_t n = dot ? (size_t)(dot - p) : strlen(p);
        char key[KEY_BYTES_MAX];
        NR_ASSERT(n < sizeof key);
        memcpy(key, p, n);
        key[n] = '\0';
        if (!json_is_object(node)) {
            char parent[NR_JSON_WHERE_MAX];
            size_t n_parent = (size_t)(p - path);
            n_parent = NR_MIN(n_parent > 0 ? n_parent - 1 : 0, sizeof parent - 1);
            memcpy(parent, path, n_parent);
            parent[n_parent] = '\0';
            WRONG(FORMAT, at, parent, node, "an object");
        }
        node = json_object_get(node, key);
        p += n + (dot ? 1 : 0);
    }
    *out = json_is_null(node) ? NULL : node;
    return NR_STATUS_OK;
}

nr_json_at nr_json_root(const json_t *root, const char *file_name) {
    nr_json_at at = {.node = root, .is_file = true};
    snprintf(at.where, sizeof at.where, "%s", file_name);
    return at;
}

bool nr_json_has(const nr_json_at *at, const char *path) {
    const json_t *node;
    return lookup(at, path, &node, NULL) == NR_STATUS_OK && node;
}

nr_status nr_json_only(const nr_json_at *at, const char *const *keys, size_t n_keys,
                       nr_error *err) {
    const char *key;
    json_t *value;
    if (!at->node) return NR_STATUS_OK;
    if (!json_is_object(at->node)) WRONG(FORMAT, at, "", at->node, "an object");
    json_object_foreach((json_t *)at->node, key, value) {
        bool known = false;
        for (size_t i = 0; i < n_keys && !known; i++) known = strcmp(key, keys[i]) == 0;
        char shown[64];
        NR_FAIL_IF(!known, FORMAT, "%s \"%s\" is no key that is known here", at->where,
                   nr_json_printable(shown, sizeof shown, key));
    }
    return NR_STATUS_OK;
}

nr_status nr_json_enter(const nr_json_at *at, const char *path, nr_json_at *out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    if (node && !json_is_object(node)) WRONG(FORMAT, at, path, node, "an object");
    nr_json_at sub = {.node = node};
    place(sub.where, at, path);
    *out = sub;
    return NR_STATUS_OK;
}

nr_status nr_json_list(const nr_json_at *at, const char *path, int n_max, nr_json_at *list,
                       int *n_items, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    if (node && !json_is_array(node)) WRONG(FORMAT, at, path, node, "a list");
    size_t n = json_array_size(node); /* 0 for NULL */
    if (n > (size_t)n_max) WRONG(LIMIT, at, path, node, "at most %d items", n_max);
    nr_json_at sub = {.node = node};
    place(sub.where, at, path);
    *list = sub;
    *n_items = (int)n;
    return NR_STATUS_OK;
}

nr_json_at nr_json_item(const nr_json_at *list, int i_item) {
    NR_ASSERT(i_item >= 0 && (size_t)i_item < json_array_size(list->node));
    nr_json_at item = {.node = json_array_get(list->node, (size_t)i_item)};
    char index[16];
    snprintf(index, sizeof index, "[%d]", i_item);
    size_t n = strlen(list->where), m = strlen(index);
    n = NR_MIN(n, sizeof item.where - 1 - m);
    memcpy(item.where, list->where, n);
    memcpy(item.where + n, index, m + 1);
    return item;
}

nr_status nr_json_need_i64(const nr_json_at *at, const char *path, int64_t min, int64_t max,
                           int64_t *out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    int64_t value = json_integer_value(node); /* 0 for anything else */
    if (!json_is_integer(node))
        WRONG(FORMAT, at, path, node, "an integer from %lld to %lld", (long long)min,
              (long long)max);
    if (value < min || value > max)
        WRONG(LIMIT, at, path, node, "an integer from %lld to %lld", (long long)min,
              (long long)max);
    *out = value;
    return NR_STATUS_OK;
}

nr_status nr_json_opt_i64(const nr_json_at *at, const char *path, int64_t min, int64_t max,
                          int64_t *out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    return node ? nr_json_need_i64(at, path, min, max, out, err) : NR_STATUS_OK;
}

nr_status nr_json_need_i32(const nr_json_at *at, const char *path, int32_t min, int32_t max,
                           int32_t *out, nr_error *err) {
    int64_t value;
    NR_TRY(nr_json_need_i64(at, path, min, max, &value, err));
    *out = (int32_t)value;
    return NR_STATUS_OK;
}

nr_status nr_json_opt_i32(const nr_json_at *at, const char *path, int32_t min, int32_t max,
                          int32_t *out, nr_error *err) {
    int64_t value = *out;
    NR_TRY(nr_json_opt_i64(at, path, min, max, &value, err));
    *out = (int32_t)value;
    return NR_STATUS_OK;
}

nr_status nr_json_need_f64(const nr_json_at *at, const char *path, double min, double max,
                           double *out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    double value = json_number_value(node); /* 0 for anything else */
    if (!json_is_number(node) || !isfinite(value))
        WRONG(FORMAT, at, path, node, "a number from %.9g to %.9g", min, max);
    if (value < min || value > max)
        WRONG(LIMIT, at, path, node, "a number from %.9g to %.9g", min, max);
    *out = value;
    return NR_STATUS_OK;
}

nr_status nr_json_opt_f64(const nr_json_at *at, const char *path, double min, double max,
                          double *out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    return node ? nr_json_need_f64(at, path, min, max, out, err) : NR_STATUS_OK;
}

nr_status nr_json_need_f32(const nr_json_at *at, const char *path, float min, float max, float *out,
                           nr_error *err) {
    double value;
    NR_TRY(nr_json_need_f64(at, path, (double)min, (double)max, &value, err));
    *out = (float)value;
    return NR_STATUS_OK;
}

nr_status nr_json_opt_f32(const nr_json_at *at, const char *path, float min, float max, float *out,
                          nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    return node ? nr_json_need_f32(at, path, min, max, out, err) : NR_STATUS_OK;
}

nr_status nr_json_need_bool(const nr_json_at *at, const char *path, bool *out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    if (!json_is_boolean(node)) WRONG(FORMAT, at, path, node, "true or false");
    *out = json_is_true(node);
    return NR_STATUS_OK;
}

nr_status nr_json_opt_bool(const nr_json_at *at, const char *path, bool *out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    return node ? nr_json_need_bool(at, path, out, err) : NR_STATUS_OK;
}

nr_status nr_json_need_str(const nr_json_at *at, const char *path, size_t bytes_max,
                           const char **out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    if (!json_is_string(node)) WRONG(FORMAT, at, path, node, "a string");
    if (json_string_length(node) > bytes_max)
        WRONG(LIMIT, at, path, node, "at most %zu bytes, not %zu", bytes_max,
              json_string_length(node));
    *out = json_string_value(node);
    return NR_STATUS_OK;
}

nr_status nr_json_opt_str(const nr_json_at *at, const char *path, size_t bytes_max,
                          const char **out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    return node ? nr_json_need_str(at, path, bytes_max, out, err) : NR_STATUS_OK;
}

nr_status nr_json_need_choice(const nr_json_at *at, const char *path, const char *const *names,
                              int n_names, int *out, nr_error *err) {
    const char *name;
    const json_t *node;
    NR_TRY(nr_json_need_str(at, path, SIZE_MAX, &name, err));
    for (int i = 0; i < n_names; i++)
        if (strcmp(names[i], name) == 0) {
            *out = i;
            return NR_STATUS_OK;
        }
    char list[96];
    size_t used = 0;
    for (int i = 0; i < n_names && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "one of ",
                                 names[i]);
    NR_TRY(lookup(at, path, &node, err));
    WRONG(UNSUPPORTED, at, path, node, "%s", list);
}

nr_status nr_json_opt_choice(const nr_json_at *at, const char *path, const char *const *names,
                             int n_names, int *out, nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    return node ? nr_json_need_choice(at, path, names, n_names, out, err) : NR_STATUS_OK;
}

nr_status nr_json_need_f32s(const nr_json_at *at, const char *path, int n_items, float *out,
                            nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    if (!json_is_array(node) || json_array_size(node) != (size_t)n_items)
        WRONG(FORMAT, at, path, node, "a list of %d numbers", n_items);
    for (int i = 0; i < n_items; i++) { /* all checked before the first is stored */
        double value = json_number_value(json_array_get(node, (size_t)i));
        if (!json_is_number(json_array_get(node, (size_t)i)) || !isfinite((float)value))
            WRONG(FORMAT, at, path, json_array_get(node, (size_t)i), "a number as item %d", i);
    }
    for (int i = 0; i < n_items; i++)
        out[i] = (float)json_number_value(json_array_get(node, (size_t)i));
    return NR_STATUS_OK;
}

nr_status nr_json_opt_f32s(const nr_json_at *at, const char *path, int n_items, float *out,
                           nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    return node ? nr_json_need_f32s(at, path, n_items, out, err) : NR_STATUS_OK;
}

nr_status nr_json_opt_i32s(const nr_json_at *at, const char *path, nr_json_i32_list *list,
                           nr_error *err) {
    const json_t *node;
    NR_TRY(lookup(at, path, &node, err));
    int n = 0;
    if (json_is_integer(node)) {
        NR_FAIL_IF(list->n_max < 1, LIMIT, "no room for an integer");
        NR_TRY(nr_json_need_i32(at, path, list->min, list->max, &list->items[0], err));
        n = 1;
    } else if (node) {
        nr_json_at items;
        NR_TRY(nr_json_list(at, path, list->n_max, &items, &n, err));
        for (int i = 0; i < n; i++) {
            nr_json_at item = nr_json_item(&items, i);
            NR_TRY(nr_json_need_i32(&item, "", list->min, list->max, &list->items[i], err));
        }
    }
    list->n = n;
    return NR_STATUS_OK;
}
