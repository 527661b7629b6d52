/* SPDX-License-Identifier: MIT
 *
 * decode_jpeg.c - JPEG through libjpeg-turbo's libjpeg interface (the TurboJPEG one reports
 * warnings as text only, cannot bound memory, and refuses odd subsamplings).
 *
 * Settings are libjpeg's defaults (accurate integer IDCT, smooth chroma upsampling, colour space
 * by JFIF and Adobe markers), as in Pillow. Four-component files are read as CMYK (libjpeg turns
 * YCCK into it), taken as inverted as Adobe writes them, and turned to RGB without a profile.
 *
 * libjpeg goes on after damage and calls it a warning. A file that ends early is an error here;
 * senseless codes in a scan spoil blocks up to the next restart marker, and the picture is marked.
 * Bounds: scans are counted while they are read, and fewer are let through the larger
 * the picture is (a 140 KB file of 491 scans over 49 M pixels would take 18 s); memory for
 * coefficients is capped from the limits.
 *
 * Errors leave libjpeg by longjmp. setjmp is called in a function that owns nothing and changes no
 * local variable afterwards: everything lives in struct jpeg_state, owned by nr_decode_jpeg.
 */
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>
#include <setjmp.h>
#include <string.h>

#include "decode_internal.h"
#include "nr_alloc.h"
#include "nr_limits.h"

typedef struct jpeg_state {
    struct jpeg_error_mgr errors; /* first: libjpeg hands back a pointer to it */
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct jpeg;
    nr_decode_job *job;
    uint8_t *cmyk; /* owns; u8 [width, 4] */
    int code;      /* libjpeg's message code */
    int scans_max; /* for a picture of this size */
    bool too_many_scans, damaged;
    char message[JMSG_LENGTH_MAX];
    jmp_buf fail;
} jpeg_state;

static jpeg_state *state_of(j_common_ptr jpeg) {
    return jpeg->client_data;
}

static void on_error(j_common_ptr jpeg) {
    jpeg_state *s = state_of(jpeg);
    s->code = jpeg->err->msg_code;
    jpeg->err->format_message(jpeg, s->message);
    longjmp(s->fail, 1);
}

/* Warnings that mean wrong pixels. */
static bool is_damage(int code) {
    switch (code) {
    case JWRN_HIT_MARKER:        /* data of a scan ends early */
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:       /* restart marker missing or out of order */
    case JWRN_BOGUS_PROGRESSION: /* scans refine what was not sent */
        return true;
    default: return false;
    }
}

static void on_message(j_common_ptr jpeg, int level) {
    if (level >= 0) return;
    jpeg->err->num_warnings++;
    if (jpeg->err->msg_code == JWRN_JPEG_EOF) on_error(jpeg); /* file ends early */
    if (is_damage(jpeg->err->msg_code)) state_of(jpeg)->damaged = true;
}

static void on_output(j_common_ptr jpeg) {
    (void)jpeg;
}

static void on_progress(j_common_ptr jpeg) {
    jpeg_state *s = state_of(jpeg);
    if (s->jpeg.input_scan_number <= s->scans_max) return;
    s->too_many_scans = true;
    longjmp(s->fail, 1);
}

static nr_status raise(const jpeg_state *s, nr_error *err) {
    NR_FAIL_IF(s->too_many_scans, LIMIT, "JPEG: more than %d scans of %dx%d pixels", s->scans_max,
               s->job->info.width, s->job->info.height);
    switch (s->code) {
    case JERR_OUT_OF_MEMORY: NR_FAIL(NO_MEMORY, "JPEG: %s", s->message);
    case JERR_NO_BACKING_STORE:
    case JERR_IMAGE_TOO_BIG:
    case JERR_WIDTH_OVERFLOW: NR_FAIL(LIMIT, "JPEG: %s", s->message);
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_ARITH_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_COMPONENT_COUNT: NR_FAIL(UNSUPPORTED, "JPEG: %s", s->message);
    default: NR_FAIL(FORMAT, "JPEG: %s", s->message);
    }
}

static void take_orientation(jpeg_state *s) {
    for (jpeg_saved_marker_ptr m = s->jpeg.marker_list; m; m = m->next) {
        if (m->data_length < 6 || memcmp(m->data, "Exif\0", 5) != 0) continue;
        s->job->info.orientation = nr_exif_orientation(m->data, m->data_length);
        return;
    }
}

static nr_status read_header(jpeg_state *s, nr_error *err) {
    struct jpeg_decompress_struct *jpeg = &s->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg->progress = &s->progress;
    jpeg->mem->max_memory_to_use =
        (long)(s->job->limits->pixels_max * NR_JPEG_COEFFICIENT_BYTES + NR_JPEG_WORK_BYTES);
    jpeg_mem_src(jpeg, s->job->bytes, (unsigned long)s->job->n_bytes);
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    take_orientation(s);
    int n = jpeg->num_components;
    NR_FAIL_IF(n != 1 && n != 3 && n != 4, UNSUPPORTED, "JPEG: %d components, expected 1, 3 or 4",
               n);
    return nr_decode_take_size(s->job, "JPEG", jpeg->image_width, jpeg->image_height, err);
}

/* (255 - c) * k / 255, rounded as Pillow rounds it, taken off k; c and k are inverted inks. */
static void cmyk_to_rgb(const uint8_t *restrict cmyk, uint8_t *restrict rgb, int32_t width) {
    for (int32_t x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        int k = cmyk[3];
        for (int c = 0; c < 3; c++) {
            int ink = (255 - cmyk[c]) * k + 128;
            rgb[c] = (uint8_t)NR_MAX(k - ((ink + (ink >> 8)) >> 8), 0);
        }
    }
}

static nr_status read_pixels(jpeg_state *s, nr_error *err) {
    struct jpeg_decompress_struct *jpeg = &s->jpeg;
    nr_image *image = &s->job->image;
    int32_t width = s->job->info.width, height = s->job->info.height;
    bool four = jpeg->num_components == 4;
    uint64_t scans_max = NR_JPEG_SCAN_PIXELS_MAX / ((uint64_t)width * (uint64_t)height);
    s->scans_max = (int)NR_MIN(scans_max, (uint64_t)s->job->limits->jpeg_scans_max);
    jpeg->out_color_space = four ? JCS_CMYK : JCS_RGB;
    if (four) {
        s->cmyk = nr_decode_row(s->job, (size_t)width * 4);
        NR_FAIL_IF(!s->cmyk, NO_MEMORY, "JPEG: no memory for a row of %d pixels", width);
    }
    jpeg_start_decompress(jpeg);
    NR_FAIL_IF(jpeg->output_width != (JDIMENSION)width || jpeg->output_height != (JDIMENSION)height,
               INTERNAL, "JPEG: output %ux%u, expected %dx%d", jpeg->output_width,
               jpeg->output_height, width, height);
    NR_TRY(nr_image_prepare(s->job->limits, width, height, image, err));
    for (int32_t y = 0; y < height; y++) {
        uint8_t *rgb = image->rgb + (size_t)y * (size_t)width * 3;
        JSAMPROW row = four ? s->cmyk : rgb;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (four) cmyk_to_rgb(s->cmyk, rgb, width);
    }
    jpeg_finish_decompress(jpeg);
    image->damaged = s->damaged;
    return NR_STATUS_OK;
}

static nr_status read_file(jpeg_state *s, nr_error *err) {
    if (setjmp(s->fail)) return raise(s, err);
    NR_TRY(read_header(s, err));
    return s->job->header_only ? NR_STATUS_OK : read_pixels(s, err);
}

nr_status nr_decode_jpeg(nr_decode_job *job, nr_error *err) {
    jpeg_state s = {.job = job};
    s.jpeg.err = jpeg_std_error(&s.errors);
    s.jpeg.client_data = &s;
    s.errors.error_exit = on_error;
    s.errors.emit_message = on_message;
    s.errors.output_message = on_output;
    s.progress.progress_monitor = on_progress;
    nr_status status = read_file(&s, err);
    jpeg_destroy_decompress(&s.jpeg);
    nr_decode_row_free(job, s.cmyk);
    return status;
}
