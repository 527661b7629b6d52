/* SPDX-License-Identifier: MIT
 *
 * safetensors_write.c - the streaming writer (see safetensors.h).
 *
 * The header is a function of the declarations alone, so it is written first and the data follows
 * without seeking. It is padded with spaces so that data begins at a multiple of NR_ALIGN_BYTES:
 * tensors whose sizes are multiples of it can then be used where they lie in a mapped file.
 */
#include "nr_alloc.h"
#include "safetensors.h"

#include <string.h>

#define LENGTH_BYTES ((size_t)8)

struct nr_safetensors_writer {
    json_t *header; /* owns; name -> {dtype, shape, data_offsets}, in declaration order */
    int32_t n_tensors;
    uint64_t data_bytes; /* declared */
    uint64_t put_bytes;  /* written */
    uint64_t file_bytes; /* header included; 0 before open */
    nr_file_writer file;
};

nr_status nr_safetensors_writer_create(nr_safetensors_writer **out, nr_error *err) {
    nr_json_use_our_alloc();
    nr_safetensors_writer *w = nr_calloc(1, sizeof *w);
    NR_FAIL_IF(!w, NO_MEMORY, "safetensors writer");
    w->file.fd = -1;
    w->header = json_object();
    if (!w->header) {
        nr_free(w);
        NR_FAIL(NO_MEMORY, "safetensors writer");
    }
    *out = w;
    return NR_STATUS_OK;
}

void nr_safetensors_writer_free(nr_safetensors_writer *w) {
    if (!w) return;
    nr_file_writer_abort(&w->file);
    json_decref(w->header);
    nr_free(w);
}

nr_status nr_safetensors_writer_add_metadata(nr_safetensors_writer *w, const char *key,
                                             const char *value, nr_error *err) {
    NR_ASSERT(w->file_bytes == 0);
    json_t *metadata = json_object_get(w->header, "__metadata__");
    if (!metadata) {
        metadata = json_object();
        NR_FAIL_IF(json_object_set_new(w->header, "__metadata__", metadata) != 0, NO_MEMORY,
                   "safetensors metadata");
    }
    NR_FAIL_IF(json_object_get(metadata, key), ARG, "metadata key \"%s\" is given twice", key);
    json_t *text = json_string(value);
    NR_FAIL_IF(json_object_set_new(metadata, key, text) != 0, NO_MEMORY,
               "safetensors metadata \"%s\"", key);
    return NR_STATUS_OK;
}

/* {"dtype", "shape", "data_offsets"}; NULL when memory runs out. */
static json_t *entry(nr_dtype dtype, int n_dims, const int64_t *dims, uint64_t begin,
                     uint64_t end) {
    json_t *shape = json_array();
    for (int i = 0; i < n_dims && shape; i++)
        if (json_array_append_new(shape, json_integer(dims[i])) != 0) {
            json_decref(shape);
            shape = NULL;
        }
    if (!shape) return NULL;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", nr_dtype_name(dtype), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)end);
}

nr_status nr_safetensors_writer_add(nr_safetensors_writer *w, const char *name, nr_dtype dtype,
                                    int n_dims, const int64_t *dims, nr_error *err) {
    NR_ASSERT(w->file_bytes == 0);
    NR_FAIL_IF(!nr_safetensors_name_is_fit(name), ARG,
               "a tensor name must have 1 to %d bytes of plain text", NR_TENSOR_NAME_MAX - 1);
    NR_FAIL_IF(n_dims < 0 || n_dims > NR_TENSOR_DIMS_MAX, LIMIT,
               "tensor \"%s\": %d dims, at most %d", name, n_dims, NR_TENSOR_DIMS_MAX);
    NR_FAIL_IF(w->n_tensors >= NR_SAFETENSORS_TENSORS_MAX, LIMIT, "more than %d tensors",
               NR_SAFETENSORS_TENSORS_MAX);
    size_t bytes = nr_dtype_bytes(dtype), end;
    for (int i = 0; i < n_dims; i++)
        NR_FAIL_IF(dims[i] < 0 || !nr_mul_size(bytes, (size_t)dims[i], &bytes), LIMIT,
                   "tensor \"%s\": size does not fit 64 bits", name);
    NR_FAIL_IF(!nr_add_size((size_t)w->data_bytes, bytes, &end) || end > INT64_MAX / 2, LIMIT,
               "tensor \"%s\": file size does not fit 64 bits", name);
    NR_FAIL_IF(json_object_get(w->header, name), ARG, "tensor \"%s\" is declared twice", name);
    json_t *value = entry(dtype, n_dims, dims, w->data_bytes, end);
    NR_FAIL_IF(json_object_set_new(w->header, name, value) != 0, NO_MEMORY, "tensor \"%s\"", name);
    w->data_bytes = end;
    w->n_tensors++;
    return NR_STATUS_OK;
}

uint64_t nr_safetensors_writer_bytes(const nr_safetensors_writer *w) {
    return w->file_bytes;
}

nr_status nr_safetensors_writer_open(nr_safetensors_writer *w, const char *path, nr_error *err) {
    NR_ASSERT(w->file_bytes == 0);
    size_t text_bytes = json_dumpb(w->header, NULL, 0, JSON_COMPACT);
    size_t begin = nr_round_up(LENGTH_BYTES + text_bytes, NR_ALIGN_BYTES);
    NR_FAIL_IF(text_bytes == 0, NO_MEMORY, "%s: header", path);
    NR_FAIL_IF(begin - LENGTH_BYTES > NR_SAFETENSORS_HEADER_MAX, LIMIT,
               "%s: header of %zu bytes, at most %u", path, text_bytes, NR_SAFETENSORS_HEADER_MAX);
    char *head = nr_malloc(begin);
    NR_FAIL_IF(!head, NO_MEMORY, "%s: header of %zu bytes", path, begin);
    memset(head, ' ', begin);
    for (size_t i = 0; i < LENGTH_BYTES; i++)
        head[i] = (char)(uint8_t)((uint64_t)(begin - LENGTH_BYTES) >> (8 * i));
    nr_status status = NR_STATUS_OK;
    NR_FAIL_IF_GOTO(json_dumpb(w->header, head + LENGTH_BYTES, text_bytes, JSON_COMPACT) !=
                        text_bytes,
                    NO_MEMORY, "%s: header", path);
    NR_TRY_GOTO(nr_file_writer_open(&w->file, path, err));
    NR_TRY_GOTO(nr_file_writer_put(&w->file, head, begin, err));
    w->file_bytes = begin + w->data_bytes;
done:
    nr_free(head);
    return status;
}

nr_status nr_safetensors_writer_put(nr_safetensors_writer *w, const void *src, size_t bytes,
                                    nr_error *err) {
    NR_ASSERT(w->file_bytes != 0);
    NR_FAIL_IF(bytes > w->data_bytes - w->put_bytes, ARG,
               "%s: %zu bytes of data, %llu are left of what was declared", w->file.path, bytes,
               (unsigned long long)(w->data_bytes - w->put_bytes));
    NR_TRY(nr_file_writer_put(&w->file, src, bytes, err));
    w->put_bytes += bytes;
    return NR_STATUS_OK;
}

nr_status nr_safetensors_writer_commit(nr_safetensors_writer *w, nr_error *err) {
    NR_ASSERT(w->file_bytes != 0);
    NR_FAIL_IF(w->put_bytes != w->data_bytes, ARG, "%s: %llu bytes of data, %llu were declared",
               w->file.path, (unsigned long long)w->put_bytes, (unsigned long long)w->data_bytes);
    return nr_file_writer_commit(&w->file, err);
}
