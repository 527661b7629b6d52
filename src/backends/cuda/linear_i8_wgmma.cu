/* SPDX-License-Identifier: MIT
 *
 * linear_i8_wgmma.cu - i8 linears of more than a few rows on Hopper: the copy engine brings tiles
 * of 128 codes of k, one or two warpgroups multiply them straight from shared memory, each 64
 * weight rows by ROWS tokens. One warp feeds the engine; three watch the stages go by and keep the
 * weight codes at the tokens' spikes (linear_tile.cuh), and lay out what the epilogue needs.
 *
 * A multiprocessor at full rate would want 58 bytes a clock of tiles of 128 x 160, more than its
 * share of the L2 cache. So neighbours form a cluster: ACROSS blocks with the same tokens and DOWN
 * blocks with the same weights each fetch their part of what they share and the engine writes it to
 * all of them. Their rings run in step: a stage is free when the multiplying and watching warps of
 * all blocks that it is written from have arrived, and at the end all wait for one another, as a
 * block's shared memory must outlive what others write to it.
 *
 * Blocks are persistent, so the first stages of the next tile come while the last one is written.
 * Tiles are as wide in tokens as makes the waves of blocks come out even: 616 tokens are 4 * 154,
 * and 4096 outputs then 32 * 4 = 128 tiles of 128 x 160 for 132 multiprocessors. Few rows (9 to
 * 64) are tiles of 64 weight rows by all tokens, two blocks a multiprocessor, so that some 100 KB
 * of weights are on their way all the time.
 */
#include "cuda_hopper.cuh"
#include "cuda_launch.cuh"
#include "linear_tile.cuh"

#define STEP 128 /* codes of k a stage */
#define WATCHERS 96
#define WATCHERS_MEET 1 /* their barrier */
#define STAGES_MAX 8
#define AHEAD 8 /* stages that weights are in the L2 cache ahead */
#define CLUSTER_MAX 4 /* that is chosen; 1: no clusters */

struct hopper_barriers {
    uint64_t full[STAGES_MAX], empty[STAGES_MAX];
    uint64_t values_full, values_empty; /* token values and spikes of a tile */
};

/* What lies behind the stages. */
template <int OUTS, int ROWS> struct tile_rest {
    uint8_t kept[ROWS * 4 * OUTS];
    tile_values<OUTS, ROWS> values;
    spike_list<uint32_t, STEP, ROWS> list;
    hopper_barriers barriers;
};

/* stages: [STAGES] of weights [OUTS][STEP], then codes [ROWS][STEP]. */
template <int OUTS, int ROWS> struct hopper_shape {
    static const int MULTIPLIERS = 2 * OUTS, THREADS = 128 + MULTIPLIERS;
    static const int BLOCKS = OUTS == 64 ? 2 : 1; /* of a multiprocessor */
    static const int STAGE_BYTES = (OUTS + ROWS) * STEP;
    static const int ROOM = (OUTS == 64 ? 113 : 227) * 1024 - 1024; /* 1024: to align */
    static const int FIT = (ROOM - (int)sizeof(tile_rest<OUTS, ROWS>)) / STAGE_BYTES;
    static const int STAGES = FIT < STAGES_MAX ? FIT : STAGES_MAX;
    static const int SHARED_BYTES =
        1024 + STAGES * STAGE_BYTES + (int)sizeof(tile_rest<OUTS, ROWS>);
};

#ifdef NR_HOPPER

/* Where a block works: its place in the cluster and the tiles in its turn, those of a cluster
 * ACROSS by DOWN at once. */
template <int OUTS, int ROWS, int ACROSS, int DOWN> struct tile_walk {
    static const int CLUSTER = ACROSS * DOWN;
    int32_t across, down, m_turns, turns, turn;
    __device__ __forceinline__ explicit tile_walk(const nr_cuda_linear_i8_args &a) {
        int32_t rank = (int32_t)blockIdx.x % CLUSTER;
        across = rank / DOWN, down = rank % DOWN;
        m_turns = (a.m + ROWS * DOWN - 1) / (ROWS * DOWN);
        turns = (a.n_out + OUTS * ACROSS - 1) / (OUTS * ACROSS) * m_turns;
        turn = (int32_t)blockIdx.x / CLUSTER;
    }
    __device__ __forceinline__ bool more(void) const { return turn < turns; }
    __device__ __forceinline__ void next(void) { turn += (int32_t)gridDim.x / CLUSTER; }
    __device__ __forceinline__ int32_t n0(void) const {
        return (turn / m_turns * ACROSS + across) * OUTS;
    }
    __device__ __forceinline__ int32_t m0(void) const {
        return (turn % m_turns * DOWN + down) * ROWS;
    }
    /* Ranks whose weights, whose tokens are this block's; arrivals: of a warp of the former and
     * the latter, itself once. */
    __device__ __forceinline__ uint16_t same_weights(void) const {
        return (uint16_t)(((1u << DOWN) - 1u) << (across * DOWN));
    }
    __device__ __forceinline__ uint16_t same_tokens(void) const {
        uint32_t mask = 0;
        for (int i = 0; i < ACROSS; i++) mask |= 1u << (i * DOWN + down);
        return (uint16_t)mask;
    }
};

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

/* This warp is done with a stage: tell the blocks that write to it, a lane each. */
template <int OUTS, int ROWS, int ACROSS, int DOWN>
static __device__ __forceinline__ void release(const tile_walk<OUTS, ROWS, ACROSS, DOWN> &walk,
                                               uint64_t *empty, int lane) {
    if (ACROSS * DOWN == 1) {
        if (lane == 0) barrier_arrive(empty);
    } else if (lane < ACROSS * DOWN &&
               ((walk.same_weights() | walk.same_tokens()) >> lane & 1)) {
        barrier_arrive_at(empty, lane);
    }
}

/* By one thread. Weights of the first stages depend on no launch. */
template <int OUTS, int ROWS, int ACROSS, int DOWN>
static __device__ void feed(tile_walk<OUTS, ROWS, ACROSS, DOWN> walk, uint8_t *stages,
                            hopper_barriers *b, const tile_map *weights, const tile_map *codes,
                            int32_t steps) {
    typedef hopper_shape<OUTS, ROWS> S;
    const int W_PART = OUTS / DOWN, X_PART = ROWS / ACROSS;
    const int32_t w_at = walk.down * W_PART, x_at = walk.across * X_PART;
    ring r = {0, 0};
    int32_t begun = walk.more() ? min(S::STAGES, steps) : 0;
    for (int32_t s = 0; s < begun; s++) {
        barrier_expect(&b->full[s], S::STAGE_BYTES);
        tile_load_to(stages + s * S::STAGE_BYTES + w_at * STEP, weights, &b->full[s], s * STEP,
                     walk.n0() + w_at, walk.same_weights(), DOWN > 1);
    }
    wait_for_launch_before();
    for (; walk.more(); walk.next(), begun = 0) {
        const int32_t n0 = walk.n0() + w_at, m0 = walk.m0() + x_at;
        for (int32_t s = 0; s < steps; s++) {
            uint8_t *stage = stages + r.stage * S::STAGE_BYTES;
            if (s >= begun) {
                barrier_wait(&b->empty[r.stage], r.parity ^ 1u);
                barrier_expect(&b->full[r.stage], S::STAGE_BYTES);
            }
            if (ROWS > 64 && walk.turn % walk.m_turns == 0) /* others come to the same weights */
                for (int32_t p = s ? s + AHEAD : S::STAGES; p <= s + AHEAD && p < steps; p++)
                    tile_prefetch(weights, p * STEP, n0);
            if (s >= begun)
                tile_load_to(stage + w_at * STEP, weights, &b->full[r.stage], s * STEP, n0,
                             walk.same_weights(), DOWN > 1);
            tile_load_to(stage + (OUTS + x_at) * STEP, codes, &b->full[r.stage], s * STEP, m0,
                         walk.same_tokens(), ACROSS > 1);
            advance<S::STAGES>(&r);
        }
    }
}

template <int OUTS, int ROWS, int ACROSS, int DOWN>
static __device__ void watch(const nr_cuda_linear_i8_args &a,
                             tile_walk<OUTS, ROWS, ACROSS, DOWN> walk, const uint8_t *stages,
                             tile_rest<OUTS, ROWS> *rest, int32_t steps) {
    typedef hopper_shape<OUTS, ROWS> S;
    const int thread = threadIdx.x - 32, lane = thread % 32;
    hopper_barriers *b = &rest->barriers;
    value_loads<WATCHERS, OUTS, ROWS> values; /* on their way while the epilogue reads the last */
    int32_t sorted = -1;
    uint32_t values_parity = 0;
    ring r = {0, 0};
    for (; walk.more(); walk.next()) {
        values.load(a, walk.n0(), walk.m0(), thread);
        if (sorted != walk.m0()) {
            sorted = walk.m0();
            sort_spikes<WATCHERS, WATCHERS_MEET>(&rest->list, a, sorted, steps, thread);
        }
        barrier_wait(&b->values_empty, values_parity ^ 1u);
        values.put(&rest->values, thread);
        for (int32_t s = 0; s < steps; s++) {
            barrier_wait(&b->full[r.stage], r.parity);
            keep_spikes<OUTS, 8>(rest->kept, &rest->list, stages + r.stage * S::STAGE_BYTES, s,
                                 thread / 32, WATCHERS / 32);
            __syncwarp();
            release(walk, &b->empty[r.stage], lane);
            advance<S::STAGES>(&r);
        }
        barrier_arrive(&b->values_full);
        values_parity ^= 1u;
    }
}

template <int OUTS, int ROWS, int ACROSS, int DOWN, bool ACTIVATES>
static __device__ void multiply(const nr_cuda_linear_i8_args &a,
                                tile_walk<OUTS, ROWS, ACROSS, DOWN> walk, const uint8_t *stages,
                                tile_rest<OUTS, ROWS> *rest, int32_t steps) {
    typedef hopper_shape<OUTS, ROWS> S;
    const int thread = threadIdx.x - 128, group = thread / 128, lane = thread % 32;
    hopper_barriers *b = &rest->barriers;
    uint32_t values_parity = 0;
    ring r = {0, 0};
    for (; walk.more(); walk.next()) {
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
            if (s > 0) release(walk, &b->empty[before], lane);
            before = r.stage;
            advance<S::STAGES>(&r);
        }
        product_wait<0>();
        release(walk, &b->empty[before], lane);
        barrier_wait(&b->values_full, values_parity);
        values_parity ^= 1u;
        store_slab<OUTS, ROWS, ROWS / 8, ACTIVATES>(a, acc, &rest->values, rest->kept,
                                                    thread / 32, 0, walk.n0(), walk.m0());
        barrier_arrive(&b->values_empty);
    }
}

template <int OUTS, int ROWS, int CLUSTER_WRITERS>
static __device__ __forceinline__ void make_barriers(hopper_barriers *b) {
    typedef hopper_shape<OUTS, ROWS> S;
    for (int i = 0; i < S::STAGES; i++) {
        barrier_init(&b->full[i], 1);
        barrier_init(&b->empty[i], (S::MULTIPLIERS + WATCHERS) / 32 * CLUSTER_WRITERS);
    }
    barrier_init(&b->values_full, WATCHERS);
    barrier_init(&b->values_empty, S::MULTIPLIERS);
    barrier_init_done();
}

#endif /* NR_HOPPER */

template <int OUTS, int ROWS, int ACROSS, int DOWN, bool ACTIVATES>
static __global__ void __launch_bounds__(hopper_shape<OUTS, ROWS>::THREADS,
                                         hopper_shape<OUTS, ROWS>::BLOCKS)
    k_linear_i8_wgmma(const __grid_constant__ nr_cuda_linear_i8_args a,
                      const __grid_constant__ tile_map weights,
                      const __grid_constant__ tile_map codes) {
#ifdef NR_HOPPER
    typedef hopper_shape<OUTS, ROWS> S;
    extern __shared__ __align__(1024) uint8_t shared[];
    uint8_t *stages = shared + (1024 - (uintptr_t)shared % 1024) % 1024; /* known to be shared */
    tile_rest<OUTS, ROWS> *rest = (tile_rest<OUTS, ROWS> *)(stages + S::STAGES * S::STAGE_BYTES);
    tile_walk<OUTS, ROWS, ACROSS, DOWN> walk(a);
    const bool alone = ACROSS * DOWN == 1;
    int32_t steps = (a.k_pad + STEP - 1) / STEP;
    if (threadIdx.x == 0) {
        make_barriers<OUTS, ROWS, ACROSS + DOWN - 1>(&rest->barriers);
        tile_prefetch_map(&weights);
        tile_prefetch_map(&codes);
    }
    if (alone) __syncthreads();
    else cluster_sync();
    if (threadIdx.x) meet_neighbours(a.early);
    if (threadIdx.x >= 128) {
        if (OUTS == 128) registers_up_to<208>(); /* 256 * 208 + 128 * 88: the launch's 384 * 168 */
        multiply<OUTS, ROWS, ACROSS, DOWN, ACTIVATES>(a, walk, stages, rest, steps);
    } else {
        if (OUTS == 128) registers_down_to<88>();
        if (threadIdx.x >= 32) watch(a, walk, stages, rest, steps);
        else if (threadIdx.x == 0) feed(walk, stages, &rest->barriers, &weights, &codes, steps);
        __syncwarp();
    }
    if (!alone) cluster_sync();
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

/* Clusters that run at once. Two blocks find a pair of multiprocessors anywhere; four may not, so
 * the driver is asked. 0: it does not say. */
static int n_clusters(const void *kernel, const cudaLaunchConfig_t *config, int n_blocks,
                      int cluster) {
    int n = 0;
    if (cluster <= 2) return n_blocks / cluster;
    return cudaOccupancyMaxActiveClusters(&n, kernel, config) == cudaSuccess ? n : 0;
}

template <int OUTS, int ROWS, int ACROSS, int DOWN, bool ACTIVATES>
static cudaError_t launch(const nr_cuda_linear_i8_args *a, cudaStream_t stream) {
    typedef hopper_shape<OUTS, ROWS> S;
    static_assert(S::STAGES >= 3 && S::STAGES <= STAGES_MAX, "stages fit");
    static_assert(OUTS / DOWN % 8 == 0 && ROWS / ACROSS % 8 == 0, "parts are whole groups");
    const int cluster = ACROSS * DOWN;
    auto kernel = k_linear_i8_wgmma<OUTS, ROWS, ACROSS, DOWN, ACTIVATES>;
    tile_map weights, codes;
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2] = {};
    cudaError_t e = map_of(&weights, a->weights, a->n_out_pad, a->k_pad, OUTS / DOWN);
    if (e == cudaSuccess) e = map_of(&codes, a->codes, a->m, a->k_pad, ROWS / ACROSS);
    if (e == cudaSuccess)
        e = cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 S::SHARED_BYTES);
    if (e != cudaSuccess) return e;
    int64_t turns = (int64_t)((a->n_out + OUTS * ACROSS - 1) / (OUTS * ACROSS)) *
                    ((a->m + ROWS * DOWN - 1) / (ROWS * DOWN));
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim.x = cluster;
    attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
    attributes[cluster > 1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[cluster > 1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = dim3(cluster);
    config.blockDim = dim3(S::THREADS);
    config.dynamicSmemBytes = S::SHARED_BYTES;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = (cluster > 1) + a->overlap;
    int at_once = n_clusters((const void *)kernel, &config, a->n_multiprocessors * S::BLOCKS,
                             cluster);
    if (at_once == 0) return cudaErrorInvalidValue;
    config.gridDim = dim3((unsigned)NR_MIN(turns, (int64_t)at_once) * cluster);
    return cudaLaunchKernelEx(&config, kernel, *a, weights, codes);
}

/* Launchers without and with activation. */
struct tile_way {
    nr_cuda_tile_way shape;
    cudaError_t (*launch[2])(const nr_cuda_linear_i8_args *, cudaStream_t);
};
#define WAY(outs, rows, across, down)                                                              \
    {                                                                                              \
        {outs, rows, across, down}, {                                                              \
            launch<outs, rows, across, down, false>, launch<outs, rows, across, down, true>        \
        }                                                                                          \
    }
static const tile_way ways[] = {
    WAY(64, 16, 1, 1),   WAY(64, 32, 1, 1),   WAY(64, 64, 1, 1),   WAY(128, 64, 1, 1),
    WAY(128, 64, 2, 1),  WAY(128, 64, 2, 2),  WAY(128, 128, 1, 1), WAY(128, 128, 2, 1),
    WAY(128, 160, 1, 1), WAY(128, 160, 2, 1), WAY(128, 160, 2, 2),
};

/* Predicted nanoseconds: waves of tiles, each a start and an epilogue that grow with the tokens,
 * and stages, as long as the tensor cores take (7 products a picosecond) or as what a block itself
 * fetches (100 bytes a nanosecond, and 5,500 of the L2 cache for all). Some multiprocessors find no
 * three others for a cluster of four. */
static int64_t cost(const nr_cuda_tile_way *w, const nr_cuda_linear_i8_args *a) {
    const int64_t cluster = w->across * w->down;
    const int64_t slots = a->n_multiprocessors / cluster - (cluster > 2);
    int64_t steps = (a->k_pad + STEP - 1) / STEP;
    int64_t turns = (int64_t)((a->n_out + w->outs * w->across - 1) / (w->outs * w->across)) *
                    ((a->m + w->rows * w->down - 1) / (w->rows * w->down));
    int64_t bytes = (w->outs / w->down + w->rows / w->across) * STEP;
    int64_t fetch = NR_MAX(bytes / 100, bytes * NR_MIN(turns, slots) * cluster / 5500);
    int64_t stage = NR_MAX(fetch, (int64_t)w->outs * w->rows * STEP / 7000);
    int64_t start = 2500 + 25 * w->rows + (cluster > 1 ? 250 * cluster : 0);
    return (turns + slots - 1) / slots * (start + steps * stage);
}

static const tile_way *choose(const nr_cuda_linear_i8_args *a) {
    const tile_way *best = NULL;
    if (a->m <= 64) return &ways[a->m <= 16 ? 0 : a->m <= 32 ? 1 : 2];
    for (const tile_way &w : ways)
        if (w.shape.outs == 128 && w.shape.across * w.shape.down <= CLUSTER_MAX &&
            (!best || cost(&w.shape, a) < cost(&best->shape, a)))
            best = &w;
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
    return w->launch[a->activation != NR_ACTIVATION_NONE](a, stream);
}
