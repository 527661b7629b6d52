/* SPDX-License-Identifier: MIT
 *
 * ckpt_tokenizer.h - a tokenizer.json for a made-up checkpoint, over a small English vocabulary
 * written for this purpose, filled up with pseudo-words: in LLaMA's layout (byte-fallback BPE) or
 * OPT's (byte-level BPE).
 */
#ifndef CKPT_TOKENIZER_H
#define CKPT_TOKENIZER_H

#include "ckpt_spec.h"
#include "nr_json.h"

/* Token ids as in LLaMA: 0 <unk>, 1 <s>, 2 </s>, 3 to 258 the bytes; <image> is
 * spec->n_base_tokens and <pad> the next. As in OPT: 0 <s>, 1 <pad>, 2 </s>, 3 <unk>, the bytes but
 * the line break, which is spec->stop_id. Transfers *out. Errors: NO_MEMORY. */
nr_status ckpt_tokenizer_make(const ckpt_spec *spec, json_t **out, nr_error *err);

#endif
