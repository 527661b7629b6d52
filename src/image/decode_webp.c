/* SPDX-License-Identifier: MIT
 *
 * decode_webp.c - WebP through libwebp's demuxer and decoder: lossy, lossless, first frame of an
 * animation on its (black) canvas. The frame is decoded straight into the picture as RGB, which
 * drops alpha without blending. The demuxer wants the whole file, so truncation shows before any
 * pixel is decoded.
 *
 * libwebp 1.2.4 can crash when its own malloc fails in a lossless file (seen by failing each one),
 * and it has no hook for them. So the memory it will want is asked for and given back first: a
 * process near its limit gets an error here. What is left is for the sandbox around it.
 */
#include <webp/decode.h>
#include <webp/demux.h>

#include "decode_internal.h"
#include "nr_alloc.h"

#define WORK_BYTES ((size_t)4 << 20) /* tables and rows beside the pixels */

static nr_status raise_demux(const nr_decode_job *job, WebPDemuxState state, nr_error *err) {
    NR_FAIL_IF(state == WEBP_DEMUX_PARSING_HEADER || state == WEBP_DEMUX_PARSED_HEADER, FORMAT,
               "WebP: file ends at byte %zu, expected more data", job->n_bytes);
    NR_FAIL(FORMAT, "WebP: broken chunk structure in a file of %zu bytes", job->n_bytes);
}

static nr_status raise_decode(VP8StatusCode code, nr_error *err) {
    switch (code) {
    case VP8_STATUS_USER_ABORT: /* no hook of ours can abort: its row buffers were refused */
    case VP8_STATUS_OUT_OF_MEMORY: NR_FAIL(NO_MEMORY, "WebP: no memory in the decoder");
    case VP8_STATUS_UNSUPPORTED_FEATURE: NR_FAIL(UNSUPPORTED, "WebP: unsupported feature");
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA: NR_FAIL(FORMAT, "WebP: picture data ends early");
    default: NR_FAIL(FORMAT, "WebP: broken picture data (libwebp status %d)", (int)code);
    }
}

static void take_orientation(nr_decode_job *job, const WebPDemuxer *demux) {
    WebPChunkIterator chunk;
    if (WebPDemuxGetChunk(demux, "EXIF", 1, &chunk)) {
        job->info.orientation = nr_exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
        WebPDemuxReleaseChunkIterator(&chunk);
    }
}

/* Would four bytes a pixel and the tables be there? */
static nr_status check_memory(const WebPIterator *frame, nr_error *err) {
    size_t bytes = (size_t)frame->width * (size_t)frame->height * 4 + WORK_BYTES;
    void *block = nr_malloc_for_library(bytes);
    NR_FAIL_IF(!block, NO_MEMORY, "WebP: no memory for %zu bytes of a %dx%d frame", bytes,
               frame->width, frame->height);
    nr_free(block);
    return NR_STATUS_OK;
}

static nr_status decode_frame(nr_decode_job *job, const WebPIterator *frame, nr_error *err) {
    nr_image *image = &job->image;
    int32_t width = job->info.width, height = job->info.height;
    NR_FAIL_IF(!frame->complete || frame->width < 1 || frame->height < 1 || frame->x_offset < 0 ||
                   frame->y_offset < 0 || frame->width > width - frame->x_offset ||
                   frame->height > height - frame->y_offset,
               FORMAT, "WebP: frame %dx%d at %d,%d does not lie on the canvas %dx%d", frame->width,
               frame->height, frame->x_offset, frame->y_offset, width, height);
    WebPDecoderConfig config;
    NR_FAIL_IF(!WebPInitDecoderConfig(&config), INTERNAL, "WebP: libwebp of another version");
    NR_TRY(nr_image_prepare(job->limits, width, height, image, err));
    NR_TRY(check_memory(frame, err));
    size_t row_bytes = (size_t)width * 3;
    size_t first = (size_t)frame->y_offset * row_bytes + (size_t)frame->x_offset * 3;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image->rgb + first;
    config.output.u.RGBA.stride = (int)row_bytes;
    config.output.u.RGBA.size = (size_t)height * row_bytes - first;
    VP8StatusCode code = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
    bool same_size = config.output.width == frame->width && config.output.height == frame->height;
    WebPFreeDecBuffer(&config.output);
    if (code != VP8_STATUS_OK) return raise_decode(code, err);
    NR_FAIL_IF(!same_size, FORMAT, "WebP: picture data of another size than its frame %dx%d",
               frame->width, frame->height);
    return NR_STATUS_OK;
}

nr_status nr_decode_webp(nr_decode_job *job, nr_error *err) {
    nr_status status = NR_STATUS_OK;
    WebPData data = {.bytes = job->bytes, .size = job->n_bytes};
    WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
    WebPIterator frame = {0};
    WebPDemuxer *demux = WebPDemuxPartial(&data, &state);
    if (!demux) return raise_demux(job, state, err);
    if (state != WEBP_DEMUX_DONE && !(job->header_only && state == WEBP_DEMUX_PARSED_HEADER)) {
        status = raise_demux(job, state, err);
        goto done;
    }
    NR_TRY_GOTO(nr_decode_take_size(job, "WebP", WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH),
                                    WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT), err));
    take_orientation(job, demux);
    if (job->header_only) goto done;
    NR_FAIL_IF_GOTO(!WebPDemuxGetFrame(demux, 1, &frame), FORMAT, "WebP: no frame");
    status = decode_frame(job, &frame, err);
done:
    WebPDemuxReleaseIterator(&frame);
    WebPDemuxDelete(demux);
    return status;
}
