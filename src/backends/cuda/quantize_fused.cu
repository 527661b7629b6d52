/* SPDX-License-Identifier: MIT
 *
 * quantize_fused.cu - rows to codes with what comes before in the same launch: a norm, or a gate. A
 * thread has up to GROUPS times four values of a row, in registers from the first load to the last
 * store. A row is a block's, or on Hopper, where rows are few, that of eight blocks of a cluster:
 * one multiprocessor takes 10 us for 11008 gated values, by its instructions alone.
 *
 * The five largest |x|: each warp finds its own five, by taking the largest of its lanes' largest
 * five times; then every warp does the same over what all the warps of the row found, at most 32
 * lists, a lane each. Ties go to the lower column.
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

/* What a thread holds of the row: value 4j+e is that of column base + 4 * (thread + j * THREADS) +
 * e. base: of the block, where a row has several. */
template <int THREADS, int GROUPS> struct row_part {
    int32_t base;
    float x[4 * GROUPS];
    uint32_t magnitude[4 * GROUPS]; /* bits + 1; 0: past the end, outlier, or taken */

    __device__ __forceinline__ int32_t column(int i) const {
        return base + 4 * ((int32_t)threadIdx.x + i / 4 * THREADS) + i % 4;
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
                                                int64_t at, float *shared, float *total) {
    const int32_t n = a.q.n_in;
    const bool norm = SOURCE == SOURCE_RMS || SOURCE == SOURCE_LAYER;
    const int64_t width = SOURCE == SOURCE_GATED ? 2 * (int64_t)n
                          : SOURCE == SOURCE_PLAIN ? a.q.ldx : n;
    const float *in = a.in + at * width;
    float r = 0.0f, mean = 0.0f;
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        int32_t k = p->column(4 * j);
        float4 v = k < n ? *(const float4 *)(in + k) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        p->x[4 * j] = v.x, p->x[4 * j + 1] = v.y, p->x[4 * j + 2] = v.z, p->x[4 * j + 3] = v.w;
        if (SOURCE == SOURCE_GATED && k < n) {
            v = *(const float4 *)(in + n + k);
            const float up[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int e = 0; e < 4; e++)
                p->x[4 * j + e] = __fmul_rn(vm_activate(p->x[4 * j + e], a.activation), up[e]);
        }
    }
    if (norm) /* the sums are over the whole row, whoever needs a part */
#pragma unroll 8
        for (int32_t k = 4 * threadIdx.x; k < n; k += 4 * THREADS)
            *(float4 *)(shared + k) = *(const float4 *)(in + k);
    if (SOURCE == SOURCE_LAYER)
        mean = __fdiv_rn(chains_of_row<false>(shared, n, 0.0f, total), (float)n);
    if (norm) {
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
        *(float4 *)((float *)a.q.x + at * a.q.ldx + k) =
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

/* No value below this can be one of the row's five largest: the fifth largest of what the block's
 * warps have at most. 0 where they are too few, or tie. */
template <int WARPS>
static __device__ __forceinline__ uint32_t threshold(uint32_t own, uint32_t largest[WARPS]) {
    int lane = threadIdx.x % 32;
    if (WARPS < TOP) return 0;
    if (lane == 0) largest[threadIdx.x / 32] = own;
    __syncthreads();
    uint32_t left = lane < WARPS ? largest[lane] : 0, fifth = 0;
#pragma unroll
    for (int i = 0; i < TOP; i++) {
        fifth = __reduce_max_sync(ALL, left);
        if (left == fifth) left = 0;
    }
    return fifth;
}

/* The largest of this warp's values, up to five, in found; they are taken out of p. */
template <int THREADS, int GROUPS>
static __device__ __forceinline__ void find_own(row_part<THREADS, GROUPS> *p,
                                                candidate found[TOP],
                                                uint32_t largest[THREADS / 32]) {
    candidate own = p->best(), c = best_of_warp(own);
    uint32_t least = threshold<THREADS / 32>(c.magnitude, largest);
    for (int i = 0; i < TOP; i++) {
        if (c.magnitude < least) c.magnitude = 0;
        if (c.magnitude == 0) c.column = INT32_MAX;
        if (threadIdx.x % 32 == 0) found[i] = c;
        if (c.magnitude == 0) continue; /* the whole warp */
        if (own.column == c.column) {
            p->take(c.column);
            own = p->best();
        }
        c = best_of_warp(own);
    }
}

/* The five largest of the lists of the row's warps, in every thread; list: this lane's, descending,
 * or of nothing. */
static __device__ __forceinline__ void find_top(candidate top[TOP], candidate list[TOP]) {
#pragma unroll
    for (int i = 0; i < TOP; i++) {
        top[i] = best_of_warp(list[0]);
        if (top[i].magnitude && list[0].column == top[i].column) {
#pragma unroll
            for (int j = 0; j + 1 < TOP; j++) list[j] = list[j + 1];
            list[TOP - 1].magnitude = 0;
            list[TOP - 1].column = INT32_MAX;
        }
    }
}

/* The lists of all the row's warps, a lane each. */
template <int WARPS, int CLUSTER>
static __device__ __forceinline__ void gather_lists(candidate list[TOP],
                                                    const candidate (*found)[TOP]) {
    static_assert(WARPS * CLUSTER <= 32, "a list a lane");
    int lane = threadIdx.x % 32;
    if (CLUSTER > 1) cluster_sync();
    else __syncthreads();
#pragma unroll
    for (int i = 0; i < TOP; i++) {
        list[i].magnitude = 0;
        list[i].column = INT32_MAX;
        if (lane >= WARPS * CLUSTER) continue;
        const candidate *c = &found[lane % WARPS][i];
        if (CLUSTER > 1) {
            list[i].magnitude = cluster_word(&c->magnitude, lane / WARPS);
            list[i].column = (int32_t)cluster_word((const uint32_t *)&c->column, lane / WARPS);
        } else {
            list[i] = *c;
        }
    }
}

/* Codes of this thread's values; spikes' values to where their columns come in order. */
template <int THREADS, int GROUPS>
static __device__ __forceinline__ void put_codes(row_part<THREADS, GROUPS> *p, const fused_args &a,
                                                 int64_t at, const candidate top[TOP],
                                                 float inverse) {
#pragma unroll
    for (int i = 0; i < NR_CUDA_SPIKES; i++) {
        int32_t column = top[i].column, place = 0;
        bool mine = top[i].magnitude && (column - p->base) / 4 % THREADS == (int32_t)threadIdx.x;
        if (!mine || column < p->base) continue;
        for (int j = 0; j < NR_CUDA_SPIKES; j++) place += top[j].column < column;
#pragma unroll
        for (int e = 0; e < 4 * GROUPS; e++)
            if (p->column(e) == column) {
                a.q.spike_val[at * NR_CUDA_SPIKES + place] = p->x[e];
                p->x[e] = 0.0f;
            }
    }
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        int32_t k = p->column(4 * j);
        uint32_t word = 0;
#pragma unroll
        for (int e = 0; e < 4; e++)
            word |= (uint32_t)(uint8_t)code_of(p->x[4 * j + e], inverse) << (8 * e);
        if (k < a.q.k_pad) *(uint32_t *)(a.q.codes + at * a.q.k_pad + k) = word;
    }
}

/* Spikes' columns ascending, -1 where there are fewer; the row's scale. By one thread. */
static __device__ void put_row_values(const fused_args &a, int64_t at, const candidate top[TOP],
                                      float scale) {
#pragma unroll
    for (int i = 0; i < NR_CUDA_SPIKES; i++) {
        int place = 0;
#pragma unroll
        for (int j = 0; j < NR_CUDA_SPIKES; j++) /* those of nothing come last, as they stand */
            place += top[j].column < top[i].column || (top[j].column == top[i].column && j < i);
        bool any = top[i].magnitude != 0;
        a.q.spike_col[at * NR_CUDA_SPIKES + place] = any ? top[i].column : -1;
        if (!any) a.q.spike_val[at * NR_CUDA_SPIKES + place] = 0.0f;
    }
    a.q.sx[at] = scale;
}

/* Shared memory: what the warps found, a sum, and the row or the mask of outliers. */
template <int THREADS> struct fused_shared {
    candidate found[THREADS / 32][TOP];
    uint32_t largest[THREADS / 32];
    float total;
};

template <int THREADS, int GROUPS, row_source SOURCE, int CLUSTER>
static __global__ void __launch_bounds__(THREADS) k_quantize_fused(fused_args a) {
    extern __shared__ __align__(16) uint8_t shared[];
    fused_shared<THREADS> *s = (fused_shared<THREADS> *)shared;
    float *row = (float *)(shared + (sizeof *s + 15) / 16 * 16);
    const int64_t at = blockIdx.x / CLUSTER;
    row_part<THREADS, GROUPS> p;
    candidate top[TOP], list[TOP];
    float scale, inverse;
    p.base = (int32_t)(blockIdx.x % CLUSTER) * 4 * GROUPS * THREADS;
    wait_for_launch_before();
    let_next_launch_begin();
    load_row<THREADS, GROUPS, SOURCE>(&p, a, at, row, &s->total);
    mark_row<THREADS, GROUPS>(&p, a, (uint32_t *)row);
    find_own<THREADS, GROUPS>(&p, s->found[threadIdx.x / 32], s->largest);
    gather_lists<THREADS / 32, CLUSTER>(list, s->found);
    find_top(top, list);
    uint32_t rest = top[NR_CUDA_SPIKES].magnitude;
    scale_of(rest ? __uint_as_float(rest - 1) : 0.0f, &scale, &inverse);
    put_codes<THREADS, GROUPS>(&p, a, at, top, inverse);
    if (threadIdx.x == 0 && p.base == 0) put_row_values(a, at, top, scale);
    if (CLUSTER > 1) cluster_sync(); /* a block's lists are read until here */
}

template <int THREADS, int GROUPS, row_source SOURCE, int CLUSTER>
static cudaError_t launch(const fused_args *a, bool overlap, cudaStream_t stream) {
    static_assert(CLUSTER * THREADS * GROUPS * 4 >= 1024, "a part of a row a thread");
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2] = {};
    unsigned n = 0;
    size_t row = SOURCE == SOURCE_RMS || SOURCE == SOURCE_LAYER ? (size_t)a->q.n_in * sizeof(float)
                                                                : (size_t)(a->q.n_in + 31) / 32 * 4;
    config.gridDim = dim3((unsigned)a->q.m * CLUSTER);
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = (sizeof(fused_shared<THREADS>) + 15) / 16 * 16 + row;
    config.stream = stream;
    config.attrs = attributes;
    if (overlap) {
        attributes[n].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[n++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (CLUSTER > 1) {
        attributes[n].id = cudaLaunchAttributeClusterDimension;
        attributes[n].val.clusterDim.x = CLUSTER;
        attributes[n].val.clusterDim.y = attributes[n].val.clusterDim.z = 1;
        n++;
    }
    config.numAttrs = n;
    return cudaLaunchKernelEx(&config, k_quantize_fused<THREADS, GROUPS, SOURCE, CLUSTER>, *a);
}

static bool fits(const fused_args *a) {
    return a->q.n_in % 4 == 0 && a->q.ldx % 4 == 0 && a->q.n_in <= ROW_MAX &&
           (uintptr_t)a->q.x % 16 == 0 && (uintptr_t)a->in % 16 == 0;
}

/* Clusters are code for sm_90a: that card alone. */
static bool has_clusters(void) {
    int device = 0, major = 0, minor = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
               cudaSuccess &&
           cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) ==
               cudaSuccess &&
           major == 9 && minor == 0;
}

template <row_source SOURCE>
static cudaError_t choose(const fused_args *a, bool overlap, cudaStream_t stream) {
    const int32_t n = a->q.n_in;
    /* Measured on an H200: 8.1 us against 10.4 for one row of 11008, but 4.8 against 3.9 for one
     * of 4096, and 12.7 against 10.6 for 32 rows of 11008. */
    if (n > 4096 && a->q.m <= 4 && has_clusters())
        return launch<128, 3, SOURCE, 8>(a, overlap, stream);
    if (n <= 1024) return launch<256, 1, SOURCE, 1>(a, overlap, stream);
    if (n <= 4096) return launch<512, 2, SOURCE, 1>(a, overlap, stream);
    return launch<1024, 3, SOURCE, 1>(a, overlap, stream);
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
