/* SPDX-License-Identifier: MIT
 *
 * ckpt_list.c - see ckpt_list.h.
 *
 * Shards are filled as transformers' save_pretrained does: tensors in the order of registration,
 * a new file when the next tensor would pass the limit; inside a file by name. With 5 * 10^9 bytes
 * this gives the three files of the published llava-1.5-7b-hf.
 */
#include "ckpt_list.h"

#include "nr_alloc.h"

#include <stdlib.h>
#include <string.h>

void ckpt_shard_name(char *dst, size_t cap, int i_shard, int n_shards) {
    if (n_shards == 1)
        snprintf(dst, cap, "model.safetensors");
    else
        snprintf(dst, cap, "model-%05d-of-%05d.safetensors", i_shard + 1, n_shards);
}

void ckpt_add(ckpt_list *list, ckpt_kind kind, const char *prefix, const char *suffix, int64_t d0,
              int64_t d1) {
    if (list->n < 0) return;
    if (list->n == list->cap) {
        int cap = list->cap ? list->cap * 2 : 256;
        ckpt_tensor *grown = nr_realloc(list->tensors, (size_t)cap * sizeof *grown);
        if (!grown) {
            list->n = -1;
            return;
        }
        list->tensors = grown;
        list->cap = cap;
    }
    ckpt_tensor *t = &list->tensors[list->n++];
    *t = (ckpt_tensor){.kind = kind, .n_dims = d1 ? 2 : 1, .dims = {d0, d1}};
    t->n_elements = d0 * (d1 ? d1 : 1);
    snprintf(t->name, sizeof t->name, "%s%s", prefix, suffix);
}

void ckpt_reshape(ckpt_list *list, int n_dims, const int64_t *dims) {
    if (list->n <= 0) return;
    ckpt_tensor *t = &list->tensors[list->n - 1];
    t->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++) t->dims[i] = dims[i];
}

void ckpt_add_linear(ckpt_list *list, const char *prefix, const char *name, int64_t out,
                     int64_t in) {
    char suffix[64];
    snprintf(suffix, sizeof suffix, "%s.weight", name);
    ckpt_add(list, CKPT_MATRIX, prefix, suffix, out, in);
    snprintf(suffix, sizeof suffix, "%s.bias", name);
    ckpt_add(list, CKPT_VECTOR, prefix, suffix, out, 0);
}

void ckpt_add_layer_norm(ckpt_list *list, const char *prefix, const char *name, int64_t width) {
    char suffix[64];
    snprintf(suffix, sizeof suffix, "%s.weight", name);
    ckpt_add(list, CKPT_NORM, prefix, suffix, width, 0);
    snprintf(suffix, sizeof suffix, "%s.bias", name);
    ckpt_add(list, CKPT_VECTOR, prefix, suffix, width, 0);
}

static int compare_in_files(const void *a, const void *b) {
    const ckpt_tensor *x = a, *y = b;
    return x->i_shard != y->i_shard ? (x->i_shard < y->i_shard ? -1 : 1) : strcmp(x->name, y->name);
}

nr_status ckpt_list_make(const ckpt_spec *spec, ckpt_list *out, nr_error *err) {
    ckpt_list list = {0};
    (spec->family == CKPT_BLIP2 ? ckpt_blip2_add : ckpt_llava_add)(&list, spec);
    if (list.n < 0) {
        nr_free(list.tensors);
        NR_FAIL(NO_MEMORY, "list of tensors");
    }
    int64_t in_shard = 0;
    for (int i = 0; i < list.n; i++) {
        ckpt_tensor *t = &list.tensors[i];
        int64_t bytes = t->n_elements * (int64_t)nr_dtype_bytes(spec->dtype);
        if (in_shard > 0 && in_shard + bytes > spec->shard_bytes) {
            list.n_shards++;
            in_shard = 0;
        }
        t->i_shard = list.n_shards;
        in_shard += bytes;
        list.n_parameters += (uint64_t)t->n_elements;
        list.bytes += (uint64_t)bytes;
    }
    list.n_shards++;
    qsort(list.tensors, (size_t)list.n, sizeof *list.tensors, compare_in_files);
    *out = list;
    return NR_STATUS_OK;
}

void ckpt_list_free(ckpt_list *list) {
    nr_free(list->tensors);
    *list = (ckpt_list){0};
}
