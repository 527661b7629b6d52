/* SPDX-License-Identifier: MIT
 *
 * Norms, gate, positions, rotation, patches and argmax of every kernel table against the
 * reference, bit by bit, and the reference against doubles.
 */
#include "ops_check.h"

#include "../tolerances.h"

static const int32_t dims[] = {1, 2, 7, 12, 15, 16, 17, 31, 64, 65, 88, 100, 1024, 1408};

static void test_norms(void) {
    static const int64_t ms[] = {1, 3, 40};
    for (size_t i = 0; i < NR_COUNT(dims); i++)
        for (size_t k = 0; k < NR_COUNT(ms); k++) {
            int32_t d = dims[i];
            int64_t m = ms[k];
            guarded x = random_floats(m * d, 3.0f, 41), gamma = random_floats(d, 1.0f, 42);
            guarded beta = random_floats(d, 1.0f, 43);
            guarded rms = guarded_alloc(x.bytes), layer = guarded_alloc(x.bytes);
            nr_backend *ref = ops_ref.be;
            ref->ops->rms_norm(ref, rms.data, x.data, m, d, gamma.data, 1e-5f);
            ref->ops->layer_norm(ref, layer.data, x.data, m, d, gamma.data, beta.data, 1e-12f);
            for (int b = 0; b < ops_n_tested; b++) {
                nr_backend *be = ops_tested[b].be;
                guarded got = guarded_alloc(x.bytes), in_place = guarded_copy(&x);
                be->ops->rms_norm(be, got.data, x.data, m, d, gamma.data, 1e-5f);
                CHECK_SAME(got, rms, ops_tested[b].label, "rms_norm m=%lld d=%d", (long long)m, d);
                be->ops->layer_norm(be, got.data, x.data, m, d, gamma.data, beta.data, 1e-12f);
                CHECK_SAME(got, layer, ops_tested[b].label, "layer_norm m=%lld d=%d", (long long)m,
                           d);
                be->ops->rms_norm(be, in_place.data, in_place.data, m, d, gamma.data, 1e-5f);
                CHECK_SAME(in_place, rms, ops_tested[b].label, "rms_norm in place d=%d", d);
                guarded_free(&got);
                guarded_free(&in_place);
            }
            guarded_free(&x);
            guarded_free(&gamma);
            guarded_free(&beta);
            guarded_free(&rms);
            guarded_free(&layer);
        }
}

static void test_norms_against_doubles(void) {
    enum { D = 1000 };
    guarded x = random_floats(D, 3.0f, 51), g = random_floats(D, 1.0f, 52);
    guarded b = random_floats(D, 1.0f, 53), y = guarded_alloc(D * 4), z = guarded_alloc(D * 4);
    const float *xf = x.data, *gf = g.data, *bf = b.data;
    for (int i = 0; i < D; i++) ((float *)x.data)[i] += 5.0f; /* a mean that matters */
    ops_ref.be->ops->rms_norm(ops_ref.be, y.data, xf, 1, D, gf, 1e-5f);
    ops_ref.be->ops->layer_norm(ops_ref.be, z.data, xf, 1, D, gf, bf, 1e-5f);
    double mean = 0.0, squares = 0.0, var = 0.0, worst = 0.0;
    for (int i = 0; i < D; i++) {
        mean += (double)xf[i] / D;
        squares += (double)xf[i] * (double)xf[i] / D;
    }
    for (int i = 0; i < D; i++) var += ((double)xf[i] - mean) * ((double)xf[i] - mean) / D;
    for (int i = 0; i < D; i++) {
        double rms = (double)xf[i] / sqrt(squares + 1e-5) * (double)gf[i];
        double layer = ((double)xf[i] - mean) / sqrt(var + 1e-5) * (double)gf[i] + (double)bf[i];
        worst = fmax(worst, fabs(rms - (double)((float *)y.data)[i]));
        worst = fmax(worst, fabs(layer - (double)((float *)z.data)[i]));
    }
    printf("norms against doubles: largest error %.2g\n", worst);
    CHECK(worst < TOL_OPS_NORM, "largest error %g", worst);
    guarded_free(&x);
    guarded_free(&g);
    guarded_free(&b);
    guarded_free(&y);
    guarded_free(&z);
}

static void test_gated_and_positions(void) {
    for (size_t i = 0; i < NR_COUNT(dims); i++)
        for (int act = 0; act < 5; act++) {
            int32_t d = dims[i], rows[6] = {0, 3, 1, 2, 3, 0};
            int64_t m = 6, ldy = d + 3;
            guarded x = random_floats(m * 2 * d, 6.0f, 61);
            guarded want = guarded_alloc((size_t)(m * d) * 4);
            guarded table = random_floats(4 * d, 1.0f, 62), base = random_floats(m * ldy, 1.0f, 63);
            guarded sums = guarded_copy(&base);
            guarded both = guarded_copy(&x); /* the gate's half is written, the other not */
            ops_ref.be->ops->gated(ops_ref.be, want.data, d, x.data, m, d, (nr_activation)act);
            for (int64_t r = 0; r < m; r++)
                memcpy((float *)both.data + r * 2 * d, (float *)want.data + r * d,
                       (size_t)d * sizeof(float));
            ops_ref.be->ops->add_rows(ops_ref.be, sums.data, ldy, table.data, rows, m, d);
            for (int b = 0; b < ops_n_tested; b++) {
                nr_backend *be = ops_tested[b].be;
                guarded got = guarded_alloc(want.bytes), sum = guarded_copy(&base);
                be->ops->gated(be, got.data, d, x.data, m, d, (nr_activation)act);
                CHECK_SAME(got, want, ops_tested[b].label, "gated f=%d act=%d", d, act);
                guarded place = guarded_copy(&x);
                be->ops->gated(be, place.data, 2 * d, place.data, m, d, (nr_activation)act);
                CHECK_SAME(place, both, ops_tested[b].label, "gated in place f=%d act=%d", d, act);
                guarded_free(&place);
                be->ops->add_rows(be, sum.data, ldy, table.data, rows, m, d);
                CHECK_SAME(sum, sums, ops_tested[b].label, "add_rows d=%d", d);
                guarded_free(&got);
                guarded_free(&sum);
            }
            guarded_free(&x);
            guarded_free(&want);
            guarded_free(&both);
            guarded_free(&table);
            guarded_free(&base);
            guarded_free(&sums);
        }
}

static void test_activate(void) {
    for (int64_t n = 1; n < 6000; n += n < 40 ? 1 : 977)
        for (int act = 0; act < 5; act++) {
            guarded x = random_floats(n, 6.0f, 65), want = guarded_copy(&x);
            ops_ref.be->ops->activate(ops_ref.be, want.data, n, (nr_activation)act);
            for (int b = 0; b < ops_n_tested; b++) {
                guarded got = guarded_copy(&x);
                ops_tested[b].be->ops->activate(ops_tested[b].be, got.data, n, (nr_activation)act);
                CHECK_SAME(got, want, ops_tested[b].label, "activate n=%d act=%d", (int)n, act);
                guarded_free(&got);
            }
            guarded_free(&x);
            guarded_free(&want);
        }
}

static void test_rope(void) {
    static const int32_t head_dims[] = {2, 12, 16, 64, 80, 88, 128};
    for (size_t i = 0; i < NR_COUNT(head_dims); i++) {
        int32_t dim = head_dims[i], heads = 3, positions[5] = {0, 7, 3, 3, 6};
        int64_t m = 5, ldx = (int64_t)heads * dim + 4;
        guarded cs = guarded_alloc((size_t)(8 * dim) * 4), x = random_floats(m * ldx, 2.0f, 71);
        for (int p = 0; p < 8; p++)
            for (int k = 0; k < dim / 2; k++) {
                double angle = p * pow(10000.0, -2.0 * k / dim);
                ((float *)cs.data)[p * dim + k] = (float)cos(angle);
                ((float *)cs.data)[p * dim + dim / 2 + k] = (float)sin(angle);
            }
        guarded want = guarded_copy(&x);
        ops_ref.be->ops->rope(ops_ref.be, want.data, ldx, positions, m, heads, dim, cs.data);
        for (int b = 0; b < ops_n_tested; b++) {
            guarded got = guarded_copy(&x);
            nr_backend *be = ops_tested[b].be;
            be->ops->rope(be, got.data, ldx, positions, m, heads, dim, cs.data);
            CHECK_SAME(got, want, ops_tested[b].label, "rope head_dim=%d", dim);
            guarded_free(&got);
        }
        /* turning keeps the length of every pair; position 0 changes nothing */
        const float *before = x.data, *after = want.data;
        CHECK(memcmp(before, after, (size_t)(heads * dim) * 4) == 0, "position 0 moved a row");
        double a = hypot(before[ldx], before[ldx + dim / 2]);
        double b = hypot(after[ldx], after[ldx + dim / 2]);
        CHECK(fabs(a - b) < 1e-5 * a + 1e-6, "length %g became %g", a, b);
        guarded_free(&cs);
        guarded_free(&x);
        guarded_free(&want);
    }
}

static void test_patchify(void) {
    enum { H = 28, W = 42, P = 14 };
    guarded pixels = random_floats(3 * H * W, 1.0f, 81), want = guarded_alloc(pixels.bytes);
    ops_ref.be->ops->patchify(ops_ref.be, want.data, pixels.data, H, W, P);
    const float *y = want.data, *in = pixels.data;
    for (int c = 0; c < 3; c++) /* patch (1, 2), its pixel (3, 5) */
        CHECK(y[(1 * 3 + 2) * 3 * P * P + c * P * P + 3 * P + 5] ==
                  in[c * H * W + (P + 3) * W + 2 * P + 5],
              "channel %d", c);
    for (int b = 0; b < ops_n_tested; b++) {
        guarded got = guarded_alloc(want.bytes);
        ops_tested[b].be->ops->patchify(ops_tested[b].be, got.data, pixels.data, H, W, P);
        CHECK_SAME(got, want, ops_tested[b].label, "patchify");
        guarded_free(&got);
    }
    guarded_free(&pixels);
    guarded_free(&want);
}

static void test_argmax(void) {
    for (int32_t n = 1; n < 150; n++) {
        guarded x = random_floats(n, 1.0f, 90 + (uint64_t)n);
        float *xf = x.data;
        if (n > 3) xf[n - 1] = xf[n / 2] = 50.0f; /* a tie: the lower index wins */
        int32_t want = ops_ref.be->ops->argmax(ops_ref.be, xf, n);
        CHECK(n <= 3 || want == n / 2, "n=%d: reference says %d", n, want);
        for (int b = 0; b < ops_n_tested; b++) {
            int32_t got = ops_tested[b].be->ops->argmax(ops_tested[b].be, xf, n);
            CHECK(got == want, "%s: n=%d: %d, expected %d", ops_tested[b].label, n, got, want);
        }
        guarded_free(&x);
    }
}

int main(void) {
    ops_begin();
    test_norms_against_doubles();
    test_norms();
    test_gated_and_positions();
    test_activate();
    test_rope();
    test_patchify();
    test_argmax();
    return ops_end("ops_rows");
}
