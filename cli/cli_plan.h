/* SPDX-License-Identifier: MIT
 *
 * cli_plan.h - the memory plan for people: what it consists of, whether it fits a ceiling or a
 * shared card, and what would make it fit.
 */
#ifndef CLI_PLAN_H
#define CLI_PLAN_H

#include "cli.h"

/* One agent's share of the card. */
typedef struct cli_share {
    char name[32];
    uint64_t bytes;
    bool ours;
} cli_share;

#define CLI_SHARES_MAX 16
typedef struct cli_card {
    uint64_t bytes; /* 0: no card asked about */
    int n_shares;   /* in the order in which they are drawn; ours is the second, as a rule */
    cli_share shares[CLI_SHARES_MAX];
} cli_card;

/* `gpu` "24GB", `also` "scout=8GB,others=8GB,buffer=4.5GB" or NULL, `ours` bytes of the plan's
 * device. Prints why and returns false when they cannot be read. */
bool cli_card_parse(const char *gpu, const char *also, uint64_t ours, cli_card *out);
uint64_t cli_card_used(const cli_card *card);
/* The card as a row of boxes, and a line that says what is free or missing. */
void cli_card_draw(const cli_card *card);
json_t *cli_card_json(const cli_card *card);

/* Bytes of the plan that lie in the memory of the device that computes. */
uint64_t cli_device_bytes(const nr_memory_plan *plan);

/* A change of options and what it would give. */
typedef struct cli_remedy {
    char text[64]; /* "--kv int8" */
    uint64_t ram_bytes, device_bytes;
    bool fits;
} cli_remedy;
#define CLI_REMEDIES_MAX 8
/* Changes that lower the plan, the mildest first; fits: under the ceiling of `options` and on the
 * card beside the others. Returns how many. */
int cli_remedies(const char *model, const cli_options *options, const nr_memory_plan *plan,
                 const cli_card *card, cli_remedy out[CLI_REMEDIES_MAX]);

/* The plan as an object, parts and all. */
json_t *cli_plan_json(const nr_memory_plan *plan);

#endif
