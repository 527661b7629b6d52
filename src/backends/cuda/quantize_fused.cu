/* SPDX-License-Identifier: MIT
 *
 * quantize_fused.cu - rows to codes with what comes before in the same launch: a norm, or a gate. A
 * thread has up to GROUPS times four values of a row, in registers from the first load to the last
 * store. A row is a block's, or on Hopper, where rows are few and long, that of eight blocks of a
 * cluster.
 *
 * The five largest |x|: five warps (or eighths of a warp) each have a value no smaller than the
 * fifth largest of their largest, so only values from there on can be among the five. They are a
 * handful; each finds its rank by comparing itself with all of them. A row where they are many (it
 * is all one value, say) takes its largest five times instead. Ties go to the lower column.
 *
 * What depends on nothing computed (outlier columns, gamma) is loaded before the launch before has
 * ended, where launches overlap.
 */
#include "attention_join.cuh"
#include "cuda_activate.cuh"
#include "cuda_fused.h"
#include "cuda_launch.cuh"

#define ROW_MAX 11264 /* values: with what else is needed they fill 48 KiB of shared memory */
#define TOP (NR_CUDA_SPIKES + 1)
#define CANDIDATES 128
#define CHAINS_STEP 512 /* a row in shared memory is filled up to a multiple of it */

enum row_source { SOURCE_PLAIN, SOURCE_RMS, SOURCE_LAYER, SOURCE_GATED, SOURCE_CHUNKS };
static constexpr __host__ __device__ bool is_norm(row_source s) {
    return s == SOURCE_RMS || s == SOURCE_LAYER;
}

/* What attention left of the rows, one a span: heads of JOIN_DIM values, four a lane of a warp; the
 * warps of eight blocks have one or two heads each. */
#define JOIN_DIM 128
#define JOIN_HEADS_MAX 64
struct attended_chunks {
    const nr_cuda_span *spans;
    partial_sums sums;
    int32_t n_heads;
};

struct fused_args {
    nr_cuda_quantize_args q;
    const float *in; /* [m, n_in], gated: [m, 2 n_in] */
    const float *gamma, *beta;
    float eps;
    nr_activation activation;
    attended_chunks chunks;
};

/* A candidate's order: twice the bits of |x|, and 2, then the complement of its column; 0: none. */
typedef unsigned long long order_key;
static __device__ __forceinline__ order_key key_of(uint32_t magnitude, int32_t column) {
    return (order_key)magnitude << 32 | ~(uint32_t)column;
}
static __device__ __forceinline__ uint32_t magnitude_of(order_key k) {
    return (uint32_t)(k >> 32);
}
static __device__ __forceinline__ int32_t column_of(order_key k) {
    return (int32_t) ~(uint32_t)k;
}
static __device__ __forceinline__ float value_of(uint32_t magnitude) {
    return magnitude ? __uint_as_float((magnitude - 2) >> 1) : 0.0f;
}
static __device__ __forceinline__ uint32_t twice_magnitude(float x) {
    return 2 * __float_as_uint(x) + 2; /* the sign goes */
}
#define LEFT_OUT __uint_as_float(0xffffffffu) /* of magnitude 0 */

/* Shared by a block, in front of the row. */
struct fused_shared {
    order_key keys[CANDIDATES], top[TOP]; /* top: descending */
    float values[CANDIDATES], top_values[TOP];
    uint32_t largest[32];
    int n_keys;
    float total;
};

/* What a thread holds of the row: value 4j+e is that of column base + 4 * (thread + j * THREADS) +
 * e. base: of the block, where a row has several. */
template <int THREADS, int GROUPS> struct row_part {
    int32_t base;
    float x[4 * GROUPS]; /* in the end LEFT_OUT where it is an outlier's, or past the end */
    uint32_t left_out;   /* bit i: value i is */

    __device__ __forceinline__ int32_t column(int i) const {
        return base + 4 * ((int32_t)threadIdx.x + i / 4 * THREADS) + i % 4;
    }
    /* f(value, column) of each; leave_out: those of which it says so. */
    template <typename F> __device__ __forceinline__ void each(const F &f) const {
#pragma unroll
        for (int i = 0; i < 4 * GROUPS; i++) f(x[i], column(i));
    }
    template <typename F> __device__ __forceinline__ void leave_out(const F &f) {
#pragma unroll
        for (int i = 0; i < 4 * GROUPS; i++)
            if (f(x[i], column(i))) x[i] = LEFT_OUT;
    }
    __device__ __forceinline__ bool has(int32_t at) const {
        return at >= base && at < base + 4 * GROUPS * THREADS;
    }
};

/* ---- loading ---- */

/* Which of this thread's values are left out. */
template <int THREADS, int GROUPS>
static __device__ __forceinline__ void mark_outliers(row_part<THREADS, GROUPS> *p,
                                                     const fused_args &a) {
    static_assert(4 * GROUPS <= 32 && NR_LINEAR_OUTLIERS_MAX <= 32, "bits of a word");
    const int lane = threadIdx.x % 32;
    const int32_t own = lane < a.q.n_outliers ? a.q.outlier_columns[lane] : 0;
    p->left_out = 0;
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
        if (p->column(4 * j) >= a.q.n_in) p->left_out |= 0xfu << (4 * j);
    for (int32_t j = 0; j < a.q.n_outliers; j++) {
        const int32_t at = __shfl_sync(ALL, own, j) - p->base, group = at / 4;
        if (at >= 0 && group % THREADS == (int32_t)threadIdx.x && group < GROUPS * THREADS)
            p->left_out |= 1u << (group / THREADS * 4 + at % 4);
    }
}

/* 16 chains over the row in shared memory (of squares, about the mean), by the first warp, the next
 * values on their way while some are added. The row is filled up with what adds nothing. */
template <bool SQUARES, int DEPTH> struct chain {
    float sum, mean;
    __device__ __forceinline__ void load(float v[DEPTH], const float *row) const {
#pragma unroll
        for (int i = 0; i < DEPTH; i++) v[i] = row[LANES * i];
    }
    __device__ __forceinline__ void add(const float v[DEPTH]) {
#pragma unroll
        for (int i = 0; i < DEPTH; i++) {
            float c = SQUARES ? __fsub_rn(v[i], mean) : v[i];
            sum = SQUARES ? __fmaf_rn(c, c, sum) : __fadd_rn(sum, c);
        }
    }
};

/* The sum to all threads. DEPTH values of a chain are on their way while as many are added. */
template <bool SQUARES, int DEPTH>
static __device__ float chains_of_row(float *row, int32_t n, float mean, float *total) {
    const int32_t padded = (n + CHAINS_STEP - 1) / CHAINS_STEP * CHAINS_STEP;
    for (int32_t i = n + threadIdx.x; i < padded; i += blockDim.x) row[i] = mean;
    __syncthreads();
    if (threadIdx.x < 32) {
        const int STEP = 2 * DEPTH * LANES;
        static_assert(CHAINS_STEP % STEP == 0, "whole steps");
        chain<SQUARES, DEPTH> c = {0.0f, mean};
        const float *at = row + threadIdx.x % LANES;
        float even[DEPTH], odd[DEPTH];
        c.load(even, at);
        for (int32_t i = 0; i < padded; i += STEP) {
            c.load(odd, at + i + STEP / 2);
            c.add(even);
            if (i + STEP < padded) c.load(even, at + i + STEP);
            c.add(odd);
        }
        float sum = sum_lanes(c.sum);
        if (threadIdx.x == 0) *total = sum;
    }
    __syncthreads();
    return *total;
}

static __device__ __forceinline__ void put4(float x[4], const float4 &v) {
    x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}

/* The row from n chunks. */
template <int THREADS, int GROUPS>
static __device__ __forceinline__ void join_row(row_part<THREADS, GROUPS> *p,
                                                const attended_chunks &c, int64_t at, int32_t n) {
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        const int32_t head = p->column(4 * j) / JOIN_DIM;
        const int64_t first = (at * c.n_heads + head) * c.sums.n_chunks;
        const float *o = c.sums.o + first * JOIN_DIM + p->column(4 * j) % JOIN_DIM;
        join_chunks<JOIN_DIM, 4>(&p->x[4 * j], o, c.sums.ml + first, head < c.n_heads ? n : 0);
    }
}

/* The row as it is read; for a gate, with the gate applied. */
template <int THREADS, int GROUPS, row_source SOURCE>
static __device__ __forceinline__ void load_row(row_part<THREADS, GROUPS> *p, const fused_args &a,
                                                int64_t at) {
    const int32_t n = a.q.n_in;
    const int64_t width = SOURCE == SOURCE_GATED   ? 2 * (int64_t)n
                          : SOURCE == SOURCE_PLAIN ? a.q.ldx
                                                   : n;
    const float *in = a.in + at * width;
    float up[4 * GROUPS];
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        const int32_t k = p->column(4 * j);
        const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        put4(&p->x[4 * j], k < n ? *(const float4 *)(in + k) : zero);
        if (SOURCE == SOURCE_GATED) put4(&up[4 * j], k < n ? *(const float4 *)(in + n + k) : zero);
    }
    if (SOURCE == SOURCE_GATED) {
#pragma unroll
        for (int j = 0; j < GROUPS; j++) {
            activate_each<4>(&p->x[4 * j], a.activation);
#pragma unroll
            for (int e = 0; e < 4; e++) p->x[4 * j + e] = __fmul_rn(p->x[4 * j + e], up[4 * j + e]);
        }
    }
}

/* Gamma and beta of this thread's values; of no meaning past the end. */
template <int GROUPS> struct norm_weights { float gamma[4 * GROUPS], beta[4 * GROUPS]; };
template <int THREADS, int GROUPS, row_source SOURCE>
static __device__ __forceinline__ void load_weights(norm_weights<GROUPS> *w, const fused_args &a,
                                                    const row_part<THREADS, GROUPS> *p) {
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        const int32_t k = min(p->column(4 * j), a.q.n_in - 4);
        put4(&w->gamma[4 * j], *(const float4 *)(a.gamma + k));
        if (SOURCE == SOURCE_LAYER) put4(&w->beta[4 * j], *(const float4 *)(a.beta + k));
    }
}

/* Normed in place. Weights of many values are loaded here: they would take the registers that other
 * rows of the multiprocessor need. */
template <int THREADS, int GROUPS, row_source SOURCE>
static __device__ __forceinline__ void norm_row(row_part<THREADS, GROUPS> *p, const fused_args &a,
                                                norm_weights<GROUPS> *w, float *row, float *total) {
    const bool layer = SOURCE == SOURCE_LAYER;
    const int32_t n = a.q.n_in;
    float mean = 0.0f;
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        const int32_t k = p->column(4 * j);
        const float *x = &p->x[4 * j];
        if (k < n) *(float4 *)(row + k) = make_float4(x[0], x[1], x[2], x[3]);
    }
    const int DEPTH = GROUPS == 1 && THREADS == 256 ? 8 : 16; /* 8 spare registers */
    if (layer) mean = __fdiv_rn(chains_of_row<false, DEPTH>(row, n, 0.0f, total), (float)n);
    const float var = __fdiv_rn(chains_of_row<true, DEPTH>(row, n, mean, total), (float)n);
    const float r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(var, a.eps)));
    if (GROUPS > 2) load_weights<THREADS, GROUPS, SOURCE>(w, a, p);
#pragma unroll
    for (int i = 0; i < 4 * GROUPS; i++)
        p->x[i] = layer ? __fmaf_rn(__fmul_rn(__fsub_rn(p->x[i], mean), r), w->gamma[i], w->beta[i])
                        : __fmul_rn(__fmul_rn(p->x[i], r), w->gamma[i]);
}

/* ---- the five largest ---- */

/* No value below this can be one of the block's five largest. */
template <int THREADS>
static __device__ __forceinline__ uint32_t threshold(uint32_t own, uint32_t largest[32]) {
    const int EACH = THREADS >= 256 ? 32 : 8, N = THREADS / EACH, lane = threadIdx.x % 32;
    static_assert(N >= TOP && N <= 32, "a largest a lane");
    if (EACH == 32) {
        own = __reduce_max_sync(ALL, own);
    } else {
#pragma unroll
        for (int step = 1; step < EACH; step *= 2) own = max(own, __shfl_xor_sync(ALL, own, step));
    }
    if (lane % EACH == 0) largest[threadIdx.x / EACH] = own;
    __syncthreads();
    uint32_t left = lane < N ? largest[lane] : 0, fifth = 0;
#pragma unroll
    for (int i = 0; i < TOP; i++) { /* of those that tie all are taken: lower than need be */
        fifth = __reduce_max_sync(ALL, left);
        if (left == fifth) left = 0;
    }
    return fifth;
}

/* Entry i of n different ones to its place among the five. */
static __device__ __forceinline__ void rank_entry(fused_shared *s, const order_key *keys,
                                                  const float *values, int i, int n) {
    const order_key own = keys[i];
    int rank = 0;
#pragma unroll 8
    for (int j = 0; j < n; j++) rank += keys[j] > own;
    if (own && rank < TOP) {
        s->top[rank] = own;
        s->top_values[rank] = values[i];
    }
}

/* Five times the largest of what is left, and of those that tie the first. The first four, which
 * become spikes, are left out then. */
template <typename ROW>
static __device__ __forceinline__ void find_one_by_one(ROW *p, fused_shared *s) {
    uint32_t *best = &s->largest[0], *first = &s->largest[1];
    for (int i = 0; i < TOP; i++) {
        uint32_t own = 0;
        __syncthreads();
        if (threadIdx.x == 0) *best = 0, *first = 0;
        __syncthreads();
        p->each([&](float x, int32_t) { own = max(own, twice_magnitude(x)); });
        atomicMax(best, own);
        __syncthreads();
        const bool mine = own == *best && own > 0;
        if (mine)
            p->each([&](float x, int32_t column) {
                if (twice_magnitude(x) == own) atomicMax(first, ~(uint32_t)column);
            });
        __syncthreads();
        if (mine)
            p->leave_out([&](float x, int32_t column) {
                if (~(uint32_t)column != *first) return false;
                s->top[i] = key_of(own, column);
                s->top_values[i] = x;
                return i < NR_CUDA_SPIKES;
            });
    }
    __syncthreads();
}

/* The five largest of the block's values, in s. */
template <int THREADS, typename ROW>
static __device__ __forceinline__ void find_top(ROW *p, fused_shared *s) {
    uint32_t own = 0;
    if (threadIdx.x < TOP) s->top[threadIdx.x] = 0;
    if (threadIdx.x == 0) s->n_keys = 0;
    p->each([&](float x, int32_t) { own = max(own, twice_magnitude(x)); });
    const uint32_t least = max(threshold<THREADS>(own, s->largest), 1u);
    if (own >= least)
        p->each([&](float x, int32_t column) {
            if (twice_magnitude(x) < least) return;
            const int at = atomicAdd(&s->n_keys, 1);
            if (at >= CANDIDATES) return;
            s->keys[at] = key_of(twice_magnitude(x), column);
            s->values[at] = x;
        });
    __syncthreads();
    const int n = s->n_keys;
    if (n > CANDIDATES) {
        find_one_by_one(p, s);
        return;
    }
    if ((int)threadIdx.x < n) rank_entry(s, s->keys, s->values, threadIdx.x, n);
    __syncthreads();
}

/* The five largest of all the cluster's blocks, from the five of each. */
template <int CLUSTER> static __device__ __forceinline__ void join_cluster(fused_shared *s) {
    const int N = CLUSTER * TOP, t = threadIdx.x;
    static_assert(N <= CANDIDATES, "room for all");
    cluster_sync();
    if (t < N) {
        const uint32_t *own = (const uint32_t *)&s->top[t % TOP];
        const uint32_t low = cluster_word(own, t / TOP), high = cluster_word(own + 1, t / TOP);
        s->keys[t] = (order_key)high << 32 | low;
        s->values[t] =
            __uint_as_float(cluster_word((const uint32_t *)&s->top_values[t % TOP], t / TOP));
    }
    cluster_sync(); /* all have read what is written now */
    if (t < TOP) s->top[t] = 0;
    __syncthreads();
    if (t < N) rank_entry(s, s->keys, s->values, t, N);
    __syncthreads();
}

/* ---- storing ---- */

/* The row in float, where it is not what was read: all of it, or its outlier columns alone where
 * nobody reads more. Then what is left out is marked. */
template <int THREADS, int GROUPS, row_source SOURCE>
static __device__ __forceinline__ void put_floats(row_part<THREADS, GROUPS> *p, const fused_args &a,
                                                  int64_t at) {
    float *row = (float *)a.q.x + at * a.q.ldx;
    if (SOURCE != SOURCE_PLAIN && !a.q.x_spent) {
#pragma unroll
        for (int j = 0; j < GROUPS; j++) {
            const float *x = &p->x[4 * j];
            if (p->column(4 * j) < a.q.n_in)
                *(float4 *)(row + p->column(4 * j)) = make_float4(x[0], x[1], x[2], x[3]);
        }
    }
    if (p->left_out == 0) return;
#pragma unroll
    for (int i = 0; i < 4 * GROUPS; i++) {
        if (!(p->left_out >> i & 1u)) continue;
        if (SOURCE != SOURCE_PLAIN && p->column(i) < a.q.n_in) row[p->column(i)] = p->x[i];
        p->x[i] = LEFT_OUT;
    }
}

static __device__ __forceinline__ uint32_t four_codes(const float x[4], float inverse) {
    uint32_t code[4];
#pragma unroll
    for (int e = 0; e < 4; e++) code[e] = (uint32_t)code_of(x[e], inverse);
    return __byte_perm(__byte_perm(code[0], code[1], 0x0040),
                       __byte_perm(code[2], code[3], 0x0040), 0x5410);
}

/* Codes of spikes and outliers become 0, when all are stored. */
template <typename ROW>
static __device__ __forceinline__ void clear_codes(const ROW *p, const fused_args &a, int8_t *codes,
                                                   const fused_shared *s) {
    const int t = threadIdx.x, outlier = t - NR_CUDA_SPIKES;
    int32_t column = -1;
    __syncthreads();
    if (t < NR_CUDA_SPIKES && s->top[t]) column = column_of(s->top[t]);
    if (outlier >= 0 && outlier < a.q.n_outliers) column = a.q.outlier_columns[outlier];
    if (column >= 0 && p->has(column)) codes[column] = 0;
}

template <int THREADS, int GROUPS>
static __device__ __forceinline__ void put_codes(const row_part<THREADS, GROUPS> *p,
                                                 const fused_args &a, int8_t *codes,
                                                 float inverse) {
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        const int32_t k = p->column(4 * j);
        if (k < a.q.k_pad)
            *(uint32_t *)(codes + k) = k < a.q.n_in ? four_codes(&p->x[4 * j], inverse) : 0;
    }
}

/* Spikes by column, -1 behind the last; by as many threads as there can be. */
static __device__ __forceinline__ void put_spikes(const fused_args &a, int64_t at,
                                                  const fused_shared *s) {
    const int i = threadIdx.x;
    if (i >= NR_CUDA_SPIKES) return;
    const order_key own = s->top[i];
    int place = 0;
#pragma unroll
    for (int j = 0; j < NR_CUDA_SPIKES; j++) /* those of nothing come last, as they stand */
        place += own ? s->top[j] && column_of(s->top[j]) < column_of(own) : s->top[j] || j < i;
    a.q.spike_col[at * NR_CUDA_SPIKES + place] = own ? column_of(own) : -1;
    a.q.spike_val[at * NR_CUDA_SPIKES + place] = own ? s->top_values[i] : 0.0f;
}

template <int THREADS, int GROUPS, row_source SOURCE, int CLUSTER>
static __global__ void __launch_bounds__(THREADS, THREADS == 512   ? 2
                                                  : THREADS != 256 ? 1
                                                  : GROUPS == 1    ? 5
                                                                   : 3)
    k_quantize_fused(fused_args a) {
    extern __shared__ __align__(16) uint8_t shared[];
    fused_shared *s = (fused_shared *)shared;
    float *row = (float *)(shared + (sizeof *s + 15) / 16 * 16);
    const int64_t at = blockIdx.x / CLUSTER;
    const bool norm = is_norm(SOURCE);
    static_assert(CLUSTER == 1 || !norm, "a norm needs the whole row");
    row_part<THREADS, GROUPS> p;
    norm_weights<GROUPS> weights;
    float scale, inverse;
    int8_t *codes = a.q.codes + at * a.q.k_pad;
    int32_t n_chunks = 0;
    p.base = (int32_t)(blockIdx.x % CLUSTER) * 4 * GROUPS * THREADS;
    mark_outliers(&p, a);
    if (norm && GROUPS <= 2) load_weights<THREADS, GROUPS, SOURCE>(&weights, a, &p);
    if (SOURCE == SOURCE_CHUNKS) n_chunks = chunks_of(a.chunks.spans[at], 0, true);
    meet_neighbours(a.q.early);
    if constexpr (SOURCE == SOURCE_CHUNKS) join_row(&p, a.chunks, at, n_chunks);
    else load_row<THREADS, GROUPS, SOURCE>(&p, a, at);
    if (norm) norm_row<THREADS, GROUPS, SOURCE>(&p, a, &weights, row, &s->total);
    put_floats<THREADS, GROUPS, SOURCE>(&p, a, at);
    if (CLUSTER > 1) {
        row_part<THREADS, GROUPS> own = p; /* its five may not be the row's */
        find_top<THREADS>(&own, s);
        join_cluster<CLUSTER>(s);
    } else {
        find_top<THREADS>(&p, s);
    }
    scale_of(value_of(magnitude_of(s->top[NR_CUDA_SPIKES])), &scale, &inverse);
    put_codes(&p, a, codes, inverse);
    clear_codes(&p, a, codes, s);
    if (p.base) return;
    put_spikes(a, at, s);
    if (threadIdx.x == 0) a.q.sx[at] = scale;
}

/* ---- many rows ---- */

#define SHARED_THREADS 256

/* A row in shared memory, all of it one block's. */
struct row_shared {
    float *row;
    int32_t n;
    template <typename F> __device__ __forceinline__ void each(const F &f) const {
#pragma unroll 4
        for (int32_t k = 4 * threadIdx.x; k < n; k += 4 * SHARED_THREADS) {
            const float4 v = *(const float4 *)(row + k);
            f(v.x, k), f(v.y, k + 1), f(v.z, k + 2), f(v.w, k + 3);
        }
    }
    template <typename F> __device__ __forceinline__ void leave_out(const F &f) {
        each([&](float x, int32_t column) {
            if (f(x, column)) row[column] = LEFT_OUT;
        });
    }
    __device__ __forceinline__ bool has(int32_t) const { return true; }
};

/* The row to shared memory as it is read. */
static __device__ __forceinline__ void load_shared(const row_shared *p, const float *in) {
#pragma unroll 4
    for (int32_t k = 4 * threadIdx.x; k < p->n; k += 4 * SHARED_THREADS)
        *(float4 *)(p->row + k) = *(const float4 *)(in + k);
}

/* The same gated, four values a thread, the next four on their way. */
static __device__ __forceinline__ void gate_shared(const row_shared *p, const float *gate,
                                                   nr_activation activation) {
    const int32_t n = p->n, step = 4 * SHARED_THREADS;
    const float *up = gate + n;
    const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    int32_t k = 4 * threadIdx.x;
    float4 g = k < n ? *(const float4 *)(gate + k) : zero;
    float4 u = k < n ? *(const float4 *)(up + k) : zero;
    for (; k < n; k += step) {
        const bool more = k + step < n;
        const float4 next_g = more ? *(const float4 *)(gate + k + step) : zero;
        const float4 next_u = more ? *(const float4 *)(up + k + step) : zero;
        float x[4];
        put4(x, g);
        activate_each<4>(x, activation);
        *(float4 *)(p->row + k) = make_float4(__fmul_rn(x[0], u.x), __fmul_rn(x[1], u.y),
                                              __fmul_rn(x[2], u.z), __fmul_rn(x[3], u.w));
        g = next_g, u = next_u;
    }
}

/* The same normed. */
template <bool LAYER>
static __device__ __forceinline__ void norm_shared(const row_shared *p, const fused_args &a,
                                                   const float *in, float *total) {
    const int DEPTH = 8;
    const int32_t n = p->n;
    load_shared(p, in);
    float mean = 0.0f;
    if (LAYER) mean = __fdiv_rn(chains_of_row<false, DEPTH>(p->row, n, 0.0f, total), (float)n);
    const float var = __fdiv_rn(chains_of_row<true, DEPTH>(p->row, n, mean, total), (float)n);
    const float r = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(var, a.eps)));
#pragma unroll 2
    for (int32_t k = 4 * threadIdx.x; k < n; k += 4 * SHARED_THREADS) {
        float x[4], gamma[4], beta[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        put4(x, *(const float4 *)(p->row + k));
        put4(gamma, *(const float4 *)(a.gamma + k));
        if (LAYER) put4(beta, *(const float4 *)(a.beta + k));
#pragma unroll
        for (int e = 0; e < 4; e++)
            x[e] = LAYER ? __fmaf_rn(__fmul_rn(__fsub_rn(x[e], mean), r), gamma[e], beta[e])
                         : __fmul_rn(__fmul_rn(x[e], r), gamma[e]);
        *(float4 *)(p->row + k) = make_float4(x[0], x[1], x[2], x[3]);
    }
}

/* The row in float to memory, as put_floats. */
template <row_source SOURCE>
static __device__ __forceinline__ void put_shared(row_shared *p, const fused_args &a, int64_t at) {
    float *out = (float *)a.q.x + at * a.q.ldx;
    if (SOURCE != SOURCE_PLAIN && !a.q.x_spent)
        for (int32_t k = 4 * threadIdx.x; k < p->n; k += 4 * SHARED_THREADS)
            *(float4 *)(out + k) = *(const float4 *)(p->row + k);
    __syncthreads();
    if ((int32_t)threadIdx.x < a.q.n_outliers) {
        const int32_t column = a.q.outlier_columns[threadIdx.x];
        if (SOURCE != SOURCE_PLAIN) out[column] = p->row[column];
        p->row[column] = LEFT_OUT;
    }
    __syncthreads();
}

template <row_source SOURCE>
static __global__ void __launch_bounds__(SHARED_THREADS, 5) k_quantize_shared(fused_args a) {
    extern __shared__ __align__(16) uint8_t shared[];
    fused_shared *s = (fused_shared *)shared;
    const int64_t at = blockIdx.x;
    int8_t *codes = a.q.codes + at * a.q.k_pad;
    row_shared p = {(float *)(shared + (sizeof *s + 15) / 16 * 16), a.q.n_in};
    const float *in = a.in + at * (SOURCE == SOURCE_GATED   ? 2 * (int64_t)p.n
                                   : SOURCE == SOURCE_PLAIN ? a.q.ldx
                                                            : p.n);
    float scale, inverse;
    meet_neighbours(a.q.early);
    if (SOURCE == SOURCE_GATED) gate_shared(&p, in, a.activation);
    else if (SOURCE == SOURCE_PLAIN) load_shared(&p, in);
    else norm_shared<SOURCE == SOURCE_LAYER>(&p, a, in, &s->total);
    put_shared<SOURCE>(&p, a, at);
    find_top<SHARED_THREADS>(&p, s);
    scale_of(value_of(magnitude_of(s->top[NR_CUDA_SPIKES])), &scale, &inverse);
#pragma unroll 4
    for (int32_t k = 4 * threadIdx.x; k < a.q.k_pad; k += 4 * SHARED_THREADS) {
        float x[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (k < p.n) put4(x, *(const float4 *)(p.row + k));
        *(uint32_t *)(codes + k) = four_codes(x, inverse);
    }
    clear_codes(&p, a, codes, s);
    put_spikes(a, at, s);
    if (threadIdx.x == 0) a.q.sx[at] = scale;
}

/* ---- launchers ---- */

static size_t shared_bytes(const fused_args *a, bool row) {
    const size_t values = row ? nr_round_up((size_t)a->q.n_in, CHAINS_STEP) : 0;
    return (sizeof(fused_shared) + 15) / 16 * 16 + values * sizeof(float);
}

template <row_source SOURCE>
static cudaError_t launch_shared(const fused_args *a, bool overlap, cudaStream_t stream) {
    return launch_kernel(k_quantize_shared<SOURCE>, dim3((unsigned)a->q.m), SHARED_THREADS,
                         shared_bytes(a, true), overlap, stream, *a);
}

template <int THREADS, int GROUPS, row_source SOURCE, int CLUSTER>
static cudaError_t launch(const fused_args *a, bool overlap, cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2] = {};
    unsigned n = 0;
    config.gridDim = dim3((unsigned)a->q.m * CLUSTER);
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = shared_bytes(a, is_norm(SOURCE));
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
    auto kernel = k_quantize_fused<THREADS, GROUPS, SOURCE, CLUSTER>;
    cudaError_t e = share_multiprocessor(kernel, overlap && a->q.early);
    return e == cudaSuccess ? cudaLaunchKernelEx(&config, kernel, *a) : e;
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

#define WAYS 9
#define CLUSTER_WAY 6
#define SHARED_WAY 8
#define WIDE_CLUSTER_WAY 9

/* Way 1 .. WAYS: threads, groups of four values of each, blocks of a row; largest row of each. */
template <row_source SOURCE>
static cudaError_t launch_way(const fused_args *a, int way, bool overlap, cudaStream_t stream) {
    static const int32_t n_max[WAYS] = {1024,    4096,    4096,    4096,
                                        ROW_MAX, ROW_MAX, ROW_MAX, ROW_MAX, ROW_MAX};
    if (way < 1 || way > WAYS || a->q.n_in > n_max[way - 1]) return cudaErrorInvalidValue;
    switch (way) {
    case 1: return launch<256, 1, SOURCE, 1>(a, overlap, stream);
    case 2: return launch<256, 4, SOURCE, 1>(a, overlap, stream);
    case 3: return launch<512, 2, SOURCE, 1>(a, overlap, stream);
    case 4: return launch<1024, 1, SOURCE, 1>(a, overlap, stream);
    case 5: return launch<1024, 3, SOURCE, 1>(a, overlap, stream);
    default: break;
    }
    if (way == SHARED_WAY) return launch_shared<SOURCE>(a, overlap, stream);
    if constexpr (!is_norm(SOURCE)) {
        if (has_clusters() && way == CLUSTER_WAY)
            return launch<128, 3, SOURCE, 8>(a, overlap, stream);
        if (has_clusters() && way == WIDE_CLUSTER_WAY)
            return launch<384, 1, SOURCE, 8>(a, overlap, stream);
        if (has_clusters()) return launch<512, 3, SOURCE, 2>(a, overlap, stream);
    }
    return cudaErrorInvalidValue;
}

#define MANY_ROWS 256      /* more than blocks of 512 or 1024 threads run at once, */
#define VERY_MANY_ROWS 396 /* and more than those of 256 that hold 4096 values in registers */

template <row_source SOURCE>
static cudaError_t choose(const fused_args *a, bool overlap, cudaStream_t stream) {
    const int32_t n = a->q.n_in;
    const bool many = a->q.m > MANY_ROWS;
    int way = n <= 1024 ? 1 : n <= 4096 ? (many ? 2 : 3) : 5;
    if (n > 1024 && a->q.m > (n > 4096 ? MANY_ROWS : VERY_MANY_ROWS)) way = SHARED_WAY;
    if (n > 4096 && a->q.m <= 8 && !is_norm(SOURCE) && has_clusters()) way = WIDE_CLUSTER_WAY;
    return launch_way<SOURCE>(a, a->q.way ? a->q.way : way, overlap, stream);
}

cudaError_t nr_cuda_norm_quantize(const nr_cuda_norm_args *norm, const nr_cuda_quantize_args *q,
                                  bool overlap, cudaStream_t stream) {
    fused_args a = {};
    a.q = *q;
    a.in = norm->x;
    a.gamma = norm->gamma, a.beta = norm->beta, a.eps = norm->eps;
    if (fits(&a))
        return norm->layer ? choose<SOURCE_LAYER>(&a, overlap, stream)
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
    cudaError_t e = nr_cuda_gated((float *)q->x, q->ldx, gate_up, q->m, q->n_in, activation, stream);
    return e == cudaSuccess ? nr_cuda_quantize(q, stream) : e;
}

cudaError_t nr_cuda_quantize_rows(const nr_cuda_quantize_args *q, bool overlap,
                                  cudaStream_t stream) {
    fused_args a = {};
    a.q = *q;
    a.in = q->x;
    return fits(&a) ? choose<SOURCE_PLAIN>(&a, overlap, stream) : nr_cuda_quantize(q, stream);
}

bool nr_cuda_attention_joins(const nr_cuda_attention_args *a) {
    return a->sm == 90 && a->head_dim == JOIN_DIM && a->n_heads <= JOIN_HEADS_MAX &&
           a->ldy == (int64_t)a->n_heads * JOIN_DIM && nr_cuda_attention_stores(a) &&
           partial_bytes(a, a->n_spans, JOIN_DIM) <= a->workspace_bytes;
}

cudaError_t nr_cuda_join_quantize(const nr_cuda_attention_args *attention,
                                  const nr_cuda_quantize_args *q, bool overlap,
                                  cudaStream_t stream) {
    fused_args a = {};
    a.q = *q;
    a.in = q->x;
    a.chunks.spans = attention->spans;
    a.chunks.sums = partial_sums_of(attention, 0, attention->n_spans, JOIN_DIM);
    a.chunks.n_heads = attention->n_heads;
    if (!fits(&a) || !nr_cuda_attention_joins(attention) || q->x != attention->y ||
        q->m != attention->n_spans || q->n_in != attention->ldy || q->ldx != attention->ldy)
        return cudaErrorInvalidValue;
    return attention->n_heads <= JOIN_HEADS_MAX / 2
               ? launch<128, 1, SOURCE_CHUNKS, 8>(&a, overlap, stream)
               : launch<128, 2, SOURCE_CHUNKS, 8>(&a, overlap, stream);
}
