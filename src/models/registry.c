/* SPDX-License-Identifier: MIT
 * registry.c - see registry.h. A new model is one more line here. */
#include "registry.h"

#include "blip2.h"
#include "llama_lm.h"
#include "llava.h"

#include <string.h>

static const nr_model_desc *const models[] = {&nr_llava_desc, &nr_blip2_desc, &nr_llama_lm_desc};

const nr_model_desc *nr_registry_find(const char *model_type) {
    for (size_t i = 0; i < NR_COUNT(models); i++)
        if (strcmp(models[i]->model_type, model_type) == 0) return models[i];
    return NULL;
}

const char *nr_registry_names(void) {
    return "llava, blip-2, llama";
}
