/* SPDX-License-Identifier: MIT
 * no_cuda.c - in the place of src/backends/cuda where the library was built without nvcc. */
#include "backend.h"

nr_status nr_backend_cuda_open(int device, bool plan_only, nr_backend **out, nr_error *err) {
    (void)plan_only, (void)out;
    NR_FAIL(UNSUPPORTED, "cuda:%d: this build has no CUDA: nvcc was not found when it was made",
            device);
}
