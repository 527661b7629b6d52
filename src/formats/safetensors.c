/* SPDX-License-Identifier: MIT
 *
 * safetensors.c - reading the header (see safetensors.h).
 *
 * One pass over the JSON fills the table: names go into one pool, whose size is known beforehand
 * because all names lie in the header. The table is then sorted by offset, where "no overlap, no
 * hole, nothing behind" is one comparison an entry: each begins where the last one ended.
 */
#include "safetensors.h"

#include "nr_alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_BYTES ((size_t)8)
#define SHOWN_CAP 80 /* of a name in a message */

/* Element types of the format with their size in bits. */
static const struct {
    const char *name;
    uint8_t bits;
} types[] = {
    {"F64", 64},    {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},
    {"I32", 32},    {"I16", 16},    {"I8", 8},      {"U64", 64},    {"U32", 32},
    {"U16", 16},    {"U8", 8},      {"BOOL", 8},    {"F8_E4M3", 8}, {"F8_E5M2", 8},
    {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},      {"C64", 64},
};

bool nr_safetensors_name_is_fit(const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n >= NR_TENSOR_NAME_MAX || strcmp(name, "__metadata__") == 0) return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) return false;
    return true;
}

static nr_status read_type(const nr_json_at *at, nr_safetensor *t, int *bits, nr_error *err) {
    const char *name;
    NR_TRY(nr_json_need_str(at, "dtype", 64, &name, err));
    for (size_t i = 0; i < NR_COUNT(types); i++) {
        if (strcmp(types[i].name, name) != 0) continue;
        t->dtype_name = types[i].name;
        *bits = types[i].bits;
        if (!nr_dtype_from_name(name, &t->dtype)) t->dtype = NR_DTYPE_COUNT;
        return NR_STATUS_OK;
    }
    char shown[SHOWN_CAP];
    NR_FAIL(UNSUPPORTED, "%s.dtype: \"%s\" is no element type of the format", at->where,
            nr_json_printable(shown, sizeof shown, name));
}

/* Shape, and the bytes it takes. An empty tensor's other sizes must fit together as well: whoever
 * multiplies some of them must not overflow. */
static nr_status read_shape(const nr_json_at *at, nr_safetensor *t, int bits, uint64_t *bytes,
                            nr_error *err) {
    nr_json_at list;
    NR_FAIL_IF(!nr_json_has(at, "shape"), FORMAT, "%s: no shape", at->where);
    NR_TRY(nr_json_list(at, "shape", NR_TENSOR_DIMS_MAX, &list, &t->n_dims, err));
    size_t n = 1, n_bits;
    bool empty = false;
    for (int i = 0; i < t->n_dims; i++) {
        nr_json_at item = nr_json_item(&list, i);
        NR_TRY(nr_json_need_i64(&item, "", 0, INT64_MAX, &t->dims[i], err));
        empty = empty || t->dims[i] == 0;
        NR_FAIL_IF(!nr_mul_size(n, (size_t)NR_MAX(t->dims[i], 1), &n), LIMIT,
                   "%s: the number of elements does not fit 64 bits", list.where);
    }
    NR_FAIL_IF(!nr_mul_size(n, (size_t)bits, &n_bits), LIMIT,
               "%s: the number of bytes does not fit 64 bits", list.where);
    NR_FAIL_IF(!empty && n_bits % 8 != 0, FORMAT, "%s: %zu bits of %s are no whole bytes",
               list.where, n_bits, t->dtype_name);
    t->n_elements = empty ? 0 : (int64_t)n; /* fits: n_bits >= 4 n */
    *bytes = empty ? 0 : n_bits / 8;
    return NR_STATUS_OK;
}

static nr_status read_range(const nr_json_at *at, nr_safetensor *t, uint64_t shape_bytes,
                            uint64_t data_bytes, nr_error *err) {
    nr_json_at list;
    int n;
    int64_t range[2];
    NR_TRY(nr_json_list(at, "data_offsets", 2, &list, &n, err));
    NR_FAIL_IF(n != 2, FORMAT, "%s.data_offsets: %d values, expected 2", at->where, n);
    for (int i = 0; i < 2; i++) {
        nr_json_at item = nr_json_item(&list, i);
        NR_TRY(nr_json_need_i64(&item, "", 0, INT64_MAX, &range[i], err));
    }
    NR_FAIL_IF(range[1] < range[0], FORMAT, "%s: [%lld, %lld] ends before it begins", list.where,
               (long long)range[0], (long long)range[1]);
    t->offset = (uint64_t)range[0];
    t->bytes = (uint64_t)(range[1] - range[0]);
    NR_FAIL_IF(t->bytes != shape_bytes, FORMAT, "%s: %llu bytes, but %s of this shape takes %llu",
               list.where, (unsigned long long)t->bytes, t->dtype_name,
               (unsigned long long)shape_bytes);
    NR_FAIL_IF((uint64_t)range[1] > data_bytes, FORMAT,
               "%s: data ends at byte %lld of %llu: the file is %llu bytes short", list.where,
               (long long)range[1], (unsigned long long)data_bytes,
               (unsigned long long)range[1] - data_bytes);
    return NR_STATUS_OK;
}

static nr_status read_entry(const char *name, const json_t *value, uint64_t data_bytes,
                            nr_safetensor *t, nr_error *err) {
    char shown[SHOWN_CAP];
    nr_json_at at = nr_json_root(value, "");
    at.is_file = false;
    (void)snprintf(at.where, sizeof at.where, "tensor \"%s\"",
                   nr_json_printable(shown, sizeof shown, name));
    NR_FAIL_IF(!nr_safetensors_name_is_fit(name), FORMAT,
               "%s: the name must have 1 to %d bytes and no control characters", at.where,
               NR_TENSOR_NAME_MAX - 1);
    NR_FAIL_IF(!json_is_object(value), FORMAT, "%s: expected an object", at.where);
    int bits = 0;
    uint64_t bytes = 0;
    NR_TRY(read_type(&at, t, &bits, err));
    NR_TRY(read_shape(&at, t, bits, &bytes, err));
    return read_range(&at, t, bytes, data_bytes, err);
}

static nr_status check_metadata(json_t *metadata, nr_error *err) {
    NR_FAIL_IF(!json_is_object(metadata), FORMAT, "__metadata__: expected an object");
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) {
        char shown[SHOWN_CAP];
        NR_FAIL_IF(!json_is_string(value), FORMAT, "__metadata__.%s: expected a string",
                   nr_json_printable(shown, sizeof shown, key));
    }
    return NR_STATUS_OK;
}

static int compare_ranges(const void *a, const void *b) {
    const nr_safetensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1; /* empty ones first */
    return strcmp(x->name, y->name);
}

static nr_status check_layout(nr_safetensors *st, uint64_t data_bytes, nr_error *err) {
    qsort(st->tensors, (size_t)st->n_tensors, sizeof *st->tensors, compare_ranges);
    uint64_t end = 0;
    char shown[SHOWN_CAP];
    for (int32_t i = 0; i < st->n_tensors; i++) {
        nr_safetensor *t = &st->tensors[i];
        NR_FAIL_IF(t->offset != end, FORMAT,
                   "tensor \"%s\": data begins at byte %llu, expected %llu: %s",
                   nr_json_printable(shown, sizeof shown, t->name), (unsigned long long)t->offset,
                   (unsigned long long)end,
                   t->offset < end ? "it overlaps another tensor" : "there is a hole before it");
        end += t->bytes; /* cannot wrap: read_range has bounded offset + bytes */
        t->offset += st->data_begin;
    }
    NR_FAIL_IF(end != data_bytes, FORMAT, "%llu bytes of data, but the tensors take %llu",
               (unsigned long long)data_bytes, (unsigned long long)end);
    return NR_STATUS_OK;
}

typedef struct name_key {
    const char *name;
    int32_t index;
} name_key;

static int compare_keys(const void *a, const void *b) {
    return strcmp(((const name_key *)a)->name, ((const name_key *)b)->name);
}

static nr_status build_index(nr_safetensors *st, nr_error *err) {
    size_t n = (size_t)st->n_tensors;
    st->by_name = nr_calloc(n, sizeof *st->by_name);
    name_key *keys = nr_calloc(n, sizeof *keys);
    if (!st->by_name || !keys) {
        nr_free(keys);
        NR_FAIL(NO_MEMORY, "index of %zu tensors", n);
    }
    for (size_t i = 0; i < n; i++) keys[i] = (name_key){st->tensors[i].name, (int32_t)i};
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 0; i < n; i++) st->by_name[i] = keys[i].index;
    nr_free(keys);
    return NR_STATUS_OK;
}

/* Tables from the parsed header. names_cap: bytes that all names with their NULs fit into. */
static nr_status fill(nr_safetensors *st, json_t *root, size_t names_cap, uint64_t data_bytes,
                      nr_error *err) {
    NR_FAIL_IF(!json_is_object(root), FORMAT, "header: expected an object");
    size_t n = json_object_size(root), used = 0;
    NR_FAIL_IF(n > NR_SAFETENSORS_TENSORS_MAX, LIMIT, "%zu tensors, at most %d are read", n,
               NR_SAFETENSORS_TENSORS_MAX);
    st->tensors = nr_calloc(n, sizeof *st->tensors);
    st->names = nr_malloc(names_cap);
    NR_FAIL_IF(!st->tensors || !st->names, NO_MEMORY, "directory of %zu tensors", n);
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        if (strcmp(key, "__metadata__") == 0) {
            NR_TRY(check_metadata(value, err));
            st->metadata = json_incref(value);
            continue;
        }
        nr_safetensor *t = &st->tensors[st->n_tensors];
        NR_TRY(read_entry(key, value, data_bytes, t, err));
        size_t name_bytes = strlen(key) + 1;
        NR_ASSERT(name_bytes <= names_cap - used);
        t->name = memcpy(st->names + used, key, name_bytes);
        used += name_bytes;
        st->n_tensors++;
    }
    NR_TRY(check_layout(st, data_bytes, err));
    return build_index(st, err);
}

/* header: the JSON text. file_bytes >= LENGTH_BYTES + header_bytes has been checked. */
static nr_status parse_header(const char *header, size_t header_bytes, uint64_t file_bytes,
                              nr_safetensors *out, nr_error *err) {
    nr_safetensors st = {.data_begin = LENGTH_BYTES + header_bytes};
    json_t *root = NULL;
    nr_status status = NR_STATUS_OK;
    NR_FAIL_IF(header_bytes == 0 || header[0] != '{', FORMAT, "header does not begin with '{'");
    NR_TRY_GOTO(nr_json_parse(header, header_bytes, "header", &root, err));
    /* a name of n bytes takes at least n + 2 in the text */
    NR_TRY_GOTO(fill(&st, root, header_bytes, file_bytes - st.data_begin, err));
    *out = st;
    st = (nr_safetensors){0};
done:
    nr_json_free(root);
    nr_safetensors_reset(&st);
    return status;
}

/* Length of the header, checked against the file. */
static nr_status header_length(const uint8_t prefix[LENGTH_BYTES], uint64_t file_bytes,
                               size_t *header_bytes, nr_error *err) {
    uint64_t n = 0;
    for (size_t i = LENGTH_BYTES; i-- > 0;) n = n << 8 | prefix[i];
    NR_FAIL_IF(n > NR_SAFETENSORS_HEADER_MAX, LIMIT,
               "header of %llu bytes, at most %u are read: no safetensors file?",
               (unsigned long long)n, NR_SAFETENSORS_HEADER_MAX);
    NR_FAIL_IF(n > file_bytes - LENGTH_BYTES, FORMAT,
               "header of %llu bytes, but the file ends after %llu", (unsigned long long)n,
               (unsigned long long)(file_bytes - LENGTH_BYTES));
    *header_bytes = (size_t)n;
    return NR_STATUS_OK;
}

nr_status nr_safetensors_parse(const void *file_bytes, size_t n_bytes, nr_safetensors *out,
                               nr_error *err) {
    *out = (nr_safetensors){0};
    size_t header_bytes;
    NR_FAIL_IF(n_bytes < LENGTH_BYTES, FORMAT, "%zu bytes are too few for a safetensors file",
               n_bytes);
    NR_TRY(header_length(file_bytes, n_bytes, &header_bytes, err));
    return parse_header((const char *)file_bytes + LENGTH_BYTES, header_bytes, n_bytes, out, err);
}

nr_status nr_safetensors_read(const nr_file *file, nr_safetensors *out, nr_error *err) {
    *out = (nr_safetensors){0};
    uint8_t prefix[LENGTH_BYTES];
    size_t header_bytes;
    NR_FAIL_IF(file->size < LENGTH_BYTES, FORMAT, "%llu bytes are too few for a safetensors file",
               (unsigned long long)file->size);
    NR_TRY(nr_file_read_at(file, 0, prefix, sizeof prefix, err));
    NR_TRY(header_length(prefix, file->size, &header_bytes, err));
    char *header = nr_malloc(header_bytes);
    NR_FAIL_IF(!header, NO_MEMORY, "header of %zu bytes", header_bytes);
    nr_status status = nr_file_read_at(file, LENGTH_BYTES, header, header_bytes, err);
    if (status == NR_STATUS_OK) status = parse_header(header, header_bytes, file->size, out, err);
    nr_free(header);
    return status;
}

void nr_safetensors_reset(nr_safetensors *st) {
    nr_free(st->tensors);
    nr_free(st->by_name);
    nr_free(st->names);
    nr_json_free(st->metadata);
    *st = (nr_safetensors){0};
}

const nr_safetensor *nr_safetensors_find(const nr_safetensors *st, const char *name) {
    int32_t low = 0, high = st->n_tensors;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        const nr_safetensor *t = &st->tensors[st->by_name[middle]];
        int order = strcmp(name, t->name);
        if (order == 0) return t;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

const char *nr_safetensors_metadata(const nr_safetensors *st, const char *key) {
    return json_string_value(json_object_get(st->metadata, key));
}
