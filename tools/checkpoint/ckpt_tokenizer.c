/* SPDX-License-Identifier: MIT
 *
 * ckpt_tokenizer.c - see ckpt_tokenizer.h.
 *
 * Order of ids: specials, 256 bytes, single characters, results of merges by rank, pseudo-words.
 * A word becomes a chain of merges from its left end, so every result's halves are tokens too.
 * Pseudo-words are reached by no merge: a model that emits their ids prints something readable,
 * and text never encodes to them.
 */
#include "ckpt_tokenizer.h"

#include <stdio.h>
#include <string.h>

#define SPACE "\xe2\x96\x81"  /* U+2581, which stands for a space in LLaMA's tokens */
#define BYTE_SPACE "\xc4\xa0" /* U+0120, which does in byte-level ones */
#define BYTE_BREAK "\xc4\x8a" /* U+010A, a line break there */

/* Frequent pairs first, as training would put them, then words; "_" stands for a space. */
static const char *const words[] = {
    "er",          "in",     "on",        "an",          "en",         "re",         "st",
    "ing",         "ion",    "tion",      "_the",        "_of",        "_and",       "_to",
    "_in",         "_a",     "_is",       "_was",        "_for",       "_on",        "_that",
    "_with",       "_what",  "_who",      "_when",       "_wrote",     "_it",        "_head",
    "_headline",   "_read",  "_image",    "_page",       "_news",      "_paper",     "_first",
    "_text",       "_this",  "_describe", "_list",       "_all",       "_visible",   "_shown",
    "_site",       "_date",  "USER",      "_ASSIST",     "_ASSISTANT", "_at",        "_by",
    "_from",       "_as",    "_are",      "_be",         "_has",       "_have",      "_not",
    "_after",      "_new",   "_year",     "_city",       "_said",      "_over",      "_report",
    "_world",      "_daily", "_people",   "_government", "_paragraph", "_published", "_none",
    "_unreadable",
};

static const char *const characters[] = {
    SPACE,          "\xc3\xa4",     "\xc3\xb6",     "\xc3\xbc",     "\xc3\x9f",     "\xc3\xa9",
    "\xc3\xa8",     "\xc3\xa0",     "\xc3\xa7",     "\xc3\xb1",     "\xe2\x80\x98", "\xe2\x80\x99",
    "\xe2\x80\x9c", "\xe2\x80\x9d", "\xe2\x80\x93", "\xe2\x80\x94", "\xe2\x82\xac", "\xc2\xa3",
};

/* What OPT-style vocabularies have besides. */
static const char *const opt_words[] = {"Question", "_Question", "Answer",  "_Answer",
                                        "_photo",   "_shows",    "_a_photo"};

typedef struct tables {
    const char *space;
    json_t *vocab;  /* owns; token -> id */
    json_t *merges; /* owns; "left right" */
    int32_t n_tokens, n_max;
    bool failed; /* no memory */
} tables;

/* Next id for token; nothing when it has one already or the vocabulary is full. */
static void add_token(tables *t, const char *token) {
    if (t->failed || t->n_tokens >= t->n_max || json_object_get(t->vocab, token)) return;
    if (json_object_set_new(t->vocab, token, json_integer(t->n_tokens)) != 0) t->failed = true;
    t->n_tokens++;
}

static void add_alphabet(tables *t) {
    char token[16];
    add_token(t, "<unk>");
    add_token(t, "<s>");
    add_token(t, "</s>");
    for (int i = 0; i < 256; i++) {
        snprintf(token, sizeof token, "<0x%02X>", (unsigned)i);
        add_token(t, token);
    }
    for (char c = '!'; c <= '~'; c++) {
        snprintf(token, sizeof token, "%c", c);
        add_token(t, token);
    }
    for (size_t i = 0; i < NR_COUNT(characters); i++) add_token(t, characters[i]);
}

/* Byte-level BPE's alphabet: printable Latin-1 stands for itself, other bytes for the characters
 * from U+0100 on in their order. The line break gets its token elsewhere. */
static void add_byte_alphabet(tables *t) {
    int n_moved = 0;
    add_token(t, "<s>");
    add_token(t, "<pad>");
    add_token(t, "</s>");
    add_token(t, "<unk>");
    for (int moved = 0; moved < 2; moved++)
        for (int b = 0; b < 256; b++) {
            bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b != 0xad);
            if (printable == (moved != 0)) continue;
            int code = printable ? b : 0x100 + n_moved++;
            char token[3] = {(char)code};
            if (code >= 0x80) {
                token[0] = (char)(0xc0 | code >> 6);
                token[1] = (char)(0x80 | (code & 0x3f));
            }
            if (strcmp(token, BYTE_BREAK) != 0) add_token(t, token);
        }
}

/* The merges that build word from its left end. Words are ASCII behind the optional space. */
static void add_word(tables *t, const char *word) {
    char token[64];
    bool space = word[0] == '_';
    size_t left = space ? strlen(t->space) : 1;
    snprintf(token, sizeof token, "%s%s", space ? t->space : "", word + (space ? 1 : 0));
    for (size_t n = strlen(token); left < n; left++) {
        char whole[64], merge[128];
        snprintf(whole, sizeof whole, "%.*s", (int)left + 1, token);
        snprintf(merge, sizeof merge, "%.*s %c", (int)left, token, token[left]);
        if (t->failed || t->n_tokens >= t->n_max || json_object_get(t->vocab, whole)) continue;
        add_token(t, whole);
        if (json_array_append_new(t->merges, json_string(merge)) != 0) t->failed = true;
    }
}

/* Fillers up to the id n. */
static void add_pseudo_words(tables *t, int32_t n) {
    static const char consonants[] = "bdfgklmnprstvz", vowels[] = "aeiou";
    const int n_syllables = (int)(sizeof consonants - 1) * (int)(sizeof vowels - 1);
    for (int i = 0; t->n_tokens < n && !t->failed; i++) {
        char token[64];
        size_t used = strlen(t->space);
        memcpy(token, t->space, used);
        for (int rest = i, k = 0; k < 3 || rest > 0; k++, rest /= n_syllables) {
            token[used++] = consonants[rest % n_syllables / 5];
            token[used++] = vowels[rest % 5];
        }
        token[used] = '\0';
        add_token(t, token);
    }
}

static json_t *added_token(int32_t id, const char *content) {
    return json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content", content,
                     "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
}

/* Everything around the vocabulary: text gets a SPACE in front and for every space; <s> comes
 * first; decoding undoes that, joining byte tokens. */
static json_t *document(const ckpt_spec *spec, const tables *t) {
    json_t *added = json_pack("[o, o, o, o, o]", added_token(0, "<unk>"), added_token(1, "<s>"),
                              added_token(2, "</s>"), added_token(spec->n_base_tokens, "<image>"),
                              added_token(spec->n_base_tokens + 1, "<pad>"));
    json_t *normalizer = json_pack("{s:s, s:[{s:s, s:s}, {s:s, s:{s:s}, s:s}]}", "type", "Sequence",
                                   "normalizers", "type", "Prepend", "prepend", SPACE, "type",
                                   "Replace", "pattern", "String", " ", "content", SPACE);
    json_t *processor = json_pack(
        "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}],"
        " s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}],"
        " s:{s:{s:s, s:[i], s:[s]}}}",
        "type", "TemplateProcessing", "single", "SpecialToken", "id", "<s>", "type_id", 0,
        "Sequence", "id", "A", "type_id", 0, "pair", "SpecialToken", "id", "<s>", "type_id", 0,
        "Sequence", "id", "A", "type_id", 0, "SpecialToken", "id", "<s>", "type_id", 1, "Sequence",
        "id", "B", "type_id", 1, "special_tokens", "<s>", "id", "<s>", "ids", 1, "tokens", "<s>");
    json_t *decoder = json_pack(
        "{s:s, s:[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}, {s:s, s:s, s:i, s:i}]}", "type", "Sequence",
        "decoders", "type", "Replace", "pattern", "String", SPACE, "content", " ", "type",
        "ByteFallback", "type", "Fuse", "type", "Strip", "content", " ", "start", 1, "stop", 0);
    json_t *model =
        json_pack("{s:s, s:n, s:s, s:n, s:n, s:b, s:b, s:O, s:O}", "type", "BPE", "dropout",
                  "unk_token", "<unk>", "continuing_subword_prefix", "end_of_word_suffix",
                  "fuse_unk", 1, "byte_fallback", 1, "vocab", t->vocab, "merges", t->merges);
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:n, s:o, s:o, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added, "normalizer", normalizer,
                     "pre_tokenizer", "post_processor", processor, "decoder", decoder, "model",
                     model);
}

/* The same for OPT: bytes as characters, </s> in front. */
static json_t *byte_document(const ckpt_spec *spec, const tables *t) {
    json_t *added = json_pack("[o, o, o]", added_token(1, "<pad>"), added_token(2, "</s>"),
                              added_token(spec->n_base_tokens, "<image>"));
    json_t *splitter = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                                 "trim_offsets", 1, "use_regex", 1);
    json_t *processor =
        json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}],"
                  " s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}], s:{s:{s:s, s:[i], s:[s]}}}",
                  "type", "TemplateProcessing", "single", "SpecialToken", "id", "</s>", "type_id",
                  0, "Sequence", "id", "A", "type_id", 0, "pair", "SpecialToken", "id", "</s>",
                  "type_id", 0, "Sequence", "id", "A", "type_id", 0, "Sequence", "id", "B",
                  "type_id", 0, "special_tokens", "</s>", "id", "</s>", "ids", 2, "tokens", "</s>");
    json_t *decoder = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1,
                                "trim_offsets", 1, "use_regex", 1);
    json_t *model =
        json_pack("{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:O, s:O}", "type", "BPE", "dropout",
                  "unk_token", "continuing_subword_prefix", "", "end_of_word_suffix", "",
                  "fuse_unk", 0, "byte_fallback", 0, "vocab", t->vocab, "merges", t->merges);
    return json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added, "normalizer", "pre_tokenizer",
                     splitter, "post_processor", processor, "decoder", decoder, "model", model);
}

static void fill_llama(tables *t) {
    t->space = SPACE;
    add_alphabet(t);
    for (size_t i = 0; i < NR_COUNT(words); i++) add_word(t, words[i]);
    add_pseudo_words(t, t->n_max);
}

static void fill_opt(tables *t, int32_t stop_id) {
    t->space = BYTE_SPACE;
    add_byte_alphabet(t);
    for (size_t i = 0; i < NR_COUNT(words); i++) add_word(t, words[i]);
    for (size_t i = 0; i < NR_COUNT(opt_words); i++) add_word(t, opt_words[i]);
    NR_ASSERT(t->failed || t->n_tokens <= stop_id);
    add_pseudo_words(t, stop_id);
    add_token(t, BYTE_BREAK);
    add_pseudo_words(t, t->n_max);
}

nr_status ckpt_tokenizer_make(const ckpt_spec *spec, json_t **out, nr_error *err) {
    nr_json_use_our_alloc();
    bool opt = spec->family == CKPT_BLIP2;
    tables t = {.vocab = json_object(), .merges = json_array(), .n_max = spec->n_base_tokens};
    t.failed = !t.vocab || !t.merges;
    if (opt)
        fill_opt(&t, spec->stop_id);
    else
        fill_llama(&t);
    json_t *root = t.failed ? NULL : (opt ? byte_document : document)(spec, &t);
    json_decref(t.vocab);
    json_decref(t.merges);
    NR_FAIL_IF(!root, NO_MEMORY, "tokenizer.json");
    *out = root;
    return NR_STATUS_OK;
}
