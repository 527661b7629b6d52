/* SPDX-License-Identifier: MIT
 *
 * cuda_math.cuh - what kernels share: vec_math.inc over single floats, the 16 lanes of a sum, the
 * epilogue of linears. One IEEE operation each, never contracted (--fmad=false), so that results
 * have the reference's bits.
 */
#ifndef NR_CUDA_MATH_CUH
#define NR_CUDA_MATH_CUH

#include "cuda_kernels.h"

#define LANES 16
#define V_INLINE static __device__ __forceinline__
typedef float vf;
V_INLINE vf v_set1(float a) { return a; }
V_INLINE vf v_add(vf a, vf b) { return __fadd_rn(a, b); }
V_INLINE vf v_sub(vf a, vf b) { return __fsub_rn(a, b); }
V_INLINE vf v_mul(vf a, vf b) { return __fmul_rn(a, b); }
V_INLINE vf v_div(vf a, vf b) { return __fdiv_rn(a, b); }
V_INLINE vf v_fma(vf a, vf b, vf c) { return __fmaf_rn(a, b, c); }
V_INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
V_INLINE vf v_min(vf a, vf b) { return a < b ? a : b; }
V_INLINE vf v_abs(vf a) { return fabsf(a); }
V_INLINE vf v_select_lt(vf x, vf y, vf a, vf b) { return x < y ? a : b; }
V_INLINE vf v_exp2_of_magic(vf t) {
    return __uint_as_float((__float_as_uint(t) + 126u) << 23);
}
#include "vec_math.inc"

/* Lane i with i+8, then i+4, i+2, i+1: in the first 16 threads of a warp; the sum is thread 0's. */
V_INLINE float sum_lanes(float lane) {
    for (int step = LANES / 2; step > 0; step /= 2)
        lane = __fadd_rn(lane, __shfl_down_sync(0xffffffffu, lane, step));
    return lane;
}

/* Code of a value: round half to even by the addition of 1.5 * 2^23. */
V_INLINE int8_t code_of(float x, float inverse) {
    float t = __fadd_rn(__fmul_rn(x, inverse), 12582912.0f);
    return (int8_t)(__float_as_uint(t) & 0xffu);
}

/* amax / 127 and 127 / amax; 1 and 0 for a row of nothing. */
V_INLINE void scale_of(float amax, float *scale, float *inverse) {
    bool some = amax >= 1e-30f;
    *scale = some ? __fdiv_rn(amax, 127.0f) : 1.0f;
    *inverse = some ? __fdiv_rn(127.0f, amax) : 0.0f;
}

/* From the int32 sum of (row, n) to y, in the order of backend.h. */
V_INLINE void store_i8(const nr_cuda_linear_i8_args &a, int32_t row, int32_t n, int32_t acc) {
    const float *x = a.x + row * a.ldx;
    float scale_n = a.scale[n], scale = __fmul_rn(a.sx[row], scale_n);
    float sum = a.bias ? __fmaf_rn((float)acc, scale, a.bias[n]) : __fmul_rn((float)acc, scale);
    for (int32_t j = 0; j < a.n_outliers; j++)
        sum = __fmaf_rn(x[a.outlier_columns[j]], a.outlier_weights[(int64_t)j * a.n_out_pad + n],
                        sum);
    for (int32_t j = 0; j < NR_CUDA_SPIKES; j++) {
        int32_t k = a.spike_col[row * NR_CUDA_SPIKES + j];
        if (k < 0) break;
        float w = __fmul_rn((float)a.weights[(int64_t)n * a.k_pad + k], scale_n);
        sum = __fmaf_rn(a.spike_val[row * NR_CUDA_SPIKES + j], w, sum);
    }
    int64_t at = row * a.ldy + n;
    sum = vm_activate(sum, a.activation);
    a.y[at] = a.residual ? __fadd_rn(a.residual[at], sum) : sum;
}

#endif
