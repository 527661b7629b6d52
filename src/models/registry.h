/* SPDX-License-Identifier: MIT
 * registry.h - the single list of models: config.json's model_type to its description. */
#ifndef NR_REGISTRY_H
#define NR_REGISTRY_H

#include "model.h"

/* NULL when unknown. */
const nr_model_desc *nr_registry_find(const char *model_type);
/* Comma-separated names for messages; static. */
const char *nr_registry_names(void);

#endif
