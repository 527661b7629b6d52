/* SPDX-License-Identifier: MIT
 * fuzz_image_png.c - see fuzz_image.h. Every input is tried as it is and with its chunk checksums
 * put right, since a mutation would otherwise never get past them. */
#include "fuzz_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t crc_of(const uint8_t *p, size_t n) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void fix_checksums(uint8_t *png, size_t size) {
    for (size_t at = 8; size >= 12 && at <= size - 12;) {
        size_t n = (size_t)png[at] << 24 | (size_t)png[at + 1] << 16 | (size_t)png[at + 2] << 8 |
                   png[at + 3];
        if (n > size - 12 - at) return;
        uint32_t crc = crc_of(png + at + 4, n + 4);
        for (size_t i = 0; i < 4; i++) png[at + 8 + n + i] = (uint8_t)(crc >> (24 - 8 * i));
        at += n + 12;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_image_one(data, size, NR_IMAGE_FORMAT_PNG);
    uint8_t *fixed = malloc(size ? size : 1);
    fuzz_require(fixed);
    if (size) memcpy(fixed, data, size);
    fix_checksums(fixed, size);
    fuzz_image_one(fixed, size, NR_IMAGE_FORMAT_PNG);
    free(fixed);
    return 0;
}
