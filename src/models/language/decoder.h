/* SPDX-License-Identifier: MIT
 *
 * decoder.h - what decoders share: the embedding table with picture rows put in, the key/value
 * cache, attention span by span, the head over the rows whose logits are wanted. A decoder
 * (llama.h, opt.h) begins with this struct and adds its blocks.
 *
 * Every row of a forward call goes through the linears together, whichever sequence it belongs to;
 * the key/value store and attention go span by span.
 *
 *   rows = nr_decoder_begin(...);            m->x and m->positions are filled
 *   each block: norm into m->h, linear into m->qkv_rows, nr_decoder_attend, ...
 *   n = nr_decoder_take_last(...);           m->logits_in is filled
 *   norm of m->logits_in, then nr_decoder_head(...)
 */
#ifndef NR_DECODER_H
#define NR_DECODER_H

#include "model.h"
#include "modules.h"

typedef struct nr_decoder_shape {
    int32_t vocab, hidden, n_layers, n_heads, n_kv_heads, head_dim, context_max;
    bool tied; /* the head is the embedding table */
} nr_decoder_shape;

typedef struct nr_decoder {
    nr_decoder_shape shape;
    nr_dtype precision, kv_dtype;
    nr_dtype embed_dtype; /* F32 where the table is small or the reference is asked for */
    int32_t context;      /* positions a sequence may use */
    int32_t cache_cap;    /* context rounded up to NR_KV_BLOCK */
    int32_t rows_max, logits_rows;
    nr_linear embed;    /* [vocab, hidden]; also the head when tied */
    nr_linear head;     /* [vocab, hidden]; unused when tied */
    int32_t *positions; /* owns, host [rows_max]: of the rows of the current call */
    /* scratch, [rows_max, ...] f32 unless said otherwise */
    float *x, *h;     /* [., hidden] residual stream; normed */
    float *qkv_rows;  /* [., (n_heads + 2 n_kv_heads) * head_dim] */
    float *attn_rows; /* [., n_heads * head_dim] */
    float *logits_in; /* [logits_rows, hidden] */
    float *logits;    /* [logits_rows, vocab] */
} nr_decoder;

/* The rest of *m from m->shape. Errors: LIMIT (context), NO_MEMORY. */
nr_status nr_decoder_init(nr_decoder *m, const nr_model_options *options, nr_error *err);
/* Fills what a decoder knows of nr_model_info. ffn: the widest input of a linear beside hidden. */
void nr_decoder_describe(const nr_decoder *m, int32_t ffn, nr_model_info *info);
/* Keep the embedding table in f32 where that costs at most bytes_max and it is not the head. */
void nr_decoder_choose_embedding(nr_decoder *m, uint64_t bytes_max);
void nr_decoder_release(nr_decoder *m); /* host arrays */
int32_t nr_decoder_qkv_dim(const nr_decoder_shape *s);

void nr_decoder_carve_weights(nr_decoder *m, nr_arena *a); /* table and head */
void nr_decoder_carve_scratch(nr_decoder *m, nr_arena *a);
void nr_decoder_carve_cache(const nr_decoder *m, nr_cache *cache, nr_arena *host, nr_arena *device);
/* embed_name: tensor of the table; head_name: of the head, not used when tied. gamma: host
 * [hidden], weight of the norm in front of the head. */
nr_status nr_decoder_load(nr_decoder *m, nr_loader *l, const char *embed_name,
                          const char *head_name, const float *gamma, nr_error *err);

/* Token rows from the table, runs of image_token_id (-1: none) from the spans' image features, into
 * m->x; positions into m->positions. Returns the rows of all spans. stage: module path for the tap,
 * which sees "STAGE.embed_tokens": the placeholder's own rows, before images replace them. */
int64_t nr_decoder_begin(nr_decoder *m, nr_backend *be, const nr_span *spans, int n_spans,
                         int32_t image_token_id, const nr_tap *tap, const char *stage);
/* Keys and values of m->qkv_rows into the caches, causal attention of its queries to m->attn_rows.
 */
void nr_decoder_attend(nr_decoder *m, nr_backend *be, const nr_span *spans, int n_spans,
                       int32_t i_layer);
/* The rows of m->x whose logits are wanted into m->logits_in; returns how many. */
int64_t nr_decoder_take_last(nr_decoder *m, nr_backend *be, const nr_span *spans, int n_spans);
/* m->logits of the first n rows of m->logits_in. */
const float *nr_decoder_head(nr_decoder *m, nr_backend *be, int64_t n);

/* y [rows, n_out] = activation(x [rows, n_in] w^T + bias), + residual where there is one. */
void nr_decoder_project(nr_backend *be, float *y, const float *x, int64_t rows, const nr_linear *w,
                        nr_activation activation, const float *residual);

#endif
