#include "device/cuda/internal.h"
#include "device/cuda/keep.h"

#include <string.h>

uint64_t bl_cuda_plan_key(const char *what, const void *shape, size_t bytes) {
    return bl_cuda_hash(bl_cuda_hash(BL_CUDA_HASH, what, strlen(what)), shape, bytes);
}

int bl_cuda_chosen(const bl_cuda *c, uint64_t key) {
    const bl_cuda_choice *x = bl_cuda_card_choice(&c->card, key);
    return c->plans.forced ? c->plans.forced - 1 : x && x->choice > 0 ? x->choice : 0;
}

bool bl_cuda_planned(bl_cuda_planned_plan *out, bl_cuda *c, uint64_t key, bool can_be_asked) {
    const bl_cuda_choice *x = bl_cuda_card_choice(&c->card, key);
    *out = (bl_cuda_planned_plan){.exists = !x || x->choice >= 0,
                                  .workspace_bytes = x ? x->workspace_bytes : BL_CUDA_WORKSPACE};
    if (!c->planning || (!x && can_be_asked)) {
        return false;
    }
    c->plans.estimated += !x;
    return true;
}
