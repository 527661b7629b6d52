/* SPDX-License-Identifier: MIT
 *
 * lab_attention.cc - attention over i8, f16 and f32 caches: the row kernel against the plain one to
 * the last bit, tensor cores near it and the same for one row as for many; and the time of all:
 * decode of one and of 32 sequences, a prompt, the vision tower.
 */
#include "attention_ways.h"
#include "lab.h"

#include <math.h>
#include <string>
#include <vector>

typedef struct attention_case {
    const char *name;
    int32_t n_spans, m, n_heads, n_kv_heads, head_dim, cap, pos0;
    nr_dtype dtype;
    bool causal;
} attention_case;

static const char *const dtypes[] = {"f32", "f16", "bf16", "i8"};

/* Caches filled through nr_cuda_kv_store from random rows; q random. */
static nr_cuda_attention_args make_case(const lab_card *card, const attention_case *c) {
    size_t element = c->dtype == NR_DTYPE_I8 ? 1 : c->dtype == NR_DTYPE_F16 ? 2 : 4;
    size_t values = (size_t)c->n_kv_heads * c->cap * c->head_dim;
    std::vector<nr_cuda_span> spans(c->n_spans);
    size_t row = (size_t)c->n_kv_heads * c->head_dim;
    float *kv_rows = (float *)lab_device(sizeof(float) * row * c->cap * 2);
    for (int i = 0; i < c->n_spans; i++) {
        nr_cuda_span *s = &spans[i];
        s->k = lab_device(values * element), s->v = lab_device(values * element);
        s->k_scale = (float *)lab_device(sizeof(float) * c->n_kv_heads * c->cap);
        s->v_scale = (float *)lab_device(sizeof(float) * c->n_kv_heads * c->cap);
        lab_fill_floats(kv_rows, row * c->cap * 2, -1.5f, 1.5f, lab_seed + 7 + i);
        nr_cuda_span store = *s;
        int32_t pos0 = NR_MAX(c->pos0 - 37 * i, 0); /* sequences of a batch differ in length */
        int32_t n_keys = c->causal ? pos0 + c->m : pos0;
        store.row0 = 0, store.m = n_keys, store.pos0 = 0, store.n_keys = n_keys;
        nr_cuda_kv_store_args k = {};
        k.k = kv_rows, k.v = kv_rows + row * c->cap;
        k.ldk = k.ldv = (int64_t)row;
        k.spans = lab_upload_of(&store, 1), k.n_spans = 1, k.m = n_keys;
        k.n_kv_heads = c->n_kv_heads, k.head_dim = c->head_dim, k.cap = c->cap;
        k.dtype = c->dtype;
        LAB_CHECK(nr_cuda_kv_store(&k, 0));
        LAB_CHECK(cudaDeviceSynchronize());
        s->row0 = i * c->m, s->m = c->m, s->pos0 = pos0, s->n_keys = n_keys;
    }
    nr_cuda_attention_args a = {};
    a.ldq = a.ldy = c->n_heads * c->head_dim;
    size_t rows = (size_t)c->n_spans * c->m;
    float *q = (float *)lab_device(sizeof(float) * rows * a.ldq);
    lab_fill_floats(q, rows * a.ldq, -2.0f, 2.0f, lab_seed + 5);
    a.q = q;
    a.y = (float *)lab_device(sizeof(float) * rows * a.ldy);
    a.spans = lab_upload_of(spans.data(), spans.size());
    a.n_spans = c->n_spans, a.m = c->m;
    a.n_heads = c->n_heads, a.n_kv_heads = c->n_kv_heads, a.head_dim = c->head_dim, a.cap = c->cap;
    a.n_keys_max = c->causal ? c->cap : c->pos0;
    a.dtype = c->dtype, a.causal = c->causal;
    a.scale = 1.0f / sqrtf((float)c->head_dim);
    /* On a card as much as the engine has; else the least, for as many launches as that takes. */
    a.workspace_bytes = nr_cuda_attention_workspace(a.ldq, c->cap, card->n_multiprocessors);
    if (!card->emulated) a.workspace_bytes = NR_MAX(a.workspace_bytes, (size_t)16 << 20);
    a.workspace = lab_device(a.workspace_bytes);
    a.sm = card->sm, a.n_multiprocessors = card->n_multiprocessors;
    return a;
}

typedef cudaError_t (*attention_way)(const nr_cuda_attention_args *, cudaStream_t);

/* Blocks of 64 and of 128 rows. */
static cudaError_t halves_64(const nr_cuda_attention_args *a, cudaStream_t stream) {
    return nr_cuda_attention_halves(a, 64, stream);
}
static cudaError_t halves_128(const nr_cuda_attention_args *a, cudaStream_t stream) {
    return nr_cuda_attention_halves(a, 128, stream);
}

static std::vector<float> run(const nr_cuda_attention_args *a, attention_way way) {
    std::vector<float> y((size_t)a->n_spans * a->m * a->ldy);
    lab_poison(a->y, sizeof(float) * y.size());
    LAB_CHECK(way(a, 0));
    LAB_CHECK(cudaDeviceSynchronize());
    lab_download(y.data(), a->y, sizeof(float) * y.size());
    return y;
}

/* A row's bits are the same whatever it is computed with: one span after the other. */
static void check_alone(const std::string &name, const nr_cuda_attention_args *a,
                        const std::vector<float> &expected) {
    std::vector<float> y((size_t)a->n_spans * a->m * a->ldy);
    lab_poison(a->y, sizeof(float) * y.size());
    for (int32_t i = 0; i < a->n_spans; i++) {
        nr_cuda_attention_args one = *a;
        one.spans = a->spans + i, one.n_spans = 1;
        LAB_CHECK(nr_cuda_attention_split(&one, 0));
    }
    LAB_CHECK(cudaDeviceSynchronize());
    lab_download(y.data(), a->y, sizeof(float) * y.size());
    size_t rows = (size_t)a->n_spans * a->m, columns = (size_t)a->ldy;
    lab_compare(("alone, " + name).c_str(), expected.data(), y.data(), rows, columns, columns);
}

/* The caches of all spans, one behind the other. */
static std::vector<uint8_t> take_caches(const nr_cuda_attention_args *a) {
    std::vector<nr_cuda_span> spans(a->n_spans);
    std::vector<uint8_t> all;
    size_t scales = (size_t)a->n_kv_heads * a->cap * sizeof(float);
    lab_download(spans.data(), a->spans, spans.size() * sizeof spans[0]);
    for (const nr_cuda_span &s : spans) {
        const void *parts[] = {s.k, s.v, s.k_scale, s.v_scale};
        for (int i = 0; i < 4; i++) {
            size_t bytes = i < 2 ? scales / sizeof(float) * a->head_dim : scales, at = all.size();
            all.resize(at + bytes);
            lab_download(&all[at], parts[i], bytes);
        }
    }
    return all;
}

/* Attention that rotates its queries, and stores keys and values where it can, gives what launches
 * of their own give: rows and caches. */
static void check_stored(const lab_card *card, const attention_case *c) {
    nr_cuda_attention_args a = make_case(card, c);
    if (!c->causal || !nr_cuda_attention_rotates(&a)) return;
    const int32_t width = (c->n_heads + 2 * c->n_kv_heads) * c->head_dim, rows = c->n_spans * c->m;
    float *qkv = (float *)lab_device(sizeof(float) * rows * width);
    float *cos_sin = (float *)lab_device(sizeof(float) * c->cap * c->head_dim);
    std::vector<int32_t> positions;
    for (int i = 0; i < rows; i++)
        positions.push_back(NR_MAX(c->pos0 - 37 * (i / c->m), 0) + i % c->m);
    lab_fill_floats(cos_sin, (size_t)c->cap * c->head_dim, -1.0f, 1.0f, lab_seed + 31);
    a.q = qkv, a.ldq = a.ldk = width;
    nr_cuda_kv_store_args k = {};
    k.k = qkv + c->n_heads * c->head_dim, k.v = k.k + c->n_kv_heads * c->head_dim;
    k.ldk = k.ldv = width, k.spans = a.spans, k.n_spans = c->n_spans, k.m = c->m;
    k.n_kv_heads = c->n_kv_heads, k.head_dim = c->head_dim, k.cap = c->cap, k.dtype = c->dtype;
    k.positions = lab_upload_of(positions.data(), positions.size());
    for (int rotated = 0; rotated < 2; rotated++) {
        lab_fill_floats(qkv, (size_t)rows * width, -2.0f, 2.0f, lab_seed + 32 + rotated);
        k.cos_sin = rotated ? cos_sin : NULL, k.q = NULL, k.n_heads = 0;
        nr_cuda_attention_args one = a;
        one.positions = k.positions, one.cos_sin = k.cos_sin;
        if (nr_cuda_attention_stores(&a)) one.k = k.k, one.v = k.v;
        else LAB_CHECK(nr_cuda_kv_store(&k, 0));
        std::vector<float> found = run(&one, nr_cuda_attention); /* first: it finds no codes */
        std::vector<uint8_t> stored = take_caches(&a);
        k.q = qkv, k.n_heads = c->n_heads;
        LAB_CHECK(nr_cuda_kv_store(&k, 0));
        std::vector<float> expected = run(&a, nr_cuda_attention);
        std::string name = std::string(rotated ? "rotated, " : "") + "stored and attended, " +
                           c->name;
        lab_compare(name.c_str(), expected.data(), found.data(), (size_t)rows, (size_t)a.ldy,
                    (size_t)a.ldy);
        bool same = stored == take_caches(&a);
        lab_failures += !same;
        printf("  %s  caches, %s\n", same ? "equal" : "WRONG", name.c_str());
    }
}

/* Rows of keys and values in the place of the cache that holds them. */
static void check_skipped(const lab_card *card, const attention_case *c) {
    nr_cuda_attention_args a = make_case(card, c);
    if (!nr_cuda_attention_skips_cache(&a)) return;
    const int32_t half = c->n_heads * c->head_dim, n_keys = c->pos0;
    float *kv = (float *)lab_device(sizeof(float) * n_keys * 2 * half);
    lab_fill_floats(kv, (size_t)n_keys * 2 * half, -1.5f, 1.5f, lab_seed + 41);
    nr_cuda_span span;
    lab_download(&span, a.spans, sizeof span);
    span.row0 = span.pos0 = 0, span.m = n_keys;
    nr_cuda_kv_store_args k = {};
    k.k = kv, k.v = kv + half, k.ldk = k.ldv = 2 * half;
    k.spans = lab_upload_of(&span, 1), k.n_spans = 1, k.m = n_keys;
    k.n_kv_heads = c->n_kv_heads, k.head_dim = c->head_dim, k.cap = c->cap, k.dtype = c->dtype;
    LAB_CHECK(nr_cuda_kv_store(&k, 0));
    std::vector<float> expected = run(&a, nr_cuda_attention);
    const size_t bytes = sizeof(float) * c->n_kv_heads * c->cap * c->head_dim;
    lab_poison(span.k, bytes), lab_poison(span.v, bytes);
    a.k = k.k, a.v = k.v, a.ldk = k.ldk;
    lab_compare((std::string("rows for the cache, ") + c->name).c_str(), expected.data(),
                run(&a, nr_cuda_attention).data(), (size_t)c->m, (size_t)a.ldy, (size_t)a.ldy);
}

/* What is not a number does not become one: the first head of the first row, all of it. */
static void check_nan(const std::string &name, const nr_cuda_attention_args *a, attention_way way) {
    float q, nan = NAN;
    lab_download(&q, a->q, sizeof q);
    LAB_CHECK(cudaMemcpy((float *)a->q, &nan, sizeof nan, cudaMemcpyHostToDevice));
    std::vector<float> y = run(a, way);
    LAB_CHECK(cudaMemcpy((float *)a->q, &q, sizeof q, cudaMemcpyHostToDevice));
    bool all = true;
    for (int32_t i = 0; i < a->head_dim; i++) all &= y[i] != y[i];
    lab_failures += !all;
    printf("  %s  not a number, %s\n", all ? "equal" : "WRONG", name.c_str());
}

/* Near the plain kernel. */
static std::vector<float> check_way(const std::string &name, const nr_cuda_attention_args *a,
                                    attention_way way, const std::vector<float> &expected) {
    std::vector<float> tile = run(a, way);
    double worst = 0.0, largest = 0.0;
    for (size_t i = 0; i < tile.size(); i++) {
        worst = fmax(worst, fabs((double)tile[i] - expected[i]));
        largest = fmax(largest, fabs((double)expected[i]));
        if (tile[i] != tile[i]) worst = INFINITY;
    }
    bool near = worst <= 1e-5 * largest;
    lab_failures += !near;
    printf("  %s  %s: off by %.1e of %.1e\n", near ? "near " : "WRONG", name.c_str(), worst,
           largest);
    check_nan(name, a, way);
    return tile;
}

/* Tensor cores: near the plain kernel, and the same bits for one row as for many. */
static void check_near(const std::string &name, const nr_cuda_attention_args *a,
                       const std::vector<float> &expected) {
    std::vector<float> tile = check_way("tile, " + name, a, nr_cuda_attention_tile, expected);
    if (nr_cuda_attention_halves_fits(a)) {
        std::vector<float> halves = check_way("halves, " + name, a, halves_64, expected);
        lab_compare(("halves of 128 rows, " + name).c_str(), halves.data(),
                    run(a, halves_128).data(), (size_t)a->m, (size_t)a->ldy, (size_t)a->ldy);
    }
    if (a->dtype != NR_DTYPE_I8) return;
    std::vector<float> split = run(a, nr_cuda_attention_split);
    size_t rows = (size_t)a->n_spans * a->m, columns = (size_t)a->ldy;
    lab_compare(("split as tile, " + name).c_str(), tile.data(), split.data(), rows, columns,
                columns);
    check_nan("split, " + name, a, nr_cuda_attention_split);
    if (nr_cuda_attention_codes_fits(a)) {
        lab_compare(("codes as tile, " + name).c_str(), tile.data(),
                    run(a, nr_cuda_attention_codes).data(), rows, columns, columns);
        check_nan("codes, " + name, a, nr_cuda_attention_codes);
    }
    check_alone(name, a, split);
}

void lab_check_attention(const lab_card *card) {
    static const attention_case cases[] = {
        {"one", 1, 1, 4, 4, 128, 320, 299, NR_DTYPE_I8, true},
        {"one", 1, 1, 4, 2, 64, 64, 0, NR_DTYPE_I8, true},
        {"long", 1, 2, 2, 2, 128, 1024, 1000, NR_DTYPE_I8, true},
        {"grouped", 3, 1, 8, 2, 128, 640, 511, NR_DTYPE_F16, true},
        {"batch", 3, 1, 8, 2, 128, 640, 511, NR_DTYPE_I8, true},
        {"rows", 1, 37, 4, 4, 80, 96, 40, NR_DTYPE_I8, true},
        {"rows", 2, 70, 2, 1, 128, 288, 129, NR_DTYPE_I8, true},
        {"rows", 2, 5, 3, 3, 64, 288, 257, NR_DTYPE_F32, true},
        {"vision", 1, 70, 2, 2, 64, 80, 70, NR_DTYPE_F32, false},
        {"vision", 1, 70, 1, 1, 40, 592, 577, NR_DTYPE_F32, false},
        {"vision", 1, 1, 1, 1, 64, 64, 64, NR_DTYPE_F32, false},
        {"vision", 1, 130, 2, 2, 88, 144, 130, NR_DTYPE_F32, false},
        {"vision", 1, 577, 1, 1, 64, 592, 577, NR_DTYPE_F32, false},
        {"vision", 1, 5, 4, 4, 12, 80, 65, NR_DTYPE_F32, false},
        {"vision", 1, 100, 4, 4, 40, 304, 300, NR_DTYPE_F32, false},
        {"all keys", 1, 13, 4, 1, 128, 64, 64, NR_DTYPE_I8, false},
        {"all keys", 1, 65, 4, 1, 16, 80, 65, NR_DTYPE_I8, false},
        {"all keys", 1, 100, 4, 2, 80, 144, 129, NR_DTYPE_I8, false},
        {"prompt", 1, 300, 2, 1, 64, 304, 0, NR_DTYPE_I8, true},
        {"prompt", 1, 308, 1, 1, 128, 624, 308, NR_DTYPE_I8, true},
        {"odd", 1, 5, 2, 2, 12, 32, 9, NR_DTYPE_I8, true},
        {"wide", 1, 2, 1, 1, 520, 32, 20, NR_DTYPE_F16, true},
    };
    for (const attention_case &c : cases) {
        nr_cuda_attention_args a = make_case(card, &c);
        size_t rows = (size_t)c.n_spans * c.m, columns = (size_t)a.ldy;
        std::vector<float> expected = run(&a, nr_cuda_attention_plain);
        std::vector<float> found = run(&a, nr_cuda_attention_row);
        char name[120];
        snprintf(name, sizeof name, "%s: %d x %d rows, %d/%d heads of %d, %d keys, %s", c.name,
                 c.n_spans, c.m, c.n_heads, c.n_kv_heads, c.head_dim, c.pos0, dtypes[c.dtype]);
        lab_compare((std::string("row, ") + name).c_str(), expected.data(), found.data(), rows,
                    columns, columns);
        if (nr_cuda_attention_tile_fits(&a)) check_near(name, &a, expected);
        found = run(&a, nr_cuda_attention);
        a.overlap = a.early = true;
        lab_compare((std::string("overlapped, ") + name).c_str(), found.data(),
                    run(&a, nr_cuda_attention).data(), rows, columns, columns);
        check_stored(card, &c);
        check_skipped(card, &c);
    }
}

#ifndef NR_CUDA_EMULATED
void lab_time_attention(const lab_card *card) {
    static const attention_case cases[] = {
        {"decode 1", 1, 1, 32, 32, 128, 1024, 616, NR_DTYPE_I8, true},
        {"decode 1", 1, 1, 32, 32, 128, 1024, 743, NR_DTYPE_I8, true},
        {"decode 1", 1, 1, 32, 32, 128, 1024, 743, NR_DTYPE_F16, true},
        {"decode 32", 32, 1, 32, 32, 128, 1024, 680, NR_DTYPE_I8, true},
        {"prompt", 1, 616, 32, 32, 128, 1024, 0, NR_DTYPE_I8, true},
        {"1st half", 1, 308, 32, 32, 128, 1024, 0, NR_DTYPE_I8, true},
        {"2nd half", 1, 308, 32, 32, 128, 1024, 308, NR_DTYPE_I8, true},
        {"vision", 1, 577, 16, 16, 64, 592, 577, NR_DTYPE_F32, false},
    };
    for (const attention_case &c : cases) {
        nr_cuda_attention_args a = make_case(card, &c);
        cudaStream_t stream;
        LAB_CHECK(cudaStreamCreate(&stream));
        struct {
            const char *name;
            attention_way run;
            int inner;
        } ways[] = {{"chosen", nr_cuda_attention, 16},
                    {"row", nr_cuda_attention_row, 16},
                    {"tile", nr_cuda_attention_tile, 8},
                    {"split", nr_cuda_attention_split, 8},
                    {"codes", nr_cuda_attention_codes, 8},
                    {"halves 64", halves_64, 8},
                    {"halves 128", halves_128, 8},
                    {"plain", nr_cuda_attention_plain, 1}};
        printf("  %-10s %-4s %4d keys:", c.name, dtypes[c.dtype],
               c.causal ? c.pos0 + c.m : c.pos0);
        for (auto &w : ways) {
            if (w.run(&a, stream) != cudaSuccess) continue;
            lab_time t = lab_measure_graph(stream, 5, w.inner,
                                           [&](int) { return w.run(&a, stream); });
            printf(" %s %.1f us;", w.name, 1e3 * t.median_ms);
        }
        printf("\n");
        fflush(stdout);
    }
}
#endif
