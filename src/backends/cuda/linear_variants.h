/* SPDX-License-Identifier: MIT
 *
 * linear_variants.h - the ways to compute an i8 linear, for nr_cuda_linear_i8 to choose from and
 * for the lab to compare. All give the same bits. Launchers neither allocate nor synchronise; they
 * return cudaErrorInvalidValue where the shape or the card is not theirs.
 */
#ifndef NR_LINEAR_VARIANTS_H
#define NR_LINEAR_VARIANTS_H

#include "cuda_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NR_CUDA_STREAM_ROWS_MAX 64

/* Weights from memory straight into registers, each byte once; m <= NR_CUDA_STREAM_ROWS_MAX,
 * k_pad a multiple of 16. overlap: launch while the kernel before still runs (sm_90). */
cudaError_t nr_cuda_linear_i8_stream(const nr_cuda_linear_i8_args *a, bool overlap,
                                     cudaStream_t stream);
/* One of nr_cuda_stream_ways() ways to do it, for the lab; cudaErrorInvalidValue where m is not
 * for it (8 rows for the first five, 32 for the others). */
int nr_cuda_stream_ways(void);
cudaError_t nr_cuda_linear_i8_stream_way(const nr_cuda_linear_i8_args *a, int way,
                                         cudaStream_t stream);
/* Tiles of 128x128 (or 64x64 where small) in shared memory, mma.sync; any m, k_pad a multiple of
 * 16. workspace holds nr_cuda_tile_workspace bytes, or is NULL (slower). */
cudaError_t nr_cuda_linear_i8_tile(const nr_cuda_linear_i8_args *a, bool small,
                                   cudaStream_t stream);
size_t nr_cuda_tile_workspace(int n_multiprocessors);
/* Hopper's own way, sm == 90; any m, k_pad a multiple of 16. rows: tokens of a tile (64, 128, 160,
 * 208), 0: what suits the shape. workspace holds nr_cuda_wgmma_workspace bytes. */
cudaError_t nr_cuda_linear_i8_wgmma(const nr_cuda_linear_i8_args *a, int rows,
                                    cudaStream_t stream);
size_t nr_cuda_wgmma_workspace(int n_multiprocessors);

#ifdef __cplusplus
}
#endif

#endif
