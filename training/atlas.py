# SPDX-License-Identifier: MIT
"""Glyph atlas: every glyph of every face, at many sizes and subpixel offsets, as alpha bitmaps.

A glyph is rasterised once at a large size and reduced with Pillow's antialiased bicubic filter, as a
page rendered large is reduced by the image processor. build() spreads the faces over processes and
writes flat arrays into one folder (a RAM disk); load() maps them, so that all workers share one copy.
"""
import glob, json, os, sys, time
from multiprocessing import get_context
import numpy as np
from .common import ASSETS, CHARSET

SIZES = [round(4.6 * 1.09 ** i, 2) for i in range(30)]      # em in model pixels, 4.6 .. 56
NG = len(CHARSET) + 1                                       # index 0: space
MAXP = 6


def phases(size):
    """(x offsets, y offsets) a size is drawn at: text of few pixels needs several."""
    return (3, 2) if size < 12 else (2, 2) if size < 24 else (1, 1)


def thinned(im, rows):
    """The glyph with its horizontal strokes `rows` pixels thinner, as in high-contrast faces."""
    a = np.asarray(im)
    for i in range(rows):
        b = a.copy()
        b[:-1] = np.minimum(a[:-1], a[1:])
        a = b
    from PIL import Image
    return Image.fromarray(a)


def crossbar(font):
    """Thickness of the bar of H at the font's size, in pixels."""
    m = font.getmask("H", mode="L")
    a = np.asarray(m).reshape(m.size[::-1])
    return int((a[:, a.shape[1] // 2] > 127).sum())


def raster_face(args):
    path, out, k, thin = args
    from PIL import Image, ImageDraw, ImageFont
    rng = np.random.RandomState(k)
    thin *= rng.uniform(.35, .65)                           # share of a horizontal stroke that is taken away
    adv = np.zeros(NG, np.float32)
    has = np.zeros(NG, bool)
    index = np.zeros((len(SIZES), MAXP, NG, 5), np.int32)   # offset, w, h, dx, dy
    chunks, pos = [], 0
    hi = {}
    for R in (72, 168):
        font = ImageFont.truetype(path, R)
        rows = int(crossbar(font) * thin)
        from fontTools.ttLib import TTFont
        cmap = TTFont(path, lazy=True).getBestCmap() if R == 72 else cmap
        adv[0] = font.getlength(" ") / R if R == 168 else adv[0]
        for g, c in enumerate(CHARSET, 1):
            if ord(c) not in cmap:
                continue
            x0, y0, x1, y1 = font.getbbox(c, anchor="ls")
            if x1 <= x0 or y1 <= y0 or x1 - x0 > 3 * R or y1 - y0 > 3 * R:
                continue
            m = int(R / 4.6 * 3.2) + 2 if R == 72 else int(R / 15 * 3.2) + 2
            im = Image.new("L", (x1 - x0 + 2 * m, y1 - y0 + 2 * m))
            ImageDraw.Draw(im).text((m - x0, m - y0), c, font=font, fill=255, anchor="ls")
            hi[R, g] = (thinned(im, rows) if rows else im, x0, y0, x1, y1, m)
            has[g] = True
            if R == 168:
                adv[g] = font.getlength(c) / R
    for si, size in enumerate(SIZES):
        R = 72 if size <= 15 else 168
        k = size / R
        nx, ny = phases(size)
        filt = [Image.BICUBIC, Image.BICUBIC, Image.BICUBIC, Image.HAMMING, Image.LANCZOS][rng.randint(5)]
        for g in range(1, NG):
            if (R, g) not in hi:
                continue
            im, x0, y0, x1, y1, m = hi[R, g]
            for p in range(nx * ny):
                px, py = (p % nx) / nx, (p // nx) / ny
                u0, u1 = int(np.floor(x0 * k + px)) - 1, int(np.ceil(x1 * k + px)) + 1
                v0, v1 = int(np.floor(y0 * k + py)) - 1, int(np.ceil(y1 * k + py)) + 1
                box = ((u0 - px) / k - x0 + m, (v0 - py) / k - y0 + m, (u1 - px) / k - x0 + m, (v1 - py) / k - y0 + m)
                box = (max(0, box[0]), max(0, box[1]), min(im.width, box[2]), min(im.height, box[3]))
                a = np.asarray(im.resize((u1 - u0, v1 - v0), filt, box=box, reducing_gap=None))
                index[si, p, g] = (pos, u1 - u0, v1 - v0, u0, v0)
                chunks.append(a.reshape(-1))
                pos += a.size
            for p in range(nx * ny, MAXP):
                index[si, p, g] = index[si, p % (nx * ny), g]
    pix = np.concatenate(chunks)
    np.save(os.path.join(out, "pix%d.npy" % args[2]), pix)
    font = ImageFont.truetype(path, 168)
    asc, desc = font.getmetrics()
    H = hi[168, CHARSET.index("H") + 1]
    return args[2], adv, has, index, pix.size, asc / 168, desc / 168, -H[2] / 168


def build(out, procs=None, limit=None, every=1):
    """Rasterises all faces into `out`; a second call finds the finished atlas and returns at once."""
    done = os.path.join(out, "meta.json")
    if os.path.exists(done):
        return
    os.makedirs(out, exist_ok=True)
    train = sorted(glob.glob(os.path.join(ASSETS, "fonts", "*.ttf")))[::every][:limit]
    held = sorted(glob.glob(os.path.join(ASSETS, "fonts-held", "*.ttf")))[:limit]
    thin = [f for f in train if f.endswith(("Regular.ttf", "Bold.ttf"))][::3]   # drawn once more, with thin bars
    files = train + thin + held
    t0 = time.time()
    with get_context("fork").Pool(procs or os.cpu_count()) as pool:
        rows = pool.map(raster_face, [(f, out, i, len(train) <= i < len(train) + len(thin)) for i, f in enumerate(files)], chunksize=1)
    total = sum(r[4] for r in rows)
    pix = np.lib.format.open_memmap(os.path.join(out, "pix.npy"), mode="w+", dtype=np.uint8, shape=(total,))
    base, pos = [], 0
    for r in rows:
        part = os.path.join(out, "pix%d.npy" % r[0])
        pix[pos:pos + r[4]] = np.load(part)
        os.unlink(part)
        base.append(pos)
        pos += r[4]
    pix.flush()
    np.save(os.path.join(out, "index.npy"), np.stack([r[3] for r in rows]))
    np.savez(os.path.join(out, "small.npz"), adv=np.stack([r[1] for r in rows]), has=np.stack([r[2] for r in rows]),
             base=np.array(base, np.int64), asc=np.array([r[5] for r in rows], np.float32),
             desc=np.array([r[6] for r in rows], np.float32), cap=np.array([r[7] for r in rows], np.float32))
    json.dump({"files": [os.path.basename(f) for f in files], "train": len(train) + len(thin), "thin": len(thin)}, open(done, "w"))
    print("atlas: %d faces, %.0f MB, %.1f s" % (len(files), total / 1e6, time.time() - t0), flush=True)


class Atlas:
    """The arrays of a built atlas, mapped read-only; face numbers below ntrain are for training."""

    def __init__(self, folder):
        meta = json.load(open(os.path.join(folder, "meta.json")))
        self.names, self.ntrain = meta["files"], meta["train"]
        self.thinned = range(self.ntrain - meta["thin"], self.ntrain)
        self.pix = np.load(os.path.join(folder, "pix.npy"), mmap_mode="r")
        self.index = np.load(os.path.join(folder, "index.npy"), mmap_mode="r")
        z = np.load(os.path.join(folder, "small.npz"))
        self.adv, self.has, self.base = z["adv"], z["has"], z["base"]
        self.asc, self.desc, self.cap = z["asc"], z["desc"], z["cap"]
        self.sizes = np.array(SIZES, np.float32)


if __name__ == "__main__":
    build(sys.argv[1], limit=int(sys.argv[2]) if len(sys.argv) > 2 else None, every=int(sys.argv[3]) if len(sys.argv) > 3 else 1)
