/* SPDX-License-Identifier: MIT
 *
 * lab_attention.cc - attention over i8, f16 and f32 caches against the plain kernel, to the last bit,
 * and its time: decode of one and of 32 sequences, a prompt, the vision tower.
 */
#include "lab.h"

#include <math.h>
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
    int32_t n_keys = c->causal ? c->pos0 + c->m : c->pos0;
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
        store.row0 = 0, store.m = n_keys, store.pos0 = 0, store.n_keys = n_keys;
        nr_cuda_kv_store_args k = {};
        k.k = kv_rows, k.v = kv_rows + row * c->cap;
        k.ldk = k.ldv = (int64_t)row;
        k.spans = lab_upload_of(&store, 1), k.n_spans = 1, k.m = n_keys;
        k.n_kv_heads = c->n_kv_heads, k.head_dim = c->head_dim, k.cap = c->cap;
        k.dtype = c->dtype;
        LAB_CHECK(nr_cuda_kv_store(&k, 0));
        LAB_CHECK(cudaDeviceSynchronize());
        s->row0 = i * c->m, s->m = c->m, s->pos0 = c->pos0, s->n_keys = n_keys;
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
    a.n_keys_max = c->causal ? c->cap : n_keys;
    a.dtype = c->dtype, a.causal = c->causal;
    a.scale = 1.0f / sqrtf((float)c->head_dim);
    size_t fast = nr_cuda_attention_workspace(c->m, c->cap, card->n_multiprocessors);
    size_t plain = nr_cuda_attention_plain_workspace(c->cap, card->n_multiprocessors);
    a.workspace_bytes = NR_MAX(fast, plain);
    a.workspace = lab_device(a.workspace_bytes);
    a.sm = card->sm, a.n_multiprocessors = card->n_multiprocessors;
    return a;
}

void lab_check_attention(const lab_card *card) {
    static const attention_case cases[] = {
        {"one", 1, 1, 4, 4, 128, 320, 299, NR_DTYPE_I8, true},
        {"one", 1, 1, 4, 2, 64, 64, 0, NR_DTYPE_I8, true},
        {"grouped", 3, 1, 8, 2, 128, 640, 511, NR_DTYPE_F16, true},
        {"rows", 1, 37, 4, 4, 80, 96, 40, NR_DTYPE_I8, true},
        {"rows", 2, 5, 3, 3, 64, 288, 257, NR_DTYPE_F32, true},
        {"vision", 1, 70, 2, 2, 64, 80, 70, NR_DTYPE_F32, false},
        {"odd", 1, 5, 2, 2, 12, 32, 9, NR_DTYPE_I8, true},
        {"wide", 1, 2, 1, 1, 520, 32, 20, NR_DTYPE_F16, true},
    };
    for (const attention_case &c : cases) {
        nr_cuda_attention_args a = make_case(card, &c);
        size_t rows = (size_t)c.n_spans * c.m, columns = (size_t)a.ldy;
        std::vector<float> expected(rows * columns), found(rows * columns);
        LAB_CHECK(nr_cuda_attention_plain(&a, 0));
        LAB_CHECK(cudaDeviceSynchronize());
        lab_download(expected.data(), a.y, sizeof(float) * rows * columns);
        lab_poison(a.y, sizeof(float) * rows * columns);
        LAB_CHECK(nr_cuda_attention(&a, 0));
        LAB_CHECK(cudaDeviceSynchronize());
        lab_download(found.data(), a.y, sizeof(float) * rows * columns);
        char name[120];
        snprintf(name, sizeof name, "attention %s: %d x %d rows, %d/%d heads of %d, %d keys, %s",
                 c.name, c.n_spans, c.m, c.n_heads, c.n_kv_heads, c.head_dim, c.pos0,
                 dtypes[c.dtype]);
        lab_compare(name, expected.data(), found.data(), rows, columns, columns);
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
        {"vision", 1, 577, 16, 16, 64, 592, 577, NR_DTYPE_F32, false},
    };
    for (const attention_case &c : cases) {
        nr_cuda_attention_args a = make_case(card, &c);
        cudaStream_t stream;
        LAB_CHECK(cudaStreamCreate(&stream));
        lab_time t = lab_measure_graph(stream, 10, 16, [&](int) {
            return nr_cuda_attention(&a, stream);
        });
        lab_time plain = lab_measure_graph(stream, 3, 2, [&](int) {
            return nr_cuda_attention_plain(&a, stream);
        });
        printf("  %-10s %-4s %4d keys: %.1f us (best %.1f), plain %.1f us\n", c.name,
               dtypes[c.dtype], c.causal ? c.pos0 + c.m : c.pos0, 1e3 * t.median_ms,
               1e3 * t.best_ms, 1e3 * plain.median_ms);
        fflush(stdout);
    }
}
#endif
