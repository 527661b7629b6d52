/* SPDX-License-Identifier: MIT
 *
 * tok_load.c - tokenizer.json to a nr_tokenizer. Stages first (they say whether the vocabulary is
 * spelled in the byte alphabet), then vocabulary, added tokens, merges, and last what ids give when
 * decoded.
 *
 * An entry that is also a special added token never results from ordinary text: merges that would
 * make it are left out, and the models do not look it up.
 */
#include "nr_alloc.h"
#include "nr_json.h"
#include "tok_internal.h"

#include <stdio.h>
#include <string.h>

nr_status nr_tok_get_bool(const json_t *obj, const char *path, const char *key, bool *out,
                          nr_error *err) {
    const json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v)) return NR_STATUS_OK;
    NR_FAIL_IF(!json_is_boolean(v), FORMAT, "%s.%s: expected true or false", path, key);
    *out = json_is_true(v);
    return NR_STATUS_OK;
}

nr_status nr_tok_get_str(const json_t *obj, const char *path, const char *key, const char **out,
                         nr_error *err) {
    const json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v)) return NR_STATUS_OK;
    NR_FAIL_IF(!json_is_string(v), FORMAT, "%s.%s: expected a string", path, key);
    NR_FAIL_IF(strlen(json_string_value(v)) != json_string_length(v), FORMAT,
               "%s.%s: a zero character inside", path, key);
    *out = json_string_value(v);
    return NR_STATUS_OK;
}

nr_status nr_tok_get_affix(const json_t *obj, const char *path, const char *key, nr_affix *out,
                           nr_error *err) {
    const char *text = NULL;
    NR_TRY(nr_tok_get_str(obj, path, key, &text, err));
    if (!text) return NR_STATUS_OK;
    size_t n = strlen(text);
    NR_FAIL_IF(n > NR_TOK_AFFIX_MAX, UNSUPPORTED, "%s.%s: %zu bytes, at most %d", path, key, n,
               NR_TOK_AFFIX_MAX);
    memcpy(out->bytes, text, n);
    out->n = (uint8_t)n;
    return NR_STATUS_OK;
}

/* --- entries -------------------------------------------------------------------------------- */

/* How text is kept in the table: raw bytes for byte-level vocabularies. *hidden: it is not in the
 * byte alphabet, so it stays as it is and no text reaches it. dst holds NR_TOKEN_BYTES_MAX. */
static size_t kept_form(const nr_tokenizer *tok, const char *text, size_t n, uint8_t *dst,
                        bool *hidden) {
    size_t n_out = n;
    *hidden = tok->byte_level && !nr_tok_unspell((const uint8_t *)text, n, dst, &n_out);
    if (!tok->byte_level || *hidden) {
        memcpy(dst, text, n);
        n_out = n;
    }
    return n_out;
}

static nr_status add_entry(nr_tokenizer *tok, const char *text, size_t n, int32_t id,
                           nr_error *err) {
    nr_tok_tables *t = &tok->tables;
    uint8_t kept[NR_TOKEN_BYTES_MAX];
    bool hidden;
    nr_piece *p = &t->pieces[id];
    NR_FAIL_IF(p->flags, FORMAT, "model.vocab: id %d is given twice", id);
    p->n_bytes = (uint16_t)kept_form(tok, text, n, kept, &hidden);
    p->offset = nr_tok_tables_store(t, kept, p->n_bytes);
    p->flags = (uint8_t)(NR_PIECE_PRESENT | (hidden ? NR_PIECE_HIDDEN : 0));
    return hidden ? NR_STATUS_OK : nr_tok_tables_index(t, id, err);
}

static nr_status check_id(const json_t *v, const char *path, int32_t *out, nr_error *err) {
    NR_FAIL_IF(!json_is_integer(v), FORMAT, "%s: expected an integer id", path);
    json_int_t id = json_integer_value(v);
    NR_FAIL_IF(id < 0 || id >= NR_VOCAB_MAX, LIMIT, "%s: id %lld, expected 0 to %d", path,
               (long long)id, NR_VOCAB_MAX - 1);
    *out = (int32_t)id;
    return NR_STATUS_OK;
}

/* Largest id and bytes of all entries, before anything is allocated by them. */
static nr_status measure(const json_t *vocab, const json_t *added, int32_t *id_max,
                         size_t *n_bytes, nr_error *err) {
    const char *key;
    json_t *value;
    int32_t id;
    *id_max = -1;
    *n_bytes = 0;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value) {
        size_t n = strlen(key);
        NR_FAIL_IF(n == 0 || n > NR_TOKEN_BYTES_MAX, LIMIT,
                   "model.vocab: an entry of %zu bytes, expected 1 to %d", n, NR_TOKEN_BYTES_MAX);
        NR_TRY(check_id(value, "model.vocab", &id, err));
        *id_max = NR_MAX(*id_max, id);
        *n_bytes += n;
    }
    size_t i;
    json_array_foreach(added, i, value) {
        char path[64];
        const char *content = NULL;
        snprintf(path, sizeof path, "added_tokens[%zu]", i);
        NR_FAIL_IF(!json_is_object(value), FORMAT, "%s: expected an object", path);
        NR_TRY(nr_tok_get_str(value, path, "content", &content, err));
        NR_FAIL_IF(!content, FORMAT, "%s.content: missing", path);
        size_t n = strlen(content);
        NR_FAIL_IF(n == 0 || n > NR_TOKEN_BYTES_MAX, LIMIT,
                   "%s.content: %zu bytes, expected 1 to %d", path, n, NR_TOKEN_BYTES_MAX);
        NR_TRY(check_id(json_object_get(value, "id"), path, &id, err));
        *id_max = NR_MAX(*id_max, id);
        *n_bytes += n;
    }
    NR_FAIL_IF(*id_max < 0, FORMAT, "model.vocab: no entries");
    return NR_STATUS_OK;
}

/* --- added tokens --------------------------------------------------------------------------- */

/* Enter an added token into the vocabulary, or check that it is the entry of that id. */
static nr_status join_vocab(nr_tokenizer *tok, const char *path, const char *content, int32_t id,
                            bool special, nr_error *err) {
    nr_tok_tables *t = &tok->tables;
    uint8_t kept[NR_TOKEN_BYTES_MAX];
    bool hidden;
    size_t n = kept_form(tok, content, strlen(content), kept, &hidden);
    nr_piece *p = &t->pieces[id];
    if (p->flags) {
        NR_FAIL_IF(p->flags & NR_PIECE_ADDED, FORMAT, "%s: id %d is given twice", path, id);
        NR_FAIL_IF(p->n_bytes != n || memcmp(t->bytes + p->offset, kept, n) != 0, FORMAT,
                   "%s: id %d is another entry in model.vocab", path, id);
    } else {
        int32_t other = hidden ? -1 : nr_tok_tables_find(t, kept, n);
        NR_FAIL_IF(other >= 0, FORMAT, "%s: id %d, but model.vocab has the same text as %d", path,
                   id, other);
        p->n_bytes = (uint16_t)n;
        p->offset = nr_tok_tables_store(t, kept, n);
        p->flags = NR_PIECE_PRESENT | NR_PIECE_HIDDEN;
    }
    p->flags = (uint8_t)(p->flags | NR_PIECE_ADDED | (special ? NR_PIECE_SPECIAL : 0));
    return NR_STATUS_OK;
}

/* What is looked for in the text: content, or content after normalisation. */
static nr_status searched_form(const nr_tokenizer *tok, const char *path, const char *content,
                               bool normalized, uint8_t *dst, size_t cap, size_t *n_out,
                               nr_error *err) {
    uint8_t a[NR_TOK_HEADROOM + 8 * NR_TOKEN_BYTES_MAX], b[sizeof a];
    size_t n = strlen(content);
    uint8_t *found = memcpy(a, content, n);
    if (normalized && tok->n_norm) {
        nr_norm_bufs bufs = {{a + NR_TOK_HEADROOM, b + NR_TOK_HEADROOM},
                             sizeof a - NR_TOK_HEADROOM};
        NR_TRY(nr_tok_normalize(tok, bufs, (const uint8_t *)content, n, &found, &n, err));
    }
    NR_FAIL_IF(n > cap, LIMIT, "%s.content: %zu bytes after normalisation", path, n);
    memcpy(dst, found, n);
    *n_out = n;
    return NR_STATUS_OK;
}

/* added_bytes holds `room` bytes, *used of them taken. */
static nr_status load_added_one(nr_tokenizer *tok, const json_t *node, const char *path,
                                size_t room, size_t *used, nr_error *err) {
    const char *content = NULL;
    int32_t id;
    bool special = false, normalized = false, single_word = false;
    nr_added a = {0};
    NR_TRY(nr_tok_get_str(node, path, "content", &content, err));
    NR_TRY(check_id(json_object_get(node, "id"), path, &id, err));
    NR_TRY(nr_tok_get_bool(node, path, "special", &special, err));
    normalized = !special;
    NR_TRY(nr_tok_get_bool(node, path, "normalized", &normalized, err));
    NR_TRY(nr_tok_get_bool(node, path, "single_word", &single_word, err));
    NR_TRY(nr_tok_get_bool(node, path, "lstrip", &a.lstrip, err));
    NR_TRY(nr_tok_get_bool(node, path, "rstrip", &a.rstrip, err));
    NR_FAIL_IF(single_word, UNSUPPORTED, "%s.single_word: true is not supported", path);
    NR_TRY(join_vocab(tok, path, content, id, special, err));
    size_t n;
    NR_TRY(searched_form(tok, path, content, normalized, tok->added_bytes + *used,
                         room - *used, &n, err));
    if (n == 0) return NR_STATUS_OK; /* normalises to nothing: never found */
    a.text = tok->added_bytes + *used;
    a.n_bytes = (uint32_t)n;
    a.id = id;
    a.special = special;
    *used += n;
    nr_added_set *set = normalized && tok->n_norm ? &tok->normalized : &tok->raw;
    set->items[set->n++] = a;
    return NR_STATUS_OK;
}

static nr_status load_added(nr_tokenizer *tok, const json_t *added, nr_error *err) {
    size_t n = json_array_size(added), used = 0, room = 4 * NR_TOKEN_BYTES_MAX, i;
    json_t *node;
    NR_FAIL_IF(n > NR_ADDED_TOKENS_MAX, LIMIT, "added_tokens: %zu, at most %d", n,
               NR_ADDED_TOKENS_MAX);
    json_array_foreach(added, i, node) {
        const json_t *content = json_object_get(node, "content");
        room += json_string_length(content) * tok->norm_factor;
        room += NR_TOK_STAGES_MAX * NR_TOK_AFFIX_MAX; /* what Prepend steps add */
    }
    tok->added_bytes = nr_malloc(room);
    tok->added_cap = room;
    tok->raw.items = nr_malloc(n * sizeof(nr_added));
    tok->normalized.items = nr_malloc(n * sizeof(nr_added));
    NR_FAIL_IF(!tok->added_bytes || !tok->raw.items || !tok->normalized.items, NO_MEMORY,
               "%zu added tokens", n);
    json_array_foreach(added, i, node) {
        char path[64];
        snprintf(path, sizeof path, "added_tokens[%zu]", i);
        NR_TRY(load_added_one(tok, node, path, room, &used, err));
    }
    nr_added_set_sort(&tok->raw);
    nr_added_set_sort(&tok->normalized);
    return NR_STATUS_OK;
}

/* --- merges --------------------------------------------------------------------------------- */

/* The two halves of merges[i]: "a b" or ["a", "b"]. */
static nr_status halves(const json_t *node, size_t i, const char *half[2], size_t n[2],
                        nr_error *err) {
    if (json_is_string(node)) {
        const char *text = json_string_value(node), *blank = strchr(text, ' ');
        NR_FAIL_IF(!blank || blank == text || !blank[1] || strchr(blank + 1, ' '), FORMAT,
                   "model.merges[%zu]: expected two entries with one blank between", i);
        half[0] = text;
        n[0] = (size_t)(blank - text);
        half[1] = blank + 1;
        n[1] = strlen(blank + 1);
    } else {
        NR_FAIL_IF(!json_is_array(node) || json_array_size(node) != 2, FORMAT,
                   "model.merges[%zu]: expected a string or a list of two", i);
        for (size_t k = 0; k < 2; k++) {
            half[k] = json_string_value(json_array_get(node, k));
            NR_FAIL_IF(!half[k], FORMAT, "model.merges[%zu]: expected two strings", i);
            n[k] = strlen(half[k]);
        }
    }
    NR_FAIL_IF(n[0] + n[1] > NR_TOKEN_BYTES_MAX, LIMIT, "model.merges[%zu]: %zu bytes, at most %d",
               i, n[0] + n[1], NR_TOKEN_BYTES_MAX);
    return NR_STATUS_OK;
}

static nr_status load_merge(nr_tokenizer *tok, const json_t *node, size_t i, nr_error *err) {
    const char *half[2];
    size_t n[2];
    uint8_t kept[2 * NR_TOKEN_BYTES_MAX];
    bool hidden[2];
    NR_TRY(halves(node, i, half, n, err));
    n[0] = kept_form(tok, half[0], n[0], kept, &hidden[0]);
    n[1] = kept_form(tok, half[1], n[1], kept + n[0], &hidden[1]);
    nr_merge m = {.rank = (int32_t)i};
    m.left = hidden[0] ? -1 : nr_tok_tables_find(&tok->tables, kept, n[0]);
    m.right = hidden[1] ? -1 : nr_tok_tables_find(&tok->tables, kept + n[0], n[1]);
    m.id = nr_tok_tables_find(&tok->tables, kept, n[0] + n[1]);
    NR_FAIL_IF(m.left < 0 || m.right < 0 || m.id < 0, FORMAT,
               "model.merges[%zu]: %s is not in model.vocab", i,
               m.left < 0 ? "its first part" : m.right < 0 ? "its second part" : "its result");
    if (tok->tables.pieces[m.id].flags & NR_PIECE_SPECIAL) return NR_STATUS_OK;
    return nr_tok_tables_add_merge(&tok->tables, m, err);
}

/* --- model ---------------------------------------------------------------------------------- */

static nr_status load_model_options(nr_tokenizer *tok, const json_t *model, nr_error *err) {
    const char *type = NULL;
    NR_TRY(nr_tok_get_str(model, "model", "type", &type, err));
    if (!type) type = json_object_get(model, "merges") ? "BPE" : "";
    char shown[48];
    if (strcmp(type, "BPE") == 0)
        tok->model = NR_MODEL_BPE;
    else if (strcmp(type, "WordPiece") == 0)
        tok->model = NR_MODEL_WORDPIECE;
    else
        NR_FAIL(UNSUPPORTED, "model.type: found \"%s\", expected BPE or WordPiece",
                nr_json_printable(shown, sizeof shown, type));
    NR_TRY(nr_tok_get_bool(model, "model", "fuse_unk", &tok->fuse_unk, err));
    NR_TRY(nr_tok_get_bool(model, "model", "byte_fallback", &tok->byte_fallback, err));
    NR_TRY(nr_tok_get_bool(model, "model", "ignore_merges", &tok->ignore_merges, err));
    const json_t *dropout = json_object_get(model, "dropout");
    NR_FAIL_IF(json_is_number(dropout) && json_number_value(dropout) > 0, UNSUPPORTED,
               "model.dropout: encoding at random is not supported");
    nr_affix prefix = {.bytes = "##", .n = 2}, suffix = {0};
    if (tok->model == NR_MODEL_BPE) prefix.n = 0;
    NR_TRY(nr_tok_get_affix(model, "model", "continuing_subword_prefix", &prefix, err));
    NR_TRY(nr_tok_get_affix(model, "model", "end_of_word_suffix", &suffix, err));
    NR_FAIL_IF(tok->model == NR_MODEL_BPE && prefix.n, UNSUPPORTED,
               "model.continuing_subword_prefix: not supported with BPE");
    NR_FAIL_IF(suffix.n, UNSUPPORTED, "model.end_of_word_suffix: not supported");
    tok->subword_prefix = prefix;
    const json_t *chars = json_object_get(model, "max_input_chars_per_word");
    tok->word_chars_max = 100;
    if (json_is_integer(chars)) {
        json_int_t n = json_integer_value(chars);
        NR_FAIL_IF(n < 1 || n > NR_TOK_WORDPIECE_CHARS_MAX, LIMIT,
                   "model.max_input_chars_per_word: %lld, expected 1 to %d", (long long)n,
                   NR_TOK_WORDPIECE_CHARS_MAX);
        tok->word_chars_max = (uint32_t)n;
    }
    return NR_STATUS_OK;
}

static nr_status load_unknown(nr_tokenizer *tok, const json_t *model, nr_error *err) {
    const char *unk = NULL;
    tok->unk_id = -1;
    NR_TRY(nr_tok_get_str(model, "model", "unk_token", &unk, err));
    if (!unk && tok->model == NR_MODEL_WORDPIECE) unk = "[UNK]";
    if (!unk) return NR_STATUS_OK;
    tok->unk_id = nr_tokenizer_id(tok, unk, strlen(unk));
    NR_FAIL_IF(tok->unk_id < 0, FORMAT, "model.unk_token: not in model.vocab");
    return NR_STATUS_OK;
}

/* First symbol of each byte: of the byte alphabet, or "<0x0A>" for byte fallback. */
static void find_byte_ids(nr_tokenizer *tok) {
    for (unsigned b = 0; b < 256; b++) {
        uint8_t raw = (uint8_t)b;
        char spelled[8];
        snprintf(spelled, sizeof spelled, "<0x%02X>", b);
        if (tok->byte_level)
            tok->byte_id[b] = nr_tok_tables_find(&tok->tables, &raw, 1);
        else if (tok->byte_fallback)
            tok->byte_id[b] = nr_tok_tables_find(&tok->tables, (const uint8_t *)spelled, 6);
        else
            tok->byte_id[b] = -1;
    }
}

static nr_status load_model(nr_tokenizer *tok, const json_t *root, nr_error *err) {
    const json_t *model = json_object_get(root, "model");
    NR_FAIL_IF(!json_is_object(model), FORMAT, "model: expected an object");
    const json_t *vocab = json_object_get(model, "vocab"),
                 *merges = json_object_get(model, "merges");
    const json_t *added = json_object_get(root, "added_tokens");
    NR_TRY(load_model_options(tok, model, err));
    NR_FAIL_IF(!json_is_object(vocab), FORMAT, "model.vocab: expected an object");
    NR_FAIL_IF(added && !json_is_null(added) && !json_is_array(added), FORMAT,
               "added_tokens: expected a list");
    NR_FAIL_IF(tok->model == NR_MODEL_BPE && !json_is_array(merges), FORMAT,
               "model.merges: expected a list");
    size_t n_bytes, n_merges = tok->model == NR_MODEL_BPE ? json_array_size(merges) : 0;
    int32_t id_max;
    NR_TRY(measure(vocab, added, &id_max, &n_bytes, err));
    NR_TRY(nr_tok_tables_init(&tok->tables, (size_t)id_max + 1, n_bytes, n_merges, err));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
        NR_TRY(add_entry(tok, key, strlen(key), (int32_t)json_integer_value(value), err));
    NR_TRY(load_added(tok, added, err));
    for (size_t i = 0; i < n_merges; i++)
        NR_TRY(load_merge(tok, json_array_get(merges, i), i, err));
    NR_TRY(load_unknown(tok, model, err));
    find_byte_ids(tok);
    return NR_STATUS_OK;
}

static void *regex_malloc(size_t n, void *unused) {
    (void)unused;
    return nr_malloc(n);
}

static void regex_free(void *block, void *unused) {
    (void)unused;
    nr_free(block);
}

nr_status nr_tokenizer_create(const json_t *root, nr_tokenizer **out, nr_error *err) {
    NR_FAIL_IF(!json_is_object(root), FORMAT, "tokenizer: expected an object");
    nr_status status = NR_STATUS_OK;
    nr_tokenizer *tok = nr_calloc(1, sizeof *tok);
    NR_FAIL_IF(!tok, NO_MEMORY, "tokenizer");
    tok->norm_factor = 1;
    tok->regex_memory = pcre2_general_context_create(regex_malloc, regex_free, NULL);
    NR_FAIL_IF_GOTO(!tok->regex_memory, NO_MEMORY, "tokenizer");
    NR_TRY_GOTO(nr_tok_load_normalizer(tok, json_object_get(root, "normalizer"), err));
    NR_TRY_GOTO(nr_tok_load_pretok(tok, json_object_get(root, "pre_tokenizer"), err));
    NR_TRY_GOTO(nr_tok_load_decoder(tok, json_object_get(root, "decoder"), err));
    NR_TRY_GOTO(load_model(tok, root, err));
    NR_TRY_GOTO(nr_tok_load_post(tok, json_object_get(root, "post_processor"), err));
    NR_TRY_GOTO(nr_tok_prepare_decoding(tok, err));
    *out = tok;
    tok = NULL;
done:
    nr_tokenizer_free(tok);
    return status;
}

nr_status nr_tokenizer_open(const char *path, nr_tokenizer **out, nr_error *err) {
    json_t *root = NULL;
    NR_TRY(nr_json_read_file(path, NR_JSON_BYTES_MAX, &root, err));
    nr_status status = nr_tokenizer_create(root, out, err);
    nr_json_free(root);
    return status == NR_STATUS_OK ? status : nr_error_prefix(err, status, "%s", path);
}

void nr_tokenizer_free(nr_tokenizer *tok) {
    if (!tok) return;
    for (uint32_t i = 0; i < tok->n_pretok; i++) pcre2_code_free(tok->pretok[i].code);
    pcre2_general_context_free(tok->regex_memory);
    nr_tok_tables_free(&tok->tables);
    nr_free(tok->added_bytes);
    nr_free(tok->raw.items);
    nr_free(tok->normalized.items);
    nr_free(tok);
}
