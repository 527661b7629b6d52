# SPDX-License-Identifier: MIT
"""Tables, CSV and roofline of what run.py logged: the telling half of `make bench-peers`.

    report.py LOG ROOT

Prints the tables, writes them between the peers marks of ROOT/docs/PERFORMANCE.md, all figures to
ROOT/bench/results/MACHINE-peers.csv and, where matplotlib is there, ROOT/docs/roofline.png.

Language models are measured with 8 of their 32 layers, ours and theirs, because two whole ones do not
fit such a machine at the same time. Figures for 32 are those times the same factor on both sides:
prefill 4 (the head reads one row), decode by the bytes of weights that are read.
"""
import csv
import json
import os
import statistics
import sys

LLAVA_LAYER, LLAVA_HEAD = 4 * 4096**2 + 3 * 4096 * 11008, 4096 * 32064
OPT_LAYER, OPT_HEAD = 4 * 2560**2 + 2 * 2560 * 10240, 2560 * 50304
ANSWER = 128
BEGIN, END = "<!-- peers: written by make bench-peers -->", "<!-- peers: end -->"


def decode_factor(layer, head):
    return (32 * layer + head) / (8 * layer + head)


def read_log(path):
    """about, {peer: {stage: [figure of each round]}}, {kind: {case: row}}."""
    with open(path) as f:
        lines = [json.loads(line) for line in f]
    stages, kernels = {}, {}
    for line in lines[1:]:
        name, word = line["step"].split(": ")
        for r in line["results"]:
            if name == "kernels":
                best = kernels.setdefault(word, {}).setdefault(r["stage"], dict(r))
                best["ms"] = min(best["ms"], r["ms"])
                best["rate"] = max(best.get("rate", 0), r.get("rate", 0))
            elif r["stage"] not in ("done", "open"):
                tokens = r.get("tokens", 0)
                per = r["ms"] / tokens if r["stage"].startswith("decode") else r["ms"]
                stages.setdefault(name, {}).setdefault(r["stage"], []).append(per)
    return lines[0], stages, kernels


def scaled(stages, layer, head):
    """Milliseconds at 32 layers: vision, prefill, a token, a token of four sequences, all of a
    request. Vision is the fastest of the types there are."""
    out = {}
    factor = decode_factor(layer, head)
    for stage, times in stages.items():
        by = 4 if stage == "prefill" else factor if stage.startswith("decode") else 1
        out[stage] = [t * by for t in times]
    kinds = [k for k in out if k.startswith("vision")]
    if kinds:
        out["vision"] = out[min(kinds, key=lambda k: min(out[k]))]
    if all(k in out for k in ("vision", "prefill", "decode")):
        out["request"] = [v + p + ANSWER * d for v, p, d in
                          zip(out["vision"], out["prefill"], out["decode"])]
    return out


STAGES = (("vision", "picture, ms", False), ("prefill", "prompt, ms", False),
          ("decode", "one sequence, tok/s", True), ("decode4", "four sequences, tok/s", True),
          ("request", f"request of {ANSWER} tokens, ms", False))


def compare(title, ours, theirs, us, them):
    rows = []
    for stage, label, is_rate in STAGES:
        if stage not in ours or stage not in theirs:
            continue
        a, b = ours[stage], theirs[stage]
        figures = [min(a), statistics.median(a), min(b), statistics.median(b)]
        if is_rate:
            figures = [1e3 / x for x in figures]
        shown = [f"{x:.2f}" if is_rate else f"{x:,.0f}" for x in figures]
        ratios = min(b) / min(a), statistics.median(b) / statistics.median(a)
        rows.append([label, *shown, f"{ratios[0]:.2f}", f"{ratios[1]:.2f}"])
    head = [title, f"{us}, best", "median", f"{them}, best", "median", "ratio, best", "median"]
    return [head, *rows] if rows else []


def compare_kernels(kernels):
    peer = kernels.get("oneDNN")
    if not peer:
        return []
    kinds = [k for k in kernels if k != "oneDNN"]
    head = ["INT8 linear, best ms"] + kinds + ["oneDNN"] + [f"ratio, {k}" for k in kinds]
    rows = []
    for case, row in peer.items():
        ms = [kernels[k][case]["ms"] for k in kinds if case in kernels[k]]
        if len(ms) == len(kinds):
            rows.append([case, *[f"{x:.2f}" for x in ms], f"{row['ms']:.2f}",
                         *[f"{row['ms'] / x:.2f}" for x in ms]])
    return [head, *rows]


def markdown(table):
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def make_tables(stages, kernels):
    us, them = "newsreader", "llama.cpp"
    llava = {n: scaled(s, LLAVA_LAYER, LLAVA_HEAD) for n, s in stages.items() if "BLIP" not in n}
    if them in llava and them + ", no AMX" in llava:  # its vision part has no AMX to leave out
        llava[them + ", no AMX"].setdefault("vision", llava[them].get("vision", []))
        again = llava[them + ", no AMX"]
        again["request"] = [v + p + ANSWER * d for v, p, d in
                            zip(again["vision"], again["prefill"], again["decode"])]
    blip2 = {n: scaled(s, OPT_LAYER, OPT_HEAD) for n, s in stages.items() if "BLIP" in n}
    none = {}
    return [t for t in (
        compare("LLaVA-1.5-7B", llava.get(us, none), llava.get(them, none), us, them),
        compare("LLaVA-1.5-7B without AMX", llava.get(us + ", no AMX", none),
                llava.get(them + ", no AMX", none), us, them),
        compare("BLIP-2-OPT-2.7B", blip2.get("newsreader, BLIP-2", none),
                blip2.get("transformers bf16, BLIP-2", none), us, "transformers bf16"),
        compare_kernels(kernels)) if t]


def write_csv(path, about, stages, kernels):
    with open(path, "w", newline="") as f:
        out = csv.writer(f)
        out.writerow(["machine", "commit", "threads", "who", "stage", "best_ms", "median_ms",
                      "rounds"])
        who = [about["machine"], about["commit"], about["threads"]]
        for name, by_stage in stages.items():
            for stage, times in by_stage.items():
                out.writerow([*who, name, stage, f"{min(times):.3f}",
                              f"{statistics.median(times):.3f}", len(times)])
        for kind, cases in kernels.items():
            for case, row in cases.items():
                out.writerow([*who, f"kernels {kind}", case, f"{row['ms']:.4f}",
                              f"{row['median_ms']:.4f}", ""])


def rows_of(case):
    if case.startswith(("prefill", "vision")):
        return 616 if case.startswith("prefill") else 577
    return int(case.split()[-2]) if case.endswith("rows") else 1


def plot(path, about, kernels):
    """GOPS over INT8 operations for a byte of weights: both roofs, and who reaches what."""
    try:
        import matplotlib
    except ImportError:
        print("skipped: the plot (no matplotlib)")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    fig, ax = pyplot.subplots(figsize=(8, 5), dpi=80)
    colours = {"amx": "#1b6ca8", "avx512vnni": "#3c9d4e", "oneDNN": "#c2571a"}
    base = next((kernels[k] for k in ("amx", "avx512vnni") if k in kernels), {})
    x = [2 * 2**(i / 8) for i in range(90)]
    for kind, cases in kernels.items():
        peak = cases.get("limit: int8 in registers", {}).get("rate")
        read = cases.get("limit: memory read", {}).get("rate")
        if peak and read:
            ax.plot(x, [min(peak, v * read) for v in x], color=colours.get(kind), lw=1,
                    label=f"limit, {kind}")
        points = []
        for case, row in cases.items():
            ours = base.get(case)
            if not ours or case.startswith("limit") or "attention" in case or "f32" in case:
                continue
            m = rows_of(case)
            gops = ours["rate"] * (2 * m if ours.get("unit") == "GB/s" else 1)
            points.append((2 * m, gops * ours["ms"] / row["ms"]))
        ax.scatter(*zip(*points), s=22, color=colours.get(kind), label=kind, zorder=3)
    ax.set(xscale="log", yscale="log", xlabel="INT8 operations for a byte of weights",
           ylabel="GOPS", title=f"INT8 linears of LLaVA-1.5-7B, {about['machine']}, "
                                f"{about['threads']} threads")
    ax.grid(True, which="both", lw=0.3)
    ax.legend(fontsize=8)
    fig.tight_layout()
    fig.savefig(path)


def write_docs(path, about, tables):
    with open(path) as f:
        text = f.read()
    if BEGIN not in text or END not in text:
        print(f"{path}: no marks to write the tables between")
        return
    note = (f"Machine `{about['machine']}`, {about['threads']} threads, commit {about['commit']}; "
            "best and median of the rounds.")
    body = "\n\n".join([BEGIN, note, *[markdown(t) for t in tables], END])
    with open(path, "w") as f:
        f.write(text[:text.index(BEGIN)] + body + text[text.index(END) + len(END):])


def main():
    log, root = sys.argv[1:3]
    about, stages, kernels = read_log(log)
    tables = make_tables(stages, kernels)
    results = os.path.join(root, "bench", "results")
    os.makedirs(results, exist_ok=True)
    write_csv(os.path.join(results, about["machine"] + "-peers.csv"), about, stages, kernels)
    if kernels:
        plot(os.path.join(root, "docs", "roofline.png"), about, kernels)
    write_docs(os.path.join(root, "docs", "PERFORMANCE.md"), about, tables)
    for table in tables:
        print("\n" + markdown(table))


if __name__ == "__main__":
    main()
