/* SPDX-License-Identifier: MIT
 * mlp_projector.c - see mlp_projector.h. */
#include "mlp_projector.h"

void nr_projector_carve_weights(nr_projector *m, nr_arena *a) {
    nr_linear_carve(&m->linear_1, a, m->precision, m->text_hidden, m->vision_hidden, m->bias,
                    false);
    nr_linear_carve(&m->linear_2, a, m->precision, m->text_hidden, m->text_hidden, m->bias, false);
}

static nr_status load_one(const nr_projector *m, nr_loader *l, nr_linear *w, const char *prefix,
                          const char *name, nr_error *err) {
    char weight[NR_LOAD_NAME_MAX], bias[NR_LOAD_NAME_MAX];
    nr_load_name(weight, "%s%s.weight", prefix, name);
    nr_load_name(bias, "%s%s.bias", prefix, name);
    nr_linear_source source = {.n_parts = 1,
                               .weight = {weight},
                               .bias = {m->bias ? bias : NULL},
                               .rows = {w->n_out}};
    return nr_load_linear(l, w, &source, err);
}

nr_status nr_projector_load(nr_projector *m, nr_loader *l, const char *prefix, nr_error *err) {
    NR_TRY(load_one(m, l, &m->linear_1, prefix, "linear_1", err));
    return load_one(m, l, &m->linear_2, prefix, "linear_2", err);
}

void nr_projector_carve_scratch(nr_projector *m, nr_arena *a) {
    m->hidden_rows =
        nr_arena_take(a, (size_t)m->rows_max * (size_t)m->text_hidden, sizeof(float));
}

void nr_projector_forward(nr_projector *m, nr_backend *be, float *y, const float *x,
                          int64_t n_rows) {
    be->ops->linear(be, &(nr_linear_args){.y = m->hidden_rows,
                                          .x = x,
                                          .ldy = m->text_hidden,
                                          .ldx = m->vision_hidden,
                                          .m = n_rows,
                                          .linear = &m->linear_1,
                                          .activation = m->activation});
    be->ops->linear(be, &(nr_linear_args){.y = y,
                                          .x = m->hidden_rows,
                                          .ldy = m->text_hidden,
                                          .ldx = m->text_hidden,
                                          .m = n_rows,
                                          .linear = &m->linear_2});
}
