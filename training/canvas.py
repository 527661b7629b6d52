# SPDX-License-Identifier: MIT
"""One page under construction: pixels, the two label grids, and drawing in terms of text blocks."""
import numpy as np
from . import raster
from .atlas import phases
from .common import CELLS_X, CELLS_Y, PAD_RGB, SIZE

_X = np.arange(256) / 255.0
LUTS = [np.clip(np.round(255 * _X ** g), 0, 255).astype(np.uint8) for g in (1.0, 0.72, 0.85, 1.2, 1.45)]
_ST, _EN, _WI = np.zeros(400, np.int64), np.zeros(400, np.int64), np.zeros(400, np.float64)


class Face:
    """A face at a size, with spacing habits: what a run of text is set in."""
    __slots__ = ("f", "si", "size", "adv", "index", "base", "nx", "ny", "sp", "quant", "lut", "asc", "has")

    def __init__(self, atlas, f, size, r=None, sp=0.0):
        self.f = f
        self.si = int(np.abs(np.log(atlas.sizes / max(size, 1.0))).argmin())
        self.size = float(atlas.sizes[self.si])
        self.adv, self.index, self.base = atlas.adv[f], atlas.index[f, self.si], int(atlas.base[f])
        self.nx, self.ny = phases(self.size)
        self.asc = float(atlas.cap[f]) * self.size
        self.has = atlas.has[f]
        self.sp, self.quant, self.lut = sp, 0.0, LUTS[0]
        if r is not None:
            x = r.random()
            self.quant = r.uniform(.25, .7) if x < .4 and self.size > 6 else 0.0
            self.lut = LUTS[0] if x < .5 else r.choice(LUTS)
            if not sp and r.random() < .12:
                self.sp = r.uniform(-.02, .06) * self.size


class Canvas:
    def __init__(self, atlas, r, w, h, bg):
        self.atlas, self.r = atlas, r
        self.img = np.empty((SIZE, SIZE, 3), np.uint8)
        self.img[:] = PAD_RGB
        self.g = np.zeros((CELLS_Y, CELLS_X), np.uint16)
        self.role = np.zeros((CELLS_Y, CELLS_X), np.uint8)
        self.x0, self.y0 = (SIZE - w) // 2, (SIZE - h) // 2
        self.x1, self.y1 = self.x0 + w, self.y0 + h
        self.w, self.h = w, h
        self.img[self.y0:self.y1, self.x0:self.x1] = bg

    def width(self, cd, fc):
        if fc.quant > 0:
            return float((np.floor((fc.adv[cd] * fc.size + fc.sp) / fc.quant + .5) * fc.quant).sum())
        return float(fc.adv[cd].sum() * fc.size + fc.sp * cd.size)

    def line(self, cd, roles, fc, x, y, colour, wspace=0.0, label=1):
        """One line, baseline at y."""
        if not isinstance(roles, np.ndarray):
            roles = np.full(cd.size, roles, np.uint8)
        return raster.draw(self.img, self.g, self.role, self.atlas.pix, fc.index, fc.base, fc.adv, cd, roles, fc.size,
                           fc.sp, fc.quant, float(x), float(y), np.asarray(colour, np.uint8), fc.lut, fc.nx, fc.ny,
                           wspace, self.x0, self.y0, self.x1, self.y1, label)

    def block(self, cd, roles, fc, x, y, w, colour, align=0, lh=1.2, max_lines=200, bottom=None, indent=0.0,
              justify=False, label=1, dry=False):
        """Wrapped text whose first line's top is at y. Returns (y below, lines, end): end is the number
        of glyphs that were placed. Lines that would cross `bottom` are not drawn."""
        step = fc.size * lh
        bottom = self.y1 if bottom is None else bottom
        can = int((bottom - y - fc.size * .15) / step)
        n = min(max_lines, can, 390)
        if n <= 0 or cd.size == 0:
            return y, 0, 0
        nl = raster.wrap(cd, fc.adv, fc.size, fc.sp, fc.quant, float(w), float(indent), n, _ST, _EN, _WI)
        if dry:
            return y + nl * step, nl, int(_EN[nl - 1]) if nl else 0
        if not isinstance(roles, np.ndarray):
            roles = np.full(cd.size, roles, np.uint8)
        starts, ends, widths = _ST[:nl].tolist(), _EN[:nl].tolist(), _WI[:nl].tolist()
        base = y + (step - fc.size) / 2 + fc.size * .8
        for k in range(nl):
            s, e, lw = starts[k], ends[k], widths[k]
            xx = x + (indent if k == 0 else 0)
            ws = 0.0
            if align == 1:
                xx = x + (w - lw) / 2
            elif align == 2:
                xx = x + w - lw
            elif justify and k < nl - 1 or (justify and e < cd.size):
                sp = int((cd[s:e] == 0).sum())
                if sp:
                    ws = min((w - (indent if k == 0 else 0) - lw) / sp, fc.size * .9)
                    ws = max(ws, 0.0)
            self.line(cd[s:e], roles[s:e], fc, xx, base, colour, ws, label)
            base += step
        return y + nl * step, nl, (ends[-1] if nl else 0)

    def box(self, x0, y0, x1, y1, colour, a=255, hide=True):
        x0, y0, x1, y1 = max(int(x0), self.x0), max(int(y0), self.y0), min(int(x1), self.x1), min(int(y1), self.y1)
        if x1 <= x0 or y1 <= y0:
            return
        if a == 255:
            self.img[y0:y1, x0:x1] = colour
        else:
            raster.fill(self.img, x0, y0, x1, y1, np.asarray(colour, np.uint8), a)
        if hide:
            raster.erase(self.g, self.role, x0, y0, x1, y1)

    def frame(self, x0, y0, x1, y1, colour):
        self.box(x0, y0, x1, y0 + 1, colour, hide=False)
        self.box(x0, y1 - 1, x1, y1, colour, hide=False)
        self.box(x0, y0, x0 + 1, y1, colour, hide=False)
        self.box(x1 - 1, y0, x1, y1, colour, hide=False)

    def paste(self, x, y, a):
        """A picture at x, y, cut to the page."""
        x, y = int(x), int(y)
        h, w = a.shape[:2]
        x0, y0, x1, y1 = max(x, self.x0), max(y, self.y0), min(x + w, self.x1), min(y + h, self.y1)
        if x1 > x0 and y1 > y0:
            self.img[y0:y1, x0:x1] = a[y0 - y:y1 - y, x0 - x:x1 - x]
            raster.erase(self.g, self.role, x0, y0, x1, y1)
