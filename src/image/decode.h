/* SPDX-License-Identifier: MIT
 *
 * decode.h - bytes of a JPEG, PNG, WebP or GIF file to RGB. The kind is told by magic bytes, never
 * by name. Pixels equal those of Pillow's Image.open(f).convert("RGB"), which is what the models
 * were trained on: first frame, alpha dropped (not blended), 16-bit grey clipped at 255, other
 * 16-bit samples cut to their high byte, CMYK converted without a profile.
 *
 * Call order: nr_image_probe for the size only, or nr_image_decode. The size is checked from the
 * header before pixels are allocated. A truncated file is an error, never half a picture; so is a
 * damaged one, but for codes inside a JPEG's scans that make no sense: every viewer shows such a
 * picture, so it is decoded and marked as damaged. Any thread; no state is kept.
 *
 * Not here: the sandbox around it, resizing, colour management.
 */
#ifndef NR_DECODE_H
#define NR_DECODE_H

#include "image.h"

/* Kinds that can be told apart. Those after GIF are recognised only to be refused by name. */
#define NR_IMAGE_FORMAT_MAP(X)                                                                     \
    X(UNKNOWN, "unknown")                                                                          \
    X(JPEG, "JPEG")                                                                                \
    X(PNG, "PNG")                                                                                  \
    X(WEBP, "WebP")                                                                                \
    X(GIF, "GIF")                                                                                  \
    X(BMP, "BMP")                                                                                  \
    X(TIFF, "TIFF")                                                                                \
    X(PNM, "PNM")                                                                                  \
    X(HEIF, "HEIF/AVIF")                                                                           \
    X(JPEG_XL, "JPEG XL")                                                                          \
    X(JPEG_2000, "JPEG 2000")                                                                      \
    X(SVG, "SVG/XML")                                                                              \
    X(HTML, "HTML")                                                                                \
    X(PDF, "PDF")

typedef enum nr_image_format {
#define NR_IMAGE_FORMAT_ENUM(name, text) NR_IMAGE_FORMAT_##name,
    NR_IMAGE_FORMAT_MAP(NR_IMAGE_FORMAT_ENUM)
#undef NR_IMAGE_FORMAT_ENUM
} nr_image_format;

const char *nr_image_format_name(nr_image_format format); /* "WebP"; static */

/* By the first bytes; reads at most 64. UNKNOWN when nothing fits. */
nr_image_format nr_image_format_detect(const void *bytes, size_t n_bytes);

typedef struct nr_decode_options {
    bool apply_orientation; /* turn upright by the EXIF tag; default true */
    nr_image_limits limits;
} nr_decode_options;
nr_decode_options nr_decode_options_default(void);

typedef struct nr_image_info {
    nr_image_format format;
    int32_t width, height; /* pixels as stored, before orientation */
    int orientation;       /* EXIF 1..8 as far as the header told; 1 when absent or nonsense */
} nr_image_info;

/* Kind and size without decoding pixels; limits are applied. opts NULL: the defaults. A later
 * decode can still fail. Errors: as nr_image_decode. */
nr_status nr_image_probe(const void *bytes, size_t n_bytes, const nr_decode_options *opts,
                         nr_image_info *out, nr_error *err);

/* Decode to *out (transfers; nr_image_free), set only on success. opts NULL: the defaults.
 * Peak memory: the picture (3 bytes a pixel) plus what the codec holds (at most about 8 bytes a
 * pixel for progressive CMYK JPEG, 4 for lossless WebP), or a second picture for orientation 5..8.
 * Errors: ARG (no bytes), FORMAT (damaged, truncated, no known magic), UNSUPPORTED (a kind or
 * variant that is not read), LIMIT (file, side, pixels, aspect, scans), NO_MEMORY. */
nr_status nr_image_decode(const void *bytes, size_t n_bytes, const nr_decode_options *opts,
                          nr_image *out, nr_error *err);

/* The same into an image that has room (image.h); empty, and with its room, after a failure. */
nr_status nr_image_decode_into(const void *bytes, size_t n_bytes, const nr_decode_options *opts,
                               nr_image *image, nr_error *err);

#endif
