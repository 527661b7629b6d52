/* SPDX-License-Identifier: MIT
 *
 * cuda_norm.cuh - the sums of a norm over one row, by one block. The reference's sums are 16 chains,
 * so 16 threads compute them from shared memory, which all threads fill a tile at a time.
 */
#ifndef NR_CUDA_NORM_CUH
#define NR_CUDA_NORM_CUH

#include "cuda_math.cuh"

#define NORM_TILE 4096 /* floats of a row in shared memory */

/* 16 chains of fma(x - mean, x - mean, chain), or of chain + x. The sum reaches all threads. */
template <bool SQUARES>
static __device__ float norm_sum(const float *x, int32_t d, float mean, float *tile) {
    __shared__ float total;
    float lane = 0.0f;
    for (int32_t at = 0; at < d; at += NORM_TILE) {
        int32_t n = min(NORM_TILE, d - at);
        __syncthreads();
        for (int32_t i = threadIdx.x; i < n; i += blockDim.x) tile[i] = x[at + i];
        __syncthreads();
        if (threadIdx.x >= LANES) continue;
#pragma unroll 16
        for (int32_t i = threadIdx.x; i < n; i += LANES) {
            if (SQUARES) {
                float c = __fsub_rn(tile[i], mean);
                lane = __fmaf_rn(c, c, lane);
            } else {
                lane = __fadd_rn(lane, tile[i]);
            }
        }
    }
    if (threadIdx.x < 32) {
        lane = sum_lanes(lane);
        if (threadIdx.x == 0) total = lane;
    }
    __syncthreads();
    return total;
}

/* What turns x into y: RMS norm, y = (x * r) * gamma; layer norm, y = fma((x - mean) * r, gamma,
 * beta). */
struct norm_factors {
    float mean, r;
};

template <bool LAYER>
static __device__ norm_factors norm_row(const float *x, int32_t d, float eps, float *tile) {
    norm_factors f = {0.0f, 0.0f};
    if (LAYER) f.mean = __fdiv_rn(norm_sum<false>(x, d, 0.0f, tile), (float)d);
    float squares = __fdiv_rn(norm_sum<true>(x, d, f.mean, tile), (float)d);
    f.r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(squares, eps)));
    return f;
}

template <bool LAYER>
static __device__ __forceinline__ float norm_apply(norm_factors f, float x, const float *gamma,
                                                   const float *beta, int32_t i) {
    return LAYER ? __fmaf_rn(__fmul_rn(__fsub_rn(x, f.mean), f.r), gamma[i], beta[i])
                 : __fmul_rn(__fmul_rn(x, f.r), gamma[i]);
}

#endif
