# SPDX-License-Identifier: MIT
"""Reads an evaluation folder (PNG + labels.jsonl) with a model through transformers and scores it.

    python3 -m training.evaluate MODEL SET [SET ...] [--out report.json] [--int8] [--answers answers.jsonl]
    newsreader read --fields headline,byline,site,date,lead --json SET/*.png > REPLIES.jsonl
    python3 -m training.evaluate REPLIES.jsonl SET

Pages of other sizes than the model's are padded to a square with CLIP's mean colour and reduced with
Pillow's bicubic filter, as preprocessing does. --int8 quantises weights (per row) and activations (per
token) of every linear layer on the way, as the engine does.
"""
import argparse, json, os, time
import numpy as np
from .common import CLIP_MEAN, CLIP_STD, FIELDS, IMAGE_TOKENS, IMG, BOS, EOS, NONE, PAD_RGB, QUESTIONS, SIZE, UNREADABLE

LIMIT = {"headline": 96, "byline": 48, "site": 40, "date": 40, "lead": 256}


def distance(a, b):
    """Levenshtein distance."""
    if a == b:
        return 0
    prev = np.arange(len(b) + 1)
    bb = np.array([ord(c) for c in b])
    for i, c in enumerate(a, 1):
        cost = np.minimum(prev[1:] + 1, prev[:-1] + (bb != ord(c)))
        cur = np.empty_like(prev)
        cur[0] = i
        run = np.minimum.accumulate(np.concatenate(([i], cost)) - np.arange(len(b) + 1)) + np.arange(len(b) + 1)
        prev = run
    return int(prev[-1])


def square(path):
    """The page as the model sees it: u8 [448,448,3]."""
    from PIL import Image
    im = Image.open(path).convert("RGB")
    if im.size != (SIZE, SIZE):
        n = max(im.size)
        sq = Image.new("RGB", (n, n), PAD_RGB)
        sq.paste(im, ((n - im.width) // 2, (n - im.height) // 2))
        im = sq.resize((SIZE, SIZE), Image.BICUBIC)
    return np.asarray(im)


def fake_int8(model):
    """Every linear layer: weights INT8 per row, activations INT8 per token, both symmetric."""
    import torch
    def hook(mod, args):
        x = args[0]
        s = x.abs().amax(-1, keepdim=True).clamp(min=1e-8) / 127
        return ((x / s).round().clamp(-127, 127) * s,)
    for n, mod in model.named_modules():
        if isinstance(mod, torch.nn.Linear):
            with torch.no_grad():
                w = mod.weight
                s = w.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
                w.copy_((w / s).round().clamp(-127, 127) * s)
            mod.register_forward_pre_hook(hook)


class Engine:
    def __init__(self, folder, int8=False):
        import torch
        from tokenizers import Tokenizer
        from transformers import LlavaForConditionalGeneration
        self.torch = torch
        self.dev = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = False
        self.m = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").to(self.dev).eval()
        if int8:
            fake_int8(self.m)
        self.tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))

    def ask(self, imgs, field):
        """Greedy answers of a batch of u8 pages to one field's question."""
        t = self.torch
        e = lambda s: self.tok.encode(s, add_special_tokens=False).ids
        ids = [BOS] + e("USER: ") + [IMG] * IMAGE_TOKENS + e("\n" + QUESTIONS[field] + " ASSISTANT:")
        x = t.from_numpy(np.stack(imgs)).to(self.dev).permute(0, 3, 1, 2).float() / 255
        x = (x - t.tensor(CLIP_MEAN, device=self.dev).view(1, 3, 1, 1)) / t.tensor(CLIP_STD, device=self.dev).view(1, 3, 1, 1)
        ii = t.tensor([ids] * len(imgs), device=self.dev)
        with t.no_grad():
            out = self.m.generate(input_ids=ii, pixel_values=x, attention_mask=t.ones_like(ii), do_sample=False, max_new_tokens=LIMIT[field], eos_token_id=EOS, pad_token_id=2)
        res = []
        for row in out[:, len(ids):].tolist():
            row = row[:row.index(EOS)] if EOS in row else row
            res.append(self.tok.decode(row, skip_special_tokens=True).strip())
        return res


class Replies:
    """Answers that the command has given already, by the path of the page."""

    def __init__(self, path):
        self.by_path = {}
        for line in open(path, encoding="utf8"):
            j = json.loads(line)
            if "fields" in j:
                self.by_path[os.path.realpath(j["file"])] = {k: NONE if v is None else v for k, v in j["fields"].items()}

    def has(self, path):
        return os.path.realpath(path) in self.by_path

    def answers(self, path):
        return self.by_path[os.path.realpath(path)]


def score(rows, answers):
    """Metrics over rows (labels) and answers (dicts by field)."""
    out = {"pages": len(rows)}
    bad = [i for i, r in enumerate(rows) if all(r["fields"].get(k) == UNREADABLE for k in FIELDS)]
    isbad = set(bad)
    good = [i for i in range(len(rows)) if i not in isbad]
    if bad:
        n = [sum(answers[i].get(k) == UNREADABLE for i in bad) / len(bad) for k in FIELDS if k in answers[bad[0]]]
        out["unreadable_pages"] = len(bad)
        out["unreadable_recall"] = round(float(np.mean(n)), 4)
    out["false_unreadable"] = round(sum(answers[i].get("headline") == UNREADABLE for i in good) / max(1, len(good)), 4)
    for k in FIELDS:
        idx = [i for i in good if k in rows[i]["fields"] and k in answers[i]]
        if not idx:
            continue
        out[k + "_n"] = len(idx)
        out[k + "_exact"] = round(sum(answers[i][k] == rows[i]["fields"][k] for i in idx) / len(idx), 4)
        txt = [i for i in idx if rows[i]["fields"][k] not in (NONE, UNREADABLE)]
        e = sum(distance(answers[i][k], rows[i]["fields"][k]) for i in txt)
        out[k + "_cer"] = round(e / max(1, sum(len(rows[i]["fields"][k]) for i in txt)), 5)
        no = [i for i in idx if rows[i]["fields"][k] == NONE]
        if no:
            out[k + "_none_n"] = len(no)
            out[k + "_none_right"] = round(sum(answers[i][k] == NONE for i in no) / len(no), 4)
    return out


def ask_all(engine, folder, rows, fields, batch):
    answers = [{} for _ in rows]
    for s in range(0, len(rows), batch):
        imgs = [square(os.path.join(folder, r["file"])) for r in rows[s:s + batch]]
        for k in fields:
            for i, t in enumerate(engine.ask(imgs, k)):
                answers[s + i][k] = t
    return answers


def run(engine, folder, fields=FIELDS, batch=100, limit=None, keep=None):
    rows = [json.loads(l) for l in open(os.path.join(folder, "labels.jsonl"), encoding="utf8")][:limit]
    if isinstance(engine, Replies):
        rows = [r for r in rows if engine.has(os.path.join(folder, r["file"]))]
        answers = [engine.answers(os.path.join(folder, r["file"])) for r in rows]
    else:
        answers = ask_all(engine, folder, rows, fields, batch)
    rep = {"all": score(rows, answers)}
    parts = [("seen", lambda r: not r.get("held")), ("held", lambda r: r.get("held"))]
    kind = lambda r: r.get("layout") or r.get("template") or "?"
    parts += [(name, lambda r, name=name: kind(r) == name) for name in sorted({kind(r) for r in rows})]
    for name, want in parts:
        ix = [i for i, r in enumerate(rows) if want(r)]
        if ix and len(ix) < len(rows):
            rep[name] = score([rows[i] for i in ix], [answers[i] for i in ix])
    if keep:
        with open(keep, "a", encoding="utf8") as o:
            for r, a in zip(rows, answers):
                o.write(json.dumps({"set": os.path.basename(folder.rstrip("/")), "file": r["file"], "held": r.get("held"), "fields": r["fields"], "answers": a}, ensure_ascii=False) + "\n")
    return rep


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("sets", nargs="+")
    a.add_argument("--out")
    a.add_argument("--answers")
    a.add_argument("--int8", action="store_true")
    a.add_argument("--limit", type=int)
    a.add_argument("--batch", type=int, default=100)
    a.add_argument("--fields", default=",".join(FIELDS))
    v = a.parse_args()
    eng = Replies(v.model) if v.model.endswith(".jsonl") else Engine(v.model, v.int8)
    report = {}
    for s in v.sets:
        t0 = time.time()
        report[os.path.basename(s.rstrip("/"))] = rep = run(eng, s, v.fields.split(","), v.batch, v.limit, v.answers)
        print(s, "(%.0f s)" % (time.time() - t0))
        for part, d in rep.items():
            print("  %-10s" % part, json.dumps(d), flush=True)
    if v.out:
        json.dump(report, open(v.out, "w"), indent=1)
