/* SPDX-License-Identifier: MIT
 * norm.cu - RMS and layer norm, a block a row. */
#include "cuda_norm.cuh"

#define THREADS 256

template <bool LAYER>
static __global__ void __launch_bounds__(THREADS) k_norm(nr_cuda_norm_args a) {
    __shared__ float tile[NORM_TILE];
    const float *x = a.x + (int64_t)blockIdx.x * a.d;
    float *y = a.y + (int64_t)blockIdx.x * a.d;
    norm_factors f = norm_row<LAYER>(x, a.d, a.eps, tile);
    for (int32_t i = threadIdx.x; i < a.d; i += THREADS)
        y[i] = norm_apply<LAYER>(f, x[i], a.gamma, a.beta, i);
}

cudaError_t nr_cuda_norm(const nr_cuda_norm_args *a, cudaStream_t stream) {
    if (a->layer) k_norm<true><<<(unsigned)a->m, THREADS, 0, stream>>>(*a);
    else k_norm<false><<<(unsigned)a->m, THREADS, 0, stream>>>(*a);
    return cudaGetLastError();
}
