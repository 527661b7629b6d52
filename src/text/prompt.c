/* SPDX-License-Identifier: MIT
 * prompt.c - see prompt.h. */
#include "prompt.h"

#include "nr_json.h"
#include "utf8.h"

#include <string.h>

/* --- choosing ------------------------------------------------------------------------------- */

/* FNV-1a of the template with each run of white space as one blank, none at the ends; and the
 * number of characters hashed. */
typedef struct text_hash {
    uint64_t fnv;
    size_t n_bytes;
} text_hash;

static text_hash hash_template(const char *text) {
    text_hash h = {0xcbf29ce484222325u, 0};
    bool gap = false;
    for (const char *p = text; *p; p++) {
        bool escaped = p[0] == '\\' && p[1] == 'n';
        if (escaped || nr_utf8_is_space((uint8_t)*p)) {
            gap = h.n_bytes > 0;
            p += escaped;
            continue;
        }
        if (gap) {
            h.fnv = (h.fnv ^ ' ') * 0x100000001b3u;
            h.n_bytes++;
        }
        gap = false;
        h.fnv = (h.fnv ^ (uint8_t)*p) * 0x100000001b3u;
        h.n_bytes++;
    }
    return h;
}

static const struct {
    uint64_t fnv;
    size_t n_bytes;
    nr_prompt_template template;
    const char *name;
} known_templates[] = {
    {0x2cc6bf2a6e58d802u, 674, NR_PROMPT_LLAVA, "llava-1.5"},
    {0x900beda4ffa8c14du, 362, NR_PROMPT_LLAVA, "llava-1.5"}, /* models/reader: the same, shorter */
    {0x32ca3de352fc449eu, 662, NR_PROMPT_LLAVA_MISTRAL, "llava-1.6-mistral"},
    {0xea115763e1502bf8u, 346, NR_PROMPT_LLAMA3, "llama-3-instruct"},
};

static const struct {
    const char *model_type;
    nr_prompt_template template;
    const char *name;
    bool has_image;
} model_types[] = {
    {"llava", NR_PROMPT_LLAVA, "llava-1.5", true},
    {"llava_next", NR_PROMPT_LLAVA_MISTRAL, "llava-1.6-mistral", true},
    {"blip-2", NR_PROMPT_BLIP2, "blip-2", true},
    {"llama", NR_PROMPT_PLAIN, "plain", false},
    {"mistral", NR_PROMPT_PLAIN, "plain", false},
    {"opt", NR_PROMPT_PLAIN, "plain", false},
};

static bool takes_image(nr_prompt_template t) {
    return t != NR_PROMPT_PLAIN && t != NR_PROMPT_LLAMA3;
}

nr_status nr_prompt_choose(const char *chat_template, const char *model_type,
                           nr_prompt_choice *out, nr_error *err) {
    size_t i_type = 0;
    while (i_type < NR_COUNT(model_types) &&
           strcmp(model_types[i_type].model_type, model_type) != 0)
        i_type++;
    char shown[64];
    NR_FAIL_IF(
        i_type == NR_COUNT(model_types), UNSUPPORTED,
        "model_type: found \"%s\", expected llava, llava_next, blip-2, llama, mistral or opt",
        nr_json_printable(shown, sizeof shown, model_type));
    nr_prompt_choice choice = {.template = model_types[i_type].template,
                               .name = model_types[i_type].name,
                               .has_unknown_chat_template = chat_template != NULL};
    text_hash h = hash_template(chat_template ? chat_template : "");
    for (size_t i = 0; i < NR_COUNT(known_templates); i++) {
        if (known_templates[i].fnv != h.fnv || known_templates[i].n_bytes != h.n_bytes) continue;
        /* A text-only template leaves no place for the picture of a model that has one. */
        if (model_types[i_type].has_image != takes_image(known_templates[i].template)) continue;
        choice = (nr_prompt_choice){.template = known_templates[i].template,
                                    .name = known_templates[i].name,
                                    .by_chat_template = true};
    }
    choice.captions = choice.template == NR_PROMPT_BLIP2;
    if (choice.template == NR_PROMPT_LLAVA) {
        choice.answer_mark = " ASSISTANT: ";
        choice.question_mark = " USER: ";
    }
    *out = choice;
    return NR_STATUS_OK;
}

/* --- building ------------------------------------------------------------------------------- */

typedef struct builder {
    nr_encoder *enc;
    const nr_prompt_request *req;
    nr_id_list *out;
    nr_error *err;
} builder;

/* A text of up to three parts; a full list is reported at the end, with the whole count. */
static nr_status add_text(const builder *b, const char *before, nr_text_part middle,
                          const char *after) {
    nr_text_part parts[3] = {{before, strlen(before)}, middle, {after, strlen(after)}};
    nr_status status = nr_encode_parts(b->enc, parts, 3, 0, b->out, b->err);
    return b->out->n > b->out->cap ? NR_STATUS_OK : status;
}

static nr_status add_fixed(const builder *b, const char *text) {
    return add_text(b, text, (nr_text_part){NULL, 0}, "");
}

static void add_image(const builder *b) {
    for (int32_t i = 0; i < b->req->n_image_tokens; i++)
        nr_id_list_push(b->out, b->req->image_token_id);
}

static void add_ids(const builder *b, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) nr_id_list_push(b->out, ids[i]);
}

static nr_status add_control(const builder *b, const char *name) {
    nr_error *err = b->err;
    int32_t id = nr_tokenizer_id(nr_encoder_tokenizer(b->enc), name, strlen(name));
    NR_FAIL_IF(id < 0, FORMAT, "tokenizer: no token %s, which the prompt needs", name);
    nr_id_list_push(b->out, id);
    return NR_STATUS_OK;
}

static nr_text_part question(const builder *b) {
    return (nr_text_part){b->req->question, b->req->question_bytes};
}

/* White space at both ends away. The encoder refuses what is not UTF-8; here it is no space. */
static nr_text_part trimmed(nr_text_part t) {
    const uint8_t *p = (const uint8_t *)t.text;
    size_t begin = 0, end = t.n_bytes;
    while (begin < end) {
        nr_utf8_step s = nr_utf8_next(p + begin, end - begin);
        if (!nr_utf8_is_space(s.code)) break;
        begin += s.bytes;
    }
    while (end > begin) {
        size_t at = end - 1;
        while (at > begin && (p[at] & 0xc0) == 0x80) at--;
        if (!nr_utf8_is_space(nr_utf8_next(p + at, end - at).code)) break;
        end = at;
    }
    return (nr_text_part){t.text ? t.text + begin : NULL, end - begin};
}

/* "{open}<image>\n{question}{close}" */
static nr_status build_chat(const builder *b, const char *open, const char *close) {
    nr_frame frame = nr_tokenizer_frame(nr_encoder_tokenizer(b->enc));
    add_ids(b, frame.prefix, frame.n_prefix);
    if (b->req->n_image_tokens) {
        NR_TRY(add_fixed(b, open));
        add_image(b);
        NR_TRY(add_text(b, "\n", question(b), close));
    } else {
        NR_TRY(add_text(b, open, question(b), close));
    }
    add_ids(b, frame.suffix, frame.n_suffix);
    return NR_STATUS_OK;
}

static nr_status build_plain(const builder *b) {
    nr_frame frame = nr_tokenizer_frame(nr_encoder_tokenizer(b->enc));
    add_ids(b, frame.prefix, frame.n_prefix);
    NR_TRY(add_text(b, "", question(b), ""));
    add_ids(b, frame.suffix, frame.n_suffix);
    return NR_STATUS_OK;
}

static nr_status build_blip2(const builder *b) {
    static const char framed[] = "Question:";
    nr_frame frame = nr_tokenizer_frame(nr_encoder_tokenizer(b->enc));
    nr_text_part bare = trimmed(question(b));
    bool asks = bare.n_bytes && bare.text[bare.n_bytes - 1] == '?';
    if (bare.n_bytes >= sizeof framed - 1 && memcmp(bare.text, framed, sizeof framed - 1) == 0)
        asks = false;
    add_image(b);
    add_ids(b, frame.prefix, frame.n_prefix);
    if (asks)
        NR_TRY(add_text(b, "Question: ", bare, " Answer:"));
    else if (bare.n_bytes)
        NR_TRY(add_text(b, "", question(b), ""));
    add_ids(b, frame.suffix, frame.n_suffix);
    return NR_STATUS_OK;
}

/* The template brings its own first token: the post-processor's frame is not used. */
static nr_status build_llama3(const builder *b) {
    NR_TRY(add_control(b, "<|begin_of_text|>"));
    NR_TRY(add_control(b, "<|start_header_id|>"));
    NR_TRY(add_fixed(b, "user"));
    NR_TRY(add_control(b, "<|end_header_id|>"));
    NR_TRY(add_text(b, "\n\n", trimmed(question(b)), ""));
    NR_TRY(add_control(b, "<|eot_id|>"));
    NR_TRY(add_control(b, "<|start_header_id|>"));
    NR_TRY(add_fixed(b, "assistant"));
    NR_TRY(add_control(b, "<|end_header_id|>"));
    return add_fixed(b, "\n\n");
}

static nr_status build(const builder *b) {
    switch (b->req->template) {
    case NR_PROMPT_PLAIN: return build_plain(b);
    case NR_PROMPT_LLAVA: return build_chat(b, "USER: ", " ASSISTANT:");
    case NR_PROMPT_LLAVA_MISTRAL: return build_chat(b, "[INST] ", " [/INST]");
    case NR_PROMPT_BLIP2: return build_blip2(b);
    case NR_PROMPT_LLAMA3: return build_llama3(b);
    }
    return NR_STATUS_INTERNAL;
}

nr_status nr_prompt_build(nr_encoder *enc, const nr_prompt_request *req, nr_id_list *out,
                          nr_error *err) {
    NR_FAIL_IF(req->n_image_tokens < 0 || (req->n_image_tokens > 0 && req->image_token_id < 0), ARG,
               "prompt: %d image positions of token %d", req->n_image_tokens, req->image_token_id);
    NR_FAIL_IF(req->n_image_tokens && !takes_image(req->template), UNSUPPORTED,
               "prompt: this model's template has no place for a picture");
    builder b = {enc, req, out, err};
    size_t before = out->n;
    nr_encoder_forbid(enc, req->image_token_id);
    nr_status status = build(&b);
    nr_encoder_forbid(enc, -1);
    NR_TRY(status);
    NR_FAIL_IF(out->n > out->cap, CONTEXT_FULL,
               "prompt of %zu tokens (%d of them image), at most %zu fit", out->n - before,
               req->n_image_tokens, out->cap - before);
    return NR_STATUS_OK;
}
