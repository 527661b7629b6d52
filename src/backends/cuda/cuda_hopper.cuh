/* SPDX-License-Identifier: MIT
 *
 * cuda_hopper.cuh - instructions of sm_90a alone: barriers in shared memory, the engine that copies
 * tiles, and the product of a warpgroup (four warps) straight from shared memory. A kernel that
 * uses them is empty when compiled for another card (NR_HOPPER).
 *
 * Tiles have 128 or 64 bytes a row and lie at multiples of 8 rows, swizzled as the engine does it:
 * the 16-byte chunk c of row r lies at r * 128 + (c ^ (r & 7)) * 16 or r * 64 + (c ^ (r >> 1 & 3)) *
 * 16.
 */
#ifndef NR_CUDA_HOPPER_CUH
#define NR_CUDA_HOPPER_CUH

#include "cuda_ptx.cuh"

#ifndef NR_CUDA_EMULATED

#include <cuda.h>

typedef CUtensorMap tile_map;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define NR_HOPPER 1

#define PTX static __device__ __forceinline__

PTX void barrier_init(uint64_t *b, int32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals)
                 : "memory");
}
/* After barrier_init, before anyone uses them. */
PTX void barrier_init_done(void) {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
PTX void barrier_arrive(uint64_t *b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
/* The place in another block of the cluster that is `own` in this one. */
template <typename T> PTX T *cluster_place(T *own, int rank) {
    uint64_t there;
    asm volatile("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"((uint64_t)own), "r"(rank));
    return (T *)there;
}
/* Arrive at the barrier of that place in another block of the cluster. It orders what this thread
 * has read before what comes there, no more: an arrival that showed its writes would wait for all
 * of the thread's stores to memory. */
PTX void barrier_arrive_at(uint64_t *b, int rank) {
    asm volatile("{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [at];\n}" ::"r"(
                     shared_address(b)),
                 "r"(rank)
                 : "memory");
}
/* The same, and what this thread has written, there too, is seen by those who wait with
 * barrier_wait_for_cluster. */
PTX void barrier_show_at(uint64_t *b, int rank) {
    asm volatile("{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %0, %1;\n"
                 "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [at];\n}" ::"r"(
                     shared_address(b)),
                 "r"(rank)
                 : "memory");
}
PTX void barrier_wait_for_cluster(uint64_t *b, uint32_t parity) {
    asm volatile("{\n.reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra.uni over;\n"
                 "bra.uni again;\n"
                 "over:\n}" ::"r"(shared_address(b)),
                 "r"(parity)
                 : "memory");
}
/* Arrive, and let the phase last until so many bytes have come. */
PTX void barrier_expect(uint64_t *b, int32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
                 "r"(bytes)
                 : "memory");
}
/* Has the phase of this parity ended? The same answer for all lanes of a warp. */
PTX bool barrier_passed(uint64_t *b, uint32_t parity) {
    uint32_t passed;
    asm volatile("{\n.reg .pred done;\n"
                 "mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\n"
                 "selp.b32 %0, 1, 0, done;\n}"
                 : "=r"(passed)
                 : "r"(shared_address(b)), "r"(parity)
                 : "memory");
    return __shfl_sync(0xffffffffu, passed, 0);
}
/* Until the phase of this parity has ended. */
PTX void barrier_wait(uint64_t *b, uint32_t parity) {
    asm volatile("{\n.reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra.uni over;\n"
                 "bra.uni again;\n"
                 "over:\n}" ::"r"(shared_address(b)),
                 "r"(parity)
                 : "memory");
}

/* The tile of the map at column x (bytes), row y to shared memory; its bytes count for the
 * barrier. */
PTX void tile_load(void *shared, const tile_map *map, uint64_t *barrier, int32_t x, int32_t y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(shared)),
                 "l"((uint64_t)map), "r"(shared_address(barrier)), "r"(x), "r"(y)
                 : "memory");
}
/* Bytes of memory as they lie to shared memory, all multiples of 16; they count for the barrier. */
PTX void bulk_load(void *shared, const void *global, int32_t bytes, uint64_t *barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}
/* The tile to the L2 cache alone. */
PTX void tile_prefetch(const tile_map *map, int32_t x, int32_t y) {
    asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"((uint64_t)map),
                 "r"(x), "r"(y)
                 : "memory");
}
PTX void tile_prefetch_map(const tile_map *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"((uint64_t)map) : "memory");
}

/* Registers of this warpgroup's threads from here on, given back or taken; by all its warps. */
template <int N> PTX void registers_down_to(void) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> PTX void registers_up_to(void) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

/* Where a tile of STEP bytes a row lies, for the product: its swizzle, 8 rows a group. */
template <int STEP> PTX uint64_t tile_descriptor(const void *tile) {
    static_assert(STEP == 128 || STEP == 64, "a swizzle");
    uint64_t at = (shared_address(tile) & 0x3ffffu) >> 4;
    return at | (uint64_t)1 << 16 | (uint64_t)(8 * STEP >> 4) << 32 |
           (uint64_t)(STEP == 128 ? 1 : 2) << 62;
}

PTX void product_begin(void) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
PTX void product_commit(void) {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* Until at most N of the committed groups are under way. */
template <int N> PTX void product_wait(void) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* Registers d[0] .. d[N - 1] of a product: their names in its text, and as its operands of
 * constraint c. */
#define REGISTERS_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define REGISTERS_16 REGISTERS_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define REGISTERS_32 REGISTERS_16                                                                  \
    ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define REGISTERS_40 REGISTERS_32 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define REGISTERS_64 REGISTERS_40                                                                  \
    ",%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55"                             \
    ",%56,%57,%58,%59,%60,%61,%62,%63"
#define REGISTERS_80 REGISTERS_64                                                                  \
    ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define OPERANDS_FROM(c, i)                                                                        \
    c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3]),                                                \
        c(d[i + 4]), c(d[i + 5]), c(d[i + 6]), c(d[i + 7])
#define OPERANDS_8(c) OPERANDS_FROM(c, 0)
#define OPERANDS_16(c) OPERANDS_8(c), OPERANDS_FROM(c, 8)
#define OPERANDS_32(c) OPERANDS_16(c), OPERANDS_FROM(c, 16), OPERANDS_FROM(c, 24)
#define OPERANDS_40(c) OPERANDS_32(c), OPERANDS_FROM(c, 32)
#define OPERANDS_64(c)                                                                             \
    OPERANDS_40(c), OPERANDS_FROM(c, 40), OPERANDS_FROM(c, 48), OPERANDS_FROM(c, 56)
#define OPERANDS_80(c) OPERANDS_64(c), OPERANDS_FROM(c, 64), OPERANDS_FROM(c, 72)

/* d[64 x N] = (add ? d : 0) + a[64 x 32] b[N x 32]^T of a warpgroup. Warp w, lane 4g+t has rows
 * 16w+g (d[4j], d[4j+1]) and 16w+g+8 (d[4j+2], d[4j+3]) at columns 8j+2t, 8j+2t+1. */
template <int N> PTX void product(int32_t *d, uint64_t a, uint64_t b, int32_t add);

template <>
__device__ __forceinline__ void product<16>(int32_t *d, uint64_t a, uint64_t b, int32_t add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n16k32.s32.s8.s8 {"
                 REGISTERS_8
                 "}, %8, %9, p;\n}"
                 : OPERANDS_8("+r")
                 : "l"(a), "l"(b), "r"(add));
}

template <>
__device__ __forceinline__ void product<32>(int32_t *d, uint64_t a, uint64_t b, int32_t add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k32.s32.s8.s8 {"
                 REGISTERS_16
                 "}, %16, %17, p;\n}"
                 : OPERANDS_16("+r")
                 : "l"(a), "l"(b), "r"(add));
}

template <>
__device__ __forceinline__ void product<64>(int32_t *d, uint64_t a, uint64_t b, int32_t add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 {"
                 REGISTERS_32
                 "}, %32, %33, p;\n}"
                 : OPERANDS_32("+r")
                 : "l"(a), "l"(b), "r"(add));
}

template <>
__device__ __forceinline__ void product<80>(int32_t *d, uint64_t a, uint64_t b, int32_t add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %42, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n80k32.s32.s8.s8 {"
                 REGISTERS_40
                 "}, %40, %41, p;\n}"
                 : OPERANDS_40("+r")
                 : "l"(a), "l"(b), "r"(add));
}

template <>
__device__ __forceinline__ void product<128>(int32_t *d, uint64_t a, uint64_t b, int32_t add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {"
                 REGISTERS_64
                 "}, %64, %65, p;\n}"
                 : OPERANDS_64("+r")
                 : "l"(a), "l"(b), "r"(add));
}

template <>
__device__ __forceinline__ void product<160>(int32_t *d, uint64_t a, uint64_t b, int32_t add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %82, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n160k32.s32.s8.s8 {"
                 REGISTERS_80
                 "}, %80, %81, p;\n}"
                 : OPERANDS_80("+r")
                 : "l"(a), "l"(b), "r"(add));
}

#undef PTX
#endif /* sm_90a */
#endif
#endif
