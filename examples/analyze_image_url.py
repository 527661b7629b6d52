# SPDX-License-Identifier: MIT
"""A picture behind a URL, the way the first clients called it; standard library only:
newsreader serve, then python examples/analyze_image_url.py IMAGE_URL [PROMPT]"""
import json
import sys
import urllib.error
import urllib.request


def analyze_image_url(*args, service="http://127.0.0.1:8009", **kwargs):
    body = json.dumps({"args": args, "kwargs": kwargs}).encode()
    request = urllib.request.Request(service + "/analyze_image_url", body,
                                     {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:  # says why in the same shape
        return json.load(error)


if __name__ == "__main__":
    result = analyze_image_url(*sys.argv[1:])
    print(result["analysis"] if result["success"] else "failed: " + result["error"])
