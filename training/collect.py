# SPDX-License-Identifier: MIT
"""Collects what the page generator needs into the assets folder: fonts, word lists, news text.

Run once, before anything else, on a machine with the Debian packages of packages.txt:
    python3 -m training.collect
Fonts are cut down to the recipe's characters, so that all of them are a few megabytes. The held-out
families are written to fonts-held/ and are never seen by training. Of the news pages found under
$NEWSREADER_SHARED/data (optional), the half that the hash of the title selects goes to
news_train.json; the other half's titles to news_eval.json. Both lists are in news_split.json.
"""
import glob, hashlib, html, json, os, re, subprocess, sys, unicodedata
from .common import ASSETS, CHARSET, ROOT

HELD = ["Cabin", "PT Serif", "Manrope", "URW Bookman", "TeX Gyre Bonum", "Gentium Plus", "Gentium Book Plus",
        "Clear Sans", "Linux Libertine O", "Arapey", "Oxygen-Sans", "Noto Serif Display", "Go", "Charis SIL"]
TRAIN = """Liberation Sans|Liberation Serif|Liberation Sans Narrow|DejaVu Sans|DejaVu Serif|Open Sans|Roboto|
Roboto Condensed|Roboto Slab|Lato|Carlito|Caladea|Noto Sans|Noto Serif|Noto Sans Display|EB Garamond|Linux Biolinum O|
Inter|Inter Display|Karla|Vollkorn|Yrsa|Rasa|Sora|League Spartan|Dosis|Quattrocento|Quicksand|Play|PT Sans|PT Sans Narrow|
Nimbus Sans|Nimbus Sans Narrow|Nimbus Roman|C059|P052|URW Gothic|TeX Gyre Heros|TeX Gyre Heros Cn|TeX Gyre Schola|
TeX Gyre Pagella|TeX Gyre Adventor|FreeSans|FreeSerif|CMU Serif|CMU Sans Serif|CMU Bright|CMU Concrete|Old Standard TT|GFS Didot|
GFS Artemisia|STIXGeneral|STIX|Tuffy|Junicode Two Beta|ElstobD|Andika|Courier Prime|Cantarell|Comfortaa|B612|Accanthis ADF Std|
Gillius ADF|Baskervald ADF Std|Universalis ADF Std|Berenis ADF Pro|Fanwood Text|Linden Hill|Goudy Bookletter 1911|
National Park|Yanone Kaffeesatz|Averia Serif GWF|Averia Sans GWF|Gemunu Libre|Prociono|Allerta|Essays1743|
Century Catalogue|Tiresias Infofont|Latin Modern Roman|Latin Modern Sans|Comic Neue|Ubuntu-Title|Aerial|Arundina Sans|
Arundina Serif|BetecknaGS|Klaudia|Berenika|Cardo|Caslon|Compagnon|Doulos SIL|Dustismo|Dustismo Roman|Fira Code|Galatia SIL|Hack|
Ikarius ADF Std|Irianis ADF Std|JetBrains Mono|Junction|Jura|Karmilla|Laksaman|Le Murmure|League Mono|Lemonada|Libris ADF Std|
Loma|Mekanus ADF Std|Millimetre|NanumBarunGothic|NanumGothic|NanumMyeongjo|NanumSquare|Norasi|Oldania ADF Std|OSP-DIN|
OpenDyslexic|Quercus|Roadgeek 2014 Series C|Roadgeek 2014 Series E|Romande ADF Std|Routed Gothic|Routed Gothic Narrow|Solothurn|
Switzera ADF|Tribun ADF Std|Tymes|Umpush|Verana Sans|Verana|Veranda|Waree|mononoki|okolaks|Miso|GFS Baskerville|GFS Neohellenic|
GFS BodoniClassic|Bebas Neue|Rachana|Manjari|Inconsolata|Noto Sans Mono|Gillius ADF No2|Accanthis ADF Std No3|
Universalis ADF Cd Std|Museum""".replace("\n", "")
PICKS = [("Regular", "Book", "Roman", "Medium", "Text Regular", "Fourteen", "DIN"), ("Bold", "DemiBold", "SemiBold", "Black", "Semibold"),
         ("Italic", "Oblique", "Bold Italic"), ("Light", "ExtraLight", "Thin", "Bold Cond", "Condensed", "ExtraBold")]     # the first of each


def faces():
    """[(family, style, file)] of every static face that fontconfig knows, one per family and style."""
    out = subprocess.run(["fc-list", "--format", "%{family[0]}|%{style[0]}|%{file}|%{variable}\n"],
                         capture_output=True, text=True, check=True).stdout
    seen = {}
    for row in sorted(out.splitlines()):
        fam, sty, path, var = (row.split("|") + [""] * 4)[:4]
        if var == "False" and "[" not in path and path.lower().endswith((".ttf", ".otf", ".t1")):
            if not path.endswith(".t1"):
                seen.setdefault((fam, sty), path)
    return seen


def subset(path, dst):
    """Writes the face `path` reduced to CHARSET; False where a face lacks the basic letters."""
    from fontTools import subset as ss
    from fontTools.ttLib import TTFont
    font = TTFont(path, fontNumber=0)
    cmap = font.getBestCmap() or {}
    if sum(ord(c) in cmap for c in CHARSET[:94]) < 93:
        return False
    opt = ss.Options(layout_features=[], hinting=True, notdef_outline=True, name_IDs=[1, 2], drop_tables=["GSUB", "GPOS", "GDEF", "DSIG", "kern", "FFTM"])
    s = ss.Subsetter(opt)
    s.populate(unicodes=[ord(c) for c in CHARSET] + [32, 160])
    s.subset(font)
    font.save(dst)
    return True


def collect_fonts():
    avail = faces()
    for folder, fams, per in (("fonts", [f.strip() for f in TRAIN.split("|")], 4), ("fonts-held", HELD, 2)):
        os.makedirs(os.path.join(ASSETS, folder), exist_ok=True)
        n = 0
        for fam in fams:
            got = 0
            for pick in PICKS:
                if got >= per:
                    break
                sty = next((s for s in pick if (fam, s) in avail), None)
                if not sty:
                    continue
                name = re.sub(r"[^A-Za-z0-9]+", "", fam) + "-" + sty.replace(" ", "") + ".ttf"
                try:
                    if subset(avail[(fam, sty)], os.path.join(ASSETS, folder, name)):
                        got += 1
                except Exception as e:  # a broken face is left out, and named
                    print("left out", fam, sty, repr(e)[:80], file=sys.stderr)
            n += got
            if not got:
                print("family not installed:", fam, file=sys.stderr)
        print(folder, n, "faces")


def clean(s):
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", html.unescape(s or ""))).strip()


def readable(s):
    return all(c in CHARSET or c == " " for c in s)


def collect_words():
    for name, files, cap in (("words_en", ["american-english-large", "british-english"], None),
                             ("words_eu", ["french", "spanish", "ngerman", "brazilian", "italian", "polish", "swedish", "dutch"], 9000)):
        words = set()
        for f in files:
            path = "/usr/share/dict/" + f
            raw = open(path, "rb").read()
            try:
                text = raw.decode("utf8")
            except UnicodeDecodeError:
                text = raw.decode("latin1")
            ws = [w.strip() for w in text.splitlines()]
            ws = [w for w in ws if 2 <= len(w) <= 14 and readable(w) and not w.endswith("'s") and w.isalpha()]
            if cap:
                acc = [w for w in ws if not w.isascii()]
                ws = acc[:: max(1, len(acc) // (cap // 2))] + ws[:: max(1, len(ws) // (cap // 2))]
            words |= set(ws)
        open(os.path.join(ASSETS, name + ".txt"), "w", encoding="utf8").write("\n".join(sorted(words)))
        print(name, len(words))


def paragraphs(path):
    raw = open(path, encoding="utf8", errors="replace").read()
    out = []
    for m in re.findall(r"<p[^>]*>(.*?)</p>", raw, re.S | re.I):
        t = clean(re.sub(r"<[^>]+>", "", m))
        if 40 <= len(t) <= 700 and readable(t) and not re.search(r"[{}<>=]|getElement", t):
            out.append(t)
    return out


def collect_news():
    base = os.path.join(os.environ.get("NEWSREADER_SHARED", os.path.join(ROOT, "..", "shared")), "data")
    train, held, split = [], [], {}
    for d in ("news-readability", "news-trafilatura"):
        man = os.path.join(base, d, "manifest.jsonl")
        if not os.path.exists(man):
            print("no", man, "- the recipe runs without it", file=sys.stderr)
            continue
        for row in open(man, encoding="utf8"):
            j = json.loads(row)
            title = clean(j.get("title"))
            key = re.sub(r"\W+", "", title.lower()) or j["id"]
            side = "train" if int(hashlib.sha256(key.encode()).hexdigest(), 16) % 2 else "eval"
            split[j["id"]] = side
            src = os.path.join(base, d, j.get("expected") or j["file"])
            item = {"id": j["id"], "title": title, "byline": clean(j.get("byline")), "site": clean(j.get("site")),
                    "paragraphs": paragraphs(src)}
            (train if side == "train" else held).append(item)
    json.dump(train, open(os.path.join(ASSETS, "news_train.json"), "w"), ensure_ascii=False)
    json.dump([{k: v for k, v in i.items()} for i in held], open(os.path.join(ASSETS, "news_eval.json"), "w"), ensure_ascii=False)
    if split:
        json.dump(split, open(os.path.join(ROOT, "training", "news_split.json"), "w"), indent=0, sort_keys=True)
    print("news train", len(train), "eval", len(held), "paragraphs", sum(len(i["paragraphs"]) for i in train))


if __name__ == "__main__":
    os.makedirs(ASSETS, exist_ok=True)
    collect_fonts()
    collect_words()
    collect_news()
