/* SPDX-License-Identifier: MIT
 * lab_fill.cu - random data made on the card, from a counter: zeros and repeats run faster than
 * real data do. */
#include "lab.h"

static __device__ uint64_t mixed(uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static __global__ void k_fill_codes(uint64_t *out, size_t n_words, uint64_t seed) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n_words;
         i += gridDim.x * (size_t)blockDim.x) {
        uint64_t z = mixed(seed + i), word = 0;
        for (int b = 0; b < 64; b += 8) {
            uint64_t code = z >> b & 0xff;
            word |= (code == 0x80 ? 0x81 : code) << b;
        }
        out[i] = word;
    }
}

static __global__ void k_fill_floats(float *out, size_t n, float low, float high, uint64_t seed) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += gridDim.x * (size_t)blockDim.x)
        out[i] = low + (high - low) * ((float)(mixed(seed + i) >> 40) / 16777216.0f);
}

void lab_fill_codes(int8_t *device, size_t n, uint64_t seed) {
    k_fill_codes<<<2048, 256>>>((uint64_t *)device, n / 8, seed * 0x100000001b3u);
    LAB_CHECK(cudaGetLastError());
}

void lab_fill_floats(float *device, size_t n, float low, float high, uint64_t seed) {
    k_fill_floats<<<512, 256>>>(device, n, low, high, seed * 0x100000001b3u);
    LAB_CHECK(cudaGetLastError());
}
