/* SPDX-License-Identifier: MIT
 *
 * attention_tile.cu - attention on tensor cores. Not bit-equal to the reference (f32 sums of
 * another order; measured in tests/tolerances.h), but a row's bits depend on nothing beside the row
 * and the keys it sees: not on how many rows are computed with it, nor on which of the two kernels
 * does it.
 *
 * What both kernels compute, for keys in chunks of 64 from key 0 on:
 *   q, and the weights, as sums of three bf16 (24 bits: nothing is lost); codes of an i8 cache are
 *   exact in bf16, values of an f32 cache are three bf16 too; products of parts i, j with i+j < 3
 *   score   sums of part 0 + (of part 1 + of part 2), times the key's scale
 *   chunk   its largest score m, weights e^(score - m), their sum l, o = weights * v_scale x
 *           values, again part 0 + (part 1 + part 2)
 *   rows    chunks ascending: M' = max(M, m); L = L e^(M-M') + l e^(m-M'); O likewise; y = O / L
 *
 * k_attention_tile: 64 rows of a head, a warp 16 of them, chunk after chunk.
 * k_attention_one: one row of a head, a warp a chunk; the three parts are rows of one product, so
 * that decode takes a third of the products; then the block adds the chunks up in their order.
 */
#include "attention_ways.h"
#include "linear_epilogue.cuh"

#define CHUNK 64 /* keys */
#define ROWS 64
#define THREADS 128
#define PARTS 3
#define WARPS_MAX 12 /* of k_attention_one */

template <typename T> struct cache_parts;
template <> struct cache_parts<int8_t> { static const int N = 1; };
template <> struct cache_parts<float> { static const int N = 3; };

/* x[0], x[1] as three bf16 pairs. */
static __device__ __forceinline__ void split(uint32_t part[PARTS], float x0, float x1) {
#pragma unroll
    for (int i = 0; i < PARTS; i++) {
        part[i] = bf16_pair(x0, x1);
        x0 = __fsub_rn(x0, __uint_as_float(part[i] << 16));
        x1 = __fsub_rn(x1, __uint_as_float(part[i] & 0xffff0000u));
    }
}

/* Four values of a cache row as bf16: parts [N][2 pairs]. */
static __device__ __forceinline__ void parts_of(uint32_t part[1][2], uint32_t codes) {
#pragma unroll
    for (int i = 0; i < 2; i++)
        part[0][i] = __byte_perm(__float_as_uint(code_at(codes, 2 * i)),
                                 __float_as_uint(code_at(codes, 2 * i + 1)), 0x7632);
}
static __device__ __forceinline__ void parts_of(uint32_t part[3][2], const float *x) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t p[PARTS];
        split(p, x[2 * i], x[2 * i + 1]);
        part[0][i] = p[0], part[1][i] = p[1], part[2][i] = p[2];
    }
}

/* Shared tiles are bf16 [rows][DIM + 8]: 16 bytes more than a row, so that the eight rows of a
 * matrix lie in different banks. */
template <int DIM> struct tile {
    static const int PITCH = DIM + 8;
    static const int VALUES = CHUNK * PITCH;
};

/* Four values at (row, d) of every part of a tile. */
template <int DIM, int N>
static __device__ __forceinline__ void put_parts(uint16_t *t, int32_t row, int32_t d,
                                                 const uint32_t part[N][2]) {
#pragma unroll
    for (int j = 0; j < N; j++)
        *(uint2 *)(t + j * tile<DIM>::VALUES + row * tile<DIM>::PITCH + d) =
            make_uint2(part[j][0], part[j][1]);
}

/* Four values of a cache row. */
template <typename T> struct four;
template <> struct four<int8_t> {
    static const int AT_ONCE = 16; /* loads of a thread under way */
    uint32_t x;
    __device__ __forceinline__ void clear() { x = 0; }
    __device__ __forceinline__ void load(const int8_t *p) { x = __ldg((const uint32_t *)p); }
    __device__ __forceinline__ void parts(uint32_t part[1][2]) const { parts_of(part, x); }
};
template <> struct four<float> {
    static const int AT_ONCE = 8;
    float4 x;
    __device__ __forceinline__ void clear() { x = make_float4(0.0f, 0.0f, 0.0f, 0.0f); }
    __device__ __forceinline__ void load(const float *p) { x = __ldg((const float4 *)p); }
    __device__ __forceinline__ void parts(uint32_t part[3][2]) const {
        const float f[4] = {x.x, x.y, x.z, x.w};
        parts_of(part, f);
    }
};

/* Keys or values [first, first + CHUNK) of a head to a tile, zeros from `end` on and past dim; by
 * THREADS_ threads, of which this is number `thread`. Loads go out together, then they are stored.
 * */
template <typename T, int DIM, int THREADS_>
static __device__ __forceinline__ void fill_tile(uint16_t *t, const T *rows, int32_t dim,
                                                 int32_t first, int32_t end, int thread) {
    const int N = cache_parts<T>::N, AT_ONCE = four<T>::AT_ONCE;
    const int EACH = CHUNK * DIM / 4 / THREADS_;
    static_assert(EACH % 4 == 0 && CHUNK * DIM / 4 % THREADS_ == 0, "no remainder");
#pragma unroll 1
    for (int i0 = 0; i0 < EACH; i0 += AT_ONCE) {
        four<T> v[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            int32_t at = thread + (i0 + i) * THREADS_, r = at / (DIM / 4), d = at % (DIM / 4) * 4;
            v[i].clear();
            if (i0 + i < EACH && first + r < end && d < dim)
                v[i].load(rows + (int64_t)(first + r) * dim + d);
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            int32_t at = thread + (i0 + i) * THREADS_, r = at / (DIM / 4), d = at % (DIM / 4) * 4;
            uint32_t part[N][2];
            v[i].parts(part);
            if (i0 + i < EACH) put_parts<DIM, N>(t, r, d, part);
        }
    }
}

/* Rows of q, scaled, in three parts; rows past n_rows are zero. */
template <int DIM>
static __device__ __forceinline__ void fill_q(uint16_t *t, const float *q, int64_t ldq, int32_t dim,
                                              int32_t n_rows, float scale) {
    for (int32_t i = threadIdx.x; i < ROWS * DIM / 4; i += THREADS) {
        int32_t r = i / (DIM / 4), d = i % (DIM / 4) * 4;
        float x[4] = {};
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (r < n_rows && d + e < dim) x[e] = __fmul_rn(q[r * ldq + d + e], scale);
        uint32_t part[PARTS][2];
        parts_of(part, x);
        put_parts<DIM, PARTS>(t, r, d, part);
    }
}

static __device__ __forceinline__ float sum_parts(float p0, float p1, float p2) {
    return __fadd_rn(p0, __fadd_rn(p1, p2));
}

/* The state of a row, and what a chunk does to it. */
struct row_state {
    float m, l; /* largest score so far, sum of weights relative to it */
};
struct chunk_factors {
    float old_part, new_part;
};
static __device__ __forceinline__ chunk_factors add_chunk(row_state *s, float m, float l) {
    chunk_factors f = {1.0f, 0.0f};
    if (m == -INFINITY) return f; /* the row sees nothing of it */
    float largest = v_max(s->m, m);
    f.old_part = vm_exp(__fsub_rn(s->m, largest));
    f.new_part = vm_exp(__fsub_rn(m, largest));
    s->l = __fmaf_rn(s->l, f.old_part, __fmul_rn(l, f.new_part));
    s->m = largest;
    return f;
}

/* ---- many rows ---- */

/* Scores of a warp's 16 rows and a chunk: s[n][c], n: 8 keys. */
template <int DIM, int N>
static __device__ __forceinline__ void score_chunk(float s[CHUNK / 8][4], const uint16_t *q,
                                                   const uint16_t *k) {
    typedef tile<DIM> S;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int n0 = 0; n0 < CHUNK / 8; n0 += 4) {
        float acc[4][PARTS][4] = {};
#pragma unroll 2
        for (int d = 0; d < DIM; d += 16) {
            uint32_t a[PARTS][4];
#pragma unroll
            for (int i = 0; i < PARTS; i++)
                load_matrices(a[i], q + i * S::VALUES + (warp * 16 + lane % 16) * S::PITCH + d +
                                        lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < N; j++)
#pragma unroll
                for (int n = 0; n < 4; n += 2) {
                    uint32_t b[4];
                    load_matrices(b, k + j * S::VALUES +
                                         ((n0 + n) * 8 + lane % 8 + lane / 16 * 8) * S::PITCH + d +
                                         lane / 8 % 2 * 8);
#pragma unroll
                    for (int i = 0; i + j < PARTS; i++) {
                        mma_bf16(acc[n][i], a[i], b);
                        mma_bf16(acc[n + 1][i], a[i], b + 2);
                    }
                }
        }
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                s[n0 + n][c] = sum_parts(acc[n][0][c], acc[n][1][c], acc[n][2][c]);
    }
}

/* Scores to weights for the rows g (half 0) and g+8 (half 1) of this lane; visible: keys of the
 * chunk that the row sees. k_scale, v_scale: of the chunk, NULL for f32. */
static __device__ __forceinline__ chunk_factors weigh_chunk(float s[CHUNK / 8][4], int half,
                                                            int32_t visible, row_state *state,
                                                            const float *k_scale,
                                                            const float *v_scale) {
    int t = threadIdx.x % 4;
    float m = -INFINITY, l = 0.0f;
#pragma unroll
    for (int i = 0; i < CHUNK / 4; i++) {
        int32_t key = i / 2 * 8 + 2 * t + i % 2;
        float *x = &s[i / 2][2 * half + i % 2];
        if (k_scale) *x = __fmul_rn(*x, k_scale[key]);
        if (key < visible) m = v_max(*x, m);
    }
    m = v_max(m, __shfl_xor_sync(0xffffffffu, m, 1));
    m = v_max(m, __shfl_xor_sync(0xffffffffu, m, 2));
#pragma unroll
    for (int i = 0; i < CHUNK / 4; i++) {
        int32_t key = i / 2 * 8 + 2 * t + i % 2;
        float *x = &s[i / 2][2 * half + i % 2];
        *x = key < visible ? vm_exp(__fsub_rn(*x, m)) : 0.0f;
        l = __fadd_rn(l, *x);
        if (v_scale) *x = __fmul_rn(*x, v_scale[key]);
    }
    l = __fadd_rn(l, __shfl_xor_sync(0xffffffffu, l, 1));
    l = __fadd_rn(l, __shfl_xor_sync(0xffffffffu, l, 2));
    return add_chunk(state, m, l);
}

/* o = o * old + (weights x values) * new, for the lane's two rows. */
template <int DIM, int N>
static __device__ __forceinline__ void add_values(float o[DIM / 8][4], const float w[CHUNK / 8][4],
                                                  const uint16_t *v, const chunk_factors f[2]) {
    typedef tile<DIM> S;
    int lane = threadIdx.x % 32;
    uint32_t a[CHUNK / 16][PARTS][4];
#pragma unroll
    for (int k = 0; k < CHUNK / 16; k++)
#pragma unroll
        for (int r = 0; r < 4; r++) { /* registers 0, 1: rows g, g+8 of keys 0-7; 2, 3: of 8-15 */
            uint32_t part[PARTS];
            const float *x = &w[2 * k + r / 2][r % 2 * 2];
            split(part, x[0], x[1]);
#pragma unroll
            for (int i = 0; i < PARTS; i++) a[k][i][r] = part[i];
        }
#pragma unroll
    for (int d = 0; d < DIM / 8; d += 2) {
        float acc[2][PARTS][4] = {};
#pragma unroll
        for (int k = 0; k < CHUNK / 16; k++)
#pragma unroll
            for (int j = 0; j < N; j++) {
                uint32_t b[4]; /* keys 0-7 and 8-15 of dims 8d, then of the next eight */
                load_matrices_transposed(b, v + j * S::VALUES + (16 * k + lane % 16) * S::PITCH +
                                                8 * d + lane / 16 * 8);
#pragma unroll
                for (int i = 0; i + j < PARTS; i++) {
                    mma_bf16(acc[0][i], a[k][i], b);
                    mma_bf16(acc[1][i], a[k][i], b + 2);
                }
            }
#pragma unroll
        for (int e = 0; e < 2; e++)
#pragma unroll
            for (int c = 0; c < 4; c++) {
                float sum = sum_parts(acc[e][0][c], acc[e][1][c], acc[e][2][c]);
                o[d + e][c] = __fmaf_rn(o[d + e][c], f[c / 2].old_part,
                                        __fmul_rn(sum, f[c / 2].new_part));
            }
    }
}

template <typename T, int DIM>
static __global__ void __launch_bounds__(THREADS, 2) k_attention_tile(nr_cuda_attention_args a) {
    const int N = cache_parts<T>::N;
    typedef tile<DIM> S;
    extern __shared__ __align__(16) uint8_t shared[];
    uint16_t *q = (uint16_t *)shared, *k = q + PARTS * S::VALUES, *v = k + N * S::VALUES;
    float *scales = (float *)(v + N * S::VALUES); /* of keys, then of values, for i8 */
    const nr_cuda_span s = a.spans[blockIdx.z];
    const int32_t dim = a.head_dim, head = blockIdx.y, first = (gridDim.x - 1 - blockIdx.x) * ROWS;
    const int64_t kv_head = head / (a.n_heads / a.n_kv_heads), base = kv_head * a.cap;
    const T *keys = (const T *)s.k + base * dim, *values = (const T *)s.v + base * dim;
    const int32_t n_rows = min(ROWS, a.m - first);
    const int32_t end = a.causal ? min(s.n_keys, s.pos0 + first + n_rows) : s.n_keys;
    const int lane = threadIdx.x % 32, t = lane % 4;
    const int32_t row = threadIdx.x / 32 * 16 + lane / 4; /* and 8 further on */
    int32_t sees[2];
#pragma unroll
    for (int h = 0; h < 2; h++)
        sees[h] = a.causal ? min(s.n_keys, s.pos0 + first + row + 8 * h + 1) : s.n_keys;
    row_state state[2] = {{-INFINITY, 0.0f}, {-INFINITY, 0.0f}};
    float o[DIM / 8][4] = {};
    fill_q<DIM>(q, a.q + (s.row0 + first) * a.ldq + (int64_t)head * dim, a.ldq, dim, n_rows,
                a.scale);
    for (int32_t c = 0; c < end; c += CHUNK) {
        __syncthreads();
        fill_tile<T, DIM, THREADS>(k, keys, dim, c, end, threadIdx.x);
        fill_tile<T, DIM, THREADS>(v, values, dim, c, end, threadIdx.x);
        if (N == 1 && threadIdx.x < CHUNK) {
            int32_t key = min(c + (int32_t)threadIdx.x, end - 1);
            scales[threadIdx.x] = s.k_scale[base + key];
            scales[CHUNK + threadIdx.x] = s.v_scale[base + key];
        }
        __syncthreads();
        float w[CHUNK / 8][4];
        chunk_factors f[2];
        score_chunk<DIM, N>(w, q, k);
#pragma unroll
        for (int h = 0; h < 2; h++)
            f[h] = weigh_chunk(w, h, sees[h] - c, &state[h], N == 1 ? scales : NULL,
                               N == 1 ? scales + CHUNK : NULL);
        add_values<DIM, N>(o, w, v, f);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (row + 8 * h >= n_rows) continue;
        float *y = a.y + (s.row0 + first + row + 8 * h) * a.ldy + (int64_t)head * dim;
        float inverse = __fdiv_rn(1.0f, state[h].l);
#pragma unroll
        for (int d = 0; d < DIM / 8; d++)
            for (int e = 0; e < 2; e++)
                if (8 * d + 2 * t + e < dim)
                    y[8 * d + 2 * t + e] = __fmul_rn(o[d][2 * h + e], inverse);
    }
}

/* ---- one row ---- */

/* The products of a warp's row of parts with 8 columns at `b`; the lane's two sums in lanes 0..3.
 * */
static __device__ __forceinline__ void sum_rows(float out[2], const float acc[4]) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
        float p1 = __shfl_down_sync(0xffffffffu, acc[e], 4);
        float p2 = __shfl_down_sync(0xffffffffu, acc[e], 8);
        out[e] = sum_parts(acc[e], p1, p2);
    }
}

/* What a warp gives for a chunk. */
template <int DIM> struct __align__(16) chunk_result {
    float m, l, o[DIM];
};

/* q: [PARTS][DIM] bf16. buffer: this warp's tile. */
template <int DIM>
static __device__ void attend_chunk(chunk_result<DIM> *result, const uint16_t *q, uint16_t *buffer,
                                    const int8_t *keys, const int8_t *values, const float *k_scale,
                                    const float *v_scale, int32_t dim, int32_t first, int32_t end) {
    typedef tile<DIM> S;
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int32_t visible = end - first;
    fill_tile<int8_t, DIM, 32>(buffer, keys, dim, first, end, lane);
    __syncwarp();
    float acc[CHUNK / 8][4] = {}, s[CHUNK / 8][2];
#pragma unroll
    for (int d = 0; d < DIM; d += 16) {
        uint32_t a[4] = {0, 0, 0, 0}, b[4];
        if (g < PARTS) {
            a[0] = *(const uint32_t *)(q + g * DIM + d + 2 * t);
            a[2] = *(const uint32_t *)(q + g * DIM + d + 8 + 2 * t);
        }
#pragma unroll
        for (int n = 0; n < CHUNK / 8; n += 2) {
            load_matrices(b, buffer + (n * 8 + lane % 8 + lane / 16 * 8) * S::PITCH + d +
                                 lane / 8 % 2 * 8);
            mma_bf16(acc[n], a, b);
            mma_bf16(acc[n + 1], a, b + 2);
        }
    }
    __syncwarp();
    fill_tile<int8_t, DIM, 32>(buffer, values, dim, first, end, lane);
    /* Lane 4g+t takes the two scores of keys 8g + 2t, 8g + 2t + 1. */
    float x[2] = {0.0f, 0.0f}, m = -INFINITY, l = 0.0f;
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) {
        sum_rows(s[n], acc[n]);
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float from = __shfl_sync(0xffffffffu, s[n][e], t);
            if (n == g) x[e] = from;
        }
    }
#pragma unroll
    for (int e = 0; e < 2; e++) {
        int32_t key = 8 * g + 2 * t + e;
        x[e] = __fmul_rn(x[e], key < visible ? k_scale[first + key] : 0.0f);
        if (key < visible) m = v_max(x[e], m);
    }
    for (int step = 16; step > 0; step /= 2)
        m = v_max(m, __shfl_xor_sync(0xffffffffu, m, step));
    float scale[2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
        int32_t key = 8 * g + 2 * t + e;
        x[e] = key < visible ? vm_exp(__fsub_rn(x[e], m)) : 0.0f;
        scale[e] = key < visible ? __fmul_rn(x[e], v_scale[first + key]) : 0.0f;
    }
    uint32_t w[CHUNK / 8]; /* part g of the weights of keys 8n + 2t, 8n + 2t + 1 */
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) {
        uint32_t part[PARTS];
        float p[2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
            l = __fadd_rn(l, __shfl_sync(0xffffffffu, x[e], 4 * n + t));
            p[e] = __shfl_sync(0xffffffffu, scale[e], 4 * n + t);
        }
        split(part, p[0], p[1]);
        w[n] = g == 0 ? part[0] : g == 1 ? part[1] : g == 2 ? part[2] : 0;
    }
    l = __fadd_rn(l, __shfl_xor_sync(0xffffffffu, l, 1));
    l = __fadd_rn(l, __shfl_xor_sync(0xffffffffu, l, 2));
    __syncwarp();
#pragma unroll 2
    for (int d = 0; d < DIM / 8; d += 2) {
        float out[2][4] = {}, sum[2];
#pragma unroll
        for (int k = 0; k < CHUNK / 16; k++) {
            uint32_t a[4] = {w[2 * k], 0, w[2 * k + 1], 0}, b[4];
            load_matrices_transposed(b, buffer + (16 * k + lane % 16) * S::PITCH + 8 * d +
                                            lane / 16 * 8);
            mma_bf16(out[0], a, b);
            mma_bf16(out[1], a, b + 2);
        }
#pragma unroll
        for (int e = 0; e < 2; e++) {
            sum_rows(sum, out[e]);
            if (g == 0) *(float2 *)&result->o[8 * (d + e) + 2 * t] = make_float2(sum[0], sum[1]);
        }
    }
    if (lane == 0) {
        result->m = m;
        result->l = l;
    }
}

template <int DIM>
static __global__ void __launch_bounds__(32 * WARPS_MAX, 1) k_attention_one(
    nr_cuda_attention_args a) {
    typedef tile<DIM> S;
    extern __shared__ __align__(16) uint8_t shared[];
    const int warps = blockDim.x / 32, warp = threadIdx.x / 32;
    chunk_result<DIM> *results = (chunk_result<DIM> *)shared;
    uint16_t *q = (uint16_t *)(results + warps), *buffer = q + PARTS * DIM + warp * S::VALUES;
    const nr_cuda_span s = a.spans[blockIdx.z];
    const int32_t dim = a.head_dim, head = blockIdx.x, row = blockIdx.y;
    const int64_t base = head / (a.n_heads / a.n_kv_heads) * (int64_t)a.cap;
    const int32_t end = a.causal ? min(s.n_keys, s.pos0 + row + 1) : s.n_keys;
    const float *x = a.q + (s.row0 + row) * a.ldq + (int64_t)head * dim;
    for (int32_t d = 2 * threadIdx.x; d < DIM; d += 2 * blockDim.x) {
        uint32_t part[PARTS];
        split(part, d < dim ? __fmul_rn(x[d], a.scale) : 0.0f,
              d + 1 < dim ? __fmul_rn(x[d + 1], a.scale) : 0.0f);
        for (int i = 0; i < PARTS; i++) *(uint32_t *)(q + i * DIM + d) = part[i];
    }
    row_state state = {-INFINITY, 0.0f};
    float o = 0.0f; /* value threadIdx.x */
    for (int32_t c = 0; c < end; c += warps * CHUNK) {
        __syncthreads();
        int32_t first = c + warp * CHUNK;
        if (first < end)
            attend_chunk<DIM>(&results[warp], q, buffer, (const int8_t *)s.k + base * dim,
                              (const int8_t *)s.v + base * dim, s.k_scale + base, s.v_scale + base,
                              dim, first, end);
        __syncthreads();
        for (int i = 0; i < warps && c + i * CHUNK < end; i++) {
            chunk_factors f = add_chunk(&state, results[i].m, results[i].l);
            if ((int32_t)threadIdx.x < dim)
                o = __fmaf_rn(o, f.old_part, __fmul_rn(results[i].o[threadIdx.x], f.new_part));
        }
    }
    float *y = a.y + (s.row0 + row) * a.ldy + (int64_t)head * dim;
    if ((int32_t)threadIdx.x < dim) y[threadIdx.x] = __fmul_rn(o, __fdiv_rn(1.0f, state.l));
}

/* ---- launchers ---- */

template <typename T, int DIM>
static cudaError_t launch_tile(const nr_cuda_attention_args *a, cudaStream_t stream) {
    const size_t shared = (size_t)(PARTS + 2 * cache_parts<T>::N) * tile<DIM>::VALUES *
                              sizeof(uint16_t) + 2 * CHUNK * sizeof(float);
    cudaError_t e = cudaFuncSetAttribute((const void *)k_attention_tile<T, DIM>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (e != cudaSuccess) return e;
    dim3 grid((unsigned)((a->m + ROWS - 1) / ROWS), (unsigned)a->n_heads, (unsigned)a->n_spans);
    k_attention_tile<T, DIM><<<grid, THREADS, shared, stream>>>(*a);
    return cudaGetLastError();
}

/* Warps: a chunk each as far as shared memory goes; at least as many threads as values. */
template <int DIM>
static cudaError_t launch_one(const nr_cuda_attention_args *a, cudaStream_t stream) {
    const size_t each = tile<DIM>::VALUES * sizeof(uint16_t) + sizeof(chunk_result<DIM>);
    const size_t most = a->sm == 80 ? 160 * 1024 : a->sm >= 90 && a->sm < 120 ? 220 * 1024
                                                                             : 96 * 1024;
    size_t chunks = (size_t)(a->n_keys_max + CHUNK - 1) / CHUNK;
    size_t warps = NR_MIN(NR_MIN(chunks, (size_t)WARPS_MAX), (most - PARTS * DIM * 2) / each);
    if (warps < DIM / 32) warps = DIM / 32;
    size_t shared = warps * each + PARTS * DIM * sizeof(uint16_t);
    cudaError_t e = cudaFuncSetAttribute((const void *)k_attention_one<DIM>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, (int)most);
    if (e != cudaSuccess) return e;
    dim3 grid((unsigned)a->n_heads, (unsigned)a->m, (unsigned)a->n_spans);
    k_attention_one<DIM><<<grid, (unsigned)(32 * warps), shared, stream>>>(*a);
    return cudaGetLastError();
}

bool nr_cuda_attention_tile_fits(const nr_cuda_attention_args *a) {
    bool dtype = a->dtype == NR_DTYPE_I8 || (a->dtype == NR_DTYPE_F32 && !a->causal);
    return dtype && a->head_dim % 4 == 0 && a->head_dim <= 128;
}

cudaError_t nr_cuda_attention_tile(const nr_cuda_attention_args *a, cudaStream_t stream) {
    if (!nr_cuda_attention_tile_fits(a)) return cudaErrorInvalidValue;
    bool i8 = a->dtype == NR_DTYPE_I8;
    if (a->head_dim <= 64)
        return (i8 ? launch_tile<int8_t, 64> : launch_tile<float, 64>)(a, stream);
    if (a->head_dim <= 96)
        return (i8 ? launch_tile<int8_t, 96> : launch_tile<float, 96>)(a, stream);
    return (i8 ? launch_tile<int8_t, 128> : launch_tile<float, 128>)(a, stream);
}

cudaError_t nr_cuda_attention_one(const nr_cuda_attention_args *a, cudaStream_t stream) {
    if (!nr_cuda_attention_tile_fits(a) || a->dtype != NR_DTYPE_I8) return cudaErrorInvalidValue;
    if (a->head_dim <= 64) return launch_one<64>(a, stream);
    if (a->head_dim <= 96) return launch_one<96>(a, stream);
    return launch_one<128>(a, stream);
}
