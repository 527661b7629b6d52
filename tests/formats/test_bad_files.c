/* SPDX-License-Identifier: MIT
 *
 * test_bad_files.c - everything under tests/bad of the formats here is refused with the status that
 * its name begins with, a message, and nothing left allocated.
 */
#include "fmt_test.h"
#include "hf_config.h"
#include "safetensors.h"
#include "weights_file.h"

#include <ctype.h>
#include <dirent.h>

typedef nr_status (*open_fn)(const char *path, nr_error *err);

static nr_status open_json(const char *path, nr_error *err) {
    json_t *root;
    NR_TRY(nr_json_read_file(path, NR_JSON_BYTES_MAX, &root, err));
    nr_json_free(root);
    return NR_STATUS_OK;
}

static nr_status open_safetensors(const char *path, nr_error *err) {
    nr_file f;
    nr_safetensors st;
    NR_TRY(nr_file_open(path, &f, err));
    nr_status status = nr_safetensors_read(&f, &st, err);
    nr_safetensors_reset(&st);
    nr_file_close(&f);
    return status;
}

static nr_status open_weights(const char *path, nr_error *err) {
    nr_weights *w;
    NR_TRY(nr_weights_open(path, &w, err));
    nr_weights_close(w);
    return NR_STATUS_OK;
}

static nr_status open_hf_config(const char *path, nr_error *err) {
    nr_hf_config hf;
    NR_TRY(nr_hf_config_load(path, &hf, err));
    nr_hf_config_reset(&hf);
    return NR_STATUS_OK;
}

/* "not_found-x.json" against NR_STATUS_NOT_FOUND. */
static bool name_says(const char *name, nr_status status) {
    const char *word = nr_status_name(status);
    size_t n = strlen(word);
    for (size_t i = 0; i < n; i++)
        if (toupper((unsigned char)name[i]) != word[i]) return false;
    return name[n] == '-';
}

static void refuses_all_of(const char *folder, open_fn open, int n_least) {
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        char path[512];
        nr_error err = {0};
        uint64_t live = nr_alloc_get_stats().live_count;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        nr_status status = open(path, &err);
        if (!name_says(entry->d_name, status))
            print_message("%s: %s: %s\n", path, nr_status_name(status), err.message);
        assert_true(name_says(entry->d_name, status));
        assert_true(strlen(err.message) > 10);
        assert_int_equal(err.status, status);
        assert_int_equal(nr_alloc_get_stats().live_count, live);
        n++;
    }
    closedir(dir);
    assert_true(n >= n_least);
}

static void refuses_json(void **state) {
    (void)state;
    refuses_all_of("tests/bad/json", open_json, 18);
}

static void refuses_safetensors(void **state) {
    (void)state;
    refuses_all_of("tests/bad/safetensors", open_safetensors, 24);
}

static void refuses_weights(void **state) {
    (void)state;
    refuses_all_of("tests/bad/weights", open_weights, 10);
}

static void refuses_hf_config(void **state) {
    (void)state;
    refuses_all_of("tests/bad/hf_config", open_hf_config, 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_json),
        cmocka_unit_test(refuses_safetensors),
        cmocka_unit_test(refuses_weights),
        cmocka_unit_test(refuses_hf_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
