#include "checkpoint/spelling.h"

#include "checkpoint/names.h"

#include <stdio.h>
#include <string.h>

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

/* Of transformers; others are called as in diffusers. */
static const bl_naming authors[] = {[BL_NET_ZIMAGE] = BL_NAMES_ZIMAGE,
                                    [BL_NET_FLUX1] = BL_NAMES_FLUX1,
                                    [BL_NET_FLUX2] = BL_NAMES_FLUX2,
                                    [BL_NET_SD3] = BL_NAMES_SD3};

bool bl_authors_spelling(char *out, size_t room, bl_spelled_share *share, const bl_architecture *arch,
                         const char *layer) {
    const bl_net net = arch->family->net;
    static const char leaf[] = ".weight";
    char name[BL_STORED_BYTES];
    bl_stored s;
    const int n = snprintf(name, sizeof name, "%s%s", layer, leaf);
    const size_t known = sizeof authors / sizeof *authors;
    const bl_naming naming = (size_t)net < known ? authors[net] : BL_NAMES_DIFFUSERS;
    if (n < 0 || (size_t)n >= sizeof name || !bl_stored_name(&s, naming, NULL, arch->sd3.layers, name) ||
        s.transposed || !strcmp(s.name, name)) {
        return false;
    }
    const char *stored = s.other[0] ? s.other : s.name; /* norms of heads may have a "scale" */
    *share = (bl_spelled_share){s.share, s.shares, s.spans, s.swapped};
    const size_t length = strlen(stored) - strlen(leaf);
    if (length >= room) {
        return false;
    }
    memcpy(out, stored, length);
    out[length] = '\0';
    return true;
}
