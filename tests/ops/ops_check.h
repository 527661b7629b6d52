/* SPDX-License-Identifier: MIT
 *
 * ops_check.h - what the op tests share: checks that count, buffers that end at a forbidden page,
 * seeded data, and the list of backends to compare with the reference. Needs nothing beyond the
 * library, so that the same sources run on another architecture under an emulator.
 *
 *   int main(void) { ops_begin(); test_a(); ...; return ops_end("name"); }
 */
#ifndef OPS_CHECK_H
#define OPS_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "backend.h"
#include "nr_rng.h"
#include "pack.h"
#include "quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OPS_UNUSED __attribute__((unused))
#define OPS_SCRATCH_BYTES ((size_t)64 << 20)
#define OPS_BACKENDS_MAX 16

static long ops_checks, ops_failures;

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        ops_checks++;                                                                              \
        if (!(cond) && ops_failures++ < 20) {                                                      \
            printf("%s:%d: failed: %s: ", __FILE__, __LINE__, #cond);                              \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

/* A block whose last byte is followed by a page that may not be touched; all bytes 0xff (floats:
 * NaN) at first. */
typedef struct guarded {
    void *data; /* at least 4-byte aligned when bytes is a multiple of 4 */
    size_t bytes;
    void *map;
    size_t map_bytes;
} guarded;

static OPS_UNUSED guarded guarded_alloc(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = nr_round_up(bytes ? bytes : 1, page);
    guarded g = {.bytes = bytes, .map_bytes = body + page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED || mprotect((char *)g.map + body, page, PROT_NONE) != 0) {
        perror("guarded_alloc");
        exit(2);
    }
    memset(g.map, 0xff, body);
    g.data = (char *)g.map + body - bytes;
    return g;
}

static OPS_UNUSED void guarded_free(guarded *g) {
    if (g->map) munmap(g->map, g->map_bytes);
    *g = (guarded){0};
}

static OPS_UNUSED guarded guarded_copy(const guarded *src) {
    guarded g = guarded_alloc(src->bytes);
    memcpy(g.data, src->data, src->bytes);
    return g;
}

/* n floats in (-range, range); about one in 64 is ten times larger. */
static OPS_UNUSED guarded random_floats(int64_t n, float range, uint64_t seed) {
    guarded g = guarded_alloc((size_t)n * sizeof(float));
    float *x = g.data;
    for (int64_t i = 0; i < n; i++) {
        float u = nr_rng_uniform(seed, 1, (uint64_t)i) * 2.0f - 1.0f;
        x[i] = u * range * ((nr_rng_u64(seed, 2, (uint64_t)i) & 63u) == 0 ? 10.0f : 1.0f);
    }
    return g;
}

/* Backends under test: every usable kernel table with several thread counts, all with scratch. */
typedef struct ops_backend {
    nr_backend *be;
    char label[40];
    void *scratch;
} ops_backend;

static ops_backend ops_ref, ops_tested[OPS_BACKENDS_MAX];
static int ops_n_tested;

static void ops_lend_scratch(ops_backend *b) {
    b->scratch = mmap(NULL, OPS_SCRATCH_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (b->scratch == MAP_FAILED) exit(2);
    b->be->ops->set_scratch(b->be, b->scratch, OPS_SCRATCH_BYTES);
}

static OPS_UNUSED void ops_begin(void) {
    static const char *const names[] = {"scalar", "avx2", "avx512vnni", "amx", "neon"};
    static const int threads[] = {1, 2, 3, 7};
    nr_error err = {0};
    if (nr_backend_ref_open(&ops_ref.be, &err) != NR_STATUS_OK) exit(2);
    ops_lend_scratch(&ops_ref);
    for (size_t i = 0; i < NR_COUNT(names); i++)
        for (size_t t = 0; t < NR_COUNT(threads); t++) {
            ops_backend *b = &ops_tested[ops_n_tested];
            nr_status status = nr_backend_cpu_open(threads[t], names[i], &b->be, &err);
            if (status == NR_STATUS_UNSUPPORTED) {
                if (t == 0) printf("skipped: %s\n", err.message);
                break;
            }
            if (status != NR_STATUS_OK) {
                printf("cannot open %s: %s\n", names[i], err.message);
                exit(2);
            }
            snprintf(b->label, sizeof b->label, "%s, %d threads", names[i], threads[t]);
            ops_lend_scratch(b);
            ops_n_tested++;
        }
}

static OPS_UNUSED int ops_end(const char *name) {
    for (int i = 0; i < ops_n_tested; i++) {
        nr_backend_close(ops_tested[i].be);
        munmap(ops_tested[i].scratch, OPS_SCRATCH_BYTES);
    }
    if (ops_ref.be) {
        nr_backend_close(ops_ref.be);
        munmap(ops_ref.scratch, OPS_SCRATCH_BYTES);
    }
    printf("%s: %ld checks, %ld failed, %d backends\n", name, ops_checks, ops_failures,
           ops_n_tested);
    return ops_failures != 0;
}

/* First differing byte of two blocks of equal size, or -1. */
static OPS_UNUSED int64_t first_difference(const void *a, const void *b, size_t bytes) {
    if (memcmp(a, b, bytes) == 0) return -1;
    for (size_t i = 0; i < bytes; i++)
        if (((const uint8_t *)a)[i] != ((const uint8_t *)b)[i]) return (int64_t)i;
    return -1;
}

#define CHECK_SAME(got, want, who, ...)                                                            \
    do {                                                                                           \
        int64_t at_ = first_difference((got).data, (want).data, (want).bytes);                     \
        char what_[160];                                                                           \
        snprintf(what_, sizeof what_, __VA_ARGS__);                                                \
        CHECK(at_ < 0, "%s: %s differs at element %lld (%g, expected %g)", who, what_,             \
              (long long)at_ / 4, at_ < 0 ? 0.0 : (double)((float *)(got).data)[at_ / 4],          \
              at_ < 0 ? 0.0 : (double)((float *)(want).data)[at_ / 4]);                            \
    } while (0)

#endif
