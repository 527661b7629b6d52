/* SPDX-License-Identifier: MIT
 *
 * cuda_fuse.c - neighbours in a step's list that one kernel can do: the norm or the gate before a
 * linear's codes, the rotation of queries and of keys, and their storing. The same arithmetic in
 * fewer launches, so the same bits.
 */
#include "cuda_internal.h"

/* y of the norm or gate `a` is the x of the linear `b`, row behind row. */
static bool feeds(const nr_cuda_op *b, const float *y, int64_t m, int32_t d) {
    const nr_cuda_quantize_args *q = &b->quantize;
    return b->kind == NR_CUDA_LINEAR_I8 && b->before == NR_CUDA_BEFORE_NONE && q->x == y &&
           q->m == m && q->n_in == d && q->ldx == d;
}

static bool fuse_norm(const nr_cuda_op *a, nr_cuda_op *b) {
    if (a->kind != NR_CUDA_NORM || !feeds(b, a->norm.y, a->norm.m, a->norm.d)) return false;
    b->before = NR_CUDA_BEFORE_NORM;
    b->norm = a->norm;
    return true;
}

static bool fuse_gated(const nr_cuda_op *a, nr_cuda_op *b) {
    if (a->kind != NR_CUDA_GATED || !feeds(b, a->y, a->n, a->cols)) return false;
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

void nr_cuda_fuse(nr_cuda_backend *be) {
    int n = 0;
    for (int i = 0; i < be->n_ops; i++) {
        nr_cuda_op *last = n > 0 ? &be->ops[n - 1] : NULL, *op = &be->ops[i];
        bool fused = last && (fuse_norm(last, op) || fuse_gated(last, op) || fuse_ropes(last, op) ||
                              fuse_store(last, op));
        if (fused) n--;
        if (n != i) be->ops[n] = *op;
        n++;
    }
    be->n_ops = n;
}
