/* SPDX-License-Identifier: MIT
 * decode_child.c - one picture decoded by a process that has locked itself up first. */
#define _GNU_SOURCE
#include "helper.h"

#include <sys/mman.h>
#include <unistd.h>

#define MEMORY_BYTES ((size_t)256 << 20) /* program, libraries, a file; and for each pixel: */
#define PIXEL_BYTES 26                   /* decoded, turned, and what the codecs hold beside that */
#define PIXELS_MAX 50000000              /* the library's limit, where no other is set */
#define CPU_SECONDS 5

static bool put(int fd, const uint8_t *bytes, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t part = pwrite(fd, bytes + done, n - done, (off_t)done);
        if (part <= 0) return false;
        done += (size_t)part;
    }
    return true;
}

void decode_run(int in_fd, size_t n_bytes, uint64_t pixels_max, int out_fd, helper_report *report) {
    nr_picture *picture = NULL;
    nr_error err = {0};
    const void *bytes = mmap(NULL, n_bytes, PROT_READ, MAP_PRIVATE, in_fd, 0);
    size_t n_pixels = pixels_max ? (size_t)pixels_max : PIXELS_MAX;
    if (bytes == MAP_FAILED ||
        !jail_enter(MEMORY_BYTES + PIXEL_BYTES * n_pixels, 3 * n_pixels, CPU_SECONDS)) {
        helper_say(report, NR_STATUS_INTERNAL, "the decoder cannot be confined on this system");
        return;
    }
    nr_status status = nr_picture_reserve(pixels_max, &picture, &err);
    if (status == NR_STATUS_OK) status = nr_picture_load(picture, bytes, n_bytes, &err);
    if (status != NR_STATUS_OK) {
        helper_say(report, status, "%s", err.message);
        return;
    }
    nr_picture_size(picture, &report->width, &report->height);
    report->damaged = nr_picture_is_damaged(picture);
    report->n_bytes = 3 * (uint64_t)report->width * (uint64_t)report->height;
    if (!put(out_fd, nr_picture_rgb(picture), (size_t)report->n_bytes)) {
        helper_say(report, NR_STATUS_NO_MEMORY, "no room for the picture's pixels");
        return;
    }
    report->status = NR_STATUS_OK;
}
