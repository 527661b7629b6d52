/* SPDX-License-Identifier: MIT
 *
 * quantize.c - a checkpoint as INT8 on disk, in compressed-tensors' layout (format
 * "int-quantized", weights symmetric per channel, activations dynamic per token).
 *
 * The folder is built beside its place, as OUT.tmp, and renamed when complete; on any failure it is
 * removed. Who builds holds a lock on it. The lock ends with its process, so what a killed one left
 * is known to be nobody's, and is taken over by the next.
 */
#define _GNU_SOURCE
#include "engine_internal.h"

#include "nr_alloc.h"
#include "nr_file.h"
#include "safetensors.h"
#include "weight_loader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_FILE_BYTES_MAX ((size_t)64 << 20)

static const char *const made_files[] = {"config.json", "model.safetensors"};
/* Copied as they are where the source has them. */
static const char *const copied_files[] = {
    "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json",         "tokenizer_config.json",    "special_tokens_map.json",
    "added_tokens.json",      "chat_template.json",       "chat_template.jinja",
    "LICENSE",                "README.md"};

typedef struct job {
    const char *model_dir, *out_dir;
    char temp_dir[4096];
    int temp_fd; /* owns; of temp_dir, locked; -1: none */
    const nr_engine_options *options;
    nr_blueprint blueprint;
    nr_weights *weights;           /* owns */
    nr_safetensors_writer *writer; /* owns */
} job;

static nr_status write_text(const char *path, const char *text, size_t n_bytes, nr_error *err) {
    nr_file_writer w;
    NR_TRY(nr_file_writer_open(&w, path, err));
    nr_status status = nr_file_writer_put(&w, text, n_bytes, err);
    if (status == NR_STATUS_OK) return nr_file_writer_commit(&w, err);
    nr_file_writer_abort(&w);
    return status;
}

static nr_status copy_files(const job *j, nr_error *err) {
    char from[4096], to[4096];
    for (size_t i = 0; i < NR_COUNT(copied_files); i++) {
        char *text = NULL;
        size_t n_bytes;
        NR_TRY(nr_path_join(from, sizeof from, j->model_dir, copied_files[i], err));
        NR_TRY(nr_path_join(to, sizeof to, j->temp_dir, copied_files[i], err));
        if (!nr_file_exists(from)) continue;
        NR_TRY(nr_file_read_all(from, SMALL_FILE_BYTES_MAX, &text, &n_bytes, err));
        nr_status status = write_text(to, text, n_bytes, err);
        nr_free(text);
        NR_TRY(status);
    }
    return NR_STATUS_OK;
}

/* What compressed-tensors writes for 8-bit channel-wise weights with dynamic activations. A tied
 * head is the embedding table, which stays as it is. */
static json_t *quantization_config(bool head_tied) {
    return json_pack("{s:s, s:s, s:s, s:{s:{s:[s], s:{s:i, s:s, s:b, s:s, s:b}, "
                     "s:{s:i, s:s, s:b, s:s, s:b}}}, s:o}",
                     "quant_method", "compressed-tensors", "format", "int-quantized",
                     "quantization_status", "compressed", "config_groups", "group_0", "targets",
                     "Linear", "weights", "num_bits", 8, "type", "int", "symmetric", 1, "strategy",
                     "channel", "dynamic", 0, "input_activations", "num_bits", 8, "type", "int",
                     "symmetric", 1, "strategy", "token", "dynamic", 1, "ignore",
                     head_tied ? json_pack("[s]", "re:.*lm_head") : json_array());
}

static nr_status write_config(const job *j, nr_error *err) {
    char path[4096];
    NR_TRY(nr_path_join(path, sizeof path, j->temp_dir, "config.json", err));
    json_t *config = json_deep_copy(j->blueprint.config.config.node);
    json_t *quantization = quantization_config(j->blueprint.model->info.head_tied);
    char *text = NULL;
    if (config && quantization &&
        json_object_set(config, "quantization_config", quantization) == 0)
        text = json_dumps(config, JSON_INDENT(2));
    json_decref(config);
    json_decref(quantization);
    NR_FAIL_IF(!text, NO_MEMORY, "%s", path);
    nr_status status = write_text(path, text, strlen(text), err);
    nr_free(text); /* jansson allocates through nr_alloc (nr_json.h) */
    return status;
}

/* Two passes of the model's own load: which tensors, then their data. */
static nr_status write_weights(job *j, nr_error *err) {
    char path[4096];
    nr_loader loader = {0};
    nr_model *model = j->blueprint.model;
    nr_arena shapes[NR_SIDES] = {0};
    nr_status status = NR_STATUS_OK;
    model->desc->carve_weights(model, shapes); /* sets the linears' shapes, allocates nothing */
    NR_TRY(nr_path_join(path, sizeof path, j->temp_dir, "model.safetensors", err));
    NR_TRY(nr_safetensors_writer_create(&j->writer, err));
    NR_TRY(nr_safetensors_writer_add_metadata(j->writer, "format", "pt", err));
    NR_TRY_GOTO(nr_loader_open(&loader, NR_LOAD_DECLARE, j->weights, NULL, j->writer, 1, err));
    NR_TRY_GOTO(model->desc->load(model, &loader, err));
    NR_TRY_GOTO(nr_load_rest(&loader, err));
    nr_loader_close(&loader);
    NR_TRY_GOTO(nr_safetensors_writer_open(j->writer, path, err));
    NR_TRY_GOTO(nr_loader_open(&loader, NR_LOAD_WRITE, j->weights, NULL, j->writer,
                               j->options->n_threads, err));
    loader.progress = j->options->progress;
    loader.progress_ctx = j->options->progress_ctx;
    NR_TRY_GOTO(model->desc->load(model, &loader, err));
    NR_TRY_GOTO(nr_load_rest(&loader, err));
    NR_TRY_GOTO(nr_safetensors_writer_commit(j->writer, err));
done:
    nr_loader_close(&loader);
    return status;
}

/* "config.json", or a temporary name of it. */
static bool is_one_of(const char *name, const char *const *files, size_t n_files) {
    for (size_t i = 0; i < n_files; i++) {
        size_t n = strlen(files[i]);
        if (strncmp(name, files[i], n) != 0) continue;
        if (name[n] == '\0' || strncmp(name + n, ".tmp-", 5) == 0) return true;
    }
    return false;
}

/* Remove what a job writes from the temporary folder. Errors: ARG (it holds something else). */
static nr_status empty_temp(const job *j, nr_error *err) {
    nr_status status = NR_STATUS_OK;
    DIR *dir = opendir(j->temp_dir);
    NR_FAIL_IF(!dir, IO, "%s: cannot be read: %s", j->temp_dir, strerror(errno));
    for (const struct dirent *e; (e = readdir(dir)) && status == NR_STATUS_OK;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (is_one_of(e->d_name, made_files, NR_COUNT(made_files)) ||
            is_one_of(e->d_name, copied_files, NR_COUNT(copied_files)))
            (void)unlinkat(j->temp_fd, e->d_name, 0);
        else
            status = nr_error_set(err, NR_STATUS_ARG, __FILE__, __LINE__,
                                  "%s: has %s in it, expected a folder of this program",
                                  j->temp_dir, e->d_name);
    }
    closedir(dir);
    return status;
}

static nr_status open_temp(job *j, nr_error *err) {
    NR_FAIL_IF(mkdir(j->temp_dir, 0777) != 0 && errno != EEXIST, IO, "%s: cannot create: %s",
               j->temp_dir, strerror(errno));
    j->temp_fd = open(j->temp_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    NR_FAIL_IF(j->temp_fd < 0, IO, "%s: cannot open: %s", j->temp_dir, strerror(errno));
    bool taken = flock(j->temp_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    NR_FAIL_IF(taken, ARG, "%s is being written by another process", j->out_dir);
    /* The one before us may have renamed the folder that we have just locked. */
    NR_FAIL_IF(nr_file_exists(j->out_dir), ARG, "%s exists already", j->out_dir);
    return empty_temp(j, err);
}

static nr_status run(job *j, nr_error *err) {
    const nr_hf_config *config = &j->blueprint.config;
    NR_FAIL_IF(config->quantization.node, ARG, "%s is quantized already", j->model_dir);
    NR_TRY(nr_weights_open(j->model_dir, &j->weights, err));
    NR_TRY(open_temp(j, err));
    nr_status status = write_weights(j, err);
    if (status == NR_STATUS_OK) status = copy_files(j, err);
    if (status == NR_STATUS_OK) status = write_config(j, err);
    if (status == NR_STATUS_OK && rename(j->temp_dir, j->out_dir) != 0)
        status = nr_error_set(err, NR_STATUS_IO, __FILE__, __LINE__, "%s: cannot be completed: %s",
                              j->out_dir, strerror(errno));
    nr_safetensors_writer_free(j->writer); /* before its temporary file's folder goes */
    j->writer = NULL;
    if (status == NR_STATUS_OK) nr_file_sync_folder_of(j->out_dir);
    else if (empty_temp(j, NULL) == NR_STATUS_OK) (void)rmdir(j->temp_dir);
    return status;
}

nr_status nr_quantize(const char *model_dir, const char *out_dir, const nr_engine_options *options,
                      nr_error *err) {
    nr_engine_options o = options ? *options : nr_engine_options_default();
    job j = {.model_dir = model_dir, .out_dir = out_dir, .options = &o, .temp_fd = -1};
    NR_FAIL_IF(nr_file_exists(out_dir), ARG, "%s exists already", out_dir);
    size_t end = strlen(out_dir);
    while (end > 1 && out_dir[end - 1] == '/') end--;
    int n = snprintf(j.temp_dir, sizeof j.temp_dir, "%.*s.tmp", (int)end, out_dir);
    NR_FAIL_IF(n < 0 || (size_t)n >= sizeof j.temp_dir, LIMIT, "path of %d bytes is too long", n);
    o.precision = NR_PRECISION_INT8;
    o.all_layers = true; /* the folder stays complete for other engines */
    NR_TRY(nr_blueprint_open(model_dir, &o, &j.blueprint, err));
    nr_status status = run(&j, err);
    if (j.temp_fd >= 0) close(j.temp_fd); /* unlocks */
    nr_weights_close(j.weights);
    nr_blueprint_close(&j.blueprint);
    return status;
}
