/* SPDX-License-Identifier: MIT
 *
 * linear_i8_wgmma.cu - i8 linears of more than a few rows on Hopper: the copy engine brings tiles
 * of codes of k, one or two warpgroups multiply them straight from shared memory, each 64 weight
 * rows by ROWS tokens. One warp feeds the engine; three or seven watch the stages go by and keep
 * the weight codes at the tokens' spikes (linear_tile.cuh), and copy what the epilogue needs.
 *
 * Blocks are persistent, so the first stages of the next tile come while the last one is written.
 * Tiles of 128 weight rows are as wide in tokens as makes the waves of blocks come out even: 616
 * tokens are 4 * 154, and 4096 outputs then 32 * 4 = 128 tiles of 128 x 160 for 132
 * multiprocessors. Tiles of 64 weight rows are two blocks a multiprocessor: for few rows (9 to 64),
 * so that some 100 KB of weights are on their way all the time, and for small matrices, where the
 * epilogue of one block runs beside the products of the other. Two of them in a cluster may share
 * a tile's k (SPLIT): each keeps codes where the block lies that writes the token's results, gives
 * its sums of the other's tokens to the other, and writes half of the tile.
 *
 * Rejected: clusters whose blocks fetch what they share once. Two or four blocks were slower than
 * one, since the L2 cache is at 40 % and a stage is given back later.
 */
#include "cuda_hopper.cuh"
#include "cuda_launch.cuh"
#include "linear_tile.cuh"

#define STEP 128 /* codes of k a stage */
#define STAGES_MAX 8
#define WATCHERS_MEET 1 /* their barrier */
#define AHEAD 1024      /* codes of k that weights are in the L2 cache ahead */

struct hopper_barriers {
    uint64_t full[STAGES_MAX], empty[STAGES_MAX];
    uint64_t values_full, values_empty; /* token values and spikes of a tile */
};

/* What lies behind the stages. sums: of the other block of a cluster that shares a tile's k, for
 * this one's half of the tokens, as its threads had them. */
template <int OUTS, int ROWS, int SPLIT> struct tile_rest {
    uint8_t kept[ROWS * 4 * OUTS];
    int32_t sums[SPLIT == 1 ? 1 : ROWS / 4][2 * OUTS];
    tile_values<OUTS, ROWS> values;
    spike_list<uint32_t, STEP, ROWS> list;
    hopper_barriers barriers;
};

/* Threads: a warp that feeds, the watchers, the multipliers. stages: [STAGES] of weights
 * [OUTS][STEP], then codes [ROWS][STEP]. A stage has TEAM of the watching warps: all of them where
 * a stage has many spikes and few stages fit, so that it is soon free again; one where most of a
 * warp's time is the look at a stage and not its spikes. A place of the ring has the same team all
 * the time: another one might take the phase before for its own. */
template <int OUTS, int ROWS, int CLUSTER> struct hopper_shape {
    static const int SPLIT = CLUSTER;
    static const int BLOCKS = OUTS == 64 ? 2 : 1; /* of a multiprocessor */
    static const int WATCHING = OUTS == 64 && ROWS < 80 ? 3 : 7; /* warps */
    static const int TEAM = WATCHING == 7 ? 7 : 1;
    /* Registers of the multiplying threads and of the others, once they have shifted them. */
    static const bool SHIFTS = WATCHING == 7;
    static const int MANY = OUTS == 64 && WATCHING == 7 ? 128 : 176;
    static const int FEW = OUTS == 64 && WATCHING == 7 ? 56 : 80;
    static const int WATCHERS = 32 * WATCHING, MULTIPLIERS = 2 * OUTS;
    static const int FIRST_MULTIPLIER = 32 + WATCHERS, THREADS = FIRST_MULTIPLIER + MULTIPLIERS;
    static const int STAGE_BYTES = (OUTS + ROWS) * STEP;
    typedef tile_rest<OUTS, ROWS, SPLIT> rest;
    static const int ROOM = (OUTS == 64 ? 113 : 227) * 1024 - 1024; /* 1024: to align */
    static const int FIT = (ROOM - (int)sizeof(rest)) / STAGE_BYTES;
    static const int STAGES = FIT < STAGES_MAX ? FIT : STAGES_MAX;
    static const int SHARED_BYTES = 1024 + STAGES * STAGE_BYTES + (int)sizeof(rest);
};

#ifdef NR_HOPPER

template <int N> struct int_of {};

/* The tiles of a block or of a cluster, in its turn, and the stages that are this block's. */
template <int OUTS, int ROWS, int SPLIT> struct tile_walk {
    int32_t m_tiles, tiles, tile, first, steps;
    __device__ __forceinline__ tile_walk(const nr_cuda_linear_i8_args &a, int32_t all_steps) {
        m_tiles = (a.m + ROWS - 1) / ROWS;
        tiles = (a.n_out + OUTS - 1) / OUTS * m_tiles;
        tile = (int32_t)blockIdx.x / SPLIT;
        first = all_steps * rank() / SPLIT;
        steps = all_steps * (rank() + 1) / SPLIT - first;
    }
    __device__ __forceinline__ int rank(void) const { return (int)blockIdx.x % SPLIT; }
    __device__ __forceinline__ bool more(void) const { return tile < tiles; }
    __device__ __forceinline__ bool last(void) const { return tile + turn() >= tiles; }
    __device__ __forceinline__ void next(void) { tile += turn(); }
    __device__ __forceinline__ int32_t n0(void) const { return tile / m_tiles * OUTS; }
    __device__ __forceinline__ int32_t m0(void) const { return tile % m_tiles * ROWS; }
    __device__ __forceinline__ int32_t turn(void) const { return (int32_t)gridDim.x / SPLIT; }
};

/* Where a cluster keeps codes: with the block that writes the token's results, a half each. */
template <int ROWS> struct kept_in_cluster {
    uint8_t *kept[2];
    __device__ __forceinline__ uint8_t *of(int32_t token) const {
        return token < ROWS / 2 ? kept[0] : kept[1];
    }
};
template <int ROWS>
static __device__ __forceinline__ kept_in_cluster<ROWS> kept_places(uint8_t *kept, int_of<2>) {
    return {{cluster_place(kept, 0), cluster_place(kept, 1)}};
}
template <int ROWS>
static __device__ __forceinline__ kept_here kept_places(uint8_t *kept, int_of<1>) {
    return {kept};
}

/* Barriers of a tile's values, which the blocks of a cluster share: what this thread has written is
 * there; it has done with reading; wait. */
template <int SPLIT> static __device__ __forceinline__ void values_written(uint64_t *b) {
    if (SPLIT == 1) barrier_arrive(b);
    for (int rank = 0; SPLIT > 1 && rank < SPLIT; rank++) barrier_show_at(b, rank);
}
template <int SPLIT> static __device__ __forceinline__ void values_read(uint64_t *b) {
    if (SPLIT == 1) barrier_arrive(b);
    for (int rank = 0; SPLIT > 1 && rank < SPLIT; rank++) barrier_arrive_at(b, rank);
}
template <int SPLIT>
static __device__ __forceinline__ void wait_for_values(uint64_t *b, uint32_t parity) {
    if (SPLIT == 1) barrier_wait(b, parity);
    else barrier_wait_for_cluster(b, parity);
}

/* The stages as a ring that runs on from tile to tile. */
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

/* By one thread. The first weights are asked for while the launch before may still run. */
template <class S, int OUTS, int ROWS>
static __device__ void feed(tile_walk<OUTS, ROWS, S::SPLIT> walk, uint8_t *stages,
                            hopper_barriers *b, const tile_map *weights, const tile_map *codes) {
    const int32_t ahead = AHEAD / STEP, steps = walk.steps;
    int32_t early = min(S::STAGES, steps);
    for (int32_t s = 0; s < early; s++) {
        barrier_expect(&b->full[s], S::STAGE_BYTES);
        tile_load(stages + s * S::STAGE_BYTES, weights, &b->full[s], (walk.first + s) * STEP,
                  walk.n0());
    }
    wait_for_launch_before();
    ring r = {0, 0};
    for (; walk.more(); walk.next()) {
        const int32_t n0 = walk.n0(), m0 = walk.m0();
        for (int32_t s = 0; s < steps; s++, advance<S::STAGES>(&r)) {
            const int32_t k = (walk.first + s) * STEP;
            uint8_t *stage = stages + r.stage * S::STAGE_BYTES;
            if (early > 0) {
                early--;
            } else {
                barrier_wait(&b->empty[r.stage], r.parity ^ 1u);
                barrier_expect(&b->full[r.stage], S::STAGE_BYTES);
                tile_load(stage, weights, &b->full[r.stage], k, n0);
            }
            tile_load(stage + OUTS * STEP, codes, &b->full[r.stage], k, m0);
            if (walk.m_tiles > 1 && m0 == 0) /* others come to the same weights */
                for (int32_t p = s ? s + ahead : S::STAGES; p <= s + ahead && p < steps; p++)
                    tile_prefetch(weights, (walk.first + p) * STEP, n0);
        }
    }
}

template <class S, int OUTS, int ROWS>
static __device__ void watch(const nr_cuda_linear_i8_args &a,
                             tile_walk<OUTS, ROWS, S::SPLIT> walk, const uint8_t *stages,
                             typename S::rest *rest, int32_t all_steps) {
    const int thread = threadIdx.x - 32, lane = thread % 32, warp = thread / 32;
    const int TEAMS = S::WATCHING / S::TEAM;
    hopper_barriers *b = &rest->barriers;
    const auto kept = kept_places<ROWS>(rest->kept, int_of<S::SPLIT>());
    int32_t sorted = -1;
    uint32_t values_parity = 0;
    ring r = {0, 0};
    for (; walk.more(); walk.next()) {
        const outlier_list outliers(a);
        if (sorted != walk.m0()) {
            sorted = walk.m0();
            sort_spikes<S::WATCHERS, WATCHERS_MEET>(&rest->list, a, sorted, all_steps, thread);
        }
        wait_for_values<S::SPLIT>(&b->values_empty, values_parity ^ 1u);
        copy_values<S::WATCHERS>(&rest->values, a, outliers, walk.n0(), walk.m0(), thread);
        for (int32_t s = walk.first; s < walk.first + walk.steps; s++, advance<S::STAGES>(&r)) {
            if (r.stage % TEAMS != warp / S::TEAM) continue;
            const int32_t first = rest->list.at[s], end = rest->list.at[s + 1];
            barrier_wait(&b->full[r.stage], r.parity);
            keep_spikes<OUTS, 8, S::WATCHING == 3 ? 2 : 1>(
                kept, &rest->list, stages + r.stage * S::STAGE_BYTES, first, end, warp % S::TEAM,
                S::TEAM);
            __syncwarp();
            if (lane == 0) barrier_arrive(&b->empty[r.stage]);
        }
        copy_wait<0>();
        values_written<S::SPLIT>(&b->values_full);
        values_parity ^= 1u;
    }
}

/* The products of a stage, on their way when this returns. */
template <class S, int OUTS, int ROWS>
static __device__ __forceinline__ void multiply_stage(int32_t *acc, const uint8_t *stage, int group,
                                                      bool first) {
    uint64_t w = tile_descriptor<STEP>(stage + group * 64 * STEP);
    uint64_t x = tile_descriptor<STEP>(stage + OUTS * STEP);
    product_begin();
#pragma unroll
    for (int k = 0; k < STEP / 32; k++) /* 32 bytes on: 2 in the descriptor's units */
        product<ROWS>(acc, w + 2 * k, x + 2 * k, !first || k > 0);
    product_commit();
}

/* This thread's sums of the half of the tokens that this block writes to acc[0] and on, from both
 * blocks of the cluster. */
template <class S, int ROWS>
static __device__ __forceinline__ void join_sums(int32_t *acc, typename S::rest *rest, int rank,
                                                 int thread, uint32_t parity) {
    typename S::rest *other = cluster_place(rest, 1 - rank);
    barrier_wait_for_cluster(&rest->barriers.values_empty, parity ^ 1u);
#pragma unroll
    for (int i = 0; i < ROWS / 4; i++) {
        other->sums[i][thread] = rank ? acc[i] : acc[i + ROWS / 4];
        acc[i] = rank ? acc[i + ROWS / 4] : acc[i];
    }
    barrier_show_at(&rest->barriers.values_full, 1 - rank);
    barrier_wait_for_cluster(&rest->barriers.values_full, parity);
#pragma unroll
    for (int i = 0; i < ROWS / 4; i++) acc[i] += rest->sums[i][thread];
}

template <class S, int OUTS, int ROWS, bool ACTIVATES, bool ADDS>
static __device__ void multiply(const nr_cuda_linear_i8_args &a,
                                tile_walk<OUTS, ROWS, S::SPLIT> walk, const uint8_t *stages,
                                typename S::rest *rest) {
    const int thread = threadIdx.x - S::FIRST_MULTIPLIER, group = thread / 128, lane = thread % 32;
    hopper_barriers *b = &rest->barriers;
    uint32_t values_parity = 0;
    ring r = {0, 0};
    for (; walk.more(); walk.next()) {
        int32_t acc[ROWS / 2];
        int before = 0;
        for (int32_t s = 0; s < walk.steps; s++) {
            bool held = s > 0; /* the stage before */
            if (held && !barrier_passed(&b->full[r.stage], r.parity)) {
                product_wait<0>();
                if (lane == 0) barrier_arrive(&b->empty[before]);
                held = false;
            }
            barrier_wait(&b->full[r.stage], r.parity);
            multiply_stage<S, OUTS, ROWS>(acc, stages + r.stage * S::STAGE_BYTES, group, s == 0);
            product_wait<1>();
            if (held && lane == 0) barrier_arrive(&b->empty[before]);
            before = r.stage;
            advance<S::STAGES>(&r);
        }
        product_wait<0>();
        if (lane == 0) barrier_arrive(&b->empty[before]);
        if (walk.last()) let_next_launch_begin();
        const auto wait_for_values = [&] {
            if (S::SPLIT == 1) barrier_wait(&b->values_full, values_parity);
            else join_sums<S, ROWS>(acc, rest, walk.rank(), thread, values_parity);
        };
        store_slab<OUTS, ROWS, ROWS / 8 / S::SPLIT, ACTIVATES, ADDS>(
            a, acc, &rest->values, rest->kept, thread / 32, walk.rank() * (ROWS / S::SPLIT),
            walk.n0(), walk.m0(), wait_for_values);
        values_parity ^= 1u;
        /* Not after the last tile: nobody waits then, and the other block may be gone. All that it
         * has written here has been waited for. */
        if (S::SPLIT == 1 || !walk.last()) values_read<S::SPLIT>(&b->values_empty);
    }
}

template <class S> static __device__ __forceinline__ void make_barriers(hopper_barriers *b) {
    for (int i = 0; i < S::STAGES; i++) {
        barrier_init(&b->full[i], 1);
        barrier_init(&b->empty[i], S::MULTIPLIERS / 32 + S::TEAM);
    }
    barrier_init(&b->values_full, S::SPLIT * S::WATCHERS + (S::SPLIT - 1) * S::MULTIPLIERS);
    barrier_init(&b->values_empty, S::SPLIT * S::MULTIPLIERS);
    barrier_init_done();
}

#endif /* NR_HOPPER */

template <int OUTS, int ROWS, int SPLIT, bool ACTIVATES, bool ADDS>
static __global__ void __launch_bounds__(hopper_shape<OUTS, ROWS, SPLIT>::THREADS,
                                         hopper_shape<OUTS, ROWS, SPLIT>::BLOCKS)
    k_linear_i8_wgmma(const __grid_constant__ nr_cuda_linear_i8_args a,
                      const __grid_constant__ tile_map weights,
                      const __grid_constant__ tile_map codes) {
#ifdef NR_HOPPER
    typedef hopper_shape<OUTS, ROWS, SPLIT> S;
    extern __shared__ __align__(1024) uint8_t shared[];
    uint8_t *stages = shared + (1024 - (uintptr_t)shared % 1024) % 1024; /* known to be shared */
    typename S::rest *rest = (typename S::rest *)(stages + S::STAGES * S::STAGE_BYTES);
    int32_t steps = (a.k_pad + STEP - 1) / STEP;
    tile_walk<OUTS, ROWS, SPLIT> walk(a, steps);
    if (threadIdx.x == 0) {
        make_barriers<S>(&rest->barriers);
        tile_prefetch_map(&weights);
        tile_prefetch_map(&codes);
    }
    if (SPLIT == 1) __syncthreads();
    else cluster_sync();
    if (threadIdx.x >= S::FIRST_MULTIPLIER) {
        meet_neighbours(a.early);
        if (S::SHIFTS) registers_up_to<S::MANY>();
        multiply<S, OUTS, ROWS, ACTIVATES, ADDS>(a, walk, stages, rest);
    } else {
        if (S::SHIFTS) registers_down_to<S::FEW>();
        if (threadIdx.x >= 32) {
            meet_neighbours(a.early);
            watch<S>(a, walk, stages, rest, steps);
        } else if (threadIdx.x == 0) {
            feed<S>(walk, stages, &rest->barriers, &weights, &codes);
        }
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
    const cuuint32_t box[2] = {STEP, (cuuint32_t)box_rows}, unit[2] = {1, 1};
    CUresult r = ((encode_function)found)(
        map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, (void *)matrix, size, stride, box, unit,
        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
        CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
#endif
}

template <int OUTS, int ROWS, int SPLIT, bool ACTIVATES, bool ADDS>
static cudaError_t launch(const nr_cuda_linear_i8_args *a, cudaStream_t stream) {
    typedef hopper_shape<OUTS, ROWS, SPLIT> S;
    static_assert(S::STAGES >= 3 && S::STAGES <= STAGES_MAX, "stages fit");
    static_assert(S::FIRST_MULTIPLIER % 128 == 0, "whole warpgroups");
    auto kernel = k_linear_i8_wgmma<OUTS, ROWS, SPLIT, ACTIVATES, ADDS>;
    tile_map weights, codes;
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2] = {};
    if (SPLIT > 1 && a->k_pad <= STEP) /* nothing to share */
        return launch<OUTS, ROWS, 1, ACTIVATES, ADDS>(a, stream);
    cudaError_t e = map_of(&weights, a->weights, a->n_out_pad, a->k_pad, OUTS);
    if (e == cudaSuccess) e = map_of(&codes, a->codes, a->m, a->k_pad, ROWS);
    if (e == cudaSuccess)
        e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 S::SHARED_BYTES);
    if (e != cudaSuccess) return e;
    int64_t tiles = (int64_t)((a->n_out + OUTS - 1) / OUTS) * ((a->m + ROWS - 1) / ROWS);
    int64_t at_once = (int64_t)a->n_multiprocessors * S::BLOCKS / SPLIT;
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim.x = SPLIT;
    attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = dim3((unsigned)NR_MIN(tiles, at_once) * SPLIT);
    config.blockDim = dim3(S::THREADS);
    config.dynamicSmemBytes = S::SHARED_BYTES;
    config.stream = stream;
    config.attrs = &attributes[SPLIT == 1];
    config.numAttrs = (unsigned)(SPLIT > 1) + a->overlap;
    return cudaLaunchKernelEx(&config, kernel, *a, weights, codes);
}

/* Launchers: without activation and residual, with a residual, with both or either. */
struct tile_way {
    nr_cuda_tile_way shape;
    cudaError_t (*launch[3])(const nr_cuda_linear_i8_args *, cudaStream_t);
};
#define WAY(outs, rows, split)                                                                     \
    {                                                                                              \
        {outs, rows, split}, {                                                                     \
            launch<outs, rows, split, false, false>, launch<outs, rows, split, false, true>,       \
                launch<outs, rows, split, true, true>                                              \
        }                                                                                          \
    }
static const tile_way ways[] = {
    WAY(64, 16, 1),   WAY(64, 32, 1),   WAY(64, 64, 1), WAY(64, 80, 1), WAY(128, 80, 1),
    WAY(128, 128, 1), WAY(128, 160, 1), WAY(64, 16, 2), WAY(64, 32, 2), WAY(64, 64, 2),
    WAY(64, 80, 2),
};

/* Nanoseconds, fitted to an H200: waves of tiles, each a start and an epilogue that grow with the
 * tokens, and stages of 128 codes. Tiles of 64 weight rows run two a multiprocessor; one that is
 * alone takes less, and k shared between two blocks pays where it is long. */
static int64_t cost(const nr_cuda_tile_way *w, const nr_cuda_linear_i8_args *a) {
    const int64_t rows = w->rows, slots = a->n_multiprocessors, steps = (a->k_pad + 127) / 128;
    int64_t tiles = (a->n_out + w->outs - 1) / w->outs * ((a->m + rows - 1) / rows);
    if (w->outs == 128)
        return (tiles + slots - 1) / slots * (600 + 72 * rows + steps * (200 + 7 * rows / 5));
    if (w->split == 2) return tiles <= slots ? 7100 + 230 * steps : INT64_MAX;
    if (tiles <= slots) return 5100 + 290 * steps;
    return (tiles + 2 * slots - 1) / (2 * slots) * (7300 + 410 * steps);
}

/* For few rows: one that shares k where that gives each block a multiprocessor of its own. */
static const tile_way *choose_few(const nr_cuda_linear_i8_args *a) {
    const int rows = a->m <= 16 ? 16 : a->m <= 32 ? 32 : 64;
    const int split = (a->n_out + 63) / 64 * 2 <= a->n_multiprocessors ? 2 : 1;
    const tile_way *w = ways;
    while (w->shape.outs != 64 || w->shape.rows != rows || w->shape.split != split) w++;
    return w;
}

static const tile_way *choose(const nr_cuda_linear_i8_args *a) {
    const tile_way *best = NULL;
    if (a->m <= 64) return choose_few(a);
    for (const tile_way &w : ways)
        if (w.shape.rows >= 80 && (!best || cost(&w.shape, a) < cost(&best->shape, a))) best = &w;
    return best;
}

int nr_cuda_wgmma_ways(void) {
    return (int)NR_COUNT(ways);
}

const nr_cuda_tile_way *nr_cuda_wgmma_way(int way) {
    return &ways[way].shape;
}

bool nr_cuda_wgmma_fits(const nr_cuda_linear_i8_args *a) {
    return a->sm == 90 && nr_cuda_tiles_fit(a);
}

cudaError_t nr_cuda_linear_i8_wgmma(const nr_cuda_linear_i8_args *a, int way,
                                    cudaStream_t stream) {
    if (!nr_cuda_wgmma_fits(a)) return cudaErrorInvalidValue;
    const tile_way *w = way < 0 ? choose(a) : &ways[way];
    return w->launch[a->activation != NR_ACTIVATION_NONE ? 2 : a->residual != NULL](a, stream);
}
