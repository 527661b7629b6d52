/* SPDX-License-Identifier: MIT
 *
 * lab_join.cc - attention whose chunks are added up where the row becomes codes, against the
 * launches apart, to the last bit.
 */
#include "lab.h"

#include <vector>

#include "cuda_fused.h"

#define DIM 128
#define CAP 256

/* Sequences of one row each: their caches, and the row of queries, keys and values. */
static nr_cuda_attention_args make_attention(const lab_card *card, int32_t n_spans,
                                             int32_t n_heads, int32_t keys) {
    const int32_t width = 3 * n_heads * DIM;
    const size_t values = (size_t)n_heads * CAP * DIM;
    std::vector<nr_cuda_span> spans((size_t)n_spans);
    std::vector<int32_t> positions;
    for (int32_t i = 0; i < n_spans; i++) {
        nr_cuda_span *s = &spans[(size_t)i];
        s->k = lab_device(values), s->v = lab_device(values);
        lab_fill_codes((int8_t *)s->k, values, lab_seed + 2 * (uint64_t)i);
        lab_fill_codes((int8_t *)s->v, values, lab_seed + 2 * (uint64_t)i + 1);
        s->k_scale = (float *)lab_device(sizeof(float) * (size_t)n_heads * CAP);
        s->v_scale = (float *)lab_device(sizeof(float) * (size_t)n_heads * CAP);
        lab_fill_floats(s->k_scale, (size_t)n_heads * CAP, 0.001f, 0.01f, lab_seed + 3);
        lab_fill_floats(s->v_scale, (size_t)n_heads * CAP, 0.001f, 0.01f, lab_seed + 4);
        s->row0 = i, s->m = 1, s->pos0 = keys - 1 - 60 * i, s->n_keys = keys - 60 * i;
        positions.push_back(s->pos0);
    }
    nr_cuda_attention_args a = {};
    float *rows = (float *)lab_device(sizeof(float) * (size_t)(n_spans * width));
    float *cos_sin = (float *)lab_device(sizeof(float) * CAP * DIM);
    lab_fill_floats(rows, (size_t)(n_spans * width), -1.0f, 1.0f, lab_seed + 5);
    lab_fill_floats(cos_sin, CAP * DIM, -1.0f, 1.0f, lab_seed + 6);
    a.q = rows, a.k = rows + n_heads * DIM, a.v = rows + 2 * n_heads * DIM;
    a.ldq = a.ldk = width, a.ldy = n_heads * DIM;
    a.y = (float *)lab_device(sizeof(float) * (size_t)(n_spans * n_heads * DIM));
    a.spans = lab_upload_of(spans.data(), spans.size());
    a.positions = lab_upload_of(positions.data(), positions.size());
    a.cos_sin = cos_sin;
    a.n_spans = n_spans, a.m = 1, a.n_heads = a.n_kv_heads = n_heads, a.head_dim = DIM;
    a.cap = a.n_keys_max = CAP;
    a.dtype = NR_DTYPE_I8, a.causal = true, a.scale = 0.0883883461f;
    a.workspace_bytes = (size_t)n_spans * (size_t)n_heads * (CAP / 64) * (DIM + 2) * sizeof(float);
    a.workspace = lab_device(a.workspace_bytes);
    a.sm = card->sm, a.n_multiprocessors = card->n_multiprocessors;
    return a;
}

/* All that a row becomes, one after the other. */
static std::vector<uint8_t> take(const nr_cuda_quantize_args *q) {
    const size_t m = (size_t)q->m, spikes = m * NR_CUDA_SPIKES * 4;
    struct {
        void *from;
        size_t bytes;
    } parts[] = {{(void *)q->x, m * (size_t)q->n_in * 4},
                 {q->codes, m * (size_t)q->k_pad},
                 {q->sx, m * 4},
                 {q->spike_col, spikes},
                 {q->spike_val, spikes}};
    std::vector<uint8_t> all;
    LAB_CHECK(cudaDeviceSynchronize());
    for (auto &p : parts) {
        all.resize(all.size() + p.bytes);
        lab_download(all.data() + all.size() - p.bytes, p.from, p.bytes);
        lab_poison(p.from, p.bytes);
    }
    return all;
}

static void check(const lab_card *card, int32_t n_spans, int32_t n_heads, int32_t keys) {
    static const int32_t columns[] = {0, 77, 255};
    nr_cuda_attention_args a = make_attention(card, n_spans, n_heads, keys);
    nr_cuda_quantize_args q = {};
    const size_t m = (size_t)n_spans;
    q.x = a.y, q.ldx = a.ldy, q.m = n_spans, q.n_in = q.k_pad = n_heads * DIM;
    q.n_outliers = (int32_t)NR_COUNT(columns);
    q.outlier_columns = lab_upload_of(columns, NR_COUNT(columns));
    q.codes = (int8_t *)lab_device(m * (size_t)q.k_pad);
    q.sx = (float *)lab_device(m * 4);
    q.spike_col = (int32_t *)lab_device(m * NR_CUDA_SPIKES * 4);
    q.spike_val = (float *)lab_device(m * NR_CUDA_SPIKES * 4);
    LAB_CHECK(nr_cuda_attention(&a, 0));
    LAB_CHECK(nr_cuda_quantize(&q, 0));
    const std::vector<uint8_t> expected = take(&q);
    lab_poison(a.workspace, a.workspace_bytes);
    a.joined_later = true;
    LAB_CHECK(nr_cuda_attention(&a, 0));
    LAB_CHECK(nr_cuda_join_quantize(&a, &q, false, 0));
    const bool equal = take(&q) == expected;
    lab_failures += !equal;
    printf("  %s  %d sequences of up to %d keys, %d heads, to codes\n", equal ? "equal" : "WRONG",
           n_spans, keys, n_heads);
}

void lab_check_join(const lab_card *card) {
    if (card->sm != 90) return;
    check(card, 1, 2, 1);
    check(card, 3, 5, 130);
    check(card, 2, 32, 256);
    check(card, 1, 40, 65);
}
