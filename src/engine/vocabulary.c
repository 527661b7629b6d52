/* SPDX-License-Identifier: MIT
 * vocabulary.c - a checkpoint's tokenizer for programs that need ids only. */
#include "newsreader.h"

#include "tokenizer.h"

#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_limits.h"

struct nr_vocabulary {
    nr_tokenizer *tokenizer; /* owns */
    nr_encoder *encoder;     /* owns */
    int32_t *ids;            /* owns [ids_cap] */
    size_t ids_cap;
};

static nr_status open_parts(nr_vocabulary *v, const char *model_dir, nr_error *err) {
    char path[4096];
    NR_TRY(nr_path_join(path, sizeof path, model_dir, "tokenizer.json", err));
    NR_TRY(nr_tokenizer_open(path, &v->tokenizer, err));
    NR_TRY(nr_encoder_create(v->tokenizer, NR_PROMPT_BYTES_MAX, &v->encoder, err));
    v->ids_cap = 4 * (size_t)NR_PROMPT_BYTES_MAX; /* no normalizer gives more than that */
    v->ids = nr_malloc(v->ids_cap * sizeof *v->ids);
    NR_FAIL_IF(!v->ids, NO_MEMORY, "%zu token ids", v->ids_cap);
    return NR_STATUS_OK;
}

nr_status nr_vocabulary_open(const char *model_dir, nr_vocabulary **out, nr_error *err) {
    nr_vocabulary *v = nr_calloc(1, sizeof *v);
    NR_FAIL_IF(!v, NO_MEMORY, "vocabulary");
    nr_status status = open_parts(v, model_dir, err);
    if (status != NR_STATUS_OK) {
        nr_vocabulary_close(v);
        return status;
    }
    *out = v;
    return NR_STATUS_OK;
}

void nr_vocabulary_close(nr_vocabulary *v) {
    if (!v) return;
    nr_encoder_free(v->encoder);
    nr_tokenizer_free(v->tokenizer);
    nr_free(v->ids);
    nr_free(v);
}

nr_status nr_vocabulary_encode(nr_vocabulary *v, const char *text, size_t n_bytes, bool frame,
                               bool parse_special, const int32_t **ids, size_t *n_ids,
                               nr_error *err) {
    nr_id_list list = {.ids = v->ids, .cap = v->ids_cap};
    unsigned flags = (frame ? NR_ENCODE_SPECIAL_FRAME : 0u) |
                     (parse_special ? NR_ENCODE_PARSE_SPECIAL : 0u);
    NR_TRY(nr_encode(v->encoder, text, n_bytes, flags, &list, err));
    *ids = v->ids;
    *n_ids = list.n;
    return NR_STATUS_OK;
}
