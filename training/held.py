# SPDX-License-Identifier: MIT
"""Layouts kept for the evaluation: no training page is made by these functions.

Each takes a Maker and returns (canvas, fields), as Maker's own layouts do.
"""
from .common import NONE, R_DATE, R_SITE


def blank(m, aspect=None):
    cv, th, b, f = m.start(aspect)
    f.update(headline=NONE, byline=NONE, site=NONE, date=NONE, lead=NONE)
    return cv, th, b, f


def name(m, cv, f, x, y, w, size, colour, align=0, kind="b"):
    """The site's name in one line, as large as fits; returns y below."""
    s = m.t.site()
    cd = m.rc(s)
    fc = m.face(size, kind, cd)
    lw = cv.width(cd, fc)
    if lw > w:
        fc = m.face(max(7.5, fc.size * w / lw * .97), "r", cd)
        lw = cv.width(cd, fc)
        if lw > w:
            return y
    cv.line(cd, R_SITE, fc, x + (w - lw) * align / 2, y + fc.size, colour)
    f["site"] = s.strip()
    return y + fc.size * 1.5


def magazine(m):
    """A wide picture; the headline in a box of the page's colour that reaches into it; byline right."""
    r = m.r
    cv, th, b, f = blank(m)
    y = name(m, cv, f, cv.x0 + 12, cv.y0 + 4, cv.w - 24, r.uniform(10, 20), th.fg, 1)
    cv.box(cv.x0 + 12, y, cv.x1 - 12, y + 1, th.fg)
    ph = cv.h * r.uniform(.25, .4)
    m.picture(cv, cv.x0, y + 5, cv.w, ph, False)
    x, w = cv.x0 + cv.w * r.uniform(.05, .14), cv.w * r.uniform(.72, .84)
    top = y + 5 + ph * r.uniform(.6, .8)
    cv.box(x, top, x + w, cv.y1, th.bg)
    y = m.headline(cv, th, x + 8, top + 6, w - 16, m.headline_size(cv, b, None), f, maxh=cv.h * .38)
    y = m.meta(cv, th, x + 8, y + 4, w - 16, b, f, align=2)
    m.body(cv, th, x + 8, y + 3, w - 16, b, f, None, 2 if w / b > 34 else 1)
    return cv, f


def bulletin(m):
    """A broadcaster's screen: name in the corner, headline in the lower third, date in a strip below."""
    r = m.r
    cv, th, b, f = blank(m, r.uniform(1.1, 1.8))
    m.picture(cv, cv.x0, cv.y0, cv.w, cv.h, False)
    w = cv.w * r.uniform(.3, .45)
    x = cv.x1 - w - 8 if r.random() < .7 else cv.x0 + 8
    cv.box(x, cv.y0 + 8, x + w, cv.y0 + 32, th.accent)
    fg = (255, 255, 255) if sum(th.accent) < 420 else (0, 0, 0)
    name(m, cv, f, x + 4, cv.y0 + 11, w - 8, 13, fg, 1)
    strip = max(b * 1.7, 13)
    top = cv.y1 - strip - cv.h * r.uniform(.3, .42)
    cv.box(cv.x0, top, cv.x1, cv.y1 - strip, th.bg)
    y = m.headline(cv, th, cv.x0 + 12, top + 4, cv.w - 24, m.headline_size(cv, b, None), f, maxh=cv.y1 - strip - top - 22)
    m.meta(cv, th, cv.x0 + 12, y + 2, cv.w - 24, b, f, dt=False)
    f["date"] = NONE
    cv.box(cv.x0, cv.y1 - strip, cv.x1, cv.y1, (20, 20, 20))
    _, d = m.t.date()
    cd = m.rc(d)
    fc = m.face(max(7.2, b), "r", cd)
    if r.random() < .8 and cv.width(cd, fc) < cv.w - 20:
        cv.line(cd, R_DATE, fc, cv.x0 + 10, cv.y1 - strip / 2 + fc.asc / 2, (255, 255, 255))
        f["date"] = d
    return cv, f


def letter(m):
    """A newsletter: name and date between rules, a bar beside the headline, the author under the text."""
    r = m.r
    cv, th, b, f = blank(m, r.uniform(.6, 1.1))
    x, w = cv.x0 + cv.w * .1, cv.w * .8
    y = name(m, cv, f, x, cv.y0 + 6, w, r.uniform(12, 24), th.accent, 1)
    cv.box(x, y, x + w, y + 1, th.line)
    y = m.meta(cv, th, x, y + 2, w, b, f, align=1, by=False)
    cv.box(x, y, x + w, y + 1, th.line)
    y += 8
    y2 = m.headline(cv, th, x + 10, y, w - 10, m.headline_size(cv, b, None), f, maxh=cv.h * .4)
    cv.box(x, y, x + 3, y2, th.accent)
    y = m.body(cv, th, x, y2 + 6, w, b, f, y2 + 6 + (cv.y1 - y2) * r.uniform(.45, .7))
    date = f.get("date")
    m.meta(cv, th, x, y + 2, w, b, f, align=2, dt=False)
    if date is not None:
        f["date"] = date
    return cv, f


def tiles(m):
    """Four tiles: name and date, headline, picture, text; the author in the tile of the headline."""
    r = m.r
    cv, th, b, f = blank(m, r.uniform(.85, 1.3))
    cx, cy = cv.x0 + cv.w * r.uniform(.38, .5), cv.y0 + cv.h * r.uniform(.36, .5)
    flip = r.random() < .5
    head, text = ((cv.x0, cv.y0, cv.x1 if r.random() < .3 else cx + 40, cy), (cv.x0, cy, cv.x1, cv.y1))
    cv.box(head[0], head[1], head[2], head[3], th.panel)
    x, w = head[0] + 8, head[2] - head[0] - 16
    if head[2] < cv.x1 - 40:
        m.picture(cv, head[2], cv.y0, cv.x1 - head[2], cy - cv.y0)
    y = name(m, cv, f, x, cv.y0 + 4, w, 11, th.accent)
    y = m.headline(cv, th, x, y + 2, w, m.headline_size(cv, b, None), f, maxh=cy - y - 24)
    m.meta(cv, th, x, y, w, b, f, dt=False) if cy - y > 16 else f.update(byline=NONE)
    f["date"] = NONE
    y = m.meta(cv, th, text[0] + 8, cy + 5, cv.w - 16, b, f, by=False, align=2 if flip else 0)
    m.body(cv, th, text[0] + 8, y + 2, cv.w - 16, b, f, None, 2)
    return cv, f


HELD = (magazine, bulletin, letter, tiles)
