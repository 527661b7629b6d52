# SPDX-License-Identifier: MIT
"""Browser-rendered training pages (assets/chrome/pages.npz), if chrome.py has made some."""
import json, os
import numpy as np
from .common import ASSETS, CELLS_X, CELLS_Y, FIELDS


class ChromePages:
    def __init__(self, blobs, fields, share):
        self.blobs, self.fields, self.share = blobs, fields, share

    @classmethod
    def load(cls, share, folder=os.path.join(ASSETS, "chrome")):
        path = os.path.join(folder, "labels.jsonl")
        if not share or not os.path.exists(path):
            return None
        rows = [json.loads(l) for l in open(path, encoding="utf8")]
        blobs = [open(os.path.join(folder, r["file"]), "rb").read() for r in rows]
        return cls(blobs, [r["fields"] for r in rows], share)

    def page(self, r):
        """One page: image, empty label grids (65535 / 255: no dense supervision), fields."""
        import cv2
        i = r.randrange(len(self.blobs))
        img = cv2.imdecode(np.frombuffer(self.blobs[i], np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        g = np.full((CELLS_Y, CELLS_X), 0x7FFF, np.uint16)
        role = np.full((CELLS_Y, CELLS_X), 255, np.uint8)
        return img, g, role, dict(self.fields[i])
