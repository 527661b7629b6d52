/* SPDX-License-Identifier: MIT
 *
 * test_json.c - parsing within limits, typed reads, and their messages.
 */
#include "fmt_test.h"
#include "nr_json.h"
#include "nr_limits.h"

#include <math.h>

static nr_status parse(const char *text, json_t **out, nr_error *err) {
    return nr_json_parse(text, strlen(text), "t.json", out, err);
}

static json_t *parsed(const char *text) {
    json_t *root = NULL;
    nr_error err = {0};
    if (parse(text, &root, &err) != NR_STATUS_OK) print_message("%s\n", err.message);
    assert_non_null(root);
    return root;
}

static void expect_refused(const char *text, nr_status expected) {
    json_t *root = NULL;
    nr_error err = {0};
    uint64_t live = nr_alloc_get_stats().live_count;
    assert_int_equal(parse(text, &root, &err), expected);
    assert_null(root);
    assert_message_has(err, "t.json: ");
    assert_null(strchr(err.message, '\n'));
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void refuses_malformed(void **state) {
    (void)state;
    const char *const texts[] = {
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "[1 2]",
        "nul",
        "'a'",
        "\"a",
        "[\"\\x\"]",
        "{\"a\":1}}",
        "1 2",
        "[01]",
        "[.5]",
        "[+1]",
        "[NaN]",
        "[1e999]",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "\"\xff\"",
        "\"\xc0\xaf\"",
        "\"a\nb\"",
        "{\"a\":1,\"a\":1}",
        "{1:2}",
        "]",
        "[[]",
        "\xef\xbb\xbf{}",
        "{\"x\":{\"b\":[{\"a\":1,\"a\":2}]}}",
    };
    for (size_t i = 0; i < NR_COUNT(texts); i++) expect_refused(texts[i], NR_STATUS_FORMAT);
}

static void says_line_and_column(void **state) {
    (void)state;
    json_t *root;
    nr_error err = {0};
    assert_int_equal(parse("{\n  \"a\": 1,\n  \"b\" 2\n}", &root, &err), NR_STATUS_FORMAT);
    assert_message_has(err, "t.json: line 3, column ");
}

static char *nested(int depth) {
    char *text = malloc(2 * (size_t)depth + 1);
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    text[2 * depth] = '\0';
    return text;
}

static void limits_depth(void **state) {
    (void)state;
    char *fits = nested(NR_JSON_DEPTH_MAX), *deep = nested(NR_JSON_DEPTH_MAX + 1);
    nr_json_free(parsed(fits));
    expect_refused(deep, NR_STATUS_LIMIT);
    free(fits);
    free(deep);
    char *very_deep = malloc(1000001); /* no recursion on the way to the refusal */
    memset(very_deep, '[', 1000000);
    very_deep[1000000] = '\0';
    expect_refused(very_deep, NR_STATUS_LIMIT);
    free(very_deep);
    json_t *root = parsed("[\"[[[[{{{{\\\"[[[[\"]"); /* brackets in a string are no depth */
    nr_json_free(root);
}

static void limits_values(void **state) {
    (void)state;
    size_t n = NR_JSON_NODES_MAX + 1;
    char *text = malloc(2 * n + 2);
    text[0] = '[';
    for (size_t i = 0; i < n; i++) memcpy(text + 1 + 2 * i, "1,", 2);
    memcpy(text + 2 * n, "]", 2);
    expect_refused(text, NR_STATUS_LIMIT);
    free(text);
    n = NR_JSON_NODES_MAX / 4 + 1; /* objects weigh four */
    text = malloc(3 * n + 2);
    text[0] = '[';
    for (size_t i = 0; i < n; i++) memcpy(text + 1 + 3 * i, "{},", 3);
    memcpy(text + 3 * n, "]", 2);
    expect_refused(text, NR_STATUS_LIMIT);
    free(text);
}

static void limits_bytes(void **state) {
    (void)state;
    json_t *root;
    nr_error err = {0};
    size_t n = (size_t)NR_JSON_BYTES_MAX + 1;
    char *text = malloc(n);
    memset(text, ' ', n);
    assert_int_equal(nr_json_parse(text, n, "t.json", &root, &err), NR_STATUS_LIMIT);
    free(text);
}

static void keeps_integers_exact(void **state) {
    (void)state;
    json_t *root = parsed("[9223372036854775807, -9223372036854775808, 9223372036854775808,"
                          " -9223372036854775809, 1000000000000000019884624838656,"
                          " 9007199254740993, {\"k\": 123456789012345678901234567890}, 7]");
    assert_int_equal(json_integer_value(json_array_get(root, 0)), INT64_MAX);
    assert_int_equal(json_integer_value(json_array_get(root, 1)), INT64_MIN);
    assert_true(json_real_value(json_array_get(root, 2)) == 0x1p63);
    assert_true(json_real_value(json_array_get(root, 3)) == -0x1p63);
    assert_true(json_real_value(json_array_get(root, 4)) == 1e30);
    assert_int_equal(json_integer_value(json_array_get(root, 5)), 9007199254740993);
    assert_true(json_real_value(json_object_get(json_array_get(root, 6), "k")) ==
                123456789012345678901234567890.0);
    assert_int_equal(json_integer_value(json_array_get(root, 7)), 7);
    nr_json_free(root);
    root = parsed("1000000000000000019884624838656"); /* at the very end of the text */
    assert_true(json_is_real(root));
    nr_json_free(root);
    root = parsed("[\"1000000000000000019884624838656\"]"); /* in a string it stays */
    assert_string_equal(json_string_value(json_array_get(root, 0)),
                        "1000000000000000019884624838656");
    nr_json_free(root);
}

static const char config_text[] =
    "{\"n\": 4096, \"big\": 3000000000, \"real\": 1e-5, \"whole\": 2.0, \"yes\": true, \"no\": "
    "null,"
    " \"name\": \"silu\", \"list\": [1, 2.5, 3], \"ids\": [2, 7], \"bad\": [1, \"x\"],"
    " \"text_config\": {\"hidden_size\": 64, \"rope\": {\"theta\": 10000}},"
    " \"pins\": [[336, 672], [672, 336]]}";

static void reads_values(void **state) {
    (void)state;
    json_t *root = parsed(config_text);
    nr_json_at top = nr_json_root(root, "config.json"), text;
    int32_t i32 = -1;
    int64_t i64;
    float f32 = 0.5f, list[3];
    double f64;
    bool flag = false;
    const char *name = "default";
    assert_int_equal(nr_json_need_i32(&top, "n", 1, 4096, &i32, NULL), 0);
    assert_int_equal(i32, 4096);
    assert_int_equal(nr_json_need_i64(&top, "big", 0, INT64_MAX, &i64, NULL), 0);
    assert_int_equal(i64, 3000000000);
    assert_int_equal(nr_json_need_f32(&top, "real", 0, 1, &f32, NULL), 0);
    assert_true(f32 == 1e-5f);
    assert_int_equal(nr_json_need_f64(&top, "text_config.rope.theta", 1, 1e9, &f64, NULL), 0);
    assert_true(f64 == 10000.0);
    assert_int_equal(nr_json_need_bool(&top, "yes", &flag, NULL), 0);
    assert_true(flag);
    assert_int_equal(nr_json_need_str(&top, "name", 4, &name, NULL), 0);
    assert_string_equal(name, "silu");
    assert_int_equal(nr_json_need_f32s(&top, "list", 3, list, NULL), 0);
    assert_true(list[0] == 1.0f && list[1] == 2.5f && list[2] == 3.0f);
    assert_int_equal(nr_json_enter(&top, "text_config", &text, NULL), 0);
    assert_int_equal(nr_json_need_i32(&text, "hidden_size", 1, 100, &i32, NULL), 0);
    assert_int_equal(i32, 64);
    assert_true(nr_json_has(&top, "text_config.rope"));
    assert_false(nr_json_has(&top, "no"));
    assert_false(nr_json_has(&top, "n.x"));
    nr_json_free(root);
}

static void defaults_stay(void **state) {
    (void)state;
    json_t *root = parsed(config_text);
    nr_json_at top = nr_json_root(root, "config.json"), none = nr_json_root(NULL, "other.json"),
               sub;
    int32_t i32 = 11, ids[2] = {0};
    int64_t i64 = 12;
    float f32 = 1.5f, pair[2] = {3, 4};
    double f64 = 2.5;
    bool flag = true;
    int choice = 5;
    const char *name = "kept";
    nr_json_i32_list list = {0, 9, 2, ids, 77};
    const char *const keys[] = {"absent", "no", "no.deeper", "text_config.absent.deeper"};
    for (size_t i = 0; i < NR_COUNT(keys) * 2; i++) {
        const nr_json_at *at = i % 2 ? &none : &top;
        const char *key = keys[i / 2];
        assert_int_equal(nr_json_opt_i32(at, key, 0, 1, &i32, NULL), 0);
        assert_int_equal(nr_json_opt_i64(at, key, 0, 1, &i64, NULL), 0);
        assert_int_equal(nr_json_opt_f32(at, key, 0, 1, &f32, NULL), 0);
        assert_int_equal(nr_json_opt_f64(at, key, 0, 1, &f64, NULL), 0);
        assert_int_equal(nr_json_opt_bool(at, key, &flag, NULL), 0);
        assert_int_equal(nr_json_opt_str(at, key, 9, &name, NULL), 0);
        assert_int_equal(nr_json_opt_f32s(at, key, 2, pair, NULL), 0);
        assert_int_equal(nr_json_opt_choice(at, key, keys, 4, &choice, NULL), 0);
        assert_int_equal(nr_json_opt_i32s(at, key, &list, NULL), 0);
        assert_int_equal(nr_json_enter(at, key, &sub, NULL), 0);
        assert_null(sub.node);
        assert_int_equal(nr_json_need_i32(at, key, 0, 1, &i32, NULL), NR_STATUS_FORMAT);
    }
    assert_true(i32 == 11 && i64 == 12 && f32 == 1.5f && f64 == 2.5 && flag && choice == 5);
    assert_true(pair[0] == 3 && pair[1] == 4 && list.n == 0);
    assert_string_equal(name, "kept");
    nr_json_free(root);
}

#define EXPECT(call, code, part)                                                                   \
    do {                                                                                           \
        nr_error err = {0};                                                                        \
        assert_int_equal(call, NR_STATUS_##code);                                                  \
        assert_message_has(err, part);                                                             \
    } while (0)

static void messages_name_the_place(void **state) {
    (void)state;
    json_t *root = parsed(config_text);
    nr_json_at top = nr_json_root(root, "config.json"), text, list, item;
    int32_t i32 = 0, ids[1];
    int n, choice;
    float f32, pair[2];
    double f64;
    bool flag;
    const char *name;
    nr_json_i32_list one = {0, 9, 1, ids, 0};
    static const char *const acts[] = {"gelu", "quick_gelu"};
    assert_int_equal(nr_json_enter(&top, "text_config", &text, NULL), 0);
    EXPECT(nr_json_need_i32(&text, "hidden_size", 65, 99, &i32, &err), LIMIT,
           "config.json: text_config.hidden_size: found 64, expected an integer from 65 to 99");
    EXPECT(nr_json_need_i32(&text, "layers", 1, 2, &i32, &err), FORMAT,
           "config.json: text_config.layers: found nothing, expected an integer from 1 to 2");
    EXPECT(nr_json_need_i32(&top, "big", 1, INT32_MAX, &i32, &err), LIMIT, "found 3000000000");
    EXPECT(nr_json_need_i32(&top, "whole", 1, 9, &i32, &err), FORMAT, "found 2, expected an int");
    EXPECT(nr_json_need_f32(&top, "name", 0, 1, &f32, &err), FORMAT,
           "config.json: name: found \"silu\", expected a number from 0 to 1");
    EXPECT(nr_json_opt_f64(&top, "n", 0, 1, &f64, &err), LIMIT, "found 4096");
    EXPECT(nr_json_need_bool(&top, "n", &flag, &err), FORMAT, "expected true or false");
    EXPECT(nr_json_need_str(&top, "name", 3, &name, &err), LIMIT, "at most 3 bytes, not 4");
    EXPECT(nr_json_need_f32s(&top, "list", 2, pair, &err), FORMAT,
           "found a list of 3, expected a list of 2 numbers");
    EXPECT(nr_json_need_f32s(&top, "bad", 2, pair, &err), FORMAT, "\"x\", expected a number as it");
    EXPECT(nr_json_opt_i32s(&top, "ids", &one, &err), LIMIT, "found a list of 2, expected at most");
    EXPECT(nr_json_enter(&top, "n", &list, &err), FORMAT,
           "config.json: n: found 4096, expected an");
    EXPECT(nr_json_need_i32(&top, "text_config.hidden_size.x", 0, 1, &i32, &err), FORMAT,
           "config.json: text_config.hidden_size: found 64, expected an object");
    EXPECT(nr_json_need_choice(&top, "name", acts, 2, &choice, &err), UNSUPPORTED,
           "config.json: name: found \"silu\", expected one of gelu, quick_gelu");
    assert_int_equal(nr_json_list(&top, "pins", 8, &list, &n, NULL), 0);
    assert_int_equal(n, 2);
    item = nr_json_item(&list, 1);
    EXPECT(nr_json_need_i32(&item, "", 0, 1, &i32, &err), FORMAT,
           "config.json: pins[1]: found a list of 2");
    one.n_max = 1;
    EXPECT(nr_json_opt_i32s(&item, "", &one, &err), LIMIT, "config.json: pins[1]");
    assert_int_equal(i32, 0); /* failures leave results alone */
    nr_json_free(root);
}

static void shows_text_safely(void **state) {
    (void)state;
    char shown[12];
    assert_string_equal(nr_json_printable(shown, sizeof shown, "short"), "short");
    assert_string_equal(nr_json_printable(shown, sizeof shown, "a\nb\x7f"), "a?b?");
    assert_string_equal(nr_json_printable(shown, sizeof shown, "exactly 11c"), "exactly 11c");
    assert_string_equal(nr_json_printable(shown, sizeof shown, "exactly 12 c"), "exactly ...");
    /* never half a character */
    assert_string_equal(nr_json_printable(shown, sizeof shown, "1234567\xe2\x82\xac|||"),
                        "1234567...");
}

static nr_status parse_and_read(void *ctx, nr_error *err) {
    json_t *root;
    NR_TRY(nr_json_parse(ctx, strlen(ctx), "t.json", &root, err));
    nr_json_at top = nr_json_root(root, "t.json");
    const char *name = NULL;
    nr_status status = nr_json_need_str(&top, "long", 1000, &name, err);
    /* a refused allocation must never shorten a string */
    if (status == NR_STATUS_OK) assert_int_equal(strlen(name), 80);
    nr_json_free(root);
    return status;
}

static void survives_failing_allocations(void **state) {
    (void)state;
    char text[] =
        "{\"a\": [1, 2.5, \"\\u00e9\", {\"b\": null}, true], \"wide\": 12345678901234567890,"
        " \"long\": \"01234567890123456789012345678901234567890123456789012345678901234567"
        "890123456789\"}";
    sweep_allocations(parse_and_read, text);
}

/* A refusal outside a parse concerns that call alone. */
static void recovers_after_refusal(void **state) {
    (void)state;
    nr_json_use_our_alloc();
    nr_alloc_fail_nth(1, false);
    assert_null(json_string("x"));
    nr_alloc_fail_nth(0, false);
    json_t *text = json_string("x");
    assert_non_null(text);
    json_decref(text);
    nr_json_free(parsed("[1]"));
}

static void limits_strings(void **state) {
    (void)state;
    size_t n = (size_t)NR_JSON_TOKEN_BYTES_MAX;
    char *text = malloc(n + 2);
    memset(text, 'a', n + 1);
    text[0] = text[n - 1] = '"';
    text[n] = '\0';
    nr_json_free(parsed(text)); /* exactly as long as allowed, quotes included */
    text[n - 1] = 'a';
    text[n] = '"';
    text[n + 1] = '\0';
    expect_refused(text, NR_STATUS_LIMIT);
    free(text);
}

static void reads_files(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    put_text(&s, "a.json", "{\"x\": 1}");
    json_t *root;
    nr_error err = {0};
    assert_int_equal(nr_json_read_file(scratch_path(&s, "a.json"), 100, &root, &err), 0);
    nr_json_free(root);
    assert_int_equal(nr_json_read_file(scratch_path(&s, "a.json"), 7, &root, &err),
                     NR_STATUS_LIMIT);
    assert_int_equal(nr_json_read_file(scratch_path(&s, "b.json"), 7, &root, &err),
                     NR_STATUS_NOT_FOUND);
    assert_message_has(err, "b.json");
    assert_int_equal(nr_json_read_file(s.dir, 7, &root, &err), NR_STATUS_FORMAT);
    scratch_remove(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_malformed),
        cmocka_unit_test(says_line_and_column),
        cmocka_unit_test(limits_depth),
        cmocka_unit_test(limits_values),
        cmocka_unit_test(limits_bytes),
        cmocka_unit_test(keeps_integers_exact),
        cmocka_unit_test(reads_values),
        cmocka_unit_test(defaults_stay),
        cmocka_unit_test(messages_name_the_place),
        cmocka_unit_test(shows_text_safely),
        cmocka_unit_test(survives_failing_allocations),
        cmocka_unit_test(reads_files),
        cmocka_unit_test(recovers_after_refusal),
        cmocka_unit_test(limits_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
