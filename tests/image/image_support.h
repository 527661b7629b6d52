/* SPDX-License-Identifier: MIT
 *
 * image_support.h - what the image tests share: SHA-256, expectation lines, pseudo-random
 * pictures, the place of the shared material. Included by one .c file per test program.
 */
#ifndef NR_TEST_IMAGE_SUPPORT_H
#define NR_TEST_IMAGE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_rng.h"
#include "nr_status.h"

/* ---- SHA-256 (FIPS 180-4), whole messages ---- */

static inline uint32_t sha_rotate(uint32_t x, int n) {
    return x >> n | x << (32 - n);
}

static void sha_block(uint32_t h[8], const uint8_t *p) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
        0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
        0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
        0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2};
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
               (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (sha_rotate(a, 7) ^ sha_rotate(a, 18) ^ a >> 3) +
               (sha_rotate(b, 17) ^ sha_rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t t1 = s[7] + (sha_rotate(e, 6) ^ sha_rotate(e, 11) ^ sha_rotate(e, 25)) +
                      ((e & s[5]) ^ (~e & s[6])) + k[i] + w[i];
        uint32_t t2 = (sha_rotate(a, 2) ^ sha_rotate(a, 13) ^ sha_rotate(a, 22)) +
                      ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) h[i] += s[i];
}

static void sha256_hex(const void *data, size_t n, char hex[65]) {
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    const uint8_t *p = data;
    uint8_t last[128] = {0};
    size_t whole = n / 64 * 64, rest = n - whole, tail = rest < 56 ? 64 : 128;
    for (size_t at = 0; at < whole; at += 64) sha_block(h, p + at);
    memcpy(last, p + whole, rest);
    last[rest] = 0x80;
    for (int i = 0; i < 8; i++) last[tail - 1 - (size_t)i] = (uint8_t)((uint64_t)n * 8 >> 8 * i);
    for (size_t at = 0; at < tail; at += 64) sha_block(h, last + at);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", h[i]);
}

/* ---- files ---- */

/* The shared folder, or NULL after saying that it is not there. */
static inline const char *shared_or_null(const char *needed) {
    static char path[4096];
    const char *root = getenv("NEWSREADER_SHARED");
    snprintf(path, sizeof path, "%s", root && *root ? root : "../shared");
    char probe[8192];
    snprintf(probe, sizeof probe, "%s/%s", path, needed);
    FILE *f = fopen(probe, "r");
    if (f) {
        fclose(f);
        return path;
    }
    printf("skipped: %s is not there (set NEWSREADER_SHARED)\n", probe);
    return NULL;
}

/* Exactly sized block (so that AddressSanitizer sees a read past the end); free() it. */
static inline uint8_t *read_whole(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(size > 0 ? (size_t)size : 1);
    assert_non_null(bytes);
    *n = fread(bytes, 1, (size_t)size, f);
    assert_int_equal(*n, size);
    fclose(f);
    return bytes;
}

typedef void (*line_fn)(const json_t *line, void *ctx);

/* fn on every line of a .jsonl file; returns how many there were. */
static inline int for_lines(const char *path, line_fn fn, void *ctx) {
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("cannot open %s", path);
    char text[4096];
    int n = 0;
    while (fgets(text, sizeof text, f)) {
        json_t *line = json_loads(text, 0, NULL);
        assert_non_null(line);
        fn(line, ctx);
        json_decref(line);
        n++;
    }
    fclose(f);
    return n;
}

static inline const char *text_of(const json_t *line, const char *key) {
    return json_string_value(json_object_get(line, key)); /* NULL when absent */
}

static inline int int_of(const json_t *line, const char *key) {
    return (int)json_integer_value(json_object_get(line, key)); /* 0 when absent */
}

static inline int pair_of(const json_t *line, const char *key, size_t i) {
    return (int)json_integer_value(json_array_get(json_object_get(line, key), i));
}

/* u8 [h, w, 3]: byte i is the top byte of mix(seed + i); binary keeps only 0 and 255. free() it. */
static inline uint8_t *random_rgb(int w, int h, uint64_t seed, bool binary) {
    size_t n = (size_t)w * (size_t)h * 3;
    uint8_t *rgb = malloc(n);
    assert_non_null(rgb);
    for (size_t i = 0; i < n; i++) {
        uint8_t v = (uint8_t)(nr_rng_mix(seed + i) >> 56);
        rgb[i] = binary ? (v >= 128 ? 255 : 0) : v;
    }
    return rgb;
}

/* Scratch as the library wants it: aligned, exactly sized. free() it. */
static inline void *aligned_scratch(size_t bytes) {
    void *p = aligned_alloc(NR_ALIGN_BYTES, nr_round_up(bytes ? bytes : 1, NR_ALIGN_BYTES));
    assert_non_null(p);
    return p;
}

#endif
