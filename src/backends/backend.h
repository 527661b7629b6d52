/* SPDX-License-Identifier: MIT
 *
 * backend.h - the device boundary: every number a model computes is computed behind this table.
 *
 * A model holds pointers into arenas that the backend allocated (host memory on the CPU, device
 * memory elsewhere) and never looks behind them; it calls ops in order on one thread. Ops work on
 * whole matrices of m rows, one row a token or patch; a row's result depends on that row alone
 * (attention: on that row and the keys it may see), so it is the same for any m, any thread count
 * and any instruction set, to the last bit.
 *
 * Order of arithmetic, fixed for every implementation:
 *   i8 linear   int32 sum of code products, exact; then the float epilogue described at nr_linear
 *   f32 linear  one fma a term, k ascending, starting from 0; then the same epilogue
 *   sums        (norms, softmax) 16 partial sums, lane i takes elements i, i+16, ...; then lanes
 *               are added pairwise: i with i+8, i+4, i+2, i+1
 *   exp, erf    the polynomials of src/backends/vec_math.inc, the same on every instruction set
 *
 * Rows: matrices are f32 row-major; `ld` is the distance between rows in elements. Sizes are
 * validated when a model is planned; ops assert them and cannot fail.
 */
#ifndef NR_BACKEND_H
#define NR_BACKEND_H

#include "dtype.h"
#include "nr_arena.h"

#define NR_LINEAR_ROWS_STEP 16   /* output rows of one packed panel: a vector of f32 or int32 */
#define NR_LINEAR_CODES_STEP 16  /* a row of i8 weights has room for a multiple of so many codes */
#define NR_LINEAR_OUTLIERS_MAX 32
#define NR_KV_BLOCK 16           /* keys of one packed key block */

typedef struct nr_backend nr_backend;

typedef enum nr_activation {
    NR_ACTIVATION_NONE,
    NR_ACTIVATION_RELU,
    NR_ACTIVATION_GELU,       /* x * 0.5 * (1 + erf(x / sqrt 2)) */
    NR_ACTIVATION_QUICK_GELU, /* x * sigmoid(1.702 x), CLIP's */
    NR_ACTIVATION_SILU        /* x * sigmoid(x) */
} nr_activation;

/* y = x W^T + bias. W is [n_out, n_in], packed by the backend in panels of 16 output rows:
 *   i8   [ceil(n_out/16)][ceil(n_in/4)][16][4]  codes in [-127, 127], zero padded
 *   f32  [ceil(n_out/16)][n_in][16]             zero padded
 * An i8 linear keeps its outlier columns (input features whose size would ruin the token's scale)
 * in float: their codes are zero in `weights`, the activation there is left out of the token's
 * scale, and the product is added in the epilogue:
 *   s      the spikes of the token: its 4 largest |x[k]| outside the outlier columns (quant.h),
 *          kept in float likewise, against the weights that the codes stand for
 *   xq[k]  = code of x[k] with scale sx = amax/127 over the columns that are neither
 *   acc    = sum_k xq[k] * wq[n][k]                      int32, exact
 *   y[n]   = float(acc) * (sx * scale[n])                or fma(float(acc), sx*scale[n], bias[n])
 *   y[n]   = fma(x[c_j], outlier_weights[j][n], y[n])    j = 0 .. n_outliers-1, in this order
 *   y[n]   = fma(x[s_j], float(wq[n][s_j]) * scale[n], y[n])   j ascending by column
 *   y[n]   = activation(y[n])
 *   y[n]   = residual[n] + y[n]
 * f32 starts from the fma chain and adds bias by +, then activation and residual as above. */
typedef struct nr_linear {
    nr_dtype dtype;           /* NR_DTYPE_I8 or NR_DTYPE_F32 */
    int32_t n_out, n_in;      /* n_in <= NR_REDUCTION_MAX */
    int32_t n_outliers;       /* 0 .. NR_LINEAR_OUTLIERS_MAX; 0 for f32 */
    void *weights;            /* packed as above */
    float *scale;             /* [round16(n_out)] i8 only */
    int32_t *row_sum;         /* [round16(n_out)] i8 only: sum of the row's codes */
    float *bias;              /* [round16(n_out)] or NULL */
    int32_t *outlier_columns; /* [n_outliers] ascending, or NULL */
    float *outlier_weights;   /* [n_outliers, round16(n_out)] or NULL */
} nr_linear;

/* Keys and values of one layer of one sequence, written by kv_store, read by attention.
 *   k  [n_kv_heads][cap/16][head_dim][16]       16 keys side by side: scores need no shuffles
 *   v  [n_kv_heads][cap][round16(head_dim)]     zero padded
 * I8 holds codes by nr_quantize_row (quant.h) and a scale for each position and head, so a position
 * is stored without a look at any other. Attention then computes
 *   score  = (fma chain over head_dim of the scaled query and the codes) * k_scale[key]
 *   weight = probability * v_scale[key], and the fma chain over keys of weight and codes */
typedef struct nr_kv {
    nr_dtype dtype; /* F32, F16 (round to nearest even, clamped to +-65504) or I8 */
    int32_t n_kv_heads, head_dim;
    int32_t cap; /* positions; a multiple of NR_KV_BLOCK */
    void *k, *v;
    float *k_scale, *v_scale; /* [n_kv_heads, cap], I8 only; else NULL */
} nr_kv;

typedef struct nr_linear_args {
    float *y;       /* [m, n_out] */
    const float *x; /* [m, n_in] */
    int64_t ldy, ldx, m;
    const nr_linear *linear;
    nr_activation activation;
    const float *residual; /* [m, n_out] with distance ldy, or NULL; may be y itself */
    bool x_spent; /* nobody reads x after this: what computes both at once need not write it */
} nr_linear_args;

typedef struct nr_attention_args {
    float *y;       /* [m, n_heads * head_dim] */
    const float *q; /* [m, n_heads * head_dim]; head h reads kv head h / (n_heads / n_kv_heads) */
    int64_t ldy, ldq, m;
    int32_t n_heads;
    const nr_kv *kv;
    int32_t n_keys; /* keys stored */
    int32_t pos0;   /* causal: row i sees keys 0 .. pos0+i, else all n_keys */
    bool causal;
    float scale;    /* multiplies q before the dot products */
} nr_attention_args;

/* What a device with memory of its own says of it. */
typedef struct nr_device_memory {
    char card[64];          /* "NVIDIA GeForce RTX 3090" */
    uint64_t total_bytes;   /* of the whole card, and what all programs on it use and leave; */
    uint64_t used_bytes, free_bytes; /* 0: unknown */
    uint64_t arena_bytes;   /* what the plan reserved, and arenas beside it */
    uint64_t context_bytes; /* what the driver takes for itself on top; 0: unknown */
    uint64_t process_bytes; /* of this process by the driver's account; 0: it does not say */
} nr_device_memory;

/* One table a device. `be` first; pointers are the device's. */
typedef struct nr_backend_ops {
    const char *name; /* "cpu", "cuda" */
    void (*close)(nr_backend *be);

    /* What only a device beside the host has; NULL where ops run when they are called in memory
     * that is the host's. Called through the functions nr_backend_... below.
     * begin, end: between them ops may be gathered and run together; host arrays that ops were
     * given (ids, positions) are copied at once. check: an op cannot fail; what befell the device
     * is kept, and told here from then on. reserve: takes the memory of all arenas beforehand,
     * once. memory: see nr_device_memory. */
    void (*begin)(nr_backend *be);
    void (*end)(nr_backend *be);
    nr_status (*check)(nr_backend *be, nr_error *err);
    nr_status (*reserve)(nr_backend *be, size_t bytes, nr_error *err);
    void (*memory)(const nr_backend *be, nr_device_memory *out);

    /* Memory. arena_alloc maps a measured arena in the device's memory and rewinds it. */
    nr_status (*arena_alloc)(nr_backend *be, nr_arena *a, const char *what, nr_error *err);
    void (*arena_free)(nr_backend *be, nr_arena *a);
    void (*upload)(nr_backend *be, void *dst, const void *host_src, size_t bytes);
    void (*download)(nr_backend *be, void *host_dst, const void *src, size_t bytes);
    void (*copy)(nr_backend *be, void *dst, const void *src, size_t bytes); /* within the device */
    /* Bytes of scratch that ops need for m <= rows_max, n_in <= n_in_max, and attention over
     * keys_max keys. set_scratch lends that much device memory to the backend. */
    size_t (*scratch_bytes)(const nr_backend *be, int64_t rows_max, int64_t n_in_max,
                            int64_t keys_max);
    void (*set_scratch)(nr_backend *be, void *scratch, size_t bytes);

    /* Write rows [row0, row0 + n_rows) of w->weights (and row_sum) from host rows [n_rows, n_in]:
     * i8 codes or f32, as w->dtype says. row0 is a multiple of 16; n_rows too, or up to n_out.
     * Unlike the other ops: any number of threads at once, on disjoint rows. */
    void (*pack_rows)(nr_backend *be, nr_linear *w, int32_t row0, int32_t n_rows,
                      const void *host_rows);

    void (*linear)(nr_backend *be, const nr_linear_args *args);
    /* What the codes of x lose: r[k] = fma(-code, sx, x[k]) with code and sx as the linear takes
     * them, 0 in its outlier columns and spikes. i8 only. r [m, n_in] without gaps; not x. */
    void (*quantize_residual)(nr_backend *be, float *r, const float *x, int64_t ldx, int64_t m,
                              const nr_linear *linear);
    /* y = activation(y)                              [n] values */
    void (*activate)(nr_backend *be, float *y, int64_t n, nr_activation activation);
    /* y[i] = row ids[i] of the table (i8: code * scale, outlier columns exact). ids are host. */
    void (*embed)(nr_backend *be, float *y, int64_t ldy, const int32_t *ids, int64_t m,
                  const nr_linear *table);
    /* y = x / sqrt(mean(x^2) + eps) * gamma        [m, d]; y may be x */
    void (*rms_norm)(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                     const float *gamma, float eps);
    /* y = (x - mean) / sqrt(var + eps) * gamma + beta; var as the mean of squared deviations */
    void (*layer_norm)(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                       const float *gamma, const float *beta, float eps);
    /* y[m, f] = act(gate_up[i, 0..f)) * gate_up[i, f..2f); y may be gate_up, its ldy then 2f */
    void (*gated)(nr_backend *be, float *y, int64_t ldy, const float *gate_up, int64_t m, int32_t f,
                  nr_activation activation);
    /* y[i] += table[rows[i]]: learned positions. rows is host; rows[i] < rows of the table. */
    void (*add_rows)(nr_backend *be, float *y, int64_t ldy, const float *table, const int32_t *rows,
                     int64_t m, int32_t d);
    /* In place, rotate-half: pairs (i, i + head_dim/2) turned by the angle of positions[row].
     * cos_sin [cap, head_dim]: head_dim/2 cosines, then head_dim/2 sines. positions is host. */
    void (*rope)(nr_backend *be, float *x, int64_t ldx, const int32_t *positions, int64_t m,
                 int32_t n_heads, int32_t head_dim, const float *cos_sin);
    /* Store m rows of keys and values at positions pos0 .. pos0+m-1. */
    void (*kv_store)(nr_backend *be, const nr_kv *kv, int32_t pos0, const float *k, int64_t ldk,
                     const float *v, int64_t ldv, int64_t m);
    void (*attention)(nr_backend *be, const nr_attention_args *args);
    /* pixels f32 [3, side_h, side_w] -> y [grid_h * grid_w, 3*patch*patch], order (c, py, px). */
    void (*patchify)(nr_backend *be, float *y, const float *pixels, int32_t side_h, int32_t side_w,
                     int32_t patch);
    /* Lowest index of the largest value; host result. */
    int32_t (*argmax)(nr_backend *be, const float *x, int32_t n);
    /* The same of n_rows <= 64 rows of n values at once; out is host. NULL: one after the other. */
    void (*argmax_each)(nr_backend *be, const float *const *rows, int n_rows, int32_t n,
                        int32_t *out);
} nr_backend_ops;

/* First member of every backend's own struct. */
struct nr_backend {
    const nr_backend_ops *ops;
    const char *isa; /* kernels in use: a name of cpu_select.c, or "sm_86" */
    int n_threads;
};

/* CPU: an own pool of n_threads (0: one per usable core) and the best kernels this machine has,
 * or those named by `isa` (NULL: environment NR_CPU, else the best). close() frees all.
 * Errors: NO_MEMORY, LIMIT, ARG (unknown name), UNSUPPORTED (this machine lacks it). */
nr_status nr_backend_cpu_open(int n_threads, const char *isa, nr_backend **out, nr_error *err);
/* The plain loops that define every op; one thread. Errors: NO_MEMORY. */
nr_status nr_backend_ref_open(nr_backend **out, nr_error *err);
/* CUDA: card number `device`; kernels for compute capability 8.0 and later. plan_only: sizes alone,
 * nothing of the card is touched or needed. Errors: UNSUPPORTED (no card, no driver, too old a one,
 * built without CUDA; the message says which), NO_MEMORY, DEVICE. */
nr_status nr_backend_cuda_open(int device, bool plan_only, nr_backend **out, nr_error *err);
static inline void nr_backend_close(nr_backend *be) {
    if (be) be->ops->close(be);
}

/* A step: ops that belong together, none of whose results the host looks at before its end. */
static inline void nr_backend_begin(nr_backend *be) {
    if (be->ops->begin) be->ops->begin(be);
}
static inline void nr_backend_end(nr_backend *be) {
    if (be->ops->end) be->ops->end(be);
}
/* After results have come to the host: are they results? Errors: DEVICE, the first that befell. */
static inline nr_status nr_backend_check(nr_backend *be, nr_error *err) {
    return be->ops->check ? be->ops->check(be, err) : NR_STATUS_OK;
}
/* Is its memory apart from the host's? */
static inline bool nr_backend_is_apart(const nr_backend *be) {
    return be->ops->reserve != NULL;
}

#endif
