/* SPDX-License-Identifier: MIT
 * wide_linear.c - see wide_linear.h. The partial sums are chained through `residual`. */
#include "wide_linear.h"

void nr_wide_linear_carve(nr_wide_linear *w, nr_arena *a, const nr_wide_spec *spec) {
    w->wide = spec->wide && spec->dtype == NR_DTYPE_I8;
    nr_linear_carve(&w->high, a, spec->dtype, spec->n_out, spec->n_in, spec->has_bias,
                    spec->gamma_fed);
    if (w->wide) nr_linear_carve(&w->low, a, spec->dtype, spec->n_out, spec->n_in, false, false);
}

nr_status nr_wide_linear_load(nr_loader *l, nr_wide_linear *w, const nr_linear_source *source,
                              nr_error *err) {
    NR_TRY(nr_load_linear(l, &w->high, source, err));
    return w->wide ? nr_load_low_digit(l, &w->low, source, err) : NR_STATUS_OK;
}

void nr_wide_linear_apply(nr_backend *be, const nr_wide_linear *w, const nr_linear_args *args,
                          float *r) {
    nr_linear_args step = *args;
    step.linear = &w->high;
    if (step.ldx == 0) step.ldx = w->high.n_in;
    if (step.ldy == 0) step.ldy = w->high.n_out;
    int64_t ldx = step.ldx;
    if (!w->wide) {
        be->ops->linear(be, &step);
        return;
    }
    NR_ASSERT(args->activation == NR_ACTIVATION_NONE ||
              (!args->residual && step.ldy == w->high.n_out));
    nr_linear plain = w->high; /* r is 0 in the outlier columns, and the bias comes once */
    plain.bias = NULL;
    plain.n_outliers = 0;
    be->ops->quantize_residual(be, r, args->x, ldx, args->m, &w->high);
    step.x_spent = false;
    step.activation = NR_ACTIVATION_NONE;
    step.x = r;
    step.ldx = w->high.n_in;
    step.linear = &plain;
    be->ops->linear(be, &step);
    step.x = args->x;
    step.ldx = ldx;
    step.linear = &w->low;
    step.residual = args->y;
    be->ops->linear(be, &step);
    step.linear = &w->high;
    be->ops->linear(be, &step);
    if (args->activation != NR_ACTIVATION_NONE)
        be->ops->activate(be, args->y, args->m * w->high.n_out, args->activation);
}
