/* SPDX-License-Identifier: MIT
 * utf8.c - see utf8.h. The second byte's range depends on the first; the others are 80..BF. */
#include "utf8.h"

nr_utf8_step nr_utf8_next(const uint8_t *text, size_t n_bytes) {
    NR_ASSERT(n_bytes > 0);
    uint8_t lead = text[0], low = 0x80, high = 0xbf;
    uint32_t need, code;
    if (lead < 0x80) return (nr_utf8_step){NR_UTF8_CHAR, lead, 1};
    if (lead >= 0xc2 && lead <= 0xdf) {
        need = 2;
        code = lead & 0x1fu;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        need = 3;
        code = lead & 0x0fu;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        need = 4;
        code = lead & 0x07u;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    } else {
        return (nr_utf8_step){NR_UTF8_BAD, 0xfffd, 1};
    }
    for (uint32_t i = 1; i < need; i++) {
        if (i == n_bytes) return (nr_utf8_step){NR_UTF8_SHORT, 0xfffd, i};
        if (text[i] < low || text[i] > high) return (nr_utf8_step){NR_UTF8_BAD, 0xfffd, i};
        code = code << 6 | (text[i] & 0x3fu);
        low = 0x80;
        high = 0xbf;
    }
    return (nr_utf8_step){NR_UTF8_CHAR, code, need};
}

size_t nr_utf8_put(uint8_t dst[4], uint32_t code) {
    if (code < 0x80) {
        dst[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        dst[0] = (uint8_t)(0xc0 | code >> 6);
        dst[1] = (uint8_t)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        dst[0] = (uint8_t)(0xe0 | code >> 12);
        dst[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        dst[2] = (uint8_t)(0x80 | (code & 0x3f));
        return 3;
    }
    dst[0] = (uint8_t)(0xf0 | code >> 18);
    dst[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    dst[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    dst[3] = (uint8_t)(0x80 | (code & 0x3f));
    return 4;
}

size_t nr_utf8_valid_bytes(const uint8_t *text, size_t n_bytes) {
    size_t i = 0;
    while (i < n_bytes) {
        nr_utf8_step s = nr_utf8_next(text + i, n_bytes - i);
        if (s.kind != NR_UTF8_CHAR) return i;
        i += s.bytes;
    }
    return n_bytes;
}

bool nr_utf8_is_space(uint32_t code) {
    return (code >= 0x09 && code <= 0x0d) || code == 0x20 || code == 0x85 || code == 0xa0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}
