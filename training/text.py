# SPDX-License-Identifier: MIT
"""What pages say: words, names, headlines, bylines, dates, sites, paragraphs, and random strings.

Everything is invented from word lists and small grammars, or, for a part of the paragraphs, taken
from the training half of the news pages with words exchanged. A share of all texts is random letters:
there only looking helps.
"""
import json, os
from .common import ASSETS, CHARSET

FIRST = """James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph Jessica
Thomas Sarah Carlos Karen Aisha Nancy Daniel Lisa Matteo Betty Anthony Margaret Mark Sandra Priya Ashley Steven Kim Paul Emily
Andrew Donna Joshua Michelle Kenneth Carol Kevin Amanda Brian Dorothy George Melissa Edward Deborah Ronald Stephanie Timothy
Rebecca Jason Sharon Jeffrey Laura Ryan Cynthia Jacob Kathleen Gary Amy Nicholas Angela Eric Shirley Jonathan Anna Stephen Brenda
Larry Pamela Justin Emma Scott Nicole Brandon Helen Benjamin Samantha Samuel Katherine Gregory Christine Frank Debra Alexander
Rachel Raymond Carolyn Patrick Janet Jack Catherine Dennis Maria Jerry Heather Tyler Diane Aaron Ruth Jose Julie Adam Olivia
Henry Joyce Nathan Virginia Douglas Victoria Zachary Kelly Peter Lauren Kyle Christina Walter Joan Ethan Evelyn Jeremy Judith
Harold Megan Keith Andrea Christian Cheryl Roger Hannah Noah Jacqueline Gerald Martha Carl Gloria Terry Teresa Sean Ann Austin
Sara Arthur Madison Lawrence Frances Jesse Kathryn Dylan Janice Bryan Jean Joe Abigail Jordan Alice Billy Julia Bruce Judy
Albert Sophia Willie Grace Gabriel Denise Logan Amber Alan Doris Juan Marilyn Wayne Danielle Roy Beverly Ralph Isabella Randy
Theresa Eugene Diana Vincent Natalie Russell Brittany Louis Charlotte Bobby Marie Philip Kayla Johnny Alexis Hiroshi Yuki Wei
Ming Xiaoming Fatima Omar Yusuf Leila Amir Nadia Sanjay Rohan Ananya Lars Ingrid Sven Astrid Björn Søren Åsa Jürgen Günter Käthe
Łukasz Zofia Paweł Małgorzata Jiří Tomáš Věra Zoë Chloé François Hélène René Étienne Aurélie Benoît José María Ángel Íñigo Núria
João Conceição Inês Özlem Çağla Ștefan Ioana Dragoš Željko Đorđe Márton Zsófia Ólafur Þóra Siobhán Ciarán Ngozi Kwame Thabo Amara
Tunde Chidi Dmitri Olga Svetlana Ivan Natasha Giulia Luca Chiara Giorgos Eleni Ahmed Khadija Nguyen Linh Soo-jin Min-ho Mei-ling
Jean-Pierre Anne-Marie Mary-Kate T.J. J.D. C.K. D'Angelo""".split()
LAST_A = "Smith Jones Brown Taylor Wilson Davies Evans Khan Patel Garcia Müller Rossi Silva Nguyen Kim Lee Chen Wang Singh Okafor Novák Kowalski Johansson Hansen O'Brien McCarthy MacDonald Fitzgerald van_der_Berg de_la_Cruz von_Braun Lindqvist Sørensen Ó_Briain Dvořák Šimek Yılmaz Demir García_Márquez Ibáñez Peña Gonçalves Araújo Lefèvre D'Angelo St._John".split()
LAST_A = [n.replace("_", " ") for n in LAST_A]
LAST_1 = "Ash Black Brad Brook Car Cart Clay Cold Crow Dal Dun East Fair Ful Gar Glen Gold Hal Har Hath Holl Hunt Kess Lam Lang Lock Mar Mill Mor Nor Oak Pem Pres Rad Rem Rod Sax Shel Stan Stead Thorn Trem Wal Wern Whit Win Wood York Zim Var Sor Ber Kov Pet Iva Ros Cal Mon San Fer Oli".split()
LAST_2 = "ton ley field ford well man er s ham wood worth bury by den ey ick ing land low more ner o ov ski sen son stein stone ter vich way wick ini etti ez aro elli ard eau ault ić čka ová".split()
COMMON = "the the the the of of in in to to a a and and for for on on with at by from as after over is are be was will says say new not no but up out its his her their who what how why when more than into against amid under about could would has have had it this that all one two three year years first last".split()
VERBS = "says warns wins loses faces backs seeks rejects approves unveils launches halts cuts raises plans denies admits urges blames hits meets beats signs buys sells opens closes calls ends starts holds takes makes leaves joins quits sues bans votes probes reveals defends delays pulls tops leads drops falls rises surges sinks slams sparks threatens promises orders agrees fails returns remembers explains ignores".split()
NOUNS = "government minister president court judge police council school hospital company bank market budget tax election vote party bill law deal talks union strike workers teachers students families city town village river bridge road train airport flight storm flood fire drought heat snow crash rescue inquiry report study scientists doctors nurses vaccine virus cancer climate energy gas oil power water food farm farmers prices inflation economy jobs trade tariffs border army troops war peace attack hostages refugees migrants rights protest crowd museum film festival book singer actor team coach player season final match goal record cup league club fans stadium race champion phone app data security privacy robot satellite moon Mars telescope chip startup investors shares profit sales housing rent homes landlord mayor governor senator committee scandal trial verdict prison murder fraud victim witness police officers island forest wildfire whales bees bears dogs art music theatre history memory church pope king queen prince duchess wedding funeral birthday holiday summer winter weekend morning night deadline crisis plan future past secret truth lesson question answer fight hope fear".split()
ADJ = "new old big small major minor rare deadly historic record early late local national global secret public private rural urban cheap costly quiet angry young elderly former senior top key first final fresh huge tiny strange sudden long short hidden broken missing lost cold hot dry wet green red blue black white dark bright European British American Chinese French German Russian Indian African Polish Spanish Irish Italian Japanese Brazilian Canadian Australian".split()
PLACES = "London Paris Berlin Madrid Rome Vienna Prague Warsaw Dublin Lisbon Athens Oslo Stockholm Helsinki Kyiv Moscow Beijing Tokyo Seoul Delhi Mumbai Sydney Melbourne Toronto Ottawa Washington Boston Chicago Houston Dallas Denver Seattle Miami Atlanta Detroit Cleveland Baltimore Havana Bogotá Lima Santiago Brasília São_Paulo Lagos Nairobi Cairo Tunis Zürich Genève Köln München Malmö Århus Łódź Kraków Gdańsk Brno Córdoba Málaga Montréal Québec Reykjavík Gaza Jerusalem Tehran Kabul Manila Jakarta Bangkok Hanoi Belfast Cardiff Glasgow Leeds Liverpool Sheffield Bristol California Texas Ohio Florida New_York North_Carolina South_Africa New_Zealand".replace("_", "\u00a0").split()
ACR = "EU UK US U.S. UN NATO BBC FBI CIA IMF WHO NHS GOP AI CEO NASA TV IPO GDP NBA NFL FIFA UEFA COVID-19 HIV DNA BMW IBM iPhone YouTube TikTok OpenAI McDonald's AT&T G7 G20 5G M&S ECB OPEC UNESCO MPs PM USA N.Y.C. L.A. D.C. E.U. Ph.D. 9/11 Wi-Fi e-bike COP28".split()
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
FMONTHS = {"de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split(),
           "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
           "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split(),
           "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro".split(),
           "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre".split()}
SITE_B = "Times Post News Herald Tribune Gazette Courier Chronicle Daily Journal Observer Mail Telegraph Guardian Standard Star Sun Mirror Express Globe Record Review Dispatch Examiner Sentinel Bulletin Register Monitor Independent Echo Argus Ledger Inquirer Advertiser Mercury Press World Today Report Wire Online Weekly Magazine Insider Politico Digest Bee Examiner Enterprise Banner".split()
SITE_F = ["Le {w}", "La {w}", "El {w}", "Die {w}", "Der {w}", "Il {w}", "O {w}", "De {w}"]
NAV = "Home News World Politics Business Opinion Sport Sports Culture Arts Tech Technology Science Health Travel Style Food Climate Video Podcasts More Local Life Money Weather Games Books Film Music Subscribe Sign_in Menu Search Newsletters Jobs Property Puzzles U.S. UK Europe Asia Africa Markets Education Obituaries Letters Magazine Real_Estate Events Contact About Live TV Radio Photos Shop Log_in E-paper Wirtschaft Politik Kultur Actualité Économie Deportes Economía Cultura Esportes".replace("_", "\u00a0").split()
ALPHA = "etaoinshrdlucmfwypvbgkqjxzETAOINSHRDLCMFWYPVBGKabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
ACCENT = "áéíóúàèìòùâêîôûäëïöüãõñçåæøßčďěňřšťůžłąęśźżćńőűğışțăœÁÉÍÓÚÄÖÜÇØÅŠŽŁ"


def _load(name):
    path = os.path.join(ASSETS, name)
    return open(path, encoding="utf8").read().split("\n") if os.path.exists(path) else ["word", "list", "absent"]


# Pairs to tell apart: inside a word, and after one.
CONFUSABLE = [("'’", "'’"), ("-–—", "–—-"), (".,", ".,"), (":;", ":;"), ("/|", "…"), ("&+", "!?"), ("“\"", "\"”"), ("‘'", "'’")]


class Text:
    """A source of text with its own random state; `rnd` is the share of random-letter texts."""

    def __init__(self, r):
        self.r = r
        self.en, self.eu = _load("words_en.txt"), _load("words_eu.txt")
        self.caps = [w for w in self.en if w[0].isupper() and len(w) > 2]
        path = os.path.join(ASSETS, "news_train.json")
        news = json.load(open(path, encoding="utf8")) if os.path.exists(path) else []
        self.paras = [p for n in news for p in n["paragraphs"]]
        self.titles = [n["title"] for n in news if n["title"] and all(c in CHARSET or c == " " for c in n["title"])]
        self.rnd = 0.2
        self.odd = 0.0          # share of names and dates made of random letters and digits

    # -- words -------------------------------------------------------------------------------
    def gibberish(self, lo=1, hi=9):
        r = self.r
        k = r.randint(lo, hi)
        st = r.random()
        w = "".join(r.choice(ALPHA) for _ in range(k))
        if st < .35:
            w = w.lower()
        elif st < .45:
            w = w.upper()
        elif st < .6:
            w = w.capitalize()
        elif st < .72:
            w = "".join(r.choice(ACCENT) if r.random() < .3 else c for c in w)
        if r.random() < .06:
            w += r.choice(",.:;?!'’”)%")
        if r.random() < .03:
            w = r.choice("“‘\"('$€£#@") + w
        if r.random() < .03:
            w = w + r.choice("-–—/&_+=.'’") + "".join(r.choice(ALPHA) for _ in range(r.randint(1, 5)))
        return w

    def word(self, foreign=False):
        r = self.r
        x = r.random()
        if foreign:
            return r.choice(self.eu)
        if x < .30:
            return r.choice(COMMON)
        if x < .48:
            return r.choice(NOUNS)
        if x < .56:
            return r.choice(VERBS)
        if x < .62:
            return r.choice(ADJ)
        if x < .92:
            return r.choice(self.en)
        if x < .94:
            return r.choice(self.eu)
        return r.choice(self.caps)

    def number(self):
        r = self.r
        x = r.random()
        n = r.choice([r.randint(2, 99), r.randint(100, 999), r.randint(1900, 2035), r.randint(1000, 99999)])
        if x < .4:
            return str(n)
        if x < .5:
            return "{:,}".format(n * r.randint(1, 999))
        if x < .62:
            return r.choice("$£€$") + str(n) + r.choice(["", "m", "bn", "k", " million", " billion", "M", "B"])
        if x < .74:
            return str(r.randint(1, 100)) + r.choice(["%", "%", " percent", ".%d%%" % r.randint(1, 9)])
        if x < .82:
            return "%d.%d" % (r.randint(0, 99), r.randint(0, 99))
        if x < .88:
            return "%d-%d" % (r.randint(0, 9), r.randint(0, 9))
        if x < .93:
            return str(r.randint(1, 40)) + r.choice(["th", "st", "nd", "rd", "-year-old", "-day", "s", "am", "pm"])
        return "%d:%02d" % (r.randint(0, 23), r.randint(0, 59))

    def surname(self):
        r = self.r
        x = r.random()
        if x < .3:
            return r.choice(LAST_A)
        if x < .6:
            return r.choice(LAST_1) + r.choice(LAST_2)
        if x < .9:
            return r.choice(self.caps)
        return r.choice(self.eu).capitalize()

    def syllables(self, lo, hi):
        """A name nobody has, that could be one."""
        r = self.r
        return "".join(r.choice("b c d f g h j k l m n p r s t v w z br ch dr gr kl kr pr sch sh st str th tr sz".split()) + r.choice("a e i o u a e i o ai au ea ei ie oo ou y ö é á ü".split()) +
                       r.choice(["", "", "n", "r", "l", "s", "m", "t", "ck", "nd", "rt", "ll", "x"]) for _ in range(r.randint(lo, hi)))

    def name(self):
        r = self.r
        if r.random() < max(self.rnd * .5, self.odd):
            a, b = (self.gibberish(2, 8), self.gibberish(3, 10)) if r.random() < .5 else (self.syllables(1, 3), self.syllables(2, 4))
            return a.capitalize() + " " + b.capitalize()
        f = r.choice(FIRST) if r.random() < .8 else r.choice(self.caps)
        n = f + " " + self.surname()
        x = r.random()
        if x < .08:
            n = f + " " + r.choice("ABCDEFGHJKLMNPRSTW") + ". " + self.surname()
        elif x < .13:
            n = n + "-" + self.surname()
        elif x < .15:
            n = n + r.choice([" Jr.", " III", ", MA", " Jr"])
        elif x < .18:
            n = "%s. %s. %s" % (r.choice("ABCDEFGHJKLMNPRSTW"), r.choice("ABCDEFGHJKLMNPRSTW"), self.surname())
        elif x < .21:
            n = r.choice(FIRST) + " " + n
        return n

    # -- fields ------------------------------------------------------------------------------
    def headline(self, lo=3, hi=13):
        r = self.r
        if r.random() < self.rnd:
            return " ".join(self.gibberish() for _ in range(r.randint(max(1, lo - 1), hi)))
        x = r.random()
        if x < .04 and self.titles:
            return self.swap(r.choice(self.titles), .3)
        if x < .12:
            n = r.randint(lo, hi)
            w = [self.word(True) if r.random() < .75 else self.word() for _ in range(n)]
            w[0] = w[0][0].upper() + w[0][1:]
        elif x < .55:
            n = r.randint(lo, hi)
            w = [self.word() for _ in range(n)]
            w[0] = w[0][0].upper() + w[0][1:]
        else:
            w = self.sentence_head(lo, hi).split(" ")
        if r.random() < .25:
            w.insert(r.randint(0, len(w)), self.number())
        if r.random() < .15:
            w.insert(r.randint(0, len(w)), r.choice(ACR))
        if r.random() < .12:
            i = r.randint(0, len(w))
            w[i:i] = self.name().split(" ")
        if r.random() < .08 and len(w) > 1:
            i = r.randrange(len(w))
            w[i] = w[i] + "-" + r.choice(self.en).lower()
        w = w[:max(hi, 1)] if hi < 4 else w
        st = r.random()
        if st < .30:
            w = [a if (a in COMMON and i) else a[:1].upper() + a[1:] for i, a in enumerate(w)]
        elif st < .37:
            w = [a.upper() for a in w]
        p = r.random()
        if p < .09 and len(w) > 3:
            i = r.randint(1, min(3, len(w) - 1))
            w[i - 1] += r.choice([":", ":", ":", ",", " –", " —", ";", " |", "—"])
        elif p < .17 and len(w) > 3:
            i = r.randint(0, len(w) - 2)
            j = r.randint(i, min(len(w) - 1, i + 4))
            a, b = r.choice(["‘’", "‘’", "“”", "\"\"", "''", "''", "„“", "«»", "()"])
            w[i] = a + w[i]
            w[j] = w[j] + b
        elif p < .22 and len(w) > 4:
            i = r.randint(1, len(w) - 2)
            w[i] += ","
        elif p < .25 and len(w) > 2:
            i = r.randint(0, len(w) - 2)
            w[i] += r.choice(["'s", "’s", "’", "'"])
        elif p < .27 and len(w) > 4:
            i = r.randint(1, len(w) - 3)
            w[i] += r.choice([" –", " —", " -", " &", " +", " /", "…", "..."])
        for a, b in r.sample(CONFUSABLE, 2) if r.random() < self.odd * .5 else ():   # marks that look alike
            w.insert(r.randint(1, len(w)), r.choice(a).join([r.choice(self.en), r.choice(self.en)]) if r.random() < .6 else r.choice(self.en) + r.choice(b))
        s = " ".join(w)
        e = r.random()
        if e < .07:
            s += "?"
        elif e < .09:
            s += "!"
        elif e < .12:
            s += "."
        elif e < .125:
            s += "…"
        return s.replace("ﬁ", "fi").replace("ﬂ", "fl")

    def sentence_head(self, lo, hi):
        r = self.r
        w = []
        x = r.random()
        if x < .2:
            w += r.choice(PLACES).replace("\u00a0", " ").split(" ")
        elif x < .3:
            w += [r.choice(ACR)]
        elif x < .4:
            w += [r.choice(["Why", "How", "What", "When", "Who", "Inside", "The", "A"]), r.choice(NOUNS)]
        else:
            w += [r.choice(ADJ), r.choice(NOUNS)]
        w += [r.choice(VERBS), r.choice(ADJ + ["the", "a", "its"]), r.choice(NOUNS)]
        while len(w) < r.randint(lo, hi):
            w += [r.choice("in for after over amid as with to on of at from against before".split()), r.choice(ADJ), r.choice(NOUNS)] if r.random() < .6 else [self.word(), self.word()]
        w = w[:max(hi, 2)]
        w[0] = w[0][0].upper() + w[0][1:]
        return " ".join(w)

    def byline(self):
        """(runs, answer): runs are (text, is_name); the answer is the name part as printed."""
        r = self.r
        n = self.name()
        x = r.random()
        if x < .12:
            n += r.choice([" and ", " and ", " & ", ", "]) + self.name()
        elif x < .15:
            n += ", " + self.name() + " and " + self.name()
        elif x < .19:
            n = r.choice(["Staff Reporter", "Associated Press", "Reuters", "Editorial Board", "Staff and agencies", "News Desk", "Our Correspondent", "AFP", "Press Association", "The Editors", "Staff Writer"])
        up = r.random() < .14
        if up:
            n = n.upper()
        y = r.random()
        if y < .58:
            pre = r.choice(["By ", "By ", "By ", "by ", "BY " if up or r.random() < .2 else "By "])
        elif y < .64:
            pre = r.choice(["Written by ", "Words by ", "Story by ", "Reporting by ", "Posted by ", "From ", "Author: ", "Von ", "Par ", "Por ", "Text: ", "By: "])
        else:
            pre = ""
        suf = ""
        if r.random() < .16:
            suf = r.choice([", %s correspondent", ", %s editor", " in %s", ", %s reporter", " | %s", " · %s", ", The %s"]) % r.choice([r.choice(NOUNS).capitalize(), r.choice(PLACES).replace("\u00a0", " "), r.choice(NAV)])
        return [(pre, False), (n, True), (suf, False)], n

    def date(self):
        """(prefix, date as printed)."""
        r = self.r
        d, m, y = r.randint(1, 28 + (r.random() < .5) * 2), r.randrange(12), r.choice([r.randint(2015, 2027), r.randint(1990, 2030)])
        if r.random() < self.odd:                       # digits that cannot be guessed
            d, y = r.randint(1, 99), r.randint(1000, 9999)
        M, A = MONTHS[m], (MONTHS[m][:3] if m != 8 or r.random() < .5 else "Sept")
        day = r.choice(DAYS)
        x = r.random()
        if x < .2:
            s = "%s %d, %d" % (M, d, y)
        elif x < .34:
            s = "%d %s %d" % (d, M, y)
        elif x < .42:
            s = "%s %d, %d" % (A + r.choice([".", ""]), d, y)
        elif x < .50:
            s = "%d %s %d" % (d, A, y)
        elif x < .58:
            s = "%s, %s %d, %d" % (day, M, d, y)
        elif x < .66:
            s = "%s %d %s %d" % (day + r.choice(["", ","]), d, M, y)
        elif x < .70:
            s = "%s %d %s %d" % (day[:3], d, A, y)
        elif x < .75:
            s = "%d-%02d-%02d" % (y, m + 1, d)
        elif x < .79:
            s = r.choice(["%02d/%02d/%d", "%d/%d/%d", "%02d.%02d.%d", "%d.%d.%d"]) % (d, m + 1, y)
        elif x < .86:
            l = r.choice(list(FMONTHS))
            fm = FMONTHS[l][m]
            s = {"de": "%d. %s %d", "es": "%d de %s de %d", "pt": "%d de %s de %d", "fr": "%d %s %d", "it": "%d %s %d"}[l] % (d, fm, y)
        elif x < .90:
            s = r.choice(["%d hours ago", "%d minutes ago", "%d days ago", "%dh ago"]) % r.randint(2, 59)
        elif x < .93:
            s = "%s %d" % (M, y)
        else:
            s = "%s %d%s, %d" % (M, d, {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}.get(d, "th"), y)
        if r.random() < .22 and "ago" not in s:
            h, mi = (r.randint(0, 23), r.randint(0, 59)) if r.random() >= self.odd else (r.randint(0, 99), r.randint(0, 99))
            t = r.choice(["%d:%02d" % (h, mi), "%02d:%02d" % (h, mi), "%d:%02d %s" % (h % 12 + 1, mi, r.choice(["AM", "PM", "a.m.", "p.m.", "am", "pm"])), "%02d.%02d" % (h, mi)])
            t += r.choice(["", "", " GMT", " ET", " EST", " BST", " CET", " UTC"])
            s += r.choice([" ", ", ", " at ", " · ", " | "]) + t
        if r.random() < .1:
            s = s.upper()
        p = r.random()
        pre = "" if p < .68 else r.choice(["Published ", "Published: ", "Updated ", "Posted on ", "Last updated ", "Published on ", "Posted ", "Date: ", "First published: "])
        if s.isupper() and pre and r.random() < .7:
            pre = pre.upper()
        return pre, s

    def site(self):
        r = self.r
        x = r.random()
        if r.random() < self.rnd * .5:
            return " ".join(self.gibberish(2, 8) for _ in range(r.randint(1, 3)))
        place = r.choice(PLACES).replace("\u00a0", " ") if r.random() < .5 else r.choice(self.caps)
        b = r.choice(SITE_B)
        if x < .30:
            s = place + " " + b
        elif x < .52:
            s = "The " + place + " " + b
        elif x < .60:
            s = "The " + b
        elif x < .68:
            s = b + " " + r.choice(["Today", "24", "Daily", "Online", "Now", "Hub", "Network", "One", place])
        elif x < .74:
            s = r.choice(self.caps) + b.lower() if r.random() < .4 else r.choice(self.en).capitalize()
        elif x < .80:
            s = r.choice(SITE_F).format(w=r.choice(self.eu).capitalize())
        elif x < .88:
            s = r.choice(self.en).lower() + r.choice([".com", ".org", ".co.uk", ".net", "news.com", ".de", ".fr", ".news"])
        elif x < .93:
            s = "".join(r.choice("ABCDEFGHIJKLMNOPRSTUVWZ") for _ in range(r.randint(2, 4))) + r.choice(["", " News", " Online", " World"])
        else:
            s = place + r.choice([" & ", "-", " "]) + r.choice(self.caps) + " " + b
        st = r.random()
        if st < .22:
            s = s.upper()
        elif st < .26:
            s = s.lower()
        return s

    def swap(self, s, p):
        """The text with a share p of its words exchanged."""
        r = self.r
        return " ".join(self.word() if r.random() < p and w.isalpha() and w.islower() else w for w in s.split(" "))

    def paragraph(self, lo=12, hi=55):
        r = self.r
        lo = min(lo, hi)
        if r.random() < self.rnd * .8:
            return " ".join(self.gibberish() for _ in range(r.randint(lo // 2 + 1, max(lo // 2 + 2, hi * 2 // 3))))
        if self.paras and r.random() < .25:
            w = self.swap(r.choice(self.paras), .25).split(" ")
            k = r.randint(lo, hi)
            if len(w) > k:
                i = r.randrange(len(w) - k + 1)
                w = w[i:i + k]
                w[0] = w[0][:1].upper() + w[0][1:]
                w[-1] = w[-1].rstrip(",;:") + "."
            return " ".join(w)
        n, out = r.randint(lo, hi), []
        foreign = r.random() < .06
        while len(out) < n:
            m = min(n - len(out), r.randint(6, 22))
            w = [self.word(foreign and r.random() < .8) for _ in range(m)]
            w[0] = w[0][0].upper() + w[0][1:]
            if r.random() < .2:
                w.insert(r.randint(0, len(w)), self.number())
            if r.random() < .15:
                w.insert(r.randint(0, len(w)), r.choice(ACR))
            if r.random() < .3:
                i = r.randint(0, len(w))
                w[i:i] = self.name().split(" ") if r.random() < .6 else [r.choice(PLACES).replace("\u00a0", " ")]
            if r.random() < .5 and len(w) > 5:
                w[r.randint(2, len(w) - 2)] += r.choice([",", ",", ",", ";", ":", "’s", "'s", " –", "—", " —"])
            if r.random() < .14 and len(w) > 6:
                a, b = r.choice(["“”", "“”", "\"\"", "‘’", "()"])
                i = r.randint(0, len(w) - 3)
                w[i] = a + w[i]
                w[-1] += "." + b if r.random() < .5 else b + "."
            else:
                w[-1] += r.choice([".", ".", ".", ".", ".", "?", "!"])
            out += w
        s = " ".join(out)
        if r.random() < .1:
            s = r.choice(PLACES).replace("\u00a0", " ").upper() + r.choice([" — ", " (AP) — ", " (Reuters) - ", ", ", " – "]) + s
        return s

    def short(self, lo, hi):
        """A few words: kickers, captions, navigation."""
        return " ".join(self.word() for _ in range(self.r.randint(lo, hi)))
