/* SPDX-License-Identifier: MIT
 *
 * linear_i8_gemm.cu - i8 linears of many rows with mma.sync, for every card from sm_80: tiles of
 * weights and activations come into shared memory by cp.async, several stages ahead, and from there
 * by ldmatrix; 16-byte chunks of a row are exchanged by bits of the row's number, so that neither
 * side meets a bank twice.
 *
 * Spikes: the epilogue needs, for each result, the four weight codes in the columns where its token
 * has spikes. Reading them from memory at the end would cost more sectors than the product itself;
 * but every such code lies in shared memory once, in some stage. Each thread watches the columns of
 * a few spikes, and when the stage holds one, its warp copies that column of the weight tile into
 * the block's part of the workspace (it stays in L2).
 *
 * Blocks are persistent: they take tiles grid apart, so that the workspace is bounded.
 */
#include "linear_epilogue.cuh"
#include "linear_variants.h"

#define STEP 64 /* codes of k a stage */
#define CHUNKS (STEP / 16)
#define STAGES 4

/* OUTS weight rows by ROWS tokens; WO x WR warps. */
template <int OUTS, int ROWS, int WO, int WR> struct tile_shape {
    static const int THREADS = 32 * WO * WR;
    static const int TO = OUTS / WO / 16, TR = ROWS / WR / 8; /* mma tiles of a warp */
    static const int STAGE_BYTES = (OUTS + ROWS) * STEP;
    static const int SHARED_BYTES = STAGES * STAGE_BYTES;
    static const int SPIKES = (ROWS * NR_CUDA_SPIKES + THREADS - 1) / THREADS; /* of a thread */
};

/* Where chunk c of row r lies: two rows fill 128 bytes, so rows r and r+2 must differ. */
static __device__ __forceinline__ int32_t chunk_at(int32_t r, int32_t c) {
    return r * STEP + ((c ^ (r >> 1)) & (CHUNKS - 1)) * 16;
}

/* Rows [first, first + N) of a code matrix, codes [k, k + STEP), zeros outside. */
template <int N, int THREADS>
static __device__ __forceinline__ void copy_rows(uint8_t *stage, const int8_t *matrix,
                                                 int32_t first, int32_t n_rows, int32_t k_pad,
                                                 int32_t k) {
#pragma unroll
    for (int i = 0; i < N * CHUNKS / THREADS; i++) {
        int32_t at = threadIdx.x + i * THREADS, r = at / CHUNKS, c = at % CHUNKS;
        bool inside = first + r < n_rows && k + 16 * c < k_pad;
        const int8_t *src = inside ? matrix + (int64_t)(first + r) * k_pad + k + 16 * c : matrix;
        copy_16(stage + chunk_at(r, c), src, inside);
    }
}

/* One stage: CHUNKS/2 products of 32 codes. */
template <class S>
static __device__ __forceinline__ void multiply_stage(int32_t acc[S::TO][S::TR][4],
                                                      const uint8_t *w, const uint8_t *x,
                                                      int32_t out0, int32_t row0) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int c = 0; c < CHUNKS; c += 2) {
        uint32_t a[S::TO][4], b[S::TR / 2][4];
#pragma unroll
        for (int i = 0; i < S::TO; i++) /* matrices: rows 0-7 and 8-15, then the next chunk */
            load_matrices(a[i], w + chunk_at(out0 + 16 * i + lane % 16, c + lane / 16));
#pragma unroll
        for (int j = 0; j < S::TR / 2; j++) /* tokens 0-7 both chunks, then tokens 8-15 */
            load_matrices(b[j], x + chunk_at(row0 + 16 * j + lane % 8 + lane / 16 * 8,
                                             c + lane / 8 % 2));
#pragma unroll
        for (int i = 0; i < S::TO; i++)
#pragma unroll
            for (int j = 0; j < S::TR; j++) mma_s8(acc[i][j], a[i], &b[j / 2][j % 2 * 2]);
    }
}

/* Copy the columns of weight codes that are spikes of this stage to spikes [ROWS][OUTS] words. */
template <class S, int OUTS, int ROWS>
static __device__ __forceinline__ void keep_spikes(uint32_t *spikes, const int32_t column[],
                                                   const uint8_t *w, int32_t k) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int q = 0; q < S::SPIKES; q++) {
        bool here = column[q] >= k && column[q] < k + STEP;
        uint32_t found = __ballot_sync(0xffffffffu, here);
        while (found) {
            int source = __ffs(found) - 1;
            found &= found - 1;
            int32_t c = __shfl_sync(0xffffffffu, column[q], source) - k;
            int32_t which = q * S::THREADS + threadIdx.x / 32 * 32 + source;
            int32_t row = which / NR_CUDA_SPIKES, j = which % NR_CUDA_SPIKES;
            uint8_t *dst = (uint8_t *)(spikes + row * OUTS) + j;
#pragma unroll
            for (int r = 0; r < OUTS; r += 32)
                dst[(r + lane) * 4] = w[chunk_at(r + lane, c / 16) + c % 16];
        }
    }
}

/* What the epilogue needs of the tokens, in shared memory: [.][ROWS] each. */
template <int ROWS> struct row_values {
    float sx[ROWS];
    float spike[NR_CUDA_SPIKES][ROWS];
    float outlier[NR_LINEAR_OUTLIERS_MAX][ROWS];
};

template <int ROWS, int THREADS>
static __device__ void load_row_values(row_values<ROWS> *v, const nr_cuda_linear_i8_args &a,
                                       int32_t row0) {
    for (int32_t r = threadIdx.x; r < ROWS; r += THREADS) {
        int32_t row = min(row0 + r, a.m - 1);
        v->sx[r] = a.sx[row];
        for (int j = 0; j < NR_CUDA_SPIKES; j++)
            v->spike[j][r] = a.spike_val[row * NR_CUDA_SPIKES + j];
    }
    for (int32_t i = threadIdx.x; i < a.n_outliers * ROWS; i += THREADS) {
        int32_t row = min(row0 + i % ROWS, a.m - 1);
        v->outlier[i / ROWS][i % ROWS] = a.x[row * a.ldx + a.outlier_columns[i / ROWS]];
    }
}

/* The results of a warp; out0, row0: its corner in the tile, n0, m0 the tile's. */
template <class S, int OUTS, int ROWS>
static __device__ __forceinline__ void store_tile(const nr_cuda_linear_i8_args &a,
                                                  int32_t acc[S::TO][S::TR][4],
                                                  const row_values<ROWS> *v, const uint32_t *spikes,
                                                  int32_t out0, int32_t row0, int32_t n0,
                                                  int32_t m0) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int32_t n_spikes = n_spikes_of(a);
#pragma unroll
    for (int i = 0; i < 2 * S::TO; i++) {
        int32_t out = out0 + 8 * i + g, n = n0 + out;
        bool inside = n < a.n_out;
        int32_t n_safe = inside ? n : 0;
        float scale_n = a.scale[n_safe], bias = a.bias ? a.bias[n_safe] : 0.0f, sum[2 * S::TR];
        float residual[2 * S::TR];
        uint32_t codes[2 * S::TR];
#pragma unroll
        for (int j = 0; j < 2 * S::TR; j++) { /* all loads before the first use */
            int32_t r = row0 + 8 * (j / 2) + 2 * t + j % 2, row = m0 + r;
            bool here = inside && row < a.m;
            residual[j] = here && a.residual ? a.residual[row * a.ldy + n] : 0.0f;
            codes[j] = !here ? 0 : spikes ? spikes[r * OUTS + out] : spike_codes(a, row, n);
        }
#pragma unroll
        for (int j = 0; j < 2 * S::TR; j++) {
            float scale = __fmul_rn(v->sx[row0 + 8 * (j / 2) + 2 * t + j % 2], scale_n);
            float value = (float)acc[i / 2][j / 2][i % 2 * 2 + j % 2];
            sum[j] = a.bias ? __fmaf_rn(value, scale, bias) : __fmul_rn(value, scale);
        }
#pragma unroll 4
        for (int32_t o = 0; o < a.n_outliers; o++) {
            float w = a.outlier_weights[(int64_t)o * a.n_out_pad + n_safe];
#pragma unroll
            for (int j = 0; j < 2 * S::TR; j++)
                sum[j] = __fmaf_rn(v->outlier[o][row0 + 8 * (j / 2) + 2 * t + j % 2], w, sum[j]);
        }
#pragma unroll
        for (int j = 0; j < 2 * S::TR; j++) {
            int32_t r = row0 + 8 * (j / 2) + 2 * t + j % 2, row = m0 + r;
#pragma unroll
            for (int s = 0; s < NR_CUDA_SPIKES; s++)
                if (s < n_spikes)
                    sum[j] = __fmaf_rn(v->spike[s][r], __fmul_rn(code_at(codes[j], s), scale_n),
                                       sum[j]);
            float y = vm_activate(sum[j], a.activation);
            if (a.residual) y = __fadd_rn(residual[j], y);
            if (inside && row < a.m) a.y[row * a.ldy + n] = y;
        }
    }
}

template <int OUTS, int ROWS, int WO, int WR>
static __global__ void __launch_bounds__(32 * WO *WR, 2)
    k_linear_i8_tile(nr_cuda_linear_i8_args a) {
    typedef tile_shape<OUTS, ROWS, WO, WR> S;
    extern __shared__ __align__(128) uint8_t shared[];
    int warp = threadIdx.x / 32;
    int32_t out0 = warp / WR * (OUTS / WO), row0 = warp % WR * (ROWS / WR);
    int32_t row_tiles = (a.m + ROWS - 1) / ROWS, tiles = (a.n_out + OUTS - 1) / OUTS * row_tiles;
    int32_t steps = (a.k_pad + STEP - 1) / STEP;
    uint32_t *spikes = a.workspace ? (uint32_t *)a.workspace + (int64_t)blockIdx.x * OUTS * ROWS
                                   : NULL;
    wait_for_launch_before();
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int32_t n0 = tile / row_tiles * OUTS, m0 = tile % row_tiles * ROWS;
        int32_t acc[S::TO][S::TR][4] = {}, column[S::SPIKES];
#pragma unroll
        for (int q = 0; q < S::SPIKES; q++) {
            int32_t which = q * S::THREADS + threadIdx.x, row = m0 + which / NR_CUDA_SPIKES;
            bool any = spikes && which < ROWS * NR_CUDA_SPIKES && row < a.m;
            column[q] = any ? a.spike_col[m0 * NR_CUDA_SPIKES + which] : -1;
        }
        for (int s = 0; s < STAGES - 1; s++) {
            uint8_t *stage = shared + s * S::STAGE_BYTES;
            copy_rows<OUTS, S::THREADS>(stage, a.weights, n0, a.n_out_pad, a.k_pad, s * STEP);
            copy_rows<ROWS, S::THREADS>(stage + OUTS * STEP, a.codes, m0, a.m, a.k_pad, s * STEP);
            copy_commit();
        }
        for (int32_t s = 0; s < steps; s++) {
            copy_wait<STAGES - 2>();
            __syncthreads(); /* stage s is there for all, and all have done with stage s - 1 */
            int32_t next = s + STAGES - 1;
            uint8_t *stage = shared + next % STAGES * S::STAGE_BYTES;
            copy_rows<OUTS, S::THREADS>(stage, a.weights, n0, a.n_out_pad, a.k_pad, next * STEP);
            copy_rows<ROWS, S::THREADS>(stage + OUTS * STEP, a.codes, m0, a.m, a.k_pad,
                                        next * STEP);
            copy_commit();
            stage = shared + s % STAGES * S::STAGE_BYTES;
            keep_spikes<S, OUTS, ROWS>(spikes, column, stage, s * STEP);
            multiply_stage<S>(acc, stage, stage + OUTS * STEP, out0, row0);
        }
        copy_wait<0>();
        __syncthreads();
        row_values<ROWS> *v = (row_values<ROWS> *)shared;
        load_row_values<ROWS, S::THREADS>(v, a, m0);
        __syncthreads();
        store_tile<S, OUTS, ROWS>(a, acc, v, spikes, out0, row0, n0, m0);
        __syncthreads();
    }
}

/* Blocks of one launch: as many as fit the card, or fewer. */
template <int OUTS, int ROWS>
static unsigned n_blocks(const nr_cuda_linear_i8_args *a) {
    int32_t tiles = (a->n_out + OUTS - 1) / OUTS * ((a->m + ROWS - 1) / ROWS);
    int32_t resident = a->n_multiprocessors * (OUTS == 64 || a->sm == 80 || a->sm >= 90 ? 2 : 1);
    return (unsigned)NR_MIN(tiles, resident);
}

template <int OUTS, int ROWS, int WO, int WR>
static cudaError_t launch(const nr_cuda_linear_i8_args *a, cudaStream_t stream) {
    typedef tile_shape<OUTS, ROWS, WO, WR> S;
    static_assert(sizeof(row_values<ROWS>) <= S::SHARED_BYTES, "epilogue fits");
    cudaError_t e = cudaFuncSetAttribute((const void *)k_linear_i8_tile<OUTS, ROWS, WO, WR>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         S::SHARED_BYTES);
    if (e != cudaSuccess) return e;
    unsigned blocks = n_blocks<OUTS, ROWS>(a);
    if (a->workspace && a->workspace_bytes < (size_t)blocks * OUTS * ROWS * sizeof(uint32_t))
        return cudaErrorInvalidValue;
    k_linear_i8_tile<OUTS, ROWS, WO, WR><<<blocks, S::THREADS, S::SHARED_BYTES, stream>>>(*a);
    return cudaGetLastError();
}

cudaError_t nr_cuda_linear_i8_tile(const nr_cuda_linear_i8_args *a, bool small,
                                   cudaStream_t stream) {
    if (a->k_pad % 16) return cudaErrorInvalidValue;
    if (small) return launch<64, 64, 2, 2>(a, stream);
    return launch<128, 128, 2, 4>(a, stream);
}

size_t nr_cuda_tile_workspace(int n_multiprocessors) {
    return (size_t)n_multiprocessors * 2 * 128 * 128 * sizeof(uint32_t);
}
