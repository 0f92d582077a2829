/* Which modules one file holds, told by names alone. */
#include "checkpoint/parts.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

/* A module is there if prefix + probe is. The first row that fits a module wins. */
typedef struct layout {
    bl_module module;
    bl_naming naming;
    const char *prefix, *probe;
} layout;

static const char clip_probe[] = "text_model.embeddings.token_embedding.weight";
static const char bare_probe[] = "embeddings.token_embedding.weight";
static const char open_clip_probe[] = "token_embedding.weight";

static const layout layouts[] = {
    {BL_UNET, BL_NAMES_LDM_UNET, "model.diffusion_model.", "input_blocks.0.0.weight"},
    {BL_UNET, BL_NAMES_LDM_UNET, "", "input_blocks.0.0.weight"},
    {BL_UNET, BL_NAMES_DIFFUSERS, "unet.", "conv_in.weight"},
    {BL_UNET, BL_NAMES_DIFFUSERS, "", "down_blocks.0.resnets.0.time_emb_proj.weight"},
    {BL_TEXT_ENCODER, BL_NAMES_DIFFUSERS, "cond_stage_model.transformer.", clip_probe},
    {BL_TEXT_ENCODER, BL_NAMES_CLIP_BARE, "cond_stage_model.transformer.", bare_probe},
    {BL_TEXT_ENCODER, BL_NAMES_OPEN_CLIP, "cond_stage_model.model.", open_clip_probe},
    {BL_TEXT_ENCODER, BL_NAMES_DIFFUSERS, "conditioner.embedders.0.transformer.", clip_probe},
    {BL_TEXT_ENCODER, BL_NAMES_CLIP_BARE, "conditioner.embedders.0.transformer.", bare_probe},
    {BL_TEXT_ENCODER, BL_NAMES_DIFFUSERS, "text_encoder.", clip_probe},
    {BL_TEXT_ENCODER, BL_NAMES_CLIP_BARE, "text_encoder.", bare_probe},
    {BL_TEXT_ENCODER_2, BL_NAMES_OPEN_CLIP, "conditioner.embedders.1.model.", open_clip_probe},
    {BL_TEXT_ENCODER_2, BL_NAMES_OPEN_CLIP, "conditioner.embedders.0.model.",
     open_clip_probe}, /* SDXL's refiner */
    {BL_TEXT_ENCODER_2, BL_NAMES_DIFFUSERS, "text_encoder_2.", clip_probe},
    {BL_TEXT_ENCODER_2, BL_NAMES_CLIP_BARE, "text_encoder_2.", bare_probe},
};

typedef struct probe_context {
    const bl_checkpoint *c;
    const bl_part *part;
} probe_context;

static bool has_name(const void *payload, const char *name) {
    const probe_context *p = payload;
    int file;
    return bl_find_in_files(p->c, p->part->first_file, p->part->file_count, p->part->prefix, name, &file) !=
           NULL;
}

bool bl_find_vae(bl_part *out, const bl_checkpoint *c, int first_file, int file_count, const char *prefix,
                 const char *side) {
    bl_part p = {.first_file = first_file, .file_count = file_count};
    snprintf(p.prefix, sizeof p.prefix, "%s", prefix);
    probe_context probe = {.c = c, .part = &p};
    char name[64];
    snprintf(name, sizeof name, "%smid.block_1.conv1.weight", side);
    if (has_name(&probe, name)) {
        p.naming = BL_NAMES_LDM_VAE;
        do {
            snprintf(name, sizeof name, "decoder.up.%d.block.0.conv1.weight", p.vae_levels);
        } while (has_name(&probe, name) && ++p.vae_levels < BL_MAX_LEVELS);
    } else {
        snprintf(name, sizeof name, "%smid_block.resnets.0.conv1.weight", side);
        if (!has_name(&probe, name)) {
            return false;
        }
        p.naming = BL_NAMES_DIFFUSERS;
    }
    p.present = true;
    *out = p;
    return true;
}

/* Both halves below one of the prefixes. */
static void find_vae_halves(bl_part *encoder, bl_part *decoder, const bl_checkpoint *c, int file,
                            const char *const *prefixes, int count) {
    for (int i = 0; i < count; i++) {
        if (!encoder->present) {
            bl_find_vae(encoder, c, file, 1, prefixes[i], "encoder.");
        }
        if (!decoder->present) {
            bl_find_vae(decoder, c, file, 1, prefixes[i], "decoder.");
        }
    }
}

void bl_find_single_file_parts(bl_checkpoint *c, int file) {
    for (int i = 0; i < COUNT(layouts); i++) {
        const layout *l = &layouts[i];
        bl_part *p = &c->parts[l->module];
        int found;
        if (p->present || !bl_find_in_files(c, file, 1, l->prefix, l->probe, &found)) {
            continue;
        }
        *p = (bl_part){.present = true, .first_file = file, .file_count = 1, .naming = l->naming};
        snprintf(p->prefix, sizeof p->prefix, "%s", l->prefix);
        if (l->naming == BL_NAMES_LDM_UNET) {
            bl_ldm_number(&p->numbers, has_name, &(probe_context){.c = c, .part = p});
        }
    }
    static const char *const prefixes[] = {"first_stage_model.", "vae."};
    find_vae_halves(&c->parts[BL_VAE_ENCODER], &c->parts[BL_VAE_DECODER], c, file, prefixes, COUNT(prefixes));
}

int bl_take_vae(bl_checkpoint *c, int file, bl_error *err) {
    static const char *const prefixes[] = {"", "first_stage_model.", "vae."};
    bl_part halves[2] = {{.present = false}, {.present = false}};
    find_vae_halves(&halves[0], &halves[1], c, file, prefixes, COUNT(prefixes));
    if (!halves[0].present && !halves[1].present) {
        return bl_fail(err, BL_E_FORMAT, "%.400s holds no autoencoder (VAE) of a kind that is known",
                       bl_safetensors_path(c->files[file]));
    }
    for (int i = 0; i < 2; i++) {
        bl_part *p = &c->parts[i ? BL_VAE_DECODER : BL_VAE_ENCODER];
        if (halves[i].present) {
            json_decref(p->config); /* it described the other autoencoder */
            *p = halves[i];
        }
    }
    return 0;
}
