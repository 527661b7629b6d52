/* SPDX-License-Identifier: MIT
 *
 * cuda_products.cuh - Hopper's tensor cores for attention: products of a warpgroup whose left side
 * is in registers, of halves (f16) and of codes; a copy of the engine's that needs no map; floats
 * as sums of two halves. Instructions of sm_90a alone, as cuda_hopper.cuh has them; the lab's
 * emulation stands in on a host.
 *
 * A float is the sum of two halves but for 2^-22 of it, where it lies between 2^-3 and 2^15: the
 * first has its upper 11 bits, the second what is left.
 */
#ifndef NR_CUDA_PRODUCTS_CUH
#define NR_CUDA_PRODUCTS_CUH

#include "cuda_hopper.cuh"

#ifndef NR_CUDA_EMULATED
#ifdef NR_HOPPER

#define PTX static __device__ __forceinline__

/* Two floats, rounded to even, as halves of a word. */
PTX uint32_t pack_halves(float low, float high) {
    uint32_t word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}

/* bytes (a multiple of 16) from 16-aligned global memory to this block's shared memory, 16-aligned;
 * they count for the barrier. By one thread. */
PTX void bulk_load(void *shared, const void *global, uint64_t *barrier, int32_t bytes) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

/* d[64 x 64] = (add ? d : 0) + a[64 x 16] b, halves, added up in float. Lane 4g+t of warp w has of
 * a the values 2t, 2t+1 of row 16w+g (a[0]) and of row 16w+g+8 (a[1]), and those 8 further on in
 * a[2], a[3]; d as for `product`. b: a tile of 64 rows of 128 bytes. ACROSS: its 16 rows from the
 * descriptor on are the k of the product, so that 64 values of each row are the columns; else
 * its rows are the columns, and 32 bytes of each from the descriptor on the k. */
template <bool ACROSS>
PTX void product_halves(float d[32], const uint32_t a[4], uint64_t b, int32_t add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
                 REGISTERS_32
                 "}, {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}"
                 : OPERANDS_32("+f")
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(ACROSS));
}

/* d[64 x N] = (add ? d : 0) + a[64 x 32] b[N x 32]^T, codes. Lane 4g+t of warp w has of a the
 * bytes 4t..4t+3 of row 16w+g (a[0]) and of row 16w+g+8 (a[1]), and those 16 further on in a[2],
 * a[3]; d as for `product`. */
template <int N> PTX void product_codes(int32_t *d, const uint32_t a[4], uint64_t b, int32_t add);

template <>
__device__ __forceinline__ void product_codes<32>(int32_t *d, const uint32_t a[4], uint64_t b,
                                                  int32_t add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k32.s32.s8.s8 {"
                 REGISTERS_16
                 "}, {%16,%17,%18,%19}, %20, p;\n}"
                 : OPERANDS_16("+r")
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

template <>
__device__ __forceinline__ void product_codes<64>(int32_t *d, const uint32_t a[4], uint64_t b,
                                                  int32_t add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 {"
                 REGISTERS_32
                 "}, {%32,%33,%34,%35}, %36, p;\n}"
                 : OPERANDS_32("+r")
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

/* Where columns of a product lie: not swizzled, 8 columns by 16 bytes of k in a row; the 8 next
 * columns 128 bytes further on, the 16 next bytes of k `k_step` bytes. */
PTX uint64_t columns_descriptor(const void *columns, uint32_t k_step) {
    uint64_t at = (shared_address(columns) & 0x3ffffu) >> 4;
    return at | (uint64_t)(k_step >> 4) << 16 | (uint64_t)(128 >> 4) << 32;
}

/* What this thread has stored in shared memory, or waited for, may be used by products; then all
 * of the block must meet. */
PTX void shared_stored(void) {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Sums are read after this, and after product_wait: the compiler may not move them before it. */
template <int N> PTX void product_done(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}
template <int N> PTX void product_done(int32_t (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+r"(d[i])::"memory");
}

#undef PTX
#endif
#endif

#ifdef NR_HOPPER
/* x0 and x1 as two halves each. UP: the first is rounded to nearest; else down, so that the second
 * has x's sign: an instruction less. */
template <bool UP>
static __device__ __forceinline__ void split_floats(uint32_t *first, uint32_t *second, float x0,
                                                    float x1) {
    const uint32_t up = UP ? 0x1000u : 0u;
    const float h0 = __uint_as_float((__float_as_uint(x0) + up) & 0xffffe000u);
    const float h1 = __uint_as_float((__float_as_uint(x1) + up) & 0xffffe000u);
    *first = pack_halves(h0, h1);
    *second = pack_halves(__fsub_rn(x0, h0), __fsub_rn(x1, h1));
}
#endif

#endif
