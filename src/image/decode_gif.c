/* SPDX-License-Identifier: MIT
 *
 * decode_gif.c - first frame of a GIF through giflib, a line at a time (never DGifSlurp, which
 * decodes every frame of a file into memory).
 *
 * The frame lies on the logical screen, which grows when the frame reaches beyond it. The rest of
 * the screen shows the transparent colour of the frame, or colour 0. Transparency is dropped. The
 * palette is the frame's own, else the global one; without either (or with one that maps every
 * index to itself) indices are grey values. Colours a palette does not define are black. All of
 * this is as Pillow composes the first frame, with one exception: a frame's own palette that is
 * the plain grey ramp is honoured even when the file has a global one (Pillow takes that).
 */
#include <gif_lib.h>
#include <string.h>

#include "decode_internal.h"
#include "nr_alloc.h"

#define EXTENSION_CONTROL 0xf9

typedef struct gif_state {
    nr_decode_job *job;
    GifFileType *gif; /* owns */
    uint8_t *line;    /* owns; u8 [frame width] palette indices */
    size_t at;        /* next byte of the file */
    bool truncated;
    int transparent; /* palette index, -1 none */
    uint8_t colour[256][3];
} gif_state;

static int on_read(GifFileType *gif, GifByteType *dst, int n) {
    gif_state *s = gif->UserData;
    size_t left = s->job->n_bytes - s->at, count = n > 0 ? (size_t)n : 0;
    if (count > left) {
        s->truncated = true;
        count = left;
    }
    memcpy(dst, s->job->bytes + s->at, count);
    s->at += count;
    return (int)count;
}

/* giflib 5.2.1 says "no screen descriptor" too when it has no memory for the global palette. */
static nr_status raise(const gif_state *s, int code, nr_error *err) {
    bool no_memory = code == D_GIF_ERR_NOT_ENOUGH_MEM ||
                     (code == D_GIF_ERR_NO_SCRN_DSCR && !s->truncated);
    NR_FAIL_IF(no_memory, NO_MEMORY, "GIF: no memory in the decoder");
    NR_FAIL_IF(s->truncated, FORMAT, "GIF: file ends at byte %zu, expected more data",
               s->job->n_bytes);
    const char *text = GifErrorString(code);
    NR_FAIL(FORMAT, "GIF: near byte %zu: %s", s->at, text ? text : "broken data");
}

/* One extension; of a graphic control it takes the transparent index. */
static bool read_extension(gif_state *s) {
    int code;
    GifByteType *block;
    if (DGifGetExtension(s->gif, &code, &block) != GIF_OK) return false;
    if (code == EXTENSION_CONTROL && block && block[0] >= 4 && (block[1] & 1))
        s->transparent = block[4];
    while (block)
        if (DGifGetExtensionNext(s->gif, &block) != GIF_OK) return false;
    return true;
}

/* Screen and frame together. */
static nr_status take_size(gif_state *s, nr_error *err) {
    const GifImageDesc *frame = &s->gif->Image;
    NR_FAIL_IF(frame->Left < 0 || frame->Top < 0 || frame->Width < 1 || frame->Height < 1, FORMAT,
               "GIF: frame %dx%d at %d,%d, expected at least 1x1", frame->Width, frame->Height,
               frame->Left, frame->Top);
    int64_t width = NR_MAX((int64_t)s->gif->SWidth, (int64_t)frame->Left + frame->Width);
    int64_t height = NR_MAX((int64_t)s->gif->SHeight, (int64_t)frame->Top + frame->Height);
    return nr_decode_take_size(s->job, "GIF", (uint64_t)width, (uint64_t)height, err);
}

/* Up to and including the first frame's descriptor. */
static nr_status find_frame(gif_state *s, nr_error *err) {
    for (;;) {
        GifRecordType type;
        if (DGifGetRecordType(s->gif, &type) != GIF_OK) return raise(s, s->gif->Error, err);
        NR_FAIL_IF(type == TERMINATE_RECORD_TYPE, FORMAT,
                   "GIF: file ends without a frame at byte %zu", s->at);
        if (type == EXTENSION_RECORD_TYPE && !read_extension(s))
            return raise(s, s->gif->Error, err);
        if (type != IMAGE_DESC_RECORD_TYPE) continue;
        /* The descriptor may be read and what follows it not: a size over the limits is the
         * better reason then. */
        bool sound = DGifGetImageDesc(s->gif) == GIF_OK;
        if (sound || s->gif->Image.Height > 0) NR_TRY(take_size(s, err));
        return sound ? NR_STATUS_OK : raise(s, s->gif->Error, err);
    }
}

static bool maps_to_itself(const ColorMapObject *map) {
    for (int i = 0; i < map->ColorCount; i++) {
        GifColorType c = map->Colors[i];
        if (c.Red != i || c.Green != i || c.Blue != i) return false;
    }
    return true;
}

static void fill_colours(gif_state *s) {
    const ColorMapObject *map = s->gif->Image.ColorMap ? s->gif->Image.ColorMap : s->gif->SColorMap;
    bool grey = !map || maps_to_itself(map);
    for (int i = 0; i < 256; i++) {
        bool defined = !grey && i < map->ColorCount;
        s->colour[i][0] = grey ? (uint8_t)i : defined ? map->Colors[i].Red : 0;
        s->colour[i][1] = grey ? (uint8_t)i : defined ? map->Colors[i].Green : 0;
        s->colour[i][2] = grey ? (uint8_t)i : defined ? map->Colors[i].Blue : 0;
    }
}

static void fill_background(gif_state *s) {
    const uint8_t *colour = s->colour[s->transparent < 0 ? 0 : s->transparent];
    size_t n = (size_t)s->job->info.width * (size_t)s->job->info.height;
    for (size_t i = 0; i < n; i++) memcpy(s->job->image.rgb + 3 * i, colour, 3);
}

static nr_status read_pixels(gif_state *s, nr_error *err) {
    /* Interlaced files send every 8th line, then every 8th from 4, 4th from 2, 2nd from 1. */
    static const int32_t first[] = {0, 4, 2, 1}, step[] = {8, 8, 4, 2};
    const GifImageDesc *frame = &s->gif->Image;
    nr_image *image = &s->job->image;
    NR_TRY(nr_image_prepare(s->job->limits, s->job->info.width, s->job->info.height, image, err));
    s->line = nr_decode_row(s->job, (size_t)frame->Width);
    NR_FAIL_IF(!s->line, NO_MEMORY, "GIF: no memory for a line of %d pixels", frame->Width);
    fill_colours(s);
    if (frame->Width != image->width || frame->Height != image->height) fill_background(s);
    int n_passes = frame->Interlace ? 4 : 1;
    for (int pass = 0; pass < n_passes; pass++)
        for (int32_t y = frame->Interlace ? first[pass] : 0; y < frame->Height;
             y += frame->Interlace ? step[pass] : 1) {
            if (DGifGetLine(s->gif, s->line, frame->Width) != GIF_OK)
                return raise(s, s->gif->Error, err);
            size_t at = (size_t)(frame->Top + y) * (size_t)image->width + (size_t)frame->Left;
            for (int32_t x = 0; x < frame->Width; x++)
                memcpy(image->rgb + 3 * (at + (size_t)x), s->colour[s->line[x]], 3);
        }
    return NR_STATUS_OK;
}

static nr_status read_file(gif_state *s, nr_error *err) {
    int code = 0;
    s->gif = DGifOpen(s, on_read, &code);
    if (!s->gif) return raise(s, code, err);
    NR_TRY(find_frame(s, err));
    return s->job->header_only ? NR_STATUS_OK : read_pixels(s, err);
}

nr_status nr_decode_gif(nr_decode_job *job, nr_error *err) {
    gif_state s = {.job = job, .transparent = -1};
    nr_status status = read_file(&s, err);
    if (s.gif) DGifCloseFile(s.gif, NULL);
    nr_decode_row_free(job, s.line);
    return status;
}
