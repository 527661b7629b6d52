/* SPDX-License-Identifier: MIT
 *
 * modules.h - the two modules that every network here is made of, under the names that checkpoints
 * give them: linears ("PREFIX" "NAME" ".weight", ".bias"), several of which may be stacked into
 * one, and layer norms.
 */
#ifndef NR_MODULES_H
#define NR_MODULES_H

#include "wide_linear.h"

/* Up to three linear modules as one, rows in the order given. */
typedef struct nr_modules {
    const char *prefix;   /* ends in '.', or "" */
    const char *names[3]; /* NULL behind the last */
    int32_t rows[3];      /* output rows of each */
    bool has_bias;
    const float *gamma; /* host [n_in]: weight of the norm that feeds them, or NULL */
} nr_modules;

/* Errors: as nr_load_linear. */
nr_status nr_modules_load(nr_loader *l, nr_linear *w, const nr_modules *modules, nr_error *err);
nr_status nr_modules_load_wide(nr_loader *l, nr_wide_linear *w, const nr_modules *modules,
                               nr_error *err);

typedef struct nr_norm {
    float *weight, *bias; /* device [n] */
} nr_norm;

void nr_norm_carve(nr_norm *norm, nr_arena *a, int32_t n);
/* gamma: host [n] that receives the weight, or NULL. Errors: as nr_load_tensor. */
nr_status nr_norm_load(nr_loader *l, const nr_norm *norm, const char *prefix, const char *name,
                       int32_t n, float *gamma, nr_error *err);

#endif
