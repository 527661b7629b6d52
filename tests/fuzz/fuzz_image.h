/* SPDX-License-Identifier: MIT
 *
 * fuzz_image.h - the body of the image fuzz targets: decode any bytes of one kind twice, which
 * must give the same answer, agree with the probe, and carry on through every way of
 * preprocessing. Included by one .c file per target.
 */
#ifndef NR_FUZZ_IMAGE_H
#define NR_FUZZ_IMAGE_H

#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "nr_alloc.h"
#include "preprocess.h"

#define FUZZ_PIXELS_MAX 100000 /* keeps one run in milliseconds */

static inline void fuzz_require(bool cond) {
    if (!cond) abort();
}

static inline void fuzz_preprocess(const nr_image *image, nr_image_fit fit) {
    nr_preprocess_settings s = nr_preprocess_settings_clip(14);
    s.fit = fit;
    size_t bytes;
    fuzz_require(!nr_preprocess_scratch_bytes(&s, image->width, image->height, &bytes, NULL));
    void *scratch = aligned_alloc(NR_ALIGN_BYTES, nr_round_up(bytes, NR_ALIGN_BYTES));
    float *pixels = malloc(3 * 14 * 14 * sizeof *pixels);
    fuzz_require(scratch && pixels);
    fuzz_require(!nr_preprocess_run(&s, image, pixels, scratch, bytes, NULL));
    free(pixels);
    free(scratch);
}

static inline int fuzz_image_one(const uint8_t *data, size_t size, nr_image_format format) {
    if (nr_image_format_detect(data, size) != format) return 0;
    uint64_t live = nr_alloc_get_stats().live_count;
    nr_decode_options options = nr_decode_options_default();
    options.limits.pixels_max = FUZZ_PIXELS_MAX;
    nr_image_info info = {0};
    nr_image first = {0}, second = {0};
    nr_error err = {0};
    nr_status probe = nr_image_probe(data, size, &options, &info, &err);
    nr_status a = nr_image_decode(data, size, &options, &first, &err);
    nr_status b = nr_image_decode(data, size, &options, &second, NULL);
    fuzz_require(a == b);
    if (a == NR_STATUS_OK) {
        size_t pixels = (size_t)first.width * (size_t)first.height;
        fuzz_require(probe == NR_STATUS_OK && pixels <= FUZZ_PIXELS_MAX);
        fuzz_require(pixels == (size_t)info.width * (size_t)info.height);
        fuzz_require(first.width == second.width && first.height == second.height);
        fuzz_require(memcmp(first.rgb, second.rgb, pixels * 3) == 0);
        for (int fit = 0; fit < 3; fit++) fuzz_preprocess(&first, (nr_image_fit)fit);
    } else {
        fuzz_require(err.status == a && err.message[0] != '\0' && !first.rgb);
    }
    nr_image_free(&first);
    nr_image_free(&second);
    fuzz_require(nr_alloc_get_stats().live_count == live);
    return 0;
}

#endif
