/* SPDX-License-Identifier: MIT
 *
 * emulate_hopper.h - what cuda_hopper.cuh has for a card, for emulate.h's fibers. Tiles land and
 * products end at once; descriptors are read as the manual states them (128-byte swizzle, 8 rows of
 * 128 bytes a group), addresses counted from the block's shared memory.
 */
#ifndef EMULATE_HOPPER_H
#define EMULATE_HOPPER_H

#define NR_HOPPER 1

struct tile_map {
    const int8_t *matrix;
    int32_t rows, k_pad, box_rows, box_bytes;
};
static inline tile_map emulate_map(const int8_t *matrix, int32_t rows, int32_t k_pad,
                                   int32_t box_rows, int32_t box_bytes) {
    tile_map m = {matrix, rows, k_pad, box_rows, box_bytes};
    return m;
}

/* A phase ends when all arrivals and all bytes have come. */
struct emulate_mbarrier {
    uint8_t expected_low, expected_high, phase, spare;
    int32_t left; /* arrivals << 20, less bytes still to come */
};
static inline emulate_mbarrier *emulate_state(uint64_t *b) { return (emulate_mbarrier *)b; }
static inline int emulate_expected(const emulate_mbarrier *s) {
    return s->expected_low + 256 * s->expected_high;
}
#define EMULATE_ARRIVAL (1 << 20)
static inline void emulate_ended(emulate_mbarrier *s) {
    if (s->left != 0) return;
    s->phase ^= 1;
    s->left = emulate_expected(s) * EMULATE_ARRIVAL;
}
static inline void barrier_init(uint64_t *b, int32_t arrivals) {
    emulate_mbarrier *s = emulate_state(b);
    s->expected_low = (uint8_t)arrivals;
    s->expected_high = (uint8_t)(arrivals >> 8);
    s->phase = 0;
    s->left = arrivals * EMULATE_ARRIVAL;
}
static inline void barrier_init_done(void) {}
static inline void barrier_arrive(uint64_t *b) {
    emulate_state(b)->left -= EMULATE_ARRIVAL;
    if (emulate_state(b)->left < -EMULATE_ARRIVAL / 2) abort();
    emulate_ended(emulate_state(b));
}
static inline void barrier_expect(uint64_t *b, int32_t bytes) {
    emulate_state(b)->left += bytes - EMULATE_ARRIVAL;
    emulate_ended(emulate_state(b));
}
static inline void barrier_wait(uint64_t *b, uint32_t parity) {
    while (emulate_state(b)->phase == (parity & 1)) emulate_yield();
}

/* A place of this block's shared memory, in another block of the cluster. */
template <typename T> static inline T *cluster_place(T *own, int rank) {
    return (T *)(emulate_shared_of(rank) + ((uint8_t *)own - emulate_shared));
}
static inline void barrier_arrive_at(uint64_t *b, int rank) {
    barrier_arrive(cluster_place(b, rank));
}
static inline void barrier_show_at(uint64_t *b, int rank) { barrier_arrive_at(b, rank); }
static inline void barrier_wait_for_cluster(uint64_t *b, uint32_t parity) {
    barrier_wait(b, parity);
}
static inline bool barrier_passed(uint64_t *b, uint32_t parity) {
    bool passed = emulate_state(b)->phase != (parity & 1);
    return __shfl_sync(~0u, passed, 0);
}

static inline void tile_load(void *to, const tile_map *map, uint64_t *barrier, int32_t x,
                             int32_t y) {
    uint8_t *shared = (uint8_t *)to;
    const int row = map->box_bytes;
    if ((uintptr_t)to % (8 * row) || map->k_pad % 16 || (uintptr_t)map->matrix % 16) abort();
    for (int r = 0; r < map->box_rows; r++)
        for (int c = 0; c < row; c++) {
            bool inside = y + r < map->rows && x + c < map->k_pad;
            int swizzle = row == 128 ? r & 7 : r >> 1 & 3;
            shared[r * row + ((c / 16) ^ swizzle) * 16 + c % 16] =
                inside ? (uint8_t)map->matrix[(int64_t)(y + r) * map->k_pad + x + c] : (uint8_t)0;
        }
    emulate_state(barrier)->left -= map->box_rows * map->box_bytes;
    emulate_ended(emulate_state(barrier));
}
static inline void bulk_load(void *shared, const void *global, int32_t bytes, uint64_t *barrier) {
    if ((uintptr_t)shared % 16 || (uintptr_t)global % 16 || bytes % 16) abort();
    memcpy(shared, global, (size_t)bytes);
    emulate_state(barrier)->left -= bytes;
    emulate_ended(emulate_state(barrier));
}
static inline void tile_prefetch(const tile_map *, int32_t, int32_t) {}
static inline void tile_prefetch_map(const tile_map *) {}

template <int STEP> static inline uint64_t tile_descriptor(const void *tile) {
    uint64_t at = (uint64_t)((const uint8_t *)tile - emulate_shared) & 0x3ffffu;
    return at >> 4 | (uint64_t)1 << 16 | (uint64_t)(8 * STEP >> 4) << 32 |
           (uint64_t)(STEP == 128 ? 1 : 2) << 62;
}
static inline int8_t emulate_described(uint64_t d, int row, int k) {
    uint32_t group = (uint32_t)(d >> 32 & 0x3fff) << 4;
    uint32_t at = (uint32_t)(d & 0x3fff) * 16 + (uint32_t)(row / 8) * group +
                  (uint32_t)(row % 8) * (group / 8) + (uint32_t)k;
    at ^= (at >> 7 & (d >> 62 == 1 ? 7 : 3)) << 4; /* the swizzle is of the address itself */
    return ((const int8_t *)emulate_shared)[at];
}

template <int N> static inline void registers_down_to(void) {}
template <int N> static inline void registers_up_to(void) {}
static inline void product_begin(void) {}
static inline void product_commit(void) {}
template <int N> static inline void product_wait(void) { __syncwarp(); }
template <int N> static inline void product(int32_t *d, uint64_t a, uint64_t b, int32_t add) {
    int thread = emulate_thread() % 128, warp = thread / 32, g = thread % 32 / 4, t = thread % 4;
    for (int i = 0; i < N / 2; i++) {
        int row = 16 * warp + g + (i % 4 >= 2 ? 8 : 0), column = 8 * (i / 4) + 2 * t + i % 2;
        int32_t sum = add ? d[i] : 0;
        for (int k = 0; k < 32; k++)
            sum += (int32_t)emulate_described(a, row, k) * emulate_described(b, column, k);
        d[i] = sum;
    }
}

#endif
