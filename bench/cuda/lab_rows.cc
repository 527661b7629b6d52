/* SPDX-License-Identifier: MIT
 *
 * lab_rows.cc - ops fused with quantisation against the ops apart, to the last bit; the time of
 * what stands between the linears, and of a whole token: every launch of every layer, in one graph,
 * with weights of the model's full size.
 */
#include "cuda_fused.h"
#include "lab.h"

#include <math.h>
#include <string>
#include <vector>

typedef struct quantized {
    std::vector<int8_t> codes;
    std::vector<float> x, sx, spike_val;
    std::vector<int32_t> spike_col;
} quantized;

static nr_cuda_quantize_args make_quantize(int32_t m, int32_t n, int32_t n_outliers) {
    nr_cuda_quantize_args q = {};
    q.m = m, q.n_in = n, q.ldx = n, q.k_pad = nr_cuda_k_pad(n), q.n_outliers = n_outliers;
    std::vector<int32_t> columns;
    for (int32_t j = 0; j < n_outliers; j++) columns.push_back(j * (n / n_outliers) + j % 2);
    q.outlier_columns = lab_upload_of(columns.data(), columns.size());
    q.x = (float *)lab_device(sizeof(float) * m * n);
    q.codes = (int8_t *)lab_device((size_t)m * q.k_pad);
    q.sx = (float *)lab_device(sizeof(float) * m);
    q.spike_col = (int32_t *)lab_device(sizeof(int32_t) * 4 * m);
    q.spike_val = (float *)lab_device(sizeof(float) * 4 * m);
    return q;
}

static quantized take_quantized(const nr_cuda_quantize_args *q) {
    quantized r;
    LAB_CHECK(cudaDeviceSynchronize());
    r.codes.resize((size_t)q->m * q->k_pad), r.x.resize((size_t)q->m * q->n_in);
    r.sx.resize(q->m), r.spike_val.resize(4 * q->m), r.spike_col.resize(4 * q->m);
    lab_download(r.codes.data(), q->codes, r.codes.size());
    lab_download(r.x.data(), q->x, r.x.size() * 4);
    lab_download(r.sx.data(), q->sx, r.sx.size() * 4);
    lab_download(r.spike_val.data(), q->spike_val, r.spike_val.size() * 4);
    lab_download(r.spike_col.data(), q->spike_col, r.spike_col.size() * 4);
    lab_poison(q->codes, r.codes.size());
    lab_poison(q->sx, r.sx.size() * 4);
    lab_poison(q->spike_val, r.spike_val.size() * 4);
    lab_poison(q->spike_col, r.spike_col.size() * 4);
    return r;
}

static void compare(const char *name, const nr_cuda_quantize_args *q, const quantized &a,
                    const quantized &b) {
    const char *wrong = a.x != b.x                   ? "values"
                        : a.codes != b.codes         ? "codes"
                        : a.sx != b.sx               ? "scales"
                        : a.spike_col != b.spike_col ? "spike columns"
                        : a.spike_val != b.spike_val ? "spikes"
                                                     : NULL;
    lab_failures += wrong != NULL;
    printf("  %s  %s: %d rows of %d, %d outliers%s%s\n", wrong ? "WRONG" : "equal", name, q->m,
           q->n_in, q->n_outliers, wrong ? ": " : "", wrong ? wrong : "");
}

/* in: [m, 2n] device floats; some rows all zero, some with equal magnitudes. */
static float *make_rows(int32_t m, int32_t width) {
    std::vector<float> x((size_t)m * width);
    for (size_t i = 0; i < x.size(); i++) {
        uint64_t r = nr_rng_u64(lab_seed, 9, i);
        float u = (float)(r >> 40) / 8388608.0f - 1.0f;
        size_t row = i / width;
        x[i] = row % 5 == 3 ? 0.0f : row % 5 == 4 ? (u > 0.0f ? 0.5f : -0.5f) : u;
        if (r % 131 == 0) x[i] *= 30.0f;
    }
    return lab_upload_of(x.data(), x.size());
}

#define WAYS 9 /* of quantize_fused.cu; 0: the one chosen */

typedef std::function<cudaError_t(const nr_cuda_quantize_args *)> fused_op;

/* Every way to compute what `expected` is, as far as it is for this shape and card. */
static void check_ways(const char *name, nr_cuda_quantize_args q, const quantized &expected,
                       const fused_op &op) {
    bool fits = q.n_in % 4 == 0 && q.n_in <= 11264; /* else there is one way */
    for (q.way = 0; q.way <= (fits ? WAYS : 0); q.way++) {
        cudaError_t e = op(&q);
        if (e == cudaErrorInvalidValue && q.way > 0) continue;
        LAB_CHECK(e);
        std::string title = std::string(name) + ", way " + std::to_string(q.way);
        compare(title.c_str(), &q, expected, take_quantized(&q));
    }
}

/* Where nobody else reads the rows: of them outlier columns alone, everything else as before. */
static void check_spent(const char *name, nr_cuda_quantize_args q, const quantized &expected,
                        const fused_op &op) {
    for (q.way = 0, q.x_spent = true; q.way <= WAYS; q.way++) {
        lab_poison((void *)q.x, sizeof(float) * q.m * q.n_in);
        cudaError_t e = op(&q);
        if (e == cudaErrorInvalidValue && q.way > 0) continue;
        LAB_CHECK(e);
        quantized found = take_quantized(&q), some = expected;
        std::vector<int32_t> columns(q.n_outliers);
        lab_download(columns.data(), q.outlier_columns, columns.size() * sizeof columns[0]);
        bool same = true;
        for (int32_t i = 0; i < q.m; i++)
            for (int32_t c : columns) {
                size_t at = (size_t)i * q.n_in + c;
                same = same && memcmp(&found.x[at], &expected.x[at], sizeof(float)) == 0;
            }
        if (same) some.x = found.x;
        compare((std::string(name) + ", spent, way " + std::to_string(q.way)).c_str(), &q, some,
                found);
    }
}

/* Queries rotated, keys and values as stored, from rows of all three with `gap` floats between. */
static std::vector<uint8_t> store(const std::vector<float> &rows, int32_t m, int32_t dim,
                                  nr_dtype dtype, int32_t gap) {
    const int32_t HEADS_Q = 3, HEADS_KV = 2, width = (HEADS_Q + 2 * HEADS_KV) * dim, cap = 16;
    const size_t values = (size_t)HEADS_KV * cap * dim * 4, scales = (size_t)HEADS_KV * cap * 4;
    std::vector<float> apart((size_t)m * (width + gap)), cos_sin((size_t)cap * dim);
    std::vector<int32_t> positions;
    for (int32_t i = 0; i < m; i++) {
        positions.push_back(m - i);
        memcpy(&apart[(size_t)i * (width + gap)], &rows[(size_t)i * width], 4 * (size_t)width);
    }
    for (size_t i = 0; i < cos_sin.size(); i++) cos_sin[i] = 2.0f * nr_rng_uniform(5, 1, i) - 1.0f;
    nr_cuda_span span = {lab_device(values), lab_device(values), (float *)lab_device(scales),
                         (float *)lab_device(scales), 0, m, 3, m + 3};
    nr_cuda_kv_store_args k = {};
    k.q = lab_upload_of(apart.data(), apart.size());
    k.k = k.q + HEADS_Q * dim, k.v = k.k + HEADS_KV * dim, k.ldk = k.ldv = width + gap;
    k.spans = lab_upload_of(&span, 1), k.n_spans = 1, k.m = m;
    k.n_kv_heads = HEADS_KV, k.head_dim = dim, k.cap = cap, k.dtype = dtype, k.n_heads = HEADS_Q;
    k.positions = lab_upload_of(positions.data(), positions.size());
    k.cos_sin = lab_upload_of(cos_sin.data(), cos_sin.size());
    LAB_CHECK(nr_cuda_kv_store(&k, 0));
    LAB_CHECK(cudaDeviceSynchronize());
    std::vector<uint8_t> all(2 * values + 2 * scales + 4 * (size_t)m * width);
    lab_download(&all[0], span.k, values), lab_download(&all[values], span.v, values);
    lab_download(&all[2 * values], span.k_scale, scales);
    lab_download(&all[2 * values + scales], span.v_scale, scales);
    for (int32_t i = 0; i < m; i++)
        lab_download(&all[2 * values + 2 * scales + 4 * (size_t)i * width],
                     k.q + (size_t)i * (width + gap), 4 * (size_t)width);
    return all;
}

/* Rows that begin at 16 bytes are stored by another kernel than others. */
static void check_store(void) {
    const int32_t M = 5;
    for (int32_t dim : {64, 128, 40})
        for (nr_dtype dtype : {NR_DTYPE_F32, NR_DTYPE_F16, NR_DTYPE_I8}) {
            std::vector<float> rows((size_t)M * 7 * dim);
            for (size_t i = 0; i < rows.size(); i++) /* a key of zeros too */
                rows[i] = i / dim == 4 ? 0.0f : 4.0f * nr_rng_uniform(lab_seed, 77, i) - 2.0f;
            bool same = store(rows, M, dim, dtype, 0) == store(rows, M, dim, dtype, 1);
            lab_failures += !same;
            printf("  %s  keys and values stored, heads of %d, type %d\n",
                   same ? "equal" : "WRONG", dim, (int)dtype);
        }
}

void lab_check_rows(const lab_card *card) {
    (void)card;
    check_store();
    static const int32_t shapes[][3] = {{6, 64, 3}, {7, 4096, 8}, {5, 11008, 8}, {5, 1024, 0},
                                        {5, 1408, 32}, {3, 130, 2}, {2, 12000, 1},
                                        {3, 11008, 8}};
    for (auto &s : shapes) {
        nr_cuda_quantize_args q = make_quantize(s[0], s[1], s[2]);
        float *in = make_rows(s[0], 2 * s[1]), *gamma = make_rows(1, s[1]);
        float *beta = make_rows(1, s[1]);
        nr_cuda_norm_args norm = {(float *)q.x, in, gamma, beta, s[0], s[1], 1e-5f, false};
        for (int layer = 0; layer < 2; layer++) {
            norm.layer = layer;
            LAB_CHECK(nr_cuda_norm(&norm, 0));
            LAB_CHECK(nr_cuda_quantize(&q, 0));
            const quantized expected = take_quantized(&q);
            const char *name = layer ? "layer norm" : "rms norm";
            auto op = [&](const nr_cuda_quantize_args *w) {
                return nr_cuda_norm_quantize(&norm, w, false, 0);
            };
            check_ways(name, q, expected, op);
            if (s[1] == 4096 || s[1] == 1024) check_spent(name, q, expected, op);
        }
        LAB_CHECK(nr_cuda_gated((float *)q.x, s[1], in, s[0], s[1], NR_ACTIVATION_SILU, 0));
        LAB_CHECK(nr_cuda_quantize(&q, 0));
        const quantized expected = take_quantized(&q);
        auto gate = [&](const nr_cuda_quantize_args *w) {
            return nr_cuda_gated_quantize(in, NR_ACTIVATION_SILU, w, false, 0);
        };
        check_ways("gated", q, expected, gate);
        if (s[1] == 11008) check_spent("gated", q, expected, gate);
        q.x = in;
        LAB_CHECK(nr_cuda_quantize(&q, 0));
        check_ways("alone", q, take_quantized(&q), [&](const nr_cuda_quantize_args *w) {
            return nr_cuda_quantize_rows(w, false, 0);
        });
    }
}

#ifndef NR_CUDA_EMULATED
#define HIDDEN 4096
#define QKV 12288
#define FFN 11008
#define HEADS 32
#define HEAD_DIM 128
#define LAYERS 32
#define VOCABULARY 32064
#define CAP 1024

/* One sequence a row; all layers read the same caches of 32 sequences a layer. */
typedef struct token_bed {
    int32_t m;
    int8_t *pool;
    size_t pool_at;
    float *hidden, *qkv, *attention, *gate_up, *scale, *gamma, *outliers, *logits, *cos_sin;
    int32_t *positions, *best;
    nr_cuda_quantize_args q[2]; /* of HIDDEN and FFN values */
    nr_cuda_span *spans;
    void *workspace;
    size_t workspace_bytes;
    lab_card card;
} token_bed;

static nr_cuda_span *make_spans(int32_t m, int32_t keys) {
    std::vector<nr_cuda_span> spans(m);
    size_t values = (size_t)HEADS * CAP * HEAD_DIM;
    for (int32_t i = 0; i < m; i++) {
        nr_cuda_span *s = &spans[i];
        s->k = lab_device(values), s->v = lab_device(values);
        lab_fill_codes((int8_t *)s->k, values, lab_seed + 20 + i);
        lab_fill_codes((int8_t *)s->v, values, lab_seed + 60 + i);
        s->k_scale = (float *)lab_device(sizeof(float) * HEADS * CAP);
        s->v_scale = (float *)lab_device(sizeof(float) * HEADS * CAP);
        lab_fill_floats(s->k_scale, HEADS * CAP, 0.001f, 0.01f, lab_seed + 4);
        lab_fill_floats(s->v_scale, HEADS * CAP, 0.001f, 0.01f, lab_seed + 5);
        s->row0 = i, s->m = 1, s->pos0 = keys - 1, s->n_keys = keys;
    }
    return lab_upload_of(spans.data(), spans.size());
}

static float *floats(size_t n, float low, float high) {
    float *p = (float *)lab_device(n * sizeof(float));
    lab_fill_floats(p, n, low, high, lab_seed + n);
    return p;
}

static token_bed make_token_bed(const lab_card *card, int32_t m, int32_t keys) {
    token_bed b = {};
    const size_t layer = (size_t)HIDDEN * (QKV + HIDDEN + 3 * FFN);
    b.m = m, b.card = *card;
    b.pool = (int8_t *)lab_device(layer * LAYERS + (size_t)VOCABULARY * HIDDEN);
    lab_fill_codes(b.pool, layer * LAYERS + (size_t)VOCABULARY * HIDDEN, lab_seed);
    b.hidden = floats((size_t)m * HIDDEN, -1.0f, 1.0f);
    b.qkv = floats((size_t)m * QKV, -1.0f, 1.0f);
    b.attention = floats((size_t)m * HIDDEN, -1.0f, 1.0f);
    b.gate_up = floats((size_t)m * 2 * FFN, -1.0f, 1.0f);
    b.logits = floats((size_t)m * VOCABULARY, -1.0f, 1.0f);
    b.scale = floats(VOCABULARY, 1e-5f, 1e-4f); /* small: residuals must not run away */
    b.gamma = floats(HIDDEN, 0.5f, 1.5f);
    b.outliers = floats((size_t)VOCABULARY * 8, -1e-3f, 1e-3f);
    b.cos_sin = floats((size_t)CAP * HEAD_DIM, -1.0f, 1.0f);
    std::vector<int32_t> positions(m, keys - 1);
    b.positions = lab_upload_of(positions.data(), positions.size());
    b.best = (int32_t *)lab_device(sizeof(int32_t) * m);
    b.q[0] = make_quantize(m, HIDDEN, 8);
    b.q[1] = make_quantize(m, FFN, 8);
    b.spans = make_spans(m, keys);
    b.workspace_bytes = (size_t)16 << 20;
    b.workspace = lab_device(b.workspace_bytes);
    return b;
}

/* How a token is computed. linear: a way of the ring, or one of these. */
enum { CHOSEN = -1, STREAM = -2 };
typedef struct token_way {
    const char *name;
    bool apart, no_linears, no_rest;
    bool overlap, early;
    int linear;
    bool store_apart, join_apart;
    int gate_way; /* of quantize_fused.cu */
} token_way;

static const token_way token_ways[] = {
    {"ops apart", true, false, false, false, false, STREAM},
    {"in turn", false, false, false, false, false, CHOSEN},
    {"keys stored apart", false, false, false, false, false, CHOSEN, true},
    {"linears alone", false, false, true, false, false, CHOSEN},
    {"linears, early", false, false, true, true, true, CHOSEN},
    {"no linears", false, true, false, false, false, CHOSEN},
    {"no linears, late", false, true, false, true, false, CHOSEN},
    {"no linears, early", false, true, false, true, true, CHOSEN},
    {"stream, in turn", false, false, false, false, false, STREAM},
    {"late", false, false, false, true, false, CHOSEN},
    {"early", false, false, false, true, true, CHOSEN},
    {"early, join apart", false, false, false, true, true, CHOSEN, false, true},
    {"early, gate way 6", false, false, false, true, true, CHOSEN, false, false, 6},
    {"early, ring 200/6", false, false, false, true, true, 1},
};

static void token_linear(token_bed *b, const token_way *way, const nr_cuda_quantize_args *q,
                         float *y, int32_t n_out, const float *residual, cudaStream_t s) {
    nr_cuda_linear_i8_args a = {};
    a.y = y, a.ldy = n_out, a.x = q->x, a.ldx = q->ldx, a.codes = q->codes, a.sx = q->sx;
    a.spike_col = q->spike_col, a.spike_val = q->spike_val;
    a.m = b->m, a.n_out = n_out, a.n_in = q->n_in, a.k_pad = q->k_pad;
    a.n_out_pad = nr_cuda_n_out_pad(n_out), a.n_outliers = q->n_outliers;
    a.outlier_columns = q->outlier_columns, a.outlier_weights = b->outliers;
    a.weights = b->pool + b->pool_at, a.scale = b->scale, a.residual = residual;
    a.sm = b->card.sm, a.n_multiprocessors = b->card.n_multiprocessors;
    a.overlap = way->overlap, a.early = way->early;
    b->pool_at += (size_t)n_out * q->n_in;
    if (way->no_linears) return;
    LAB_CHECK(way->linear == STREAM   ? nr_cuda_linear_i8_stream(&a, s)
              : way->linear == CHOSEN ? nr_cuda_linear_i8(&a, s)
                                      : nr_cuda_linear_i8_ring(&a, way->linear, s));
}

static void token_norm(token_bed *b, const token_way *way, cudaStream_t s) {
    nr_cuda_norm_args n = {(float *)b->q[0].x, b->hidden, b->gamma, NULL, b->m, HIDDEN, 1e-5f,
                           false};
    if (way->no_rest) return;
    if (!way->apart) {
        LAB_CHECK(nr_cuda_norm_quantize(&n, &b->q[0], way->overlap, s));
        return;
    }
    LAB_CHECK(nr_cuda_norm(&n, s));
    LAB_CHECK(nr_cuda_quantize(&b->q[0], s));
}

static void token_quantize(token_bed *b, const token_way *way, const nr_cuda_quantize_args *q,
                           cudaStream_t s) {
    (void)b;
    if (way->no_rest) return;
    LAB_CHECK(way->apart ? nr_cuda_quantize(q, s) : nr_cuda_quantize_rows(q, way->overlap, s));
}

/* Attention, and its result as codes. */
static void token_attend(token_bed *b, const token_way *way, const nr_cuda_quantize_args *q,
                         cudaStream_t s) {
    nr_cuda_rope_args r = {b->qkv, QKV, b->positions, b->m, 2 * HEADS, HEAD_DIM, b->cos_sin};
    nr_cuda_kv_store_args k = {};
    if (way->no_rest) return;
    if (way->apart) {
        LAB_CHECK(nr_cuda_rope(&r, s));
    } else if (way->store_apart) {
        k.q = b->qkv, k.positions = b->positions, k.cos_sin = b->cos_sin, k.n_heads = HEADS;
        k.overlap = way->overlap, k.early = way->early;
    }
    k.k = b->qkv + HIDDEN, k.v = b->qkv + 2 * HIDDEN, k.ldk = k.ldv = QKV;
    k.spans = b->spans, k.n_spans = b->m, k.m = 1;
    k.n_kv_heads = HEADS, k.head_dim = HEAD_DIM, k.cap = CAP, k.dtype = NR_DTYPE_I8;
    if (way->apart || way->store_apart) LAB_CHECK(nr_cuda_kv_store(&k, s));
    nr_cuda_attention_args a = {};
    if (!way->apart && !way->store_apart) {
        a.k = k.k, a.v = k.v, a.ldk = QKV;
        a.positions = b->positions, a.cos_sin = b->cos_sin;
    }
    a.y = b->attention, a.q = b->qkv, a.ldy = HIDDEN, a.ldq = QKV;
    a.spans = b->spans, a.n_spans = b->m, a.m = 1;
    a.n_heads = a.n_kv_heads = HEADS, a.head_dim = HEAD_DIM, a.cap = a.n_keys_max = CAP;
    a.dtype = NR_DTYPE_I8, a.causal = true, a.scale = 0.0883883461f;
    a.workspace = b->workspace, a.workspace_bytes = b->workspace_bytes;
    a.sm = b->card.sm, a.n_multiprocessors = b->card.n_multiprocessors;
    a.overlap = way->overlap, a.early = way->early;
    a.joined_later = b->m == 1 && !way->apart && !way->join_apart && !way->store_apart &&
                     nr_cuda_attention_joins(&a);
    LAB_CHECK(nr_cuda_attention(&a, s));
    if (a.joined_later) LAB_CHECK(nr_cuda_join_quantize(&a, q, way->overlap, s));
    else token_quantize(b, way, q, s);
}

static void token_gate(token_bed *b, const token_way *way, cudaStream_t s) {
    if (way->no_rest) return;
    if (!way->apart) {
        LAB_CHECK(nr_cuda_gated_quantize(b->gate_up, NR_ACTIVATION_SILU, &b->q[1],
                                         way->overlap, s));
        return;
    }
    LAB_CHECK(nr_cuda_gated((float *)b->q[1].x, FFN, b->gate_up, b->m, FFN, NR_ACTIVATION_SILU, s));
    LAB_CHECK(nr_cuda_quantize(&b->q[1], s));
}

static void token_layer(token_bed *b, const token_way *way, cudaStream_t s) {
    nr_cuda_quantize_args q = b->q[0];
    token_norm(b, way, s);
    token_linear(b, way, &b->q[0], b->qkv, QKV, NULL, s);
    q.x = b->attention;
    token_attend(b, way, &q, s);
    token_linear(b, way, &q, b->hidden, HIDDEN, b->hidden, s);
    token_norm(b, way, s);
    token_linear(b, way, &b->q[0], b->gate_up, 2 * FFN, NULL, s);
    token_gate(b, way, s);
    token_linear(b, way, &b->q[1], b->hidden, HIDDEN, b->hidden, s);
}

static cudaError_t token(token_bed *b, const token_way *way, cudaStream_t s) {
    b->pool_at = 0;
    b->q[0].early = b->q[1].early = way->early;
    b->q[1].way = way->gate_way;
    for (int i = 0; i < LAYERS; i++) token_layer(b, way, s);
    token_norm(b, way, s);
    token_linear(b, way, &b->q[0], b->logits, VOCABULARY, NULL, s);
    nr_cuda_argmax_args best = {};
    best.n_rows = b->m, best.n = VOCABULARY, best.index = b->best;
    for (int32_t i = 0; i < b->m; i++) best.rows[i] = b->logits + (size_t)i * VOCABULARY;
    return nr_cuda_argmax(&best, s);
}

void lab_time_token(const lab_card *card) {
    cudaStream_t s;
    LAB_CHECK(cudaStreamCreate(&s));
    for (int32_t m : {1, 4, 8, 32}) {
        token_bed b = make_token_bed(card, m, 680);
        const size_t n = (size_t)m * VOCABULARY;
        std::vector<float> first((size_t)m * HIDDEN), expected(n), logits(n);
        lab_download(first.data(), b.hidden, first.size() * 4);
        for (const token_way &way : token_ways) {
            if (m > 8 && way.linear != CHOSEN && !way.apart) continue;
            if (card->sm != 90 && (way.overlap || way.linear >= 0)) continue;
            LAB_CHECK(cudaMemcpy(b.hidden, first.data(), first.size() * 4,
                                 cudaMemcpyHostToDevice));
            LAB_CHECK(token(&b, &way, s));
            LAB_CHECK(cudaStreamSynchronize(s));
            lab_download(logits.data(), b.logits, n * 4);
            if (&way == token_ways) expected = logits;
            std::string name = std::string("logits of a token, ") + way.name;
            if (!way.no_linears && !way.no_rest)
                lab_compare(name.c_str(), expected.data(), logits.data(), (size_t)m, VOCABULARY,
                            VOCABULARY);
            lab_time t = lab_measure_graph(s, 12, 1, [&](int) { return token(&b, &way, s); });
            printf("  token m %-2d %-18s %.3f ms (best %.3f): %.0f tok/s\n", m, way.name,
                   t.median_ms, t.best_ms, 1e3 * m / t.median_ms);
            fflush(stdout);
        }
        LAB_CHECK(cudaFree(b.pool));
    }
}

/* Rotating and storing keys and values: with the queries' rotation, and without. */
static void time_store(int32_t m, cudaStream_t s) {
    const bool prompt = m > 64;
    std::vector<int32_t> positions;
    for (int32_t i = 0; i < m; i++) positions.push_back(prompt ? i : 680);
    nr_cuda_kv_store_args k = {};
    float *qkv = floats((size_t)m * QKV, -1.0f, 1.0f);
    k.k = qkv + HIDDEN, k.v = qkv + 2 * HIDDEN, k.ldk = k.ldv = QKV;
    k.n_spans = prompt ? 1 : m, k.m = m / k.n_spans;
    k.spans = make_spans(k.n_spans, prompt ? 1 : 681);
    k.n_kv_heads = HEADS, k.head_dim = HEAD_DIM, k.cap = CAP, k.dtype = NR_DTYPE_I8;
    k.positions = lab_upload_of(positions.data(), positions.size());
    k.cos_sin = floats((size_t)CAP * HEAD_DIM, -1.0f, 1.0f);
    printf("\n    keys and values stored:");
    for (int with_q = 0; with_q < 2; with_q++) {
        k.q = with_q ? qkv : NULL, k.n_heads = with_q ? HEADS : 0;
        printf(" %s %.1f us;", with_q ? "and queries rotated" : "alone",
               1e3 * lab_measure_graph(s, 10, 50, [&](int) {
                         return nr_cuda_kv_store(&k, s);
                     }).median_ms);
    }
}

/* What stands between the linears, each alone. */
void lab_time_rows(const lab_card *card) {
    cudaStream_t s;
    LAB_CHECK(cudaStreamCreate(&s));
    for (int32_t m : {1, 32, 308, 616}) {
        token_bed b = {};
        b.m = m, b.card = *card;
        b.q[0] = make_quantize(m, HIDDEN, 8), b.q[1] = make_quantize(m, FFN, 8);
        b.hidden = floats((size_t)m * HIDDEN, -1.0f, 1.0f);
        b.gate_up = floats((size_t)m * 2 * FFN, -1.0f, 1.0f);
        b.gamma = floats(HIDDEN, 0.5f, 1.5f);
        nr_cuda_norm_args n = {(float *)b.q[0].x, b.hidden, b.gamma, NULL, m, HIDDEN, 1e-5f, false};
        struct {
            const char *name;
            std::function<cudaError_t(int)> run;
        } apart[] = {
            {"norm", [&](int) { return nr_cuda_norm(&n, s); }},
            {"quantize 4096", [&](int) { return nr_cuda_quantize(&b.q[0], s); }},
            {"gated",
             [&](int) {
                 return nr_cuda_gated((float *)b.q[1].x, FFN, b.gate_up, m, FFN, NR_ACTIVATION_SILU, s);
             }},
            {"quantize 11008", [&](int) { return nr_cuda_quantize(&b.q[1], s); }},
        };
        struct {
            const char *name;
            int q, writes; /* writes: rows of floats too */
            fused_op run;
        } fused[] = {
            {"norm + quantize", 0, 1,
             [&](const nr_cuda_quantize_args *q) {
                 return nr_cuda_norm_quantize(&n, q, false, s);
             }},
            {"quantize rows 4096", 0, 0,
             [&](const nr_cuda_quantize_args *q) { return nr_cuda_quantize_rows(q, false, s); }},
            {"quantize rows 11008", 1, 0,
             [&](const nr_cuda_quantize_args *q) { return nr_cuda_quantize_rows(q, false, s); }},
            {"gated + quantize", 1, 1,
             [&](const nr_cuda_quantize_args *q) {
                 return nr_cuda_gated_quantize(b.gate_up, NR_ACTIVATION_SILU, q, false, s);
             }},
        };
        printf("  m %-4d", m);
        for (auto &op : apart)
            printf(" %s %.1f us;", op.name, 1e3 * lab_measure_graph(s, 10, 50, op.run).median_ms);
        for (auto &op : fused) {
            nr_cuda_quantize_args q = b.q[op.q];
            for (int spent = 0; spent <= op.writes; spent++) {
                q.x_spent = spent;
                printf("\n    %s%s, ways:", op.name, spent ? ", spent" : "");
                for (q.way = 0; q.way <= WAYS; q.way++) {
                    if (op.run(&q) != cudaSuccess) continue;
                    double ms =
                        lab_measure_graph(s, 10, 50, [&](int) { return op.run(&q); }).median_ms;
                    printf(" %d: %.1f us;", q.way, 1e3 * ms);
                }
            }
        }
        time_store(m, s);
        printf("\n");
        fflush(stdout);
    }
}
#endif
