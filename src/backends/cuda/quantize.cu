/* SPDX-License-Identifier: MIT
 *
 * quantize.cu - rows of activations to codes: outlier columns left out, the 4 largest of the rest
 * taken out as spikes, the fifth largest as amax. A block a row, twice over it. The norm or the gate
 * that the rows come from may be computed on the way.
 *
 * The five largest: every thread keeps its own five in descending order; a warp then takes the
 * largest head of its 32 lists five times (ties to the lower column), and one warp does the same
 * over the lists of all warps.
 */
#include "cuda_norm.cuh"
#include "cuda_overlap.cuh"

#define THREADS_MAX 1024
#define WARPS_MAX (THREADS_MAX / 32)
#define MANY_ROWS 128 /* from here on small blocks fill the card */
#define TOP (NR_CUDA_SPIKES + 1)
#define ALL 0xffffffffu

/* |x| as bits (order-preserving), 0 where there is none; columns break ties. */
struct top_list {
    uint32_t magnitude[TOP]; /* bits of |x| + 1, 0: empty */
    int32_t column[TOP];
};

static __device__ void top_clear(top_list *t) {
    for (int i = 0; i < TOP; i++) {
        t->magnitude[i] = 0;
        t->column[i] = INT32_MAX;
    }
}

static __device__ __forceinline__ bool before(uint32_t m, int32_t c, uint32_t m2, int32_t c2) {
    return m > m2 || (m == m2 && c < c2);
}

static __device__ __forceinline__ void top_add(top_list *t, uint32_t m, int32_t c) {
    if (!before(m, c, t->magnitude[TOP - 1], t->column[TOP - 1])) return;
    t->magnitude[TOP - 1] = m;
    t->column[TOP - 1] = c;
#pragma unroll
    for (int i = TOP - 1; i > 0; i--) {
        if (!before(t->magnitude[i], t->column[i], t->magnitude[i - 1], t->column[i - 1])) return;
        uint32_t m2 = t->magnitude[i];
        int32_t c2 = t->column[i];
        t->magnitude[i] = t->magnitude[i - 1];
        t->column[i] = t->column[i - 1];
        t->magnitude[i - 1] = m2;
        t->column[i - 1] = c2;
    }
}

static __device__ __forceinline__ void top_pop(top_list *t) {
#pragma unroll
    for (int i = 0; i + 1 < TOP; i++) {
        t->magnitude[i] = t->magnitude[i + 1];
        t->column[i] = t->column[i + 1];
    }
    t->magnitude[TOP - 1] = 0;
    t->column[TOP - 1] = INT32_MAX;
}

/* The TOP best of the warp's lists, in every thread's `best`. */
static __device__ void top_of_warp(top_list *own, top_list *best) {
#pragma unroll
    for (int i = 0; i < TOP; i++) {
        uint32_t m = __reduce_max_sync(ALL, own->magnitude[0]);
        int32_t c = own->magnitude[0] == m ? own->column[0] : INT32_MAX;
        c = __reduce_min_sync(ALL, c);
        best->magnitude[i] = m;
        best->column[i] = c;
        if (own->magnitude[0] == m && own->column[0] == c) top_pop(own);
    }
}

/* Bit k of the mask: column k is an outlier. */
static __device__ void mark_outliers(uint32_t *mask, const nr_cuda_quantize_args &a) {
    int32_t words = (a.n_in + 31) / 32;
    for (int32_t i = threadIdx.x; i < words; i += blockDim.x) mask[i] = 0;
    __syncthreads();
    for (int32_t j = threadIdx.x; j < a.n_outliers; j += blockDim.x)
        atomicOr(&mask[a.outlier_columns[j] / 32], 1u << (a.outlier_columns[j] % 32));
    __syncthreads();
}

static __device__ __forceinline__ bool marked(const uint32_t *mask, int32_t k) {
    return mask[k / 32] >> (k % 32) & 1u;
}

/* Spikes ascending by column; the row's scale. */
static __device__ void put_spikes(const nr_cuda_quantize_args &a, int64_t row, const float *x,
                                  const top_list *best, float *inverse) {
    int32_t columns[NR_CUDA_SPIKES];
    for (int i = 0; i < NR_CUDA_SPIKES; i++)
        columns[i] = best->magnitude[i] ? best->column[i] : -1;
    for (int i = 1; i < NR_CUDA_SPIKES; i++)
        for (int j = i; j > 0 && (uint32_t)columns[j] < (uint32_t)columns[j - 1]; j--) {
            int32_t t = columns[j];
            columns[j] = columns[j - 1];
            columns[j - 1] = t;
        }
    for (int i = 0; i < NR_CUDA_SPIKES; i++) {
        a.spike_col[row * NR_CUDA_SPIKES + i] = columns[i];
        a.spike_val[row * NR_CUDA_SPIKES + i] = columns[i] >= 0 ? x[columns[i]] : 0.0f;
    }
    uint32_t rest = best->magnitude[NR_CUDA_SPIKES];
    float scale;
    scale_of(rest ? __uint_as_float(rest - 1) : 0.0f, &scale, inverse);
    a.sx[row] = scale;
}

/* Value k of the row; factors are a norm's. */
template <nr_cuda_before BEFORE>
static __device__ __forceinline__ float input_of(const nr_cuda_quantize_args &a, const float *from,
                                                 norm_factors f, int32_t k) {
    if (BEFORE == NR_CUDA_BEFORE_GATED)
        return __fmul_rn(vm_activate(from[k], a.activation), from[a.n_in + k]);
    if (BEFORE == NR_CUDA_BEFORE_NONE) return from[k];
    return norm_apply<BEFORE == NR_CUDA_BEFORE_LAYER_NORM>(f, from[k], a.gamma, a.beta, k);
}

/* The five largest of the block, as `best` of its first warp. */
static __device__ void top_of_block(top_list *own, top_list *best, top_list *lists) {
    top_of_warp(own, best);
    if (threadIdx.x % 32 == 0) lists[threadIdx.x / 32] = *best;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    top_clear(own);
    if (threadIdx.x < blockDim.x / 32) *own = lists[threadIdx.x];
    top_of_warp(own, best);
}

/* Thread i has columns i, i + blockDim, ...: it reads back what it wrote itself. */
template <nr_cuda_before BEFORE>
static __global__ void __launch_bounds__(THREADS_MAX) k_quantize_row(nr_cuda_quantize_args a) {
    const bool NORM = BEFORE == NR_CUDA_BEFORE_RMS_NORM || BEFORE == NR_CUDA_BEFORE_LAYER_NORM;
    extern __shared__ uint32_t mask[];
    __shared__ top_list lists[WARPS_MAX];
    __shared__ float inverse, tile[NORM ? NORM_TILE : 1];
    __shared__ int32_t spikes[NR_CUDA_SPIKES];
    int64_t row = blockIdx.x;
    const float *x = a.x + row * a.ldx, *from = x;
    int8_t *codes = a.codes + row * a.k_pad;
    norm_factors f = {0.0f, 0.0f};
    overlap_release();
    if (a.n_outliers) mark_outliers(mask, a);
    overlap_wait();
    if (BEFORE == NR_CUDA_BEFORE_GATED) from = a.from + row * 2 * a.n_in;
    else if (NORM) from = a.from + row * a.n_in;
    if (NORM) f = norm_row<BEFORE == NR_CUDA_BEFORE_LAYER_NORM>(from, a.n_in, a.eps, tile);
    top_list own, best;
    top_clear(&own);
    for (int32_t k = threadIdx.x; k < a.n_in; k += blockDim.x) {
        float value = input_of<BEFORE>(a, from, f, k);
        if (BEFORE != NR_CUDA_BEFORE_NONE) ((float *)x)[k] = value;
        if (!a.n_outliers || !marked(mask, k))
            top_add(&own, (__float_as_uint(value) & 0x7fffffffu) + 1, k);
    }
    top_of_block(&own, &best, lists);
    if (threadIdx.x == 0) {
        float inv;
        put_spikes(a, row, x, &best, &inv);
        inverse = inv;
        for (int i = 0; i < NR_CUDA_SPIKES; i++)
            spikes[i] = best.magnitude[i] ? best.column[i] : -1;
    }
    __syncthreads();
    float inv = inverse;
    for (int32_t k = threadIdx.x; k < a.k_pad; k += blockDim.x)
        codes[k] = k < a.n_in && !(a.n_outliers && marked(mask, k)) ? code_of(x[k], inv) : (int8_t)0;
    __syncthreads();
    if (threadIdx.x < NR_CUDA_SPIKES && spikes[threadIdx.x] >= 0) codes[spikes[threadIdx.x]] = 0;
}

cudaError_t nr_cuda_quantize(const nr_cuda_quantize_args *a, cudaStream_t stream) {
    size_t mask_bytes = a->n_outliers ? (size_t)(a->n_in + 31) / 32 * sizeof(uint32_t) : 0;
    unsigned threads = a->m < MANY_ROWS && a->n_in >= 2048 ? THREADS_MAX : 256;
    void (*kernel)(nr_cuda_quantize_args) = k_quantize_row<NR_CUDA_BEFORE_NONE>;
    if (a->before == NR_CUDA_BEFORE_RMS_NORM) kernel = k_quantize_row<NR_CUDA_BEFORE_RMS_NORM>;
    if (a->before == NR_CUDA_BEFORE_LAYER_NORM) kernel = k_quantize_row<NR_CUDA_BEFORE_LAYER_NORM>;
    if (a->before == NR_CUDA_BEFORE_GATED) kernel = k_quantize_row<NR_CUDA_BEFORE_GATED>;
    return overlap_launch(kernel, *a, dim3((unsigned)a->m), dim3(threads), mask_bytes, a->overlap,
                          stream);
}

#define THREADS 256

static __global__ void __launch_bounds__(THREADS) k_residual_row(float *r, nr_cuda_quantize_args a) {
    int64_t row = blockIdx.x;
    const float *x = a.x + row * a.ldx;
    const int8_t *codes = a.codes + row * a.k_pad;
    float sx = a.sx[row];
    r += row * a.n_in;
    for (int32_t k = threadIdx.x; k < a.n_in; k += THREADS)
        r[k] = __fmaf_rn(-(float)codes[k], sx, x[k]);
    __syncthreads();
    for (int32_t j = threadIdx.x; j < NR_CUDA_SPIKES + a.n_outliers; j += THREADS) {
        int32_t k = j < NR_CUDA_SPIKES ? a.spike_col[row * NR_CUDA_SPIKES + j]
                                       : a.outlier_columns[j - NR_CUDA_SPIKES];
        if (k >= 0) r[k] = 0.0f;
    }
}

cudaError_t nr_cuda_residual(float *r, const nr_cuda_quantize_args *a, cudaStream_t stream) {
    k_residual_row<<<(unsigned)a->m, THREADS, 0, stream>>>(r, *a);
    return cudaGetLastError();
}
