/* SPDX-License-Identifier: MIT
 *
 * lab_vision.cc - CLIP ViT-L/14's layers at 336 pixels as the engine runs them: 577 rows of 1024,
 * 16 heads of 64, feed-forward 4096 with bias, residual and activation. Times the tower as one
 * graph, and each launch of a layer on its own, so that what is between the linears shows.
 */
#include "lab.h"

#include <vector>

#include "cuda_fused.h"

#ifndef NR_CUDA_EMULATED
#define LAYERS 23
#define POSITIONS 577
#define CAP 592
#define HIDDEN 1024
#define HEADS 16
#define FFN 4096
#define PATCHES 576
#define PATCH_VALUES 588
#define POOL_BYTES ((size_t)1 << 30) /* weights: far more than the L2 cache */

struct tower {
    lab_card card;
    cudaStream_t s;
    float *x, *h, *qkv, *ffn, *gamma, *scale, *patch_rows;
    nr_cuda_quantize_args norm_fed, inner, ffn_fed, patch_fed;
    const nr_cuda_span *span;
    void *workspace;
    size_t workspace_bytes, pool_at;
    int8_t *pool;
    bool overlap, early;
};

static float *values(size_t n, float low, float high, uint64_t seed) {
    float *p = (float *)lab_device(n * sizeof *p);
    lab_fill_floats(p, n, low, high, lab_seed + seed);
    return p;
}

static nr_cuda_quantize_args codes_of(const float *x, int32_t m, int32_t n_in, int n_outliers) {
    nr_cuda_quantize_args q = {};
    int32_t columns[8] = {3, 99, 180, 265, 370, 411, 500, 577};
    q.x = x, q.ldx = n_in, q.m = m, q.n_in = n_in, q.k_pad = nr_cuda_k_pad(n_in);
    q.n_outliers = n_outliers;
    q.outlier_columns = lab_upload_of(columns, 8);
    q.codes = (int8_t *)lab_device((size_t)m * q.k_pad);
    q.sx = (float *)lab_device(sizeof(float) * m);
    q.spike_col = (int32_t *)lab_device(sizeof(int32_t) * NR_CUDA_SPIKES * m);
    q.spike_val = (float *)lab_device(sizeof(float) * NR_CUDA_SPIKES * m);
    return q;
}

static tower make_tower(const lab_card *card) {
    tower t = {};
    t.card = *card;
    LAB_CHECK(cudaStreamCreate(&t.s));
    t.x = values((size_t)POSITIONS * HIDDEN, -1.0f, 1.0f, 1);
    t.h = values((size_t)POSITIONS * HIDDEN, -1.0f, 1.0f, 2);
    t.qkv = values((size_t)POSITIONS * 3 * HIDDEN, -1.0f, 1.0f, 3);
    t.ffn = values((size_t)POSITIONS * FFN, -1.0f, 1.0f, 4);
    t.gamma = values(HIDDEN, 0.5f, 1.5f, 5);
    t.scale = values((size_t)8 * FFN, 0.0001f, 0.001f, 6); /* also bias and outliers' weights */
    t.patch_rows = values((size_t)PATCHES * PATCH_VALUES, -1.0f, 1.0f, 7);
    t.norm_fed = codes_of(t.h, POSITIONS, HIDDEN, 8);
    t.norm_fed.x_spent = true;
    t.inner = codes_of(t.h, POSITIONS, HIDDEN, 0);
    t.ffn_fed = codes_of(t.ffn, POSITIONS, FFN, 0);
    t.patch_fed = codes_of(t.patch_rows, PATCHES, PATCH_VALUES, 0);
    nr_cuda_span span = {};
    const size_t keys = (size_t)HEADS * CAP * 64 * sizeof(float);
    span.k = lab_device(keys), span.v = lab_device(keys);
    span.m = span.n_keys = POSITIONS;
    t.span = lab_upload_of(&span, 1);
    t.workspace_bytes = (size_t)POSITIONS * 11008; /* as the engine has it: a row's codes each */
    t.workspace = lab_device(t.workspace_bytes);
    t.pool = (int8_t *)lab_device(POOL_BYTES);
    lab_fill_codes(t.pool, POOL_BYTES, lab_seed + 8);
    return t;
}

static cudaError_t project(tower *t, const nr_cuda_quantize_args *q, float *y, int32_t n_out,
                           nr_activation activation, const float *residual) {
    nr_cuda_linear_i8_args a = {};
    size_t bytes = (size_t)n_out * q->k_pad;
    if (t->pool_at + bytes > POOL_BYTES) t->pool_at = 0;
    a.weights = t->pool + t->pool_at;
    t->pool_at += bytes;
    a.y = y, a.ldy = n_out, a.x = q->x, a.ldx = q->ldx;
    a.codes = q->codes, a.sx = q->sx, a.spike_col = q->spike_col, a.spike_val = q->spike_val;
    a.m = q->m, a.n_out = n_out, a.n_in = q->n_in, a.k_pad = q->k_pad;
    a.n_out_pad = nr_cuda_n_out_pad(n_out), a.n_outliers = q->n_outliers;
    a.scale = a.bias = a.outlier_weights = t->scale;
    a.outlier_columns = q->outlier_columns;
    a.activation = activation, a.residual = residual;
    a.overlap = t->overlap, a.early = t->early;
    a.sm = t->card.sm, a.n_multiprocessors = t->card.n_multiprocessors;
    return nr_cuda_linear_i8(&a, t->s);
}

static cudaError_t norm(tower *t) {
    nr_cuda_norm_args n = {t->h, t->x, t->gamma, t->gamma, POSITIONS, HIDDEN, 1e-5f, true};
    return nr_cuda_norm_quantize(&n, &t->norm_fed, t->overlap, t->s);
}
static cudaError_t attend(tower *t) {
    nr_cuda_attention_args a = {};
    a.y = t->h, a.q = t->qkv, a.ldy = HIDDEN, a.ldq = 3 * HIDDEN;
    a.spans = t->span, a.n_spans = 1, a.m = POSITIONS;
    a.n_heads = a.n_kv_heads = HEADS, a.head_dim = 64, a.cap = CAP, a.n_keys_max = POSITIONS;
    a.k = t->qkv + HIDDEN, a.v = t->qkv + 2 * HIDDEN, a.ldk = 3 * HIDDEN;
    a.dtype = NR_DTYPE_F32, a.scale = 0.125f;
    a.overlap = t->overlap, a.early = t->early;
    a.workspace = t->workspace, a.workspace_bytes = t->workspace_bytes;
    a.sm = t->card.sm, a.n_multiprocessors = t->card.n_multiprocessors;
    return nr_cuda_attention(&a, t->s);
}

typedef struct launch {
    const char *name;
    int times; /* in a layer */
    std::function<cudaError_t(tower *)> run;
} launch;

static const launch layer[] = {
    {"norm", 2, norm},
    {"qkv", 1,
     [](tower *t) {
         return project(t, &t->norm_fed, t->qkv, 3 * HIDDEN, NR_ACTIVATION_NONE, NULL);
     }},
    {"attend", 1, attend},
    {"codes", 1, [](tower *t) { return nr_cuda_quantize_rows(&t->inner, t->overlap, t->s); }},
    {"o", 1,
     [](tower *t) { return project(t, &t->inner, t->x, HIDDEN, NR_ACTIVATION_NONE, t->x); }},
    {"fc1", 1,
     [](tower *t) {
         return project(t, &t->norm_fed, t->ffn, FFN, NR_ACTIVATION_QUICK_GELU, NULL);
     }},
    {"codes 4096", 1, [](tower *t) { return nr_cuda_quantize_rows(&t->ffn_fed, t->overlap, t->s); }},
    {"fc2", 1,
     [](tower *t) { return project(t, &t->ffn_fed, t->x, HIDDEN, NR_ACTIVATION_NONE, t->x); }},
};
static const launch patches[] = {
    {"codes 588", 3, [](tower *t) { return nr_cuda_quantize_rows(&t->patch_fed, false, t->s); }},
    {"patches", 3,
     [](tower *t) {
         return project(t, &t->patch_fed, t->x, HIDDEN, NR_ACTIVATION_NONE, NULL);
     }},
    {"residual", 1, [](tower *t) { return nr_cuda_residual(t->qkv, &t->patch_fed, t->s); }},
};

/* The tower in the order of its launches; the norm comes before qkv and before fc1. */
static cudaError_t run_layers(tower *t) {
    for (int i = 0; i < LAYERS; i++)
        for (size_t j = 0; j < NR_COUNT(layer); j++) {
            if (strcmp(layer[j].name, "fc1") == 0) LAB_CHECK(layer[0].run(t));
            LAB_CHECK(layer[j].run(t));
        }
    return cudaSuccess;
}

/* Microseconds of each, one after the other in a graph; their sum. */
static double time_each(tower *t, const launch *launches, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        lab_time one = lab_measure_graph(t->s, 10, 46, [&](int) { return launches[i].run(t); });
        printf(" %s %.1f;", launches[i].name, 1e3 * one.median_ms);
        sum += 1e3 * one.median_ms * launches[i].times;
    }
    return sum;
}

/* The ways of rows to codes: which suits the tower's. */
static void time_ways(tower *t, const char *name, nr_cuda_quantize_args *q,
                      const std::function<cudaError_t(void)> &run) {
    printf("  %s, ways:", name);
    for (q->way = 0; q->way <= 8; q->way++) {
        if (run() != cudaSuccess) continue;
        lab_time one = lab_measure_graph(t->s, 10, 46, [&](int) { return run(); });
        printf(" %d: %.1f us;", q->way, 1e3 * one.median_ms);
    }
    q->way = 0;
    printf("\n");
}

void lab_time_vision(const lab_card *card) {
    tower t = make_tower(card);
    time_ways(&t, "norm", &t.norm_fed, [&]() { return norm(&t); });
    time_ways(&t, "codes", &t.inner,
              [&]() { return nr_cuda_quantize_rows(&t.inner, false, t.s); });
    time_ways(&t, "codes 4096", &t.ffn_fed,
              [&]() { return nr_cuda_quantize_rows(&t.ffn_fed, false, t.s); });
    printf("  launches, us:");
    double sum = time_each(&t, layer, NR_COUNT(layer));
    printf(" a layer %.1f, tower %.2f ms\n  patches, us:", sum, 1e-3 * sum * LAYERS);
    sum = time_each(&t, patches, NR_COUNT(patches));
    printf(" all %.1f\n", sum);
    for (int overlap = 0; overlap < (card->sm == 90 ? 3 : 1); overlap++) {
        t.overlap = overlap > 0;
        t.early = t.norm_fed.early = t.inner.early = t.ffn_fed.early = overlap > 1;
        lab_time all = lab_measure_graph(t.s, 10, 1, [&](int) { return run_layers(&t); });
        printf("  the tower's layers as one graph, %s: %.2f ms (best %.2f)\n",
               overlap == 0 ? "in turn" : overlap == 1 ? "late" : "early", all.median_ms,
               all.best_ms);
    }
}
#endif
