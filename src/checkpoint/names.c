#include "checkpoint/names.h"

#include <stdio.h>
#include <string.h>

const char *bl_after(const char *name, const char *start) {
    size_t n = strlen(start);
    return strncmp(name, start, n) == 0 ? name + n : NULL;
}

int bl_take_number(const char **name) {
    const char *p = *name;
    int v = 0, digits = 0;
    while (*p >= '0' && *p <= '9' && digits < 2) {
        v = v * 10 + (*p++ - '0');
        digits++;
    }
    if (!digits || (*p != '.' && *p != '\0') || (digits > 1 && **name == '0')) {
        return -1;
    }
    *name = *p == '.' ? p + 1 : p;
    return v;
}

bool bl_renamed(bl_stored *out, const char *head, const char *rest, const bl_rename *table, int rows,
                bool keep_unknown) {
    const char *to = "", *tail = NULL;
    for (int i = 0; i < rows && !tail; i++) {
        tail = bl_after(rest, table[i].from);
        if (tail && *tail != '.' && *tail != '\0') {
            tail = NULL;
        } else {
            to = table[i].to;
        }
    }
    if (!tail) {
        if (!keep_unknown) {
            return false;
        }
        to = "";
        tail = rest;
    }
    int n = snprintf(out->name, sizeof out->name, "%s%s%s", head, to, tail);
    return n > 0 && n < (int)sizeof out->name;
}

/* diffusers' VAE files of 2022 and 2023 call the layers of the attention by other names. */
static void old_vae_name(bl_stored *out, const char *name) {
    static const bl_rename layers[] = {
        {"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
    const char *at = strstr(name, ".mid_block.attentions.0.");
    if (!at) {
        return;
    }
    char head[BL_STORED_BYTES];
    size_t n = (size_t)(at - name) + strlen(".mid_block.attentions.0.");
    bl_stored old = {.name = ""};
    if (n < sizeof head) {
        memcpy(head, name, n);
        head[n] = '\0';
        if (bl_renamed(&old, head, name + n, layers, 4, false)) {
            memcpy(out->other, old.name, sizeof out->other);
        }
    }
}

#define T5_EMBEDDINGS "encoder.embed_tokens.weight"

/* `name` is known to fit. */
static void set_name(bl_stored *out, const char *name) {
    memcpy(out->name, name, strlen(name) + 1);
}

bool bl_stored_name(bl_stored *out, bl_naming naming, const bl_ldm_numbers *numbers, int depth,
                    const char *name) {
    *out = (bl_stored){.shares = 1, .spans = 1};
    if (strlen(name) >= sizeof out->name) {
        return false;
    }
    const char *bare = bl_after(name, "text_model.");
    switch (naming) {
    case BL_NAMES_DIFFUSERS:
        set_name(out, name);
        old_vae_name(out, name);
        if (!strcmp(name, "shared.weight")) { /* the encoder's embeddings, which transformers has twice */
            memcpy(out->other, T5_EMBEDDINGS, sizeof T5_EMBEDDINGS);
        }
        return true;
    case BL_NAMES_CLIP_BARE:
        set_name(out, bare ? bare : name);
        return true;
    case BL_NAMES_LDM_UNET:
        return bl_ldm_unet_name(out, numbers, name);
    case BL_NAMES_LDM_VAE:
        return bl_ldm_vae_name(out, depth, name);
    case BL_NAMES_OPEN_CLIP:
        return bl_open_clip_name(out, name);
    case BL_NAMES_TAESD:
        return bl_taesd_name(out, name);
    case BL_NAMES_ZIMAGE:
        return bl_zimage_name(out, name);
    case BL_NAMES_FLUX1:
        return bl_flux1_name(out, name);
    case BL_NAMES_FLUX2:
        return bl_flux2_name(out, name);
    case BL_NAMES_SD3:
        return bl_sd3_name(out, depth, name);
    case BL_NAMES_QWEN_BARE:
        bare = bl_after(name, "model.");
        set_name(out, bare ? bare : name);
        return true;
    case BL_NAMES_LLAMA:
        return bl_llama_name(out, name);
    case BL_NAMES_LLAMA_T5:
        return bl_llama_t5_name(out, name);
    }
    return false;
}
