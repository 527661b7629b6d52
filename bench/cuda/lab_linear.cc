/* SPDX-License-Identifier: MIT
 *
 * lab_linear.cc - i8 linears of odd and even shapes against ops_ref.c, and of real shapes against
 * the plain kernel on the card: quantisation, sums, outliers, spikes, activation and residual, to
 * the last bit.
 */
#include "lab.h"

#include <algorithm>
#include <math.h>
#include <string>
#include <vector>

extern "C" {
#include "backend.h"
#include "quant.h"
}

typedef struct linear_case {
    int32_t m, n_out, n_in, n_outliers;
    nr_activation activation;
    bool bias, residual;
} linear_case;

typedef struct variant {
    std::string name;
    std::function<cudaError_t(const nr_cuda_linear_i8_args *)> run;
} variant;

static uint64_t next_random(void) {
    static uint64_t step;
    return nr_rng_u64(lab_seed, 1, step++);
}
static float uniform(float low, float high) {
    return low + (high - low) * (float)(next_random() >> 40) / 16777216.0f;
}

/* Host side of a case; the reference's result is in y. */
struct host_linear {
    std::vector<int8_t> codes; /* [n_out, n_in] */
    std::vector<float> x, y, residual, scale, bias, outlier_weights;
    std::vector<int32_t> outlier_columns;
};

static void make_host(host_linear *h, const linear_case *c) {
    int32_t n_pad = nr_cuda_n_out_pad(c->n_out);
    h->codes.resize((size_t)c->n_out * c->n_in);
    for (int8_t &v : h->codes) v = (int8_t)((int32_t)(next_random() >> 33) % 255 - 127);
    while ((int32_t)h->outlier_columns.size() < c->n_outliers) {
        int32_t k = (int32_t)(next_random() % (uint64_t)c->n_in);
        auto &o = h->outlier_columns;
        if (std::find(o.begin(), o.end(), k) == o.end()) o.push_back(k);
    }
    std::sort(h->outlier_columns.begin(), h->outlier_columns.end());
    for (int32_t k : h->outlier_columns)
        for (int32_t n = 0; n < c->n_out; n++) h->codes[(size_t)n * c->n_in + k] = 0;
    h->x.resize((size_t)c->m * c->n_in);
    for (float &v : h->x) {
        v = uniform(-1.0f, 1.0f);
        if (next_random() % 97 == 0) v *= 20.0f;
    }
    h->scale.resize(n_pad);
    for (float &v : h->scale) v = uniform(0.001f, 0.01f);
    h->bias.resize(n_pad);
    for (float &v : h->bias) v = uniform(-1.0f, 1.0f);
    h->outlier_weights.resize((size_t)c->n_outliers * n_pad);
    for (float &v : h->outlier_weights) v = uniform(-1.0f, 1.0f);
    h->residual.resize((size_t)c->m * c->n_out);
    for (float &v : h->residual) v = uniform(-3.0f, 3.0f);
}

static void reference(host_linear *h, const linear_case *c) {
    nr_backend *be;
    if (nr_backend_ref_open(&be, NULL) != NR_STATUS_OK) abort();
    int32_t n_pad = nr_cuda_n_out_pad(c->n_out);
    std::vector<uint8_t> packed((size_t)n_pad * nr_cuda_k_pad(c->n_in)), scratch(c->n_in);
    std::vector<int32_t> row_sum(n_pad);
    nr_linear w = {};
    w.dtype = NR_DTYPE_I8;
    w.n_out = c->n_out, w.n_in = c->n_in, w.n_outliers = c->n_outliers;
    w.weights = packed.data();
    w.scale = h->scale.data(), w.row_sum = row_sum.data();
    w.bias = c->bias ? h->bias.data() : NULL;
    w.outlier_columns = h->outlier_columns.data();
    w.outlier_weights = h->outlier_weights.data();
    be->ops->pack_rows(be, &w, 0, c->n_out, h->codes.data());
    be->ops->set_scratch(be, scratch.data(), scratch.size());
    h->y.assign((size_t)c->m * c->n_out, NAN);
    nr_linear_args a = {};
    a.y = h->y.data(), a.x = h->x.data();
    a.ldy = c->n_out, a.ldx = c->n_in, a.m = c->m;
    a.linear = &w;
    a.activation = c->activation;
    a.residual = c->residual ? h->residual.data() : NULL;
    be->ops->linear(be, &a);
    nr_backend_close(be);
}

/* Arguments of a case with everything on the card but the weights' values. */
static nr_cuda_linear_i8_args device_args(const lab_card *card, const linear_case *c,
                                          const host_linear *h, std::vector<float> *y_host) {
    nr_cuda_linear_i8_args a = {};
    a.m = c->m, a.n_out = c->n_out, a.n_in = c->n_in, a.n_outliers = c->n_outliers;
    a.k_pad = nr_cuda_k_pad(c->n_in), a.n_out_pad = nr_cuda_n_out_pad(c->n_out);
    a.ldx = c->n_in, a.ldy = c->n_out;
    a.x = lab_upload_of(h->x.data(), h->x.size());
    std::vector<int8_t> w((size_t)a.n_out_pad * a.k_pad, 0);
    for (int32_t n = 0; n < c->n_out; n++)
        memcpy(&w[(size_t)n * a.k_pad], &h->codes[(size_t)n * c->n_in], (size_t)c->n_in);
    a.weights = lab_upload_of(w.data(), w.size());
    a.scale = lab_upload_of(h->scale.data(), h->scale.size());
    a.bias = c->bias ? lab_upload_of(h->bias.data(), h->bias.size()) : NULL;
    a.outlier_columns = lab_upload_of(h->outlier_columns.data(), h->outlier_columns.size());
    a.outlier_weights = lab_upload_of(h->outlier_weights.data(), h->outlier_weights.size());
    a.residual = c->residual ? lab_upload_of(h->residual.data(), h->residual.size()) : NULL;
    a.activation = c->activation;
    a.codes = (int8_t *)lab_device((size_t)c->m * a.k_pad);
    a.sx = (float *)lab_device(sizeof(float) * c->m);
    a.spike_col = (int32_t *)lab_device(sizeof(int32_t) * 4 * c->m);
    a.spike_val = (float *)lab_device(sizeof(float) * 4 * c->m);
    a.y = (float *)lab_device(sizeof(float) * c->m * c->n_out);
    a.sm = card->sm, a.n_multiprocessors = card->n_multiprocessors;
    y_host->resize((size_t)c->m * c->n_out);
    return a;
}

static void quantize(const nr_cuda_linear_i8_args *a) {
    nr_cuda_quantize_args q = {};
    q.x = a->x, q.ldx = a->ldx, q.m = a->m, q.n_in = a->n_in, q.k_pad = a->k_pad;
    q.n_outliers = a->n_outliers, q.outlier_columns = a->outlier_columns;
    q.codes = (int8_t *)a->codes, q.sx = (float *)a->sx;
    q.spike_col = (int32_t *)a->spike_col, q.spike_val = (float *)a->spike_val;
    LAB_CHECK(nr_cuda_quantize(&q, 0));
}

static std::string name_of(const std::string &variant_name, const linear_case *c) {
    char text[160];
    snprintf(text, sizeof text, "%-10s m %d, %d x %d, %d outliers%s%s, activation %d",
             variant_name.c_str(),
             c->m, c->n_out, c->n_in, c->n_outliers, c->bias ? ", bias" : "",
             c->residual ? ", residual" : "", (int)c->activation);
    return text;
}

static void run_variant(const variant *v, const linear_case *c, nr_cuda_linear_i8_args *a,
                        const float *expected, std::vector<float> *found) {
    lab_poison(a->y, found->size() * sizeof(float));
    cudaError_t e = v->run(a);
    if (e == cudaErrorInvalidValue && !nr_cuda_tiles_fit(a)) return; /* as it says itself */
    LAB_CHECK(e);
    LAB_CHECK(cudaDeviceSynchronize());
    lab_download(found->data(), a->y, found->size() * sizeof(float));
    lab_compare(name_of(v->name, c).c_str(), expected, found->data(), (size_t)c->m,
                (size_t)c->n_out, (size_t)c->n_out);
}

/* Small shapes: against ops_ref.c on the host. */
static void check_small(const lab_card *card, const linear_case *cases, size_t n_cases,
                        const variant *variants, size_t n_variants) {
    for (size_t i = 0; i < n_cases; i++) {
        const linear_case *c = &cases[i];
        host_linear h;
        std::vector<float> found;
        make_host(&h, c);
        reference(&h, c);
        nr_cuda_linear_i8_args a = device_args(card, c, &h, &found);
        quantize(&a);
        for (size_t v = 0; v < n_variants; v++)
            run_variant(&variants[v], c, &a, h.y.data(), &found);
    }
}

/* Real shapes: against the plain kernel on the card. */
static void check_big(const lab_card *card, const linear_case *cases, size_t n_cases,
                      const variant *variants, size_t n_variants) {
    for (size_t i = 0; i < n_cases && !card->emulated; i++) {
        const linear_case *c = &cases[i];
        host_linear h;
        std::vector<float> expected, found;
        make_host(&h, c);
        nr_cuda_linear_i8_args a = device_args(card, c, &h, &found);
        quantize(&a);
        LAB_CHECK(nr_cuda_linear_i8_plain(&a, 0));
        expected.resize(found.size());
        lab_download(expected.data(), a.y, found.size() * sizeof(float));
        for (size_t v = 0; v < n_variants; v++)
            run_variant(&variants[v], c, &a, expected.data(), &found);
    }
}

static cudaError_t run_plain(const nr_cuda_linear_i8_args *a) {
    return nr_cuda_linear_i8_plain(a, 0);
}
static cudaError_t run_stream(const nr_cuda_linear_i8_args *a) {
    return nr_cuda_linear_i8_stream(a, 0);
}
static cudaError_t run_tile(const nr_cuda_linear_i8_args *a) {
    return nr_cuda_linear_i8_tile(a, false, 0);
}
static cudaError_t run_tile_small(const nr_cuda_linear_i8_args *a) {
    return nr_cuda_linear_i8_tile(a, true, 0);
}
static cudaError_t run_tile_86(const nr_cuda_linear_i8_args *a) {
    nr_cuda_linear_i8_args b = *a;
    b.sm = 86; /* as on a card with less shared memory */
    return nr_cuda_linear_i8_tile(&b, false, 0);
}
static cudaError_t run_chosen(const nr_cuda_linear_i8_args *a) {
    return nr_cuda_linear_i8(a, 0);
}

const char *lab_way_name(int way, char name[LAB_NAME]) {
    const nr_cuda_tile_way *w = nr_cuda_wgmma_way(way);
    snprintf(name, LAB_NAME, "%dx%d%s", w->outs, w->rows, w->split > 1 ? ", k/2" : "");
    return name;
}

const char *lab_ring_name(int way, char name[LAB_NAME]) {
    const nr_cuda_ring_way *w = nr_cuda_ring_way_of(way);
    snprintf(name, LAB_NAME, "ring %d/%d", w->kb, w->window);
    return name;
}

void lab_check_linears(const lab_card *card) {
    static const linear_case small[] = {
        {1, 16, 64, 0, NR_ACTIVATION_NONE, false, false},
        {1, 49, 256, 3, NR_ACTIVATION_SILU, true, true},
        {3, 200, 1104, 8, NR_ACTIVATION_GELU, false, true},
        {8, 33, 2048, 1, NR_ACTIVATION_NONE, true, false},
        {13, 100, 320, 5, NR_ACTIVATION_RELU, true, true},
        {32, 70, 1040, 8, NR_ACTIVATION_QUICK_GELU, true, false},
        {47, 40, 576, 2, NR_ACTIVATION_NONE, false, true},
        {64, 50, 192, 0, NR_ACTIVATION_NONE, false, false},
    };
    static const linear_case big[] = {
        {1, 12288, 4096, 8, NR_ACTIVATION_NONE, false, false},
        {1, 4096, 11008, 8, NR_ACTIVATION_NONE, false, true},
        {4, 22016, 4096, 8, NR_ACTIVATION_NONE, false, false},
        {32, 4096, 11008, 8, NR_ACTIVATION_NONE, false, true},
        {32, 12288, 4096, 8, NR_ACTIVATION_NONE, false, false},
        {64, 4096, 4096, 8, NR_ACTIVATION_NONE, false, true},
    };
    static const variant variants[] = {{"plain", run_plain}, {"stream", run_stream}};
    check_small(card, small, NR_COUNT(small), variants, NR_COUNT(variants));
    check_big(card, big, NR_COUNT(big), variants, NR_COUNT(variants));
    for (int way = 0; way < nr_cuda_stream_ways(); way++) {
        int rows_max;
        variant v = {nr_cuda_stream_way(way, &rows_max), [way](const nr_cuda_linear_i8_args *a) {
                         return nr_cuda_linear_i8_stream_way(a, way, 0);
                     }};
        check_small(card, rows_max == 8 ? &small[2] : &small[5], 1, &v, 1); /* m 3 and 32 */
        check_big(card, rows_max == 8 ? &big[1] : &big[3], 1, &v, 1);
    }
    static const linear_case wraps[] = {{5, 390, 4112, 8, NR_ACTIVATION_SILU, true, true},
                                        {8, 115, 11008, 8, NR_ACTIVATION_NONE, false, true}};
    for (int way = 0; way < nr_cuda_ring_ways() && card->sm == 90; way++) {
        char name[LAB_NAME];
        const variant v = {lab_ring_name(way, name),
                           [way](const nr_cuda_linear_i8_args *a) {
                               return nr_cuda_linear_i8_ring(a, way, 0);
                           }};
        check_small(card, small, 4, &v, 1);
        check_small(card, wraps, NR_COUNT(wraps), &v, 1);
        check_big(card, big, 3, &v, 1);
    }
    static const linear_case odd[] = {{1, 5, 3, 0, NR_ACTIVATION_NONE, true, true},
                                      {2, 19, 70, 2, NR_ACTIVATION_NONE, true, true},
                                      {70, 35, 131, 4, NR_ACTIVATION_GELU, true, true}};
    static const variant chosen[] = {{"chosen", run_chosen}};
    check_small(card, odd, NR_COUNT(odd), chosen, 1);
    check_small(card, small, NR_COUNT(small), chosen, 1);
}

static const linear_case many_small[] = {
    {65, 40, 64, 0, NR_ACTIVATION_NONE, false, false},
    {130, 300, 592, 8, NR_ACTIVATION_SILU, true, true},
    {577, 144, 320, 3, NR_ACTIVATION_QUICK_GELU, true, false},
    {200, 1040, 144, 32, NR_ACTIVATION_GELU, false, true},
    {66, 40, 4096, 2, NR_ACTIVATION_QUICK_GELU, true, true}, /* to -100, where e^x is past 2^64 */
    {129, 130, 4096, 8, NR_ACTIVATION_NONE, true, true},
};
static const linear_case many_big[] = {
    {616, 12288, 4096, 8, NR_ACTIVATION_NONE, false, false},
    {616, 4096, 11008, 8, NR_ACTIVATION_NONE, false, true},
    {616, 4096, 4096, 8, NR_ACTIVATION_NONE, false, true},
    {577, 1024, 4096, 4, NR_ACTIVATION_NONE, true, true},
    {577, 4096, 1024, 4, NR_ACTIVATION_QUICK_GELU, true, false},
};

void lab_check_tiles(const lab_card *card) {
    static const variant variants[] = {{"tile 128", run_tile},
                                       {"tile 64", run_tile_small},
                                       {"tile 86", run_tile_86},
                                       {"chosen", run_chosen}};
    size_t n = card->emulated ? 3 : NR_COUNT(many_small);
    check_small(card, many_small, n, variants, NR_COUNT(variants));
    check_big(card, many_big, NR_COUNT(many_big), variants, NR_COUNT(variants));
}

void lab_check_wgmma(const lab_card *card) {
    static const linear_case few[] = {
        {9, 70, 144, 8, NR_ACTIVATION_NONE, true, true},
        {32, 200, 1104, 8, NR_ACTIVATION_GELU, false, true},
        {32, 4096, 4096, 8, NR_ACTIVATION_NONE, false, true},
    };
    std::vector<variant> v;
    if (card->sm != 90) return;
    for (int way = 0; way < nr_cuda_wgmma_ways(); way++) {
        char name[LAB_NAME];
        v.push_back({lab_way_name(way, name), [way](const nr_cuda_linear_i8_args *a) {
                         return nr_cuda_linear_i8_wgmma(a, way, 0);
                     }});
    }
    check_small(card, few, 2, v.data(), v.size());
    check_big(card, few + 2, 1, v.data(), v.size());
    check_small(card, many_small, NR_COUNT(many_small), v.data(), v.size());
    check_big(card, many_big, NR_COUNT(many_big), v.data(), v.size());
}
