# SPDX-License-Identifier: MIT
"""A checkpoint as pieces of at most 15 MiB, for machines that hand back only small files.

    python3 -m training.pieces pack build/reader/checkpoint.pt OUT [--optim]
    python3 -m training.pieces join IN build/reader/checkpoint.pt

Weights travel as f16, the optimisers' state (with --optim) as bf16 and f16.
"""
import glob, io, os, sys
import torch

PIECE = 15 << 20


def narrow(x, dt):
    if torch.is_tensor(x):
        return x.to(dt) if x.is_floating_point() and x.numel() > 1 else x
    if isinstance(x, dict):
        return {k: narrow(v, dt) for k, v in x.items()}
    if isinstance(x, list):
        return [narrow(v, dt) for v in x]
    return x


def widen(x):
    if torch.is_tensor(x):
        return x.float() if x.is_floating_point() else x
    if isinstance(x, dict):
        return {k: widen(v) for k, v in x.items()}
    if isinstance(x, list):
        return [widen(v) for v in x]
    return x


def pack(path, out, optim):
    d = torch.load(path, map_location="cpu", weights_only=False)
    d["model"] = narrow(d["model"], torch.float16)
    d["optim"] = narrow(d["optim"], torch.bfloat16) if optim else None
    b = io.BytesIO()
    torch.save(d, b)
    b = b.getvalue()
    os.makedirs(out, exist_ok=True)
    for i in range(0, len(b), PIECE):
        open(os.path.join(out, "piece%02d" % (i // PIECE)), "wb").write(b[i:i + PIECE])
    print("packed %.1f MB in %d pieces" % (len(b) / 1e6, -(-len(b) // PIECE)), flush=True)


def join(src, path):
    b = b"".join(open(f, "rb").read() for f in sorted(glob.glob(os.path.join(src, "piece*"))))
    d = torch.load(io.BytesIO(b), map_location="cpu", weights_only=False)
    d["model"] = widen(d["model"])
    d["optim"] = widen(d["optim"]) if d["optim"] else None
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    torch.save(d, path)


if __name__ == "__main__":
    if sys.argv[1] == "pack":
        pack(sys.argv[2], sys.argv[3], "--optim" in sys.argv)
    else:
        join(sys.argv[2], sys.argv[3])
