/* SPDX-License-Identifier: MIT
 *
 * linear_i8_gemv.cu - i8 linears of few rows (decode of one to 64 sequences), where time is that of
 * reading the weights once. They go from memory straight into the fragments of mma.sync: a lane
 * takes 16 consecutive codes of a weight row and the same 16 of an activation row. Which code of a
 * fragment is which k does not matter to the sum as long as both sides agree, so neither shuffles
 * nor shared memory are needed. The weights are the 16 rows of the product, 8 tokens its columns.
 *
 * A block takes tiles of 16 or 32 weight rows, grid apart; its 8 warps take turns along k, 64 codes
 * a turn, and add their int32 sums in shared memory. What counts is that loads are under way all
 * the time: one batch is on its way while one is multiplied, the first batch of the next tile while
 * the results of a tile are written, and what the results need of a tile (scale, outlier weights,
 * codes at the spikes, residual) comes beside its weights. For cards before Hopper, which has
 * linear_i8_ring.cu, and for what has no room there; an H200 reads 3.1 of 4.3 TB/s with it.
 */
#include "linear_epilogue.cuh"
#include "linear_variants.h"

#define WARPS 8
#define THREADS (32 * WARPS)
#define SLICE 64 /* codes of k a warp takes at a time, 16 a lane */

/* A batch of weights on its way, and where there are few tokens the activations of the same k: from
 * the L2 cache, under weights that stream through it, they take as long to come as weights do. */
template <int GROUPS, int TILES, int DEEP, bool WITH_X> struct batch {
    uint4 row[DEEP][TILES][2]; /* rows g and g + 8 of each tile */
    uint4 x[WITH_X ? DEEP : 1][GROUPS];
};

static __device__ __forceinline__ uint4 load_codes(const int8_t *x, int32_t at, int32_t k_left) {
    return at < k_left ? *(const uint4 *)(x + at) : make_uint4(0, 0, 0, 0);
}

/* Slices first, first + WARPS, ...; zeros past the end. w: the lane's rows, at its 16 codes; x: its
 * token of each group of 8. */
template <int TILES, int DEEP, class BATCH>
static __device__ __forceinline__ void load_weights(BATCH &b, const int8_t *const w[TILES][2],
                                                    int32_t k, int32_t k_left) {
#pragma unroll
    for (int d = 0; d < DEEP; d++)
#pragma unroll
        for (int i = 0; i < TILES; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                int32_t at = k + d * WARPS * SLICE;
                b.row[d][i][h] = at < k_left ? load_once(w[i][h] + at) : make_uint4(0, 0, 0, 0);
            }
}
template <int GROUPS, int TILES, int DEEP, bool WITH_X>
static __device__ __forceinline__ void load_x(batch<GROUPS, TILES, DEEP, WITH_X> &b,
                                              const int8_t *const x[GROUPS], int32_t k,
                                              int32_t k_left) {
#pragma unroll
    for (int d = 0; WITH_X && d < DEEP; d++)
#pragma unroll
        for (int j = 0; j < GROUPS; j++)
            b.x[d][j] = load_codes(x[j], k + d * WARPS * SLICE, k_left);
}

/* acc += batch times the activations of the same k. */
template <int GROUPS, int TILES, int DEEP, bool WITH_X>
static __device__ __forceinline__ void multiply(int32_t acc[TILES][GROUPS][4],
                                                const batch<GROUPS, TILES, DEEP, WITH_X> &b,
                                                const int8_t *const x[GROUPS], int32_t k,
                                                int32_t k_left) {
#pragma unroll
    for (int d = 0; d < DEEP; d++) {
        int32_t at = k + d * WARPS * SLICE;
        if (at - k % SLICE >= k_left) break; /* the whole warp is past the end */
        uint4 v[GROUPS];
#pragma unroll
        for (int j = 0; j < GROUPS; j++)
            v[j] = WITH_X ? b.x[d][j] : load_codes(x[j], at, k_left);
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            const uint4 &w0 = b.row[d][i][0], &w8 = b.row[d][i][1];
            const uint32_t low[4] = {w0.x, w8.x, w0.y, w8.y}, high[4] = {w0.z, w8.z, w0.w, w8.w};
#pragma unroll
            for (int j = 0; j < GROUPS; j++) {
                const uint32_t v_low[2] = {v[j].x, v[j].y}, v_high[2] = {v[j].z, v[j].w};
                mma_s8(acc[i][j], low, v_low);
                mma_s8(acc[i][j], high, v_high);
            }
        }
    }
}

/* Rows g and g + 8 of each tile from weight row n0 on; a tile past the end is the first again. */
template <int TILES>
static __device__ __forceinline__ void point_to_rows(const int8_t *w[TILES][2],
                                                     const nr_cuda_linear_i8_args &a, int32_t n0) {
    int32_t g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        int32_t n = n0 + 16 * i < a.n_out_pad ? n0 + 16 * i : n0;
        w[i][0] = a.weights + (int64_t)(n + g) * a.k_pad;
        w[i][1] = w[i][0] + 8 * (int64_t)a.k_pad;
    }
}

/* What the results need of the tokens: read once a block. */
template <int GROUPS> struct token_values {
    float sx[8 * GROUPS];
    float spike[8 * GROUPS][NR_CUDA_SPIKES];
    float outlier[8 * GROUPS][NR_LINEAR_OUTLIERS_MAX];
};
template <int GROUPS>
static __device__ __forceinline__ void load_tokens(token_values<GROUPS> *v,
                                                   const nr_cuda_linear_i8_args &a) {
    for (int32_t i = threadIdx.x; i < a.m; i += THREADS) v->sx[i] = a.sx[i];
    for (int32_t i = threadIdx.x; i < a.m * NR_CUDA_SPIKES; i += THREADS)
        (&v->spike[0][0])[i] = a.spike_val[i];
    for (int32_t i = threadIdx.x; i < a.m * a.n_outliers; i += THREADS) {
        int32_t row = i / a.n_outliers, o = i % a.n_outliers;
        v->outlier[row][o] = a.x[row * a.ldx + a.outlier_columns[o]];
    }
}

/* What the results need of a tile: a thread has results at row threadIdx.x / OUTS + p * THREADS /
 * OUTS of the tokens, all at one weight row. */
template <int GROUPS, int TILES> struct tile_loads {
    static const int OUTS = 16 * TILES;
    static const int RESULTS = (OUTS * 8 * GROUPS + THREADS - 1) / THREADS;
    static const int OUTLIERS = (OUTS * NR_LINEAR_OUTLIERS_MAX + THREADS - 1) / THREADS;
    float scale, bias;
    uint32_t codes[RESULTS];
    float residual[RESULTS];
    float outlier_weight[OUTLIERS]; /* number threadIdx.x + q * THREADS of [n_outliers][OUTS] */
};

template <int GROUPS, int TILES>
static __device__ __forceinline__ void load_tile(tile_loads<GROUPS, TILES> *l,
                                                 const nr_cuda_linear_i8_args &a, int32_t n0) {
    typedef tile_loads<GROUPS, TILES> L;
    int32_t n = n0 + threadIdx.x % L::OUTS;
    bool inside = n < a.n_out && (int32_t)threadIdx.x / L::OUTS < a.m;
    l->scale = inside ? a.scale[n] : 0.0f;
    l->bias = inside && a.bias ? a.bias[n] : 0.0f;
#pragma unroll
    for (int p = 0; p < L::RESULTS; p++) {
        int32_t row = (threadIdx.x + p * THREADS) / L::OUTS;
        bool here = n < a.n_out && row < a.m;
        l->codes[p] = here ? spike_codes(a, row, n) : 0;
        l->residual[p] = here && a.residual ? a.residual[row * a.ldy + n] : 0.0f;
    }
#pragma unroll
    for (int q = 0; q < L::OUTLIERS; q++) {
        int32_t i = threadIdx.x + q * THREADS, o = i / L::OUTS;
        n = n0 + i % L::OUTS;
        if (o < a.n_outliers && n < a.n_out_pad)
            l->outlier_weight[q] = a.outlier_weights[(int64_t)o * a.n_out_pad + n];
    }
}

/* Sums to results; the sums are zero again for the tile after the next. */
template <int GROUPS, int TILES>
static __device__ __forceinline__ void store_results(const nr_cuda_linear_i8_args &a,
                                                     const tile_loads<GROUPS, TILES> *l,
                                                     const token_values<GROUPS> *v,
                                                     const float *outlier_weights, int32_t *sums,
                                                     int32_t n0) {
    typedef tile_loads<GROUPS, TILES> L;
    int32_t out = threadIdx.x % L::OUTS, n_spikes = n_spikes_of(a);
#pragma unroll
    for (int p = 0; p < L::RESULTS; p++) {
        int32_t at = threadIdx.x + p * THREADS, row = at / L::OUTS;
        if (n0 + out >= a.n_out || row >= a.m) continue;
        float value = (float)sums[at], scale = __fmul_rn(v->sx[row], l->scale);
        float sum = a.bias ? __fmaf_rn(value, scale, l->bias) : __fmul_rn(value, scale);
        sums[at] = 0;
        for (int32_t o = 0; o < a.n_outliers; o++)
            sum = __fmaf_rn(v->outlier[row][o], outlier_weights[o * L::OUTS + out], sum);
#pragma unroll
        for (int s = 0; s < NR_CUDA_SPIKES; s++)
            if (s < n_spikes)
                sum = __fmaf_rn(v->spike[row][s], __fmul_rn(code_at(l->codes[p], s), l->scale),
                                sum);
        sum = vm_activate(sum, a.activation);
        a.y[row * a.ldy + n0 + out] = a.residual ? __fadd_rn(l->residual[p], sum) : sum;
    }
}

/* 16 * TILES outputs for up to 8 * GROUPS tokens; DEEP slices of a warp in a batch, WITH_X or
 * without; BLOCKS on a multiprocessor. */
template <int GROUPS, int TILES, int DEEP, int BLOCKS, bool WITH_X>
static __global__ void __launch_bounds__(THREADS, BLOCKS)
    k_linear_i8_stream(const __grid_constant__ nr_cuda_linear_i8_args a) {
    typedef tile_loads<GROUPS, TILES> L;
    const int OUTS = L::OUTS, STEP = DEEP * WARPS * SLICE;
    __shared__ int32_t sums[2][8 * GROUPS * OUTS]; /* of this tile and the next, in turns */
    __shared__ float outlier_weights[2][NR_LINEAR_OUTLIERS_MAX * OUTS];
    __shared__ token_values<GROUPS> tokens;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int32_t tiles = (a.n_out + OUTS - 1) / OUTS, k_first = warp * SLICE + 16 * t;
    const int8_t *w[TILES][2], *x[GROUPS];
    batch<GROUPS, TILES, DEEP, WITH_X> even, odd;
    point_to_rows<TILES>(w, a, blockIdx.x * OUTS);
    load_weights<TILES, DEEP>(even, w, k_first, a.k_pad);
    for (int32_t i = threadIdx.x; i < 2 * 8 * GROUPS * OUTS; i += THREADS) (&sums[0][0])[i] = 0;
    load_tokens<GROUPS>(&tokens, a);
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
        x[j] = a.codes + (int64_t)min(8 * j + g, a.m - 1) * a.k_pad;
    load_x(even, x, k_first, a.k_pad);
    __syncthreads();
    int turn = 0;
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x, turn ^= 1) {
        int32_t acc[TILES][GROUPS][4] = {}, next = tile + (int32_t)gridDim.x;
        L loads;
        load_tile<GROUPS, TILES>(&loads, a, tile * OUTS);
        for (int32_t k = k_first; k - 16 * t < a.k_pad; k += 2 * STEP) {
            load_weights<TILES, DEEP>(odd, w, k + STEP, a.k_pad);
            load_x(odd, x, k + STEP, a.k_pad);
            multiply(acc, even, x, k, a.k_pad);
            load_weights<TILES, DEEP>(even, w, k + 2 * STEP, a.k_pad);
            load_x(even, x, k + 2 * STEP, a.k_pad);
            multiply(acc, odd, x, k + STEP, a.k_pad);
        }
        if (next < tiles) {
            point_to_rows<TILES>(w, a, next * OUTS);
            load_weights<TILES, DEEP>(even, w, k_first, a.k_pad);
            load_x(even, x, k_first, a.k_pad);
        }
#pragma unroll
        for (int q = 0; q < L::OUTLIERS; q++)
            if ((int32_t)threadIdx.x + q * THREADS < a.n_outliers * OUTS)
                outlier_weights[turn][threadIdx.x + q * THREADS] = loads.outlier_weight[q];
#pragma unroll
        for (int i = 0; i < TILES; i++)
#pragma unroll
            for (int j = 0; j < GROUPS; j++)
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    int row = 8 * j + 2 * t + c % 2;
                    if (row < a.m)
                        atomicAdd(&sums[turn][row * OUTS + 16 * i + g + 8 * (c / 2)],
                                  acc[i][j][c]);
                }
        __syncthreads();
        store_results<GROUPS, TILES>(a, &loads, &tokens, outlier_weights[turn], sums[turn],
                                     tile * OUTS);
    }
}

template <int GROUPS, int TILES, int DEEP, int BLOCKS, bool WITH_X>
static cudaError_t launch(const nr_cuda_linear_i8_args *a, cudaStream_t stream) {
    int32_t tiles = (a->n_out + 16 * TILES - 1) / (16 * TILES);
    const unsigned blocks = (unsigned)NR_MIN(tiles, a->n_multiprocessors * BLOCKS);
    k_linear_i8_stream<GROUPS, TILES, DEEP, BLOCKS, WITH_X><<<blocks, THREADS, 0, stream>>>(*a);
    return cudaGetLastError();
}

/* Shapes worth trying; names as in linear_variants.h. Those that did not pay are in
 * docs/CUDA_KERNELS.md. */
struct stream_way {
    int rows;
    const char *name;
    cudaError_t (*launch)(const nr_cuda_linear_i8_args *, cudaStream_t);
};
static const stream_way ways[] = {
    {8, "2,1,3", launch<1, 2, 1, 3, false>},  {8, "1,2,3 x", launch<1, 1, 2, 3, true>},
    {8, "1,1,4 x", launch<1, 1, 1, 4, true>}, {32, "1,1,3", launch<4, 1, 1, 3, false>},
    {32, "1,1,2 x", launch<4, 1, 1, 2, true>},
};
int nr_cuda_stream_ways(void) {
    return (int)NR_COUNT(ways);
}
const char *nr_cuda_stream_way(int way, int *rows_max) {
    *rows_max = ways[way].rows;
    return ways[way].name;
}
cudaError_t nr_cuda_linear_i8_stream_way(const nr_cuda_linear_i8_args *a, int way,
                                         cudaStream_t stream) {
    if (a->m > ways[way].rows || a->k_pad % 16) return cudaErrorInvalidValue;
    return ways[way].launch(a, stream);
}

cudaError_t nr_cuda_linear_i8_stream(const nr_cuda_linear_i8_args *a, cudaStream_t stream) {
    if (a->m > NR_CUDA_STREAM_ROWS_MAX || a->k_pad % 16) return cudaErrorInvalidValue;
    /* As measured on an H200: 32 outputs a block where that still gives every multiprocessor its
     * blocks (12288 x 4096, m 1: 16.2 us against 18.6), else 16 (4096 x 4096: 8.8 against 10.0). */
    if (a->m <= 8 && a->n_out >= 64 * a->n_multiprocessors)
        return launch<1, 2, 1, 3, false>(a, stream);
    if (a->m <= 8) return launch<1, 1, 2, 3, true>(a, stream);
    if (a->m <= 16) return launch<2, 2, 1, 2, false>(a, stream);
    if (a->m <= 32) return launch<4, 1, 1, 2, true>(a, stream);
    return launch<8, 2, 1, 1, false>(a, stream);
}
