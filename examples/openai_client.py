# SPDX-License-Identifier: MIT
"""The service with OpenAI's Python client (pip install openai):
newsreader serve, then python examples/openai_client.py [URL [PICTURE]]"""
import base64
import json
import sys

from openai import OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8009"
path = sys.argv[2] if len(sys.argv) > 2 else "samples/harbour-courier.png"
client = OpenAI(base_url=url + "/v1", api_key="the key, or anything where none is asked for")
model = client.models.list().data[0].id
with open(path, "rb") as file:
    picture = "data:image/png;base64," + base64.b64encode(file.read()).decode()


def ask(question, **more):
    content = [{"type": "text", "text": question},
               {"type": "image_url", "image_url": {"url": picture}}]
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}], **more)


answer = ask("What is the headline?", max_tokens=60)
print(answer.choices[0].message.content, answer.usage.total_tokens)

for chunk in ask("Read the first paragraph.", stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

fields = {"headline": {"type": "string"}, "byline": {"type": "string"}}
news = ask("Which page is this?", response_format={
    "type": "json_schema",
    "json_schema": {"name": "news", "schema": {"type": "object", "properties": fields}}})
print(json.loads(news.choices[0].message.content))
