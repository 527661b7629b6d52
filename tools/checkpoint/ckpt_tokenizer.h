/* SPDX-License-Identifier: MIT
 *
 * ckpt_tokenizer.h - a tokenizer.json in LLaMA's layout for a made-up checkpoint: byte-fallback BPE
 * over a small English vocabulary written for this purpose, filled up with pseudo-words.
 */
#ifndef CKPT_TOKENIZER_H
#define CKPT_TOKENIZER_H

#include "ckpt_spec.h"
#include "nr_json.h"

/* Token ids as in LLaMA: 0 <unk>, 1 <s>, 2 </s>, 3 to 258 the bytes; <image> is
 * spec->n_base_tokens and <pad> the next. Transfers *out. Errors: NO_MEMORY. */
nr_status ckpt_tokenizer_make(const ckpt_spec *spec, json_t **out, nr_error *err);

#endif
