/* SPDX-License-Identifier: MIT
 *
 * exp, erfc and the activations as the reference computes them, against libm in double precision;
 * INT8 rows against their definition; kernel selection. The vector tables are bound to these
 * values by the comparisons in the other op tests.
 */
#define _GNU_SOURCE
#include "../../src/backends/ops_ref.c"

#include "ops_check.h"

#include "../tolerances.h"

static double ulps(double got, double want) {
    int exponent;
    frexp(want, &exponent);
    return fabs(got - want) / ldexp(1.0, exponent - 24);
}

static void test_exp(void) {
    double worst = 0.0, at = 0.0;
    for (double x = -86.9; x < 88.7; x += 1.37e-5) {
        float xf = (float)x;
        double u = ulps((double)vm_exp(xf), exp((double)xf));
        if (u > worst) worst = u, at = x;
    }
    printf("exp: largest error %.3f ulp at %g\n", worst, at);
    CHECK(worst < TOL_OPS_EXP_ULP, "%g ulp", worst);
    CHECK(vm_exp(0.0f) == 1.0f && vm_exp(-0.0f) == 1.0f, "exp(0) is not 1");
    CHECK(vm_exp(-88.0f) == 0.0f && vm_exp(-3.4e38f) == 0.0f, "no zero far below");
    CHECK(vm_exp(89.0f) == INFINITY && vm_exp(3.4e38f) == INFINITY, "no infinity far above");
    CHECK(isfinite(vm_exp(88.72f)), "88.72 is in range");
}

static void test_erf_and_gelu(void) {
    double erf_worst = 0.0, gelu_worst = 0.0, tail_worst = 0.0;
    for (double x = -12.0; x < 12.0; x += 1.7e-6 * 4) {
        float xf = (float)x;
        double e = (double)vm_erfc_positive(fabsf(xf));
        erf_worst = fmax(erf_worst, fabs(1.0 - e - erf(fabs((double)xf))));
        double g = 0.5 * (double)xf * erfc(-(double)xf / sqrt(2.0));
        double d = fabs((double)vm_gelu(xf) - g);
        gelu_worst = fmax(gelu_worst, fmin(d, d / fmax(fabs(g), 1e-30)));
        if (x < -4.0) tail_worst = fmax(tail_worst, d);
    }
    printf("erf: largest error %.2g; gelu: %.2g of max(1, |gelu|), below -4: %.2g\n", erf_worst,
           gelu_worst, tail_worst);
    CHECK(erf_worst < TOL_OPS_ERF, "%g", erf_worst);
    CHECK(gelu_worst < TOL_OPS_GELU, "%g", gelu_worst);
    CHECK(tail_worst < TOL_OPS_GELU_TAIL, "%g", tail_worst);
    CHECK(vm_gelu(-1e4f) == 0.0f && vm_gelu(1e4f) == 1e4f, "gelu far out");
    CHECK(vm_gelu(0.0f) == 0.0f, "gelu(0)");
}

static void test_sigmoids(void) {
    double worst = 0.0;
    for (double x = -80.0; x < 80.0; x += 2.3e-5) {
        float xf = (float)x;
        double silu = (double)xf / (1.0 + exp(-(double)xf));
        double quick = (double)xf / (1.0 + exp(-(double)(xf * 1.702f)));
        double a = fabs((double)vm_activate(xf, NR_ACTIVATION_SILU) - silu);
        double b = fabs((double)vm_activate(xf, NR_ACTIVATION_QUICK_GELU) - quick);
        worst = fmax(worst, a / fmax(fabs(silu), 1e-30));
        if (fabs((double)xf * 1.702) < 80.0) worst = fmax(worst, b / fmax(fabs(quick), 1e-30));
    }
    printf("silu, quick_gelu: largest relative error %.2g\n", worst);
    CHECK(worst < TOL_OPS_SIGMOID, "%g", worst);
    CHECK(vm_activate(-1e30f, NR_ACTIVATION_SILU) == 0.0f, "silu far below");
    CHECK(vm_activate(3e38f, NR_ACTIVATION_QUICK_GELU) == 3e38f, "quick_gelu far above");
    CHECK(vm_activate(-2.0f, NR_ACTIVATION_RELU) == 0.0f, "relu");
}

static void test_quantize_row(void) {
    for (int64_t n = 1; n < 200; n++) {
        guarded x = random_floats(n, 1.0f, (uint64_t)n), codes = guarded_alloc((size_t)n);
        const float *xf = x.data;
        int32_t excluded[2] = {0, (int32_t)n - 1}, n_excluded = n % 3 == 0 && n > 1 ? 2 : 0;
        float scale = nr_quantize_row(codes.data, xf, n, excluded, n_excluded), amax = 0.0f;
        for (int64_t i = n_excluded ? 1 : 0; i < n - (n_excluded ? 1 : 0); i++)
            amax = fmaxf(amax, fabsf(xf[i]));
        CHECK(scale == (amax >= 1e-30f ? amax / 127.0f : 1.0f), "n=%lld: scale %g", (long long)n,
              (double)scale);
        for (int64_t i = 0; i < n; i++) {
            bool out = n_excluded && (i == 0 || i == n - 1);
            float inverse = amax >= 1e-30f ? 127.0f / amax : 0.0f;
            int want = out ? 0 : (int)rintf(fminf(fmaxf(xf[i] * inverse, -127.0f), 127.0f));
            CHECK(((int8_t *)codes.data)[i] == want, "n=%lld i=%lld", (long long)n, (long long)i);
        }
        guarded_free(&x);
        guarded_free(&codes);
    }
    const float ties[4] = {127.0f, 0.5f, 1.5f, -2.5f};
    int8_t codes[4];
    CHECK(nr_quantize_row(codes, ties, 4, NULL, 0) == 1.0f, "scale of 127 is 1");
    CHECK(codes[0] == 127 && codes[1] == 0 && codes[2] == 2 && codes[3] == -2, "half to even");
    float back[4];
    nr_dequantize_row(back, codes, 4, 0.5f);
    CHECK(back[0] == 63.5f && back[3] == -1.0f, "dequantise");
}

static void test_selection(void) {
    nr_backend *be = NULL;
    nr_error err = {0};
    CHECK(nr_backend_cpu_open(1, "sse9", &be, &err) == NR_STATUS_ARG, "unknown name");
    CHECK(strstr(err.message, "sse9") && strstr(err.message, "scalar"), "\"%s\"", err.message);
#if defined(__x86_64__)
    CHECK(nr_backend_cpu_open(1, "neon", &be, &err) == NR_STATUS_UNSUPPORTED, "neon on x86");
#endif
    CHECK(setenv("NR_CPU", "scalar", 1) == 0, "setenv");
    CHECK(nr_backend_cpu_open(1, NULL, &be, &err) == NR_STATUS_OK, "%s", err.message);
    CHECK(strcmp(be->isa, "scalar") == 0, "NR_CPU=scalar gave %s", be->isa);
    nr_backend_close(be);
    CHECK(setenv("NR_CPU", "nonsense", 1) == 0, "setenv");
    CHECK(nr_backend_cpu_open(1, NULL, &be, &err) == NR_STATUS_ARG, "NR_CPU=nonsense");
    unsetenv("NR_CPU");
    CHECK(nr_backend_cpu_open(0, NULL, &be, &err) == NR_STATUS_OK, "%s", err.message);
    CHECK(be->n_threads >= 1, "%d threads", be->n_threads);
    printf("best kernels here: %s\n", be->isa);
    nr_backend_close(be);
}

static void test_out_of_memory(void) {
    uint64_t live = nr_alloc_get_stats().live_count;
    for (uint64_t n = 1;; n++) {
        nr_backend *be = NULL;
        nr_error err = {0};
        nr_alloc_fail_nth(n, false);
        nr_status status = nr_backend_cpu_open(3, NULL, &be, &err);
        bool failed = nr_alloc_fail_happened();
        nr_alloc_fail_nth(0, false);
        CHECK(failed ? status == NR_STATUS_NO_MEMORY : status == NR_STATUS_OK, "n=%d status %d",
              (int)n, (int)status);
        if (status == NR_STATUS_OK) nr_backend_close(be);
        CHECK(nr_alloc_get_stats().live_count == live, "leak at n=%d", (int)n);
        if (!failed) break;
    }
}

int main(void) {
    test_exp();
    test_erf_and_gelu();
    test_sigmoids();
    test_quantize_row();
    test_selection();
    test_out_of_memory();
    return ops_end("ops_math");
}
