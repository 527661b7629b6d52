/* SPDX-License-Identifier: MIT
 *
 * fuzz_hf_config.c - a model folder out of one input: parts separated by a zero byte become
 * config.json, generation_config.json, tokenizer_config.json and chat_template.jinja (a part that
 * is missing is a file that is missing), then model.safetensors.index.json for the weights.
 */
#define _GNU_SOURCE
#include "hf_config.h"
#include "nr_alloc.h"
#include "weights_file.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(bool ok) {
    if (!ok) abort();
}

static const char *const files[] = {"config.json", "generation_config.json",
                                    "tokenizer_config.json", "chat_template.jinja",
                                    "model.safetensors.index.json"};

static char folder[64];

static void remove_folder(void) {
    for (size_t i = 0; i < NR_COUNT(files); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void make_folder(void) {
    if (folder[0] != '\0') return;
    strcpy(folder,
           access("/dev/shm", W_OK) == 0 ? "/dev/shm/nr-fuzz-XXXXXX" : "/tmp/nr-fuzz-XXXXXX");
    check(mkdtemp(folder) != NULL);
    atexit(remove_folder);
}

static void put(const char *name, const uint8_t *bytes, size_t n) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    check(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

static void put_parts(const uint8_t *data, size_t size) {
    size_t i_file = 0, begin = 0;
    for (; i_file < NR_COUNT(files) && begin <= size; i_file++) {
        const uint8_t *zero = size > begin ? memchr(data + begin, 0, size - begin) : NULL;
        size_t end = zero ? (size_t)(zero - data) : size;
        put(files[i_file], data + begin, end - begin);
        begin = end + 1;
    }
    for (; i_file < NR_COUNT(files); i_file++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, files[i_file]);
        unlink(path);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    make_folder();
    put_parts(data, size);
    nr_hf_config hf;
    nr_weights *w = NULL;
    nr_error err = {0};
    uint64_t live = nr_alloc_get_stats().live_count;
    if (nr_hf_config_load(folder, &hf, &err) == NR_STATUS_OK) {
        check(hf.config.node && hf.model_type);
        check(hf.n_eos_ids >= 0 && hf.n_eos_ids <= NR_STOP_IDS_MAX);
        for (int i = 0; i < hf.n_eos_ids; i++)
            check(hf.eos_ids[i] >= 0 && hf.eos_ids[i] < NR_VOCAB_MAX);
        check(!hf.chat_template == !hf.chat_template_file);
    } else {
        check(err.message[0] != '\0' && !hf.config.node);
    }
    nr_hf_config_reset(&hf);
    check(nr_weights_open(folder, &w, &err) != NR_STATUS_OK && !w); /* it has no shards */
    check(nr_alloc_get_stats().live_count == live);
    return 0;
}
