/* SPDX-License-Identifier: MIT
 *
 * fuzz_tokenize.c - any bytes as text for the small tokenizers under tests/data/text (run from the
 * repository root). The first byte chooses the tokenizer (two low bits) and flags (next two), the
 * rest is the text, and once more the ids of a sequence to decode.
 *
 * Held: text from users gives no control ids; what is not UTF-8 is refused and nothing else is;
 * byte-level text comes back exactly; pieces of a stream are UTF-8 and add up to the whole.
 */
#include "detok.h"
#include "tokenizer.h"
#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 4096
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) abort();                                                                      \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static nr_tokenizer *toks[4];
static nr_encoder *encs[4];
static int32_t ids[8 * TEXT_MAX];
static char whole[1 << 20], streamed[1 << 20];

static void open_all(void) {
    static const char *const names[4] = {"letters", "bytes", "metaspace", "wordpiece"};
    for (int i = 0; i < 4 && !toks[i]; i++) {
        char path[100];
        nr_error err;
        snprintf(path, sizeof path, "tests/data/text/%s.json", names[i]);
        if (nr_tokenizer_open(path, &toks[i], &err) != NR_STATUS_OK ||
            nr_encoder_create(toks[i], TEXT_MAX, &encs[i], &err) != NR_STATUS_OK) {
            fprintf(stderr, "%s (run from the repository root)\n", err.message);
            abort();
        }
    }
}

static size_t stream(const nr_tokenizer *tok, size_t n_ids, unsigned flags) {
    nr_detok d;
    nr_error err;
    size_t n = 0;
    nr_detok_init(&d, tok, flags);
    for (size_t i = 0; i <= n_ids; i++) {
        nr_text_buf piece = {streamed + n, NR_DETOK_PIECE_MAX, 0};
        nr_status status = i < n_ids ? nr_detok_push(&d, ids[i], &piece, &err)
                                     : nr_detok_finish(&d, &piece, &err);
        CHECK(status == NR_STATUS_OK);
        CHECK(nr_utf8_valid_bytes((uint8_t *)piece.bytes, piece.n) == piece.n);
        n += piece.n;
    }
    return n;
}

static size_t check_decoding(const nr_tokenizer *tok, size_t n_ids, unsigned flags) {
    nr_error err;
    nr_text_buf out = {whole, sizeof whole, 0};
    CHECK(nr_tokenizer_decode(tok, ids, n_ids, flags, &out, &err) == NR_STATUS_OK);
    CHECK(stream(tok, n_ids, flags) == out.n && memcmp(whole, streamed, out.n) == 0);
    return out.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > TEXT_MAX) return 0;
    open_all();
    int which = data[0] & 3;
    unsigned flags = data[0] >> 2 & 3;
    const char *text = (const char *)data + 1;
    size_t n = size - 1;
    nr_error err;
    nr_id_list list = {ids, NR_COUNT(ids), 0};
    nr_status status = nr_encode(encs[which], text, n, flags, &list, &err);
    bool valid = nr_utf8_valid_bytes(data + 1, n) == n;
    CHECK(status == (valid ? NR_STATUS_OK : NR_STATUS_FORMAT));
    if (valid) {
        nr_frame frame = nr_tokenizer_frame(toks[which]);
        size_t begin = flags & 1 ? frame.n_prefix : 0,
               end = list.n - (flags & 1 ? frame.n_suffix : 0);
        int32_t unknown = which == 3 ? nr_tokenizer_id(toks[3], "[UNK]", 5) : 0;
        for (size_t i = begin; i < end && !(flags & NR_ENCODE_PARSE_SPECIAL); i++)
            CHECK(!nr_tokenizer_is_special(toks[which], ids[i]) || ids[i] == unknown);
        size_t n_out = check_decoding(toks[which], list.n, flags);
        if (which == 1 && !(flags & NR_DECODE_SKIP_SPECIAL))
            CHECK(n_out == n && memcmp(whole, text, n) == 0);
    }
    for (size_t i = 0; i < n / 2; i++)
        ids[i] =
            (data[1 + 2 * i] | data[2 + 2 * i] << 8) % (nr_tokenizer_vocab_size(toks[which]) + 2);
    check_decoding(toks[which], n / 2, flags);
    return 0;
}
