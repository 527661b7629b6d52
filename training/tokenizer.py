# SPDX-License-Identifier: MIT
"""Byte-level BPE of VOCAB tokens, trained on the generator's own text; and the packing of questions.

    python3 -m training.tokenizer      writes tokenizer.json into the assets folder
"""
import os, random
import numpy as np
from .common import (ASSETS, BOS, EOS, FIELDS, IMG, PARAPHRASES, QUESTIONS, SPECIALS, VOCAB, describe)

WEIGHT = {"headline": 1.5, "byline": 6.0, "date": 2.5, "lead": .8}     # of a token's loss: few tokens, much to get wrong
PATH = os.path.join(ASSETS, "tokenizer.json")


def train(path=PATH):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from .text import Text
    r = random.Random(11)
    t = Text(r)
    t.rnd = 0.03
    lines = []
    for _ in range(30000):
        lines += [t.headline(), t.byline()[1], t.site(), "".join(t.date())]
    for _ in range(15000):
        lines.append(t.paragraph())
    for q in list(QUESTIONS.values()) * 30 + [p for ps in PARAPHRASES.values() for p in ps] * 8:
        lines += ["USER: \n" + q + " ASSISTANT:"] * 40
    lines += [" none", " unreadable"] * 2000
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=SPECIALS, show_progress=False,
                                                       initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)])
    tok.save(path)
    n = sum(len(tok.encode(l, add_special_tokens=False).ids) for l in lines[-9000:-5000])
    print("tokens", tok.get_vocab_size(), "characters a token %.2f" % (sum(map(len, lines[-9000:-5000])) / n))


class Packer:
    """Turns a page's fields into training tokens: several questions, each its own segment.

    pack() gives ids, targets (-1: no loss), seg (segment number, 0: padding), pos (position inside the
    segment) and weight, arrays of MAX_TEXT. Every segment continues the shared prefix "<s>USER: " +
    image; segments do not see each other.
    """

    def __init__(self, r, length, path=PATH):
        from tokenizers import Tokenizer
        self.tok = Tokenizer.from_file(path)
        self.r, self.n = r, length
        self.cache = {}
        self.prefix = self.tok.encode("USER: ", add_special_tokens=False).ids

    def ids(self, s, keep=False):
        if s in self.cache:
            return self.cache[s]
        i = self.tok.encode(s, add_special_tokens=False).ids
        if keep:
            self.cache[s] = i
        return i

    def pack(self, f):
        r = self.r
        asks = [k for k in FIELDS if k in f]
        r.shuffle(asks)
        if "headline" in asks and r.random() < .8:           # the headline first, the lead last, mostly
            asks.remove("headline")
            asks.insert(0, "headline")
        if f.get("lead") and r.random() < .5 and "lead" in asks:
            asks.remove("lead")
            asks.append("lead")
        if all(k in f for k in ("headline", "site")) and r.random() < .08:
            asks.insert(0, "describe")
        ids = np.zeros(self.n, np.int64)
        tgt = np.full(self.n, -1, np.int64)
        seg = np.zeros(self.n, np.int64)
        pos = np.zeros(self.n, np.int64)
        wt = np.zeros(self.n, np.float32)
        at, s = 0, 0
        for k in asks:
            q = r.choice(PARAPHRASES[k]) if k == "describe" or r.random() < .15 else QUESTIONS[k]
            a = describe(f) if k == "describe" else f[k]
            qi = self.ids("\n" + q + " ASSISTANT:", True)
            ai = self.ids(" " + a) + [EOS]
            x = (qi + ai)[:-1]
            y = [-1] * (len(qi) - 1) + ai
            if at + len(x) > self.n:
                if k != "lead" or self.n - at < len(qi) + 24:
                    continue
                x, y = x[:self.n - at], y[:self.n - at]
            s += 1
            e = at + len(x)
            ids[at:e], tgt[at:e], seg[at:e], pos[at:e] = x, y, s, np.arange(len(x))
            wt[at:e] = WEIGHT.get(k, 1.5)
            at = e
        return ids, tgt, seg, pos, wt


if __name__ == "__main__":
    train()
