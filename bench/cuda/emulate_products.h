/* SPDX-License-Identifier: MIT
 *
 * emulate_products.h - what cuda_products.cuh has for a card, for emulate.h's fibers. Sums of
 * halves are rounded towards zero, as a card is not known to do better. */
#ifndef EMULATE_PRODUCTS_H
#define EMULATE_PRODUCTS_H

#include <cuda_fp16.h>

static inline uint32_t pack_halves(float low, float high) {
    __half_raw l = __float2half_rn(low), h = __float2half_rn(high);
    return l.x | (uint32_t)h.x << 16;
}
static inline double emulate_half(uint16_t bits) {
    __half_raw raw;
    raw.x = bits;
    return (double)__half2float(__half(raw));
}

static inline void bulk_load(void *shared, const void *global, uint64_t *barrier, int32_t bytes) {
    if ((uintptr_t)shared % 16 || (uintptr_t)global % 16 || bytes % 16) abort();
    memcpy(shared, global, (size_t)bytes);
    emulate_state(barrier)->left -= bytes;
    emulate_ended(emulate_state(barrier));
}

/* Value k of column n. */
static inline double emulate_right(uint64_t b, bool across, int n, int k) {
    int row = across ? k : n, byte = 2 * (across ? n : k);
    uint8_t low = (uint8_t)emulate_described(b, row, byte);
    uint8_t high = (uint8_t)emulate_described(b, row, byte + 1);
    return emulate_half((uint16_t)(low | high << 8));
}

static inline float emulate_towards_zero(double x) {
    float y = (float)x;
    return fabs((double)y) > fabs(x) ? nextafterf(y, 0.0f) : y;
}

template <bool ACROSS>
static inline void product_halves(float d[32], const uint32_t a[4], uint64_t b, int32_t add) {
    uint8_t all[32][64];
    emulate_exchange(a, 16, all);
    int lane = emulate_thread() & 31, g = lane / 4, t = lane % 4;
    double left[2][16];
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 16; k++) {
            uint16_t bits;
            memcpy(&bits, &all[4 * g + k % 8 / 2][4 * (h + k / 8 * 2) + k % 2 * 2], 2);
            left[h][k] = emulate_half(bits);
        }
    for (int i = 0; i < 32; i++) {
        double sum = add ? (double)d[i] : 0.0;
        for (int k = 0; k < 16; k++)
            sum += left[i % 4 / 2][k] * emulate_right(b, ACROSS, 8 * (i / 4) + 2 * t + i % 2, k);
        d[i] = emulate_towards_zero(sum);
    }
}
static inline void product_done(float *) {}
static inline void product_done(int32_t *) {}

static inline uint64_t columns_descriptor(const void *columns, uint32_t k_step) {
    uint64_t at = (uint64_t)((const uint8_t *)columns - emulate_shared) & 0x3ffffu;
    if (at % 16 || k_step % 16) abort();
    return at >> 4 | (uint64_t)(k_step >> 4) << 16 | (uint64_t)(128 >> 4) << 32;
}
static inline void shared_stored(void) {}

/* Byte k of column n, in either layout. */
static inline int8_t emulate_column(uint64_t b, int n, int k) {
    if (b >> 62) return emulate_described(b, n, k);
    uint32_t k_step = (uint32_t)(b >> 16 & 0x3fff) << 4, n_step = (uint32_t)(b >> 32 & 0x3fff) << 4;
    uint32_t at = (uint32_t)(b & 0x3fff) * 16 + (uint32_t)(k / 16) * k_step +
                  (uint32_t)(n / 8) * n_step + (uint32_t)(n % 8 * 16 + k % 16);
    return ((const int8_t *)emulate_shared)[at];
}
template <int N>
static inline void product_codes(int32_t *d, const uint32_t a[4], uint64_t b, int32_t add) {
    uint8_t all[32][64];
    emulate_exchange(a, 16, all);
    int lane = emulate_thread() & 31, g = lane / 4, t = lane % 4;
    for (int i = 0; i < N / 2; i++) {
        int32_t sum = add ? d[i] : 0;
        for (int k = 0; k < 32; k++) {
            int word = i % 4 / 2 + k / 16 * 2;
            sum += (int8_t)all[4 * g + k % 16 / 4][4 * word + k % 4] *
                   (int32_t)emulate_column(b, 8 * (i / 4) + 2 * t + i % 2, k);
        }
        d[i] = sum;
    }
}

#endif
