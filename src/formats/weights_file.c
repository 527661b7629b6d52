/* SPDX-License-Identifier: MIT
 *
 * weights_file.c - see weights_file.h.
 *
 * Shards are opened in the order in which the index first names them. The table is one array
 * sorted by name; a name occurs once, because the index is a JSON object without duplicate keys.
 *
 * Conversion runs through a buffer on the stack that stays in the L2 cache: the page cache is read
 * once and f32 written once. Smaller buffers cost system calls, mapping the file instead would
 * turn a truncated file into a fatal signal.
 */
#include "weights_file.h"

#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_json.h"
#include "safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SINGLE_NAME "model.safetensors"
#define INDEX_NAME "model.safetensors.index.json"
#define PATH_CAP 4096
#define STAGE_BYTES ((size_t)64 << 10)

typedef struct shard {
    char name[NR_TENSOR_NAME_MAX]; /* file name in the folder */
    nr_file file;
    nr_safetensors st;
} shard;

struct nr_weights {
    shard *shards; /* owns [n_shards] */
    int n_shards;
    nr_weight *weights; /* owns [n_weights], names ascending */
    int n_weights;
};

void nr_weights_close(nr_weights *w) {
    if (!w) return;
    for (int i = 0; i < w->n_shards; i++) {
        nr_safetensors_reset(&w->shards[i].st);
        nr_file_close(&w->shards[i].file);
    }
    nr_free(w->shards);
    nr_free(w->weights);
    nr_free(w);
}

/* Open the next shard of w, for which there is room. name has been checked. */
static nr_status open_shard(nr_weights *w, const char *dir, const char *name, nr_error *err) {
    char path[PATH_CAP];
    NR_TRY(nr_path_join(path, sizeof path, dir, name, err));
    shard *s = &w->shards[w->n_shards];
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    s->file.fd = -1;
    NR_TRY(nr_file_open(path, &s->file, err));
    w->n_shards++; /* from here on close releases it */
    nr_status status = nr_safetensors_read(&s->file, &s->st, err);
    if (status != NR_STATUS_OK) return nr_error_prefix(err, status, "%s", path);
    return NR_STATUS_OK;
}

static nr_weight weight_of(const nr_safetensor *t, int i_shard) {
    nr_weight weight = {.name = t->name,
                        .dtype = t->dtype,
                        .dtype_name = t->dtype_name,
                        .n_dims = t->n_dims,
                        .n_elements = t->n_elements,
                        .offset = t->offset,
                        .bytes = t->bytes,
                        .i_shard = i_shard};
    memcpy(weight.dims, t->dims, sizeof weight.dims);
    return weight;
}

static nr_status alloc_tables(nr_weights *w, size_t n_shards, size_t n_weights, nr_error *err) {
    w->shards = nr_calloc(n_shards, sizeof *w->shards);
    NR_FAIL_IF(!w->shards, NO_MEMORY, "table of %zu shards", n_shards);
    if (n_weights == 0) return NR_STATUS_OK;
    w->weights = nr_calloc(n_weights, sizeof *w->weights);
    NR_FAIL_IF(!w->weights, NO_MEMORY, "table of %zu tensors", n_weights);
    return NR_STATUS_OK;
}

static nr_status open_single(nr_weights *w, const char *dir, nr_error *err) {
    NR_TRY(alloc_tables(w, 1, 0, err));
    NR_TRY(open_shard(w, dir, SINGLE_NAME, err));
    const nr_safetensors *st = &w->shards[0].st;
    w->weights = nr_calloc((size_t)st->n_tensors, sizeof *w->weights);
    NR_FAIL_IF(!w->weights, NO_MEMORY, "table of %d tensors", (int)st->n_tensors);
    for (int i = 0; i < st->n_tensors; i++)
        w->weights[i] = weight_of(&st->tensors[st->by_name[i]], 0);
    w->n_weights = st->n_tensors;
    return NR_STATUS_OK;
}

/* A plain file name ending in .safetensors: an index must not lead out of its folder. */
static bool shard_name_is_fit(const char *name) {
    static const char suffix[] = ".safetensors";
    size_t n = strlen(name), m = sizeof suffix - 1;
    if (n <= m || n >= NR_TENSOR_NAME_MAX || name[0] == '.') return false;
    if (strcmp(name + n - m, suffix) != 0) return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] == '/' || name[i] == '\\' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

/* Index of the shard in w, opened now if it is new. near: a good first guess. */
static nr_status shard_named(nr_weights *w, const char *dir, const char *name, int near, int *out,
                             nr_error *err) {
    if (near < w->n_shards && strcmp(w->shards[near].name, name) == 0) {
        *out = near;
        return NR_STATUS_OK;
    }
    for (int i = 0; i < w->n_shards; i++)
        if (strcmp(w->shards[i].name, name) == 0) {
            *out = i;
            return NR_STATUS_OK;
        }
    char shown[80];
    NR_FAIL_IF(!shard_name_is_fit(name), FORMAT,
               INDEX_NAME ": shard \"%s\": expected a plain file name ending in .safetensors",
               nr_json_printable(shown, sizeof shown, name));
    NR_FAIL_IF(w->n_shards >= NR_SHARDS_MAX, LIMIT, INDEX_NAME ": more than %d shards",
               NR_SHARDS_MAX);
    nr_status status = open_shard(w, dir, name, err);
    if (status == NR_STATUS_NOT_FOUND)
        return nr_error_prefix(err, status, "shard listed in " INDEX_NAME " is missing");
    NR_TRY(status);
    *out = w->n_shards - 1;
    return NR_STATUS_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const nr_weight *)a)->name, ((const nr_weight *)b)->name);
}

/* Table from the index's weight_map {tensor name: shard name}. */
static nr_status fill_from_map(nr_weights *w, const char *dir, const json_t *map, nr_error *err) {
    size_t n = json_object_size(map);
    NR_FAIL_IF(n == 0, FORMAT, INDEX_NAME ": weight_map is empty or missing");
    NR_FAIL_IF(n > NR_SAFETENSORS_TENSORS_MAX, LIMIT, INDEX_NAME ": %zu tensors, at most %d", n,
               NR_SAFETENSORS_TENSORS_MAX);
    NR_TRY(alloc_tables(w, NR_MIN(n, (size_t)NR_SHARDS_MAX), n, err));
    int i_shard = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)map, name, value) {
        char shown[80];
        nr_json_printable(shown, sizeof shown, name);
        NR_FAIL_IF(!json_is_string(value), FORMAT,
                   INDEX_NAME ": weight_map.%s: expected the name of a shard", shown);
        NR_TRY(shard_named(w, dir, json_string_value(value), i_shard, &i_shard, err));
        const nr_safetensor *t = nr_safetensors_find(&w->shards[i_shard].st, name);
        NR_FAIL_IF(!t, FORMAT, "%s: no tensor \"%s\", which " INDEX_NAME " places there",
                   w->shards[i_shard].name, shown);
        w->weights[w->n_weights++] = weight_of(t, i_shard);
    }
    qsort(w->weights, n, sizeof *w->weights, compare_names);
    return NR_STATUS_OK;
}

static nr_status open_sharded(nr_weights *w, const char *dir, const char *index_path,
                              nr_error *err) {
    json_t *root = NULL;
    nr_json_at map;
    NR_TRY(nr_json_read_file(index_path, NR_JSON_BYTES_MAX, &root, err));
    nr_json_at top = nr_json_root(root, INDEX_NAME);
    nr_status status = nr_json_enter(&top, "weight_map", &map, err);
    if (status == NR_STATUS_OK) status = fill_from_map(w, dir, map.node, err);
    nr_json_free(root);
    return status;
}

static nr_status open_any(nr_weights *w, const char *dir, nr_error *err) {
    char path[PATH_CAP];
    NR_FAIL_IF(!nr_file_exists(dir), NOT_FOUND, "%s: no such folder", dir);
    NR_TRY(nr_path_join(path, sizeof path, dir, SINGLE_NAME, err));
    if (nr_file_exists(path)) return open_single(w, dir, err);
    NR_TRY(nr_path_join(path, sizeof path, dir, INDEX_NAME, err));
    if (nr_file_exists(path)) return open_sharded(w, dir, path, err);
    NR_TRY(nr_path_join(path, sizeof path, dir, "pytorch_model.bin", err));
    bool pickle = nr_file_exists(path);
    NR_TRY(nr_path_join(path, sizeof path, dir, "pytorch_model.bin.index.json", err));
    pickle = pickle || nr_file_exists(path);
    NR_FAIL(NOT_FOUND, "%s: no " SINGLE_NAME " and no " INDEX_NAME "%s", dir,
            pickle ? " (pytorch_model.bin is there, but pickle files are never read)" : "");
}

nr_status nr_weights_open(const char *dir, nr_weights **out, nr_error *err) {
    nr_weights *w = nr_calloc(1, sizeof *w);
    NR_FAIL_IF(!w, NO_MEMORY, "%s: weights", dir);
    nr_status status = open_any(w, dir, err);
    if (status != NR_STATUS_OK) {
        nr_weights_close(w);
        return status;
    }
    *out = w;
    return NR_STATUS_OK;
}

int nr_weights_count(const nr_weights *w) {
    return w->n_weights;
}

const nr_weight *nr_weights_at(const nr_weights *w, int i) {
    NR_ASSERT(i >= 0 && i < w->n_weights);
    return &w->weights[i];
}

int nr_weights_n_shards(const nr_weights *w) {
    return w->n_shards;
}

const char *nr_weights_shard_name(const nr_weights *w, int i_shard) {
    NR_ASSERT(i_shard >= 0 && i_shard < w->n_shards);
    return w->shards[i_shard].name;
}

const nr_weight *nr_weights_find(const nr_weights *w, const char *name) {
    nr_weight key = {.name = name};
    return bsearch(&key, w->weights, (size_t)w->n_weights, sizeof key, compare_names);
}

static const char *shape_text(char *dst, size_t cap, int n_dims, const int64_t *dims) {
    size_t used = (size_t)snprintf(dst, cap, "[");
    for (int i = 0; i < n_dims && used < cap; i++) {
        const char *joint = i ? ", " : "";
        int n = dims[i] < 0 ? snprintf(dst + used, cap - used, "%sany", joint)
                            : snprintf(dst + used, cap - used, "%s%lld", joint, (long long)dims[i]);
        used += (size_t)n;
    }
    if (used < cap) (void)snprintf(dst + used, cap - used, "]");
    return dst;
}

nr_status nr_weights_need(const nr_weights *w, const char *name, int n_dims, const int64_t *dims,
                          const nr_weight **out, nr_error *err) {
    const nr_weight *t = nr_weights_find(w, name);
    NR_FAIL_IF(!t, NOT_FOUND, "tensor \"%s\" is not in the checkpoint", name);
    bool same = n_dims < 0 || t->n_dims == n_dims;
    for (int i = 0; i < n_dims && same; i++) same = dims[i] < 0 || dims[i] == t->dims[i];
    if (!same) {
        char found[64], expected[64];
        NR_FAIL(SHAPE, "%s: tensor \"%s\": shape %s, expected %s", w->shards[t->i_shard].name, name,
                shape_text(found, sizeof found, t->n_dims, t->dims),
                shape_text(expected, sizeof expected, n_dims, dims));
    }
    *out = t;
    return NR_STATUS_OK;
}

nr_status nr_weights_read(const nr_weights *w, const nr_weight *t, uint64_t byte_offset, void *dst,
                          size_t bytes, nr_error *err) {
    const shard *s = &w->shards[t->i_shard];
    NR_FAIL_IF(byte_offset > t->bytes || bytes > t->bytes - byte_offset, ARG,
               "%s: tensor \"%s\": %zu bytes at %llu asked for, it has %llu", s->name, t->name,
               bytes, (unsigned long long)byte_offset, (unsigned long long)t->bytes);
    nr_status status = nr_file_read_at(&s->file, t->offset + byte_offset, dst, bytes, err);
    if (status != NR_STATUS_OK)
        return nr_error_prefix(err, status, "%s: tensor \"%s\"", s->name, t->name);
    return NR_STATUS_OK;
}

static nr_status check_finite(const nr_weights *w, const nr_weight *t, int64_t first,
                              const float *values, int64_t n, nr_error *err) {
    int64_t i = nr_f32_find_not_finite(values, n);
    NR_FAIL_IF(i < n, NOT_FINITE, "%s: tensor \"%s\": element %lld is %s, expected a finite number",
               w->shards[t->i_shard].name, t->name, (long long)(first + i),
               isnan(values[i]) ? "NaN" : "infinite");
    return NR_STATUS_OK;
}

nr_status nr_weights_read_f32(const nr_weights *w, const nr_weight *t, int64_t first, int64_t count,
                              float *dst, nr_error *err) {
    NR_FAIL_IF(t->dtype != NR_DTYPE_F32 && t->dtype != NR_DTYPE_F16 && t->dtype != NR_DTYPE_BF16 &&
                   t->dtype != NR_DTYPE_I8,
               UNSUPPORTED, "%s: tensor \"%s\": %s, expected F32, F16, BF16 or I8",
               w->shards[t->i_shard].name, t->name, t->dtype_name);
    NR_FAIL_IF(first < 0 || count < 0 || first > t->n_elements || count > t->n_elements - first,
               ARG, "%s: tensor \"%s\": %lld elements at %lld asked for, it has %lld",
               w->shards[t->i_shard].name, t->name, (long long)count, (long long)first,
               (long long)t->n_elements);
    _Alignas(NR_ALIGN_BYTES) uint8_t stage[STAGE_BYTES];
    size_t item_bytes = nr_dtype_bytes(t->dtype);
    int64_t step = (int64_t)(STAGE_BYTES / item_bytes);
    for (int64_t done = 0; done < count; done += step) {
        int64_t n = NR_MIN(step, count - done);
        void *target = t->dtype == NR_DTYPE_F32 ? (void *)(dst + done) : stage;
        uint64_t offset = (uint64_t)(first + done) * item_bytes;
        NR_TRY(nr_weights_read(w, t, offset, target, (size_t)n * item_bytes, err));
        if (target == stage) nr_dtype_to_f32(dst + done, stage, t->dtype, n);
        NR_TRY(check_finite(w, t, first + done, dst + done, n, err));
    }
    return NR_STATUS_OK;
}

void nr_weights_forget(const nr_weights *w, const nr_weight *t) {
    nr_file_forget(&w->shards[t->i_shard].file, t->offset, t->bytes);
}
