/* SPDX-License-Identifier: MIT
 *
 * make_checkpoint.c - writes a LLaVA or BLIP-2 checkpoint of any size with random weights in
 * Hugging Face layout: for tests (tiny, odd), and for measuring load time, speed and memory at the
 * size of llava-1.5-7b and blip2-opt-2.7b, whose names and shapes (LLaVA's shards too) it
 * reproduces exactly. The words such a model says mean nothing.
 *
 * Weights come from a seed: the same command writes the same bytes anywhere. While one thread
 * writes a buffer, another fills the next.
 */
#define _POSIX_C_SOURCE 200809L
#include "checkpoint/ckpt_json.h"
#include "checkpoint/ckpt_random.h"
#include "nr_alloc.h"
#include "nr_clock.h"
#include "nr_file.h"
#include "nr_threads.h"
#include "safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)8 << 20)

/* The data of one shard as a stream: which element of which tensor comes next. */
typedef struct stream {
    const ckpt_spec *spec;
    const ckpt_list *list;
    int i_tensor, end; /* indices into the list */
    int64_t next;      /* element of i_tensor */
    ckpt_random random;
} stream;

/* Fill dst from the stream; returns the bytes, 0 at its end. */
static size_t stream_fill(stream *s, uint8_t *dst, size_t cap) {
    size_t used = 0, item_bytes = nr_dtype_bytes(s->spec->dtype);
    while (s->i_tensor < s->end) {
        const ckpt_tensor *t = &s->list->tensors[s->i_tensor];
        int64_t room = (int64_t)((cap - used) / item_bytes) & ~(int64_t)3;
        if (room == 0) break;
        if (s->next == 0) ckpt_random_begin(&s->random, s->spec, t);
        int64_t n = NR_MIN(room, t->n_elements - s->next);
        ckpt_random_fill(&s->random, s->next, n, dst + used);
        used += (size_t)n * item_bytes;
        s->next += n;
        if (s->next < t->n_elements) continue;
        s->i_tensor++;
        s->next = 0;
    }
    return used;
}

/* Two halves that run at the same time: item 0 writes one buffer, item 1 fills the other. */
typedef struct step {
    nr_safetensors_writer *writer;
    const uint8_t *full;
    size_t full_bytes;
    nr_status status;
    nr_error *err;
    stream *source;
    uint8_t *empty;
    size_t filled_bytes;
} step;

static void run_step(void *ctx, int64_t begin, int64_t end, int i_thread) {
    (void)i_thread;
    step *s = ctx;
    for (int64_t i = begin; i < end; i++) {
        if (i == 0)
            s->status = nr_safetensors_writer_put(s->writer, s->full, s->full_bytes, s->err);
        else s->filled_bytes = stream_fill(s->source, s->empty, BUFFER_BYTES);
    }
}

static nr_status write_data(nr_safetensors_writer *writer, stream *source, nr_pool *pool,
                            uint8_t *buffers[2], nr_error *err) {
    size_t bytes = stream_fill(source, buffers[0], BUFFER_BYTES);
    for (int i = 0; bytes > 0; i ^= 1) {
        step s = {writer, buffers[i], bytes, NR_STATUS_OK, err, source, buffers[i ^ 1], 0};
        nr_pool_run(pool, 2, 1, run_step, &s);
        NR_TRY(s.status);
        bytes = s.filled_bytes;
    }
    return NR_STATUS_OK;
}

static nr_status write_shard(const char *path, stream *source, nr_pool *pool, uint8_t *buffers[2],
                             nr_error *err) {
    nr_safetensors_writer *writer;
    NR_TRY(nr_safetensors_writer_create(&writer, err));
    nr_status status = nr_safetensors_writer_add_metadata(writer, "format", "pt", err);
    for (int i = source->i_tensor; i < source->end && status == NR_STATUS_OK; i++) {
        const ckpt_tensor *t = &source->list->tensors[i];
        status = nr_safetensors_writer_add(writer, t->name, source->spec->dtype, t->n_dims, t->dims,
                                           err);
    }
    if (status == NR_STATUS_OK) status = nr_safetensors_writer_open(writer, path, err);
    if (status == NR_STATUS_OK) status = write_data(writer, source, pool, buffers, err);
    if (status == NR_STATUS_OK) status = nr_safetensors_writer_commit(writer, err);
    nr_safetensors_writer_free(writer);
    return status;
}

static nr_status shard_path(char *dst, size_t cap, const char *dir, const ckpt_list *list, int i,
                            nr_error *err) {
    char name[64];
    ckpt_shard_name(name, sizeof name, i, list->n_shards);
    return nr_path_join(dst, cap, dir, name, err);
}

static nr_status write_weights(const char *dir, const ckpt_spec *spec, const ckpt_list *list,
                               nr_error *err) {
    nr_status status = NR_STATUS_OK;
    nr_pool *pool = NULL;
    uint8_t *buffers[2] = {nr_malloc(BUFFER_BYTES), nr_malloc(BUFFER_BYTES)};
    char path[4096];
    int n_written = 0, begin = 0;
    NR_FAIL_IF_GOTO(!buffers[0] || !buffers[1], NO_MEMORY, "two buffers");
    NR_TRY_GOTO(nr_pool_create(2, &pool, err));
    for (; n_written < list->n_shards; n_written++) {
        int end = begin;
        while (end < list->n && list->tensors[end].i_shard == n_written) end++;
        stream source = {.spec = spec, .list = list, .i_tensor = begin, .end = end};
        NR_TRY_GOTO(shard_path(path, sizeof path, dir, list, n_written, err));
        NR_TRY_GOTO(write_shard(path, &source, pool, buffers, err));
        begin = end;
    }
    NR_TRY_GOTO(ckpt_json_write(dir, spec, list, err));
done:
    for (int i = 0; i < n_written && status != NR_STATUS_OK; i++) /* nothing half-written stays */
        if (shard_path(path, sizeof path, dir, list, i, NULL) == NR_STATUS_OK) unlink(path);
    nr_pool_free(pool);
    nr_free(buffers[0]);
    nr_free(buffers[1]);
    return status;
}

static nr_status make_folder(const char *dir, nr_error *err) {
    char path[4096];
    NR_FAIL_IF(mkdir(dir, 0777) != 0 && errno != EEXIST, IO, "%s: %s", dir, strerror(errno));
    NR_TRY(nr_path_join(path, sizeof path, dir, "config.json", err));
    NR_FAIL_IF(nr_file_exists(path), ARG, "%s: there is a checkpoint already", dir);
    return NR_STATUS_OK;
}

/* One line a tensor, in the order of the files: name, type, shape, shard. */
static void print_list(const ckpt_spec *spec, const ckpt_list *list) {
    for (int i = 0; i < list->n; i++) {
        const ckpt_tensor *t = &list->tensors[i];
        char shard[64];
        ckpt_shard_name(shard, sizeof shard, t->i_shard, list->n_shards);
        printf("%s\t%s\t[", t->name, nr_dtype_name(spec->dtype));
        for (int d = 0; d < t->n_dims; d++) printf("%s%lld", d ? ", " : "", (long long)t->dims[d]);
        printf("]\t%s\n", shard);
    }
}

static void print_usage(FILE *to) {
    fprintf(to,
            "usage: make_checkpoint --preset " CKPT_PRESETS "\n"
            "                       OUT [options] [KEY=VALUE ...]\n"
            "Writes a checkpoint with random weights into the folder OUT.\n"
            "  --dtype f16|bf16|f32   element type (f16)\n"
            "  --shard-bytes N        most bytes of data in one file (5000000000)\n"
            "  --seed S               of the weights (1)\n"
            "  --names hub|new|short  spelling of tensor names (hub)\n"
            "  --list                 print name, type, shape and file of each tensor; write "
            "nothing\n"
            "KEY:\n");
    ckpt_spec_print_keys(to);
}

typedef struct options {
    ckpt_spec spec;
    const char *dir;
    bool list;
} options;

static nr_status parse_number(const char *flag, const char *text, uint64_t max, uint64_t *out,
                              nr_error *err) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    NR_FAIL_IF(errno != 0 || end == text || *end != '\0' || *text == '-' || value > max, ARG,
               "%s %s: expected a number up to %llu", flag, text, (unsigned long long)max);
    *out = value;
    return NR_STATUS_OK;
}

static nr_status apply_flag(options *o, const char *flag, const char *value, nr_error *err) {
    uint64_t number;
    if (strcmp(flag, "--preset") == 0) return NR_STATUS_OK; /* taken before the others */
    if (strcmp(flag, "--dtype") == 0) {
        bool f16 = strcmp(value, "f16") == 0, bf16 = strcmp(value, "bf16") == 0;
        NR_FAIL_IF(!f16 && !bf16 && strcmp(value, "f32") != 0, ARG,
                   "--dtype %s: expected f16, bf16 or f32", value);
        o->spec.dtype = f16 ? NR_DTYPE_F16 : bf16 ? NR_DTYPE_BF16 : NR_DTYPE_F32;
    } else if (strcmp(flag, "--shard-bytes") == 0) {
        NR_TRY(parse_number(flag, value, INT64_MAX, &number, err));
        o->spec.shard_bytes = (int64_t)number;
    } else if (strcmp(flag, "--seed") == 0) {
        NR_TRY(parse_number(flag, value, UINT64_MAX, &o->spec.seed, err));
    } else if (strcmp(flag, "--names") == 0) {
        NR_FAIL_IF(!ckpt_spec_names(&o->spec, value), ARG, "--names %s: expected hub, new or short",
                   value);
    } else {
        NR_FAIL(ARG, "%s: no such option", flag);
    }
    return NR_STATUS_OK;
}

static nr_status parse_options(int argc, char **argv, options *o, nr_error *err) {
    const char *preset = NULL;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--preset") == 0) preset = argv[i + 1];
    NR_FAIL_IF(!preset, ARG, "--preset is missing");
    NR_FAIL_IF(!ckpt_spec_preset(preset, &o->spec), ARG,
               "--preset %s: expected " CKPT_PRESETS, preset);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            o->list = true;
        } else if (argv[i][0] == '-') {
            NR_FAIL_IF(i + 1 >= argc, ARG, "%s: a value is missing", argv[i]);
            NR_TRY(apply_flag(o, argv[i], argv[i + 1], err));
            i++;
        } else if (strchr(argv[i], '=') && !strchr(argv[i], '/')) {
            NR_TRY(ckpt_spec_override(&o->spec, argv[i], err));
        } else {
            NR_FAIL_IF(o->dir, ARG, "%s: one output folder is enough", argv[i]);
            o->dir = argv[i];
        }
    }
    NR_FAIL_IF(!o->dir && !o->list, ARG, "the output folder is missing");
    return ckpt_spec_check(&o->spec, err);
}

static nr_status run(const options *o, nr_error *err) {
    ckpt_list list;
    NR_TRY(ckpt_list_make(&o->spec, &list, err));
    nr_status status = NR_STATUS_OK;
    if (o->list) {
        print_list(&o->spec, &list);
        goto done;
    }
    double start = nr_clock_ms();
    NR_TRY_GOTO(make_folder(o->dir, err));
    NR_TRY_GOTO(write_weights(o->dir, &o->spec, &list, err));
    double seconds = (nr_clock_ms() - start) / 1e3;
    fprintf(stderr, "%s: %llu parameters, %d files, %.2f GB in %.1f s (%.2f GB/s)\n", o->dir,
            (unsigned long long)list.n_parameters, list.n_shards, (double)list.bytes / 1e9, seconds,
            (double)list.bytes / 1e9 / seconds);
done:
    ckpt_list_free(&list);
    return status;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        print_usage(stdout);
        return 0;
    }
    options o = {0};
    nr_error err = {0};
    nr_status status = parse_options(argc, argv, &o, &err);
    bool usage = status != NR_STATUS_OK;
    if (status == NR_STATUS_OK) status = run(&o, &err);
    if (status == NR_STATUS_OK) return 0;
    fprintf(stderr, "make_checkpoint: %s\n", err.message);
    if (usage) fprintf(stderr, "make_checkpoint --help lists the options\n");
    return usage ? 2 : 1;
}
