/* SPDX-License-Identifier: MIT
 * fuzz_image_jpeg.c - see fuzz_image.h. */
#include "fuzz_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    return fuzz_image_one(data, size, NR_IMAGE_FORMAT_JPEG);
}
