/* SPDX-License-Identifier: MIT
 *
 * lab.h - what the sections of the CUDA kernel lab share: device memory, fresh random data, the two
 * ways to say how a kernel did. Any failure ends the process of the section with status 1; the
 * lab's parent runs each section in a process of its own with a time limit (lab.cc).
 */
#ifndef LAB_H
#define LAB_H

#include <cuda_runtime_api.h>

#include <functional>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#define restrict __restrict__
#include "nr_rng.h"
}
#include "cuda_kernels.h"
#include "linear_variants.h"

#define LAB_CHECK(call) lab_check(call, #call, __FILE__, __LINE__)
void lab_check(cudaError_t e, const char *what, const char *file, int line);

typedef struct lab_card {
    int sm; /* 80, 86, 89, 90 */
    int n_multiprocessors;
    size_t l2_bytes, memory_bytes;
    bool emulated;
} lab_card;
lab_card lab_find_card(void);

extern uint64_t lab_seed; /* of the clock, printed; --seed N sets it */

/* Device memory, never freed: a section is a process. Filled with 0xa5. */
void *lab_device(size_t bytes);
void *lab_upload(const void *host, size_t bytes);
template <typename T> T *lab_upload_of(const T *host, size_t n) {
    return (T *)lab_upload(host, n * sizeof(T));
}
void lab_download(void *host, const void *device, size_t bytes);
void lab_poison(void *device, size_t bytes);
/* Random bytes (codes: -127 .. 127) or floats in [low, high) made on the card. */
void lab_fill_codes(int8_t *device, size_t n, uint64_t seed);
void lab_fill_floats(float *device, size_t n, float low, float high, uint64_t seed);

/* Compare bits; prints `what: equal` or the first difference. Returns the number of differences. */
size_t lab_compare(const char *what, const float *expected, const float *found, size_t rows,
                   size_t columns, size_t ld);
extern int lab_failures; /* comparisons that failed; a section's exit status */

/* Median and best milliseconds of launch(i), i = 0, 1, ...: `inner` launches between two events, n
 * times, after two untimed rounds. */
typedef struct lab_time {
    double median_ms, best_ms; /* of one launch */
} lab_time;
lab_time lab_measure(cudaStream_t stream, int n, int inner,
                     const std::function<cudaError_t(int)> &launch);

/* The same with the launches of a round captured into one graph. */
lab_time lab_measure_graph(cudaStream_t stream, int n, int inner,
                           const std::function<cudaError_t(int)> &launch);

/* A way of Hopper's linears: `weight rows x tokens of a tile, cluster across x down`. */
#define LAB_NAME 32
const char *lab_way_name(int way, char name[LAB_NAME]);
/* Of few rows: `ring KB/stages on their way`. */
const char *lab_ring_name(int way, char name[LAB_NAME]);

/* Sections: NULL-terminated table, lab.cc runs them. */
typedef struct lab_section {
    const char *name;
    void (*run)(const lab_card *card);
    int limit_s;
} lab_section;
void lab_check_linears(const lab_card *card);
void lab_check_tiles(const lab_card *card);
void lab_check_wgmma(const lab_card *card);
void lab_check_rows(const lab_card *card);
void lab_check_attention(const lab_card *card);
void lab_check_join(const lab_card *card);
void lab_time_copy(const lab_card *card);
void lab_time_few(const lab_card *card);
void lab_time_many(const lab_card *card);
void lab_time_wgmma(const lab_card *card);
void lab_time_wgmma_split(const lab_card *card);
void lab_time_library(const lab_card *card);
void lab_time_attention(const lab_card *card);
void lab_time_rows(const lab_card *card);
void lab_time_token(const lab_card *card);
void lab_time_vision(const lab_card *card);

#endif
