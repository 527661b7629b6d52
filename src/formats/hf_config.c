/* SPDX-License-Identifier: MIT
 *
 * hf_config.c - see hf_config.h. The trees belong to the nr_json_at roots; they are immutable
 * after parsing, and freed through them.
 */
#include "hf_config.h"

#include "nr_alloc.h"
#include "nr_file.h"

#include <string.h>

#define PATH_CAP 4096

/* Root of a file of the folder; node NULL when there is none. */
static nr_status read_root(const char *dir, const char *name, nr_json_at *out, nr_error *err) {
    char path[PATH_CAP];
    json_t *root = NULL;
    NR_TRY(nr_path_join(path, sizeof path, dir, name, err));
    nr_status status = nr_json_read_file(path, NR_CONFIG_BYTES_MAX, &root, err);
    if (status != NR_STATUS_OK && status != NR_STATUS_NOT_FOUND) return status;
    nr_json_at at = nr_json_root(root, name);
    if (root && !json_is_object(root)) {
        nr_json_free(root);
        NR_FAIL(FORMAT, "%s: expected an object", path);
    }
    *out = at;
    return NR_STATUS_OK;
}

static nr_status read_files(const char *dir, nr_hf_config *hf, nr_error *err) {
    NR_FAIL_IF(!nr_file_exists(dir), NOT_FOUND, "%s: no such folder", dir);
    NR_TRY(read_root(dir, "config.json", &hf->config, err));
    NR_FAIL_IF(!hf->config.node, NOT_FOUND,
               "%s: no config.json: this is not the folder of a Hugging Face checkpoint", dir);
    NR_TRY(read_root(dir, "generation_config.json", &hf->generation, err));
    NR_TRY(read_root(dir, "preprocessor_config.json", &hf->preprocessor, err));
    NR_TRY(read_root(dir, "processor_config.json", &hf->processor, err));
    NR_TRY(read_root(dir, "tokenizer_config.json", &hf->tokenizer_config, err));
    return read_root(dir, "chat_template.json", &hf->chat_file, err);
}

static nr_status read_names(nr_hf_config *hf, nr_error *err) {
    nr_json_at list;
    int n;
    NR_TRY(nr_json_need_str(&hf->config, "model_type", 64, &hf->model_type, err));
    NR_TRY(nr_json_list(&hf->config, "architectures", 16, &list, &n, err));
    if (n == 0) return NR_STATUS_OK;
    nr_json_at first = nr_json_item(&list, 0);
    return nr_json_need_str(&first, "", 128, &hf->architecture, err);
}

/* The special ids from the first place that gives them. */
static nr_status read_ids(nr_hf_config *hf, nr_error *err) {
    nr_json_at text;
    NR_TRY(nr_json_enter(&hf->config, "text_config", &text, err));
    const nr_json_at *places[] = {&hf->generation, &hf->config, &text};
    hf->bos_id = hf->pad_id = -1;
    for (size_t i = NR_COUNT(places); i-- > 0;) { /* the strongest last */
        const nr_json_at *at = places[i];
        int32_t ids[NR_STOP_IDS_MAX];
        nr_json_i32_list list = {0, NR_VOCAB_MAX - 1, NR_STOP_IDS_MAX, ids, 0};
        NR_TRY(nr_json_opt_i32(at, "bos_token_id", -1, NR_VOCAB_MAX - 1, &hf->bos_id, err));
        NR_TRY(nr_json_opt_i32(at, "pad_token_id", -1, NR_VOCAB_MAX - 1, &hf->pad_id, err));
        NR_TRY(nr_json_opt_i32s(at, "eos_token_id", &list, err));
        if (list.n == 0) continue;
        hf->n_eos_ids = 0;
        for (int k = 0; k < list.n; k++) {
            bool seen = false;
            for (int j = 0; j < hf->n_eos_ids; j++) seen = seen || hf->eos_ids[j] == ids[k];
            if (!seen) hf->eos_ids[hf->n_eos_ids++] = ids[k];
        }
    }
    return NR_STATUS_OK;
}

/* tokenizer_config.json holds one template, or a list of {name, template}. */
static nr_status template_of_tokenizer(nr_hf_config *hf, nr_error *err) {
    const nr_json_at *at = &hf->tokenizer_config;
    nr_json_at list;
    int n;
    if (!at->node || !json_is_array(json_object_get(at->node, "chat_template")))
        return nr_json_opt_str(at, "chat_template", NR_CHAT_TEMPLATE_BYTES_MAX, &hf->chat_template,
                               err);
    NR_TRY(nr_json_list(at, "chat_template", 64, &list, &n, err));
    for (int i = 0; i < n; i++) {
        nr_json_at item = nr_json_item(&list, i);
        const char *name;
        NR_TRY(nr_json_need_str(&item, "name", 64, &name, err));
        if (strcmp(name, "default") != 0) continue;
        return nr_json_need_str(&item, "template", NR_CHAT_TEMPLATE_BYTES_MAX, &hf->chat_template,
                                err);
    }
    return NR_STATUS_OK;
}

static nr_status read_template(const char *dir, nr_hf_config *hf, nr_error *err) {
    char path[PATH_CAP];
    size_t bytes = 0;
    NR_TRY(nr_path_join(path, sizeof path, dir, "chat_template.jinja", err));
    if (nr_file_exists(path)) {
        NR_TRY(nr_file_read_all(path, NR_CHAT_TEMPLATE_BYTES_MAX, &hf->chat_template_text, &bytes,
                                err));
        NR_FAIL_IF(strlen(hf->chat_template_text) != bytes, FORMAT, "%s: NUL at byte %zu", path,
                   strlen(hf->chat_template_text));
        hf->chat_template = hf->chat_template_text;
        hf->chat_template_file = "chat_template.jinja";
        return NR_STATUS_OK;
    }
    NR_TRY(nr_json_opt_str(&hf->chat_file, "chat_template", NR_CHAT_TEMPLATE_BYTES_MAX,
                           &hf->chat_template, err));
    if (hf->chat_template) {
        hf->chat_template_file = "chat_template.json";
        return NR_STATUS_OK;
    }
    NR_TRY(template_of_tokenizer(hf, err));
    if (hf->chat_template) hf->chat_template_file = "tokenizer_config.json";
    return NR_STATUS_OK;
}

static nr_status read_config(nr_hf_config *hf, nr_error *err) {
    NR_TRY(read_names(hf, err));
    NR_TRY(read_ids(hf, err));
    NR_TRY(nr_json_enter(&hf->config, "quantization_config", &hf->quantization, err));
    if (hf->quantization.node) return NR_STATUS_OK;
    return nr_json_enter(&hf->config, "text_config.quantization_config", &hf->quantization, err);
}

static nr_status load(const char *dir, nr_hf_config *hf, nr_error *err) {
    NR_TRY(read_files(dir, hf, err));
    NR_TRY(read_config(hf, err));
    return read_template(dir, hf, err);
}

nr_status nr_hf_config_parse(const char *config_json, const char *where, nr_hf_config *out,
                             nr_error *err) {
    json_t *root = NULL;
    *out = (nr_hf_config){0};
    NR_TRY(nr_json_parse(config_json, strlen(config_json), where, &root, err));
    out->config = nr_json_root(root, where);
    nr_status status = read_config(out, err);
    if (status != NR_STATUS_OK) nr_hf_config_reset(out);
    return status;
}

nr_status nr_hf_config_load(const char *dir, nr_hf_config *out, nr_error *err) {
    *out = (nr_hf_config){0};
    nr_status status = load(dir, out, err);
    if (status != NR_STATUS_OK) nr_hf_config_reset(out);
    return status;
}

void nr_hf_config_reset(nr_hf_config *hf) {
    nr_json_at *roots[] = {&hf->config,    &hf->generation,       &hf->preprocessor,
                           &hf->processor, &hf->tokenizer_config, &hf->chat_file};
    for (size_t i = 0; i < NR_COUNT(roots); i++) nr_json_free((json_t *)roots[i]->node);
    nr_free(hf->chat_template_text);
    *hf = (nr_hf_config){0};
}
