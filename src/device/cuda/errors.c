#include "device/cuda/internal.h"

#include <stdio.h>

/* After these nothing works in the context any more. */
static bool is_fatal(bl_cu_result result) {
    return result == BL_CU_ECC || (result >= BL_CU_BAD_ADDRESS && result < BL_CU_NOT_SUPPORTED) ||
           result == BL_CU_UNKNOWN;
}

/* The first op that has not ended. */
static void suspect(bl_cuda *c, char *out, size_t bytes) {
    uint32_t ended = c->progress ? *c->progress : 0;
    const bl_cuda_note *n = &c->notes[(ended + 1) % BL_CUDA_NOTES];
    out[0] = 0;
    if (c->marks && c->ops > ended && n->number == ended + 1) {
        snprintf(out, bytes, " in %s of block %s", n->what, n->block);
    }
}

int bl_cuda_check(bl_cuda *c, bl_cu_result result, const char *what, bl_error *err) {
    const char *name = NULL;
    char where[BL_NAME_BYTES + 64] = "";
    if (!result) {
        return 0;
    }
    if (c->libs->cu.cuGetErrorName(result, &name) || !name) {
        name = "an unknown error";
    }
    if (result == BL_CU_NO_MEMORY) {
        return bl_fail(err, BL_E_MEMORY, "cuda: the card has no memory for %s", what);
    }
    if (is_fatal(result)) {
        suspect(c, where, sizeof where);
        pthread_mutex_lock(&c->lock);
        c->lost = true;
        pthread_mutex_unlock(&c->lock);
    }
    return bl_fail(err, BL_E_DEVICE, "cuda: %s failed%s: %s%s", what, where, name,
                   c->lost ? "; the card has to be opened again" : "");
}

int bl_cuda_check_dnn(bl_cuda *c, bl_dnn_status status, const char *what, bl_error *err) {
    return status ? bl_fail(err, BL_E_DEVICE, "cuda: %s failed in cuDNN: %s", what,
                            c->libs->dnn.cudnnGetErrorString(status))
                  : 0;
}

int bl_cuda_check_lt(bl_cuda *c, bl_lt_status status, const char *what, bl_error *err) {
    return status ? bl_fail(err, BL_E_DEVICE, "cuda: %s failed in cuBLASLt: %s", what,
                            c->libs->lt.cublasLtGetStatusString(status))
                  : 0;
}

int bl_cuda_enter(bl_cuda *c, bl_error *err) {
    pthread_mutex_lock(&c->lock);
    bool lost = c->lost;
    pthread_mutex_unlock(&c->lock);
    return lost ? bl_fail(err, BL_E_DEVICE, "cuda: the card was lost and has to be opened again")
                : bl_cuda_check(c, c->libs->cu.cuCtxSetCurrent(c->context), "the context", err);
}
