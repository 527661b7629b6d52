/* SPDX-License-Identifier: MIT
 *
 * attention_codes.cu - attention of many rows over an i8 cache on Hopper, as attention_fixed.cuh
 * says: a warpgroup has 64 rows of a head and multiplies them with 64 keys at once, digits of the
 * left side in registers. Sums are integers, so a row's bits are those of the other kernels.
 *
 * Keys are copied into the swizzled rows that products read. Columns of the second product are
 * dims, so values need a transposition of bytes, as attention_tile.cu has it in registers: here it
 * goes through shared memory once a chunk, a quarter a warp, while the scores are computed.
 */
#include "attention_fixed.cuh"
#include "attention_ways.h"
#include "cuda_launch.cuh"
#include "cuda_products.cuh"

#define ROWS 64
#define THREADS 128
#define ROW_BYTES 128 /* of keys, swizzled */

/* Two chunks in turns, and the values of one as columns. */
template <int DIM> struct __align__(1024) code_tiles {
    uint8_t k[2][CHUNK][ROW_BYTES];
    uint8_t columns[CHUNK / 16][DIM / 8][8][16]; /* [keys][dims], those of 16: evens, then odds */
    int8_t v[2][CHUNK][DIM + 16];
    float k_scale[2][CHUNK], v_scale[2][CHUNK];
};

#ifdef NR_HOPPER

/* Copies of a chunk, begun by all threads of the block, as begin_chunk does it. */
template <int DIM>
static __device__ __forceinline__ void begin_codes(code_tiles<DIM> *t, int turn, const head_rows &h,
                                                   int32_t first, int32_t end) {
    const int PIECES = DIM / 16;
#pragma unroll 4
    for (int32_t i = threadIdx.x; i < CHUNK * PIECES; i += THREADS) {
        const int32_t row = i / PIECES, piece = i % PIECES;
        const bool valid = first + row < end && 16 * piece < h.bytes;
        const int64_t from = (int64_t)(first + row) * h.pitch + 16 * piece;
        copy_16(&t->k[turn][row][(piece ^ (row & 7)) * 16], valid ? h.k + from : h.k, valid);
        copy_16(&t->v[turn][row][16 * piece], valid ? h.v + from : h.v, valid);
    }
    if (threadIdx.x < CHUNK / 2) {
        const int32_t i = threadIdx.x % 16 * 4;
        const bool is_k = threadIdx.x < 16, valid = first + i + 4 <= h.n_scales;
        const float *from = is_k ? h.k_scale : h.v_scale;
        copy_16(is_k ? &t->k_scale[turn][i] : &t->v_scale[turn][i], valid ? from + first + i : from,
                valid);
    }
}

template <int N> static __device__ __forceinline__ void sums_done(int32_t (&sums)[DIGITS][N]) {
#pragma unroll
    for (int i = 0; i < DIGITS; i++) product_done(sums[i]);
}

/* Scores before any scale, digit by digit; begun. */
template <int DIM>
static __device__ __forceinline__ void begin_scores(int32_t sums[DIGITS][CHUNK / 2],
                                                    const uint32_t q[DIM / 32][DIGITS][4],
                                                    const uint8_t (*k)[ROW_BYTES]) {
    const uint64_t keys = tile_descriptor<ROW_BYTES>(k);
    product_begin();
#pragma unroll
    for (int i = 0; i < DIGITS; i++)
#pragma unroll
        for (int d = 0; d < DIM / 32; d++)
            product_codes<CHUNK>(sums[i], q[d][i], keys + 2 * d, d > 0);
    product_commit();
}

/* Scores times the keys' scales. */
static __device__ __forceinline__ void put_scores(float s[CHUNK / 8][4],
                                                  const int32_t sums[DIGITS][CHUNK / 2],
                                                  const float *k_scale) {
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) {
        const float2 scale = *(const float2 *)&k_scale[8 * n + threadIdx.x % 4 * 2];
#pragma unroll
        for (int c = 0; c < 4; c++) {
            const int at = 4 * n + c;
            s[n][c] = __fmul_rn(sum_of_digits(sums[0][at], sums[1][at], sums[2][at]),
                                c % 2 ? scale.y : scale.x);
        }
    }
}

/* This warp's quarter of the values, as columns: 16 keys a row in the order in which a lane has
 * their weights, and of 16 dims the even ones before the odd ones. */
template <int DIM>
static __device__ __forceinline__ void turn_values(code_tiles<DIM> *t, int turn) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int i = warp; i < DIM / 8; i += THREADS / 32) {
        const int half = i % 2, d = i / 2;
        uint32_t b[4];
        load_values(b, t->v[turn], half, d);
#pragma unroll
        for (int j = 0; j < 4; j++)
            ((uint32_t *)t->columns[2 * half + j % 2][2 * d + j / 2])[lane] = b[j];
    }
}

/* Weights times values of 32 dims; begun. */
template <int DIM>
static __device__ __forceinline__ void begin_values(int32_t sums[DIGITS][16], int part,
                                                    const uint32_t w[CHUNK / 32][DIGITS][4],
                                                    const code_tiles<DIM> *t) {
    product_begin();
#pragma unroll
    for (int i = 0; i < DIGITS; i++)
#pragma unroll
        for (int k = 0; k < CHUNK / 32; k++)
            product_codes<32>(
                sums[i], w[k][i],
                columns_descriptor(t->columns[2 * k][4 * part], sizeof t->columns[0]), k > 0);
    product_commit();
}

/* o = o * old + (weights x values) * new, as attention_tile.cu's add_values; 32 dims are added
 * while the next are multiplied. */
template <int DIM>
static __device__ __forceinline__ void add_values(float o[DIM / 16][2][4],
                                                  const uint32_t w[CHUNK / 32][DIGITS][4],
                                                  const code_tiles<DIM> *t,
                                                  const chunk_factors f[2]) {
    const int PARTS = DIM / 32;
    int32_t sums[2][DIGITS][16];
    begin_values(sums[0], 0, w, t);
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        if (part + 1 < PARTS) {
            begin_values(sums[(part + 1) % 2], part + 1, w, t);
            product_wait<1>();
        } else {
            product_wait<0>();
        }
        sums_done(sums[part % 2]);
#pragma unroll
        for (int d = 0; d < 2; d++)
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int at = 4 * (2 * d + e % 2) + 2 * h + e / 2;
                    float *x = &o[2 * part + d][h][e];
                    const float sum = sum_of_digits(sums[part % 2][0][at], sums[part % 2][1][at],
                                                    sums[part % 2][2][at]);
                    *x = __fmaf_rn(*x, f[h].old_part, __fmul_rn(sum, f[h].new_part));
                }
    }
}

template <int DIM>
static __device__ __forceinline__ void put_rows(const nr_cuda_attention_args &a, int64_t row,
                                                int32_t head, const bool any[2],
                                                const float o[DIM / 16][2][4],
                                                const row_state state[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (!any[h]) continue;
        float *y = a.y + (row + 8 * h) * a.ldy + (int64_t)head * a.head_dim;
        const float inverse = __fdiv_rn(1.0f, state[h].l);
#pragma unroll
        for (int d = 0; d < DIM / 16; d++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int32_t at = 16 * d + 4 * (threadIdx.x % 4) + e;
                if (at < a.head_dim) y[at] = __fmul_rn(o[d][h][e], inverse);
            }
    }
}

#endif

/* Rows of a span that see most come first, of all heads. */
template <int DIM>
static __global__ void __launch_bounds__(THREADS, 2)
    k_attention_codes(const __grid_constant__ nr_cuda_attention_args a) {
#ifdef NR_HOPPER
    extern __shared__ __align__(1024) uint8_t shared[];
    code_tiles<DIM> *t = (code_tiles<DIM> *)(shared + (1024 - (uintptr_t)shared % 1024) % 1024);
    meet_neighbours(a.early);
    const nr_cuda_span s = a.spans[blockIdx.z];
    const int32_t head = blockIdx.x, first = (gridDim.y - 1 - blockIdx.y) * ROWS;
    const int32_t n_rows = min(ROWS, a.m - first);
    const int32_t end = a.causal ? min(s.n_keys, s.pos0 + first + n_rows) : s.n_keys;
    const head_rows rows = rows_of(a, s, head);
    const int32_t row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4; /* and 8 further on */
    begin_codes(t, 0, rows, 0, end);
    copy_commit();
    uint32_t q[DIM / 32][DIGITS][4];
    float factor[2], o[DIM / 16][2][4] = {};
    load_queries<DIM>(q, factor, a, s.row0 + first, head, n_rows);
    row_state state[2] = {{-INFINITY, 0.0f}, {-INFINITY, 0.0f}};
    for (int32_t c = 0, turn = 0; c < end; c += CHUNK, turn ^= 1) {
        int32_t sums[DIGITS][CHUNK / 2];
        float scores[CHUNK / 8][4];
        chunk_factors f[2];
        uint32_t w[CHUNK / 32][DIGITS][4];
        if (c + CHUNK < end) begin_codes(t, turn ^ 1, rows, c + CHUNK, end);
        copy_commit();
        copy_wait<1>();
        shared_stored();
        __syncthreads(); /* the chunk is there, and nobody uses the columns of the last one */
        begin_scores<DIM>(sums, q, t->k[turn]);
        turn_values(t, turn);
        shared_stored();
        product_wait<0>();
        sums_done(sums);
        put_scores(scores, sums, t->k_scale[turn]);
        int32_t visible[2];
#pragma unroll
        for (int h = 0; h < 2; h++)
            visible[h] =
                (a.causal ? min(s.n_keys, s.pos0 + first + row + 8 * h + 1) : s.n_keys) - c;
        weigh_chunk(f, scores, visible, factor, state, t->v_scale[turn]);
        gather_weights(w, scores);
        __syncthreads(); /* the columns are there, and nobody uses the chunk */
        add_values(o, w, t, f);
    }
    const bool any[2] = {row < n_rows, row + 8 < n_rows};
    put_rows<DIM>(a, s.row0 + first + row, head, any, o, state);
#endif
}

template <int DIM>
static cudaError_t launch(const nr_cuda_attention_args *a, cudaStream_t stream) {
    const size_t shared = 1024 + sizeof(code_tiles<DIM>);
    cudaError_t e = cudaFuncSetAttribute((const void *)k_attention_codes<DIM>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (e != cudaSuccess) return e;
    dim3 grid((unsigned)a->n_heads, (unsigned)((a->m + ROWS - 1) / ROWS), (unsigned)a->n_spans);
    return launch_kernel(k_attention_codes<DIM>, grid, THREADS, shared, a->overlap, stream, *a);
}

bool nr_cuda_attention_codes_fits(const nr_cuda_attention_args *a) {
    return a->sm == 90 && a->dtype == NR_DTYPE_I8 && nr_cuda_attention_tile_fits(a);
}

cudaError_t nr_cuda_attention_codes(const nr_cuda_attention_args *a, cudaStream_t stream) {
    if (!nr_cuda_attention_codes_fits(a)) return cudaErrorInvalidValue;
    return a->head_dim <= 64 ? launch<64>(a, stream) : launch<128>(a, stream);
}
