/* SPDX-License-Identifier: MIT
 *
 * cuda_kernels.h - the launchers of the CUDA backend: one an op, each taking a stream and returning
 * what the launch said. Pointers are device memory unless marked host. Launchers neither allocate
 * nor synchronise, so every one may be captured into a graph; what changes from call to call while
 * shapes stay (ids, positions, spans) is read from device memory.
 *
 * Arithmetic is backend.h's, compiled with --fmad=false: all integer results, and all float results
 * except those of nr_cuda_attention's fast kernels, equal the reference's bit for bit.
 *
 * Device layouts (the packing is this backend's own):
 *   i8 weights   row-major [n_out_pad][k_pad], n_out_pad = round16(n_out), k_pad = round16(n_in)
 *   f32 weights  row-major [n_out_pad][n_in]
 *   keys, values row-major [n_kv_heads][cap][head_dim]
 *   codes        i8 [m][k_pad], zero padded
 */
#ifndef NR_CUDA_KERNELS_H
#define NR_CUDA_KERNELS_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
#define restrict __restrict__
extern "C" {
#endif

#include "backend.h"

#define NR_CUDA_SPIKES 4     /* NR_QUANT_SPIKES */
#define NR_CUDA_SPANS_MAX 64 /* of one launch */

static inline int32_t nr_cuda_k_pad(int32_t n_in) {
    return (n_in + 15) / 16 * 16;
}
static inline int32_t nr_cuda_n_out_pad(int32_t n_out) {
    return (n_out + 15) / 16 * 16;
}

/* Codes, scale and spikes of m rows, as ops_ref.c's quantize_token. */
typedef struct nr_cuda_quantize_args {
    const float *x; /* [m, n_in] */
    int64_t ldx;
    int32_t m, n_in, k_pad, n_outliers;
    const int32_t *outlier_columns;
    int8_t *codes;      /* [m, k_pad] */
    float *sx;          /* [m] */
    int32_t *spike_col; /* [m, 4] ascending, -1 behind the last */
    float *spike_val;   /* [m, 4] */
    int32_t way;        /* of quantize_fused.cu, for the lab; 0: what suits */
    bool early;         /* where launches overlap: as a linear's */
    bool x_spent;       /* only the linear reads x: what is fused writes its outlier columns alone */
} nr_cuda_quantize_args;
cudaError_t nr_cuda_quantize(const nr_cuda_quantize_args *args, cudaStream_t stream);
/* r[m, n_in] = what the codes of args lose. */
cudaError_t nr_cuda_residual(float *r, const nr_cuda_quantize_args *args, cudaStream_t stream);

/* y = epilogue(codes x weights^T), any m >= 1. */
typedef struct nr_cuda_linear_i8_args {
    float *y; /* [m, n_out] */
    int64_t ldy;
    const float *x; /* the f32 input, for outlier columns */
    int64_t ldx;
    const int8_t *codes;
    const float *sx;
    const int32_t *spike_col;
    const float *spike_val;
    int32_t m, n_out, n_in, k_pad, n_out_pad, n_outliers;
    const int8_t *weights;
    const float *scale, *bias; /* bias may be NULL */
    const int32_t *outlier_columns;
    const float *outlier_weights; /* [n_outliers, n_out_pad] */
    nr_activation activation;
    const float *residual; /* distance ldy, or NULL; may be y */
    int sm; /* 80, 86, 89, 90 */
    int n_multiprocessors;
    bool overlap; /* launched while the kernel before ends (sm_90) */
    bool early;   /* the next one may be launched before this one's wait for the one before */
} nr_cuda_linear_i8_args;
/* Picks by m: weights streamed once for few rows, tiles for many. */
cudaError_t nr_cuda_linear_i8(const nr_cuda_linear_i8_args *args, cudaStream_t stream);
/* The same, in the plainest way: dp4a, what the fast one is compared with on the card. */
cudaError_t nr_cuda_linear_i8_plain(const nr_cuda_linear_i8_args *args, cudaStream_t stream);

typedef struct nr_cuda_linear_f32_args {
    float *y;
    int64_t ldy;
    const float *x;
    int64_t ldx;
    int32_t m, n_out, n_in;
    const float *weights, *bias;
    nr_activation activation;
    const float *residual;
} nr_cuda_linear_f32_args;
cudaError_t nr_cuda_linear_f32(const nr_cuda_linear_f32_args *args, cudaStream_t stream);

/* Rows of one sequence: where its keys and values lie, and which positions the rows have. */
typedef struct nr_cuda_span {
    void *k, *v;
    float *k_scale, *v_scale; /* I8 only */
    int32_t row0, m;          /* rows of q and y, or of k and v to be stored */
    int32_t pos0, n_keys;     /* position of the first row; keys stored (attention) */
} nr_cuda_span;

/* Attention of all rows of all spans. Spans of one call have the same m, so that the launch needs
 * no look at them. */
typedef struct nr_cuda_attention_args {
    float *y;       /* [rows, n_heads * head_dim] */
    const float *q; /* [rows, n_heads * head_dim] */
    int64_t ldy, ldq;
    const nr_cuda_span *spans; /* device [n_spans] */
    int32_t n_spans, m;
    int32_t n_heads, n_kv_heads, head_dim, cap;
    int32_t n_keys_max; /* bound on every span's n_keys */
    nr_dtype dtype;     /* of keys and values: F32, F16, I8 */
    bool causal;        /* row i sees keys 0 .. pos0+i, else all n_keys */
    float scale;
    void *workspace;
    size_t workspace_bytes; /* at least nr_cuda_attention_workspace */
    int sm, n_multiprocessors;
    bool overlap; /* launched while the kernel before ends (sm_90); by the fast kernels */
    bool early;   /* as a linear's */
    /* Where cos_sin is given q is as if it had been rotated; it is not written. For what
     * nr_cuda_attention_rotates says. Where k is given, keys and values [rows, n_kv_heads *
     * head_dim] are stored first, as nr_cuda_kv_store does it; for what nr_cuda_attention_stores
     * says. Or, for what nr_cuda_attention_skips_cache says, they are used and the cache is not. */
    const float *k, *v;
    int64_t ldk;
    const int32_t *positions; /* device [rows] */
    const float *cos_sin;
    /* y is not written: nr_cuda_join_quantize makes it from what is left in the workspace. For what
     * nr_cuda_attention_joins says. */
    bool joined_later;
} nr_cuda_attention_args;
/* An i8 cache that a fast kernel is for; of those, one row a span, causal. */
bool nr_cuda_attention_rotates(const nr_cuda_attention_args *args);
bool nr_cuda_attention_stores(const nr_cuda_attention_args *args);
/* Of what stores: heads of 128 values, rows behind one another, all of them at once, sm_90. */
bool nr_cuda_attention_joins(const nr_cuda_attention_args *args);
/* One span, not causal, over an f32 cache that a fast kernel is for; k and v have all its keys. */
bool nr_cuda_attention_skips_cache(const nr_cuda_attention_args *args);
cudaError_t nr_cuda_attention(const nr_cuda_attention_args *args, cudaStream_t stream);
/* Enough for any n_heads * head_dim up to values_max and n_keys_max up to keys_max; with more, one
 * launch does more rows or heads. */
size_t nr_cuda_attention_workspace(int64_t values_max, int64_t keys_max, int n_multiprocessors);
/* As the reference computes it, bit for bit. */
cudaError_t nr_cuda_attention_plain(const nr_cuda_attention_args *args, cudaStream_t stream);
size_t nr_cuda_attention_plain_workspace(int64_t keys_max, int n_multiprocessors);

/* Store rows of keys and values. */
typedef struct nr_cuda_kv_store_args {
    const float *k, *v; /* [rows, n_kv_heads * head_dim] */
    int64_t ldk, ldv;
    const nr_cuda_span *spans; /* device [n_spans] */
    int32_t n_spans, m;
    int32_t n_kv_heads, head_dim, cap;
    nr_dtype dtype;
    /* Where cos_sin is given: keys rotated on the way, n_heads of q in place, rows ldk apart. */
    float *q;
    const int32_t *positions; /* device [n_spans * m] */
    const float *cos_sin;
    int32_t n_heads;
    bool overlap, early; /* as above */
} nr_cuda_kv_store_args;
cudaError_t nr_cuda_kv_store(const nr_cuda_kv_store_args *args, cudaStream_t stream);

/* RMS norm where beta is NULL and `layer` is false. y may be x. */
typedef struct nr_cuda_norm_args {
    float *y;
    const float *x, *gamma, *beta;
    int32_t m, d;
    float eps;
    bool layer;
} nr_cuda_norm_args;
cudaError_t nr_cuda_norm(const nr_cuda_norm_args *args, cudaStream_t stream);

typedef struct nr_cuda_embed_args {
    float *y;
    int64_t ldy;
    const int32_t *ids; /* device [m] */
    int32_t m, n_in, k_pad, n_out_pad, n_outliers;
    nr_dtype dtype;
    const void *weights;
    const float *scale;
    const int32_t *outlier_columns;
    const float *outlier_weights;
} nr_cuda_embed_args;
cudaError_t nr_cuda_embed(const nr_cuda_embed_args *args, cudaStream_t stream);

cudaError_t nr_cuda_activate(float *y, int64_t n, nr_activation activation, cudaStream_t stream);
cudaError_t nr_cuda_gated(float *y, const float *gate_up, int64_t m, int32_t f,
                          nr_activation activation, cudaStream_t stream);
/* rows: device [m] */
cudaError_t nr_cuda_add_rows(float *y, int64_t ldy, const float *table, const int32_t *rows,
                             int64_t m, int32_t d, cudaStream_t stream);

typedef struct nr_cuda_rope_args {
    float *x;
    int64_t ldx;
    const int32_t *positions; /* device [m] */
    int32_t m, n_heads, head_dim;
    const float *cos_sin;
} nr_cuda_rope_args;
cudaError_t nr_cuda_rope(const nr_cuda_rope_args *args, cudaStream_t stream);

cudaError_t nr_cuda_patchify(float *y, const float *pixels, int32_t side_h, int32_t side_w,
                             int32_t patch, cudaStream_t stream);
/* index[i] = lowest index of the largest of the n values of row i. */
typedef struct nr_cuda_argmax_args {
    const float *rows[NR_CUDA_SPANS_MAX];
    int32_t n_rows, n;
    int32_t *index; /* [n_rows], device or pinned host memory */
} nr_cuda_argmax_args;
cudaError_t nr_cuda_argmax(const nr_cuda_argmax_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
