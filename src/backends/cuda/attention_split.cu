/* SPDX-License-Identifier: MIT
 *
 * attention_split.cu - attention of few rows of an i8 cache (decode), as attention_fixed.cuh says,
 * with the bits of attention_tile.cu. A row alone is too little for a card, so a block has one
 * chunk of keys of one head of one row, and leaves the chunk's m, l and o in the workspace; a
 * second launch adds the chunks of a row up in their order. All of a chunk's keys and values are under way
 * at once, and a block is small, so that many of them keep the memory busy.
 *
 * The three digits of q, then of the weights, are three rows of a product whose other rows are
 * nothing. Each of the four warps scores 16 keys; all of them weigh all keys, each for itself; each
 * has every fourth 16 of the head's values.
 *
 * Where each sequence has one row, the block whose chunk holds the row's own key makes the codes of
 * that key and value itself, uses them and stores them: a launch less.
 */
#include "attention_join.cuh"
#include "attention_ways.h"
#include "cuda_launch.cuh"

#define WARPS 4
#define THREADS (32 * WARPS)

/* What a block shares beside its chunk. */
template <int DIM> struct __align__(16) split_shared {
    chunk_tile<DIM, 1> tile;
    float scores[CHUNK];
    uint32_t q[WARPS][DIGITS][DIM / 4], weights[WARPS][DIGITS][CHUNK / 4]; /* a copy a warp */
};

static __device__ __forceinline__ float max_of_warp(float x) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) x = v_max(x, __shfl_xor_sync(ALL, x, step));
    return x;
}

/* The digits of the row's q, by each warp for itself; returns the row's factor. */
template <int DIM>
static __device__ __forceinline__ float load_query(uint32_t q[DIGITS][DIM / 4], const float *x,
                                                   int32_t dim, const float *cos_sin, float scale) {
    const int32_t lane = threadIdx.x % 32;
    float v[4];
    uint32_t largest = 0, word[DIGITS];
    load_four(v, x, 4 * lane, dim, cos_sin);
#pragma unroll
    for (int e = 0; e < 4; e++) {
        v[e] = __fmul_rn(v[e], scale);
        largest = max(largest, magnitude(v[e]));
    }
    const fixed_point f = fixed_point_of(__reduce_max_sync(ALL, largest));
    gather_digits(word, digits_of(v[0], f.up), digits_of(v[1], f.up), digits_of(v[2], f.up),
                  digits_of(v[3], f.up));
#pragma unroll
    for (int i = 0; i < DIGITS; i++)
        if (4 * lane < DIM) q[i][lane] = word[i];
    __syncwarp();
    return f.down;
}

/* The row's own key (warp 0: v is its four values a lane) or value (warp 1) as codes into the tile,
 * and into the cache at `at` where `keep`. */
template <int DIM>
static __device__ __forceinline__ void store_own(split_shared<DIM> *s, const nr_cuda_span &span,
                                                 const float v[4], int32_t dim, int32_t row,
                                                 int64_t at, bool keep) {
    const int32_t lane = threadIdx.x % 32;
    const bool is_v = threadIdx.x >= 32;
    float amax = 0.0f, scale, inverse;
    uint32_t word = 0;
#pragma unroll
    for (int e = 0; e < 4; e++) amax = v_max(fabsf(v[e]), amax);
    amax = max_of_warp(amax);
    scale_of(amax, &scale, &inverse);
#pragma unroll
    for (int e = 0; e < 4; e++) word |= (uint32_t)(uint8_t)code_of(v[e], inverse) << (8 * e);
    if (4 * lane < dim) {
        *(uint32_t *)&(is_v ? s->tile.v : s->tile.k)[0][row][4 * lane] = word;
        if (keep) *(uint32_t *)((int8_t *)(is_v ? span.v : span.k) + at * dim + 4 * lane) = word;
    }
    if (lane == 0) {
        (is_v ? s->tile.v_scale : s->tile.k_scale)[row] = scale;
        if (keep) (is_v ? span.v_scale : span.k_scale)[at] = scale;
    }
}

/* Rows 0, 1, 2 of a product, a digit each, added up: right in lanes 0 .. 3. */
static __device__ __forceinline__ float sum_rows(int32_t acc) {
    int32_t acc1 = __shfl_down_sync(ALL, acc, 4), acc2 = __shfl_down_sync(ALL, acc, 8);
    return sum_of_digits(acc, acc1, acc2);
}

/* Scores of this warp's 16 keys, times the keys' scales; -inf from key `visible` on. */
template <int DIM>
static __device__ __forceinline__ void score_keys(split_shared<DIM> *s, int32_t visible) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int32_t acc[2][4] = {};
#pragma unroll
    for (int k = 0; k < DIM / 32; k++) {
        uint32_t a[4] = {0, 0, 0, 0}, b[4];
        if (g < DIGITS) {
            a[0] = s->q[warp][g][8 * k + t];
            a[2] = s->q[warp][g][8 * k + 4 + t];
        }
        load_keys(b, s->tile.k[0], warp, 32 * k);
        mma_s8(acc[0], a, b);
        mma_s8(acc[1], a, b + 2);
    }
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float sum = sum_rows(acc[n][e]);
            int32_t key = 16 * warp + 8 * n + 2 * t + e;
            if (g == 0)
                s->scores[key] = key < visible ? __fmul_rn(sum, s->tile.k_scale[key]) : -INFINITY;
        }
}

/* Digits of the weights to this warp's copy, m and l; returns what a sum of them is to be
 * multiplied with. A lane has keys 2 lane, 2 lane + 1. */
template <int DIM>
static __device__ __forceinline__ float weigh_keys(split_shared<DIM> *s, int32_t visible,
                                                   float factor, float2 *ml) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const float2 score = *(const float2 *)&s->scores[2 * lane];
    const float2 v_scale = *(const float2 *)&s->tile.v_scale[2 * lane];
    const float m = __fmul_rn(max_of_warp(v_max(score.x, score.y)), factor);
    const float p0 = weight_of(score.x, factor, m), p1 = weight_of(score.y, factor, m);
    float l = __fadd_rn(p0, p1);
    l = __fadd_rn(l, __shfl_xor_sync(ALL, l, 4)); /* the tree of sum_weights */
    l = __fadd_rn(l, __shfl_xor_sync(ALL, l, 8));
    l = __fadd_rn(l, __shfl_xor_sync(ALL, l, 16));
    l = __fadd_rn(l, __shfl_xor_sync(ALL, l, 1));
    l = __fadd_rn(l, __shfl_xor_sync(ALL, l, 2));
    const float w0 = 2 * lane < visible ? __fmul_rn(p0, v_scale.x) : 0.0f;
    const float w1 = 2 * lane + 1 < visible ? __fmul_rn(p1, v_scale.y) : 0.0f;
    const fixed_point f = fixed_point_of(__reduce_max_sync(ALL, magnitude(v_max(w0, w1))));
    uint32_t word[DIGITS];
    gather_digits(word, digits_of(w0, f.up), digits_of(w1, f.up), 0, 0);
#pragma unroll
    for (int i = 0; i < DIGITS; i++) /* keys 2t, 2t+1, 8+2t, 9+2t of each 16 are one word */
        *((uint16_t *)&s->weights[warp][i][4 * (g / 2) + t] + g % 2) = (uint16_t)word[i];
    __syncwarp();
    *ml = make_float2(m, l);
    return f.down;
}

/* The chunk's o: this warp's 16 values 16 j .. 16 j + 15, for j = warp, warp + WARPS ... */
template <int DIM>
static __device__ __forceinline__ void sum_values(float *o, const split_shared<DIM> *s,
                                                  float down) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int j0 = 0; j0 < DIM / 16; j0 += WARPS) {
        const int j = j0 + warp;
        int32_t acc[2][4] = {};
        if (j >= DIM / 16) break;
#pragma unroll
        for (int h = 0; h < CHUNK / 32; h++) {
            uint32_t a[4] = {0, 0, 0, 0}, b[4];
            if (g < DIGITS) {
                a[0] = s->weights[warp][g][8 * h + t];
                a[2] = s->weights[warp][g][8 * h + 4 + t];
            }
            load_values(b, s->tile.v[0], h, j);
            mma_s8(acc[0], a, b);
            mma_s8(acc[1], a, b + 2);
        }
        float4 x;
        x.x = __fmul_rn(sum_rows(acc[0][0]), down);
        x.y = __fmul_rn(sum_rows(acc[1][0]), down);
        x.z = __fmul_rn(sum_rows(acc[0][1]), down);
        x.w = __fmul_rn(sum_rows(acc[1][1]), down);
        if (g == 0) *(float4 *)(o + 16 * j + 4 * t) = x;
    }
}

template <int DIM>
static __global__ void __launch_bounds__(THREADS)
    k_attention_split(nr_cuda_attention_args a, partial_sums p) {
    __shared__ split_shared<DIM> shared;
    /* Where this launch stores, all cached rows are those of earlier steps: they need not wait. */
    if (!a.k) meet_neighbours(a.early);
    const int32_t head = blockIdx.y, z = p.z0 + (int32_t)blockIdx.z, row = z % a.m,
                  dim = a.head_dim;
    const nr_cuda_span s = a.spans[z / a.m];
    const int32_t first = blockIdx.x * CHUNK, visible = keys_of(s, row, a.causal) - first;
    if (visible <= 0) return;
    const int64_t base = head / (a.n_heads / a.n_kv_heads) * (int64_t)a.cap;
    const head_rows rows = {(const int8_t *)s.k + base * dim,
                            (const int8_t *)s.v + base * dim,
                            s.k_scale + base,
                            s.v_scale + base,
                            0,
                            dim,
                            dim,
                            a.cap};
    const bool own = a.k && visible <= CHUNK; /* the chunk's last key is the row's own */
    begin_chunk<DIM, 1, THREADS>(&shared.tile, rows, first, first + visible - own);
    copy_commit();
    const float *cos_sin = turn_of(a, s.row0 + row);
    meet_neighbours(a.early);
    float own_row[4] = {};
    if (own && threadIdx.x < 64) {
        const int64_t at = s.row0 * a.ldk + (int64_t)(head / (a.n_heads / a.n_kv_heads)) * dim;
        load_four(own_row, threadIdx.x < 32 ? a.k + at : a.v + at, 4 * (threadIdx.x % 32), dim,
                  threadIdx.x < 32 ? cos_sin : NULL);
    }
    const float factor =
        load_query<DIM>(shared.q[threadIdx.x / 32], a.q + (s.row0 + row) * a.ldq + head * dim, dim,
                        cos_sin, __fmul_rn(a.scale, LOG2_E));
    copy_wait<0>();
    __syncthreads();
    if (own) {
        if (threadIdx.x < 64)
            store_own<DIM>(&shared, s, own_row, dim, visible - 1, base + first + visible - 1,
                           head % (a.n_heads / a.n_kv_heads) == 0);
        __syncthreads();
    }
    score_keys<DIM>(&shared, visible);
    __syncthreads();
    float2 ml;
    const float down = weigh_keys<DIM>(&shared, visible, factor, &ml);
    const int64_t at = ((int64_t)blockIdx.z * a.n_heads + head) * p.n_chunks + blockIdx.x;
    sum_values<DIM>(p.o + at * DIM, &shared, down);
    if (threadIdx.x == 0) p.ml[at] = ml;
}

/* The chunks of a head of a row added up: a thread a value. */
template <int DIM>
static __global__ void __launch_bounds__(DIM)
    k_attention_join(nr_cuda_attention_args a, partial_sums p) {
    const int32_t head = blockIdx.x, z = p.z0 + (int32_t)blockIdx.y, row = z % a.m, d = threadIdx.x;
    const nr_cuda_span s = a.spans[z / a.m];
    const int64_t at = ((int64_t)blockIdx.y * a.n_heads + head) * p.n_chunks;
    float y[1];
    meet_neighbours(a.early);
    join_chunks<DIM, 1>(y, p.o + at * DIM + d, p.ml + at, chunks_of(s, row, a.causal));
    if (d < a.head_dim) a.y[(s.row0 + row) * a.ldy + head * a.head_dim + d] = y[0];
}

/* As many rows at a time as the workspace has room for. */
template <int DIM> static cudaError_t launch(const nr_cuda_attention_args *a, cudaStream_t stream) {
    const int32_t n_rows = a->n_spans * a->m;
    const size_t at_once = a->workspace_bytes / partial_bytes(a, 1, DIM);
    const int32_t step = (int32_t)NR_MIN(at_once, (size_t)n_rows);
    cudaError_t e = step > 0 ? cudaSuccess : cudaErrorInvalidValue;
    for (int32_t z0 = 0; e == cudaSuccess && z0 < n_rows; z0 += step) {
        const int32_t rows = NR_MIN(step, n_rows - z0);
        const partial_sums p = partial_sums_of(a, z0, rows, DIM);
        dim3 grid((unsigned)p.n_chunks, (unsigned)a->n_heads, (unsigned)rows);
        e = launch_beside(k_attention_split<DIM>, grid, THREADS, 0, a->overlap, a->early, stream,
                          *a, p);
        if (e == cudaSuccess && !a->joined_later)
            e = launch_beside(k_attention_join<DIM>, dim3(grid.y, grid.z), DIM, 0, a->overlap,
                              a->early, stream, *a, p);
    }
    return e;
}

cudaError_t nr_cuda_attention_split(const nr_cuda_attention_args *a, cudaStream_t stream) {
    if (!nr_cuda_attention_tile_fits(a) || a->dtype != NR_DTYPE_I8) return cudaErrorInvalidValue;
    if (a->k && !nr_cuda_attention_stores(a)) return cudaErrorInvalidValue;
    if (a->joined_later && !nr_cuda_attention_joins(a)) return cudaErrorInvalidValue;
    if (a->head_dim <= 64) return launch<64>(a, stream);
    if (a->head_dim <= 96) return launch<96>(a, stream);
    return launch<128>(a, stream);
}

/* A row's chunks, where heads of 16 values take the room of 64; or digits or halves of a head. */
size_t nr_cuda_attention_fast_workspace(int64_t values_max, int64_t keys_max) {
    size_t values = (size_t)NR_MAX(values_max, 16), keys = (size_t)(keys_max + 3) / 4 * 4;
    size_t row =
        (values / 16) * ((keys + CHUNK - 1) / CHUNK) * (64 * sizeof(float) + sizeof(float2));
    size_t halves = (keys + NR_CUDA_HALVES_KEYS - 1) / NR_CUDA_HALVES_KEYS * NR_CUDA_HALVES_RECORD;
    return NR_MAX(NR_MAX(row, halves), keys * 2 * (DIGITS * 96 + sizeof(float)));
}
