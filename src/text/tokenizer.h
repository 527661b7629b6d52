/* SPDX-License-Identifier: MIT
 *
 * tokenizer.h - text to token ids and back, as a Hugging Face tokenizer.json says.
 *
 *   nr_tokenizer_open(path, &tok, err)              // once a model; immutable, any thread reads it
 *   nr_encoder_create(tok, bytes_max, &enc, err)    // once a thread: all scratch memory
 *   nr_encode(enc, text, n, flags, &ids, err)       // allocates nothing
 *   nr_tokenizer_decode(tok, ids, n, flags, &out, err), or detok.h for one token at a time
 *   nr_encoder_free(enc); nr_tokenizer_free(tok)
 *
 * What is read: models BPE (byte fallback, unknown token, whole-word lookup) and WordPiece;
 * normalizers Prepend, Replace, BertNormalizer, Sequence; pre-tokenizers ByteLevel, Split,
 * Metaspace, BertPreTokenizer, Sequence; post-processors TemplateProcessing, ByteLevel,
 * BertProcessing, RobertaProcessing, Sequence; decoders ByteLevel, Metaspace, WordPiece, and
 * Sequences of Replace, ByteFallback, Fuse, Strip. Anything else is refused with UNSUPPORTED and
 * its place in the file: a tokenizer that is nearly right gives wrong ids silently.
 *
 * Not here: dropout (training), offsets into the text, truncation and padding, the clean-up of
 * blanks that tokenizer_config.json may ask for.
 */
#ifndef NR_TOKENIZER_H
#define NR_TOKENIZER_H

#include "nr_status.h"

#include <jansson.h>

typedef struct nr_tokenizer nr_tokenizer;
typedef struct nr_encoder nr_encoder;

/* Growing result of an encoding: ids are appended. Past cap they are only counted, so that a
 * refusal can say how many there were. */
typedef struct nr_id_list {
    int32_t *ids; /* borrows [cap] */
    size_t cap;
    size_t n; /* appended so far; > cap only after a LIMIT error */
} nr_id_list;

/* Growing text result: bytes are appended, never NUL-terminated. */
typedef struct nr_text_buf {
    char *bytes; /* borrows [cap] UTF-8 */
    size_t cap;
    size_t n; /* appended so far, <= cap */
} nr_text_buf;

enum {
    /* Put what the post-processor adds (<s> before LLaMA's text) around the ids. */
    NR_ENCODE_SPECIAL_FRAME = 1,
    /* Special added tokens spelled in the text become their ids. Off for text from users: the
     * same letters then stay text. (Added tokens that the file does not call special are words of
     * the vocabulary and are always found.) */
    NR_ENCODE_PARSE_SPECIAL = 2
};

enum {
    NR_DECODE_SKIP_SPECIAL = 1, /* special added tokens give no text */
    NR_DECODE_KEEP_SPACE = 2    /* do not strip the blank that the encoder put before the text */
};

/* Build from a parsed tokenizer.json; root is only read during the call. Transfers *out.
 * Errors: FORMAT, UNSUPPORTED, LIMIT (each names the JSON path), NO_MEMORY. */
nr_status nr_tokenizer_create(const json_t *root, nr_tokenizer **out, nr_error *err);
/* The same from a file; messages name path. Errors: also NOT_FOUND, IO. */
nr_status nr_tokenizer_open(const char *path, nr_tokenizer **out, nr_error *err);
void nr_tokenizer_free(nr_tokenizer *tok); /* accepts NULL; no encoder of it may live */

/* Bytes of heap that it holds: the same for the same file. */
size_t nr_tokenizer_bytes(const nr_tokenizer *tok);

/* One more than the largest id, added tokens included. */
int32_t nr_tokenizer_vocab_size(const nr_tokenizer *tok);
/* Id of an entry spelled as in the file ("<image>", "\u2581the", "\u0120the"); -1 when absent. */
int32_t nr_tokenizer_id(const nr_tokenizer *tok, const char *text, size_t n_bytes);
/* True for ids whose added token is marked special; false outside the vocabulary. */
bool nr_tokenizer_is_special(const nr_tokenizer *tok, int32_t id);
/* What the post-processor puts around one text; borrows (valid while tok lives). */
typedef struct nr_frame {
    const int32_t *prefix, *suffix; /* [n_prefix], [n_suffix] */
    size_t n_prefix, n_suffix;
} nr_frame;
nr_frame nr_tokenizer_frame(const nr_tokenizer *tok);

/* Scratch for texts of at most text_bytes_max bytes (<= NR_PROMPT_BYTES_MAX); borrows tok. One
 * thread at a time. Transfers *out. Errors: LIMIT, NO_MEMORY. */
nr_status nr_encoder_create(const nr_tokenizer *tok, size_t text_bytes_max, nr_encoder **out,
                            nr_error *err);
void nr_encoder_free(nr_encoder *enc); /* accepts NULL */
/* Bytes that nr_encoder_create asks for; 0 when they cannot be counted in size_t. */
size_t nr_encoder_bytes(const nr_tokenizer *tok, size_t text_bytes_max);
const nr_tokenizer *nr_encoder_tokenizer(const nr_encoder *enc);
/* From now on no text yields this id, even where the file does not call it special: the image
 * placeholder. -1 turns it off. The caller may still append the id itself. */
void nr_encoder_forbid(nr_encoder *enc, int32_t id);

/* Append the ids of text (UTF-8, n_bytes; zero bytes are characters like others).
 * Errors: FORMAT (not UTF-8; says at which byte), LIMIT (text over the encoder's size; more ids
 * than fit, says how many), NO_MEMORY (a split pattern without JIT needs a larger stack). */
nr_status nr_encode(nr_encoder *enc, const char *text, size_t n_bytes, unsigned flags,
                    nr_id_list *out, nr_error *err);

/* The same for the concatenation of parts, as if it had been one text. */
typedef struct nr_text_part {
    const char *text; /* UTF-8 */
    size_t n_bytes;
} nr_text_part;
nr_status nr_encode_parts(nr_encoder *enc, const nr_text_part *parts, size_t n_parts,
                          unsigned flags, nr_id_list *out, nr_error *err);

/* Append an id or ids; LIMIT (with both counts) when the list is full, counting goes on. */
void nr_id_list_push(nr_id_list *list, int32_t id);
nr_status nr_id_list_check(const nr_id_list *list, nr_error *err);

/* Append the text of n ids to out. Ids without an entry give nothing; bytes that are no UTF-8
 * become U+FFFD. Errors: LIMIT (out is full; holds the text so far). */
nr_status nr_tokenizer_decode(const nr_tokenizer *tok, const int32_t *ids, size_t n,
                              unsigned flags, nr_text_buf *out, nr_error *err);

#endif
