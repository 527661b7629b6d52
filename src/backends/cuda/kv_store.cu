/* SPDX-License-Identifier: MIT
 *
 * kv_store.cu - rows of keys and values into the caches of their sequences: a warp a head of a row,
 * keys and values one after the other. Keys may be rotated on the way, and queries in place; heads
 * of queries then have a warp as well.
 */
#include "cuda_launch.cuh"

#include <cuda_fp16.h>

#define WARPS 4

template <typename T> static __device__ T stored(float x);
template <> __device__ float stored<float>(float x) {
    return x;
}
template <> __device__ __half stored<__half>(float x) {
    return __float2half_rn(v_min(v_max(x, -65504.0f), 65504.0f));
}

/* Value i of a row of a head, rotated where cos_sin is given. */
static __device__ __forceinline__ float turned(const float *x, const float *cos_sin, int32_t i,
                                               int32_t half) {
    if (!cos_sin) return x[i];
    if (i < half)
        return __fsub_rn(__fmul_rn(x[i], cos_sin[i]), __fmul_rn(x[half + i], cos_sin[half + i]));
    return __fadd_rn(__fmul_rn(x[i], cos_sin[i - half]), __fmul_rn(x[i - half], cos_sin[i]));
}

template <typename T>
static __device__ void put_row(void *cache, int64_t at, const float *x, const float *cos_sin,
                               int32_t dim) {
    T *dst = (T *)cache + at * dim;
    for (int32_t i = threadIdx.x; i < dim; i += 32)
        dst[i] = stored<T>(turned(x, cos_sin, i, dim / 2));
}

static __device__ void put_codes(void *cache, float *scales, int64_t at, const float *x,
                                 const float *cos_sin, int32_t dim) {
    int8_t *dst = (int8_t *)cache + at * dim;
    float amax = 0.0f, scale, inverse;
    for (int32_t i = threadIdx.x; i < dim; i += 32)
        amax = v_max(fabsf(turned(x, cos_sin, i, dim / 2)), amax);
    for (int step = 16; step > 0; step /= 2)
        amax = v_max(__shfl_xor_sync(0xffffffffu, amax, step), amax);
    scale_of(amax, &scale, &inverse);
    for (int32_t i = threadIdx.x; i < dim; i += 32)
        dst[i] = code_of(turned(x, cos_sin, i, dim / 2), inverse);
    if (threadIdx.x == 0) scales[at] = scale;
}

/* In place: lanes have pairs. */
static __device__ void rotate_head(float *x, const float *cos_sin, int32_t dim) {
    int32_t half = dim / 2;
    for (int32_t i = threadIdx.x; i < half; i += 32) {
        float low = turned(x, cos_sin, i, half), high = turned(x, cos_sin, half + i, half);
        x[i] = low;
        x[half + i] = high;
    }
}

static __device__ void store_head(const nr_cuda_kv_store_args &a, const nr_cuda_span &s, int64_t at,
                                  const float *k, const float *cos_sin, const float *v) {
    int32_t dim = a.head_dim;
    if (a.dtype == NR_DTYPE_I8) {
        put_codes(s.k, s.k_scale, at, k, cos_sin, dim);
        put_codes(s.v, s.v_scale, at, v, NULL, dim);
    } else if (a.dtype == NR_DTYPE_F16) {
        put_row<__half>(s.k, at, k, cos_sin, dim);
        put_row<__half>(s.v, at, v, NULL, dim);
    } else {
        put_row<float>(s.k, at, k, cos_sin, dim);
        put_row<float>(s.v, at, v, NULL, dim);
    }
}

static __global__ void __launch_bounds__(32 * WARPS) k_kv_store(nr_cuda_kv_store_args a) {
    int32_t n_q = a.cos_sin ? a.n_heads : 0, heads = n_q + a.n_kv_heads, dim = a.head_dim;
    int32_t item = blockIdx.x * WARPS + threadIdx.y;
    meet_neighbours(a.early);
    if (item >= a.m * heads) return;
    const nr_cuda_span s = a.spans[blockIdx.y];
    int32_t head = item % heads - n_q, i = item / heads;
    int64_t row = s.row0 + i;
    const float *cos_sin = a.cos_sin ? a.cos_sin + (int64_t)a.positions[row] * dim : NULL;
    if (head < 0) {
        rotate_head(a.q + row * a.ldk + (int64_t)(head + n_q) * dim, cos_sin, dim);
        return;
    }
    store_head(a, s, (int64_t)head * a.cap + s.pos0 + i, a.k + row * a.ldk + (int64_t)head * dim,
               cos_sin, a.v + row * a.ldv + (int64_t)head * dim);
}

cudaError_t nr_cuda_kv_store(const nr_cuda_kv_store_args *a, cudaStream_t stream) {
    int32_t items = a->m * (a->n_kv_heads + (a->cos_sin ? a->n_heads : 0));
    dim3 grid((unsigned)((items + WARPS - 1) / WARPS), (unsigned)a->n_spans);
    return launch_kernel(k_kv_store, grid, dim3(32, WARPS), 0, a->overlap, stream, *a);
}
