/* SPDX-License-Identifier: MIT
 *
 * onednn_gemm.c - oneDNN's int8 products on LLaVA-1.5-7B's shapes, in the rows and columns of
 * kernel_lab: y f32 [m, n_out] = u8 codes [m, n_in] times s8 weights in the layout oneDNN itself
 * chooses, one scale an output. Weights are made anew until they exceed every cache, as the lab's.
 * Quantising the activations, bias and what follows are not in it; in the lab's times they are.
 *
 *   onednn_gemm REPETITIONS        (OMP_NUM_THREADS threads)
 */
#define _POSIX_C_SOURCE 200809L
#include <dnnl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COPIES_BYTES ((int64_t)320 << 20)
#define REPS_MAX 100
#define COPIES_MAX 320

static const struct {
    const char *name;
    int64_t m, n_in, n_out;
} cases[] = {
    {"prefill qkv", 616, 4096, 12288},     {"prefill attn_out", 616, 4096, 4096},
    {"prefill gate_up", 616, 4096, 22016}, {"prefill down", 616, 11008, 4096},
    {"vision qkv", 577, 1024, 3072},       {"vision attn_out", 577, 1024, 1024},
    {"vision fc1", 577, 1024, 4096},       {"vision fc2", 577, 4096, 1024},
    {"decode qkv", 1, 4096, 12288},        {"decode gate_up", 1, 4096, 22016},
    {"decode down", 1, 11008, 4096},
};

static void must(dnnl_status_t status, const char *what) {
    if (status == dnnl_success) return;
    fprintf(stderr, "onednn_gemm: %s: status %d\n", what, (int)status);
    exit(1);
}

/* With one thread processor time, as kernel_lab does. */
static double now_ms(void) {
    struct timespec t;
    const char *threads = getenv("OMP_NUM_THREADS");
    bool one = threads && strcmp(threads, "1") == 0;
    clock_gettime(one ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static dnnl_memory_t memory_of(const dnnl_memory_desc_t *desc, dnnl_engine_t engine, void *data) {
    dnnl_memory_t memory;
    must(dnnl_memory_create(&memory, desc, engine, data), "memory");
    return memory;
}

static dnnl_primitive_t product_of(dnnl_engine_t engine, int64_t m, int64_t k, int64_t n,
                                   dnnl_memory_desc_t desc[3]) {
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_t product;
    float *scales = malloc((size_t)n * sizeof *scales);
    for (int64_t i = 0; i < n; i++) scales[i] = 1e-3f;
    must(dnnl_primitive_attr_create(&attr), "attributes");
    must(dnnl_primitive_attr_set_output_scales(attr, n, 1 << 1, scales), "scales");
    dnnl_dims_t x = {m, k}, w = {k, n}, y = {m, n};
    must(dnnl_memory_desc_init_by_tag(&desc[0], 2, x, dnnl_u8, dnnl_ab), "x");
    must(dnnl_memory_desc_init_by_tag(&desc[1], 2, w, dnnl_s8, dnnl_format_tag_any), "w");
    must(dnnl_memory_desc_init_by_tag(&desc[2], 2, y, dnnl_f32, dnnl_ab), "y");
    must(dnnl_matmul_desc_init(&matmul, &desc[0], &desc[1], NULL, &desc[2]), "product");
    must(dnnl_primitive_desc_create(&pd, &matmul, attr, engine, NULL), "implementation");
    desc[1] = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    must(dnnl_primitive_create(&product, pd), "primitive");
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    free(scales);
    return product;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run_case(dnnl_engine_t engine, dnnl_stream_t stream, size_t i_case, int reps) {
    int64_t m = cases[i_case].m, k = cases[i_case].n_in, n = cases[i_case].n_out;
    dnnl_memory_desc_t desc[3];
    dnnl_primitive_t product = product_of(engine, m, k, n, desc);
    size_t w_bytes = dnnl_memory_desc_get_size(&desc[1]);
    int copies = (int)(COPIES_BYTES / (int64_t)w_bytes) + 1;
    static dnnl_memory_t weights[COPIES_MAX];
    double ms[REPS_MAX];
    dnnl_memory_t x = memory_of(&desc[0], engine, DNNL_MEMORY_ALLOCATE);
    dnnl_memory_t y = memory_of(&desc[2], engine, DNNL_MEMORY_ALLOCATE);
    void *data;
    for (int c = 0; c < copies; c++) {
        weights[c] = memory_of(&desc[1], engine, DNNL_MEMORY_ALLOCATE);
        must(dnnl_memory_get_data_handle(weights[c], &data), "weights");
        memset(data, 3 + c % 5, w_bytes);
    }
    must(dnnl_memory_get_data_handle(x, &data), "x");
    memset(data, 5, (size_t)(m * k));
    for (int r = -2; r < reps; r++) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, x},
                                  {DNNL_ARG_WEIGHTS, weights[(r + 2) % copies]},
                                  {DNNL_ARG_DST, y}};
        double start = now_ms();
        must(dnnl_primitive_execute(product, stream, 3, args), "run");
        must(dnnl_stream_wait(stream), "wait");
        if (r >= 0) ms[r] = now_ms() - start;
    }
    qsort(ms, (size_t)reps, sizeof *ms, by_value);
    printf("\"%s\",%.4f,%.4f\n", cases[i_case].name, ms[0], ms[reps / 2]);
    fflush(stdout);
    for (int c = 0; c < copies; c++) dnnl_memory_destroy(weights[c]);
    dnnl_memory_destroy(x);
    dnnl_memory_destroy(y);
    dnnl_primitive_destroy(product);
}

int main(int argc, char **argv) {
    int reps = argc > 1 ? atoi(argv[1]) : 5;
    if (reps < 1 || reps > REPS_MAX) {
        fprintf(stderr, "usage: onednn_gemm REPETITIONS (1 to %d)\n", REPS_MAX);
        return 2;
    }
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    must(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine");
    must(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) run_case(engine, stream, i, reps);
    dnnl_stream_destroy(stream);
    dnnl_engine_destroy(engine);
    return 0;
}
