/* SPDX-License-Identifier: MIT
 * cli_plan.c - `newsreader plan`: the table, what fits, and what would. */
#define _GNU_SOURCE
#include "cli_plan.h"

#include <stdio.h>
#include <string.h>

#define SMALL_CONTEXT_PART 2                /* a remedy halves the context */
#define SMALL_PICTURES ((uint64_t)12000000) /* pixels: 4000 x 3000 */

static void print_bytes(const char *name, uint64_t bytes, const char *where, const char *note) {
    printf("%-28s %15llu %9.3f GB  %-4s %s\n", name, (unsigned long long)bytes,
           (double)bytes * 1e-9, where, note);
}

uint64_t cli_device_bytes(const nr_memory_plan *plan) {
    uint64_t sum = 0;
    for (int i = 0; i < plan->n_parts; i++)
        if (plan->parts[i].on_device && !plan->parts[i].passing) sum += plan->parts[i].bytes;
    return sum;
}

static void print_table(const nr_memory_plan *p) {
    printf("%s: context of %d tokens, %d slot%s, kv %s%s\n", p->model, p->context_tokens,
           p->n_slots, p->n_slots == 1 ? "" : "s", p->kv == NR_KV_INT8 ? "int8" : "f16",
           p->estimate ? "; an estimate from its shapes, this version cannot run it" : "");
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < p->n_parts; i++) {
            const nr_memory_part *part = &p->parts[i];
            if (part->passing == (pass == 1))
                print_bytes(part->name, part->bytes, part->on_device ? p->device : "host",
                            part->note);
        }
        print_bytes(pass ? "peak" : "resident", pass ? p->total_bytes : p->resident_bytes, "",
                    pass ? "what a ceiling is compared with" : "what stays");
    }
    if (!p->apart) return;
    if (*p->placement) puts(p->placement);
    print_bytes("on the card", p->vram_bytes, p->device, "what --max-vram is compared with");
    print_bytes("the driver's own", p->context_bytes, p->device, "on top, as measured on one card");
}

json_t *cli_plan_json(const nr_memory_plan *p) {
    json_t *parts = json_array();
    for (int i = 0; i < p->n_parts; i++)
        json_array_append_new(parts, json_pack("{s:s, s:I, s:s, s:b}", "name", p->parts[i].name,
                                               "bytes", (json_int_t)p->parts[i].bytes, "where",
                                               p->parts[i].on_device ? p->device : "host",
                                               "passing", p->parts[i].passing));
    return json_pack(
        "{s:o, s:b, s:i, s:i, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I, "
        "s:s, s:i, s:i, s:b}",
        "model", cli_json_name(p->model), "estimate", p->estimate, "context", p->context_tokens,
        "slots", p->n_slots, "kv", p->kv == NR_KV_INT8 ? "int8" : "f16", "parts", parts,
        "weights_bytes", (json_int_t)p->weights_bytes, "scratch_bytes",
        (json_int_t)p->scratch_bytes, "session_bytes", (json_int_t)p->session_bytes,
        "staging_bytes", (json_int_t)p->staging_bytes, "picture_bytes",
        (json_int_t)p->picture_bytes, "resident_bytes", (json_int_t)p->resident_bytes,
        "total_bytes", (json_int_t)p->total_bytes, "device_bytes", (json_int_t)cli_device_bytes(p),
        "device", p->device, "vram_bytes", (json_int_t)p->vram_bytes, "context_bytes",
        (json_int_t)p->context_bytes, "placement", p->placement, "layers", p->n_layers,
        "gpu_layers", p->n_layers_on_card, "vision_on_card", p->vision_on_card);
}

/* ---- what would make it fit */

typedef struct attempt {
    const char *model;
    nr_engine_options options;
    char text[64];
} attempt;

static int list_attempts(const char *model, const cli_options *o, const nr_memory_plan *p,
                         attempt out[CLI_REMEDIES_MAX]) {
    int n = 0;
    attempt a = {.model = model, .options = o->engine};
    a.options.ram_bytes_max = 0; /* that of a card stays: what is put there is fitted to it */
    attempt *all = out;
    if (o->engine.picture_pixels_max == 0 || o->engine.picture_pixels_max > SMALL_PICTURES) {
        all[n] = a;
        all[n].options.picture_pixels_max = SMALL_PICTURES;
        snprintf(all[n++].text, sizeof a.text, "--max-pixels %llu",
                 (unsigned long long)SMALL_PICTURES);
    }
    if (p->kv != NR_KV_INT8) {
        all[n] = a;
        all[n].options.kv = NR_KV_INT8;
        snprintf(all[n++].text, sizeof a.text, "--kv int8");
    }
    if (o->engine.n_slots > 1) {
        all[n] = a;
        all[n].options.n_slots = 1;
        snprintf(all[n++].text, sizeof a.text, "--slots 1");
    }
    if (p->apart && o->engine.gpu_layers != NR_GPU_LAYERS_AUTO) {
        all[n] = a;
        all[n].options.gpu_layers = NR_GPU_LAYERS_AUTO;
        snprintf(all[n++].text, sizeof a.text, "--gpu-layers auto");
    }
    if (n > 1) { /* the above together */
        all[n] = a;
        all[n].options.gpu_layers = NR_GPU_LAYERS_AUTO;
        all[n].options.picture_pixels_max = SMALL_PICTURES;
        all[n].options.kv = NR_KV_INT8;
        all[n].options.n_slots = 1;
        all[n].options.image_cache = 0;
        snprintf(all[n++].text, sizeof a.text, "all of these, --image-cache 0");
    }
    for (int i = 0; nr_known_checkpoint(i) && n < CLI_REMEDIES_MAX; i++) {
        const char *name = nr_known_checkpoint(i);
        if (strcmp(name, p->model) == 0) continue;
        all[n] = a;
        all[n].model = name;
        all[n].options.context_tokens = 0;
        snprintf(all[n++].text, sizeof a.text, "--model %s", name);
    }
    return n;
}

int cli_remedies(const char *model, const cli_options *o, const nr_memory_plan *p,
                 const cli_card *card, cli_remedy out[CLI_REMEDIES_MAX]) {
    attempt attempts[CLI_REMEDIES_MAX];
    int n = list_attempts(model, o, p, attempts), n_out = 0;
    uint64_t ours = cli_device_bytes(p), others = cli_card_used(card) - (card->bytes ? ours : 0);
    for (int i = 0; i < n; i++) {
        nr_memory_plan plan;
        nr_error err;
        if (nr_memory_plan_read(attempts[i].model, &attempts[i].options, &plan, &err) !=
            NR_STATUS_OK)
            continue;
        cli_remedy r = {.ram_bytes = plan.ram_bytes, .device_bytes = cli_device_bytes(&plan)};
        uint64_t ceiling = o->engine.ram_bytes_max, on_card = o->engine.vram_bytes_max;
        bool lower_ram = ceiling && r.ram_bytes < p->ram_bytes;
        if (!lower_ram && !((card->bytes || on_card) && r.device_bytes < ours)) continue;
        r.fits = (!ceiling || r.ram_bytes <= ceiling) &&
                 (!on_card || plan.vram_bytes <= on_card) &&
                 (!card->bytes || others + r.device_bytes <= card->bytes);
        memcpy(r.text, attempts[i].text, sizeof r.text);
        out[n_out++] = r;
    }
    return n_out;
}

static bool fits(const cli_options *o, const nr_memory_plan *p, const cli_card *card) {
    uint64_t ceiling = o->engine.ram_bytes_max, on_card = o->engine.vram_bytes_max;
    return (!ceiling || p->ram_bytes <= ceiling) && (!on_card || p->vram_bytes <= on_card) &&
           (!card->bytes || cli_card_used(card) <= card->bytes);
}

static void print_ceiling(uint64_t bytes, uint64_t ceiling, const char *where) {
    if (!ceiling) return;
    bool ok = bytes <= ceiling;
    uint64_t gap = ok ? ceiling - bytes : bytes - ceiling;
    printf("ceiling of %llu bytes%s: it %s, %llu bytes (%.3f GB) %s\n", (unsigned long long)ceiling,
           where, ok ? "fits" : "does not fit", (unsigned long long)gap, (double)gap * 1e-9,
           ok ? "are left" : "short");
}

static void print_remedies(const cli_remedy *remedies, int n) {
    puts(n ? "what would lower it:" : "nothing that newsreader offers would lower it");
    for (int i = 0; i < n; i++)
        printf("  %-32s peak %8.3f GB, on the device %8.3f GB: %s\n", remedies[i].text,
               (double)remedies[i].ram_bytes * 1e-9, (double)remedies[i].device_bytes * 1e-9,
               remedies[i].fits ? "fits" : "does not fit");
}

static void print_json(const cli_options *o, const nr_memory_plan *p, const cli_card *card,
                       const cli_remedy *remedies, int n) {
    json_t *plan = cli_plan_json(p), *list = json_array();
    nr_machine_memory machine = nr_machine_memory_get();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:b}", "change", remedies[i].text,
                                              "total_bytes", (json_int_t)remedies[i].ram_bytes,
                                              "device_bytes", (json_int_t)remedies[i].device_bytes,
                                              "fits", remedies[i].fits));
    json_object_set_new(plan, "available_bytes", json_integer((json_int_t)machine.available_bytes));
    if (o->engine.ram_bytes_max)
        json_object_set_new(plan, "ceiling_bytes",
                            json_integer((json_int_t)o->engine.ram_bytes_max));
    if (card->bytes) json_object_set_new(plan, "card", cli_card_json(card));
    json_object_set_new(plan, "fits", json_boolean(fits(o, p, card)));
    json_object_set_new(plan, "remedies", list);
    cli_print_json(plan);
}

int cmd_plan(const cli_options *given) {
    cli_options with_service = *given;
    const cli_options *options = &with_service;
    server_start start = {.settings = given->settings, .n_settings = given->n_settings};
    nr_memory_plan p;
    cli_card card;
    cli_remedy remedies[CLI_REMEDIES_MAX];
    nr_error err;
    if (!cli_no_files(options, "plan")) return CLI_USAGE;
    if (given->service && server_plan_options(&start, &with_service.engine) != 0) return CLI_USAGE;
    const char *dir = cli_model_dir(options);
    if (!dir) return CLI_NO_MODEL;
    if (nr_memory_plan_read(dir, &options->engine, &p, &err) != NR_STATUS_OK) {
        cli_report(options, NULL, &err);
        return CLI_NO_MODEL;
    }
    if (!cli_card_parse(options->gpu, options->also, cli_device_bytes(&p), &card)) return CLI_USAGE;
    bool ok = fits(options, &p, &card);
    int n = ok ? 0 : cli_remedies(dir, options, &p, &card, remedies);
    if (options->json) {
        print_json(options, &p, &card, remedies, n);
        return ok ? CLI_OK : CLI_FAILED;
    }
    print_table(&p);
    print_ceiling(p.ram_bytes, options->engine.ram_bytes_max, "");
    print_ceiling(p.vram_bytes, options->engine.vram_bytes_max, " on the card");
    if (card.bytes) {
        putchar('\n');
        cli_card_draw(&card);
    }
    if (!ok) print_remedies(remedies, n);
    return ok ? CLI_OK : CLI_FAILED;
}
