/* SPDX-License-Identifier: MIT
 * emulate_ptx.h - what cuda_ptx.cuh has for a card, for emulate.h's fibers. Copies end at once. */
#ifndef EMULATE_PTX_H
#define EMULATE_PTX_H

static inline void mma_s8(int32_t c[4], const uint32_t a[4], const uint32_t b[2]) {
    uint8_t all[32][64];
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    emulate_exchange(mine, sizeof mine, all);
    int lane = emulate_thread() & 31, g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
        int row = g + (i >= 2 ? 8 : 0), col = 2 * t + (i & 1);
        for (int k = 0; k < 32; k++) {
            int word_a = (row >= 8) + (k >= 16 ? 2 : 0), word_b = 4 + (k >= 16);
            int8_t x = (int8_t)all[(row & 7) * 4 + k % 16 / 4][word_a * 4 + k % 4];
            int8_t y = (int8_t)all[col * 4 + k % 16 / 4][word_b * 4 + k % 4];
            c[i] += (int32_t)x * y;
        }
    }
}

static inline float exp2_fast(float x) { return exp2f(x); }
static inline float reciprocal_fast(float x) { /* a unit off, as the card's may be */
    return __uint_as_float(__float_as_uint(1.0f / x) + 1u);
}
static inline void load_matrices_transposed(uint32_t r[4], const void *row) {
    uint8_t all[32][64];
    if ((uintptr_t)row % 16) abort();
    emulate_exchange(row, 16, all);
    int lane = emulate_thread() & 31, g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
        uint16_t low, high;
        memcpy(&low, &all[8 * i + 2 * t][2 * g], 2);
        memcpy(&high, &all[8 * i + 2 * t + 1][2 * g], 2);
        r[i] = low | (uint32_t)high << 16;
    }
}

static inline void load_matrices(uint32_t r[4], const void *row) {
    uint8_t all[32][64];
    if ((uintptr_t)row % 16) abort();
    emulate_exchange(row, 16, all);
    int lane = emulate_thread() & 31;
    for (int i = 0; i < 4; i++) memcpy(&r[i], &all[8 * i + lane / 4][lane % 4 * 4], 4);
}

void emulate_copy(void *to, const void *from, size_t bytes); /* from NULL: zeros */
void emulate_copy_commit(void);
void emulate_copy_wait(size_t n);
static inline void copy_16(void *shared, const void *global, bool valid) {
    if ((uintptr_t)shared % 16 || (valid && (uintptr_t)global % 16)) abort();
    emulate_copy(shared, valid ? global : NULL, 16);
}
static inline void copy_4(void *shared, const void *global, bool valid) {
    if ((uintptr_t)shared % 4 || (valid && (uintptr_t)global % 4)) abort();
    emulate_copy(shared, valid ? global : NULL, 4);
}
static inline void copy_commit(void) { emulate_copy_commit(); }
template <int N> static inline void copy_wait(void) { emulate_copy_wait(N); }
static inline uint4 load_once(const void *p) {
    if ((uintptr_t)p % 16) abort();
    return *(const uint4 *)p;
}
template <int ID, int N> static inline void part_sync(void) { emulate_barrier(ID, N); }
static inline void cluster_sync(void) { emulate_cluster_sync(); }
static inline uint32_t cluster_word(const uint32_t *own, int rank) {
    return *(const uint32_t *)(emulate_shared_of(rank) + ((const uint8_t *)own - emulate_shared));
}
static inline void wait_for_launch_before(void) {}
static inline void let_next_launch_begin(void) {}

#endif
