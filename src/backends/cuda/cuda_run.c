/* SPDX-License-Identifier: MIT
 * cuda_run.c - a record to its launcher. */
#include "cuda_fused.h"
#include "cuda_internal.h"

static cudaError_t run_quantize(nr_cuda_backend *be, const nr_cuda_op *op) {
    const nr_cuda_quantize_args *q = &op->quantize;
    const bool overlap = be->overlap;
    if (be->plain) return nr_cuda_quantize(q, be->stream);
    if (op->before == NR_CUDA_BEFORE_NORM)
        return nr_cuda_norm_quantize(&op->norm, q, overlap, be->stream);
    if (op->before == NR_CUDA_BEFORE_GATED)
        return nr_cuda_gated_quantize(op->x, (nr_activation)op->act, q, overlap, be->stream);
    if (op->before == NR_CUDA_BEFORE_ATTENTION)
        return nr_cuda_join_quantize(&op[-1].u.attention, q, overlap, be->stream);
    return nr_cuda_quantize_rows(q, overlap, be->stream);
}

static cudaError_t run_linear_i8(nr_cuda_backend *be, const nr_cuda_op *op) {
    cudaError_t status = run_quantize(be, op);
    if (status != cudaSuccess) return status;
    return be->plain ? nr_cuda_linear_i8_plain(&op->u.i8, be->stream)
                     : nr_cuda_linear_i8(&op->u.i8, be->stream);
}

static cudaError_t run_residual(nr_cuda_backend *be, const nr_cuda_op *op) {
    cudaError_t status = nr_cuda_quantize(&op->quantize, be->stream);
    return status == cudaSuccess ? nr_cuda_residual(op->y, &op->quantize, be->stream) : status;
}

cudaError_t nr_cuda_run(nr_cuda_backend *be, const nr_cuda_op *op) {
    cudaStream_t s = be->stream;
    nr_activation act = (nr_activation)op->act;
    switch (op->kind) {
    case NR_CUDA_LINEAR_I8: return run_linear_i8(be, op);
    case NR_CUDA_LINEAR_F32: return nr_cuda_linear_f32(&op->u.f32, s);
    case NR_CUDA_RESIDUAL: return run_residual(be, op);
    case NR_CUDA_ACTIVATE: return nr_cuda_activate(op->y, op->n, act, s);
    case NR_CUDA_EMBED: return nr_cuda_embed(&op->u.embed, s);
    case NR_CUDA_NORM: return nr_cuda_norm(&op->norm, s);
    case NR_CUDA_GATED: return nr_cuda_gated(op->y, op->ldy, op->x, op->n, op->cols, act, s);
    case NR_CUDA_ADD_ROWS:
        return nr_cuda_add_rows(op->y, op->ldy, op->x, op->u.add_rows, op->n, op->cols, s);
    case NR_CUDA_ROPE: return nr_cuda_rope(&op->u.rope, s);
    case NR_CUDA_KV_STORE: return nr_cuda_kv_store(&op->u.kv_store, s);
    case NR_CUDA_ATTENTION:
        return be->plain ? nr_cuda_attention_plain(&op->u.attention, s)
                         : nr_cuda_attention(&op->u.attention, s);
    case NR_CUDA_PATCHIFY:
        return nr_cuda_patchify(op->y, op->x, op->rows, op->cols, (int32_t)op->n, s);
    case NR_CUDA_COPY:
        return cudaMemcpyAsync(op->y, op->x, (size_t)op->n, cudaMemcpyDeviceToDevice, s);
    }
    return cudaErrorInvalidValue;
}
