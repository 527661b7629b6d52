# SPDX-License-Identifier: MIT
"""newsreader and its peers in turn, in one run: the measuring half of `make bench-peers`.

    run.py DIR [--rounds 3] [--minutes 11] [--threads 2] [--tokens 32] [--steps 8]

DIR/models is what run.sh filled. Those that are compared stay loaded together and take turns, a stage
each, so that the machine's drift meets both alike. Everything measured is appended to DIR/log.jsonl,
and a run that was stopped goes on where its log ends; a log of another commit or machine is set
aside. report.py makes tables and the plot of it.
"""
import argparse
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BIN = os.path.join(ROOT, "build", "release", "bench")


class Peer:
    """A process that does what it reads, a word a line, and says what it took in JSON. What else it
    says goes to errors_path."""

    def __init__(self, name, command, env, errors_path):
        self.name = name
        with open(errors_path, "a") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=errors, text=True, env={**os.environ, **env})
        self.about = self.answers()

    def answers(self):
        lines = []
        for line in self.process.stdout:
            lines.append(json.loads(line))
            if lines[-1]["stage"] == "done":
                return lines
        raise RuntimeError(f"{self.name} ended (status {self.process.wait()})")

    def do(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.answers()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Log:
    """Measurements by (round, step): written at once, read again by a run that goes on."""

    def __init__(self, path, about):
        self.path, self.done = path, set()
        if os.path.exists(path):
            with open(path) as f:
                lines = [json.loads(line) for line in f]
            if lines and lines[0] == about:
                self.done = {(r["round"], r["step"]) for r in lines[1:]}
            else:
                os.rename(path, f"{path}.{int(time.time())}")
        if not self.done:
            with open(path, "w") as f:
                f.write(json.dumps(about) + "\n")

    def add(self, i_round, step, results):
        with open(self.path, "a") as f:
            f.write(json.dumps({"round": i_round, "step": step, "results": results}) + "\n")
        self.done.add((i_round, step))


def machine():
    """Name of this machine: vendor, family and model of the processor, cores, AMX or not."""
    fields, flags = {}, set()
    with open("/proc/cpuinfo") as f:
        for line in f:
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    flags = set(fields.get("flags", "").split())
    vendor = {"GenuineIntel": "intel", "AuthenticAMD": "amd"}.get(fields.get("vendor_id"), "cpu")
    kind = "amx" if "amx_int8" in flags else "vnni" if "avx512_vnni" in flags else "plain"
    return "-".join([vendor, fields.get("cpu family", "0"), fields.get("model", "0"),
                     f"{os.cpu_count()}cores", kind])


def commit():
    try:
        return subprocess.check_output(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                                       text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def groups_of(args):
    """Lists of (name, command, environment, words) that take turns: what can be started here."""
    models, threads = os.path.join(args.dir, "models"), str(args.threads)
    sizes = [str(args.tokens), str(args.steps)]
    llama = [sys.executable, os.path.join(HERE, "llama_peer.py"), models, "--threads", threads,
             "--tokens", str(args.tokens), "--steps", str(args.steps)]

    def reader(model, context):
        return [os.path.join(BIN, "peers", "reader_peer"), os.path.join(models, model), threads,
                context, *sizes]

    llava, blip2 = reader("llava-8-layers", "1024"), reader("blip2-8-layers", "256")
    groups = [[("newsreader", llava, {}, ("request", "four")),
               ("llama.cpp", llama, {}, ("request", "four", "vision"))]]
    if machine().endswith("amx"):
        groups += [[("newsreader, no AMX", llava, {"NR_CPU": "avx512vnni"}, ("request", "four")),
                    ("llama.cpp, no AMX", llama + ["--plain"], {}, ("request", "four"))]]
    torch = os.environ.get("PEERS_TORCH_PYTHON")
    bf16 = [("transformers bf16, BLIP-2",
             [torch, os.path.join(HERE, "blip2_peer.py"), threads, str(args.tokens)], {},
             ("request",))]
    if not torch:
        print("skipped: transformers (PEERS_TORCH_PYTHON names no Python that has torch and it)")
    groups += [[("newsreader, BLIP-2", blip2, {}, ("request",))] + (bf16 if torch else [])]
    kinds = (["amx"] if machine().endswith("amx") else []) + ["avx512vnni", "oneDNN"]
    return groups + [[("kernels", [], {}, kinds)]]


def parse_csv(text, name_at, best_at, median_at):
    rows = []
    for line in text.splitlines():
        cells = [c.strip('"') for c in line.replace('", ', '",').split(",")]
        try:
            rows.append({"stage": cells[name_at], "ms": float(cells[best_at]),
                         "median_ms": float(cells[median_at])})
            if len(cells) > 5:
                rows[-1].update(rate=float(cells[5]), unit=cells[6])
        except (IndexError, ValueError):
            pass
    return rows


def run_kernels(args, kind):
    """The kernels on one shape after the other: of newsreader, by instruction set, or oneDNN."""
    if kind == "oneDNN":
        path = os.path.join(BIN, "peers", "onednn_gemm")
        text = subprocess.check_output([path, "5"], text=True,
                                       env={**os.environ, "OMP_NUM_THREADS": str(args.threads)})
        return parse_csv(text, 0, 1, 2)
    out = os.path.join(args.dir, "lab.csv")
    subprocess.check_call([os.path.join(BIN, "kernels", "kernel_lab"), "--reps", "5", "--csv", out,
                           "--threads", str(args.threads), "--isa", kind],
                          stdout=subprocess.DEVNULL)
    with open(out) as f:
        # kernels,threads,"case",best,median,...: a comma within the case's quotes
        text = f.read().replace(", 4 rows", " 4 rows").replace(", 8 rows", " 8 rows")
    return parse_csv(text, 2, 3, 4)


def run_step(args, running, peer, word):
    name, command, env, _ = peer
    if name == "kernels":
        return run_kernels(args, word)
    if name not in running:
        running[name] = Peer(name, command, env, os.path.join(args.dir, "errors.log"))
        running[name].do(word)  # a first time that does not count
    return running[name].do(word)


def run_group(args, group, log, deadline):
    """False: time is up."""
    running, broken = {}, set()
    try:
        for i_round in range(args.rounds):
            for peer, word in [(peer, word) for peer in group for word in peer[3]]:
                step = f"{peer[0]}: {word}"
                if (i_round, step) in log.done or step in broken:
                    continue
                if time.monotonic() > deadline:
                    return False
                start = time.monotonic()
                try:
                    results = run_step(args, running, peer, word)
                except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
                    print(f"skipped: {step}: {e}")
                    broken.add(step)
                    running.pop(peer[0], None)
                    continue
                log.add(i_round, step, results)
                said = ", ".join(f"{r['stage']} {r['ms']:.0f} ms" for r in results
                                 if r["stage"] != "done" and peer[0] != "kernels")
                print(f"round {i_round + 1}  {step}  {said}  ({time.monotonic() - start:.0f} s)",
                      flush=True)
    finally:
        for peer in running.values():
            peer.close()
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=11)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    about = {"machine": machine(), "commit": commit(), "threads": args.threads,
             "tokens": args.tokens, "steps": args.steps}
    log = Log(os.path.join(args.dir, "log.jsonl"), about)
    deadline = time.monotonic() + 60 * args.minutes
    for group in groups_of(args):
        if not run_group(args, group, log, deadline):
            print("time is up; the same command goes on from here")
            return


if __name__ == "__main__":
    main()
