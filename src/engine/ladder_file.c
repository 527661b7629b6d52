/* SPDX-License-Identifier: MIT
 *
 * ladder_file.c - the configuration file: which models in which order, under which ceiling, and
 * what to do when one fails. Keys that are not known are refused, because a misspelt one would be a
 * setting silently lost; "server" belongs to the server and is skipped.
 */
#include "engine_internal.h"

#include "nr_alloc.h"
#include "nr_json.h"
#include "nr_limits.h"

#include <stdio.h>
#include <string.h>

#define PATH_CAP 4096
#define WORD_MAX 64

typedef struct owned_parts {
    json_t *root; /* owns; strings are borrowed from it */
    char model[NR_RUNGS_MAX][PATH_CAP];
} owned_parts;

static nr_status read_bytes(const nr_json_at *at, const char *key, uint64_t *out, nr_error *err) {
    const char *text = NULL;
    int64_t plain = -1;
    nr_error inner;
    if (nr_json_opt_i64(at, key, 0, INT64_MAX, &plain, NULL) == NR_STATUS_OK) {
        if (plain >= 0) *out = (uint64_t)plain;
        return NR_STATUS_OK;
    }
    NR_TRY(nr_json_opt_str(at, key, WORD_MAX, &text, err));
    nr_status status = nr_bytes_parse(text, out, &inner);
    NR_FAIL_IF(status != NR_STATUS_OK, FORMAT, "%s: %s: %.150s", at->where, key, inner.message);
    return NR_STATUS_OK;
}

/* A number, or one of the words. */
static nr_status read_gpu_layers(const nr_json_at *at, int32_t *out, nr_error *err) {
    const char *text = NULL;
    nr_error inner;
    int32_t n = -1;
    if (nr_json_opt_i32(at, "gpu_layers", 0, INT32_MAX, &n, NULL) == NR_STATUS_OK) {
        if (n >= 0) *out = n;
        return NR_STATUS_OK;
    }
    NR_TRY(nr_json_opt_str(at, "gpu_layers", WORD_MAX, &text, err));
    nr_status status = nr_gpu_layers_parse(text, out, &inner);
    NR_FAIL_IF(status != NR_STATUS_OK, FORMAT, "%s: gpu_layers: %.150s", at->where, inner.message);
    return NR_STATUS_OK;
}

/* What a rung may say, and the top of the file for all rungs. */
static nr_status read_options(const nr_json_at *at, nr_engine_options *o, nr_error *err) {
    static const char *const dtypes[] = {"int8", "f32"}, *const kvs[] = {"auto", "f16", "int8"};
    static const char *const places[] = {"auto", "gpu", "cpu"};
    int dtype = (int)o->precision, kv = (int)o->kv, vision = (int)o->vision;
    int64_t pixels = (int64_t)o->picture_pixels_max;
    NR_TRY(nr_json_opt_choice(at, "dtype", dtypes, 2, &dtype, err));
    NR_TRY(nr_json_opt_choice(at, "kv", kvs, 3, &kv, err));
    NR_TRY(nr_json_opt_i32(at, "context", 0, NR_CONTEXT_MAX, &o->context_tokens, err));
    NR_TRY(nr_json_opt_i32(at, "threads", 0, NR_THREADS_MAX, &o->n_threads, err));
    NR_TRY(nr_json_opt_i32(at, "slots", 0, NR_SLOTS_MAX, &o->n_slots, err));
    NR_TRY(nr_json_opt_i32(at, "image_cache", 0, NR_IMAGE_CACHE_MAX, &o->image_cache, err));
    NR_TRY(nr_json_opt_i32(at, "pictures", 0, NR_PICTURES_MAX, &o->n_pictures, err));
    NR_TRY(nr_json_opt_i64(at, "max_pixels", 0, NR_IMAGE_PIXELS_MAX, &pixels, err));
    NR_TRY(nr_json_opt_str(at, "cpu", WORD_MAX, &o->cpu_kernels, err));
    NR_TRY(nr_json_opt_str(at, "device", WORD_MAX, &o->device, err));
    NR_TRY(read_bytes(at, "max_ram", &o->ram_bytes_max, err));
    NR_TRY(read_bytes(at, "max_vram", &o->vram_bytes_max, err));
    NR_TRY(read_gpu_layers(at, &o->gpu_layers, err));
    NR_TRY(nr_json_opt_choice(at, "vision", places, 3, &vision, err));
    o->precision = dtype == 1 ? NR_PRECISION_F32 : NR_PRECISION_INT8;
    o->kv = (nr_kv_type)kv; /* in the order of the words */
    o->vision = (nr_vision_place)vision;
    o->picture_pixels_max = (uint64_t)pixels;
    return NR_STATUS_OK;
}

#define OPTION_KEYS                                                                                \
    "dtype", "kv", "context", "threads", "slots", "image_cache", "pictures", "max_pixels", "cpu",  \
        "max_ram", "max_vram", "device", "gpu_layers", "vision"

static nr_status read_policy(const nr_json_at *top, nr_ladder_policy *p, nr_error *err) {
    static const char *const words[] = {"next", "refuse"};
    const char *causes[NR_CAUSE_COUNT];
    nr_json_at at;
    for (int i = 1; i < NR_CAUSE_COUNT; i++) causes[i - 1] = nr_cause_name((nr_cause)i);
    NR_TRY(nr_json_opt_bool(top, "self_test", &p->self_test, err));
    NR_TRY(nr_json_opt_bool(top, "kernel_test", &p->kernel_test, err));
    NR_TRY(nr_json_enter(top, "policy", &at, err));
    NR_TRY(nr_json_only(&at, causes, NR_CAUSE_COUNT - 1, err));
    for (int i = 1; i < NR_CAUSE_COUNT; i++) {
        int word = p->refuse[i];
        NR_TRY(nr_json_opt_choice(&at, causes[i - 1], words, 2, &word, err));
        p->refuse[i] = word == 1;
    }
    return NR_STATUS_OK;
}

/* Beside the file unless absolute; a checkpoint known by name stays a name. */
static nr_status resolve(const char *file, const char *model, char dst[PATH_CAP], nr_error *err) {
    const char *slash = strrchr(file, '/');
    int folder = slash && model[0] != '/' ? (int)(slash - file) + 1 : 0;
    int n = snprintf(dst, PATH_CAP, "%.*s%s", folder, file, model);
    NR_FAIL_IF(n < 0 || n >= PATH_CAP, LIMIT, "%s: model path of %d bytes, expected fewer than %d",
               file, n, PATH_CAP);
    return NR_STATUS_OK;
}

static nr_status read_rungs(const char *path, const nr_json_at *top, const nr_engine_options *base,
                            owned_parts *owned, nr_ladder_file *out, nr_error *err) {
    static const char *const keys[] = {"model", OPTION_KEYS};
    nr_json_at list;
    int n;
    NR_TRY(nr_json_list(top, "rungs", NR_RUNGS_MAX, &list, &n, err));
    NR_FAIL_IF(n == 0, FORMAT, "%s: \"rungs\" is missing or empty, expected 1 to %d models", path,
               NR_RUNGS_MAX);
    for (int i = 0; i < n; i++) {
        nr_json_at at = nr_json_item(&list, i);
        const char *model;
        NR_TRY(nr_json_need_str(&at, "model", PATH_CAP - 1, &model, err));
        NR_TRY(nr_json_only(&at, keys, NR_COUNT(keys), err));
        NR_TRY(resolve(path, model, owned->model[i], err));
        out->rungs[i] = (nr_rung){.model_dir = owned->model[i], .options = *base};
        NR_TRY(read_options(&at, &out->rungs[i].options, err));
    }
    out->n_rungs = n;
    return NR_STATUS_OK;
}

static nr_status read_file(const char *path, const nr_engine_options *base, owned_parts *owned,
                           nr_ladder_file *out, nr_error *err) {
    static const char *const keys[] = {"rungs",       "policy", "self_test",
                                       "kernel_test", "server", OPTION_KEYS};
    nr_engine_options o = base ? *base : nr_engine_options_default();
    NR_TRY(nr_json_read_file(path, NR_CONFIG_BYTES_MAX, &owned->root, err));
    nr_json_at top = nr_json_root(owned->root, path);
    NR_TRY(nr_json_only(&top, keys, NR_COUNT(keys), err));
    NR_TRY(read_options(&top, &o, err));
    NR_TRY(read_policy(&top, &out->policy, err));
    return read_rungs(path, &top, &o, owned, out, err);
}

nr_status nr_ladder_file_read(const char *path, const nr_engine_options *base, nr_ladder_file *out,
                              nr_error *err) {
    nr_ladder_file file = {.policy = nr_ladder_policy_default()};
    owned_parts *owned = nr_calloc(1, sizeof *owned);
    NR_FAIL_IF(!owned, NO_MEMORY, "%s: configuration", path);
    file.owned = owned;
    nr_status status = read_file(path, base, owned, &file, err);
    if (status == NR_STATUS_OK)
        *out = file;
    else
        nr_ladder_file_free(&file);
    return status;
}

void nr_ladder_file_free(nr_ladder_file *file) {
    owned_parts *owned = file->owned;
    if (owned) nr_json_free(owned->root);
    nr_free(owned);
    *file = (nr_ladder_file){0};
}
