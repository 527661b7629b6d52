/* SPDX-License-Identifier: MIT
 * emulate.cc - see emulate.h. Fibers are switched by hand: a stack pointer and the six registers
 * that a call keeps. */
#include "emulate.h"

#include <deque>
#include <sys/mman.h>
#include <vector>

emulate_index threadIdx, blockIdx;
dim3 blockDim, gridDim;
#define CLUSTER_MAX 8
static uint8_t shared_storage[CLUSTER_MAX][EMULATE_SHARED_BYTES + 1024];
uint8_t *emulate_shared;

#define STACK_BYTES (256 * 1024)
#define BARRIERS 16

struct fiber {
    void *sp;
    bool done;
    uint8_t *stack;
};
struct rendezvous {
    int arrived, phase;
};
static fiber fibers[EMULATE_THREADS_MAX];
static rendezvous barriers[CLUSTER_MAX][BARRIERS], cluster_barrier;
static struct {
    rendezvous meet;
    uint8_t slots[2][32][64]; /* in turns: a fast lane must not overwrite what others still read */
} warps[EMULATE_THREADS_MAX / 32];
static int n_threads, n_done, current; /* of the blocks that run at once */
static int block_threads, block_done[CLUSTER_MAX];
static void *scheduler_sp;
static const std::function<void()> *kernel_body;
static long idle_turns;

extern "C" void emulate_switch(void **save, void *load);
asm(".text\n.globl emulate_switch\nemulate_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");

int emulate_thread(void) {
    return current % block_threads;
}

void emulate_yield(void) {
    if (++idle_turns > 200000000L) {
        fprintf(stderr, "emulate: threads wait for one another (block %u, thread %d)\n", blockIdx.x,
                current);
        abort();
    }
    emulate_switch(&fibers[current].sp, scheduler_sp);
}

static void fiber_main(void) {
    (*kernel_body)();
    fibers[current].done = true;
    n_done++;
    block_done[current / block_threads]++;
    emulate_switch(&fibers[current].sp, scheduler_sp);
    abort();
}

/* n 0: all of the block that still run. */
static void meet(rendezvous *r, int n) {
    int phase = r->phase;
    r->arrived++;
    while (r->phase == phase) {
        if (r->arrived >= (n ? n : block_threads - block_done[current / block_threads])) {
            r->arrived = 0;
            r->phase++;
            idle_turns = 0;
            break;
        }
        emulate_yield();
    }
}

void emulate_barrier(int id, int n) {
    meet(&barriers[current / block_threads][id], n);
}

void emulate_cluster_sync(void) {
    meet(&cluster_barrier, n_threads);
}

uint8_t *emulate_shared_of(int rank) {
    return (uint8_t *)(((uintptr_t)shared_storage[rank] + 1023) / 1024 * 1024);
}

void emulate_exchange(const void *mine, size_t bytes, uint8_t all[32][64]) {
    auto &w = warps[current / 32];
    int lanes = block_threads - current % block_threads / 32 * 32;
    uint8_t(*slots)[64] = w.slots[w.meet.phase & 1];
    memcpy(slots[current & 31], mine, bytes);
    meet(&w.meet, lanes < 32 ? lanes : 32);
    memcpy(all, slots, 32 * 64);
}

/* Copies into shared memory land when they are waited for, not before: what reads too early or
 * overwrites what is still read shows. */
struct pending_copy {
    uint8_t *to;
    uint8_t bytes[16];
    size_t n;
};
static std::vector<std::deque<std::vector<pending_copy>>> groups(EMULATE_THREADS_MAX);

static void start_fiber(int i) {
    fiber *f = &fibers[i];
    if (!f->stack) f->stack = (uint8_t *)malloc(STACK_BYTES);
    void **top = (void **)(f->stack + STACK_BYTES - 64);
    *--top = NULL; /* as if called: the stack is 8 off a multiple of 16 at entry */
    *--top = (void *)fiber_main;
    for (int r = 0; r < 6; r++) *--top = NULL;
    f->sp = top;
    f->done = false;
}

static void run_block(void) {
    n_done = 0;
    memset(block_done, 0, sizeof block_done);
    memset(barriers, 0, sizeof barriers);
    cluster_barrier = rendezvous();
    memset(warps, 0, sizeof warps);
    for (auto &g : groups) g.clear();
    for (int r = 0; r < n_threads / block_threads; r++)
        memset(shared_storage[r], 0xa5, sizeof shared_storage[r]);
    const unsigned first_block = blockIdx.x;
    for (int i = 0; i < n_threads; i++) start_fiber(i);
    while (n_done < n_threads)
        for (int i = 0; i < n_threads; i++) {
            if (fibers[i].done) continue;
            current = i;
            unsigned rank = (unsigned)(i / block_threads), t = (unsigned)(i % block_threads);
            blockIdx.x = first_block + rank;
            emulate_shared = emulate_shared_of((int)rank);
            threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y,
                         t / blockDim.x / blockDim.y};
            emulate_switch(&scheduler_sp, fibers[i].sp);
        }
}

void emulate_launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &body) {
    emulate_clusters(grid, block, shared_bytes, body, 1);
}

void emulate_clusters(dim3 grid, dim3 block, size_t shared_bytes,
                      const std::function<void()> &body, unsigned cluster) {
    if (shared_bytes > EMULATE_SHARED_BYTES || cluster > CLUSTER_MAX || grid.x % cluster ||
        block.x * block.y * block.z * cluster > EMULATE_THREADS_MAX) {
        fprintf(stderr, "emulate: %zu bytes of shared memory, %u threads\n", shared_bytes, block.x);
        abort();
    }
    gridDim = grid;
    blockDim = block;
    block_threads = (int)(block.x * block.y * block.z);
    n_threads = block_threads * (int)cluster;
    kernel_body = &body;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x += cluster) {
                blockIdx = {x, y, z};
                run_block();
            }
}

void emulate_copy(void *to, const void *from, size_t bytes) {
    auto &g = groups[current];
    if (g.empty()) g.emplace_back();
    pending_copy c;
    c.to = (uint8_t *)to;
    c.n = bytes;
    if (from) memcpy(c.bytes, from, bytes);
    else memset(c.bytes, 0, bytes);
    memset(to, 0xee, bytes);
    g.back().push_back(c);
}

void emulate_copy_commit(void) {
    auto &g = groups[current];
    if (g.empty()) g.emplace_back();
    g.emplace_back();
}

void emulate_copy_wait(size_t n) {
    auto &g = groups[current];
    for (; g.size() > n + 1; g.pop_front())
        for (const pending_copy &c : g.front()) memcpy(c.to, c.bytes, c.n);
}

extern "C" {
cudaError_t CUDARTAPI cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetLastError(void) { return cudaSuccess; }
cudaError_t CUDARTAPI cudaDeviceSynchronize(void) { return cudaSuccess; }
const char *CUDARTAPI cudaGetErrorString(cudaError_t) { return "error"; }
cudaError_t CUDARTAPI cudaFuncSetAttribute(const void *, cudaFuncAttribute, int) {
    return cudaSuccess;
}
/* Fewer than the launch wants, so that blocks take turns. */
cudaError_t CUDARTAPI cudaOccupancyMaxActiveClusters(int *n, const void *,
                                                     const cudaLaunchConfig_t *config) {
    *n = max(1, 4 / (int)config->attrs[0].val.clusterDim.x);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemset(void *p, int v, size_t n) {
    memset(p, v, n);
    return cudaSuccess;
}
}

/* lab_fill.cu's, from the same counter. */
#include "lab.h"
void lab_fill_codes(int8_t *out, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) out[i] = (int8_t)(nr_rng_u64(seed, 2, i) % 255) - 127;
}
void lab_fill_floats(float *out, size_t n, float low, float high, uint64_t seed) {
    for (size_t i = 0; i < n; i++) out[i] = low + (high - low) * nr_rng_uniform(seed, 3, i);
}

extern "C" {
/* The block ends with its page: what reads past it faults. */
cudaError_t CUDARTAPI cudaMalloc(void **p, size_t n) {
    size_t page = 4096, bytes = (n + page - 1) / page * page;
    uint8_t *m = (uint8_t *)mmap(NULL, bytes + page, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) return cudaErrorMemoryAllocation;
    mprotect(m + bytes, page, PROT_NONE);
    *p = m + (bytes - (n + 15) / 16 * 16);
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind) {
    memcpy(to, from, n);
    return cudaSuccess;
}
}
