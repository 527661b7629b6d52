/* SPDX-License-Identifier: MIT
 *
 * cuda_overlap.cuh - small kernels between large ones: launched while the one before still runs, so
 * that their own start costs nothing, and letting the next one begin at once, which reads its
 * weights ahead. What the kernel before wrote may be read behind overlap_wait(), and nothing may be
 * written before it. On cards before sm_90 launches are ordinary and both calls do nothing.
 */
#ifndef NR_CUDA_OVERLAP_CUH
#define NR_CUDA_OVERLAP_CUH

#include "cuda_math.cuh"

static __device__ __forceinline__ void overlap_wait(void) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

static __device__ __forceinline__ void overlap_release(void) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

template <typename A>
static cudaError_t overlap_launch(void (*kernel)(A), const A &args, dim3 grid, dim3 block,
                                  size_t shared_bytes, bool overlap, cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = overlap ? 1 : 0;
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    return cudaLaunchKernelEx(&config, kernel, args);
}

#endif
