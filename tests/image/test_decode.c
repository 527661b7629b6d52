/* SPDX-License-Identifier: MIT
 * test_decode.c - pictures of every kind against what Pillow makes of them, broken ones against
 * typed errors; out-of-memory, truncation at every byte, bombs and options. */
#include "image_support.h"

#include <jpeglib.h>
#include <strings.h>
#include <sys/resource.h>

#include "decode.h"
#include "nr_limits.h"

#define SMALL "tests/data/image/small"

typedef struct tally {
    const char *folder;
    int n_equal, n_refused;
} tally;

static nr_decode_options as_stored(void) {
    nr_decode_options o = nr_decode_options_default();
    o.apply_orientation = false;
    return o;
}

static void check_pixels(const char *path, const nr_image *image, const char *expected) {
    char hex[65];
    sha256_hex(image->rgb, (size_t)image->width * (size_t)image->height * 3, hex);
    if (strcmp(hex, expected) != 0) fail_msg("%s: pixels differ from Pillow's", path);
}

static void check_refused(const char *path, const char *expected, nr_status status,
                          const nr_error *err) {
    if (status == NR_STATUS_OK) fail_msg("%s: decoded, expected %s", path, expected);
    if (strcmp(expected, "any") != 0 && strcmp(nr_status_name(status), expected) != 0)
        fail_msg("%s: %s (%s), expected %s", path, nr_status_name(status), err->message, expected);
    if (status != NR_STATUS_FORMAT && status != NR_STATUS_UNSUPPORTED && status != NR_STATUS_LIMIT)
        fail_msg("%s: %s", path, nr_status_name(status));
    assert_int_equal(err->status, status);
    assert_true(strlen(err->message) > 10);
    assert_non_null(err->file);
}

static void check_file(const json_t *line, void *ctx) {
    tally *t = ctx;
    char path[8192];
    snprintf(path, sizeof path, "%s/%s", t->folder, text_of(line, "file"));
    size_t n;
    uint8_t *bytes = read_whole(path, &n);
    uint64_t live = nr_alloc_get_stats().live_count;
    nr_decode_options options = as_stored();
    nr_image image = {0};
    nr_error err = {0};
    nr_status status = nr_image_decode(bytes, n, &options, &image, &err);
    const char *refuse = text_of(line, "refuse");
    if (refuse) {
        if (n > 0) check_refused(path, refuse, status, &err);
        assert_null(image.rgb);
        t->n_refused++;
    } else {
        if (status != NR_STATUS_OK) fail_msg("%s: %s", path, err.message);
        assert_int_equal(image.width, int_of(line, "width"));
        assert_int_equal(image.height, int_of(line, "height"));
        check_pixels(path, &image, text_of(line, "sha256"));
        assert_int_equal(image.damaged, json_is_true(json_object_get(line, "damaged")));
        nr_image_free(&image);
        nr_image_info info;
        assert_int_equal(nr_image_probe(bytes, n, NULL, &info, &err), NR_STATUS_OK);
        assert_int_equal(info.width, int_of(line, "width"));
        assert_int_equal(info.height, int_of(line, "height"));
        const char *format = nr_image_format_name(info.format);
        assert_int_equal(strcasecmp(format, text_of(line, "format")), 0);
        const char *upright = text_of(line, "upright");
        assert_int_equal(nr_image_decode(bytes, n, NULL, &image, &err), NR_STATUS_OK);
        check_pixels(path, &image, upright ? upright : text_of(line, "sha256"));
        nr_image_free(&image);
        t->n_equal++;
    }
    assert_int_equal(nr_alloc_get_stats().live_count, live);
    free(bytes);
}

static void small_files(void **state) {
    (void)state;
    tally t = {.folder = SMALL};
    for_lines("tests/data/image/small.jsonl", check_file, &t);
    printf("%d equal Pillow's pixels, %d refused\n", t.n_equal, t.n_refused);
    assert_true(t.n_equal >= 70 && t.n_refused >= 25);
}

static void shared_files(void **state) {
    (void)state;
    const char *shared = shared_or_null("data/images/manifest.jsonl");
    if (!shared) skip();
    char folder[4200];
    snprintf(folder, sizeof folder, "%s/data/images", shared);
    tally t = {.folder = folder};
    for_lines("tests/data/image/expected.jsonl", check_file, &t);
    printf("%d equal Pillow's pixels, %d refused\n", t.n_equal, t.n_refused);
    assert_true(t.n_equal >= 333 && t.n_refused >= 100);
}

/* ---- orientation: Landscape_1..8 were made to show the same scene ---- */

#define GRID 8

/* Mean of each channel over a GRID x GRID division. */
static void block_means(const nr_image *image, double means[GRID * GRID * 3]) {
    double n[GRID * GRID] = {0};
    memset(means, 0, GRID * GRID * 3 * sizeof *means);
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++) {
            int b = y * GRID / image->height * GRID + x * GRID / image->width;
            size_t at = ((size_t)y * (size_t)image->width + (size_t)x) * 3;
            for (int c = 0; c < 3; c++) means[b * 3 + c] += image->rgb[at + (size_t)c];
            n[b]++;
        }
    for (int i = 0; i < GRID * GRID * 3; i++) means[i] /= n[i / 3];
}

static void decode_file(const char *path, const nr_decode_options *options, nr_image *out) {
    size_t n;
    nr_error err = {0};
    uint8_t *bytes = read_whole(path, &n);
    if (nr_image_decode(bytes, n, options, out, &err) != NR_STATUS_OK)
        fail_msg("%s: %s", path, err.message);
    free(bytes);
}

static double largest_difference(const double *a, const double *b) {
    double largest = 0;
    for (int i = 0; i < GRID * GRID * 3; i++) {
        double d = a[i] < b[i] ? b[i] - a[i] : a[i] - b[i];
        largest = d > largest ? d : largest;
    }
    return largest;
}

static void orientation_shows_one_scene(void **state) {
    (void)state;
    static const char *const kinds[] = {"Landscape", "Portrait"};
    static const int orientations[] = {2, 3, 4, 5, 6, 8};
    const char *shared = shared_or_null("data/images/manifest.jsonl");
    if (!shared) skip();
    for (size_t k = 0; k < NR_COUNT(kinds); k++) {
        char path[8192];
        double first[GRID * GRID * 3], other[GRID * GRID * 3];
        nr_image image, one;
        const char *format = "%s/data/images/exif-orientation/%s_%d.jpg";
        snprintf(path, sizeof path, format, shared, kinds[k], 1);
        decode_file(path, NULL, &one);
        block_means(&one, first);
        for (size_t i = 0; i < NR_COUNT(orientations); i++) {
            int o = orientations[i];
            snprintf(path, sizeof path, format, shared, kinds[k], o);
            FILE *there = fopen(path, "r"); /* the set lacks Portrait_2 */
            if (!there) continue;
            fclose(there);
            decode_file(path, NULL, &image);
            assert_int_equal(image.width, one.width);
            assert_int_equal(image.height, one.height);
            block_means(&image, other);
            assert_true(largest_difference(first, other) < 8); /* recompressed: 5.6 seen */
            nr_image_free(&image);
            nr_decode_options options = as_stored();
            decode_file(path, &options, &image);
            block_means(&image, other);
            assert_true(largest_difference(first, other) > 30);
            nr_image_free(&image);
        }
        nr_image_free(&one);
    }
}

/* ---- robustness ---- */

/* A prefix of a file is refused, or (only the trailer lost) gives the very same picture. */
static void check_prefixes(const json_t *line, void *ctx) {
    int *n_same = ctx;
    if (text_of(line, "refuse")) return;
    char path[8192];
    size_t n;
    snprintf(path, sizeof path, SMALL "/%s", text_of(line, "file"));
    uint8_t *bytes = read_whole(path, &n);
    nr_decode_options options = as_stored();
    for (size_t i = 0; i < n; i++) {
        uint8_t *cut = malloc(i ? i : 1);
        assert_non_null(cut);
        memcpy(cut, bytes, i);
        nr_image image = {0};
        nr_error err = {0};
        nr_status status = nr_image_decode(cut, i, &options, &image, &err);
        if (status == NR_STATUS_OK) {
            check_pixels(path, &image, text_of(line, "sha256"));
            nr_image_free(&image);
            ++*n_same;
        } else if (i > 0) {
            check_refused(path, "any", status, &err);
        }
        free(cut);
    }
    free(bytes);
}

static void every_prefix(void **state) {
    (void)state;
    int n_same = 0;
    uint64_t live = nr_alloc_get_stats().live_count;
    for_lines("tests/data/image/small.jsonl", check_prefixes, &n_same);
    printf("%d prefixes lost nothing but a trailer\n", n_same);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

/* Each single byte turned over: any outcome but a crash, a leak or an untyped error. */
static void check_flips(const json_t *line, void *ctx) {
    (void)ctx;
    char path[8192];
    size_t n;
    snprintf(path, sizeof path, SMALL "/%s", text_of(line, "file"));
    uint8_t *bytes = read_whole(path, &n);
    for (size_t i = 0; i < n; i++) {
        nr_image image = {0};
        nr_error err = {0};
        bytes[i] ^= 0xff;
        nr_status status = nr_image_decode(bytes, n, NULL, &image, &err);
        if (status == NR_STATUS_OK)
            nr_image_free(&image);
        else
            check_refused(path, "any", status, &err);
        bytes[i] ^= 0xff;
    }
    free(bytes);
}

static void every_byte_flipped(void **state) {
    (void)state;
    uint64_t live = nr_alloc_get_stats().live_count;
    for_lines("tests/data/image/small.jsonl", check_flips, NULL);
    assert_int_equal(nr_alloc_get_stats().live_count, live);
}

static void check_no_memory(const json_t *line, void *ctx) {
    int *n_failures = ctx;
    char path[8192];
    size_t n;
    snprintf(path, sizeof path, SMALL "/%s", text_of(line, "file"));
    uint8_t *bytes = read_whole(path, &n);
    uint64_t live = nr_alloc_get_stats().live_count;
    for (int sticky = 0; sticky < 2; sticky++)
        for (uint64_t nth = 1;; nth++) {
            nr_image image = {0};
            nr_error err = {0};
            nr_alloc_fail_nth(nth, sticky);
            nr_status status = nr_image_decode(bytes, n, NULL, &image, &err);
            bool happened = nr_alloc_fail_happened();
            nr_alloc_fail_nth(0, false);
            if (status == NR_STATUS_OK) {
                nr_image_free(&image);
            } else {
                assert_null(image.rgb);
                if (happened && !text_of(line, "refuse") && status != NR_STATUS_NO_MEMORY)
                    fail_msg("%s: %s (%s) when allocation %d fails", path, nr_status_name(status),
                             err.message, (int)nth);
            }
            assert_int_equal(nr_alloc_get_stats().live_count, live);
            if (!happened) break;
            ++*n_failures;
        }
    free(bytes);
}

static void every_allocation_fails(void **state) {
    (void)state;
    int n_failures = 0;
    for_lines("tests/data/image/small.jsonl", check_no_memory, &n_failures);
    printf("%d allocation failures, all clean\n", n_failures);
    assert_true(n_failures > 300);
}

/* ---- bombs ---- */

static long peak_kib(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* Files that promise hundreds of millions of pixels cost nothing: no allocation of ours beyond
 * libpng's reader, no growth of the process. */
static void bombs_cost_nothing(void **state) {
    (void)state;
    static const char *const names[] = {"bomb_sides.png", "bomb_pixels.png", "bomb_aspect.png",
                                        "bomb_thin.png",  "bomb.jpg",        "bomb.webp",
                                        "bomb.gif",       "bomb_frame.gif"};
    long before = peak_kib();
    for (size_t i = 0; i < NR_COUNT(names); i++) {
        char path[256];
        size_t n;
        nr_image image = {0};
        nr_image_info info;
        nr_error err = {0};
        snprintf(path, sizeof path, SMALL "/%s", names[i]);
        uint8_t *bytes = read_whole(path, &n);
        assert_int_equal(nr_image_decode(bytes, n, NULL, &image, &err), NR_STATUS_LIMIT);
        assert_non_null(strstr(err.message, "expected"));
        assert_int_equal(nr_image_probe(bytes, n, NULL, &info, &err), NR_STATUS_LIMIT);
        free(bytes);
    }
    long grown = peak_kib() - before;
    if (grown > 16 << 10) fail_msg("the process grew by %ld KiB", grown);
}

/* A valid progressive grey JPEG of 1 + n_coefficients * 10 scans: each coefficient alone, bit by
 * bit. free() it. */
static uint8_t *many_scans(unsigned side, int n_coefficients, unsigned long *n, int *n_scans) {
    static jpeg_scan_info script[1 + 63 * 10];
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    uint8_t *bytes = NULL, *row = calloc(side, 1);
    assert_non_null(row);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    *n = 0;
    jpeg_mem_dest(&jpeg, &bytes, n);
    jpeg.image_width = jpeg.image_height = side;
    jpeg.input_components = 1;
    jpeg.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&jpeg);
    int count = 0;
    script[count++] = (jpeg_scan_info){.comps_in_scan = 1};
    for (int k = 1; k <= n_coefficients; k++)
        for (int bit = 9; bit >= 0; bit--)
            script[count++] = (jpeg_scan_info){
                .comps_in_scan = 1, .Ss = k, .Se = k, .Ah = bit == 9 ? 0 : bit + 1, .Al = bit};
    jpeg.scan_info = script;
    jpeg.num_scans = count;
    jpeg_start_compress(&jpeg, TRUE);
    for (unsigned y = 0; y < side; y++) {
        JSAMPROW p = row;
        for (unsigned x = 0; x < 64 && y < 64; x++) row[x] = (uint8_t)(x * y);
        jpeg_write_scanlines(&jpeg, &p, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(row);
    *n_scans = count;
    return bytes;
}

static void scans_are_limited(void **state) {
    (void)state;
    unsigned long n;
    int n_scans;
    nr_image image = {0};
    nr_error err = {0};
    nr_decode_options options = nr_decode_options_default();
    uint8_t *bytes = many_scans(64, 63, &n, &n_scans);
    assert_true(n_scans > NR_JPEG_SCANS_MAX);
    assert_int_equal(nr_image_decode(bytes, n, NULL, &image, &err), NR_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "500 scans"));
    free(bytes);
    bytes = many_scans(64, 49, &n, &n_scans);
    assert_int_equal(n_scans, 491);
    assert_int_equal(nr_image_decode(bytes, n, NULL, &image, &err), NR_STATUS_OK);
    nr_image_free(&image);
    options.limits.jpeg_scans_max = 490;
    assert_int_equal(nr_image_decode(bytes, n, &options, &image, &err), NR_STATUS_LIMIT);
    free(bytes);
    bytes = many_scans(4000, 20, &n, &n_scans); /* 201 scans of 16 M pixels; 100 are let through */
    assert_int_equal(nr_image_decode(bytes, n, NULL, &image, &err), NR_STATUS_LIMIT);
    assert_non_null(strstr(err.message, "100 scans of 4000x4000"));
    free(bytes);
}

/* ---- options and the ways in ---- */

static void limits_can_only_be_lowered(void **state) {
    (void)state;
    size_t n;
    nr_image image = {0};
    nr_error err = {0};
    uint8_t *bytes = read_whole(SMALL "/420.jpg", &n); /* 45 x 37 */
    nr_decode_options o = {.apply_orientation = true}; /* zero: defaults */
    assert_int_equal(nr_image_decode(bytes, n, &o, &image, &err), NR_STATUS_OK);
    nr_image_free(&image);
    o.limits.side_max = 44;
    assert_int_equal(nr_image_decode(bytes, n, &o, &image, &err), NR_STATUS_LIMIT);
    o.limits = (nr_image_limits){.pixels_max = 45 * 37 - 1};
    assert_int_equal(nr_image_decode(bytes, n, &o, &image, &err), NR_STATUS_LIMIT);
    o.limits = (nr_image_limits){.aspect_max = 1};
    assert_int_equal(nr_image_decode(bytes, n, &o, &image, &err), NR_STATUS_LIMIT);
    o.limits = (nr_image_limits){.bytes_max = n - 1};
    assert_int_equal(nr_image_decode(bytes, n, &o, &image, &err), NR_STATUS_LIMIT);
    o.limits = (nr_image_limits){.bytes_max = n, .side_max = 45, .pixels_max = 45 * 37};
    assert_int_equal(nr_image_decode(bytes, n, &o, &image, &err), NR_STATUS_OK);
    nr_image_free(&image);
    free(bytes);
    bytes = read_whole(SMALL "/bomb_pixels.png", &n);
    o.limits = (nr_image_limits){.pixels_max = UINT64_MAX, .side_max = UINT32_MAX};
    assert_int_equal(nr_image_decode(bytes, n, &o, &image, &err), NR_STATUS_LIMIT);
    free(bytes);
}

static void nothing_to_decode(void **state) {
    (void)state;
    nr_image image = {0};
    nr_image_info info;
    nr_error err = {0};
    assert_int_equal(nr_image_decode(NULL, 0, NULL, &image, &err), NR_STATUS_ARG);
    assert_int_equal(nr_image_decode("", 0, NULL, &image, &err), NR_STATUS_ARG);
    assert_int_equal(nr_image_probe("x", 1, NULL, &info, NULL), NR_STATUS_FORMAT);
    assert_int_equal(nr_image_format_detect(NULL, 0), NR_IMAGE_FORMAT_UNKNOWN);
    size_t big = NR_IMAGE_BYTES_MAX + 1u;
    uint8_t *bytes = calloc(big, 1);
    assert_non_null(bytes);
    memcpy(bytes, "\xff\xd8\xff", 3);
    assert_int_equal(nr_image_decode(bytes, big, NULL, &image, &err), NR_STATUS_LIMIT);
    free(bytes);
}

static void kinds_are_named(void **state) {
    (void)state;
    static const struct {
        const char *start;
        size_t n;
        nr_image_format format;
    } cases[] = {{"\xff\xd8\xff\xe0", 4, NR_IMAGE_FORMAT_JPEG},
                 {"\xff\xd8", 2, NR_IMAGE_FORMAT_UNKNOWN},
                 {"\x89PNG\r\n\x1a\n", 8, NR_IMAGE_FORMAT_PNG},
                 {"GIF87a", 6, NR_IMAGE_FORMAT_GIF},
                 {"RIFF\0\0\0\0WEBP", 12, NR_IMAGE_FORMAT_WEBP},
                 {"RIFF\0\0\0\0WAVE", 12, NR_IMAGE_FORMAT_UNKNOWN},
                 {"BM", 2, NR_IMAGE_FORMAT_BMP},
                 {"P6\n", 3, NR_IMAGE_FORMAT_PNM},
                 {"\0\0\0\x20" "ftypavif", 12, NR_IMAGE_FORMAT_HEIF},
                 {"\xff\x0a", 2, NR_IMAGE_FORMAT_JPEG_XL},
                 {"\xef\xbb\xbf \n<HTML>", 11, NR_IMAGE_FORMAT_HTML},
                 {"<?xml version", 13, NR_IMAGE_FORMAT_SVG},
                 {"%PDF-1.7", 8, NR_IMAGE_FORMAT_PDF},
                 {"   ", 3, NR_IMAGE_FORMAT_UNKNOWN}};
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        char *exact = malloc(cases[i].n);
        assert_non_null(exact);
        memcpy(exact, cases[i].start, cases[i].n);
        assert_int_equal(nr_image_format_detect(exact, cases[i].n), cases[i].format);
        free(exact);
    }
    nr_image image = {0};
    nr_error err = {0};
    assert_int_equal(nr_image_decode("<html>", 6, NULL, &image, &err), NR_STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.message, "HTML"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_files),
        cmocka_unit_test(shared_files),
        cmocka_unit_test(orientation_shows_one_scene),
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_byte_flipped),
        cmocka_unit_test(every_allocation_fails),
        cmocka_unit_test(bombs_cost_nothing),
        cmocka_unit_test(scans_are_limited),
        cmocka_unit_test(limits_can_only_be_lowered),
        cmocka_unit_test(nothing_to_decode),
        cmocka_unit_test(kinds_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
