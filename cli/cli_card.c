/* SPDX-License-Identifier: MIT
 * cli_card.c - a graphics card that several agents share, drawn with the agents side by side. */
#define _GNU_SOURCE
#include "cli_plan.h"

#include <stdio.h>
#include <string.h>

#define BAR_WIDTH 92 /* columns of the whole bar */

static bool add_share(cli_card *card, const char *name, size_t n_name, uint64_t bytes, bool ours) {
    if (card->n_shares == CLI_SHARES_MAX) {
        cli_error("--also: more than %d agents", CLI_SHARES_MAX - 1);
        return false;
    }
    cli_share *s = &card->shares[card->n_shares++];
    *s = (cli_share){.bytes = bytes, .ours = ours};
    snprintf(s->name, sizeof s->name, "%.*s", (int)n_name, name);
    return true;
}

/* "scout=8GB" of n bytes. */
static bool parse_share(cli_card *card, const char *text, size_t n) {
    char amount[64];
    nr_error err;
    uint64_t bytes;
    const char *equals = memchr(text, '=', n);
    if (!equals || equals == text) {
        cli_error("--also: \"%.*s\", expected NAME=BYTES", (int)n, text);
        return false;
    }
    snprintf(amount, sizeof amount, "%.*s", (int)(n - (size_t)(equals + 1 - text)), equals + 1);
    if (nr_bytes_parse(amount, &bytes, &err) != NR_STATUS_OK) {
        cli_error("--also: %s", err.message);
        return false;
    }
    return add_share(card, text, (size_t)(equals - text), bytes, false);
}

/* We stand behind the first of the others, as on the user's drawing. */
bool cli_card_parse(const char *gpu, const char *also, uint64_t ours, cli_card *out) {
    nr_error err;
    *out = (cli_card){0};
    if (!gpu) return true;
    if (nr_bytes_parse(gpu, &out->bytes, &err) != NR_STATUS_OK) {
        cli_error("--gpu: %s", err.message);
        return false;
    }
    bool placed = false;
    for (const char *p = also ? also : ""; *p;) {
        size_t n = strcspn(p, ",");
        if (!parse_share(out, p, n)) return false;
        p += n + (p[n] == ',');
        if (placed) continue;
        if (!add_share(out, "newsreader", 10, ours, true)) return false;
        placed = true;
    }
    return placed || add_share(out, "newsreader", 10, ours, true);
}

uint64_t cli_card_used(const cli_card *card) {
    uint64_t sum = 0;
    for (int i = 0; i < card->n_shares; i++) sum += card->shares[i].bytes;
    return sum;
}

/* Columns of a box, borders not counted; every box is wide enough to be seen. */
static int box_width(uint64_t bytes, uint64_t whole) {
    int width = (int)((double)bytes / (double)whole * BAR_WIDTH + 0.5) - 1;
    return width < 3 ? 3 : width;
}

typedef struct box {
    const char *name;
    uint64_t bytes;
    bool ours;
} box;

static void draw_line(const box *boxes, int n, uint64_t whole, int row) {
    char text[64];
    for (int i = 0; i < n; i++) {
        int width = box_width(boxes[i].bytes, whole);
        text[0] = '\0';
        if (row == 1) snprintf(text, sizeof text, "%s", boxes[i].name);
        if (row == 2) snprintf(text, sizeof text, "%.2f GB", (double)boxes[i].bytes * 1e-9);
        putchar(row == 0 || row == 3 ? '+' : '|');
        for (int x = 0; x < width; x++) {
            int at = x - 1, n_text = (int)strlen(text);
            char blank = row == 0 || row == 3 ? (boxes[i].ours ? '=' : '-') : ' ';
            putchar(at >= 0 && at < n_text && x < width ? text[at] : blank);
        }
    }
    puts(row == 0 || row == 3 ? "+" : "|");
}

void cli_card_draw(const cli_card *card) {
    box boxes[CLI_SHARES_MAX + 1];
    uint64_t used = cli_card_used(card), whole = used > card->bytes ? used : card->bytes;
    int n = 0;
    for (; n < card->n_shares; n++)
        boxes[n] = (box){card->shares[n].name, card->shares[n].bytes, card->shares[n].ours};
    if (used < card->bytes) boxes[n++] = (box){"free", card->bytes - used, false};
    for (int row = 0; row < 4; row++) draw_line(boxes, n, whole, row);
    if (used <= card->bytes)
        printf("the card has %.3f GB: it fits, %llu bytes (%.3f GB) are free\n",
               (double)card->bytes * 1e-9, (unsigned long long)(card->bytes - used),
               (double)(card->bytes - used) * 1e-9);
    else
        printf("the card has %.3f GB: it does not fit, %llu bytes (%.3f GB) are missing\n",
               (double)card->bytes * 1e-9, (unsigned long long)(used - card->bytes),
               (double)(used - card->bytes) * 1e-9);
}

json_t *cli_card_json(const cli_card *card) {
    json_t *shares = json_array();
    uint64_t used = cli_card_used(card);
    for (int i = 0; i < card->n_shares; i++)
        json_array_append_new(shares, json_pack("{s:s, s:I}", "name", card->shares[i].name, "bytes",
                                                (json_int_t)card->shares[i].bytes));
    return json_pack("{s:I, s:o, s:I, s:b, s:I}", "bytes", (json_int_t)card->bytes, "shares",
                     shares, "used_bytes", (json_int_t)used, "fits", used <= card->bytes,
                     "free_bytes", (json_int_t)card->bytes - (json_int_t)used);
}
