/* SPDX-License-Identifier: MIT
 *
 * quantize_fused.cu - rows to codes with what comes before in the same launch: a norm, or a gate. A
 * block has a row, a thread up to GROUPS times four values of it, in registers from the first load
 * to the last store.
 *
 * The five largest |x|: each warp finds its own five, by taking the largest of its lanes' largest
 * five times; one warp then does the same over what the warps found. Ties go to the lower column.
 */
#include "cuda_fused.h"
#include "cuda_ptx.cuh"

#define ROW_MAX 11264 /* values: with what else is needed they fill 48 KiB of shared memory */
#define TOP (NR_CUDA_SPIKES + 1)
#define ALL 0xffffffffu

enum row_source { SOURCE_PLAIN, SOURCE_RMS, SOURCE_LAYER, SOURCE_GATED };

struct fused_args {
    nr_cuda_quantize_args q;
    const float *in; /* [m, n_in], gated: [m, 2 n_in] */
    const float *gamma, *beta;
    float eps;
    nr_activation activation;
};

/* A candidate: bits of |x| + 1, 0 where there is none. */
struct candidate {
    uint32_t magnitude;
    int32_t column;
};

/* The best of the warp's lanes, in all of them. */
static __device__ __forceinline__ candidate best_of_warp(candidate c) {
    uint32_t m = __reduce_max_sync(ALL, c.magnitude);
    int32_t column = __reduce_min_sync(ALL, c.magnitude == m ? c.column : INT32_MAX);
    candidate best = {m, column};
    return best;
}

/* What a thread holds of the row: value 4j+e is that of column 4 * (thread + j * THREADS) + e. */
template <int THREADS, int GROUPS> struct row_part {
    float x[4 * GROUPS];
    uint32_t magnitude[4 * GROUPS]; /* bits + 1; 0: past the end, outlier, or taken */

    __device__ __forceinline__ static int32_t column(int i) {
        return 4 * ((int32_t)threadIdx.x + i / 4 * THREADS) + i % 4;
    }
    __device__ __forceinline__ candidate best() const {
        candidate c = {0, INT32_MAX};
#pragma unroll
        for (int i = 0; i < 4 * GROUPS; i++)
            if (magnitude[i] > c.magnitude) {
                c.magnitude = magnitude[i];
                c.column = column(i);
            }
        return c;
    }
    __device__ __forceinline__ void take(int32_t at) {
#pragma unroll
        for (int i = 0; i < 4 * GROUPS; i++)
            if (column(i) == at) magnitude[i] = 0;
    }
};

/* 16 chains over the row in shared memory (of squares, about the mean); the sum to all threads. */
template <bool SQUARES>
static __device__ float chains_of_row(const float *row, int32_t n, float mean, float *total) {
    __syncthreads();
    if (threadIdx.x < 32) {
        float lane = 0.0f;
        if (threadIdx.x < LANES) {
#pragma unroll 16
            for (int32_t i = threadIdx.x; i < n; i += LANES) {
                float c = SQUARES ? __fsub_rn(row[i], mean) : row[i];
                lane = SQUARES ? __fmaf_rn(c, c, lane) : __fadd_rn(lane, c);
            }
        }
        lane = sum_lanes(lane);
        if (threadIdx.x == 0) *total = lane;
    }
    __syncthreads();
    float sum = *total;
    __syncthreads();
    return sum;
}

template <int THREADS, int GROUPS, row_source SOURCE>
static __device__ __forceinline__ void load_row(row_part<THREADS, GROUPS> *p, const fused_args &a,
                                                float *shared, float *total) {
    const int32_t n = a.q.n_in;
    const int64_t width = SOURCE == SOURCE_GATED ? 2 * (int64_t)n
                          : SOURCE == SOURCE_PLAIN ? a.q.ldx : n;
    const float *in = a.in + blockIdx.x * width;
    float r = 0.0f, mean = 0.0f;
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        int32_t k = p->column(4 * j);
        float4 v = k < n ? *(const float4 *)(in + k) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        p->x[4 * j] = v.x, p->x[4 * j + 1] = v.y, p->x[4 * j + 2] = v.z, p->x[4 * j + 3] = v.w;
        if ((SOURCE == SOURCE_RMS || SOURCE == SOURCE_LAYER) && k < n)
            *(float4 *)(shared + k) = v;
        if (SOURCE == SOURCE_GATED && k < n) {
            v = *(const float4 *)(in + n + k);
            const float up[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int e = 0; e < 4; e++)
                p->x[4 * j + e] = __fmul_rn(vm_activate(p->x[4 * j + e], a.activation), up[e]);
        }
    }
    if (SOURCE == SOURCE_LAYER)
        mean = __fdiv_rn(chains_of_row<false>(shared, n, 0.0f, total), (float)n);
    if (SOURCE == SOURCE_RMS || SOURCE == SOURCE_LAYER) {
        float var = __fdiv_rn(chains_of_row<true>(shared, n, mean, total), (float)n);
        r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(var, a.eps)));
    }
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        int32_t k = p->column(4 * j);
        if (k >= n || SOURCE == SOURCE_PLAIN) continue;
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float *x = &p->x[4 * j + e];
            if (SOURCE == SOURCE_RMS) *x = __fmul_rn(__fmul_rn(*x, r), a.gamma[k + e]);
            if (SOURCE == SOURCE_LAYER)
                *x = __fmaf_rn(__fmul_rn(__fsub_rn(*x, mean), r), a.gamma[k + e], a.beta[k + e]);
        }
        *(float4 *)((float *)a.q.x + blockIdx.x * a.q.ldx + k) =
            make_float4(p->x[4 * j], p->x[4 * j + 1], p->x[4 * j + 2], p->x[4 * j + 3]);
    }
}

/* Magnitudes, without the outlier columns (mask: a bit a column, of shared memory). */
template <int THREADS, int GROUPS>
static __device__ __forceinline__ void mark_row(row_part<THREADS, GROUPS> *p, const fused_args &a,
                                                uint32_t *mask) {
    const int32_t n = a.q.n_in;
    if (a.q.n_outliers > 0) {
        for (int32_t i = threadIdx.x; i < (n + 31) / 32; i += THREADS) mask[i] = 0;
        __syncthreads();
        for (int32_t j = threadIdx.x; j < a.q.n_outliers; j += THREADS)
            atomicOr(&mask[a.q.outlier_columns[j] / 32], 1u << (a.q.outlier_columns[j] % 32));
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4 * GROUPS; i++) {
        int32_t k = p->column(i);
        bool out = k >= n || (a.q.n_outliers > 0 && (mask[k / 32] >> (k % 32) & 1u));
        p->magnitude[i] = out ? 0 : (__float_as_uint(p->x[i]) & 0x7fffffffu) + 1;
        if (out) p->x[i] = 0.0f;
    }
}

/* The five largest of the row, in every thread; they are taken out of p but for the last. */
template <int THREADS, int GROUPS>
static __device__ __forceinline__ void find_top(row_part<THREADS, GROUPS> *p, candidate top[TOP],
                                                candidate found[THREADS / 32][TOP]) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    candidate own = p->best();
#pragma unroll
    for (int i = 0; i < TOP; i++) {
        candidate c = best_of_warp(own);
        if (lane == 0) found[warp][i] = c;
        if (c.magnitude && own.column == c.column) {
            p->take(c.column);
            own = p->best();
        }
    }
    __syncthreads();
    int next = 0;
    candidate none = {0, INT32_MAX};
    own = lane < THREADS / 32 ? found[lane][0] : none;
#pragma unroll
    for (int i = 0; i < TOP; i++) {
        top[i] = best_of_warp(own);
        if (top[i].magnitude && own.column == top[i].column)
            own = ++next < TOP ? found[lane][next] : none;
    }
}

/* Spikes ascending by column (-1 last), and the row's scale; by one thread. */
static __device__ void put_row_values(const fused_args &a, const candidate top[TOP],
                                      const float values[NR_CUDA_SPIKES], float scale) {
    int32_t columns[NR_CUDA_SPIKES];
    float x[NR_CUDA_SPIKES];
#pragma unroll
    for (int i = 0; i < NR_CUDA_SPIKES; i++) {
        columns[i] = top[i].magnitude ? top[i].column : -1;
        x[i] = values[i];
    }
#pragma unroll
    for (int i = 1; i < NR_CUDA_SPIKES; i++)
#pragma unroll
        for (int j = NR_CUDA_SPIKES - 1; j >= i; j--)
            if ((uint32_t)columns[j] < (uint32_t)columns[j - 1]) {
                int32_t c = columns[j];
                float v = x[j];
                columns[j] = columns[j - 1], x[j] = x[j - 1];
                columns[j - 1] = c, x[j - 1] = v;
            }
    for (int i = 0; i < NR_CUDA_SPIKES; i++) {
        a.q.spike_col[blockIdx.x * NR_CUDA_SPIKES + i] = columns[i];
        a.q.spike_val[blockIdx.x * NR_CUDA_SPIKES + i] = columns[i] >= 0 ? x[i] : 0.0f;
    }
    a.q.sx[blockIdx.x] = scale;
}

template <int THREADS, int GROUPS, row_source SOURCE>
static __global__ void __launch_bounds__(THREADS) k_quantize_fused(fused_args a) {
    const int ROW = 4 * GROUPS * THREADS < ROW_MAX ? 4 * GROUPS * THREADS : ROW_MAX;
    __shared__ __align__(16) float row[ROW]; /* later the mask of outliers */
    __shared__ candidate found[THREADS / 32][TOP];
    __shared__ float total, spikes[NR_CUDA_SPIKES];
    row_part<THREADS, GROUPS> p;
    candidate top[TOP];
    float scale, inverse;
    wait_for_launch_before();
    let_next_launch_begin();
    load_row<THREADS, GROUPS, SOURCE>(&p, a, row, &total);
    mark_row<THREADS, GROUPS>(&p, a, (uint32_t *)row);
    find_top<THREADS, GROUPS>(&p, top, found);
    uint32_t rest = top[NR_CUDA_SPIKES].magnitude;
    scale_of(rest ? __uint_as_float(rest - 1) : 0.0f, &scale, &inverse);
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        int32_t k = p.column(4 * j);
        uint32_t word = 0;
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float x = p.x[4 * j + e];
#pragma unroll
            for (int i = 0; i < NR_CUDA_SPIKES; i++)
                if (top[i].magnitude && top[i].column == k + e) {
                    spikes[i] = x;
                    x = 0.0f;
                }
            word |= (uint32_t)(uint8_t)code_of(x, inverse) << (8 * e);
        }
        if (k < a.q.k_pad) *(uint32_t *)(a.q.codes + (int64_t)blockIdx.x * a.q.k_pad + k) = word;
    }
    __syncthreads();
    if (threadIdx.x == 0) put_row_values(a, top, spikes, scale);
}

template <int THREADS, int GROUPS, row_source SOURCE>
static cudaError_t launch(const fused_args *a, bool overlap, cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    config.gridDim = dim3((unsigned)a->q.m);
    config.blockDim = dim3(THREADS);
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = overlap;
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    return cudaLaunchKernelEx(&config, k_quantize_fused<THREADS, GROUPS, SOURCE>, *a);
}

static bool fits(const fused_args *a) {
    return a->q.n_in % 4 == 0 && a->q.ldx % 4 == 0 && a->q.n_in <= ROW_MAX &&
           (uintptr_t)a->q.x % 16 == 0 && (uintptr_t)a->in % 16 == 0;
}

template <row_source SOURCE>
static cudaError_t choose(const fused_args *a, bool overlap, cudaStream_t stream) {
    if (a->q.n_in <= 1024) return launch<256, 1, SOURCE>(a, overlap, stream);
    if (a->q.n_in <= 4096) return launch<512, 2, SOURCE>(a, overlap, stream);
    return launch<1024, 3, SOURCE>(a, overlap, stream);
}

cudaError_t nr_cuda_norm_quantize(const nr_cuda_norm_args *norm, const nr_cuda_quantize_args *q,
                                  bool overlap, cudaStream_t stream) {
    fused_args a = {};
    a.q = *q;
    a.in = norm->x;
    a.gamma = norm->gamma, a.beta = norm->beta, a.eps = norm->eps;
    if (fits(&a)) return norm->layer ? choose<SOURCE_LAYER>(&a, overlap, stream)
                                     : choose<SOURCE_RMS>(&a, overlap, stream);
    cudaError_t e = nr_cuda_norm(norm, stream);
    return e == cudaSuccess ? nr_cuda_quantize(q, stream) : e;
}

cudaError_t nr_cuda_gated_quantize(const float *gate_up, nr_activation activation,
                                   const nr_cuda_quantize_args *q, bool overlap,
                                   cudaStream_t stream) {
    fused_args a = {};
    a.q = *q;
    a.in = gate_up;
    a.activation = activation;
    if (fits(&a)) return choose<SOURCE_GATED>(&a, overlap, stream);
    cudaError_t e = nr_cuda_gated((float *)q->x, gate_up, q->m, q->n_in, activation, stream);
    return e == cudaSuccess ? nr_cuda_quantize(q, stream) : e;
}

cudaError_t nr_cuda_quantize_rows(const nr_cuda_quantize_args *q, bool overlap,
                                  cudaStream_t stream) {
    fused_args a = {};
    a.q = *q;
    a.in = q->x;
    return fits(&a) ? choose<SOURCE_PLAIN>(&a, overlap, stream) : nr_cuda_quantize(q, stream);
}
