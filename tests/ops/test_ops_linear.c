/* SPDX-License-Identifier: MIT
 *
 * Linears of every kernel table against the reference, bit by bit: odd tails, extreme codes, long
 * reductions, outlier columns, epilogues, embedding rows. Inputs end at a forbidden page; outputs
 * start as NaN and have gaps between rows that must stay untouched.
 */
#include "ops_check.h"

#include "../tolerances.h"

typedef struct linear_case {
    nr_linear w;
    guarded weights, scale, row_sum, bias, columns, outliers;
} linear_case;

static void linear_case_free(linear_case *c) {
    guarded_free(&c->weights);
    guarded_free(&c->scale);
    guarded_free(&c->row_sum);
    guarded_free(&c->bias);
    guarded_free(&c->columns);
    guarded_free(&c->outliers);
}

/* Outlier columns: n of them, spread, always with the first and the last column. */
static void choose_outliers(linear_case *c, int32_t n) {
    int32_t n_in = c->w.n_in, padded = (int32_t)nr_panel_count(c->w.n_out) * 16;
    n = NR_MIN(n, n_in);
    c->w.n_outliers = n;
    if (n == 0) return;
    c->columns = guarded_alloc((size_t)n * sizeof(int32_t));
    c->outliers = random_floats((int64_t)n * padded, 0.3f, 77);
    int32_t *columns = c->columns.data;
    for (int32_t j = 0; j < n; j++)
        columns[j] = n == 1 ? 0 : (int32_t)((int64_t)j * (n_in - 1) / (n - 1));
    c->w.outlier_columns = columns;
    c->w.outlier_weights = c->outliers.data;
}

/* extreme: all codes +-127 (i8). Weights are packed by the backend that is asked to. */
static linear_case linear_case_make(nr_dtype dtype, int32_t n_out, int32_t n_in, bool bias,
                                    int32_t n_outliers, bool extreme, nr_backend *packer) {
    linear_case c = {.w = {.dtype = dtype, .n_out = n_out, .n_in = n_in}};
    int64_t panels = nr_panel_count(n_out), padded = panels * 16;
    bool is_i8 = dtype == NR_DTYPE_I8;
    size_t bytes = is_i8 ? (size_t)(panels * nr_panel_i8_bytes(n_in))
                         : (size_t)(panels * nr_panel_f32_count(n_in)) * sizeof(float);
    c.weights = guarded_alloc(bytes);
    c.w.weights = c.weights.data;
    if (is_i8) {
        choose_outliers(&c, n_outliers);
        c.scale = random_floats(padded, 0.01f, 5);
        c.row_sum = guarded_alloc((size_t)padded * sizeof(int32_t));
        c.w.scale = c.scale.data;
        c.w.row_sum = c.row_sum.data;
    }
    if (bias) {
        c.bias = random_floats(padded, 1.0f, 6);
        c.w.bias = c.bias.data;
    }
    guarded rows;
    if (is_i8) {
        rows = guarded_alloc((size_t)n_out * (size_t)n_in);
        int8_t *codes = rows.data;
        for (int64_t i = 0; i < (int64_t)n_out * n_in; i++) {
            uint64_t u = nr_rng_u64(9, 0, (uint64_t)i);
            codes[i] = (int8_t)(extreme ? (i / n_in % 3 == 2 && (u & 1) ? -127 : 127)
                                        : (int)(u % 255) - 127);
        }
        for (int64_t r = 0; r < n_out; r++)
            for (int32_t j = 0; j < c.w.n_outliers; j++)
                codes[r * n_in + c.w.outlier_columns[j]] = 0;
    } else {
        rows = random_floats((int64_t)n_out * n_in, 0.2f, 9);
    }
    int32_t half = NR_MIN(n_out, 32); /* in two pieces, as a loader does */
    size_t item = is_i8 ? 1 : sizeof(float);
    packer->ops->pack_rows(packer, &c.w, 0, half, rows.data);
    if (half < n_out)
        packer->ops->pack_rows(packer, &c.w, half, n_out - half,
                               (char *)rows.data + (size_t)half * (size_t)n_in * item);
    guarded_free(&rows);
    return c;
}

static void compare_linear(const linear_case *c, int64_t m, nr_activation activation, bool residual,
                           bool in_place, bool extreme_x) {
    const nr_linear *w = &c->w;
    int64_t ldx = w->n_in + (m > 1 ? 5 : 0), ldy = w->n_out + 3;
    guarded x = random_floats((m - 1) * ldx + w->n_in, 2.0f, 21);
    if (extreme_x)
        for (size_t i = 0; i < x.bytes / 4; i++)
            ((float *)x.data)[i] = (i & 1) && i % 3 == 0 ? -4.0f : 4.0f;
    guarded res = random_floats((m - 1) * ldy + w->n_out, 3.0f, 22);
    guarded want = in_place ? guarded_copy(&res) : guarded_alloc(res.bytes);
    nr_linear_args a = {.y = want.data,
                        .x = x.data,
                        .ldy = ldy,
                        .ldx = ldx,
                        .m = m,
                        .linear = w,
                        .activation = activation};
    a.residual = residual ? (in_place ? want.data : res.data) : NULL;
    ops_ref.be->ops->linear(ops_ref.be, &a);
    for (int b = 0; b < ops_n_tested; b++) {
        guarded got = in_place ? guarded_copy(&res) : guarded_alloc(res.bytes);
        a.y = got.data;
        a.residual = residual ? (in_place ? got.data : res.data) : NULL;
        ops_tested[b].be->ops->linear(ops_tested[b].be, &a);
        CHECK_SAME(got, want, ops_tested[b].label, "%s linear m=%lld n_out=%d n_in=%d act=%d",
                   nr_dtype_name(w->dtype), (long long)m, w->n_out, w->n_in, (int)activation);
        guarded_free(&got);
    }
    guarded_free(&want);
    guarded_free(&res);
    guarded_free(&x);
}

static void test_shapes(void) {
    static const int32_t n_ins[] = {1, 3, 4, 5, 15, 16, 17, 63, 64, 65, 130, 588};
    static const int32_t n_outs[] = {1, 15, 16, 17, 48, 65, 130};
    static const int32_t ms[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 70};
    int turn = 0;
    for (size_t i = 0; i < NR_COUNT(n_ins); i++)
        for (size_t o = 0; o < NR_COUNT(n_outs); o++)
            for (int f = 0; f < 2; f++) {
                nr_dtype dtype = f ? NR_DTYPE_F32 : NR_DTYPE_I8;
                linear_case c = linear_case_make(dtype, n_outs[o], n_ins[i], turn & 1,
                                                 turn % 4 == 3 ? 3 : 0, false, ops_ref.be);
                for (int k = 0; k < 3; k++, turn++) {
                    int64_t m = ms[(size_t)turn % NR_COUNT(ms)];
                    compare_linear(&c, m, (nr_activation)(turn % 5), turn & 1, turn & 2, false);
                }
                linear_case_free(&c);
            }
}

static void test_every_output_tail(void) {
    for (int32_t n_out = 1; n_out <= 130; n_out++) {
        linear_case c = linear_case_make(n_out & 1 ? NR_DTYPE_I8 : NR_DTYPE_F32, n_out, 37, true, 2,
                                         false, ops_ref.be);
        compare_linear(&c, n_out % 9 + 1, NR_ACTIVATION_NONE, true, false, false);
        linear_case_free(&c);
    }
    linear_case c = linear_case_make(NR_DTYPE_I8, 80, 64, true, 0, false, ops_ref.be);
    for (int64_t m = 1; m <= 70; m++)
        compare_linear(&c, m, NR_ACTIVATION_NONE, false, false, false);
    linear_case_free(&c);
}

static void test_extremes(void) {
    static const int32_t n_ins[] = {4096, 11008, 131072};
    for (size_t i = 0; i < NR_COUNT(n_ins); i++)
        for (int64_t m = 1; m <= 9; m += 8) {
            if (n_ins[i] > 20000 && m > 1) continue;
            linear_case c = linear_case_make(NR_DTYPE_I8, 19, n_ins[i], false, 0, true, ops_ref.be);
            compare_linear(&c, m, NR_ACTIVATION_NONE, false, false, true);
            linear_case_free(&c);
        }
    linear_case c = linear_case_make(NR_DTYPE_I8, 33, 100, true, 32, false, ops_ref.be);
    compare_linear(&c, 7, NR_ACTIVATION_SILU, true, true, false);
    linear_case_free(&c);
    c = linear_case_make(NR_DTYPE_I8, 16, 3, true, 3, false, ops_ref.be); /* nothing but outliers */
    compare_linear(&c, 2, NR_ACTIVATION_NONE, false, false, false);
    linear_case_free(&c);
    c = linear_case_make(NR_DTYPE_F32, 17, 4096, true, 0, false, ops_ref.be);
    compare_linear(&c, 7, NR_ACTIVATION_GELU, true, false, false);
    linear_case_free(&c);
}

/* Many rows, of which not all fit a block; and long ones, whose sums may be kept from one part of
 * the columns to the next. */
static void test_blocks_of_rows(void) {
    linear_case c = linear_case_make(NR_DTYPE_I8, 21, 4090, true, 3, false, ops_ref.be);
    compare_linear(&c, 300, NR_ACTIVATION_NONE, true, true, false);
    linear_case_free(&c);
    c = linear_case_make(NR_DTYPE_I8, 37, 9001, true, 3, false, ops_ref.be);
    compare_linear(&c, 130, NR_ACTIVATION_NONE, true, true, false);
    linear_case_free(&c);
}

/* Outputs too large for caches may go past them: whole lines only, and all of them are there when
 * the op returns. */
static void test_large_outputs(void) {
    enum { M = 67, N = 20011, K = 70, LDY = 20016 };
    linear_case c = linear_case_make(NR_DTYPE_I8, N, K, true, 2, false, ops_ref.be);
    guarded x = random_floats(M * K, 2.0f, 23);
    guarded want = guarded_alloc((size_t)M * LDY * sizeof(float)), got = guarded_copy(&want);
    nr_linear_args a = {.y = want.data, .x = x.data, .ldy = LDY, .ldx = K, .m = M,
                        .linear = &c.w, .activation = NR_ACTIVATION_RELU};
    ops_ref.be->ops->linear(ops_ref.be, &a);
    a.y = got.data;
    for (int b = 0; b < ops_n_tested; b++) {
        memset(got.data, 0xff, got.bytes);
        ops_tested[b].be->ops->linear(ops_tested[b].be, &a);
        CHECK_SAME(got, want, ops_tested[b].label, "outputs of %zu bytes", got.bytes);
    }
    guarded_free(&got);
    guarded_free(&want);
    guarded_free(&x);
    linear_case_free(&c);
}

/* A row of zeros gives zeros; of a tiny one only the spikes are left, below what scales hold. */
static void test_zero_rows(void) {
    linear_case c = linear_case_make(NR_DTYPE_I8, 20, 50, false, 0, false, ops_ref.be);
    guarded x = guarded_alloc(50 * sizeof(float)), y = guarded_alloc(20 * sizeof(float));
    for (int tiny = 0; tiny < 2; tiny++) {
        for (int i = 0; i < 50; i++) ((float *)x.data)[i] = tiny ? 9e-31f : 0.0f;
        for (int b = -1; b < ops_n_tested; b++) {
            nr_backend *be = b < 0 ? ops_ref.be : ops_tested[b].be;
            be->ops->linear(
                be, &(nr_linear_args){
                        .y = y.data, .x = x.data, .ldy = 20, .ldx = 50, .m = 1, .linear = &c.w});
            for (int i = 0; i < 20; i++) {
                const int8_t *codes = c.w.weights;
                float sum = 0.0f, found = ((float *)y.data)[i];
                for (int k = 0; k < NR_QUANT_SPIKES; k++) /* ties: the first columns */
                    sum = fmaf(((float *)x.data)[k],
                               (float)codes[nr_packed_i8_at(i, k, 50)] * c.w.scale[i], sum);
                CHECK(found == sum, "row of %g: output %d is %g", tiny ? 9e-31 : 0.0, i,
                      (double)found);
            }
        }
    }
    guarded_free(&x);
    guarded_free(&y);
    linear_case_free(&c);
}

/* Outlier columns and spikes, ascending: what a token's codes leave out. */
static int32_t left_out(const float *x, const nr_linear *w, int32_t *columns) {
    nr_spikes spikes = nr_spikes_empty();
    int32_t n = 0;
    for (int32_t k = 0, j = 0; k < w->n_in; k++) {
        bool out = j < w->n_outliers && w->outlier_columns[j] == k;
        j += out;
        if (!out) nr_spikes_add(&spikes, fabsf(x[k]), k);
    }
    (void)nr_spikes_finish(&spikes);
    for (int32_t k = 0, j = 0, i = 0; k < w->n_in; k++) {
        bool out = j < w->n_outliers && w->outlier_columns[j] == k;
        bool spike = i < NR_QUANT_SPIKES && spikes.columns[i] == k;
        j += out;
        i += spike;
        if (out || spike) columns[n++] = k;
    }
    return n;
}

/* Packed bytes and row sums by every backend equal the reference's. */
static void test_packing(void) {
    for (int f = 0; f < 2; f++)
        for (int32_t n_in = 1; n_in < 200; n_in += n_in < 20 ? 1 : 43) {
            nr_dtype dtype = f ? NR_DTYPE_F32 : NR_DTYPE_I8;
            linear_case want = linear_case_make(dtype, 83, n_in, false, 0, false, ops_ref.be);
            for (int b = 0; b < ops_n_tested; b++) {
                linear_case got =
                    linear_case_make(dtype, 83, n_in, false, 0, false, ops_tested[b].be);
                CHECK_SAME(got.weights, want.weights, ops_tested[b].label, "pack n_in=%d", n_in);
                if (!f) CHECK_SAME(got.row_sum, want.row_sum, ops_tested[b].label, "row_sum");
                linear_case_free(&got);
            }
            linear_case_free(&want);
        }
}

/* The packed layout is what backend.h says, element by element: both backends pack with one
 * function, so comparing them alone would not show a wrong place. */
static void test_packed_layout(void) {
    enum { N = 35, K = 70 };
    int8_t rows[N * K];
    linear_case c = linear_case_make(NR_DTYPE_I8, N, K, false, 0, false, ops_ref.be);
    for (int i = 0; i < N * K; i++) rows[i] = (int8_t)(i * 37 % 255 - 127);
    ops_ref.be->ops->pack_rows(ops_ref.be, &c.w, 0, 32, rows);
    ops_ref.be->ops->pack_rows(ops_ref.be, &c.w, 32, N - 32, rows + 32 * K);
    for (int n = 0; n < N; n++) {
        int32_t sum = 0;
        for (int k = 0; k < K; k++) {
            int at = n / 16 * ((K + 3) / 4 * 64) + k / 4 * 64 + n % 16 * 4 + k % 4;
            CHECK(((int8_t *)c.w.weights)[at] == rows[n * K + k], "row %d, column %d", n, k);
            sum += rows[n * K + k];
        }
        CHECK(c.w.row_sum[n] == sum, "sum of row %d: %d", n, c.w.row_sum[n]);
    }
    linear_case_free(&c);
}

/* The codes and what they lose make up the row again, to one rounding. */
static void test_residual(void) {
    for (int32_t n_in = 1; n_in < 300; n_in += n_in < 36 ? 1 : 37) {
        int64_t m = n_in % 7 + 1, ldx = n_in + 2;
        linear_case c = linear_case_make(NR_DTYPE_I8, 16, n_in, false, n_in % 4, false, ops_ref.be);
        guarded x = random_floats((m - 1) * ldx + n_in, 2.0f, (uint64_t)n_in);
        guarded want = guarded_alloc((size_t)(m * n_in) * sizeof(float));
        for (int i = 0; i < n_in && i < 3; i++) ((float *)x.data)[i] = i & 1 ? -0.0f : 0.0f;
        ops_ref.be->ops->quantize_residual(ops_ref.be, want.data, x.data, ldx, m, &c.w);
        for (int64_t row = 0; row < m; row++) {
            const float *xf = (float *)x.data + row * ldx, *r = (float *)want.data + row * n_in;
            int8_t codes[300];
            int32_t columns[NR_LINEAR_OUTLIERS_MAX + NR_QUANT_SPIKES];
            int32_t n_left = left_out(xf, &c.w, columns);
            float sx = nr_quantize_row(codes, xf, n_in, columns, n_left);
            for (int32_t k = 0, j = 0; k < n_in; k++) {
                bool out = j < n_left && columns[j] == k;
                j += out;
                double sum = (double)codes[k] * (double)sx + (double)r[k];
                CHECK(out ? r[k] == 0.0f : fabs(sum - (double)xf[k]) <= 1e-7 * fabs((double)sx),
                      "n_in=%d k=%d: %g", n_in, k, sum - (double)xf[k]);
            }
        }
        for (int b = 0; b < ops_n_tested; b++) {
            nr_backend *be = ops_tested[b].be;
            guarded got = guarded_alloc(want.bytes);
            be->ops->quantize_residual(be, got.data, x.data, ldx, m, &c.w);
            CHECK_SAME(got, want, ops_tested[b].label, "quantize_residual n_in=%d", n_in);
            guarded_free(&got);
        }
        guarded_free(&x);
        guarded_free(&want);
        linear_case_free(&c);
    }
}

static void test_embed(void) {
    static const int32_t ids[] = {0, 36, 15, 16, 31, 0};
    for (int f = 0; f < 2; f++)
        for (int32_t n_in = 1; n_in < 100; n_in += 33) {
            nr_dtype dtype = f ? NR_DTYPE_F32 : NR_DTYPE_I8;
            linear_case c = linear_case_make(dtype, 37, n_in, false, 2, false, ops_ref.be);
            int64_t ldy = n_in + 2, m = NR_COUNT(ids);
            guarded want = guarded_alloc((size_t)(ldy * m) * sizeof(float));
            ops_ref.be->ops->embed(ops_ref.be, want.data, ldy, ids, m, &c.w);
            for (int b = 0; b < ops_n_tested; b++) {
                guarded got = guarded_alloc(want.bytes);
                ops_tested[b].be->ops->embed(ops_tested[b].be, got.data, ldy, ids, m, &c.w);
                CHECK_SAME(got, want, ops_tested[b].label, "embed n_in=%d", n_in);
                guarded_free(&got);
            }
            guarded_free(&want);
            linear_case_free(&c);
        }
}

/* The reference itself against doubles: an i8 linear is x W^T within quantisation error. */
static void test_reference_means_a_product(void) {
    enum { M = 3, N = 20, K = 300 };
    guarded x = random_floats(M * K, 1.0f, 31), wf = random_floats(N * K, 1.0f, 32);
    guarded codes = guarded_alloc(N * K), y = guarded_alloc(M * N * sizeof(float));
    linear_case c = linear_case_make(NR_DTYPE_I8, N, K, true, 4, false, ops_ref.be);
    float *outliers = c.outliers.data;
    for (int n = 0; n < N; n++) {
        c.w.scale[n] = nr_quantize_row((int8_t *)codes.data + n * K, (float *)wf.data + n * K, K,
                                       c.w.outlier_columns, c.w.n_outliers);
        for (int j = 0; j < c.w.n_outliers; j++)
            outliers[j * 32 + n] = ((float *)wf.data)[n * K + c.w.outlier_columns[j]];
    }
    ops_ref.be->ops->pack_rows(ops_ref.be, &c.w, 0, N, codes.data);
    for (int r = 0; r < M; r++)
        for (int j = 0; j < c.w.n_outliers; j++)
            ((float *)x.data)[r * K + c.w.outlier_columns[j]] *= 100.0f;
    ops_ref.be->ops->linear(
        ops_ref.be,
        &(nr_linear_args){.y = y.data, .x = x.data, .ldy = N, .ldx = K, .m = M, .linear = &c.w});
    double error = 0.0, size = 0.0;
    for (int r = 0; r < M; r++)
        for (int n = 0; n < N; n++) {
            double sum = (double)c.w.bias[n];
            for (int k = 0; k < K; k++)
                sum += (double)((float *)x.data)[r * K + k] * (double)((float *)wf.data)[n * K + k];
            double d = (double)((float *)y.data)[r * N + n] - sum;
            error += d * d;
            size += sum * sum;
        }
    double relative = sqrt(error / size);
    printf("i8 linear with outlier columns against doubles: relative error %.2g\n", relative);
    CHECK(relative < TOL_OPS_I8_LINEAR, "relative error %g", relative);
    guarded_free(&x);
    guarded_free(&wf);
    guarded_free(&codes);
    guarded_free(&y);
    linear_case_free(&c);
}

int main(void) {
    ops_begin();
    test_reference_means_a_product();
    test_packing();
    test_packed_layout();
    test_zero_rows();
    test_shapes();
    test_every_output_tail();
    test_extremes();
    test_blocks_of_rows();
    test_large_outputs();
    test_residual();
    test_embed();
    return ops_end("ops_linear");
}
