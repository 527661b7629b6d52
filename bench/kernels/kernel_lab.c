/* SPDX-License-Identifier: MIT
 *
 * kernel_lab.c - times the CPU ops on LLaVA-1.5-7B's shapes against the limits of this machine,
 * measured in the same run: register-only int8 and float loops, a plain read of memory. Cases and
 * limits take turns, so that drift of the machine meets all alike; best and median are printed.
 * With --threads 1 processor time is measured, which other programs disturb less.
 *
 *   kernel_lab [--threads N] [--isa NAME] [--reps N] [--only WORD] [--csv FILE]
 */
#define _POSIX_C_SOURCE 200809L
#include "backend.h"
#include "nr_alloc.h"
#include "nr_clock.h"
#include "nr_limits.h"
#include "nr_rng.h"
#include "nr_threads.h"
#include "pack.h"
#include "peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WEIGHT_BYTES ((size_t)320 << 20) /* walked in turn: no case finds its weights in cache */
#define REPS_MAX 200

typedef enum unit { UNIT_I8, UNIT_F32, UNIT_READ } unit;

typedef struct lab_case {
    const char *name;
    unit limit;
    int64_t m;
    int32_t n_in, n_out;           /* linear */
    int32_t heads, head_dim, keys; /* attention when heads > 0 */
    nr_dtype dtype;
    bool causal;
    float *y;              /* outputs of its own, as every op of a model has */
    double work;           /* operations, or bytes for UNIT_READ */
    double ms[REPS_MAX];
} lab_case;

static lab_case cases[] = {
    {.name = "limit: int8 in registers", .limit = UNIT_I8},
    {.name = "limit: f32 in registers", .limit = UNIT_F32},
    {.name = "limit: memory read", .limit = UNIT_READ},
    {.name = "prefill qkv", .limit = UNIT_I8, .m = 616, .n_in = 4096, .n_out = 12288},
    {.name = "prefill attn_out", .limit = UNIT_I8, .m = 616, .n_in = 4096, .n_out = 4096},
    {.name = "prefill gate_up", .limit = UNIT_I8, .m = 616, .n_in = 4096, .n_out = 22016},
    {.name = "prefill down", .limit = UNIT_I8, .m = 616, .n_in = 11008, .n_out = 4096},
    {.name = "vision qkv", .limit = UNIT_I8, .m = 577, .n_in = 1024, .n_out = 3072},
    {.name = "vision attn_out", .limit = UNIT_I8, .m = 577, .n_in = 1024, .n_out = 1024},
    {.name = "vision fc1", .limit = UNIT_I8, .m = 577, .n_in = 1024, .n_out = 4096},
    {.name = "vision fc2", .limit = UNIT_I8, .m = 577, .n_in = 4096, .n_out = 1024},
    {.name = "decode qkv", .limit = UNIT_READ, .m = 1, .n_in = 4096, .n_out = 12288},
    {.name = "decode attn_out", .limit = UNIT_READ, .m = 1, .n_in = 4096, .n_out = 4096},
    {.name = "decode gate_up", .limit = UNIT_READ, .m = 1, .n_in = 4096, .n_out = 22016},
    {.name = "decode down", .limit = UNIT_READ, .m = 1, .n_in = 11008, .n_out = 4096},
    {.name = "decode lm_head", .limit = UNIT_READ, .m = 1, .n_in = 4096, .n_out = 32064},
    {.name = "decode gate_up, 4 rows", .limit = UNIT_READ, .m = 4, .n_in = 4096, .n_out = 22016},
    {.name = "decode down, 4 rows", .limit = UNIT_READ, .m = 4, .n_in = 11008, .n_out = 4096},
    {.name = "decode gate_up, 8 rows", .limit = UNIT_READ, .m = 8, .n_in = 4096, .n_out = 22016},
    {.name = "f32 linear", .limit = UNIT_F32, .m = 577, .n_in = 1024, .n_out = 1024,
     .dtype = NR_DTYPE_F32},
    {.name = "prefill attention f16", .limit = UNIT_F32, .m = 616, .heads = 32, .head_dim = 128,
     .keys = 616, .dtype = NR_DTYPE_F16, .causal = true},
    {.name = "prefill attention f32", .limit = UNIT_F32, .m = 616, .heads = 32, .head_dim = 128,
     .keys = 616, .dtype = NR_DTYPE_F32, .causal = true},
    {.name = "vision attention f32", .limit = UNIT_F32, .m = 577, .heads = 16, .head_dim = 64,
     .keys = 577, .dtype = NR_DTYPE_F32},
    {.name = "decode attention f16", .limit = UNIT_READ, .m = 1, .heads = 32, .head_dim = 128,
     .keys = 640, .dtype = NR_DTYPE_F16, .causal = true},
    {.name = "decode attention i8", .limit = UNIT_READ, .m = 1, .heads = 32, .head_dim = 128,
     .keys = 640, .dtype = NR_DTYPE_I8, .causal = true},
};

typedef struct lab {
    nr_backend *be;
    nr_pool *pool; /* for the limits; idle otherwise */
    uint8_t *weights;
    size_t weights_at;
    float *x, *scale;
    int32_t *row_sum;
    void *scratch;
} lab;

typedef struct peak_run {
    const lab *l;
    unit u;
    double ops[NR_THREADS_MAX]; /* by thread */
} peak_run;

static void peak_job(void *ctx, int64_t begin, int64_t end, int i_thread) {
    peak_run *job = ctx;
    for (int64_t i = begin; i < end; i++) {
        if (job->u == UNIT_I8) job->ops[i_thread] += peak_i8(job->l->be->isa, 1000000);
        if (job->u == UNIT_F32) job->ops[i_thread] += peak_f32(job->l->be->isa, 1000000);
        if (job->u == UNIT_READ)
            peak_read(job->l->be->isa, job->l->weights + (size_t)i * (WEIGHT_BYTES / 64),
                      WEIGHT_BYTES / 64);
    }
}

static void run_limit(lab *l, lab_case *c) {
    peak_run job = {.l = l, .u = c->limit};
    int64_t items = c->limit == UNIT_READ ? 64 : nr_pool_size(l->pool) * 2;
    nr_pool_run(l->pool, items, 1, peak_job, &job);
    c->work = c->limit == UNIT_READ ? (double)WEIGHT_BYTES : 0.0;
    for (size_t i = 0; i < NR_COUNT(job.ops); i++) c->work += job.ops[i];
}

static void run_linear(lab *l, lab_case *c) {
    bool is_f32 = c->limit == UNIT_F32;
    int64_t panels = nr_panel_count(c->n_out);
    size_t bytes = (size_t)panels * (is_f32 ? (size_t)nr_panel_f32_count(c->n_in) * 4
                                            : (size_t)nr_panel_i8_bytes(c->n_in));
    if (l->weights_at + bytes > WEIGHT_BYTES) l->weights_at = 0;
    nr_linear w = {.dtype = is_f32 ? NR_DTYPE_F32 : NR_DTYPE_I8, .n_out = c->n_out,
                   .n_in = c->n_in, .weights = l->weights + l->weights_at, .scale = l->scale,
                   .row_sum = l->row_sum};
    l->weights_at += bytes;
    l->be->ops->linear(l->be, &(nr_linear_args){.y = c->y, .x = l->x, .ldy = c->n_out,
                                                .ldx = c->n_in, .m = c->m, .linear = &w});
    c->work = c->limit == UNIT_READ ? (double)bytes
                                    : 2.0 * (double)c->m * (double)c->n_in * (double)c->n_out;
}

static void run_attention(lab *l, lab_case *c) {
    int32_t cap = (c->keys + 15) / 16 * 16;
    size_t bytes = (size_t)c->heads * (size_t)cap * (size_t)c->head_dim * nr_dtype_bytes(c->dtype);
    if (l->weights_at + 2 * bytes > WEIGHT_BYTES) l->weights_at = 0;
    nr_kv kv = {.dtype = c->dtype, .n_kv_heads = c->heads, .head_dim = c->head_dim, .cap = cap,
                .k = l->weights + l->weights_at, .v = l->weights + l->weights_at + bytes,
                .k_scale = l->scale, .v_scale = l->scale}; /* of I8: heads * cap <= n_out_max */
    l->weights_at += 2 * bytes;
    int64_t ld = (int64_t)c->heads * c->head_dim;
    l->be->ops->attention(
        l->be, &(nr_attention_args){.y = c->y, .q = l->x, .ldy = ld, .ldq = ld, .m = c->m,
                                    .n_heads = c->heads, .kv = &kv, .n_keys = c->keys,
                                    .pos0 = (int32_t)(c->keys - c->m), .causal = c->causal,
                                    .scale = 0.09f});
    double pairs = (double)c->m * c->keys;
    if (c->causal) pairs -= (double)c->m * (double)(c->m - 1) / 2.0;
    c->work = c->limit == UNIT_READ ? 2.0 * (double)bytes
                                    : 4.0 * pairs * c->heads * c->head_dim;
}

static void run_case(lab *l, lab_case *c) {
    if (c->m == 0) run_limit(l, c);
    else if (c->heads) run_attention(l, c);
    else run_linear(l, c);
}

/* With one thread: processor time, which other programs on the machine disturb less. */
static double now_ms(const lab *l) {
    struct timespec t;
    if (l->be->n_threads > 1) return nr_clock_ms();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(FILE *csv, const lab *l, int reps, const char *only) {
    static const char *const names[] = {"Gop/s int8", "Gflop/s", "GB/s"};
    double best[3] = {0}, median[3] = {0};
    printf("%-26s %10s %10s %10s  %-10s %s\n", "case", "best ms", "median ms", "rate", "",
           "share of the limit: best/best, median/median");
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        lab_case *c = &cases[i];
        if (only && !strstr(c->name, only)) continue;
        qsort(c->ms, (size_t)reps, sizeof *c->ms, by_value);
        double fast = c->work / c->ms[0] * 1e-6, mid = c->work / c->ms[reps / 2] * 1e-6;
        if (c->m == 0) best[c->limit] = fast, median[c->limit] = mid;
        double share = best[c->limit] > 0 ? fast / best[c->limit] : 0.0;
        double share_mid = median[c->limit] > 0 ? mid / median[c->limit] : 0.0;
        printf("%-26s %10.3f %10.3f %10.1f  %-10s %5.1f %% %5.1f %%\n", c->name, c->ms[0],
               c->ms[reps / 2], fast, names[c->limit], 100.0 * share, 100.0 * share_mid);
        if (csv)
            fprintf(csv, "%s,%d,\"%s\",%.4f,%.4f,%.2f,%s,%.4f,%.4f\n", l->be->isa,
                    l->be->n_threads, c->name, c->ms[0], c->ms[reps / 2], fast, names[c->limit],
                    share, share_mid);
    }
}

/* Outputs of all cases, in whole pages. */
static bool lend_outputs(void) {
    size_t bytes[NR_COUNT(cases)], all = 0;
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        const lab_case *c = &cases[i];
        int64_t row = c->heads ? (int64_t)c->heads * c->head_dim : c->n_out;
        bytes[i] = nr_round_up((size_t)(c->m * row) * sizeof(float), 4096);
        all += bytes[i];
    }
    char *y = nr_map_pages(all, true);
    for (size_t i = 0; y && i < NR_COUNT(cases); y += bytes[i++])
        cases[i].y = (float *)(void *)y;
    return y != NULL;
}

static void fill(lab *l) {
    uint64_t *p = (uint64_t *)(void *)l->weights;
    for (size_t i = 0; i < WEIGHT_BYTES / 8; i++) {
        /* codes without -128 when read as bytes, small finite numbers when read as f16 or f32 */
        p[i] = (nr_rng_mix(i) & 0x3f3f3f3f3f3f3f3fu) | 0x2000200020002000u;
    }
    for (size_t i = 0; i < (size_t)700 * 11008; i++)
        l->x[i] = nr_rng_uniform(1, 2, i) - 0.5f;
    for (int i = 0; i < 40000; i++) l->scale[i] = 1e-3f;
}

int main(int argc, char **argv) {
    int threads = 0, reps = 15;
    const char *isa = NULL, *only = NULL, *csv_path = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) threads = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--isa") == 0) isa = argv[i + 1];
        if (strcmp(argv[i], "--reps") == 0) reps = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--only") == 0) only = argv[i + 1];
        if (strcmp(argv[i], "--csv") == 0) csv_path = argv[i + 1];
    }
    reps = NR_MAX(1, NR_MIN(reps, REPS_MAX));
    nr_error err = {0};
    lab l = {0};
    if (nr_backend_cpu_open(threads, isa, &l.be, &err) != NR_STATUS_OK ||
        nr_pool_create(l.be->n_threads, &l.pool, &err) != NR_STATUS_OK) {
        fprintf(stderr, "kernel_lab: %s\n", err.message);
        return 1;
    }
    size_t scratch_bytes = l.be->ops->scratch_bytes(l.be, 640, 11008, 1024);
    l.weights = nr_map_pages(WEIGHT_BYTES, true);
    l.x = nr_map_pages((size_t)700 * 11008 * 4, true);
    l.scale = nr_map_pages(40000 * 4, false);
    l.row_sum = nr_map_pages(40000 * 4, false);
    l.scratch = nr_map_pages(scratch_bytes, true);
    if (!lend_outputs() || !l.weights || !l.x || !l.scale || !l.row_sum || !l.scratch) {
        fprintf(stderr, "kernel_lab: out of memory\n");
        return 1;
    }
    l.be->ops->set_scratch(l.be, l.scratch, scratch_bytes);
    fill(&l);
    printf("kernels %s, %d threads, %d repetitions\n", l.be->isa, l.be->n_threads, reps);
    for (int r = -1; r < reps; r++) /* one round to warm up */
        for (size_t i = 0; i < NR_COUNT(cases); i++) {
            lab_case *c = &cases[i];
            if (only && !strstr(c->name, only)) continue;
            double start = now_ms(&l);
            run_case(&l, c);
            if (r >= 0) c->ms[r] = now_ms(&l) - start;
        }
    FILE *csv = csv_path ? fopen(csv_path, "w") : NULL;
    if (csv) fprintf(csv, "kernels,threads,case,best_ms,median_ms,rate,unit,share,share_median\n");
    report(csv, &l, reps, only);
    if (csv) fclose(csv);
    nr_pool_free(l.pool);
    nr_backend_close(l.be);
    return 0;
}
