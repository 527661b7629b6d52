/* SPDX-License-Identifier: MIT
 *
 * backend_cpu.c - the CPU device: splits each op over the pool and calls the kernel table. It does
 * no arithmetic on data, allocates nothing after open, and never lets a split change a result:
 * work items write disjoint rows or columns and reduce nothing across items.
 *
 * Scratch, lent by set_scratch and reused by every op:
 *   linear     codes [m, stride] u8 | scales [m] f32 | outlier activations [m, 32] f32
 *              | columns of the spikes [m, 4] i32 | their activations [m, 4] f32
 *   attention  one region a thread: scaled queries and scores of a tile of rows
 */
#include "cpu_kernels.h"
#include "host_memory.h"
#include "nr_alloc.h"
#include "nr_limits.h"
#include "nr_threads.h"

#include <stdlib.h>
#include <string.h>

#define SERIAL_WORK 32768   /* multiply-adds or element steps below which threads cost more */
/* Work items a thread: they even out cores that run unevenly. More where nothing is shared between
 * items: the wait for the last one grows with its size. */
#define CHUNKS_PER_THREAD 8
#define CHUNKS_STREAMED 32

/* Outputs of so many bytes are written past the caches: whoever reads them comes too late, and a
 * line that is not fetched to be written over costs half. Less does stay in a shared cache. */
#define PAST_CACHES_BYTES ((int64_t)4 << 20)

/* Weights that a shared cache keeps until the next block of rows needs them. */
#define ROUND_BYTES ((int64_t)16 << 20)

typedef struct cpu_backend {
    nr_backend base;
    const nr_cpu_kernels *kernels;
    nr_pool *pool; /* owns */
    uint8_t *scratch; /* borrowed */
    size_t scratch_bytes;
} cpu_backend;

static cpu_backend *self(nr_backend *be) {
    return (cpu_backend *)be;
}

/* Items that one chunk takes: so many chunks a thread, none smaller than SERIAL_WORK. */
static int64_t grain_for(const cpu_backend *be, int64_t n_items, int64_t work_per_item,
                         int64_t chunks_per_thread) {
    int64_t chunks = nr_pool_size(be->pool) * chunks_per_thread;
    int64_t even = (n_items + chunks - 1) / chunks;
    int64_t least = (SERIAL_WORK + work_per_item - 1) / NR_MAX(work_per_item, 1);
    return NR_MAX(NR_MAX(even, least), 1);
}

static int64_t grain_of(const cpu_backend *be, int64_t n_items, int64_t work_per_item) {
    return grain_for(be, n_items, work_per_item, CHUNKS_PER_THREAD);
}

/* ---- linear ---- */

typedef struct linear_scratch {
    size_t xq, scale, outliers, spikes, spike_values, end; /* byte offsets */
} linear_scratch;

static linear_scratch linear_scratch_of(int64_t m, int64_t n_in) {
    linear_scratch s = {0};
    s.scale = nr_round_up((size_t)(m * nr_cpu_xq_stride(n_in)), NR_ALIGN_BYTES);
    s.outliers = nr_round_up(s.scale + (size_t)m * sizeof(float), NR_ALIGN_BYTES);
    s.spikes = s.outliers + (size_t)m * NR_LINEAR_OUTLIERS_MAX * sizeof(float);
    s.spike_values = s.spikes + (size_t)m * NR_QUANT_SPIKES * sizeof(int32_t);
    s.end = s.spike_values + (size_t)m * NR_QUANT_SPIKES * sizeof(float);
    return s;
}

/* Items of a linear: a block of panels for a block of rows. A round is as many panels as a shared
 * cache may keep; within it all panels pass over one block of rows, whose codes then stay in the
 * second-level caches, before the next block comes. */
typedef struct linear_split {
    const nr_cpu_kernels *kernels;
    nr_linear_job job;
    int64_t n_panels, panels;         /* panels of the linear, of one item */
    int64_t n_row_blocks, rows;       /* blocks of rows, rows of one */
    int64_t n_panel_blocks, in_round; /* blocks of panels, those of one round */
} linear_split;

static void run_quantize(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const linear_split *s = ctx;
    (void)i_thread;
    s->kernels->quantize_rows(&s->job, begin, end);
}

static int64_t linear_items(const linear_split *s) {
    int64_t rounds = (s->n_panel_blocks + s->in_round - 1) / s->in_round;
    return rounds * s->n_row_blocks * s->in_round;
}

/* Items that follow each other on the same rows go to the kernel in one call. The last round may be
 * short of panels. */
static void run_linear(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const linear_split *s = ctx;
    const nr_linear_args *a = s->job.args;
    bool is_i8 = a->linear->dtype == NR_DTYPE_I8;
    (void)i_thread;
    for (int64_t next = begin; begin < end; begin = next) {
        int64_t run = begin / s->in_round, at = begin % s->in_round;
        next = NR_MIN(end, (run + 1) * s->in_round);
        int64_t row0 = run % s->n_row_blocks * s->rows, row1 = NR_MIN(row0 + s->rows, a->m);
        int64_t panel0 = (run / s->n_row_blocks * s->in_round + at) * s->panels;
        int64_t panel1 = NR_MIN(panel0 + (next - begin) * s->panels, s->n_panels);
        if (panel0 >= panel1) continue;
        if (is_i8) s->kernels->linear_i8(&s->job, row0, row1, panel0, panel1);
        else s->kernels->linear_f32(&s->job, row0, row1, panel0, panel1);
    }
}

/* Blocks of rows: even ones of whole tiles, as many as caches or threads need. */
static int64_t rows_of_block(const cpu_backend *be, const linear_split *s, bool stream) {
    int64_t tile = be->kernels->row_tile, m = s->job.args->m, n_threads = nr_pool_size(be->pool);
    int64_t items = n_threads == 1 ? 1 : n_threads * CHUNKS_PER_THREAD, blocks = 1;
    if (s->job.xq && !stream) {
        int64_t most = NR_MAX(be->kernels->block_bytes / s->job.ldq / tile, 1) * tile;
        blocks = (m + most - 1) / most;
    }
    blocks = NR_MAX(blocks, (items + s->n_panel_blocks - 1) / s->n_panel_blocks);
    blocks = NR_MIN(blocks, (m + tile - 1) / tile);
    return ((m + blocks - 1) / blocks + tile - 1) / tile * tile;
}

static void split_linear(const cpu_backend *be, linear_split *s, bool stream) {
    const nr_linear *w = s->job.args->linear;
    int64_t panel_bytes = w->dtype == NR_DTYPE_I8 ? nr_panel_i8_bytes(w->n_in)
                                                  : nr_panel_f32_count(w->n_in) * 4;
    s->n_panels = nr_panel_count(w->n_out);
    s->panels = stream ? 1 : be->kernels->panel_tile;
    s->n_panel_blocks = (s->n_panels + s->panels - 1) / s->panels;
    s->rows = rows_of_block(be, s, stream);
    s->n_row_blocks = (s->job.args->m + s->rows - 1) / s->rows;
    s->in_round = s->n_panel_blocks;
    if (s->n_row_blocks > 1)
        s->in_round =
            NR_MAX(1, NR_MIN(s->n_panel_blocks, ROUND_BYTES / (s->panels * panel_bytes)));
}

/* Whole lines, and nothing of y is read on the way. */
static bool goes_past_caches(const nr_linear_args *a) {
    return !a->residual && a->m * a->linear->n_out * (int64_t)sizeof *a->y >= PAST_CACHES_BYTES &&
           (uintptr_t)a->y % 64 == 0 && a->ldy % 16 == 0;
}

static void cpu_linear(nr_backend *base, const nr_linear_args *a) {
    cpu_backend *be = self(base);
    const nr_linear *w = a->linear;
    NR_ASSERT(w->n_in > 0 && w->n_in <= NR_REDUCTION_MAX && w->n_out > 0);
    NR_ASSERT(w->n_outliers >= 0 && w->n_outliers <= NR_LINEAR_OUTLIERS_MAX);
    if (a->m <= 0) return;
    linear_split s = {.kernels = be->kernels,
                      .job = {.args = a, .past_caches = goes_past_caches(a)}};
    if (w->dtype == NR_DTYPE_I8) {
        linear_scratch at = linear_scratch_of(a->m, w->n_in);
        NR_ASSERT(at.end <= be->scratch_bytes);
        s.job.xq = be->scratch;
        s.job.ldq = nr_cpu_xq_stride(w->n_in);
        s.job.scale = (float *)(void *)(be->scratch + at.scale);
        s.job.outliers = (float *)(void *)(be->scratch + at.outliers);
        s.job.spikes = (int32_t *)(void *)(be->scratch + at.spikes);
        s.job.spike_values = (float *)(void *)(be->scratch + at.spike_values);
        nr_pool_run(be->pool, a->m, grain_of(be, a->m, w->n_in), run_quantize, &s);
    }
    bool stream = a->m <= be->kernels->stream_rows;
    split_linear(be, &s, stream);
    int64_t work = s.rows * s.panels * NR_PANEL_ROWS * w->n_in, items = linear_items(&s);
    int64_t grain =
        grain_for(be, items, work, stream ? CHUNKS_STREAMED : CHUNKS_PER_THREAD);
    nr_pool_run(be->pool, items, grain, run_linear, &s);
}

/* ---- ops on rows: one context, one callback an op ---- */

typedef struct rows_job {
    const nr_cpu_kernels *kernels;
    float *y;
    const float *x, *gamma, *beta;
    const int32_t *ids;
    const nr_linear *table;
    const nr_kv *kv;
    int64_t ldy, ldx;
    int32_t d, n_heads, pos0;
    float eps;
    nr_activation activation;
} rows_job;

static void run_rows(cpu_backend *be, int64_t m, int64_t work_per_row, nr_pool_fn fn,
                     rows_job *job) {
    job->kernels = be->kernels;
    nr_pool_run(be->pool, m, grain_of(be, m, work_per_row), fn, job);
}

static void run_residual(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const rows_job *j = ctx;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++)
        j->kernels->residual_row(j->y + i * j->table->n_in, j->x + i * j->ldx, j->table);
}

static void cpu_quantize_residual(nr_backend *be, float *r, const float *x, int64_t ldx, int64_t m,
                                  const nr_linear *linear) {
    NR_ASSERT(linear->dtype == NR_DTYPE_I8);
    run_rows(self(be), m, linear->n_in, run_residual,
             &(rows_job){.y = r, .x = x, .ldx = ldx, .table = linear});
}

/* Items of 16 values: whole vectors. */
static void run_activate(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const rows_job *j = ctx;
    (void)i_thread;
    j->kernels->activate(j->y + begin * 16, NR_MIN(end * 16, j->ldy) - begin * 16, j->activation);
}

static void cpu_activate(nr_backend *be, float *y, int64_t n, nr_activation activation) {
    run_rows(self(be), (n + 15) / 16, 64, run_activate,
             &(rows_job){.y = y, .ldy = n, .activation = activation});
}

static void run_embed(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const rows_job *j = ctx;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++)
        j->kernels->embed_row(j->y + i * j->ldy, j->ids[i], j->table);
}

static void cpu_embed(nr_backend *be, float *y, int64_t ldy, const int32_t *ids, int64_t m,
                      const nr_linear *table) {
    for (int64_t i = 0; i < m; i++) NR_ASSERT(ids[i] >= 0 && ids[i] < table->n_out);
    run_rows(self(be), m, table->n_in, run_embed,
             &(rows_job){.y = y, .ldy = ldy, .ids = ids, .table = table});
}

static void run_rms_norm(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const rows_job *j = ctx;
    (void)i_thread;
    j->kernels->rms_norm(j->y + begin * j->d, j->x + begin * j->d, end - begin, j->d, j->gamma,
                         j->eps);
}

static void cpu_rms_norm(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                         const float *gamma, float eps) {
    run_rows(self(be), m, d, run_rms_norm,
             &(rows_job){.y = y, .x = x, .d = d, .gamma = gamma, .eps = eps});
}

static void run_layer_norm(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const rows_job *j = ctx;
    (void)i_thread;
    j->kernels->layer_norm(j->y + begin * j->d, j->x + begin * j->d, end - begin, j->d, j->gamma,
                           j->beta, j->eps);
}

static void cpu_layer_norm(nr_backend *be, float *y, const float *x, int64_t m, int32_t d,
                           const float *gamma, const float *beta, float eps) {
    run_rows(self(be), m, d, run_layer_norm,
             &(rows_job){.y = y, .x = x, .d = d, .gamma = gamma, .beta = beta, .eps = eps});
}

static void run_gated(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const rows_job *j = ctx;
    (void)i_thread;
    j->kernels->gated(j->y + begin * j->ldy, j->ldy, j->x + begin * 2 * j->d, end - begin, j->d,
                      j->activation);
}

static void cpu_gated(nr_backend *be, float *y, int64_t ldy, const float *gate_up, int64_t m,
                      int32_t f, nr_activation activation) {
    run_rows(self(be), m, 2 * (int64_t)f, run_gated,
             &(rows_job){.y = y, .ldy = ldy, .x = gate_up, .d = f, .activation = activation});
}

static void run_add_rows(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const rows_job *j = ctx;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++)
        j->kernels->add_row(j->y + i * j->ldy, j->x + (int64_t)j->ids[i] * j->d, j->d);
}

static void cpu_add_rows(nr_backend *be, float *y, int64_t ldy, const float *table,
                         const int32_t *rows, int64_t m, int32_t d) {
    run_rows(self(be), m, d, run_add_rows,
             &(rows_job){.y = y, .ldy = ldy, .x = table, .ids = rows, .d = d});
}

static void run_rope(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const rows_job *j = ctx;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++)
        j->kernels->rope_row(j->y + i * j->ldy, j->n_heads, j->d,
                             j->x + (int64_t)j->ids[i] * j->d);
}

static void cpu_rope(nr_backend *be, float *x, int64_t ldx, const int32_t *positions, int64_t m,
                     int32_t n_heads, int32_t head_dim, const float *cos_sin) {
    NR_ASSERT(head_dim % 2 == 0);
    run_rows(self(be), m, (int64_t)n_heads * head_dim, run_rope,
             &(rows_job){.y = x, .ldy = ldx, .x = cos_sin, .ids = positions, .n_heads = n_heads,
                         .d = head_dim});
}

static void run_kv_store(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const rows_job *j = ctx;
    (void)i_thread;
    for (int64_t i = begin; i < end; i++)
        j->kernels->kv_store_row(j->kv, j->pos0 + (int32_t)i, j->x + i * j->ldx,
                                 j->y + i * j->ldy);
}

static void cpu_kv_store(nr_backend *be, const nr_kv *kv, int32_t pos0, const float *k, int64_t ldk,
                         const float *v, int64_t ldv, int64_t m) {
    NR_ASSERT(pos0 >= 0 && pos0 + m <= kv->cap && kv->cap % NR_KV_BLOCK == 0);
    run_rows(self(be), m, 4 * (int64_t)kv->n_kv_heads * kv->head_dim, run_kv_store,
             &(rows_job){.kv = kv, .pos0 = pos0, .x = k, .ldx = ldk, .y = (float *)(uintptr_t)v,
                         .ldy = ldv});
}

/* ---- attention: items are (head, chunk of rows), heads outermost so keys stay in cache ---- */

typedef struct attention_split {
    const cpu_backend *be;
    const nr_attention_args *args;
    int64_t n_chunks, rows;
    size_t thread_bytes;
} attention_split;

static size_t attention_thread_bytes(const cpu_backend *be, int64_t head_dim, int64_t keys) {
    int64_t floats = nr_cpu_attention_floats(be->kernels->attention_rows, head_dim, keys);
    return nr_round_up((size_t)floats * sizeof(float), NR_ALIGN_BYTES);
}

static void run_attention(void *ctx, int64_t begin, int64_t end, int i_thread) {
    const attention_split *s = ctx;
    float *scratch = (float *)(void *)(s->be->scratch + (size_t)i_thread * s->thread_bytes);
    for (int64_t i = begin; i < end; i++) {
        int64_t row0 = i % s->n_chunks * s->rows, row1 = NR_MIN(row0 + s->rows, s->args->m);
        s->be->kernels->attention(s->args, (int32_t)(i / s->n_chunks), row0, row1, scratch);
    }
}

static void cpu_attention(nr_backend *base, const nr_attention_args *a) {
    cpu_backend *be = self(base);
    int64_t tile = be->kernels->attention_rows, n_threads = nr_pool_size(be->pool);
    NR_ASSERT(a->n_keys > 0 && a->n_keys <= a->kv->cap && a->n_heads % a->kv->n_kv_heads == 0);
    NR_ASSERT(!a->causal || a->pos0 >= 0);
    if (a->m <= 0) return;
    attention_split s = {.be = be, .args = a};
    s.thread_bytes = attention_thread_bytes(be, a->kv->head_dim, a->n_keys);
    NR_ASSERT(s.thread_bytes * (size_t)n_threads <= be->scratch_bytes);
    int64_t chunks = NR_MIN((n_threads * CHUNKS_PER_THREAD + a->n_heads - 1) / a->n_heads,
                            (a->m + tile - 1) / tile);
    if (n_threads == 1) chunks = 1;
    s.rows = ((a->m + chunks - 1) / chunks + tile - 1) / tile * tile;
    s.n_chunks = (a->m + s.rows - 1) / s.rows;
    int64_t work = 2 * s.rows * a->n_keys * a->kv->head_dim;
    nr_pool_run(be->pool, a->n_heads * s.n_chunks, grain_of(be, a->n_heads * s.n_chunks, work),
                run_attention, &s);
}

/* ---- weights, pixels, the rest ---- */

static void cpu_patchify(nr_backend *be, float *y, const float *pixels, int32_t side_h,
                         int32_t side_w, int32_t patch) {
    (void)be;
    for (int32_t gy = 0; gy < side_h / patch; gy++)
        for (int32_t gx = 0; gx < side_w / patch; gx++)
            for (int32_t c = 0; c < 3; c++)
                for (int32_t py = 0; py < patch; py++, y += patch)
                    memcpy(y,
                           pixels + ((int64_t)c * side_h + gy * patch + py) * side_w + gx * patch,
                           (size_t)patch * sizeof *y);
}

static int32_t cpu_argmax(nr_backend *be, const float *x, int32_t n) {
    NR_ASSERT(n > 0);
    return self(be)->kernels->argmax(x, n);
}

static size_t cpu_scratch_bytes(const nr_backend *base, int64_t rows_max, int64_t n_in_max,
                                int64_t keys_max) {
    const cpu_backend *be = (const cpu_backend *)base;
    size_t linear = linear_scratch_of(rows_max, n_in_max).end;
    size_t attention = attention_thread_bytes(be, NR_HEAD_DIM_MAX, keys_max) *
                       (size_t)nr_pool_size(be->pool);
    return NR_MAX(linear, attention);
}

static void cpu_set_scratch(nr_backend *be, void *scratch, size_t bytes) {
    NR_ASSERT((uintptr_t)scratch % NR_ALIGN_BYTES == 0);
    self(be)->scratch = scratch;
    self(be)->scratch_bytes = bytes;
}

static void cpu_close(nr_backend *be) {
    nr_pool_free(self(be)->pool);
    nr_free(be);
}

static const nr_backend_ops cpu_ops = {
    .name = "cpu",
    .close = cpu_close,
    .arena_alloc = nr_host_arena_alloc,
    .arena_free = nr_host_arena_free,
    .upload = nr_host_copy,
    .download = nr_host_copy,
    .copy = nr_host_copy,
    .scratch_bytes = cpu_scratch_bytes,
    .set_scratch = cpu_set_scratch,
    .pack_rows = nr_host_pack_rows,
    .linear = cpu_linear,
    .quantize_residual = cpu_quantize_residual,
    .activate = cpu_activate,
    .embed = cpu_embed,
    .rms_norm = cpu_rms_norm,
    .layer_norm = cpu_layer_norm,
    .gated = cpu_gated,
    .add_rows = cpu_add_rows,
    .rope = cpu_rope,
    .kv_store = cpu_kv_store,
    .attention = cpu_attention,
    .patchify = cpu_patchify,
    .argmax = cpu_argmax,
};

nr_status nr_backend_cpu_open(int n_threads, const char *isa, nr_backend **out, nr_error *err) {
    const nr_cpu_kernels *kernels = NULL;
    if (!isa) isa = getenv("NR_CPU");
    if (isa && !*isa) isa = NULL;
    NR_TRY(nr_cpu_select(isa, &kernels, err));
    cpu_backend *be = nr_calloc(1, sizeof *be);
    NR_FAIL_IF(!be, NO_MEMORY, "cpu backend");
    nr_status status = nr_pool_create(n_threads, &be->pool, err);
    if (status != NR_STATUS_OK) {
        nr_free(be);
        return status;
    }
    be->kernels = kernels;
    be->base =
        (nr_backend){.ops = &cpu_ops, .isa = kernels->name, .n_threads = nr_pool_size(be->pool)};
    *out = &be->base;
    return NR_STATUS_OK;
}
