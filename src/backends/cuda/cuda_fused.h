/* SPDX-License-Identifier: MIT
 *
 * cuda_fused.h - an op and the quantisation of its rows in one launch: a linear's input is read
 * from memory once, and a token has three launches fewer a layer. The same bits as the ops apart.
 * Each falls back on them where a row is too long or not a multiple of 4.
 *
 * The f32 rows are written too (a linear needs them in its outlier columns): to q->x.
 */
#ifndef NR_CUDA_FUSED_H
#define NR_CUDA_FUSED_H

#include "cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* overlap: launch while the kernel before still runs (sm_90 and later). */

/* norm->y is q->x, norm->d is q->n_in and q->ldx; then as nr_cuda_norm and nr_cuda_quantize. */
cudaError_t nr_cuda_norm_quantize(const nr_cuda_norm_args *norm, const nr_cuda_quantize_args *q,
                                  bool overlap, cudaStream_t stream);
/* q->x[m, f] = activation(gate_up[., 0..f)) * gate_up[., f..2f), f = q->n_in; q->x may be gate_up,
 * q->ldx then 2f. */
cudaError_t nr_cuda_gated_quantize(const float *gate_up, nr_activation activation,
                                   const nr_cuda_quantize_args *q, bool overlap,
                                   cudaStream_t stream);
/* q->x = y of `attention`, which was launched with joined_later; then as nr_cuda_quantize. For what
 * nr_cuda_attention_joins says; the codes must not lie in the workspace. */
cudaError_t nr_cuda_join_quantize(const nr_cuda_attention_args *attention,
                                  const nr_cuda_quantize_args *q, bool overlap,
                                  cudaStream_t stream);
/* As nr_cuda_quantize. */
cudaError_t nr_cuda_quantize_rows(const nr_cuda_quantize_args *q, bool overlap,
                                  cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
