/* SPDX-License-Identifier: MIT
 *
 * attention.cu - attention of few rows (decode), bit-equal to the reference: a block a head of a
 * row. Keys, then values, come into shared memory a chunk at a time, the next chunk while one is
 * used. A thread computes the score of a key (its chain runs over the head's values), then a value
 * of the result (its chain runs over the keys); the scores stay in shared memory.
 *
 * Rows of a chunk lie 16 bytes further apart than they are long, so that eight threads reading 16
 * bytes of their own rows meet no bank twice.
 */
#include "attention_ways.h"
#include "linear_epilogue.cuh"

#include <cuda_fp16.h>

#define THREADS 256
#define STAGES 2
#define STAGE_BYTES_MAX 37000
#define SHARED_MAX (96 * 1024)
#define SPLIT_ROWS_MAX 8 /* of a sequence; more fill a tile of their own */

/* 16 bytes of keys or values as floats. */
template <typename T> struct piece;
template <> struct piece<int8_t> {
    static const int N = 16;
    static __device__ __forceinline__ void floats(float *f, const uint4 &v) {
        const uint32_t w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int i = 0; i < N; i++) f[i] = code_at(w[i / 4], i % 4);
    }
    static __device__ __forceinline__ float one(const uint8_t *p) {
        return __fsub_rn(__uint_as_float(0x4b000000u | (*p ^ 0x80u)), 8388736.0f);
    }
};
template <> struct piece<__half> {
    static const int N = 8;
    static __device__ __forceinline__ float one(const uint8_t *p) {
        return __half2float(*(const __half *)p);
    }
    static __device__ __forceinline__ void floats(float *f, const uint4 &v) {
#pragma unroll
        for (int i = 0; i < N; i++) f[i] = one((const uint8_t *)&v + 2 * i);
    }
};
template <> struct piece<float> {
    static const int N = 4;
    static __device__ __forceinline__ float one(const uint8_t *p) { return *(const float *)p; }
    static __device__ __forceinline__ void floats(float *f, const uint4 &v) {
        f[0] = __uint_as_float(v.x), f[1] = __uint_as_float(v.y);
        f[2] = __uint_as_float(v.z), f[3] = __uint_as_float(v.w);
    }
};

/* Bytes of a row in shared memory, and keys of a chunk that fit a stage. */
static __host__ __device__ inline int32_t pitch_of(int32_t row_bytes) {
    return row_bytes + 16;
}
static __host__ __device__ inline int32_t chunk_keys_of(int32_t row_bytes) {
    int32_t keys = STAGE_BYTES_MAX / pitch_of(row_bytes) / 32 * 32;
    return keys < THREADS ? keys : THREADS;
}

/* Keys [first, first + n) of a head, row_bytes each, to a stage. */
static __device__ __forceinline__ void copy_chunk(uint8_t *stage, const uint8_t *rows,
                                                  int32_t row_bytes, int32_t first, int32_t n) {
    int32_t pieces = row_bytes / 16;
    for (int32_t i = threadIdx.x; i < n * pieces; i += THREADS) {
        int32_t r = i / pieces, c = i % pieces;
        copy_16(stage + r * pitch_of(row_bytes) + 16 * c,
                rows + (int64_t)(first + r) * row_bytes + 16 * c, true);
    }
}

/* The largest of all threads' x. */
static __device__ float block_max(float x, float *warps) {
    for (int step = 16; step > 0; step /= 2)
        x = v_max(__shfl_xor_sync(0xffffffffu, x, step), x);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    for (int i = 0; i < THREADS / 32; i++) x = v_max(warps[i], x);
    return x;
}

/* Scores in p to weights in p; returns 1 / their sum. Keys 0 .. n-1. */
static __device__ float weigh(float *p, int32_t n, float largest, const float *v_scale,
                              float *total) {
    for (int32_t key = threadIdx.x; key < n; key += THREADS)
        p[key] = vm_exp(__fsub_rn(p[key], largest));
    __syncthreads();
    if (threadIdx.x < 32) {
        float lane = 0.0f;
#pragma unroll 8
        for (int32_t key = threadIdx.x; key < n; key += LANES)
            if (threadIdx.x < LANES) lane = __fadd_rn(lane, p[key]);
        lane = sum_lanes(lane);
        if (threadIdx.x == 0) *total = lane;
    }
    __syncthreads();
    if (v_scale) {
        for (int32_t key = threadIdx.x; key < n; key += THREADS)
            p[key] = __fmul_rn(p[key], v_scale[key]);
        __syncthreads();
    }
    return __fdiv_rn(1.0f, *total);
}

/* The score of this thread's key, before the key's own scale. q: scaled, in shared memory. */
template <typename T>
static __device__ __forceinline__ float score_of(const float *q, const uint8_t *key, int32_t dim) {
    const int N = piece<T>::N;
    float sum = 0.0f;
#pragma unroll 2
    for (int32_t i = 0; i < dim; i += N) {
        float k[N];
        piece<T>::floats(k, *(const uint4 *)(key + i * sizeof(T)));
#pragma unroll
        for (int j = 0; j < N; j++) sum = __fmaf_rn(q[i + j], k[j], sum);
    }
    return sum;
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) k_attention_row(nr_cuda_attention_args a) {
    extern __shared__ __align__(16) uint8_t shared[];
    __shared__ float warps[THREADS / 32], total;
    const int32_t dim = a.head_dim, row_bytes = dim * (int32_t)sizeof(T);
    const int32_t pitch = pitch_of(row_bytes), chunk = chunk_keys_of(row_bytes);
    float *q = (float *)shared, *p = q + (dim + 3) / 4 * 4;
    uint8_t *stages = (uint8_t *)(p + (a.n_keys_max + 3) / 4 * 4);
    wait_for_launch_before();
    const nr_cuda_span s = a.spans[blockIdx.z];
    const int32_t row = blockIdx.y, head = blockIdx.x;
    const int64_t kv_head = head / (a.n_heads / a.n_kv_heads);
    int32_t n = a.causal ? min(s.n_keys, s.pos0 + row + 1) : s.n_keys;
    const int32_t n_chunks = (n + chunk - 1) / chunk;
    const uint8_t *keys = (const uint8_t *)s.k + kv_head * a.cap * row_bytes;
    const uint8_t *values = (const uint8_t *)s.v + kv_head * a.cap * row_bytes;
    const float *x = a.q + (s.row0 + row) * a.ldq + (int64_t)head * dim;
    float *y = a.y + (s.row0 + row) * a.ldy + (int64_t)head * dim;
    for (int c = 0; c < STAGES; c++) { /* chunk n_chunks + i is chunk i of the values */
        int32_t i = c % n_chunks;
        copy_chunk(stages + c * chunk * pitch, c < n_chunks ? keys : values, row_bytes, i * chunk,
                   c < 2 * n_chunks ? min(chunk, n - i * chunk) : 0);
        copy_commit();
    }
    for (int32_t i = threadIdx.x; i < dim; i += THREADS) q[i] = __fmul_rn(x[i], a.scale);
    float largest = -INFINITY, inverse = 0.0f, o[4] = {};
    for (int32_t c = 0; c < 2 * n_chunks; c++) {
        const uint8_t *stage = stages + c % STAGES * chunk * pitch;
        int32_t first = (c < n_chunks ? c : c - n_chunks) * chunk, here = min(chunk, n - first);
        copy_wait<STAGES - 1>();
        __syncthreads();
        if (c == n_chunks) {
            largest = block_max(largest, warps);
            inverse = weigh(p, n, largest,
                            sizeof(T) == 1 ? s.v_scale + kv_head * a.cap : NULL, &total);
        }
        if (c < n_chunks) {
            if ((int32_t)threadIdx.x < here) {
                float sum = score_of<T>(q, stage + threadIdx.x * pitch, dim);
                if (sizeof(T) == 1)
                    sum = __fmul_rn(sum, s.k_scale[kv_head * a.cap + first + threadIdx.x]);
                p[first + threadIdx.x] = sum;
                largest = v_max(sum, largest);
            }
        } else {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int32_t d = threadIdx.x + j * THREADS;
                if (d >= dim) break;
#pragma unroll 8
                for (int32_t k = 0; k < here; k++)
                    o[j] = __fmaf_rn(p[first + k],
                                     piece<T>::one(stage + k * pitch + d * sizeof(T)), o[j]);
            }
        }
        __syncthreads();
        int32_t next = c + STAGES, i = next < n_chunks ? next : next - n_chunks;
        if (next < 2 * n_chunks)
            copy_chunk(stages + c % STAGES * chunk * pitch, next < n_chunks ? keys : values,
                       row_bytes, i * chunk, min(chunk, n - i * chunk));
        copy_commit();
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        int32_t d = threadIdx.x + j * THREADS;
        if (d < dim) y[d] = __fmul_rn(o[j], inverse);
    }
}

template <typename T>
static cudaError_t launch(const nr_cuda_attention_args *a, size_t shared, cudaStream_t stream) {
    cudaError_t e = cudaFuncSetAttribute((const void *)k_attention_row<T>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         (int)SHARED_MAX);
    if (e != cudaSuccess) return e;
    dim3 grid((unsigned)a->n_heads, (unsigned)a->m, (unsigned)a->n_spans);
    k_attention_row<T><<<grid, THREADS, shared, stream>>>(*a);
    return cudaGetLastError();
}

/* Shared memory that a row takes; 0 where the kernel is not for this shape. */
static size_t row_shared_bytes(const nr_cuda_attention_args *a) {
    int32_t element = a->dtype == NR_DTYPE_I8 ? 1 : a->dtype == NR_DTYPE_F16 ? 2 : 4;
    int32_t row_bytes = a->head_dim * element;
    if (row_bytes % 16 || a->head_dim > 4 * THREADS || chunk_keys_of(row_bytes) < 32) return 0;
    size_t floats = (size_t)(a->head_dim + 3) / 4 * 4 + (size_t)(a->n_keys_max + 3) / 4 * 4;
    size_t bytes = floats * sizeof(float) +
                   (size_t)STAGES * (size_t)chunk_keys_of(row_bytes) * (size_t)pitch_of(row_bytes);
    return bytes <= SHARED_MAX ? bytes : 0;
}

cudaError_t nr_cuda_attention_row(const nr_cuda_attention_args *a, cudaStream_t stream) {
    size_t shared = row_shared_bytes(a);
    if (!shared) return nr_cuda_attention_plain(a, stream);
    if (a->dtype == NR_DTYPE_I8) return launch<int8_t>(a, shared, stream);
    if (a->dtype == NR_DTYPE_F16) return launch<__half>(a, shared, stream);
    return launch<float>(a, shared, stream);
}

/* By what stays the same for a row however many are computed with it: the cache and the mask; and
 * by m only between kernels of the same bits. */
cudaError_t nr_cuda_attention(const nr_cuda_attention_args *a, cudaStream_t stream) {
    if (a->k && !nr_cuda_attention_stores(a) && !nr_cuda_attention_skips_cache(a))
        return cudaErrorInvalidValue;
    if (a->cos_sin && !nr_cuda_attention_rotates(a)) return cudaErrorInvalidValue;
    if (a->exact || !nr_cuda_attention_tile_fits(a)) return nr_cuda_attention_row(a, stream);
    if (a->m <= SPLIT_ROWS_MAX && a->dtype == NR_DTYPE_I8)
        return nr_cuda_attention_split(a, stream);
    if (nr_cuda_attention_halves_fits(a)) return nr_cuda_attention_halves(a, 0, stream);
    if (nr_cuda_attention_codes_fits(a)) return nr_cuda_attention_codes(a, stream);
    return nr_cuda_attention_tile(a, stream);
}

bool nr_cuda_attention_rotates(const nr_cuda_attention_args *a) {
    return !a->exact && a->dtype == NR_DTYPE_I8 && nr_cuda_attention_tile_fits(a);
}

bool nr_cuda_attention_stores(const nr_cuda_attention_args *a) {
    return a->m == 1 && a->causal && nr_cuda_attention_rotates(a);
}

bool nr_cuda_attention_skips_cache(const nr_cuda_attention_args *a) {
    return !a->exact && a->dtype == NR_DTYPE_F32 && nr_cuda_attention_tile_fits(a);
}

size_t nr_cuda_attention_workspace(int64_t values_max, int64_t keys_max, int n_multiprocessors) {
    return NR_MAX(nr_cuda_attention_plain_workspace(keys_max, n_multiprocessors),
                  nr_cuda_attention_fast_workspace(values_max, keys_max));
}
