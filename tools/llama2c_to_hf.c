/* SPDX-License-Identifier: MIT
 *
 * llama2c_to_hf.c - turns a model of llama2.c (legacy .bin weights, tokenizer .bin) into a Hugging
 * Face folder: config.json, generation_config.json, model.safetensors in f32, tokenizer.json.
 *
 *   llama2c_to_hf MODEL.bin TOKENIZER.bin OUT_DIR
 *
 * Weights file: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len; a
 * negative vocab_size says that the classifier is not the embedding), then f32 in this order, each
 * kind for all layers: embedding, attention norm, wq, wk, wv, wo, ffn norm, w1, w2, w3, final norm,
 * two tables of rotary angles [seq_len, head_size / 2], and the classifier if it is separate.
 * Matrices are [out, in] as in Hugging Face. llama2.c rotates pairs (2i, 2i+1) of a head, Hugging
 * Face (i, i + head_size/2): the rows of wq and wk are put in that order.
 *
 * Tokenizer file: int32 longest piece, then for each id f32 score, int32 bytes, the bytes. The
 * scores order the merges: every way to cut a piece into two others is a merge, best score first.
 *
 * These models are trained on texts that begin with <s> and follow one another, so they end a text
 * with <s>: generation_config.json lists it as a stop token beside </s>.
 */
#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_json.h"
#include "nr_limits.h"
#include "safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLANK "\xe2\x96\x81" /* how a blank is spelled in tokenizer.json */
#define N_SPECIAL 3          /* <unk> <s> </s>, then the 256 bytes */

/* --- weights -------------------------------------------------------------------------------- */

typedef struct shape {
    int32_t dim, hidden, n_layers, n_heads, n_kv_heads, n_vocab, seq_len;
    bool has_classifier;
    int64_t head_size, kv_dim;
} shape;

static nr_status read_shape(const nr_file *f, shape *s, nr_error *err) {
    int32_t h[7];
    NR_TRY(nr_file_read_at(f, 0, h, sizeof h, err));
    static const int32_t max[7] = {NR_HIDDEN_MAX, NR_HIDDEN_MAX, NR_LAYERS_MAX, NR_HEADS_MAX,
                                   NR_HEADS_MAX,  NR_VOCAB_MAX,  NR_CONTEXT_MAX};
    static const char *const names[7] = {"dim",        "hidden_dim", "n_layers", "n_heads",
                                         "n_kv_heads", "vocab_size", "seq_len"};
    bool separate = h[5] < 0;
    if (separate && h[5] > -NR_VOCAB_MAX) h[5] = -h[5];
    for (int i = 0; i < 7; i++)
        NR_FAIL_IF(h[i] < 1 || h[i] > max[i], FORMAT, "%s: found %d, expected 1 to %d", names[i],
                   h[i], max[i]);
    *s = (shape){h[0], h[1], h[2], h[3], h[4], h[5], h[6], separate, h[0] / h[3], 0};
    s->kv_dim = s->head_size * s->n_kv_heads;
    NR_FAIL_IF(h[0] % h[3] || s->head_size % 2 || h[3] % h[4], FORMAT,
               "dim %d, %d heads, %d key-value heads do not divide evenly", h[0], h[3], h[4]);
    return NR_STATUS_OK;
}

/* One tensor of the output and where its data lies. */
typedef struct tensor {
    char name[NR_TENSOR_NAME_MAX];
    int64_t rows, cols; /* cols 0: a vector of rows */
    uint64_t offset;    /* bytes in the input */
    bool rotary;        /* rows of a head are reordered */
} tensor;

typedef struct tensor_list {
    tensor *items; /* owns */
    int n;
    uint64_t end; /* bytes of input laid out so far */
} tensor_list;

/* The next n_layers tensors of one kind; "%d" in the name is the layer. */
static void lay_out(tensor_list *l, const char *format, int n_layers, int64_t rows, int64_t cols,
                    bool rotary) {
    for (int i = 0; i < n_layers; i++) {
        tensor *t = &l->items[l->n++];
        const char *mark = strstr(format, "%d");
        if (mark)
            snprintf(t->name, sizeof t->name, "%.*s%d%s", (int)(mark - format), format, i,
                     mark + 2);
        else
            snprintf(t->name, sizeof t->name, "%s", format);
        t->rows = rows;
        t->cols = cols;
        t->rotary = rotary;
        t->offset = l->end;
        l->end += (uint64_t)rows * (uint64_t)(cols ? cols : 1) * sizeof(float);
    }
}

static nr_status lay_out_all(const shape *s, tensor_list *l, nr_error *err) {
    int n = s->n_layers;
    l->items = nr_calloc((size_t)n * 9 + 3, sizeof *l->items);
    NR_FAIL_IF(!l->items, NO_MEMORY, "%d layers", n);
    l->end = 7 * sizeof(int32_t);
    lay_out(l, "model.embed_tokens.weight", 1, s->n_vocab, s->dim, false);
    lay_out(l, "model.layers.%d.input_layernorm.weight", n, s->dim, 0, false);
    lay_out(l, "model.layers.%d.self_attn.q_proj.weight", n, s->dim, s->dim, true);
    lay_out(l, "model.layers.%d.self_attn.k_proj.weight", n, s->kv_dim, s->dim, true);
    lay_out(l, "model.layers.%d.self_attn.v_proj.weight", n, s->kv_dim, s->dim, false);
    lay_out(l, "model.layers.%d.self_attn.o_proj.weight", n, s->dim, s->dim, false);
    lay_out(l, "model.layers.%d.post_attention_layernorm.weight", n, s->dim, 0, false);
    lay_out(l, "model.layers.%d.mlp.gate_proj.weight", n, s->hidden, s->dim, false);
    lay_out(l, "model.layers.%d.mlp.down_proj.weight", n, s->dim, s->hidden, false);
    lay_out(l, "model.layers.%d.mlp.up_proj.weight", n, s->hidden, s->dim, false);
    lay_out(l, "model.norm.weight", 1, s->dim, 0, false);
    l->end += (uint64_t)s->seq_len * (uint64_t)s->head_size * sizeof(float); /* rotary tables */
    if (s->has_classifier) lay_out(l, "lm_head.weight", 1, s->n_vocab, s->dim, false);
    return NR_STATUS_OK;
}

/* Row of the input that becomes row r: pairs (2i, 2i+1) of each head to (i, i + half). */
static int64_t rotary_row(int64_t r, int64_t head_size) {
    int64_t head = r / head_size, i = r % head_size, half = head_size / 2;
    return head * head_size + (i < half ? 2 * i : 2 * (i - half) + 1);
}

static nr_status copy_tensor(const nr_file *f, const shape *s, const tensor *t, float *row,
                             nr_safetensors_writer *w, nr_error *err) {
    int64_t n_rows = t->cols ? t->rows : 1, n_cols = t->cols ? t->cols : t->rows;
    size_t row_bytes = (size_t)n_cols * sizeof *row;
    for (int64_t r = 0; r < n_rows; r++) {
        int64_t from = t->rotary ? rotary_row(r, s->head_size) : r;
        NR_TRY(nr_file_read_at(f, t->offset + (uint64_t)from * row_bytes, row, row_bytes, err));
        NR_TRY(nr_safetensors_writer_put(w, row, row_bytes, err));
    }
    return NR_STATUS_OK;
}

static nr_status convert_weights(const char *path, const char *out_dir, shape *s, nr_error *err) {
    nr_status status = NR_STATUS_OK;
    nr_file f = {.fd = -1};
    tensor_list l = {0};
    nr_safetensors_writer *w = NULL;
    char out_path[4096];
    float *row = NULL;
    NR_TRY_GOTO(nr_file_open(path, &f, err));
    NR_TRY_GOTO(read_shape(&f, s, err));
    NR_TRY_GOTO(lay_out_all(s, &l, err));
    NR_FAIL_IF_GOTO(l.end != f.size, FORMAT, "file of %llu bytes, its header says %llu",
                    (unsigned long long)f.size, (unsigned long long)l.end);
    row = nr_malloc((size_t)NR_MAX(s->dim, s->hidden) * sizeof *row);
    NR_FAIL_IF_GOTO(!row, NO_MEMORY, "one row");
    NR_TRY_GOTO(nr_safetensors_writer_create(&w, err));
    NR_TRY_GOTO(nr_safetensors_writer_add_metadata(w, "format", "pt", err));
    for (int i = 0; i < l.n; i++) {
        int64_t dims[2] = {l.items[i].rows, l.items[i].cols};
        NR_TRY_GOTO(nr_safetensors_writer_add(w, l.items[i].name, NR_DTYPE_F32,
                                              l.items[i].cols ? 2 : 1, dims, err));
    }
    NR_TRY_GOTO(nr_path_join(out_path, sizeof out_path, out_dir, "model.safetensors", err));
    NR_TRY_GOTO(nr_safetensors_writer_open(w, out_path, err));
    for (int i = 0; i < l.n; i++) NR_TRY_GOTO(copy_tensor(&f, s, &l.items[i], row, w, err));
    NR_TRY_GOTO(nr_safetensors_writer_commit(w, err));
done:
    nr_safetensors_writer_free(w);
    nr_free(row);
    nr_free(l.items);
    nr_file_close(&f);
    return status == NR_STATUS_OK ? status : nr_error_prefix(err, status, "%s", path);
}

/* --- tokenizer ------------------------------------------------------------------------------ */

typedef struct scored {
    char *text; /* owns; NUL-terminated, blanks spelled as in tokenizer.json */
    float score;
    int32_t id;
} scored;

typedef struct pieces {
    scored *items; /* owns [n] */
    int32_t n;
    json_t *vocab; /* owns; {text: id} */
} pieces;

static void pieces_free(pieces *p) {
    for (int32_t i = 0; p->items && i < p->n; i++) nr_free(p->items[i].text);
    nr_free(p->items);
    nr_json_free(p->vocab);
}

/* Text of piece id: the three special ones get their usual names, blanks their sign. */
static nr_status spell(const char *bytes, int32_t n_bytes, int32_t id, char **out, nr_error *err) {
    static const char *const special[N_SPECIAL] = {"<unk>", "<s>", "</s>"};
    if (id < N_SPECIAL) {
        bytes = special[id];
        n_bytes = (int32_t)strlen(bytes);
    }
    char *text = nr_malloc((size_t)n_bytes * 3 + 1), *p = text;
    NR_FAIL_IF(!text, NO_MEMORY, "piece %d", id);
    for (int32_t i = 0; i < n_bytes; i++) {
        const char *put = bytes[i] == ' ' ? BLANK : bytes + i;
        size_t n = bytes[i] == ' ' ? 3 : 1;
        memcpy(p, put, n);
        p += n;
    }
    *p = '\0';
    *out = text;
    return NR_STATUS_OK;
}

static nr_status read_piece(const char *file, size_t n_file, size_t *at, scored *out,
                            nr_error *err) {
    int32_t n_bytes;
    NR_FAIL_IF(n_file - *at < 8, FORMAT, "ends before piece %d", out->id);
    memcpy(&out->score, file + *at, 4);
    memcpy(&n_bytes, file + *at + 4, 4);
    *at += 8;
    NR_FAIL_IF(n_bytes < 1 || n_bytes > NR_TOKEN_BYTES_MAX / 3 || (size_t)n_bytes > n_file - *at,
               FORMAT, "piece %d: length %d at byte %zu of %zu", out->id, n_bytes, *at, n_file);
    NR_TRY(spell(file + *at, n_bytes, out->id, &out->text, err));
    *at += (size_t)n_bytes;
    return NR_STATUS_OK;
}

static nr_status read_pieces(const char *path, int32_t n, pieces *p, nr_error *err) {
    nr_status status = NR_STATUS_OK;
    char *file = NULL;
    size_t n_file, at = 4; /* after the longest piece's length */
    NR_TRY_GOTO(nr_file_read_all(path, 64u << 20, &file, &n_file, err));
    NR_FAIL_IF_GOTO(n_file < at, FORMAT, "%zu bytes", n_file);
    p->items = nr_calloc((size_t)n, sizeof *p->items);
    p->vocab = json_object();
    NR_FAIL_IF_GOTO(!p->items || !p->vocab, NO_MEMORY, "%d pieces", n);
    p->n = n;
    for (int32_t i = 0; i < n; i++) {
        p->items[i].id = i;
        NR_TRY_GOTO(read_piece(file, n_file, &at, &p->items[i], err));
        const char *text = p->items[i].text;
        NR_FAIL_IF_GOTO(json_object_get(p->vocab, text), FORMAT, "piece %d: the same as another",
                        i);
        NR_FAIL_IF_GOTO(json_object_set_new(p->vocab, text, json_integer(i)) != 0, FORMAT,
                        "piece %d: not UTF-8", i);
    }
    NR_FAIL_IF_GOTO(at != n_file, FORMAT, "%zu bytes after piece %d", n_file - at, n - 1);
done:
    nr_free(file);
    return status == NR_STATUS_OK ? status : nr_error_prefix(err, status, "%s", path);
}

static int best_score_first(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Append every way to cut the piece into two entries, "left right". */
static nr_status add_cuts(const pieces *p, const scored *piece, json_t *merges, nr_error *err) {
    char line[NR_TOKEN_BYTES_MAX + 2], left[NR_TOKEN_BYTES_MAX + 1];
    size_t n = strlen(piece->text);
    for (size_t cut = 1; cut < n; cut++) {
        if ((piece->text[cut] & 0xc0) == 0x80) continue;
        memcpy(left, piece->text, cut);
        left[cut] = '\0';
        if (!json_object_get(p->vocab, left) || !json_object_get(p->vocab, piece->text + cut))
            continue;
        snprintf(line, sizeof line, "%s %s", left, piece->text + cut);
        NR_FAIL_IF(json_array_append_new(merges, json_string(line)) != 0, NO_MEMORY, "merges");
    }
    return NR_STATUS_OK;
}

/* Merges in the order of the pieces' scores. Special and byte pieces are never merged to. */
static nr_status make_merges(pieces *p, json_t *merges, nr_error *err) {
    qsort(p->items, (size_t)p->n, sizeof *p->items, best_score_first);
    for (int32_t i = 0; i < p->n; i++)
        if (p->items[i].id >= N_SPECIAL + 256) NR_TRY(add_cuts(p, &p->items[i], merges, err));
    return NR_STATUS_OK;
}

static const char tokenizer_head[] =
    "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": ["
    "{\"id\": 0, \"content\": \"<unk>\", \"single_word\": false, \"lstrip\": false,"
    " \"rstrip\": false, \"normalized\": false, \"special\": true},"
    "{\"id\": 1, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false,"
    " \"rstrip\": false, \"normalized\": false, \"special\": true},"
    "{\"id\": 2, \"content\": \"</s>\", \"single_word\": false, \"lstrip\": false,"
    " \"rstrip\": false, \"normalized\": false, \"special\": true}],"
    "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": ["
    "{\"type\": \"Prepend\", \"prepend\": \"" BLANK "\"},"
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" BLANK "\"}]},"
    "\"pre_tokenizer\": null, \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": ["
    "{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\","
    " \"type_id\": 0}}], \"pair\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}},"
    " {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\","
    " \"type_id\": 1}}], \"special_tokens\": {\"<s>\":"
    " {\"id\": \"<s>\", \"ids\": [1], \"tokens\": [\"<s>\"]}}},"
    "\"decoder\": {\"type\": \"Sequence\", \"decoders\": ["
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \"" BLANK "\"}, \"content\": \" \"},"
    "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"},"
    "{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]},"
    "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": \"<unk>\","
    " \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": true,"
    " \"byte_fallback\": true, \"ignore_merges\": false}}";

/* --- output --------------------------------------------------------------------------------- */

static nr_status write_json(const json_t *root, const char *dir, const char *name, nr_error *err) {
    char path[4096];
    nr_file_writer w;
    NR_TRY(nr_path_join(path, sizeof path, dir, name, err));
    char *text = json_dumps(root, JSON_INDENT(1));
    NR_FAIL_IF(!text, NO_MEMORY, "%s", path);
    nr_status status = nr_file_writer_open(&w, path, err);
    if (status == NR_STATUS_OK) {
        status = nr_file_writer_put(&w, text, strlen(text), err);
        if (status == NR_STATUS_OK) status = nr_file_writer_commit(&w, err);
        nr_file_writer_abort(&w);
    }
    nr_free(text);
    return status;
}

static nr_status write_tokenizer(const char *path, const char *out_dir, int32_t n, nr_error *err) {
    nr_status status = NR_STATUS_OK;
    pieces p = {0};
    json_t *root = NULL, *merges = json_array(), *model;
    NR_FAIL_IF_GOTO(!merges, NO_MEMORY, "merges");
    NR_TRY_GOTO(nr_json_parse(tokenizer_head, sizeof tokenizer_head - 1, "tokenizer", &root, err));
    NR_TRY_GOTO(read_pieces(path, n, &p, err));
    NR_TRY_GOTO(make_merges(&p, merges, err));
    model = json_object_get(root, "model");
    NR_FAIL_IF_GOTO(json_object_set(model, "vocab", p.vocab) != 0 ||
                        json_object_set(model, "merges", merges) != 0,
                    NO_MEMORY, "tokenizer");
    NR_TRY_GOTO(write_json(root, out_dir, "tokenizer.json", err));
done:
    nr_json_free(merges);
    nr_json_free(root);
    pieces_free(&p);
    return status;
}

static nr_status write_configs(const shape *s, const char *out_dir, nr_error *err) {
    json_t *config = json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:i, s:i, s:f, s:f, s:s, s:b, s:i, s:i, s:s}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "hidden_size", s->dim,
        "intermediate_size", s->hidden, "num_hidden_layers", s->n_layers, "num_attention_heads",
        s->n_heads, "num_key_value_heads", s->n_kv_heads, "head_dim", (json_int_t)s->head_size,
        "vocab_size", s->n_vocab, "max_position_embeddings", s->seq_len, "rms_norm_eps", 1e-5,
        "rope_theta", 10000.0, "hidden_act", "silu", "tie_word_embeddings", !s->has_classifier,
        "bos_token_id", 1, "eos_token_id", 2, "torch_dtype", "float32");
    json_t *generation = json_pack("{s:i, s:[i, i]}", "bos_token_id", 1, "eos_token_id", 1, 2);
    nr_status status = NR_STATUS_OK;
    NR_FAIL_IF_GOTO(!config || !generation, NO_MEMORY, "config.json");
    NR_TRY_GOTO(write_json(config, out_dir, "config.json", err));
    NR_TRY_GOTO(write_json(generation, out_dir, "generation_config.json", err));
done:
    nr_json_free(config);
    nr_json_free(generation);
    return status;
}

static nr_status convert(const char *model, const char *tokenizer, const char *out_dir,
                         nr_error *err) {
    shape s;
    nr_json_use_our_alloc();
    NR_FAIL_IF(mkdir(out_dir, 0777) != 0 && errno != EEXIST, IO, "%s: %s", out_dir,
               strerror(errno));
    NR_TRY(convert_weights(model, out_dir, &s, err));
    NR_TRY(write_tokenizer(tokenizer, out_dir, s.n_vocab, err));
    return write_configs(&s, out_dir, err);
}

int main(int argc, char **argv) {
    nr_error err = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: llama2c_to_hf MODEL.bin TOKENIZER.bin OUT_DIR\n");
        return 2;
    }
    if (convert(argv[1], argv[2], argv[3], &err) == NR_STATUS_OK) return 0;
    fprintf(stderr, "llama2c_to_hf: %s\n", err.message);
    return 1;
}
