/* SPDX-License-Identifier: MIT
 *
 * cuda_step.c - see cuda_internal.h: the list of records, its parameters, and graphs of lists that
 * came before. A shape is captured when it is seen for the second time, so that prompts of odd
 * lengths cost no captures. Graphs hold device pointers of arenas: they are dropped when one is
 * freed.
 */
#include "cuda_internal.h"

#include <stdio.h>
#include <string.h>

#define PARAMS_ALIGN ((size_t)16)

bool nr_cuda_ok(nr_cuda_backend *be, cudaError_t status, const char *what) {
    if (status == cudaSuccess) return true;
    if (be->error.status == NR_STATUS_OK)
        nr_error_set(&be->error, NR_STATUS_DEVICE, __FILE__, __LINE__, "%s: %s: %s", be->card, what,
                     cudaGetErrorString(status));
    return false;
}

/* Four multiplicative lanes side by side over words of eight bytes, folded into two. The copy's
 * size is spelled out and the lanes unrolled, so that they stay in registers: a token's 57 KB took
 * 16 us without, 3 us with it, and the card has nothing to do meanwhile. */
nr_cuda_graph_key nr_cuda_hash(const void *bytes, size_t n) {
    static const uint64_t factors[4] = {0xff51afd7ed558ccdu, 0xc4ceb9fe1a85ec53u,
                                        0x9fb21c651e98df25u, 0xd6e8feb86659fd93u};
    uint64_t lanes[4] = {0x9e3779b97f4a7c15u ^ n, 0xc2b2ae3d27d4eb4fu, 0x165667b19e3779f9u, n};
    const uint8_t *p = bytes;
    for (; n > 0; p += 32) {
        uint64_t words[4] = {0};
        size_t take = NR_MIN(n, sizeof words);
        if (take == sizeof words) memcpy(words, p, sizeof words);
        else memcpy(words, p, take);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            lanes[i] = (lanes[i] ^ words[i]) * factors[i];
            lanes[i] ^= lanes[i] >> 29;
        }
        n -= take;
    }
    nr_cuda_graph_key key = {lanes[0], lanes[1]};
    for (int i = 2; i < 4; i++) { /* every lane reaches both */
        key.a = (key.a ^ lanes[i]) * factors[i - 2];
        key.b = (key.b + lanes[i] + (key.a >> 32)) * factors[i];
    }
    key.a ^= key.b >> 31;
    return key;
}

/* ---- recording ---- */

nr_cuda_op *nr_cuda_last(nr_cuda_backend *be, nr_cuda_kind kind) {
    nr_cuda_op *last = be->n_ops > 0 ? &be->ops[be->n_ops - 1] : NULL;
    return last && last->kind == kind ? last : NULL;
}

nr_cuda_op *nr_cuda_record(nr_cuda_backend *be, nr_cuda_kind kind) {
    if (be->n_ops == NR_CUDA_OPS_MAX) nr_cuda_flush(be);
    nr_cuda_op *op = &be->ops[be->n_ops++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    return op;
}

void nr_cuda_submit(nr_cuda_backend *be) {
    if (!be->in_step) nr_cuda_flush(be);
}

void nr_cuda_need_params(nr_cuda_backend *be, size_t bytes) {
    NR_ASSERT(bytes + PARAMS_ALIGN <= NR_CUDA_PARAMS_BYTES);
    if (be->params_used + bytes + PARAMS_ALIGN > NR_CUDA_PARAMS_BYTES) nr_cuda_flush(be);
}

const void *nr_cuda_push(nr_cuda_backend *be, const void *host, size_t bytes) {
    size_t at = nr_round_up(be->params_used, PARAMS_ALIGN);
    NR_ASSERT(at + bytes <= NR_CUDA_PARAMS_BYTES);
    memcpy(be->params + at, host, bytes);
    be->params_used = at + bytes;
    return be->scratch.params + at;
}

bool nr_cuda_push_behind(nr_cuda_backend *be, const void *at, const void *host, size_t bytes) {
    if (at != be->scratch.params + be->params_used) return false;
    if (be->params_used + bytes > NR_CUDA_PARAMS_BYTES) return false;
    memcpy(be->params + be->params_used, host, bytes);
    be->params_used += bytes;
    return true;
}

const int32_t *nr_cuda_push_ints(nr_cuda_backend *be, const int32_t *host, int64_t n) {
    size_t bytes = (size_t)n * sizeof *host;
    if (be->ints_bytes == bytes && memcmp(be->params + be->ints_at, host, bytes) == 0)
        return (const int32_t *)(const void *)(be->scratch.params + be->ints_at);
    nr_cuda_need_params(be, bytes);
    const int32_t *at = nr_cuda_push(be, host, bytes);
    be->ints_at = be->params_used - bytes;
    be->ints_bytes = bytes;
    return at;
}

/* ---- running ---- */

static void clear(nr_cuda_backend *be) {
    be->n_ops = 0;
    be->params_used = be->ints_bytes = 0;
}

static bool send_params(nr_cuda_backend *be) {
    if (be->params_used == 0) return true;
    return nr_cuda_ok(be,
                      cudaMemcpyAsync(be->scratch.params, be->params, be->params_used,
                                      cudaMemcpyHostToDevice, be->stream),
                      "copying parameters") &&
           nr_cuda_ok(be, cudaEventRecord(be->copied, be->stream), "recording an event");
}

static bool run_list(nr_cuda_backend *be) {
    static const char *const names[] = {
        "INT8 linear", "f32 linear", "residual",     "activation", "embedding", "norm", "gate",
        "positions",   "rotation",   "storing keys", "attention",  "patches",   "copy"};
    for (int i = 0; i < be->n_ops; i++) {
        be->stats.n_kernels++;
        if (!nr_cuda_ok(be, nr_cuda_run(be, &be->ops[i]), names[be->ops[i].kind])) return false;
    }
    return true;
}

static void run_directly(nr_cuda_backend *be) {
    if (be->error.status == NR_STATUS_OK && send_params(be)) (void)run_list(be);
}

void nr_cuda_flush(nr_cuda_backend *be) {
    if (be->n_ops == 0) return;
    run_directly(be);
    if (be->error.status == NR_STATUS_OK)
        nr_cuda_ok(be, cudaStreamSynchronize(be->stream), "computing");
    be->flushed = true;
    clear(be);
}

void nr_cuda_begin(nr_backend *base) {
    nr_cuda_backend *be = nr_cuda_self(base);
    NR_ASSERT(!be->in_step && be->n_ops == 0);
    if (be->error.status == NR_STATUS_OK) {
        nr_cuda_ok(be, cudaSetDevice(be->device), "choosing the card");
        nr_cuda_ok(be, cudaEventSynchronize(be->copied), "waiting for parameters");
    }
    be->in_step = true;
    be->flushed = false;
}

/* ---- graphs ---- */

static nr_cuda_graph *find_graph(nr_cuda_backend *be, nr_cuda_graph_key key) {
    for (int i = 0; i < NR_CUDA_GRAPHS_MAX; i++) {
        nr_cuda_graph *g = &be->cache[i];
        if (g->used_at && g->key.a == key.a && g->key.b == key.b) return g;
    }
    return NULL;
}

static void drop_graph(nr_cuda_graph *g) {
    if (g->exec) (void)cudaGraphExecDestroy(g->exec);
    *g = (nr_cuda_graph){0};
}

/* The place of the graph that was not used for longest. */
static nr_cuda_graph *remember(nr_cuda_backend *be, nr_cuda_graph_key key) {
    nr_cuda_graph *oldest = &be->cache[0];
    for (int i = 1; i < NR_CUDA_GRAPHS_MAX; i++)
        if (be->cache[i].used_at < oldest->used_at) oldest = &be->cache[i];
    drop_graph(oldest);
    oldest->key = key;
    return oldest;
}

void nr_cuda_drop_graphs(nr_cuda_backend *be) {
    for (int i = 0; i < NR_CUDA_GRAPHS_MAX; i++) drop_graph(&be->cache[i]);
}

static bool capture(nr_cuda_backend *be, nr_cuda_graph *g) {
    cudaGraph_t graph = NULL;
    if (!nr_cuda_ok(be, cudaStreamBeginCapture(be->stream, cudaStreamCaptureModeThreadLocal),
                    "beginning a graph"))
        return false;
    bool done = run_list(be);
    done = nr_cuda_ok(be, cudaStreamEndCapture(be->stream, &graph), "ending a graph") && done;
    if (done)
        done = nr_cuda_ok(be, cudaGraphInstantiate(&g->exec, graph, 0), "making a graph ready");
    if (graph) (void)cudaGraphDestroy(graph);
    be->stats.n_captures += done;
    return done;
}

static void run_step(nr_cuda_backend *be) {
    nr_cuda_graph_key key = nr_cuda_hash(be->ops, (size_t)be->n_ops * sizeof *be->ops);
    nr_cuda_graph *g = find_graph(be, key);
    bool known = g != NULL;
    if (!known) g = remember(be, key);
    g->used_at = ++be->clock;
    if (!known) {
        run_directly(be);
        return;
    }
    if (!g->exec && !capture(be, g)) return;
    if (send_params(be)) nr_cuda_ok(be, cudaGraphLaunch(g->exec, be->stream), "launching a graph");
    be->stats.n_graph_launches++;
}

void nr_cuda_end(nr_backend *base) {
    nr_cuda_backend *be = nr_cuda_self(base);
    NR_ASSERT(be->in_step);
    be->in_step = false;
    be->stats.n_steps++;
    if (be->error.status == NR_STATUS_OK && be->n_ops > 0) {
        if (!be->plain) nr_cuda_fuse(be);
        if (be->flushed || !be->graphs)
            run_directly(be);
        else
            run_step(be);
    }
    clear(be);
}
