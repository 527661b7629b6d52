/* SPDX-License-Identifier: MIT
 *
 * emulate.h - enough of a card on the host to run the kernels where there is none: every thread of
 * a block is a fiber, blocks run one after the other, warp operations and barriers are rendezvous
 * of fibers. It checks index arithmetic, barriers and fragments' layouts as the manuals state them;
 * it knows nothing of time, caches or races within a warp.
 *
 * translate.py turns k<<<...>>>(...) into EMULATE_LAUNCH and `extern __shared__` into a pointer;
 * everything else of CUDA that the kernels use is defined here.
 */
#ifndef EMULATE_H
#define EMULATE_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <functional>

#include <cuda_runtime_api.h>

#undef __global__
#undef __device__
#undef __shared__
#undef __host__
#undef __forceinline__
#undef __launch_bounds__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static
#ifndef __CUDACC__
#define NR_CUDA_EMULATED 1
#endif

#include <vector_functions.h>

#define EMULATE_SHARED_BYTES (256 * 1024)
#define EMULATE_THREADS_MAX 3072

struct emulate_index {
    unsigned x, y, z;
};
extern emulate_index threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
extern uint8_t *emulate_shared; /* dynamic shared memory, 1024-aligned */

/* Run the kernel body for every thread of every block; `cluster` blocks along x at once. */
void emulate_launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &body);
void emulate_clusters(dim3 grid, dim3 block, size_t shared_bytes,
                      const std::function<void()> &body, unsigned cluster);
void emulate_cluster_sync(void);
uint8_t *emulate_shared_of(int rank); /* of another block of the cluster */
void emulate_yield(void);          /* let other fibers run */
int emulate_thread(void);          /* linear index within the block */
void emulate_barrier(int id, int n_threads); /* named barrier; n_threads 0: all that still run */
/* Lanes exchange up to 64 bytes: all[32][64] holds what each lane gave when this returns. */
void emulate_exchange(const void *mine, size_t bytes, uint8_t all[32][64]);

#define EMULATE_LAUNCH(kernel, config, ...)                                                        \
    do {                                                                                           \
        emulate_config c_ config;                                                                  \
        emulate_launch(c_.grid, c_.block, c_.shared, [=]() { kernel(__VA_ARGS__); });              \
    } while (0)

struct emulate_config {
    dim3 grid, block;
    size_t shared;
    emulate_config(dim3 g, dim3 b, size_t s = 0, cudaStream_t = 0) : grid(g), block(b), shared(s) {}
};

/* As the runtime's; of the attributes, clusters alone. */
template <typename... P, typename... A>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *c, void (*kernel)(P...),
                                             const A &...args) {
    unsigned cluster = 1;
    for (unsigned i = 0; i < c->numAttrs; i++)
        if (c->attrs[i].id == cudaLaunchAttributeClusterDimension)
            cluster = c->attrs[i].val.clusterDim.x;
    emulate_clusters(c->gridDim, c->blockDim, c->dynamicSmemBytes, [=]() { kernel(args...); },
                     cluster);
    return cudaSuccess;
}

static inline void __syncthreads(void) { emulate_barrier(0, 0); }
static inline void __syncwarp(unsigned = ~0u) {
    uint8_t all[32][64];
    emulate_exchange("", 1, all);
}

template <typename T> static inline T emulate_lane(T x, int lane) {
    uint8_t all[32][64];
    emulate_exchange(&x, sizeof x, all);
    T r;
    memcpy(&r, all[lane & 31], sizeof r);
    return r;
}
template <typename T> static inline T __shfl_sync(unsigned, T x, int lane) {
    return emulate_lane(x, lane);
}
template <typename T> static inline T __shfl_xor_sync(unsigned, T x, int mask) {
    return emulate_lane(x, (emulate_thread() & 31) ^ mask);
}
template <typename T> static inline T __shfl_down_sync(unsigned, T x, int d) {
    int lane = emulate_thread() & 31;
    return emulate_lane(x, lane + d < 32 ? lane + d : lane);
}
template <typename T> static inline T __shfl_up_sync(unsigned, T x, int d) {
    int lane = emulate_thread() & 31;
    return emulate_lane(x, lane >= d ? lane - d : lane);
}
template <typename T, typename F> static inline T emulate_reduce(T x, F f) {
    uint8_t all[32][64];
    emulate_exchange(&x, sizeof x, all);
    T r, o;
    memcpy(&r, all[0], sizeof r);
    for (int i = 1; i < 32; i++) {
        memcpy(&o, all[i], sizeof o);
        r = f(r, o);
    }
    return r;
}
#define EMULATE_REDUCE(name, T, expr)                                                              \
    static inline T name(unsigned, T x) {                                                          \
        return emulate_reduce(x, [](T a, T b) -> T { return expr; });                              \
    }
EMULATE_REDUCE(__reduce_max_sync, uint32_t, a > b ? a : b)
EMULATE_REDUCE(__reduce_min_sync, uint32_t, a < b ? a : b)
EMULATE_REDUCE(__reduce_min_sync, int32_t, a < b ? a : b)
EMULATE_REDUCE(__reduce_add_sync, int32_t, a + b)
static inline unsigned __ballot_sync(unsigned, bool p) {
    uint8_t all[32][64], mine = p;
    emulate_exchange(&mine, 1, all);
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= (unsigned)all[i][0] << i;
    return r;
}

static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline uint32_t max(uint32_t a, uint32_t b) { return a > b ? a : b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline uint32_t __float_as_uint(float a) {
    uint32_t r;
    memcpy(&r, &a, 4);
    return r;
}
static inline float __uint_as_float(uint32_t a) {
    float r;
    memcpy(&r, &a, 4);
    return r;
}
static inline int __float2int_rn(float a) {
    return a >= -2147483648.0f && a < 2147483648.0f ? (int)nearbyintf(a) : 0;
}
static inline int __float_as_int(float a) { return (int)__float_as_uint(a); }
static inline float __int_as_float(int a) { return __uint_as_float((uint32_t)a); }
static inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 4; i++) c += (int)(int8_t)(a >> (8 * i)) * (int)(int8_t)(b >> (8 * i));
    return c;
}
static inline int __ffs(unsigned x) { return __builtin_ffs((int)x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t s) {
    uint8_t all[8];
    uint32_t r = 0;
    memcpy(all, &a, 4);
    memcpy(all + 4, &b, 4);
    for (int i = 0; i < 4; i++) r |= (uint32_t)all[(s >> (4 * i)) & 7] << (8 * i);
    return r;
}
static inline int atomicAdd(int *p, int x) {
    int old = *p;
    *p += x;
    return old;
}
static inline uint32_t atomicMax(uint32_t *p, uint32_t x) {
    uint32_t old = *p;
    if (x > old) *p = x;
    return old;
}
static inline uint32_t atomicOr(uint32_t *p, uint32_t x) {
    uint32_t old = *p;
    *p |= x;
    return old;
}
template <typename T> static inline T __ldg(const T *p) { return *p; }
static inline void __threadfence(void) {}

#endif
