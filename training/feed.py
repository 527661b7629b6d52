# SPDX-License-Identifier: MIT
"""Feeds the trainer: worker processes make pages into slots of shared memory, the trainer copies them out.

Start a Feed before anything touches the GPU (it forks). next() gives the numpy views of a filled slot and
its number; release() hands it back. level and the share of random text follow `progress` (0..1).
"""
import mmap, os, random, time
from multiprocessing import get_context
import numpy as np
from .common import CELLS_X, CELLS_Y, MAX_TEXT, SIZE

SLOT = 16
PARTS = (("img", (SIZE, SIZE, 3), np.uint8), ("glyph", (CELLS_Y, CELLS_X), np.uint16), ("role", (CELLS_Y, CELLS_X), np.uint8),
         ("ids", (MAX_TEXT,), np.int16), ("tgt", (MAX_TEXT,), np.int16), ("seg", (MAX_TEXT,), np.uint8),
         ("pos", (MAX_TEXT,), np.int16), ("wt", (MAX_TEXT,), np.float32))


def views(buf, count):
    out, off = [], 0
    per = {}
    for name, shape, dt in PARTS:
        n = int(np.prod(shape)) * np.dtype(dt).itemsize * SLOT
        per[name] = (off, n, shape, dt)
        off += (n + 4095) // 4096 * 4096
    for s in range(count):
        out.append({k: np.frombuffer(buf, dt, int(np.prod(shape)) * SLOT, s * off + o).reshape((SLOT,) + shape)
                    for k, (o, n, shape, dt) in per.items()})
    return out, off


def slot_bytes():
    off = 0
    for _, shape, dt in PARTS:
        off += (int(np.prod(shape)) * np.dtype(dt).itemsize * SLOT + 4095) // 4096 * 4096
    return off


def worker(slots, free, ready, progress, atlas_dir, seed, chrome):
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        import cv2
        cv2.setNumThreads(0)
    except ImportError:
        pass
    from .atlas import Atlas
    from .pages import Maker
    from .tokenizer import Packer
    parent = os.getppid()
    while not os.path.exists(os.path.join(atlas_dir, "ready")):
        time.sleep(.2)
        if os.getppid() != parent:
            return
    maker = Maker(Atlas(atlas_dir), seed)
    maker.t.odd = .25
    pack = Packer(random.Random(seed + 1), MAX_TEXT)
    r = random.Random(seed + 2)
    while os.getppid() == parent:
        k = free.get()
        if k is None:
            return
        v = slots[k]
        p = progress.value
        for i in range(SLOT):
            if chrome and p > .25 and r.random() < chrome.share:
                img, g, ro, f = chrome.page(r)
            else:
                level = min(1.0, max(0.0, p / .16 + r.uniform(-.25, .2)))
                img, g, ro, f = maker.make(level, rnd=None if p < .5 else r.choice((0.0, .2)))
            v["img"][i], v["glyph"][i], v["role"][i] = img, g, ro
            v["ids"][i], v["tgt"][i], v["seg"][i], v["pos"][i], v["wt"][i] = pack.pack(f)
        ready.put(k)


class Feed:
    def __init__(self, workers, count, atlas_dir, seed, chrome=None):
        ctx = get_context("fork")
        self.buf = mmap.mmap(-1, slot_bytes() * count)
        self.slots, self.stride = views(self.buf, count)
        self.free, self.ready = ctx.Queue(), ctx.Queue()
        self.progress = ctx.Value("d", 0.0)
        for k in range(count):
            self.free.put(k)
        self.procs = [ctx.Process(target=worker, args=(self.slots, self.free, self.ready, self.progress, atlas_dir, seed * 1000 + 17 * w, chrome), daemon=True)
                      for w in range(workers)]
        for p in self.procs:
            p.start()

    def next(self):
        k = self.ready.get(timeout=300)
        return k, self.slots[k]

    def release(self, k):
        self.free.put(k)

    def stop(self):
        for p in self.procs:
            p.terminate()
