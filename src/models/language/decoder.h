/* SPDX-License-Identifier: MIT
 *
 * decoder.h - what decoders share: the embedding table with picture rows put in, the key/value
 * cache, attention span by span, the head over the rows whose logits are wanted. A decoder
 * (llama.h, opt.h) begins with this struct and adds its blocks.
 *
 * Every row of a forward call goes through the linears together, whichever sequence it belongs to;
 * the key/value store and attention go span by span.
 *
 *   rows = nr_decoder_begin(...);            x and m->positions are filled
 *   each block: side = nr_decoder_enter(...); norm into h, linear into qkv, nr_decoder_attend, ...
 *   n = nr_decoder_take_last(...);           m->logits_in is filled
 *   norm of m->logits_in, then nr_decoder_head(...)
 *
 * Split (sides.h) the first layers are on the host. Each side that has layers has rows of its own.
 */
#ifndef NR_DECODER_H
#define NR_DECODER_H

#include "model.h"
#include "modules.h"

typedef struct nr_decoder_shape {
    int32_t vocab, hidden, n_layers, n_heads, n_kv_heads, head_dim, context_max;
    bool tied; /* the head is the embedding table */
} nr_decoder_shape;

/* Activations of a forward call on one side: scratch, f32 [rows_max, ...]; NULL without layers. ffn
 * lies where qkv and attn do: a layer is done with them before its feed-forward block begins. */
typedef struct nr_decoder_rows {
    float *x, *h; /* [., hidden] residual stream; normed */
    float *qkv;   /* [., (n_heads + 2 n_kv_heads) * head_dim] */
    float *attn;  /* [., n_heads * head_dim] */
    float *ffn;   /* [., inner width of the feed-forward block] */
} nr_decoder_rows;

typedef struct nr_decoder {
    nr_decoder_shape shape;
    int32_t layers_on_host; /* the first ones; the others are on the device's side */
    nr_dtype precision, kv_dtype;
    nr_dtype embed_dtype; /* F32 where the table is small or the reference is asked for */
    int32_t context;      /* positions a sequence may use */
    int32_t cache_cap;    /* context rounded up to NR_KV_BLOCK */
    int32_t rows_max, logits_rows;
    nr_linear embed;    /* [vocab, hidden]; also the head when tied */
    nr_linear head;     /* [vocab, hidden]; unused when tied */
    int32_t *positions; /* owns, host [rows_max]: of the rows of the current call */
    nr_decoder_rows rows[NR_SIDES];
    float *logits_in; /* scratch of the head's side, f32 [logits_rows, hidden] */
    float *logits;    /* the same, [logits_rows, vocab] */
} nr_decoder;

static inline nr_side nr_decoder_side(const nr_decoder *m, int32_t i_layer) {
    return i_layer < m->layers_on_host ? NR_SIDE_HOST : NR_SIDE_DEVICE;
}
/* The head is where the last layer is, the table where the first is; one that is both: the head. */
static inline nr_side nr_decoder_head_side(const nr_decoder *m) {
    return nr_decoder_side(m, m->shape.n_layers - 1);
}
static inline nr_side nr_decoder_table_side(const nr_decoder *m) {
    return m->shape.tied ? nr_decoder_head_side(m) : nr_decoder_side(m, 0);
}
/* Are any layers there? */
static inline bool nr_decoder_is_on(const nr_decoder *m, nr_side side) {
    return side == NR_SIDE_HOST ? m->layers_on_host > 0 : m->layers_on_host < m->shape.n_layers;
}

/* The rest of *m from m->shape. Errors: LIMIT (context), NO_MEMORY. */
nr_status nr_decoder_init(nr_decoder *m, const nr_model_options *options, nr_error *err);
/* Fills what a decoder knows of nr_model_info. ffn: the widest input of a linear beside hidden. */
void nr_decoder_describe(const nr_decoder *m, int32_t ffn, nr_model_info *info);
/* Keep the embedding table in f32 where that costs at most bytes_max and it is not the head. */
void nr_decoder_choose_embedding(nr_decoder *m, uint64_t bytes_max);
void nr_decoder_release(nr_decoder *m); /* host arrays */
int32_t nr_decoder_qkv_dim(const nr_decoder_shape *s);
/* See nr_model_desc.place; fills the sides of features and logits in *info. */
void nr_decoder_place(nr_decoder *m, const nr_placement *placement, nr_model_info *info);

/* arenas: [NR_SIDES] */
void nr_decoder_carve_weights(nr_decoder *m, nr_arena *arenas); /* table and head */
/* ffn: width of nr_decoder_rows.ffn */
void nr_decoder_carve_scratch(nr_decoder *m, int32_t ffn, nr_arena *arenas);
void nr_decoder_carve_cache(const nr_decoder *m, nr_cache *cache, nr_arena *host,
                            nr_arena *arenas);
/* embed_name: tensor of the table; head_name: of the head, not used when tied. gamma: host
 * [hidden], weight of the norm in front of the head. */
nr_status nr_decoder_load(nr_decoder *m, nr_loader *l, const char *embed_name,
                          const char *head_name, const float *gamma, nr_error *err);

/* Token rows from the table, runs of image_token_id (-1: none) from the spans' image features, into
 * x of the table's side; positions into m->positions. Returns the rows of all spans. stage: module
 * path for the tap, which sees "STAGE.embed_tokens": the placeholder's own rows, before images
 * replace them. */
int64_t nr_decoder_begin(nr_decoder *m, const nr_sides *sides, const nr_span *spans, int n_spans,
                         int32_t image_token_id, const nr_tap *tap, const char *stage);
/* The side of a layer; x of `rows` rows is there, copied across where what came before it is on the
 * other side. */
nr_side nr_decoder_enter(nr_decoder *m, const nr_sides *sides, int64_t rows, int32_t i_layer);
/* Keys and values of qkv into the caches, causal attention of its queries to attn, with the backend
 * of the layer's side. */
void nr_decoder_attend(nr_decoder *m, nr_backend *be, const nr_span *spans, int n_spans,
                       int32_t i_layer);
/* The rows of x whose logits are wanted into m->logits_in; returns how many. be: the head's. */
int64_t nr_decoder_take_last(nr_decoder *m, nr_backend *be, const nr_span *spans, int n_spans);
/* m->logits of the first n rows of m->logits_in. */
const float *nr_decoder_head(nr_decoder *m, nr_backend *be, int64_t n);

/* y [rows, n_out] = activation(x [rows, n_in] w^T + bias), + residual where there is one. x is
 * scratch that nobody reads afterwards. */
void nr_decoder_project(nr_backend *be, float *y, const float *x, int64_t rows, const nr_linear *w,
                        nr_activation activation, const float *residual);
/* The same from rows of x that lie ldx apart. */
void nr_decoder_project_from(nr_backend *be, float *y, const float *x, int64_t ldx, int64_t rows,
                             const nr_linear *w, nr_activation activation, const float *residual);

#endif
