/* SPDX-License-Identifier: MIT
 * engine_internal.h - what the files behind newsreader.h share. */
#ifndef NR_ENGINE_INTERNAL_H
#define NR_ENGINE_INTERNAL_H

#include "newsreader.h"

#include "answer.h"
#include "device.h"
#include "hf_config.h"
#include "image.h"
#include "image_cache.h"
#include "model.h"
#include "prompt.h"
#include "sequence.h"
#include "tokenizer.h"
#include "weights_file.h"

struct nr_picture {
    nr_image image;
    uint8_t *block; /* owns; NULL unless reserved: [room][room][file] */
    size_t block_bytes;
    uint64_t pixels_max;
};

/* While n_pictures of at most pixels_max pixels are read at once: files, pixels, decoders. */
uint64_t nr_picture_bytes_max(uint64_t pixels_max, int32_t n_pictures);

struct nr_engine {
    nr_hf_config config;
    nr_sides sides; /* owns: the device, and the CPU beside a card that does not hold all */
    nr_model *model;
    nr_tokenizer *tokenizer;
    nr_prompt_choice prompt;
    nr_arena weights[NR_SIDES], scratch[NR_SIDES];
    nr_engine_info info;
    nr_memory_plan plan;
    nr_engine_options options; /* as given; its pointers are not kept */
    int32_t n_sessions;        /* open */
    bool has_scheduler;        /* one is open */
    nr_image_cache images;
    nr_device device;
    char model_name[128], template_note[96], device_note[NR_DEVICE_NOTE_BYTES], kernels[48];
};

/* What a session owns: arenas, carved by one function. */
struct nr_session {
    nr_engine *engine; /* borrows */
    nr_arena host, caches[NR_SIDES];
    nr_sequence sequence;
    nr_encoder *encoder;      /* owns */
    size_t pixels_host_bytes; /* of the host arena: what preprocessing needs */
    float *pixels;            /* [3, side, side] or NULL */
    void *preprocess_scratch;
    size_t preprocess_scratch_bytes;
    int32_t *prompt_ids;      /* [context] */
    char *piece;              /* [NR_ANSWER_PIECE_MAX] text of one step */
    nr_answer_kit kit;
    nr_answer answer;         /* the running one */
    bool asked;
    nr_session_stats stats;
};

/* Heap and arenas of a session; measure with empty arenas. */
nr_status nr_session_carve(nr_session *s, nr_model *model, nr_error *err);

/* Parsed folder + model description: the part of opening that reads no weights. On failure
 * everything is released. */
typedef struct nr_blueprint {
    nr_hf_config config;
    nr_model *model;
} nr_blueprint;
nr_status nr_blueprint_open(const char *model_dir, const nr_engine_options *options,
                            nr_blueprint *out, nr_error *err);
/* The same from a config.json's text; name stands for the folder in messages. */
nr_status nr_blueprint_parse(const char *config_json, const char *name,
                             const nr_engine_options *options, nr_blueprint *out, nr_error *err);
void nr_blueprint_close(nr_blueprint *b);

/* nr_engine_open that gives the plan (total_bytes 0: did not get that far) whatever follows. */
nr_status nr_engine_open_planned(const char *model_dir, const nr_engine_options *options,
                                 nr_memory_plan *plan, nr_engine **out, nr_error *err);

/* Last part of a path, trailing slashes ignored. */
void nr_base_name(char *dst, size_t cap, const char *path);

/* What a plan is made from (plan.c). */
typedef struct nr_plan_input {
    const char *name;                 /* of the model, for people */
    const nr_engine_options *options; /* checked */
    nr_model *model;                  /* created; its pointers are not looked at afterwards */
    nr_placement placement;           /* of the model */
    nr_sides *sides;                  /* HOST as the placement needs it */
    nr_device device;
    const nr_tokenizer *tokenizer; /* NULL: tokenizer_bytes and encoder_bytes are used */
    uint64_t tokenizer_bytes, encoder_bytes, staging_bytes;
} nr_plan_input;
/* Places the model and measures every arena. Errors: LIMIT (a size wraps), those of
 * nr_session_carve. */
nr_status nr_plan_make(const nr_plan_input *input, nr_memory_plan *out, nr_error *err);
/* CEILING when the plan exceeds options' ceilings or what the machine has available. */
nr_status nr_plan_check(const nr_memory_plan *plan, const nr_engine_options *options,
                        nr_error *err);
/* A line of the table; none where bytes is 0. name and note are static. */
void nr_plan_add(nr_memory_plan *plan, const char *name, const char *note, uint64_t bytes,
                 bool on_device);
/* Fill the sums of a plan from its parts and the fields by name. */
void nr_plan_sum(nr_memory_plan *plan);
/* Arenas of a scheduler by what they are for; what it has of prompts beside them is an encoder. */
typedef struct nr_sched_parts {
    uint64_t cache_bytes[NR_SIDES]; /* keys, values, features of its slots */
    uint64_t picture_bytes; /* pixels of running and waiting requests */
    uint64_t other_bytes;   /* prompts, events, logits, scratch of preprocessing */
} nr_sched_parts;
/* Errors: ARG (numbers out of range), LIMIT. */
nr_status nr_sched_measure(nr_model *model, int32_t n_slots, int32_t n_queued, nr_sched_parts *out,
                           nr_error *err);
/* Is it one that the engine's plan has room for? Errors: ARG (empty), LIMIT. */
nr_status nr_engine_check_picture(const nr_engine *e, const nr_picture *picture, nr_error *err);
/* Bytes of prompt text that a session of `context` tokens takes. */
size_t nr_prompt_room(int32_t context);

/* Activations of the model and what the backends' ops need on top; arenas: [NR_SIDES]. */
void nr_scratch_carve(nr_model *model, const nr_sides *sides, nr_arena *arenas);

/* How keys and values are held where these options are used: never AUTO. */
static inline nr_kv_type nr_kv_used(const nr_engine_options *o) {
    if (o->kv != NR_KV_AUTO) return o->kv;
    return o->precision == NR_PRECISION_INT8 ? NR_KV_INT8 : NR_KV_F16;
}

/* Fit to use for a request on this model, and the settings that go with it. */
nr_status nr_fit_resolve(const nr_model_info *info, nr_fit asked, nr_preprocess_settings *settings,
                         nr_fit *used, nr_error *err);

/* Scratch for the largest picture under any fit this model may be asked for. */
nr_status nr_preprocess_room(const nr_model_info *info, size_t *bytes, nr_error *err);

/* For questions as long as the context can hold. Transfers *out. */
nr_status nr_engine_encoder(const nr_engine *e, nr_encoder **out, nr_error *err);

/* Append the prompt of a question about n_image_tokens of picture. */
nr_status nr_engine_build_prompt(const nr_engine *e, nr_encoder *encoder, const char *question,
                                 bool raw, int32_t n_image_tokens, nr_id_list *out, nr_error *err);

/* What answers of this engine share; the scratch is left out. */
nr_answer_kit nr_engine_kit(const nr_engine *e);

/* Check options and turn them into what answers understand. */
nr_status nr_generation_settings(const nr_generation_options *o, nr_answer_settings *out,
                                 nr_error *err);

/* nr_session_set_picture, with a tap on the vision tower (or NULL). */
nr_status nr_session_take_picture(nr_session *s, const nr_picture *picture, nr_fit fit,
                                  const nr_tap *tap, nr_error *err);

/* Prompt of one question into s->prompt_ids. */
nr_status nr_session_build_prompt(nr_session *s, const char *question, bool raw, int32_t *n_ids,
                                  nr_error *err);

#endif
