/* SPDX-License-Identifier: MIT
 * device.c - see device.h. */
#include "device.h"

#include <stdlib.h>
#include <string.h>

/* Rows of a forward call: a prompt of LLaVA with its picture; scratch grows with it. */
#define CUDA_PREFILL_ROWS 640

nr_status nr_device_parse(const char *text, nr_device *out, nr_error *err) {
    char *end;
    nr_device device = {.kind = NR_DEVICE_CPU};
    if (!text) text = getenv("NR_DEVICE");
    if (text && strcmp(text, "auto") == 0) {
        device.kind = NR_DEVICE_AUTO;
    } else if (text && strcmp(text, "cpu") != 0) {
        const char *number = strncmp(text, "cuda:", 5) == 0 ? text + 5 : "";
        long card = strtol(number, &end, 10);
        bool numbered = *number >= '0' && *number <= '9' && *end == '\0';
        NR_FAIL_IF(strcmp(text, "cuda") != 0 && !(numbered && card < NR_DEVICE_CARDS_MAX), ARG,
                   "device \"%s\", expected cpu, auto, or cuda:0 to cuda:%d", text,
                   NR_DEVICE_CARDS_MAX - 1);
        device.kind = NR_DEVICE_CUDA;
        device.card = (int)card;
    }
    *out = device;
    return NR_STATUS_OK;
}

nr_status nr_gpu_layers_parse(const char *text, int32_t *out, nr_error *err) {
    char *end;
    bool automatic = strcmp(text, "auto") == 0, all = strcmp(text, "all") == 0;
    long n = strtol(text, &end, 10);
    bool number = *text >= '0' && *text <= '9' && *end == '\0' && n <= INT32_MAX;
    NR_FAIL_IF(!automatic && !all && !number, FORMAT,
               "layers on the card \"%.40s\", expected auto, all or a number", text);
    *out = automatic ? NR_GPU_LAYERS_AUTO : all ? NR_GPU_LAYERS_ALL : (int32_t)n;
    return NR_STATUS_OK;
}

const char *nr_device_name(nr_device device) {
    static const char *const cards[NR_DEVICE_CARDS_MAX] = {
        "cuda:0", "cuda:1", "cuda:2",  "cuda:3",  "cuda:4",  "cuda:5",  "cuda:6",  "cuda:7",
        "cuda:8", "cuda:9", "cuda:10", "cuda:11", "cuda:12", "cuda:13", "cuda:14", "cuda:15"};
    return device.kind == NR_DEVICE_CPU ? "cpu" : cards[device.card];
}

nr_status nr_device_open(nr_device device, const nr_engine_options *o, bool plan_only,
                         nr_backend **out, nr_error *err) {
    NR_ASSERT(device.kind != NR_DEVICE_AUTO);
    if (device.kind == NR_DEVICE_CUDA)
        return nr_backend_cuda_open(device.card, plan_only, out, err);
    return nr_backend_cpu_open(o->n_threads, o->cpu_kernels, out, err);
}

nr_status nr_device_open_for_plan(nr_device *device, nr_engine_options *o, nr_backend **out,
                                  nr_error *err) {
    nr_device card = {.kind = NR_DEVICE_CUDA, .card = device->card};
    if (device->kind != NR_DEVICE_AUTO) return nr_device_open(*device, o, true, out, err);
    bool there = nr_device_open(card, o, false, out, NULL) == NR_STATUS_OK;
    *device = there ? card : (nr_device){.kind = NR_DEVICE_CPU};
    if (there) return NR_STATUS_OK;
    nr_device_forget_card(o);
    return nr_device_open(*device, o, true, out, err);
}

void nr_device_forget_card(nr_engine_options *o) {
    o->vram_bytes_max = 0;
    o->gpu_layers = NR_GPU_LAYERS_AUTO;
    o->vision = NR_VISION_AUTO;
}

nr_status nr_device_settle(nr_device device, nr_engine_options *o, nr_error *err) {
    NR_FAIL_IF(device.kind == NR_DEVICE_CPU && o->vram_bytes_max != 0, UNSUPPORTED,
               "a ceiling of %llu bytes of VRAM, but the device is the CPU",
               (unsigned long long)o->vram_bytes_max);
    NR_FAIL_IF(device.kind == NR_DEVICE_CPU &&
                   (o->gpu_layers != NR_GPU_LAYERS_AUTO || o->vision == NR_VISION_GPU),
               UNSUPPORTED, "layers or the vision tower for a card, but the device is the CPU");
    if (device.kind == NR_DEVICE_CUDA && o->prefill_rows == 0) o->prefill_rows = CUDA_PREFILL_ROWS;
    return NR_STATUS_OK;
}

bool nr_device_may_fall_back(nr_status status) {
    return status == NR_STATUS_UNSUPPORTED || status == NR_STATUS_CEILING ||
           status == NR_STATUS_NO_MEMORY || status == NR_STATUS_DEVICE;
}
