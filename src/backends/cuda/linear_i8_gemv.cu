/* SPDX-License-Identifier: MIT
 *
 * linear_i8_gemv.cu - i8 linears of few rows (decode of one to 64 sequences), where time is that of
 * reading the weights once. They go from memory straight into the fragments of mma.sync: a lane
 * takes 16 consecutive codes of a weight row and the same 16 of an activation row. Which code of a
 * fragment is which k does not matter to the sum as long as both sides agree, so neither shuffles
 * nor shared memory are needed. The weights are the 16 rows of the product, 8 tokens its columns.
 *
 * A block has one or two tiles of 16 weight rows; its 8 warps take turns along k, 64 codes a turn,
 * and add their int32 sums in shared memory. Two batches of loads are under way while one is
 * multiplied.
 */
#include "linear_epilogue.cuh"
#include "linear_variants.h"

#define WARPS 8
#define THREADS (32 * WARPS)
#define SLICE 64 /* codes of k a warp takes at a time, 16 a lane */

template <int TILES, int DEEP> struct weight_batch {
    uint4 row[DEEP][TILES][2]; /* rows g and g + 8 of each tile */
};

/* Slices first, first + WARPS, ...; zeros past the end. w: the lane's rows, at its 16 codes. */
template <int TILES, int DEEP>
static __device__ __forceinline__ void load_batch(weight_batch<TILES, DEEP> &b,
                                                  const int8_t *const w[TILES][2], int32_t k,
                                                  int32_t k_left) {
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

/* acc += batch times the activations of the same k; x: the lane's token of each group of 8. */
template <int GROUPS, int TILES, int DEEP>
static __device__ __forceinline__ void multiply(int32_t acc[TILES][GROUPS][4],
                                                const weight_batch<TILES, DEEP> &b,
                                                const int8_t *const x[GROUPS], int32_t k,
                                                int32_t k_left) {
#pragma unroll
    for (int d = 0; d < DEEP; d++) {
        int32_t at = k + d * WARPS * SLICE;
        if (at - k % SLICE >= k_left) break; /* the whole warp is past the end */
        uint4 v[GROUPS];
#pragma unroll
        for (int j = 0; j < GROUPS; j++)
            v[j] = at < k_left ? *(const uint4 *)(x[j] + at) : make_uint4(0, 0, 0, 0);
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

/* 16 * TILES outputs for up to 8 * GROUPS tokens; DEEP slices of a warp in a batch. */
template <int GROUPS, int TILES, int DEEP>
static __global__ void __launch_bounds__(THREADS, 2) k_linear_i8_stream(nr_cuda_linear_i8_args a) {
    const int OUTS = 16 * TILES, STEP = DEEP * WARPS * SLICE;
    __shared__ int32_t sums[8 * GROUPS][OUTS];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int32_t n0 = blockIdx.x * OUTS, acc[TILES][GROUPS][4] = {};
    const int8_t *w[TILES][2], *x[GROUPS];
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        int32_t n = n0 + 16 * i < a.n_out_pad ? n0 + 16 * i : n0;
        w[i][0] = a.weights + (int64_t)(n + g) * a.k_pad;
        w[i][1] = w[i][0] + 8 * (int64_t)a.k_pad;
    }
#pragma unroll
    for (int j = 0; j < GROUPS; j++)
        x[j] = a.codes + (int64_t)min(8 * j + g, a.m - 1) * a.k_pad;
    int32_t k = warp * SLICE + 16 * t;
    weight_batch<TILES, DEEP> even, odd;
    load_batch<TILES, DEEP>(even, w, k, a.k_pad);
    for (int32_t i = threadIdx.x; i < 8 * GROUPS * OUTS; i += THREADS) (&sums[0][0])[i] = 0;
    __syncthreads();
    wait_for_launch_before();
    /* The first output of this thread: its gather runs beside the weights. */
    int32_t n_first = n0 + threadIdx.x % OUTS, row_first = threadIdx.x / OUTS;
    bool has_first = n_first < a.n_out && row_first < a.m;
    uint32_t codes_first = has_first ? spike_codes(a, row_first, n_first) : 0;
    for (; k - 16 * t < a.k_pad; k += 2 * STEP) {
        load_batch<TILES, DEEP>(odd, w, k + STEP, a.k_pad);
        multiply<GROUPS, TILES, DEEP>(acc, even, x, k, a.k_pad);
        load_batch<TILES, DEEP>(even, w, k + 2 * STEP, a.k_pad);
        multiply<GROUPS, TILES, DEEP>(acc, odd, x, k + STEP, a.k_pad);
    }
    let_next_launch_begin();
#pragma unroll
    for (int i = 0; i < TILES; i++)
#pragma unroll
        for (int j = 0; j < GROUPS; j++)
#pragma unroll
            for (int c = 0; c < 4; c++) {
                int row = 8 * j + 2 * t + c % 2;
                if (row < a.m) atomicAdd(&sums[row][16 * i + g + 8 * (c / 2)], acc[i][j][c]);
            }
    __syncthreads();
    if (has_first) store_sum(a, row_first, n_first, sums[row_first][threadIdx.x % OUTS], codes_first);
    for (int32_t at = threadIdx.x + THREADS; at < OUTS * a.m; at += THREADS) {
        int32_t n = n0 + at % OUTS, row = at / OUTS;
        if (n < a.n_out) store_sum(a, row, n, sums[row][at % OUTS], spike_codes(a, row, n));
    }
}

template <int GROUPS, int TILES, int DEEP>
static cudaError_t launch(const nr_cuda_linear_i8_args *a, bool overlap, cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    config.gridDim = dim3((unsigned)((a->n_out + 16 * TILES - 1) / (16 * TILES)));
    config.blockDim = dim3(THREADS);
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = overlap && a->sm >= 90;
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    return cudaLaunchKernelEx(&config, k_linear_i8_stream<GROUPS, TILES, DEEP>, *a);
}

/* The shapes worth trying for few rows: tiles of a block, depth of a batch. */
int nr_cuda_stream_ways(void) {
    return 4;
}
cudaError_t nr_cuda_linear_i8_stream_way(const nr_cuda_linear_i8_args *a, int way,
                                         cudaStream_t stream) {
    if (a->m > 8 || a->k_pad % 16) return cudaErrorInvalidValue;
    switch (way) {
    case 0: return launch<1, 1, 2>(a, false, stream);
    case 1: return launch<1, 1, 8>(a, false, stream);
    case 2: return launch<1, 2, 2>(a, false, stream);
    default: return launch<1, 2, 4>(a, false, stream);
    }
}

cudaError_t nr_cuda_linear_i8_stream(const nr_cuda_linear_i8_args *a, bool overlap,
                                     cudaStream_t stream) {
    if (a->m > NR_CUDA_STREAM_ROWS_MAX || a->k_pad % 16) return cudaErrorInvalidValue;
    if (a->m <= 8) return launch<1, 1, 4>(a, overlap, stream);
    if (a->m <= 16) return launch<2, 2, 2>(a, overlap, stream);
    if (a->m <= 32) return launch<4, 2, 2>(a, overlap, stream);
    return launch<8, 2, 1>(a, overlap, stream);
}
