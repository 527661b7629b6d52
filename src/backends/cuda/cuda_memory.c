/* SPDX-License-Identifier: MIT
 *
 * cuda_memory.c - memory on the card: one block that the plan reserves, arenas taken from it first
 * fit, host blocks that copies go through. An arena that finds no room in the block (there is none
 * in tests; more sessions than were planned) gets memory of its own.
 */
#include "cuda_internal.h"

#include "nr_alloc.h"

#include <string.h>

nr_status nr_cuda_reserve(nr_backend *base, size_t bytes, nr_error *err) {
    nr_cuda_backend *be = nr_cuda_self(base);
    size_t free_bytes = 0, total = 0;
    void *block = NULL;
    NR_ASSERT(!be->block);
    (void)cudaMemGetInfo(&free_bytes, &total);
    cudaError_t status = cudaMalloc(&block, bytes);
    if (status != cudaSuccess) (void)cudaGetLastError(); /* not a lasting one */
    NR_FAIL_IF(status != cudaSuccess, NO_MEMORY, "%s refused %zu bytes: %zu of %zu are free (%s)",
               be->card, bytes, free_bytes, total, cudaGetErrorString(status));
    be->block = block;
    be->block_bytes = bytes;
    return NR_STATUS_OK;
}

/* First gap of the block that is large enough; NULL: there is none. */
static uint8_t *take_range(nr_cuda_backend *be, size_t bytes) {
    size_t at = 0;
    int i = 0;
    if (be->n_ranges == NR_CUDA_RANGES_MAX) return NULL;
    for (; i < be->n_ranges && be->ranges[i].offset - at < bytes; i++)
        at = be->ranges[i].offset + be->ranges[i].bytes;
    if (at > be->block_bytes || be->block_bytes - at < bytes) return NULL;
    memmove(&be->ranges[i + 1], &be->ranges[i], (size_t)(be->n_ranges - i) * sizeof *be->ranges);
    be->ranges[i] = (nr_cuda_range){at, bytes};
    be->n_ranges++;
    return be->block + at;
}

static bool give_range(nr_cuda_backend *be, const uint8_t *base) {
    for (int i = 0; i < be->n_ranges; i++) {
        if (be->block + be->ranges[i].offset != base) continue;
        be->n_ranges--;
        memmove(&be->ranges[i], &be->ranges[i + 1],
                (size_t)(be->n_ranges - i) * sizeof *be->ranges);
        return true;
    }
    return false;
}

nr_status nr_cuda_arena_alloc(nr_backend *base, nr_arena *a, const char *what, nr_error *err) {
    nr_cuda_backend *be = nr_cuda_self(base);
    NR_ASSERT(!a->base && !be->plan_only);
    NR_FAIL_IF(a->overflow, LIMIT, "%s: planned size does not fit 64 bits", what);
    size_t bytes = nr_round_up(NR_MAX(a->used, (size_t)1), NR_CUDA_ALIGN);
    uint8_t *block = take_range(be, bytes);
    if (!block) {
        cudaError_t status = cudaMalloc((void **)&block, bytes);
        if (status != cudaSuccess) (void)cudaGetLastError();
        NR_FAIL_IF(status != cudaSuccess, NO_MEMORY, "%s: %s refused %zu bytes (%s)", what,
                   be->card, bytes, cudaGetErrorString(status));
        be->outside_bytes += bytes;
    }
    a->base = block;
    a->cap = bytes;
    a->used = 0;
    a->borrowed = true; /* no red zones in what the host cannot touch */
    bool zeroed = nr_cuda_ok(be, cudaMemsetAsync(block, 0, bytes, be->stream), "clearing memory") &&
                  nr_cuda_ok(be, cudaStreamSynchronize(be->stream), "clearing memory");
    if (zeroed) return NR_STATUS_OK;
    if (err) *err = be->error;
    nr_cuda_arena_free(base, a);
    return NR_STATUS_DEVICE;
}

void nr_cuda_arena_free(nr_backend *base, nr_arena *a) {
    nr_cuda_backend *be = nr_cuda_self(base);
    if (a->base) {
        (void)cudaStreamSynchronize(be->stream);
        nr_cuda_drop_graphs(be);
        if (!give_range(be, a->base)) {
            (void)cudaFree(a->base);
            be->outside_bytes -= a->cap;
        }
    }
    *a = (nr_arena){0};
}

/* ---- copies ---- */

void nr_cuda_upload(nr_backend *base, void *dst, const void *host_src, size_t bytes) {
    nr_cuda_backend *be = nr_cuda_self(base);
    nr_cuda_flush(be);
    for (size_t at = 0; at < bytes && be->error.status == NR_STATUS_OK;) {
        size_t n = NR_MIN(bytes - at, NR_CUDA_STAGING_BYTES);
        memcpy(be->staging, (const uint8_t *)host_src + at, n);
        if (nr_cuda_ok(be,
                       cudaMemcpyAsync((uint8_t *)dst + at, be->staging, n, cudaMemcpyHostToDevice,
                                       be->stream),
                       "copying to the card"))
            nr_cuda_ok(be, cudaStreamSynchronize(be->stream), "copying to the card");
        at += n;
    }
}

/* What cannot be read is zeros: nobody computes with leftovers. */
void nr_cuda_download(nr_backend *base, void *host_dst, const void *src, size_t bytes) {
    nr_cuda_backend *be = nr_cuda_self(base);
    nr_cuda_flush(be);
    if (be->error.status == NR_STATUS_OK &&
        nr_cuda_ok(be, cudaMemcpyAsync(host_dst, src, bytes, cudaMemcpyDeviceToHost, be->stream),
                   "copying from the card"))
        nr_cuda_ok(be, cudaStreamSynchronize(be->stream), "computing");
    if (be->error.status != NR_STATUS_OK) memset(host_dst, 0, bytes);
}

/* Any number of loading threads at once: no state but the first error, and they wait for their own
 * copy. */
void nr_cuda_pack_rows(nr_backend *base, nr_linear *w, int32_t row0, int32_t n_rows,
                       const void *host_rows) {
    nr_cuda_backend *be = nr_cuda_self(base);
    bool is_i8 = w->dtype == NR_DTYPE_I8;
    size_t row = (size_t)w->n_in * (is_i8 ? 1 : sizeof(float));
    size_t pitch = is_i8 ? (size_t)nr_cuda_k_pad(w->n_in) : row;
    NR_ASSERT(row0 % NR_LINEAR_ROWS_STEP == 0 && row0 + n_rows <= w->n_out);
    cudaError_t status = cudaSetDevice(be->device);
    if (status == cudaSuccess)
        status = cudaMemcpy2DAsync((uint8_t *)w->weights + (size_t)row0 * pitch, pitch, host_rows,
                                   row, row, (size_t)n_rows, cudaMemcpyHostToDevice, be->stream);
    if (status == cudaSuccess) status = cudaStreamSynchronize(be->stream);
    if (status == cudaSuccess) return;
    while (__atomic_exchange_n(&be->error_lock, true, __ATOMIC_ACQUIRE)) continue;
    nr_cuda_ok(be, status, "copying weights to the card");
    __atomic_store_n(&be->error_lock, false, __ATOMIC_RELEASE);
}

/* ---- scratch ---- */

size_t nr_cuda_place_codes(nr_cuda_quantize_args *q, uint8_t *region) {
    nr_arena a = nr_arena_within(region, SIZE_MAX / 4);
    size_t m = (size_t)q->m;
    q->codes = nr_arena_take(&a, m, (size_t)q->k_pad);
    q->sx = nr_arena_take(&a, m, sizeof *q->sx);
    q->spike_col = nr_arena_take(&a, m * NR_CUDA_SPIKES, sizeof *q->spike_col);
    q->spike_val = nr_arena_take(&a, m * NR_CUDA_SPIKES, sizeof *q->spike_val);
    return nr_round_up(a.used, NR_CUDA_ALIGN);
}

static size_t place_fixed(nr_cuda_scratch *s, uint8_t *base) {
    nr_arena a = nr_arena_within(base, SIZE_MAX / 4);
    s->params = nr_arena_take(&a, NR_CUDA_PARAMS_BYTES, 1);
    return nr_round_up(a.used, NR_CUDA_ALIGN);
}

size_t nr_cuda_scratch_bytes(const nr_backend *be, int64_t rows_max, int64_t n_in_max,
                             int64_t keys_max) {
    const int n = NR_CUDA_MULTIPROCESSORS_MAX;
    nr_cuda_scratch unused;
    nr_cuda_quantize_args codes = {.m = (int32_t)rows_max,
                                   .k_pad = nr_cuda_k_pad((int32_t)n_in_max)};
    size_t linear = nr_cuda_place_codes(&codes, NULL);
    size_t attention = nr_cuda_attention_workspace(n_in_max, keys_max, n);
    (void)be;
    return place_fixed(&unused, NULL) + NR_MAX(linear, attention) + NR_CUDA_ALIGN;
}

/* Scratch is aligned as arenas are; kernels want more. */
void nr_cuda_set_scratch(nr_backend *base, void *scratch, size_t bytes) {
    nr_cuda_scratch *s = &nr_cuda_self(base)->scratch;
    uint8_t *begin = scratch, *aligned;
    aligned = begin + (NR_CUDA_ALIGN - (uintptr_t)begin % NR_CUDA_ALIGN) % NR_CUDA_ALIGN;
    size_t fixed = place_fixed(s, aligned) + (size_t)(aligned - begin);
    NR_ASSERT(fixed < bytes);
    s->region = begin + fixed;
    s->region_bytes = bytes - fixed;
}

/* ---- open, close ---- */

nr_status nr_cuda_open_memory(nr_cuda_backend *be, nr_error *err) {
    be->ops = nr_calloc(NR_CUDA_OPS_MAX, sizeof *be->ops);
    NR_FAIL_IF(!be->ops, NO_MEMORY, "list of %d ops", NR_CUDA_OPS_MAX);
    bool ok = nr_cuda_ok(be, cudaHostAlloc((void **)&be->staging, NR_CUDA_STAGING_BYTES, 0),
                         "taking host memory for copies") &&
              nr_cuda_ok(be, cudaHostAlloc((void **)&be->params, NR_CUDA_PARAMS_BYTES, 0),
                         "taking host memory for parameters") &&
              nr_cuda_ok(be, cudaHostAlloc((void **)&be->result, NR_CUDA_ALIGN, 0),
                         "taking host memory for results");
    if (ok) return NR_STATUS_OK;
    if (err) *err = be->error;
    return NR_STATUS_DEVICE;
}

void nr_cuda_close_memory(nr_cuda_backend *be) {
    if (be->staging) (void)cudaFreeHost(be->staging);
    if (be->params) (void)cudaFreeHost(be->params);
    if (be->result) (void)cudaFreeHost(be->result);
    if (be->block) (void)cudaFree(be->block);
    nr_free(be->ops);
}
