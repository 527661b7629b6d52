/* SPDX-License-Identifier: MIT
 *
 * attention_ways.h - the ways to compute attention, for nr_cuda_attention to choose from and for
 * the lab to compare.
 */
#ifndef NR_ATTENTION_WAYS_H
#define NR_ATTENTION_WAYS_H

#include "cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bit-equal to the reference: a block a row of a head. Falls back on nr_cuda_attention_plain. */
cudaError_t nr_cuda_attention_row(const nr_cuda_attention_args *a, cudaStream_t stream);

/* On tensor cores, near the reference; the two give the same bits for a row, whatever m. i8 caches,
 * and f32 ones where not causal (not `one`); heads of up to 128 values, a multiple of 4.
 * cudaErrorInvalidValue else. */
bool nr_cuda_attention_tile_fits(const nr_cuda_attention_args *a);
cudaError_t nr_cuda_attention_tile(const nr_cuda_attention_args *a, cudaStream_t stream);
cudaError_t nr_cuda_attention_one(const nr_cuda_attention_args *a, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
