/* SPDX-License-Identifier: MIT
 *
 * decode_png.c - PNG through libpng's low-level reader.
 *
 * Rows are read straight into the picture, whatever their stored width (at most 3 bytes a pixel
 * are kept), all interlace passes in place, and then spread to RGB from the right: palette indices
 * take one byte a pixel, 16-bit grey two. Palette entries the file does not define are black.
 *
 * All chunks but IHDR, PLTE, tRNS, IDAT, IEND and eXIf are skipped unread (their checksum is still
 * verified), so colour profiles and compressed texts cost nothing. Gamma is not applied.
 *
 * libpng reports damage that loses pixels as errors; its warnings are about ancillary chunks and
 * surplus data, and are dropped. What comes behind the last pixel does not touch the picture: a
 * file that ends there (even within the pixel chunk) or errs in a later chunk is let through, as
 * Pillow does.
 *
 * Errors leave libpng by longjmp. setjmp is called in functions that own nothing and change no
 * local variable afterwards: everything lives in struct png_state, owned by nr_decode_png.
 */
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "decode_internal.h"
#include "nr_alloc.h"

#define CHUNK_BYTES_MAX (1u << 20) /* largest chunk libpng may hold at once: eXIf, PLTE */

typedef struct png_state {
    nr_decode_job *job;
    png_structp png; /* owns */
    png_infop info;  /* owns */
    size_t at;       /* next byte of the file */
    bool truncated, no_memory, pixels_done;
    char message[160];
    jmp_buf fail;
} png_state;

static void on_error(png_structp png, png_const_charp message) {
    png_state *s = png_get_error_ptr(png);
    snprintf(s->message, sizeof s->message, "%s", message);
    longjmp(s->fail, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t bytes) {
    png_state *s = png_get_mem_ptr(png);
    void *block = nr_malloc_for_library(bytes);
    if (!block) s->no_memory = true;
    return block;
}

static void on_free(png_structp png, png_voidp owned) {
    (void)png;
    nr_free(owned);
}

/* libpng asks for more of a chunk than it needs at once. Where a pixel chunk promises bytes behind
 * the end of the file, it is told what is really there. */
static void shorten_pixel_chunk(const png_state *s, png_bytep header) {
    size_t left = s->job->n_bytes - s->at;
    if (memcmp(header + 4, "IDAT", 4) == 0 && png_get_uint_32(header) > left)
        png_save_uint_32(header, (png_uint_32)left);
}

static void on_read(png_structp png, png_bytep dst, size_t bytes) {
    png_state *s = png_get_io_ptr(png);
    png_uint_32 where = png_get_io_state(png) & PNG_IO_MASK_LOC;
    if (bytes > s->job->n_bytes - s->at) {
        s->truncated = true;
        if (where != PNG_IO_CHUNK_CRC) png_error(png, "file ends early");
        /* A checksum that is not there: nothing can be compared with it. */
        png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
        memset(dst, 0, bytes);
        s->at = s->job->n_bytes;
        return;
    }
    memcpy(dst, s->job->bytes + s->at, bytes);
    s->at += bytes;
    if (where == PNG_IO_CHUNK_HDR && bytes == 8) shorten_pixel_chunk(s, dst);
}

static void take_orientation(png_state *s) {
    png_bytep exif = NULL;
    png_uint_32 n = 0;
    if (png_get_eXIf_1(s->png, s->info, &n, &exif) && exif)
        s->job->info.orientation = nr_exif_orientation(exif, n);
}

/* Reader with its handlers, up to the header. */
static nr_status read_header(png_state *s, nr_error *err) {
    static const png_byte exif_name[] = "eXIf";
    s->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, s, on_error, on_warning, s, on_malloc,
                                      on_free);
    if (s->png) s->info = png_create_info_struct(s->png);
    NR_FAIL_IF(!s->info, NO_MEMORY, "PNG: no memory for the reader");
    png_set_read_fn(s->png, s, on_read);
    png_set_crc_action(s->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_keep_unknown_chunks(s->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_keep_unknown_chunks(s->png, PNG_HANDLE_CHUNK_AS_DEFAULT, exif_name, 1);
    png_set_chunk_malloc_max(s->png, CHUNK_BYTES_MAX);
    png_set_user_limits(s->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours say more */
    png_read_info(s->png, s->info);
    take_orientation(s);
    return nr_decode_take_size(s->job, "PNG", png_get_image_width(s->png, s->info),
                               png_get_image_height(s->png, s->info), err);
}

/* Indices to colours, in place from the right. */
static void spread_palette(png_state *s) {
    uint8_t table[256][3] = {{0}};
    png_colorp palette = NULL;
    int n = 0;
    png_get_PLTE(s->png, s->info, &palette, &n);
    for (int i = 0; i < n && i < 256; i++) {
        table[i][0] = palette[i].red;
        table[i][1] = palette[i].green;
        table[i][2] = palette[i].blue;
    }
    nr_image *image = &s->job->image;
    for (int32_t y = 0; y < image->height; y++) {
        uint8_t *row = image->rgb + (size_t)y * (size_t)image->width * 3;
        for (size_t x = (size_t)image->width; x-- > 0;) memcpy(row + 3 * x, table[row[x]], 3);
    }
}

/* 16-bit grey: what does not fit 8 bits is white, as Pillow converts it (not the high byte). */
static void spread_grey16(nr_image *image) {
    for (int32_t y = 0; y < image->height; y++) {
        uint8_t *row = image->rgb + (size_t)y * (size_t)image->width * 3;
        for (size_t x = (size_t)image->width; x-- > 0;) {
            uint8_t v = row[2 * x] ? 255 : row[2 * x + 1];
            row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = v;
        }
    }
}

static nr_status read_pixels(png_state *s, nr_error *err) {
    int colour = png_get_color_type(s->png, s->info), bits = png_get_bit_depth(s->png, s->info);
    bool palette = colour == PNG_COLOR_TYPE_PALETTE;
    bool grey16 = colour == PNG_COLOR_TYPE_GRAY && bits == 16;
    nr_image *image = &s->job->image;
    if (palette) {
        png_set_packing(s->png);
    } else if (!grey16) {
        if (colour == PNG_COLOR_TYPE_GRAY && bits < 8) png_set_expand_gray_1_2_4_to_8(s->png);
        if (bits == 16) png_set_strip_16(s->png);
        if (colour & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(s->png);
        if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(s->png);
    }
    int n_passes = png_set_interlace_handling(s->png);
    png_read_update_info(s->png, s->info);
    size_t row_bytes = (size_t)s->job->info.width * 3;
    size_t expected = palette ? row_bytes / 3 : grey16 ? row_bytes / 3 * 2 : row_bytes;
    NR_FAIL_IF(png_get_rowbytes(s->png, s->info) != expected, INTERNAL,
               "PNG: rows of %zu bytes, expected %zu", png_get_rowbytes(s->png, s->info), expected);
    NR_TRY(nr_image_prepare(s->job->limits, s->job->info.width, s->job->info.height, image, err));
    for (int pass = 0; pass < n_passes; pass++)
        for (int32_t y = 0; y < image->height; y++)
            png_read_row(s->png, image->rgb + (size_t)y * row_bytes, NULL);
    if (palette) spread_palette(s);
    if (grey16) spread_grey16(image);
    s->pixels_done = true;
    return NR_STATUS_OK;
}

static nr_status raise(const png_state *s, nr_error *err) {
    NR_FAIL_IF(s->no_memory, NO_MEMORY, "PNG: no memory: %s", s->message);
    NR_FAIL_IF(s->truncated, FORMAT, "PNG: file ends at byte %zu, expected more data",
               s->job->n_bytes);
    NR_FAIL(FORMAT, "PNG: near byte %zu: %s", s->at, s->message);
}

static nr_status read_file(png_state *s, nr_error *err) {
    if (setjmp(s->fail)) return raise(s, err);
    NR_TRY(read_header(s, err));
    return s->job->header_only ? NR_STATUS_OK : read_pixels(s, err);
}

/* The rest of the pixel chunk must be sound; what follows it need not be. */
static nr_status read_tail(png_state *s, nr_error *err) {
    if (setjmp(s->fail)) {
        bool in_pixels = png_get_io_chunk_type(s->png) == 0x49444154 /* IDAT */ &&
                         (png_get_io_state(s->png) & PNG_IO_MASK_LOC) != PNG_IO_CHUNK_HDR;
        return in_pixels || s->no_memory ? raise(s, err) : NR_STATUS_OK;
    }
    png_read_end(s->png, s->info);
    take_orientation(s);
    return NR_STATUS_OK;
}

nr_status nr_decode_png(nr_decode_job *job, nr_error *err) {
    png_state s = {.job = job};
    nr_status status = read_file(&s, err);
    if (status == NR_STATUS_OK && s.pixels_done) status = read_tail(&s, err);
    if (s.png) png_destroy_read_struct(&s.png, &s.info, NULL);
    return status;
}
