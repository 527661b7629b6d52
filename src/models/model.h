/* SPDX-License-Identifier: MIT
 *
 * model.h - what every model offers to the engine, and what it is given.
 *
 * A model is structure: which tensors there are, in which order ops run. It owns no memory but its
 * own description; weights, scratch and caches are carved from arenas that the engine sizes first
 * with a measuring arena (nr_arena.h), so the plan and the allocation are one function.
 *
 *   create -> [place] -> carve_weights (measure, then real) -> load -> carve_scratch
 *   per sequence: carve_cache; then encode_image once an image, forward for every chunk of ids
 *
 * A model knows sides (sides.h), not devices: where it has been split, each part carves from the
 * arena of its side and computes with the backend of its side. `arenas` are always [NR_SIDES].
 *
 * One thread at a time per model: the scratch is shared by all sequences.
 */
#ifndef NR_MODEL_H
#define NR_MODEL_H

#include "backend.h"
#include "hf_config.h"
#include "preprocess.h"
#include "sides.h"

typedef struct nr_loader nr_loader;
typedef struct nr_model nr_model;

/* Receives intermediate results as f32 rows in host memory, under the names transformers gives the
 * modules. NULL fn: nothing is recorded and nothing extra is computed. */
typedef struct nr_tap {
    void (*fn)(void *ctx, const char *name, const float *rows, int64_t n_rows, int64_t n_cols);
    void *ctx;
} nr_tap;

/* Choices made before anything is measured. */
typedef struct nr_model_options {
    nr_dtype precision;  /* NR_DTYPE_I8 or NR_DTYPE_F32: of linears; KV cache f16 or f32 with it */
    int32_t context;     /* positions of a sequence; 0: the model's own default */
    int32_t context_default; /* that default, at most what the checkpoint allows */
    int32_t rows_max;    /* rows of one forward call (prefill chunk); 0: default */
    int32_t logits_rows; /* sequences that one forward call may bring to their end; 0: default */
    bool all_layers;     /* load layers that only a trace looks at */
    bool kv_int8;        /* KV cache in INT8 */
} nr_model_options;

typedef struct nr_model_info {
    nr_dtype precision;
    int32_t vocab, hidden, n_layers;
    int32_t context;        /* positions a sequence may use */
    int32_t context_max;    /* what the checkpoint allows */
    int32_t rows_max;       /* rows of one forward call */
    int32_t logits_rows;    /* rows of logits one forward call can return */
    int32_t n_image_tokens; /* rows encode_image writes; 0: text only */
    int32_t image_token_id; /* -1: text only */
    bool head_tied;         /* the head is the embedding table */
    int64_t op_rows_max, op_n_in_max, op_keys_max; /* largest shapes its ops are called with */
    nr_preprocess_settings preprocess; /* the checkpoint's own route; vision only */
    /* as placed: tower and bridge; image_features of caches; what forward returns */
    nr_side vision_side, features_side, logits_side;
} nr_model_info;

/* Memory of one sequence. */
typedef struct nr_cache {
    nr_kv *layers;         /* [n_layers]; the array is host memory */
    float *image_features; /* [n_image_tokens, hidden] or NULL */
    int32_t n_image_rows;  /* rows of it that are filled */
} nr_cache;

/* Consecutive positions of one sequence within a forward call. */
typedef struct nr_span {
    const nr_cache *cache;
    const int32_t *ids;  /* host [n]; image_token_id stands for the next row of image_features,
                            and for the token itself once those are used up */
    int32_t n, pos0;     /* rows, and the position of the first */
    int32_t image_row0;  /* rows of image_features used before pos0 */
    int32_t n_logits;    /* logits of this many last rows are wanted (0 .. n) */
} nr_span;

typedef struct nr_model_desc {
    const char *model_type; /* config.json's */
    /* Parse and check the configuration; transfers *out (desc->destroy). */
    nr_status (*create)(const nr_hf_config *config, const nr_model_options *options,
                        nr_model **out, nr_error *err);
    void (*destroy)(nr_model *model); /* accepts NULL */
    /* Which parts are on the host's side; not called: none. Again before anything is carved from
     * real arenas: another placement to be measured. */
    void (*place)(nr_model *model, const nr_placement *placement);
    /* Pointers of all weights. Measuring arenas: only counts. */
    void (*carve_weights)(nr_model *model, nr_arena *arenas);
    /* Read, check, quantise and pack every tensor through the loader. */
    nr_status (*load)(nr_model *model, nr_loader *loader, nr_error *err);
    void (*carve_scratch)(nr_model *model, nr_arena *arenas);
    /* host: small arrays (borrowed memory of the caller's host arena); arenas: the rows. */
    void (*carve_cache)(const nr_model *model, nr_cache *cache, nr_arena *host, nr_arena *arenas);
    /* pixels: host f32 [3, H, W] as info.preprocess makes them -> cache->image_features. */
    void (*encode_image)(nr_model *model, const nr_sides *sides, const nr_cache *cache,
                         const float *pixels, const nr_tap *tap);
    /* Rows of all spans together <= rows_max, logits <= logits_rows. Writes keys and values at the
     * spans' positions. Returns f32 [sum of n_logits, vocab] of logits_side, valid until the next
     * call. */
    const float *(*forward)(nr_model *model, const nr_sides *sides, const nr_span *spans,
                            int n_spans, const nr_tap *tap);
} nr_model_desc;

/* First member of every model's own struct. */
struct nr_model {
    const nr_model_desc *desc;
    nr_model_info info;
    float *feature_rows; /* scratch [n_image_tokens, hidden] of vision_side where features are on
                            the other side, else NULL */
};

/* Features on their way from the bridge to a cache: the scratch, among that of the vision part;
 * where the bridge is to write them; then, once it has, into the cache. */
size_t nr_features_bytes(const nr_model_info *info); /* of one picture */
void nr_features_carve(nr_model *model, nr_arena *vision);
float *nr_features_rows(const nr_model *model, const nr_cache *cache);
void nr_features_hand_over(const nr_model *model, const nr_sides *sides, const nr_cache *cache);

float nr_attention_scale(int32_t head_dim); /* 1 / sqrt(head_dim) */
/* Keys and values of n_keys positions (rounded up to NR_KV_BLOCK) from an arena of the device. */
nr_kv nr_kv_carve(nr_arena *a, nr_dtype dtype, int32_t n_kv_heads, int32_t head_dim,
                  int32_t n_keys);

typedef void (*nr_carve_fn)(nr_model *model, nr_arena *arenas);
/* Scratch of parts that never run at the same time: one block a side, as large as the largest
 * needs. */
void nr_carve_overlaid(nr_model *model, nr_arena *arenas, nr_carve_fn first, nr_carve_fn second);

/* How a decoder holds keys and values: INT8 where asked for, else f32 or f16 with the precision. */
nr_dtype nr_kv_dtype(const nr_model_options *options);
/* Keys and values of n_keys positions (rounded up to NR_KV_BLOCK) from an arena of the device. */
nr_kv nr_kv_carve(nr_arena *a, nr_dtype dtype, int32_t n_kv_heads, int32_t head_dim,
                  int32_t n_keys);

static inline bool nr_tap_on(const nr_tap *tap) {
    return tap && tap->fn;
}
/* Send device rows [n_rows, n_cols] through the tap (no-op when off). */
void nr_tap_rows(const nr_tap *tap, nr_backend *be, const char *name, const float *rows,
                 int64_t n_rows, int64_t n_cols);

#endif
