#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A slow numpy twin of the models newsreader runs, and a study of INT8 schemes on it.

Role: the oracle behind docs/QUANT.md. It computes LLaVA-1.5 (CLIP ViT, projector, Llama), BLIP-2
(ViT, Q-Former, OPT) and plain Llama in float32, checks itself against recorded activations, then
repeats the pass with every linear replaced by an emulated INT8 one, and prints how far the logits
move (cosine and ||a-b||/||b|| over the last four positions) or how the perplexity changes.
Not for: speed, images, tokenizing whole prompts. Needs numpy only; `tokenizers` for `perplexity`
on a GGUF file.

Use:
  quant_study.py check      DIR...                    float32 against DIR/golden, every stage
  quant_study.py golden     DIR [SCHEME...]           each scheme against DIR/golden, per case
  quant_study.py spread     DIR RUNS SCHEME...        the same over RUNS jittered copies a case
  quant_study.py where      DIR SCHEME                the error each kind of linear adds on its own
  quant_study.py perplexity FILE.gguf TEXT [SCHEME...]
  quant_study.py text       PAGES                     English paragraphs of PAGES/*/expected.html
  quant_study.py inputs     FILE.gguf TEXT            outliers that reach each kind of linear
  quant_study.py stories    FILE.bin [SCHEME...]      a llama2.c file, on text it generates itself
  quant_study.py traces     A B NAME...               tensors NAME of two `newsreader trace` files
  quant_study.py vectors    DIR SCHEME                check values for another implementation
  quant_study.py schemes                              the names above

Method: a scheme is a dict of options (see SCHEMES) read by class Int8. Integer products are taken
in float64 (float32 where the sum stays below 2^24), where they are exact, so only the order of the
float epilogue can differ from a C implementation: see Int8.__call__.
"""
import json
import math
import os
import struct
import sys

import numpy as np

F = np.float32


# ------------------------------------------------------------------------------------ files

def read_safetensors(path):
    """name -> float32 array; f32, f16 and bf16 only, other types are left out."""
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(size))
        body = f.read()
    out = {}
    for name, t in head.items():
        if name == "__metadata__":
            continue
        a, b = t["data_offsets"]
        raw = body[a:b]
        if t["dtype"] == "F32":
            v = np.frombuffer(raw, "<f4")
        elif t["dtype"] == "F16":
            v = np.frombuffer(raw, "<f2").astype(F)
        elif t["dtype"] == "BF16":
            v = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(F)
        else:
            continue
        out[name] = v.reshape(t["shape"]).astype(F)
    return out


GGUF_SCALAR = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "<u1",
               10: "<u8", 11: "<i8", 12: "<f8"}


def dequant_q4_1(raw, n):
    """Blocks of 32: f16 d, f16 m, 16 bytes; low nibbles are values 0..15, high ones 16..31."""
    b = np.frombuffer(raw, np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)]))
    q = np.concatenate([b["q"] & 15, b["q"] >> 4], 1).astype(F)
    return (q * b["d"].astype(F)[:, None] + b["m"].astype(F)[:, None]).reshape(-1)[:n]


def dequant_q8_0(raw, n):
    """Blocks of 32: f16 d, 32 int8."""
    b = np.frombuffer(raw, np.dtype([("d", "<f2"), ("q", "i1", 32)]))
    return (b["q"].astype(F) * b["d"].astype(F)[:, None]).reshape(-1)[:n]


def dequant_q6_k(raw, n):
    """Super-blocks of 256: 128 bytes low nibbles, 64 bytes high pairs, 16 int8 scales, f16 d."""
    b = np.frombuffer(raw, np.dtype([("ql", "u1", 128), ("qh", "u1", 64), ("sc", "i1", 16),
                                     ("d", "<f2")]))
    out = np.empty((len(b), 256), F)
    for half in (0, 1):
        ql = b["ql"][:, half * 64:half * 64 + 64]
        qh = b["qh"][:, half * 32:half * 32 + 32]
        for k in range(4):
            low = ql[:, (k & 1) * 32:(k & 1) * 32 + 32]
            low = low & 15 if k < 2 else low >> 4
            q = (low | (((qh >> (2 * k)) & 3) << 4)).astype(F) - 32
            s = np.repeat(b["sc"][:, half * 8 + 2 * k:half * 8 + 2 * k + 2].astype(F), 16, 1)
            at = half * 128 + k * 32
            out[:, at:at + 32] = q * s * b["d"].astype(F)[:, None]
    return out.reshape(-1)[:n]


# ggml type -> (elements a block, bytes a block, dequantise)
GGUF_TYPE = {
    0: (1, 4, lambda r, n: np.frombuffer(r, "<f4")),
    1: (1, 2, lambda r, n: np.frombuffer(r, "<f2").astype(F)),
    3: (32, 20, dequant_q4_1),
    8: (32, 34, dequant_q8_0),
    14: (256, 210, dequant_q6_k),
}


def read_gguf(path):
    """(metadata, name -> float32 array in [out, in] order)."""
    buf = open(path, "rb").read()
    at = 0

    def take(fmt):
        nonlocal at
        v = struct.unpack_from(fmt, buf, at)[0]
        at += struct.calcsize(fmt)
        return v

    def string():
        nonlocal at
        n = take("<Q")
        at += n
        return buf[at - n:at].decode("utf-8", "replace")

    def value(kind):
        nonlocal at
        if kind == 8:
            return string()
        if kind == 9:
            k, n = take("<I"), take("<Q")
            if k in (8, 9):
                return [value(k) for _ in range(n)]
            v = np.frombuffer(buf, GGUF_SCALAR[k], n, at)
            at += v.nbytes
            return v
        v = np.frombuffer(buf, GGUF_SCALAR[kind], 1, at)
        at += v.nbytes
        return v[0].item()

    if buf[:4] != b"GGUF":
        raise SystemExit(f"{path}: not a GGUF file")
    at = 8
    n_tensors, n_meta = take("<Q"), take("<Q")
    meta = {}
    for _ in range(n_meta):
        key = string()
        meta[key] = value(take("<I"))
    info = []
    for _ in range(n_tensors):
        name = string()
        dims = [take("<Q") for _ in range(take("<I"))]
        info.append((name, dims, take("<I"), take("<Q")))
    align = meta.get("general.alignment", 32)
    base = (at + align - 1) // align * align
    out = {}
    for name, dims, kind, off in info:
        per, size, fn = GGUF_TYPE[kind]
        n = math.prod(dims)
        out[name] = fn(buf[base + off:base + off + n // per * size], n).reshape(dims[::-1])
    return meta, out


# ------------------------------------------------------------------------------------ INT8

def scale_of(amax):
    """amax / 127 in float32; 1 where nothing is there (codes are 0 then)."""
    amax = np.asarray(amax, F)
    return np.where(amax < F(1e-30), F(1), amax / F(127)).astype(F)


def codes(x, s):
    """x / s rounded half to even into [-127, 127]; the division is x * (1/s) in float32."""
    return np.clip(np.rint(x * (F(1) / s)), -127, 127).astype(F)


def product(a, b):
    """Exact integer product of code matrices, a [m, k] by b [n, k]; returned as float32 of it."""
    if a.shape[-1] * 127 * 127 < 2 ** 24:
        return a @ b.T
    if b.size > 4e5 and a.shape[-1] <= 8192:      # sums stay far below 2^24 in practice; checked
        r = a @ b.T
        assert np.abs(a).sum(-1).max() * 127 < 2 ** 31
        return r
    return (a.astype(np.float64) @ b.T.astype(np.float64)).astype(F)


def blocked(x, n):
    """Codes * scale over blocks of n along the last axis: what Q8_0 keeps (its scale is f16)."""
    k = x.shape[-1]
    pad = (-k) % n
    y = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, pad)]).reshape(*x.shape[:-1], -1, n)
    s = scale_of(np.abs(y).max(-1, keepdims=True)).astype(np.float16).astype(F)
    s = np.where(s == 0, F(1), s)
    return (codes(y, s) * s).reshape(*x.shape[:-1], -1)[..., :k]


def checksum(q):
    """Sum of code * (1 + index % 251) over the matrix in row-major order."""
    q = q.astype(np.int64).ravel()
    return int((q * (1 + np.arange(q.size) % 251)).sum())


def rotated(x):
    """Walsh-Hadamard transform of each block of the last axis, not normalised, butterflies in
    the order 1, 2, 4, ...; a block is the largest power of two that divides the axis."""
    k = x.shape[-1]
    b, step = k & -k, 1
    y = x.astype(F)
    while step < b:
        y = y.reshape(*x.shape[:-1], k // (2 * step), 2, step)
        y = np.stack([y[..., 0, :] + y[..., 1, :], y[..., 0, :] - y[..., 1, :]], -2)
        y = y.reshape(x.shape)
        step *= 2
    return y


class Linear:
    """One weight [out, in], its bias, and what is known of its input: gamma, beta of the norm."""

    def __init__(self, name, w, b=None, gamma=None, beta=None, kind=""):
        self.name, self.kind = name, kind
        self.w = np.ascontiguousarray(w, F)
        self.b, self.gamma, self.beta = b, gamma, beta
        self.spread = None        # foretold rms of each residual channel before the norm, or None

    def __call__(self, x):
        y = x @ self.w.T
        return y if self.b is None else y + self.b


def static_columns(lin, n, score):
    """The n inputs of a norm-fed linear kept out of the INT8 product, ascending."""
    if lin.gamma is None or n == 0:
        return np.zeros(0, int)
    g = np.abs(lin.gamma)
    if score == "gw":
        g = g * np.sqrt((lin.w ** 2).sum(0))
    elif score == "r" and lin.spread is not None:
        g = g * lin.spread
    elif score == "gb" and lin.beta is not None:
        g = np.sqrt(lin.gamma ** 2 + lin.beta ** 2)
    n = min(n, len(g))
    return np.sort(np.argsort(-g, kind="stable")[:n])


class Int8:
    """An emulated INT8 linear. Options (all optional):

    block=n          blocks of n for weights and activations (Q8_0-like), nothing else applies
    n, score         static float columns of norm-fed linears; score g, gw, gb or r (gamma times
                     the residual channel's rms foretold from the weights before it)
    rowscale         'without' (default) or 'with' these columns in the weight row's scale
    colbits          'float' (default), 'f16', or (weight bits, activation bits) as an own group
    k, k_on, k_w     dynamic: k largest |x| of each token out of the scale; on 'all', 'other'
                     (linears not fed by a norm); weights 'int8' or 'exact'
    digits, ratio    second activation digit on 'all'/'other'/'norm'; with ratio r only for tokens
                     whose amax > r * mean|x|
    wdigits          second weight digit, 1: all products but low*low, 2: that one too
    wlow, alow       largest code of the second digits (127: 8 bits, 7: 4 bits)
    by               options by kind of linear, over these; float: leave it alone
    smooth           SmoothQuant alpha, gamma as the activation scale
    rotate           Hadamard rotation of the input, after the static columns are taken out
    only             'w' or 'a': quantise the weights or the activations alone
    skip             kinds of linears left in float
    """

    def __init__(self, lin, o):
        self.lin, self.o = lin, o
        self.normed = lin.gamma is not None
        w = lin.w
        self.div = None
        if o.get("smooth") is not None and self.normed:
            a = o["smooth"]
            g = np.maximum(np.abs(lin.gamma if lin.beta is None or o.get("score") != "gb" else
                                  np.hypot(lin.gamma, lin.beta)), F(1e-3))
            wm = np.maximum(np.abs(w).max(0), F(1e-5))
            self.div = (g ** a / wm ** (1 - a)).astype(F)
            w = w * self.div
        self.cols = static_columns(lin, o.get("n", 0), o.get("score", "g"))
        if o.get("block"):
            self.wq = blocked(w, o["block"])
            return
        rest = w.copy()
        rest[:, self.cols] = 0
        if o.get("rotate"):
            k = w.shape[1]                        # 1/block is exact: a power of two
            rest = rotated(rest) * F(1 / (k & -k))
        whole = o.get("rowscale") == "with" and not o.get("rotate")
        top = np.abs(w if whole else rest).max(1)
        self.sw = scale_of(top)
        self.qw = codes(rest, self.sw[:, None])
        if o.get("only") == "a":
            self.qw = rest / self.sw[:, None]
        top = o.get("wlow", 127)                  # largest code of the second weight digit
        self.sw1 = self.sw / F(2 * top)
        self.qw1 = np.clip(codes(rest - self.qw * self.sw[:, None], self.sw1[:, None]), -top, top)
        self.rest = rest
        self.wc = w[:, self.cols]
        bits = o.get("colbits", "float")
        if bits == "f16":
            self.wc = self.wc.astype(np.float16).astype(F)
        elif bits != "float" and len(self.cols):
            self.wc = self.grid(self.wc, bits[0])

    @staticmethod
    def grid(x, bits):
        """x on a symmetric grid of 8 or 16 bits with its own scale a row."""
        top = F(127) if bits == 8 else F(127 * 254 + 127)
        s = np.maximum(np.abs(x).max(-1, keepdims=True), F(1e-30)) / top
        return (np.rint(x / s) * s).astype(F)

    def __call__(self, x):
        o, lin = self.o, self.lin
        shape = x.shape
        x = x.reshape(-1, shape[-1]).astype(F)
        if self.div is not None:
            x = x / self.div
        if o.get("block"):
            y = (x if o.get("only") == "w" else blocked(x, o["block"])) @ self.wq.T
        else:
            y = self.rows(x)
        if lin.b is not None:
            y = y + lin.b
        return y.astype(F).reshape(*shape[:-1], -1)

    def rows(self, x):
        o = self.o
        xc = x[:, self.cols]
        r = x.copy()
        r[:, self.cols] = 0
        if o.get("rotate"):
            r = rotated(r)
        dyn = None
        k_on = o.get("k_on", "all")
        if o.get("k") and (k_on == "all" or not self.normed):
            idx = np.argsort(-np.abs(r), axis=1, kind="stable")[:, :o["k"]]
            dyn = np.zeros_like(r)
            np.put_along_axis(dyn, idx, np.take_along_axis(r, idx, 1), 1)
            np.put_along_axis(r, idx, F(0), 1)
        amax = np.abs(r).max(1)
        s = scale_of(amax)
        if o.get("only") == "w":
            y = (r @ self.qw.T) * self.sw
        else:
            q = codes(r, s[:, None])
            y = product(q, self.qw) * (s[:, None] * self.sw)
            if o.get("wdigits"):
                y = y + product(q, self.qw1) * (s[:, None] * self.sw1)
            where = o.get("digits")
            if where and (where == "all" or (where == "norm") == self.normed):
                top = o.get("alow", 127)          # largest code of the second activation digit
                s1 = s / F(2 * top)
                q1 = np.clip(codes(r - q * s[:, None], s1[:, None]), -top, top)
                if o.get("ratio"):
                    q1[amax <= F(o["ratio"]) * np.abs(r).mean(1)] = 0
                y = y + product(q1, self.qw) * (s1[:, None] * self.sw)
                if o.get("wdigits") == 2:
                    y = y + product(q1, self.qw1) * (s1[:, None] * self.sw1)
        if len(self.cols):
            bits = o.get("colbits", "float")
            if bits not in ("float", "f16"):
                xc = self.grid(xc, bits[1])
            for j in range(len(self.cols)):           # ascending, one fma each
                y = y + xc[:, j:j + 1] * self.wc[:, j]
        if dyn is not None:
            w = self.rest if o.get("k_w") == "exact" else self.qw * self.sw[:, None]
            y = y + dyn @ w.T
        return y


SCHEMES = {
    "f32": None,
    "naive": {},
    "q8_0": {"block": 32},
    "weights": {"only": "w"},
    "acts": {"only": "a"},
}
for _n in (2, 3, 4, 8, 16):
    for _s in ("g", "gw", "gb"):
        SCHEMES[f"cols{_n}{_s}"] = {"n": _n, "score": _s}
    SCHEMES[f"cols{_n}g-rs"] = {"n": _n, "rowscale": "with"}
    SCHEMES[f"cols{_n}g-f16"] = {"n": _n, "colbits": "f16"}
    for _w, _a in ((8, 8), (16, 8), (8, 16), (16, 16)):
        SCHEMES[f"group{_n}w{_w}a{_a}"] = {"n": _n, "colbits": (_w, _a)}
for _k in (1, 2, 4, 8):
    for _on in ("all", "other"):
        for _w in ("int8", "exact"):
            _d = {"k": _k, "k_on": _on, "k_w": _w}
            SCHEMES[f"dyn{_k}{_on}-{_w}"] = _d
            for _n in (2, 4, 8):
                SCHEMES[f"cols{_n}g+dyn{_k}{_on}-{_w}"] = {"n": _n, **_d}
for _a in (25, 50, 65, 75, 100):
    SCHEMES[f"smooth{_a}"] = {"smooth": _a / 100}
    SCHEMES[f"smooth{_a}gb"] = {"smooth": _a / 100, "score": "gb"}
    SCHEMES[f"smooth{_a}+digits-other"] = {"smooth": _a / 100, "digits": "other"}
for _n in (0, 4, 8):
    _c = f"cols{_n}g+" if _n else ""
    SCHEMES[_c + "a16"] = {"n": _n, "digits": "all"}
    SCHEMES[_c + "w16"] = {"n": _n, "wdigits": 1}
    SCHEMES[_c + "a16w12"] = {"n": _n, "digits": "all", "wdigits": 1, "wlow": 7}
    SCHEMES[_c + "a12w12"] = {"n": _n, "digits": "all", "wdigits": 1, "wlow": 7, "alow": 7}
    SCHEMES[_c + "a10w10"] = {"n": _n, "digits": "all", "wdigits": 1, "wlow": 2, "alow": 2}
    SCHEMES[_c + "a16w16"] = {"n": _n, "digits": "all", "wdigits": 1}
SCHEMES["rotate"] = {"rotate": True}
for _n in (2, 4, 8, 16):
    SCHEMES[f"cols{_n}g+rotate"] = {"rotate": True, "n": _n}
    SCHEMES[f"cols{_n}r"] = {"n": _n, "score": "r"}
    SCHEMES[f"cols{_n}r+rotate"] = {"n": _n, "score": "r", "rotate": True}
    for _k in (1, 2, 4):
        SCHEMES[f"cols{_n}r+dyn{_k}all-int8"] = {"n": _n, "score": "r", "k": _k, "k_w": "int8"}
for _on in ("all", "other", "norm"):
    SCHEMES[f"digits-{_on}"] = {"digits": _on}
    for _n in (2, 4, 8, 16):
        SCHEMES[f"cols{_n}g+digits-{_on}"] = {"n": _n, "digits": _on}
        for _r in (6, 8, 12, 20):
            SCHEMES[f"cols{_n}g+digits-{_on}-r{_r}"] = {"n": _n, "digits": _on, "ratio": _r}

# What newsreader computes: see docs/QUANT.md
_V = {"n": 0, "rotate": None, "digits": "all", "wdigits": 1, "wlow": 7}
SCHEMES["int8"] = {"n": 8, "rotate": True, "by": {"vit": _V, "qf": _V, "projector": _V}}
SCHEMES["int8-vit8"] = {"n": 8, "rotate": True}


# ------------------------------------------------------------------------------------ models

def rms_norm(x, g, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + F(eps)) * g


def layer_norm(x, g, b, eps):
    m = x.mean(-1, keepdims=True)
    v = ((x - m) ** 2).mean(-1, keepdims=True)
    return (x - m) / np.sqrt(v + F(eps)) * g + b


def erf(x):
    return np.vectorize(math.erf, otypes=[F])(x)


ACT = {
    "quick_gelu": lambda x: x / (1 + np.exp(F(-1.702) * x)),
    "gelu": lambda x: x * F(0.5) * (1 + erf(x / F(math.sqrt(2)))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def attention(q, k, v, heads, kv_heads=None, causal=False):
    """q [t, heads*d], k and v [s, kv*d] -> [t, heads*d]."""
    kv_heads = kv_heads or heads
    t, s, d = len(q), len(k), q.shape[1] // heads
    q = q.reshape(t, heads, d).transpose(1, 0, 2)
    k = np.repeat(k.reshape(s, kv_heads, d).transpose(1, 0, 2), heads // kv_heads, 0)
    v = np.repeat(v.reshape(s, kv_heads, d).transpose(1, 0, 2), heads // kv_heads, 0)
    a = q @ k.transpose(0, 2, 1) * F(1 / math.sqrt(d))
    if causal:
        a = np.where(np.tril(np.ones((t, s), bool), s - t), a, F(-np.inf))
    a = np.exp(a - a.max(-1, keepdims=True))
    a = a / a.sum(-1, keepdims=True)
    return (a @ v).transpose(1, 0, 2).reshape(t, heads * d)


def keep(x, how, heads):
    """What a cache of this type gives back: f32, f16, or int8 with a scale per token and head."""
    if how == "f16":
        return x.astype(np.float16).astype(F)
    if how == "int8":
        y = x.reshape(len(x), heads, -1)
        s = scale_of(np.abs(y).max(-1, keepdims=True))
        return (codes(y, s) * s).reshape(x.shape)
    return x


class Model:
    """Holds tensors; `lin` makes or finds a linear and applies it under the current scheme."""

    def __init__(self):
        self.lins, self.emulated = {}, {}
        self.scheme, self.only_kinds = None, None
        self.kv, self.embed_int8 = "f32", False
        self.stages = {}

    def use(self, scheme, kv="f32", embed_int8=False, only_kinds=None):
        self.scheme, self.kv, self.embed_int8 = scheme, kv, embed_int8
        self.only_kinds = only_kinds
        self.emulated = {}
        self._emb = None

    def add(self, name, w, b=None, norm=None, kind=""):
        g, be = norm if norm else (None, None)
        self.lins[name] = Linear(name, w, b, g, be, kind)

    def lin(self, name, x):
        l = self.lins[name]
        if self.scheme is None or l.kind in self.scheme.get("skip", ()):
            return l(x)
        if self.only_kinds is not None and l.kind not in self.only_kinds:
            return l(x)
        if name not in self.emulated:
            by = self.scheme.get("by", {})
            o = {**self.scheme, **by.get(l.kind, by.get(l.kind.split(".")[0], {}))}
            self.emulated[name] = l if o.get("float") else Int8(l, o)
        return self.emulated[name](x)

    def rows_of(self, table, ids):
        """Embedding rows, through INT8 codes with a scale a row when that is asked for."""
        e = table[ids]
        if self.embed_int8:
            s = scale_of(np.abs(e).max(-1, keepdims=True))
            e = codes(e, s) * s
        return e


class Llama(Model):
    """cfg: layers, heads, kv_heads, eps, theta, head_dim; tensors under Hugging Face names."""

    def setup_llama(self, t, prefix, cfg, head, stage):
        self.t, self.cfg, self.stage_prefix = t, cfg, stage
        self.embed = t[prefix + "embed_tokens.weight"]
        for i in range(cfg["layers"]):
            p = f"{prefix}layers.{i}."
            n1 = (t[p + "input_layernorm.weight"], None)
            n2 = (t[p + "post_attention_layernorm.weight"], None)
            for n in ("q_proj", "k_proj", "v_proj"):
                self.add(f"{i}.{n}", t[p + f"self_attn.{n}.weight"], None, n1, "llm.qkv")
            self.add(f"{i}.o_proj", t[p + "self_attn.o_proj.weight"], None, None, "llm.o")
            for n in ("gate_proj", "up_proj"):
                self.add(f"{i}.{n}", t[p + f"mlp.{n}.weight"], None, n2, "llm.gate_up")
            self.add(f"{i}.down_proj", t[p + "mlp.down_proj.weight"], None, None, "llm.down")
            self.add(f"{i}.norms", np.stack([n1[0], n2[0]]))
        self.final = t[prefix + "norm.weight"]
        self.add("lm_head", head, None, (self.final, None), "lm_head")
        v = (self.embed ** 2).mean(0)             # channel variance of the residual stream so far
        for i in range(cfg["layers"]):
            for names, out in ((("q_proj", "k_proj", "v_proj"), "o_proj"),
                               (("gate_proj", "up_proj"), "down_proj")):
                for n in names:
                    self.lins[f"{i}.{n}"].spread = np.sqrt(v)
                v = v + (self.lins[f"{i}.{out}"].w ** 2).sum(1)
        self.lins["lm_head"].spread = np.sqrt(v)

    def rope(self, x, heads):
        d = self.cfg["head_dim"]
        inv = (1 / self.cfg["theta"] ** (np.arange(0, d, 2, dtype=F) / F(d))).astype(F)
        a = np.arange(len(x), dtype=F)[:, None] * inv
        c, s = np.cos(a).astype(F)[:, None], np.sin(a).astype(F)[:, None]
        y = x.reshape(len(x), heads, d)
        if self.cfg.get("interleaved"):
            y1, y2 = y[..., 0::2], y[..., 1::2]
            return np.stack([y1 * c - y2 * s, y2 * c + y1 * s], -1).reshape(x.shape)
        y1, y2 = y[..., :d // 2], y[..., d // 2:]
        return np.concatenate([y1 * c - y2 * s, y2 * c + y1 * s], -1).reshape(x.shape)

    def llama(self, x, last):
        """x [t, d] embeddings -> logits of the last `last` positions."""
        c = self.cfg
        for i in range(c["layers"]):
            n1, n2 = self.lins[f"{i}.norms"].w
            h = rms_norm(x, n1, c["eps"])
            q, k, v = (self.lin(f"{i}.{n}", h) for n in ("q_proj", "k_proj", "v_proj"))
            q, k = self.rope(q, c["heads"]), self.rope(k, c["kv_heads"])
            k, v = keep(k, self.kv, c["kv_heads"]), keep(v, self.kv, c["kv_heads"])
            x = x + self.lin(f"{i}.o_proj", attention(q, k, v, c["heads"], c["kv_heads"], True))
            h = rms_norm(x, n2, c["eps"])
            g = ACT["silu"](self.lin(f"{i}.gate_proj", h))
            x = x + self.lin(f"{i}.down_proj", g * self.lin(f"{i}.up_proj", h))
            self.stages[f"{self.stage_prefix}layers.{i}"] = x
        x = rms_norm(x, self.final, c["eps"])
        self.stages[f"{self.stage_prefix}norm"] = x
        return self.lin("lm_head", x[-last:])

    def logits(self, ids, last=4):
        return self.llama(self.rows_of(self.embed, ids), last)


class Vit:
    """Patches, learned positions, pre-LN blocks; shared by CLIP and BLIP-2's tower."""

    def vit_block(self, p, x, heads, eps, act, qkv):
        l = self.vnorm[p]
        h = layer_norm(x, l[0], l[1], eps)
        q, k, v = qkv(p, h)
        x = x + self.lin(p + "out", attention(q, k, v, heads))
        h = layer_norm(x, l[2], l[3], eps)
        return x + self.lin(p + "fc2", ACT[act](self.lin(p + "fc1", h)))

    def vit_norms(self, t, p, src):
        n = [t[src + f"layer_norm{i}.{w}"] for i in (1, 2) for w in ("weight", "bias")]
        self.vnorm[p] = n
        return (n[0], n[1]), (n[2], n[3])

    def patches(self, px, size):
        c, h, w = px.shape
        g = h // size
        return px.reshape(c, g, size, g, size).transpose(1, 3, 0, 2, 4).reshape(g * g, -1)


class Llava(Llama, Vit):
    def __init__(self, d):
        super().__init__()
        c = json.load(open(d + "/config.json"))
        t = read_safetensors(d + "/model.safetensors")
        tc, vc = c["text_config"], c["vision_config"]
        self.image_token, self.vc = c["image_token_index"], vc
        # vision_feature_layer counts the embedding output as index 0
        self.vit_layers = vc["num_hidden_layers"] + 1 + c["vision_feature_layer"]
        cfg = {"layers": tc["num_hidden_layers"], "heads": tc["num_attention_heads"],
               "kv_heads": tc["num_key_value_heads"], "eps": tc["rms_norm_eps"],
               "head_dim": tc["head_dim"], "theta": tc["rope_parameters"]["rope_theta"]}
        self.setup_llama(t, "language_model.model.", cfg, t["language_model.lm_head.weight"],
                         "model.language_model.")
        v = "vision_tower."
        w = t[v + "embeddings.patch_embedding.weight"]
        self.add("patch", w.reshape(len(w), -1), None, None, "vit.patch")
        self.vnorm = {}
        for i in range(vc["num_hidden_layers"]):
            s, p = f"{v}encoder.layers.{i}.", f"v{i}."
            n1, n2 = self.vit_norms(t, p, s)
            for n, o in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v")):
                self.add(p + o, t[s + f"self_attn.{n}.weight"], t[s + f"self_attn.{n}.bias"], n1,
                         "vit.qkv")
            self.add(p + "out", t[s + "self_attn.out_proj.weight"],
                     t[s + "self_attn.out_proj.bias"], None, "vit.out")
            self.add(p + "fc1", t[s + "mlp.fc1.weight"], t[s + "mlp.fc1.bias"], n2, "vit.fc1")
            self.add(p + "fc2", t[s + "mlp.fc2.weight"], t[s + "mlp.fc2.bias"], None, "vit.fc2")
        m = "multi_modal_projector."
        for n in ("linear_1", "linear_2"):
            self.add(n, t[m + n + ".weight"], t[m + n + ".bias"], None, "projector")

    def qkv(self, p, h):
        return tuple(self.lin(p + n, h) for n in "qkv")

    def run(self, px, ids, last=4):
        t, vc, st = self.t, self.vc, self.stages
        v, eps = "vision_tower.", vc["layer_norm_eps"]
        x = self.lin("patch", self.patches(px, vc["patch_size"]))
        x = np.concatenate([t[v + "embeddings.class_embedding"][None], x])
        x = x + t[v + "embeddings.position_embedding.weight"]
        x = layer_norm(x, t[v + "pre_layrnorm.weight"], t[v + "pre_layrnorm.bias"], eps)
        st["model.vision_tower.pre_layrnorm"] = x
        for i in range(self.vit_layers):
            x = self.vit_block(f"v{i}.", x, vc["num_attention_heads"], eps, vc["hidden_act"],
                               self.qkv)
            st[f"model.vision_tower.encoder.layers.{i}"] = x
        x = self.lin("linear_2", ACT["gelu"](self.lin("linear_1", x[1:])))
        st["model.multi_modal_projector"] = x
        ids = np.asarray(ids)
        at = ids == self.image_token
        e = self.rows_of(self.embed, ids)
        st["text_embeddings"] = e
        e = e.copy()
        e[at] = x
        return self.llama(e, last)


class Blip2(Model, Vit):
    def __init__(self, d):
        super().__init__()
        c = json.load(open(d + "/config.json"))
        t = self.t = read_safetensors(d + "/model.safetensors")
        self.vc, self.qc, self.tc = c["vision_config"], c["qformer_config"], c["text_config"]
        self.image_token = c["image_token_index"]
        v = "vision_model."
        w = t[v + "embeddings.patch_embedding.weight"]
        self.add("patch", w.reshape(len(w), -1), t[v + "embeddings.patch_embedding.bias"], None,
                 "vit.patch")
        self.vnorm = {}
        for i in range(self.vc["num_hidden_layers"]):
            s, p = f"{v}encoder.layers.{i}.", f"v{i}."
            n1, n2 = self.vit_norms(t, p, s)
            self.dense(p + "qkv", s + "self_attn.qkv", n1, "vit.qkv")
            self.dense(p + "out", s + "self_attn.projection", None, "vit.out")
            self.dense(p + "fc1", s + "mlp.fc1", n2, "vit.fc1")
            self.dense(p + "fc2", s + "mlp.fc2", None, "vit.fc2")
        vision = self.pair(v + "post_layernorm")
        norm = self.pair("qformer.layernorm")
        for i in range(self.qc["num_hidden_layers"]):
            s, p = f"qformer.encoder.layer.{i}.", f"q{i}."
            for part, src in (("self", "attention"), ("cross", "crossattention")):
                if part == "cross" and i % self.qc["cross_attention_frequency"]:
                    continue
                kv = norm if part == "self" else vision
                for n in ("query", "key", "value"):
                    self.dense(p + part + n, s + f"{src}.attention.{n}",
                               norm if n == "query" else kv, "qf.qkv")
                self.dense(p + part + "out", s + f"{src}.output.dense", None, "qf.out")
                norm = self.pair(s + f"{src}.output.LayerNorm")
            self.dense(p + "fc1", s + "intermediate_query.dense", norm, "qf.fc1")
            self.dense(p + "fc2", s + "output_query.dense", None, "qf.fc2")
            norm = self.pair(s + "output_query.LayerNorm")
        self.dense("language_projection", "language_projection", norm, "projector")
        o = "language_model.model.decoder."
        for i in range(self.tc["num_hidden_layers"]):
            s = f"{o}layers.{i}."
            for n in ("q_proj", "k_proj", "v_proj"):
                self.dense(f"{i}.{n}", s + f"self_attn.{n}", self.pair(s + "self_attn_layer_norm"),
                           "llm.qkv")
            self.dense(f"{i}.o", s + "self_attn.out_proj", None, "llm.o")
            self.dense(f"{i}.fc1", s + "fc1", self.pair(s + "final_layer_norm"), "llm.fc1")
            self.dense(f"{i}.fc2", s + "fc2", None, "llm.fc2")
        self.embed = t[o + "embed_tokens.weight"]
        self.add("lm_head", self.embed, None, self.pair(o + "final_layer_norm"), "lm_head")

    def pair(self, name):
        return self.t[name + ".weight"], self.t[name + ".bias"]

    def dense(self, name, src, norm, kind):
        self.add(name, self.t[src + ".weight"], self.t[src + ".bias"], norm, kind)

    def qkv(self, p, h):
        return np.split(self.lin(p + "qkv", h), 3, -1)

    def qformer(self, vision):
        qc, eps = self.qc, self.qc["layer_norm_eps"]
        heads = qc["num_attention_heads"]
        x = layer_norm(self.t["query_tokens"][0], *self.pair("qformer.layernorm"), eps)
        for i in range(qc["num_hidden_layers"]):
            s, p = f"qformer.encoder.layer.{i}.", f"q{i}."
            for part, src in (("self", "attention"), ("cross", "crossattention")):
                if part == "cross" and i % qc["cross_attention_frequency"]:
                    continue
                y = x if part == "self" else vision
                a = attention(self.lin(p + part + "query", x), self.lin(p + part + "key", y),
                              self.lin(p + part + "value", y), heads)
                x = layer_norm(self.lin(p + part + "out", a) + x,
                               *self.pair(s + f"{src}.output.LayerNorm"), eps)
            h = ACT[qc["hidden_act"]](self.lin(p + "fc1", x))
            x = layer_norm(self.lin(p + "fc2", h) + x, *self.pair(s + "output_query.LayerNorm"),
                           eps)
            self.stages[f"qformer.encoder.layer.{i}"] = x
        self.stages["qformer"] = x
        return x

    def run(self, px, ids, last=4):
        t, vc, tc, st = self.t, self.vc, self.tc, self.stages
        v = "vision_model."
        x = self.lin("patch", self.patches(px, vc["patch_size"]))
        x = np.concatenate([t[v + "embeddings.class_embedding"][0], x])
        x = x + t[v + "embeddings.position_embedding"][0]
        for i in range(vc["num_hidden_layers"]):
            x = self.vit_block(f"v{i}.", x, vc["num_attention_heads"], vc["layer_norm_eps"],
                               vc["hidden_act"], self.qkv)
            st[f"vision_model.encoder.layers.{i}"] = x
        x = layer_norm(x, *self.pair(v + "post_layernorm"), vc["layer_norm_eps"])
        st["vision_model"] = x
        y = self.lin("language_projection", self.qformer(x))
        st["language_projection"] = y
        ids = np.asarray(ids)
        o = "language_model.model.decoder."
        x = self.rows_of(self.embed, ids).copy()
        x[ids == self.image_token] = y
        x = x + t[o + "embed_positions.weight"][2:2 + len(ids)]
        heads = tc["num_attention_heads"]
        for i in range(tc["num_hidden_layers"]):
            s = f"{o}layers.{i}."
            h = layer_norm(x, *self.pair(s + "self_attn_layer_norm"), 1e-5)
            q, k, w = (self.lin(f"{i}.{n}", h) for n in ("q_proj", "k_proj", "v_proj"))
            a = attention(q, keep(k, self.kv, heads), keep(w, self.kv, heads), heads, None, True)
            x = x + self.lin(f"{i}.o", a)
            h = layer_norm(x, *self.pair(s + "final_layer_norm"), 1e-5)
            x = x + self.lin(f"{i}.fc2", ACT["relu"](self.lin(f"{i}.fc1", h)))
            st[f"language_model.model.decoder.layers.{i}"] = x
        x = layer_norm(x, *self.pair(o + "final_layer_norm"), 1e-5)
        return self.lin("lm_head", x[-last:])


class TextLlama(Llama):
    """Golden folder of a text-only Llama (head tied when there is none)."""

    def __init__(self, d):
        super().__init__()
        c = json.load(open(d + "/config.json"))
        t = read_safetensors(d + "/model.safetensors")
        cfg = {"layers": c["num_hidden_layers"], "heads": c["num_attention_heads"],
               "kv_heads": c["num_key_value_heads"], "eps": c["rms_norm_eps"],
               "head_dim": c["head_dim"], "theta": c["rope_parameters"]["rope_theta"]}
        self.setup_llama(t, "model.", cfg, t.get("lm_head.weight", t["model.embed_tokens.weight"]),
                         "model.")

    def run(self, px, ids, last=4):
        return self.logits(np.asarray(ids), last)


class GgufLlama(Llama):
    """A Llama GGUF; llama.cpp stores q and k permuted for interleaved rotary pairs."""

    def __init__(self, path):
        super().__init__()
        m, g = read_gguf(path)
        self.meta = m
        a = m["general.architecture"]
        heads = m[f"{a}.attention.head_count"]
        dim = m[f"{a}.embedding_length"]
        cfg = {"layers": m[f"{a}.block_count"], "heads": heads,
               "kv_heads": m.get(f"{a}.attention.head_count_kv", heads),
               "eps": m[f"{a}.attention.layer_norm_rms_epsilon"],
               "head_dim": m.get(f"{a}.rope.dimension_count", dim // heads),
               "theta": m.get(f"{a}.rope.freq_base", 10000.0), "interleaved": True}
        names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
                 "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
                 "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
                 "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
                 "ffn_down": "mlp.down_proj"}
        t = {"embed_tokens.weight": g["token_embd.weight"], "norm.weight": g["output_norm.weight"]}
        for i in range(cfg["layers"]):
            for s, o in names.items():
                t[f"layers.{i}.{o}.weight"] = g[f"blk.{i}.{s}.weight"]
        self.setup_llama(t, "", cfg, g.get("output.weight", g["token_embd.weight"]), "")


class StoriesLlama(Llama):
    """A llama2.c .bin file (float32, interleaved rotary pairs)."""

    def __init__(self, path):
        super().__init__()
        raw = open(path, "rb").read()
        dim, hidden, layers, heads, kv, vocab, seq = struct.unpack_from("<7i", raw)
        w = np.frombuffer(raw, "<f4", offset=28)
        self.seq, at, t = seq, 0, {}

        def take(*shape):
            nonlocal at
            n = math.prod(shape)
            at += n
            return w[at - n:at].reshape(shape)

        t["embed_tokens.weight"] = take(abs(vocab), dim)
        kd = dim // heads * kv
        for name, o, i in (("input_layernorm", 0, dim), ("self_attn.q_proj", dim, dim),
                           ("self_attn.k_proj", kd, dim), ("self_attn.v_proj", kd, dim),
                           ("self_attn.o_proj", dim, dim), ("post_attention_layernorm", 0, dim),
                           ("mlp.gate_proj", hidden, dim), ("mlp.down_proj", dim, hidden),
                           ("mlp.up_proj", hidden, dim)):
            a = take(layers, o, i) if o else take(layers, i)
            for j in range(layers):
                t[f"layers.{j}.{name}.weight"] = a[j]
        t["norm.weight"] = take(dim)
        cfg = {"layers": layers, "heads": heads, "kv_heads": kv, "eps": 1e-5,
               "head_dim": dim // heads, "theta": 10000.0, "interleaved": True}
        take(2, seq, dim // heads // 2)
        head = t["embed_tokens.weight"] if vocab > 0 else take(-vocab, dim)
        self.setup_llama(t, "", cfg, head, "")


def open_folder(d):
    kind = json.load(open(d + "/config.json"))["model_type"]
    return {"llava": Llava, "blip-2": Blip2, "llama": TextLlama}[kind](d)


def cases(d):
    """(name, meta, tensors) of each recorded case."""
    for f in sorted(os.listdir(d + "/golden")):
        if f.endswith(".safetensors"):
            n = f[:-12]
            yield (n, json.load(open(f"{d}/golden/{n}.json")), read_safetensors(f"{d}/golden/{f}"))


# ------------------------------------------------------------------------------------ commands

def rel(a, b):
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b.astype(np.float64)))


def cosine(a, b):
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def run_case(m, meta, t):
    px = t["pixel_values"][0] if "pixel_values" in t else None
    return m.run(px, meta["input_ids"], len(t["logits"]))


def cmd_check(dirs):
    worst = 0.0
    for d in dirs:
        m = open_folder(d)
        for n, meta, t in cases(d):
            e = {"logits": rel(run_case(m, meta, t), t["logits"])}
            for k, v in m.stages.items():
                if "stage." + k in t:
                    e[k] = rel(v, t["stage." + k][0])
            w = max(e, key=e.get)
            worst = max(worst, e[w])
            print(f"{d} {n}: logits {e['logits']:.2e}, worst of {len(e)}: {w} {e[w]:.2e}")
    print(f"worst {worst:.2e}")


def parse_scheme(s):
    """NAME[,kv=f16|int8][,embed=int8][,skip=KIND][,KIND:NAME]... -> arguments of Model.use."""
    parts = s.split(",")
    o = SCHEMES[parts[0]]
    by = {}
    for p in list(parts[1:]):
        if ":" in p:
            k, v = p.split(":")
            none = dict.fromkeys(("block", "digits", "wdigits", "rotate", "smooth", "k"))
            by[k] = {**none, "n": 0, **(SCHEMES[v] or {"float": True})}
            parts.remove(p)
    if by:
        o = {**o, "by": by}
    kw = {}
    for p in parts[1:]:
        k, v = p.split("=")
        if k == "kv":
            kw["kv"] = v
        elif k == "embed":
            kw["embed_int8"] = True
        elif k == "skip":
            o = {**o, "skip": o.get("skip", ()) + (v,)}
    return o, kw


def cmd_golden(d, *names):
    m = open_folder(d)
    data = list(cases(d))
    names = names or [n for n in SCHEMES if n != "f32"]
    print("scheme".ljust(34), "mean cos  worst    mean err worst | cosine/err:",
          " ".join(n for n, _, _ in data))
    for s in names:
        o, kw = parse_scheme(s)
        m.use(o, **kw)
        r = [(cosine(y, t["logits"]), rel(y, t["logits"]))
             for y, t in ((run_case(m, meta, t), t) for _, meta, t in data)]
        c, e = [a for a, _ in r], [b for _, b in r]
        print(f"{s:34} {np.mean(c):.5f} {min(c):.5f}  {np.mean(e):.4f} {max(e):.4f} |",
              " ".join(f"{a:.5f}/{b:.4f}" for a, b in r), flush=True)


def cmd_where(d, name):
    m = open_folder(d)
    data = list(cases(d))
    o, kw = parse_scheme(name)
    kinds = list(dict.fromkeys(l.kind for l in m.lins.values() if l.kind))
    for kind in kinds:
        m.use(o, only_kinds=(kind,), **kw)
        e = [rel(run_case(m, meta, t), t["logits"]) for _, meta, t in data]
        print(f"{kind:14} mean err {np.mean(e):.4f}  worst {max(e):.4f}", flush=True)


def cmd_spread(d, runs, *names):
    """Each case `runs` times with pixels moved by a fraction of a grey level: INT8 against f32."""
    m = open_folder(d)
    data = list(cases(d))
    rng = np.random.default_rng(1)
    inputs = []
    for _, meta, t in data:
        for _ in range(int(runs)):
            px = t["pixel_values"] + rng.normal(0, 0.01, t["pixel_values"].shape).astype(F)
            u = {**t, "pixel_values": px}
            m.use(None)
            inputs.append((meta, {**u, "logits": run_case(m, meta, u)}))
    print("scheme".ljust(34), "cos mean / p5 / min, err mean / p95, share of runs under 0.995")
    for s in names:
        o, kw = parse_scheme(s)
        m.use(o, **kw)
        r = np.array([(cosine(y, t["logits"]), rel(y, t["logits"]))
                      for y, t in ((run_case(m, meta, t), t) for meta, t in inputs)])
        c, e = r[:, 0], r[:, 1]
        print(f"{s:34} {c.mean():.5f} {np.quantile(c, .05):.5f} {c.min():.5f}  "
              f"{e.mean():.4f} {np.quantile(e, .95):.4f}  {np.mean(c < .995):.3f}", flush=True)


def gguf_encode(meta, text):
    """Byte-level BPE ids by the file's own vocabulary and merges (digits one by one, as SmolLM)."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    vocab = {t: i for i, t in enumerate(meta["tokenizer.ggml.tokens"])}
    merges = [tuple(x.split(" ")) for x in meta["tokenizer.ggml.merges"]]
    tk = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tk.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return tk.encode(text).ids


def compare(m, windows, names):
    """Perplexity, and mean and worst cosine of the logits, of each scheme over token windows."""
    base = None
    print("scheme".ljust(34), "perplexity  change   logits cos mean / worst token, err mean")
    for s in ["f32"] + [n for n in names if n != "f32"]:
        o, kw = parse_scheme(s)
        m.use(o, **kw)
        nll, c, e, ref = 0.0, [], [], []
        for i, ids in enumerate(windows):
            y = m.logits(ids, len(ids)).astype(np.float64)[:-1]
            z = y - y.max(1, keepdims=True)
            nll += (np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), ids[1:]]).sum()
            if base is None:
                ref.append(y.astype(F))
                continue
            r = base[1][i].astype(np.float64)
            ny, nr = np.linalg.norm(y, axis=1), np.linalg.norm(r, axis=1)
            c.append((y * r).sum(1) / ny / nr)
            e.append(np.linalg.norm(y - r, axis=1) / nr)
        p = math.exp(nll / sum(len(w) - 1 for w in windows))
        if base is None:
            base = (p, ref)
            print(f"{s:34} {p:.4f}")
            continue
        c, e = np.concatenate(c), np.concatenate(e)
        print(f"{s:34} {p:.4f}  {100 * (p / base[0] - 1):+.2f} %  "
              f"{c.mean():.5f} {c.min():.5f}  {e.mean():.4f}", flush=True)


def cmd_perplexity(path, text, *names):
    """TEXT is cut into windows of 256 tokens; NR_WINDOWS of them (default 8) are used."""
    m = GgufLlama(path)
    ids = np.array(gguf_encode(m.meta, open(text, encoding="utf-8").read()))
    n = int(os.environ.get("NR_WINDOWS", "8"))
    windows = [ids[i:i + 256] for i in range(0, len(ids) - 255, 256)][:n]
    print(f"{len(windows)} windows of 256 tokens")
    compare(m, windows, names)


def cmd_stories(path, *names):
    """On what the model itself writes at temperature 1 (numpy seed 0), 8 texts of 200 tokens."""
    m = StoriesLlama(path)
    rng = np.random.default_rng(0)
    windows = []
    for _ in range(8):
        ids = [1]
        while len(ids) < 200:
            z = m.logits(np.array(ids), 1)[0].astype(np.float64)
            p = np.exp(z - z.max())
            ids.append(int(rng.choice(len(p), p=p / p.sum())))
        windows.append(np.array(ids))
    compare(m, windows, names)


def cmd_inputs(path, text):
    """What reaches each kind of linear: amax/rms of its rows, and how well |gamma| foretells it."""
    m = GgufLlama(path)
    ids = np.array(gguf_encode(m.meta, open(text, encoding="utf-8").read()))[:256]
    seen, call = {}, Linear.__call__

    def spy(self, x):
        a = np.abs(x).reshape(-1, x.shape[-1])
        ratio = a.max(1) / np.sqrt((a * a).mean(1))
        hit = np.nan
        if self.gamma is not None:
            top = set(np.argsort(-np.sqrt((a * a).mean(0)))[:8].tolist())
            hit = len(top & set(static_columns(self, 8, "g").tolist())) / 8
        row = (ratio[0], np.median(ratio[1:]), ratio[1:].max(), hit)
        seen.setdefault(self.kind, []).append(row)
        return call(self, x)

    Linear.__call__ = spy
    m.use(None)
    m.logits(ids, len(ids))
    Linear.__call__ = call
    print("amax/rms of the first token (worst), others (median, worst); part of the 8 largest "
          "columns that |gamma| names")
    for k, v in seen.items():
        v = np.array(v)
        hit = "" if np.isnan(v[:, 3]).all() else f"{v[:, 3].mean():.2f}"
        print(f"{k:14} {v[:, 0].max():8.1f} {np.median(v[:, 1]):6.1f} {v[:, 2].max():8.1f}  {hit}")


def cmd_traces(a, b, *names):
    a, b = read_safetensors(a), read_safetensors(b)
    print("  ".join(f"{n} {cosine(a[n], b[n]):.5f}/{rel(a[n], b[n]):.4f}" for n in names))


def cmd_vectors(d, name="int8"):
    """Weight codes, scales and columns of every linear; then the result of each case."""
    m = open_folder(d)
    o, kw = parse_scheme(name)
    m.use(o, **kw)
    data = list(cases(d))
    got = [(n, run_case(m, meta, t), t["logits"]) for n, meta, t in data]
    for n in sorted(m.emulated):
        e = m.emulated[n]
        low = f" low {checksum(e.qw1)}" if e.o.get("wdigits") else ""
        print(f"{n}: codes {checksum(e.qw)}{low} scales {float(e.sw.sum(dtype=np.float64)):.9g} "
              f"columns {e.cols.tolist()}")
    for n, y, r in got:
        print(f"{n}: cosine {cosine(y, r):.6f} error {rel(y, r):.5f} "
              f"argmax {y.argmax(1).tolist()} f32 {r.argmax(1).tolist()}")


FOREIGN = ("aktualne", "folha", "la-nacion", "lemonde", "rtl", "dev418")


def cmd_text(pages):
    """English paragraphs over 200 characters of PAGES/*/expected.html, to standard output."""
    import html
    import re
    out = []
    for d in sorted(os.listdir(pages)):
        f = f"{pages}/{d}/expected.html"
        if any(x in d for x in FOREIGN) or not os.path.exists(f):
            continue
        page = open(f, encoding="utf-8").read()
        for p in re.findall(r"<p[^>]*>(.*?)</p>", page, re.S):
            p = " ".join(html.unescape(re.sub(r"<[^>]+>", "", p)).split())
            if len(p) > 200:
                out.append(p)
    sys.stdout.write("\n\n".join(out))


def cmd_schemes():
    for n, o in SCHEMES.items():
        print(n.ljust(34), o)


if __name__ == "__main__":
    args = sys.argv[1:]
    fn = globals().get("cmd_" + args[0]) if args else None
    if fn is None:
        raise SystemExit(__doc__)
    fn(args[1:]) if args[0] == "check" else fn(*args[1:])
