// SPDX-License-Identifier: MIT
// The page of `newsreader serve`: one picture, one question, the answer as it is written.
'use strict';
const $ = (id) => document.getElementById(id);
let picture = null; // data: URL
let running = null; // AbortController

const say = (text, isError) => {
  $('status').textContent = text;
  $('status').className = isError ? 'error' : 'quiet';
};

function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

// parts: [name, value, text]; total: what the whole bar stands for.
function drawBar(bar, legend, parts, total) {
  while (bar.children.length > parts.length) bar.lastChild.remove();
  legend.replaceChildren();
  parts.forEach(([name, value, text], i) => {
    const piece = bar.children[i] || bar.appendChild(element('i', 'k' + i));
    piece.style.width = Math.max(0, Math.min(100, 100 * value / total)) + '%';
    piece.title = name + ' ' + text;
    const item = element('li', '');
    item.append(element('i', 'k' + i), name + ' ' + text);
    legend.append(item);
  });
}

const bytes = (n) => n >= 1e9 ? (n / 1e9).toFixed(2) + ' GB' : (n / 1e6).toFixed(0) + ' MB';
const ms = (t) => t >= 1000 ? (t / 1000).toFixed(2) + ' s' : t.toFixed(0) + ' ms';

// Parts of the plan by what a reader of the page cares for, in the colours' order.
const groups = [['weights', /^weights/],
                ['requests', /^(kv cache|picture features|waiting|prompts)/],
                ['work', /^(scratch|image cache)/], ['program', /^(tokenizer|process|program)/],
                ['pictures and uploads', /^(pictures being|requests being)/]];

function showMemory(m) {
  const d = m.devices[0], p = d.planned;
  const parts = groups.map(([name, which]) => [name, p.parts.filter((part) => which.test(part.name))
    .reduce((sum, part) => sum + part.bytes, 0)]);
  const sum = parts.reduce((all, part) => all + part[1], 0);
  const whole = Math.max(sum, p.total_bytes, d.measured.resident_bytes);
  drawBar($('memory'), $('memory-legend'), parts.map(([n, v]) => [n, v, bytes(v)]), whole);
  $('used').style.left = 100 * d.measured.resident_bytes / whole + '%';
  $('memory-text').textContent = bytes(d.measured.resident_bytes) + ' in use of ' +
    bytes(p.total_bytes) + ' planned' +
    (d.ceiling_bytes ? ', at most ' + bytes(d.ceiling_bytes) : '') + ' · ' +
    bytes(d.machine.available_bytes) + ' free · ' +
    m.queue.running + ' running, ' + m.queue.waiting + ' waiting';
}

function setPicture(file) {
  if (!file || !file.type.startsWith('image/')) return say('that is not a picture', true);
  const reader = new FileReader();
  reader.onload = () => {
    picture = reader.result;
    $('preview').src = picture;
    $('preview').alt = file.name || 'pasted picture';
    $('preview').hidden = false;
    $('hint').hidden = true;
    $('url').value = '';
    say('');
  };
  reader.readAsDataURL(file);
}

function lineOf(name) {
  const id = 'answer-' + name;
  let line = $(id);
  if (line) return line;
  for (const other of document.querySelectorAll('dd.busy')) other.classList.remove('busy');
  if (name !== 'text') $('answer').append(element('dt', '', name));
  line = element('dd', name + ' busy', '');
  line.id = id;
  $('answer').append(line);
  return line;
}

function showAnswer(answer) {
  for (const line of document.querySelectorAll('dd.busy')) line.classList.remove('busy');
  for (const [name, value] of Object.entries(answer.fields || {})) {
    const line = lineOf(name);
    line.classList.remove('busy');
    line.classList.toggle('none', value === null);
    line.textContent = value === null ? 'none found' : value;
  }
  const stages = [['fetch', 'fetch'], ['decode', 'decode_image'], ['wait', 'queued'],
                  ['look', 'vision'], ['read', 'prefill'], ['write', 'generate']];
  const parts = stages.map(([n, k]) => [n, answer.ms[k], ms(answer.ms[k])]);
  drawBar($('stages'), $('legend'), parts, parts.reduce((sum, p) => sum + p[1], 0) || 1);
  $('times').hidden = false;
  say(ms(answer.ms.total) + ', ' + answer.tokens.answer + ' tokens' +
      (answer.image.damaged ? ' · the file is damaged' : ''));
}

function onEvent(name, data) {
  if (name === 'text') lineOf(data.field).textContent += data.text;
  else if (name === 'answer') showAnswer(data);
  else if (name === 'error') throw new Error(data.message);
}

// Server-sent events from a POST, which EventSource cannot send.
async function readEvents(body) {
  const reader = body.getReader(), decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + decoder.decode(value, { stream: true })).split('\n\n');
    rest = events.pop();
    for (const event of events) {
      const found = /^event: (.*)\ndata: (.*)$/.exec(event);
      if (found) onEvent(found[1], JSON.parse(found[2]));
    }
  }
}

async function ask() {
  const url = $('url').value.trim(), prompt = $('prompt').value.trim();
  if (!url && !picture) return say('a picture first', true);
  const request = { image: url || picture, stream: true };
  if (prompt) request.prompt = prompt;
  running = new AbortController();
  $('answer').replaceChildren();
  $('times').hidden = true;
  $('ask').disabled = true;
  $('stop').hidden = false;
  say('reading…');
  try {
    const reply = await fetch('/v1/read', {
      method: 'POST', body: JSON.stringify(request), signal: running.signal,
      headers: { 'Content-Type': 'application/json' } });
    if (!reply.ok) throw new Error((await reply.json()).error.message);
    await readEvents(reply.body);
  } catch (error) {
    say(error.name === 'AbortError' ? 'stopped' : error.message, error.name !== 'AbortError');
  }
  for (const line of document.querySelectorAll('dd.busy')) line.classList.remove('busy');
  running = null;
  $('ask').disabled = false;
  $('stop').hidden = true;
}

$('form').addEventListener('submit', (e) => { e.preventDefault(); if (!running) ask(); });
$('stop').addEventListener('click', () => running && running.abort());
$('file').addEventListener('change', () => setPicture($('file').files[0]));
$('url').addEventListener('input', () => {
  picture = null;
  $('preview').hidden = true;
  $('hint').hidden = false;
});
document.addEventListener('paste', (e) => {
  const item = [...e.clipboardData.items].find((i) => i.kind === 'file');
  if (item) setPicture(item.getAsFile());
});
for (const type of ['dragover', 'dragleave', 'drop'])
  document.addEventListener(type, (e) => {
    e.preventDefault();
    $('drop').classList.toggle('over', type === 'dragover');
    if (type === 'drop' && e.dataTransfer.files.length) setPicture(e.dataTransfer.files[0]);
  });
document.addEventListener('keydown', (e) => {
  if (e.key === 'Escape' && running) running.abort();
});
fetch('/health').then((r) => r.json()).then((h) => {
  $('model').textContent = h.model + ' · ' + h.dtype + ' · ' + h.kernels +
    (h.degraded ? ' · a fallback: ' + h.reason : '') + ' · ' + h.queue.slots + ' at once';
}).catch(() => { $('model').textContent = 'the service does not answer'; });
new EventSource('/memory_status/stream').onmessage = (e) => showMemory(JSON.parse(e.data));
