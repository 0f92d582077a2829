#include "checkpoint/spelling.h"

#include "checkpoint/names.h"

#include <stdio.h>

/* The same numbers that bl_ldm_number reads off a file. */
static bl_ldm_numbers numbers_of(const bl_unet_architecture *a) {
    bl_ldm_numbers n = {.levels = a->levels, .second_mid_resnet = a->mid_depth ? 2 : 1};
    int block = 1;
    for (int i = 0; i < a->levels; i++) {
        n.resnets[i] = a->resnets[i];
        n.first_input[i] = block;
        block += a->resnets[i];
        n.downsampler[i] = i + 1 < a->levels ? block++ : 0;
    }
    block = 0;
    for (int i = 0; i < a->levels; i++) {
        int last = a->resnets[a->levels - 1 - i];
        n.first_output[i] = block;
        n.upsampler_place[i] = last < BL_ARCH_BLOCKS && a->up_depth[i][last] ? 2 : 1;
        block += last + 1;
    }
    return n;
}

bool bl_ldm_spelling(char *out, size_t room, const bl_unet_architecture *unet, const char *name) {
    const bl_ldm_numbers numbers = numbers_of(unet);
    bl_stored s;
    if (!bl_stored_name(&s, BL_NAMES_LDM_UNET, &numbers, 0, name)) {
        return false;
    }
    int n = snprintf(out, room, "%s", s.name);
    return n >= 0 && (size_t)n < room;
}
