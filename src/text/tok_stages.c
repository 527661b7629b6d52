/* SPDX-License-Identifier: MIT
 *
 * tok_stages.c - normalizer, pre-tokenizer, post-processor and decoder of a tokenizer.json, each
 * turned into a short list of steps. What is not known is refused with its place in the file.
 */
#include "nr_alloc.h"
#include "nr_json.h"
#include "tok_internal.h"
#include "utf8.h"

#include <stdio.h>
#include <string.h>

#define PATH_MAX_BYTES 120
#define NORM_FACTOR_MAX 16 /* no tokenizer makes text more than three times longer */

/* The pattern of the ByteLevel pre-tokenizer, from GPT-2's published encoder. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/* BertPreTokenizer: blanks away, punctuation by itself. */
static const char bert_blank[] = "\\s+", bert_punctuation[] = "[!-/:-@\\[-`{-~\\p{P}]";

typedef nr_status (*step_reader)(nr_tokenizer *tok, const json_t *node, const char *type,
                                 const char *path, nr_error *err);

static nr_status unsupported(const char *path, const char *type, nr_error *err) {
    char shown[48];
    NR_FAIL(UNSUPPORTED, "%s.type: \"%s\" is not supported", path,
            nr_json_printable(shown, sizeof shown, type));
}

/* Call read for node, or for each node in it when it is a Sequence (list under `key`). */
static nr_status each_step(nr_tokenizer *tok, const json_t *node, const char *path,
                           const char *key, step_reader read, nr_error *err) {
    if (!node || json_is_null(node)) return NR_STATUS_OK;
    const char *type = NULL;
    NR_TRY(nr_tok_get_str(node, path, "type", &type, err));
    NR_FAIL_IF(!type, FORMAT, "%s.type: missing", path);
    if (strcmp(type, "Sequence") != 0) return read(tok, node, type, path, err);
    const json_t *list = json_object_get(node, key), *item;
    NR_FAIL_IF(!json_is_array(list), FORMAT, "%s.%s: expected a list", path, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        char inner[PATH_MAX_BYTES];
        int n = snprintf(inner, sizeof inner, "%s.%s[%zu]", path, key, i);
        NR_FAIL_IF(n < 0 || (size_t)n >= sizeof inner, LIMIT, "%s: nested too deeply", path);
        item = json_array_get(list, i);
        NR_FAIL_IF(!json_is_object(item), FORMAT, "%s: expected an object", inner);
        NR_TRY(each_step(tok, item, inner, key, read, err));
    }
    return NR_STATUS_OK;
}

/* --- normalizer ----------------------------------------------------------------------------- */

/* {"String": "x"}; a {"Regex": ...} is given back as *regex. */
static nr_status get_pattern(const json_t *node, const char *path, const char **string,
                             const char **regex, nr_error *err) {
    const json_t *pattern = json_object_get(node, "pattern");
    char inner[PATH_MAX_BYTES + 16];
    snprintf(inner, sizeof inner, "%s.pattern", path);
    NR_FAIL_IF(!json_is_object(pattern), FORMAT, "%s: expected an object", inner);
    NR_TRY(nr_tok_get_str(pattern, inner, "String", string, err));
    NR_TRY(nr_tok_get_str(pattern, inner, "Regex", regex, err));
    NR_FAIL_IF(!*string == !*regex, FORMAT, "%s: expected one of String and Regex", inner);
    return NR_STATUS_OK;
}

/* Replace: from (not empty) and to. */
static nr_status get_replace(const json_t *node, const char *path, nr_affix *from, nr_affix *to,
                             nr_error *err) {
    const char *string = NULL, *regex = NULL;
    NR_TRY(get_pattern(node, path, &string, &regex, err));
    NR_FAIL_IF(regex, UNSUPPORTED, "%s.pattern.Regex: only String is supported here", path);
    size_t n = strlen(string);
    NR_FAIL_IF(n == 0 || n > NR_TOK_AFFIX_MAX, UNSUPPORTED,
               "%s.pattern.String: %zu bytes, expected 1 to %d", path, n, NR_TOK_AFFIX_MAX);
    memcpy(from->bytes, string, n);
    from->n = (uint8_t)n;
    return nr_tok_get_affix(node, path, "content", to, err);
}

static nr_status read_bert(nr_norm_step *s, const json_t *node, const char *path, nr_error *err) {
    s->kind = NR_NORM_BERT;
    s->clean_text = s->chinese_chars = s->lowercase = true;
    NR_TRY(nr_tok_get_bool(node, path, "clean_text", &s->clean_text, err));
    NR_TRY(nr_tok_get_bool(node, path, "handle_chinese_chars", &s->chinese_chars, err));
    NR_TRY(nr_tok_get_bool(node, path, "lowercase", &s->lowercase, err));
    s->strip_accents = s->lowercase; /* null means: as lowercase */
    return nr_tok_get_bool(node, path, "strip_accents", &s->strip_accents, err);
}

static nr_status read_normalizer(nr_tokenizer *tok, const json_t *node, const char *type,
                                 const char *path, nr_error *err) {
    NR_FAIL_IF(tok->n_norm == NR_TOK_STAGES_MAX, LIMIT, "%s: more than %d steps", path,
               NR_TOK_STAGES_MAX);
    nr_norm_step s = {0};
    uint32_t factor = 1;
    if (strcmp(type, "Prepend") == 0) {
        s.kind = NR_NORM_PREPEND;
        NR_TRY(nr_tok_get_affix(node, path, "prepend", &s.to, err));
    } else if (strcmp(type, "Replace") == 0) {
        s.kind = NR_NORM_REPLACE;
        NR_TRY(get_replace(node, path, &s.from, &s.to, err));
        factor = NR_MAX(1u, (uint32_t)(s.to.n + s.from.n - 1) / s.from.n);
    } else if (strcmp(type, "BertNormalizer") == 0) {
        NR_TRY(read_bert(&s, node, path, err));
        factor = 4;
    } else {
        return unsupported(path, type, err);
    }
    tok->norm_factor *= factor;
    NR_FAIL_IF(tok->norm_factor > NORM_FACTOR_MAX, UNSUPPORTED,
               "%s: text could become %u times longer, at most %d", path, tok->norm_factor,
               NORM_FACTOR_MAX);
    tok->norm[tok->n_norm++] = s;
    return NR_STATUS_OK;
}

nr_status nr_tok_load_normalizer(nr_tokenizer *tok, const json_t *node, nr_error *err) {
    return each_step(tok, node, "normalizer", "normalizers", read_normalizer, err);
}

/* --- pre-tokenizer -------------------------------------------------------------------------- */

static nr_status add_split(nr_tokenizer *tok, const char *pattern, bool literal,
                           nr_split_behavior behavior, const char *path, nr_error *err) {
    NR_FAIL_IF(tok->n_pretok == NR_TOK_STAGES_MAX, LIMIT, "%s: more than %d steps", path,
               NR_TOK_STAGES_MAX);
    nr_pretok_stage *s = &tok->pretok[tok->n_pretok];
    *s = (nr_pretok_stage){.kind = NR_PRETOK_SPLIT, .behavior = behavior};
    NR_TRY(nr_tok_regex_compile(tok, pattern, literal, path, &s->code, err));
    tok->n_pretok++;
    return NR_STATUS_OK;
}

static nr_status read_split(nr_tokenizer *tok, const json_t *node, const char *path,
                            nr_error *err) {
    static const char *const names[] = {
        [NR_SPLIT_ISOLATED] = "Isolated",
        [NR_SPLIT_REMOVED] = "Removed",
        [NR_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [NR_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
        [NR_SPLIT_CONTIGUOUS] = "Contiguous",
    };
    const char *string = NULL, *regex = NULL, *behavior = NULL;
    bool invert = false;
    NR_TRY(get_pattern(node, path, &string, &regex, err));
    NR_TRY(nr_tok_get_str(node, path, "behavior", &behavior, err));
    NR_TRY(nr_tok_get_bool(node, path, "invert", &invert, err));
    size_t i = 0;
    while (i < NR_COUNT(names) && (!behavior || strcmp(names[i], behavior) != 0)) i++;
    NR_FAIL_IF(i == NR_COUNT(names), UNSUPPORTED, "%s.behavior: not one of the five known", path);
    NR_TRY(add_split(tok, string ? string : regex, string, (nr_split_behavior)i, path, err));
    tok->pretok[tok->n_pretok - 1].invert = invert;
    return NR_STATUS_OK;
}

static nr_status read_byte_level(nr_tokenizer *tok, const json_t *node, const char *path,
                                 nr_error *err) {
    bool prefix = true, regex = true;
    NR_TRY(nr_tok_get_bool(node, path, "add_prefix_space", &prefix, err));
    NR_TRY(nr_tok_get_bool(node, path, "use_regex", &regex, err));
    NR_FAIL_IF(tok->has_metaspace, UNSUPPORTED, "%s: ByteLevel after Metaspace", path);
    if (prefix) {
        NR_FAIL_IF(tok->n_pretok == NR_TOK_STAGES_MAX, LIMIT, "%s: more than %d steps", path,
                   NR_TOK_STAGES_MAX);
        tok->pretok[tok->n_pretok++] =
            (nr_pretok_stage){.kind = NR_PRETOK_PREFIX, .affix = {.bytes = " ", .n = 1}};
    }
    if (regex) NR_TRY(add_split(tok, gpt2_pattern, false, NR_SPLIT_ISOLATED, path, err));
    tok->byte_level = true;
    return NR_STATUS_OK;
}

/* Replacement and where it is put in front; the older add_prefix_space means always or never. */
static nr_status get_metaspace(const json_t *node, const char *path, nr_affix *mark,
                               nr_prepend *prepend, nr_error *err) {
    const char *scheme = NULL;
    bool add_prefix = true;
    *mark = (nr_affix){.bytes = "\xe2\x96\x81", .n = 3};
    NR_TRY(nr_tok_get_affix(node, path, "replacement", mark, err));
    nr_utf8_step first = {0};
    if (mark->n) first = nr_utf8_next(mark->bytes, mark->n);
    NR_FAIL_IF(first.bytes != mark->n || mark->n > 3, UNSUPPORTED,
               "%s.replacement: expected one character of at most 3 bytes", path);
    NR_TRY(nr_tok_get_bool(node, path, "add_prefix_space", &add_prefix, err));
    NR_TRY(nr_tok_get_str(node, path, "prepend_scheme", &scheme, err));
    *prepend = add_prefix ? NR_PREPEND_ALWAYS : NR_PREPEND_NEVER;
    if (!scheme) return NR_STATUS_OK;
    if (strcmp(scheme, "always") == 0)
        *prepend = NR_PREPEND_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        *prepend = NR_PREPEND_FIRST;
    else if (strcmp(scheme, "never") == 0)
        *prepend = NR_PREPEND_NEVER;
    else
        NR_FAIL(UNSUPPORTED, "%s.prepend_scheme: expected always, first or never", path);
    return NR_STATUS_OK;
}

static nr_status read_pretok(nr_tokenizer *tok, const json_t *node, const char *type,
                             const char *path, nr_error *err) {
    NR_FAIL_IF(tok->byte_level, UNSUPPORTED, "%s: a step after ByteLevel", path);
    if (strcmp(type, "ByteLevel") == 0) return read_byte_level(tok, node, path, err);
    if (strcmp(type, "Split") == 0) return read_split(tok, node, path, err);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        NR_TRY(add_split(tok, bert_blank, false, NR_SPLIT_REMOVED, path, err));
        return add_split(tok, bert_punctuation, false, NR_SPLIT_ISOLATED, path, err);
    }
    if (strcmp(type, "Metaspace") != 0) return unsupported(path, type, err);
    nr_pretok_stage s = {.kind = NR_PRETOK_METASPACE, .split = true};
    NR_TRY(get_metaspace(node, path, &s.affix, &s.prepend, err));
    NR_TRY(nr_tok_get_bool(node, path, "split", &s.split, err));
    NR_FAIL_IF(tok->has_metaspace, UNSUPPORTED, "%s: a second Metaspace", path);
    NR_FAIL_IF(tok->n_pretok == NR_TOK_STAGES_MAX, LIMIT, "%s: more than %d steps", path,
               NR_TOK_STAGES_MAX);
    tok->has_metaspace = true;
    tok->pretok[tok->n_pretok++] = s;
    return NR_STATUS_OK;
}

nr_status nr_tok_load_pretok(nr_tokenizer *tok, const json_t *node, nr_error *err) {
    return each_step(tok, node, "pre_tokenizer", "pretokenizers", read_pretok, err);
}

/* --- post-processor ------------------------------------------------------------------------- */

static nr_status add_frame_id(nr_tokenizer *tok, bool before, json_int_t id, const char *path,
                              nr_error *err) {
    size_t *n = before ? &tok->n_prefix : &tok->n_suffix;
    NR_FAIL_IF(id < 0 || id >= tok->tables.n_ids, FORMAT, "%s: id %lld, expected 0 to %d", path,
               (long long)id, tok->tables.n_ids - 1);
    NR_FAIL_IF(*n == NR_TOK_FRAME_MAX, LIMIT, "%s: more than %d ids at one side", path,
               NR_TOK_FRAME_MAX);
    (before ? tok->prefix : tok->suffix)[(*n)++] = (int32_t)id;
    return NR_STATUS_OK;
}

/* One item of TemplateProcessing's "single": the text, or a named token with its ids. */
static nr_status read_template_item(nr_tokenizer *tok, const json_t *item, const json_t *tokens,
                                    const char *path, bool *seen_text, nr_error *err) {
    const json_t *special = json_object_get(item, "SpecialToken");
    if (json_object_get(item, "Sequence")) {
        NR_FAIL_IF(*seen_text, UNSUPPORTED, "%s.single: the text stands there twice", path);
        *seen_text = true;
        return NR_STATUS_OK;
    }
    const char *name = json_string_value(json_object_get(special, "id"));
    NR_FAIL_IF(!name, FORMAT, "%s.single: expected SpecialToken or Sequence", path);
    const json_t *ids = json_object_get(json_object_get(tokens, name), "ids");
    NR_FAIL_IF(!json_is_array(ids), FORMAT, "%s.special_tokens: no ids for one of single", path);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        NR_FAIL_IF(!json_is_integer(id), FORMAT, "%s.special_tokens: expected integer ids", path);
        NR_TRY(add_frame_id(tok, !*seen_text, json_integer_value(id), path, err));
    }
    return NR_STATUS_OK;
}

/* ["[SEP]", 102] under key of BertProcessing and RobertaProcessing. */
static nr_status read_pair(nr_tokenizer *tok, const json_t *node, const char *key, bool before,
                           const char *path, nr_error *err) {
    const json_t *id = json_array_get(json_object_get(node, key), 1);
    NR_FAIL_IF(!json_is_integer(id), FORMAT, "%s.%s: expected a name and an id", path, key);
    return add_frame_id(tok, before, json_integer_value(id), path, err);
}

static nr_status read_post(nr_tokenizer *tok, const json_t *node, const char *type,
                           const char *path, nr_error *err) {
    if (strcmp(type, "ByteLevel") == 0) return NR_STATUS_OK; /* changes offsets only */
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        NR_TRY(read_pair(tok, node, "cls", true, path, err));
        return read_pair(tok, node, "sep", false, path, err);
    }
    if (strcmp(type, "TemplateProcessing") != 0) return unsupported(path, type, err);
    NR_FAIL_IF(tok->n_prefix || tok->n_suffix, UNSUPPORTED, "%s: a second template", path);
    const json_t *single = json_object_get(node, "single");
    NR_FAIL_IF(!json_is_array(single), FORMAT, "%s.single: expected a list", path);
    bool seen_text = false;
    for (size_t i = 0; i < json_array_size(single); i++)
        NR_TRY(read_template_item(tok, json_array_get(single, i),
                                  json_object_get(node, "special_tokens"), path, &seen_text, err));
    NR_FAIL_IF(!seen_text, FORMAT, "%s.single: the text is missing", path);
    return NR_STATUS_OK;
}

nr_status nr_tok_load_post(nr_tokenizer *tok, const json_t *node, nr_error *err) {
    return each_step(tok, node, "post_processor", "processors", read_post, err);
}

/* --- decoder -------------------------------------------------------------------------------- */

/* Order of steps that makes sense one token at a time: Replace, ByteFallback, Fuse, Strip. */
enum { SEEN_OTHER = 1, SEEN_BYTES = 2, SEEN_FUSE = 4, SEEN_STRIP = 8 };

static nr_status read_strip(nr_decoder *d, const json_t *node, const char *path, nr_error *err) {
    const char *content = NULL;
    NR_TRY(nr_tok_get_str(node, path, "content", &content, err));
    const json_t *start = json_object_get(node, "start"), *stop = json_object_get(node, "stop");
    NR_FAIL_IF(!content || strcmp(content, " ") != 0, UNSUPPORTED,
               "%s.content: only a blank is supported", path);
    NR_FAIL_IF(!json_is_integer(start) || !json_is_integer(stop), FORMAT,
               "%s: expected integers start and stop", path);
    json_int_t n = json_integer_value(start);
    NR_FAIL_IF(n < 0 || n > 1000, LIMIT, "%s.start: %lld, expected 0 to 1000", path, (long long)n);
    NR_FAIL_IF(json_integer_value(stop) != 0, UNSUPPORTED, "%s.stop: only 0 is supported", path);
    d->strip_left += (uint32_t)n;
    return NR_STATUS_OK;
}

static nr_status read_whole_decoder(nr_decoder *d, const json_t *node, const char *type,
                                    const char *path, nr_error *err) {
    if (strcmp(type, "ByteLevel") == 0) {
        d->kind = NR_DECODE_BYTES;
    } else if (strcmp(type, "WordPiece") == 0) {
        d->kind = NR_DECODE_WORDPIECE;
        d->mark = (nr_affix){.bytes = "##", .n = 2};
        d->cleanup = true;
        NR_TRY(nr_tok_get_affix(node, path, "prefix", &d->mark, err));
        NR_TRY(nr_tok_get_bool(node, path, "cleanup", &d->cleanup, err));
    } else if (strcmp(type, "Metaspace") == 0) {
        nr_prepend prepend;
        NR_TRY(get_metaspace(node, path, &d->mark, &prepend, err));
        d->kind = prepend == NR_PREPEND_NEVER ? NR_DECODE_PIECES : NR_DECODE_METASPACE;
        d->from[0] = d->mark;
        d->to[0] = (nr_affix){.bytes = " ", .n = 1};
        d->n_replace = 1;
    } else {
        return unsupported(path, type, err);
    }
    return NR_STATUS_OK;
}

static nr_status read_decoder(nr_tokenizer *tok, const json_t *node, const char *type,
                              const char *path, nr_error *err) {
    nr_decoder *d = &tok->decoder;
    unsigned now;
    if (strcmp(type, "Replace") == 0) {
        now = SEEN_OTHER;
        NR_FAIL_IF(d->n_replace == NR_TOK_STAGES_MAX, LIMIT, "%s: more than %d steps", path,
                   NR_TOK_STAGES_MAX);
        NR_TRY(get_replace(node, path, &d->from[d->n_replace], &d->to[d->n_replace], err));
        d->n_replace++;
    } else if (strcmp(type, "ByteFallback") == 0) {
        now = SEEN_BYTES;
        d->byte_fallback = true;
    } else if (strcmp(type, "Fuse") == 0) {
        now = SEEN_FUSE;
    } else if (strcmp(type, "Strip") == 0) {
        now = SEEN_STRIP;
        NR_FAIL_IF(!(d->seen & SEEN_FUSE), UNSUPPORTED, "%s: Strip without Fuse before it", path);
        NR_TRY(read_strip(d, node, path, err));
    } else {
        NR_FAIL_IF(d->seen, UNSUPPORTED, "%s: %.40s after other steps", path, type);
        d->seen = SEEN_OTHER | SEEN_STRIP;
        return read_whole_decoder(d, node, type, path, err);
    }
    NR_FAIL_IF(d->seen > 2 * now - 1, UNSUPPORTED,
               "%s: expected the order Replace, ByteFallback, Fuse, Strip", path);
    d->seen |= now;
    d->kind = NR_DECODE_PIECES;
    return NR_STATUS_OK;
}

nr_status nr_tok_load_decoder(nr_tokenizer *tok, const json_t *node, nr_error *err) {
    NR_TRY(each_step(tok, node, "decoder", "decoders", read_decoder, err));
    NR_FAIL_IF(tok->byte_level && tok->decoder.kind != NR_DECODE_BYTES, UNSUPPORTED,
               "decoder: expected ByteLevel, as the pre_tokenizer is");
    return NR_STATUS_OK;
}
