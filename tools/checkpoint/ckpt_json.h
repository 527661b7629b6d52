/* SPDX-License-Identifier: MIT
 *
 * ckpt_json.h - the JSON files of a made-up checkpoint.
 */
#ifndef CKPT_JSON_H
#define CKPT_JSON_H

#include "ckpt_spec.h"

/* Writes into the folder dir: tokenizer.json, tokenizer_config.json, preprocessor_config.json,
 * processor_config.json, generation_config.json, the index where there are several shards, and
 * config.json last: a folder without it is not a checkpoint. Errors: IO, NO_MEMORY. */
nr_status ckpt_json_write(const char *dir, const ckpt_spec *spec, const ckpt_list *list,
                          nr_error *err);

#endif
