/* SPDX-License-Identifier: MIT
 *
 * cuda_ptx.cuh - the machine's own instructions that CUDA C++ has no name for, a function each:
 * int8 tensor-core product, copies into shared memory that run on their own, loads that pass the L1
 * cache by, and the overlap of a launch with the one before. All of sm_80 and later; what is
 * Hopper's alone lies in cuda_hopper.cuh. On a host without a card the lab's emulation stands in
 * (NR_CUDA_EMULATED).
 */
#ifndef NR_CUDA_PTX_CUH
#define NR_CUDA_PTX_CUH

#include "cuda_math.cuh"

#ifndef NR_CUDA_EMULATED

#define PTX static __device__ __forceinline__

PTX uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* c[16x8] += a[16x32] b[32x8]. Lane 4g+t holds bytes 4t..4t+3 of k and 16 further on: a[0], a[2]
 * of row g, a[1], a[3] of row g+8, b[0], b[1] of column g; c[0], c[1] are row g, columns 2t, 2t+1,
 * c[2], c[3] row g+8. */
PTX void mma_s8(int32_t c[4], const uint32_t a[4], const uint32_t b[2]) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* 2^x to 2 units of the last place, by the table of the special function unit; denormals are 0. */
PTX float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 1 / x to 1 unit of the last place, of the same unit; denormals are 0. */
PTX float reciprocal_fast(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Four 8x16-byte matrices; lanes 8i..8i+7 give the rows of matrix i, each 16 bytes, and lane 4g+t
 * gets bytes 4t..4t+3 of row g of matrix i in r[i]. */
PTX void load_matrices(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}

/* The same, each matrix of 8x8 halves transposed: lane 4g+t gets column g of rows 2t, 2t+1. */
PTX void load_matrices_transposed(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row)));
}

/* 16 bytes to shared memory, or zeros where !valid (global is not read then). */
PTX void copy_16(void *shared, const void *global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}
/* 4 bytes, likewise. */
PTX void copy_4(void *shared, const void *global, bool valid) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(valid ? 4 : 0)
                 : "memory");
}
PTX void copy_commit(void) {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Until at most N of the groups that this thread committed are under way. */
template <int N> PTX void copy_wait(void) {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* 16 bytes that are read once: they leave the L1 cache to others. */
PTX uint4 load_once(const void *p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

/* A kernel launched to overlap the one before it waits here before it reads what that one wrote,
 * or writes anything; of no effect in an ordinary launch. */
PTX void wait_for_launch_before(void) {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/* From here on the next launch may begin, as far as its own wait. */
PTX void let_next_launch_begin(void) {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* N threads of the block (whole warps) meet at barrier ID, 1 to 15. */
template <int ID, int N> PTX void part_sync(void) {
    asm volatile("bar.sync %0, %1;" ::"n"(ID), "n"(N) : "memory");
}

/* Blocks of a cluster: all threads of all of them meet; a word of another one's shared memory, at
 * the place of `own` in this one's. Code for sm_90a; elsewhere nothing launches clusters. */
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
PTX void cluster_sync(void) {
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
PTX uint32_t cluster_word(const uint32_t *own, int rank) {
    uint32_t word;
    asm volatile("{\n.reg .u32 at;\nmapa.shared::cluster.u32 at, %1, %2;\n"
                 "ld.shared::cluster.u32 %0, [at];\n}"
                 : "=r"(word)
                 : "r"(shared_address(own)), "r"(rank)
                 : "memory");
    return word;
}
#else
PTX void cluster_sync(void) {}
PTX uint32_t cluster_word(const uint32_t *own, int rank) {
    (void)rank;
    return *own;
}
#endif

#undef PTX
#endif
#endif
