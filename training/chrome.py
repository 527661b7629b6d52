# SPDX-License-Identifier: MIT
"""Pages rendered by Chromium from HTML templates, with their labels.

    python3 -m training.chrome train  OUT --pages 400      training templates and faces
    python3 -m training.chrome held   OUT --pages 60       held-out templates and faces, invented news
    python3 -m training.chrome titles OUT --times 3        held-out templates, titles of the evaluation half

A template is a function of a Look (random choices) and the fields; the text that stands in .headline,
.byline, .site, .date and .lead is the label. What the browser says about their boxes decides what is
asked: a field outside the screen or set too small for the model is left out.
"""
import argparse, base64, html, io, json, os, random
from .common import ASSETS, CHARSET, FIELDS, NONE, PAD_RGB, SIZE, UNREADABLE
from .text import NAV, Text

SANS = ["Liberation Sans", "DejaVu Sans", "Open Sans", "Roboto", "Lato", "Noto Sans", "Carlito", "Inter", "PT Sans", "Roboto Condensed", "Nimbus Sans", "Cantarell", "Quicksand", "Liberation Sans Narrow", "Switzera ADF", "Verana Sans", "Karmilla", "NanumGothic", "Jura", "Arundina Sans"]
SERIF = ["Liberation Serif", "DejaVu Serif", "Noto Serif", "Caladea", "EB Garamond", "Roboto Slab", "C059", "P052", "TeX Gyre Pagella", "Vollkorn", "FreeSerif", "Yrsa", "STIXGeneral", "Cardo", "GFS Didot", "Old Standard TT", "Tribun ADF Std", "Caslon", "Romande ADF Std", "NanumMyeongjo"]
HELD_SANS = ["Cabin", "Manrope", "Clear Sans", "Oxygen-Sans", "Go"]
HELD_SERIF = ["PT Serif", "Gentium Book Plus", "Charis SIL", "Linux Libertine O", "Arapey", "Noto Serif Display", "TeX Gyre Bonum", "Gentium Plus"]


class Look:
    """The random choices of one page."""

    def __init__(self, r, text, pics, held):
        self.r, self.t, self.held, self.pics = r, text, held, pics
        sans, serif = (HELD_SANS, HELD_SERIF) if held else (SANS, SERIF)
        pick = lambda: r.choice(sans if r.random() < .5 else serif)
        self.hf, self.bf, self.mf = pick(), pick(), pick()
        self.size = r.choice([(1000, 1000), (1024, 768), (1280, 800), (900, 1200), (800, 1100), (1100, 1400), (700, 1000), (1280, 720), (600, 900), (820, 820), (414, 736), (1000, 1300)])
        self.side = max(self.size)
        k = self.side / SIZE                    # page pixels a model pixel
        self.body = round(k * r.choice([r.uniform(7.2, 9), r.uniform(8, 12), r.uniform(5, 6)] if not held else [r.uniform(7.4, 9), r.uniform(8, 12)]), 1)
        lo, hi = max(self.body * 1.3, 11 * k), max(self.body * 1.5, min(self.size[0] * .11, 46 * k))
        self.head = round(lo + (hi - lo) * r.random() ** 1.5, 1)
        dark = r.random() < .18
        v = lambda a, b: "rgb(%d,%d,%d)" % tuple(r.randint(a, b) for _ in range(3))
        self.bg = v(8, 45) if dark else r.choice(["#fff", "#fff", "#fafafa", v(235, 255), "#fff1e5", v(225, 250)])
        self.fg = v(205, 250) if dark else r.choice(["#000", "#111", "#222", "#333", v(0, 70)])
        self.muted = "#aaa" if dark else r.choice(["#666", "#555", "#777", "#444"])
        self.accent = r.choice(["#b80000", "#c70000", "#005689", "#0a6", "#e05e00", "#326891", "#7d0068", "#111"]) if not dark else r.choice(["#ff8080", "#7fd1ff", "#ffd54f"])
        self.panel = v(40, 70) if dark else v(228, 245)
        self.lh = r.uniform(1.25, 1.6)
        self.weight = r.choice([400, 600, 700, 700, 700, 900])

    def pic(self, style):
        return '<img style="object-fit:cover;display:block;%s" src="%s">' % (style, self.r.choice(self.pics))

    def paras(self, n):
        return "".join("<p>%s</p>" % html.escape(self.t.paragraph(20, 60)) for _ in range(n))

    def nav(self, n):
        return "".join("<span>%s</span>" % html.escape(s.replace("\u00a0", " ")) for s in self.r.sample(NAV, n))

    def css(self):
        r = self.r
        return """*{box-sizing:border-box}body{margin:0;background:%s;color:%s;font:%spx/%.2f '%s';overflow:hidden}h1,h2,h3,p{margin:0}
        .headline{font-family:'%s';font-size:%spx;font-weight:%d;line-height:%.2f;letter-spacing:%sem}
        .meta{font-family:'%s';font-size:%.1fpx;color:%s}.lead,p{margin-bottom:%.2fem}
        .site{font-family:'%s';white-space:nowrap}.nav{font-family:'%s';font-size:%.1fpx}.nav span{margin-right:1.1em;white-space:nowrap}
        .nav{overflow:hidden;white-space:nowrap}""" % (
            self.bg, self.fg, self.body, self.lh, self.bf, self.hf, self.head, self.weight, r.uniform(1.02, 1.28), r.choice(["0", "0", "0", "-.01", "-.02", ".01"]),
            self.mf, max(self.body * r.uniform(.8, 1), 6.9 * self.side / SIZE), self.muted if r.random() < .7 else self.fg, r.uniform(.5, 1),
            r.choice([self.hf, self.mf]), self.mf, self.body * r.uniform(.7, .95))


def esc(s):
    return html.escape(s)


def meta(L, f, sep=None):
    r = L.r
    by, dt = f["byline"], f["date"]
    a = '%s<span class="byline">%s</span>' % (r.choice(["By ", "By ", "", "Words by ", "by "]), esc(by)) if by != NONE else ""
    d = '%s<time class="date">%s</time>' % (r.choice(["", "", "Published ", "Updated ", "Posted on "]), esc(dt)) if dt != NONE else ""
    parts = [p for p in (a, d) if p]
    if r.random() < .2:
        parts.reverse()
    sep = sep or r.choice([" | ", " · ", "<br>", "<br>", " – ", "&emsp;"])
    return '<div class="meta" style="margin:.5em 0">%s</div>' % sep.join(parts)


def masthead(L, f, centre=False):
    r = L.r
    if f["site"] == NONE:
        return ""
    s = min(L.side / SIZE * r.uniform(11, 26), L.size[0] / max(6, len(f["site"])) * 1.25)
    band = r.random() < .4
    st = "background:%s;color:#fff;" % r.choice(["#111", "#052962", "#7a0019", "#0b3d2e", "#326891"]) if band else ""
    return '<div style="%spadding:%.1fem .6em;text-align:%s;border-bottom:1px solid #8888;font-size:%.1fpx"><span class="site" style="font-weight:%d">%s</span></div>' % (
        st, r.uniform(.15, .5), "center" if centre or r.random() < .4 else "left", s, r.choice([400, 700, 700]), esc(f["site"]))


def related(L, n):
    return "".join('<div style="font:%d %.1fpx \'%s\';margin:.6em 0;border-top:1px solid #8886;padding-top:.4em">%s</div>' % (
        L.r.choice([400, 700]), min(L.head * .55, L.body * L.r.uniform(.95, 1.2)), L.mf, esc(L.t.headline(4, 11))) for _ in range(n))


# -- training templates ------------------------------------------------------------------------
def t_article(L, f):
    r = L.r
    pic = L.pic("width:100%%;height:%dpx" % (L.size[1] * r.uniform(.15, .3))) if r.random() < .6 else ""
    cap = '<div style="font-size:.8em;color:%s;margin:.2em 0 .8em">%s</div>' % (L.muted, esc(L.t.short(5, 12))) if pic and r.random() < .6 else ""
    deck = '<div style="font-size:%.1fpx;color:%s;margin:.5em 0">%s</div>' % (max(L.body * 1.2, L.head * .5), L.muted, esc(L.t.paragraph(7, 16))) if r.random() < .35 else ""
    kick = '<div style="color:%s;font:700 %.1fpx \'%s\'">%s</div>' % (L.accent, L.body * .85, L.mf, esc(L.t.short(1, 2).upper())) if r.random() < .4 else ""
    return '%s<div class="nav" style="padding:.4em .8em;border-bottom:1px solid #8885">%s</div><div style="max-width:%d%%;margin:%s;padding:.8em 1em">%s<h1 class="headline">%s</h1>%s%s%s%s<p class="lead">%s</p>%s</div>' % (
        masthead(L, f), L.nav(7), r.choice([100, 86, 74]), r.choice(["0", "0 auto"]), kick, esc(f["headline"]), deck, meta(L, f), pic, cap, esc(f["lead"]), L.paras(8))


def t_sidebar(L, f):
    r = L.r
    main = '<div style="flex:1;min-width:0"><h1 class="headline">%s</h1>%s%s<p class="lead">%s</p>%s</div>' % (
        esc(f["headline"]), meta(L, f), L.pic("width:100%%;height:%dpx;margin-bottom:.6em" % (L.size[1] * .2)) if r.random() < .6 else "", esc(f["lead"]), L.paras(8))
    side = '<div style="width:27%%;background:%s;padding:.6em"><b style="color:%s">%s</b>%s</div>' % (L.panel, L.accent, r.choice(["Most read", "Related", "More news"]), related(L, 9))
    return '%s<div style="display:flex;gap:1.4em;padding:1em">%s%s</div>' % (masthead(L, f), main, side)


def t_columns(L, f):
    r = L.r
    n = 2 if L.size[0] / L.body < 70 else 3
    return '%s<div style="padding:.8em"><h1 class="headline" style="text-align:%s">%s</h1>%s<div style="column-count:%d;column-gap:1.4em;%s"><p class="lead">%s</p>%s</div></div>' % (
        masthead(L, f, True), r.choice(["left", "center"]), esc(f["headline"]), meta(L, f), n, r.choice(["", "text-align:justify"]), esc(f["lead"]), L.paras(14))


def t_hero(L, f):
    r = L.r
    h = L.size[1] * r.uniform(.35, .55)
    return '%s<div style="position:relative">%s<div style="position:absolute;left:0;right:0;bottom:0;padding:2.5em 1em .8em;background:linear-gradient(transparent,#000e 45%%)"><h1 class="headline" style="color:#fff">%s</h1></div></div><div style="padding:.8em %d%%">%s<p class="lead">%s</p>%s</div>' % (
        masthead(L, f), L.pic("width:100%%;height:%dpx" % h), esc(f["headline"]), r.choice([2, 8, 14]), meta(L, f), esc(f["lead"]), L.paras(7))


def t_section(L, f):
    r = L.r
    cards = "".join('<div style="flex:1;min-width:0">%s%s</div>' % (L.pic("width:100%%;height:%dpx" % (L.size[1] * .1)), related(L, 1)) for _ in range(3))
    return '%s<div class="nav" style="padding:.4em .8em">%s</div><div style="display:flex;gap:1em;padding:.8em"><div style="width:48%%">%s</div><div style="flex:1;min-width:0"><h1 class="headline">%s</h1>%s<p class="lead">%s</p></div></div><div style="display:flex;gap:1em;padding:.8em">%s</div>%s' % (
        masthead(L, f), L.nav(6), L.pic("width:100%%;height:%dpx" % (L.size[1] * r.uniform(.25, .4))), esc(f["headline"]), meta(L, f), esc(f["lead"]), cards, '<div style="padding:.8em">%s</div>' % L.paras(3))


def looks(L, f):
    """Byline and date in one of many looks: stacked, at both ends, with labels, beside a portrait."""
    r = L.r
    by = '<span class="byline">%s</span>' % esc(f["byline"]) if f["byline"] != NONE else ""
    dt = '<time class="date">%s</time>' % esc(f["date"]) if f["date"] != NONE else ""
    div = lambda a, st="": '<div style="%s">%s</div>' % (st, a) if a else ""
    role = div(esc(r.choice(["Political editor", "Reporter", "Culture correspondent", "in London", "Staff writer"])), "color:%s" % L.muted) if by and r.random() < .4 else ""
    more = div(esc(r.choice(["4 min read", "12 comments", "Share this article", "Listen", "Save"])), "font-size:.9em;opacity:.8") if r.random() < .3 else ""
    k = r.random()
    if k < .3:
        rows = [div(by and "%s<b style='font-weight:%d'>%s</b>" % (r.choice(["By ", "", "", "Words: "]), r.choice([400, 700]), by)) + role, div(dt and r.choice(["", "Published ", "Posted "]) + dt), more]
        if r.random() < .25:
            rows.reverse()
        out = "".join(rows)
    elif k < .5:
        out = '<div style="display:flex;justify-content:space-between;gap:1em">%s%s</div>%s' % (div(by and r.choice(["By ", ""]) + by), div(dt), more)
    elif k < .75:
        lab = lambda t: '<div style="color:%s;font-size:.9em;%s">%s</div>' % (L.accent, r.choice(["", "text-transform:uppercase;letter-spacing:.06em"]), t)
        cell = lambda t, v: div(lab(t) + v) if v else ""
        out = '<div style="display:%s;gap:%s">%s%s</div>' % (r.choice(["block", "flex", "grid"]), r.choice([".4em", "1.6em"]), cell(r.choice(["Author", "Written by", "Reporter"]), by), cell(r.choice(["Published", "Date", "Posted"]), dt))
    else:
        out = meta(L, f)
    if r.random() < .2:
        e = r.uniform(2, 3.5)
        out = '<div style="display:flex;gap:.7em;align-items:center">%s<div>%s</div></div>' % (L.pic("width:%.1fem;height:%.1fem;flex:none;border-radius:%s" % (e, e, r.choice(["50%", "4px", "0"]))), out)
    rule = r.choice(["", "", "border-top:1px solid #8888;padding-top:.4em", "border-bottom:1px solid #8888;padding-bottom:.4em"])
    return '<div class="meta" style="margin:.5em 0;%s">%s</div>' % (rule, out)


def t_mixed(L, f):
    """The story's parts in a random order and frame."""
    r = L.r
    k = L.side / SIZE
    site = '<div style="text-align:%s;padding:.3em 0;font-size:%.1fpx;color:%s;letter-spacing:%sem"><span class="site" style="white-space:normal">%s</span></div>' % (
        r.choice(["left", "left", "center", "right"]), min(max(8 * k, L.body * r.uniform(.9, 1.6)), L.size[0] * .8 / max(8, len(f["site"]))), r.choice([L.accent, L.fg, L.muted]), r.choice(["0", "0", ".06"]), esc(f["site"])) if f["site"] != NONE else ""
    part = {"S": site, "K": '<div style="color:%s;font-size:.85em">%s</div>' % (L.accent, esc(L.t.short(1, 3))), "H": '<h1 class="headline" style="margin:.15em 0 .35em;%s">%s</h1>' % (
        "border-left:%dpx solid %s;padding-left:.35em" % (r.randint(2, 8), r.choice([L.accent, L.fg])) if r.random() < .14 else "", esc(f["headline"])),
            "D": '<div style="font-size:%.1fpx;color:%s;margin:.4em 0">%s</div>' % (max(L.body * 1.1, L.head * .48), L.muted, esc(L.t.paragraph(6, 15))), "M": looks(L, f),
            "P": L.pic("width:100%%;height:%dpx;margin:.5em 0" % (L.size[1] * r.uniform(.1, .3))), "L": '<p class="lead">%s</p>' % esc(f["lead"]), "B": L.paras(7),
            "R": '<div style="background:%s;padding:.5em">%s</div>' % (L.panel, related(L, 4))}
    order = r.choice(["SKHDMPLB", "SHMLB", "SPKHMLB", "SMHDLB", "SKHLMB", "PSHMLB", "HSMLB", "HMPLBS", "SHPMLB", "SHDPMLB", "KHSDMLB", "SHLPMB"])
    if r.random() < .35:                                         # some parts in a column beside the others
        aside = r.choice(["M", "M", "MR", "R", "SM", "PM", "DM"])
        main = "".join(c for c in order if c not in aside)
        cols = ['<div style="width:%d%%;flex:none">%s</div>' % (r.randint(20, 32), "".join(part[c] for c in aside)), '<div style="flex:1;min-width:0">%s</div>' % "".join(part[c] for c in main)]
        if r.random() < .45:
            cols.reverse()
        inner = '<div style="display:flex;gap:1.2em">%s</div>' % "".join(cols)
        if "S" not in aside and r.random() < .5:                 # the name above both
            inner = site + inner.replace(site, "", 1) if site else inner
    else:
        inner = "".join(part[c] for c in order)
    nav = '<div class="nav" style="padding:.4em 0;border-bottom:1px solid #8885">%s</div>' % L.nav(6) if r.random() < .35 else ""
    pad = L.size[0] * r.choice([.015, .03, .06])
    x = r.random()
    if x < .55:
        return '<div style="padding:%dpx %dpx">%s%s</div>' % (pad * .5, pad, nav, inner)
    if x < .8:
        return '<div style="background:%s;min-height:%dpx;padding:%dpx"><div style="background:%s;padding:%dpx;border-radius:%dpx">%s</div></div>' % (
            r.choice(["#d9e4ec", "#f3d9b1", "#23395b", "#e0e0e0", "#7a4069", "#274029", L.accent]), L.size[1], pad + 6, L.bg, pad, r.choice([0, 6, 18]), inner)
    p = '<div style="width:%d%%;flex:none">%s</div>' % (r.randint(25, 45), L.pic("width:100%;height:100%"))
    t = '<div style="flex:1;min-width:0;padding:%dpx">%s</div>' % (pad, inner)
    return '<div style="display:flex;height:%dpx">%s</div>' % (L.size[1], t + p if r.random() < .5 else p + t)


# -- held-out templates ------------------------------------------------------------------------
def h_card(L, f):
    """A centred card on a coloured page, site under the text."""
    r = L.r
    return '<div style="background:%s;min-height:%dpx;padding:5%%"><div style="background:%s;padding:5%%;border-radius:14px;box-shadow:0 4px 20px #0005">%s<div style="font-size:%.1fpx;letter-spacing:.08em;margin-bottom:1em;color:%s"><span class="site">%s</span></div><h1 class="headline">%s</h1><p class="lead" style="margin-top:.8em">%s</p>%s</div></div>' % (
        r.choice(["#d9e4ec", "#f3d9b1", "#23395b", "#406e8e", "#e0e0e0"]), L.size[1], L.bg, L.pic("width:100%%;height:%dpx;margin-bottom:1em" % (L.size[1] * .18)), max(L.body, 8 * L.side / SIZE), L.accent, esc(f["site"]), esc(f["headline"]), esc(f["lead"]), meta(L, f, " · "))


def h_rail(L, f):
    """Byline and date in a left rail; a rule above the site name."""
    return '<div style="border-top:6px solid %s;padding:.5em 1em;font-size:%.1fpx"><b class="site">%s</b></div><div style="padding:0 1em"><h1 class="headline" style="margin:.3em 0 .5em">%s</h1><div style="display:flex;gap:1.2em"><div style="width:22%%;border-top:1px solid;padding-top:.4em">%s<div class="nav" style="white-space:normal">%s</div></div><div style="flex:1;min-width:0;border-top:1px solid;padding-top:.6em"><p class="lead">%s</p>%s</div></div></div>' % (
        L.accent, max(13 * L.side / SIZE, L.body), esc(f["site"]), esc(f["headline"]), meta(L, f, "<br>"), "<br>".join(esc(L.t.short(1, 2)) for _ in range(4)), esc(f["lead"]), L.paras(8))


def h_split(L, f):
    """Picture on the right half, the text on the left."""
    return '<div style="display:flex;height:%dpx"><div style="width:58%%;padding:1.2em"><div style="font-size:%.1fpx;color:%s;margin-bottom:1em"><span class="site">%s</span></div><h1 class="headline" style="font-size:%.1fpx">%s</h1>%s<p class="lead">%s</p>%s</div><div style="flex:1">%s</div></div>' % (
        L.size[1], max(11 * L.side / SIZE, L.body), L.accent, esc(f["site"]), min(L.head, L.size[0] * .06), esc(f["headline"]), meta(L, f), esc(f["lead"]), L.paras(5), L.pic("width:100%;height:100%"))


def h_tabloid(L, f):
    """Huge capitals-free headline in a black box over the page, stories below in boxes."""
    r = L.r
    return '<div style="background:%s;color:#fff;padding:.3em .6em;font-size:%.1fpx"><i class="site">%s</i></div><div style="padding:.8em"><div style="background:%s;color:#fff;padding:.5em .7em"><h1 class="headline">%s</h1></div>%s<div style="display:flex;gap:1em"><div style="width:60%%"><p class="lead">%s</p>%s</div><div style="flex:1;border-left:3px double #888;padding-left:.7em">%s</div></div></div>' % (
        r.choice(["#c8102e", "#00539f"]), max(16 * L.side / SIZE, L.body), esc(f["site"]), "#000", esc(f["headline"]), meta(L, f), esc(f["lead"]), L.paras(5), related(L, 7))


def h_mobile(L, f):
    """A phone-like page with a toolbar, a chip row, byline with a round portrait, and a consent sheet."""
    return '<div style="display:flex;justify-content:space-between;padding:.6em 1em;background:%s"><span>☰</span><span class="site" style="font-size:%.1fpx;font-weight:700">%s</span><span>⌕</span></div><div style="padding:.8em 1em"><span style="background:%s;color:#fff;border-radius:9px;padding:.1em .6em;font-size:.8em">%s</span><h1 class="headline" style="margin:.4em 0">%s</h1><div style="display:flex;gap:.7em;align-items:center">%s%s</div><p class="lead">%s</p>%s</div><div style="position:fixed;bottom:0;left:0;right:0;background:#fffe;color:#222;padding:.7em;font:%.1fpx sans-serif;border-top:1px solid #888">We use cookies to give you the best experience. <b style="background:#06c;color:#fff;padding:.2em .7em">Accept</b></div>' % (
        L.panel, max(10 * L.side / SIZE, L.body), esc(f["site"]), L.accent, esc(L.t.short(1, 1)), esc(f["headline"]), L.pic("width:2.6em;height:2.6em;border-radius:50%"), meta(L, f), esc(f["lead"]), L.paras(6), L.body * .8)


TRAIN = [t_mixed, t_mixed, t_mixed, t_mixed, t_mixed, t_mixed, t_article, t_sidebar, t_columns, t_hero, t_section]
HELD = [h_card, h_rail, h_split, h_tabloid, h_mobile]
BOXES = """() => Object.fromEntries(['headline','byline','site','date','lead'].map(k => {const e=document.querySelector('.'+k);
 if(!e) return [k,null]; const b=e.getBoundingClientRect(); return [k,[b.left,b.top,b.right,b.bottom,parseFloat(getComputedStyle(e).fontSize),e.scrollWidth]];}))"""


def legible_fields(f, boxes, size, cover=0):
    """The labels, by what the browser laid out; None where the headline itself is not well on the page."""
    w, h = size
    k = SIZE / max(size)
    out = {}
    for n in FIELDS:
        b = boxes.get(n)
        if not b:
            out[n] = NONE
            continue
        inside = b[0] >= -1 and b[1] >= -1 and b[2] <= w + 1 and b[3] <= h - cover + 1
        em = b[4] * k
        if n == "headline":
            if not inside or em < 8.8:
                return None
            out[n] = f[n]
        elif inside and em >= (6.9 if n == "lead" else 6.5):
            out[n] = f[n]
        elif n == "lead" and inside and em < 6:
            out[n] = UNREADABLE
    return out


def make_pics(seed, n=16):
    from PIL import Image
    from .pictures import Pictures
    out = []
    for a in Pictures(seed, n).pool:
        b = io.BytesIO()
        Image.fromarray(a).save(b, "JPEG", quality=85)
        out.append("data:image/jpeg;base64," + base64.b64encode(b.getvalue()).decode())
    return out


def main():
    from PIL import Image
    from playwright.sync_api import sync_playwright
    a = argparse.ArgumentParser()
    a.add_argument("kind", choices=["train", "held", "titles"])
    a.add_argument("out")
    a.add_argument("--pages", type=int, default=60)
    a.add_argument("--times", type=int, default=3)
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--full", action="store_true", help="keep the screenshots' own size, as PNG")
    v = a.parse_args()
    r = random.Random({"train": 1, "held": 2, "titles": 3}[v.kind] * 1000 + v.seed)
    t = Text(r)
    t.rnd, t.odd = (.1, .2) if v.kind == "train" else (0.0, 0.0)
    held = v.kind != "train"
    jobs = []
    if v.kind == "titles":
        news = json.load(open(os.path.join(ASSETS, "news_eval.json"), encoding="utf8"))
        for n in news:
            if n["title"] and all(c in CHARSET or c == " " for c in n["title"]):
                ps = [p for p in n["paragraphs"] if 8 <= len(p.split()) <= 50]
                jobs += [(n["title"], ps[0] if ps else None)] * v.times
    else:
        jobs = [(None, None)] * v.pages
    os.makedirs(v.out, exist_ok=True)
    pics = make_pics(v.seed + 5 + held)
    rows = []
    with sync_playwright() as p:
        br = p.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = br.new_page()
        page.set_default_timeout(20000)
        for i, (title, lead) in enumerate(jobs):
            for attempt in range(12):
                L = Look(r, t, pics, held)
                nmax = max(5, min(14, int(L.size[0] * 9 / L.head)))
                f = {"headline": title or t.headline(3, nmax), "byline": t.byline()[1] if r.random() < .8 else NONE, "date": t.date()[1] if r.random() < .8 else NONE,
                     "site": t.site() if r.random() < .93 or held else NONE, "lead": lead or t.paragraph(8, 45)}
                if title and len(title) * L.head > L.size[0] * 9:
                    L.head = max(10 * L.side / SIZE, L.size[0] * 9 / len(title))
                tpl = r.choice(HELD if held else TRAIN)
                try:
                    page.set_viewport_size({"width": L.size[0], "height": L.size[1]})
                    page.set_content("<!doctype html><html><head><meta charset=utf-8><style>%s</style></head><body>%s</body></html>" % (L.css(), tpl(L, f)), wait_until="load")
                    boxes = page.evaluate(BOXES)
                    fields = legible_fields(f, boxes, L.size, L.body * 3.2 if tpl is h_mobile else 0)
                    if fields is None:
                        continue
                    shot = page.screenshot(type="png")
                except Exception as e:
                    print("again:", repr(e)[:90], flush=True)
                    continue
                break
            else:
                continue
            im = Image.open(io.BytesIO(shot)).convert("RGB")
            name = "c%05d" % i
            if v.full:
                name += ".png"
                im.save(os.path.join(v.out, name))
            else:
                n = max(im.size)
                sq = Image.new("RGB", (n, n), PAD_RGB)
                sq.paste(im, ((n - im.width) // 2, (n - im.height) // 2))
                sq = sq.resize((SIZE, SIZE), Image.BICUBIC)
                name += ".webp"
                sq.save(os.path.join(v.out, name), quality=96 if held else 80, method=4)
            rows.append({"file": name, "template": tpl.__name__, "held": held, "fields": fields})
            if i % 50 == 0:
                print(i, flush=True)
        br.close()
    with open(os.path.join(v.out, "labels.jsonl"), "w", encoding="utf8") as o:
        for row in rows:
            o.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(len(rows), "pages", flush=True)


if __name__ == "__main__":
    main()
