/* SPDX-License-Identifier: MIT
 *
 * test_decode_memory.c - the dearest picture of each kind, made here, decoded into reserved room:
 * what the process holds at its peak is at most what the memory plan says. With sanitizers memory
 * means something else: nothing is measured then.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <jpeglib.h>
#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>

#include "newsreader.h"
#include "engine_internal.h"
#include "nr_alloc.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEASURABLE 0
#else
#define MEASURABLE 1
#endif

#define SIDE 1800 /* 3.2 M pixels: well above what counters are off by */
#define PIXELS ((uint64_t)SIDE * SIDE)
#define COUNTER_SLACK ((uint64_t)2 << 20) /* the kernel counts in batches */

static uint64_t status_bytes(const char *key) {
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) sscanf(line + strlen(key), " %llu", &kib);
    if (f) fclose(f);
    return (uint64_t)kib * 1024;
}

/* Forget the peak so far; false where the kernel does not let us. */
static bool reset_peak(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    bool ok = f && fputs("5", f) >= 0;
    if (f && fclose(f) != 0) ok = false;
    return ok;
}

static uint8_t noise(uint32_t i) {
    return (uint8_t)((i * 2654435761u) >> 24);
}

/* Peak while the file is decoded, against the bound. The file itself is the plan's too. */
static void check(const char *what, const uint8_t *bytes, size_t n_bytes) {
    nr_picture *picture;
    nr_error err = {0};
    int32_t width, height;
    nr_trim_heap(); /* what making the file has left behind */
    assert_int_equal(nr_picture_reserve(PIXELS, &picture, &err), NR_STATUS_OK);
    uint64_t before = status_bytes("VmRSS:"), bound = nr_image_decode_bytes_max(PIXELS);
    assert_true(reset_peak());
    nr_status status = nr_picture_load(picture, bytes, n_bytes, &err);
    if (status != NR_STATUS_OK) fail_msg("%s: %s", what, err.message);
    uint64_t peak = status_bytes("VmHWM:") - before;
    nr_picture_size(picture, &width, &height);
    print_message("%s: %.2f bytes a pixel at the peak, planned %.2f\n", what,
                  (double)peak / (double)PIXELS, (double)bound / (double)PIXELS);
    assert_int_equal(width * height, (int)PIXELS);
    assert_true(peak >= 3 * PIXELS - COUNTER_SLACK);
    assert_true(peak <= bound + COUNTER_SLACK);
    nr_picture_free(picture);
}

/* EXIF with nothing but orientation 6. */
static const uint8_t exif[] = {'E', 'x',  'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1,
                               1,   0x12, 0,   3,   0, 0, 0,   1,   0, 6,  0, 0, 0, 0, 0, 0};

static void check_jpeg(const char *what, bool cmyk, bool progressive, bool turned) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL, *row = malloc(4 * SIDE);
    unsigned long n_bytes = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &n_bytes);
    jpeg.image_width = jpeg.image_height = SIDE;
    jpeg.input_components = cmyk ? 4 : 3;
    jpeg.in_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 60, TRUE);
    if (progressive) jpeg_simple_progression(&jpeg);
    for (int i = 0; i < jpeg.num_components; i++)
        jpeg.comp_info[i].h_samp_factor = jpeg.comp_info[i].v_samp_factor = 1;
    jpeg_start_compress(&jpeg, TRUE);
    if (turned) jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif);
    for (uint32_t y = 0; y < SIDE; y++) {
        for (uint32_t i = 0; i < 4 * SIDE; i++) row[i] = noise(y * 7 + i / 16);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(row);
    check(what, bytes, n_bytes);
    free(bytes);
}

static void need_peak(void) {
    if (MEASURABLE && reset_peak()) return;
    print_message("skipped: the peak cannot be measured here\n");
    skip();
}

static void test_jpeg(void **state) {
    (void)state;
    need_peak();
    check_jpeg("JPEG", false, false, false);
    check_jpeg("JPEG, turned", false, false, true);
    check_jpeg("JPEG, progressive", false, true, false);
    check_jpeg("JPEG, progressive CMYK", true, true, false);
    check_jpeg("JPEG, progressive CMYK, turned", true, true, true);
}

static void test_webp(void **state) {
    (void)state;
    need_peak();
    uint8_t *rgb = malloc(3 * PIXELS), *bytes = NULL;
    for (uint32_t i = 0; i < 3 * PIXELS; i++) rgb[i] = noise(i / 64);
    size_t n = WebPEncodeRGB(rgb, SIDE, SIDE, 3 * SIDE, 50, &bytes);
    assert_true(n > 0);
    check("WebP, lossy", bytes, n);
    WebPFree(bytes);
    n = WebPEncodeLosslessRGB(rgb, SIDE, SIDE, 3 * SIDE, &bytes);
    assert_true(n > 0);
    free(rgb);
    check("WebP, lossless", bytes, n);
    WebPFree(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_jpeg), cmocka_unit_test(test_webp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
