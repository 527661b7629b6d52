/* SPDX-License-Identifier: MIT
 * test_preprocess.c - model inputs bit for bit: against Pillow runs by hash, and against the
 * pixel_values of the golden checkpoints where the shared material is there. */
#include "image_support.h"

#include "decode.h"
#include "preprocess.h"

static nr_image_fit fit_of(const char *name) {
    return strcmp(name, "crop") == 0  ? NR_IMAGE_FIT_CROP
           : strcmp(name, "pad") == 0 ? NR_IMAGE_FIT_PAD
                                      : NR_IMAGE_FIT_SQUASH;
}

/* f32 [3, out_height, out_width]; free() it. Also checks the promise of the upper bound. */
static float *run(const nr_preprocess_settings *s, const nr_image *image) {
    nr_error err = {0};
    size_t bytes, bytes_max;
    if (nr_preprocess_scratch_bytes(s, image->width, image->height, &bytes, &err) != NR_STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(nr_preprocess_scratch_bytes_max(s, &bytes_max, &err), NR_STATUS_OK);
    assert_true(bytes <= bytes_max);
    void *scratch = aligned_scratch(bytes);
    size_t n = (size_t)s->out_width * (size_t)s->out_height * 3;
    float *pixels = malloc(n * sizeof *pixels);
    assert_non_null(pixels);
    if (nr_preprocess_run(s, image, pixels, scratch, bytes, &err) != NR_STATUS_OK)
        fail_msg("%s", err.message);
    free(scratch);
    return pixels;
}

static void check_line(const json_t *line, void *ctx) {
    (void)ctx;
    nr_preprocess_settings s = nr_preprocess_settings_clip(0);
    s.fit = fit_of(text_of(line, "fit"));
    s.out_width = pair_of(line, "out", 0);
    s.out_height = pair_of(line, "out", 1);
    s.short_side = int_of(line, "short");
    s.filter = (nr_resize_filter)int_of(line, "filter");
    int w = pair_of(line, "src", 0), h = pair_of(line, "src", 1);
    uint8_t *rgb = random_rgb(w, h, (uint64_t)int_of(line, "seed"), false);
    nr_image image;
    assert_int_equal(nr_image_from_rgb(rgb, w, h, 0, &image, NULL), NR_STATUS_OK);
    float *pixels = run(&s, &image);
    char hex[65];
    sha256_hex(pixels, (size_t)s.out_width * (size_t)s.out_height * 3 * sizeof *pixels, hex);
    if (strcmp(hex, text_of(line, "sha256")) != 0)
        fail_msg("%dx%d, %s to %dx%d, filter %d differs", w, h, text_of(line, "fit"), s.out_width,
                 s.out_height, (int)s.filter);
    free(pixels);
    nr_image_free(&image);
    free(rgb);
}

static void equals_pillow(void **state) {
    (void)state;
    int n = for_lines("tests/data/image/preprocess.jsonl", check_line, NULL);
    assert_true(n >= 150);
    printf("%d preprocessing runs equal bit for bit\n", n);
}

/* pixel_values of a safetensors file: f32, little-endian machine; free() it. */
static float *golden_pixels(const char *path, size_t n_expected) {
    size_t n;
    uint8_t *bytes = read_whole(path, &n);
    uint64_t header;
    memcpy(&header, bytes, 8);
    json_t *root = json_loadb((const char *)bytes + 8, (size_t)header, 0, NULL);
    assert_non_null(root);
    const json_t *entry = json_object_get(root, "pixel_values");
    assert_string_equal(text_of(entry, "dtype"), "F32");
    size_t begin = (size_t)pair_of(entry, "data_offsets", 0);
    size_t end = (size_t)pair_of(entry, "data_offsets", 1);
    assert_int_equal(end - begin, n_expected * sizeof(float));
    float *pixels = malloc(end - begin);
    assert_non_null(pixels);
    memcpy(pixels, bytes + 8 + header + begin, end - begin);
    json_decref(root);
    free(bytes);
    return pixels;
}

static void check_golden(const char *checkpoint, nr_image_fit fit) {
    static const char *const cases[] = {"page.png", "photo.jpg", "real_a.jpg", "real_b.png",
                                        "tiny.png"};
    const char *shared = shared_or_null("golden/make_golden.py");
    if (!shared) skip();
    nr_preprocess_settings s = nr_preprocess_settings_clip(56);
    s.fit = fit;
    s.rescale_factor = 0.00392156862745098; /* as written in preprocessor_config.json */
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        char path[8192];
        size_t n;
        nr_image image;
        nr_error err = {0};
        snprintf(path, sizeof path, "%s/golden/%s/golden/%s", shared, checkpoint, cases[i]);
        uint8_t *bytes = read_whole(path, &n);
        if (nr_image_decode(bytes, n, NULL, &image, &err) != NR_STATUS_OK)
            fail_msg("%s: %s", path, err.message);
        float *pixels = run(&s, &image);
        snprintf(path, sizeof path, "%s/golden/%s/golden/%.*s.safetensors", shared, checkpoint,
                 (int)(strchr(cases[i], '.') - cases[i]), cases[i]);
        float *expected = golden_pixels(path, 3 * 56 * 56);
        if (memcmp(pixels, expected, 3 * 56 * 56 * sizeof(float)) != 0)
            fail_msg("%s: %s differs from pixel_values", checkpoint, cases[i]);
        free(expected);
        free(pixels);
        nr_image_free(&image);
        free(bytes);
    }
}

static void golden_crop(void **state) {
    (void)state;
    check_golden("llava-tiny", NR_IMAGE_FIT_CROP);
}

static void golden_squash(void **state) {
    (void)state;
    check_golden("blip2-tiny", NR_IMAGE_FIT_SQUASH);
}

/* A factor that is no reciprocal of a whole number multiplies. */
static void other_factors(void **state) {
    (void)state;
    uint8_t rgb[3] = {10, 200, 255};
    nr_image image;
    assert_int_equal(nr_image_from_rgb(rgb, 1, 1, 0, &image, NULL), NR_STATUS_OK);
    nr_preprocess_settings s = nr_preprocess_settings_clip(1);
    for (int c = 0; c < 3; c++) s.mean[c] = 0.5, s.std[c] = 0.25;
    const double factors[] = {0.00784313, 1.0, 1.0 / 127, 0};
    for (size_t i = 0; i < NR_COUNT(factors); i++) {
        s.rescale_factor = factors[i];
        float *pixels = run(&s, &image);
        for (int c = 0; c < 3; c++) {
            const double expected[] = {rgb[c] * 0.00784313, rgb[c], rgb[c] / 127.0, rgb[c] / 255.0};
            double x = expected[i];
            assert_true(pixels[c] == (float)((x - 0.5) / 0.25));
        }
        free(pixels);
    }
    nr_image_free(&image);
}

static void bad_settings(void **state) {
    (void)state;
    nr_preprocess_settings bad[11];
    for (size_t i = 0; i < NR_COUNT(bad); i++) bad[i] = nr_preprocess_settings_clip(56);
    bad[0].out_width = 0;
    bad[1].out_height = 4097;
    bad[2].fit = (nr_image_fit)7;
    bad[3].fit = NR_IMAGE_FIT_PAD, bad[3].out_width = 55;
    bad[4].short_side = 55;
    bad[5].filter = (nr_resize_filter)0;
    bad[6].rescale_factor = -1;
    bad[7].mean[1] = __builtin_nan("");
    bad[8].std[2] = 0;
    bad[9].fit = NR_IMAGE_FIT_PAD, bad[9].mean[0] = 1.5;
    bad[10].short_side = 100000;
    for (size_t i = 0; i < NR_COUNT(bad); i++) {
        nr_error err = {0};
        size_t bytes;
        assert_int_equal(nr_preprocess_check(&bad[i], &err), NR_STATUS_ARG);
        assert_true(strlen(err.message) > 20);
        assert_int_equal(nr_preprocess_scratch_bytes(&bad[i], 10, 10, &bytes, NULL), NR_STATUS_ARG);
    }
    nr_preprocess_settings s = nr_preprocess_settings_clip(56);
    size_t bytes;
    assert_int_equal(nr_preprocess_scratch_bytes(&s, 0, 10, &bytes, NULL), NR_STATUS_ARG);
    nr_image none = {0};
    float pixel;
    assert_int_equal(nr_preprocess_run(&s, &none, &pixel, NULL, 4, NULL), NR_STATUS_ARG);
}

/* Every size the limits let through stays under the bound a plan reserves, and that is small. */
static void scratch_bound(void **state) {
    (void)state;
    static const int sides[] = {1, 2, 3, 81, 82, 200, 335, 336, 337, 3000, 7071, 16383, 16384};
    for (int fit = 0; fit < 3; fit++)
        for (int side = 1; side <= 336; side += 67) {
            nr_preprocess_settings s = nr_preprocess_settings_clip(side);
            s.fit = (nr_image_fit)fit;
            size_t bytes, bytes_max;
            assert_int_equal(nr_preprocess_scratch_bytes_max(&s, &bytes_max, NULL), NR_STATUS_OK);
            assert_true(bytes_max < 2 << 20);
            for (size_t i = 0; i < NR_COUNT(sides); i++)
                for (size_t j = 0; j < NR_COUNT(sides); j++) {
                    assert_int_equal(
                        nr_preprocess_scratch_bytes(&s, sides[i], sides[j], &bytes, NULL),
                        NR_STATUS_OK);
                    assert_true(bytes <= bytes_max);
                }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_pillow), cmocka_unit_test(golden_crop),
        cmocka_unit_test(golden_squash), cmocka_unit_test(other_factors),
        cmocka_unit_test(bad_settings),  cmocka_unit_test(scratch_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
