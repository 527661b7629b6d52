/* SPDX-License-Identifier: MIT
 * test_image.c - the picture type: limits, copies, turning. */
#include "image_support.h"

#include "image.h"
#include "nr_limits.h"

static void create_checks_limits(void **state) {
    (void)state;
    nr_image image = {0};
    nr_error err = {0};
    assert_int_equal(nr_image_create(NULL, 0, 5, &image, &err), NR_STATUS_FORMAT);
    assert_int_equal(nr_image_create(NULL, -1, 5, &image, &err), NR_STATUS_FORMAT);
    assert_int_equal(nr_image_create(NULL, 16385, 16000, &image, &err), NR_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "16384"));
    assert_int_equal(nr_image_create(NULL, 16000, 16000, &image, &err), NR_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "50000000"));
    assert_int_equal(nr_image_create(NULL, 1601, 1, &image, &err), NR_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "200"));
    assert_int_equal(nr_image_create(NULL, 9, 1801, &image, &err), NR_STATUS_LIMIT);
    assert_null(image.rgb);
    assert_int_equal(nr_image_create(NULL, 1600, 1, &image, &err), NR_STATUS_OK);
    for (int i = 0; i < 4800; i++) assert_int_equal(image.rgb[i], 0);
    nr_image_free(&image);
    assert_null(image.rgb);
    nr_image_free(&image);
    nr_image_free(NULL);
}

static void from_rgb_copies(void **state) {
    (void)state;
    uint8_t rows[2][8] = {{1, 2, 3, 4, 5, 6, 99, 99}, {7, 8, 9, 10, 11, 12, 99, 99}};
    nr_image image;
    nr_error err;
    assert_int_equal(nr_image_from_rgb(&rows[0][0], 2, 2, 5, &image, &err), NR_STATUS_ARG);
    assert_int_equal(nr_image_from_rgb(NULL, 2, 2, 0, &image, &err), NR_STATUS_ARG);
    assert_int_equal(nr_image_from_rgb(&rows[0][0], 2, 2, 8, &image, &err), NR_STATUS_OK);
    for (int i = 0; i < 12; i++) assert_int_equal(image.rgb[i], i + 1);
    nr_image_free(&image);
}

/* 2 x 3 picture whose pixel values are their reading order; what each orientation must show. */
static void orientations(void **state) {
    (void)state;
    static const uint8_t upright[9][6] = {
        {0},                /* none */
        {0, 1, 2, 3, 4, 5}, /* 2x3 as stored: 01 / 23 / 45 */
        {1, 0, 3, 2, 5, 4}, /* mirrored */
        {5, 4, 3, 2, 1, 0}, /* half turn */
        {4, 5, 2, 3, 0, 1}, /* upside down */
        {0, 2, 4, 1, 3, 5}, /* 3x2: transposed */
        {4, 2, 0, 5, 3, 1}, /* quarter turn right */
        {5, 3, 1, 4, 2, 0}, /* transverse */
        {1, 3, 5, 0, 2, 4}, /* quarter turn left */
    };
    for (int o = 1; o <= 8; o++) {
        uint8_t rgb[18];
        nr_image image;
        for (int i = 0; i < 18; i++) rgb[i] = (uint8_t)(i / 3 * 10 + i % 3);
        assert_int_equal(nr_image_from_rgb(rgb, 2, 3, 0, &image, NULL), NR_STATUS_OK);
        assert_int_equal(nr_image_orient(&image, o, NULL), NR_STATUS_OK);
        assert_int_equal(image.width, o < 5 ? 2 : 3);
        assert_int_equal(image.height, o < 5 ? 3 : 2);
        for (int i = 0; i < 18; i++)
            assert_int_equal(image.rgb[i], upright[o][i / 3] * 10 + i % 3);
        nr_image_free(&image);
    }
    nr_image none = {0};
    assert_int_equal(nr_image_orient(&none, 0, NULL), NR_STATUS_ARG);
    assert_int_equal(nr_image_orient(&none, 9, NULL), NR_STATUS_ARG);
}

static void no_memory(void **state) {
    (void)state;
    uint64_t live = nr_alloc_get_stats().live_count;
    uint8_t rgb[18] = {0};
    nr_image image = {0};
    nr_error err = {0};
    nr_alloc_fail_nth(1, false);
    assert_int_equal(nr_image_from_rgb(rgb, 2, 3, 0, &image, &err), NR_STATUS_NO_MEMORY);
    assert_int_equal(nr_image_from_rgb(rgb, 2, 3, 0, &image, &err), NR_STATUS_OK);
    nr_alloc_fail_nth(1, false);
    assert_int_equal(nr_image_orient(&image, 6, &err), NR_STATUS_NO_MEMORY);
    assert_int_equal(image.width, 2);
    nr_alloc_fail_nth(0, false);
    nr_image_free(&image);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

/* The hash the other image tests rely on, on the vectors of FIPS 180-4. */
static void sha_vectors(void **state) {
    (void)state;
    char hex[65];
    sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha_vectors),     cmocka_unit_test(create_checks_limits),
        cmocka_unit_test(from_rgb_copies), cmocka_unit_test(orientations),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
