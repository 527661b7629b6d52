/* SPDX-License-Identifier: MIT
 *
 * linear_i8_ring.cu - i8 linears of up to 8 rows on Hopper, where time is that of reading the
 * weights once. A block has a multiprocessor's shared memory nearly to itself and keeps it filled:
 * one warp has the copy engine bring weights into a ring of stages, eight multiply what has come.
 *
 * Weights depend on no launch, so the ring fills while the launches before still run (norms,
 * attention, rows to codes): 13 MB on all multiprocessors, the memory's work of three
 * microseconds. Only what multiplies waits for them. Those launches are small and fit beside a
 * block of this one.
 *
 * A tile is 8 weight rows, so that tiles come out even on all multiprocessors; a stage 2048 codes
 * of k of them, 256 a warp: the engine takes some 40 clocks a copy to be told, and 110 for 2 KB.
 * Tokens are the 16 rows of mma.sync (8 of them nothing), weights its 8 columns: a lane has 16
 * consecutive codes of a token and the same of a weight row, which code of a fragment is which k
 * does not matter as long as both agree. Sums of the eight warps meet in shared memory once a tile,
 * and a warp of its own makes the results while they go on. Codes of the weights at the tokens'
 * spikes are kept as their stage goes by.
 */
#include "cuda_hopper.cuh"
#include "cuda_launch.cuh"
#include "linear_epilogue.cuh"
#include "linear_variants.h"

#define TOKENS 8
#define OUTS 8  /* weight rows of a tile */
#define WARPS 8 /* that multiply */
#define PRODUCER WARPS
#define FINISHER (WARPS + 1)
#define THREADS (32 * (WARPS + 2))
#define SLICE 256    /* codes of k of a warp in a stage */
#define STEP (WARPS * SLICE)
#define PITCH (STEP + 64) /* so that the two rows of a quarter of a warp lie in different banks */
#define STAGE_BYTES (OUTS * PITCH)
#define STAGES_MAX 12
#define SHARED_MIN (116 * 1024) /* more than half: a block a multiprocessor */
#define ALL 0xffffffffu

struct ring_shared {
    uint64_t full[STAGES_MAX], empty[STAGES_MAX], codes_full;
    uint64_t sums_full[2], sums_free[2];
    int32_t sums[2][WARPS][TOKENS * OUTS];         /* of this tile and the last, in turns */
    int8_t kept[2][TOKENS * NR_CUDA_SPIKES][OUTS]; /* weights at the spikes, likewise */
    float sx[TOKENS], spike[TOKENS * NR_CUDA_SPIKES];
    float outlier[TOKENS][NR_CUDA_TILE_OUTLIERS];
};
#define REST_BYTES ((sizeof(ring_shared) + 127) / 128 * 128)

/* Tokens' codes behind ring_shared, then the stages. */
static __host__ __device__ __forceinline__ int32_t codes_pitch(const nr_cuda_linear_i8_args &a) {
    return (a.k_pad + 127) / 128 * 128 + 64; /* as PITCH */
}

#ifdef NR_HOPPER

struct ring {
    int32_t stage, n_stages;
    uint32_t parity;
    __device__ __forceinline__ void advance(void) {
        if (++stage < n_stages) return;
        stage = 0;
        parity ^= 1u;
    }
};

static __device__ void make_barriers(ring_shared *s, int32_t n_stages) {
    for (int i = 0; i < n_stages; i++) {
        barrier_init(&s->full[i], 1);
        barrier_init(&s->empty[i], WARPS);
    }
    for (int i = 0; i < 2; i++) {
        barrier_init(&s->sums_full[i], WARPS);
        barrier_init(&s->sums_free[i], 1);
    }
    barrier_init(&s->codes_full, 1);
    barrier_init_done();
}

/* By the lanes of a warp: a row of a stage each. At most `window` stages, no more than there are,
 * are on their way: the engine brings all that it is told of side by side, so that with more the
 * first come late, and all come at once. */
static __device__ __forceinline__ void feed(const nr_cuda_linear_i8_args &a, ring_shared *s,
                                            uint8_t *stages, ring r, int32_t window) {
    ring behind = r;
    const int32_t lane = threadIdx.x % 32, tiles = (a.n_out + OUTS - 1) / OUTS;
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int8_t *row = a.weights + (int64_t)(tile * OUTS + lane % OUTS) * a.k_pad;
        for (int32_t k = 0; k < a.k_pad; k += STEP) {
            const int32_t bytes = min(STEP, a.k_pad - k);
            barrier_wait(&s->empty[r.stage], r.parity ^ 1u);
            if (--window < 0) {
                barrier_wait(&s->full[behind.stage], behind.parity);
                behind.advance();
            }
            if (lane == 0) barrier_expect(&s->full[r.stage], OUTS * bytes);
            __syncwarp();
            if (lane < OUTS)
                bulk_load(stages + r.stage * STAGE_BYTES + lane * PITCH, row + k, bytes,
                          &s->full[r.stage]);
            r.advance();
        }
    }
}

/* What the results need of the tokens, and their codes, by one warp. */
static __device__ __forceinline__ void load_tokens(const nr_cuda_linear_i8_args &a, ring_shared *s,
                                                   uint8_t *codes) {
    const int32_t lane = threadIdx.x % 32, outlier = lane % NR_CUDA_TILE_OUTLIERS;
    const int32_t column = outlier < a.n_outliers ? a.outlier_columns[outlier] : 0;
    meet_neighbours(a.early);
    if (lane == 0) barrier_expect(&s->codes_full, a.m * a.k_pad);
    __syncwarp();
    if (lane < a.m) {
        bulk_load(codes + lane * codes_pitch(a), a.codes + (int64_t)lane * a.k_pad, a.k_pad,
                  &s->codes_full);
        s->sx[lane] = a.sx[lane];
    }
    if (lane < a.m * NR_CUDA_SPIKES) s->spike[lane] = a.spike_val[lane];
    for (int32_t token = lane / NR_CUDA_TILE_OUTLIERS; token < a.m;
         token += 32 / NR_CUDA_TILE_OUTLIERS)
        if (outlier < a.n_outliers) s->outlier[token][outlier] = a.x[token * a.ldx + column];
    __syncwarp();
}

/* What the results of a tile need of it: a lane has tokens lane / OUTS + p * 32 / OUTS, all at one
 * weight row. */
struct tile_loads {
    static const int RESULTS = TOKENS * OUTS / 32;
    float scale, bias, residual[RESULTS], outlier[NR_CUDA_TILE_OUTLIERS];
};
static __device__ __forceinline__ void load_tile(tile_loads *l, const nr_cuda_linear_i8_args &a,
                                                 int32_t n) {
    const int32_t token = threadIdx.x % 32 / OUTS;
    if (n >= a.n_out || token >= a.m) return;
    l->scale = a.scale[n];
    l->bias = a.bias ? a.bias[n] : 0.0f;
#pragma unroll
    for (int p = 0; p < tile_loads::RESULTS; p++) {
        const int32_t row = token + p * (32 / OUTS);
        l->residual[p] = a.residual && row < a.m ? a.residual[row * a.ldy + n] : 0.0f;
    }
#pragma unroll
    for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++)
        if (o < a.n_outliers) l->outlier[o] = a.outlier_weights[(int64_t)o * a.n_out_pad + n];
}

/* By one warp: sums to results, in the order of backend.h. */
static __device__ __forceinline__ void store_results(const nr_cuda_linear_i8_args &a,
                                                     const tile_loads *l, const ring_shared *s,
                                                     int turn, int32_t n) {
    const int32_t out = threadIdx.x % OUTS, n_spikes = n_spikes_of(a);
#pragma unroll
    for (int p = 0; p < tile_loads::RESULTS; p++) {
        const int32_t row = threadIdx.x % 32 / OUTS + p * (32 / OUTS);
        if (n >= a.n_out || row >= a.m) continue;
        int32_t acc = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) acc += s->sums[turn][w][row * OUTS + out];
        const float value = (float)acc, scale = __fmul_rn(s->sx[row], l->scale);
        float sum = a.bias ? __fmaf_rn(value, scale, l->bias) : __fmul_rn(value, scale);
#pragma unroll
        for (int o = 0; o < NR_CUDA_TILE_OUTLIERS; o++)
            if (o < a.n_outliers) sum = __fmaf_rn(s->outlier[row][o], l->outlier[o], sum);
#pragma unroll
        for (int i = 0; i < NR_CUDA_SPIKES; i++) {
            const int at = row * NR_CUDA_SPIKES + i;
            if (i < n_spikes)
                sum = __fmaf_rn(s->spike[at], __fmul_rn((float)s->kept[turn][at][out], l->scale),
                                sum);
        }
        sum = vm_activate(sum, a.activation);
        a.y[row * a.ldy + n] = a.residual ? __fadd_rn(l->residual[p], sum) : sum;
    }
}

/* Weights of a stage at the spikes that lie in this warp's codes of it. column: of spike `lane`. */
static __device__ __forceinline__ void keep_spikes(int8_t (*kept)[OUTS], const uint8_t *stage,
                                                   int32_t k, int32_t column) {
    const int32_t lane = threadIdx.x % 32, first = k + (int32_t)threadIdx.x / 32 * SLICE;
    uint32_t here = __ballot_sync(ALL, column >= first && column < first + SLICE);
    for (; here; here &= here - 1) {
        const int i = __ffs(here) - 1;
        const int32_t at = __shfl_sync(ALL, column, i) - k;
        if (lane < OUTS) kept[i][lane] = (int8_t)stage[lane * PITCH + at];
    }
}

/* acc += this warp's codes of a stage. w, x: the stage's and the tokens' at this lane's; left:
 * codes of k from there on. */
static __device__ __forceinline__ void multiply(int32_t acc[4][4], const uint8_t *w,
                                                const uint8_t *x, int32_t left) {
    const uint4 zero = make_uint4(0, 0, 0, 0);
    uint4 u[SLICE / 64], v[SLICE / 64];
#pragma unroll
    for (int i = 0; i < SLICE / 64; i++) {
        u[i] = 64 * i < left ? *(const uint4 *)(w + 64 * i) : zero;
        v[i] = 64 * i < left ? *(const uint4 *)(x + 64 * i) : zero;
    }
#pragma unroll
    for (int i = 0; i < SLICE / 64; i++) {
        const uint32_t a_low[4] = {v[i].x, 0, v[i].y, 0}, a_high[4] = {v[i].z, 0, v[i].w, 0};
        const uint32_t b_low[2] = {u[i].x, u[i].y}, b_high[2] = {u[i].z, u[i].w};
        mma_s8(acc[i % 2 * 2], a_low, b_low);
        mma_s8(acc[i % 2 * 2 + 1], a_high, b_high);
    }
}

/* By the warps that multiply: sums of each tile to shared memory, in turns. */
static __device__ __forceinline__ void consume(const nr_cuda_linear_i8_args &a, ring_shared *s,
                                               const uint8_t *codes, const uint8_t *stages,
                                               ring r) {
    const int32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int32_t tiles = (a.n_out + OUTS - 1) / OUTS, own = SLICE * warp + 16 * t;
    const uint8_t *x = codes + min(g, a.m - 1) * codes_pitch(a) + own;
    ring turn = {0, 2, 0};
    meet_neighbours(a.early);
    const int32_t column = lane < a.m * NR_CUDA_SPIKES ? a.spike_col[lane] : -1;
    barrier_wait(&s->codes_full, 0);
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x, turn.advance()) {
        int32_t acc[4][4] = {};
        barrier_wait(&s->sums_free[turn.stage], turn.parity ^ 1u);
        for (int32_t k = 0; k < a.k_pad; k += STEP) {
            const uint8_t *stage = stages + r.stage * STAGE_BYTES;
            barrier_wait(&s->full[r.stage], r.parity);
            multiply(acc, stage + g * PITCH + own, x + k, a.k_pad - k - own);
            keep_spikes(s->kept[turn.stage], stage, k, column);
            __syncwarp();
            if (lane == 0) barrier_arrive(&s->empty[r.stage]);
            r.advance();
        }
        *(int2 *)&s->sums[turn.stage][warp][g * OUTS + 2 * t] =
            make_int2(acc[0][0] + acc[1][0] + acc[2][0] + acc[3][0],
                      acc[0][1] + acc[1][1] + acc[2][1] + acc[3][1]);
        __syncwarp();
        if (lane == 0) barrier_arrive(&s->sums_full[turn.stage]);
    }
}

/* By one warp: sums to results. What a tile needs is on its way while the one before it is made. */
static __device__ __forceinline__ void finish(const nr_cuda_linear_i8_args &a, ring_shared *s,
                                              uint8_t *codes) {
    const int32_t lane = threadIdx.x % 32, out = lane % OUTS;
    const int32_t tiles = (a.n_out + OUTS - 1) / OUTS;
    ring turn = {0, 2, 0};
    tile_loads loads = {};
    load_tokens(a, s, codes);
    load_tile(&loads, a, blockIdx.x * OUTS + out);
    for (int32_t tile = blockIdx.x; tile < tiles; tile += gridDim.x, turn.advance()) {
        const tile_loads own = loads;
        load_tile(&loads, a, (tile + gridDim.x) * OUTS + out);
        barrier_wait(&s->sums_full[turn.stage], turn.parity);
        store_results(a, &own, s, turn.stage, tile * OUTS + out);
        __syncwarp();
        if (lane == 0) barrier_arrive(&s->sums_free[turn.stage]);
    }
}

#endif /* NR_HOPPER */

static __global__ void __launch_bounds__(THREADS, 2)
    k_linear_i8_ring(const __grid_constant__ nr_cuda_linear_i8_args a, int32_t n_stages,
                     int32_t window) {
#ifdef NR_HOPPER
    extern __shared__ __align__(128) uint8_t shared[];
    ring_shared *s = (ring_shared *)shared;
    uint8_t *codes = shared + REST_BYTES, *stages = codes + a.m * codes_pitch(a);
    const ring r = {0, n_stages, 0};
    if (threadIdx.x == 32 * PRODUCER) make_barriers(s, n_stages);
    __syncthreads();
    const int32_t warp = threadIdx.x / 32;
    if (warp == PRODUCER) feed(a, s, stages, r, window);
    else if (warp == FINISHER) finish(a, s, codes);
    else consume(a, s, codes, stages, r);
#endif
}

/* Shared memory of a block, KB, and stages on their way. More of either was slower, also where it
 * would have filled while others compute; the second is for codes that leave no room in the first.
 * What is left of 227 KB is for the launches beside it: rows to codes take up to 20, a block of
 * attention 22 and there are three on a multiprocessor. */
static const nr_cuda_ring_way ways[] = {{118, 3}, {200, 6}};
#define SMALL 0
#define LARGE 1

int nr_cuda_ring_ways(void) {
    return (int)NR_COUNT(ways);
}
const nr_cuda_ring_way *nr_cuda_ring_way_of(int way) {
    return &ways[way];
}

/* Stages that a way has room for, or 0 where they are too few. */
static int32_t stages_of(const nr_cuda_linear_i8_args *a, int way) {
    const int32_t room = ways[way].kb * 1024 - (int32_t)REST_BYTES - a->m * codes_pitch(*a);
    const int32_t stages = NR_MIN(room / STAGE_BYTES, STAGES_MAX);
    return stages < 4 ? 0 : stages;
}

bool nr_cuda_ring_fits(const nr_cuda_linear_i8_args *a) {
    return a->sm == 90 && a->m <= TOKENS && nr_cuda_tiles_fit(a) && stages_of(a, LARGE) > 0;
}

cudaError_t nr_cuda_linear_i8_ring(const nr_cuda_linear_i8_args *a, int way, cudaStream_t stream) {
    if (!nr_cuda_ring_fits(a)) return cudaErrorInvalidValue;
    if (way < 0 || stages_of(a, way) == 0) way = stages_of(a, SMALL) > 0 ? SMALL : LARGE;
    const int32_t stages = stages_of(a, way), tiles = (a->n_out + OUTS - 1) / OUTS;
    size_t bytes = REST_BYTES + (size_t)(a->m * codes_pitch(*a)) + (size_t)stages * STAGE_BYTES;
    cudaError_t e = cudaFuncSetAttribute((const void *)k_linear_i8_ring,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         ways[LARGE].kb * 1024);
    if (e != cudaSuccess) return e;
    bytes = NR_MAX(bytes, (size_t)SHARED_MIN);
    return launch_beside(k_linear_i8_ring, dim3((unsigned)NR_MIN(tiles, a->n_multiprocessors)),
                         dim3(THREADS), bytes, a->overlap, true, stream, *a, stages,
                         NR_MIN(stages, ways[way].window));
}
