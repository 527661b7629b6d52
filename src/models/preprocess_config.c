/* SPDX-License-Identifier: MIT
 * preprocess_config.c - see preprocess_config.h. */
#include "preprocess_config.h"

#include "nr_limits.h"

static nr_status read_doubles(const nr_json_at *at, const char *key, double dst[3], nr_error *err) {
    nr_json_at list;
    int n = 0;
    NR_TRY(nr_json_list(at, key, 3, &list, &n, err));
    NR_FAIL_IF(n != 0 && n != 3, FORMAT, "%s: %s has %d numbers, expected 3", at->where, key, n);
    for (int i = 0; i < n; i++) {
        nr_json_at item = nr_json_item(&list, i);
        NR_TRY(nr_json_need_f64(&item, "", -1e6, 1e6, &dst[i], err));
    }
    return NR_STATUS_OK;
}

/* Steps that every supported route has: switching one off means another route. */
static nr_status check_steps(const nr_json_at *at, nr_error *err) {
    static const char *const steps[] = {"do_resize", "do_rescale", "do_normalize"};
    for (size_t i = 0; i < NR_COUNT(steps); i++) {
        bool on = true;
        NR_TRY(nr_json_opt_bool(at, steps[i], &on, err));
        NR_FAIL_IF(!on, UNSUPPORTED, "%s: %s is false, expected true", at->where, steps[i]);
    }
    return NR_STATUS_OK;
}

/* {"height": h, "width": w}, or one number for both; 0 x 0 when absent. */
static nr_status read_size(const nr_json_at *at, const char *key, int32_t *w, int32_t *h,
                           nr_error *err) {
    nr_json_at size;
    *w = *h = 0;
    const json_t *node = at->node ? json_object_get(at->node, key) : NULL;
    if (json_is_integer(node)) {
        NR_TRY(nr_json_need_i32(at, key, 1, NR_VISION_SIDE_MAX, w, err));
        *h = *w;
        return NR_STATUS_OK;
    }
    NR_TRY(nr_json_enter(at, key, &size, err));
    NR_TRY(nr_json_opt_i32(&size, "width", 1, NR_VISION_SIDE_MAX, w, err));
    return nr_json_opt_i32(&size, "height", 1, NR_VISION_SIDE_MAX, h, err);
}

static nr_status check_side(const nr_json_at *at, const char *key, int32_t w, int32_t h,
                            int32_t side, nr_error *err) {
    NR_FAIL_IF((w != 0 || h != 0) && (w != side || h != side), SHAPE,
               "%s: %s is %d x %d, the vision tower takes %d x %d", at->where, key, w, h, side,
               side);
    return NR_STATUS_OK;
}

static nr_status read_fit(const nr_json_at *at, int32_t side, nr_preprocess_settings *out,
                          nr_error *err) {
    bool pad = false;
    int32_t w, h, crop_w, crop_h;
    NR_TRY(read_size(at, "size", &w, &h, err));
    bool exact = w != 0 || h != 0, crop = !exact; /* processors that crop name one edge */
    NR_TRY(nr_json_opt_bool(at, "do_center_crop", &crop, err));
    NR_TRY(nr_json_opt_bool(at, "do_pad", &pad, err));
    NR_TRY(read_size(at, "crop_size", &crop_w, &crop_h, err));
    if (crop) NR_TRY(check_side(at, "crop_size", crop_w, crop_h, side, err));
    if (exact && !crop) NR_TRY(check_side(at, "size", w, h, side, err));
    out->short_side = side;
    NR_TRY(nr_json_opt_i32(at, "size.shortest_edge", 1, NR_VISION_SIDE_MAX, &out->short_side, err));
    out->fit = pad ? NR_IMAGE_FIT_PAD : crop && !exact ? NR_IMAGE_FIT_CROP : NR_IMAGE_FIT_SQUASH;
    NR_FAIL_IF(out->fit == NR_IMAGE_FIT_CROP && out->short_side < side, UNSUPPORTED,
               "%s: size.shortest_edge %d is smaller than the crop of %d", at->where,
               out->short_side, side);
    return NR_STATUS_OK;
}

nr_status nr_preprocess_config(const nr_hf_config *config, int32_t side,
                               nr_preprocess_settings *out, nr_error *err) {
    const nr_json_at *at = &config->preprocessor;
    int32_t resample = NR_RESIZE_FILTER_BICUBIC;
    *out = nr_preprocess_settings_clip(side);
    if (!at->node) return NR_STATUS_OK;
    NR_TRY(check_steps(at, err));
    NR_TRY(read_fit(at, side, out, err));
    NR_TRY(nr_json_opt_i32(at, "resample", 0, 5, &resample, err));
    NR_FAIL_IF(resample != NR_RESIZE_FILTER_BICUBIC && resample != NR_RESIZE_FILTER_BILINEAR,
               UNSUPPORTED, "%s: resample %d, expected 2 (bilinear) or 3 (bicubic)", at->where,
               resample);
    out->filter = (nr_resize_filter)resample;
    NR_TRY(nr_json_opt_f64(at, "rescale_factor", 1e-9, 1e3, &out->rescale_factor, err));
    NR_TRY(read_doubles(at, "image_mean", out->mean, err));
    NR_TRY(read_doubles(at, "image_std", out->std, err));
    return nr_preprocess_check(out, err);
}
