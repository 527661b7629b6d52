# SPDX-License-Identifier: MIT
"""The mean of the weights of models that one course of training made from another.

    python3 -m training.average OUT MODEL MODEL [MODEL ...]

Each course ends with its rate at zero, somewhere on the rim of the same basin; their mean lies deeper in it and
reads unseen pages better than either (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
Generalization", 2018). OUT is a copy of the last model's folder with the mean as its weights, f16.
"""
import argparse, os, shutil
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


def average(out, models):
    parts = [load_file(os.path.join(m, WEIGHTS)) for m in models]
    for m, p in zip(models, parts):
        if {k: v.shape for k, v in p.items()} != {k: v.shape for k, v in parts[-1].items()}:
            raise SystemExit("%s and %s are not of one shape" % (m, models[-1]))
    mean = {k: (sum(p[k].float() for p in parts) / len(parts)).to(v.dtype) for k, v in parts[-1].items()}
    shutil.copytree(models[-1], out, dirs_exist_ok=True)
    save_file(mean, os.path.join(out, WEIGHTS), metadata={"format": "pt"})


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("out")
    a.add_argument("models", nargs="+")
    v = a.parse_args()
    average(v.out, v.models)
