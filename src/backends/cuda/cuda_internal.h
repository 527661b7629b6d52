/* SPDX-License-Identifier: MIT
 *
 * cuda_internal.h - what the files of the CUDA device share.
 *
 * An op of the table becomes a record (nr_cuda_op) in a list. Outside a step (nr_backend_begin and
 * _end) the list is run at once and waited for; inside, records gather and run together at its end:
 * as one launch of a captured graph where a step of the same shape came before, else one after the
 * other. What changes from step to step while shapes stay - ids, positions, where keys lie - is not
 * in the records but in one block of parameters that is copied to the device in front.
 *
 * Records of consecutive rows are merged as they come (32 sequences attend in one launch).
 */
#ifndef NR_CUDA_INTERNAL_H
#define NR_CUDA_INTERNAL_H

#include "cuda_kernels.h"

#define NR_CUDA_OPS_MAX 4096
#define NR_CUDA_PARAMS_BYTES ((size_t)1 << 20)
#define NR_CUDA_STAGING_BYTES ((size_t)4 << 20)
#define NR_CUDA_GRAPHS_MAX 48
#define NR_CUDA_RANGES_MAX 300 /* arenas alive: one a session, and a few */
#define NR_CUDA_ALIGN ((size_t)256)
/* What scratch is sized for, so that a plan is the same on every card; a larger one is used as if
 * it had as many. */
#define NR_CUDA_MULTIPROCESSORS_MAX 144

typedef enum nr_cuda_kind {
    NR_CUDA_LINEAR_I8,
    NR_CUDA_LINEAR_F32,
    NR_CUDA_RESIDUAL,
    NR_CUDA_ACTIVATE,
    NR_CUDA_EMBED,
    NR_CUDA_NORM,
    NR_CUDA_GATED,
    NR_CUDA_ADD_ROWS,
    NR_CUDA_ROPE,
    NR_CUDA_KV_STORE,
    NR_CUDA_ATTENTION,
    NR_CUDA_PATCHIFY,
    NR_CUDA_COPY
} nr_cuda_kind;

/* What is computed on the way to a linear's codes: the op whose result its x is. */
typedef enum nr_cuda_before {
    NR_CUDA_BEFORE_NONE,
    NR_CUDA_BEFORE_NORM,     /* op.norm */
    NR_CUDA_BEFORE_GATED,    /* op.x, op.act */
    NR_CUDA_BEFORE_ATTENTION /* the record in front, joined_later */
} nr_cuda_before;

/* Zeroed before it is filled: it is hashed as bytes. */
typedef struct nr_cuda_op {
    nr_cuda_kind kind;
    int32_t act, rows, cols;
    float *y;
    const float *x;
    int64_t n, ldy; /* n: values; COPY: bytes */
    nr_cuda_before before; /* LINEAR_I8 */
    nr_cuda_norm_args norm; /* NORM, and LINEAR_I8 behind one */
    nr_cuda_quantize_args quantize; /* LINEAR_I8, RESIDUAL */
    union {
        nr_cuda_linear_i8_args i8;
        nr_cuda_linear_f32_args f32;
        nr_cuda_embed_args embed;
        nr_cuda_rope_args rope;
        nr_cuda_kv_store_args kv_store;
        nr_cuda_attention_args attention;
        const int32_t *add_rows; /* device, rows of the table */
    } u;
} nr_cuda_op;

typedef struct nr_cuda_graph_key {
    uint64_t a, b;
} nr_cuda_graph_key;

typedef struct nr_cuda_graph {
    nr_cuda_graph_key key;
    uint64_t used_at;     /* 0: free */
    cudaGraphExec_t exec; /* NULL: the shape was seen once and not captured yet */
} nr_cuda_graph;

typedef struct nr_cuda_range {
    size_t offset, bytes;
} nr_cuda_range;

/* Device memory that ops share: parameters, and a region that each op lays out anew. */
typedef struct nr_cuda_scratch {
    uint8_t *params;
    uint8_t *region;
    size_t region_bytes;
} nr_cuda_scratch;

typedef struct nr_cuda_stats {
    uint64_t n_steps, n_graph_launches, n_captures, n_kernels;
} nr_cuda_stats;

typedef struct nr_cuda_backend {
    nr_backend base;
    int device;
    bool plan_only; /* sizes alone: no context, no card */
    bool plain;     /* the plain kernels, bit-equal to the reference */
    int32_t exact_attention_max; /* values of a row, all heads, to which attention is exact */
    bool overlap;   /* launches begin while the one before ends (sm_90) */
    bool early;     /* and of few rows let the next one begin at once */
    bool graphs;
    int sm, n_multiprocessors;
    char isa[16], card[64], pci[24];
    cudaStream_t stream;
    cudaEvent_t copied; /* the parameters have left the host's block */
    nr_error error;     /* the first failure of the device; everything stops there */
    bool error_lock;    /* while several threads load */
    /* memory */
    uint8_t *block; /* what the plan reserved */
    size_t block_bytes, outside_bytes; /* outside: arenas that found no room in it */
    nr_cuda_range ranges[NR_CUDA_RANGES_MAX]; /* taken, ascending */
    int n_ranges;
    uint8_t *staging;     /* pinned [NR_CUDA_STAGING_BYTES] */
    uint8_t *params;      /* pinned [NR_CUDA_PARAMS_BYTES] */
    int32_t *result;      /* pinned [NR_BATCH_MAX], which the card writes itself */
    uint64_t context_bytes;
    void *nvml;           /* library, or NULL */
    void *nvml_device;
    nr_cuda_scratch scratch;
    /* the step */
    nr_cuda_op *ops; /* owns [NR_CUDA_OPS_MAX] */
    int n_ops;
    size_t params_used;
    size_t ints_at, ints_bytes; /* ids or positions pushed last, so that they are pushed once */
    bool in_step, flushed;
    nr_cuda_graph cache[NR_CUDA_GRAPHS_MAX];
    uint64_t clock;
    nr_cuda_stats stats;
} nr_cuda_backend;

static inline nr_cuda_backend *nr_cuda_self(nr_backend *be) {
    return (nr_cuda_backend *)be;
}

/* ---- errors: true when call succeeded; else the first failure is kept */
bool nr_cuda_ok(nr_cuda_backend *be, cudaError_t status, const char *what);

/* ---- cuda_memory.c */
nr_status nr_cuda_reserve(nr_backend *be, size_t bytes, nr_error *err);
nr_status nr_cuda_arena_alloc(nr_backend *be, nr_arena *a, const char *what, nr_error *err);
void nr_cuda_arena_free(nr_backend *be, nr_arena *a);
void nr_cuda_upload(nr_backend *be, void *dst, const void *host_src, size_t bytes);
void nr_cuda_download(nr_backend *be, void *host_dst, const void *src, size_t bytes);
void nr_cuda_pack_rows(nr_backend *be, nr_linear *w, int32_t row0, int32_t n_rows,
                       const void *host_rows);
size_t nr_cuda_scratch_bytes(const nr_backend *be, int64_t rows_max, int64_t n_in_max,
                             int64_t keys_max);
void nr_cuda_set_scratch(nr_backend *be, void *scratch, size_t bytes);
/* Where codes, scales and spikes of args->m rows lie in the region; returns the bytes taken. */
size_t nr_cuda_place_codes(nr_cuda_quantize_args *args, uint8_t *region);
nr_status nr_cuda_open_memory(nr_cuda_backend *be, nr_error *err);
void nr_cuda_close_memory(nr_cuda_backend *be);

/* ---- cuda_nvml.c: the driver's own account, where libnvidia-ml.so.1 is there */
void nr_cuda_nvml_open(nr_cuda_backend *be);
void nr_cuda_nvml_close(nr_cuda_backend *be);
/* Bytes in use on the whole card, and by this process; 0 where it does not say. */
void nr_cuda_nvml_used(const nr_cuda_backend *be, uint64_t *card, uint64_t *process);

/* ---- cuda_step.c */
void nr_cuda_begin(nr_backend *be);
void nr_cuda_end(nr_backend *be);
/* A zeroed record at the end of the list. */
nr_cuda_op *nr_cuda_record(nr_cuda_backend *be, nr_cuda_kind kind);
/* The record is complete: outside a step it runs now. */
void nr_cuda_submit(nr_cuda_backend *be);
/* Run what has gathered and wait for it. */
void nr_cuda_flush(nr_cuda_backend *be);
/* The last record if it is of this kind, else NULL. */
nr_cuda_op *nr_cuda_last(nr_cuda_backend *be, nr_cuda_kind kind);
/* Room for `bytes` of parameters before the next record: flushes when there is none. */
void nr_cuda_need_params(nr_cuda_backend *be, size_t bytes);
/* Copy parameters; returns where they will lie on the device. */
const void *nr_cuda_push(nr_cuda_backend *be, const void *host, size_t bytes);
/* The same behind those pushed last, without a gap; false when `at` is not where they end. */
bool nr_cuda_push_behind(nr_cuda_backend *be, const void *at, const void *host, size_t bytes);
/* ids or positions: those of the last call are not pushed again. */
const int32_t *nr_cuda_push_ints(nr_cuda_backend *be, const int32_t *host, int64_t n);
void nr_cuda_drop_graphs(nr_cuda_backend *be);
nr_cuda_graph_key nr_cuda_hash(const void *bytes, size_t n);

/* ---- cuda_fuse.c: before a list is run */
void nr_cuda_fuse(nr_cuda_backend *be);

/* ---- cuda_run.c */
cudaError_t nr_cuda_run(nr_cuda_backend *be, const nr_cuda_op *op);

#endif
