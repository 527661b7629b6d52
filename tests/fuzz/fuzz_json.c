/* SPDX-License-Identifier: MIT
 *
 * fuzz_json.c - JSON text through the scan, the parser and every typed read. Whatever parses must
 * stay within the limits, and survive being written and parsed again unchanged.
 */
#include "nr_alloc.h"
#include "nr_json.h"
#include "nr_limits.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void check(bool ok) {
    if (!ok) abort();
}

static int depth_of(const json_t *node) {
    int deepest = 0;
    if (json_is_object(node)) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)node, key, value) {
            int d = depth_of(value);
            deepest = NR_MAX(deepest, d);
        }
    } else if (json_is_array(node)) {
        for (size_t i = 0; i < json_array_size(node); i++) {
            int d = depth_of(json_array_get(node, i));
            deepest = NR_MAX(deepest, d);
        }
    } else {
        return 0;
    }
    return deepest + 1;
}

static void read_everything(const json_t *root) {
    static const char *const paths[] = {"", "a", "a.b", "a.b.c", "text_config.hidden_size"};
    static const char *const names[] = {"gelu", "silu"};
    nr_json_at top = nr_json_root(root, "fuzz.json"), sub;
    for (size_t i = 0; i < NR_COUNT(paths); i++) {
        nr_error err;
        int32_t i32 = 0, ids[2], n = 0, choice = 0;
        int64_t i64 = 0;
        float f32 = 0, row[3];
        double f64 = 0;
        bool flag = false;
        const char *text = NULL;
        nr_json_i32_list list = {-5, 5, 2, ids, 0};
        (void)nr_json_need_i32(&top, paths[i], -5, 5, &i32, &err);
        (void)nr_json_need_i64(&top, paths[i], INT64_MIN, INT64_MAX, &i64, &err);
        (void)nr_json_need_f32(&top, paths[i], -1, 1, &f32, &err);
        (void)nr_json_opt_f64(&top, paths[i], -1e300, 1e300, &f64, &err);
        (void)nr_json_need_bool(&top, paths[i], &flag, &err);
        (void)nr_json_need_str(&top, paths[i], 8, &text, &err);
        (void)nr_json_need_choice(&top, paths[i], names, 2, &choice, &err);
        (void)nr_json_need_f32s(&top, paths[i], 3, row, &err);
        (void)nr_json_opt_i32s(&top, paths[i], &list, &err);
        check(i32 >= -5 && i32 <= 5 && list.n <= 2);
        if (nr_json_list(&top, paths[i], 100, &sub, &n, &err) == NR_STATUS_OK && n > 0) {
            nr_json_at item = nr_json_item(&sub, n - 1);
            (void)nr_json_need_i32(&item, "", 0, 1, &i32, &err);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *root = NULL, *again = NULL;
    nr_error err = {0};
    uint64_t live = nr_alloc_get_stats().live_count;
    char *text = malloc(size ? size : 1); /* exactly sized: a read past the end is seen */
    if (size > 0) memcpy(text, data, size);
    nr_status status = nr_json_parse(text, size, "fuzz.json", &root, &err);
    free(text);
    if (status != NR_STATUS_OK) {
        check(!root && err.message[0] != '\0' && !strchr(err.message, '\n'));
        check(nr_alloc_get_stats().live_count == live);
        return 0;
    }
    check(depth_of(root) <= NR_JSON_DEPTH_MAX);
    read_everything(root);
    char *written = json_dumps(root, JSON_ENCODE_ANY);
    check(written && nr_json_parse(written, strlen(written), "again", &again, &err) == 0);
    check(json_equal(root, again));
    nr_free(written);
    nr_json_free(root);
    nr_json_free(again);
    check(nr_alloc_get_stats().live_count == live);
    return 0;
}
