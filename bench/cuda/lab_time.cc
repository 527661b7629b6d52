/* SPDX-License-Identifier: MIT
 *
 * lab_time.cc - the time of each kernel on the shapes of LLaVA-1.5-7B, and what they add up to.
 * Weights rotate through a pool far larger than the L2 cache; launches are captured into a graph,
 * as the engine does, so that launching costs what it will cost.
 */
#include "lab.h"

#include <algorithm>
#include <vector>

#include "cuda_fused.h"

#define POOL_BYTES ((size_t)3 << 30)
#define LAYERS 32
#define OUTLIERS 8

typedef struct shape {
    const char *name;
    int32_t n_out, n_in;
    int count; /* in the model */
} shape;

static const shape language[] = {{"qkv", 12288, 4096, LAYERS},
                                 {"o", 4096, 4096, LAYERS},
                                 {"gate_up", 22016, 4096, LAYERS},
                                 {"down", 4096, 11008, LAYERS},
                                 {"head", 32064, 4096, 1}};
static const shape vit_g[] = {{"qkv", 4224, 1408, 39}, /* BLIP-2's tower */
                              {"o", 1408, 1408, 39},
                              {"fc1", 6144, 1408, 39},
                              {"fc2", 1408, 6144, 39}};
static const shape vision[] = {{"qkv", 3072, 1024, 23},
                               {"o", 1024, 1024, 23},
                               {"fc1", 4096, 1024, 23},
                               {"fc2", 1024, 4096, 23},
                               {"proj1", 4096, 1024, 1},
                               {"proj2", 4096, 4096, 1}};

typedef struct bed { /* everything a linear of any shape and m needs */
    int8_t *pool;
    nr_cuda_linear_i8_args a;
} bed;

static bed make_bed(const lab_card *card, int32_t m_max) {
    bed b = {};
    const size_t n_in_max = 11008, n_out_max = 32064;
    b.pool = (int8_t *)lab_device(POOL_BYTES);
    lab_fill_codes(b.pool, POOL_BYTES, lab_seed);
    float *x = (float *)lab_device(sizeof(float) * m_max * n_in_max);
    lab_fill_floats(x, (size_t)m_max * n_in_max, -1.0f, 1.0f, lab_seed + 1);
    float *scale = (float *)lab_device(sizeof(float) * n_out_max);
    lab_fill_floats(scale, n_out_max, 0.001f, 0.01f, lab_seed + 2);
    float *outliers = (float *)lab_device(sizeof(float) * n_out_max * OUTLIERS);
    lab_fill_floats(outliers, n_out_max * OUTLIERS, -1.0f, 1.0f, lab_seed + 3);
    int32_t columns[OUTLIERS];
    for (int i = 0; i < OUTLIERS; i++) columns[i] = 17 + 101 * i;
    b.a.x = x;
    b.a.y = (float *)lab_device(sizeof(float) * m_max * n_out_max);
    b.a.scale = scale;
    b.a.outlier_weights = outliers;
    b.a.outlier_columns = lab_upload_of(columns, OUTLIERS);
    b.a.codes = (int8_t *)lab_device((size_t)m_max * n_in_max);
    b.a.sx = (float *)lab_device(sizeof(float) * m_max);
    b.a.spike_col = (int32_t *)lab_device(sizeof(int32_t) * 4 * m_max);
    b.a.spike_val = (float *)lab_device(sizeof(float) * 4 * m_max);
    b.a.sm = card->sm;
    b.a.n_multiprocessors = card->n_multiprocessors;
    return b;
}

/* The arguments of a shape, and its codes made in the stream. */
static void take_shape(bed *b, const shape *s, int32_t m, cudaStream_t stream) {
    b->a.m = m;
    b->a.n_out = s->n_out, b->a.n_in = s->n_in;
    b->a.ldy = s->n_out, b->a.ldx = s->n_in;
    b->a.k_pad = nr_cuda_k_pad(s->n_in), b->a.n_out_pad = nr_cuda_n_out_pad(s->n_out);
    b->a.n_outliers = OUTLIERS;
    nr_cuda_quantize_args q = {};
    q.x = b->a.x, q.ldx = b->a.ldx, q.m = m, q.n_in = s->n_in, q.k_pad = b->a.k_pad;
    q.n_outliers = OUTLIERS, q.outlier_columns = b->a.outlier_columns;
    q.codes = (int8_t *)b->a.codes, q.sx = (float *)b->a.sx;
    q.spike_col = (int32_t *)b->a.spike_col, q.spike_val = (float *)b->a.spike_val;
    LAB_CHECK(nr_cuda_quantize_rows(&q, false, stream));
}

typedef std::function<cudaError_t(const nr_cuda_linear_i8_args *, cudaStream_t)> linear_way;

/* Milliseconds of one launch: `inner` of them in a graph, each with other weights. */
static lab_time time_shape(bed *b, int inner, const linear_way &way) {
    cudaStream_t stream;
    LAB_CHECK(cudaStreamCreate(&stream));
    size_t bytes = (size_t)b->a.n_out_pad * b->a.k_pad;
    size_t n_places = POOL_BYTES / bytes;
    lab_time t = lab_measure_graph(stream, 12, inner, [&](int i) {
        nr_cuda_linear_i8_args a = b->a;
        a.weights = b->pool + bytes * ((size_t)i % n_places);
        return way(&a, stream);
    });
    LAB_CHECK(cudaStreamDestroy(stream));
    return t;
}

/* One line a shape, and the sum over the model. */
static double time_model(bed *b, const shape *shapes, int n_shapes, int32_t m, const char *name,
                         const linear_way &way) {
    double sum_ms = 0.0, sum_bytes = 0.0;
    printf("  %-14s m %-4d", name, m);
    for (int i = 0; i < n_shapes; i++) {
        const shape *s = &shapes[i];
        double bytes = (double)s->n_out * s->n_in;
        take_shape(b, s, m, 0);
        LAB_CHECK(cudaDeviceSynchronize());
        lab_time t = time_shape(b, bytes > 6e7 ? 16 : 40, way);
        printf(" %s %.1f", s->name, 1e3 * t.median_ms);
        if (m <= NR_CUDA_STREAM_ROWS_MAX) printf("us %.2fTB/s;", bytes / t.median_ms / 1e9);
        else printf("us %.0fTOPS;", 2.0 * bytes * m / t.median_ms / 1e9);
        sum_ms += t.median_ms * s->count;
        sum_bytes += bytes * s->count;
    }
    printf(" sum %.3f ms, ", sum_ms);
    if (m <= NR_CUDA_STREAM_ROWS_MAX)
        printf("%.2f TB/s, linears alone %.0f tok/s\n", sum_bytes / sum_ms / 1e9,
               1e3 * m / sum_ms);
    else printf("%.0f TOPS\n", 2.0 * sum_bytes * m / sum_ms / 1e9);
    fflush(stdout);
    return sum_ms;
}

void lab_time_copy(const lab_card *card) {
    size_t bytes = (size_t)4 << 30;
    int8_t *a = (int8_t *)lab_device(bytes), *b = (int8_t *)lab_device(bytes);
    lab_fill_codes(a, bytes, lab_seed);
    lab_time t = lab_measure(0, 10, 1, [&](int) {
        return cudaMemcpyAsync(b, a, bytes, cudaMemcpyDeviceToDevice, 0);
    });
    printf("  sm_%d, %d multiprocessors, L2 %.0f MB, memory %.1f GB; copy %.2f TB/s (read and "
           "written)\n",
           card->sm, card->n_multiprocessors, 1e-6 * (double)card->l2_bytes,
           1e-9 * (double)card->memory_bytes, 2.0 * (double)bytes / t.median_ms / 1e9);
}

void lab_time_few(const lab_card *card) {
    bed b = make_bed(card, 64);
    const int n = (int)NR_COUNT(language);
    linear_way stream = [](const nr_cuda_linear_i8_args *a, cudaStream_t s) {
        return nr_cuda_linear_i8_stream(a, s);
    };
    for (int32_t m : {1, 2, 4, 8, 16, 32, 64}) time_model(&b, language, n, m, "stream", stream);
    for (int way = 0; way < nr_cuda_ring_ways() && card->sm == 90; way++) {
        char name[LAB_NAME];
        lab_ring_name(way, name);
        for (int32_t m : {1, 2, 4, 8})
            time_model(&b, language, n, m, name,
                       [way](const nr_cuda_linear_i8_args *a, cudaStream_t s) {
                return nr_cuda_linear_i8_ring(a, way, s);
            });
    }
    for (int way = 0; way < nr_cuda_stream_ways(); way++) {
        int rows_max;
        const char *name = nr_cuda_stream_way(way, &rows_max);
        for (int32_t m : {1, 8, 32})
            if (rows_max == 8 ? m <= 8 : m == 32)
                time_model(&b, language, n, m, name,
                           [way](const nr_cuda_linear_i8_args *a, cudaStream_t s) {
                               return nr_cuda_linear_i8_stream_way(a, way, s);
                           });
    }
    time_model(&b, language, n, 32, "tile 64",
               [](const nr_cuda_linear_i8_args *a, cudaStream_t s) {
                   return nr_cuda_linear_i8_tile(a, true, s);
               });
}

void lab_time_many(const lab_card *card) {
    bed b = make_bed(card, 616);
    linear_way tile = [](const nr_cuda_linear_i8_args *a, cudaStream_t s) {
        return nr_cuda_linear_i8_tile(a, false, s);
    };
    linear_way small = [](const nr_cuda_linear_i8_args *a, cudaStream_t s) {
        return nr_cuda_linear_i8_tile(a, true, s);
    };
    linear_way tile_86 = [](const nr_cuda_linear_i8_args *a, cudaStream_t s) {
        nr_cuda_linear_i8_args b = *a;
        b.sm = 86; /* as on a card with less shared memory */
        return nr_cuda_linear_i8_tile(&b, false, s);
    };
    time_model(&b, language, 4, 616, "tile 128", tile);
    time_model(&b, language, 4, 616, "tile 86", tile_86);
    time_model(&b, language, 4, 616, "tile 64", small);
    time_model(&b, vision, (int)NR_COUNT(vision), 577, "tile 128", tile);
    time_model(&b, vision, (int)NR_COUNT(vision), 577, "tile 64", small);
}

/* Those that are meant for so many rows and share k among so many blocks; -1: what is chosen. */
static void time_ways(bed *b, const shape *shapes, int n_shapes, int32_t m, int split) {
    for (int way = split == 1 ? -1 : 0; way < nr_cuda_wgmma_ways(); way++) {
        char name[LAB_NAME] = "chosen";
        if (way >= 0) {
            const nr_cuda_tile_way *w = nr_cuda_wgmma_way(way);
            if (m <= 64 ? w->rows < m || w->rows > 64 : w->rows < 64) continue;
            if (w->split != split) continue;
            lab_way_name(way, name);
        }
        time_model(b, shapes, n_shapes, m, name,
                   [way](const nr_cuda_linear_i8_args *a, cudaStream_t s) {
                       return nr_cuda_linear_i8_wgmma(a, way, s);
                   });
    }
}

static void time_wgmma(const lab_card *card, int split) {
    if (card->sm != 90) return;
    bed b = make_bed(card, 616);
    for (int32_t m : {616, 308, 128}) time_ways(&b, language, 4, m, split);
    time_ways(&b, vision, (int)NR_COUNT(vision), 577, split);
    time_ways(&b, vit_g, (int)NR_COUNT(vit_g), 257, split);
    for (int32_t m : {8, 16, 32, 64}) time_ways(&b, language, (int)NR_COUNT(language), m, split);
}

void lab_time_wgmma(const lab_card *card) {
    time_wgmma(card, 1);
}
void lab_time_wgmma_split(const lab_card *card) {
    time_wgmma(card, 2);
}
