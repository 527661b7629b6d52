/* SPDX-License-Identifier: MIT
 * activation_config.h - names of activations as Hugging Face configs spell them. */
#ifndef NR_ACTIVATION_CONFIG_H
#define NR_ACTIVATION_CONFIG_H

#include "backend.h"
#include "nr_json.h"

/* *out keeps its value when the key is absent. Errors: UNSUPPORTED, listing the known names. */
nr_status nr_activation_config(const nr_json_at *at, const char *key, nr_activation *out,
                               nr_error *err);

#endif
