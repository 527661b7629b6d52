/* SPDX-License-Identifier: MIT
 * activation_config.c - see activation_config.h. */
#include "activation_config.h"

static const char *const names[] = {"gelu", "quick_gelu", "silu", "relu"};
static const nr_activation values[] = {NR_ACTIVATION_GELU, NR_ACTIVATION_QUICK_GELU,
                                       NR_ACTIVATION_SILU, NR_ACTIVATION_RELU};
_Static_assert(NR_COUNT(names) == NR_COUNT(values), "one value a name");

nr_status nr_activation_config(const nr_json_at *at, const char *key, nr_activation *out,
                               nr_error *err) {
    int i = -1;
    NR_TRY(nr_json_opt_choice(at, key, names, (int)NR_COUNT(names), &i, err));
    if (i >= 0) *out = values[i];
    return NR_STATUS_OK;
}
