/* SPDX-License-Identifier: MIT
 * preprocess_config.h - preprocessor_config.json to the settings of image/preprocess.h. */
#ifndef NR_PREPROCESS_CONFIG_H
#define NR_PREPROCESS_CONFIG_H

#include "hf_config.h"
#include "preprocess.h"

/* The checkpoint's own route to a side x side input; CLIP's where the folder has no file.
 * do_pad: pad to a square; do_center_crop: crop; else squash. Errors: UNSUPPORTED (a step switched
 * off, a filter not known), SHAPE (another output size than the vision tower's), FORMAT, LIMIT. */
nr_status nr_preprocess_config(const nr_hf_config *config, int32_t side,
                               nr_preprocess_settings *out, nr_error *err);

#endif
