/* SPDX-License-Identifier: MIT
 *
 * newsreader.h - the one door for programs: open a vision-language checkpoint, ask it about
 * pictures, in INT8, in memory that is known beforehand.
 *
 *   nr_engine *engine; nr_session *session; nr_picture *picture; nr_step step; nr_error err;
 *   nr_engine_options options = nr_engine_options_default();
 *   nr_engine_open("DIR", &options, &engine, &err);           // once; weights are immutable
 *   nr_session_create(engine, &session, &err);                // one timeline: cache and scratch
 *   nr_picture_read_file("page.png", &picture, &err);
 *   nr_session_set_picture(session, picture, NR_FIT_AUTO, &err);      // runs the vision tower
 *   nr_session_ask(session, "What is the headline?", NULL, &err);     // reads the prompt
 *   do nr_session_step(session, &step, &err); while (!step.done);     // step.text, step.n_bytes
 *   nr_session_free(session); nr_picture_free(picture); nr_engine_close(engine);
 *
 * Every fallible call returns NR_STATUS_OK or a negative status and fills *err (may be NULL) with
 * what was found, what was expected and where. Results are set only on success. Nothing aborts,
 * prints or installs handlers.
 *
 * Threads: an engine and all its sessions belong to one thread at a time (the engine has worker
 * threads of its own); pictures and vocabularies are independent. nr_session_cancel may be called
 * from any thread.
 *
 * The same question gives the same bytes for any number of threads and any instruction set.
 */
#ifndef NEWSREADER_H
#define NEWSREADER_H

#include "newsreader_types.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

NR_API const char *nr_version(void); /* "0.1.0"; static */

/* ---- engine ---------------------------------------------------------------------------------- */

typedef struct nr_engine nr_engine;

typedef enum nr_precision {
    NR_PRECISION_INT8, /* INT8 weights and activations, exact integer sums; the default */
    NR_PRECISION_F32   /* the reference */
} nr_precision;

/* bytes of checkpoint tensors read so far and in all. Return false to give up: CANCELLED. */
typedef bool (*nr_progress_fn)(void *ctx, uint64_t bytes_done, uint64_t bytes_total);

typedef struct nr_engine_options {
    uint32_t struct_bytes;   /* sizeof; set by nr_engine_options_default */
    nr_precision precision;
    int32_t n_threads;       /* 0: one per usable core */
    const char *cpu_kernels; /* "scalar", "avx2", "avx512vnni", "neon"; NULL: environment NR_CPU,
                                else the best this machine has */
    int32_t context_tokens;  /* prompt, picture and answer together; 0: the model's default */
    int32_t prefill_rows;    /* tokens read at a time; 0: default. Bounds scratch, never results */
    bool all_layers;         /* load layers only nr_trace looks at */
    nr_progress_fn progress; /* or NULL; called on the opening thread */
    void *progress_ctx;
} nr_engine_options;
NR_API nr_engine_options nr_engine_options_default(void);

/* Read model_dir (a Hugging Face folder: config.json, safetensors, tokenizer.json), allocate what
 * nr_memory_plan_read says, quantise and pack the weights as they are read. options may be NULL.
 * Transfers *out. Errors: any status; the message names file or tensor. */
NR_API nr_status nr_engine_open(const char *model_dir, const nr_engine_options *options,
                                nr_engine **out, nr_error *err);
NR_API void nr_engine_close(nr_engine *engine); /* accepts NULL; sessions must be gone */

typedef struct nr_engine_info {
    const char *model;      /* last part of model_dir */
    const char *model_type; /* "llava" */
    const char *dtype;      /* "int8" or "f32" */
    const char *device;     /* "cpu" */
    const char *kernels;    /* "avx512vnni" */
    const char *prompt_template; /* which template is put around questions, and why */
    bool chat_template_unknown;  /* the folder has one, prompt_template is a guess */
    int n_threads;
    int32_t context_tokens, image_tokens, vocab_size;
    bool captions;          /* an empty question gets a caption of the picture */
    double load_ms;
} nr_engine_info;
NR_API nr_engine_info nr_engine_get_info(const nr_engine *engine); /* strings live with engine */

/* ---- memory ---------------------------------------------------------------------------------- */

/* Bytes, for one engine and one session. Weights, scratch and session are exact: the same code
 * that allocates counts them. */
typedef struct nr_memory_plan {
    uint64_t weights_bytes; /* packed weights, rotary tables */
    uint64_t scratch_bytes; /* activations of one forward call, kernel scratch */
    uint64_t session_bytes; /* KV cache, picture features, pixels, token buffers */
    uint64_t staging_bytes; /* while loading only */
    uint64_t total_bytes;   /* weights + scratch + the larger of session and staging */
} nr_memory_plan;
/* What an open engine was planned with. */
NR_API nr_memory_plan nr_engine_get_plan(const nr_engine *engine);
/* The same from the headers of the checkpoint alone. */
NR_API nr_status nr_memory_plan_read(const char *model_dir, const nr_engine_options *options,
                                     nr_memory_plan *out, nr_error *err);

typedef struct nr_memory_usage {
    uint64_t resident_bytes, resident_peak_bytes; /* of this process, as the system counts */
    uint64_t allocations;                         /* calls to the allocator since start */
} nr_memory_usage;
NR_API nr_memory_usage nr_memory_usage_get(void);

/* ---- pictures -------------------------------------------------------------------------------- */

typedef struct nr_picture nr_picture; /* 8-bit RGB, upright */

/* JPEG, PNG, WebP or GIF (first frame), EXIF orientation applied. Limits: 20 MiB, 50 M pixels,
 * 16,384 a side, 200:1 (when over 1,600 long), checked before pixels are allocated. Transfers *out.
 * Errors: FORMAT, UNSUPPORTED, LIMIT, NO_MEMORY; NOT_FOUND, IO for files. */
NR_API nr_status nr_picture_read(const void *bytes, size_t n_bytes, nr_picture **out,
                                 nr_error *err);
NR_API nr_status nr_picture_read_file(const char *path, nr_picture **out, nr_error *err);
/* Copies rgb, u8 [height, width, 3]. */
NR_API nr_status nr_picture_from_rgb(const uint8_t *rgb, int32_t width, int32_t height,
                                     nr_picture **out, nr_error *err);
NR_API void nr_picture_free(nr_picture *picture); /* accepts NULL */
NR_API void nr_picture_size(const nr_picture *picture, int32_t *width, int32_t *height);
/* Was part of the file unreadable (a JPEG with senseless codes)? Viewers show such pictures too. */
NR_API bool nr_picture_is_damaged(const nr_picture *picture);
/* u8 [height, width, 3]; lives with the picture */
NR_API const uint8_t *nr_picture_rgb(const nr_picture *picture);

/* How a picture gets into the model's square. */
typedef enum nr_fit {
    NR_FIT_AUTO,       /* pad, where the checkpoint itself would crop columns off a page */
    NR_FIT_CHECKPOINT, /* what preprocessor_config.json says */
    NR_FIT_CROP,       /* shortest side to size, centre */
    NR_FIT_PAD,        /* on a square of the mean colour */
    NR_FIT_SQUASH      /* both sides to size */
} nr_fit;
NR_API const char *nr_fit_name(nr_fit fit); /* "pad"; static */

/* ---- sessions -------------------------------------------------------------------------------- */

typedef struct nr_session nr_session;

NR_API nr_status nr_session_create(nr_engine *engine, nr_session **out, nr_error *err);
NR_API void nr_session_free(nr_session *session); /* accepts NULL */

/* The picture that questions are about, from now on; NULL: none. Runs the vision tower. The
 * picture may be freed afterwards. Errors: ARG (text-only model), LIMIT. */
NR_API nr_status nr_session_set_picture(nr_session *session, const nr_picture *picture, nr_fit fit,
                                        nr_error *err);

typedef struct nr_generation_options {
    uint32_t struct_bytes;
    int32_t max_tokens;  /* of the answer; default 256 */
    float temperature;   /* 0: greedy, the default */
    int32_t top_k;       /* 0: off */
    float top_p;         /* 1: off */
    uint64_t seed;
    bool raw_prompt;     /* text-only: no template around the prompt */
    bool ignore_stop;    /* stop tokens are not generated (as transformers' min_new_tokens) */
    const char *const *stop_texts; /* [n_stop_texts] end the answer where they appear, and are not
                                      part of it; at most 4 of 64 bytes; copied */
    int32_t n_stop_texts;
} nr_generation_options;
NR_API nr_generation_options nr_generation_options_default(void);

/* Read a prompt: the checkpoint's template around `question` (UTF-8; text that spells a special
 * token stays text). What the cache already holds of it (the same picture) is not read again.
 * options may be NULL. Errors: FORMAT (not UTF-8), CONTEXT_FULL, CANCELLED, ARG. */
NR_API nr_status nr_session_ask(nr_session *session, const char *question,
                                const nr_generation_options *options, nr_error *err);

/* Tokens that nr_session_ask would read for this question with the current picture. */
NR_API nr_status nr_session_count_tokens(nr_session *session, const char *question,
                                         int32_t *n_tokens, nr_error *err);

typedef enum nr_finish { NR_FINISH_NONE, NR_FINISH_STOP, NR_FINISH_LENGTH } nr_finish;
NR_API const char *nr_finish_name(nr_finish finish); /* "stop", "length"; static */

typedef struct nr_step {
    int32_t id;       /* token, -1 when done without one */
    const char *text; /* whole UTF-8 characters completed by it; borrows until the next call */
    size_t n_bytes;   /* may be 0 */
    bool done;
    nr_finish finish;
} nr_step;
/* One token of the answer. Errors: CANCELLED, ARG (nothing asked, or done already). */
NR_API nr_status nr_session_step(nr_session *session, nr_step *out, nr_error *err);

/* Any thread: the running or next call on the session returns CANCELLED, once. */
NR_API void nr_session_cancel(nr_session *session);

typedef struct nr_session_stats {
    int32_t image_tokens, prompt_tokens; /* prompt_tokens counts the image's too */
    int32_t cached_tokens;               /* of the prompt, not read again */
    int32_t answer_tokens;
    nr_fit fit;                          /* as used for the current picture */
    double preprocess_ms, vision_ms;     /* of the current picture */
    double prefill_ms, decode_ms;        /* of the current question */
} nr_session_stats;
NR_API nr_session_stats nr_session_get_stats(const nr_session *session);

/* Fields of a news page, each with the question the bundled model was trained on. */
typedef struct nr_field {
    const char *name;     /* "headline", "byline", "site", "date", "lead" */
    const char *question; /* both static */
} nr_field;
NR_API const nr_field *nr_field_at(int32_t i);                             /* NULL past the end */
NR_API const nr_field *nr_field_find(const char *name, size_t n_bytes); /* NULL when unknown */

/* ---- tools for model developers -------------------------------------------------------------- */

/* Every stage of reading `prompt` about `picture` (NULL: none), the logits of the last four
 * positions and 24 greedy ids with the stop tokens suppressed, into a safetensors file under the
 * names transformers gives the modules ("stage.model.vision_tower.pre_layrnorm"). The engine must
 * have been opened with all_layers and prefill_rows >= the prompt. */
NR_API nr_status nr_trace(nr_engine *engine, const nr_picture *picture, const char *prompt,
                          nr_fit fit, const char *out_path, nr_error *err);

/* Write model_dir as INT8 in compressed-tensors' layout. out_dir must not exist; it appears
 * complete or not at all. options: n_threads and progress are used. */
NR_API nr_status nr_quantize(const char *model_dir, const char *out_dir,
                             const nr_engine_options *options, nr_error *err);

typedef struct nr_vocabulary nr_vocabulary; /* a checkpoint's tokenizer without its weights */
NR_API nr_status nr_vocabulary_open(const char *model_dir, nr_vocabulary **out, nr_error *err);
NR_API void nr_vocabulary_close(nr_vocabulary *v); /* accepts NULL */
/* Ids of UTF-8 text. frame: add what the post-processor adds (<s>). parse_special: special tokens
 * spelled in the text become their ids. *ids lives until the next call. */
NR_API nr_status nr_vocabulary_encode(nr_vocabulary *v, const char *text, size_t n_bytes,
                                      bool frame, bool parse_special, const int32_t **ids,
                                      size_t *n_ids, nr_error *err);

#ifdef __cplusplus
}
#endif

#endif
