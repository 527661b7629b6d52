/* SPDX-License-Identifier: MIT
 *
 * attention_plain.cu - attention as the reference computes it, bit for bit: scores, largest,
 * exponentials, their sum in 16 chains, then a chain over the keys for each value. A block a head
 * of a row at a time, its scores in the workspace; what faster kernels are compared with.
 */
#include "cuda_math.cuh"

#include <cuda_fp16.h>

#define THREADS 128
#define BLOCKS_PER_SM 8

template <typename T> static __device__ __forceinline__ float value_of(T x);
template <> __device__ __forceinline__ float value_of<float>(float x) { return x; }
template <> __device__ __forceinline__ float value_of<__half>(__half x) { return __half2float(x); }
template <> __device__ __forceinline__ float value_of<int8_t>(int8_t x) { return (float)x; }

/* The largest of all threads' x. */
static __device__ float block_max(float x) {
    __shared__ float warps[THREADS / 32];
    for (int step = 16; step > 0; step /= 2)
        x = v_max(__shfl_xor_sync(0xffffffffu, x, step), x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    for (int i = 0; i < THREADS / 32; i++) x = v_max(warps[i], x);
    return x;
}

static __device__ float block_sum_lanes(const float *p, int32_t n) {
    __shared__ float total;
    __syncthreads();
    if (threadIdx.x < 32) {
        float lane = 0.0f;
        for (int32_t key = threadIdx.x; threadIdx.x < LANES && key < n; key += LANES)
            lane = __fadd_rn(lane, p[key]);
        lane = sum_lanes(lane);
        if (threadIdx.x == 0) total = lane;
    }
    __syncthreads();
    return total;
}

template <typename T>
static __device__ void attend(const nr_cuda_attention_args &a, const nr_cuda_span &s, int64_t row,
                              int32_t head, float *p) {
    const bool i8 = sizeof(T) == 1;
    int32_t dim = a.head_dim, kv_head = head / (a.n_heads / a.n_kv_heads), n = s.n_keys;
    if (a.causal) n = min(n, s.pos0 + (int32_t)row + 1);
    const T *keys = (const T *)s.k + (int64_t)kv_head * a.cap * dim;
    const T *values = (const T *)s.v + (int64_t)kv_head * a.cap * dim;
    const float *q = a.q + (s.row0 + row) * a.ldq + (int64_t)head * dim;
    float *y = a.y + (s.row0 + row) * a.ldy + (int64_t)head * dim, largest = -INFINITY;
    for (int32_t key = threadIdx.x; key < n; key += THREADS) {
        float sum = 0.0f;
        for (int32_t i = 0; i < dim; i++)
            sum = __fmaf_rn(__fmul_rn(q[i], a.scale), value_of(keys[(int64_t)key * dim + i]), sum);
        if (i8) sum = __fmul_rn(sum, s.k_scale[(int64_t)kv_head * a.cap + key]);
        p[key] = sum;
        largest = v_max(sum, largest);
    }
    largest = block_max(largest);
    for (int32_t key = threadIdx.x; key < n; key += THREADS)
        p[key] = vm_exp(__fsub_rn(p[key], largest));
    float inverse = __fdiv_rn(1.0f, block_sum_lanes(p, n));
    for (int32_t key = threadIdx.x; i8 && key < n; key += THREADS)
        p[key] = __fmul_rn(p[key], s.v_scale[(int64_t)kv_head * a.cap + key]);
    __syncthreads();
    for (int32_t i = threadIdx.x; i < dim; i += THREADS) {
        float o = 0.0f;
        for (int32_t key = 0; key < n; key++)
            o = __fmaf_rn(p[key], value_of(values[(int64_t)key * dim + i]), o);
        y[i] = __fmul_rn(o, inverse);
    }
    __syncthreads();
}

static __global__ void __launch_bounds__(THREADS) k_attention_plain(nr_cuda_attention_args a) {
    float *p = (float *)a.workspace + (int64_t)blockIdx.x * a.n_keys_max;
    int64_t items = (int64_t)a.n_spans * a.m * a.n_heads;
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        int32_t head = (int32_t)(item % a.n_heads);
        int64_t row = item / a.n_heads % a.m;
        const nr_cuda_span s = a.spans[item / a.n_heads / a.m];
        if (a.dtype == NR_DTYPE_I8) attend<int8_t>(a, s, row, head, p);
        else if (a.dtype == NR_DTYPE_F16) attend<__half>(a, s, row, head, p);
        else attend<float>(a, s, row, head, p);
    }
}

size_t nr_cuda_attention_plain_workspace(int64_t keys_max, int n_multiprocessors) {
    return (size_t)n_multiprocessors * BLOCKS_PER_SM * (size_t)keys_max * sizeof(float);
}

cudaError_t nr_cuda_attention_plain(const nr_cuda_attention_args *a, cudaStream_t stream) {
    int64_t items = (int64_t)a->n_spans * a->m * a->n_heads;
    int64_t blocks = (int64_t)(a->workspace_bytes / sizeof(float)) / a->n_keys_max;
    blocks = NR_MIN(NR_MIN(blocks, items), (int64_t)a->n_multiprocessors * BLOCKS_PER_SM);
    if (blocks < 1) return cudaErrorInvalidValue;
    k_attention_plain<<<(unsigned)blocks, THREADS, 0, stream>>>(*a);
    return cudaGetLastError();
}
