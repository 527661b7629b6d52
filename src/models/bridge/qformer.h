/* SPDX-License-Identifier: MIT
 *
 * qformer.h - BLIP-2's bridge (Li et al. 2023; transformers' Blip2QFormerModel, its query branch,
 * and language_projection): learned query rows go through BERT layers, every n-th of which also
 * attends to the vision rows, and then through a linear to the language model's rows.
 *
 * The norm is behind each step and its output is both the residual and the input of the next
 * linear, so here every linear but the two that close a step is norm-fed (outlier columns), the
 * first of a layer by the last norm of the layer before.
 *
 * Tensor names: query_tokens, qformer.layernorm.{weight,bias}, qformer.encoder.layer.N.{
 * attention.attention.{query,key,value}, attention.output.{dense,LayerNorm}, crossattention (alike,
 * in every n-th layer), intermediate_query.dense, output_query.{dense,LayerNorm}}.{weight,bias},
 * language_projection.{weight,bias}.
 */
#ifndef NR_QFORMER_H
#define NR_QFORMER_H

#include "model.h"
#include "modules.h"

typedef struct nr_qformer_config {
    int32_t hidden, ffn, n_layers, n_heads, n_queries;
    int32_t cross_every;                          /* layers 0, n, 2n, ... have cross-attention */
    int32_t n_vision, vision_hidden, text_hidden; /* rows and widths on both sides */
    float layer_norm_eps;
    nr_activation activation;
} nr_qformer_config;

/* Attention of the queries to themselves or to the vision rows. */
typedef struct nr_qformer_attention {
    nr_wide_linear query; /* [hidden, hidden] */
    nr_wide_linear kv;    /* [2 hidden, hidden or vision_hidden] key, value */
    nr_wide_linear out;   /* [hidden, hidden] output.dense */
    nr_norm norm;         /* [hidden] output.LayerNorm */
} nr_qformer_attention;

typedef struct nr_qformer_layer {
    nr_qformer_attention self, cross; /* cross is unused where the layer has none */
    nr_wide_linear fc1, fc2;          /* [ffn, hidden], [hidden, ffn] */
    nr_norm norm;                     /* [hidden] output_query.LayerNorm */
} nr_qformer_layer;

typedef struct nr_qformer {
    nr_qformer_config config;
    nr_dtype precision;
    bool wide;                 /* linears of the layers have two digits, where INT8 */
    bool wide_out;             /* those behind attention have */
    bool wide_projection;      /* language_projection has */
    float *queries;            /* [n_queries, hidden] query_tokens */
    nr_norm norm;              /* [hidden] qformer.layernorm, over the queries */
    nr_qformer_layer *layers;  /* owns, host [n_layers] */
    nr_wide_linear projection; /* [text_hidden, hidden] */
    /* scratch, f32 */
    float *x, *q, *h; /* [n_queries, hidden] */
    float *kv_rows;   /* [larger of n_queries and n_vision, 2 hidden] */
    float *ffn_rows;  /* [n_queries, ffn] */
    float *r;         /* second digit of activations, or NULL */
    nr_kv kv;         /* keys and values of the current attention */
} nr_qformer;

/* From a qformer_config object; Blip2QFormerConfig's defaults. n_queries, n_vision, vision_hidden
 * and text_hidden of m->config are the caller's, precision too. Errors: UNSUPPORTED, SHAPE, LIMIT,
 * NO_MEMORY. */
nr_status nr_qformer_configure(nr_qformer *m, const nr_json_at *qformer_config, nr_error *err);
void nr_qformer_release(nr_qformer *m); /* host arrays */
/* Largest shapes its ops are called with. */
void nr_qformer_describe(const nr_qformer *m, nr_model_info *info);
/* Bytes of a second digit of the projection, of the linears behind attention, of all others. */
uint64_t nr_qformer_projection_bytes(const nr_qformer_config *c);
uint64_t nr_qformer_out_bytes(const nr_qformer_config *c);
uint64_t nr_qformer_layer_bytes(const nr_qformer_config *c);

void nr_qformer_carve_weights(nr_qformer *m, nr_arena *a);
/* prefix: of all its names ("" or "model."). vision_gamma: host [vision_hidden], weight of the norm
 * behind the vision tower. */
nr_status nr_qformer_load(nr_qformer *m, nr_loader *l, const char *prefix,
                          const float *vision_gamma, nr_error *err);
void nr_qformer_carve_scratch(nr_qformer *m, nr_arena *a);

/* y [n_queries, text_hidden] from vision [n_vision, vision_hidden]. The tap sees
 * "qformer.encoder.layer.N", "qformer" and "language_projection". */
void nr_qformer_forward(nr_qformer *m, nr_backend *be, float *y, const float *vision,
                        const nr_tap *tap);

#endif
