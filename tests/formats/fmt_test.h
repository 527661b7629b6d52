/* SPDX-License-Identifier: MIT
 *
 * fmt_test.h - what the tests of src/formats share: a scratch folder, files with given content, the
 * sweep over failing allocations, the place of material that lies outside the repository.
 */
#ifndef FMT_TEST_H
#define FMT_TEST_H

#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_status.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct scratch {
    char dir[64];
} scratch;

static inline void scratch_make(scratch *s) {
    strcpy(s->dir, "/tmp/nr-formats-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int kind,
                                     struct FTW *walk) {
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

static inline void scratch_remove(scratch *s) {
    nftw(s->dir, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline const char *scratch_path(const scratch *s, const char *name) {
    static char path[4][256];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], "%s/%s", s->dir, name);
    return path[i];
}

static inline void put_file(const scratch *s, const char *name, const void *bytes, size_t n) {
    FILE *f = fopen(scratch_path(s, name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void put_text(const scratch *s, const char *name, const char *text) {
    put_file(s, name, text, strlen(text));
}

static int count_entries_n; /* nftw has no context argument */

static inline int count_entries_one(const char *path, const struct stat *st, int kind,
                                    struct FTW *walk) {
    (void)path, (void)st, (void)kind;
    if (walk->level == 1) count_entries_n++;
    return 0;
}

/* Number of entries of the scratch folder. */
static inline int count_entries(const scratch *s) {
    count_entries_n = 0;
    nftw(s->dir, count_entries_one, 8, FTW_PHYS);
    return count_entries_n;
}

/* Fails the n-th allocation for every n until none is left to fail: each run must end in
 * NO_MEMORY with nothing leaked, the last in success. fn cleans up what it opened. */
typedef nr_status (*sweep_fn)(void *ctx, nr_error *err);
static inline void sweep_allocations(sweep_fn fn, void *ctx) {
    for (int sticky = 0; sticky < 2; sticky++) {
        for (uint64_t n = 1;; n++) {
            nr_error err = {0};
            uint64_t live = nr_alloc_get_stats().live_count;
            nr_alloc_fail_nth(n, sticky);
            nr_status status = fn(ctx, &err);
            bool happened = nr_alloc_fail_happened();
            nr_alloc_fail_nth(0, false);
            assert_int_equal(nr_alloc_get_stats().live_count, live);
            if (!happened) {
                assert_int_equal(status, NR_STATUS_OK);
                assert_true(n > 1);
                break;
            }
            if (status != NR_STATUS_NO_MEMORY)
                print_message("allocation %d: %s: %s\n", (int)n, nr_status_name(status),
                              err.message);
            assert_int_equal(status, NR_STATUS_NO_MEMORY);
            assert_true(err.message[0] != '\0');
        }
    }
}

/* Path of outside material, or skips the test after saying what is missing. */
static inline const char *shared_or_skip(const char *name) {
    static char path[512];
    const char *root = getenv("NEWSREADER_SHARED");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared", name);
    if (!nr_file_exists(path)) {
        print_message("skipped: %s is not there (NEWSREADER_SHARED)\n", path);
        skip();
    }
    return path;
}

#define assert_message_has(err, part)                                                              \
    do {                                                                                           \
        if (!strstr((err).message, part)) print_message("message: %s\n", (err).message);           \
        assert_non_null(strstr((err).message, part));                                              \
    } while (0)

#endif
