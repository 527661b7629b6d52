/* SPDX-License-Identifier: MIT
 *
 * norm.cu - RMS and layer norm, a block a row. The reference's sums are 16 chains, so 16 threads
 * compute them from shared memory, which all threads fill a tile at a time.
 */
#include "cuda_math.cuh"

#define THREADS 256
#define TILE 4096 /* floats of a row in shared memory */

/* 16 chains of fma(x - mean, x - mean, chain), or of chain + x. The sum reaches all threads. */
template <bool SQUARES>
static __device__ float row_sum(const float *x, int32_t d, float mean, float *tile) {
    __shared__ float total;
    float lane = 0.0f;
    for (int32_t at = 0; at < d; at += TILE) {
        int32_t n = min(TILE, d - at);
        __syncthreads();
        for (int32_t i = threadIdx.x; i < n; i += THREADS) tile[i] = x[at + i];
        __syncthreads();
        if (threadIdx.x >= LANES) continue;
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

static __global__ void __launch_bounds__(THREADS) k_norm_rms(nr_cuda_norm_args a) {
    __shared__ float tile[TILE];
    const float *x = a.x + (int64_t)blockIdx.x * a.d;
    float *y = a.y + (int64_t)blockIdx.x * a.d;
    float mean_square = __fdiv_rn(row_sum<true>(x, a.d, 0.0f, tile), (float)a.d);
    float r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean_square, a.eps)));
    for (int32_t i = threadIdx.x; i < a.d; i += THREADS)
        y[i] = __fmul_rn(__fmul_rn(x[i], r), a.gamma[i]);
}

static __global__ void __launch_bounds__(THREADS) k_norm_layer(nr_cuda_norm_args a) {
    __shared__ float tile[TILE];
    const float *x = a.x + (int64_t)blockIdx.x * a.d;
    float *y = a.y + (int64_t)blockIdx.x * a.d;
    float mean = __fdiv_rn(row_sum<false>(x, a.d, 0.0f, tile), (float)a.d);
    float var = __fdiv_rn(row_sum<true>(x, a.d, mean, tile), (float)a.d);
    float r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(var, a.eps)));
    for (int32_t i = threadIdx.x; i < a.d; i += THREADS)
        y[i] = __fmaf_rn(__fmul_rn(__fsub_rn(x[i], mean), r), a.gamma[i], a.beta[i]);
}

cudaError_t nr_cuda_norm(const nr_cuda_norm_args *a, cudaStream_t stream) {
    if (a->layer) k_norm_layer<<<(unsigned)a->m, THREADS, 0, stream>>>(*a);
    else k_norm_rms<<<(unsigned)a->m, THREADS, 0, stream>>>(*a);
    return cudaGetLastError();
}
