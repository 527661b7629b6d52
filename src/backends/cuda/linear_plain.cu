/* SPDX-License-Identifier: MIT
 *
 * linear_plain.cu - linears in the plainest way that a card can live with, the ones that faster
 * kernels are compared with. i8: dp4a over words of four codes, a warp an output for few rows,
 * square tiles in shared memory for many. f32: one chain of fma a result, as the definition says.
 */
#include "cuda_math.cuh"

#define FEW_ROWS 8
#define WARPS 8

/* A warp computes output n for up to FEW_ROWS rows. */
static __global__ void __launch_bounds__(32 * WARPS) k_linear_i8_few(nr_cuda_linear_i8_args a,
                                                                     int32_t row0) {
    int32_t n = blockIdx.x * WARPS + threadIdx.y, rows = min(a.m - row0, FEW_ROWS);
    if (n >= a.n_out) return;
    int32_t acc[FEW_ROWS] = {0}, words = a.k_pad / 4;
    const int32_t *w = (const int32_t *)(a.weights + (int64_t)n * a.k_pad);
    const int32_t *x = (const int32_t *)(a.codes + (int64_t)row0 * a.k_pad);
    for (int32_t k = threadIdx.x; k < words; k += 32) {
        int32_t w4 = w[k];
#pragma unroll
        for (int r = 0; r < FEW_ROWS; r++)
            if (r < rows) acc[r] = __dp4a(w4, x[(int64_t)r * words + k], acc[r]);
    }
#pragma unroll
    for (int r = 0; r < FEW_ROWS; r++) {
        int32_t sum = __reduce_add_sync(0xffffffffu, acc[r]);
        if (r < rows && (int)threadIdx.x == r) store_i8(a, row0 + r, n, sum);
    }
}

#define TILE 64 /* rows and outputs of a block */
#define STEP 8  /* words of the reduction a turn */
#define SIDE 4  /* results of a thread along each side */

/* Words [k0, k0+STEP) of rows [first, first+TILE) of a matrix of `words` words a row. */
static __device__ void fill_tile(int32_t tile[STEP][TILE + 1], const int8_t *matrix, int32_t first,
                                 int32_t n_rows, int32_t words, int32_t k0) {
    const int32_t *src = (const int32_t *)matrix;
    for (int32_t i = threadIdx.x; i < TILE * STEP; i += TILE * TILE / (SIDE * SIDE)) {
        int32_t r = i / STEP, k = i % STEP;
        bool inside = first + r < n_rows && k0 + k < words;
        tile[k][r] = inside ? src[(int64_t)(first + r) * words + k0 + k] : 0;
    }
}

static __global__ void __launch_bounds__(256) k_linear_i8_tile(nr_cuda_linear_i8_args a) {
    __shared__ int32_t xs[STEP][TILE + 1], ws[STEP][TILE + 1];
    int32_t row0 = blockIdx.y * TILE, n0 = blockIdx.x * TILE, words = a.k_pad / 4;
    int32_t ty = threadIdx.x / 16, tx = threadIdx.x % 16, acc[SIDE][SIDE] = {};
    for (int32_t k0 = 0; k0 < words; k0 += STEP) {
        fill_tile(xs, a.codes, row0, a.m, words, k0);
        fill_tile(ws, a.weights, n0, a.n_out, words, k0);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < STEP; k++)
#pragma unroll
            for (int i = 0; i < SIDE; i++)
#pragma unroll
                for (int j = 0; j < SIDE; j++)
                    acc[i][j] = __dp4a(xs[k][ty + 16 * i], ws[k][tx + 16 * j], acc[i][j]);
        __syncthreads();
    }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int32_t row = row0 + ty + 16 * i, n = n0 + tx + 16 * j;
            if (row < a.m && n < a.n_out) store_i8(a, row, n, acc[i][j]);
        }
}

cudaError_t nr_cuda_linear_i8_plain(const nr_cuda_linear_i8_args *a, cudaStream_t stream) {
    if (a->m <= 2 * FEW_ROWS) {
        unsigned blocks = (unsigned)((a->n_out + WARPS - 1) / WARPS);
        for (int32_t row0 = 0; row0 < a->m; row0 += FEW_ROWS)
            k_linear_i8_few<<<blocks, dim3(32, WARPS), 0, stream>>>(*a, row0);
    } else {
        dim3 grid((unsigned)((a->n_out + TILE - 1) / TILE), (unsigned)((a->m + TILE - 1) / TILE));
        k_linear_i8_tile<<<grid, 256, 0, stream>>>(*a);
    }
    return cudaGetLastError();
}

#define F32_OUTS 32
#define F32_ROWS 8

/* A thread a result; tiles of 32 columns in shared memory. */
static __global__ void __launch_bounds__(F32_OUTS *F32_ROWS)
    k_linear_f32(nr_cuda_linear_f32_args a) {
    __shared__ float ws[F32_OUTS][33], xs[F32_ROWS][33];
    int32_t n = blockIdx.x * F32_OUTS + threadIdx.x, row = blockIdx.y * F32_ROWS + threadIdx.y;
    float sum = 0.0f;
    for (int32_t k0 = 0; k0 < a.n_in; k0 += 32) {
        int32_t k = k0 + threadIdx.x, steps = min(32, a.n_in - k0);
        __syncthreads();
        for (int32_t o = threadIdx.y; o < F32_OUTS; o += F32_ROWS) {
            int64_t out = blockIdx.x * F32_OUTS + o;
            ws[o][threadIdx.x] = out < a.n_out && k < a.n_in ? a.weights[out * a.n_in + k] : 0.0f;
        }
        xs[threadIdx.y][threadIdx.x] = row < a.m && k < a.n_in ? a.x[row * a.ldx + k] : 0.0f;
        __syncthreads();
        for (int32_t i = 0; i < steps; i++)
            sum = __fmaf_rn(xs[threadIdx.y][i], ws[threadIdx.x][i], sum);
    }
    if (row >= a.m || n >= a.n_out) return;
    int64_t at = row * a.ldy + n;
    if (a.bias) sum = __fadd_rn(sum, a.bias[n]);
    sum = vm_activate(sum, a.activation);
    a.y[at] = a.residual ? __fadd_rn(a.residual[at], sum) : sum;
}

cudaError_t nr_cuda_linear_f32(const nr_cuda_linear_f32_args *a, cudaStream_t stream) {
    dim3 grid((unsigned)((a->n_out + F32_OUTS - 1) / F32_OUTS),
              (unsigned)((a->m + F32_ROWS - 1) / F32_ROWS));
    k_linear_f32<<<grid, dim3(F32_OUTS, F32_ROWS), 0, stream>>>(*a);
    return cudaGetLastError();
}
