/* SPDX-License-Identifier: MIT
 * rows.cu - the ops that look at each value once: embedding rows, positions, rotation, gate,
 * activation, patches; and the largest logit. */
#include "cuda_math.cuh"

#define THREADS 256

static unsigned blocks_of(int64_t n) {
    return (unsigned)((n + THREADS - 1) / THREADS);
}

static __global__ void k_embed_row(nr_cuda_embed_args a) {
    int32_t row = blockIdx.x, id = a.ids[row];
    float *y = a.y + row * a.ldy;
    for (int32_t k = threadIdx.x; k < a.n_in; k += THREADS)
        y[k] = a.dtype == NR_DTYPE_F32
                   ? ((const float *)a.weights)[(int64_t)id * a.n_in + k]
                   : __fmul_rn((float)((const int8_t *)a.weights)[(int64_t)id * a.k_pad + k],
                               a.scale[id]);
    __syncthreads();
    for (int32_t j = threadIdx.x; j < a.n_outliers; j += THREADS)
        y[a.outlier_columns[j]] = a.outlier_weights[(int64_t)j * a.n_out_pad + id];
}

cudaError_t nr_cuda_embed(const nr_cuda_embed_args *a, cudaStream_t stream) {
    k_embed_row<<<(unsigned)a->m, THREADS, 0, stream>>>(*a);
    return cudaGetLastError();
}

static __global__ void k_activate(float *y, int64_t n, nr_activation activation) {
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) y[i] = vm_activate(y[i], activation);
}

cudaError_t nr_cuda_activate(float *y, int64_t n, nr_activation activation, cudaStream_t stream) {
    k_activate<<<blocks_of(n), THREADS, 0, stream>>>(y, n, activation);
    return cudaGetLastError();
}

static __global__ void k_gated(float *y, int64_t ldy, const float *gate_up, int64_t n, int32_t f,
                               nr_activation activation) {
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= n) return;
    int64_t row = at / f, i = at % f;
    const float *gate = gate_up + row * 2 * f;
    y[row * ldy + i] = __fmul_rn(vm_activate(gate[i], activation), gate[f + i]);
}

cudaError_t nr_cuda_gated(float *y, int64_t ldy, const float *gate_up, int64_t m, int32_t f,
                          nr_activation activation, cudaStream_t stream) {
    k_gated<<<blocks_of(m * f), THREADS, 0, stream>>>(y, ldy, gate_up, m * f, f, activation);
    return cudaGetLastError();
}

static __global__ void k_add_rows(float *y, int64_t ldy, const float *table, const int32_t *rows,
                                  int64_t n, int32_t d) {
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= n) return;
    int64_t row = at / d, k = at % d;
    float *dst = y + row * ldy + k;
    *dst = __fadd_rn(*dst, table[(int64_t)rows[row] * d + k]);
}

cudaError_t nr_cuda_add_rows(float *y, int64_t ldy, const float *table, const int32_t *rows,
                             int64_t m, int32_t d, cudaStream_t stream) {
    k_add_rows<<<blocks_of(m * d), THREADS, 0, stream>>>(y, ldy, table, rows, m * d, d);
    return cudaGetLastError();
}

/* A thread a pair. */
static __global__ void k_rope(nr_cuda_rope_args a) {
    int32_t half = a.head_dim / 2;
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= (int64_t)a.m * a.n_heads * half) return;
    int32_t i = (int32_t)(at % half);
    int64_t head = at / half % a.n_heads, row = at / half / a.n_heads;
    const float *c = a.cos_sin + (int64_t)a.positions[row] * a.head_dim, *s = c + half;
    float *p = a.x + row * a.ldx + head * a.head_dim + i;
    float x = p[0], y = p[half];
    p[0] = __fsub_rn(__fmul_rn(x, c[i]), __fmul_rn(y, s[i]));
    p[half] = __fadd_rn(__fmul_rn(y, c[i]), __fmul_rn(x, s[i]));
}

cudaError_t nr_cuda_rope(const nr_cuda_rope_args *a, cudaStream_t stream) {
    int64_t pairs = (int64_t)a->m * a->n_heads * (a->head_dim / 2);
    k_rope<<<blocks_of(pairs), THREADS, 0, stream>>>(*a);
    return cudaGetLastError();
}

static __global__ void k_patchify(float *y, const float *pixels, int32_t side_h, int32_t side_w,
                                  int32_t patch, int64_t n) {
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (at >= n) return;
    int64_t rest = at;
    int32_t px = (int32_t)(rest % patch);
    rest /= patch;
    int32_t py = (int32_t)(rest % patch);
    rest /= patch;
    int32_t c = (int32_t)(rest % 3);
    rest /= 3;
    int32_t gx = (int32_t)(rest % (side_w / patch)), gy = (int32_t)(rest / (side_w / patch));
    y[at] = pixels[((int64_t)c * side_h + gy * patch + py) * side_w + gx * patch + px];
}

cudaError_t nr_cuda_patchify(float *y, const float *pixels, int32_t side_h, int32_t side_w,
                             int32_t patch, cudaStream_t stream) {
    int64_t n = 3 * (int64_t)(side_h / patch) * (side_w / patch) * patch * patch;
    k_patchify<<<blocks_of(n), THREADS, 0, stream>>>(y, pixels, side_h, side_w, patch, n);
    return cudaGetLastError();
}

#define ARGMAX_THREADS 1024

/* The better of two candidates in *x, *i. */
static __device__ __forceinline__ void keep_larger(float *x, int32_t *i, float x2, int32_t i2) {
    if (x2 > *x || (x2 == *x && i2 < *i)) {
        *x = x2;
        *i = i2;
    }
}

static __device__ void largest_of_warp(float *x, int32_t *i) {
    for (int step = 16; step > 0; step /= 2) {
        float x2 = __shfl_down_sync(0xffffffffu, *x, step);
        int32_t i2 = __shfl_down_sync(0xffffffffu, *i, step);
        keep_larger(x, i, x2, i2);
    }
}

static __global__ void __launch_bounds__(ARGMAX_THREADS) k_argmax(nr_cuda_argmax_args a) {
    const float *x = a.rows[blockIdx.x];
    __shared__ float best_x[32];
    __shared__ int32_t best_i[32];
    float largest = x[0];
    int32_t at = 0;
    for (int32_t i = threadIdx.x; i < a.n; i += ARGMAX_THREADS) keep_larger(&largest, &at, x[i], i);
    largest_of_warp(&largest, &at);
    if (threadIdx.x % 32 == 0) {
        best_x[threadIdx.x / 32] = largest;
        best_i[threadIdx.x / 32] = at;
    }
    __syncthreads();
    if (threadIdx.x >= 32) return;
    largest = best_x[threadIdx.x];
    at = best_i[threadIdx.x];
    largest_of_warp(&largest, &at);
    if (threadIdx.x == 0) a.index[blockIdx.x] = at;
}

cudaError_t nr_cuda_argmax(const nr_cuda_argmax_args *a, cudaStream_t stream) {
    k_argmax<<<(unsigned)a->n_rows, ARGMAX_THREADS, 0, stream>>>(*a);
    return cudaGetLastError();
}
