/* SPDX-License-Identifier: MIT
 * base64.h - base64 of URLs and keys, both alphabets, with or without padding. */
#ifndef BASE64_H
#define BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes at most n / 4 * 3 + 2 bytes. False where a character is none of the alphabet's, or one is
 * left over. */
bool base64_decode(const char *text, size_t n, uint8_t *out, size_t *out_n);

#endif
