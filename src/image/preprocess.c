/* SPDX-License-Identifier: MIT
 *
 * preprocess.c - settings to one resize call plus one table lookup per sample.
 *
 * Normalising: a sample has 256 possible values, so each channel gets a table computed in double
 * and rounded to f32 once. A rescale factor that is the double nearest to 1/n for a whole n (the
 * files say 0.00392156862745098 for 1/255) is applied as a division by n, which is what the
 * reference computes (x / 255). Multiplying by the rounded reciprocal differs in the last bit of
 * the double for 24 of the 256 values; with CLIP's constants the f32 results happen to agree, with
 * others they need not. (Rescaling and normalising in f32 would change most of the table.)
 *
 * Crop: only the window that stays is resampled, since an extreme aspect makes the whole resized
 * picture up to 200 times larger than the part that is kept.
 */
#include "preprocess.h"

#include <math.h>
#include <string.h>

#include "nr_limits.h"

nr_preprocess_settings nr_preprocess_settings_clip(int32_t side) {
    return (nr_preprocess_settings){
        .out_width = side,
        .out_height = side,
        .fit = NR_IMAGE_FIT_CROP,
        .filter = NR_RESIZE_FILTER_BICUBIC,
        .rescale_factor = 1.0 / 255,
        .mean = {0.48145466, 0.4578275, 0.40821073},
        .std = {0.26862954, 0.26130258, 0.27577711},
    };
}

static int32_t short_side_of(const nr_preprocess_settings *s) {
    return s->short_side ? s->short_side : NR_MAX(s->out_width, s->out_height);
}

nr_status nr_preprocess_check(const nr_preprocess_settings *s, nr_error *err) {
    const int32_t side_max = NR_VISION_SIDE_MAX;
    NR_FAIL_IF(s->out_width < 1 || s->out_height < 1 || s->out_width > side_max ||
                   s->out_height > side_max,
               ARG, "preprocess: output %dx%d, expected sides of 1..%d", s->out_width,
               s->out_height, side_max);
    NR_FAIL_IF(s->fit != NR_IMAGE_FIT_CROP && s->fit != NR_IMAGE_FIT_PAD &&
                   s->fit != NR_IMAGE_FIT_SQUASH,
               ARG, "preprocess: fit %d, expected crop, pad or squash", (int)s->fit);
    NR_FAIL_IF(s->fit == NR_IMAGE_FIT_PAD && s->out_width != s->out_height, ARG,
               "preprocess: output %dx%d, expected a square when padding", s->out_width,
               s->out_height);
    int32_t side = short_side_of(s);
    NR_FAIL_IF(s->fit == NR_IMAGE_FIT_CROP &&
                   (side < s->out_width || side < s->out_height || side > side_max),
               ARG, "preprocess: shortest edge %d, expected %d..%d to crop %dx%d from", side,
               NR_MAX(s->out_width, s->out_height), side_max, s->out_width, s->out_height);
    NR_FAIL_IF(s->filter != NR_RESIZE_FILTER_BICUBIC && s->filter != NR_RESIZE_FILTER_BILINEAR, ARG,
               "preprocess: resample %d, expected 2 (bilinear) or 3 (bicubic)", (int)s->filter);
    NR_FAIL_IF(!isfinite(s->rescale_factor) || s->rescale_factor < 0, ARG,
               "preprocess: rescale factor %g, expected a positive number", s->rescale_factor);
    for (int c = 0; c < 3; c++) {
        NR_FAIL_IF(!isfinite(s->mean[c]), ARG, "preprocess: mean[%d] is %g", c, s->mean[c]);
        NR_FAIL_IF(!isfinite(s->std[c]) || s->std[c] <= 0, ARG,
                   "preprocess: std[%d] is %g, expected a positive number", c, s->std[c]);
        NR_FAIL_IF(s->fit == NR_IMAGE_FIT_PAD && (s->mean[c] < 0 || s->mean[c] > 1), ARG,
                   "preprocess: mean[%d] is %g, expected 0..1 to pad with", c, s->mean[c]);
    }
    return NR_STATUS_OK;
}

/* Long side of the resized picture: int(side * long / short), the quotient rounded once. */
static int32_t scaled_long(int32_t side, int32_t long_side, int32_t short_side) {
    return (int32_t)((double)((int64_t)side * long_side) / short_side);
}

static void plan_crop(const nr_preprocess_settings *s, nr_resize_spec *spec) {
    int32_t side = short_side_of(s), w = spec->src_width, h = spec->src_height;
    spec->out_width = w < h ? side : scaled_long(side, w, h);
    spec->out_height = w < h ? scaled_long(side, h, w) : side;
    spec->window_width = s->out_width;
    spec->window_height = s->out_height;
    spec->window_left = (spec->out_width - s->out_width) / 2;
    spec->window_top = (spec->out_height - s->out_height) / 2;
}

static void plan_pad(const nr_preprocess_settings *s, nr_resize_spec *spec) {
    int32_t side = NR_MAX(spec->src_width, spec->src_height);
    spec->canvas_width = spec->canvas_height = side;
    spec->pad_left = (side - spec->src_width) / 2;
    spec->pad_top = (side - spec->src_height) / 2;
    for (int c = 0; c < 3; c++) spec->pad_rgb[c] = (uint8_t)(s->mean[c] * 255);
}

static nr_status plan(const nr_preprocess_settings *s, int32_t src_width, int32_t src_height,
                      nr_resize_spec *out, nr_error *err) {
    NR_TRY(nr_preprocess_check(s, err));
    const int32_t side_max = (int32_t)NR_IMAGE_SIDE_MAX;
    NR_FAIL_IF(src_width < 1 || src_height < 1 || src_width > side_max || src_height > side_max,
               ARG, "preprocess: picture %dx%d, expected sides of 1..%d", src_width, src_height,
               side_max);
    nr_resize_spec spec = {.src_width = src_width,
                           .src_height = src_height,
                           .out_width = s->out_width,
                           .out_height = s->out_height,
                           .filter = s->filter};
    if (s->fit == NR_IMAGE_FIT_CROP) plan_crop(s, &spec);
    if (s->fit == NR_IMAGE_FIT_PAD) plan_pad(s, &spec);
    *out = spec;
    return NR_STATUS_OK;
}

static size_t pixels_bytes(const nr_preprocess_settings *s) {
    return nr_round_up((size_t)s->out_width * (size_t)s->out_height * 3, NR_ALIGN_BYTES);
}

nr_status nr_preprocess_scratch_bytes(const nr_preprocess_settings *settings, int32_t src_width,
                                      int32_t src_height, size_t *out_bytes, nr_error *err) {
    nr_resize_spec spec = {0};
    size_t bytes = 0;
    NR_TRY(plan(settings, src_width, src_height, &spec, err));
    NR_TRY(nr_resize_scratch_bytes(&spec, &bytes, err));
    NR_FAIL_IF(!nr_add_size(bytes, pixels_bytes(settings), &bytes), LIMIT,
               "preprocess: scratch for %dx%d wraps", src_width, src_height);
    *out_bytes = bytes;
    return NR_STATUS_OK;
}

/* Scratch grows with the scale of each axis, and no axis is scaled down more than a picture of the
 * largest side squashed to the kept size (crop: to the shortest edge, of which a part is kept). A
 * canvas row is added because the largest square has no padding of its own. */
nr_status nr_preprocess_scratch_bytes_max(const nr_preprocess_settings *settings,
                                          size_t *out_bytes, nr_error *err) {
    nr_resize_spec spec = {0};
    const int32_t side_max = (int32_t)NR_IMAGE_SIDE_MAX;
    size_t bytes = 0;
    NR_TRY(plan(settings, side_max, side_max, &spec, err));
    if (settings->fit == NR_IMAGE_FIT_PAD) spec.src_width = spec.src_height = 1;
    NR_TRY(nr_resize_scratch_bytes(&spec, &bytes, err));
    NR_FAIL_IF(!nr_add_size(bytes, pixels_bytes(settings), &bytes), LIMIT,
               "preprocess: scratch for %dx%d wraps", side_max, side_max);
    *out_bytes = bytes;
    return NR_STATUS_OK;
}

/* f32 [256] of one channel. */
static void fill_table(float table[256], double factor, double mean, double std) {
    double whole = factor > 0 ? nearbyint(1.0 / factor) : 255.0;
    bool divide = factor == 0 || (whole >= 1 && factor == 1.0 / whole);
    for (int v = 0; v < 256; v++) {
        double x = divide ? v / whole : v * factor;
        table[v] = (float)((x - mean) / std);
    }
}

nr_status nr_preprocess_run(const nr_preprocess_settings *settings, const nr_image *image,
                            float *restrict pixels, void *scratch, size_t scratch_bytes,
                            nr_error *err) {
    nr_resize_spec spec = {0};
    size_t needed = 0;
    NR_FAIL_IF(!image || !image->rgb || !pixels, ARG, "preprocess: no picture or no output");
    NR_TRY(plan(settings, image->width, image->height, &spec, err));
    NR_TRY(nr_preprocess_scratch_bytes(settings, image->width, image->height, &needed, err));
    NR_FAIL_IF(!scratch || scratch_bytes < needed, ARG,
               "preprocess: %zu bytes of scratch, expected %zu", scratch ? scratch_bytes : 0,
               needed);
    uint8_t *rgb = scratch; /* u8 [out_height, out_width, 3], then the resizer's scratch */
    size_t rgb_bytes = pixels_bytes(settings);
    NR_TRY(nr_resize_rgb(&spec, image->rgb, rgb, rgb + rgb_bytes, scratch_bytes - rgb_bytes, err));
    size_t n = (size_t)settings->out_width * (size_t)settings->out_height;
    for (int c = 0; c < 3; c++) {
        float table[256];
        fill_table(table, settings->rescale_factor, settings->mean[c], settings->std[c]);
        float *plane = pixels + (size_t)c * n;
        for (size_t i = 0; i < n; i++) plane[i] = table[rgb[i * 3 + (size_t)c]];
    }
    return NR_STATUS_OK;
}
