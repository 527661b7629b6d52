#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The service with curl: newsreader serve, then examples/curl.sh [URL [PICTURE]]
set -euo pipefail
url=${1:-http://127.0.0.1:8009}
picture=${2:-samples/harbour-courier.png}

echo '# is it ready'
curl -fsS "$url/health"

echo; echo '# fields of a picture, sent as a file'
curl -fsS "$url/v1/read" -F image=@"$picture" -F fields=headline,date

echo; echo '# a question, the answer as it is written'
{
    printf '{"stream": true, "messages": [{"role": "user", "content": ['
    printf '{"type": "text", "text": "Who wrote it?"}, {"type": "image_url", "image_url": {"url": '
    printf '"data:image/png;base64,%s"}}]}]}' "$(base64 -w0 "$picture")"
} | curl -fsSN "$url/v1/chat/completions" -H 'Content-Type: application/json' --data-binary @-
