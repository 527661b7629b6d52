/* SPDX-License-Identifier: MIT
 *
 * image.h - decoded pictures: 8-bit RGB in one block, never larger than the limits: a heap block of
 * its own, or room that somebody reserved and that one picture after another is decoded into.
 * Any thread may use any image; one image is for one thread at a time.
 */
#ifndef NR_IMAGE_H
#define NR_IMAGE_H

#include "nr_status.h"

typedef struct nr_image {
    uint8_t *rgb; /* owns; u8 [height, width, 3] HWC RGB, rows without padding; NULL when empty */
    int32_t width, height; /* pixels, each 1..NR_IMAGE_SIDE_MAX unless empty */
    size_t room;    /* 0, or bytes of rgb and of spare, which are borrowed then */
    uint8_t *spare; /* page-aligned as rgb is; used while a picture is turned */
    bool damaged; /* parts of the file were unreadable; the decoder filled them in */
} nr_image;

/* What a picture may cost. Zero in a field means the default of nr_limits.h. */
typedef struct nr_image_limits {
    size_t bytes_max;      /* encoded bytes */
    uint64_t pixels_max;   /* width * height */
    uint32_t side_max;     /* longest side in pixels */
    uint32_t aspect_max;   /* long side / short side, the short one counted as at least 8 */
    int32_t jpeg_scans_max; /* progressive scans */
} nr_image_limits;
nr_image_limits nr_image_limits_default(void);

/* Is width x height acceptable? what names the picture in the message ("PNG").
 * Errors: FORMAT (a side is 0), LIMIT (side, pixels or aspect; found and allowed are named). */
nr_status nr_image_check_size(const nr_image_limits *limits, const char *what, uint64_t width,
                              uint64_t height, nr_error *err);

/* Zeroed (black) picture; limits NULL means the defaults. *out is set only on success.
 * Errors: FORMAT, LIMIT, NO_MEMORY. */
nr_status nr_image_create(const nr_image_limits *limits, int32_t width, int32_t height,
                          nr_image *out, nr_error *err);

/* As nr_image_create, but into the room of a reserved picture where image has room.
 * Errors: also LIMIT (over the room). */
nr_status nr_image_prepare(const nr_image_limits *limits, int32_t width, int32_t height,
                           nr_image *image, nr_error *err);

/* Most bytes that decoding a picture of at most pixels_max pixels holds at once, its result
 * included: in our blocks and, from their own rules, in those of the decoding libraries. */
uint64_t nr_image_decode_bytes_max(uint64_t pixels_max);

/* Copies rgb, u8 [height, width, 3] with row_bytes from row to row (0: width*3), into *out.
 * Default limits. Errors: ARG, FORMAT, LIMIT, NO_MEMORY. */
nr_status nr_image_from_rgb(const uint8_t *rgb, int32_t width, int32_t height, size_t row_bytes,
                            nr_image *out, nr_error *err);

/* Accepts NULL and an empty one; leaves it empty. A reserved one keeps its room. */
void nr_image_free(nr_image *image);

/* Turn the stored picture upright: orientation is the EXIF tag 1..8 (1 leaves it alone). 5..8 swap
 * the sides and need a second block while they run. On failure the image is unchanged.
 * Errors: ARG (not 1..8), NO_MEMORY. */
nr_status nr_image_orient(nr_image *image, int orientation, nr_error *err);

#endif
