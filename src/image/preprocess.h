/* SPDX-License-Identifier: MIT
 *
 * preprocess.h - a picture to the model's input: resize with crop, pad or squash, rescale,
 * normalise. The same bits as the Pillow route of the original image processors.
 *
 * Call order: fill nr_preprocess_settings; nr_preprocess_check once; per picture
 * nr_preprocess_scratch_bytes and nr_preprocess_run. Nothing is allocated here. Any thread, as
 * long as output and scratch are its own.
 */
#ifndef NR_PREPROCESS_H
#define NR_PREPROCESS_H

#include "image.h"
#include "resize.h"

typedef enum nr_image_fit {
    NR_IMAGE_FIT_CROP,   /* shortest side to short_side, then the centre (CLIP) */
    NR_IMAGE_FIT_PAD,    /* on a square of the mean colour, centred, then resized (LLaVA 1.5) */
    NR_IMAGE_FIT_SQUASH, /* both sides to the output size, aspect not kept (BLIP-2) */
} nr_image_fit;

typedef struct nr_preprocess_settings {
    int32_t out_width, out_height; /* pixels, 1..NR_VISION_SIDE_MAX; PAD wants them equal */
    int32_t short_side;   /* CROP: size["shortest_edge"], >= both outputs; 0: max of the outputs */
    nr_image_fit fit;
    nr_resize_filter filter;
    double rescale_factor; /* 1/255: u8 -> [0, 1]; 0 means 1/255 */
    double mean[3], std[3]; /* R, G, B, on the rescaled values; std > 0 */
} nr_preprocess_settings;

/* CLIP's constants for LLaVA and BLIP-2: CROP, bicubic, side x side. */
nr_preprocess_settings nr_preprocess_settings_clip(int32_t side);

/* Errors: ARG; the message names the field. */
nr_status nr_preprocess_check(const nr_preprocess_settings *settings, nr_error *err);

/* Scratch for a picture of src_width x src_height pixels (after orientation).
 * Errors: ARG (settings or size out of range), LIMIT. */
nr_status nr_preprocess_scratch_bytes(const nr_preprocess_settings *settings, int32_t src_width,
                                      int32_t src_height, size_t *out_bytes, nr_error *err);

/* Upper bound of nr_preprocess_scratch_bytes over every picture the default limits let through;
 * what a memory plan reserves. Errors: ARG. */
nr_status nr_preprocess_scratch_bytes_max(const nr_preprocess_settings *settings,
                                          size_t *out_bytes, nr_error *err);

/* image -> pixels f32 [3, out_height, out_width] CHW RGB, rescaled, mean/std applied:
 * f32((u8 * rescale - mean) / std), computed in double and rounded once.
 * scratch: NR_ALIGN_BYTES aligned. Errors: ARG (empty image, scratch too small). */
nr_status nr_preprocess_run(const nr_preprocess_settings *settings, const nr_image *image,
                            float *restrict pixels, void *scratch, size_t scratch_bytes,
                            nr_error *err);

#endif
