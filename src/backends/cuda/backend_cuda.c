/* SPDX-License-Identifier: MIT
 *
 * backend_cuda.c - the CUDA device: each op of the table as a record (cuda_internal.h). It computes
 * nothing itself and allocates nothing after open but arenas.
 *
 * A failure of the device cannot be told by an op. The first one is kept, everything after it does
 * nothing, and `check` tells it: nr_backend_check, called after a step.
 */
#include "cuda_internal.h"

#include "nr_alloc.h"
#include "nr_limits.h"
#include "nr_threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of so few values, all heads, attend with the reference's bits: small models, that answer on
 * a card as on the CPU to the letter and have little time to lose. */
#define EXACT_ATTENTION_MAX 512

_Static_assert(NR_CUDA_SPANS_MAX >= NR_BATCH_MAX, "a batch is one launch");
_Static_assert(NR_BATCH_MAX * sizeof(int32_t) <= NR_CUDA_ALIGN, "room for results");

/* ---- linear ---- */

static void fill_quantize(nr_cuda_quantize_args *q, const float *x, int64_t ldx, int64_t m,
                          const nr_linear *w) {
    q->x = x;
    q->ldx = ldx;
    q->m = (int32_t)m;
    q->n_in = w->n_in;
    q->k_pad = nr_cuda_k_pad(w->n_in);
    q->n_outliers = w->n_outliers;
    q->outlier_columns = w->outlier_columns;
}

static void record_i8(nr_cuda_backend *be, const nr_linear_args *a) {
    const nr_linear *w = a->linear;
    nr_cuda_op *op = nr_cuda_record(be, NR_CUDA_LINEAR_I8);
    nr_cuda_quantize_args *q = &op->quantize;
    nr_cuda_linear_i8_args *l = &op->u.i8;
    fill_quantize(q, a->x, a->ldx, a->m, w);
    q->x_spent = a->x_spent;
    size_t used = nr_cuda_place_codes(q, be->scratch.region);
    NR_ASSERT(used <= be->scratch.region_bytes);
    (void)used;
    l->y = a->y;
    l->ldy = a->ldy;
    l->x = a->x;
    l->ldx = a->ldx;
    l->codes = q->codes;
    l->sx = q->sx;
    l->spike_col = q->spike_col;
    l->spike_val = q->spike_val;
    l->m = q->m;
    l->n_out = w->n_out;
    l->n_in = w->n_in;
    l->k_pad = q->k_pad;
    l->n_out_pad = nr_cuda_n_out_pad(w->n_out);
    l->n_outliers = w->n_outliers;
    l->weights = w->weights;
    l->scale = w->scale;
    l->bias = w->bias;
    l->outlier_columns = w->outlier_columns;
    l->outlier_weights = w->outlier_weights;
    l->activation = a->activation;
    l->residual = a->residual;
    l->sm = be->sm;
    l->n_multiprocessors = be->n_multiprocessors;
    l->overlap = be->overlap;
}

static void record_f32(nr_cuda_backend *be, const nr_linear_args *a) {
    nr_cuda_linear_f32_args *l = &nr_cuda_record(be, NR_CUDA_LINEAR_F32)->u.f32;
    l->y = a->y;
    l->ldy = a->ldy;
    l->x = a->x;
    l->ldx = a->ldx;
    l->m = (int32_t)a->m;
    l->n_out = a->linear->n_out;
    l->n_in = a->linear->n_in;
    l->weights = a->linear->weights;
    l->bias = a->linear->bias;
    l->activation = a->activation;
    l->residual = a->residual;
}

static void cuda_linear(nr_backend *base, const nr_linear_args *a) {
    nr_cuda_backend *be = nr_cuda_self(base);
    const nr_linear *w = a->linear;
    NR_ASSERT(w->n_in > 0 && w->n_in <= NR_REDUCTION_MAX && w->n_out > 0);
    NR_ASSERT(w->n_outliers >= 0 && w->n_outliers <= NR_LINEAR_OUTLIERS_MAX);
    if (a->m <= 0) return;
    if (w->dtype == NR_DTYPE_I8)
        record_i8(be, a);
    else
        record_f32(be, a);
    nr_cuda_submit(be);
}

static void cuda_quantize_residual(nr_backend *base, float *r, const float *x, int64_t ldx,
                                   int64_t m, const nr_linear *linear) {
    nr_cuda_backend *be = nr_cuda_self(base);
    NR_ASSERT(linear->dtype == NR_DTYPE_I8);
    if (m <= 0) return;
    nr_cuda_op *op = nr_cuda_record(be, NR_CUDA_RESIDUAL);
    op->y = r;
    fill_quantize(&op->quantize, x, ldx, m, linear);
    size_t used = nr_cuda_place_codes(&op->quantize, be->scratch.region);
    NR_ASSERT(used <= be->scratch.region_bytes);
    (void)used;
    nr_cuda_submit(be);
}

/* ---- rows ---- */

static void cuda_activate(nr_backend *base, float *y, int64_t n, nr_activation activation) {
    nr_cuda_backend *be = nr_cuda_self(base);
    if (n <= 0) return;
    nr_cuda_op *op = nr_cuda_record(be, NR_CUDA_ACTIVATE);
    op->y = y;
    op->n = n;
    op->act = activation;
    nr_cuda_submit(be);
}

/* Rows that go on where those of the last record ended belong to it. */
static bool extends_embed(nr_cuda_backend *be, float *y, int64_t ldy, const int32_t *ids, int64_t m,
                          const nr_linear *table) {
    nr_cuda_op *last = nr_cuda_last(be, NR_CUDA_EMBED);
    if (!last) return false;
    nr_cuda_embed_args *e = &last->u.embed;
    if (e->weights != table->weights || e->ldy != ldy || e->y + e->m * ldy != y) return false;
    if (!nr_cuda_push_behind(be, e->ids + e->m, ids, (size_t)m * sizeof *ids)) return false;
    e->m += (int32_t)m;
    return true;
}

static void cuda_embed(nr_backend *base, float *y, int64_t ldy, const int32_t *ids, int64_t m,
                       const nr_linear *table) {
    nr_cuda_backend *be = nr_cuda_self(base);
    for (int64_t i = 0; i < m; i++) NR_ASSERT(ids[i] >= 0 && ids[i] < table->n_out);
    if (m <= 0 || extends_embed(be, y, ldy, ids, m, table)) return;
    nr_cuda_need_params(be, (size_t)m * sizeof *ids);
    nr_cuda_embed_args *e = &nr_cuda_record(be, NR_CUDA_EMBED)->u.embed;
    e->y = y;
    e->ldy = ldy;
    e->ids = nr_cuda_push(be, ids, (size_t)m * sizeof *ids);
    e->m = (int32_t)m;
    e->n_in = table->n_in;
    e->k_pad = nr_cuda_k_pad(table->n_in);
    e->n_out_pad = nr_cuda_n_out_pad(table->n_out);
    e->n_outliers = table->n_outliers;
    e->dtype = table->dtype;
    e->weights = table->weights;
    e->scale = table->scale;
    e->outlier_columns = table->outlier_columns;
    e->outlier_weights = table->outlier_weights;
    nr_cuda_submit(be);
}

static void record_norm(nr_cuda_backend *be, nr_cuda_norm_args args) {
    if (args.m <= 0) return;
    nr_cuda_norm_args *n = &nr_cuda_record(be, NR_CUDA_NORM)->norm;
    n->y = args.y; /* by field: padding stays zero */
    n->x = args.x;
    n->gamma = args.gamma;
    n->beta = args.beta;
    n->m = args.m;
    n->d = args.d;
    n->eps = args.eps;
    n->layer = args.layer;
    nr_cuda_submit(be);
}

static void cuda_rms_norm(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                          const float *gamma, float eps) {
    record_norm(
        nr_cuda_self(be),
        (nr_cuda_norm_args){.y = y, .x = x, .gamma = gamma, .m = (int32_t)m, .d = d, .eps = eps});
}

static void cuda_layer_norm(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                            const float *gamma, const float *beta, float eps) {
    record_norm(nr_cuda_self(be), (nr_cuda_norm_args){.y = y,
                                                      .x = x,
                                                      .gamma = gamma,
                                                      .beta = beta,
                                                      .m = (int32_t)m,
                                                      .d = d,
                                                      .eps = eps,
                                                      .layer = true});
}

static void cuda_gated(nr_backend *base, float *y, int64_t ldy, const float *gate_up, int64_t m,
                       int32_t f, nr_activation activation) {
    nr_cuda_backend *be = nr_cuda_self(base);
    if (m <= 0 || f <= 0) return;
    nr_cuda_op *op = nr_cuda_record(be, NR_CUDA_GATED);
    op->y = y;
    op->x = gate_up;
    op->ldy = ldy;
    op->n = m;
    op->cols = f;
    op->act = activation;
    nr_cuda_submit(be);
}

static void cuda_add_rows(nr_backend *base, float *y, int64_t ldy, const float *table,
                          const int32_t *rows, int64_t m, int32_t d) {
    nr_cuda_backend *be = nr_cuda_self(base);
    if (m <= 0) return;
    const int32_t *device_rows = nr_cuda_push_ints(be, rows, m);
    nr_cuda_op *op = nr_cuda_record(be, NR_CUDA_ADD_ROWS);
    op->y = y;
    op->x = table;
    op->n = m;
    op->cols = d;
    op->ldy = ldy;
    op->u.add_rows = device_rows;
    nr_cuda_submit(be);
}

static void cuda_rope(nr_backend *base, float *x, int64_t ldx, const int32_t *positions, int64_t m,
                      int32_t n_heads, int32_t head_dim, const float *cos_sin) {
    nr_cuda_backend *be = nr_cuda_self(base);
    NR_ASSERT(head_dim % 2 == 0);
    if (m <= 0) return;
    const int32_t *device_positions = nr_cuda_push_ints(be, positions, m);
    nr_cuda_rope_args *r = &nr_cuda_record(be, NR_CUDA_ROPE)->u.rope;
    r->x = x;
    r->ldx = ldx;
    r->positions = device_positions;
    r->m = (int32_t)m;
    r->n_heads = n_heads;
    r->head_dim = head_dim;
    r->cos_sin = cos_sin;
    nr_cuda_submit(be);
}

/* ---- keys, values, attention ---- */

static nr_cuda_span span_of(const nr_kv *kv, int64_t row0, int64_t m, int32_t pos0,
                            int32_t n_keys) {
    return (nr_cuda_span){.k = kv->k,
                          .v = kv->v,
                          .k_scale = kv->k_scale,
                          .v_scale = kv->v_scale,
                          .row0 = (int32_t)row0,
                          .m = (int32_t)m,
                          .pos0 = pos0,
                          .n_keys = n_keys};
}

/* The next sequence's rows behind those of the last record: one launch for all. */
static bool extends_kv_store(nr_cuda_backend *be, const nr_kv *kv, const float *k, int64_t ldk,
                             const float *v, int64_t ldv, nr_cuda_span *span) {
    nr_cuda_op *last = nr_cuda_last(be, NR_CUDA_KV_STORE);
    if (!last) return false;
    nr_cuda_kv_store_args *s = &last->u.kv_store;
    int64_t rows = (int64_t)s->n_spans * s->m;
    if (s->m != span->m || s->n_spans == NR_CUDA_SPANS_MAX || s->dtype != kv->dtype ||
        s->n_kv_heads != kv->n_kv_heads || s->head_dim != kv->head_dim || s->cap != kv->cap ||
        s->ldk != ldk || s->ldv != ldv || s->k + rows * ldk != k || s->v + rows * ldv != v)
        return false;
    span->row0 = (int32_t)rows;
    if (!nr_cuda_push_behind(be, s->spans + s->n_spans, span, sizeof *span)) return false;
    s->n_spans++;
    return true;
}

static void cuda_kv_store(nr_backend *base, const nr_kv *kv, int32_t pos0, const float *k,
                          int64_t ldk, const float *v, int64_t ldv, int64_t m) {
    nr_cuda_backend *be = nr_cuda_self(base);
    NR_ASSERT(pos0 >= 0 && pos0 + m <= kv->cap && kv->cap % NR_KV_BLOCK == 0);
    if (m <= 0) return;
    nr_cuda_span span = span_of(kv, 0, m, pos0, pos0 + (int32_t)m);
    if (extends_kv_store(be, kv, k, ldk, v, ldv, &span)) return;
    nr_cuda_need_params(be, sizeof span);
    nr_cuda_kv_store_args *s = &nr_cuda_record(be, NR_CUDA_KV_STORE)->u.kv_store;
    s->k = k;
    s->v = v;
    s->ldk = ldk;
    s->ldv = ldv;
    s->spans = nr_cuda_push(be, &span, sizeof span);
    s->n_spans = 1;
    s->m = (int32_t)m;
    s->n_kv_heads = kv->n_kv_heads;
    s->head_dim = kv->head_dim;
    s->cap = kv->cap;
    s->dtype = kv->dtype;
    s->overlap = be->overlap;
    nr_cuda_submit(be);
}

static bool extends_attention(nr_cuda_backend *be, const nr_attention_args *a, nr_cuda_span *span) {
    nr_cuda_op *last = nr_cuda_last(be, NR_CUDA_ATTENTION);
    if (!last || !a->causal) return false;
    nr_cuda_attention_args *s = &last->u.attention;
    const nr_kv *kv = a->kv;
    int64_t rows = (int64_t)s->n_spans * s->m;
    if (!s->causal || s->m != span->m || s->n_spans == NR_CUDA_SPANS_MAX || s->dtype != kv->dtype ||
        s->n_heads != a->n_heads || s->n_kv_heads != kv->n_kv_heads ||
        s->head_dim != kv->head_dim || s->cap != kv->cap || s->scale != a->scale ||
        s->ldq != a->ldq || s->ldy != a->ldy || s->q + rows * a->ldq != a->q ||
        s->y + rows * a->ldy != a->y)
        return false;
    span->row0 = (int32_t)rows;
    if (!nr_cuda_push_behind(be, s->spans + s->n_spans, span, sizeof *span)) return false;
    s->n_spans++;
    return true;
}

/* Where positions grow from step to step the launch is sized for the whole cache, so that it stays
 * the same. */
static void cuda_attention(nr_backend *base, const nr_attention_args *a) {
    nr_cuda_backend *be = nr_cuda_self(base);
    const nr_kv *kv = a->kv;
    NR_ASSERT(a->n_keys > 0 && a->n_keys <= kv->cap && a->n_heads % kv->n_kv_heads == 0);
    NR_ASSERT(!a->causal || a->pos0 >= 0);
    if (a->m <= 0) return;
    nr_cuda_span span = span_of(kv, 0, a->m, a->pos0, a->n_keys);
    if (extends_attention(be, a, &span)) return;
    nr_cuda_need_params(be, sizeof span);
    nr_cuda_attention_args *s = &nr_cuda_record(be, NR_CUDA_ATTENTION)->u.attention;
    s->y = a->y;
    s->q = a->q;
    s->ldy = a->ldy;
    s->ldq = a->ldq;
    s->spans = nr_cuda_push(be, &span, sizeof span);
    s->n_spans = 1;
    s->m = (int32_t)a->m;
    s->n_heads = a->n_heads;
    s->n_kv_heads = kv->n_kv_heads;
    s->head_dim = kv->head_dim;
    s->cap = kv->cap;
    s->n_keys_max = a->causal ? kv->cap : a->n_keys;
    s->dtype = kv->dtype;
    s->causal = a->causal;
    s->scale = a->scale;
    s->workspace = be->scratch.region;
    s->workspace_bytes = be->scratch.region_bytes;
    s->sm = be->sm;
    s->n_multiprocessors = be->n_multiprocessors;
    s->exact = a->n_heads * kv->head_dim <= be->exact_attention_max;
    s->overlap = be->overlap;
    nr_cuda_submit(be);
}

/* ---- the rest ---- */

static void cuda_copy(nr_backend *base, void *dst, const void *src, size_t bytes) {
    nr_cuda_backend *be = nr_cuda_self(base);
    nr_cuda_op *last = nr_cuda_last(be, NR_CUDA_COPY);
    if (bytes == 0) return;
    if (last && (uint8_t *)last->y + last->n == dst && (const uint8_t *)last->x + last->n == src) {
        last->n += (int64_t)bytes;
        return;
    }
    nr_cuda_op *op = nr_cuda_record(be, NR_CUDA_COPY);
    op->y = dst;
    op->x = src;
    op->n = (int64_t)bytes;
    nr_cuda_submit(be);
}

static void cuda_patchify(nr_backend *base, float *y, const float *pixels, int32_t side_h,
                          int32_t side_w, int32_t patch) {
    nr_cuda_backend *be = nr_cuda_self(base);
    nr_cuda_op *op = nr_cuda_record(be, NR_CUDA_PATCHIFY);
    op->y = y;
    op->x = pixels;
    op->rows = side_h;
    op->cols = side_w;
    op->n = patch;
    nr_cuda_submit(be);
}

/* One launch, which writes into the host's memory, and one wait for all rows. Token 0 where the
 * card failed; check tells. */
static void cuda_argmax_each(nr_backend *base, const float *const *rows, int n_rows, int32_t n,
                             int32_t *out) {
    nr_cuda_backend *be = nr_cuda_self(base);
    nr_cuda_argmax_args a = {.n_rows = n_rows, .n = n, .index = be->result};
    size_t bytes = (size_t)n_rows * sizeof *out;
    NR_ASSERT(n > 0 && n_rows > 0 && n_rows <= NR_CUDA_SPANS_MAX);
    memcpy(a.rows, rows, (size_t)n_rows * sizeof *rows);
    nr_cuda_flush(be);
    if (be->error.status == NR_STATUS_OK &&
        nr_cuda_ok(be, nr_cuda_argmax(&a, be->stream), "argmax"))
        nr_cuda_ok(be, cudaStreamSynchronize(be->stream), "computing");
    if (be->error.status == NR_STATUS_OK)
        memcpy(out, be->result, bytes);
    else
        memset(out, 0, bytes);
}

static int32_t cuda_argmax(nr_backend *be, const float *x, int32_t n) {
    int32_t index;
    cuda_argmax_each(be, &x, 1, n, &index);
    return index;
}

static nr_status cuda_check(nr_backend *base, nr_error *err) {
    nr_cuda_backend *be = nr_cuda_self(base);
    if (be->error.status == NR_STATUS_OK)
        nr_cuda_ok(be, cudaStreamSynchronize(be->stream), "computing");
    if (be->error.status == NR_STATUS_OK) return NR_STATUS_OK;
    if (err) *err = be->error;
    return be->error.status;
}

static void cuda_memory(const nr_backend *base, nr_device_memory *out) {
    const nr_cuda_backend *be = (const nr_cuda_backend *)base;
    size_t free_bytes = 0, total = 0;
    *out = (nr_device_memory){.arena_bytes = be->block_bytes + be->outside_bytes,
                              .context_bytes = be->context_bytes};
    if (be->plan_only) return;
    snprintf(out->card, sizeof out->card, "%s", be->card);
    if (be->error.status == NR_STATUS_OK && cudaSetDevice(be->device) == cudaSuccess &&
        cudaMemGetInfo(&free_bytes, &total) == cudaSuccess) {
        out->total_bytes = total;
        out->free_bytes = free_bytes;
    }
    nr_cuda_nvml_used(be, &out->used_bytes, &out->process_bytes);
    if (out->used_bytes == 0) out->used_bytes = total - free_bytes;
    if (out->process_bytes > out->arena_bytes)
        out->context_bytes = out->process_bytes - out->arena_bytes;
}

/* ---- open, close ---- */

static void cuda_close(nr_backend *base) {
    nr_cuda_backend *be = nr_cuda_self(base);
    if (!be->plan_only && be->stream) {
        (void)cudaSetDevice(be->device);
        (void)cudaStreamSynchronize(be->stream);
        nr_cuda_drop_graphs(be);
        if (be->copied) (void)cudaEventDestroy(be->copied);
        (void)cudaStreamDestroy(be->stream);
    }
    nr_cuda_close_memory(be);
    nr_cuda_nvml_close(be);
    nr_free(be);
}

static const nr_backend_ops cuda_ops = {
    .name = "cuda",
    .close = cuda_close,
    .begin = nr_cuda_begin,
    .end = nr_cuda_end,
    .check = cuda_check,
    .reserve = nr_cuda_reserve,
    .memory = cuda_memory,
    .arena_alloc = nr_cuda_arena_alloc,
    .arena_free = nr_cuda_arena_free,
    .upload = nr_cuda_upload,
    .download = nr_cuda_download,
    .copy = cuda_copy,
    .scratch_bytes = nr_cuda_scratch_bytes,
    .set_scratch = nr_cuda_set_scratch,
    .pack_rows = nr_cuda_pack_rows,
    .linear = cuda_linear,
    .quantize_residual = cuda_quantize_residual,
    .activate = cuda_activate,
    .embed = cuda_embed,
    .rms_norm = cuda_rms_norm,
    .layer_norm = cuda_layer_norm,
    .gated = cuda_gated,
    .add_rows = cuda_add_rows,
    .rope = cuda_rope,
    .kv_store = cuda_kv_store,
    .attention = cuda_attention,
    .patchify = cuda_patchify,
    .argmax = cuda_argmax,
    .argmax_each = cuda_argmax_each,
};

/* The card's name and what it can do. */
static nr_status find_card(nr_cuda_backend *be, nr_error *err) {
    struct cudaDeviceProp *p = nr_calloc(1, sizeof *p);
    int n = 0;
    NR_FAIL_IF(!p, NO_MEMORY, "properties of a card");
    cudaError_t status = cudaGetDeviceCount(&n);
    if (status == cudaSuccess && be->device < n) status = cudaGetDeviceProperties(p, be->device);
    snprintf(be->card, sizeof be->card, "%.60s", p->name);
    be->sm = p->major * 10 + p->minor;
    be->n_multiprocessors = NR_MIN(p->multiProcessorCount, NR_CUDA_MULTIPROCESSORS_MAX);
    nr_free(p);
    (void)cudaGetLastError();
    NR_FAIL_IF(status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver, UNSUPPORTED,
               "cuda:%d: no usable NVIDIA card or driver on this machine (%s)", be->device,
               cudaGetErrorString(status));
    NR_FAIL_IF(status != cudaSuccess, UNSUPPORTED, "cuda:%d: %s", be->device,
               cudaGetErrorString(status));
    NR_FAIL_IF(be->device >= n, UNSUPPORTED, "cuda:%d: this machine has %d NVIDIA card%s",
               be->device, n, n == 1 ? "" : "s");
    NR_FAIL_IF(be->sm < 80, UNSUPPORTED,
               "cuda:%d: %s has compute capability %d.%d, expected 8.0 or later", be->device,
               be->card, be->sm / 10, be->sm % 10);
    return NR_STATUS_OK;
}

static nr_status open_card(nr_cuda_backend *be, nr_error *err) {
    uint64_t before, after, process;
    NR_TRY(find_card(be, err));
    snprintf(be->isa, sizeof be->isa, "sm_%d", be->sm);
    (void)cudaDeviceGetPCIBusId(be->pci, sizeof be->pci, be->device);
    nr_cuda_nvml_open(be);
    nr_cuda_nvml_used(be, &before, &process);
    bool ok = nr_cuda_ok(be, cudaSetDevice(be->device), "choosing the card") &&
              nr_cuda_ok(be, cudaStreamCreateWithFlags(&be->stream, cudaStreamNonBlocking),
                         "making a stream") &&
              nr_cuda_ok(be, cudaEventCreateWithFlags(&be->copied, cudaEventDisableTiming),
                         "making an event");
    if (!ok) {
        if (err) *err = be->error;
        return NR_STATUS_DEVICE;
    }
    NR_TRY(nr_cuda_open_memory(be, err));
    nr_cuda_nvml_used(be, &after, &process);
    be->context_bytes = process ? process : after > before ? after - before : 0;
    return NR_STATUS_OK;
}

nr_status nr_backend_cuda_open(int device, bool plan_only, nr_backend **out, nr_error *err) {
    const char *kernels = getenv("NR_CUDA_KERNELS"), *graphs = getenv("NR_CUDA_GRAPHS");
    const char *overlap = getenv("NR_CUDA_OVERLAP"), *attention = getenv("NR_CUDA_ATTENTION");
    nr_cuda_backend *be = nr_calloc(1, sizeof *be);
    NR_FAIL_IF(!be, NO_MEMORY, "CUDA backend");
    be->base = (nr_backend){.ops = &cuda_ops, .isa = be->isa, .n_threads = nr_cpu_count()};
    be->device = device;
    be->plan_only = plan_only;
    be->plain = kernels && strcmp(kernels, "plain") == 0;
    be->graphs = !graphs || strcmp(graphs, "0") != 0;
    be->exact_attention_max = EXACT_ATTENTION_MAX;
    if (attention && strcmp(attention, "fast") == 0) be->exact_attention_max = 0;
    if (attention && strcmp(attention, "exact") == 0) be->exact_attention_max = INT32_MAX;
    nr_status status = plan_only ? NR_STATUS_OK : open_card(be, err);
    be->overlap = be->sm == 90 && !be->plain && (!overlap || strcmp(overlap, "0") != 0);
    be->early = be->overlap && (!overlap || strcmp(overlap, "1") != 0);
    if (status != NR_STATUS_OK) {
        cuda_close(&be->base);
        return status;
    }
    *out = &be->base;
    return NR_STATUS_OK;
}
