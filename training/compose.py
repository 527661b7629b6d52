# SPDX-License-Identifier: MIT
"""Pages put together at random from parts: what keeps a model from learning a few layouts by heart.

Composer(maker).page() chooses a frame (whole page, card, half a picture, coloured rail), a place and
look for the site's name, an order of the story's parts, and one of many looks for byline and date:
in a line, at both ends of it, stacked, with labels, beside a portrait, in a rail, before the headline,
after the first paragraph or at the foot.
"""
import numpy as np
from .canvas import Face
from .common import NONE, R_BYLINE, R_DATE, R_OTHER, R_SITE
from .text import NAV

# Parts in order, with weights; railbody and railall put byline and date beside what follows.
ORDERS = [(14, "kicker head deck meta pic body"), (9, "pic kicker head meta body"), (8, "head pic meta body"),
          (6, "meta head deck pic body"), (7, "date head deck by body"), (5, "kicker by head date body"),
          (9, "kicker head lead meta body"), (6, "head lead pic meta body"), (4, "pic head lead by date"),
          (10, "head railbody"), (6, "kicker head deck railbody"), (5, "pic head railbody"), (5, "railall"),
          (5, "head deck body foot"), (5, "site head meta body"), (5, "kicker head site meta pic body"),
          (4, "head by pic date body"), (4, "pic by head date lead body"), (4, "head meta body siteend"),
          (3, "by date head body"), (3, "head lead meta site"), (3, "pic site head lead meta")]
ROLES = ["Political editor", "Staff writer", "Reporter", "Senior correspondent", "Culture editor", "Science reporter", "Columnist",
         "Contributor", "in London", "Business desk", "Special correspondent", "Freelance", "Features", "Sports writer"]
EXTRAS = ["%d min read", "%d comments", "Share", "Listen", "Save article", "%d shares", "Print", "Follow", "Reading time: %d minutes", "Subscribe"]


def pick(r, table):
    x = r.random() * sum(w for w, _ in table)
    for w, v in table:
        x -= w
        if x < 0:
            return v
    return table[-1][1]


class Composer:
    def __init__(self, maker):
        self.m, self.r, self.t = maker, maker.r, maker.t

    def page(self):
        m, r = self.m, self.r
        self.cv, self.th, self.b, self.f = cv, th, b, f = m.start()
        f.update(headline=NONE, byline=NONE, site=NONE, date=NONE, lead=NONE)
        self.align = 1 if r.random() < .14 else 0
        self.has_by, self.has_dt = r.random() < .82, r.random() < .8
        order = pick(r, ORDERS).split(" ")
        elsewhere = "site" in order or "siteend" in order
        x, y, w, self.bottom = self.frame(elsewhere)
        self.foot = self.bottom
        if order[-1] in ("foot", "siteend"):            # leave room for what stands at the end
            self.bottom -= r.uniform(20, 36)
        margin = w * r.choice([0, .01, .03, .05, .1])
        x, w = x + margin, w - 2 * margin
        if r.random() < .2 and w > 250:             # other stories at the side
            sw = w * r.uniform(.22, .32)
            left = r.random() < .4
            self.aside = (x if left else x + w - sw, y + r.uniform(0, 20), sw)
            x, w = (x + sw + 10, w - sw - 10) if left else (x, w - sw - 10)
        else:
            self.aside = None
        for part in order:
            if y > self.bottom - 9 and part not in ("foot", "siteend"):
                continue
            y = getattr(self, "p_" + part)(x, y, w)
        if self.aside and f.get("_hsize"):
            ax, ay, aw = self.aside
            m.related(cv, th, ax + 2, ay, aw - 4, self.bottom - r.uniform(4, 50), f["_hsize"])
        if r.random() < .08:
            m.cookie(cv, th, f)
        return cv, f

    # -- frame and site ----------------------------------------------------------------------
    def frame(self, elsewhere):
        """Chooses and draws it; returns x, y, w, bottom of the room for the story."""
        m, r, cv, th = self.m, self.r, self.cv, self.th
        k = r.random()
        if k < .5 and not elsewhere:
            y = m.top(cv, th, self.f, cv.y0)
            return cv.x0 + 7, y + r.uniform(2, 10), cv.w - 14, cv.y1 - 4
        x, y, w, bottom = cv.x0 + 8, cv.y0 + r.uniform(3, 10), cv.w - 16, cv.y1 - 4
        if k < .66:                                                     # a card on something
            mx, my = cv.w * r.uniform(.02, .11), cv.h * r.uniform(.01, .1)
            if r.random() < .25:
                m.picture(cv, cv.x0, cv.y0, cv.w, cv.h, False)
            else:
                cv.box(cv.x0, cv.y0, cv.x1, cv.y1, tuple(r.randint(0, 255) for _ in range(3)))
            cv.box(cv.x0 + mx, cv.y0 + my, cv.x1 - mx, cv.y1 - my * r.uniform(.2, 1), th.bg)
            x, y, w, bottom = cv.x0 + mx + 8, cv.y0 + my + 6, cv.w - 2 * mx - 16, cv.y1 - my - 4
        elif k < .76 and cv.w > 230:                                    # half a picture
            pw = cv.w * r.uniform(.25, .48)
            left = r.random() < .5
            m.picture(cv, cv.x0 if left else cv.x1 - pw, cv.y0, pw, cv.h)
            x, w = (cv.x0 + pw + 8 if left else cv.x0 + 8), cv.w - pw - 16
        elif k < .84 and cv.w > 230:                                    # a rail of another colour
            rw = cv.w * r.uniform(.12, .24)
            left = r.random() < .7
            bg = r.choice([th.panel, th.accent, tuple(r.randint(0, 255) for _ in range(3))])
            cv.box(cv.x0 if left else cv.x1 - rw, cv.y0, cv.x0 + rw if left else cv.x1, cv.y1, bg)
            fg = self.on(bg)
            yy = cv.y0 + r.uniform(8, 60)
            for _ in range(r.randint(0, 8)):
                yy, _, _ = m.small(cv, r.choice(NAV).replace("\u00a0", " "), (cv.x0 if left else cv.x1 - rw) + 4, yy, r.uniform(5.5, 7.5), fg, w=rw - 6, max_lines=1)
                yy += r.uniform(2, 9)
            x, w = (cv.x0 + rw + 8 if left else cv.x0 + 8), cv.w - rw - 16
        elif k < .9:
            cv.frame(cv.x0 + 2, cv.y0 + 2, cv.x1 - 2, cv.y1 - 2, th.fg)
        if r.random() < (.3 if elsewhere else .93):
            y = self.site(x, y, w)
        return x, y + r.uniform(0, 8), w, bottom

    def on(self, bg):
        return (255, 255, 255) if .3 * bg[0] + .59 * bg[1] + .11 * bg[2] < 138 else (0, 0, 0)

    def site(self, x, y, w, top=True):
        """The name in a line of its own, with what stands beside it; sets the field."""
        m, r, cv, th = self.m, self.r, self.cv, self.th
        if self.f["site"] != NONE:
            return y
        s = self.t.site()
        if r.random() < .2:
            s = s.upper()
        cd = m.rc(s)
        size = r.uniform(8, 22) if top else r.uniform(7, 13)
        fc = m.face(size, r.choice("rrbbi"), cd, r.choice([0, 0, 0, .06, .14]) * size)
        lw = cv.width(cd, fc)
        if lw > w * .8:
            fc = Face(m.atlas, fc.f, max(7.3, fc.size * w * .8 / lw))
            lw = cv.width(cd, fc)
        if lw > w or y + fc.size * 1.5 > cv.y1:
            return y
        h = fc.size * r.uniform(1.3, 2)
        fg = r.choice([th.fg, th.fg, th.accent, th.muted])
        if top and r.random() < .3:
            bg = r.choice([th.panel, th.accent, (r.randint(0, 40),) * 3, tuple(r.randint(0, 255) for _ in range(3))])
            cv.box(x - 3, y, x + w + 3, y + h, bg)
            fg = self.on(bg)
        a = r.choice([0, 0, 1, 1, 2])
        sx = x + (w - lw) * a / 2
        if a == 0 and r.random() < .3 and lw + fc.size + 6 < w:         # a mark before it
            k = int(fc.size)
            m.picture(cv, sx, y + (h - k) / 2, k, k, False) if r.random() < .5 else cv.box(sx, y + (h - k) / 2, sx + k, y + (h + k) / 2, th.accent)
            sx += k + 4
        base = y + h / 2 + fc.asc / 2
        cv.line(cd, R_SITE, fc, sx, base, fg)
        self.f["site"] = s.strip()
        if r.random() < .35:                                            # what else stands in that row
            e = r.choice(NAV + ["Menu", "Search", "Sign in", "Q", "=", "x", "+"]).replace("\u00a0", " ")
            ce = m.rc(e)
            fe = m.face(r.uniform(5.5, 8), "x", ce)
            we = cv.width(ce, fe)
            ex = x + w - we if a < 2 else x
            if ex > sx + lw + 6 or ex + we < sx - 6:
                cv.line(ce, R_OTHER, fe, ex, base, fg)
        y += h
        if r.random() < .3:
            cv.box(x, y, x + w, y + r.choice([1, 1, 2, 3]), r.choice([th.line, th.fg, th.accent]))
            y += 4
        return y

    # -- parts of the story ------------------------------------------------------------------
    def p_site(self, x, y, w):
        return self.site(x, y, w, top=False)

    def p_siteend(self, x, y, w):
        y, self.bottom = self.bottom + 2, self.foot
        return self.site(x, y, w, top=False)

    def p_kicker(self, x, y, w):
        r, th = self.r, self.th
        if r.random() < .4:
            return y
        k = self.t.short(1, 3)
        y, _, _ = self.m.small(self.cv, k.upper() if r.random() < .5 else k.capitalize(), x, y, max(5.5, self.b * r.uniform(.7, 1)), th.accent, r.choice("rb"), w=w, align=self.align, max_lines=1)
        return y + 2

    def p_head(self, x, y, w):
        m, r = self.m, self.r
        hs = m.headline_size(self.cv, self.b, None)
        room = self.bottom - y
        if r.random() < .07:                                            # on a ground of its own
            bg = tuple(r.randint(0, 255) for _ in range(3))
            n = min(room * .5, hs * 3.4)
            self.cv.box(x - 3, y, x + w + 3, y + n + 4, bg)
            m.headline(self.cv, self.th, x + 3, y + 2, w - 6, min(hs, n * .6), self.f, colour=self.on(bg), align=self.align, maxh=n)
            return y + n + 8
        inset = r.uniform(5, 12) if r.random() < .2 else 0              # beside a bar, which is no letter
        top = y
        y = m.headline(self.cv, self.th, x + inset, y, w - inset, hs, self.f, align=0 if inset else self.align, maxh=max(14, room * r.uniform(.35, .6)))
        if inset:
            self.cv.box(x, top - r.uniform(-2, 3), x + r.choice([1, 2, 3, 4, 5]), y - r.uniform(-2, 3), r.choice([self.th.accent, self.th.fg, self.th.line]), hide=False)
        if r.random() < .12:
            self.cv.box(x, y + 2, x + w * r.uniform(.1, 1), y + 2 + r.choice([1, 2, 3]), r.choice([self.th.line, self.th.accent]))
            y += 6
        return y + r.uniform(0, 5)

    def p_deck(self, x, y, w):
        r, hs = self.r, self.f.get("_hsize", 12)
        if r.random() < .45 or self.bottom - y < 40:
            return y
        ds = min(max(self.b * 1.1, hs * r.uniform(.42, .66)), hs * .78)
        if ds < 5.5:
            return y
        y, _, _ = self.m.small(self.cv, self.t.paragraph(5, 18), x, y, ds, r.choice([self.th.muted, self.th.fg]), r.choice("rri"), w=w, align=self.align, max_lines=3, bottom=self.bottom - 20)
        return y + r.uniform(1, 6)

    def p_pic(self, x, y, w):
        r = self.r
        if r.random() < .25 or self.bottom - y < 50:
            return y
        return self.m.picture_caption(self.cv, self.th, x, y, w, min((self.bottom - y) * r.uniform(.2, .5), w * .8), self.b)

    def p_body(self, x, y, w):
        r, f = self.r, self.f
        if self.bottom - y < self.b * 2:
            return y
        cols = r.choice([1, 1, 2, 3]) if w / self.b > 38 else r.choice([1, 1, 2]) if w / self.b > 26 else 1
        bottom = y + (self.bottom - y) * r.uniform(.4, .9) if r.random() < .15 else self.bottom
        return self.m.body(self.cv, self.th, x, y, w, self.b, f, bottom, cols, lead=f["lead"] == NONE if "lead" in f else False)

    def p_lead(self, x, y, w):
        """The first paragraph alone, perhaps larger than the text."""
        r = self.r
        b = self.b * (r.uniform(1, 1.35) if r.random() < .4 else 1)
        if self.bottom - y < b * 2:
            return y
        return self.m.body(self.cv, self.th, x, y, w, b, self.f, min(self.bottom - 14, y + b * 1.4 * r.randint(2, 7)), paras=1) + r.uniform(1, 5)

    def p_foot(self, x, y, w):
        y, self.bottom = self.bottom + 2, self.foot
        return self.look(x, y, w, self.has_by, self.has_dt)

    def p_meta(self, x, y, w):
        return self.look(x, y, w, self.has_by, self.has_dt)

    def p_by(self, x, y, w):
        return self.look(x, y, w, self.has_by, False)

    def p_date(self, x, y, w):
        return self.look(x, y, w, False, self.has_dt)

    def p_railbody(self, x, y, w):
        """Byline and date in a column beside the text."""
        r = self.r
        rw = max(w * r.uniform(.16, .36), 46)
        if w - rw < 110:
            return self.p_body(x, self.p_meta(x, y, w), w)
        left = r.random() < .6
        rx, tx = (x, x + rw + 8) if left else (x + w - rw, x)
        if r.random() < .3:
            self.cv.box(rx + (rw + 3 if left else -5), y, rx + (rw + 4 if left else -4), self.bottom, self.th.line)
        ry = self.look(rx, y, rw, self.has_by, self.has_dt, narrow=True)
        if r.random() < .4 and self.bottom - ry > 40:
            if rw > 60:
                self.m.related(self.cv, self.th, rx + 2, ry + 6, rw - 4, self.bottom - r.uniform(2, 60), self.f.get("_hsize", 14))
        y = self.p_pic(tx, y, w - rw - 8) if r.random() < .3 else y
        return self.p_body(tx, y, w - rw - 8)

    def p_railall(self, x, y, w):
        """Byline and date in a column beside headline and text."""
        r = self.r
        rw = max(w * r.uniform(.16, .3), 46)
        if w - rw < 130:
            return self.p_body(x, self.p_meta(x, self.p_head(x, y, w), w), w)
        left = r.random() < .6
        rx, tx = (x, x + rw + 8) if left else (x + w - rw, x)
        ry = y + r.uniform(0, 60)
        tw = w - rw - 8
        y = self.p_head(tx, y, tw)
        self.look(rx, ry, rw, self.has_by, self.has_dt, narrow=True)
        return self.p_body(tx, self.p_pic(tx, self.p_deck(tx, y, tw), tw), tw)

    # -- byline and date ---------------------------------------------------------------------
    def look(self, x, y, w, by, dt, narrow=False):
        """One of the looks of byline and date; sets the fields. Returns y below."""
        r, m, f = self.r, self.m, self.f
        by, dt = by and f.get("byline") == NONE, dt and f.get("date") == NONE
        if not (by or dt):
            return y
        k = r.random()
        if k < .3 and not narrow:
            keep = f.get("date")
            y = m.meta(self.cv, self.th, x, y, w, self.b, f, self.align, by=by, dt=dt)
            if not dt and "date" in f:
                f["date"] = keep
            return y
        if r.random() < .16:                                            # a portrait
            k2 = int(r.uniform(12, 34))
            if narrow or r.random() < .4:
                m.picture(self.cv, x, y, k2, k2, False)
                y += k2 + 3
            elif w > 120:
                m.picture(self.cv, x, y, k2, k2, False)
                x, w = x + k2 + 5, w - k2 - 5
        if r.random() < .2:
            self.cv.box(x, y, x + (w if r.random() < .6 else w * .3), y + r.choice([1, 1, 2]), r.choice([self.th.line, self.th.fg, self.th.accent]))
            y += 4
        if by and dt and not narrow and k < .45:
            return self.ends(x, y, w)
        return self.labels(x, y, w, by, dt) if k > .82 else self.stack(x, y, w, by, dt)

    def face(self, lo=.75, hi=1.15):
        r = self.r
        return m_size(self.b, r, lo, hi), r.choice("rrrbbi")

    def ends(self, x, y, w):
        """Byline at the left, date at the right end of one row."""
        r, m, cv = self.r, self.m, self.cv
        size, kind = self.face()
        runs, _ = self.t.byline()
        pre, d = self.t.date()
        a = [(s, R_BYLINE if n else R_OTHER) for s, n in runs]
        b = [(pre, R_OTHER), (d, R_DATE)]
        if r.random() < .2:
            a, b = b, a
        ca, cb = m.rc("".join(s for s, _ in a)), m.rc("".join(s for s, _ in b))
        fc = m.face(size, kind, ca)
        if cv.width(ca, fc) + cv.width(cb, fc) + 12 > w:
            return self.rows(x, y, w, [a, b], size, kind)
        y2 = self.row(a, x, y, w, fc, self.colour(), 0)
        fb = fc if r.random() < .6 else m.face(m_size(self.b, r, .75, 1), "x", cb)
        if not fb.has[cb[cb > 0]].all() or cv.width(ca, fc) + cv.width(cb, fb) + 12 > w:
            fb = m.face(fc.size, "r", cb)
        self.row(b, x + w - cv.width(cb, fb) - 1, y, cv.width(cb, fb) + 2, fb, self.colour(), 0)
        return max(y2, y + fb.size * 1.3) + r.uniform(1, 6)

    def stack(self, x, y, w, by, dt):
        """Several lines, one thing each."""
        r = self.r
        lines = []
        if by:
            runs, _ = self.t.byline()
            lines.append([(s, R_BYLINE if n else R_OTHER) for s, n in runs])
            if r.random() < .35:
                lines.append([(r.choice(ROLES), R_OTHER)])
            if r.random() < .1:
                lines.append([(r.choice(["Photographs: ", "Pictures by ", "Photo: ", "Edited by "]) + self.t.name(), R_OTHER)])
        if dt:
            pre, d = self.t.date()
            two = r.random() < .1 and "ago" not in d
            if two:
                pre = r.choice(["Published ", "Published: ", "First published "])
            lines.insert(len(lines) if r.random() < .8 else 0, [(pre, R_OTHER), (d, R_DATE)])
            if two:
                lines.insert(len(lines), [(r.choice(["Updated ", "Last updated ", "Modified: "]) + self.t.date()[1], R_OTHER)])
        if r.random() < .25:
            e = r.choice(EXTRAS)
            lines.insert(r.randint(0, len(lines)), [(e % r.randint(2, 59) if "%" in e else e, R_OTHER)])
        size, kind = self.face()
        return self.rows(x, y, w, lines, size, kind)

    def labels(self, x, y, w, by, dt):
        """A label, then what it names: below it, or beside it in a second column."""
        r, m, cv = self.r, self.m, self.cv
        items = []
        if by:
            runs, _ = self.t.byline()
            items.append((r.choice(["Author", "By", "Written by", "Reporter", "AUTHOR", "Words", "Text", "Byline"]), [(s, R_BYLINE) for s, n in runs if n]))
        if dt:
            items.append((r.choice(["Published", "Date", "Posted", "DATE", "PUBLISHED", "First published", "Issued"]), [(self.t.date()[1], R_DATE)]))
        if r.random() < .4:
            items.append((r.choice(["Section", "Topic", "Reading time", "Photos", "Location"]), [(r.choice([self.t.short(1, 2), self.t.name()]), R_OTHER)]))
        if r.random() < .3:
            r.shuffle(items)
        size, kind = self.face(.85, 1.15)
        beside = r.random() < .5 and w > 150
        lab = r.choice([self.th.muted, self.th.accent, self.th.fg])
        col = w * r.uniform(.22, .35)
        for name, runs in items:
            cn = m.rc(name + (":" if r.random() < .4 else ""))
            fl = m.face(size * r.uniform(.8, 1), r.choice("rrb"), cn)
            if beside:
                cv.block(cn, R_OTHER, fl, x, y, col, lab, lh=1.3, max_lines=1)
                y = self.rows(x + col + 3, y, w - col - 3, [runs], size, kind, gap=2)
            else:
                y, _, _ = cv.block(cn, R_OTHER, fl, x, y, w, lab, self.align, lh=1.3, max_lines=1)
                y = self.rows(x, y, w, [runs], size, kind, gap=3)
        for key, drawn in (("byline", by), ("date", dt)):
            if drawn and self.f.get(key) == NONE:                       # a label whose text found no room
                self.f.pop(key)
        return y

    def colour(self):
        r, th = self.r, self.th
        return r.choice([th.fg, th.fg, th.muted, th.muted, th.accent])

    def rows(self, x, y, w, lines, size, kind, gap=None):
        """Lines of runs, each perhaps wrapped; faces may differ from line to line."""
        r, m = self.r, self.m
        mixed = r.random() < .35
        col = self.colour()
        fc = None
        lead = r.uniform(0, 3)
        for runs in lines:
            cd = m.rc("".join(s for s, _ in runs))
            if fc is None or mixed or not fc.has[cd[cd > 0]].all():
                fc = m.face(size * (r.uniform(.88, 1.2) if mixed else 1), r.choice("rrbi") if mixed else kind, cd)
                col = self.colour() if mixed else col
            y = self.row(runs, x, y, w, fc, col, self.align) + lead
        return y + (r.uniform(1, 6) if gap is None else gap)

    def row(self, runs, x, y, w, fc, colour, align):
        """One run of text, wrapped into w; sets the fields of what was printed whole, and drops the
        question where it was cut."""
        m, cv, f = self.m, self.cv, self.f
        s = "".join(t for t, _ in runs)
        role = np.concatenate([np.full(len(t), k, np.uint8) for t, k in runs if t] or [np.zeros(0, np.uint8)])
        cd = m.rc(s)
        if not cd.size:
            return y
        longest = max(cv.width(m.rc(k), fc) for k in s.split(" "))
        if longest > w:
            fc2 = Face(m.atlas, fc.f, max(6.4, fc.size * w / longest))
            fc2.lut = fc.lut
            fc = fc2
        lines = np.ceil(cv.width(cd, fc) / max(w, 1) + .3)
        fits = y + fc.size * 1.25 * lines < min(self.bottom, cv.y1 - 2) and lines <= 5
        asked = {R_BYLINE: "byline", R_DATE: "date"}
        keys = {asked[k] for _, k in runs if k in asked}
        if not fits:
            return y                                                    # not printed at all
        y2, _, end = cv.block(cd, role, fc, x, y, w, colour, align, lh=1.25)
        for k in keys:
            if end < len(s.rstrip()):
                f.pop(k, None)
            else:
                f[k] = "".join(c for c, q in zip(s, role) if asked.get(int(q)) == k).strip()
        return y2


def m_size(body, r, lo, hi):
    return max(6.6, min(body * r.uniform(lo, hi), 13))
