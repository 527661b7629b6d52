# SPDX-License-Identifier: MIT
"""The bundled model's answers about pages it was not trained on: the card's against the CPU's.

    python3 tools/gpu/same_answers.py record BUILD PAGE.png ...    on the CPU, into BUILD/pages
    python3 tools/gpu/same_answers.py BUILD                        on the card; fails under 99.5 % alike

BUILD has `newsreader`. Compared are the five answers of each page, to the letter.
"""
import json, os, shutil, subprocess, sys

FIELDS = ["headline", "byline", "site", "date", "lead"]
MUST_BE_ALIKE = 0.995


def answers(build, device, pages):
    command = [os.path.join(build, "newsreader"), "read", "--device", device, "--json", "--fields", ",".join(FIELDS)]
    lines = subprocess.run(command + pages, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    return {os.path.basename(r["file"]): r["fields"] for r in map(json.loads, lines)}


def record(build, pages):
    folder = os.path.join(build, "pages")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "answers.json"), "w") as out:
        json.dump(answers(build, "cpu", pages), out, ensure_ascii=False, indent=0)
    for page in pages:
        shutil.copy(page, folder)


def compare(build):
    folder = os.path.join(build, "pages")
    want = json.load(open(os.path.join(folder, "answers.json")))
    got = answers(build, "cuda:0", [os.path.join(folder, name) for name in sorted(want)])
    alike = 0
    for name, fields in sorted(want.items()):
        for field in FIELDS:
            same = got[name][field] == fields[field]
            alike += same
            if not same:
                print(f"{name} {field}: {fields[field]!r} on the CPU, {got[name][field]!r} on the card")
    n = len(want) * len(FIELDS)
    print(f"{len(want)} pages, {n} answers, {alike} the CPU's: {100 * alike / n:.2f} %")
    return alike >= MUST_BE_ALIKE * n


if __name__ == "__main__":
    if sys.argv[1] == "record":
        record(sys.argv[2], sys.argv[3:])
    elif not compare(sys.argv[1]):
        sys.exit(1)
