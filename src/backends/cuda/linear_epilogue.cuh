/* SPDX-License-Identifier: MIT
 *
 * linear_epilogue.cuh - the float end of an i8 linear, in the order of backend.h, for kernels that
 * have the codes of the weights at the spikes as one word of four bytes.
 */
#ifndef NR_LINEAR_EPILOGUE_CUH
#define NR_LINEAR_EPILOGUE_CUH

#include "cuda_ptx.cuh"

/* Byte j of a word of bytes code + 128 as the code in a float: its bits put into 2^23 + 128 + code,
 * then that taken off. */
V_INLINE float offset_code_at(uint32_t bytes, int j) {
    uint32_t bits = __byte_perm(bytes, 0x4b000000u, 0x7440u + (uint32_t)j);
    return __fsub_rn(__uint_as_float(bits), 8388736.0f);
}
/* Byte j of a word of codes. */
V_INLINE float code_at(uint32_t codes, int j) {
    return offset_code_at(codes ^ 0x80808080u, j);
}

/* Spikes that every row has: fewer than 4 only where the columns are too few. */
V_INLINE int32_t n_spikes_of(const nr_cuda_linear_i8_args &a) {
    return min(NR_CUDA_SPIKES, a.n_in - a.n_outliers);
}

/* Codes of weight row n at the spikes of `row`, from where the weights lie. */
V_INLINE uint32_t spike_codes(const nr_cuda_linear_i8_args &a, int32_t row, int32_t n) {
    const int8_t *w = a.weights + (int64_t)n * a.k_pad;
    int32_t n_spikes = n_spikes_of(a);
    uint32_t codes = 0;
#pragma unroll
    for (int j = 0; j < NR_CUDA_SPIKES; j++)
        if (j < n_spikes)
            codes |= (uint32_t)(uint8_t)w[a.spike_col[row * NR_CUDA_SPIKES + j]] << (8 * j);
    return codes;
}

/* From the int32 sum of (row, n) to y. */
V_INLINE void store_sum(const nr_cuda_linear_i8_args &a, int32_t row, int32_t n, int32_t acc,
                        uint32_t codes) {
    const float *x = a.x + row * a.ldx;
    float scale_n = a.scale[n], scale = __fmul_rn(a.sx[row], scale_n);
    float sum = a.bias ? __fmaf_rn((float)acc, scale, a.bias[n]) : __fmul_rn((float)acc, scale);
#pragma unroll 4
    for (int32_t j = 0; j < a.n_outliers; j++)
        sum = __fmaf_rn(x[a.outlier_columns[j]], a.outlier_weights[(int64_t)j * a.n_out_pad + n],
                        sum);
    int32_t n_spikes = n_spikes_of(a);
#pragma unroll
    for (int j = 0; j < NR_CUDA_SPIKES; j++)
        if (j < n_spikes)
            sum = __fmaf_rn(a.spike_val[row * NR_CUDA_SPIKES + j],
                            __fmul_rn(code_at(codes, j), scale_n), sum);
    int64_t at = row * a.ldy + n;
    sum = vm_activate(sum, a.activation);
    a.y[at] = a.residual ? __fadd_rn(a.residual[at], sum) : sum;
}

#endif
