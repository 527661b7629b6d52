/* SPDX-License-Identifier: MIT
 *
 * hf_config.h - the small JSON files of a Hugging Face model folder, and what all models read from
 * them alike. Nothing here knows a particular model: each reads its own keys through nr_json.h.
 *
 *   nr_hf_config hf;
 *   NR_TRY(nr_hf_config_load(dir, &hf, err));
 *   nr_json_at text;
 *   NR_TRY_GOTO(nr_json_enter(&hf.config, "text_config", &text, err));
 *   ...
 *   nr_hf_config_reset(&hf);
 */
#ifndef NR_HF_CONFIG_H
#define NR_HF_CONFIG_H

#include "nr_json.h"
#include "nr_limits.h"

typedef struct nr_hf_config {
    /* Roots of the files; node NULL where the folder has no such file (config is always there). */
    nr_json_at config;           /* config.json */
    nr_json_at generation;       /* generation_config.json */
    nr_json_at preprocessor;     /* preprocessor_config.json */
    nr_json_at processor;        /* processor_config.json */
    nr_json_at tokenizer_config; /* tokenizer_config.json */
    nr_json_at chat_file;        /* chat_template.json */

    const char *model_type;   /* config.json: "llava"; borrows from the tree */
    const char *architecture; /* config.json: architectures[0], or NULL; borrows */

    /* From generation_config.json, else config.json, else its text_config; -1 where none says. */
    int32_t bos_id, pad_id;
    int32_t eos_ids[NR_STOP_IDS_MAX]; /* each once, in the order given */
    int n_eos_ids;

    /* Text of the chat template, or NULL; NUL-terminated. From chat_template.jinja, else
     * chat_template.json, else tokenizer_config.json (its "default" where it lists several). */
    const char *chat_template;      /* borrows from chat_template_text or a tree */
    const char *chat_template_file; /* name of the file it came from; static; NULL without one */

    nr_json_at quantization; /* quantization_config of config.json or its text_config */

    char *chat_template_text; /* owns; content of chat_template.jinja */
} nr_hf_config;

/* Reads dir's files into *out, which the caller resets. A missing config.json is NOT_FOUND with a
 * message that says so; every other file may be absent, and is refused when malformed.
 * Errors: NOT_FOUND, FORMAT, LIMIT, IO, NO_MEMORY. On failure *out is empty. */
nr_status nr_hf_config_load(const char *dir, nr_hf_config *out, nr_error *err);

/* The same from the text of a config.json alone; `where` opens messages. */
nr_status nr_hf_config_parse(const char *config_json, const char *where, nr_hf_config *out,
                             nr_error *err);

void nr_hf_config_reset(nr_hf_config *hf); /* accepts an empty one */

#endif
