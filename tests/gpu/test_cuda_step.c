/* SPDX-License-Identifier: MIT
 *
 * test_cuda_step.c - how ops of a step become a list, without a card: rows that follow merge into
 * one record, neighbours fuse, and the list of a step with other ids, positions and sequences is
 * the same, byte for byte, so that its graph is found again.
 */
#include "../engine/engine_fixture.h"

#if __has_include(<cuda_runtime_api.h>)
#include "cuda_internal.h"
#include "nr_limits.h"

enum {
    DIM = 128,
    HEADS = 4,
    KV = 2,
    D = HEADS * DIM,
    LD = (HEADS + 2 * KV) * DIM,
    CAP = 64,
    FFN = 48
};

/* A backend that only records: device memory is host memory that nobody computes with. */
typedef struct recorder {
    nr_backend *be;
    nr_cuda_backend *cuda;
    float *memory;
    nr_linear table, qkv, out, gate_up, down;
} recorder;

static nr_linear linear_of(int32_t n_out, int32_t n_in) {
    return (nr_linear){.dtype = NR_DTYPE_I8, .n_out = n_out, .n_in = n_in};
}

static int set_up(void **state) {
    static recorder r;
    nr_error problem = {0};
    if (nr_backend_cuda_open(0, true, &r.be, &problem) != NR_STATUS_OK) {
        print_message("skipped: %s\n", problem.message);
        return 0;
    }
    r.cuda = nr_cuda_self(r.be);
    r.cuda->exact_attention_max = 0; /* as of wider rows */
    r.cuda->ops = calloc(NR_CUDA_OPS_MAX, sizeof *r.cuda->ops);
    r.cuda->params = malloc(NR_CUDA_PARAMS_BYTES);
    r.memory = calloc(1 << 20, sizeof *r.memory);
    r.be->ops->set_scratch(r.be, aligned_alloc(256, 4 << 20), 4 << 20);
    r.table = linear_of(100, D);
    r.qkv = linear_of(LD, D);
    r.out = linear_of(D, D);
    r.gate_up = linear_of(2 * FFN, D);
    r.down = linear_of(D, FFN);
    *state = &r;
    return 0;
}

static recorder *need(void **state) {
    if (!*state) skip();
    recorder *r = *state;
    r->cuda->n_ops = 0;
    r->cuda->params_used = r->cuda->ints_bytes = 0;
    r->cuda->in_step = true;
    return r;
}

static nr_kv kv_of(const recorder *r, int sequence) {
    float *at = r->memory + 4096 * sequence;
    return (nr_kv){.dtype = NR_DTYPE_I8,
                   .n_kv_heads = KV,
                   .head_dim = DIM,
                   .cap = CAP,
                   .k = at,
                   .v = at + 1024,
                   .k_scale = at + 2048,
                   .v_scale = at + 3072};
}

static void project(recorder *r, float *y, const float *x, int64_t m, const nr_linear *w) {
    r->be->ops->linear(r->be, &(nr_linear_args){.y = y,
                                                .x = x,
                                                .ldy = w->n_out,
                                                .ldx = w->n_in,
                                                .m = m,
                                                .linear = w,
                                                .x_spent = true});
}

/* One layer for n sequences, a row each, as the decoders call it. */
static void decode(recorder *r, int n, int first_sequence, int32_t first_id,
                   int32_t first_position) {
    const nr_backend_ops *ops = r->be->ops;
    float *x = r->memory + (1 << 17), *h = x + (1 << 15), *rows = h + (1 << 15);
    float *attn = rows + (1 << 16), *gate = attn + (1 << 15), *ffn = gate + (1 << 13);
    int32_t ids[NR_BATCH_MAX], positions[NR_BATCH_MAX];
    for (int i = 0; i < n; i++) {
        ids[i] = (first_id + i) % 100;
        positions[i] = (first_position + 3 * i) % CAP;
        ops->embed(r->be, x + i * D, D, &ids[i], 1, &r->table);
    }
    ops->rms_norm(r->be, h, x, n, D, r->memory, 1e-5f);
    project(r, rows, h, n, &r->qkv);
    ops->rope(r->be, rows, LD, positions, n, HEADS, DIM, r->memory);
    ops->rope(r->be, rows + D, LD, positions, n, KV, DIM, r->memory);
    for (int i = 0; i < n; i++) {
        nr_kv kv = kv_of(r, first_sequence + i);
        const float *k = rows + i * LD + D;
        ops->kv_store(r->be, &kv, positions[i], k, LD, k + KV * DIM, LD, 1);
    }
    for (int i = 0; i < n; i++) {
        nr_kv kv = kv_of(r, first_sequence + i);
        ops->attention(r->be, &(nr_attention_args){.y = attn + i * D,
                                                   .q = rows + i * LD,
                                                   .ldy = D,
                                                   .ldq = LD,
                                                   .m = 1,
                                                   .n_heads = HEADS,
                                                   .kv = &kv,
                                                   .n_keys = positions[i] + 1,
                                                   .pos0 = positions[i],
                                                   .causal = true,
                                                   .scale = 0.25f});
    }
    project(r, x, attn, n, &r->out);
    project(r, gate, h, n, &r->gate_up);
    ops->gated(r->be, ffn, FFN, gate, n, FFN, NR_ACTIVATION_SILU);
    project(r, x, ffn, n, &r->down);
    for (int i = 0; i < n; i++) ops->copy(r->be, h + i * D, x + i * D, D * sizeof(float));
}

static void test_merged(void **state) {
    recorder *r = need(state);
    for (int n = 1; n <= 32; n += 31) {
        r = need(state);
        decode(r, n, 0, 5, 9);
        assert_int_equal(r->cuda->n_ops, 12);
        assert_int_equal(r->cuda->ops[0].u.embed.m, n);
        assert_int_equal(r->cuda->ops[5].u.kv_store.n_spans, n);
        assert_int_equal(r->cuda->ops[6].u.attention.n_spans, n);
        assert_int_equal(r->cuda->ops[11].n, n * D * (int)sizeof(float));
        const nr_cuda_span *last = /* what will lie on the device lies in the host's block now */
            (const void *)(r->cuda->params + ((const uint8_t *)r->cuda->ops[6].u.attention.spans -
                                              r->cuda->scratch.params));
        assert_int_equal(last[n - 1].row0, n - 1);
        assert_int_equal(last[n - 1].n_keys, (9 + 3 * (n - 1)) % CAP + 1);
    }
}

static void test_fused(void **state) {
    recorder *r = need(state);
    decode(r, 3, 0, 5, 9);
    nr_cuda_fuse(r->cuda);
    static const nr_cuda_kind kinds[] = {NR_CUDA_EMBED,     NR_CUDA_LINEAR_I8, NR_CUDA_ATTENTION,
                                         NR_CUDA_LINEAR_I8, NR_CUDA_LINEAR_I8, NR_CUDA_LINEAR_I8,
                                         NR_CUDA_COPY};
    assert_int_equal(r->cuda->n_ops, NR_COUNT(kinds));
    for (size_t i = 0; i < NR_COUNT(kinds); i++) assert_int_equal(r->cuda->ops[i].kind, kinds[i]);
    assert_int_equal(r->cuda->ops[1].before, NR_CUDA_BEFORE_NORM);
    assert_true(r->cuda->ops[1].quantize.x_spent);
    const nr_cuda_attention_args *a = &r->cuda->ops[2].u.attention;
    assert_ptr_equal(a->k, a->q + D);
    assert_ptr_equal(a->v, a->k + KV * DIM);
    assert_ptr_equal(a->cos_sin, r->memory);
    assert_non_null(a->positions);
    assert_int_equal(r->cuda->ops[4].before,
                     NR_CUDA_BEFORE_NONE); /* h is not what it was made from */
    assert_int_equal(r->cuda->ops[5].before, NR_CUDA_BEFORE_GATED);
    assert_false(a->joined_later); /* another card than a Hopper */
}

/* Narrow rows attend exactly: from the cache, after rotation and storing, in launches of their own. */
static void test_exact(void **state) {
    recorder *r = need(state);
    r->cuda->exact_attention_max = D;
    r->cuda->sm = 90;
    decode(r, 3, 0, 5, 9);
    nr_cuda_fuse(r->cuda);
    r->cuda->exact_attention_max = r->cuda->sm = 0;
    static const nr_cuda_kind kinds[] = {NR_CUDA_EMBED, NR_CUDA_LINEAR_I8, NR_CUDA_KV_STORE,
                                         NR_CUDA_ATTENTION, NR_CUDA_LINEAR_I8};
    for (size_t i = 0; i < NR_COUNT(kinds); i++) assert_int_equal(r->cuda->ops[i].kind, kinds[i]);
    const nr_cuda_attention_args *a = &r->cuda->ops[3].u.attention;
    assert_true(a->exact && !a->joined_later);
    assert_null(a->k);
    assert_null(a->cos_sin);
    assert_ptr_equal(r->cuda->ops[2].u.kv_store.q, a->q);
}

/* Of few rows all launches begin early. */
static void test_early(void **state) {
    recorder *r = need(state);
    for (int n = 1; n <= 32; n += 31) {
        r = need(state);
        r->cuda->early = true;
        decode(r, n, 0, 5, 9);
        nr_cuda_fuse(r->cuda);
        r->cuda->early = false;
        assert_int_equal(r->cuda->ops[1].u.i8.early, n == 1);
        assert_int_equal(r->cuda->ops[1].quantize.early, n == 1);
        assert_int_equal(r->cuda->ops[2].u.attention.early, n == 1);
    }
}

/* The end of attention becomes codes, where the workspace has room behind them. */
static void test_joined(void **state) {
    recorder *r = need(state);
    const size_t region_bytes = r->cuda->scratch.region_bytes;
    for (int room = 0; room < 2; room++) {
        r = need(state);
        r->cuda->sm = 90;
        if (!room) r->cuda->scratch.region_bytes = 2048;
        decode(r, 1, 0, 5, 9);
        nr_cuda_fuse(r->cuda);
        r->cuda->scratch.region_bytes = region_bytes;
        r->cuda->sm = 0;
        const nr_cuda_attention_args *a = &r->cuda->ops[2].u.attention;
        const nr_cuda_op *out = &r->cuda->ops[3];
        assert_int_equal(a->joined_later, room);
        assert_int_equal(out->before, room ? NR_CUDA_BEFORE_ATTENTION : NR_CUDA_BEFORE_NONE);
        const uint8_t *behind = (const uint8_t *)(out->quantize.spike_val + NR_CUDA_SPIKES);
        assert_int_equal((const uint8_t *)a->workspace >= behind, room);
        const uint8_t *end = (const uint8_t *)a->workspace + a->workspace_bytes;
        assert_int_equal(end - r->cuda->scratch.region, room ? region_bytes : 2048);
    }
}

/* Attention over another cache than was stored into, or past the stored row, leaves the storing
 * apart and rotates its queries alone. */
static void check_rotation(const recorder *r) {
    const nr_cuda_kv_store_args *s = &r->cuda->ops[2].u.kv_store;
    const nr_cuda_attention_args *a = &r->cuda->ops[3].u.attention;
    assert_int_equal(s->n_heads, 0);
    assert_null(s->q);
    assert_ptr_equal(s->cos_sin, r->memory);
    assert_null(a->k);
    assert_ptr_equal(a->cos_sin, r->memory);
    assert_ptr_equal(a->positions, s->positions);
}

static void test_not_fused(void **state) {
    for (int wrong = 0; wrong < 2; wrong++) {
        recorder *r = need(state);
        decode(r, 3, 0, 5, 9);
        uint8_t *params = r->cuda->params;
        const uint8_t *at = (const void *)r->cuda->ops[6].u.attention.spans;
        nr_cuda_span *span = (void *)(params + (at - r->cuda->scratch.params));
        if (wrong == 0) span[2].k = r->memory;
        else span[1].n_keys++;
        nr_cuda_fuse(r->cuda);
        assert_int_equal(r->cuda->ops[2].kind, NR_CUDA_KV_STORE);
        check_rotation(r);
    }
}

static nr_cuda_graph_key key_of(recorder *r) {
    nr_cuda_fuse(r->cuda);
    return nr_cuda_hash(r->cuda->ops, (size_t)r->cuda->n_ops * sizeof *r->cuda->ops);
}

/* Rows of a prompt: stored apart; all of them are rotated by attention. */
static void test_prompt(void **state) {
    recorder *r = need(state);
    enum { ROWS = 5 };
    const nr_backend_ops *ops = r->be->ops;
    float *rows = r->memory + (1 << 17), *attn = rows + ROWS * LD;
    const int32_t positions[ROWS] = {7, 8, 9, 10, 11};
    nr_kv kv = kv_of(r, 0);
    project(r, rows, attn, ROWS, &r->qkv);
    project(r, attn, rows, ROWS, &r->out); /* two that nothing joins, as in a layer */
    ops->rope(r->be, rows, LD, positions, ROWS, HEADS, DIM, r->memory);
    ops->rope(r->be, rows + D, LD, positions, ROWS, KV, DIM, r->memory);
    ops->kv_store(r->be, &kv, 7, rows + D, LD, rows + D + KV * DIM, LD, ROWS);
    ops->attention(r->be, &(nr_attention_args){.y = attn,
                                               .q = rows,
                                               .ldy = D,
                                               .ldq = LD,
                                               .m = ROWS,
                                               .n_heads = HEADS,
                                               .kv = &kv,
                                               .n_keys = 12,
                                               .pos0 = 7,
                                               .causal = true,
                                               .scale = 0.25f});
    nr_cuda_fuse(r->cuda);
    assert_int_equal(r->cuda->n_ops, 4);
    assert_int_equal(r->cuda->ops[2].kind, NR_CUDA_KV_STORE);
    check_rotation(r);
}

/* A tower's heads are narrower. */
static nr_kv tower_kv_of(const recorder *r, int sequence) {
    nr_kv kv = kv_of(r, sequence);
    kv.dtype = NR_DTYPE_F32;
    kv.n_kv_heads = 2 * HEADS;
    kv.head_dim = DIM / 2;
    return kv;
}

/* A tower's layer: keys and values stored, all of them attended over. */
static void look(recorder *r, int32_t n, int sequence) {
    float *rows = r->memory + (1 << 17), *attn = rows + 16 * LD;
    nr_kv kv = tower_kv_of(r, sequence);
    r->be->ops->kv_store(r->be, &kv, 0, rows + D, LD, rows + 2 * D, LD, n);
    r->be->ops->attention(r->be, &(nr_attention_args){.y = attn,
                                                      .q = rows,
                                                      .ldy = D,
                                                      .ldq = LD,
                                                      .m = n,
                                                      .n_heads = 2 * HEADS,
                                                      .kv = &kv,
                                                      .n_keys = n,
                                                      .scale = 0.25f});
}

/* The cache is left out where the next layer stores over all of it, and kept where something else
 * comes or nothing does. */
static void test_rows_for_cache(void **state) {
    static const struct {
        int32_t n;
        int sequence;
        int n_ops; /* of the first layer */
    } next[] = {{7, 0, 1}, {6, 0, 2}, {7, 1, 2}};
    for (size_t i = 0; i < NR_COUNT(next); i++) {
        recorder *r = need(state);
        look(r, 7, 0);
        look(r, next[i].n, next[i].sequence);
        nr_cuda_fuse(r->cuda);
        assert_int_equal(r->cuda->n_ops, next[i].n_ops + 2);
        const nr_cuda_op *attention = &r->cuda->ops[next[i].n_ops - 1];
        assert_int_equal(attention->kind, NR_CUDA_ATTENTION);
        assert_ptr_equal(attention->u.attention.k, attention->u.attention.q + D);
        assert_int_equal(r->cuda->ops[next[i].n_ops].kind, NR_CUDA_KV_STORE);
    }
    recorder *r = need(state);
    look(r, 7, 0);
    nr_kv kv = tower_kv_of(r, 0);
    nr_attention_args again = {.y = r->memory + (1 << 17),
                               .q = r->memory + (1 << 16),
                               .ldy = D,
                               .ldq = D,
                               .m = 2,
                               .n_heads = 2 * HEADS,
                               .kv = &kv,
                               .n_keys = 7,
                               .scale = 0.25f};
    r->be->ops->attention(r->be, &again); /* reads the cache before it is stored over */
    look(r, 7, 0);
    nr_cuda_fuse(r->cuda);
    assert_int_equal(r->cuda->ops[0].kind, NR_CUDA_KV_STORE);
    assert_null(r->cuda->ops[2].u.attention.k);
}

/* Other tokens, positions and sequences: the same graph. Another number of rows: another. */
static void test_key(void **state) {
    recorder *r = need(state);
    decode(r, 3, 0, 5, 9);
    nr_cuda_graph_key first = key_of(r);
    r = need(state);
    decode(r, 3, 2, 77, 31);
    nr_cuda_graph_key other = key_of(r);
    assert_memory_equal(&first, &other, sizeof first);
    r = need(state);
    decode(r, 4, 0, 5, 9);
    other = key_of(r);
    assert_memory_not_equal(&first, &other, sizeof first);
}

/* Every byte reaches both halves of a key. */
static void test_hash(void **state) {
    uint8_t bytes[203] = {0};
    nr_cuda_graph_key zero = nr_cuda_hash(bytes, sizeof bytes);
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        for (int bit = 0; bit < 8; bit += 7) {
            bytes[i] ^= (uint8_t)(1 << bit);
            nr_cuda_graph_key key = nr_cuda_hash(bytes, sizeof bytes);
            assert_true(key.a != zero.a && key.b != zero.b);
            bytes[i] ^= (uint8_t)(1 << bit);
        }
    nr_cuda_graph_key shorter = nr_cuda_hash(bytes, sizeof bytes - 1);
    assert_true(shorter.a != zero.a && shorter.b != zero.b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hash), cmocka_unit_test(test_merged),
                                       cmocka_unit_test(test_fused),
                                       cmocka_unit_test(test_exact),
                                       cmocka_unit_test(test_early),
                                       cmocka_unit_test(test_joined),
                                       cmocka_unit_test(test_not_fused),
                                       cmocka_unit_test(test_prompt),
                                       cmocka_unit_test(test_rows_for_cache),
                                       cmocka_unit_test(test_key)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
#else
int main(void) {
    print_message("skipped: built without CUDA\n");
    return 0;
}
#endif
