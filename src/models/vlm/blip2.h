/* SPDX-License-Identifier: MIT
 *
 * blip2.h - BLIP-2 with OPT (Li et al. 2023; transformers' Blip2ForConditionalGeneration): EVA-CLIP's
 * vision tower, a Q-Former that makes a few rows of it, an OPT decoder that reads them first.
 */
#ifndef NR_BLIP2_H
#define NR_BLIP2_H

#include "model.h"

extern const nr_model_desc nr_blip2_desc;

#endif
