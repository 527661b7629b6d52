# SPDX-License-Identifier: MIT
"""The page maker: layouts of news sites and front pages, with their fields and dense labels.

Maker.make(level) returns one page: img u8 [448,448,3], glyph and role grids, and fields, a dict of
headline, byline, site, date, lead as the answers must be: text as printed, `none` where the page is
legible and does not have it, `unreadable` where nothing can be read. Fields of which the truth would
be a matter of taste are left out. level 0..1 goes from one short headline on an empty page to full
pages. held=True uses the layouts (and faces) that training never sees.
"""
import math, random
import numpy as np
from . import raster
from .canvas import Canvas, Face
from .common import (CELLS_X, CELLS_Y, FIELDS, NONE, PAD_RGB, R_BYLINE, R_DATE, R_HEAD, R_LEAD, R_OTHER, R_SITE, SIZE,
                     UNREADABLE)
from .compose import Composer
from .held import HELD
from .pictures import Pictures
from .text import DAYS, MONTHS, NAV, Text

MIN_LEAD, MAX_ILLEGIBLE = 7.0, 6.0    # em in model pixels: a lead is asked from, and unreadable up to


def lum(c):
    return .3 * c[0] + .59 * c[1] + .11 * c[2]


def mix(a, b, t):
    return tuple(int(x + (y - x) * t) for x, y in zip(a, b))


class Theme:
    def __init__(self, r):
        x = r.random()
        rc = lambda lo, hi: tuple(r.randint(lo, hi) for _ in range(3))
        if x < .5:
            v = r.choice([255, 255, 255, r.randint(235, 255)])
            self.bg = (v, v, v) if r.random() < .6 else tuple(min(255, v - r.randint(0, 14)) for _ in range(3))
            self.fg = rc(0, 50) if r.random() < .4 else (r.randint(0, 50),) * 3
        elif x < .67:
            v = r.randint(0, 48)
            self.bg = (v, v, v) if r.random() < .5 else rc(0, 50)
            v = r.randint(190, 255)
            self.fg = (v, v, v) if r.random() < .7 else rc(190, 255)
        elif x < .80:
            self.bg = rc(190, 255)
            self.fg = rc(0, 70)
        elif x < .88:
            self.bg = rc(0, 255)
            self.fg = (255, 255, 255) if lum(self.bg) < 135 else (0, 0, 0)
            if r.random() < .4:
                self.fg = mix(self.fg, self.bg, r.uniform(0, .2))
        else:
            self.bg = (r.randint(225, 255),) * 3
            self.fg = (r.randint(50, 115),) * 3
        self.accent = rc(0, 255)
        if abs(lum(self.accent) - lum(self.bg)) < 75:
            self.accent = mix(self.accent, self.fg, .8)
        self.muted = mix(self.fg, self.bg, r.uniform(.1, .45) if abs(lum(self.fg) - lum(self.bg)) > 150 else .1)
        self.line = mix(self.bg, self.fg, r.uniform(.08, .4))
        self.panel = mix(self.bg, self.fg, r.uniform(.03, .12))
        self.head = self.fg if r.random() < .85 else self.accent


DISPLAY_SIZE = 11       # em in model pixels from which faces with hairlines are used


class Maker:
    def __init__(self, atlas, seed, faces=None):
        self.r = random.Random(seed)
        self.atlas = atlas
        self.t = Text(self.r)
        self.pics = Pictures(seed % 9973, 40)
        n = atlas.ntrain
        names = atlas.names
        ok = atlas.has[:, [raster._LUT[ord(c)] for c in "éüñçøß’“”–—"]].all(1)
        self.train_faces = [i for i in range(n)]
        self.held_faces = [i for i in range(n, len(names))]
        self.fallback = [i for i in range(n) if atlas.has[i].mean() > .97] or [0]
        self.regular = {}
        common = ("Liberation", "DejaVu", "OpenSans", "Roboto", "Lato", "NotoS", "Inter", "PTS", "Nimbus", "Carlito", "Caladea", "TeXGyre", "FreeS")
        self.pool, self.text_pool = {}, {}              # of all faces; of those fit for running text
        for held, ids in ((False, self.train_faces), (True, self.held_faces)):
            reg = [i for i in ids if not ("Bold" in names[i] or "Italic" in names[i] or "Oblique" in names[i] or "Black" in names[i])]
            bold = [i for i in ids if "Bold" in names[i] or "Black" in names[i]]
            ital = [i for i in ids if "Italic" in names[i] or "Oblique" in names[i]]
            mult = lambda l: l + [i for i in l if names[i].startswith(common)] * 2
            self.pool[held] = (mult(reg) or ids, mult(bold) or ids, ital or ids)
            self.text_pool[held] = tuple([i for i in l if i not in atlas.thinned] for l in self.pool[held])
        self.filler = [raster.codes(self.t.paragraph(20, 70)) for _ in range(150)]
        self.heads = [raster.codes(self.t.headline(3, 11)) for _ in range(150)]
        self.level, self.held = 1.0, False
        self.composer = Composer(self)

    # -- faces and text ----------------------------------------------------------------------
    def face(self, size, kind="r", cd=None, sp=0.0, f=None):
        """A face for the glyphs cd; kind r regular, b bold, i italic, x any."""
        r = self.r
        reg, bold, ital = (self.pool if size >= DISPLAY_SIZE else self.text_pool)[self.held]
        for _ in range(5):
            if f is None:
                k = kind if kind != "x" else r.choice("rrbbbi")
                f = r.choice(bold if k == "b" else ital if k == "i" else reg)
            if cd is None or self.atlas.has[f][cd[cd > 0]].all():
                break
            f = None
        else:
            f = r.choice(self.fallback)
        fc = Face(self.atlas, f, size, r, sp)
        return fc

    def ligate(self, s, fc):
        if "fi" in s and fc.has[raster._LUT[0xFB01]] and self.r.random() < .3:
            s = s.replace("fi", "\ufb01")
        return s

    def rc(self, s):
        return raster.codes(s)

    # -- parts -------------------------------------------------------------------------------
    def picture(self, cv, x, y, w, h, text=True):
        r = self.r
        w, h = int(min(w, SIZE)), int(min(h, SIZE))
        if w < 4 or h < 4:
            return
        if r.random() < .06:
            cv.box(x, y, x + w, y + h, tuple(r.randint(0, 255) for _ in range(3)))
        else:
            cv.paste(x, y, self.pics.get(r, w, h))
        if text and r.random() < .08:
            cd = self.rc(self.t.short(1, 2))
            cv.line(cd, R_OTHER, self.face(r.uniform(6, 14), "x", cd), x + 4 + r.random() * w * .4, y + h * r.uniform(.3, .9), (255, 255, 255))

    def small(self, cv, s, x, y, size, colour, kind="r", role=R_OTHER, w=None, align=0, **kw):
        cd = self.rc(s)
        return cv.block(cd, role, self.face(size, kind, cd), x, y, w or cv.x1 - x, colour, align, **kw)

    def masthead(self, cv, th, y, f):
        """Site name, perhaps in a band, with buttons; returns y below."""
        r, t = self.r, self.t
        s = t.site()
        size = min(math.exp(r.uniform(math.log(10), math.log(34))), cv.h * .11)
        size = max(size, 8.5)
        kind = r.choice("rbbbbi")
        cd = self.rc(s)
        fc = self.face(size, kind, cd, r.choice([0, 0, 0, .05, .12]) * size)
        w = cv.width(cd, fc)
        room = cv.w * r.uniform(.62, .94)
        if w > room:
            fc = self.face(max(7.5, fc.size * room / w), kind, cd, f=fc.f)
            fc.quant = 0
            w = cv.width(cd, fc)
            if w > cv.w - 6:
                s = s[:max(4, int(len(s) * (cv.w - 8) / w) - 1)].strip()
                cd = self.rc(s)
                w = cv.width(cd, fc)
        band = r.random() < .42
        h = fc.size * r.uniform(1.25, 2.1)
        fg, bg = (th.fg if r.random() < .75 else th.accent), th.bg
        if band:
            bg = th.accent if r.random() < .5 else tuple(r.randint(0, 255) for _ in range(3))
            if r.random() < .3:
                bg = (r.randint(0, 40),) * 3
            cv.box(cv.x0, y, cv.x1, y + h, bg)
            fg = (255, 255, 255) if lum(bg) < 140 else (0, 0, 0)
            if r.random() < .2:
                fg = mix(fg, tuple(r.randint(0, 255) for _ in range(3)), .25)
        x = cv.x0 + (cv.w - w) / 2 if r.random() < .45 else cv.x0 + r.uniform(4, 16)
        if x > cv.x0 + 30 and r.random() < .2:      # menu mark
            for k in range(3):
                cv.box(cv.x0 + 6, y + h * .35 + k * 4, cv.x0 + 16, y + h * .35 + k * 4 + 1, fg)
        elif x < cv.x0 + 20 and r.random() < .25:   # a logo before the name
            k = int(fc.size)
            cv.box(x, y + (h - k) / 2, x + k, y + (h + k) / 2, tuple(r.randint(0, 255) for _ in range(3)))
            x += k + 4
            if x + w > cv.x1:
                x = cv.x1 - w - 1
        cv.line(cd, R_SITE, fc, x, y + h / 2 + fc.asc / 2, fg)
        if r.random() < .4 and x + w < cv.x1 - 60:
            b = r.choice(["Subscribe", "Sign in", "Log in", "Menu", "Search", "Support us", "Register", "Abo", "S'abonner"])
            cd2 = self.rc(b)
            f2 = self.face(r.uniform(5.5, 8), "x", cd2)
            w2 = cv.width(cd2, f2)
            bx = cv.x1 - w2 - 10
            if bx > x + w + 8:
                if r.random() < .5:
                    cv.box(bx - 4, y + h / 2 - f2.size, bx + w2 + 4, y + h / 2 + f2.size * .9, th.accent)
                    c2 = (255, 255, 255) if lum(th.accent) < 140 else (0, 0, 0)
                else:
                    c2 = fg
                cv.line(cd2, R_OTHER, f2, bx, y + h / 2 + f2.asc / 2, c2)
        f["site"] = s.strip()
        return y + h + r.uniform(0, 4)

    def nav(self, cv, th, y):
        r = self.r
        size = r.uniform(5, 9)
        fc = self.face(size, "x")
        band = r.random() < .35
        h = fc.size * r.uniform(1.6, 2.4)
        fg = th.fg
        if band:
            bg = r.choice([th.panel, th.accent, (r.randint(0, 40),) * 3])
            fg = (255, 255, 255) if lum(bg) < 140 else (0, 0, 0)
            cv.box(cv.x0, y, cv.x1, y + h, bg)
        x = cv.x0 + r.uniform(4, 16)
        up = r.random() < .3
        gap = r.uniform(5, 16)
        for _ in range(r.randint(3, 11)):
            s = r.choice(NAV).replace("\u00a0", " ")
            cd = self.rc(s.upper() if up else s)
            w = cv.width(cd, fc)
            if x + w > cv.x1 - 4:
                break
            cv.line(cd, R_OTHER, fc, x, y + h / 2 + fc.asc / 2, fg)
            x += w + gap
        if r.random() < .5:
            cv.box(cv.x0, y + h, cv.x1, y + h + 1, th.line)
        return y + h + 2

    def advert(self, cv, th, x, y, w, h):
        r = self.r
        if r.random() < .4:
            self.picture(cv, x, y, w, h)
        else:
            cv.box(x, y, x + w, y + h, r.choice([th.panel, tuple(r.randint(0, 255) for _ in range(3))]))
        if r.random() < .6:
            self.small(cv, r.choice(["Advertisement", "ADVERTISEMENT", "Ad", "Anzeige", "Publicité", "Sponsored"]), x, y, r.uniform(4.6, 6), th.muted, w=w, align=1, max_lines=1)
        if r.random() < .5 and h > 16:
            s = r.choice(["Save %d%% today", "Only $%d", "From €%d a month", "Buy now", "Try it free for %d days", "Shop the sale"])
            s = s % r.randint(2, 99) if "%d" in s else s
            self.small(cv, s, x + 2, y + h * .3, min(r.uniform(7, 15), h * .4), (255, 255, 255), "b", w=w - 4, align=1, max_lines=1)

    def headline_size(self, cv, body, text):
        r = self.r
        lo = max(9.2, .03 * cv.h, 1.12 * body)
        hi = max(lo * 1.15, min(.12 * cv.h * 1.05, 54, cv.w * .16))
        x = r.random()
        return math.exp(math.log(lo) + (x ** 1.15) * (math.log(hi) - math.log(lo)))

    def headline(self, cv, th, x, y, w, size, f, colour=None, align=None, kind=None, maxh=None, text=None):
        """Draws the main headline; returns y below. Its size shrinks until it fits."""
        r = self.r
        if text is None:
            n = 13 if size < 26 else 10 if size < 38 else 7
            lo = r.choice([2, 3, 4, 4])
            if size < 22 and r.random() < .22:
                n, lo = 24, 10
            text = self.t.headline(lo, max(lo + 1, min(n, int(w * 5.5 / size))))
        kind = kind or r.choice("rbbbbbi")
        cd = self.rc(text)
        fc = self.face(size, kind, cd, r.choice([0, 0, 0, 0, -.02, .03]) * size)
        maxh = maxh or (cv.y1 - y - 8)
        lh = r.uniform(1.0, 1.35)
        for _ in range(8):
            _, nl, end = cv.block(cd, R_HEAD, fc, x, y, w, (0, 0, 0), lh=lh, bottom=y + 2000, dry=True)
            longest = max((cv.width(self.rc(k), fc) for k in text.split(" ")), default=0)
            if nl * fc.size * lh <= maxh and longest <= w and (nl <= 6 or fc.size < 12):
                break
            if fc.size < 10:
                text = " ".join(text.split(" ")[:max(1, len(text.split(" ")) * 2 // 3)])
                if len(text) > 12 and longest > w:
                    text = text[:12].strip()
                cd = self.rc(text)
            q, lut, sp = fc.quant, fc.lut, fc.sp / fc.size
            fc = Face(self.atlas, fc.f, fc.size * .87)
            fc.quant, fc.lut, fc.sp = q, lut, sp * fc.size
        s2 = self.ligate(text, fc)
        align = align if align is not None else (1 if r.random() < .18 else 0)
        y2, nl, end = cv.block(self.rc(s2), R_HEAD, fc, x, y, w, colour or th.head, align, lh=lh)
        f["headline"] = s2[:end].replace("\ufb01", "fi").strip() if end else NONE
        f["_hsize"] = fc.size
        return y2 + fc.size * .15

    def meta(self, cv, th, x, y, w, body, f, align=0, colour=None, by=None, dt=None):
        """Byline and date in one or two lines; sets both fields. Returns y below."""
        r, t = self.r, self.t
        has_by = r.random() < .74 if by is None else by
        has_dt = r.random() < .74 if dt is None else dt
        f["byline"] = f.get("byline", NONE)
        if not (has_by or has_dt):
            return y
        size = max(6.6, min(body * r.uniform(.75, 1.15), 13))
        fc = self.face(size, r.choice("rrrbi"))
        colour = colour or (th.fg if r.random() < .35 else th.muted)
        parts = []
        if has_by:
            runs, ans = t.byline()
            parts.append([(s, R_BYLINE if nm else R_OTHER) for s, nm in runs])
        if has_dt:
            pre, d = t.date()
            parts.append([(pre, R_OTHER), (d, R_DATE)])
        if len(parts) == 2 and r.random() < .2:
            parts.reverse()
        if r.random() < .1:
            parts.append([(r.choice(["%d min read", "%d comments", "Share", "Listen to article"]).replace("%d", str(r.randint(2, 99))), R_OTHER)])
        one = len(parts) > 1 and r.random() < .5
        def build(seq):
            s, ro = "", []
            for txt, role in seq:
                s += txt
                ro += [role] * len(txt)
            return s, np.array(ro, np.uint8)
        if one:
            sep = r.choice([" | ", " · ", " – ", " — ", ", ", "   ", " • ", "    ", " / "])
            flat = []
            for i, p in enumerate(parts):
                flat += ([(sep, R_OTHER)] if i else []) + p
            lines = [flat]
        else:
            lines = parts
        if r.random() < .1 and align == 0 and body > 6:
            k = int(size * r.uniform(1.4, 2.6))
            self.picture(cv, x, y, k, k, False)
            x += k + 5
            w -= k + 5
        if r.random() < .15:
            cv.box(x, y, x + w, y + 1, th.line)
            y += 3
        for seq in lines:
            s, ro = build(seq)
            cd = self.rc(s)
            if not self.atlas.has[fc.f][cd[cd > 0]].all():
                fc = self.face(size, "r", cd)
            lw = cv.width(cd, fc)
            if lw > w and not any(ro == R_DATE) or lw > 2 * w:
                fc2 = Face(self.atlas, fc.f, max(6.3, fc.size * w / lw))
                fc2.lut = fc.lut
                lw = cv.width(cd, fc2)
            else:
                fc2 = fc
            bottom_ok = y + fc2.size * 1.3 * math.ceil(lw / w + .3) < cv.y1 - 2
            if not bottom_ok or lw > 3 * w:
                return y
            y, nl, end = cv.block(cd, ro, fc2, x, y, w, colour, align, lh=1.3)
            got = s[:end]
            if end < len(s.rstrip()):
                f.pop("byline", None)
                f.pop("date", None)
                f["_cut"] = True
            name = "".join(c for c, k in zip(got, ro) if k == R_BYLINE).strip()
            date = "".join(c for c, k in zip(got, ro) if k == R_DATE).strip()
            if name:
                f["byline"] = name
            if date:
                f["date"] = date
        return y + size * r.uniform(.3, .9)

    def body(self, cv, th, x, y, w, body, f, bottom=None, cols=1, lead=True, fc=None, paras=10 ** 6):
        """At most `paras` paragraphs in columns; the first becomes the lead. Returns y below the deepest
        column."""
        r = self.r
        bottom = bottom or cv.y1 - r.uniform(2, 8)
        if bottom - y < body * 1.5:
            return y
        fc = fc or self.face(body, "r" if r.random() < .93 else "i")
        lh = r.uniform(1.14, 1.6)
        gap = r.choice([.3, .6, .9]) * body if r.random() < .75 else 0.0
        indent = 0.0 if gap and r.random() < .8 else body * r.uniform(1, 2)
        gutter = r.uniform(6, 14)
        cw = (w - gutter * (cols - 1)) / cols
        just = r.random() < .25
        deepest = y
        first = lead
        for c in range(cols):
            yy = y
            cx = x + c * (cw + gutter)
            while yy < bottom - body and paras > 0:
                paras -= 1
                if first:
                    cap = cw / (body * .47) * max(1, (bottom - yy) / (body * lh)) / 5.6
                    hi = int(max(6, min(56, cap * (.95 if r.random() < .85 else 1.5))))
                    text = self.t.paragraph(max(4, min(12, hi // 2)), max(5, r.randint(max(5, hi // 3), hi)))
                    cd = self.rc(text)
                    if not self.atlas.has[fc.f][cd[cd > 0]].all():
                        fc = self.face(body, "r", cd)
                    longest = max(cv.width(self.rc(k), fc) for k in text.split(" "))
                    if longest > cw:
                        text = " ".join(k[:8] for k in text.split(" "))
                    fl = fc
                    if r.random() < .06:
                        fl = self.face(body * r.uniform(1, 1.15), "b", cd)
                    text2 = self.ligate(text, fl)
                    lead_indent = indent if r.random() < .6 else 0.0
                    yy, nl, end = cv.block(self.rc(text2), R_LEAD, fl, cx, yy, cw, th.fg, lh=lh, bottom=bottom, indent=lead_indent, justify=just)
                    first = False
                    if nl:
                        got = text2[:end].replace("\ufb01", "fi").strip()
                        cut = end < len(text2.rstrip())
                        size = fl.size
                        if size >= MIN_LEAD and not (cut and cols > 1):
                            f["lead"] = got
                        elif size < MAX_ILLEGIBLE:
                            f["lead"] = UNREADABLE
                        else:
                            f.pop("lead", None)
                    else:
                        break
                else:
                    cd = r.choice(self.filler)
                    if not self.atlas.has[fc.f][cd[cd > 0]].all():
                        cd = r.choice(self.filler[:1])
                    yy, nl, end = cv.block(cd, R_OTHER, fc, cx, yy, cw, th.fg, lh=lh, bottom=bottom, indent=indent, justify=just)
                    if nl == 0:
                        break
                yy += gap
                if r.random() < .03:
                    yy = self.picture_caption(cv, th, cx, yy, cw, min(60, bottom - yy - 8), body)
            deepest = max(deepest, yy)
        return deepest

    def picture_caption(self, cv, th, x, y, w, h, body):
        r = self.r
        if h < 10 or w < 10:
            return y
        self.picture(cv, x, y, w, h)
        y += h + 2
        if r.random() < .6:
            size = max(4.8, body * r.uniform(.65, .85))
            y, _, _ = self.small(cv, self.t.short(4, 14) + r.choice([".", "", " Photo: " + self.t.name(), " (" + self.t.name() + "/AP)"]), x, y, size, th.muted, r.choice("rri"), w=w, max_lines=2)
            y += 2
        return y + r.uniform(1, 5)

    def related(self, cv, th, x, y, w, bottom, cap):
        """Competing headlines, smaller than the main one."""
        r = self.r
        size = max(5.5, min(cap * r.uniform(.4, .72), r.uniform(7, 13)))
        if r.random() < .5:
            cv.box(x - 3, y - 2, x + w + 3, bottom, th.panel)
        y, _, _ = self.small(cv, r.choice(["Most read", "Related", "More from us", "Read more", "Trending", "Top stories", "MORE NEWS", "Latest", "You may also like", "Editors' picks"]), x, y, min(size * 1.15, cap * .75), th.accent if r.random() < .5 else th.fg, "b", w=w, max_lines=1)
        y += 3
        fc = self.face(size, "x")
        style = r.random()
        n = 0
        while y < bottom - size * 1.3 and n < 12:
            n += 1
            xx, ww = x, w
            if style < .3:
                k = int(min(w * .32, 40))
                if y + k * .7 > bottom:
                    break
                self.picture(cv, x, y, k, int(k * .7), False)
                xx, ww = x + k + 4, w - k - 4
            elif style < .45:
                self.small(cv, "%d" % n, x, y, size * 1.2, th.accent, "b", max_lines=1, w=20)
                xx, ww = x + size * 1.6, w - size * 1.6
            if ww < 20:
                break
            y0 = y
            cd = r.choice(self.heads)
            y, nl, _ = cv.block(cd, R_OTHER, fc, xx, y, ww, th.fg, lh=1.2, max_lines=4, bottom=bottom)
            if nl == 0:
                break
            if r.random() < .15 and y < bottom - 8:
                y, _, _ = self.small(cv, r.choice(["By " + self.t.name(), "%d hours ago" % r.randint(1, 23), r.choice(NAV).replace("\u00a0", " ")]), xx, y, max(4.8, size * .7), th.muted, w=ww, max_lines=1)
            if style < .3:
                y = max(y, y0 + min(w * .32, 40) * .7)
            y += size * r.uniform(.4, 1)
            if r.random() < .3:
                cv.box(x, y - 2, x + w, y - 1, th.line)
        return y

    def cookie(self, cv, th, f):
        """A consent banner over the foot of the page; only where nothing asked for is hidden."""
        r = self.r
        h = r.randint(18, 60)
        y = cv.y1 - h
        rows = np.where(np.isin(cv.role, (R_HEAD, R_BYLINE, R_DATE, R_SITE, R_LEAD)).any(1))[0]
        if rows.size and (rows.max() + 2) * 8 > y:
            return
        bg = r.choice([(255, 255, 255), (r.randint(0, 50),) * 3, th.panel, tuple(r.randint(0, 255) for _ in range(3))])
        fg = (255, 255, 255) if lum(bg) < 140 else (0, 0, 0)
        cv.box(cv.x0, y, cv.x1, cv.y1, bg)
        if r.random() < .5:
            cv.box(cv.x0, y, cv.x1, y + 1, mix(bg, fg, .4))
        s = r.choice(["We use cookies and similar technologies to improve your experience. Read our privacy policy.", "We value your privacy. We and our partners store and access information on a device.", "This website uses cookies. By continuing you accept our terms.", "Wir verwenden Cookies. Datenschutz", "Nous utilisons des cookies."])
        size = r.uniform(5, 8.5)
        self.small(cv, s, cv.x0 + 6, y + 4, size, fg, w=cv.w * .7, bottom=cv.y1 - 1)
        x = cv.x0 + cv.w * .76
        for k, b in enumerate(r.sample(["Accept all", "Reject", "Settings", "OK", "Agree", "Manage"], r.randint(1, 2))):
            yy = y + 4 + k * size * 2
            if yy + size * 1.6 < cv.y1:
                cv.box(x, yy, x + cv.w * .2, yy + size * 1.6, th.accent if lum(th.accent) < 140 else (20, 80, 160))
                self.small(cv, b, x, yy + 1, size, (255, 255, 255), "b", w=cv.w * .2, align=1, max_lines=1)

    def footer(self, cv, th, y, f):
        pass

    # -- layouts -----------------------------------------------------------------------------
    def start(self, aspect=None):
        r = self.r
        x = r.random()
        a = aspect or (r.uniform(.86, 1.2) if x < .36 else math.exp(r.uniform(math.log(.42), math.log(.86))) if x < .70 else r.uniform(1.2, 1.95))
        w, h = (SIZE, int(SIZE / a)) if a >= 1 else (int(SIZE * a), SIZE)
        th = Theme(r)
        cv = Canvas(self.atlas, r, w, h, th.bg)
        x = r.random()
        if x < .17:
            b = r.uniform(4.6, 6.2)
        elif x < .22:
            b = r.uniform(6.2, 7)
        else:
            b = math.exp(r.uniform(math.log(7.0), math.log(13.0)))
        b = min(b, w / 14, h / 14)
        return cv, th, max(4.6, b), {}

    def top(self, cv, th, f, y):
        """Strip, masthead, navigation, advert in some order; sets site (and perhaps a masthead date)."""
        r = self.r
        if r.random() < .2:
            c = th.panel
            h = r.uniform(7, 12)
            cv.box(cv.x0, y, cv.x1, y + h, c)
            self.small(cv, "   ".join(r.choice(NAV).replace("\u00a0", " ") for _ in range(r.randint(1, 5))), cv.x0 + 5, y + 1, 5.2, th.fg, max_lines=1)
            y += h
        if r.random() < .14:
            h = r.uniform(.05, .12) * cv.h
            self.advert(cv, th, cv.x0 + cv.w * r.uniform(.05, .25), y + 2, cv.w * r.uniform(.4, .7), h)
            y += h + 5
        f["site"] = NONE
        if r.random() < .93:
            y = self.masthead(cv, th, y, f)
            if r.random() < .7:
                y = self.nav(cv, th, y)
        elif r.random() < .5:
            y = self.nav(cv, th, y)
        if r.random() < .25:
            cv.box(cv.x0, y, cv.x1, y + r.choice([1, 1, 2]), th.line)
            y += 3
        if r.random() < .12:
            h = r.uniform(.06, .16) * cv.h
            self.advert(cv, th, cv.x0 + cv.w * r.uniform(.03, .2), y + 3, cv.w * r.uniform(.5, .75), h)
            y += h + 7
        return y

    def article(self):
        r = self.r
        cv, th, b, f = self.start()
        y = self.top(cv, th, f, cv.y0 + r.choice([0, 0, r.uniform(0, 8)]))
        f["byline"], f["date"] = NONE, NONE
        if r.random() < .12:
            self.masthead_date(cv, th, y, f)
            y += 10
        m = cv.w * r.choice([.02, .04, .06, .1, .16]) + 3
        x, w = cv.x0 + m, cv.w - 2 * m
        side = r.random() < .34 and w > 230
        full_head = r.random() < .4
        sx = sw = 0
        if side:
            sw = w * r.uniform(.24, .34)
            if r.random() < .25:
                sx, x2, w2 = x, x + sw + 12, w - sw - 12
            else:
                sx, x2, w2 = x + w - sw, x, w - sw - 12
            if not full_head:
                x, w = x2, w2
        y += r.uniform(3, 18)
        order = r.random()
        pic = r.random() < .55
        ph = min(cv.h * r.uniform(.14, .38), w * .75)
        if pic and order < .16:
            y = self.picture_caption(cv, th, x, y, w, ph, b)
            pic = False
        if r.random() < .35:
            k = self.t.short(1, 3)
            y, _, _ = self.small(cv, k.upper() if r.random() < .5 else k.capitalize(), x, y, max(5.5, b * r.uniform(.7, 1)), th.accent, r.choice("rb"), w=w, max_lines=1)
            y += 2
        if r.random() < .08:
            y = self.meta(cv, th, x, y, w, b, f)
            f["_metadone"] = True
        size = self.headline_size(cv, b, None)
        centred = r.random() < .16
        avail = cv.y1 - y - max(6, (.1 + .25 * r.random()) * cv.h)
        y0 = y
        y = self.headline(cv, th, x, y, w * (r.uniform(.75, 1) if r.random() < .4 else 1), size, f, align=1 if centred else 0, maxh=max(avail, 14))
        hs = f["_hsize"]
        if r.random() < .36:
            ds = min(max(b * 1.12, r.uniform(.42, .68) * hs), hs * .78)
            if ds > 5.5:
                y += 2
                y, _, _ = self.small(cv, self.t.paragraph(6, 18), x, y, ds, th.muted if r.random() < .6 else th.fg, r.choice("rri"), w=w, align=1 if centred else 0, max_lines=3, bottom=cv.y1 - b * 2)
                y += 2
        late = r.random() < .2
        y += r.uniform(1, 6)
        if not f.get("_metadone") and not late:
            y = self.meta(cv, th, x, y, w, b, f, 1 if centred else 0)
        if pic and r.random() < .8 and cv.y1 - y > ph * .7:
            y = self.picture_caption(cv, th, x, y, w, min(ph, cv.y1 - y - 10), b)
        if not f.get("_metadone") and late:
            y = self.meta(cv, th, x, y, w, b, f)
        if side:
            sy = (y0 if not full_head else y)
            if full_head:
                x, w = x2, w2
        y += r.uniform(0, 5)
        bottom = cv.y1 - r.uniform(2, 10)
        f["lead"] = NONE
        if pic and r.random() < .3 and w > 200 and bottom - y > 60:    # picture beside the text
            pw = w * r.uniform(.3, .45)
            left = r.random() < .4
            self.picture(cv, x if left else x + w - pw, y, pw, pw * .75)
            cols = 1
            self.body(cv, th, x + pw + 8 if left else x, y, w - pw - 8, b, f, min(bottom, y + pw * .75 + 5))
            y += pw * .75 + 8
            self.body(cv, th, x, y, w, b, f, bottom, lead="lead" not in f or f["lead"] == NONE)
        else:
            cols = r.choice([1, 1, 1, 2, 2, 3]) if w / b > 38 else r.choice([1, 1, 2]) if w / b > 26 else 1
            if r.random() < .1:
                bottom = y + (bottom - y) * r.uniform(.3, .8)
            if r.random() < .96:
                self.body(cv, th, x, y, w, b, f, bottom, cols)
        if side:
            self.related(cv, th, sx + 3, sy + r.uniform(0, 20), sw - 6, cv.y1 - r.uniform(4, 60), hs)
        if r.random() < .12:
            self.cookie(cv, th, f)
        return cv, f

    def masthead_date(self, cv, th, y, f):
        """The date line of a newspaper: sets the date unless the story has its own."""
        r = self.r
        _, d = self.t.date()
        while "ago" in d:
            _, d = self.t.date()
        bits = [(d, R_DATE)]
        if r.random() < .6:
            bits.insert(r.randint(0, 1), (r.choice(["No. %d" % r.randint(100, 90000), "Vol. %s . . . No. %d" % ("".join(r.choice("CXVI") for _ in range(4)), r.randint(10, 9999)), "$%d.50" % r.randint(1, 4), "£%d.%02d" % (r.randint(1, 4), r.randint(0, 99)), "Founded %d" % r.randint(1780, 1990), r.choice(["Late edition", "International edition", "Sunny, 21°C".replace("°", " ")])]), R_OTHER))
        size = r.uniform(6.6, 9)
        fc = self.face(size, r.choice("rri"), self.rc("".join(b[0] for b in bits)))
        ws = [cv.width(self.rc(s), fc) for s, _ in bits]
        base = y + size * 1.1
        if sum(ws) + 12 > cv.w:
            bits, ws = [b for b in bits if b[1] == R_DATE], [w for w, b in zip(ws, bits) if b[1] == R_DATE]
        if sum(ws) + 6 > cv.w:
            return
        if len(bits) == 1:
            x = cv.x0 + r.choice([.02 * cv.w + 2, (cv.w - ws[0]) / 2])
            cv.line(self.rc(bits[0][0]), bits[0][1], fc, x, base, th.fg)
        else:
            cv.line(self.rc(bits[0][0]), bits[0][1], fc, cv.x0 + 4, base, th.fg)
            cv.line(self.rc(bits[1][0]), bits[1][1], fc, cv.x1 - 4 - ws[1], base, th.fg)
        if r.random() < .7:
            cv.box(cv.x0, y + size * 1.5, cv.x1, y + size * 1.5 + 1, th.line)
        f["date"] = d

    def newspaper(self):
        """A printed front page: wide masthead, date line, grid of stories; the largest headline leads."""
        r = self.r
        cv, th, b, f = self.start(r.choice([r.uniform(.6, .8), r.uniform(.6, 1.0), r.uniform(1, 1.5)]))
        b = min(b, 9.5)
        y = cv.y0 + r.uniform(2, 8)
        y = self.masthead(cv, th, y, f)
        f["byline"], f["date"], f["lead"] = NONE, NONE, NONE
        if r.random() < .85:
            self.masthead_date(cv, th, y, f)
            y += 13
        cols = r.randint(2, 5) if cv.w > 300 else r.randint(2, 3)
        g = r.uniform(5, 9)
        x, w = cv.x0 + 5, cv.w - 10
        cw = (w - g * (cols - 1)) / cols
        span = r.randint(max(1, cols - 2), cols)
        left = 0 if r.random() < .6 else cols - span
        lx, lw = x + left * (cw + g), span * cw + (span - 1) * g
        if r.random() < .2:
            y = self.picture_caption(cv, th, lx, y + 2, lw, cv.h * r.uniform(.1, .25), b) if span == cols else y
        size = min(self.headline_size(cv, b, None) * 1.15, lw * .16)
        y0 = y + r.uniform(2, 8)
        y = self.headline(cv, th, lx, y0, lw, max(size, b * 1.4, 10), f, maxh=cv.h * .45, align=r.choice([0, 0, 1]))
        hs = f["_hsize"]
        if r.random() < .35:
            y, _, _ = self.small(cv, self.t.paragraph(5, 14), lx, y, max(5.5, min(hs * .5, b * 1.5)), th.fg, r.choice("ri"), w=lw, align=r.choice([0, 1]), max_lines=2)
            y += 3
        pic_cols = 0
        if span >= 2 and r.random() < .6:
            pic_cols = r.randint(1, span - 1)
            px = lx + (span - pic_cols) * (cw + g)
            self.picture_caption(cv, th, px, y + 2, pic_cols * cw + (pic_cols - 1) * g, min(cv.h * r.uniform(.15, .3), cv.y1 - y - 30), b)
        date0 = f.get("date", NONE)
        yy = self.meta(cv, th, lx, y + 2, cw, b, f, dt=False)
        f["date"] = date0
        tc = 1 if span - pic_cols < 2 else r.randint(1, span - pic_cols)
        bottom = cv.y1 - 3 if r.random() < .6 else yy + (cv.y1 - yy) * r.uniform(.5, .9)
        self.body(cv, th, lx, yy, tc * cw + (tc - 1) * g, b, f, bottom, tc)
        for c in range(cols):                                      # the other stories
            cx = x + c * (cw + g)
            inside = left <= c < left + span
            sy = y0 if not inside else None
            if inside:
                k = c - left
                if k < tc:
                    sy = bottom + 4
                else:
                    hid = cv.role[:, int(cx) // 4:int(cx + cw) // 4]
                    sy = y + cv.h * .34 if pic_cols else bottom + 4
            while sy is not None and sy < cv.y1 - 24:
                cd = r.choice(self.heads)
                fs = self.face(max(5.5, min(hs * r.uniform(.4, .68), cw * .14)), "x", cd)
                sy, nl, _ = cv.block(cd, R_OTHER, fs, cx, sy, cw, th.fg, lh=1.15, max_lines=4)
                if r.random() < .3:
                    sy, _, _ = self.small(cv, "By " + self.t.name(), cx, sy + 1, max(5, b * .85), th.muted, w=cw, max_lines=1)
                end = min(cv.y1 - 3, sy + r.uniform(20, 120))
                self.body(cv, th, cx, sy + 2, cw, b, {}, end, lead=False)
                sy = end + 5
                if nl == 0:
                    break
        if r.random() < .4:
            for c in range(1, cols):
                if not left < c < left + span:
                    gx = x + c * (cw + g) - g / 2
                    cv.box(gx, y0, gx + 1, cv.y1 - 3, th.line, hide=False)
        return cv, f

    def hero(self):
        """Headline over a picture."""
        r = self.r
        cv, th, b, f = self.start()
        y = self.top(cv, th, f, cv.y0)
        f["byline"], f["date"], f["lead"] = NONE, NONE, NONE
        h = cv.h * r.uniform(.32, .75)
        h = min(h, cv.y1 - y - 4)
        m = r.choice([0, 0, 6, 14])
        x, w = cv.x0 + m, cv.w - 2 * m
        self.picture(cv, x, y, w, h, False)
        dark = r.random() < .85
        shade = (0, 0, 0) if dark else (255, 255, 255)
        a = r.randint(125, 220)
        hs = self.headline_size(cv, b, None)
        top = y + h * r.uniform(.15, .5)
        grad = r.random() < .5
        if grad:
            n = int(h)
            for k in range(0, n, 4):
                cv.box(x, y + k, x + w, y + k + 4, shade, min(a, int(a * min(1, (k + 20) / max(1, top - y + 10)))), hide=False)
        elif r.random() < .5:
            cv.box(x, y, x + w, y + h, shade, a, hide=False)
        else:
            cv.box(x, top - 5, x + w, y + h, shade, min(255, a + 30), hide=False)
        fg = (255, 255, 255) if dark else (0, 0, 0)
        tx, tw = x + w * r.uniform(.03, .1), w * r.uniform(.75, .9)
        if r.random() < .3:
            self.small(cv, self.t.short(1, 2).upper(), tx, top - max(9, b * 1.1), max(5.5, b * .8), fg, "b", max_lines=1)
        y2 = self.headline(cv, th, tx, top, tw, max(hs, 11), f, colour=fg, maxh=max(12, y + h - top - 14), kind=r.choice("rbbb"))
        inside = r.random() < .5
        if inside:
            self.meta(cv, th, tx, y2 + 2, tw, min(b, 9), f, colour=mix(fg, shade, .1)) if y + h - y2 > 32 else None
        y = y + h + r.uniform(2, 8)
        mm = cv.w * r.uniform(.03, .14)
        if not inside:
            y = self.meta(cv, th, cv.x0 + mm, y, cv.w - 2 * mm, b, f)
        self.body(cv, th, cv.x0 + mm, y, cv.w - 2 * mm, b, f, None, 1 if (cv.w / b) < 40 else r.choice([1, 2]))
        return cv, f

    def front(self):
        """A section page: one lead story above or beside many smaller ones."""
        r = self.r
        cv, th, b, f = self.start()
        y = self.top(cv, th, f, cv.y0)
        f["byline"], f["date"], f["lead"] = NONE, NONE, NONE
        if r.random() < .3:
            self.masthead_date(cv, th, y, f)
            y += 13
        x, w = cv.x0 + 6, cv.w - 12
        y += r.uniform(2, 8)
        lead_h = (cv.y1 - y) * r.uniform(.4, .65)
        beside = r.random() < .5 and w > 260
        hs = max(self.headline_size(cv, b, None), 12)
        date0 = f["date"]
        if beside:
            pw = w * r.uniform(.4, .58)
            left = r.random() < .5
            self.picture(cv, x if left else x + w - pw, y, pw, lead_h - 6)
            tx, tw = (x + pw + 8, w - pw - 8) if left else (x, w - pw - 8)
            yy = self.headline(cv, th, tx, y, tw, hs, f, maxh=lead_h * .7)
        else:
            if r.random() < .6:
                ph = lead_h * r.uniform(.35, .55)
                self.picture(cv, x, y, w, ph)
                yy = y + ph + 4
            else:
                yy = y
            tx, tw = x, w
            yy = self.headline(cv, th, tx, yy, tw, hs, f, maxh=max(12, y + lead_h - yy))
        hs = f["_hsize"]
        if r.random() < .5 and y + lead_h - yy > 12:
            yy = self.meta(cv, th, tx, yy, tw, b, f, dt=(False if date0 != NONE else None))
        if date0 != NONE:
            f["date"] = date0
        if y + lead_h - yy > b * 2.2:
            self.body(cv, th, tx, yy, tw, b, f, y + lead_h)
        y = max(y + lead_h, yy) + r.uniform(3, 9)
        if r.random() < .5:
            cv.box(x, y - 3, x + w, y - 2, th.line)
        n = r.randint(1, 4) if w > 200 else r.randint(1, 2)
        g = 8
        cw = (w - g * (n - 1)) / n
        while y < cv.y1 - 24:
            rowh = r.uniform(40, 110)
            for c in range(n):
                cx, yy = x + c * (cw + g), y
                if r.random() < .6:
                    ph = min(cw * .6, rowh * .5)
                    self.picture(cv, cx, yy, cw, ph, False)
                    yy += ph + 2
                cd = r.choice(self.heads)
                fs = self.face(max(5.5, min(hs * r.uniform(.4, .7), 13)), "x", cd)
                yy, nl, _ = cv.block(cd, R_OTHER, fs, cx, yy, cw, th.fg, lh=1.2, max_lines=3, bottom=min(cv.y1 - 2, y + rowh))
                if r.random() < .3:
                    self.small(cv, r.choice(self.t.titles or ["x"])[:90] if r.random() < .3 else self.t.short(5, 14), cx, yy, max(5, b * .8), th.muted, w=cw, max_lines=2, bottom=min(cv.y1 - 2, y + rowh))
            y += rowh + 6
        if r.random() < .12:
            self.cookie(cv, th, f)
        return cv, f

    def reader(self):
        """Plain page: text only, as a reader mode or a social card shows it."""
        r = self.r
        cv, th, b, f = self.start()
        f["byline"], f["date"], f["lead"], f["site"] = NONE, NONE, NONE, NONE
        m = cv.w * r.uniform(.04, .2)
        x, w = cv.x0 + m, cv.w - 2 * m
        y = cv.y0 + r.uniform(4, 40)
        if r.random() < .5:
            s = self.t.site()
            cd = self.rc(s)
            fc = self.face(max(7, b * r.uniform(.8, 1.2)), "x", cd)
            if cv.width(cd, fc) < w:
                cv.line(cd, R_SITE, fc, x, y + fc.size, th.muted)
                f["site"] = s.strip()
            y += fc.size * 1.8
        y = self.headline(cv, th, x, y, w, self.headline_size(cv, b, None), f, maxh=cv.h * .5)
        y = self.meta(cv, th, x, y + 3, w, b, f)
        if r.random() < .4:
            cv.box(x, y, x + w, y + 1, th.line)
            y += 5
        if r.random() < .3:
            y = self.picture_caption(cv, th, x, y, w, cv.h * .25, b)
        if r.random() < .9:
            self.body(cv, th, x, y, w, b, f)
        return cv, f

    def split(self):
        """Picture over one half of the screen, all text in the other."""
        r = self.r
        cv, th, b, f = self.start(r.uniform(1.1, 1.8))
        f["byline"], f["date"], f["lead"], f["site"] = NONE, NONE, NONE, NONE
        half = cv.w * r.uniform(.35, .5)
        left = r.random() < .5
        self.picture(cv, cv.x0 if left else cv.x1 - half, cv.y0, half, cv.h)
        x, w = (cv.x0 + half + 10 if left else cv.x0 + 10), cv.w - half - 20
        y = cv.y0 + 8
        s = self.t.site()
        cd = self.rc(s)
        fc = self.face(min(14, w / max(4, len(s)) * 1.5), "b", cd)
        if cv.width(cd, fc) < w:
            cv.line(cd, R_SITE, fc, x, y + fc.size, th.accent)
            f["site"] = s.strip()
        y += 24 + r.uniform(0, 20)
        y = self.headline(cv, th, x, y, w, self.headline_size(cv, b, None), f, maxh=cv.h * .5)
        y = self.meta(cv, th, x, y + 4, w, b, f)
        self.body(cv, th, x, y + 2, w, b, f)
        return cv, f

    def rail(self):
        """The byline and date stand in a narrow rail beside the text."""
        r = self.r
        cv, th, b, f = self.start()
        y = self.masthead(cv, th, cv.y0 + 2, f)
        cv.box(cv.x0, y, cv.x1, y + 2, th.fg)
        y += 10
        f["byline"], f["date"], f["lead"] = NONE, NONE, NONE
        x, w = cv.x0 + 10, cv.w - 20
        y = self.headline(cv, th, x, y, w, self.headline_size(cv, b, None), f, maxh=cv.h * .5) + 6
        rail = w * .26
        self.meta(cv, th, x, y, rail - 6, max(b * .85, 6.6), f)
        self.body(cv, th, x + rail, y, w - rail, b, f)
        return cv, f

    def boxed(self):
        """A card in the middle of a coloured page, all centred."""
        r = self.r
        cv, th, b, f = self.start()
        outer = tuple(r.randint(0, 255) for _ in range(3))
        m = r.uniform(.04, .1) * cv.w
        cv.box(cv.x0, cv.y0, cv.x1, cv.y1, outer)
        cv.box(cv.x0 + m, cv.y0 + m * .7, cv.x1 - m, cv.y1 - m * .5, th.bg)
        f["byline"], f["date"], f["lead"], f["site"] = NONE, NONE, NONE, NONE
        x, w = cv.x0 + m + 10, cv.w - 2 * m - 20
        y = cv.y0 + m * .7 + 8
        s = self.t.site().upper()
        cd = self.rc(s)
        fc = self.face(11, "r", cd, 1.0)
        lw = cv.width(cd, fc)
        if lw < w:
            cv.line(cd, R_SITE, fc, x + (w - lw) / 2, y + 10, th.fg)
            f["site"] = s.strip()
        y += 24
        y = self.headline(cv, th, x, y, w, self.headline_size(cv, b, None), f, align=1, maxh=cv.h * .45)
        y = self.meta(cv, th, x, y + 3, w, b, f, align=1)
        y = self.picture_caption(cv, th, x, y, w, min(cv.h * .2, cv.y1 - y - 40), b) if r.random() < .6 else y
        self.body(cv, th, x, y, w, b, f, cv.y1 - m * .5 - 6)
        return cv, f

    # -- simple and unreadable pages ----------------------------------------------------------
    def simple(self, level):
        """Curriculum: a short headline on an empty page, later with a line or two below."""
        r = self.r
        cv, th, b, f = self.start()
        n = 1 + int(level * 6)
        f = {"headline": NONE, "byline": NONE, "site": NONE, "date": NONE, "lead": NONE}
        size = math.exp(r.uniform(math.log(12), math.log(40))) if r.random() > level * .5 else r.uniform(10, 20)
        y = cv.y0 + r.uniform(2, cv.h * .5)
        if r.random() < .3 and y > cv.y0 + 40:
            self.masthead(cv, th, cv.y0 + 2, f)
        x = cv.x0 + r.uniform(3, cv.w * .15)
        w = cv.x1 - x - 4
        y = self.headline(cv, th, x, y, w, min(size, cv.w * .14), f, text=self.t.headline(1, n))
        if r.random() < .5:
            y = self.meta(cv, th, x, y + 3, w, max(b, 8), f)
        if r.random() < .5:
            self.body(cv, th, x, y + 2, w, max(b, 7.2), f, min(cv.y1, y + 12 + 14 * r.randint(1, 4)))
        return cv, f

    def illegible(self):
        """Blank, text-free, or blurred past reading: every answer is `unreadable`."""
        import cv2
        r = self.r
        x = r.random()
        if x < .5:
            cv, f = self.layout()
            hs = f.get("_hsize", 30)
            rows = np.isin(cv.role, (R_SITE,)).any()
            big = max(hs, 16 if rows else 0)
            a = cv.img[cv.y0:cv.y1, cv.x0:cv.x1]
            if r.random() < .75:
                s = big * math.exp(r.uniform(math.log(.32), math.log(1.2)))
                a = cv2.GaussianBlur(a, (0, 0), max(s, 4))
            else:
                k = max(2.0, big * r.uniform(.6, 1.3))
                small = cv2.resize(a, (max(1, int(cv.w / k)), max(1, int(cv.h / k))), interpolation=cv2.INTER_AREA)
                a = cv2.resize(small, (cv.w, cv.h), interpolation=r.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR]))
            cv.img[cv.y0:cv.y1, cv.x0:cv.x1] = a
        else:
            cv, th, b, f = self.start()
            if x < .64:
                if r.random() < .4:
                    cv.img[:] = tuple(r.randint(0, 255) for _ in range(3))
                if r.random() < .2:
                    v = r.choice([0, 255])
                    cv.img[:] = v
            elif x < .86:
                a = self.pics.get(r, cv.w, cv.h)
                cv.img[cv.y0:cv.y1, cv.x0:cv.x1] = a
            elif x < .92:
                n = np.frombuffer(r.randbytes(SIZE * SIZE * 3), np.uint8).reshape(SIZE, SIZE, 3)
                k = r.randint(1, 12)
                n = cv2.resize(n[:max(2, SIZE // k), :max(2, SIZE // k)], (SIZE, SIZE), interpolation=cv2.INTER_NEAREST if r.random() < .5 else cv2.INTER_LINEAR)
                cv.img[:] = n
            else:
                for _ in range(r.randint(1, 12)):
                    px, py = r.randint(cv.x0, cv.x1), r.randint(cv.y0, cv.y1)
                    if r.random() < .5:
                        cv.box(px, py, px + r.randint(4, 250), py + r.randint(2, 120), tuple(r.randint(0, 255) for _ in range(3)))
                    else:
                        self.picture(cv, px, py, r.randint(10, 200), r.randint(10, 160), False)
        cv.g[:] = 0
        cv.role[:] = 0
        return cv, dict({k: UNREADABLE for k in FIELDS}, _layout="illegible")

    LAYOUTS = ((.40, "composed"), (.27, "article"), (.07, "newspaper"), (.06, "hero"), (.08, "front"), (.04, "reader"),
               (.02, "split"), (.04, "rail"), (.02, "boxed"))

    def composed(self):
        return self.composer.page()

    def layout(self):
        """A page of a layout of training, or of those in held.py; its name stands in f["_layout"]."""
        if self.held:
            make = self.r.choice(HELD)
            cv, f = make(self)
            f["_layout"] = make.__name__
        else:
            name = self.r.choices([n for _, n in self.LAYOUTS], [w for w, _ in self.LAYOUTS])[0]
            cv, f = getattr(self, name)()
            f["_layout"] = name
        return cv, f

    def make(self, level=1.0, held=False, unreadable=.045, rnd=None):
        """One page; see the head of the file."""
        import cv2
        r = self.r
        self.held = held
        full = r.random() < level
        self.t.rnd = rnd if rnd is not None else .8 - .6 * min(1, level * 1.1)
        if r.random() < unreadable * (1 if level > .3 else .5):
            cv, f = self.illegible()
        elif full:
            cv, f = self.layout()
            if r.random() < .02:
                self.half_blur(cv, f)
        else:
            cv, f = self.simple(level)
        if r.random() < .012:                           # each process refreshes its stock of filler
            self.t.rnd = .1 if rnd is None else rnd
            for _ in range(6):
                self.filler[r.randrange(len(self.filler))] = self.rc(self.t.paragraph(20, 70))
                self.heads[r.randrange(len(self.heads))] = self.rc(self.t.headline(3, 11))
        img = cv.img
        if r.random() < .13:
            _, buf = cv2.imencode(".jpg", img, [cv2.IMWRITE_JPEG_QUALITY, r.randint(38, 92)])
            img = cv2.imdecode(buf, cv2.IMREAD_COLOR)
        self.name = f.get("_layout", "simple")
        f = {k: v for k, v in f.items() if not k.startswith("_")}
        return img, cv.g, cv.role, f

    def half_blur(self, cv, f):
        """The headline can be read, the small text cannot."""
        import cv2
        hs = f.get("_hsize", 0)
        if hs < 24 or "lead" not in f:
            return
        s = .085 * hs
        if s < 2.0:
            return
        cv.img[cv.y0:cv.y1, cv.x0:cv.x1] = cv2.GaussianBlur(cv.img[cv.y0:cv.y1, cv.x0:cv.x1], (0, 0), s)
        for k in ("byline", "date", "site"):
            f.pop(k, None)
        if f["lead"] != NONE:
            f["lead"] = UNREADABLE
        cv.g[cv.role != R_HEAD] = 0
        cv.role[cv.role != R_HEAD] = 0
