/* SPDX-License-Identifier: MIT
 * spoil.h - ways to damage a checkpoint that make_checkpoint wrote. */
#ifndef SPOIL_H
#define SPOIL_H

#include "engine_fixture.h"

#include "safetensors.h"

/* Replace `from` by `to` (same length or not) in DIR/name. */
static inline void spoil_edit(const char *dir, const char *name, const char *from, const char *to) {
    char path[4096];
    size_t n;
    char *text = fixture_read_file(fixture_path(path, "%s/%s", dir, name), &n);
    char *at = strstr(text, from);
    if (!at) fail_msg("%s has no %s", path, from);
    size_t head = (size_t)(at - text), tail = n - head - strlen(from);
    char *edited = malloc(n + strlen(to) + 1);
    memcpy(edited, text, head);
    memcpy(edited + head, to, strlen(to));
    memcpy(edited + head + strlen(to), at + strlen(from), tail);
    fixture_write_file(path, edited, head + strlen(to) + tail);
    free(edited);
    free(text);
}

/* The folder's one file, opened for writing; *out: where the tensor lies, its name is gone. */
static inline FILE *spoil_open(const char *dir, const char *tensor, nr_dtype dtype,
                               nr_safetensor *out) {
    char path[4096];
    nr_file f;
    nr_safetensors table;
    fixture_path(path, "%s/model.safetensors", dir);
    MUST(nr_file_open(path, &f, err));
    MUST(nr_safetensors_read(&f, &table, err));
    const nr_safetensor *t = nr_safetensors_find(&table, tensor);
    assert_non_null(t);
    assert_int_equal(t->dtype, dtype);
    *out = *t;
    nr_safetensors_reset(&table);
    nr_file_close(&f);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    return file;
}

/* Poison one f16 value of a tensor. */
static inline void spoil_value(const char *dir, const char *tensor, uint16_t bits) {
    nr_safetensor t;
    FILE *out = spoil_open(dir, tensor, NR_DTYPE_F16, &t);
    assert_int_equal(fseek(out, (long)t.offset + (long)(t.n_elements / 2) * 2, SEEK_SET), 0);
    assert_int_equal(fwrite(&bits, sizeof bits, 1, out), 1);
    assert_int_equal(fclose(out), 0);
}

/* Every value of an f32 tensor. */
static inline void spoil_fill(const char *dir, const char *tensor, float value) {
    nr_safetensor t;
    FILE *out = spoil_open(dir, tensor, NR_DTYPE_F32, &t);
    assert_int_equal(fseek(out, (long)t.offset, SEEK_SET), 0);
    for (int64_t i = 0; i < t.n_elements; i++)
        assert_int_equal(fwrite(&value, sizeof value, 1, out), 1);
    assert_int_equal(fclose(out), 0);
}

/* The last bytes of DIR/name are gone. */
static inline void spoil_cut(const char *dir, const char *name, long n_bytes) {
    char path[4096];
    struct stat st;
    fixture_path(path, "%s/%s", dir, name);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - n_bytes), 0);
}

#endif
