/* SPDX-License-Identifier: MIT
 * modules.c - see modules.h. */
#include "modules.h"

/* Names of a linear's tensors; the source points into them. */
typedef struct tensor_names {
    char weight[3][NR_LOAD_NAME_MAX], bias[3][NR_LOAD_NAME_MAX];
} tensor_names;

static nr_linear_source source_of(const nr_modules *m, tensor_names *names) {
    nr_linear_source source = {.gamma = m->gamma};
    for (int i = 0; i < 3 && m->names[i]; i++) {
        source.weight[i] = nr_load_name(names->weight[i], "%s%s.weight", m->prefix, m->names[i]);
        nr_load_name(names->bias[i], "%s%s.bias", m->prefix, m->names[i]);
        source.bias[i] = m->has_bias ? names->bias[i] : NULL;
        source.rows[i] = m->rows[i];
        source.n_parts++;
    }
    return source;
}

nr_status nr_modules_load(nr_loader *l, nr_linear *w, const nr_modules *modules, nr_error *err) {
    tensor_names names;
    nr_linear_source source = source_of(modules, &names);
    return nr_load_linear(l, w, &source, err);
}

nr_status nr_modules_load_wide(nr_loader *l, nr_wide_linear *w, const nr_modules *modules,
                               nr_error *err) {
    tensor_names names;
    nr_linear_source source = source_of(modules, &names);
    return nr_wide_linear_load(l, w, &source, err);
}

void nr_norm_carve(nr_norm *norm, nr_arena *a, int32_t n) {
    norm->weight = nr_arena_take(a, (size_t)n, sizeof(float));
    norm->bias = nr_arena_take(a, (size_t)n, sizeof(float));
}

nr_status nr_norm_load(nr_loader *l, const nr_norm *norm, const char *prefix, const char *name,
                       int32_t n, float *gamma, nr_error *err) {
    char tensor[NR_LOAD_NAME_MAX];
    int64_t dims[1] = {n};
    nr_load_name(tensor, "%s%s.weight", prefix, name);
    NR_TRY(nr_load_tensor(l, tensor, 1, dims, norm->weight, gamma, err));
    nr_load_name(tensor, "%s%s.bias", prefix, name);
    return nr_load_tensor(l, tensor, 1, dims, norm->bias, NULL, err);
}
