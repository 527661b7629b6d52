/* SPDX-License-Identifier: MIT
 * decode.c - magic bytes, limits, dispatch, orientation. See decode.h. */
#include "decode.h"

#include <stdio.h>
#include <string.h>

#include "decode_internal.h"
#include "nr_alloc.h"
#include "nr_limits.h"

#define SNIFF_BYTES 64

/* A magic: text at an offset. Listed in order of trial. */
static const struct magic {
    nr_image_format format;
    uint8_t offset, n;
    char text[13];
} magics[] = {
    {NR_IMAGE_FORMAT_JPEG, 0, 3, "\xff\xd8\xff"},
    {NR_IMAGE_FORMAT_PNG, 0, 8, "\x89PNG\r\n\x1a\n"},
    {NR_IMAGE_FORMAT_GIF, 0, 6, "GIF87a"},
    {NR_IMAGE_FORMAT_GIF, 0, 6, "GIF89a"},
    {NR_IMAGE_FORMAT_TIFF, 0, 4, "II*\0"},
    {NR_IMAGE_FORMAT_TIFF, 0, 4, "MM\0*"},
    {NR_IMAGE_FORMAT_TIFF, 0, 4, "II+\0"},
    {NR_IMAGE_FORMAT_TIFF, 0, 4, "MM\0+"},
    {NR_IMAGE_FORMAT_HEIF, 4, 8, "ftypavif"},
    {NR_IMAGE_FORMAT_HEIF, 4, 8, "ftypavis"},
    {NR_IMAGE_FORMAT_HEIF, 4, 8, "ftypheic"},
    {NR_IMAGE_FORMAT_HEIF, 4, 8, "ftypheix"},
    {NR_IMAGE_FORMAT_HEIF, 4, 8, "ftypmif1"},
    {NR_IMAGE_FORMAT_JPEG_XL, 0, 2, "\xff\x0a"},
    {NR_IMAGE_FORMAT_JPEG_XL, 0, 12, "\0\0\0\x0cJXL \r\n\x87\n"},
    {NR_IMAGE_FORMAT_JPEG_2000, 0, 12, "\0\0\0\x0cjP  \r\n\x87\n"},
    {NR_IMAGE_FORMAT_JPEG_2000, 0, 4, "\xff\x4f\xff\x51"},
    {NR_IMAGE_FORMAT_PDF, 0, 5, "%PDF-"},
    {NR_IMAGE_FORMAT_BMP, 0, 2, "BM"},
};

const char *nr_image_format_name(nr_image_format format) {
    switch (format) {
#define NR_IMAGE_FORMAT_CASE(name, text)                                                           \
    case NR_IMAGE_FORMAT_##name: return text;
        NR_IMAGE_FORMAT_MAP(NR_IMAGE_FORMAT_CASE)
#undef NR_IMAGE_FORMAT_CASE
    }
    return "unknown";
}

/* Does p start with word, upper or lower case? */
static bool starts_with_word(const uint8_t *p, size_t n, const char *word) {
    for (size_t i = 0; word[i]; i++) {
        if (i >= n) return false;
        int c = p[i] >= 'A' && p[i] <= 'Z' ? p[i] + ('a' - 'A') : p[i];
        if (c != word[i]) return false;
    }
    return true;
}

/* Web servers answer with a page where a picture was asked for: say so. */
static nr_image_format detect_text(const uint8_t *p, size_t n) {
    if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        p += 3;
        n -= 3;
    }
    for (; n > 0 && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'); p++) n--;
    if (starts_with_word(p, n, "<svg") || starts_with_word(p, n, "<?xml"))
        return NR_IMAGE_FORMAT_SVG;
    if (starts_with_word(p, n, "<!doctype") || starts_with_word(p, n, "<html"))
        return NR_IMAGE_FORMAT_HTML;
    return NR_IMAGE_FORMAT_UNKNOWN;
}

nr_image_format nr_image_format_detect(const void *bytes, size_t n_bytes) {
    const uint8_t *p = bytes;
    size_t n = NR_MIN(n_bytes, SNIFF_BYTES);
    if (!p || n == 0) return NR_IMAGE_FORMAT_UNKNOWN;
    if (n >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0)
        return NR_IMAGE_FORMAT_WEBP;
    for (size_t i = 0; i < NR_COUNT(magics); i++) {
        const struct magic *m = &magics[i];
        if (n >= (size_t)m->offset + m->n && memcmp(p + m->offset, m->text, m->n) == 0)
            return m->format;
    }
    if (n >= 3 && p[0] == 'P' && p[1] >= '1' && p[1] <= '7' &&
        (p[2] == '\n' || p[2] == ' ' || p[2] == '\r' || p[2] == '\t'))
        return NR_IMAGE_FORMAT_PNM;
    return detect_text(p, n);
}

nr_decode_options nr_decode_options_default(void) {
    return (nr_decode_options){.apply_orientation = true, .limits = nr_image_limits_default()};
}

nr_status nr_decode_take_size(nr_decode_job *job, const char *what, uint64_t width, uint64_t height,
                              nr_error *err) {
    NR_TRY(nr_image_check_size(job->limits, what, width, height, err));
    job->info.width = (int32_t)width;
    job->info.height = (int32_t)height;
    return NR_STATUS_OK;
}

/* 0 means the default; options can only lower what the program is planned for. */
static nr_image_limits effective_limits(const nr_image_limits *in) {
    nr_image_limits l = nr_image_limits_default();
    if (in->bytes_max) l.bytes_max = NR_MIN(l.bytes_max, in->bytes_max);
    if (in->pixels_max) l.pixels_max = NR_MIN(l.pixels_max, in->pixels_max);
    if (in->side_max) l.side_max = NR_MIN(l.side_max, in->side_max);
    if (in->aspect_max) l.aspect_max = NR_MIN(l.aspect_max, in->aspect_max);
    if (in->jpeg_scans_max > 0) l.jpeg_scans_max = NR_MIN(l.jpeg_scans_max, in->jpeg_scans_max);
    return l;
}

static nr_status refuse_format(const nr_decode_job *job, nr_error *err) {
    const uint8_t *p = job->bytes;
    NR_FAIL_IF(job->info.format != NR_IMAGE_FORMAT_UNKNOWN, UNSUPPORTED,
               "image: %s file, expected JPEG, PNG, WebP or GIF",
               nr_image_format_name(job->info.format));
    char hex[3 * 8 + 1] = "";
    for (size_t i = 0; i < 8 && i < job->n_bytes; i++) snprintf(hex + 3 * i, 4, " %02x", p[i]);
    NR_FAIL(FORMAT, "image: %zu bytes starting with%s, expected a JPEG, PNG, WebP or GIF file",
            job->n_bytes, hex);
}

static nr_status decode_job(nr_decode_job *job, nr_error *err) {
    NR_FAIL_IF(!job->bytes || job->n_bytes == 0, ARG, "image: empty, expected an image file");
    NR_FAIL_IF(job->n_bytes > job->limits->bytes_max, LIMIT,
               "image: file of %zu bytes, expected at most %zu", job->n_bytes,
               job->limits->bytes_max);
    job->info.format = nr_image_format_detect(job->bytes, job->n_bytes);
    job->info.orientation = 1;
    switch (job->info.format) {
    case NR_IMAGE_FORMAT_JPEG: return nr_decode_jpeg(job, err);
    case NR_IMAGE_FORMAT_PNG: return nr_decode_png(job, err);
    case NR_IMAGE_FORMAT_WEBP: return nr_decode_webp(job, err);
    case NR_IMAGE_FORMAT_GIF: return nr_decode_gif(job, err);
    default: return refuse_format(job, err);
    }
}

nr_status nr_image_probe(const void *bytes, size_t n_bytes, const nr_decode_options *opts,
                         nr_image_info *out, nr_error *err) {
    nr_decode_options options = opts ? *opts : nr_decode_options_default();
    nr_image_limits limits = effective_limits(&options.limits);
    nr_decode_job job = {
        .bytes = bytes, .n_bytes = n_bytes, .limits = &limits, .header_only = true};
    NR_TRY(decode_job(&job, err));
    NR_ASSERT(!job.image.rgb);
    *out = job.info;
    return NR_STATUS_OK;
}

uint8_t *nr_decode_row(nr_decode_job *job, size_t bytes) {
    if (job->image.room) return bytes <= job->image.room ? job->image.spare : NULL;
    return nr_malloc(bytes);
}

void nr_decode_row_free(nr_decode_job *job, uint8_t *row) {
    if (!job->image.room) nr_free(row);
}

nr_status nr_image_decode_into(const void *bytes, size_t n_bytes, const nr_decode_options *opts,
                               nr_image *image, nr_error *err) {
    nr_decode_options options = opts ? *opts : nr_decode_options_default();
    nr_image_limits limits = effective_limits(&options.limits);
    nr_decode_job job = {
        .bytes = bytes, .n_bytes = n_bytes, .limits = &limits, .image = *image};
    nr_status status = decode_job(&job, err);
    if (status == NR_STATUS_OK && options.apply_orientation)
        status = nr_image_orient(&job.image, job.info.orientation, err);
    if (status != NR_STATUS_OK) nr_image_free(&job.image);
    *image = job.image;
    return status;
}

nr_status nr_image_decode(const void *bytes, size_t n_bytes, const nr_decode_options *opts,
                          nr_image *out, nr_error *err) {
    nr_image image = {0};
    NR_TRY(nr_image_decode_into(bytes, n_bytes, opts, &image, err));
    *out = image;
    return NR_STATUS_OK;
}
