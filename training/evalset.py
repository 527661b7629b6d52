# SPDX-License-Identifier: MIT
"""Makes an evaluation set: PNG pages and labels.jsonl in one folder, for any engine to read.

    python3 -m training.evalset OUT --pages 1000

A third of the pages has layouts and faces that training never sees ("held": true). One line a page:
{"file", "held", "layout", "fields": {headline, byline, site, date, lead}}; a field that is not there is not asked.
Every tenth page or so is blank, text-free or blurred past reading.
"""
import argparse, json, os
from multiprocessing import Pool


def some(args):
    out, start, n, seed, atlas = args
    import cv2
    from .atlas import Atlas
    from .pages import Maker
    m = Maker(Atlas(atlas), 900001 + seed)
    rows = []
    for i in range(start, start + n):
        held = i % 3 == 2
        img, _, _, f = m.make(1.0, held, unreadable=.1, rnd=0.0)
        name = "p%05d.png" % i
        cv2.imwrite(os.path.join(out, name), img[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])
        rows.append({"file": name, "held": held, "layout": m.name, "fields": f})
    return rows


def build(out, pages, atlas, seed=0, procs=None):
    from .atlas import build as build_atlas
    build_atlas(atlas)
    os.makedirs(out, exist_ok=True)
    k = 50
    jobs = [(out, s, min(k, pages - s), seed + s, atlas) for s in range(0, pages, k)]
    with Pool(procs or min(16, os.cpu_count())) as p:
        rows = [r for rs in p.map(some, jobs, chunksize=1) for r in rs]
    with open(os.path.join(out, "labels.jsonl"), "w", encoding="utf8") as o:
        for r in rows:
            o.write(json.dumps(r, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("out")
    a.add_argument("--pages", type=int, default=1000)
    a.add_argument("--seed", type=int, default=0, help="0: the pages of the model card; another, 100,000 apart: others, to choose by")
    a.add_argument("--atlas", default="/dev/shm/reader-atlas")
    v = a.parse_args()
    build(v.out, v.pages, v.atlas, v.seed)
