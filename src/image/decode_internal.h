/* SPDX-License-Identifier: MIT
 *
 * decode_internal.h - what decode.c and the one-format decoders share. Included by them only.
 *
 * A format's decoder reads job->bytes, sets job->info, checks the size against job->limits, and,
 * unless header_only, creates job->image and fills it. On failure it may leave job->image set:
 * decode.c frees it. Whatever else it holds it releases itself.
 */
#ifndef NR_DECODE_INTERNAL_H
#define NR_DECODE_INTERNAL_H

#include "decode.h"

typedef struct nr_decode_job {
    const uint8_t *bytes; /* borrows; the whole file */
    size_t n_bytes;
    const nr_image_limits *limits;
    bool header_only;
    nr_image_info info; /* out */
    nr_image image;     /* out, owns; in: with room where the caller reserved it */
} nr_decode_job;

/* Errors of all four: FORMAT, UNSUPPORTED, LIMIT, NO_MEMORY. */
nr_status nr_decode_jpeg(nr_decode_job *job, nr_error *err);
nr_status nr_decode_png(nr_decode_job *job, nr_error *err);
nr_status nr_decode_webp(nr_decode_job *job, nr_error *err);
nr_status nr_decode_gif(nr_decode_job *job, nr_error *err);

/* Memory for a row of a picture, from the room of a reserved one or the heap; NULL when refused. */
uint8_t *nr_decode_row(nr_decode_job *job, size_t bytes);
void nr_decode_row_free(nr_decode_job *job, uint8_t *row); /* accepts NULL */

/* Note the size in job->info after checking it; what names the kind. */
nr_status nr_decode_take_size(nr_decode_job *job, const char *what, uint64_t width, uint64_t height,
                              nr_error *err);

/* Orientation 1..8 from EXIF data (a TIFF header, with or without "Exif\0\0" before it); 1 when it
 * holds none or cannot be read: a bad note about a picture does not make the picture bad. */
int nr_exif_orientation(const uint8_t *bytes, size_t n_bytes);

#endif
