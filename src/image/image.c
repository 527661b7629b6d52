/* SPDX-License-Identifier: MIT
 * image.c - see image.h. */
#include "image.h"

#include <string.h>

#include "nr_alloc.h"
#include "nr_limits.h"

/* The beginning of a reserved picture's spare room, where decoders put rows, keeps its pages. */
#define ROWS_ROOM ((size_t)4 * NR_IMAGE_SIDE_MAX)

nr_image_limits nr_image_limits_default(void) {
    return (nr_image_limits){.bytes_max = NR_IMAGE_BYTES_MAX,
                             .pixels_max = NR_IMAGE_PIXELS_MAX,
                             .side_max = NR_IMAGE_SIDE_MAX,
                             .aspect_max = NR_IMAGE_ASPECT_MAX,
                             .jpeg_scans_max = NR_JPEG_SCANS_MAX};
}

nr_status nr_image_check_size(const nr_image_limits *limits, const char *what, uint64_t width,
                              uint64_t height, nr_error *err) {
    NR_FAIL_IF(width == 0 || height == 0, FORMAT, "%s: %llux%llu pixels, expected at least 1x1",
               what, (unsigned long long)width, (unsigned long long)height);
    uint64_t long_side = NR_MAX(width, height), short_side = NR_MIN(width, height);
    NR_FAIL_IF(long_side > limits->side_max, LIMIT,
               "%s: %llux%llu pixels, expected sides of at most %u", what,
               (unsigned long long)width, (unsigned long long)height, limits->side_max);
    NR_FAIL_IF(width * height > limits->pixels_max, LIMIT,
               "%s: %llux%llu is %llu pixels, expected at most %llu", what,
               (unsigned long long)width, (unsigned long long)height,
               (unsigned long long)(width * height), (unsigned long long)limits->pixels_max);
    short_side = NR_MAX(short_side, NR_IMAGE_ASPECT_SHORT_MIN);
    NR_FAIL_IF(long_side > short_side * limits->aspect_max, LIMIT,
               "%s: %llux%llu pixels, expected sides of at most %u to 1", what,
               (unsigned long long)width, (unsigned long long)height, limits->aspect_max);
    return NR_STATUS_OK;
}

/* JPEG is the dearest: the picture, and where its scans are progressive the coefficients of up to
 * four components. WebP takes four bytes a pixel beside the picture, turning one upright three. */
uint64_t nr_image_decode_bytes_max(uint64_t pixels_max) {
    return pixels_max * (3 + NR_JPEG_COEFFICIENT_BYTES) + NR_JPEG_WORK_BYTES;
}

static nr_status check_create(const nr_image_limits *limits, int32_t width, int32_t height,
                              size_t *bytes, nr_error *err) {
    nr_image_limits defaults = nr_image_limits_default();
    size_t pixels;
    NR_FAIL_IF(width < 0 || height < 0, FORMAT, "image: %dx%d pixels, expected at least 1x1", width,
               height);
    NR_TRY(nr_image_check_size(limits ? limits : &defaults, "image", (uint64_t)width,
                               (uint64_t)height, err));
    NR_FAIL_IF(!nr_mul_size((size_t)width, (size_t)height, &pixels) ||
                   !nr_mul_size(pixels, 3, bytes),
               LIMIT, "image: %dx%d pixels wrap", width, height);
    return NR_STATUS_OK;
}

nr_status nr_image_create(const nr_image_limits *limits, int32_t width, int32_t height,
                          nr_image *out, nr_error *err) {
    size_t bytes;
    NR_TRY(check_create(limits, width, height, &bytes, err));
    uint8_t *rgb = nr_calloc(bytes, 1);
    NR_FAIL_IF(!rgb, NO_MEMORY, "image: no memory for %dx%d pixels, %zu bytes", width, height,
               bytes);
    *out = (nr_image){.rgb = rgb, .width = width, .height = height};
    return NR_STATUS_OK;
}

nr_status nr_image_prepare(const nr_image_limits *limits, int32_t width, int32_t height,
                           nr_image *image, nr_error *err) {
    size_t bytes;
    if (!image->room) return nr_image_create(limits, width, height, image, err);
    NR_TRY(check_create(limits, width, height, &bytes, err));
    NR_FAIL_IF(bytes > image->room, LIMIT, "image: %dx%d is %zu bytes, there is room for %zu",
               width, height, bytes, image->room);
    memset(image->rgb, 0, bytes);
    image->width = width;
    image->height = height;
    image->damaged = false;
    return NR_STATUS_OK;
}

nr_status nr_image_from_rgb(const uint8_t *rgb, int32_t width, int32_t height, size_t row_bytes,
                            nr_image *out, nr_error *err) {
    nr_image image = {0};
    NR_FAIL_IF(!rgb, ARG, "image: no pixels");
    NR_TRY(nr_image_create(NULL, width, height, &image, err));
    size_t packed = (size_t)width * 3;
    if (row_bytes == 0) row_bytes = packed;
    if (row_bytes < packed) {
        nr_image_free(&image);
        NR_FAIL(ARG, "image: rows of %zu bytes, expected at least %zu", row_bytes, packed);
    }
    for (int32_t y = 0; y < height; y++)
        memcpy(image.rgb + (size_t)y * packed, rgb + (size_t)y * row_bytes, packed);
    *out = image;
    return NR_STATUS_OK;
}

void nr_image_free(nr_image *image) {
    if (!image) return;
    if (image->room) {
        image->width = image->height = 0;
        image->damaged = false;
        return;
    }
    nr_free(image->rgb);
    *image = (nr_image){0};
}

static void swap_pixels(uint8_t *a, uint8_t *b) {
    for (int c = 0; c < 3; c++) {
        uint8_t v = a[c];
        a[c] = b[c];
        b[c] = v;
    }
}

static void mirror_rows(nr_image *image) {
    for (int32_t y = 0; y < image->height; y++) {
        uint8_t *row = image->rgb + (size_t)y * (size_t)image->width * 3;
        for (int32_t l = 0, r = image->width - 1; l < r; l++, r--)
            swap_pixels(row + (size_t)l * 3, row + (size_t)r * 3);
    }
}

static void turn_half(nr_image *image) {
    size_t n = (size_t)image->width * (size_t)image->height;
    for (size_t l = 0, r = n - 1; l < r; l++, r--)
        swap_pixels(image->rgb + l * 3, image->rgb + r * 3);
}

/* Output pixel (x, y) of a transposing orientation comes from stored (column y or mirrored, row x
 * or mirrored): 5 transpose, 6 quarter turn right, 7 transverse, 8 quarter turn left. In tiles, so
 * that both sides stay in cache. */
static nr_status transpose(nr_image *image, bool mirror_row, bool mirror_column, nr_error *err) {
    size_t w = (size_t)image->height, h = (size_t)image->width; /* of the result */
    uint8_t *rgb = image->room ? image->spare : nr_malloc(w * h * 3);
    NR_FAIL_IF(!rgb, NO_MEMORY, "image: no memory to turn %dx%d pixels, %zu bytes", image->width,
               image->height, w * h * 3);
    const size_t tile = 32;
    for (size_t y0 = 0; y0 < h; y0 += tile)
        for (size_t x0 = 0; x0 < w; x0 += tile)
            for (size_t y = y0; y < NR_MIN(y0 + tile, h); y++)
                for (size_t x = x0; x < NR_MIN(x0 + tile, w); x++) {
                    size_t row = mirror_row ? w - 1 - x : x;
                    size_t column = mirror_column ? h - 1 - y : y;
                    memcpy(rgb + (y * w + x) * 3, image->rgb + (row * h + column) * 3, 3);
                }
    if (image->room) { /* one block at a time is what is planned: the other's pages go back */
        memcpy(image->rgb, rgb, w * h * 3);
        if (image->room > ROWS_ROOM) nr_drop_pages(rgb + ROWS_ROOM, image->room - ROWS_ROOM);
    } else {
        nr_free(image->rgb);
        image->rgb = rgb;
    }
    image->width = (int32_t)w;
    image->height = (int32_t)h;
    return NR_STATUS_OK;
}

nr_status nr_image_orient(nr_image *image, int orientation, nr_error *err) {
    NR_FAIL_IF(orientation < 1 || orientation > 8, ARG, "image: orientation %d, expected 1..8",
               orientation);
    if (!image->rgb || orientation == 1) return NR_STATUS_OK;
    if (orientation == 2 || orientation == 4) mirror_rows(image);
    if (orientation == 3 || orientation == 4) turn_half(image);
    if (orientation >= 5)
        return transpose(image, orientation == 6 || orientation == 7,
                         orientation == 7 || orientation == 8, err);
    return NR_STATUS_OK;
}
