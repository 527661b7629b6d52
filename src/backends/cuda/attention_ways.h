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

/* On tensor cores, near the reference (attention_fixed.cuh); the two give the same bits for a row,
 * whatever m. i8 caches with heads of up to 128 values, a multiple of 16; `tile` also one span of
 * an f32 cache, not causal, heads of up to 96 values, a multiple of 4. cudaErrorInvalidValue else,
 * and where the workspace has no room for a head (tile) or a row (split). split: for few rows. */
bool nr_cuda_attention_tile_fits(const nr_cuda_attention_args *a);
cudaError_t nr_cuda_attention_tile(const nr_cuda_attention_args *a, cudaStream_t stream);
cudaError_t nr_cuda_attention_split(const nr_cuda_attention_args *a, cudaStream_t stream);
/* The f32 caches of `tile` with heads of up to 64 values, on Hopper (attention_halves.cu); rows of
 * a block: 64, 128, or 0 for what suits. The bits are the same for any, not those of `tile`. */
bool nr_cuda_attention_halves_fits(const nr_cuda_attention_args *a);
cudaError_t nr_cuda_attention_halves(const nr_cuda_attention_args *a, int rows,
                                     cudaStream_t stream);
/* The i8 caches of `tile`, on Hopper; its bits. */
bool nr_cuda_attention_codes_fits(const nr_cuda_attention_args *a);
cudaError_t nr_cuda_attention_codes(const nr_cuda_attention_args *a, cudaStream_t stream);
/* A record: so many keys of a head, of so many values. */
#define NR_CUDA_HALVES_KEYS 64
#define NR_CUDA_HALVES_DIM 64
#define NR_CUDA_HALVES_RECORD (4 * NR_CUDA_HALVES_KEYS * NR_CUDA_HALVES_DIM * 2 + 128)
/* What these want at least. */
size_t nr_cuda_attention_fast_workspace(int64_t values_max, int64_t keys_max);

#ifdef __cplusplus
}
#endif

#endif
