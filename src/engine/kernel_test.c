/* SPDX-License-Identifier: MIT
 *
 * kernel_test.c - every op of the chosen kernels against the reference loops, bit for bit, in a
 * child process: an instruction that this processor does not have, or a read out of bounds, ends
 * the child and not the program. Everything is allocated before the fork and the backend has one
 * thread, so the child only computes.
 *
 * Sizes are small and odd: panels, blocks and vectors all have a tail.
 */
#include "engine_internal.h"

#include "nr_alloc.h"
#include "nr_child.h"
#include "nr_rng.h"
#include "quant.h"
#include "weight_loader.h"

#include <stdio.h>
#include <string.h>

#define ROWS 5
#define N_IN 75
#define N_OUT 41
#define HEADS 2
#define HEAD_DIM 20
#define KEYS 37
#define CAP 48 /* KEYS in whole blocks */
#define SECONDS 20

/* What both backends compute into; compared as bytes. */
typedef struct results {
    float linear_i8[ROWS * N_OUT], linear_f32[ROWS * N_OUT], residual[ROWS * N_IN];
    float rms[ROWS * N_IN], layer[ROWS * N_IN], gated[ROWS * (N_IN / 2)], active[ROWS * N_IN];
    float embed[ROWS * N_IN], rope[ROWS * HEADS * HEAD_DIM], attention[ROWS * HEADS * HEAD_DIM];
    float attention_i8[ROWS * HEADS * HEAD_DIM];
    float patches[3 * 28 * 28];
    int32_t argmax;
} results;

static const struct {
    const char *op;
    size_t end;
} fields[] = {{"INT8 linear", offsetof(results, linear_f32)},
              {"f32 linear", offsetof(results, residual)},
              {"quantisation residual", offsetof(results, rms)},
              {"RMS norm", offsetof(results, layer)},
              {"layer norm", offsetof(results, gated)},
              {"gated activation", offsetof(results, active)},
              {"activation", offsetof(results, embed)},
              {"embedding", offsetof(results, rope)},
              {"rotary positions", offsetof(results, attention)},
              {"attention", offsetof(results, attention_i8)},
              {"attention over INT8", offsetof(results, patches)},
              {"patches", offsetof(results, argmax)},
              {"argmax", sizeof(results)}};

/* Inputs and both sides' memory, in one heap block. */
typedef struct bench {
    nr_backend *tested, *reference;
    float x[ROWS * N_IN], gamma[N_IN], rows[ROWS * 3 * HEADS * HEAD_DIM], table[CAP * HEAD_DIM];
    float keys[KEYS * HEADS * HEAD_DIM], pixels[3 * 28 * 28], host_f32[N_OUT * N_IN];
    int8_t host_i8[N_OUT * N_IN];
    results expected, found;
    nr_arena arena;
    nr_linear i8, f32;
    nr_kv kv, kv_i8;
    void *scratch;
    size_t scratch_bytes;
} bench;

static void fill(float *dst, size_t n, uint64_t stream) {
    for (size_t i = 0; i < n; i++) dst[i] = nr_rng_uniform(7, stream, i) * 4.0f - 2.0f;
}

static void carve(bench *b) {
    nr_arena *a = &b->arena;
    nr_linear_carve(&b->i8, a, NR_DTYPE_I8, N_OUT, N_IN, true, false);
    nr_linear_carve(&b->f32, a, NR_DTYPE_F32, N_OUT, N_IN, true, false);
    b->kv = nr_kv_carve(a, NR_DTYPE_F16, HEADS, HEAD_DIM, CAP);
    b->kv_i8 = nr_kv_carve(a, NR_DTYPE_I8, HEADS, HEAD_DIM, CAP);
    b->scratch = nr_arena_take(a, b->scratch_bytes, 1);
}

static void fill_inputs(bench *b) {
    fill(b->x, ROWS * N_IN, 1);
    fill(b->gamma, N_IN, 2);
    fill(b->rows, sizeof b->rows / sizeof(float), 3);
    fill(b->table, sizeof b->table / sizeof(float), 4);
    fill(b->keys, sizeof b->keys / sizeof(float), 5);
    fill(b->pixels, sizeof b->pixels / sizeof(float), 6);
    fill(b->host_f32, N_OUT * N_IN, 7);
    fill(b->i8.bias, N_OUT, 8);
    memcpy(b->f32.bias, b->i8.bias, N_OUT * sizeof(float));
    for (int32_t n = 0; n < N_OUT; n++)
        b->i8.scale[n] =
            nr_quantize_row(b->host_i8 + n * N_IN, b->host_f32 + n * N_IN, N_IN, NULL, 0);
}

static void run_linears(bench *b, nr_backend *be, results *r) {
    const nr_backend_ops *ops = be->ops;
    nr_linear_args args = {.y = r->linear_i8,
                           .x = b->x,
                           .ldy = N_OUT,
                           .ldx = N_IN,
                           .m = ROWS,
                           .linear = &b->i8,
                           .activation = NR_ACTIVATION_GELU};
    ops->pack_rows(be, &b->i8, 0, N_OUT, b->host_i8);
    ops->pack_rows(be, &b->f32, 0, N_OUT, b->host_f32);
    ops->linear(be, &args);
    args.y = r->linear_f32;
    args.linear = &b->f32;
    ops->linear(be, &args);
    ops->quantize_residual(be, r->residual, b->x, N_IN, ROWS, &b->i8);
    const int32_t ids[ROWS] = {0, 7, 16, 33, 40};
    ops->embed(be, r->embed, N_IN, ids, ROWS, &b->i8);
}

static void attend(bench *b, nr_backend *be, const nr_kv *kv, const float *q, float *y) {
    const int64_t ld = HEADS * HEAD_DIM;
    be->ops->kv_store(be, kv, 0, b->keys, ld, b->keys, ld, KEYS);
    be->ops->attention(be, &(nr_attention_args){.y = y,
                                                .q = q,
                                                .ldy = ld,
                                                .ldq = ld,
                                                .m = ROWS,
                                                .n_heads = HEADS,
                                                .kv = kv,
                                                .n_keys = KEYS,
                                                .pos0 = KEYS - ROWS,
                                                .causal = true,
                                                .scale = 0.25f});
}

static void run_attention(bench *b, nr_backend *be, results *r) {
    const int32_t positions[ROWS] = {0, 3, 11, 30, 36};
    memcpy(r->rope, b->rows, sizeof r->rope);
    be->ops->rope(be, r->rope, HEADS * HEAD_DIM, positions, ROWS, HEADS, HEAD_DIM, b->table);
    attend(b, be, &b->kv, r->rope, r->attention);
    attend(b, be, &b->kv_i8, r->rope, r->attention_i8);
}

static void run_ops(bench *b, nr_backend *be, results *r) {
    const nr_backend_ops *ops = be->ops;
    ops->set_scratch(be, b->scratch, b->scratch_bytes);
    run_linears(b, be, r);
    run_attention(b, be, r);
    ops->rms_norm(be, r->rms, b->x, ROWS, N_IN, b->gamma, 1e-5f);
    ops->layer_norm(be, r->layer, b->x, ROWS, N_IN, b->gamma, b->gamma, 1e-5f);
    ops->gated(be, r->gated, N_IN / 2, b->x, ROWS, N_IN / 2, NR_ACTIVATION_SILU);
    memcpy(r->active, b->x, sizeof r->active);
    ops->activate(be, r->active, ROWS * N_IN, NR_ACTIVATION_QUICK_GELU);
    ops->patchify(be, r->patches, b->pixels, 28, 28, 14);
    r->argmax = ops->argmax(be, b->x, ROWS * N_IN);
}

/* In the child: 0, or 1 + index of the first op that differs. */
static int compare(void *ctx) {
    bench *b = ctx;
    run_ops(b, b->reference, &b->expected);
    run_ops(b, b->tested, &b->found);
    const char *expected = (const char *)&b->expected, *found = (const char *)&b->found;
    size_t begin = 0;
    for (size_t i = 0; i < NR_COUNT(fields); i++) {
        if (memcmp(expected + begin, found + begin, fields[i].end - begin) != 0) return (int)i + 1;
        begin = fields[i].end;
    }
    return 0;
}

static nr_status prepare(bench *b, const char *isa, nr_error *err) {
    NR_TRY(nr_backend_cpu_open(1, isa, &b->tested, err));
    NR_TRY(nr_backend_ref_open(&b->reference, err));
    const nr_backend *both[] = {b->tested, b->reference};
    for (size_t i = 0; i < NR_COUNT(both); i++)
        b->scratch_bytes =
            NR_MAX(b->scratch_bytes, both[i]->ops->scratch_bytes(both[i], ROWS, N_IN, CAP));
    carve(b); /* measures */
    NR_TRY(nr_arena_alloc(&b->arena, false, "kernel test", err));
    carve(b);
    fill_inputs(b);
    return NR_STATUS_OK;
}

nr_status nr_kernel_test(const nr_engine_options *options, nr_error *err) {
    int code = 0;
    bench *b = nr_calloc(1, sizeof *b);
    NR_FAIL_IF(!b, NO_MEMORY, "kernel test");
    nr_status status = prepare(b, options ? options->cpu_kernels : NULL, err);
    const char *isa = status == NR_STATUS_OK ? b->tested->isa : "";
    char what[64];
    snprintf(what, sizeof what, "kernels %s", isa);
    if (status == NR_STATUS_OK) status = nr_child_run(what, SECONDS, compare, b, &code, err);
    if (status == NR_STATUS_OK && code != 0)
        status = nr_error_set(err, NR_STATUS_SELF_TEST, __FILE__, __LINE__,
                              "%s: %s differs from the reference", what,
                              code <= (int)NR_COUNT(fields) ? fields[code - 1].op : "an op");
    nr_arena_free(&b->arena);
    nr_backend_close(b->tested);
    nr_backend_close(b->reference);
    nr_free(b);
    return status;
}
