# SPDX-License-Identifier: MIT
"""Procedural photo-like pictures: a pool drawn once per process, cut and recoloured per use."""
import numpy as np


def _noise(rng, n, octaves):
    import cv2
    out = np.zeros((n, n), np.float32)
    amp = 1.0
    for o in octaves:
        g = rng.rand(o + 2, o + 2).astype(np.float32)
        out += amp * cv2.resize(g, (n, n), interpolation=cv2.INTER_CUBIC)
        amp *= rng.uniform(.35, .75)
    out -= out.min()
    return out / (out.max() + 1e-6)


def _ramp(rng, m):
    """Maps a scalar field to colours through four random stops."""
    stops = rng.randint(0, 256, (4, 3)).astype(np.float32)
    if rng.rand() < .3:
        stops[:] = stops.mean(1, keepdims=True)
    x = m * 3
    i = np.clip(x.astype(int), 0, 2)
    f = (x - i)[..., None]
    return stops[i] * (1 - f) + stops[i + 1] * f


def picture(rng, n=320):
    import cv2
    oct_ = [[2, 4, 8, 16, 32], [3, 9, 27, 81], [2, 5], [4, 8, 16, 32, 64, 128], [1, 2, 4]][rng.randint(5)]
    a = _ramp(rng, _noise(rng, n, oct_))
    yy, xx = np.mgrid[0:n, 0:n].astype(np.float32) / n
    if rng.rand() < .5:     # horizon: sky over ground
        h = rng.uniform(.3, .7) + .08 * _noise(rng, n, [3, 6, 12])
        sky = _ramp(rng, np.clip(yy * 1.2, 0, 1)) * .8 + 40
        a = np.where((yy < h)[..., None], sky, a)
    a = np.ascontiguousarray(np.clip(a, 0, 255))
    for _ in range(rng.randint(0, 14)):   # shapes: people, buildings, balls
        c = tuple(float(v) for v in rng.randint(0, 256, 3))
        x, y = int(rng.randint(n)), int(rng.randint(n))
        k = rng.rand()
        if k < .35:
            cv2.ellipse(a, (x, y), (int(rng.randint(4, 70)), int(rng.randint(4, 90))), float(rng.randint(180)), 0, 360, c, -1, cv2.LINE_AA)
        elif k < .6:
            w, h = int(rng.randint(4, 110)), int(rng.randint(8, 160))
            cv2.rectangle(a, (x, y), (x + w, y + h), c, -1)
            if rng.rand() < .5:
                s = int(rng.randint(4, 14))
                d = tuple(v * .6 for v in c)
                for i in range(x + 2, x + w - 2, s):
                    for j in range(y + 2, y + h - 2, s):
                        cv2.rectangle(a, (i, j), (i + s // 2, j + s // 2), d, -1)
        elif k < .75:
            p = rng.randint(0, n, (rng.randint(3, 6), 2)).astype(np.int32)
            cv2.fillPoly(a, [p], c, cv2.LINE_AA)
        elif k < .9:            # a figure: head and shoulders
            s = int(rng.randint(8, 60))
            skin = tuple(float(v) for v in rng.randint(60, 230, 3))
            cv2.ellipse(a, (x, y + 2 * s), (int(1.5 * s), int(1.3 * s)), 0, 180, 360, c, -1, cv2.LINE_AA)
            cv2.ellipse(a, (x, y), (int(.62 * s), int(.85 * s)), 0, 0, 360, skin, -1, cv2.LINE_AA)
            cv2.ellipse(a, (x, y - s // 3), (int(.66 * s), int(.6 * s)), 0, 180, 360, tuple(v * .3 for v in skin), -1, cv2.LINE_AA)
        else:
            cv2.line(a, (x, y), (int(rng.randint(n)), int(rng.randint(n))), c, int(rng.randint(1, 7)), cv2.LINE_AA)
    a *= (.5 + .7 * _noise(rng, n, [1, 2, 3]))[..., None]
    if rng.rand() < .5:
        a = cv2.GaussianBlur(a, (0, 0), rng.uniform(.5, 3))
    a += rng.randn(n, n, 1) * rng.uniform(0, 12)
    return np.clip(a, 0, 255).astype(np.uint8)


class Pictures:
    def __init__(self, seed, count=48):
        rng = np.random.RandomState(seed)
        self.pool = [picture(rng) for _ in range(count)]

    def get(self, r, w, h):
        """A picture of h x w pixels (at most 448 each)."""
        import cv2
        src = r.choice(self.pool)
        n = src.shape[0]
        k = min(1.0, n / w, n / h) * (r.uniform(.5, 1) if r.random() < .7 else 1)
        cw, ch = max(2, int(w * k)), max(2, int(h * k))
        cw, ch = min(cw, n), min(ch, n)
        x, y = r.randint(0, n - cw), r.randint(0, n - ch)
        a = src[y:y + ch, x:x + cw]
        if (cw, ch) != (w, h):
            a = cv2.resize(a, (w, h), interpolation=cv2.INTER_LINEAR)
        if r.random() < .5:
            a = a[:, ::-1]
        if r.random() < .3:
            a = a[:, :, ::-1]
        if r.random() < .12:
            a = np.repeat(a.mean(2, keepdims=True), 3, 2).astype(np.uint8)
        return a
