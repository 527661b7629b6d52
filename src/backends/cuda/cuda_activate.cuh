/* SPDX-License-Identifier: MIT
 *
 * cuda_activate.cuh - activations of a few values side by side, with the bits of vec_math.inc's.
 * One at a time they are what a linear waits for longest: the kind is asked for and a branch taken
 * for each value, and the exact division brings its own branch and call, so that no value's chain
 * of operations runs beside another's.
 */
#ifndef NR_CUDA_ACTIVATE_CUH
#define NR_CUDA_ACTIVATE_CUH

#include "cuda_ptx.cuh"

/* The steps of the exact division without the question whether they suffice. They do, whatever the
 * reciprocal's last bit: for 1 <= d <= 2^64 and 2^-40 <= |x| <= 2^64 no step leaves the range of
 * normal numbers, and the second remainder rounds the quotient as the division does. */
V_INLINE float divide_plain(float x, float d) {
    float r = reciprocal_fast(d);
    r = __fmaf_rn(r, __fmaf_rn(-d, r, 1.0f), r);
    float q = __fmul_rn(x, r);
    q = __fmaf_rn(r, __fmaf_rn(-d, q, x), q);
    return __fmaf_rn(r, __fmaf_rn(-d, q, x), q);
}

/* vm_x_sigmoid of each of y. */
template <int N> V_INLINE void x_sigmoid_each(float *y, float a) {
    float d[N];
    bool plain = true;
#pragma unroll
    for (int i = 0; i < N; i++) {
        d[i] = v_add(1.0f, vm_exp(v_mul(y[i], -a)));
        plain = plain && fabsf(y[i]) >= 0x1p-40f && fabsf(y[i]) <= 0x1p64f && d[i] <= 0x1p64f;
    }
    if (plain) {
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = divide_plain(y[i], d[i]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = v_div(y[i], d[i]);
    }
}

/* vm_activate of each of y; the kind is the same for all threads. */
template <int N> V_INLINE void activate_each(float *y, nr_activation activation) {
    if (activation == NR_ACTIVATION_QUICK_GELU || activation == NR_ACTIVATION_SILU) {
        x_sigmoid_each<N>(y, activation == NR_ACTIVATION_SILU ? 1.0f : 1.702f);
    } else if (activation == NR_ACTIVATION_GELU) {
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = vm_gelu(y[i]);
    } else if (activation == NR_ACTIVATION_RELU) {
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = v_max(y[i], 0.0f);
    }
}

#endif
