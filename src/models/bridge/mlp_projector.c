/* SPDX-License-Identifier: MIT
 * mlp_projector.c - see mlp_projector.h. */
#include "mlp_projector.h"

#include "memory_parts.h"

uint64_t nr_projector_bytes(const nr_projector *m) {
    return (uint64_t)m->text_hidden * ((uint64_t)m->vision_hidden + (uint64_t)m->text_hidden);
}

static void carve_one(const nr_projector *m, nr_wide_linear *w, nr_arena *a, int32_t n_in) {
    nr_wide_linear_carve(w, a, &(nr_wide_spec){.dtype = m->precision,
                                               .n_out = m->text_hidden,
                                               .n_in = n_in,
                                               .has_bias = m->bias,
                                               .wide = m->wide});
}

void nr_projector_carve_weights(nr_projector *m, nr_arena *a) {
    nr_part_begin(a, NR_PART_BRIDGE);
    carve_one(m, &m->linear_1, a, m->vision_hidden);
    carve_one(m, &m->linear_2, a, m->text_hidden);
}

static nr_status load_one(const nr_projector *m, nr_loader *l, nr_wide_linear *w,
                          const char *prefix, const char *name, nr_error *err) {
    return nr_modules_load_wide(l, w,
                                &(nr_modules){.prefix = prefix,
                                              .names = {name},
                                              .rows = {w->high.n_out},
                                              .has_bias = m->bias},
                                err);
}

nr_status nr_projector_load(nr_projector *m, nr_loader *l, const char *prefix, nr_error *err) {
    NR_TRY(load_one(m, l, &m->linear_1, prefix, "linear_1", err));
    return load_one(m, l, &m->linear_2, prefix, "linear_2", err);
}

void nr_projector_carve_scratch(nr_projector *m, nr_arena *a) {
    size_t rows = (size_t)m->rows_max;
    m->hidden_rows = nr_arena_take(a, rows * (size_t)m->text_hidden, sizeof(float));
    m->r = NULL;
    if (m->wide)
        m->r = nr_arena_take(a, rows * (size_t)NR_MAX(m->vision_hidden, m->text_hidden),
                             sizeof(float));
}

void nr_projector_forward(nr_projector *m, nr_backend *be, float *y, const float *x,
                          int64_t n_rows) {
    nr_linear_args first = {
        .y = m->hidden_rows, .x = x, .m = n_rows, .activation = m->activation};
    nr_linear_args second = {.y = y, .x = m->hidden_rows, .m = n_rows};
    nr_wide_linear_apply(be, &m->linear_1, &first, m->r);
    nr_wide_linear_apply(be, &m->linear_2, &second, m->r);
}
