/* SPDX-License-Identifier: MIT
 *
 * ckpt_json.c - see ckpt_json.h. Every value that a config class would fill in is written out, so
 * that a reader that knows no defaults reads the same model.
 */
#include "ckpt_json.h"

#include "ckpt_tokenizer.h"
#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_json.h"

#include <stdlib.h>
#include <string.h>

/* Takes root over. NULL root: building it ran out of memory. */
static nr_status write_json(const char *dir, const char *name, json_t *root, nr_error *err) {
    NR_FAIL_IF(!root, NO_MEMORY, "%s", name);
    char path[4096];
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(16));
    json_decref(root);
    NR_FAIL_IF(!text, NO_MEMORY, "%s", name);
    nr_file_writer w = {.fd = -1};
    nr_status status = nr_path_join(path, sizeof path, dir, name, err);
    if (status == NR_STATUS_OK) status = nr_file_writer_open(&w, path, err);
    if (status == NR_STATUS_OK) status = nr_file_writer_put(&w, text, strlen(text), err);
    if (status == NR_STATUS_OK) status = nr_file_writer_put(&w, "\n", 1, err);
    if (status == NR_STATUS_OK) status = nr_file_writer_commit(&w, err);
    nr_file_writer_abort(&w);
    nr_free(text);
    return status;
}

const char *ckpt_dtype_word(nr_dtype dtype) {
    return dtype == NR_DTYPE_F16 ? "float16" : dtype == NR_DTYPE_BF16 ? "bfloat16" : "float32";
}

static int compare_pointers(const void *a, const void *b) {
    return strcmp((*(const ckpt_tensor *const *)a)->name, (*(const ckpt_tensor *const *)b)->name);
}

/* {"metadata": {"total_size"}, "weight_map": {name: shard}}, names ascending. */
static json_t *index_of(const ckpt_list *list) {
    const ckpt_tensor **order = nr_calloc((size_t)list->n, sizeof *order);
    json_t *map = json_object();
    bool failed = !order || !map;
    for (int i = 0; i < list->n && !failed; i++) order[i] = &list->tensors[i];
    if (!failed) qsort(order, (size_t)list->n, sizeof *order, compare_pointers);
    for (int i = 0; i < list->n && !failed; i++) {
        char shard[64];
        ckpt_shard_name(shard, sizeof shard, order[i]->i_shard, list->n_shards);
        failed = json_object_set_new(map, order[i]->name, json_string(shard)) != 0;
    }
    nr_free(order);
    if (failed) {
        json_decref(map);
        return NULL;
    }
    return json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)list->bytes,
                     "weight_map", map);
}

nr_status ckpt_json_write(const char *dir, const ckpt_spec *spec, const ckpt_list *list,
                          nr_error *err) {
    json_t *tokenizer;
    NR_TRY(ckpt_tokenizer_make(spec, &tokenizer, err));
    NR_TRY(write_json(dir, "tokenizer.json", tokenizer, err));
    if (list->n_shards > 1)
        NR_TRY(write_json(dir, "model.safetensors.index.json", index_of(list), err));
    bool blip2 = spec->family == CKPT_BLIP2;
    const ckpt_document *d = blip2 ? ckpt_blip2_documents : ckpt_llava_documents;
    for (; d->name; d++) NR_TRY(write_json(dir, d->name, d->make(spec), err));
    return NR_STATUS_OK;
}
