/* SPDX-License-Identifier: MIT
 *
 * attention_tile.cu - attention of many rows on tensor cores, as attention_fixed.cuh says: a block
 * has 64 rows of a head, a warp 16 of them, chunk after chunk; the next chunk is copied while one
 * is used. An i8 cache is copied as it lies. An f32 one (not causal: the vision tower, whose rows
 * all need all of it) is first taken apart into digits, in the workspace, by a launch of its own; as
 * many heads at a time as the workspace has room for.
 */
#include "attention_fixed.cuh"
#include "attention_ways.h"
#include "cuda_launch.cuh"

#define ROWS 64
#define THREADS 128

template <typename T> struct cache_planes;
template <> struct cache_planes<int8_t> { static const int N = 1; };
template <> struct cache_planes<float> { static const int N = DIGITS; };

/* ---- an f32 cache as digits ---- */

/* Of heads [head0, head0 + n_heads) of one span: planes [k, v][DIGITS][n_heads][n_keys][pitch],
 * then scales [k, v][n_heads][n_keys], n_keys a multiple of 4. */
struct digit_cache {
    int8_t *planes;
    float *scales;
    int32_t head0, n_heads, n_keys, pitch;
};

static __device__ __forceinline__ head_rows rows_of(const digit_cache &d, int32_t head) {
    int64_t first = (int64_t)(head - d.head0) * d.n_keys;
    int64_t plane = (int64_t)d.n_heads * d.n_keys * d.pitch;
    const int8_t *k = d.planes + first * d.pitch;
    const float *scales = d.scales + first;
    head_rows h = {k,       k + DIGITS * plane,
                   scales,  scales + (int64_t)d.n_heads * d.n_keys,
                   plane,   d.pitch,
                   d.pitch, d.n_keys};
    return h;
}

/* A warp a key or value of a head. */
static __global__ void __launch_bounds__(THREADS)
    k_attention_digits(nr_cuda_attention_args a, digit_cache d) {
    const int32_t lane = threadIdx.x % 32, dim = a.head_dim;
    const int64_t item = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const int64_t n_items = 2 * (int64_t)d.n_heads * d.n_keys;
    wait_for_launch_before();
    let_next_launch_begin();
    if (item >= n_items) return;
    const nr_cuda_span s = a.spans[0];
    const bool is_v = item >= n_items / 2;
    const int64_t row = item % (n_items / 2);
    const int32_t head = (int32_t)(row / d.n_keys), key = (int32_t)(row % d.n_keys);
    const float *x =
        a.k ? (is_v ? a.v : a.k) + key * a.ldk + (int64_t)(d.head0 + head) * dim
            : (const float *)(is_v ? s.v : s.k) + ((int64_t)(d.head0 + head) * a.cap + key) * dim;
    float v[4];
    uint32_t largest = 0, word[DIGITS];
    load_four(v, x, 4 * lane, key < s.n_keys ? dim : 0, NULL);
#pragma unroll
    for (int e = 0; e < 4; e++) largest = max(largest, magnitude(v[e]));
    const fixed_point f = fixed_point_of(__reduce_max_sync(ALL, largest));
    gather_digits(word, digits_of(v[0], f.up), digits_of(v[1], f.up), digits_of(v[2], f.up),
                  digits_of(v[3], f.up));
    const int64_t plane = (int64_t)d.n_heads * d.n_keys * d.pitch;
    int8_t *to = d.planes + is_v * DIGITS * plane + row * d.pitch + 4 * lane;
#pragma unroll
    for (int i = 0; i < DIGITS; i++)
        if (4 * lane < d.pitch) *(uint32_t *)(to + i * plane) = word[i];
    if (lane == 0) d.scales[item] = __fmul_rn(f.down, 65536.0f); /* three digits stand 2^16 high */
}

/* ---- tiles ---- */

/* Scores of the warp's 16 rows and a chunk, times the keys' scales: s[n][c], n: 8 keys. */
template <int DIM, int PLANES>
static __device__ __forceinline__ void score_chunk(float s[CHUNK / 8][4],
                                                   const uint32_t q[DIM / 32][DIGITS][4],
                                                   const chunk_tile<DIM, PLANES> *c) {
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < CHUNK / 16; n++) {
        int32_t acc[2][DIGITS][4] = {};
#pragma unroll
        for (int k = 0; k < DIM / 32; k++)
#pragma unroll
            for (int j = 0; j < PLANES; j++) {
                uint32_t b[4];
                load_keys(b, c->k[j], n, 32 * k);
#pragma unroll
                for (int i = 0; i + j < DIGITS; i++) {
                    mma_s8(acc[0][i + j], q[k][i], b);
                    mma_s8(acc[1][i + j], q[k][i], b + 2);
                }
            }
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const float2 scale = *(const float2 *)&c->k_scale[16 * n + 8 * e + 2 * t];
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[2 * n + e][i] = __fmul_rn(sum_of_digits(acc[e][0][i], acc[e][1][i], acc[e][2][i]),
                                            i % 2 ? scale.y : scale.x);
        }
    }
}

/* o = o * old + (weights x values) * new, for the lane's two rows: o[j][h] are values 16 j + 4 t ..
 * + 3. w: digits of the weights, as bits. */
template <int DIM, int PLANES>
static __device__ __forceinline__ void
add_values(float o[DIM / 16][2][4], const float w[CHUNK / 8][4], const chunk_tile<DIM, PLANES> *c,
           const chunk_factors f[2]) {
    uint32_t a[CHUNK / 32][DIGITS][4];
    gather_weights(a, w);
#pragma unroll
    for (int d = 0; d < DIM / 16; d++) {
        int32_t acc[2][DIGITS][4] = {};
#pragma unroll
        for (int k = 0; k < CHUNK / 32; k++)
#pragma unroll
            for (int j = 0; j < PLANES; j++) {
                uint32_t b[4];
                load_values(b, c->v[j], k, d);
#pragma unroll
                for (int i = 0; i + j < DIGITS; i++) {
                    mma_s8(acc[0][i + j], a[k][i], b);
                    mma_s8(acc[1][i + j], a[k][i], b + 2);
                }
            }
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int32_t(*sum)[4] = acc[e % 2];
                const int at = 2 * h + e / 2;
                float *x = &o[d][h][e];
                *x = __fmaf_rn(
                    *x, f[h].old_part,
                    __fmul_rn(sum_of_digits(sum[0][at], sum[1][at], sum[2][at]), f[h].new_part));
            }
    }
}

template <typename T, int DIM>
static __global__ void __launch_bounds__(THREADS, 2)
    k_attention_tile(nr_cuda_attention_args a, digit_cache digits) {
    const int PLANES = cache_planes<T>::N;
    extern __shared__ __align__(16) uint8_t shared[];
    chunk_tile<DIM, PLANES> *tiles = (chunk_tile<DIM, PLANES> *)shared; /* two, in turns */
    wait_for_launch_before();
    let_next_launch_begin();
    const nr_cuda_span s = a.spans[blockIdx.z];
    const int32_t dim = a.head_dim, head = digits.head0 + blockIdx.y;
    const int32_t first = (gridDim.x - 1 - blockIdx.x) * ROWS, n_rows = min(ROWS, a.m - first);
    const int32_t end = a.causal ? min(s.n_keys, s.pos0 + first + n_rows) : s.n_keys;
    const head_rows rows = PLANES == 1 ? rows_of(a, s, head) : rows_of(digits, head);
    const int32_t row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4; /* and 8 further on */
    begin_chunk<DIM, PLANES, THREADS>(&tiles[0], rows, 0, end);
    copy_commit();
    uint32_t q[DIM / 32][DIGITS][4];
    float factor[2], o[DIM / 16][2][4] = {};
    load_queries<DIM>(q, factor, a, s.row0 + first, head, n_rows);
    row_state state[2] = {{-INFINITY, 0.0f}, {-INFINITY, 0.0f}};
    for (int32_t c = 0, turn = 0; c < end; c += CHUNK, turn ^= 1) {
        if (c + CHUNK < end)
            begin_chunk<DIM, PLANES, THREADS>(&tiles[turn ^ 1], rows, c + CHUNK, end);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        float w[CHUNK / 8][4];
        chunk_factors f[2];
        score_chunk<DIM, PLANES>(w, q, &tiles[turn]);
        int32_t visible[2];
#pragma unroll
        for (int h = 0; h < 2; h++)
            visible[h] =
                (a.causal ? min(s.n_keys, s.pos0 + first + row + 8 * h + 1) : s.n_keys) - c;
        weigh_chunk(f, w, visible, factor, state, tiles[turn].v_scale);
        add_values<DIM, PLANES>(o, w, &tiles[turn], f);
        __syncthreads();
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (row + 8 * h >= n_rows) continue;
        float *y = a.y + (s.row0 + first + row + 8 * h) * a.ldy + (int64_t)head * dim;
        const float inverse = __fdiv_rn(1.0f, state[h].l);
#pragma unroll
        for (int d = 0; d < DIM / 16; d++)
            for (int e = 0; e < 4; e++) {
                int32_t at = 16 * d + 4 * (threadIdx.x % 4) + e;
                if (at < dim) y[at] = __fmul_rn(o[d][h][e], inverse);
            }
    }
}

/* ---- launchers ---- */

template <typename T, int DIM>
static cudaError_t launch(const nr_cuda_attention_args *a, const digit_cache *d, int32_t n_heads,
                          cudaStream_t stream) {
    const size_t shared = 2 * sizeof(chunk_tile<DIM, cache_planes<T>::N>);
    cudaError_t e = cudaFuncSetAttribute((const void *)k_attention_tile<T, DIM>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (e != cudaSuccess) return e;
    dim3 grid((unsigned)((a->m + ROWS - 1) / ROWS), (unsigned)n_heads, (unsigned)a->n_spans);
    return launch_kernel(k_attention_tile<T, DIM>, grid, THREADS, shared, a->overlap, stream, *a,
                         *d);
}

/* As many heads at a time as the workspace has room for. */
static cudaError_t launch_f32(const nr_cuda_attention_args *a, cudaStream_t stream) {
    const bool narrow = a->head_dim <= 64;
    digit_cache d = {};
    d.pitch = narrow ? 64 : 96;
    d.n_keys = (a->n_keys_max + 3) / 4 * 4;
    const size_t head_bytes = (size_t)d.n_keys * 2 * (DIGITS * (size_t)d.pitch + sizeof(float));
    const int32_t at_once = (int32_t)NR_MIN(a->workspace_bytes / head_bytes, (size_t)a->n_heads);
    cudaError_t e = at_once > 0 ? cudaSuccess : cudaErrorInvalidValue;
    for (; e == cudaSuccess && d.head0 < a->n_heads; d.head0 += at_once) {
        d.n_heads = NR_MIN(at_once, a->n_heads - d.head0);
        d.planes = (int8_t *)a->workspace;
        d.scales = (float *)(d.planes + (size_t)d.n_heads * d.n_keys * 2 * DIGITS * d.pitch);
        unsigned blocks = (unsigned)((2 * (int64_t)d.n_heads * d.n_keys + 3) / 4);
        e = launch_kernel(k_attention_digits, dim3(blocks), THREADS, 0, a->overlap, stream, *a, d);
        if (e == cudaSuccess)
            e = (narrow ? launch<float, 64> : launch<float, 96>)(a, &d, d.n_heads, stream);
    }
    return e;
}

bool nr_cuda_attention_tile_fits(const nr_cuda_attention_args *a) {
    if (a->dtype == NR_DTYPE_I8) return a->head_dim % 16 == 0 && a->head_dim <= 128;
    return a->dtype == NR_DTYPE_F32 && !a->causal && a->n_spans == 1 && a->head_dim % 4 == 0 &&
           a->head_dim <= 96 && a->n_heads == a->n_kv_heads;
}

cudaError_t nr_cuda_attention_tile(const nr_cuda_attention_args *a, cudaStream_t stream) {
    if (!nr_cuda_attention_tile_fits(a)) return cudaErrorInvalidValue;
    if (a->dtype == NR_DTYPE_F32) return launch_f32(a, stream);
    const digit_cache none = {};
    if (a->head_dim <= 64) return launch<int8_t, 64>(a, &none, a->n_heads, stream);
    if (a->head_dim <= 96) return launch<int8_t, 96>(a, &none, a->n_heads, stream);
    return launch<int8_t, 128>(a, &none, a->n_heads, stream);
}
