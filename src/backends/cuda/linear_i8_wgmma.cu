/* SPDX-License-Identifier: MIT
 *
 * linear_i8_wgmma.cu - i8 linears of many rows on Hopper: the copy engine brings tiles of 128 codes
 * of k, two warpgroups multiply them straight from shared memory, each 64 weight rows by ROWS
 * tokens. One warp feeds the engine; three watch the stages go by and keep the weight codes at the
 * tokens' spikes (see linear_i8_gemm.cu), and lay out what the epilogue needs of the tokens.
 *
 * A stage is free again when the eight multiplying and three watching warps have arrived. Blocks
 * are persistent, so the first stages of the next tile come while the last one is written.
 *
 * Tiles are as wide in tokens as makes the waves of blocks come out even: 616 tokens are 4 * 154,
 * and 4096 outputs then 32 * 4 = 128 tiles of 128 x 160 for 132 multiprocessors.
 */
#include "cuda_hopper.cuh"
#include "linear_epilogue.cuh"
#include "linear_variants.h"

#define OUTS 128 /* weight rows of a tile */
#define STEP 128 /* codes of k a stage */
#define MULTIPLIERS 256
#define WATCHERS 96
#define THREADS (128 + MULTIPLIERS)
#define SHARED_MAX (227 * 1024)

/* What the epilogue needs beside sums and spikes' codes: of the tokens, of the weight rows. */
template <int ROWS> struct tile_values {
    float sx[ROWS];
    float spike[NR_CUDA_SPIKES][ROWS];
    float outlier[NR_LINEAR_OUTLIERS_MAX][ROWS];
    float scale[OUTS], bias[OUTS];
    float outlier_weight[NR_LINEAR_OUTLIERS_MAX][OUTS];
};

/* stages: [STAGES] of weights [OUTS][STEP], then codes [ROWS][STEP]; behind them the values. */
template <int ROWS> struct hopper_shape {
    static const int STAGE_BYTES = (OUTS + ROWS) * STEP;
    static const int REST = SHARED_MAX - 1024 - 4096 - (int)sizeof(tile_values<ROWS>);
    static const int STAGES = REST / STAGE_BYTES < 6 ? REST / STAGE_BYTES : 6;
    static const int SHARED_BYTES =
        1024 + STAGES * STAGE_BYTES + (int)sizeof(tile_values<ROWS>); /* 1024: to align */
    static const int SPIKES = (ROWS * NR_CUDA_SPIKES + WATCHERS - 1) / WATCHERS; /* of a thread */
};

#define STAGES_MAX 6
struct hopper_barriers {
    uint64_t full[STAGES_MAX], empty[STAGES_MAX];
    uint64_t values_full, values_empty; /* token values and spikes of a tile */
};

#ifdef NR_HOPPER

/* A tile of the product, and the stages as a ring that runs on from tile to tile. */
struct tile_place {
    int32_t n0, m0;
};
static __device__ __forceinline__ tile_place place_of(int32_t tile, int32_t row_tiles, int rows) {
    tile_place p = {tile / row_tiles * OUTS, tile % row_tiles * rows};
    return p;
}
struct ring {
    int stage;
    uint32_t parity;
};
template <int STAGES> static __device__ __forceinline__ void advance(ring *r) {
    if (++r->stage == STAGES) {
        r->stage = 0;
        r->parity ^= 1u;
    }
}

template <int ROWS>
static __device__ void feed(uint8_t *stages, hopper_barriers *b, const tile_map *weights,
                            const tile_map *codes, int32_t tiles, int32_t row_tiles,
                            int32_t steps) {
    typedef hopper_shape<ROWS> S;
    ring r = {0, 0};
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        tile_place p = place_of(tile, row_tiles, ROWS);
        for (int32_t s = 0; s < steps; s++) {
            uint8_t *stage = stages + r.stage * S::STAGE_BYTES;
            barrier_wait(&b->empty[r.stage], r.parity ^ 1u);
            barrier_expect(&b->full[r.stage], S::STAGE_BYTES);
            tile_load(stage, weights, &b->full[r.stage], s * STEP, p.n0);
            tile_load(stage + OUTS * STEP, codes, &b->full[r.stage], s * STEP, p.m0);
            advance<S::STAGES>(&r);
        }
    }
}

/* thread: 0 .. WATCHERS-1. Loops are unrolled so that their loads go out together. */
template <int ROWS>
static __device__ void lay_out_values(tile_values<ROWS> *v, const nr_cuda_linear_i8_args &a,
                                      int32_t n0, int32_t m0, int thread) {
#pragma unroll
    for (int32_t r = thread; r < ROWS; r += WATCHERS) {
        int32_t row = min(m0 + r, a.m - 1);
        const float4 spike = *(const float4 *)(a.spike_val + row * NR_CUDA_SPIKES);
        v->sx[r] = a.sx[row];
        v->spike[0][r] = spike.x, v->spike[1][r] = spike.y;
        v->spike[2][r] = spike.z, v->spike[3][r] = spike.w;
    }
#pragma unroll
    for (int32_t i = thread; i < OUTS; i += WATCHERS) {
        int32_t n = min(n0 + i, a.n_out_pad - 1);
        v->scale[i] = a.scale[n];
        v->bias[i] = a.bias ? a.bias[n] : 0.0f;
    }
#pragma unroll 4
    for (int32_t o = 0; o < a.n_outliers; o++) {
        const float *x = a.x + a.outlier_columns[o];
        const float *w = a.outlier_weights + (int64_t)o * a.n_out_pad;
#pragma unroll
        for (int32_t r = thread; r < ROWS; r += WATCHERS)
            v->outlier[o][r] = x[min(m0 + r, a.m - 1) * a.ldx];
#pragma unroll
        for (int32_t i = thread; i < OUTS; i += WATCHERS)
            v->outlier_weight[o][i] = w[min(n0 + i, a.n_out_pad - 1)];
    }
}

/* The spikes of a stage, as a list in shared memory: number * STEP + k within the stage. */
template <int ROWS>
static __device__ __forceinline__ int list_spikes(uint32_t *list, const int32_t column[],
                                                  int32_t s, int thread) {
    int lane = thread % 32, n = 0;
#pragma unroll
    for (int q = 0; q < hopper_shape<ROWS>::SPIKES; q++) {
        bool here = column[q] >= s * STEP && column[q] < (s + 1) * STEP;
        uint32_t found = __ballot_sync(0xffffffffu, here);
        if (here)
            list[n + __popc(found & ((1u << lane) - 1u))] =
                (uint32_t)(q * WATCHERS + thread) * STEP + (uint32_t)(column[q] - s * STEP);
        n += __popc(found);
    }
    __syncwarp();
    return n;
}

/* The weight codes of one column of the stage, a lane every 32nd row, to one byte of the words of
 * the spike's token. */
static __device__ __forceinline__ void keep_spike(uint32_t *spikes, const uint8_t *w,
                                                  uint32_t entry, int lane) {
    uint32_t which = entry / STEP, k = entry % STEP;
    uint8_t *dst = (uint8_t *)(spikes + which / NR_CUDA_SPIKES * OUTS + lane) +
                   which % NR_CUDA_SPIKES;
    const uint8_t *src = w + lane * STEP + ((k / 16) ^ (lane & 7)) * 16 + k % 16;
#pragma unroll
    for (int i = 0; i < OUTS; i += 32) dst[i * 4] = src[i * STEP];
}

template <int ROWS>
static __device__ void watch(const nr_cuda_linear_i8_args &a, const uint8_t *stages,
                             tile_values<ROWS> *v, hopper_barriers *b, uint32_t *spikes,
                             uint32_t *list, int32_t tiles, int32_t row_tiles, int32_t steps) {
    typedef hopper_shape<ROWS> S;
    int thread = threadIdx.x - 32, lane = thread % 32;
    uint32_t values_parity = 0;
    ring r = {0, 0};
    list += thread / 32 * S::SPIKES * 32;
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        tile_place p = place_of(tile, row_tiles, ROWS);
        int32_t column[S::SPIKES];
#pragma unroll
        for (int q = 0; q < S::SPIKES; q++) {
            int32_t which = q * WATCHERS + thread, row = p.m0 + which / NR_CUDA_SPIKES;
            bool any = which < ROWS * NR_CUDA_SPIKES && row < a.m;
            column[q] = any ? a.spike_col[p.m0 * NR_CUDA_SPIKES + which] : -1;
        }
        barrier_wait(&b->values_empty, values_parity ^ 1u);
        lay_out_values<ROWS>(v, a, p.n0, p.m0, thread);
        for (int32_t s = 0; s < steps; s++) {
            const uint8_t *w = stages + r.stage * S::STAGE_BYTES;
            int n = list_spikes<ROWS>(list, column, s, thread);
            barrier_wait(&b->full[r.stage], r.parity);
#pragma unroll 4
            for (int i = 0; i < n; i++) keep_spike(spikes, w, list[i], lane);
            __syncwarp();
            if (lane == 0) barrier_arrive(&b->empty[r.stage]);
            advance<S::STAGES>(&r);
        }
        barrier_arrive(&b->values_full);
        values_parity ^= 1u;
    }
}

/* Eight results of a lane: four times 8 tokens, two of them its own; j0: the first eight. */
#define GROUP 4
struct group_loads {
    uint32_t codes[2 * GROUP]; /* of the weights at the tokens' spikes */
    float residual[2 * GROUP];
};
static __device__ __forceinline__ int token_of(int j0, int i, int t) {
    return 8 * (j0 + i / 2) + 2 * t + i % 2;
}

template <int ROWS>
static __device__ __forceinline__ void load_group(group_loads *g, const nr_cuda_linear_i8_args &a,
                                                  const uint32_t *spikes, int j0, int32_t n,
                                                  int32_t m0, int t) {
#pragma unroll
    for (int i = 0; i < 2 * GROUP; i++) {
        if (j0 + i / 2 >= ROWS / 8) continue;
        int r = token_of(j0, i, t);
        g->codes[i] = spikes[r * OUTS];
        g->residual[i] = 0.0f;
        if (a.residual && m0 + r < a.m && n < a.n_out)
            g->residual[i] = a.residual[(m0 + r) * a.ldy + n];
    }
}

/* acc: the lane's sums of one weight row; out: the row in the tile, n: in the matrix. */
template <int ROWS, bool ACTIVATES>
static __device__ __forceinline__ void store_group(const nr_cuda_linear_i8_args &a,
                                                   const int32_t *acc, const group_loads *g,
                                                   const tile_values<ROWS> *v, int half, int j0,
                                                   int out, int32_t n, int32_t m0, int t) {
    float scale_n = v->scale[out], bias = v->bias[out], sum[2 * GROUP];
#pragma unroll
    for (int i = 0; i < 2 * GROUP; i++) {
        if (j0 + i / 2 >= ROWS / 8) continue;
        float value = (float)acc[4 * (j0 + i / 2) + 2 * half + i % 2];
        float scale = __fmul_rn(v->sx[token_of(j0, i, t)], scale_n);
        sum[i] = a.bias ? __fmaf_rn(value, scale, bias) : __fmul_rn(value, scale);
    }
#pragma unroll 2
    for (int32_t o = 0; o < a.n_outliers; o++) {
        float w = v->outlier_weight[o][out];
#pragma unroll
        for (int i = 0; i < 2 * GROUP; i++)
            if (j0 + i / 2 < ROWS / 8)
                sum[i] = __fmaf_rn(v->outlier[o][token_of(j0, i, t)], w, sum[i]);
    }
    int32_t n_spikes = n_spikes_of(a);
#pragma unroll
    for (int s = 0; s < NR_CUDA_SPIKES; s++)
#pragma unroll
        for (int i = 0; i < 2 * GROUP; i++)
            if (j0 + i / 2 < ROWS / 8 && s < n_spikes)
                sum[i] = __fmaf_rn(v->spike[s][token_of(j0, i, t)],
                                   __fmul_rn(code_at(g->codes[i], s), scale_n), sum[i]);
#pragma unroll
    for (int i = 0; i < 2 * GROUP; i++) {
        if (j0 + i / 2 >= ROWS / 8) continue;
        int32_t row = m0 + token_of(j0, i, t);
        float y = ACTIVATES ? vm_activate(sum[i], a.activation) : sum[i];
        if (a.residual) y = __fadd_rn(g->residual[i], y);
        if (row < a.m && n < a.n_out) a.y[row * a.ldy + n] = y;
    }
}

/* All results of a lane: weight rows out and out + 8. The loads of a group go out before the one in
 * front of it is computed. */
template <int ROWS, bool ACTIVATES>
static __device__ __forceinline__ void store_rows(const nr_cuda_linear_i8_args &a,
                                                  const int32_t *acc, const tile_values<ROWS> *v,
                                                  const uint32_t *spikes, int out, tile_place p,
                                                  int t) {
    const int GROUPS = (ROWS / 8 + GROUP - 1) / GROUP; /* of a weight row */
    group_loads loads[2];
    load_group<ROWS>(&loads[0], a, spikes + out, 0, p.n0 + out, p.m0, t);
#pragma unroll
    for (int i = 0; i < 2 * GROUPS; i++) {
        int here = out + i / GROUPS * 8, next = out + (i + 1) / GROUPS * 8;
        if (i + 1 < 2 * GROUPS)
            load_group<ROWS>(&loads[(i + 1) % 2], a, spikes + next, (i + 1) % GROUPS * GROUP,
                             p.n0 + next, p.m0, t);
        store_group<ROWS, ACTIVATES>(a, acc, &loads[i % 2], v, i / GROUPS, i % GROUPS * GROUP, here,
                                     p.n0 + here, p.m0, t);
    }
}

template <int ROWS, bool ACTIVATES>
static __device__ void multiply(const nr_cuda_linear_i8_args &a, const uint8_t *stages,
                                const tile_values<ROWS> *v, hopper_barriers *b,
                                const uint32_t *spikes, int32_t tiles, int32_t row_tiles,
                                int32_t steps) {
    typedef hopper_shape<ROWS> S;
    int thread = threadIdx.x - 128, group = thread / 128, lane = thread % 32;
    int out = thread / 32 * 16 + lane / 4; /* in the tile; and 8 further on */
    uint32_t values_parity = 0;
    ring r = {0, 0};
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        tile_place p = place_of(tile, row_tiles, ROWS);
        int32_t acc[ROWS / 2];
        int before = 0;
        for (int32_t s = 0; s < steps; s++) {
            const uint8_t *stage = stages + r.stage * S::STAGE_BYTES;
            uint64_t w = tile_descriptor(stage + group * 64 * STEP);
            uint64_t x = tile_descriptor(stage + OUTS * STEP);
            barrier_wait(&b->full[r.stage], r.parity);
            product_begin();
#pragma unroll
            for (int k = 0; k < STEP / 32; k++) /* 32 bytes on: 2 in the descriptor's units */
                product<ROWS>(acc, w + 2 * k, x + 2 * k, s > 0 || k > 0);
            product_commit();
            product_wait<1>();
            if (s > 0 && lane == 0) barrier_arrive(&b->empty[before]);
            before = r.stage;
            advance<S::STAGES>(&r);
        }
        product_wait<0>();
        if (lane == 0) barrier_arrive(&b->empty[before]);
        barrier_wait(&b->values_full, values_parity);
        values_parity ^= 1u;
        store_rows<ROWS, ACTIVATES>(a, acc, v, spikes, out, p, lane % 4);
        barrier_arrive(&b->values_empty);
    }
}

#endif /* NR_HOPPER */

/* One block a multiprocessor: its shared memory is full. */
template <int ROWS, bool ACTIVATES>
static __global__ void __launch_bounds__(THREADS, 1)
    k_linear_i8_wgmma(const __grid_constant__ nr_cuda_linear_i8_args a,
                      const __grid_constant__ tile_map weights,
                      const __grid_constant__ tile_map codes) {
#ifdef NR_HOPPER
    typedef hopper_shape<ROWS> S;
    extern __shared__ __align__(1024) uint8_t shared[];
    __shared__ hopper_barriers b;
    __shared__ uint32_t list[WATCHERS * S::SPIKES];
    uint8_t *stages = (uint8_t *)(((uintptr_t)shared + 1023) / 1024 * 1024);
    tile_values<ROWS> *v = (tile_values<ROWS> *)(stages + S::STAGES * S::STAGE_BYTES);
    uint32_t *spikes = (uint32_t *)a.workspace + (int64_t)blockIdx.x * OUTS * ROWS;
    int32_t row_tiles = (a.m + ROWS - 1) / ROWS, tiles = (a.n_out + OUTS - 1) / OUTS * row_tiles;
    int32_t steps = (a.k_pad + STEP - 1) / STEP;
    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            barrier_init(&b.full[i], 1);
            barrier_init(&b.empty[i], (MULTIPLIERS + WATCHERS) / 32);
        }
        barrier_init(&b.values_full, WATCHERS);
        barrier_init(&b.values_empty, MULTIPLIERS);
        barrier_init_done();
        tile_prefetch_map(&weights);
        tile_prefetch_map(&codes);
    }
    __syncthreads();
    wait_for_launch_before();
    if (threadIdx.x >= 128) {
        registers_up_to<216>(); /* 256 * 216 + 128 * 72 are the 384 * 168 of the launch */
        multiply<ROWS, ACTIVATES>(a, stages, v, &b, spikes, tiles, row_tiles, steps);
    } else {
        registers_down_to<72>();
        if (threadIdx.x >= 32)
            watch<ROWS>(a, stages, v, &b, spikes, list, tiles, row_tiles, steps);
        else if (threadIdx.x == 0)
            feed<ROWS>(stages, &b, &weights, &codes, tiles, row_tiles, steps);
    }
#endif
}

/* A map of a code matrix [rows, k_pad] for boxes of [box_rows, STEP]. */
static cudaError_t map_of(tile_map *map, const int8_t *matrix, int32_t rows, int32_t k_pad,
                          int32_t box_rows) {
#ifdef NR_CUDA_EMULATED
    *map = emulate_map(matrix, rows, k_pad, box_rows, STEP);
    return cudaSuccess;
#else
    typedef CUresult (*encode_function)(
        CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
        const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
        CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    void *found = NULL;
    cudaDriverEntryPointQueryResult query;
    cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                                     cudaEnableDefault, &query);
    if (e != cudaSuccess) return e;
    if (query != cudaDriverEntryPointSuccess || !found) return cudaErrorNotSupported;
    const cuuint64_t size[2] = {(cuuint64_t)k_pad, (cuuint64_t)rows};
    const cuuint64_t stride[1] = {(cuuint64_t)k_pad};
    const cuuint32_t box[2] = {STEP, (cuuint32_t)box_rows}, step[2] = {1, 1};
    CUresult r = ((encode_function)found)(
        map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, (void *)matrix, size, stride, box, step,
        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
        CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
#endif
}

template <int ROWS> static int64_t n_tiles(const nr_cuda_linear_i8_args *a) {
    return (int64_t)((a->n_out + OUTS - 1) / OUTS) * ((a->m + ROWS - 1) / ROWS);
}

/* Microseconds of the busiest multiprocessor; tile_us: of one tile, measured on an H200 at k 4096.
 * It grows faster than the tile, as the watching warps have the more spikes to keep. */
template <int ROWS> static int64_t cost(const nr_cuda_linear_i8_args *a) {
    const int64_t tile_us = ROWS == 64 ? 35 : ROWS == 128 ? 61 : ROWS == 160 ? 90 : 140;
    return (n_tiles<ROWS>(a) + a->n_multiprocessors - 1) / a->n_multiprocessors * tile_us;
}

template <int ROWS, bool ACTIVATES>
static cudaError_t launch(const nr_cuda_linear_i8_args *a, cudaStream_t stream) {
    typedef hopper_shape<ROWS> S;
    static_assert(S::STAGES >= 3 && S::STAGES <= STAGES_MAX, "stages fit");
    tile_map weights, codes;
    unsigned blocks = (unsigned)NR_MIN(n_tiles<ROWS>(a), (int64_t)a->n_multiprocessors);
    if (a->workspace_bytes < (size_t)blocks * OUTS * ROWS * sizeof(uint32_t))
        return cudaErrorInvalidValue;
    cudaError_t e = map_of(&weights, a->weights, a->n_out_pad, a->k_pad, OUTS);
    if (e == cudaSuccess) e = map_of(&codes, a->codes, a->m, a->k_pad, ROWS);
    if (e == cudaSuccess)
        e = cudaFuncSetAttribute((const void *)k_linear_i8_wgmma<ROWS, ACTIVATES>,
                                 cudaFuncAttributeMaxDynamicSharedMemorySize, S::SHARED_BYTES);
    if (e != cudaSuccess) return e;
    k_linear_i8_wgmma<ROWS, ACTIVATES>
        <<<blocks, THREADS, S::SHARED_BYTES, stream>>>(*a, weights, codes);
    return cudaGetLastError();
}

cudaError_t nr_cuda_linear_i8_wgmma(const nr_cuda_linear_i8_args *a, int rows,
                                    cudaStream_t stream) {
    if (a->sm != 90 || a->k_pad % 16 || !a->workspace) return cudaErrorInvalidValue;
    if (rows == 0) {
        int64_t c64 = cost<64>(a), c128 = cost<128>(a), c160 = cost<160>(a), c208 = cost<208>(a);
        int64_t least = NR_MIN(NR_MIN(c64, c128), NR_MIN(c160, c208));
        rows = least == c208 ? 208 : least == c160 ? 160 : least == c128 ? 128 : 64;
    }
    bool activates = a->activation != NR_ACTIVATION_NONE;
    switch (rows) {
    case 64: return (activates ? launch<64, true> : launch<64, false>)(a, stream);
    case 128: return (activates ? launch<128, true> : launch<128, false>)(a, stream);
    case 160: return (activates ? launch<160, true> : launch<160, false>)(a, stream);
    case 208: return (activates ? launch<160, true> : launch<208, false>)(a, stream);
    default: return cudaErrorInvalidValue;
    }
}

size_t nr_cuda_wgmma_workspace(int n_multiprocessors) {
    return (size_t)n_multiprocessors * OUTS * 208 * sizeof(uint32_t);
}
