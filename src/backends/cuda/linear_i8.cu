/* SPDX-License-Identifier: MIT
 *
 * linear_i8.cu - which of the ways to compute an i8 linear is taken, by the number of rows, the
 * shape and the card. All give the same bits, so the choice is about time alone.
 */
#include "linear_variants.h"

/* Blocks of 128x128 would leave more than a fifth of the card idle. */
static bool small_tiles_pay(const nr_cuda_linear_i8_args *a) {
    int64_t tiles = (int64_t)((a->n_out + 127) / 128) * ((a->m + 127) / 128);
    return tiles * 5 < (int64_t)a->n_multiprocessors * 4;
}

cudaError_t nr_cuda_linear_i8(const nr_cuda_linear_i8_args *a, cudaStream_t stream) {
    if (nr_cuda_ring_fits(a)) return nr_cuda_linear_i8_ring(a, -1, stream);
    if (a->m > 8 && nr_cuda_wgmma_fits(a)) return nr_cuda_linear_i8_wgmma(a, -1, stream);
    if (a->m <= NR_CUDA_STREAM_ROWS_MAX && a->k_pad % 16 == 0)
        return nr_cuda_linear_i8_stream(a, stream);
    if (nr_cuda_tiles_fit(a)) return nr_cuda_linear_i8_tile(a, small_tiles_pay(a), stream);
    return nr_cuda_linear_i8_plain(a, stream);
}
