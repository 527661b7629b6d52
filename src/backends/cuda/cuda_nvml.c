/* SPDX-License-Identifier: MIT
 *
 * cuda_nvml.c - what the driver says of the card's memory, through libnvidia-ml.so.1 where it is
 * there: looked up at run time, so that the program needs no driver to start.
 */
#include "cuda_internal.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#define PROCESSES_MAX 256
#define UNKNOWN UINT64_MAX

/* As nvml.h has them; the header does not come with every toolkit. */
typedef struct nvml_device *nvml_handle;
typedef struct nvml_memory {
    unsigned long long total, free, used;
} nvml_memory;
typedef struct nvml_process {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned gpu_instance, compute_instance;
} nvml_process;

/* A function of the library, as the type of *fn. */
static bool find(void *library, const char *name, void *fn) {
    void *symbol = library ? dlsym(library, name) : NULL;
    memcpy(fn, &symbol, sizeof symbol);
    return symbol != NULL;
}

void nr_cuda_nvml_open(nr_cuda_backend *be) {
    int (*init)(void), (*by_bus)(const char *, nvml_handle *);
    nvml_handle device = NULL;
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    bool there = find(library, "nvmlInit_v2", &init) &&
                 find(library, "nvmlDeviceGetHandleByPciBusId_v2", &by_bus) && init() == 0 &&
                 by_bus(be->pci, &device) == 0;
    if (there) {
        be->nvml = library;
        be->nvml_device = device;
    } else if (library) {
        dlclose(library);
    }
}

void nr_cuda_nvml_close(nr_cuda_backend *be) {
    int (*end)(void);
    if (!be->nvml) return;
    if (find(be->nvml, "nvmlShutdown", &end)) (void)end();
    dlclose(be->nvml);
    be->nvml = NULL;
}

void nr_cuda_nvml_used(const nr_cuda_backend *be, uint64_t *card, uint64_t *process) {
    int (*memory)(nvml_handle, nvml_memory *);
    int (*running)(nvml_handle, unsigned *, nvml_process *);
    nvml_process list[PROCESSES_MAX];
    nvml_memory info;
    unsigned n = PROCESSES_MAX;
    *card = *process = 0;
    if (!be->nvml) return;
    if (find(be->nvml, "nvmlDeviceGetMemoryInfo", &memory) && memory(be->nvml_device, &info) == 0)
        *card = info.used;
    if (!find(be->nvml, "nvmlDeviceGetComputeRunningProcesses_v3", &running) ||
        running(be->nvml_device, &n, list) != 0)
        return;
    for (unsigned i = 0; i < n; i++)
        if (list[i].pid == (unsigned)getpid() && list[i].used_bytes != UNKNOWN)
            *process = list[i].used_bytes;
}
