/* SPDX-License-Identifier: MIT
 * base64.c - see base64.h. */
#include "base64.h"

static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

bool base64_decode(const char *text, size_t n, uint8_t *out, size_t *out_n) {
    unsigned bits = 0;
    int n_bits = 0;
    size_t used = 0;
    for (int i = 0; i < 2 && n > 0 && text[n - 1] == '='; i++) n--;
    for (size_t i = 0; i < n; i++) {
        int digit = digit_of(text[i]);
        if (digit < 0) return false;
        bits = (bits << 6 | (unsigned)digit) & 0xffffff;
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        out[used++] = (uint8_t)(bits >> n_bits);
    }
    *out_n = used;
    return n_bits < 6;
}
