/* SPDX-License-Identifier: MIT
 *
 * fuzz_tokenizer_json.c - any bytes as a tokenizer.json. What loads must encode and decode without
 * fault, give ids inside its vocabulary and text that is UTF-8.
 */
#include "nr_alloc.h"
#include "nr_json.h"
#include "tokenizer.h"
#include "utf8.h"

#include <stdlib.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) abort();                                                                      \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const nr_tokenizer *tok) {
    static const char said[] = "ab hello  \n12<s>\xc3\xa9\xf0\x9f\xa6\x99 \xe2\x96\x81it's </s>b";
    static char text[1 << 17];
    int32_t ids[512];
    nr_error err;
    nr_encoder *enc = NULL;
    if (nr_encoder_create(tok, 64, &enc, &err) != NR_STATUS_OK) return;
    for (unsigned flags = 0; flags < 4; flags++) {
        nr_id_list list = {ids, 512, 0};
        if (nr_encode(enc, said, sizeof said - 1, flags, &list, &err) != NR_STATUS_OK) continue;
        for (size_t i = 0; i < list.n; i++)
            CHECK(ids[i] >= 0 && ids[i] < nr_tokenizer_vocab_size(tok));
        nr_text_buf out = {text, sizeof text, 0};
        if (nr_tokenizer_decode(tok, ids, list.n, flags, &out, &err) == NR_STATUS_OK)
            CHECK(nr_utf8_valid_bytes((uint8_t *)text, out.n) == out.n);
    }
    nr_encoder_free(enc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    nr_error err;
    json_t *root = NULL;
    nr_tokenizer *tok = NULL;
    if (size > 1 << 16) return 0;
    if (nr_json_parse((const char *)data, size, "fuzz", &root, &err) != NR_STATUS_OK) return 0;
    uint64_t live = nr_alloc_get_stats().live_count;
    if (nr_tokenizer_create(root, &tok, &err) == NR_STATUS_OK) use(tok);
    nr_tokenizer_free(tok);
    CHECK(nr_alloc_get_stats().live_count == live);
    nr_json_free(root);
    return 0;
}
