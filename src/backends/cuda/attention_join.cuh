/* SPDX-License-Identifier: MIT
 *
 * attention_join.cuh - where attention_split.cu leaves the sums of a row's chunks, and how they are
 * added up in their order: by a launch of its own, or where the row becomes codes.
 */
#ifndef NR_ATTENTION_JOIN_CUH
#define NR_ATTENTION_JOIN_CUH

#include "attention_fixed.cuh"

/* Chunk results: o [rows][n_heads][n_chunks][DIM], then m and l [rows][n_heads][n_chunks]. */
struct partial_sums {
    float *o;
    float2 *ml;
    int32_t n_chunks, z0; /* z0: the first row of this launch */
};
static inline size_t partial_bytes(const nr_cuda_attention_args *a, int32_t rows, int dim) {
    const size_t n_chunks = (size_t)(a->n_keys_max + CHUNK - 1) / CHUNK;
    return (size_t)rows * (size_t)a->n_heads * n_chunks *
           ((size_t)dim * sizeof(float) + sizeof(float2));
}
/* Of `rows` rows from z0 on, at the beginning of the workspace. */
static inline partial_sums partial_sums_of(const nr_cuda_attention_args *a, int32_t z0,
                                           int32_t rows, int dim) {
    partial_sums p = {};
    p.n_chunks = (a->n_keys_max + CHUNK - 1) / CHUNK;
    p.z0 = z0;
    p.o = (float *)a->workspace;
    p.ml = (float2 *)(p.o + (size_t)rows * (size_t)a->n_heads * (size_t)p.n_chunks * (size_t)dim);
    return p;
}

V_INLINE int32_t keys_of(const nr_cuda_span &s, int32_t row, bool causal) {
    return causal ? min(s.n_keys, s.pos0 + row + 1) : s.n_keys;
}
V_INLINE int32_t chunks_of(const nr_cuda_span &s, int32_t row, bool causal) {
    return (keys_of(s, row, causal) + CHUNK - 1) / CHUNK;
}

V_INLINE void load_parts(float part[][1], const float *o, int i) { part[i][0] = *o; }
V_INLINE void load_parts(float part[][4], const float *o, int i) {
    const float4 v = *(const float4 *)o;
    part[i][0] = v.x, part[i][1] = v.y, part[i][2] = v.z, part[i][3] = v.w;
}

/* By a warp of a head: y = VALUES values of this lane of the row, from o on in each of the n
 * chunks, DIM apart. The factors of 32 chunks at a time, a lane each; parts of AHEAD chunks are on
 * their way while those are made. */
template <int DIM, int VALUES>
V_INLINE void join_chunks(float y[VALUES], const float *o, const float2 *ml, int32_t n) {
    const int AHEAD = 16, lane = threadIdx.x % 32;
    float m_before = -INFINITY, l = 0.0f, part[AHEAD][VALUES];
#pragma unroll
    for (int e = 0; e < VALUES; e++) y[e] = 0.0f;
    for (int32_t c0 = 0; c0 < n; c0 += 32) {
        const float2 own = c0 + lane < n ? ml[c0 + lane] : make_float2(-INFINITY, 0.0f);
#pragma unroll
        for (int i = 0; i < AHEAD; i++)
            if (c0 + i < n) load_parts(part, o + (int64_t)(c0 + i) * DIM, i);
        float m = lane ? own.x : v_max(m_before, own.x); /* becomes the largest up to this chunk */
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            float below = __shfl_up_sync(ALL, m, step);
            if (lane >= step) m = v_max(below, m);
        }
        const float below = __shfl_up_sync(ALL, m, 1), old_m = lane ? below : m_before;
        const float old_part = exp2_fast(__fsub_rn(old_m, m));
        const float new_part = exp2_fast(__fsub_rn(own.x, m));
        m_before = __shfl_sync(ALL, m, 31);
        for (int32_t c = 0; c < 32 && c0 + c < n; c += AHEAD) {
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                const float old_f = __shfl_sync(ALL, old_part, c + i);
                const float new_f = __shfl_sync(ALL, new_part, c + i);
                const float l_c = __shfl_sync(ALL, own.y, c + i);
                if (c0 + c + i >= n) break;
                l = __fmaf_rn(l, old_f, __fmul_rn(l_c, new_f));
#pragma unroll
                for (int e = 0; e < VALUES; e++)
                    y[e] = __fmaf_rn(y[e], old_f, __fmul_rn(part[i][e], new_f));
            }
#pragma unroll
            for (int i = 0; i < AHEAD; i++)
                if (c + AHEAD < 32 && c0 + c + AHEAD + i < n)
                    load_parts(part, o + (int64_t)(c0 + c + AHEAD + i) * DIM, i);
        }
    }
    const float inverse = __fdiv_rn(1.0f, l);
#pragma unroll
    for (int e = 0; e < VALUES; e++) y[e] = __fmul_rn(y[e], inverse);
}

#endif
