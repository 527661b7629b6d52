/* SPDX-License-Identifier: MIT
 *
 * linear_tile.cuh - what the i8 linears of many rows share, whose tiles of weights and activations
 * lie in shared memory: OUTS weight rows by ROWS tokens, a stage of STEP codes of k at a time.
 *
 * Spikes: for each result the epilogue needs the four weight codes in the columns where its token
 * has spikes. At the end they would be single bytes from all over the matrix; but each of them
 * lies in shared memory once, in the stage of its column. So a tile's spikes are sorted by stage
 * beforehand, and beside the products of a stage a few warps copy its spikes' columns to where the
 * epilogue finds them, a word of two spikes and two weight rows. They stay in shared memory: as
 * bytes in the L2 cache they cost sixteen sectors a column to write.
 *
 * A fragment of sums is that of mma and wgmma alike: lane 4g+t has weight rows g and g+8 of each
 * sixteen at tokens 2t and 2t+1 of each eight.
 */
#ifndef NR_LINEAR_TILE_CUH
#define NR_LINEAR_TILE_CUH

#include "cuda_activate.cuh"
#include "linear_epilogue.cuh"
#include "linear_variants.h"

/* What the results need beside sums and codes: of the tokens, of the weight rows. */
template <int OUTS, int ROWS> struct tile_values {
    float sx[ROWS];
    float spike[NR_CUDA_SPIKES][ROWS];
    float outlier[NR_CUDA_TILE_OUTLIERS][ROWS];
    float scale[OUTS], bias[OUTS];
    float outlier_weight[NR_CUDA_TILE_OUTLIERS][OUTS];
};

/* A thread's share of the values, of THREADS threads. They are all loaded before the first is put
 * into shared memory, since a load does not pass a store: one after the other they take as long as
 * a tile. Columns that are not there are 0 * -0, which changes no sum, not even the sign of a zero:
 * the epilogue needs no branches then. */
template <int THREADS, int OUTS, int ROWS> struct value_loads {
    static const int OF_ROWS = (ROWS + THREADS - 1) / THREADS;
    static const int OF_OUTS = (OUTS + THREADS - 1) / THREADS;
    float4 spike[OF_ROWS];
    float sx[OF_ROWS], x[NR_CUDA_TILE_OUTLIERS][OF_ROWS];
    float scale[OF_OUTS], bias[OF_OUTS], w[NR_CUDA_TILE_OUTLIERS][OF_OUTS];

    __device__ __forceinline__ void load(const nr_cuda_linear_i8_args &a, int32_t n0, int32_t m0,
                                         int thread) {
        int32_t column[NR_CUDA_TILE_OUTLIERS];
#pragma unroll
        for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++)
            column[o] = o < a.n_outliers ? a.outlier_columns[o] : 0;
#pragma unroll
        for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++) {
            const bool there = o < a.n_outliers;
#pragma unroll
            for (int q = 0; q < OF_ROWS; q++) {
                int32_t row = min(m0 + thread + q * THREADS, a.m - 1);
                x[o][q] = there ? a.x[row * a.ldx + column[o]] : 0.0f;
            }
#pragma unroll
            for (int q = 0; q < OF_OUTS; q++) {
                int32_t n = min(n0 + thread + q * THREADS, a.n_out_pad - 1);
                w[o][q] = there ? a.outlier_weights[o * a.n_out_pad + n] : -0.0f;
            }
        }
#pragma unroll
        for (int q = 0; q < OF_ROWS; q++) {
            int32_t row = min(m0 + thread + q * THREADS, a.m - 1);
            spike[q] = *(const float4 *)(a.spike_val + row * NR_CUDA_SPIKES);
            sx[q] = a.sx[row];
        }
#pragma unroll
        for (int q = 0; q < OF_OUTS; q++) {
            int32_t n = min(n0 + thread + q * THREADS, a.n_out_pad - 1);
            scale[q] = a.scale[n];
            bias[q] = a.bias ? a.bias[n] : 0.0f;
        }
    }
    __device__ __forceinline__ void put(tile_values<OUTS, ROWS> *v, int thread) const {
#pragma unroll
        for (int q = 0; q < OF_ROWS; q++) {
            int32_t r = thread + q * THREADS;
            if (r >= ROWS) continue;
            v->sx[r] = sx[q];
            v->spike[0][r] = spike[q].x, v->spike[1][r] = spike[q].y;
            v->spike[2][r] = spike[q].z, v->spike[3][r] = spike[q].w;
#pragma unroll
            for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++) v->outlier[o][r] = x[o][q];
        }
#pragma unroll
        for (int q = 0; q < OF_OUTS; q++) {
            int32_t i = thread + q * THREADS;
            if (i >= OUTS) continue;
            v->scale[i] = scale[q], v->bias[i] = bias[q];
#pragma unroll
            for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++) v->outlier_weight[o][i] = w[o][q];
        }
    }
};

/* ---- spikes */

/* Those of stage s are entry[at[s]] .. entry[at[s + 1] - 1]: number of the spike in the tile *
 * STEP + k within the stage. */
template <typename ENTRY, int STEP, int ROWS> struct spike_list {
    static const int SPIKES = ROWS * NR_CUDA_SPIKES, STEPS_MAX = NR_CUDA_TILE_K_MAX / STEP;
    int32_t at[STEPS_MAX + 1];
    ENTRY entry[SPIKES];
};

/* at[s + 1] = what at[1] .. at[s] were together; by one warp. */
template <int STEPS_MAX>
static __device__ __forceinline__ void scan_counts(int32_t *at, int32_t steps, int lane) {
    const int PART = STEPS_MAX / 32;
    int32_t count[PART], sum = 0;
#pragma unroll
    for (int i = 0; i < PART; i++) {
        int32_t s = lane * PART + i;
        count[i] = s < steps ? at[s + 1] : 0;
        sum += count[i];
    }
    int32_t before = sum;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        int32_t other = __shfl_up_sync(0xffffffffu, before, d);
        if (lane >= d) before += other;
    }
    before -= sum;
#pragma unroll
    for (int i = 0; i < PART; i++) {
        int32_t s = lane * PART + i;
        if (s < steps) at[s + 1] = before;
        before += count[i];
    }
}

/* Sort the spikes of the tile's tokens, by THREADS threads that meet at barrier BARRIER. */
template <int THREADS, int BARRIER, typename ENTRY, int STEP, int ROWS>
static __device__ __forceinline__ void sort_spikes(spike_list<ENTRY, STEP, ROWS> *l,
                                                   const nr_cuda_linear_i8_args &a, int32_t m0,
                                                   int32_t steps, int thread) {
    typedef spike_list<ENTRY, STEP, ROWS> L;
    const int OWN = (L::SPIKES + THREADS - 1) / THREADS;
    int32_t column[OWN], n = min(ROWS, a.m - m0) * NR_CUDA_SPIKES;
#pragma unroll
    for (int q = 0; q < OWN; q++) {
        int32_t i = thread + q * THREADS;
        column[q] = i < n ? a.spike_col[m0 * NR_CUDA_SPIKES + i] : -1;
    }
    part_sync<BARRIER, THREADS>(); /* all have done with the list before */
    for (int32_t s = thread; s <= steps; s += THREADS) l->at[s] = 0;
    part_sync<BARRIER, THREADS>();
#pragma unroll
    for (int q = 0; q < OWN; q++)
        if (column[q] >= 0) atomicAdd(&l->at[column[q] / STEP + 1], 1);
    part_sync<BARRIER, THREADS>();
    if (thread < 32) scan_counts<L::STEPS_MAX>(l->at, steps, thread);
    part_sync<BARRIER, THREADS>();
#pragma unroll
    for (int q = 0; q < OWN; q++)
        if (column[q] >= 0)
            l->entry[atomicAdd(&l->at[column[q] / STEP + 1], 1)] =
                (ENTRY)((thread + q * THREADS) * STEP + column[q] % STEP);
    part_sync<BARRIER, THREADS>();
}

/* Where chunk c (16 codes) of row r of a stage lies: as wide rows as make up the 32 banks take
 * turns, so that neither 8 rows of a chunk nor 8 chunks of a row meet a bank twice. */
template <int STEP> static __device__ __forceinline__ int32_t chunk_at(int32_t r, int32_t c) {
    static_assert(STEP == 64 || STEP == 128, "a row of a stage");
    return r * STEP + (STEP == 128 ? c ^ (r & 7) : (c ^ (r >> 1)) & 3) * 16;
}

/* Codes kept for weight rows g and g + 8 of sixteen `slab` at a token: [4 spikes][2], 8 bytes. 32
 * bytes are exchanged by bits of the token, so that the epilogue's lanes meet no bank twice. */
template <int OUTS>
static __device__ __forceinline__ int32_t kept_at(int32_t token, int32_t slab, int32_t g) {
    return token * 4 * OUTS + ((2 * slab + g / 4) ^ (token / 2 & 3)) * 32 + g % 4 * 8;
}

/* Keep the spikes of a stage; w: its weight tile. By n_warps warps, OF_WARP of a warp a spike: 8,
 * and two spikes at a time, where few warps have them all; 32 where all warps of a block wait. */
template <int OUTS, int OF_WARP, typename ENTRY, int STEP, int ROWS>
static __device__ __forceinline__ void keep_spikes(uint8_t *kept,
                                                   const spike_list<ENTRY, STEP, ROWS> *l,
                                                   const uint8_t *w, int32_t s, int warp,
                                                   int n_warps) {
    const int APART = OF_WARP / 8, PAIRS = OUTS / 16 / APART, TIMES = OF_WARP == 8 ? 2 : 1;
    const int ABREAST = 32 / OF_WARP, lane = threadIdx.x % 32, g = lane % 8;
    const int32_t end = l->at[s + 1], slab = lane % OF_WARP / 8;
    for (int32_t i = l->at[s] + TIMES * ABREAST * warp; i < end; i += TIMES * ABREAST * n_warps) {
        uint32_t which[TIMES], pair[TIMES][PAIRS];
#pragma unroll
        for (int u = 0; u < TIMES; u++) {
            uint32_t entry = l->entry[min(i + u * ABREAST + lane / OF_WARP, end - 1)];
            uint32_t k = entry % STEP;
            const uint8_t *src = w + chunk_at<STEP>(16 * slab + g, (int32_t)k / 16) + k % 16;
            which[u] = entry / STEP;
#pragma unroll
            for (int j = 0; j < PAIRS; j++) {
                const uint8_t *two = src + 16 * j * APART * STEP;
                pair[u][j] = two[0] | (uint32_t)two[8 * STEP] << 8;
            }
        }
#pragma unroll
        for (int u = 0; u < TIMES; u++) {
            if (i + u * ABREAST + lane / OF_WARP >= end) continue;
            int32_t token = (int32_t)(which[u] / NR_CUDA_SPIKES);
            uint8_t *even = kept + which[u] % NR_CUDA_SPIKES * 2, *odd = even;
            even += kept_at<OUTS>(token, slab, g);
            odd += kept_at<OUTS>(token, slab + APART, g);
#pragma unroll
            for (int j = 0; j < PAIRS; j++)
                *(uint16_t *)((j % 2 ? odd : even) + j / 2 * APART * 128) = (uint16_t)pair[u][j];
        }
    }
}

/* ---- epilogue */

/* Eight results of a lane: [2 groups of eight tokens][2 tokens][2 weight rows]. */
struct eight {
    float y[8];
};

/* Residuals of groups j and j + 1; at: of the lane's first token and weight row, NULL: none. */
template <int GROUPS>
static __device__ __forceinline__ void load_residuals(eight *e, const nr_cuda_linear_i8_args &a,
                                                      const float *at, int j, int32_t rows_left,
                                                      const bool inside[2]) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int r = 8 * (j + i / 4) + i / 2 % 2;
        bool here = at && j + i / 4 < GROUPS && r < rows_left && inside[i % 2];
        e->y[i] = here ? at[r * a.ldy + i % 2 * 8] : 0.0f;
    }
}

/* The lane's weight rows: scale, bias, weights of the outlier columns. */
struct row_values {
    float scale[2], bias[2], weight[NR_CUDA_TILE_OUTLIERS][2];
};

/* Sums of groups j and j + 1 to results before activation and residual. token: the lane's first of
 * group 0, in the tile; kept: its codes. */
template <int OUTS, int ROWS, int GROUPS>
static __device__ __forceinline__ void finish(eight *e, const nr_cuda_linear_i8_args &a,
                                              const int32_t *acc,
                                              const tile_values<OUTS, ROWS> *v,
                                              const row_values *w, const uint8_t *kept, int token,
                                              int j) {
    const int N = GROUPS - j < 2 ? 1 : 2;
#pragma unroll
    for (int q = 0; q < N; q++) {
        float2 sx = *(const float2 *)&v->sx[token + 8 * (j + q)];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float value = (float)acc[4 * (j + q) + i % 2 * 2 + i / 2];
            float scale = __fmul_rn(i / 2 ? sx.y : sx.x, w->scale[i % 2]);
            e->y[4 * q + i] = a.bias ? __fmaf_rn(value, scale, w->bias[i % 2])
                                     : __fmul_rn(value, scale);
        }
    }
#pragma unroll
    for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++) {
        if (a.n_outliers == 0) break;
#pragma unroll
        for (int q = 0; q < N; q++) {
            float2 x = *(const float2 *)&v->outlier[o][token + 8 * (j + q)];
#pragma unroll
            for (int i = 0; i < 4; i++)
                e->y[4 * q + i] =
                    __fmaf_rn(i / 2 ? x.y : x.x, w->weight[o][i % 2], e->y[4 * q + i]);
        }
    }
#pragma unroll
    for (int q = 0; q < N; q++) {
        uint2 codes[2];
#pragma unroll
        for (int i = 0; i < 2; i++)
            codes[i] = *(const uint2 *)(kept + (8 * (j + q) + i) * 4 * OUTS);
#pragma unroll
        for (int s = 0; s < NR_CUDA_SPIKES; s++) {
            float2 x = *(const float2 *)&v->spike[s][token + 8 * (j + q)];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t word = s / 2 ? codes[i / 2].y : codes[i / 2].x;
                float code = __fmul_rn(code_at(word, s % 2 * 2 + i % 2), w->scale[i % 2]);
                e->y[4 * q + i] = __fmaf_rn(i / 2 ? x.y : x.x, code, e->y[4 * q + i]);
            }
        }
    }
}

/* All results of a lane in sixteen weight rows, by GROUPS times eight tokens from row0 of the tile
 * on; acc: [GROUPS][4]. Residuals come while the group in front of theirs is computed. */
template <int OUTS, int ROWS, int GROUPS, bool ACTIVATES>
static __device__ __forceinline__ void store_slab(const nr_cuda_linear_i8_args &a,
                                                  const int32_t *acc,
                                                  const tile_values<OUTS, ROWS> *v,
                                                  const uint8_t *kept, int slab, int row0,
                                                  int32_t n0, int32_t m0) {
    const int lane = threadIdx.x % 32, g = lane / 4, token = row0 + lane % 4 * 2;
    const int32_t out = 16 * slab + g, rows_left = a.m - m0 - token;
    const bool inside[2] = {n0 + out < a.n_out, n0 + out + 8 < a.n_out};
    const int64_t first = (m0 + token) * a.ldy + n0 + out;
    const float *residual_at = a.residual ? a.residual + first : NULL;
    float *y = a.y + first;
    row_values w;
    eight residual[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        w.scale[h] = v->scale[out + 8 * h], w.bias[h] = v->bias[out + 8 * h];
#pragma unroll
        for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++)
            w.weight[o][h] = v->outlier_weight[o][out + 8 * h];
    }
    kept += kept_at<OUTS>(token, slab, g);
    load_residuals<GROUPS>(&residual[0], a, residual_at, 0, rows_left, inside);
#pragma unroll
    for (int j = 0; j < GROUPS; j += 2) {
        eight e;
        load_residuals<GROUPS>(&residual[(j / 2 + 1) % 2], a, residual_at, j + 2, rows_left,
                               inside);
        finish<OUTS, ROWS, GROUPS>(&e, a, acc, v, &w, kept, token, j);
        if (ACTIVATES) activate_each<8>(e.y, a.activation);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int r = 8 * (j + i / 4) + i / 2 % 2;
            if (j + i / 4 >= GROUPS) continue;
            float value = e.y[i];
            if (a.residual) value = __fadd_rn(residual[j / 2 % 2].y[i], value);
            if (r < rows_left && inside[i % 2]) y[r * a.ldy + i % 2 * 8] = value;
        }
    }
}

#endif
