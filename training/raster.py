# SPDX-License-Identifier: MIT
"""Drawing of glyph runs and boxes into a page, compiled by numba; fills the dense label grids too."""
import numpy as np
from numba import njit
from .common import CELL_H, CELL_W, CELLS_X, CELLS_Y, CHARSET, SIZE

_LUT = np.zeros(0x10000, np.int16)
for _i, _c in enumerate(CHARSET, 1):
    _LUT[ord(_c)] = _i
_LUT[0xA0] = 0


TINY = 0x7FFE           # label of a glyph too small to be named
HYPHEN, EMDASH = int(_LUT[ord("-")]), int(_LUT[ord("—")])


def codes(text):
    """Glyph indices of a string (space and unknown characters: 0)."""
    u = np.frombuffer(text.encode("utf-16-le", "ignore"), np.uint16)
    return _LUT[u]


@njit(cache=True)
def _step(c, adv, size, sp, quant, wspace):
    a = adv[c] * size + sp
    if c == 0:
        a += wspace
    if quant > 0:
        a = np.floor(a / quant + 0.5) * quant
    return a


@njit(cache=True)
def wrap(cd, adv, size, sp, quant, width, first_indent, max_lines, starts, ends, widths):
    """Breaks cd at spaces into lines of at most `width` pixels; returns the number of lines.

    starts/ends are glyph positions; a word wider than the line stands alone and sticks out.
    """
    n = cd.shape[0]
    nl = 0
    i = 0
    while i < n and nl < max_lines:
        while i < n and cd[i] == 0:
            i += 1
        if i >= n:
            break
        avail = width - (first_indent if nl == 0 else 0.0)
        w = 0.0
        j = i
        last = -1
        lastw = 0.0
        while j < n:
            if cd[j] == 0:
                last = j
                lastw = w
            w2 = w + _step(cd[j], adv, size, sp, quant, 0.0)
            if j > i + 1 and (cd[j - 1] == HYPHEN or cd[j - 1] == EMDASH) and cd[j] != 0:
                last = j
                lastw = w
            if w2 > avail and cd[j] != 0 and last > 0:
                break
            w = w2
            j += 1
        if j >= n:
            last = n
            lastw = w
        elif last <= i:
            last = j
            lastw = w
        starts[nl] = i
        ends[nl] = last
        widths[nl] = lastw
        nl += 1
        i = last
    return nl


@njit(cache=True)
def draw(img, glab, rlab, pix, index, base, adv, cd, roles, size, sp, quant, x, y, colour, lut,
         nx, ny, wspace, cx0, cy0, cx1, cy1, label):
    """Draws one line with its baseline at y; returns the x after it.

    img u8 [S,S,3]; glab, rlab [CELLS_Y, CELLS_X]; index, adv, base: of one face and size; roles: one a
    glyph; clip box cx0..cy1. label 0 draws only.
    """
    fx = x
    iy = int(np.floor(y))
    py = int((y - iy) * ny)
    mid = y - 0.33 * size
    for k in range(cd.shape[0]):
        c = cd[k]
        st = _step(c, adv, size, sp, quant, wspace)
        if c != 0:
            ix = int(np.floor(fx))
            p = py * nx + int((fx - ix) * nx)
            o = base + index[p, c, 0]
            w = index[p, c, 1]
            h = index[p, c, 2]
            gx = ix + index[p, c, 3]
            gy = iy + index[p, c, 4]
            x0 = max(gx, cx0)
            x1 = min(gx + w, cx1)
            y0 = max(gy, cy0)
            y1 = min(gy + h, cy1)
            for yy in range(y0, y1):
                row = o + (yy - gy) * w - gx
                for xx in range(x0, x1):
                    a = np.int32(lut[pix[row + xx]])
                    if a > 0:
                        for ch in range(3):
                            v = np.int32(img[yy, xx, ch])
                            img[yy, xx, ch] = v + ((np.int32(colour[ch]) - v) * a + 127) // 255
            if label:
                mx = fx + 0.5 * adv[c] * size
                if cx0 <= mx < cx1 and cy0 <= mid < cy1:
                    gi = int(mid) // CELL_H
                    gj = int(mx) // CELL_W
                    glab[gi, gj] = c if size >= 5.9 else TINY
                    rlab[gi, gj] = roles[k]
        fx += st
    return fx


@njit(cache=True)
def erase(glab, rlab, x0, y0, x1, y1):
    """Forgets the labels of the glyphs that a box drawn over them hides."""
    for i in range(max(0, y0 // CELL_H), min(CELLS_Y, (y1 + CELL_H - 1) // CELL_H)):
        for j in range(max(0, x0 // CELL_W), min(CELLS_X, (x1 + CELL_W - 1) // CELL_W)):
            glab[i, j] = 0
            rlab[i, j] = 0


@njit(cache=True)
def fill(img, x0, y0, x1, y1, colour, a):
    """Blends a box with a colour, a of 255."""
    for yy in range(max(0, y0), min(SIZE, y1)):
        for xx in range(max(0, x0), min(SIZE, x1)):
            for ch in range(3):
                v = np.int32(img[yy, xx, ch])
                img[yy, xx, ch] = v + ((np.int32(colour[ch]) - v) * a + 127) // 255
