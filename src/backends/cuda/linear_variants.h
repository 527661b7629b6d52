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
 * k_pad a multiple of 16. */
cudaError_t nr_cuda_linear_i8_stream(const nr_cuda_linear_i8_args *a, cudaStream_t stream);
/* Ways to do it, for the lab: `tiles of 16 weight rows a block, depth of a batch, blocks of a
 * multiprocessor`, x: activations come with a batch. For up to rows_max rows, which are set;
 * cudaErrorInvalidValue where m is more. */
int nr_cuda_stream_ways(void);
const char *nr_cuda_stream_way(int way, int *rows_max);
cudaError_t nr_cuda_linear_i8_stream_way(const nr_cuda_linear_i8_args *a, int way,
                                         cudaStream_t stream);
/* Weights through a ring in shared memory, which fills before the launch before has ended: sm 90,
 * up to 8 rows, what tiles need, and codes of the rows that leave room. way: one of
 * nr_cuda_ring_ways(), or -1 for what suits; one with room where the codes leave none. */
cudaError_t nr_cuda_linear_i8_ring(const nr_cuda_linear_i8_args *a, int way, cudaStream_t stream);
bool nr_cuda_ring_fits(const nr_cuda_linear_i8_args *a);
typedef struct nr_cuda_ring_way {
    int kb, window; /* of shared memory a block; stages on their way at most */
} nr_cuda_ring_way;
int nr_cuda_ring_ways(void);
const nr_cuda_ring_way *nr_cuda_ring_way_of(int way);
/* Tiles of 128x128 (or 64x64 where small) in shared memory, mma.sync; any m, and what tiles need. */
cudaError_t nr_cuda_linear_i8_tile(const nr_cuda_linear_i8_args *a, bool small,
                                   cudaStream_t stream);
/* Hopper's own: sm == 90, any m, and what tiles need. way: one of
 * nr_cuda_wgmma_ways(), or -1 for what suits the shape. */
cudaError_t nr_cuda_linear_i8_wgmma(const nr_cuda_linear_i8_args *a, int way, cudaStream_t stream);
bool nr_cuda_wgmma_fits(const nr_cuda_linear_i8_args *a);
typedef struct nr_cuda_tile_way {
    int outs, rows; /* weight rows and tokens of a tile */
    int split;      /* blocks of a cluster that share a tile's k */
} nr_cuda_tile_way;
int nr_cuda_wgmma_ways(void);
const nr_cuda_tile_way *nr_cuda_wgmma_way(int way);

/* What kernels with tiles in shared memory need: k_pad a multiple of 16, and no more outlier
 * columns (8 are the most that are chosen) and codes of k than they have room for; all rows have
 * all their spikes. */
#define NR_CUDA_TILE_OUTLIERS 8
#define NR_CUDA_TILE_K_MAX 16384
static inline bool nr_cuda_tiles_fit(const nr_cuda_linear_i8_args *a) {
    return a->k_pad % 16 == 0 && a->k_pad <= NR_CUDA_TILE_K_MAX &&
           a->n_outliers <= NR_CUDA_TILE_OUTLIERS && a->n_in >= a->n_outliers + NR_CUDA_SPIKES;
}

#ifdef __cplusplus
}
#endif

#endif
