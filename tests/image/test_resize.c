/* SPDX-License-Identifier: MIT
 * test_resize.c - every pixel against Pillow's, by hash; windows and canvases against the long way
 * round; bounds on scratch. */
#include "image_support.h"

#include "resize.h"

static uint8_t *run(const nr_resize_spec *spec, const uint8_t *src) {
    size_t bytes;
    nr_error err = {0};
    if (nr_resize_scratch_bytes(spec, &bytes, &err) != NR_STATUS_OK) fail_msg("%s", err.message);
    void *scratch = aligned_scratch(bytes);
    memset(scratch, 0xa5, bytes);
    int w = spec->window_width ? spec->window_width : spec->out_width;
    int h = spec->window_height ? spec->window_height : spec->out_height;
    uint8_t *dst = malloc((size_t)w * (size_t)h * 3);
    assert_non_null(dst);
    if (nr_resize_rgb(spec, src, dst, scratch, bytes, &err) != NR_STATUS_OK)
        fail_msg("%s", err.message);
    free(scratch);
    return dst;
}

static void check_line(const json_t *line, void *ctx) {
    (void)ctx;
    nr_resize_spec spec = {.src_width = pair_of(line, "src", 0),
                           .src_height = pair_of(line, "src", 1),
                           .out_width = pair_of(line, "out", 0),
                           .out_height = pair_of(line, "out", 1),
                           .filter = (nr_resize_filter)int_of(line, "filter")};
    uint8_t *src = random_rgb(spec.src_width, spec.src_height, (uint64_t)int_of(line, "seed"),
                              json_is_true(json_object_get(line, "binary")));
    uint8_t *dst = run(&spec, src);
    char hex[65];
    sha256_hex(dst, (size_t)spec.out_width * (size_t)spec.out_height * 3, hex);
    if (strcmp(hex, text_of(line, "sha256")) != 0)
        fail_msg("%dx%d -> %dx%d, filter %d differs", spec.src_width, spec.src_height,
                 spec.out_width, spec.out_height, (int)spec.filter);
    free(dst);
    free(src);
}

static void equals_pillow(void **state) {
    (void)state;
    int n = for_lines("tests/data/image/resize.jsonl", check_line, NULL);
    assert_true(n >= 120);
    printf("%d resizes equal Pillow's\n", n);
}

static void window_is_a_crop(void **state) {
    (void)state;
    static const int cases[][8] = {/* src, out, window */
                                   {31, 9, 200, 56, 72, 0, 56, 56},
                                   {90, 70, 33, 21, 5, 4, 20, 3},
                                   {64, 64, 64, 64, 10, 20, 30, 40},
                                   {64, 50, 64, 25, 1, 24, 63, 1},
                                   {5, 300, 7, 40, 6, 0, 1, 40}};
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        const int *c = cases[i];
        for (int f = 2; f <= 3; f++) {
            uint8_t *src = random_rgb(c[0], c[1], i, false);
            nr_resize_spec spec = {.src_width = c[0],
                                   .src_height = c[1],
                                   .out_width = c[2],
                                   .out_height = c[3],
                                   .filter = (nr_resize_filter)f};
            uint8_t *whole = run(&spec, src);
            spec.window_left = c[4];
            spec.window_top = c[5];
            spec.window_width = c[6];
            spec.window_height = c[7];
            uint8_t *part = run(&spec, src);
            for (int y = 0; y < c[7]; y++)
                assert_memory_equal(part + (size_t)(y * c[6] * 3),
                                    whole + (size_t)(((c[5] + y) * c[2] + c[4]) * 3),
                                    (size_t)(c[6] * 3));
            free(part);
            free(whole);
            free(src);
        }
    }
}

static void canvas_is_a_padded_picture(void **state) {
    (void)state;
    static const int cases[][8] = {/* src, canvas, pad, out */
                                   {31, 9, 31, 31, 0, 11, 20, 20},
                                   {9, 31, 31, 31, 11, 0, 56, 56},
                                   {10, 10, 30, 25, 20, 15, 11, 40},
                                   {8, 5, 8, 8, 0, 1, 8, 8},
                                   {5, 8, 8, 8, 1, 0, 8, 3}};
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        const int *c = cases[i];
        uint8_t *src = random_rgb(c[0], c[1], i, false);
        uint8_t *canvas = malloc((size_t)(c[2] * c[3] * 3));
        assert_non_null(canvas);
        for (int p = 0; p < c[2] * c[3]; p++) {
            int x = p % c[2] - c[4], y = p / c[2] - c[5];
            bool inside = x >= 0 && x < c[0] && y >= 0 && y < c[1];
            for (int k = 0; k < 3; k++)
                canvas[3 * p + k] = inside ? src[(y * c[0] + x) * 3 + k] : (uint8_t)(50 + 60 * k);
        }
        nr_resize_spec spec = {.src_width = c[2],
                               .src_height = c[3],
                               .out_width = c[6],
                               .out_height = c[7],
                               .filter = NR_RESIZE_FILTER_BICUBIC};
        uint8_t *expected = run(&spec, canvas);
        spec.src_width = c[0];
        spec.src_height = c[1];
        spec.canvas_width = c[2];
        spec.canvas_height = c[3];
        spec.pad_left = c[4];
        spec.pad_top = c[5];
        for (int k = 0; k < 3; k++) spec.pad_rgb[k] = (uint8_t)(50 + 60 * k);
        uint8_t *got = run(&spec, src);
        assert_memory_equal(got, expected, (size_t)(c[6] * c[7] * 3));
        free(got);
        free(expected);
        free(canvas);
        free(src);
    }
}

static void bad_specs(void **state) {
    (void)state;
    const nr_resize_spec good = {.src_width = 10,
                                 .src_height = 8,
                                 .out_width = 5,
                                 .out_height = 4,
                                 .filter = NR_RESIZE_FILTER_BICUBIC};
    nr_resize_spec bad[12];
    for (size_t i = 0; i < NR_COUNT(bad); i++) bad[i] = good;
    bad[0].filter = (nr_resize_filter)1;
    bad[1].src_width = 0;
    bad[2].src_height = 16385;
    bad[3].out_width = 0;
    bad[4].out_height = -3;
    bad[5].out_width = (1 << 24) + 1;
    bad[6].window_width = 6, bad[6].window_height = 1;
    bad[7].window_width = 5, bad[7].window_height = 4, bad[7].window_left = 1;
    bad[8].window_width = 5;
    bad[9].canvas_width = 9, bad[9].canvas_height = 8;
    bad[10].canvas_width = 12, bad[10].canvas_height = 8, bad[10].pad_left = 3;
    bad[11].pad_top = -1;
    size_t bytes = 0;
    for (size_t i = 0; i < NR_COUNT(bad); i++) {
        nr_error err = {0};
        assert_int_equal(nr_resize_scratch_bytes(&bad[i], &bytes, &err), NR_STATUS_ARG);
        assert_true(strlen(err.message) > 20);
    }
    assert_int_equal(nr_resize_scratch_bytes(&good, &bytes, NULL), NR_STATUS_OK);
    uint8_t src[240] = {0}, dst[60];
    void *scratch = aligned_scratch(bytes);
    assert_int_equal(nr_resize_rgb(&good, src, dst, scratch, bytes - 1, NULL), NR_STATUS_ARG);
    assert_int_equal(nr_resize_rgb(&good, src, dst, NULL, bytes, NULL), NR_STATUS_ARG);
    free(scratch);
}

/* A huge picture needs little beside itself: the rows between the passes are a ring. */
static void scratch_is_small(void **state) {
    (void)state;
    nr_resize_spec spec = {.src_width = 12000,
                           .src_height = 4000,
                           .out_width = 336,
                           .out_height = 336,
                           .filter = NR_RESIZE_FILTER_BICUBIC};
    size_t bytes;
    assert_int_equal(nr_resize_scratch_bytes(&spec, &bytes, NULL), NR_STATUS_OK);
    assert_true(bytes < 512 << 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_pillow),    cmocka_unit_test(window_is_a_crop),
        cmocka_unit_test(bad_specs),        cmocka_unit_test(canvas_is_a_padded_picture),
        cmocka_unit_test(scratch_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
