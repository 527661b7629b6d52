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

/* How keys and values of the cache are held. */
typedef enum nr_kv_type {
    NR_KV_AUTO, /* INT8 with NR_PRECISION_INT8, else F16; the default */
    NR_KV_F16,  /* two bytes a value (four under NR_PRECISION_F32) */
    NR_KV_INT8  /* one byte, and a scale for each position and head */
} nr_kv_type;

/* Which layers of the decoder are on a card: the last ones, this many (no more than there are). The
 * others stay on the CPU, with the embedding table. */
#define NR_GPU_LAYERS_AUTO (-1) /* all that fit the ceiling and the card's free memory; default */
#define NR_GPU_LAYERS_ALL (-2)  /* everything is on the card, or the plan is refused */

/* Where the vision tower and what joins it to the decoder are. */
typedef enum nr_vision_place {
    NR_VISION_AUTO, /* on the card where it fits beside the layers; the default */
    NR_VISION_GPU,
    NR_VISION_CPU
} nr_vision_place;

/* bytes of checkpoint tensors read so far and in all. Return false to give up: CANCELLED. */
typedef bool (*nr_progress_fn)(void *ctx, uint64_t bytes_done, uint64_t bytes_total);

typedef struct nr_engine_options {
    uint32_t struct_bytes;   /* sizeof; set by nr_engine_options_default */
    nr_precision precision;
    int32_t n_threads;       /* 0: one per usable core */
    const char *cpu_kernels; /* "scalar", "avx2", "avx512vnni", "amx", "neon"; NULL: NR_CPU,
                                else the best this machine has */
    int32_t context_tokens;  /* prompt, picture and answer together; 0: the model's default */
    int32_t prefill_rows;    /* tokens read at a time; 0: default. Bounds scratch, never results */
    bool all_layers;         /* load layers only nr_trace looks at */
    nr_progress_fn progress; /* or NULL; called on the opening thread */
    void *progress_ctx;
    nr_kv_type kv;           /* of keys and values */
    int32_t n_slots;         /* sessions the plan has room for; 0: 1. With a ceiling, one more is
                                refused: CEILING */
    int32_t image_cache;     /* pictures whose features are kept after use; 0: none */
    int32_t n_pictures;      /* pictures that are read at the same time; 0: 1 */
    uint64_t picture_pixels_max; /* largest picture the plan has room for and sessions take, at
                                    least 448 x 448; 0: the limit, 50 M */
    uint64_t ram_bytes_max;  /* ceiling of the whole process; 0: what this machine has available */
    uint64_t vram_bytes_max; /* the same of what is planned on a graphics card, without what the
                                driver takes for itself; UNSUPPORTED on the CPU */
    bool scheduler;          /* the slots are those of one scheduler (newsreader_sched.h), not of
                                sessions; the plan has its buffers */
    int32_t n_queued;        /* requests that may wait for its slots, 0 to 4096 */
    uint64_t program_bytes;  /* what the program around the engine holds itself, and */
    uint64_t passing_bytes;  /* what at most passes through it with requests: in the plan and under
                                the ceiling, allocated by the program */
    const char *device;      /* "cpu"; "cuda:0": that graphics card; "auto": the first card where
                                there is one and the plan fits it, else the CPU; NULL: environment
                                NR_DEVICE, else "cpu" */
    int32_t gpu_layers;      /* 0 or more, NR_GPU_LAYERS_AUTO or _ALL; and */
    nr_vision_place vision;  /* UNSUPPORTED on the CPU where they name a card's part */
} nr_engine_options;
NR_API nr_engine_options nr_engine_options_default(void);

/* Read model_dir (a Hugging Face folder: config.json, safetensors, tokenizer.json), allocate what
 * nr_memory_plan_read says, quantise and pack the weights as they are read. options may be NULL.
 * Transfers *out. Nothing is allocated for the model when its plan exceeds ram_bytes_max or what
 * the machine has: CEILING, the message has the shortfall in bytes.
 * Errors: any status; the message names file or tensor. */
NR_API nr_status nr_engine_open(const char *model_dir, const nr_engine_options *options,
                                nr_engine **out, nr_error *err);
NR_API void nr_engine_close(nr_engine *engine); /* accepts NULL; sessions must be gone */

typedef struct nr_engine_info {
    const char *model;      /* last part of model_dir */
    const char *model_type; /* "llava" */
    const char *dtype;      /* "int8" or "f32" */
    const char *device;     /* "cpu", "cuda:0" */
    const char *device_note; /* why this one: "as asked", "auto: cpu, because ..." */
    const char *placement;  /* as nr_memory_plan's */
    const char *kernels;    /* "avx512vnni", "sm_86", of both: "sm_86, avx2" */
    const char *prompt_template; /* which template is put around questions, and why */
    bool chat_template_unknown;  /* the folder has one, prompt_template is a guess */
    int n_threads;          /* of the CPU */
    int32_t context_tokens, image_tokens, vocab_size;
    bool captions;          /* an empty question gets a caption of the picture */
    bool reads_fields;      /* made to answer the questions of nr_field: config.json says
                               "newsreader_fields": true */
    /* What the model's template puts before an answer and before a further question, where both are
     * plain text: a conversation is then one question, "{q} ASSISTANT: {a} USER: {q}". NULL: its
     * template has no such thing. */
    const char *answer_mark, *question_mark;
    double load_ms;
} nr_engine_info;
NR_API nr_engine_info nr_engine_get_info(const nr_engine *engine); /* strings live with engine */

/* ---- memory ---------------------------------------------------------------------------------- */

/* What the memory of an engine is for. */
typedef struct nr_memory_part {
    const char *name; /* "weights.language", "kv cache"; static */
    const char *note; /* what it depends on; static */
    uint64_t bytes;
    bool on_device;   /* in the memory of the device that computes: VRAM with a card, else RAM */
    bool passing;     /* only while loading, while a picture is decoded, with a request */
} nr_memory_part;
#define NR_MEMORY_PARTS_MAX 36

/* Bytes for one engine, its n_slots sessions and the process around them, for the largest request
 * the options allow. Arenas are exact: the code that allocates counts them. */
typedef struct nr_memory_plan {
    uint64_t weights_bytes;     /* packed weights, rotary tables */
    uint64_t weights_host_bytes; /* of these: on the CPU beside a card */
    uint64_t scratch_bytes;     /* activations of one forward call, kernel scratch */
    uint64_t session_bytes;     /* one session: KV cache, picture features, pixels, text buffers */
    uint64_t scheduler_bytes;   /* all of a scheduler, in the place of sessions; 0: none planned */
    uint64_t image_cache_bytes; /* features of pictures seen before */
    uint64_t tokenizer_bytes;   /* vocabulary tables */
    uint64_t process_bytes;     /* program, libraries, stacks: a constant, docs/MEMORY.md */
    uint64_t program_bytes;     /* as the options say */
    uint64_t staging_bytes;     /* while loading only */
    uint64_t picture_bytes;     /* while the largest picture is decoded */
    uint64_t passing_bytes;     /* as the options say */
    uint64_t rounding_bytes;    /* of a card's memory, to whole pages */
    uint64_t resident_bytes;    /* all that stays: everything but the three above */
    uint64_t total_bytes;       /* the peak; what a ceiling is compared with */
    uint64_t ram_bytes, vram_bytes; /* total_bytes by device; vram: all that is allocated there */
    uint64_t context_bytes;      /* what a card's driver takes for itself beside the plan: as
                                    measured once; nr_device_usage has what it is. In no sum */
    uint64_t picture_pixels_max; /* of a picture there is room for */
    int32_t n_slots, context_tokens;
    nr_kv_type kv;              /* F16 or INT8 */
    const char *device;         /* "cpu", "cuda:0" */
    bool apart;                 /* the device has memory of its own */
    int32_t n_layers, n_layers_on_card; /* of the decoder; 0 on the card where there is none */
    bool vision_on_card;
    char placement[224];        /* what is where and why, where a card does not have all: "24 of 32
                                   layers on cuda:0, 8 of 32 layers and the vision tower on the CPU:
                                   ..."; else "" */
    bool estimate;              /* from a checkpoint's shapes: this version cannot run it */
    char model[64];
    int32_t n_parts;
    nr_memory_part parts[NR_MEMORY_PARTS_MAX]; /* in the order of a table */
} nr_memory_plan;
/* What an open engine was planned with. */
NR_API nr_memory_plan nr_engine_get_plan(const nr_engine *engine);
/* The same from the headers of the checkpoint alone; or, where model_dir is no folder but the name
 * of a checkpoint known by nr_known_checkpoint, from its shapes. Ceilings refuse nothing here; that
 * of a card decides what is planned there, as when an engine is opened, and where nothing fits it
 * the smallest plan is given.
 * Errors: as nr_engine_open, without those of tensors' values. */
NR_API nr_status nr_memory_plan_read(const char *model_dir, const nr_engine_options *options,
                                     nr_memory_plan *out, nr_error *err);
/* Name of the i-th checkpoint that is known without its files ("llava-1.5-7b"); NULL behind the
 * last. Static. */
NR_API const char *nr_known_checkpoint(int i);

/* What the machine could still give this process: the least of MemAvailable and the room in every
 * control group above it. 0 where the system does not say. */
typedef struct nr_machine_memory {
    uint64_t total_bytes;     /* physical, or the tightest control group's limit */
    uint64_t available_bytes;
    bool by_cgroup;           /* a control group is what bounds available_bytes */
} nr_machine_memory;
NR_API nr_machine_memory nr_machine_memory_get(void);

/* "3.5GB" (10^9), "3.5GiB" (2^30), kB, MB, TB, KiB, MiB, TiB, or plain bytes "7500000000"; blanks
 * before the unit are allowed. Errors: FORMAT, LIMIT (over 2^60). */
NR_API nr_status nr_bytes_parse(const char *text, uint64_t *out, nr_error *err);

/* "auto", "all" or a number of layers, for nr_engine_options.gpu_layers. Errors: FORMAT. */
NR_API nr_status nr_gpu_layers_parse(const char *text, int32_t *out, nr_error *err);

typedef struct nr_memory_usage {
    uint64_t resident_bytes, resident_peak_bytes; /* of this process, as the system counts */
    uint64_t arena_bytes;         /* live arenas: weights, scratch, sessions, pictures */
    uint64_t allocations;         /* calls to the allocator since start */
    uint64_t library_allocations; /* of these, by libpng through our door */
} nr_memory_usage;
NR_API nr_memory_usage nr_memory_usage_get(void);

/* The card that an engine computes on. All 0 on the CPU. */
typedef struct nr_device_usage {
    char card[64];           /* "NVIDIA GeForce RTX 3090" */
    uint64_t total_bytes, used_bytes, free_bytes; /* of the whole card, by all programs on it */
    uint64_t reserved_bytes; /* what this engine took of it */
    uint64_t process_bytes;  /* of this process, as the driver counts; 0: it does not say */
    uint64_t context_bytes;  /* what the driver takes for itself on top; 0: unknown */
} nr_device_usage;
/* Any thread. */
NR_API nr_device_usage nr_device_usage_get(const nr_engine *engine);

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
/* Room for pictures of up to pixels_max pixels (0: the limit), to be filled again and again by
 * nr_picture_load without allocating; pages that no picture needed cost nothing. Empty at first.
 * Transfers *out. Errors: NO_MEMORY, LIMIT. */
NR_API nr_status nr_picture_reserve(uint64_t pixels_max, nr_picture **out, nr_error *err);
/* Decode into the room of a reserved picture, as nr_picture_read. Empty after a failure.
 * Errors: also LIMIT (larger than the room), ARG (not a reserved one). */
NR_API nr_status nr_picture_load(nr_picture *picture, const void *bytes, size_t n_bytes,
                                 nr_error *err);
NR_API nr_status nr_picture_load_file(nr_picture *picture, const char *path, nr_error *err);
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
    bool image_cached;                   /* its features came from the image cache */
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

/* ---- self-test and ladder -------------------------------------------------------------------- */

/* One reading of an embedded picture: what came out, and how long each stage took. */
typedef struct nr_self_test {
    bool passed;
    char preview[160];  /* the beginning of the answer, one line of UTF-8 */
    char reason[160];   /* why it failed; "" */
    int32_t answer_tokens;
    double preprocess_ms, vision_ms, prefill_ms, decode_ms;
    uint64_t resident_bytes; /* of the process, while engine and session were there */
} nr_self_test;

/* A known picture and question through the whole path, in a session of its own. Fails (SELF_TEST)
 * when logits are not finite or the answer is empty, blank or made of special tokens alone.
 * *out is filled either way. Same thread rule as sessions. */
NR_API nr_status nr_engine_self_test(nr_engine *engine, nr_self_test *out, nr_error *err);

/* Run every kernel that an engine with these options would use, in a forked child that has no other
 * thread, and compare with the reference loops: what crashes there does not crash the caller.
 * Call it before the process has threads. Errors: SELF_TEST (differs, or killed by which signal),
 * ARG, UNSUPPORTED (no such kernels here), NO_MEMORY. */
NR_API nr_status nr_kernel_test(const nr_engine_options *options, nr_error *err);

/* Why a rung was left. */
#define NR_CAUSE_MAP(X)                                                                            \
    X(NONE, "none", "it answers")                                                                  \
    X(MISSING, "missing", "a file or folder is not there")                                         \
    X(CORRUPT, "corrupt", "a file is damaged, cut short, or has values that are not finite")       \
    X(UNSUPPORTED, "unsupported", "this version cannot run such a model")                          \
    X(DOES_NOT_FIT, "does_not_fit", "the plan exceeds the ceiling, or memory was refused")         \
    X(SELF_TEST, "self_test", "it loaded, and the self-test failed")                               \
    X(OTHER, "other", "wrong options or an input/output error")
typedef enum nr_cause {
#define NR_CAUSE_ENUM(name, text, meaning) NR_CAUSE_##name,
    NR_CAUSE_MAP(NR_CAUSE_ENUM)
#undef NR_CAUSE_ENUM
    NR_CAUSE_COUNT
} nr_cause;
NR_API const char *nr_cause_name(nr_cause cause); /* "does_not_fit"; static */

#define NR_RUNGS_MAX 8
typedef struct nr_rung {
    const char *model_dir;     /* borrows */
    nr_engine_options options; /* may differ from rung to rung */
} nr_rung;

/* What happens when a rung fails: go on with the next, or refuse. */
typedef struct nr_ladder_policy {
    uint32_t struct_bytes;
    bool refuse[NR_CAUSE_COUNT]; /* by cause; all false by default */
    bool self_test;              /* run it on a rung that loaded; default true */
    bool kernel_test;            /* nr_kernel_test before each rung; default false: it forks */
} nr_ladder_policy;
NR_API nr_ladder_policy nr_ladder_policy_default(void);

typedef struct nr_rung_report {
    char model[64];        /* last part of model_dir */
    nr_cause cause;        /* NONE: this one was taken */
    nr_error error;        /* of the failure */
    bool tried, planned;   /* planned: plan is filled */
    nr_memory_plan plan;
    nr_self_test self_test; /* preview empty where it did not run */
    double load_ms;
    uint64_t resident_bytes; /* of the process once loaded and tested */
} nr_rung_report;

typedef struct nr_ladder_report {
    int32_t n_rungs, chosen; /* chosen: index, or -1 */
    bool degraded;           /* not the first rung */
    char reason[512];        /* one line: why the chosen one, or why none */
    nr_rung_report rungs[NR_RUNGS_MAX];
} nr_ladder_report;

/* Open the first rung that loads, fits and passes; what a failed one had is given back before the
 * next is tried. policy NULL: the default. Transfers *out, as nr_engine_open; call it on the thread
 * that will own the engine. *report is filled whatever happens (it is large: not for small stacks)
 * and borrows nothing. Errors: that of the last rung tried; CANCELLED and ARG end the ladder at
 * once. */
NR_API nr_status nr_ladder_open(const nr_rung *rungs, int32_t n_rungs,
                                const nr_ladder_policy *policy, nr_engine **out,
                                nr_ladder_report *report, nr_error *err);

/* A configuration file (JSON; docs/MEMORY.md has every key): rungs, options, policy. Keys of other
 * programs ("server") are left alone. */
typedef struct nr_ladder_file {
    nr_rung rungs[NR_RUNGS_MAX]; /* strings live until nr_ladder_file_free */
    int32_t n_rungs;
    nr_ladder_policy policy;
    void *owned;
} nr_ladder_file;
/* base: what options say that the file does not; NULL: defaults. Relative model folders are beside
 * the file. Errors: NOT_FOUND, IO, FORMAT, LIMIT, UNSUPPORTED (a word that is not known). */
NR_API nr_status nr_ladder_file_read(const char *path, const nr_engine_options *base,
                                     nr_ladder_file *out, nr_error *err);
NR_API void nr_ladder_file_free(nr_ladder_file *file); /* accepts an empty one; leaves it empty */

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
