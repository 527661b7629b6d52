/* SPDX-License-Identifier: MIT
 *
 * cuda_launch.cuh - a launch that may begin while the kernel before ends (programmatic dependent
 * launch, sm_90): the kernel waits by itself (meet_neighbours) where that one's results are needed.
 * Without `overlap` an ordinary launch.
 */
#ifndef NR_CUDA_LAUNCH_CUH
#define NR_CUDA_LAUNCH_CUH

#include "cuda_ptx.cuh"

/* The wait for the launch before, before anything is read that it wrote or anything is written;
 * and the word to the launch behind that it may begin as far as its own wait. early: before this
 * one's wait, so that a chain of launches is ready at once; each of them waits for the one before,
 * so when one goes on all before it are done. */
V_INLINE void meet_neighbours(bool early) {
    if (early) let_next_launch_begin();
    wait_for_launch_before();
    if (!early) let_next_launch_begin();
}

/* Kernels that are to be on a multiprocessor together must agree on how much of its memory is
 * shared, or the second waits until the first is gone: all of it. It is set with every launch, as it
 * costs those who load much through the L1 cache (an H200's linear_i8_gemv.cu 2.1 to 2.9 ms a
 * token). */
template <typename... P> static cudaError_t share_multiprocessor(void (*kernel)(P...), bool share) {
    return cudaFuncSetAttribute((const void *)kernel,
                                cudaFuncAttributePreferredSharedMemoryCarveout,
                                share ? cudaSharedmemCarveoutMaxShared
                                      : cudaSharedmemCarveoutDefault);
}

template <typename... P, typename... A>
static cudaError_t launch_kernel(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                                 bool overlap, cudaStream_t stream, const A &...args) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = overlap;
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    return cudaLaunchKernelEx(&config, kernel, args...);
}

/* The same, on multiprocessors that are shared with launches in front or behind where `share`. */
template <typename... P, typename... A>
static cudaError_t launch_beside(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                                 bool overlap, bool share, cudaStream_t stream, const A &...args) {
    cudaError_t e = share_multiprocessor(kernel, overlap && share);
    return e == cudaSuccess ? launch_kernel(kernel, grid, block, shared, overlap, stream, args...)
                            : e;
}

#endif
