/* SPDX-License-Identifier: MIT
 *
 * ckpt_json.h - the JSON files of a made-up checkpoint.
 */
#ifndef CKPT_JSON_H
#define CKPT_JSON_H

#include "ckpt_list.h"
#include "nr_json.h"

/* Writes into the folder dir: tokenizer.json, tokenizer_config.json, preprocessor_config.json,
 * processor_config.json, generation_config.json, the index where there are several shards, and
 * config.json last: a folder without it is not a checkpoint. Errors: IO, NO_MEMORY. */
nr_status ckpt_json_write(const char *dir, const ckpt_spec *spec, const ckpt_list *list,
                          nr_error *err);

/* A file of the folder and who builds it; NULL from make: out of memory. */
typedef struct ckpt_document {
    const char *name;
    json_t *(*make)(const ckpt_spec *spec);
} ckpt_document;
/* One kind of checkpoint each; a NULL name behind the last, which is config.json. Values that do
 * not depend on the sizes are those of the published checkpoint. */
extern const ckpt_document ckpt_llava_documents[], ckpt_blip2_documents[];

const char *ckpt_dtype_word(nr_dtype dtype); /* "float16" */

#endif
