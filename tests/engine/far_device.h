/* SPDX-License-Identifier: MIT
 *
 * far_device.h - a graphics card for tests, where there is none: the CPU's ops over a block of
 * memory that nobody else may touch. It is forbidden (PROT_NONE) but while an op or a copy of this
 * device runs, so whoever reads or writes it from the host dies at that line; and an op that is
 * handed a pointer of the host's dies as well.
 *
 * A program that includes this has it as "cuda:0": it defines nr_backend_cuda_open, so the
 * library's own is not linked. What is above the backend - placement, plan, reservation, steps - is
 * the same code as with a card.
 *
 * Stricter than a card: an arena that finds no room in what the plan reserved ends the program, and
 * so does a step that is not begun and ended in turn. Not seen here: that a card runs ops later.
 */
#ifndef FAR_DEVICE_H
#define FAR_DEVICE_H

#include "backend.h"
#include "nr_alloc.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FAR_ALIGN ((size_t)256) /* as the card's */
#define FAR_PAGE ((size_t)2 << 20)
#define FAR_RANGES_MAX 64

/* What happened since the program cleared it, and what the device says it has. */
typedef struct far_report {
    uint64_t n_ops, n_steps;
    uint64_t n_up, n_down; /* copies across */
    uint64_t n_broken;     /* of these: amid a step's ops, which a card then runs one by one */
    uint64_t total_bytes, free_bytes; /* 0: unknown */
    int n_open;            /* devices that are open */
} far_report;
static far_report far;

typedef struct far_range {
    size_t at, bytes;
} far_range;

typedef struct far_backend {
    nr_backend base;
    nr_backend *cpu; /* owns */
    bool plan_only, in_step;
    uint64_t ops_in_step;
    void *map; /* owns [mapped] */
    size_t bytes, mapped;
    uint8_t *block; /* of it [bytes] */
    far_range ranges[FAR_RANGES_MAX]; /* taken, ascending */
    int n_ranges;
    pthread_mutex_t lock; /* while the block is open */
} far_backend;

static far_backend *far_self(nr_backend *be) {
    return (far_backend *)be;
}

static void far_die(const char *what) {
    fprintf(stderr, "far device: %s\n", what);
    abort();
}

static nr_backend *far_enter(nr_backend *be) {
    far_backend *f = far_self(be);
    pthread_mutex_lock(&f->lock);
    if (f->map && mprotect(f->map, f->mapped, PROT_READ | PROT_WRITE) != 0) far_die("mprotect");
    return f->cpu;
}

static void far_leave(nr_backend *be) {
    far_backend *f = far_self(be);
    if (f->map && mprotect(f->map, f->mapped, PROT_NONE) != 0) far_die("mprotect");
    pthread_mutex_unlock(&f->lock);
}

static bool far_has(nr_backend *be, const void *p) {
    const far_backend *f = far_self(be);
    return (const uint8_t *)p >= f->block && (const uint8_t *)p < f->block + f->bytes;
}

/* Device memory, or NULL. */
static void far_check(nr_backend *be, const void *p) {
    if (p && !far_has(be, p)) far_die("a pointer of the host's was given to an op");
}

static nr_backend *far_op(nr_backend *be, const void *y, const void *x) {
    far_check(be, y);
    far_check(be, x);
    far.n_ops++;
    far_self(be)->ops_in_step++;
    return far_enter(be);
}

static void far_check_linear(nr_backend *be, const nr_linear *w) {
    far_check(be, w->weights);
    far_check(be, w->scale);
    far_check(be, w->bias);
    far_check(be, w->outlier_columns);
    far_check(be, w->outlier_weights);
}

/* ---- steps */

static void far_begin(nr_backend *be) {
    if (far_self(be)->in_step) far_die("a step was begun in a step");
    far_self(be)->in_step = true;
    far_self(be)->ops_in_step = 0;
}

static void far_end(nr_backend *be) {
    if (!far_self(be)->in_step) far_die("a step was ended that was not begun");
    far_self(be)->in_step = false;
    far.n_steps += far_self(be)->ops_in_step > 0;
}

static nr_status far_check_errors(nr_backend *be, nr_error *err) {
    (void)be, (void)err;
    return NR_STATUS_OK;
}

/* ---- memory */

static nr_status far_reserve(nr_backend *be, size_t bytes, nr_error *err) {
    far_backend *f = far_self(be);
    if (f->block || f->plan_only) far_die("reserved twice, or for a plan");
    NR_FAIL_IF(far.free_bytes && bytes > far.free_bytes, NO_MEMORY, "far: %zu bytes, %llu are free",
               bytes, (unsigned long long)far.free_bytes);
    size_t mapped = nr_round_up(bytes, FAR_PAGE) + FAR_PAGE;
    void *map = mmap(NULL, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NR_FAIL_IF(map == MAP_FAILED, NO_MEMORY, "far: %zu bytes", bytes);
    (void)madvise(map, mapped, MADV_HUGEPAGE); /* few to open and to forbid */
    f->map = map;
    f->mapped = mapped;
    f->block = (uint8_t *)map + (FAR_PAGE - (uintptr_t)map % FAR_PAGE) % FAR_PAGE;
    f->bytes = bytes;
    return NR_STATUS_OK;
}

static void far_memory(const nr_backend *be, nr_device_memory *out) {
    const far_backend *f = (const far_backend *)be;
    *out = (nr_device_memory){.card = "Far device",
                              .total_bytes = far.total_bytes,
                              .free_bytes = far.free_bytes,
                              .arena_bytes = f->bytes};
}

static nr_status far_arena_alloc(nr_backend *be, nr_arena *a, const char *what, nr_error *err) {
    far_backend *f = far_self(be);
    NR_FAIL_IF(a->overflow, LIMIT, "%s: planned size does not fit 64 bits", what);
    size_t bytes = nr_round_up(NR_MAX(a->used, (size_t)1), FAR_ALIGN), at = 0;
    int i = 0;
    for (; i < f->n_ranges && f->ranges[i].at - at < bytes; i++)
        at = f->ranges[i].at + f->ranges[i].bytes;
    if (at > f->bytes || f->bytes - at < bytes || f->n_ranges == FAR_RANGES_MAX)
        far_die("an arena has no room in what was planned");
    memmove(&f->ranges[i + 1], &f->ranges[i], (size_t)(f->n_ranges - i) * sizeof *f->ranges);
    f->ranges[i] = (far_range){at, bytes};
    f->n_ranges++;
    *a = (nr_arena){.base = f->block + at, .cap = bytes, .borrowed = true};
    far_enter(be);
    memset(a->base, 0, bytes);
    far_leave(be);
    return NR_STATUS_OK;
}

static void far_arena_free(nr_backend *be, nr_arena *a) {
    far_backend *f = far_self(be);
    for (int i = 0; a->base && i < f->n_ranges; i++) {
        if (f->block + f->ranges[i].at != a->base) continue;
        f->n_ranges--;
        memmove(&f->ranges[i], &f->ranges[i + 1], (size_t)(f->n_ranges - i) * sizeof *f->ranges);
        break;
    }
    *a = (nr_arena){0};
}

static void far_upload(nr_backend *be, void *dst, const void *host, size_t bytes) {
    far_check(be, dst);
    if (far_has(be, host)) far_die("upload from the device");
    far.n_up++;
    far.n_broken += far_self(be)->in_step && far_self(be)->ops_in_step > 0;
    far_enter(be);
    memcpy(dst, host, bytes);
    far_leave(be);
}

static void far_download(nr_backend *be, void *host, const void *src, size_t bytes) {
    far_check(be, src);
    if (far_has(be, host)) far_die("download to the device");
    far.n_down++;
    far.n_broken += far_self(be)->in_step && far_self(be)->ops_in_step > 0;
    far_enter(be);
    memcpy(host, src, bytes);
    far_leave(be);
}

static void far_copy(nr_backend *be, void *dst, const void *src, size_t bytes) {
    far_op(be, dst, src);
    memcpy(dst, src, bytes);
    far_leave(be);
}

static size_t far_scratch_bytes(const nr_backend *be, int64_t rows, int64_t n_in, int64_t keys) {
    const nr_backend *cpu = ((const far_backend *)be)->cpu;
    return cpu->ops->scratch_bytes(cpu, rows, n_in, keys);
}

static void far_set_scratch(nr_backend *be, void *scratch, size_t bytes) {
    far_check(be, scratch);
    far_self(be)->cpu->ops->set_scratch(far_self(be)->cpu, scratch, bytes);
}

static void far_pack_rows(nr_backend *be, nr_linear *w, int32_t row0, int32_t n,
                          const void *host_rows) {
    far_check_linear(be, w);
    nr_backend *cpu = far_enter(be);
    cpu->ops->pack_rows(cpu, w, row0, n, host_rows);
    far_leave(be);
}

/* ---- ops */

static void far_linear(nr_backend *be, const nr_linear_args *a) {
    far_check_linear(be, a->linear);
    far_check(be, a->residual);
    nr_backend *cpu = far_op(be, a->y, a->x);
    cpu->ops->linear(cpu, a);
    far_leave(be);
}

static void far_quantize_residual(nr_backend *be, float *r, const float *x, int64_t ldx, int64_t m,
                                  const nr_linear *w) {
    far_check_linear(be, w);
    nr_backend *cpu = far_op(be, r, x);
    cpu->ops->quantize_residual(cpu, r, x, ldx, m, w);
    far_leave(be);
}

static void far_activate(nr_backend *be, float *y, int64_t n, nr_activation activation) {
    nr_backend *cpu = far_op(be, y, NULL);
    cpu->ops->activate(cpu, y, n, activation);
    far_leave(be);
}

static void far_embed(nr_backend *be, float *y, int64_t ldy, const int32_t *ids, int64_t m,
                      const nr_linear *table) {
    far_check_linear(be, table);
    nr_backend *cpu = far_op(be, y, NULL);
    cpu->ops->embed(cpu, y, ldy, ids, m, table);
    far_leave(be);
}

static void far_rms_norm(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                         const float *gamma, float eps) {
    far_check(be, gamma);
    nr_backend *cpu = far_op(be, y, x);
    cpu->ops->rms_norm(cpu, y, x, m, d, gamma, eps);
    far_leave(be);
}

static void far_layer_norm(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                           const float *gamma, const float *beta, float eps) {
    far_check(be, gamma);
    far_check(be, beta);
    nr_backend *cpu = far_op(be, y, x);
    cpu->ops->layer_norm(cpu, y, x, m, d, gamma, beta, eps);
    far_leave(be);
}

static void far_gated(nr_backend *be, float *y, int64_t ldy, const float *gate_up, int64_t m,
                      int32_t f, nr_activation activation) {
    nr_backend *cpu = far_op(be, y, gate_up);
    cpu->ops->gated(cpu, y, ldy, gate_up, m, f, activation);
    far_leave(be);
}

static void far_add_rows(nr_backend *be, float *y, int64_t ldy, const float *table,
                         const int32_t *rows, int64_t m, int32_t d) {
    nr_backend *cpu = far_op(be, y, table);
    cpu->ops->add_rows(cpu, y, ldy, table, rows, m, d);
    far_leave(be);
}

static void far_rope(nr_backend *be, float *x, int64_t ldx, const int32_t *positions, int64_t m,
                     int32_t n_heads, int32_t head_dim, const float *cos_sin) {
    nr_backend *cpu = far_op(be, x, cos_sin);
    cpu->ops->rope(cpu, x, ldx, positions, m, n_heads, head_dim, cos_sin);
    far_leave(be);
}

static void far_check_kv(nr_backend *be, const nr_kv *kv) {
    far_check(be, kv->k);
    far_check(be, kv->v);
    far_check(be, kv->k_scale);
    far_check(be, kv->v_scale);
}

static void far_kv_store(nr_backend *be, const nr_kv *kv, int32_t pos0, const float *k, int64_t ldk,
                         const float *v, int64_t ldv, int64_t m) {
    far_check_kv(be, kv);
    nr_backend *cpu = far_op(be, k, v);
    cpu->ops->kv_store(cpu, kv, pos0, k, ldk, v, ldv, m);
    far_leave(be);
}

static void far_attention(nr_backend *be, const nr_attention_args *a) {
    far_check_kv(be, a->kv);
    nr_backend *cpu = far_op(be, a->y, a->q);
    cpu->ops->attention(cpu, a);
    far_leave(be);
}

static void far_patchify(nr_backend *be, float *y, const float *pixels, int32_t side_h,
                         int32_t side_w, int32_t patch) {
    nr_backend *cpu = far_op(be, y, pixels);
    cpu->ops->patchify(cpu, y, pixels, side_h, side_w, patch);
    far_leave(be);
}

static int32_t far_argmax(nr_backend *be, const float *x, int32_t n) {
    nr_backend *cpu = far_op(be, x, NULL);
    int32_t index = cpu->ops->argmax(cpu, x, n);
    far_leave(be);
    return index;
}

static void far_argmax_each(nr_backend *be, const float *const *rows, int n_rows, int32_t n,
                            int32_t *out) {
    for (int i = 0; i < n_rows; i++) out[i] = far_argmax(be, rows[i], n);
}

/* ---- open, close */

static void far_close(nr_backend *be) {
    far_backend *f = far_self(be);
    if (f->n_ranges > 0) far_die("arenas are left");
    if (f->map) munmap(f->map, f->mapped);
    nr_backend_close(f->cpu);
    pthread_mutex_destroy(&f->lock);
    nr_free(f);
    far.n_open--;
}

static const nr_backend_ops far_ops = {.name = "far",
                                       .close = far_close,
                                       .begin = far_begin,
                                       .end = far_end,
                                       .check = far_check_errors,
                                       .reserve = far_reserve,
                                       .memory = far_memory,
                                       .arena_alloc = far_arena_alloc,
                                       .arena_free = far_arena_free,
                                       .upload = far_upload,
                                       .download = far_download,
                                       .copy = far_copy,
                                       .scratch_bytes = far_scratch_bytes,
                                       .set_scratch = far_set_scratch,
                                       .pack_rows = far_pack_rows,
                                       .linear = far_linear,
                                       .quantize_residual = far_quantize_residual,
                                       .activate = far_activate,
                                       .embed = far_embed,
                                       .rms_norm = far_rms_norm,
                                       .layer_norm = far_layer_norm,
                                       .gated = far_gated,
                                       .add_rows = far_add_rows,
                                       .rope = far_rope,
                                       .kv_store = far_kv_store,
                                       .attention = far_attention,
                                       .patchify = far_patchify,
                                       .argmax = far_argmax,
                                       .argmax_each = far_argmax_each};

nr_status nr_backend_cuda_open(int device, bool plan_only, nr_backend **out, nr_error *err) {
    NR_FAIL_IF(device != 0, UNSUPPORTED, "cuda:%d: there is one far device", device);
    far_backend *f = nr_calloc(1, sizeof *f);
    NR_FAIL_IF(!f, NO_MEMORY, "far device");
    nr_status status = nr_backend_cpu_open(1, NULL, &f->cpu, err);
    if (status != NR_STATUS_OK) {
        nr_free(f);
        return status;
    }
    f->base = (nr_backend){.ops = &far_ops, .isa = "far", .n_threads = f->cpu->n_threads};
    f->plan_only = plan_only;
    pthread_mutex_init(&f->lock, NULL);
    far.n_open++;
    *out = &f->base;
    return NR_STATUS_OK;
}

#endif
