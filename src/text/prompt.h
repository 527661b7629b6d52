/* SPDX-License-Identifier: MIT
 *
 * prompt.h - the token ids of a request: the checkpoint's template around the user's question, with
 * the image placeholder repeated for every image position.
 *
 *   nr_prompt_choice choice;
 *   NR_TRY(nr_prompt_choose(hf.chat_template, hf.model_type, &choice, err));   // once a model
 *   nr_prompt_request req = {.template = choice.template, .question = q, .question_bytes = n,
 *                            .image_token_id = 32000, .n_image_tokens = 576};
 *   NR_TRY(nr_prompt_build(enc, &req, &ids, err));                             // each request
 *
 * Templates are the few below, chosen by a hash of the chat template's text: Jinja is a programming
 * language, and running one that came with a download is not worth it for five formats.
 *
 * The user's question is text and nothing else: no spelling in it becomes a control id or an image
 * position. It is tokenised together with the template's own text around it, as one string.
 */
#ifndef NR_PROMPT_H
#define NR_PROMPT_H

#include "tokenizer.h"

typedef enum nr_prompt_template {
    NR_PROMPT_PLAIN,         /* the text itself, framed by the post-processor; no image */
    NR_PROMPT_LLAVA,         /* "USER: <image>\n{question} ASSISTANT:" */
    NR_PROMPT_LLAVA_MISTRAL, /* "[INST] <image>\n{question} [/INST]" */
    NR_PROMPT_BLIP2,         /* image positions, frame, then nothing, a question or a text to go on
                                from: see nr_prompt_build */
    NR_PROMPT_LLAMA3         /* LLaMA-3 instruct, one user turn; no image */
} nr_prompt_template;

typedef struct nr_prompt_choice {
    nr_prompt_template template;
    const char *name;        /* "llava-1.5"; static */
    bool by_chat_template;   /* recognised by hash; else by model type */
    bool captions;           /* an empty question asks for a caption */
    const char *answer_mark, *question_mark; /* between the turns of a conversation; static. NULL:
                                                they take more than text */
    bool has_unknown_chat_template; /* there is a chat template, but not one of ours: say so */
} nr_prompt_choice;

/* chat_template: its text, or NULL for none. White space in it (also written \n) does not count.
 * model_type: config.json's. Errors: UNSUPPORTED (no template for this model type). */
nr_status nr_prompt_choose(const char *chat_template, const char *model_type,
                           nr_prompt_choice *out, nr_error *err);

typedef struct nr_prompt_request {
    nr_prompt_template template;
    const char *question; /* borrows; UTF-8; may be NULL when question_bytes is 0 */
    size_t question_bytes;
    int32_t image_token_id; /* the config's; never made by the question. -1: none */
    int32_t n_image_tokens; /* positions of the picture; 0: no picture */
} nr_prompt_request;

/* Append the ids. BLIP-2 continues a text: an empty question asks for a caption; one that ends in
 * '?' and does not begin with "Question:" becomes "Question: {question} Answer:"; any other stands
 * as it is ("a photo of").
 * Errors: FORMAT (not UTF-8; a control token the template needs is missing), LIMIT (text over the
 * encoder's size), UNSUPPORTED (a picture with a text-only template), CONTEXT_FULL (more ids than
 * fit out; the message has both counts), ARG (n_image_tokens without an id). */
nr_status nr_prompt_build(nr_encoder *enc, const nr_prompt_request *req, nr_id_list *out,
                          nr_error *err);

#endif
