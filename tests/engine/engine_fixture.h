/* SPDX-License-Identifier: MIT
 *
 * engine_fixture.h - what the end-to-end tests share: where the golden material is, small
 * checkpoints made by tools/make_checkpoint, whole files, vector comparisons.
 */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "newsreader.h"
#include "nr_base.h"

/* Fails the test with the library's message when status is not OK. */
#define MUST(expr)                                                                                 \
    do {                                                                                           \
        nr_error must_error = {0};                                                                 \
        nr_error *err = &must_error;                                                               \
        if ((expr) != NR_STATUS_OK) fail_msg("%s: %s", #expr, must_error.message);                 \
    } while (0)

/* Folder beside the project with material that may not be copied; skips visibly without it. */
static inline const char *fixture_shared(void) {
    const char *dir = getenv("NEWSREADER_SHARED");
    if (!dir) dir = "../shared";
    if (access(dir, R_OK) != 0) {
        print_message("skipped: no %s (set NEWSREADER_SHARED)\n", dir);
        skip();
    }
    return dir;
}

/* printf into a path buffer. */
static inline const char *fixture_path(char dst[4096], const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(dst, 4096, fmt, args);
    va_end(args);
    assert_true(n > 0 && n < 4096);
    return dst;
}

/* This build's folder of tools: beside the folder tests/ that this program lies in. */
static inline void fixture_build_dir(char dst[4096]) {
    ssize_t n = readlink("/proc/self/exe", dst, 4095);
    assert_true(n > 0);
    dst[n] = '\0';
    char *tests = strstr(dst, "/tests/");
    assert_non_null(tests);
    *tests = '\0';
}

static inline int fixture_remove_entry(const char *path, const struct stat *st, int kind,
                                       struct FTW *where) {
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}
static inline void fixture_remove_tree(const char *dir) {
    nftw(dir, fixture_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* New empty folder under the system's temporary folder. */
static inline void fixture_temp_dir(char dst[4096]) {
    const char *base = getenv("TMPDIR");
    fixture_path(dst, "%s/newsreader-test-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(dst));
}

/* Group set-up and tear-down: one temporary folder for all tests of a program. */
static char temp[4096]; /* the folder */
static inline int fixture_make_temp(void **state) {
    (void)state;
    fixture_temp_dir(temp);
    return 0;
}
static inline int fixture_remove_temp(void **state) {
    (void)state;
    fixture_remove_tree(temp);
    return 0;
}

/* `make_checkpoint --preset PRESET DIR extra`; dir must not exist yet. */
static inline void fixture_make_checkpoint(const char *preset, const char *dir, const char *extra) {
    char build[4096], command[12288];
    fixture_build_dir(build);
    int n = snprintf(command, sizeof command,
                     "%s/tools/make_checkpoint --preset %s %s %s >/dev/null 2>&1",
                     build, preset, extra, dir);
    assert_true(n > 0 && (size_t)n < sizeof command);
    assert_int_equal(system(command), 0);
}

/* Whole file, NUL-terminated; free() it. */
static inline char *fixture_read_file(const char *path, size_t *n_bytes) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, f), (size_t)size);
    bytes[size] = '\0';
    fclose(f);
    if (n_bytes) *n_bytes = (size_t)size;
    return bytes;
}

static inline void fixture_write_file(const char *path, const void *bytes, size_t n_bytes) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n_bytes, f), n_bytes);
    assert_int_equal(fclose(f), 0);
}

/* A picture of w x h: gradients and a grid, the same everywhere. free with nr_picture_free. */
static inline nr_picture *fixture_picture(int32_t w, int32_t h) {
    uint8_t *rgb = malloc((size_t)w * (size_t)h * 3);
    nr_picture *picture = NULL;
    assert_non_null(rgb);
    for (int32_t y = 0; y < h; y++)
        for (int32_t x = 0; x < w; x++) {
            uint8_t *p = rgb + 3 * ((size_t)y * (size_t)w + (size_t)x);
            p[0] = (uint8_t)(x * 255 / w);
            p[1] = (uint8_t)(x % 7 == 0 || y % 5 == 0 ? 20 : 230);
            p[2] = (uint8_t)((x * 3 + y * 5) % 256);
        }
    MUST(nr_picture_from_rgb(rgb, w, h, &picture, err));
    free(rgb);
    return picture;
}

static inline double fixture_relative_error(const float *a, const float *b, int64_t n) {
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        diff += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return sqrt(diff / norm);
}

static inline double fixture_cosine(const float *a, const float *b, int64_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

#endif
