/* SPDX-License-Identifier: MIT
 *
 * Key/value storage and attention of every kernel table against the reference, bit by bit, over
 * head sizes, storage types, masks and ragged key counts; the reference against doubles. Places
 * that hold no key yet contain NaN throughout.
 */
#include "ops_check.h"

#include "nr_limits.h"
#include "quant.h"

#include "../tolerances.h"

typedef struct kv_case {
    nr_kv kv;
    guarded k, v, k_scale, v_scale;
} kv_case;

static kv_case kv_make(nr_dtype dtype, int32_t heads, int32_t dim, int32_t cap) {
    kv_case c = {.kv = {.dtype = dtype, .n_kv_heads = heads, .head_dim = dim, .cap = cap}};
    size_t item = nr_dtype_bytes(dtype), positions = (size_t)heads * (size_t)cap;
    c.k = guarded_alloc(positions * (size_t)dim * item);
    c.v = guarded_alloc(positions * nr_round_up((size_t)dim, 16) * item);
    c.k_scale = guarded_alloc(positions * sizeof(float));
    c.v_scale = guarded_alloc(positions * sizeof(float));
    c.kv.k = c.k.data;
    c.kv.v = c.v.data;
    if (dtype == NR_DTYPE_I8) {
        c.kv.k_scale = c.k_scale.data;
        c.kv.v_scale = c.v_scale.data;
    }
    return c;
}

static void kv_free(kv_case *c) {
    guarded_free(&c->k);
    guarded_free(&c->v);
    guarded_free(&c->k_scale);
    guarded_free(&c->v_scale);
}

typedef struct shape {
    int32_t heads, kv_heads, dim, keys, m;
    bool causal;
} shape;

static void compare_attention(const shape *s, nr_dtype dtype) {
    int32_t cap = (s->keys + 16 + 15) / 16 * 16, pos0 = s->keys - s->m;
    int64_t ldk = (int64_t)s->kv_heads * s->dim + 3, ldq = (int64_t)s->heads * s->dim + 1;
    guarded k = random_floats(s->keys * ldk, 1.0f, 101);
    guarded v = random_floats(s->keys * ldk, 1.0f, 102);
    guarded q = random_floats(s->m * ldq, 2.0f, 103), want = guarded_alloc(q.bytes);
    if (dtype == NR_DTYPE_F16) ((float *)v.data)[0] = 1e6f; /* clamped to 65504 */
    if (dtype == NR_DTYPE_I8) /* a key of zeros has scale 1 */
        memset(k.data, 0, (size_t)s->dim * sizeof(float));
    kv_case ref = kv_make(dtype, s->kv_heads, s->dim, cap);
    ops_ref.be->ops->kv_store(ops_ref.be, &ref.kv, 0, k.data, ldk, v.data, ldk, s->keys);
    nr_attention_args a = {.y = want.data, .q = q.data, .ldy = ldq, .ldq = ldq, .m = s->m,
                           .n_heads = s->heads, .kv = &ref.kv, .n_keys = s->keys,
                           .pos0 = s->causal ? pos0 : 0, .causal = s->causal,
                           .scale = 1.0f / sqrtf((float)s->dim)};
    ops_ref.be->ops->attention(ops_ref.be, &a);
    for (int b = 0; b < ops_n_tested; b++) {
        nr_backend *be = ops_tested[b].be;
        kv_case c = kv_make(dtype, s->kv_heads, s->dim, cap);
        int32_t first = s->keys / 3; /* stored in two pieces */
        be->ops->kv_store(be, &c.kv, 0, k.data, ldk, v.data, ldk, first);
        be->ops->kv_store(be, &c.kv, first, (float *)k.data + first * ldk, ldk,
                          (float *)v.data + first * ldk, ldk, s->keys - first);
        CHECK_SAME(c.k, ref.k, ops_tested[b].label, "keys dim=%d %s", s->dim,
                   nr_dtype_name(dtype));
        CHECK_SAME(c.v, ref.v, ops_tested[b].label, "values dim=%d %s", s->dim,
                   nr_dtype_name(dtype));
        CHECK_SAME(c.k_scale, ref.k_scale, ops_tested[b].label, "key scales dim=%d", s->dim);
        CHECK_SAME(c.v_scale, ref.v_scale, ops_tested[b].label, "value scales dim=%d", s->dim);
        guarded got = guarded_alloc(want.bytes);
        a.y = got.data;
        a.kv = &c.kv;
        be->ops->attention(be, &a);
        CHECK_SAME(got, want, ops_tested[b].label, "attention %s heads=%d/%d dim=%d keys=%d m=%d%s",
                   nr_dtype_name(dtype), s->heads, s->kv_heads, s->dim, s->keys, s->m,
                   s->causal ? " causal" : "");
        guarded_free(&got);
        kv_free(&c);
    }
    guarded_free(&k);
    guarded_free(&v);
    guarded_free(&q);
    guarded_free(&want);
    kv_free(&ref);
}

static void test_shapes(void) {
    static const int32_t head_dims[] = {1, 12, 16, 40, 64, 80, 88, 128};
    static const int32_t keys[] = {1, 2, 15, 16, 17, 33, 64, 65, 100};
    static const int32_t ms[] = {1, 2, 5, 6, 7, 13, 100};
    static const nr_dtype types[] = {NR_DTYPE_F32, NR_DTYPE_F16, NR_DTYPE_I8};
    int turn = 0;
    for (size_t d = 0; d < NR_COUNT(head_dims); d++)
        for (size_t k = 0; k < NR_COUNT(keys); k++)
            for (int f = 0; f < 4; f++, turn++) {
                int32_t m = NR_MIN(ms[(size_t)turn % NR_COUNT(ms)], keys[k]);
                shape s = {.heads = 4, .kv_heads = turn % 3 == 0 ? 4 : turn % 3,
                           .dim = head_dims[d],
                           .keys = keys[k], .m = m, .causal = f & 1};
                compare_attention(&s, types[turn / 2 % 3]);
            }
    for (int f = 0; f < 3; f++) {
        nr_dtype dtype = types[f];
        compare_attention(&(shape){2, 1, 64, 300, 300, true}, dtype);
        compare_attention(&(shape){2, 2, 64, 257, 257, false}, dtype);
        compare_attention(&(shape){8, 2, 128, 700, 1, true}, dtype);
    }
}

/* Scores hundreds apart: all weight on one key, the others exactly 0 or tiny, never NaN. */
static void test_peaked(void) {
    enum { KEYS = 40, DIM = 16 };
    for (int f = 0; f < 2; f++) {
        guarded k = guarded_alloc(KEYS * DIM * 4), v = random_floats(KEYS * DIM, 1.0f, 7);
        guarded q = guarded_alloc(DIM * 4), y = guarded_alloc(DIM * 4);
        for (int i = 0; i < KEYS * DIM; i++)
            ((float *)k.data)[i] = i / DIM == 23 ? 10.0f : -10.0f * (float)(i / DIM);
        for (int i = 0; i < DIM; i++) ((float *)q.data)[i] = 3.0f;
        for (int b = -1; b < ops_n_tested; b++) {
            nr_backend *be = b < 0 ? ops_ref.be : ops_tested[b].be;
            kv_case c = kv_make(f ? NR_DTYPE_F16 : NR_DTYPE_F32, 1, DIM, 48);
            be->ops->kv_store(be, &c.kv, 0, k.data, DIM, v.data, DIM, KEYS);
            be->ops->attention(be, &(nr_attention_args){.y = y.data, .q = q.data, .ldy = DIM,
                                                        .ldq = DIM, .m = 1, .n_heads = 1,
                                                        .kv = &c.kv, .n_keys = KEYS,
                                                        .scale = 1.0f});
            for (int i = 0; i < DIM; i++) {
                float value = ((float *)v.data)[23 * DIM + i];
                if (f) value = nr_f16_to_f32(nr_f32_to_f16(value));
                CHECK(((float *)y.data)[i] == value, "output %d is %g, expected %g", i,
                      (double)((float *)y.data)[i], (double)value);
            }
            kv_free(&c);
        }
        guarded_free(&k);
        guarded_free(&v);
        guarded_free(&q);
        guarded_free(&y);
    }
}

/* Of an INT8 cache: what the codes stand for. */
static void through_codes(float *x, int32_t rows, int32_t dim) {
    int8_t codes[NR_HEAD_DIM_MAX];
    for (int32_t r = 0; r < rows; r++, x += dim)
        nr_dequantize_row(x, codes, dim, nr_quantize_row(codes, x, dim, NULL, 0));
}

static void test_reference_against_doubles(nr_dtype dtype) {
    enum { KEYS = 77, DIM = 64, M = 5 };
    guarded k = random_floats(KEYS * DIM, 1.0f, 1), v = random_floats(KEYS * DIM, 1.0f, 2);
    guarded q = random_floats(M * DIM, 2.0f, 3), y = guarded_alloc(M * DIM * 4);
    const float *kf = k.data, *vf = v.data, *qf = q.data;
    kv_case c = kv_make(dtype, 1, DIM, 80);
    ops_ref.be->ops->kv_store(ops_ref.be, &c.kv, 0, kf, DIM, vf, DIM, KEYS);
    ops_ref.be->ops->attention(
        ops_ref.be, &(nr_attention_args){.y = y.data, .q = qf, .ldy = DIM, .ldq = DIM, .m = M,
                                         .n_heads = 1, .kv = &c.kv, .n_keys = KEYS,
                                         .pos0 = KEYS - M, .causal = true, .scale = 0.125f});
    double worst = 0.0;
    if (dtype == NR_DTYPE_I8) {
        through_codes(k.data, KEYS, DIM);
        through_codes(v.data, KEYS, DIM);
    }
    for (int r = 0; r < M; r++) {
        double p[KEYS], sum = 0.0;
        int n = KEYS - M + r + 1;
        for (int j = 0; j < n; j++) {
            double s = 0.0;
            for (int i = 0; i < DIM; i++) s += (double)qf[r * DIM + i] * (double)kf[j * DIM + i];
            p[j] = exp(0.125 * s);
            sum += p[j];
        }
        for (int i = 0; i < DIM; i++) {
            double o = 0.0;
            for (int j = 0; j < n; j++) o += p[j] / sum * (double)vf[j * DIM + i];
            worst = fmax(worst, fabs(o - (double)((float *)y.data)[r * DIM + i]));
        }
    }
    printf("attention %s against doubles: largest error %.2g\n", nr_dtype_name(dtype), worst);
    CHECK(worst < TOL_OPS_ATTENTION, "largest error %g", worst);
    guarded_free(&k);
    guarded_free(&v);
    guarded_free(&q);
    guarded_free(&y);
    kv_free(&c);
}

int main(void) {
    ops_begin();
    test_reference_against_doubles(NR_DTYPE_F32);
    test_reference_against_doubles(NR_DTYPE_I8);
    test_peaked();
    test_shapes();
    return ops_end("ops_attention");
}
