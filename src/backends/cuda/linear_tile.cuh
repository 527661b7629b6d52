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

/* What the results need beside sums and codes: of the tokens, of the weight rows. A token's are its
 * scale, spikes and outliers, side by side with those of the token beside it, as a lane needs them;
 * rows of 28 keep the four pairs that a warp looks at apart. */
#define TOKEN_VALUES (1 + NR_CUDA_SPIKES + NR_CUDA_TILE_OUTLIERS)
template <int OUTS, int ROWS> struct __align__(16) tile_values {
    float tokens[ROWS / 2][28]; /* [TOKEN_VALUES][2] */
    float scale[OUTS], bias[OUTS];
    float outlier_weight[NR_CUDA_TILE_OUTLIERS][OUTS];
};

/* Columns of outliers, 0 where there are none; loaded well before the values are asked for. */
struct outlier_list {
    int32_t column[NR_CUDA_TILE_OUTLIERS];
    __device__ __forceinline__ explicit outlier_list(const nr_cuda_linear_i8_args &a) {
#pragma unroll
        for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++)
            column[o] = o < a.n_outliers ? a.outlier_columns[o] : 0;
    }
};

/* A thread's share of the values, of THREADS threads: copied into shared memory on their own, there
 * when the thread has waited for its copies. Loads into registers would not pass the stores of
 * those before them, and one after the other they take as long as a tile. A bias that is not there
 * is -0, a column 0 * -0, which changes no sum, not even the sign of a zero: the epilogue needs no
 * branches then. */
template <int THREADS, int OUTS, int ROWS>
static __device__ __forceinline__ void copy_values(tile_values<OUTS, ROWS> *v,
                                                   const nr_cuda_linear_i8_args &a,
                                                   const outlier_list &outliers, int32_t n0,
                                                   int32_t m0, int thread) {
    for (int32_t r = thread; r < ROWS; r += THREADS) {
        const int32_t row = min(m0 + r, a.m - 1);
        const float *x = a.x + row * a.ldx;
        float *token = &v->tokens[r / 2][r % 2];
        copy_4(token, a.sx + row, true);
#pragma unroll
        for (int s = 0; s < NR_CUDA_SPIKES; s++)
            copy_4(token + 2 * (1 + s), a.spike_val + row * NR_CUDA_SPIKES + s, true);
#pragma unroll
        for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++)
            copy_4(token + 2 * (1 + NR_CUDA_SPIKES + o), x + outliers.column[o], o < a.n_outliers);
    }
    for (int32_t i = thread; i < OUTS; i += THREADS) {
        const int32_t n = min(n0 + i, a.n_out_pad - 1);
        copy_4(&v->scale[i], a.scale + n, true);
        if (a.bias) copy_4(&v->bias[i], a.bias + n, true);
        else v->bias[i] = -0.0f;
#pragma unroll
        for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++) {
            float *w = &v->outlier_weight[o][i];
            if (o < a.n_outliers) copy_4(w, a.outlier_weights + o * a.n_out_pad + n, true);
            else *w = -0.0f;
        }
    }
    copy_commit();
}

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

/* Codes are kept, each code + 128, as words of two spikes (`half` of the four) and two weight rows,
 * g and g + 8 of sixteen: [token][blocks of 32 bytes][g]. The block of the sixteen rows `slab`,
 * half and token is these bits exclusive-ored, and its lowest two are its banks: for the lanes of
 * the epilogue, four pairs of tokens side by side, they differ, and who keeps spikes goes through
 * the slabs in an order in which they differ too. */
static __device__ __forceinline__ int32_t block_of_slab(int32_t slab) {
    return (slab >> 1 & 1) | (slab & 1) << 1 | (slab >> 1) << 2;
}
static __device__ __forceinline__ int32_t block_of(int32_t token, int32_t half) {
    return (token / 2 & 3) ^ half;
}

/* Where the codes of a tile are kept, those of a token from of(token) on. */
struct kept_here {
    uint8_t *kept;
    __device__ __forceinline__ uint8_t *of(int32_t) const { return kept; }
};

/* A spike on its way from a stage to where it is kept: its token and place among the four, and the
 * first of the slabs that this thread goes through (the others are exclusive-ored to it). */
struct spike_way {
    int32_t token, place, slab;
    uint32_t k;
};
template <int OF_WARP, int STEP>
static __device__ __forceinline__ spike_way way_of(uint32_t entry, int lane) {
    spike_way s;
    s.k = entry % STEP;
    s.place = (int32_t)(entry / STEP) % NR_CUDA_SPIKES;
    s.token = (int32_t)(entry / STEP) / NR_CUDA_SPIKES;
    int32_t other = (lane / 8 ^ block_of(s.token, s.place / 2)) & 3; /* banks than the lane's own */
    s.slab = OF_WARP == 8 ? other >> 1 | (other & 1) << 1 : lane / 8;
    return s;
}

/* Keep the spikes entry[first] .. entry[end - 1] of a stage; w: its weight tile. By n_warps warps,
 * OF_WARP threads a spike and TIMES spikes of a thread at once: 8 threads where few warps have all
 * spikes of a stage, 32 where all warps of a block wait. */
template <int OUTS, int OF_WARP, int TIMES, class KEPT, typename ENTRY, int STEP, int ROWS>
static __device__ __forceinline__ void keep_spikes(KEPT kept,
                                                   const spike_list<ENTRY, STEP, ROWS> *l,
                                                   const uint8_t *w, int32_t first, int32_t end,
                                                   int warp, int n_warps) {
    const int PAIRS = OUTS / 16 / (OF_WARP / 8); /* of weight rows: of four slabs, the next four */
    const int LOW = OF_WARP == 8 ? NR_MIN(PAIRS, 4) : 1;
    const int ABREAST = 32 / OF_WARP, lane = threadIdx.x % 32, g = lane % 8;
    for (int32_t i = first + TIMES * ABREAST * warp; i < end; i += TIMES * ABREAST * n_warps) {
        spike_way way[TIMES];
        uint32_t pair[TIMES][PAIRS];
#pragma unroll
        for (int u = 0; u < TIMES; u++) {
            way[u] = way_of<OF_WARP, STEP>(
                l->entry[min(i + u * ABREAST + lane / OF_WARP, end - 1)], lane);
            const uint8_t *src =
                w + chunk_at<STEP>(g, (int32_t)way[u].k / 16) + way[u].k % 16;
#pragma unroll
            for (int j = 0; j < PAIRS; j++) {
                const int32_t row = 16 * (j % LOW ^ way[u].slab) + 64 * (j / LOW);
                const uint8_t *two = src + row * STEP;
                pair[u][j] = (two[0] | (uint32_t)two[8 * STEP] << 8) ^ 0x8080u;
            }
        }
#pragma unroll
        for (int u = 0; u < TIMES; u++) {
            if (i + u * ABREAST + lane / OF_WARP >= end) continue;
            const int32_t token = way[u].token, place = way[u].place;
            const int32_t block = block_of_slab(way[u].slab) ^ block_of(token, place / 2);
            uint8_t *at = kept.of(token) + token * 4 * OUTS + g * 4 + place % 2 * 2;
#pragma unroll
            for (int j = 0; j < PAIRS; j++)
                *(uint16_t *)(at + (block_of_slab(j % LOW) ^ block) * 32 + j / LOW * 256) =
                    (uint16_t)pair[u][j];
        }
    }
}

/* ---- epilogue */

/* Eight results of a lane: [2 groups of eight tokens][2 tokens][2 weight rows]. */
struct eight {
    float y[8];
};

/* Where a lane's results go: its first token and weight row, those rows of its tokens that are in
 * the matrix, for each of its two weight rows (r < rows[i]), and the bytes from token to token. */
struct lane_results {
    const uint8_t *residual;
    uint8_t *y;
    int32_t rows[2], residual_rows[2];
    uint32_t stride;
};

/* Residuals of groups j and j + 1; -0, which changes no sum, where there are none. */
template <int GROUPS>
static __device__ __forceinline__ void load_residuals(eight *e, const lane_results *to, int j) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
        uint32_t r = 8 * (j + i / 4) + i / 2 % 2;
        const float *at = (const float *)(to->residual + (uint64_t)r * to->stride);
        bool here = j + i / 4 < GROUPS && (int32_t)r < to->residual_rows[i % 2];
        e->y[i] = here ? at[i % 2 * 8] : -0.0f;
    }
}

/* The lane's weight rows: scale, bias, weights of the outlier columns. */
struct row_values {
    float scale[2], bias[2], weight[NR_CUDA_TILE_OUTLIERS][2];
};

/* Sums of the group at acc to results before activation and residual: y[2 tokens][2 weight rows].
 * token: the lane's pair of them; kept: their codes, of the first and second half of the spikes. */
template <int OUTS>
static __device__ __forceinline__ void finish(float y[4], const nr_cuda_linear_i8_args &a,
                                              const int32_t acc[4], const float token[28],
                                              const row_values *w, const uint8_t *kept[2]) {
    const float4 *two = (const float4 *)token; /* two values of two tokens */
    const float4 first = two[0], second = two[1], third = two[2];
    const float spike[NR_CUDA_SPIKES][2] = {
        {first.z, first.w}, {second.x, second.y}, {second.z, second.w}, {third.x, third.y}};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float scale = __fmul_rn(i / 2 ? first.y : first.x, w->scale[i % 2]);
        y[i] = __fmaf_rn((float)acc[i % 2 * 2 + i / 2], scale, w->bias[i % 2]);
    }
    if (a.n_outliers > 0) {
#pragma unroll
        for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++) {
            const float4 v = two[(1 + NR_CUDA_SPIKES + o) / 2];
            const float x[2] = {o % 2 ? v.x : v.z, o % 2 ? v.y : v.w};
#pragma unroll
            for (int i = 0; i < 4; i++) y[i] = __fmaf_rn(x[i / 2], w->weight[o][i % 2], y[i]);
        }
    }
    uint32_t codes[2][2];
#pragma unroll
    for (int i = 0; i < 4; i++)
        codes[i / 2][i % 2] = *(const uint32_t *)(kept[i / 2] + i % 2 * 4 * OUTS);
#pragma unroll
    for (int s = 0; s < NR_CUDA_SPIKES; s++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float code = offset_code_at(codes[s / 2][i / 2], s % 2 * 2 + i % 2);
            y[i] = __fmaf_rn(spike[s][i / 2], __fmul_rn(code, w->scale[i % 2]), y[i]);
        }
}

static __device__ __forceinline__ lane_results results_of(const nr_cuda_linear_i8_args &a,
                                                          int32_t n, int32_t m) {
    const int64_t first = m * a.ldy + n;
    lane_results to;
    to.residual = (const uint8_t *)(a.residual + (a.residual ? first : 0));
    to.y = (uint8_t *)(a.y + first);
    to.stride = (uint32_t)a.ldy * (uint32_t)sizeof(float);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        to.rows[i] = n + 8 * i < a.n_out ? a.m - m : 0;
        to.residual_rows[i] = a.residual ? to.rows[i] : 0;
    }
    return to;
}

/* All results of a lane in sixteen weight rows, by GROUPS times eight tokens from row0 of the tile
 * on; acc: [GROUPS][4]. Residuals, where there may be some (ADDS), come while groups in front of
 * theirs are computed, the first while `wait` waits for sums, values and codes. */
template <int OUTS, int ROWS, int GROUPS, bool ACTIVATES, bool ADDS, class WAIT>
static __device__ __forceinline__ void store_slab(const nr_cuda_linear_i8_args &a,
                                                  const int32_t *acc,
                                                  const tile_values<OUTS, ROWS> *v,
                                                  const uint8_t *kept, int slab, int row0,
                                                  int32_t n0, int32_t m0, const WAIT &wait) {
    const int AHEAD = GROUPS <= 10 ? 2 : 1; /* pairs of groups whose residuals are on their way */
    const int lane = threadIdx.x % 32, g = lane / 4, token = row0 + lane % 4 * 2;
    const int32_t out = 16 * slab + g;
    const lane_results to = results_of(a, n0 + out, m0 + token);
    row_values w;
    eight residual[AHEAD + 1];
#pragma unroll
    for (int i = 0; i < AHEAD; i++)
        if (ADDS) load_residuals<GROUPS>(&residual[i], &to, 2 * i);
    wait();
#pragma unroll
    for (int h = 0; h < 2; h++) {
        w.scale[h] = v->scale[out + 8 * h], w.bias[h] = v->bias[out + 8 * h];
#pragma unroll
        for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++)
            w.weight[o][h] = v->outlier_weight[o][out + 8 * h];
    }
    const int32_t block = block_of_slab(slab) ^ block_of(token, 0);
    const uint8_t *codes = kept + token * 4 * OUTS + g * 4;
#pragma unroll
    for (int j = 0; j < GROUPS; j += 2) {
        eight e;
        if (ADDS)
            load_residuals<GROUPS>(&residual[(j / 2 + AHEAD) % (AHEAD + 1)], &to, j + 2 * AHEAD);
#pragma unroll
        for (int q = 0; q < 2 && j + q < GROUPS; q++) {
            const uint8_t *group = codes + 8 * (j + q) * 4 * OUTS;
            const uint8_t *halves[2] = {group + block * 32, group + (block ^ 1) * 32};
            finish<OUTS>(&e.y[4 * q], a, acc + 4 * (j + q), v->tokens[token / 2 + 4 * (j + q)], &w,
                         halves);
        }
        if (ACTIVATES) activate_each<8>(e.y, a.activation);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t r = 8 * (j + i / 4) + i / 2 % 2;
            float *y = (float *)(to.y + (uint64_t)r * to.stride);
            if (j + i / 4 >= GROUPS) continue;
            float value = e.y[i];
            if (ADDS) value = __fadd_rn(residual[j / 2 % (AHEAD + 1)].y[i], value);
            if ((int32_t)r < to.rows[i % 2]) y[i % 2 * 8] = value;
        }
    }
}

#endif
