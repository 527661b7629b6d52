/* SPDX-License-Identifier: MIT
 *
 * utf8.h - UTF-8 one character at a time, as Unicode's table 3-7 defines it: no overlong forms, no
 * surrogates, nothing above U+10FFFF. Pure functions, any thread.
 */
#ifndef NR_UTF8_H
#define NR_UTF8_H

#include "nr_base.h"

typedef enum nr_utf8_kind {
    NR_UTF8_CHAR, /* a whole character */
    NR_UTF8_BAD,  /* bytes that begin no character, however many follow */
    NR_UTF8_SHORT /* a proper beginning of a character, cut off by the end of the text */
} nr_utf8_kind;

typedef struct nr_utf8_step {
    nr_utf8_kind kind;
    uint32_t code;  /* code point when kind is CHAR, else U+FFFD */
    uint32_t bytes; /* 1..4; BAD and SHORT: the longest part that one U+FFFD stands for */
} nr_utf8_step;

/* What begins at text[0]; n_bytes >= 1. */
nr_utf8_step nr_utf8_next(const uint8_t *text, size_t n_bytes);

/* Write code as 1..4 bytes at dst and return how many; code is a scalar value. */
size_t nr_utf8_put(uint8_t dst[4], uint32_t code);

/* Offset of the first byte that is not part of a character; n_bytes when all are. */
size_t nr_utf8_valid_bytes(const uint8_t *text, size_t n_bytes);

/* Unicode's White_Space property. */
bool nr_utf8_is_space(uint32_t code);

#endif
