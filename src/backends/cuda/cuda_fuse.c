/* SPDX-License-Identifier: MIT
 *
 * cuda_fuse.c - neighbours in a step's list that one kernel can do: the norm or the gate before a
 * linear's codes, the rotation of queries and of keys, their storing, and attention of one row a
 * sequence, whose end becomes codes at once; of more rows it has the rotation of queries. A tower's
 * attention takes keys and values as they come. The same arithmetic in fewer launches, so the same
 * bits.
 */
#include "cuda_internal.h"

#define EARLY_ROWS_MAX 8

/* y of the norm or gate `a` is the x of the linear `b`. */
static bool feeds(const nr_cuda_op *b, const float *y, int64_t ldy, int64_t m, int32_t d) {
    const nr_cuda_quantize_args *q = &b->quantize;
    return b->kind == NR_CUDA_LINEAR_I8 && b->before == NR_CUDA_BEFORE_NONE && q->x == y &&
           q->m == m && q->n_in == d && q->ldx == ldy;
}

static bool fuse_norm(const nr_cuda_op *a, nr_cuda_op *b) {
    const nr_cuda_norm_args *n = &a->norm;
    if (a->kind != NR_CUDA_NORM || !feeds(b, n->y, n->d, n->m, n->d)) return false;
    b->before = NR_CUDA_BEFORE_NORM;
    b->norm = a->norm;
    return true;
}

static bool fuse_gated(const nr_cuda_op *a, nr_cuda_op *b) {
    if (a->kind != NR_CUDA_GATED || !feeds(b, a->y, a->ldy, a->n, a->cols)) return false;
    b->before = NR_CUDA_BEFORE_GATED;
    b->x = a->x;
    b->act = a->act;
    return true;
}

/* Heads of b lie behind those of a in the same rows. */
static bool fuse_ropes(const nr_cuda_op *a, nr_cuda_op *b) {
    const nr_cuda_rope_args *r = &a->u.rope;
    nr_cuda_rope_args *s = &b->u.rope;
    if (a->kind != NR_CUDA_ROPE || b->kind != NR_CUDA_ROPE) return false;
    if (r->positions != s->positions || r->m != s->m || r->ldx != s->ldx ||
        r->head_dim != s->head_dim || r->cos_sin != s->cos_sin ||
        r->x + (int64_t)r->n_heads * r->head_dim != s->x)
        return false;
    s->x = r->x;
    s->n_heads += r->n_heads;
    return true;
}

/* The last of a's heads are the keys that b stores, all rows of them. */
static bool fuse_store(const nr_cuda_op *a, nr_cuda_op *b) {
    const nr_cuda_rope_args *r = &a->u.rope;
    nr_cuda_kv_store_args *s = &b->u.kv_store;
    if (a->kind != NR_CUDA_ROPE || b->kind != NR_CUDA_KV_STORE || s->cos_sin) return false;
    int32_t n_q = r->n_heads - s->n_kv_heads;
    if (n_q < 0 || r->m != s->n_spans * s->m || r->ldx != s->ldk || r->head_dim != s->head_dim ||
        r->x + (int64_t)n_q * r->head_dim != s->k)
        return false;
    s->q = r->x;
    s->positions = r->positions;
    s->cos_sin = r->cos_sin;
    s->n_heads = n_q;
    return true;
}

/* Spans as they lie in the host's block of parameters. */
static const nr_cuda_span *host_spans(const nr_cuda_backend *be, const nr_cuda_span *device) {
    size_t at = (size_t)((const uint8_t *)(const void *)device - be->scratch.params);
    return (const void *)(be->params + at);
}

/* Each span of b attends over the cache into which a stores the span's one row, all it sees. */
static bool same_spans(const nr_cuda_backend *be, const nr_cuda_kv_store_args *a,
                       const nr_cuda_attention_args *b) {
    const nr_cuda_span *s = host_spans(be, a->spans), *t = host_spans(be, b->spans);
    if (a->n_spans != b->n_spans || a->m != 1) return false;
    for (int32_t i = 0; i < a->n_spans; i++)
        if (s[i].k != t[i].k || s[i].v != t[i].v || s[i].row0 != t[i].row0 ||
            s[i].pos0 != t[i].pos0 || t[i].n_keys != t[i].pos0 + 1)
            return false;
    return true;
}

/* Attention rotates its queries as it reads them, in the place of what stores. */
static bool take_rotation(nr_cuda_kv_store_args *s, nr_cuda_attention_args *t) {
    if (!nr_cuda_attention_rotates(t) || s->q != t->q || s->ldk != t->ldq ||
        s->n_heads != t->n_heads || s->head_dim != t->head_dim ||
        s->n_spans * s->m != t->n_spans * t->m)
        return false;
    t->positions = s->positions;
    t->cos_sin = s->cos_sin;
    s->q = NULL;
    s->n_heads = 0;
    return true;
}

/* What a stores is what b attends over, and what a rotates b's queries; that alone will do. */
static bool fuse_attention(const nr_cuda_backend *be, nr_cuda_op *a, nr_cuda_op *b) {
    if (a->kind != NR_CUDA_KV_STORE || b->kind != NR_CUDA_ATTENTION) return false;
    nr_cuda_kv_store_args *s = &a->u.kv_store;
    nr_cuda_attention_args *t = &b->u.attention;
    if (s->cos_sin && !take_rotation(s, t)) return false;
    if (!nr_cuda_attention_stores(t) || s->dtype != t->dtype || s->ldk != s->ldv ||
        s->n_kv_heads != t->n_kv_heads || s->head_dim != t->head_dim || s->cap != t->cap ||
        !same_spans(be, s, t))
        return false;
    t->k = s->k;
    t->v = s->v;
    t->ldk = s->ldk;
    return true;
}

/* A later op of the list stores over all that `a` stores, before any reads it. */
static bool stored_over(const nr_cuda_backend *be, const nr_cuda_op *a, const nr_cuda_op *from) {
    const nr_cuda_kv_store_args *s = &a->u.kv_store;
    const nr_cuda_span *stored = host_spans(be, s->spans);
    for (const nr_cuda_op *op = from; op < be->ops + be->n_ops; op++) {
        const bool stores = op->kind == NR_CUDA_KV_STORE;
        if (!stores && op->kind != NR_CUDA_ATTENTION) continue;
        int32_t n = stores ? op->u.kv_store.n_spans : op->u.attention.n_spans;
        const nr_cuda_span *t =
            host_spans(be, stores ? op->u.kv_store.spans : op->u.attention.spans);
        for (int32_t i = 0; i < n; i++)
            if (t[i].k == stored->k || t[i].v == stored->v)
                return stores && t[i].k == stored->k && t[i].v == stored->v &&
                       t[i].pos0 == stored->pos0 && op->u.kv_store.m == s->m &&
                       op->u.kv_store.head_dim == s->head_dim && op->u.kv_store.cap == s->cap &&
                       op->u.kv_store.n_kv_heads == s->n_kv_heads;
    }
    return false;
}

/* All of b's keys are the rows that a stores: b uses them, and a is for those who come later. */
static bool fuse_rows(const nr_cuda_backend *be, const nr_cuda_op *a, nr_cuda_op *b) {
    if (a->kind != NR_CUDA_KV_STORE || b->kind != NR_CUDA_ATTENTION) return false;
    const nr_cuda_kv_store_args *s = &a->u.kv_store;
    nr_cuda_attention_args *t = &b->u.attention;
    if (!nr_cuda_attention_skips_cache(t) || s->cos_sin || s->dtype != t->dtype ||
        s->n_spans != 1 || s->ldk != s->ldv || s->n_kv_heads != t->n_kv_heads ||
        s->head_dim != t->head_dim || s->cap != t->cap)
        return false;
    const nr_cuda_span *from = host_spans(be, s->spans), *to = host_spans(be, t->spans);
    if (from->k != to->k || from->v != to->v || from->row0 != 0 || from->pos0 != 0 ||
        to->n_keys != s->m)
        return false;
    t->k = s->k;
    t->v = s->v;
    t->ldk = s->ldk;
    return stored_over(be, a, b + 1);
}

/* a leaves its sums of chunks in the workspace, behind the codes that b makes of them. One row
 * gains by it (2.63 ms a token against 2.65), four lose (2.98 against 2.95). */
static void join_later(const nr_cuda_backend *be, nr_cuda_op *a, nr_cuda_op *b) {
    if (a->kind != NR_CUDA_ATTENTION || a->u.attention.n_spans > 1) return;
    nr_cuda_attention_args *t = &a->u.attention;
    if (!feeds(b, t->y, t->ldy, (int64_t)t->n_spans * t->m, t->n_heads * t->head_dim)) return;
    size_t codes = nr_cuda_place_codes(&b->quantize, be->scratch.region);
    t->workspace = be->scratch.region + codes;
    t->workspace_bytes = be->scratch.region_bytes - codes;
    t->joined_later = nr_cuda_attention_joins(t);
    if (t->joined_later) {
        b->before = NR_CUDA_BEFORE_ATTENTION;
        return;
    }
    t->workspace = be->scratch.region;
    t->workspace_bytes = be->scratch.region_bytes;
}

/* A chain of launches is ready at once where they are small: of 8 rows 3.78 ms a token against
 * 3.89, of 32 rows 5.46 against 5.17. */
static void begin_early(nr_cuda_op *op) {
    nr_cuda_kv_store_args *s = &op->u.kv_store;
    nr_cuda_attention_args *t = &op->u.attention;
    nr_cuda_linear_i8_args *l = &op->u.i8;
    if (op->kind == NR_CUDA_LINEAR_I8) l->early = op->quantize.early = l->m <= EARLY_ROWS_MAX;
    if (op->kind == NR_CUDA_KV_STORE) s->early = s->n_spans * s->m <= EARLY_ROWS_MAX;
    if (op->kind == NR_CUDA_ATTENTION) t->early = t->n_spans * t->m <= EARLY_ROWS_MAX;
}

void nr_cuda_fuse(nr_cuda_backend *be) {
    int n = 0;
    for (int i = 0; i < be->n_ops; i++) {
        nr_cuda_op *last = n > 0 ? &be->ops[n - 1] : NULL, *op = &be->ops[i];
        bool fused = last && (fuse_norm(last, op) || fuse_gated(last, op) || fuse_ropes(last, op) ||
                              fuse_store(last, op) || fuse_attention(be, last, op) ||
                              fuse_rows(be, last, op));
        if (fused) n--;
        if (n != i) be->ops[n] = *op;
        n++;
    }
    be->n_ops = n;
    for (int i = 0; i + 1 < n; i++) join_later(be, &be->ops[i], &be->ops[i + 1]);
    for (int i = 0; i < n && be->early; i++) begin_early(&be->ops[i]);
}
