/* SPDX-License-Identifier: MIT
 * llama_lm.h - text-only Llama checkpoints (transformers' LlamaForCausalLM). */
#ifndef NR_LLAMA_LM_H
#define NR_LLAMA_LM_H

#include "model.h"

extern const nr_model_desc nr_llama_lm_desc;

#endif
