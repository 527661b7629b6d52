/* SPDX-License-Identifier: MIT
 *
 * placement.c - see placement.h. A plan costs microseconds, so placements are planned one after the
 * other until one fits; no second formula says what a layer takes.
 */
#include "placement.h"

#include "nr_limits.h"

#include <stdio.h>
#include <string.h>

static bool has_vision(const nr_plan_input *in) {
    return in->model->info.n_image_tokens > 0;
}

/* As much on the card as the options allow. */
static nr_status largest(const nr_plan_input *in, nr_placement *out, nr_error *err) {
    const nr_engine_options *o = in->options;
    int32_t n = in->model->info.n_layers;
    *out = (nr_placement){.vision_on_host = has_vision(in) && o->vision == NR_VISION_CPU};
    if (o->gpu_layers >= 0) out->layers_on_host = n - NR_MIN(o->gpu_layers, n);
    NR_FAIL_IF(out->layers_on_host == n && (out->vision_on_host || !has_vision(in)), ARG,
               "no layer on the card and no vision tower either: \"cpu\" is the device for that");
    return NR_STATUS_OK;
}

/* The next smaller one that the options allow; false: there is none. */
static bool shrink(const nr_plan_input *in, nr_placement *at) {
    const nr_engine_options *o = in->options;
    int32_t n = in->model->info.n_layers;
    if (o->gpu_layers == NR_GPU_LAYERS_ALL) return false;
    if (has_vision(in) && o->vision == NR_VISION_AUTO && !at->vision_on_host &&
        at->layers_on_host < n) {
        at->vision_on_host = true;
        return true;
    }
    if (o->gpu_layers != NR_GPU_LAYERS_AUTO || at->layers_on_host + 1 >= n) return false;
    at->layers_on_host++;
    return true;
}

/* What may be planned on the card: the ceiling, and what is free there where that is known. */
static uint64_t room_on_card(const nr_plan_input *in) {
    const nr_backend *be = in->sides->be[NR_SIDE_DEVICE];
    uint64_t ceiling = in->options->vram_bytes_max ? in->options->vram_bytes_max : UINT64_MAX;
    nr_device_memory m = {0};
    be->ops->memory(be, &m);
    if (m.total_bytes == 0) return ceiling;
    uint64_t spare = NR_MIN(m.free_bytes, (uint64_t)NR_CUDA_SPARE_BYTES);
    return NR_MIN(ceiling, m.free_bytes - spare);
}

/* "24 of 32 layers and the vision tower". */
static int list_parts(char *dst, size_t cap, int32_t layers, int32_t n, bool vision) {
    const char *tower = vision ? "the vision tower" : "", *and = vision && layers ? " and " : "";
    if (layers == 0) return snprintf(dst, cap, "%s", tower);
    if (layers == n) return snprintf(dst, cap, "all %d layers%s%s", n, and, tower);
    return snprintf(dst, cap, "%d of %d layers%s%s", layers, n, and, tower);
}

/* whole: bytes on the card of the largest placement; 0: the chosen one was asked for. */
static void describe(const nr_plan_input *in, uint64_t whole, uint64_t room, nr_memory_plan *p) {
    char card[48], cpu[48], why[80] = "as asked";
    const nr_placement *at = &in->placement;
    if (!at->vision_on_host && at->layers_on_host == 0) return;
    list_parts(card, sizeof card, p->n_layers_on_card, p->n_layers, p->vision_on_card);
    list_parts(cpu, sizeof cpu, at->layers_on_host, p->n_layers, at->vision_on_host);
    if (whole)
        snprintf(why, sizeof why, "%llu bytes of VRAM do not hold %llu", (unsigned long long)room,
                 (unsigned long long)whole);
    snprintf(p->placement, sizeof p->placement, "%s on %s, %s on the CPU: %s", card, p->device,
             cpu, why);
}

static nr_status plan_at(nr_plan_input *in, const nr_placement *at, nr_memory_plan *out,
                         nr_error *err) {
    nr_backend **beside = &in->sides->be[NR_SIDE_HOST];
    nr_device cpu = {.kind = NR_DEVICE_CPU};
    in->placement = *at;
    if ((at->vision_on_host || at->layers_on_host > 0) && !*beside)
        NR_TRY(nr_device_open(cpu, in->options, true, beside, err));
    return nr_plan_make(in, out, err);
}

nr_status nr_placement_plan(nr_plan_input *in, nr_memory_plan *out, nr_error *err) {
    nr_placement at = {0};
    uint64_t whole = 0;
    if (!nr_backend_is_apart(in->sides->be[NR_SIDE_DEVICE])) return plan_at(in, &at, out, err);
    uint64_t room = room_on_card(in);
    NR_TRY(largest(in, &at, err));
    NR_TRY(plan_at(in, &at, out, err));
    uint64_t first = out->vram_bytes;
    while (out->vram_bytes > room && shrink(in, &at)) {
        NR_TRY(plan_at(in, &at, out, err));
        whole = first;
    }
    describe(in, whole, room, out);
    return NR_STATUS_OK;
}
