/* SPDX-License-Identifier: MIT
 *
 * test_cuda_ops.c - every op on the card against the reference, over odd and real shapes. Integers
 * and the float steps around them are equal bit for bit; attention is, with the plain kernels, and
 * within a gate with the fast ones. Without a card: one line, and success.
 *
 *   test_cuda_ops [few]      few: a subset, for compute-sanitizer
 */
#include "ops_check.h"

#include "../tolerances.h"

#define DEVICE_BYTES ((size_t)1 << 30)
#define SCRATCH_BYTES ((size_t)256 << 20)

static nr_backend *ref, *cuda;
static nr_arena device; /* what inputs and outputs lie in; rewound for every case */
static void *ref_scratch;
static bool few, plain, exact; /* exact: attention too */
static double worst_attention;

static void *put(const void *host, size_t bytes) {
    void *at = nr_arena_take(&device, bytes, 1);
    if (host) cuda->ops->upload(cuda, at, host, bytes);
    return at;
}

static void *put_guarded(const guarded *g) {
    return put(g->data, g->bytes);
}

static guarded get(const void *at, size_t bytes) {
    guarded g = guarded_alloc(bytes);
    cuda->ops->download(cuda, g.data, at, bytes);
    return g;
}

#define CHECK_DEVICE(at, want, ...)                                                                \
    do {                                                                                           \
        guarded got_ = get(at, (want).bytes);                                                      \
        CHECK_SAME(got_, want, "cuda", __VA_ARGS__);                                               \
        guarded_free(&got_);                                                                       \
    } while (0)

/* ---- linears: one set of rows, packed by both sides */

typedef struct pair {
    nr_linear host, device;
    guarded weights, scale, bias, columns, outliers;
} pair;

static void pair_free(pair *p) {
    guarded_free(&p->weights);
    guarded_free(&p->scale);
    guarded_free(&p->bias);
    guarded_free(&p->columns);
    guarded_free(&p->outliers);
}

static void pair_outliers(pair *p, int32_t n) {
    int32_t n_in = p->host.n_in, padded = (int32_t)nr_panel_count(p->host.n_out) * 16;
    p->host.n_outliers = p->device.n_outliers = n = NR_MIN(n, n_in);
    if (n == 0) return;
    p->columns = guarded_alloc((size_t)n * sizeof(int32_t));
    p->outliers = random_floats((int64_t)n * padded, 0.3f, 77);
    int32_t *columns = p->columns.data;
    for (int32_t j = 0; j < n; j++)
        columns[j] = n == 1 ? 0 : (int32_t)((int64_t)j * (n_in - 1) / (n - 1));
    p->host.outlier_columns = columns;
    p->host.outlier_weights = p->outliers.data;
    p->device.outlier_columns = put_guarded(&p->columns);
    p->device.outlier_weights = put_guarded(&p->outliers);
}

static void pair_pack(pair *p, const guarded *rows) {
    int32_t n_out = p->host.n_out, half = NR_MIN(n_out, 32); /* in two pieces, as a loader does */
    size_t row = (size_t)p->host.n_in * (p->host.dtype == NR_DTYPE_I8 ? 1 : sizeof(float));
    nr_backend *both[2] = {ref, cuda};
    nr_linear *linears[2] = {&p->host, &p->device};
    for (int i = 0; i < 2; i++) {
        both[i]->ops->pack_rows(both[i], linears[i], 0, half, rows->data);
        if (half < n_out)
            both[i]->ops->pack_rows(both[i], linears[i], half, n_out - half,
                                    (char *)rows->data + (size_t)half * row);
    }
}

static pair pair_make(nr_dtype dtype, int32_t n_out, int32_t n_in, bool bias, int32_t n_outliers,
                      bool extreme) {
    pair p = {.host = {.dtype = dtype, .n_out = n_out, .n_in = n_in}};
    int64_t padded = nr_panel_count(n_out) * 16, n_values = (int64_t)n_out * n_in;
    bool i8 = dtype == NR_DTYPE_I8;
    size_t bytes = i8 ? (size_t)(nr_panel_count(n_out) * nr_panel_i8_bytes(n_in))
                      : (size_t)(nr_panel_count(n_out) * nr_panel_f32_count(n_in)) * sizeof(float);
    p.weights = guarded_alloc(bytes);
    p.device = p.host;
    p.host.weights = p.weights.data;
    p.device.weights = put(
        NULL, i8 ? (size_t)padded * nr_round_up((size_t)n_in, NR_LINEAR_CODES_STEP) : bytes);
    guarded rows, row_sum = guarded_alloc((size_t)padded * sizeof(int32_t));
    if (i8) {
        pair_outliers(&p, n_outliers);
        p.scale = random_floats(padded, 0.01f, 5);
        p.host.scale = p.scale.data;
        p.host.row_sum = row_sum.data;
        p.device.scale = put_guarded(&p.scale);
        rows = guarded_alloc((size_t)n_values);
        for (int64_t i = 0; i < n_values; i++) {
            uint64_t u = nr_rng_u64(9, 0, (uint64_t)i);
            ((int8_t *)rows.data)[i] =
                (int8_t)(extreme ? (i / n_in % 3 == 2 && (u & 1) ? -127 : 127)
                                 : (int)(u % 255) - 127);
        }
        for (int64_t r = 0; r < n_out; r++)
            for (int32_t j = 0; j < p.host.n_outliers; j++)
                ((int8_t *)rows.data)[r * n_in + p.host.outlier_columns[j]] = 0;
    } else {
        rows = random_floats(n_values, 0.2f, 9);
    }
    if (bias) {
        p.bias = random_floats(padded, 1.0f, 6);
        p.host.bias = p.bias.data;
        p.device.bias = put_guarded(&p.bias);
    }
    pair_pack(&p, &rows);
    p.host.row_sum = NULL;
    guarded_free(&rows);
    guarded_free(&row_sum);
    return p;
}

static void compare_linear(const pair *p, int64_t m, nr_activation activation, bool residual) {
    int32_t n_in = p->host.n_in, n_out = p->host.n_out;
    int64_t ldx = n_in + (m > 1 ? 5 : 0), ldy = n_out + 3;
    guarded x = random_floats((m - 1) * ldx + n_in, 2.0f, 21);
    guarded want = random_floats((m - 1) * ldy + n_out, 3.0f, 22); /* the residual, in place */
    float *y = put_guarded(&want);
    nr_linear_args a = {.y = want.data,
                        .x = x.data,
                        .ldy = ldy,
                        .ldx = ldx,
                        .m = m,
                        .linear = &p->host,
                        .activation = activation};
    a.residual = residual ? want.data : NULL;
    ref->ops->linear(ref, &a);
    a.y = y;
    a.x = put_guarded(&x);
    a.linear = &p->device;
    a.residual = residual ? y : NULL;
    cuda->ops->linear(cuda, &a);
    CHECK_DEVICE(y, want, "%s linear m=%lld n_out=%d n_in=%d act=%d outliers=%d",
                 nr_dtype_name(p->host.dtype), (long long)m, n_out, n_in, (int)activation,
                 p->host.n_outliers);
    guarded_free(&x);
    guarded_free(&want);
}

static void compare_residual_and_embed(const pair *p) {
    int32_t n_in = p->host.n_in, n_out = p->host.n_out;
    int32_t ids[5] = {0, n_out - 1, n_out / 2, n_out / 3, 0};
    int64_t m = 5, ldx = n_in + 2;
    guarded x = random_floats(m * ldx, 2.0f, 31), r = guarded_alloc((size_t)(m * n_in) * 4);
    guarded rows = guarded_copy(&x);
    if (p->host.dtype == NR_DTYPE_I8) {
        float *device_r = put(NULL, r.bytes);
        ref->ops->quantize_residual(ref, r.data, x.data, ldx, m, &p->host);
        cuda->ops->quantize_residual(cuda, device_r, put_guarded(&x), ldx, m, &p->device);
        CHECK_DEVICE(device_r, r, "residual n_in=%d outliers=%d", n_in, p->host.n_outliers);
    }
    float *device_rows = put_guarded(&rows);
    ref->ops->embed(ref, rows.data, ldx, ids, m, &p->host);
    cuda->ops->embed(cuda, device_rows, ldx, ids, m, &p->device);
    CHECK_DEVICE(device_rows, rows, "embed n_in=%d", n_in);
    guarded_free(&x);
    guarded_free(&r);
    guarded_free(&rows);
}

static void test_linear_shapes(void) {
    static const int32_t n_ins[] = {1, 3, 4, 5, 16, 17, 63, 64, 130, 588, 1024};
    static const int32_t n_outs[] = {1, 15, 16, 17, 48, 65, 130, 256};
    static const int64_t ms[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 70, 129};
    int turn = 0;
    for (size_t i = 0; i < NR_COUNT(n_ins); i += few ? 4 : 1)
        for (size_t o = 0; o < NR_COUNT(n_outs); o += few ? 3 : 1)
            for (int f = 0; f < 2; f++) {
                device.used = 0;
                pair p = pair_make(f ? NR_DTYPE_F32 : NR_DTYPE_I8, n_outs[o], n_ins[i], turn & 1,
                                   turn % 4 == 3   ? 3
                                   : turn % 8 == 4 ? 32
                                                   : 0,
                                   false);
                for (int k = 0; k < 3; k++, turn++)
                    compare_linear(&p, ms[(size_t)turn % NR_COUNT(ms)], (nr_activation)(turn % 5),
                                   turn & 1);
                compare_residual_and_embed(&p);
                pair_free(&p);
            }
}

/* Shapes of LLaVA-1.5 and BLIP-2, some of their rows. The reference is slow: few outputs. */
static void test_real_shapes(void) {
    static const struct {
        int32_t n_out, n_in;
        int64_t m;
    } shapes[] = {{512, 4096, 1},   {512, 11008, 1},  {512, 4096, 4},    {512, 11008, 8},
                  {512, 4096, 32},  {256, 4096, 616}, {128, 11008, 616}, {512, 1024, 577},
                  {256, 1408, 257}, {128, 6144, 257}, {320, 2560, 72},   {320, 768, 32},
                  {272, 588, 576},  {129, 2560, 31}};
    for (size_t i = 0; i < NR_COUNT(shapes) && !few; i++) {
        device.used = 0;
        pair p =
            pair_make(NR_DTYPE_I8, shapes[i].n_out, shapes[i].n_in, i & 1, i % 3 ? 32 : 0, false);
        compare_linear(&p, shapes[i].m, (nr_activation)(i % 5), i % 2 == 0);
        pair_free(&p);
    }
}

static void test_extremes(void) {
    static const int32_t n_ins[] = {4096, 11008, 131072};
    for (size_t i = 0; i < NR_COUNT(n_ins); i++)
        for (int64_t m = 1; m <= 70 && !few; m += 23) {
            if (n_ins[i] > 20000 && m > 30) continue;
            device.used = 0;
            pair p = pair_make(NR_DTYPE_I8, 19, n_ins[i], false, 0, true);
            compare_linear(&p, m, NR_ACTIVATION_NONE, false);
            pair_free(&p);
        }
    device.used = 0;
    pair p = pair_make(NR_DTYPE_I8, 16, 3, true, 3, false); /* nothing but outliers */
    compare_linear(&p, 2, NR_ACTIVATION_NONE, false);
    pair_free(&p);
    p = pair_make(NR_DTYPE_I8, 20, 50, false, 0, false);
    for (int tiny = 0; tiny < 3; tiny++) { /* zeros; too small for a scale; equal magnitudes */
        static const float values[] = {0.0f, 9e-31f, 1.5f};
        guarded x = guarded_alloc(200), want = guarded_alloc(80);
        float *y = put(NULL, 80);
        for (int k = 0; k < 50; k++) ((float *)x.data)[k] = values[tiny] * (k & 1 ? -1.0f : 1.0f);
        nr_linear_args a = {
            .y = want.data, .x = x.data, .ldy = 20, .ldx = 50, .m = 1, .linear = &p.host};
        ref->ops->linear(ref, &a);
        a.y = y;
        a.x = put_guarded(&x);
        a.linear = &p.device;
        cuda->ops->linear(cuda, &a);
        CHECK_DEVICE(y, want, "row of %g", (double)values[tiny]);
        guarded_free(&x);
        guarded_free(&want);
    }
    pair_free(&p);
}

/* ---- rows */

static void test_norms(void) {
    static const int32_t dims[] = {1, 7, 15, 16, 17, 64, 100, 1024, 1408, 2560, 4096, 5000, 9000};
    for (size_t i = 0; i < NR_COUNT(dims); i += few ? 4 : 1)
        for (int64_t m = 1; m <= 41; m += 20) {
            int32_t d = dims[i];
            device.used = 0;
            guarded x = random_floats(m * d, 3.0f, 41), gamma = random_floats(d, 1.0f, 42);
            guarded beta = random_floats(d, 1.0f, 43), want = guarded_alloc(x.bytes);
            float *dx = put_guarded(&x), *dg = put_guarded(&gamma), *db = put_guarded(&beta);
            float *dy = put(NULL, x.bytes);
            ref->ops->rms_norm(ref, want.data, x.data, m, d, gamma.data, 1e-5f);
            cuda->ops->rms_norm(cuda, dy, dx, m, d, dg, 1e-5f);
            CHECK_DEVICE(dy, want, "rms_norm m=%lld d=%d", (long long)m, d);
            ref->ops->layer_norm(ref, want.data, x.data, m, d, gamma.data, beta.data, 1e-12f);
            cuda->ops->layer_norm(cuda, dy, dx, m, d, dg, db, 1e-12f);
            CHECK_DEVICE(dy, want, "layer_norm m=%lld d=%d", (long long)m, d);
            cuda->ops->layer_norm(cuda, dx, dx, m, d, dg, db, 1e-12f);
            CHECK_DEVICE(dx, want, "layer_norm in place d=%d", d);
            guarded_free(&x);
            guarded_free(&gamma);
            guarded_free(&beta);
            guarded_free(&want);
        }
}

static void test_gate_positions_activation(void) {
    static const int32_t dims[] = {1, 15, 17, 64, 100, 1024, 11008};
    for (size_t i = 0; i < NR_COUNT(dims); i++)
        for (int act = 0; act < 5; act++) {
            int32_t d = dims[i], rows[6] = {0, 3, 1, 2, 3, 0};
            int64_t m = 6, ldy = d + 3;
            device.used = 0;
            guarded x = random_floats(m * 2 * d, 6.0f, 61),
                    gated = guarded_alloc((size_t)(m * d) * 4);
            guarded table = random_floats(4 * d, 1.0f, 62), sums = random_floats(m * ldy, 1.0f, 63);
            float *dx = put_guarded(&x), *dg = put(NULL, gated.bytes), *ds = put_guarded(&sums);
            ref->ops->gated(ref, gated.data, d, x.data, m, d, (nr_activation)act);
            cuda->ops->gated(cuda, dg, d, dx, m, d, (nr_activation)act);
            CHECK_DEVICE(dg, gated, "gated f=%d act=%d", d, act);
            guarded place = guarded_copy(&x);
            float *dp = put_guarded(&place);
            ref->ops->gated(ref, place.data, 2 * d, place.data, m, d, (nr_activation)act);
            cuda->ops->gated(cuda, dp, 2 * d, dp, m, d, (nr_activation)act);
            CHECK_DEVICE(dp, place, "gated in place f=%d act=%d", d, act);
            guarded_free(&place);
            ref->ops->add_rows(ref, sums.data, ldy, table.data, rows, m, d);
            cuda->ops->add_rows(cuda, ds, ldy, put_guarded(&table), rows, m, d);
            CHECK_DEVICE(ds, sums, "add_rows d=%d", d);
            ref->ops->activate(ref, x.data, m * 2 * d, (nr_activation)act);
            cuda->ops->activate(cuda, dx, m * 2 * d, (nr_activation)act);
            CHECK_DEVICE(dx, x, "activate n=%d act=%d", 12 * d, act);
            guarded_free(&x);
            guarded_free(&gated);
            guarded_free(&table);
            guarded_free(&sums);
        }
}

static void test_rope_patches_argmax(void) {
    static const int32_t head_dims[] = {2, 12, 64, 80, 128};
    for (size_t i = 0; i < NR_COUNT(head_dims); i++) {
        int32_t dim = head_dims[i], heads = 3, positions[5] = {0, 7, 3, 3, 6};
        int64_t m = 5, ldx = (int64_t)heads * dim + 4;
        device.used = 0;
        guarded cs = random_floats(8 * dim, 1.0f, 70), x = random_floats(m * ldx, 2.0f, 71);
        float *dx = put_guarded(&x);
        ref->ops->rope(ref, x.data, ldx, positions, m, heads, dim, cs.data);
        cuda->ops->rope(cuda, dx, ldx, positions, m, heads, dim, put_guarded(&cs));
        CHECK_DEVICE(dx, x, "rope head_dim=%d", dim);
        guarded_free(&cs);
        guarded_free(&x);
    }
    guarded pixels = random_floats(3 * 28 * 42, 1.0f, 81), want = guarded_alloc(pixels.bytes);
    float *dy = put(NULL, want.bytes);
    ref->ops->patchify(ref, want.data, pixels.data, 28, 42, 14);
    cuda->ops->patchify(cuda, dy, put_guarded(&pixels), 28, 42, 14);
    CHECK_DEVICE(dy, want, "patchify");
    guarded_free(&pixels);
    guarded_free(&want);
    for (int32_t n = 1; n < 40000; n = n * 3 + 1) {
        device.used = 0;
        guarded x = random_floats(n, 1.0f, 90 + (uint64_t)n);
        float *xf = x.data;
        if (n > 3) xf[n - 1] = xf[n / 2] = 50.0f; /* a tie: the lower index wins */
        int32_t expected = ref->ops->argmax(ref, xf, n);
        int32_t found = cuda->ops->argmax(cuda, put_guarded(&x), n);
        CHECK(found == expected, "argmax of %d: %d, expected %d", n, found, expected);
        guarded_free(&x);
    }
}

/* ---- attention */

typedef struct shape {
    int32_t heads, kv_heads, dim, keys, m;
    bool causal;
} shape;

/* Keys in whole blocks, as sizes of both sides' layouts allow. */
static nr_kv kv_on(nr_arena *a, nr_dtype dtype, int32_t heads, int32_t dim, int32_t keys) {
    size_t cap = nr_round_up((size_t)keys, NR_KV_BLOCK), rows = (size_t)heads * cap;
    size_t cell = nr_dtype_bytes(dtype), v_dim = nr_round_up((size_t)dim, NR_KV_BLOCK);
    nr_kv kv = {.dtype = dtype, .n_kv_heads = heads, .head_dim = dim, .cap = (int32_t)cap};
    kv.k = nr_arena_take(a, rows * (size_t)dim, cell);
    kv.v = nr_arena_take(a, rows * v_dim, cell);
    if (dtype != NR_DTYPE_I8) return kv;
    kv.k_scale = nr_arena_take(a, rows, sizeof(float));
    kv.v_scale = nr_arena_take(a, rows, sizeof(float));
    return kv;
}

static void check_near(const float *at, const guarded *want, const shape *s, nr_dtype dtype) {
    guarded got = get(at, want->bytes);
    const float *a = got.data, *b = want->data;
    double worst = 0;
    for (size_t i = 0; i < want->bytes / 4; i++) {
        double error = fabs((double)a[i] - (double)b[i]);
        if (!(error <= worst)) worst = error; /* NaN too */
    }
    if (!(worst <= worst_attention)) worst_attention = worst;
    CHECK(worst <= TOL_CUDA_ATTENTION, "attention %s heads=%d/%d dim=%d keys=%d m=%d: error %g",
          nr_dtype_name(dtype), s->heads, s->kv_heads, s->dim, s->keys, s->m, worst);
    guarded_free(&got);
}

static void compare_attention(const shape *s, nr_dtype dtype) {
    int64_t ld = (int64_t)s->heads * s->dim, ldk = (int64_t)s->kv_heads * s->dim + 3;
    nr_arena host = nr_arena_measure();
    (void)kv_on(&host, dtype, s->kv_heads, s->dim, s->keys);
    if (nr_arena_alloc(&host, false, "keys", NULL) != NR_STATUS_OK) exit(2);
    device.used = 0;
    nr_kv kv = kv_on(&host, dtype, s->kv_heads, s->dim, s->keys);
    nr_kv dkv = kv_on(&device, dtype, s->kv_heads, s->dim, s->keys);
    guarded k = random_floats(s->keys * ldk, 1.0f, 101),
            v = random_floats(s->keys * ldk, 1.0f, 102);
    guarded q = random_floats(s->m * ld, 1.0f, 103), want = guarded_alloc(q.bytes);
    float *dy = put(NULL, want.bytes), *dk = put_guarded(&k), *dv = put_guarded(&v);
    int32_t first = s->keys / 3; /* in two pieces */
    ref->ops->kv_store(ref, &kv, 0, k.data, ldk, v.data, ldk, s->keys);
    cuda->ops->kv_store(cuda, &dkv, 0, dk, ldk, dv, ldk, first);
    cuda->ops->kv_store(cuda, &dkv, first, dk + first * ldk, ldk, dv + first * ldk, ldk,
                        s->keys - first);
    nr_attention_args a = {.y = want.data,
                           .q = q.data,
                           .ldy = ld,
                           .ldq = ld,
                           .m = s->m,
                           .n_heads = s->heads,
                           .kv = &kv,
                           .n_keys = s->keys,
                           .pos0 = s->keys - s->m,
                           .causal = s->causal,
                           .scale = 0.125f};
    ref->ops->attention(ref, &a);
    a.y = dy;
    a.q = put_guarded(&q);
    a.kv = &dkv;
    cuda->ops->attention(cuda, &a);
    if (exact)
        CHECK_DEVICE(dy, want, "attention %s heads=%d/%d dim=%d keys=%d m=%d%s",
                     nr_dtype_name(dtype), s->heads, s->kv_heads, s->dim, s->keys, s->m,
                     s->causal ? " causal" : "");
    else
        check_near(dy, &want, s, dtype);
    nr_arena_free(&host);
    guarded_free(&k);
    guarded_free(&v);
    guarded_free(&q);
    guarded_free(&want);
}

static void test_attention(void) {
    static const int32_t head_dims[] = {1, 12, 16, 40, 64, 80, 88, 128};
    static const int32_t keys[] = {1, 2, 15, 16, 17, 33, 64, 65, 100, 129, 300};
    static const int32_t ms[] = {1, 2, 5, 6, 7, 13, 100};
    static const nr_dtype types[] = {NR_DTYPE_F32, NR_DTYPE_F16, NR_DTYPE_I8};
    int turn = 0;
    for (size_t d = 0; d < NR_COUNT(head_dims); d += few ? 3 : 1)
        for (size_t k = 0; k < NR_COUNT(keys); k += few ? 4 : 1)
            for (int f = 0; f < 4; f++, turn++) {
                int32_t m = NR_MIN(ms[(size_t)turn % NR_COUNT(ms)], keys[k]);
                shape s = {.heads = 4,
                           .kv_heads = turn % 3 == 0 ? 4 : turn % 3,
                           .dim = head_dims[d],
                           .keys = keys[k],
                           .m = m,
                           .causal = f & 1};
                compare_attention(&s, types[turn / 2 % 3]);
            }
    for (int f = 0; f < 3 && !few; f++) {
        compare_attention(&(shape){2, 2, 64, 577, 577, false}, types[f]);
        compare_attention(&(shape){2, 1, 64, 300, 300, true}, types[f]);
        compare_attention(&(shape){8, 2, 128, 700, 1, true}, types[f]);
        compare_attention(&(shape){2, 2, 128, 616, 616, true}, types[f]);
        compare_attention(&(shape){2, 2, 80, 72, 72, true}, types[f]);
    }
}

/* Each row alone gives the bits that it has among others, and a step the bits of single calls. */
static void test_rows_apart(void) {
    enum { KEYS = 700, M = 200, HEADS = 4, DIM = 128, D = HEADS * DIM };
    nr_arena *a = &device;
    a->used = 0;
    nr_kv kv = kv_on(a, NR_DTYPE_I8, HEADS, DIM, KEYS);
    guarded k = random_floats(KEYS * D, 1.0f, 111), q = random_floats(M * D, 1.0f, 112);
    float *dk = put_guarded(&k), *dq = put_guarded(&q), *dy = put(NULL, q.bytes);
    float *apart = put(NULL, q.bytes), *batched = put(NULL, q.bytes);
    cuda->ops->kv_store(cuda, &kv, 0, dk, D, dk, D, KEYS);
    nr_attention_args args = {.y = dy,
                              .q = dq,
                              .ldy = D,
                              .ldq = D,
                              .m = M,
                              .n_heads = HEADS,
                              .kv = &kv,
                              .n_keys = KEYS,
                              .pos0 = KEYS - M,
                              .causal = true,
                              .scale = 0.1f};
    cuda->ops->attention(cuda, &args);
    for (int in_step = 0; in_step < 2; in_step++) {
        if (in_step) nr_backend_begin(cuda);
        for (int row = 0; row < M; row++) {
            nr_attention_args one = args;
            one.m = 1;
            one.y = (in_step ? batched : apart) + (int64_t)row * D;
            one.q = dq + (int64_t)row * D;
            one.pos0 = KEYS - M + row;
            one.n_keys = one.pos0 + 1;
            cuda->ops->attention(cuda, &one);
        }
        if (in_step) nr_backend_end(cuda);
    }
    guarded want = get(dy, q.bytes);
    CHECK_DEVICE(apart, want, "attention of single rows");
    CHECK_DEVICE(batched, want, "attention of single rows in one launch");
    guarded_free(&want);
    guarded_free(&k);
    guarded_free(&q);
}

/* A layer in small: everything that neighbours in a step are fused from. */
typedef struct layer {
    pair qkv, out, gate_up, down;
    nr_kv kv;
    float *cos_sin, *gamma, *beta, *x, *h, *qkv_rows, *attn, *gate_rows, *ffn;
} layer;

enum {
    L_DIM = 32,
    L_HEADS = 4,
    L_KV = 2,
    L_D = L_HEADS * L_DIM,
    L_QKV = (L_HEADS + 2 * L_KV) * L_DIM,
    L_FFN = 96,
    L_CAP = 48
};

static void project(const pair *p, float *y, const float *x, int64_t m, const float *residual) {
    cuda->ops->linear(cuda, &(nr_linear_args){.y = y,
                                              .x = x,
                                              .ldy = p->device.n_out,
                                              .ldx = p->device.n_in,
                                              .m = m,
                                              .linear = &p->device,
                                              .residual = residual});
}

static void run_layer(layer *l, const int32_t *ids, const int32_t *positions, int32_t m, bool rms) {
    float *k = l->qkv_rows + L_D, *v = k + L_KV * L_DIM;
    cuda->ops->embed(cuda, l->x, L_D, ids, m, &l->out.device);
    if (rms)
        cuda->ops->rms_norm(cuda, l->h, l->x, m, L_D, l->gamma, 1e-5f);
    else
        cuda->ops->layer_norm(cuda, l->h, l->x, m, L_D, l->gamma, l->beta, 1e-5f);
    project(&l->qkv, l->qkv_rows, l->h, m, NULL);
    cuda->ops->rope(cuda, l->qkv_rows, L_QKV, positions, m, L_HEADS, L_DIM, l->cos_sin);
    cuda->ops->rope(cuda, k, L_QKV, positions, m, L_KV, L_DIM, l->cos_sin);
    cuda->ops->kv_store(cuda, &l->kv, positions[0], k, L_QKV, v, L_QKV, m);
    cuda->ops->attention(cuda, &(nr_attention_args){.y = l->attn,
                                                    .q = l->qkv_rows,
                                                    .ldy = L_D,
                                                    .ldq = L_QKV,
                                                    .m = m,
                                                    .n_heads = L_HEADS,
                                                    .kv = &l->kv,
                                                    .n_keys = positions[0] + m,
                                                    .pos0 = positions[0],
                                                    .causal = true,
                                                    .scale = 0.2f});
    project(&l->out, l->x, l->attn, m, l->x);
    cuda->ops->rms_norm(cuda, l->h, l->x, m, L_D, l->gamma, 1e-5f);
    project(&l->gate_up, l->gate_rows, l->h, m, NULL);
    cuda->ops->gated(cuda, l->ffn, L_FFN, l->gate_rows, m, L_FFN, NR_ACTIVATION_SILU);
    project(&l->down, l->x, l->ffn, m, l->x);
}

static float *put_random(int64_t n, uint64_t seed) {
    guarded g = random_floats(n, 1.0f, seed);
    float *at = put_guarded(&g);
    guarded_free(&g);
    return at;
}

static layer layer_make(nr_dtype kv) {
    enum { M = 4 };
    layer l = {.qkv = pair_make(NR_DTYPE_I8, L_QKV, L_D, true, 2, false),
               .out = pair_make(NR_DTYPE_I8, L_D, L_D, false, 0, false),
               .gate_up = pair_make(NR_DTYPE_I8, 2 * L_FFN, L_D, false, 32, false),
               .down = pair_make(NR_DTYPE_I8, L_D, L_FFN, true, 0, false)};
    l.kv = kv_on(&device, kv, L_KV, L_DIM, L_CAP);
    l.cos_sin = put_random(L_CAP * L_DIM, 120);
    l.gamma = put_random(L_D, 121);
    l.beta = put_random(L_D, 122);
    l.x = put(NULL, M * L_D * 4);
    l.h = put(NULL, M * L_D * 4);
    l.qkv_rows = put(NULL, M * L_QKV * 4);
    l.attn = put(NULL, M * L_D * 4);
    l.gate_rows = put(NULL, M * 2 * L_FFN * 4);
    l.ffn = put(NULL, M * L_FFN * 4);
    return l;
}

/* A step of ops is the same run one by one, as fused launches, and as a graph with other ids and
 * positions. */
static void test_steps(void) {
    enum { N = 8 };
    static const nr_dtype types[] = {NR_DTYPE_F32, NR_DTYPE_F16, NR_DTYPE_I8};
    for (int turn = 0; turn < 6; turn++) {
        device.used = 0;
        layer l = layer_make(types[turn % 3]);
        guarded want[N] = {{0}};
        int32_t m = 1 + turn / 3 * 3;
        for (int run = 0; run < 3; run++) /* 0: one by one; 1, 2: steps, captured on the way */
            for (int32_t i = 0; i < N; i++) {
                int32_t ids[4], positions[4];
                for (int32_t r = 0; r < m; r++) {
                    ids[r] = ((i + r) * 7) % L_D;
                    positions[r] = i * m + r;
                }
                if (run) nr_backend_begin(cuda);
                run_layer(&l, ids, positions, m, turn & 1);
                if (run) nr_backend_end(cuda);
                guarded got = get(l.x, (size_t)m * L_D * 4);
                if (run == 0) {
                    want[i] = got;
                    continue;
                }
                CHECK_SAME(got, want[i], "cuda", "step %d of run %d, turn %d", i, run, turn);
                guarded_free(&got);
            }
        for (int i = 0; i < N; i++) guarded_free(&want[i]);
        pair_free(&l.qkv);
        pair_free(&l.out);
        pair_free(&l.gate_up);
        pair_free(&l.down);
    }
}

static bool open_all(void) {
    nr_error err = {0};
    nr_status status = nr_backend_cuda_open(0, false, &cuda, &err);
    if (status == NR_STATUS_UNSUPPORTED) {
        printf("skipped: %s\n", err.message);
        return false;
    }
    if (status != NR_STATUS_OK || nr_backend_ref_open(&ref, &err) != NR_STATUS_OK) {
        printf("cannot open: %s\n", err.message);
        exit(1);
    }
    nr_arena scratch = nr_arena_measure();
    (void)nr_arena_take(&device, DEVICE_BYTES, 1);
    (void)nr_arena_take(&scratch, SCRATCH_BYTES, 1);
    if (cuda->ops->arena_alloc(cuda, &device, "tests", &err) != NR_STATUS_OK ||
        cuda->ops->arena_alloc(cuda, &scratch, "scratch", &err) != NR_STATUS_OK) {
        printf("cannot open: %s\n", err.message);
        exit(1);
    }
    cuda->ops->set_scratch(cuda, scratch.base, SCRATCH_BYTES);
    ref_scratch = malloc(OPS_SCRATCH_BYTES);
    ref->ops->set_scratch(ref, ref_scratch, OPS_SCRATCH_BYTES);
    return true;
}

int main(int argc, char **argv) {
    const char *kernels = getenv("NR_CUDA_KERNELS"), *attention = getenv("NR_CUDA_ATTENTION");
    nr_error err = {0};
    few = argc > 1 && strcmp(argv[1], "few") == 0;
    plain = kernels && strcmp(kernels, "plain") == 0;
    exact = plain || (attention && strcmp(attention, "exact") == 0);
    if (!open_all()) return 0;
    test_linear_shapes();
    test_real_shapes();
    test_extremes();
    test_norms();
    test_gate_positions_activation();
    test_rope_patches_argmax();
    test_attention();
    test_rows_apart();
    test_steps();
    CHECK(nr_backend_check(cuda, &err) == NR_STATUS_OK, "%s", err.message);
    printf("cuda_ops: %s, %s kernels: %ld checks, %ld failed; attention off by at most %.2g\n",
           cuda->isa, plain ? "plain" : "fast", ops_checks, ops_failures, worst_attention);
    nr_backend_close(cuda);
    nr_backend_close(ref);
    free(ref_scratch);
    return ops_failures != 0;
}
