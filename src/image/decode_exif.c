/* SPDX-License-Identifier: MIT
 * decode_exif.c - the one EXIF tag that changes pixels: 0x0112, orientation, of the first IFD. */
#include <string.h>

#include "decode_internal.h"

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT 3
#define TYPE_LONG 4
#define ENTRY_BYTES 12

typedef struct tiff {
    const uint8_t *p;
    size_t n;
    bool big_endian;
} tiff;

/* The caller has checked that `bytes` (2 or 4) at `at` lie inside. */
static uint32_t read_uint(const tiff *t, size_t at, int bytes) {
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)t->p[at + (size_t)i] << 8 * (t->big_endian ? bytes - 1 - i : i);
    return v;
}

int nr_exif_orientation(const uint8_t *bytes, size_t n_bytes) {
    if (n_bytes >= 6 && memcmp(bytes, "Exif\0", 5) == 0) {
        bytes += 6;
        n_bytes -= 6;
    }
    if (n_bytes < 8) return 1;
    tiff t = {.p = bytes, .n = n_bytes, .big_endian = bytes[0] == 'M'};
    if (memcmp(bytes, t.big_endian ? "MM" : "II", 2) != 0 || read_uint(&t, 2, 2) != 42) return 1;
    size_t ifd = read_uint(&t, 4, 4);
    if (ifd > t.n - 2) return 1;
    size_t n_entries = read_uint(&t, ifd, 2), at = ifd + 2;
    for (size_t i = 0; i < n_entries && t.n - at >= ENTRY_BYTES; i++, at += ENTRY_BYTES) {
        if (read_uint(&t, at, 2) != TAG_ORIENTATION) continue;
        uint32_t type = read_uint(&t, at + 2, 2);
        if (read_uint(&t, at + 4, 4) != 1) return 1;
        uint32_t v = type == TYPE_SHORT  ? read_uint(&t, at + 8, 2)
                     : type == TYPE_LONG ? read_uint(&t, at + 8, 4)
                                         : 1;
        return v >= 1 && v <= 8 ? (int)v : 1;
    }
    return 1;
}
