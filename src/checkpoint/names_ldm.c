/* CompVis' names for UNet and autoencoder (ldm/modules/diffusionmodules: openaimodel.py and model.py). */
#include "checkpoint/names.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

static const bl_rename unet_ends[] = {
    {"time_embedding.cond_proj", "time_embed.cond_proj"},
    {"time_embedding.linear_1", "time_embed.0"},
    {"time_embedding.linear_2", "time_embed.2"},
    {"add_embedding.linear_1", "label_emb.0.0"},
    {"add_embedding.linear_2", "label_emb.0.2"},
    {"conv_in", "input_blocks.0.0"},
    {"conv_norm_out", "out.0"},
    {"conv_out", "out.2"},
};

static const bl_rename unet_resnet[] = {
    {"norm1", "in_layers.0"},  {"conv1", "in_layers.2"},  {"time_emb_proj", "emb_layers.1"},
    {"norm2", "out_layers.0"}, {"conv2", "out_layers.3"}, {"conv_shortcut", "skip_connection"},
};

/* ---- UNet: numbers */

/* `format` holds one %d. Starts of names are looked for, not whole ones: a file that lacks one tensor is
 * numbered all the same, and the error can name that tensor. */
static bool has(bl_has_fn *fn, const void *payload, const char *format, int number) {
    char start[96];
    snprintf(start, sizeof start, format, number);
    return fn(payload, start);
}

void bl_ldm_number(bl_ldm_numbers *out, bl_has_fn *fn, const void *payload) {
    bl_ldm_numbers n = {.levels = 0};
    *out = n;
    int level = 0;
    for (int block = 1;; block++) {
        if (has(fn, payload, "input_blocks.%d.0.in_layers.", block)) {
            if (n.resnets[level]++ == 0) {
                n.first_input[level] = block;
            }
            if (n.resnets[level] >= BL_MAX_BLOCKS) {
                return;
            }
        } else if (has(fn, payload, "input_blocks.%d.0.op.", block)) {
            n.downsampler[level++] = block;
            if (level >= BL_MAX_LEVELS) {
                return;
            }
        } else {
            break;
        }
    }
    if (!n.resnets[0]) {
        return;
    }
    n.levels = level + 1;
    int block = 0;
    for (int i = 0; i < n.levels; i++) {
        n.first_output[i] = block;
        block += n.resnets[n.levels - 1 - i] + 1;
        /* The upsampler comes behind the resnet, and behind the attention where the block has one. */
        n.upsampler_place[i] = has(fn, payload, "output_blocks.%d.2.conv.", block - 1) ? 2 : 1;
    }
    n.second_mid_resnet = fn(payload, "middle_block.1.in_layers.") ? 1 : 2;
    *out = n;
}

/* ---- UNet: names */

/* `block`: "input_blocks.4" and the like. `kind` and what follows are diffusers'. */
static bool unet_layer(bl_stored *out, const char *block, int resnet_place, int attention_place,
                       const char *rest) {
    char head[64];
    const char *inner;
    if ((inner = bl_after(rest, "resnets."))) {
        bl_take_number(&inner);
        snprintf(head, sizeof head, "%s.%d.", block, resnet_place);
        return bl_renamed(out, head, inner, unet_resnet, COUNT(unet_resnet), false);
    }
    if ((inner = bl_after(rest, "attentions."))) {
        bl_take_number(&inner);
        snprintf(head, sizeof head, "%s.%d.", block, attention_place);
        return bl_renamed(out, head, inner, NULL, 0, true);
    }
    return false;
}

/* The number behind "resnets." or "attentions.", or -1. */
static int layer_number(const char *rest) {
    const char *p = bl_after(rest, "resnets.");
    p = p ? p : bl_after(rest, "attentions.");
    return p ? bl_take_number(&p) : -1;
}

static bool down_name(bl_stored *out, const bl_ldm_numbers *n, int level, const char *rest) {
    char block[64];
    const char *tail = bl_after(rest, "downsamplers.0.conv.");
    if (level < 0 || level >= n->levels) {
        return false;
    }
    if (tail) {
        snprintf(block, sizeof block, "input_blocks.%d.0.op.", n->downsampler[level]);
        return n->downsampler[level] && bl_renamed(out, block, tail, NULL, 0, true);
    }
    int j = layer_number(rest);
    if (j < 0 || j >= n->resnets[level]) {
        return false;
    }
    snprintf(block, sizeof block, "input_blocks.%d", n->first_input[level] + j);
    return unet_layer(out, block, 0, 1, rest);
}

static bool up_name(bl_stored *out, const bl_ldm_numbers *n, int i, const char *rest) {
    char block[64];
    const char *tail = bl_after(rest, "upsamplers.0.");
    if (i < 0 || i >= n->levels) {
        return false;
    }
    int resnets = n->resnets[n->levels - 1 - i] + 1;
    if (tail) {
        snprintf(block, sizeof block, "output_blocks.%d.%d.", n->first_output[i] + resnets - 1,
                 n->upsampler_place[i]);
        return i + 1 < n->levels && bl_renamed(out, block, tail, NULL, 0, true);
    }
    int j = layer_number(rest);
    if (j < 0 || j >= resnets) {
        return false;
    }
    snprintf(block, sizeof block, "output_blocks.%d", n->first_output[i] + j);
    return unet_layer(out, block, 0, 1, rest);
}

bool bl_ldm_unet_name(bl_stored *out, const bl_ldm_numbers *n, const char *name) {
    const char *rest;
    if ((rest = bl_after(name, "down_blocks."))) {
        int level = bl_take_number(&rest);
        return down_name(out, n, level, rest);
    }
    if ((rest = bl_after(name, "up_blocks."))) {
        int i = bl_take_number(&rest);
        return up_name(out, n, i, rest);
    }
    if ((rest = bl_after(name, "mid_block."))) {
        return unet_layer(out, "middle_block", layer_number(rest) == 0 ? 0 : n->second_mid_resnet, 1, rest);
    }
    return bl_renamed(out, "", name, unet_ends, COUNT(unet_ends), false);
}

/* ---- autoencoder */

static const bl_rename vae_mid[] = {
    {"resnets.0", "block_1"},
    {"resnets.1", "block_2"},
    {"attentions.0.group_norm", "attn_1.norm"},
    {"attentions.0.to_q", "attn_1.q"},
    {"attentions.0.to_k", "attn_1.k"},
    {"attentions.0.to_v", "attn_1.v"},
    {"attentions.0.to_out.0", "attn_1.proj_out"},
};

static const bl_rename vae_resnet[] = {{"conv_shortcut", "nin_shortcut"}};
static const bl_rename vae_ends[] = {{"conv_norm_out", "norm_out"}};

/* `rest` follows "encoder.down_blocks." or "decoder.up_blocks.". */
static bool vae_level(bl_stored *out, const char *side, int level, const char *rest, const char *sampler) {
    char head[64];
    const char *tail;
    if ((tail = bl_after(rest, "resnets."))) {
        int j = bl_take_number(&tail);
        snprintf(head, sizeof head, "%s.%d.block.%d.", side, level, j);
        return j >= 0 && bl_renamed(out, head, tail, vae_resnet, COUNT(vae_resnet), true);
    }
    if ((tail = bl_after(rest, sampler))) { /* "downsamplers.0." or "upsamplers.0." */
        snprintf(head, sizeof head, "%s.%d.%s.", side, level, sampler[0] == 'd' ? "downsample" : "upsample");
        return bl_renamed(out, head, tail, NULL, 0, true);
    }
    return false;
}

bool bl_ldm_vae_name(bl_stored *out, int levels, const char *name) {
    const char *rest;
    if ((rest = bl_after(name, "encoder.down_blocks."))) {
        int level = bl_take_number(&rest);
        return level >= 0 && vae_level(out, "encoder.down", level, rest, "downsamplers.0.");
    }
    if ((rest = bl_after(name, "decoder.up_blocks."))) {
        int i = bl_take_number(&rest); /* diffusers counts from the latent, LDM from the picture */
        return i >= 0 && i < levels && vae_level(out, "decoder.up", levels - 1 - i, rest, "upsamplers.0.");
    }
    const char *side = bl_after(name, "encoder.") ? "encoder." : bl_after(name, "decoder.") ? "decoder." : "";
    rest = name + strlen(side);
    const char *mid = bl_after(rest, "mid_block.");
    if (mid) {
        char head[32];
        snprintf(head, sizeof head, "%smid.", side);
        return bl_renamed(out, head, mid, vae_mid, COUNT(vae_mid), false);
    }
    const char *latents = bl_after(name, "quant_conv.")        ? "encoder."
                          : bl_after(name, "post_quant_conv.") ? "decoder."
                                                               : NULL;
    const bool fits = bl_renamed(out, side, rest, vae_ends, COUNT(vae_ends), true);
    if (latents) { /* FLUX.2's authors have them in the halves */
        snprintf(out->other, sizeof out->other, "%s%.64s", latents, name);
    }
    return fits;
}
