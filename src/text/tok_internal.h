/* SPDX-License-Identifier: MIT
 *
 * tok_internal.h - what the files of the tokenizer share; nobody else includes it.
 *
 * Method. Every entry of the vocabulary is a nr_piece: its bytes for encoding (spelled as in the
 * file; for byte-level vocabularies translated back to the raw bytes they stand for, so that no
 * text is ever mapped at run time) and its bytes for decoding (replacements already applied). Two
 * open-addressing tables find an id by bytes and a merge by a pair of ids.
 *
 * Encoding walks the text: added tokens cut it into segments; a segment is normalised into one of
 * two scratch buffers; pre-tokenizer stages cut it into words (each stage hands its pieces straight
 * to the next one, nothing is listed); the model turns a word into ids.
 *
 *   tok_load.c       tokenizer.json -> nr_tokenizer: model, added tokens
 *   tok_stages.c     ... normalizer, pre-tokenizer, post-processor, decoder
 *   tok_tables.c     the two tables, pieces
 *   tok_regex.c      split patterns (PCRE2)
 *   tok_normalize.c  normalizers;  tok_bert.c  BertNormalizer
 *   tok_encode.c     added tokens, stages;  tok_bpe.c, tok_wordpiece.c  models
 */
#ifndef NR_TOK_INTERNAL_H
#define NR_TOK_INTERNAL_H

#include "nr_limits.h"
#include "tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define NR_TOK_STAGES_MAX 16     /* steps of one normalizer, pre-tokenizer or decoder */
#define NR_TOK_AFFIX_MAX 16      /* bytes of a prepended or replacing string */
#define NR_TOK_FRAME_MAX 16      /* ids that a post-processor adds at one side */
#define NR_TOK_WORDPIECE_CHARS_MAX 1000

/* --- vocabulary ---------------------------------------------------------------------------- */

enum {
    NR_PIECE_PRESENT = 1, /* the id has an entry */
    NR_PIECE_SPECIAL = 2, /* an added token marked special */
    NR_PIECE_ADDED = 4,   /* in added_tokens, special or not */
    NR_PIECE_HIDDEN = 8,  /* no text reaches it: not spelled in the byte alphabet */
    NR_PIECE_BYTE = 16    /* decoder's byte fallback: stands for the one byte `byte_value` */
};

typedef struct nr_piece {
    uint32_t offset, text_offset; /* into bytes[]: for encoding, for decoding */
    uint16_t n_bytes, text_bytes; /* 0..NR_TOKEN_BYTES_MAX; text up to 4 times that */
    uint8_t flags, byte_value;
} nr_piece;

typedef struct nr_merge {
    int32_t left, right; /* left -1: empty slot */
    int32_t rank, id;    /* order of application; the entry that results */
} nr_merge;

typedef struct nr_tok_tables {
    uint8_t *bytes; /* owns; all pieces one after another */
    size_t bytes_cap, bytes_used;
    nr_piece *pieces; /* owns [n_ids] */
    int32_t n_ids;
    int32_t *slots; /* owns [slot_mask + 1]: id, or -1 */
    uint32_t slot_mask;
    nr_merge *merges; /* owns [merge_mask + 1]; NULL without merges */
    uint32_t merge_mask;
} nr_tok_tables;

/* Room for n_ids entries of n_bytes in all, and n_merges; everything empty.
 * Errors: LIMIT, NO_MEMORY. The tables are released by free even after a failure. */
nr_status nr_tok_tables_init(nr_tok_tables *t, size_t n_ids, size_t n_bytes, size_t n_merges,
                             nr_error *err);
void nr_tok_tables_free(nr_tok_tables *t);
/* Copy bytes to the store (room was reserved) and return their offset. */
uint32_t nr_tok_tables_store(nr_tok_tables *t, const void *bytes, size_t n_bytes);
/* Make pieces[id] findable by its bytes. FORMAT when another entry has the same bytes. */
nr_status nr_tok_tables_index(nr_tok_tables *t, int32_t id, nr_error *err);
/* A pair that has a merge already gets the new one. Errors: FORMAT (crafted collisions). */
nr_status nr_tok_tables_add_merge(nr_tok_tables *t, nr_merge merge, nr_error *err);
int32_t nr_tok_tables_find(const nr_tok_tables *t, const uint8_t *bytes,
                           size_t n_bytes); /* or -1 */
const nr_merge *nr_tok_tables_merge(const nr_tok_tables *t, int32_t left,
                                    int32_t right); /* or NULL */

/* The byte-level alphabet: byte <-> character. */
uint32_t nr_tok_byte_char(uint8_t byte);
/* Spelling in that alphabet to raw bytes at dst [n_bytes]; false when a character is not in it. */
bool nr_tok_unspell(const uint8_t *text, size_t n_bytes, uint8_t *dst, size_t *n_out);

/* --- added tokens --------------------------------------------------------------------------- */

typedef struct nr_added {
    const uint8_t *text; /* borrows from the tokenizer's added_bytes: what is looked for */
    uint32_t n_bytes;
    int32_t id;
    bool special, lstrip, rstrip;
} nr_added;

/* Sorted by text; starts[b]..starts[b+1] are those whose first byte is b. */
typedef struct nr_added_set {
    nr_added *items; /* owns [n] */
    uint32_t n;
    uint32_t starts[257];
} nr_added_set;

void nr_added_set_sort(nr_added_set *set);
/* Longest entry that text begins with, or NULL. */
const nr_added *nr_added_set_longest(const nr_added_set *set, const uint8_t *text, size_t n_bytes);

/* --- stages --------------------------------------------------------------------------------- */

typedef struct nr_affix { /* a short literal string */
    uint8_t bytes[NR_TOK_AFFIX_MAX];
    uint8_t n;
} nr_affix;

typedef enum nr_norm_kind { NR_NORM_PREPEND, NR_NORM_REPLACE, NR_NORM_BERT } nr_norm_kind;
typedef struct nr_norm_step {
    nr_norm_kind kind;
    nr_affix from, to; /* PREPEND: to */
    bool clean_text, chinese_chars, strip_accents, lowercase; /* BERT */
} nr_norm_step;

typedef enum nr_split_behavior {
    NR_SPLIT_ISOLATED,
    NR_SPLIT_REMOVED,
    NR_SPLIT_MERGED_WITH_PREVIOUS,
    NR_SPLIT_MERGED_WITH_NEXT,
    NR_SPLIT_CONTIGUOUS
} nr_split_behavior;

typedef enum nr_pretok_kind {
    NR_PRETOK_SPLIT,
    NR_PRETOK_METASPACE,
    NR_PRETOK_PREFIX
} nr_pretok_kind;
typedef enum nr_prepend { NR_PREPEND_NEVER, NR_PREPEND_FIRST, NR_PREPEND_ALWAYS } nr_prepend;
typedef struct nr_pretok_stage {
    nr_pretok_kind kind;
    pcre2_code *code; /* SPLIT: owns */
    nr_split_behavior behavior;
    bool invert;
    nr_affix affix;     /* METASPACE: the replacement; PREFIX: what is put in front */
    nr_prepend prepend; /* METASPACE */
    bool split;         /* METASPACE */
} nr_pretok_stage;

typedef enum nr_decode_kind {
    NR_DECODE_JOIN,      /* no decoder: blanks between tokens */
    NR_DECODE_BYTES,     /* byte-level: raw bytes, read as UTF-8 at the end */
    NR_DECODE_PIECES,    /* replacements, byte fallback, strip */
    NR_DECODE_METASPACE, /* as PIECES; the first token loses the mark instead of getting a blank */
    NR_DECODE_WORDPIECE  /* blank before each token but the first, or the mark "##" removed */
} nr_decode_kind;

typedef struct nr_decoder {
    nr_decode_kind kind;
    nr_affix from[NR_TOK_STAGES_MAX], to[NR_TOK_STAGES_MAX]; /* replacements, in order */
    uint32_t n_replace;
    unsigned seen;       /* while loading: kinds of steps so far */
    bool byte_fallback;
    bool cleanup;        /* WORDPIECE */
    uint32_t strip_left; /* blanks removed from the front of the whole text */
    nr_affix mark;       /* METASPACE: replacement; WORDPIECE: prefix */
} nr_decoder;

typedef enum nr_model_kind { NR_MODEL_BPE, NR_MODEL_WORDPIECE } nr_model_kind;

struct nr_tokenizer {
    nr_tok_tables tables;
    uint8_t *added_bytes; /* owns [added_cap] */
    size_t added_cap;
    nr_added_set raw, normalized; /* looked for before, after normalisation */

    nr_norm_step norm[NR_TOK_STAGES_MAX];
    uint32_t n_norm;
    uint32_t norm_factor; /* bytes out per byte in, at most */
    nr_pretok_stage pretok[NR_TOK_STAGES_MAX];
    uint32_t n_pretok;
    bool byte_level; /* vocabulary is spelled in the byte alphabet */
    bool has_metaspace;
    int32_t prefix[NR_TOK_FRAME_MAX], suffix[NR_TOK_FRAME_MAX];
    size_t n_prefix, n_suffix;
    nr_decoder decoder;

    nr_model_kind model;
    int32_t byte_id[256]; /* byte-level: first symbol of a byte; else byte fallback; or -1 */
    int32_t unk_id;       /* -1: unknown characters vanish (BPE) */
    bool fuse_unk, ignore_merges, byte_fallback;
    nr_affix subword_prefix; /* WORDPIECE */
    uint32_t word_chars_max; /* WORDPIECE */
    pcre2_general_context *regex_memory; /* owns */
};

/* --- encoding ------------------------------------------------------------------------------- */

#define NR_TOK_HEADROOM 32 /* bytes before each buffer, so that a word can get a prefix in place */

typedef struct nr_symbol {
    int32_t id;         /* -1: merged into its left neighbour */
    int32_t prev, next; /* -1: none */
} nr_symbol;

struct nr_encoder {
    const nr_tokenizer *tok; /* borrows */
    size_t text_cap;         /* bytes of input text */
    size_t buf_cap;          /* bytes of each buffer below, headroom not counted */
    uint8_t *buf[2];         /* normalised segment; ping-pong between steps */
    uint8_t *meta;           /* [buf_cap * 3] Metaspace's copy; NULL without */
    char *joined;            /* [text_cap] nr_encode_parts */
    nr_symbol *symbols;      /* [symbol_cap] */
    uint64_t *heap;          /* [2 * symbol_cap] rank << 32 | position */
    size_t symbol_cap;
    int32_t forbidden_id;
    pcre2_match_data *match;     /* owns */
    pcre2_match_context *limits; /* owns */
};

/* One call of nr_encode. */
typedef struct nr_encode_run {
    nr_encoder *enc;
    const nr_tokenizer *tok;
    unsigned flags;
    bool at_start; /* the segment begins the text */
    nr_id_list *out;
    nr_error *err;
} nr_encode_run;

nr_status nr_tok_bpe_word(nr_encode_run *run, const uint8_t *word, size_t n_bytes);
nr_status nr_tok_wordpiece_word(nr_encode_run *run, const uint8_t *word, size_t n_bytes);

/* Normalise n_bytes at text into one of bufs (headroom before it); *out points there.
 * Errors: LIMIT (over cap). */
typedef struct nr_norm_bufs {
    uint8_t *buf[2];
    size_t cap;
} nr_norm_bufs;
nr_status nr_tok_normalize(const nr_tokenizer *tok, nr_norm_bufs bufs, const uint8_t *text,
                           size_t n_bytes, uint8_t **out, size_t *n_out, nr_error *err);
/* BertNormalizer from src to dst [cap]. Errors: LIMIT. */
nr_status nr_tok_bert_normalize(const nr_norm_step *step, const uint8_t *src, size_t n_bytes,
                                uint8_t *dst, size_t cap, size_t *n_out, nr_error *err);

/* --- regex ---------------------------------------------------------------------------------- */

/* Compile a pattern written for Rust's onig crate; literal takes it as plain characters.
 * Errors: UNSUPPORTED (does not compile; place and reason), LIMIT (length), NO_MEMORY. */
nr_status nr_tok_regex_compile(const nr_tokenizer *tok, const char *pattern, bool literal,
                               const char *path, pcre2_code **out, nr_error *err);
/* First match in text at or after `from`; *found says whether. Errors: LIMIT, NO_MEMORY. */
typedef struct nr_span {
    size_t begin, end;
} nr_span;
nr_status nr_tok_regex_find(nr_encoder *enc, const pcre2_code *code, const uint8_t *text,
                            size_t n_bytes, size_t from, bool *found, nr_span *out, nr_error *err);

/* --- loading -------------------------------------------------------------------------------- */

nr_status nr_tok_load_normalizer(nr_tokenizer *tok, const json_t *node, nr_error *err);
nr_status nr_tok_load_pretok(nr_tokenizer *tok, const json_t *node, nr_error *err);
nr_status nr_tok_load_post(nr_tokenizer *tok, const json_t *node, nr_error *err);
nr_status nr_tok_load_decoder(nr_tokenizer *tok, const json_t *node, nr_error *err);
/* After model, added tokens and decoder are known: the bytes that each id gives when decoded. */
nr_status nr_tok_prepare_decoding(nr_tokenizer *tok, nr_error *err);

/* Typed reads; absent or null keeps *out. FORMAT names path.key. */
nr_status nr_tok_get_bool(const json_t *obj, const char *path, const char *key, bool *out,
                          nr_error *err);
nr_status nr_tok_get_str(const json_t *obj, const char *path, const char *key, const char **out,
                         nr_error *err);
nr_status nr_tok_get_affix(const json_t *obj, const char *path, const char *key, nr_affix *out,
                           nr_error *err);

#endif
