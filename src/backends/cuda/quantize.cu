/* SPDX-License-Identifier: MIT
 *
 * quantize.cu - rows of activations to codes: outlier columns left out, the 4 largest of the rest
 * taken out as spikes, the fifth largest as amax. A block a row, twice over it.
 *
 * The five largest: every thread keeps its own five in descending order; a warp then takes the
 * largest head of its 32 lists five times (ties to the lower column), and one warp does the same
 * over the lists of all warps.
 */
#include "cuda_math.cuh"

#define THREADS 256
#define WARPS (THREADS / 32)
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
    for (int32_t i = threadIdx.x; i < words; i += THREADS) mask[i] = 0;
    __syncthreads();
    for (int32_t j = threadIdx.x; j < a.n_outliers; j += THREADS)
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

static __global__ void __launch_bounds__(THREADS) k_quantize_row(nr_cuda_quantize_args a) {
    extern __shared__ uint32_t mask[];
    __shared__ top_list lists[WARPS];
    __shared__ float inverse;
    __shared__ int32_t spikes[NR_CUDA_SPIKES];
    int64_t row = blockIdx.x;
    const float *x = a.x + row * a.ldx;
    int8_t *codes = a.codes + row * a.k_pad;
    if (a.n_outliers) mark_outliers(mask, a);
    top_list own, best;
    top_clear(&own);
    for (int32_t k = threadIdx.x; k < a.n_in; k += THREADS)
        if (!a.n_outliers || !marked(mask, k))
            top_add(&own, (__float_as_uint(x[k]) & 0x7fffffffu) + 1, k);
    top_of_warp(&own, &best);
    if (threadIdx.x % 32 == 0) lists[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x < 32) {
        top_clear(&own);
        if (threadIdx.x < WARPS) own = lists[threadIdx.x];
        top_of_warp(&own, &best);
        if (threadIdx.x == 0) {
            float inv;
            put_spikes(a, row, x, &best, &inv);
            inverse = inv;
            for (int i = 0; i < NR_CUDA_SPIKES; i++)
                spikes[i] = best.magnitude[i] ? best.column[i] : -1;
        }
    }
    __syncthreads();
    float inv = inverse;
    for (int32_t k = threadIdx.x; k < a.k_pad; k += THREADS)
        codes[k] = k < a.n_in && !(a.n_outliers && marked(mask, k)) ? code_of(x[k], inv)
                                                                    : (int8_t)0;
    __syncthreads();
    if (threadIdx.x < NR_CUDA_SPIKES && spikes[threadIdx.x] >= 0) codes[spikes[threadIdx.x]] = 0;
}

cudaError_t nr_cuda_quantize(const nr_cuda_quantize_args *a, cudaStream_t stream) {
    size_t mask_bytes = a->n_outliers ? (size_t)(a->n_in + 31) / 32 * sizeof(uint32_t) : 0;
    k_quantize_row<<<(unsigned)a->m, THREADS, mask_bytes, stream>>>(*a);
    return cudaGetLastError();
}

static __global__ void __launch_bounds__(THREADS)
    k_residual_row(float *r, nr_cuda_quantize_args a) {
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
