/* SPDX-License-Identifier: MIT
 *
 * cpu_kernels.h - the microkernel table: what one thread does with a range of rows, heads or
 * panels. backend_cpu.c splits the work and owns no arithmetic; one table an instruction set owns
 * no threads and no memory. All tables give the same bits (backend.h fixes the order).
 *
 * A kernels_<isa>.c defines a 16-lane vector and its integer dot product, then includes
 * cpu_template.inc, which holds every op once and emits the table.
 */
#ifndef NR_CPU_KERNELS_H
#define NR_CPU_KERNELS_H

#include "backend.h"
#include "pack.h"
#include "nr_limits.h"
#include "quant.h"

/* Before a loop with a constant count of at most 8 inside a kernel: its arrays become registers. */
#if defined(__clang__)
#define NR_UNROLL _Pragma("unroll")
#else
#define NR_UNROLL _Pragma("GCC unroll 8")
#endif

/* One linear being computed: the arguments and, for i8, the quantised activations. */
typedef struct nr_linear_job {
    const nr_linear_args *args;
    uint8_t *xq;  /* [m, ldq] codes plus the table's code_offset; columns to round16(n_in) valid */
    int64_t ldq;  /* bytes between rows: nr_cpu_xq_stride(n_in) */
    float *scale; /* [m] */
    float *outliers; /* [m, NR_LINEAR_OUTLIERS_MAX] activations of the outlier columns */
    int32_t *spikes; /* [m, NR_QUANT_SPIKES] columns of the spikes, ascending, -1 last */
    float *spike_values; /* [m, NR_QUANT_SPIKES] activations there */
    bool past_caches;    /* y is written past the caches, and nothing of it is read */
} nr_linear_job;

/* Whole lines, plus one so that rows of 2^n bytes do not share a cache set. */
static inline int64_t nr_cpu_xq_stride(int64_t n_in) {
    return (n_in + 63) / 64 * 64 + 64;
}

/* Places from which the weights that come next are fetched in turn. */
#define NR_AHEAD_STREAMS 8

/* One tile of an i8 linear, as a kernel's dot_tile and dot_stream take it. */
typedef struct nr_dot {
    const nr_linear_job *job;
    int32_t *acc;           /* [rows][panels * 16] sums of code products */
    const uint8_t *xq;      /* [rows, ldq] */
    const int8_t *w;        /* the panels, panel_bytes apart, of n_k4 lines of 64 bytes */
    const int32_t *row_sum; /* [panels * 16] */
    int64_t ldq, panel_bytes, n_k4;
    const int8_t *ahead; /* weights soon needed: ahead_bytes of each of NR_AHEAD_STREAMS streams */
    int64_t ahead_bytes, ahead_step; /* ahead_step bytes from one stream to the next */
    int64_t row, panel; /* where the tile begins */
    int rows, panels;
    int finished;          /* rows whose outputs are written */
    struct nr_dot *before; /* the tile whose sums are there and whose outputs are not, or NULL */
    int shape; /* dot_tile's own, from one tile to the next; 0 at first */
} nr_dot;

typedef struct nr_cpu_kernels {
    const char *name;
    int row_tile;     /* rows of a linear tile: split points of m are multiples of it */
    int panel_tile;   /* panels of an i8 tile */
    int64_t block_bytes; /* codes of a block of rows: what the second-level cache holds */
    int stream_rows;  /* up to so many rows, i8 panels are streamed one by one */
    int attention_rows; /* query rows that share one pass over the keys */

    /* Codes, scales and outlier values of rows [row0, row1). */
    void (*quantize_rows)(const nr_linear_job *job, int64_t row0, int64_t row1);
    /* What quantising one row of activations loses: [n_in]. */
    void (*residual_row)(float *r, const float *x, const nr_linear *w);
    /* y for rows [row0, row1) and output panels [panel0, panel1), epilogue included. */
    void (*linear_i8)(const nr_linear_job *job, int64_t row0, int64_t row1, int64_t panel0,
                      int64_t panel1);
    void (*linear_f32)(const nr_linear_job *job, int64_t row0, int64_t row1, int64_t panel0,
                       int64_t panel1);
    void (*embed_row)(float *y, int32_t id, const nr_linear *table);
    void (*rms_norm)(float *y, const float *x, int64_t rows, int32_t d, const float *gamma,
                     float eps);
    void (*layer_norm)(float *y, const float *x, int64_t rows, int32_t d, const float *gamma,
                       const float *beta, float eps);
    void (*gated)(float *y, int64_t ldy, const float *gate_up, int64_t rows, int32_t f,
                  nr_activation activation);
    void (*activate)(float *y, int64_t n, nr_activation activation);
    void (*add_row)(float *y, const float *x, int32_t d);
    /* One row, all heads; c_s: head_dim/2 cosines, then as many sines. */
    void (*rope_row)(float *x, int32_t n_heads, int32_t head_dim, const float *c_s);
    /* One row of all kv heads at position pos. */
    void (*kv_store_row)(const nr_kv *kv, int32_t pos, const float *k, const float *v);
    /* One head, query rows [row0, row1). scratch: nr_cpu_attention_floats(...) floats. */
    void (*attention)(const nr_attention_args *a, int32_t head, int64_t row0, int64_t row1,
                      float *scratch);
    int32_t (*argmax)(const float *x, int32_t n);
} nr_cpu_kernels;

/* Scratch of one thread: scaled queries and scores of one tile of rows. */
static inline int64_t nr_cpu_attention_floats(int64_t rows, int64_t head_dim, int64_t keys) {
    return rows * ((head_dim + 15) / 16 * 16 + (keys + 15) / 16 * 16);
}

extern const nr_cpu_kernels nr_cpu_kernels_scalar;
#if defined(__x86_64__)
extern const nr_cpu_kernels nr_cpu_kernels_avx2;
extern const nr_cpu_kernels nr_cpu_kernels_avx512vnni;
extern const nr_cpu_kernels nr_cpu_kernels_amx;
#elif defined(__aarch64__)
extern const nr_cpu_kernels nr_cpu_kernels_neon;
#endif

/* The table called `name`, or the best this machine runs (NULL). Errors: ARG (no such table),
 * UNSUPPORTED (not in this build or not on this machine); both list what there is. */
nr_status nr_cpu_select(const char *name, const nr_cpu_kernels **out, nr_error *err);

#endif
