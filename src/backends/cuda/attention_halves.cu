/* SPDX-License-Identifier: MIT
 *
 * attention_halves.cu - attention of a vision tower on Hopper: many rows, not causal, an f32 cache,
 * heads of up to 64 values. Queries, keys, values and weights are sums of two halves (f16), and the
 * product of two such numbers three products of halves (what is left out is 2^-22 of it), added up
 * in float, the small ones first. Near the reference (tests/tolerances.h), nearer to exact than f32
 * sums are; a row's bits depend on its own query and on the keys alone.
 *
 *   records     a launch of its own takes keys and values apart, 64 keys of a head a record: four
 *               tiles of [64][64] halves, swizzled as the products read them, and two powers of two
 *               by which keys and values stand too high, relative to the largest of the record
 *   rows        a warpgroup has 64 rows, queries and sums in registers; the copy engine brings
 *               records, three or more of them under way or in use
 *   in turns    the values of a record are multiplied while the weights of the next are computed
 *
 * As many heads at a time as the workspace has room for.
 */
#include "attention_fixed.cuh"
#include "attention_ways.h"
#include "cuda_products.cuh"
#include "cuda_launch.cuh"

#define KEYS NR_CUDA_HALVES_KEYS
#define DIM NR_CUDA_HALVES_DIM
#define TILE_BYTES (KEYS * DIM * 2)
#define RECORD_BYTES NR_CUDA_HALVES_RECORD
#define SPLIT_THREADS 256
#define STAGE_BYTES (RECORD_BYTES + 896) /* tiles lie at multiples of 1024 bytes */
#define WEIGHT_UP 14.0f /* weights are up to 2^14: small ones have all bits of two halves */

/* Tiles of a record: keys, what is left of them, values, what is left of them; then two floats. */
enum { TILE_K = 0, TILE_V = 2, TILES = 4 };
static_assert(RECORD_BYTES >= TILES * TILE_BYTES + 16 && STAGE_BYTES % 1024 == 0, "room");

/* Records of heads [head0, head0 + n_heads): [n_heads][n_chunks]. aligned: rows may be read 16
 * bytes at a time. */
struct half_cache {
    uint8_t *records;
    int32_t head0, n_heads, n_chunks;
    bool aligned;
};

/* What lies behind the stages. */
template <int STAGES> struct ring_barriers {
    uint64_t full[STAGES], empty[STAGES];
};
template <int GROUPS> struct half_shape {
    static const int STAGES = GROUPS == 1 ? 3 : 6;
    static const int SHARED_BYTES =
        1024 + STAGES * STAGE_BYTES + (int)sizeof(ring_barriers<STAGES>);
};

#ifdef NR_HOPPER

/* Powers of two: |x| * up is under 2^15 up to the largest; back. Where the largest is not finite,
 * down is NaN and so is all that comes of it. */
static __device__ __forceinline__ fixed_point half_point_of(uint32_t largest) {
    const uint32_t e = max(largest >> 23, 30u);
    fixed_point f = {__uint_as_float((268 - e) << 23), __uint_as_float((e - 14) << 23)};
    if (largest >= 0x7f800000u) f.up = 0.0f, f.down = __uint_as_float(0x7fc00000u);
    return f;
}

/* ---- rows ---- */

/* Rows `row` and row + 8 of q, of each what this lane has of left sides; zeros past the last. */
static __device__ __forceinline__ void load_queries(float x[2][DIM / 8][2],
                                                    const nr_cuda_attention_args &a, int32_t row0,
                                                    int32_t head, int32_t row) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int32_t filled = row + 8 * h < a.m ? a.head_dim : 0;
        const float *from = a.q + (row0 + row + 8 * h) * a.ldq + (int64_t)head * a.head_dim;
#pragma unroll
        for (int i = 0; i < DIM / 4; i++) {
            const int32_t d = i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2;
            x[h][i / 2][i % 2] = d < filled ? from[d] : 0.0f;
        }
    }
}

/* Those times the scale as left sides of products: [0] and what is left, [1]; and the powers of two
 * by which they stand too high. */
static __device__ __forceinline__ void split_queries(uint32_t q[2][DIM / 16][4], float down[2],
                                                     float x[2][DIM / 8][2], float scale) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t largest = 0;
#pragma unroll
        for (int i = 0; i < DIM / 4; i++) {
            float *v = &x[h][i / 2][i % 2];
            *v = __fmul_rn(*v, scale);
            largest = max(largest, magnitude(*v));
        }
        largest = max(largest, __shfl_xor_sync(ALL, largest, 1));
        largest = max(largest, __shfl_xor_sync(ALL, largest, 2));
        const fixed_point f = half_point_of(largest);
        down[h] = f.down;
#pragma unroll
        for (int i = 0; i < DIM / 8; i++)
            split_floats<true>(&q[0][i / 2][i % 2 * 2 + h], &q[1][i / 2][i % 2 * 2 + h],
                               __fmul_rn(x[h][i][0], f.up), __fmul_rn(x[h][i][1], f.up));
    }
}

/* s = q times the keys of a record; begun. */
static __device__ __forceinline__ void begin_scores(float s[KEYS / 2],
                                                    const uint32_t q[2][DIM / 16][4],
                                                    const uint8_t *record) {
    const uint64_t k = tile_descriptor<128>(record + TILE_K * TILE_BYTES);
    const uint64_t left = tile_descriptor<128>(record + (TILE_K + 1) * TILE_BYTES);
#pragma unroll
    for (int i = 0; i < DIM / 16; i++) product_halves<false>(s, q[1][i], k + 2 * i, i > 0);
#pragma unroll
    for (int i = 0; i < DIM / 16; i++) product_halves<false>(s, q[0][i], left + 2 * i, 1);
#pragma unroll
    for (int i = 0; i < DIM / 16; i++) product_halves<false>(s, q[0][i], k + 2 * i, 1);
}

/* o = weights times the values of a record; begun. */
static __device__ __forceinline__ void begin_values(float o[DIM / 2],
                                                    const uint32_t w[2][KEYS / 16][4],
                                                    const uint8_t *record) {
    const uint64_t v = tile_descriptor<128>(record + TILE_V * TILE_BYTES);
    const uint64_t left = tile_descriptor<128>(record + (TILE_V + 1) * TILE_BYTES);
    const int STEP = 16 * 128 / 16; /* 16 keys further on */
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++) product_halves<true>(o, w[1][i], v + STEP * i, i > 0);
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++) product_halves<true>(o, w[0][i], left + STEP * i, 1);
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++) product_halves<true>(o, w[0][i], v + STEP * i, 1);
}

/* Scores of the lane's two rows to weights 2^14 2^(score - m), in place. visible: keys of the
 * record that there are; down: the power of two of the scores of each row. Returns in old_part what
 * becomes of sums so far; l is this lane's part of the sum of weights. */
static __device__ __forceinline__ void weigh(float s[KEYS / 2], int32_t visible,
                                             const float down[2], row_state state[2],
                                             float old_part[2]) {
    const int t = threadIdx.x % 4;
    if (visible < KEYS) {
#pragma unroll
        for (int i = 0; i < KEYS / 2; i++)
            if (i / 4 * 8 + 2 * t + i % 2 >= visible) s[i] = -INFINITY;
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float m = -INFINITY, l[2] = {0.0f, 0.0f};
#pragma unroll
        for (int i = 0; i < KEYS / 4; i++) m = fmaxf(s[i / 2 * 4 + 2 * h + i % 2], m);
        m = fmaxf(m, __shfl_xor_sync(ALL, m, 1));
        m = fmaxf(m, __shfl_xor_sync(ALL, m, 2));
        m = fmaxf(__fmul_rn(m, down[h]), state[h].m);
        const float from = __fsub_rn(m, WEIGHT_UP);
#pragma unroll
        for (int i = 0; i < KEYS / 4; i++) {
            float *x = &s[i / 2 * 4 + 2 * h + i % 2];
            *x = weight_of(*x, down[h], from);
            l[i % 2] = __fadd_rn(l[i % 2], *x);
        }
        old_part[h] = exp2_fast(__fsub_rn(state[h].m, m));
        state[h].l = __fmaf_rn(state[h].l, old_part[h], __fadd_rn(l[0], l[1]));
        state[h].m = m;
    }
}

/* Weights as left sides of products: [0] and what is left, [1]. */
static __device__ __forceinline__ void split_weights(uint32_t w[2][KEYS / 16][4],
                                                     const float s[KEYS / 2]) {
#pragma unroll
    for (int i = 0; i < KEYS / 4; i++)
        split_floats<false>(&w[0][i / 4][i % 4], &w[1][i / 4][i % 4], s[2 * i], s[2 * i + 1]);
}

/* The ring of records of a head: chunk c lies in stage c % STAGES. */
template <int STAGES> struct record_ring {
    uint8_t *stages;
    ring_barriers<STAGES> *b;
    const uint8_t *records;
    int32_t n;

    __device__ __forceinline__ const uint8_t *at(int32_t c) const {
        return stages + c % STAGES * STAGE_BYTES;
    }
    __device__ __forceinline__ void wait(int32_t c) const {
        barrier_wait(&b->full[c % STAGES], (uint32_t)(c / STAGES) & 1u);
    }
    /* By one thread, where the stage is free. */
    __device__ __forceinline__ void load(int32_t c) const {
        uint64_t *full = &b->full[c % STAGES];
        barrier_expect(full, RECORD_BYTES);
        bulk_load(stages + c % STAGES * STAGE_BYTES, records + (int64_t)c * RECORD_BYTES, full,
                  RECORD_BYTES);
    }
    /* This warp has used chunk c; the first thread of the block has another brought into the stage
     * that all have left. LAG: chunks that others may be behind without its waiting for them. */
    template <int LAG> __device__ __forceinline__ void release(int32_t c) const {
        const int32_t left = c - LAG, next = left + STAGES;
        if (threadIdx.x % 32 == 0) barrier_arrive(&b->empty[c % STAGES]);
        if (threadIdx.x != 0 || left < 0 || next >= n) return;
        barrier_wait(&b->empty[left % STAGES], (uint32_t)(left / STAGES) & 1u);
        load(next);
    }
};

/* o = o * old + sums * new. */
static __device__ __forceinline__ void add_sums(float o[DIM / 2], const float sums[DIM / 2],
                                                const float old_part[2], float new_part) {
#pragma unroll
    for (int i = 0; i < DIM / 2; i++)
        o[i] = __fmaf_rn(sums[i], new_part, __fmul_rn(o[i], old_part[i % 4 / 2]));
}

/* o and the state of the lane's two rows over all records. */
template <int STAGES, int LAG>
static __device__ __forceinline__ void attend(float o[DIM / 2], row_state state[2],
                                              const uint32_t q[2][DIM / 16][4],
                                              const float q_down[2], int32_t n_keys,
                                              const record_ring<STAGES> &ring) {
    uint32_t w[2][KEYS / 16][4];
    float scores[KEYS / 2], sums[DIM / 2] = {};
    float old_part[2] = {0.0f, 0.0f}, v_down = 0.0f; /* of the record before */
    int32_t c = 0;
    ring.wait(0);
    product_begin();
    begin_scores(scores, q, ring.at(0));
    product_commit();
    product_wait<0>();
    product_done(scores);
    for (;; c++) {
        const uint8_t *record = ring.at(c);
        const float *downs = (const float *)(record + TILES * TILE_BYTES);
        const float down[2] = {__fmul_rn(q_down[0], downs[0]), __fmul_rn(q_down[1], downs[0])};
        float part[2];
        weigh(scores, n_keys - c * KEYS, down, state, part);
        product_wait<0>();
        product_done(sums);
        if (c > 0) ring.template release<LAG>(c - 1);
        add_sums(o, sums, old_part, v_down);
        old_part[0] = part[0], old_part[1] = part[1], v_down = downs[1];
        split_weights(w, scores);
        if (c + 1 == ring.n) break;
        ring.wait(c + 1);
        product_begin();
        begin_scores(scores, q, ring.at(c + 1));
        product_commit();
        begin_values(sums, w, record);
        product_commit();
        product_wait<1>();
        product_done(scores);
    }
    product_begin();
    begin_values(sums, w, ring.at(c));
    product_commit();
    product_wait<0>();
    product_done(sums);
    add_sums(o, sums, old_part, v_down);
}

static __device__ __forceinline__ void put_rows(const nr_cuda_attention_args &a, int32_t row0,
                                                int32_t head, int32_t row,
                                                const float o[DIM / 2], const row_state state[2]) {
    const int32_t dim = a.head_dim;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float l = state[h].l;
        l = __fadd_rn(l, __shfl_xor_sync(ALL, l, 1));
        l = __fadd_rn(l, __shfl_xor_sync(ALL, l, 2));
        if (row + 8 * h >= a.m) continue;
        float *y = a.y + (row0 + row + 8 * h) * a.ldy + (int64_t)head * dim;
        const float inverse = __fdiv_rn(1.0f, l);
#pragma unroll
        for (int i = 0; i < DIM / 4; i++) {
            const int32_t d = i / 2 * 8 + 2 * (threadIdx.x % 4) + i % 2;
            if (d < dim) y[d] = __fmul_rn(o[i / 2 * 4 + 2 * h + i % 2], inverse);
        }
    }
}
#endif

/* ---- kernels ---- */

/* Keys or values (blockIdx.z) of 64 keys of a head. */
static __global__ void __launch_bounds__(SPLIT_THREADS)
    k_attention_records(nr_cuda_attention_args a, half_cache h) {
#ifdef NR_HOPPER
    const int GROUPS = KEYS * DIM / 4 / SPLIT_THREADS;
    __shared__ uint32_t warps[SPLIT_THREADS / 32];
    const int32_t head = h.head0 + blockIdx.y, dim = a.head_dim, t = threadIdx.x;
    const bool is_v = blockIdx.z != 0;
    float x[GROUPS][4];
    uint32_t largest = 0;
    meet_neighbours(false); /* not early: the next launch loads queries before its own wait */
    const nr_cuda_span s = a.spans[0];
    const int64_t ld = a.k ? a.ldk : dim;
    const float *rows = a.k ? (is_v ? a.v : a.k) + (int64_t)head * dim
                            : (const float *)(is_v ? s.v : s.k) + (int64_t)head * a.cap * dim;
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
        const int32_t key = blockIdx.x * KEYS + t / 16 + i * (SPLIT_THREADS / 16), d = t % 16 * 4;
        const int32_t filled = key < s.n_keys ? dim : 0;
        if (h.aligned && d < filled) take_four(x[i], rows + key * ld + d);
        else load_four(x[i], rows + key * ld, d, filled, NULL);
#pragma unroll
        for (int e = 0; e < 4; e++) largest = max(largest, magnitude(x[i][e]));
    }
    largest = __reduce_max_sync(ALL, largest);
    if (t % 32 == 0) warps[t / 32] = largest;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < SPLIT_THREADS / 32; i++) largest = max(largest, warps[i]);
    const fixed_point f = half_point_of(largest);
    uint8_t *record = h.records + ((int64_t)blockIdx.y * h.n_chunks + blockIdx.x) * RECORD_BYTES;
    uint8_t *tile = record + (is_v ? TILE_V : TILE_K) * TILE_BYTES;
#pragma unroll
    for (int i = 0; i < GROUPS; i++) {
        const int32_t row = t / 16 + i * (SPLIT_THREADS / 16);
        const int32_t at = row * 128 + ((t % 16 / 2) ^ (row & 7)) * 16 + t % 2 * 8;
        uint2 first, second;
#pragma unroll
        for (int e = 0; e < 4; e++) x[i][e] = __fmul_rn(x[i][e], f.up);
        split_floats<true>(&first.x, &second.x, x[i][0], x[i][1]);
        split_floats<true>(&first.y, &second.y, x[i][2], x[i][3]);
        *(uint2 *)(tile + at) = first;
        *(uint2 *)(tile + TILE_BYTES + at) = second;
    }
    if (t == 0) ((float *)(record + TILES * TILE_BYTES))[is_v] = f.down;
#endif
}

/* GROUPS warpgroups of 64 rows each; two blocks of one a multiprocessor, or one of two. */
template <int GROUPS>
static __global__ void __launch_bounds__(128 * GROUPS, 3 - GROUPS)
    k_attention_halves(const __grid_constant__ nr_cuda_attention_args a,
                       const __grid_constant__ half_cache h) {
#ifdef NR_HOPPER
    const int STAGES = half_shape<GROUPS>::STAGES;
    extern __shared__ __align__(1024) uint8_t shared[];
    uint8_t *stages = shared + (1024 - (uintptr_t)shared % 1024) % 1024; /* known to be shared */
    record_ring<STAGES> ring = {stages, (ring_barriers<STAGES> *)(stages + STAGES * STAGE_BYTES)};
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&ring.b->full[i], 1);
            barrier_init(&ring.b->empty[i], 4 * GROUPS);
        }
        barrier_init_done();
    }
    __syncthreads();
    const nr_cuda_span s = a.spans[0];
    const int32_t head = h.head0 + (int32_t)blockIdx.y, t = threadIdx.x;
    const int32_t row = blockIdx.x * 64 * GROUPS + t / 32 * 16 + t % 32 / 4;
    uint32_t q[2][DIM / 16][4];
    float q_down[2], x[2][DIM / 8][2], o[DIM / 2] = {};
    row_state state[2] = {{-INFINITY, 0.0f}, {-INFINITY, 0.0f}};
    load_queries(x, a, s.row0, head, row);
    meet_neighbours(a.early);
    ring.records = h.records + (int64_t)blockIdx.y * h.n_chunks * RECORD_BYTES;
    ring.n = (s.n_keys + KEYS - 1) / KEYS;
    if (t == 0)
        for (int32_t c = 0; c < min(STAGES, ring.n); c++) ring.load(c);
    split_queries(q, q_down, x, __fmul_rn(a.scale, LOG2_E));
    attend<STAGES, GROUPS - 1>(o, state, q, q_down, s.n_keys, ring);
    put_rows(a, s.row0, head, row, o, state);
#endif
}

/* ---- launchers ---- */

template <int GROUPS>
static cudaError_t launch(const nr_cuda_attention_args *a, const half_cache *h,
                          cudaStream_t stream) {
    cudaError_t e = cudaFuncSetAttribute((const void *)k_attention_halves<GROUPS>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         half_shape<GROUPS>::SHARED_BYTES);
    if (e != cudaSuccess) return e;
    dim3 grid((unsigned)((a->m + 64 * GROUPS - 1) / (64 * GROUPS)), (unsigned)h->n_heads);
    /* Queries are loaded while the launch before, our own, ends: it waited for what made them. */
    return launch_kernel(k_attention_halves<GROUPS>, grid, 128 * GROUPS,
                         half_shape<GROUPS>::SHARED_BYTES, true, stream, *a, *h);
}

bool nr_cuda_attention_halves_fits(const nr_cuda_attention_args *a) {
    return a->sm == 90 && a->dtype == NR_DTYPE_F32 && a->head_dim <= DIM &&
           nr_cuda_attention_tile_fits(a);
}

cudaError_t nr_cuda_attention_halves(const nr_cuda_attention_args *a, int rows,
                                     cudaStream_t stream) {
    if (!nr_cuda_attention_halves_fits(a)) return cudaErrorInvalidValue;
    half_cache h = {};
    h.records = (uint8_t *)a->workspace;
    h.n_chunks = (a->n_keys_max + KEYS - 1) / KEYS;
    h.aligned = a->k && a->ldk % 4 == 0 && (uintptr_t)a->k % 16 == 0 && (uintptr_t)a->v % 16 == 0;
    const size_t head_bytes = (size_t)h.n_chunks * RECORD_BYTES;
    const int32_t at_once = (int32_t)NR_MIN(a->workspace_bytes / head_bytes, (size_t)a->n_heads);
    cudaError_t e = at_once > 0 ? cudaSuccess : cudaErrorInvalidValue;
    for (; e == cudaSuccess && h.head0 < a->n_heads; h.head0 += at_once) {
        h.n_heads = NR_MIN(at_once, a->n_heads - h.head0);
        dim3 grid((unsigned)h.n_chunks, (unsigned)h.n_heads, 2);
        e = launch_kernel(k_attention_records, grid, SPLIT_THREADS, 0, a->overlap, stream, *a, h);
        if (e == cudaSuccess) e = (rows == 64 ? launch<1> : launch<2>)(a, &h, stream);
    }
    return e;
}
