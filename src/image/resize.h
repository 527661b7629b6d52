/* SPDX-License-Identifier: MIT
 *
 * resize.h - resampling whose every pixel equals Pillow's Image.resize for "RGB" pictures.
 *
 * Call order: fill nr_resize_spec; nr_resize_scratch_bytes; nr_resize_rgb with a scratch block of
 * that size. Nothing is allocated here. Any thread, as long as dst and scratch are its own.
 *
 * The picture may be computed in a window only (a crop of a huge upscale costs the crop), and the
 * source may be a picture placed on a larger plain canvas that is never built (padding to a
 * square). Both give exactly the pixels of the long way round.
 */
#ifndef NR_RESIZE_H
#define NR_RESIZE_H

#include "nr_status.h"

/* Numbers as in preprocessor_config.json's "resample". */
typedef enum nr_resize_filter {
    NR_RESIZE_FILTER_BILINEAR = 2,
    NR_RESIZE_FILTER_BICUBIC = 3, /* a = -0.5 */
} nr_resize_filter;

typedef struct nr_resize_spec {
    int32_t src_width, src_height; /* of the picture in memory; 1..NR_IMAGE_SIDE_MAX */
    /* Canvas the picture lies on at (pad_left, pad_top); canvas 0 x 0 means the picture itself. */
    int32_t canvas_width, canvas_height, pad_left, pad_top;
    uint8_t pad_rgb[3];
    int32_t out_width, out_height; /* the whole resized picture; up to 2^24 each */
    /* Part of it that is computed; window 0 x 0 means all of it. */
    int32_t window_left, window_top, window_width, window_height;
    nr_resize_filter filter;
} nr_resize_spec;

/* Bytes of scratch that nr_resize_rgb needs, about taps*24 bytes per output row and column plus a
 * few rows. Errors: ARG (sizes, window or filter out of range), LIMIT (wraps). */
nr_status nr_resize_scratch_bytes(const nr_resize_spec *spec, size_t *out_bytes, nr_error *err);

/* src u8 [src_height, src_width, 3] -> dst u8 [window_height, window_width, 3]; no overlap.
 * scratch: NR_ALIGN_BYTES aligned, scratch_bytes long. Errors: ARG (also: scratch too small). */
nr_status nr_resize_rgb(const nr_resize_spec *spec, const uint8_t *restrict src,
                        uint8_t *restrict dst, void *scratch, size_t scratch_bytes, nr_error *err);

#endif
