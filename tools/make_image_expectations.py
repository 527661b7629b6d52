#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write tests/data/image: small pictures of every kind, and what Pillow makes of them.

usage: make_image_expectations.py [SHARED]     (Pillow 12.1.1, numpy; run in the repository root)

  tests/data/image/small/*          pictures made here, good and broken
  tests/data/image/small.jsonl      one line per file of small/
  tests/data/image/resize.jsonl     hashes of Image.resize over pseudo-random pictures
  tests/data/image/preprocess.jsonl hashes of whole preprocessing runs over the same
  tests/data/image/expected.jsonl   one line per file of SHARED/data/images (only with SHARED)

Hashes are sha256 of convert("RGB") bytes, orientation not applied ("upright": applied), or of
float32 CHW bytes. Pillow 12.1.1 is the last release that always resizes rows first: 12.2 resizes
columns first for pictures over 100 times taller than wide, 13.0 for more sizes.
"""
import hashlib, io, json, os, struct, sys, warnings, zlib
import numpy as np
import PIL
from PIL import Image, ImageOps

OUT = "tests/data/image"
SMALL = OUT + "/small"
warnings.simplefilter("ignore")
Image.MAX_IMAGE_PIXELS = None

# JPEGs with senseless codes in a scan: decoded as Pillow does, and marked.
DAMAGED = {"bad_scan.jpg", "pillow/hopper_bad_exif.jpg"}


def sha(data):
    return hashlib.sha256(data).hexdigest()


# ------------------------------------------------------------------ pseudo-random pictures

def mix(z):
    """SplitMix64 finaliser on uint64 arrays, as nr_rng_mix."""
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_rgb(w, h, seed, binary=False):
    """u8 [h, w, 3]: byte i is the top byte of mix(seed + i); binary keeps only 0 and 255."""
    v = (mix(np.uint64(seed) + np.arange(w * h * 3, dtype=np.uint64)) >> np.uint64(56)).astype(np.uint8)
    if binary:
        v = np.where(v >= 128, 255, 0).astype(np.uint8)
    return v.reshape(h, w, 3)


def smooth_rgb(w, h):
    """A picture that lossy codecs keep recognisable."""
    y, x = np.mgrid[0:h, 0:w].astype(float)
    return np.stack([127 + 120 * np.sin(x / 5), 255 * y / max(h - 1, 1), 255 * ((x + y) % 16) / 16],
                    -1).astype(np.uint8)


# ------------------------------------------------------------------ PNG, written by hand

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pack_rows(a, bits):
    """a: integers [h, w, channels] -> filter byte 0 plus packed samples, per row."""
    out = b""
    for row in a:
        v = row.reshape(-1)
        if bits == 16:
            out += b"\0" + v.astype(">u2").tobytes()
        elif bits == 8:
            out += b"\0" + v.astype(np.uint8).tobytes()
        else:
            s = "".join(format(int(i), f"0{bits}b") for i in v)
            s += "0" * (-len(s) % 8)
            out += b"\0" + bytes(int(s[i:i + 8], 2) for i in range(0, len(s), 8))
    return out


def png(a, colour, bits, interlaced=False, before=(), after=()):
    h, w, _ = a.shape
    if interlaced:
        raw = b"".join(pack_rows(a[y0::dy, x0::dx], bits) for x0, y0, dx, dy in ADAM7
                       if a[y0::dy, x0::dx].size)
    else:
        raw = pack_rows(a, bits)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, bits, colour, 0, 0, interlaced))
            + b"".join(before) + chunk(b"IDAT", zlib.compress(raw, 9)) + b"".join(after) + chunk(b"IEND", b""))


def palette_chunk(n):
    v = mix(np.uint64(99) + np.arange(3 * n, dtype=np.uint64)) >> np.uint64(56)
    return chunk(b"PLTE", v.astype(np.uint8).tobytes())


def exif_tiff(orientation, big=True):
    e = ">" if big else "<"
    return (b"MM" if big else b"II") + struct.pack(e + "HI", 42, 8) + struct.pack(
        e + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def small_pngs(put):
    w, h = 13, 9
    for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))):
        for bits in depths:
            n = w * h * CHANNELS[colour]
            a = (mix(np.uint64(7 * bits + colour) + np.arange(n, dtype=np.uint64)) >> np.uint64(64 - bits)).astype(int)
            a = a.reshape(h, w, CHANNELS[colour])
            if colour == 0 and bits == 16:
                a[::2] %= 256  # both sides of the clipping
            before = [palette_chunk(min(1 << bits, 200))] if colour == 3 else []
            for interlaced in (False, True):
                put(f"c{colour}b{bits}{'i' if interlaced else ''}.png", png(a, colour, bits, interlaced, before))
    grey = np.arange(w * h).reshape(h, w, 1) % 256
    rgb = random_rgb(w, h, 5).astype(int)
    put("trns_grey.png", png(grey, 0, 8, before=[chunk(b"tRNS", b"\0\5")]))
    put("trns_rgb.png", png(rgb, 2, 8, before=[chunk(b"tRNS", b"\0\1\0\2\0\3")]))
    put("trns_palette.png", png(grey % 16, 3, 8, before=[palette_chunk(16), chunk(b"tRNS", bytes(range(16)))]))
    put("tiny1x1.png", png(rgb[:1, :1], 2, 8))
    put("narrow1x13i.png", png(random_rgb(1, 13, 6).astype(int), 2, 8, True))
    put("thin1600x1.png", png(random_rgb(1600, 1, 7).astype(int), 2, 8))
    put("gamma.png", png(rgb, 2, 8, before=[chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"sRGB", b"\0")]))
    put("exif6.png", png(rgb, 2, 8, before=[chunk(b"eXIf", exif_tiff(6))]))
    put("exif_late3.png", png(rgb, 2, 8, after=[chunk(b"eXIf", exif_tiff(3, False))]))
    whole = png(rgb, 2, 8)
    put("no_iend.png", whole[:-12])
    put("cut_checksum.png", whole[:-14])
    at = whole.index(b"IDAT")
    put("long_chunk.png", whole[:at - 4] + struct.pack(">I", 0x7fffffff) + whole[at:-12])
    bad = bytearray(whole)
    bad[-20] ^= 1
    put("bad_idat_crc.png", bytes(bad), refuse="FORMAT")
    bad = bytearray(whole)
    bad[20] ^= 1
    put("bad_header_crc.png", bytes(bad), refuse="FORMAT")
    put("cut.png", whole[:len(whole) // 2], refuse="FORMAT")
    put("no_palette.png", png(grey % 16, 3, 8), refuse="FORMAT")
    for name, size in (("bomb_sides", (100000, 100000)), ("bomb_pixels", (16000, 16000)), ("bomb_aspect", (16384, 3)),
                       ("bomb_thin", (1, 1601))):
        head = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
        put(name + ".png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(4000)))
            + chunk(b"IEND", b""), refuse="LIMIT")
    put("zero_width.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0))
        + chunk(b"IEND", b""), refuse="FORMAT")


# ------------------------------------------------------------------ the others

def saved(im, fmt, **kw):
    b = io.BytesIO()
    im.save(b, fmt, **kw)
    return b.getvalue()


def small_jpegs(put):
    im = Image.fromarray(smooth_rgb(45, 37))
    for name, kw in (("444", dict(subsampling=0)), ("422", dict(subsampling=1)), ("420", dict(subsampling=2)),
                     ("progressive", dict(progressive=True)), ("restart", dict(restart_marker_rows=1)),
                     ("rgb", dict(keep_rgb=True))):
        put(name + ".jpg", saved(im, "JPEG", quality=85, **kw))
    put("grey.jpg", saved(im.convert("L"), "JPEG"))
    put("cmyk.jpg", saved(im.convert("CMYK"), "JPEG"))
    put("cmyk_progressive.jpg", saved(im.convert("CMYK"), "JPEG", progressive=True))
    put("tiny1x1.jpg", saved(im.crop((0, 0, 1, 1)), "JPEG"))
    for o in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = o
        put(f"exif{o}.jpg", saved(im, "JPEG", exif=exif))
    whole = saved(im, "JPEG")
    put("cut.jpg", whole[:len(whole) * 2 // 3], refuse="FORMAT")
    put("no_eoi.jpg", whole[:-2], refuse="FORMAT")
    put("header_only.jpg", whole[:2], refuse="FORMAT")
    at = whole.index(b"\xff\xc0")
    put("bomb.jpg", whole[:at + 5] + struct.pack(">HH", 65000, 65000) + whole[at + 9:], refuse="LIMIT")
    put("twelve_bits.jpg", whole[:at + 4] + b"\x0c" + whole[at + 5:], refuse="UNSUPPORTED")
    at = whole.index(b"\xff\xda")
    bad = whole[:at + 14] + b"\xff\0" * 6 + whole[at + 26:]
    put("bad_scan.jpg", bad)


def small_webps(put):
    im = Image.fromarray(smooth_rgb(45, 37))
    rgba = Image.fromarray(np.dstack([smooth_rgb(31, 20), np.arange(620).reshape(20, 31) % 256]).astype(np.uint8))
    put("lossy.webp", saved(im, "WEBP", quality=80))
    put("lossless.webp", saved(im, "WEBP", lossless=True))
    put("alpha_lossy.webp", saved(rgba, "WEBP", quality=80))
    put("alpha_lossless.webp", saved(rgba, "WEBP", lossless=True, exact=True))
    frames = [rgba, rgba.rotate(90, expand=False), rgba.transpose(0)]
    animated = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, duration=50)
    put("animated.webp", animated)
    exif = Image.Exif()
    exif[0x0112] = 8
    put("exif8.webp", saved(im, "WEBP", exif=exif))
    put("tiny1x1.webp", saved(im.crop((0, 0, 1, 1)), "WEBP", lossless=True))
    # An animation whose first frame covers part of the canvas.
    body = saved(Image.fromarray(random_rgb(6, 4, 3)), "WEBP", lossless=True)[12:]

    def u24(v):
        return struct.pack("<I", v)[:3]

    def riff(name, data):
        return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    anmf = riff(b"ANMF", u24(2) + u24(3) + u24(5) + u24(3) + u24(100) + b"\0" + body)
    data = (b"WEBP" + riff(b"VP8X", b"\x12\0\0\0" + u24(16) + u24(14)) + riff(b"ANIM", b"\xff\x80\x40\xff\0\0")
            + anmf + anmf)
    put("offset.webp", b"RIFF" + struct.pack("<I", len(data)) + data)
    whole = saved(im, "WEBP", quality=80)
    put("cut.webp", whole[:len(whole) * 2 // 3], refuse="FORMAT")
    put("cut_animated.webp", animated[:len(animated) // 2], refuse="FORMAT")
    big = b"WEBP" + riff(b"VP8X", b"\x02\0\0\0" + u24(16383) + u24(16383)) + riff(b"ANIM", bytes(6)) + anmf
    put("bomb.webp", b"RIFF" + struct.pack("<I", len(big)) + big, refuse="LIMIT")


def gif(screen, frames, palette=b"", trailer=b";"):
    """frames: (left, top, indices [h, w], local palette, interlaced, transparent index or None)."""
    def flags(p):
        return 0x80 | (len(p) // 3).bit_length() - 2 if p else 0
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, flags(palette), 0, 0) + palette
    for left, top, a, local, interlaced, transparent in frames:
        if transparent is not None:
            out += b"!\xf9\4" + struct.pack("<BHBB", 1, 5, transparent, 0)
        h, w = a.shape
        rows = [y for s, d in ((0, 8), (4, 8), (2, 4), (1, 2)) for y in range(s, h, d)] if interlaced else range(h)
        values = [int(v) for y in rows for v in a[y]]
        bits, n = 0, 0
        for i, v in enumerate(values):  # nine-bit codes, cleared before they would grow
            for code in ([256] if i % 200 == 0 else []) + [v]:
                bits |= code << n
                n += 9
        bits |= 257 << n
        data = bits.to_bytes((n + 16) // 8, "little")
        out += b"," + struct.pack("<HHHHB", left, top, w, h, flags(local) | (0x40 if interlaced else 0)) + local + b"\x08"
        for i in range(0, len(data), 255):
            out += bytes([len(data[i:i + 255])]) + data[i:i + 255]
        out += b"\0"
    return out + trailer


def small_gifs(put):
    a = np.array(random_rgb(21, 17, 11)[:, :, 0])
    pal = palette_chunk(256)[8:-4]
    short = pal[:3 * 16]
    ramp = bytes(v for i in range(256) for v in (i, i, i))
    put("plain.gif", gif((21, 17), [(0, 0, a, b"", False, None)], pal))
    put("interlaced.gif", gif((21, 17), [(0, 0, a, b"", True, None)], pal))
    put("local.gif", gif((21, 17), [(0, 0, a, pal[::-1], False, None)], pal))
    put("short_palette.gif", gif((21, 17), [(0, 0, a % 32, b"", False, None)], short))
    put("no_palette.gif", gif((21, 17), [(0, 0, a, b"", False, None)]))
    put("ramp_palette.gif", gif((21, 17), [(0, 0, a, ramp, False, None)]))
    put("ramp_global.gif", gif((21, 17), [(0, 0, a, b"", False, None)], ramp))
    put("offset.gif", gif((30, 25), [(4, 5, a, b"", False, None)], pal))
    put("offset_clear.gif", gif((30, 25), [(4, 5, a, b"", False, 7), (0, 0, a, b"", False, 7)], pal))
    put("beyond.gif", gif((10, 8), [(4, 5, a, b"", True, 9)], pal))
    put("zero_screen.gif", gif((0, 0), [(0, 0, a, b"", False, None)], pal))
    put("no_trailer.gif", gif((21, 17), [(0, 0, a, b"", False, None)], pal, b""))
    put("pillow.gif", saved(Image.fromarray(smooth_rgb(45, 37)), "GIF"))
    whole = gif((21, 17), [(0, 0, a, b"", False, None)], pal)
    put("cut.gif", whole[:-100], refuse="FORMAT")
    put("no_frame.gif", gif((21, 17), [], pal), refuse="FORMAT")
    put("bomb.gif", whole[:6] + struct.pack("<HH", 65535, 65535) + whole[10:], refuse="LIMIT")
    put("bomb_frame.gif", whole[:13 + 768] + b"," + struct.pack("<HHHHB", 0, 65280, 65535, 1321, 0) + b"\x8f",
        refuse="LIMIT")


def small_others(put):
    im = Image.fromarray(smooth_rgb(8, 8))
    put("refused.bmp", saved(im, "BMP"), refuse="UNSUPPORTED")
    put("refused.ppm", saved(im, "PPM"), refuse="UNSUPPORTED")
    put("refused.tif", saved(im, "TIFF"), refuse="UNSUPPORTED")
    put("refused.html", b"<!DOCTYPE html><title>404</title>", refuse="UNSUPPORTED")
    put("refused.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", refuse="UNSUPPORTED")
    put("refused.txt", b"not a picture", refuse="FORMAT")
    put("one_byte.bin", b"\xff", refuse="FORMAT")


# ------------------------------------------------------------------ what Pillow says

def exif_orientation(im):
    """Of the EXIF block only; XMP and text notes are not looked at."""
    data = im.info.get("exif")
    if not data:
        return 1
    exif = Image.Exif()
    try:
        exif.load(data)
        o = exif.get(0x0112, 1)
    except Exception:
        return 1
    return o if isinstance(o, int) and 1 <= o <= 8 else 1


TRANSPOSE = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def describe(data):
    """Fields of a line for a picture that Pillow decodes; raises when it does not."""
    im = Image.open(io.BytesIO(data))
    fmt = {"MPO": "JPEG"}.get(im.format, im.format)
    if fmt not in ("JPEG", "PNG", "WEBP", "GIF"):
        return {"format": fmt, "refuse": "UNSUPPORTED" if fmt in ("BMP", "PPM", "TIFF") else "any"}
    rgb = im.convert("RGB")  # loads: a PNG's note may come behind the pixels
    o = exif_orientation(im)
    r = {"format": fmt, "width": rgb.width, "height": rgb.height, "sha256": sha(rgb.tobytes())}
    if o != 1:
        up = rgb.transpose(TRANSPOSE[o])
        r.update(orientation=o, upright=sha(up.tobytes()))
    return r


def critical_only(data):
    """A PNG without its ancillary chunks (but tRNS), checksums as they were."""
    out, at = data[:8], 8
    while at + 12 <= len(data):
        n = struct.unpack(">I", data[at:at + 4])[0]
        name = data[at + 4:at + 8]
        if name[:1].isupper() or name == b"tRNS":
            out += data[at:at + 12 + n]
        at += 12 + n
    return out


def shared_line(name, data):
    try:
        return {"file": name, **describe(data)}
    except Exception as e:
        first = type(e).__name__
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        try:  # intact pixels, bad ancillary chunk that nobody needs
            return {"file": name, "pillow": first, **describe(critical_only(data))}
        except Exception:
            pass
    return {"file": name, "refuse": "any", "pillow": first}


def marked(line):
    return {**line, "damaged": True} if line["file"] in DAMAGED else line


def write_lines(path, lines):
    with open(path, "w") as f:
        for line in lines:
            f.write(json.dumps(line) + "\n")
    print(path, len(lines), "lines", os.path.getsize(path), "bytes")


def small():
    os.makedirs(SMALL, exist_ok=True)
    for f in os.listdir(SMALL):
        os.remove(f"{SMALL}/{f}")
    lines = []

    def put(name, data, refuse=None):
        with open(f"{SMALL}/{name}", "wb") as f:
            f.write(data)
        lines.append({"file": name, "refuse": refuse} if refuse else marked({"file": name, **describe(data)}))
    for make in (small_pngs, small_jpegs, small_webps, small_gifs, small_others):
        make(put)
    write_lines(OUT + "/small.jsonl", lines)


RESIZE = [((w, h), (ow, oh)) for w, h, ow, oh in (
    (1, 1, 1, 1), (1, 1, 7, 5), (5, 7, 1, 1), (2, 2, 3, 3), (3, 3, 2, 2), (1, 50, 20, 20), (50, 1, 20, 20),
    (31, 9, 56, 56), (31, 9, 192, 56), (640, 900, 56, 78), (640, 900, 224, 224), (333, 517, 336, 521),
    (336, 336, 336, 336), (336, 500, 336, 336), (500, 336, 336, 336), (337, 335, 336, 336), (100, 100, 99, 101),
    (99, 101, 100, 100), (1000, 10, 10, 1000), (10, 1000, 1000, 10), (256, 1, 1, 256), (2000, 11, 336, 2),
    (16384, 2, 100, 2), (3, 5000, 3, 64), (1280, 720, 597, 336), (720, 1280, 336, 597), (64, 64, 224, 224),
    (224, 224, 64, 64), (17, 23, 340, 460), (1920, 1080, 448, 448))]


def resize():
    lines = []
    for i, ((w, h), (ow, oh)) in enumerate(RESIZE):
        for f in (2, 3):
            for binary in (False, True):
                a = random_rgb(w, h, 1000 + i, binary)
                out = np.asarray(Image.fromarray(a).resize((ow, oh), f))
                lines.append({"src": [w, h], "out": [ow, oh], "filter": f, "seed": 1000 + i, "binary": binary,
                              "sha256": sha(out.tobytes())})
    write_lines(OUT + "/resize.jsonl", lines)


MEAN, STD = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])


def preprocess_reference(im, fit, short, ow, oh, f):
    w, h = im.size
    if fit == "crop":
        nw, nh = (short, int(short * h / w)) if w < h else (int(short * w / h), short)
        im = im.resize((nw, nh), f)
        left, top = (nw - ow) // 2, (nh - oh) // 2
        im = im.crop((left, top, left + ow, top + oh))
    else:
        if fit == "pad":
            side = max(w, h)
            square = Image.new("RGB", (side, side), tuple(int(m * 255) for m in MEAN))
            square.paste(im, ((side - w) // 2, (side - h) // 2))
            im = square
        im = im.resize((ow, oh), f)
    x = np.asarray(im).astype(np.float64) / 255
    return ((x - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)


def preprocess():
    sizes = [(31, 9), (9, 31), (640, 480), (480, 640), (336, 336), (200, 1), (1, 200), (1, 1), (4000, 20),
             (33, 34), (34, 33), (337, 101), (1500, 1000)]
    lines = []
    for i, (w, h) in enumerate(sizes):
        for fit, short, ow, oh in (("crop", 56, 56, 56), ("crop", 64, 56, 40), ("pad", 56, 56, 56),
                                   ("squash", 56, 56, 56), ("squash", 40, 56, 40), ("pad", 336, 336, 336)):
            for f in (2, 3):
                x = preprocess_reference(Image.fromarray(random_rgb(w, h, 2000 + i)), fit, short, ow, oh, f)
                lines.append({"src": [w, h], "seed": 2000 + i, "fit": fit, "short": short, "out": [ow, oh],
                              "filter": f, "sha256": sha(np.ascontiguousarray(x).astype("<f4").tobytes())})
    write_lines(OUT + "/preprocess.jsonl", lines)


def shared(root):
    base = root + "/data/images"
    lines = []
    for folder, _, files in sorted(os.walk(base)):
        for f in sorted(files):
            path = os.path.join(folder, f)
            with open(path, "rb") as handle:
                lines.append(marked(shared_line(os.path.relpath(path, base), handle.read())))
    write_lines(OUT + "/expected.jsonl", lines)


if __name__ == "__main__":
    if PIL.__version__ != "12.1.1":
        sys.exit(f"Pillow {PIL.__version__}, expected 12.1.1 (see above)")
    small()
    resize()
    preprocess()
    if len(sys.argv) > 1:
        shared(sys.argv[1])
