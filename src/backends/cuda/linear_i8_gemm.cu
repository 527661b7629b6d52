/* SPDX-License-Identifier: MIT
 *
 * linear_i8_gemm.cu - i8 linears of many rows with mma.sync, for every card from sm_80: tiles of
 * weights and activations come into shared memory by cp.async, several stages ahead, and from there
 * by ldmatrix; 16-byte chunks of a row are exchanged by bits of the row's number, so that neither
 * side meets a bank twice.
 *
 * The spikes' codes are kept in shared memory beside the products (linear_tile.cuh), 64 KB of them
 * for a tile of 128 x 128. Two stages fit beside them where a block may have 99 KB (sm_86, sm_89),
 * and are enough there: one keeps the tensor cores busy for longer than memory takes to answer.
 *
 * Blocks are persistent: they take tiles grid apart.
 */
#include "linear_tile.cuh"

#define STEP 64 /* codes of k a stage */
#define CHUNKS (STEP / 16)

/* OUTS weight rows by ROWS tokens; WO x WR warps. Values lie where the stages were. */
template <int OUTS, int ROWS, int WO, int WR, int STAGES> struct tile_shape {
    static const int THREADS = 32 * WO * WR;
    static const int TO = OUTS / WO / 16, TR = ROWS / WR / 8; /* mma tiles of a warp */
    static const int STAGE_BYTES = (OUTS + ROWS) * STEP, KEPT_BYTES = ROWS * 4 * OUTS;
    typedef spike_list<uint16_t, STEP, ROWS> list;
    static const int SHARED_BYTES = STAGES * STAGE_BYTES + KEPT_BYTES + (int)sizeof(list);
    static_assert(sizeof(tile_values<OUTS, ROWS>) <= STAGES * STAGE_BYTES, "epilogue fits");
    static_assert(ROWS * NR_CUDA_SPIKES * STEP <= 65536, "an entry of the list");
};

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
        copy_16(stage + chunk_at<STEP>(r, c), src, inside);
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
            load_matrices(a[i], w + chunk_at<STEP>(out0 + 16 * i + lane % 16, c + lane / 16));
#pragma unroll
        for (int j = 0; j < S::TR / 2; j++) /* tokens 0-7 both chunks, then tokens 8-15 */
            load_matrices(b[j], x + chunk_at<STEP>(row0 + 16 * j + lane % 8 + lane / 16 * 8,
                                                   c + lane / 8 % 2));
#pragma unroll
        for (int i = 0; i < S::TO; i++)
#pragma unroll
            for (int j = 0; j < S::TR; j++) mma_s8(acc[i][j], a[i], &b[j / 2][j % 2 * 2]);
    }
}

template <int OUTS, int ROWS, int WO, int WR, int STAGES, bool ACTIVATES>
static __global__ void __launch_bounds__(32 * WO *WR, OUTS == 64 ? 2 : 1)
    k_linear_i8_tile(nr_cuda_linear_i8_args a) {
    typedef tile_shape<OUTS, ROWS, WO, WR, STAGES> S;
    extern __shared__ __align__(128) uint8_t shared[];
    uint8_t *kept = shared + STAGES * S::STAGE_BYTES;
    typename S::list *list = (typename S::list *)(kept + S::KEPT_BYTES);
    tile_values<OUTS, ROWS> *v = (tile_values<OUTS, ROWS> *)shared;
    const int thread = threadIdx.x, warp = thread / 32;
    const int32_t out0 = warp / WR * (OUTS / WO), row0 = warp % WR * (ROWS / WR);
    const int32_t row_tiles = (a.m + ROWS - 1) / ROWS;
    const int32_t tiles = (a.n_out + OUTS - 1) / OUTS * row_tiles;
    const int32_t steps = (a.k_pad + STEP - 1) / STEP;
    wait_for_launch_before();
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int32_t n0 = tile / row_tiles * OUTS, m0 = tile % row_tiles * ROWS;
        int32_t acc[S::TO][S::TR][4] = {};
        for (int s = 0; s < STAGES - 1; s++) {
            uint8_t *stage = shared + s * S::STAGE_BYTES;
            copy_rows<OUTS, S::THREADS>(stage, a.weights, n0, a.n_out_pad, a.k_pad, s * STEP);
            copy_rows<ROWS, S::THREADS>(stage + OUTS * STEP, a.codes, m0, a.m, a.k_pad, s * STEP);
            copy_commit();
        }
        sort_spikes<S::THREADS, 1>(list, a, m0, steps, thread);
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
            keep_spikes<OUTS, 32, 1>(kept_here{kept}, list, stage, list->at[s], list->at[s + 1],
                                     warp, WO * WR);
            multiply_stage<S>(acc, stage, stage + OUTS * STEP, out0, row0);
        }
        copy_wait<0>();
        __syncthreads();
        copy_values<S::THREADS>(v, a, outlier_list(a), n0, m0, thread);
        copy_wait<0>();
        __syncthreads();
#pragma unroll
        for (int i = 0; i < S::TO; i++)
            store_slab<OUTS, ROWS, S::TR, ACTIVATES, true>(a, &acc[i][0][0], v, kept,
                                                           out0 / 16 + i, row0, n0, m0, [] {});
        __syncthreads();
    }
}

template <int OUTS, int ROWS, int WO, int WR, int STAGES, bool ACTIVATES>
static cudaError_t launch(const nr_cuda_linear_i8_args *a, cudaStream_t stream) {
    typedef tile_shape<OUTS, ROWS, WO, WR, STAGES> S;
    auto kernel = k_linear_i8_tile<OUTS, ROWS, WO, WR, STAGES, ACTIVATES>;
    int32_t tiles = (a->n_out + OUTS - 1) / OUTS * ((a->m + ROWS - 1) / ROWS);
    unsigned blocks = (unsigned)NR_MIN(tiles, a->n_multiprocessors * (OUTS == 64 ? 2 : 1));
    cudaError_t e = cudaFuncSetAttribute(
        (const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::SHARED_BYTES);
    if (e != cudaSuccess) return e;
    kernel<<<blocks, S::THREADS, S::SHARED_BYTES, stream>>>(*a);
    return cudaGetLastError();
}

/* A block may have 163 KB of shared memory on sm_80, 227 on sm_90, 99 elsewhere. */
template <bool ACTIVATES>
static cudaError_t choose(const nr_cuda_linear_i8_args *a, bool small, cudaStream_t stream) {
    if (small) return launch<64, 64, 2, 2, 3, ACTIVATES>(a, stream);
    if (a->sm == 80 || a->sm == 90) return launch<128, 128, 2, 4, 4, ACTIVATES>(a, stream);
    return launch<128, 128, 2, 4, 2, ACTIVATES>(a, stream);
}

cudaError_t nr_cuda_linear_i8_tile(const nr_cuda_linear_i8_args *a, bool small,
                                   cudaStream_t stream) {
    if (!nr_cuda_tiles_fit(a)) return cudaErrorInvalidValue;
    return a->activation != NR_ACTIVATION_NONE ? choose<true>(a, small, stream)
                                               : choose<false>(a, small, stream);
}
