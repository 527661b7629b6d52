/* SPDX-License-Identifier: MIT
 * picture_api.c - pictures of newsreader.h over src/image. */
#include "engine_internal.h"

#include "decode.h"
#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_limits.h"

#define PAGE_BYTES ((size_t)65536) /* the largest in use: what is given back is whole pages */
#define FILE_ROOM nr_round_up((size_t)NR_IMAGE_BYTES_MAX + 1, PAGE_BYTES)

nr_status nr_picture_read(const void *bytes, size_t n_bytes, nr_picture **out, nr_error *err) {
    nr_picture *picture = nr_calloc(1, sizeof *picture);
    NR_FAIL_IF(!picture, NO_MEMORY, "picture");
    nr_status status = nr_image_decode(bytes, n_bytes, NULL, &picture->image, err);
    if (status != NR_STATUS_OK) {
        nr_free(picture);
        return status;
    }
    *out = picture;
    return NR_STATUS_OK;
}

nr_status nr_picture_read_file(const char *path, nr_picture **out, nr_error *err) {
    char *bytes = NULL;
    size_t n_bytes;
    NR_TRY(nr_file_read_all(path, NR_IMAGE_BYTES_MAX, &bytes, &n_bytes, err));
    nr_status status = nr_picture_read(bytes, n_bytes, out, err);
    nr_free(bytes);
    return status == NR_STATUS_OK ? status : nr_error_prefix(err, status, "%s", path);
}

nr_status nr_picture_from_rgb(const uint8_t *rgb, int32_t width, int32_t height, nr_picture **out,
                              nr_error *err) {
    nr_picture *picture = nr_calloc(1, sizeof *picture);
    NR_FAIL_IF(!picture, NO_MEMORY, "picture");
    nr_status status = nr_image_from_rgb(rgb, width, height, 0, &picture->image, err);
    if (status != NR_STATUS_OK) {
        nr_free(picture);
        return status;
    }
    *out = picture;
    return NR_STATUS_OK;
}

/* One mapping: the picture, room to turn it, the file. */
static size_t pixel_room(uint64_t pixels_max) {
    return nr_round_up((size_t)pixels_max * 3, PAGE_BYTES);
}

uint64_t nr_picture_bytes_max(uint64_t pixels_max, int32_t n_pictures) {
    return (uint64_t)n_pictures * (nr_image_decode_bytes_max(pixels_max) + NR_IMAGE_BYTES_MAX);
}

nr_status nr_picture_reserve(uint64_t pixels_max, nr_picture **out, nr_error *err) {
    if (pixels_max == 0) pixels_max = NR_IMAGE_PIXELS_MAX;
    NR_FAIL_IF(pixels_max > NR_IMAGE_PIXELS_MAX, LIMIT, "room for %llu pixels, at most %u",
               (unsigned long long)pixels_max, NR_IMAGE_PIXELS_MAX);
    nr_picture *picture = nr_calloc(1, sizeof *picture);
    NR_FAIL_IF(!picture, NO_MEMORY, "picture");
    size_t room = pixel_room(pixels_max);
    picture->block_bytes = 2 * room + FILE_ROOM;
    picture->block = nr_map_pages(picture->block_bytes, false);
    if (!picture->block) {
        nr_free(picture);
        NR_FAIL(NO_MEMORY, "room for pictures of %llu pixels", (unsigned long long)pixels_max);
    }
    picture->image = (nr_image){
        .rgb = picture->block, .spare = picture->block + room, .room = room};
    picture->pixels_max = pixels_max;
    *out = picture;
    return NR_STATUS_OK;
}

nr_status nr_picture_load(nr_picture *picture, const void *bytes, size_t n_bytes, nr_error *err) {
    NR_FAIL_IF(!picture->block, ARG, "picture_load: no room, see nr_picture_reserve");
    nr_decode_options options = nr_decode_options_default();
    options.limits.pixels_max = picture->pixels_max;
    return nr_image_decode_into(bytes, n_bytes, &options, &picture->image, err);
}

nr_status nr_picture_load_file(nr_picture *picture, const char *path, nr_error *err) {
    NR_FAIL_IF(!picture->block, ARG, "picture_load: no room, see nr_picture_reserve");
    uint8_t *file = picture->block + 2 * picture->image.room;
    size_t n_bytes;
    nr_image_free(&picture->image);
    NR_TRY(nr_file_read_into(path, file, NR_IMAGE_BYTES_MAX, &n_bytes, err));
    nr_status status = nr_picture_load(picture, file, n_bytes, err);
    return status == NR_STATUS_OK ? status : nr_error_prefix(err, status, "%s", path);
}

void nr_picture_free(nr_picture *picture) {
    if (!picture) return;
    nr_image_free(&picture->image);
    nr_unmap_pages(picture->block, picture->block_bytes);
    nr_free(picture);
}

void nr_picture_size(const nr_picture *picture, int32_t *width, int32_t *height) {
    *width = picture->image.width;
    *height = picture->image.height;
}

bool nr_picture_is_damaged(const nr_picture *picture) {
    return picture->image.damaged;
}

const uint8_t *nr_picture_rgb(const nr_picture *picture) {
    return picture->image.rgb;
}

const char *nr_fit_name(nr_fit fit) {
    static const char *const names[] = {"auto", "checkpoint", "crop", "pad", "squash"};
    return (unsigned)fit < NR_COUNT(names) ? names[fit] : "unknown";
}

static nr_fit from_settings(nr_image_fit fit) {
    return fit == NR_IMAGE_FIT_PAD ? NR_FIT_PAD
           : fit == NR_IMAGE_FIT_CROP ? NR_FIT_CROP
                                      : NR_FIT_SQUASH;
}

/* AUTO: a page loses its outer columns to a crop, so a checkpoint that crops gets padding. */
nr_status nr_fit_resolve(const nr_model_info *info, nr_fit asked, nr_preprocess_settings *settings,
                         nr_fit *used, nr_error *err) {
    *settings = info->preprocess;
    if (asked == NR_FIT_AUTO && settings->fit == NR_IMAGE_FIT_CROP) asked = NR_FIT_PAD;
    switch (asked) {
    case NR_FIT_AUTO:
    case NR_FIT_CHECKPOINT: break;
    case NR_FIT_CROP: settings->fit = NR_IMAGE_FIT_CROP; break;
    case NR_FIT_PAD: settings->fit = NR_IMAGE_FIT_PAD; break;
    case NR_FIT_SQUASH: settings->fit = NR_IMAGE_FIT_SQUASH; break;
    default: NR_FAIL(ARG, "image fit %d, expected 0 to %d", (int)asked, (int)NR_FIT_SQUASH);
    }
    *used = from_settings(settings->fit);
    return nr_preprocess_check(settings, err);
}
