/* SPDX-License-Identifier: MIT
 * fast_absent.cu - the launchers of the fast kernels, while only the plain ones are there. */
#include "cuda_kernels.h"

cudaError_t nr_cuda_linear_i8(const nr_cuda_linear_i8_args *args, cudaStream_t stream) {
    return nr_cuda_linear_i8_plain(args, stream);
}

size_t nr_cuda_linear_i8_workspace(int64_t rows_max, int n_multiprocessors) {
    (void)rows_max, (void)n_multiprocessors;
    return 0;
}

cudaError_t nr_cuda_attention(const nr_cuda_attention_args *args, cudaStream_t stream) {
    return nr_cuda_attention_plain(args, stream);
}

size_t nr_cuda_attention_workspace(int64_t rows_max, int64_t keys_max, int n_multiprocessors) {
    (void)rows_max, (void)keys_max, (void)n_multiprocessors;
    return 0;
}
