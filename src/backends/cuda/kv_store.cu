/* SPDX-License-Identifier: MIT
 *
 * kv_store.cu - rows of keys and values into the caches of their sequences: a warp a head of a row,
 * keys and values one after the other. Keys may be rotated on the way, and queries in place; heads
 * of queries then have a warp as well. Where heads have up to 128 values, a multiple of 8, and rows
 * begin at 16 bytes, a lane has four values of a head, and those it turns them with from another.
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

/* ---- any head ---- */

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

/* ---- four values a lane ---- */

static __device__ __forceinline__ float4 load_lane(const float *x, int32_t dim) {
    const int32_t lane = threadIdx.x;
    return 4 * lane < dim ? *(const float4 *)(x + 4 * lane) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
}

static __device__ __forceinline__ float turn_one(float x, float c, float s, int partner, bool low) {
    const float other = __fmul_rn(__shfl_sync(0xffffffffu, x, partner), s);
    return low ? __fsub_rn(__fmul_rn(x, c), other) : __fadd_rn(__fmul_rn(x, c), other);
}

/* This lane's values of a head, rotated where cos_sin is given; by the whole warp. */
static __device__ __forceinline__ float4 turn_lane(float4 x, const float *cos_sin, int32_t dim) {
    if (!cos_sin) return x;
    const int32_t lanes = dim / 8, lane = threadIdx.x; /* of half a head */
    const bool low = lane < lanes;
    const int32_t partner = low ? lane + lanes : lane - lanes, at = low ? lane : partner % lanes;
    const float4 c = ((const float4 *)cos_sin)[at], s = ((const float4 *)cos_sin)[lanes + at];
    return make_float4(turn_one(x.x, c.x, s.x, partner, low), turn_one(x.y, c.y, s.y, partner, low),
                       turn_one(x.z, c.z, s.z, partner, low),
                       turn_one(x.w, c.w, s.w, partner, low));
}

static __device__ __forceinline__ void put_lane(const nr_cuda_kv_store_args &a, void *cache,
                                                float *scales, int64_t at, float4 x) {
    const int32_t lane = threadIdx.x, dim = a.head_dim;
    const int64_t to = at * dim + 4 * lane;
    const bool any = 4 * lane < dim;
    if (a.dtype == NR_DTYPE_I8) {
        float amax = v_max(fabsf(x.x), 0.0f), scale, inverse;
        amax = v_max(fabsf(x.y), amax);
        amax = v_max(fabsf(x.z), amax);
        amax = v_max(fabsf(x.w), amax);
        if (!any) amax = 0.0f; /* past the head: turned from others' values */
        amax = __uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(amax)));
        scale_of(amax, &scale, &inverse);
        const uint32_t codes = (uint32_t)(uint8_t)code_of(x.x, inverse) |
                               (uint32_t)(uint8_t)code_of(x.y, inverse) << 8 |
                               (uint32_t)(uint8_t)code_of(x.z, inverse) << 16 |
                               (uint32_t)(uint8_t)code_of(x.w, inverse) << 24;
        if (any) *(uint32_t *)((int8_t *)cache + to) = codes;
        if (lane == 0) scales[at] = scale;
    } else if (a.dtype == NR_DTYPE_F16) {
        const __half2 low = __halves2half2(stored<__half>(x.x), stored<__half>(x.y));
        const __half2 high = __halves2half2(stored<__half>(x.z), stored<__half>(x.w));
        __half2 *y = (__half2 *)((__half *)cache + to);
        if (any) y[0] = low, y[1] = high;
    } else if (any) {
        *(float4 *)((float *)cache + to) = x;
    }
}

/* Head h of a row, WIDE: as above; those of queries come first. */
template <bool WIDE>
static __global__ void __launch_bounds__(32 * WARPS) k_kv_store(nr_cuda_kv_store_args a) {
    const int32_t n_q = a.cos_sin ? a.n_heads : 0, dim = a.head_dim, i = blockIdx.x;
    const int32_t head = (int32_t)(blockIdx.y * WARPS + threadIdx.y) - n_q;
    meet_neighbours(a.early);
    if (head >= a.n_kv_heads) return;
    const nr_cuda_span s = a.spans[blockIdx.z];
    const int64_t row = s.row0 + i, at = (int64_t)head * a.cap + s.pos0 + i;
    const float *cos_sin = a.cos_sin ? a.cos_sin + (int64_t)a.positions[row] * dim : NULL;
    const float *k = a.k + row * a.ldk + (int64_t)head * dim;
    const float *v = a.v + row * a.ldv + (int64_t)head * dim;
    float *q = a.q + row * a.ldk + (int64_t)(head + n_q) * dim;
    if (!WIDE) {
        if (head < 0) rotate_head(q, cos_sin, dim);
        else store_head(a, s, at, k, cos_sin, v);
    } else if (head < 0) {
        const float4 x = turn_lane(load_lane(q, dim), cos_sin, dim);
        if (4 * (int32_t)threadIdx.x < dim) *(float4 *)(q + 4 * threadIdx.x) = x;
    } else {
        const float4 key = load_lane(k, dim), value = load_lane(v, dim);
        put_lane(a, s.k, s.k_scale, at, turn_lane(key, cos_sin, dim));
        put_lane(a, s.v, s.v_scale, at, value);
    }
}

cudaError_t nr_cuda_kv_store(const nr_cuda_kv_store_args *a, cudaStream_t stream) {
    const int32_t heads = a->n_kv_heads + (a->cos_sin ? a->n_heads : 0);
    const uintptr_t all = (uintptr_t)a->k | (uintptr_t)a->v | (uintptr_t)a->q |
                          (uintptr_t)a->cos_sin;
    const bool wide = a->head_dim <= 128 && a->head_dim % 8 == 0 && a->ldk % 4 == 0 &&
                      a->ldv % 4 == 0 && all % 16 == 0;
    dim3 grid((unsigned)a->m, (unsigned)((heads + WARPS - 1) / WARPS), (unsigned)a->n_spans);
    return launch_beside(wide ? k_kv_store<true> : k_kv_store<false>, grid, dim3(32, WARPS), 0,
                         a->overlap, a->early, stream, *a);
}
