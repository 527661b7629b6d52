/* SPDX-License-Identifier: MIT
 *
 * cuda_launch.cuh - a launch that may begin while the kernel before ends (programmatic dependent
 * launch, sm_90): the kernel waits by itself (wait_for_launch_before) where that one's results are
 * needed. Without `overlap` an ordinary launch.
 */
#ifndef NR_CUDA_LAUNCH_CUH
#define NR_CUDA_LAUNCH_CUH

#include "cuda_ptx.cuh"

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

#endif
