/* SPDX-License-Identifier: MIT
 *
 * llava.h - LLaVA-1.5 (Liu et al. 2023; transformers' LlavaForConditionalGeneration): CLIP's vision
 * tower, a two-layer projector, a Llama decoder that reads the projected patches in place of the
 * image placeholder.
 */
#ifndef NR_LLAVA_H
#define NR_LLAVA_H

#include "model.h"

extern const nr_model_desc nr_llava_desc;

#endif
