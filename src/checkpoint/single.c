/* Which modules one file holds, told by names alone. */
#include "checkpoint/internal.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

/* A module is there if a name starts with prefix + probe. The first row that fits a module wins. */
typedef struct layout {
    bl_module module;
    bl_naming naming;
    const char *prefix, *probe;
} layout;

static const layout layouts[] = {
    {BL_UNET, BL_NAMES_LDM_UNET, "model.diffusion_model.", "input_blocks."},
    {BL_UNET, BL_NAMES_LDM_UNET, "", "input_blocks."},
    {BL_UNET, BL_NAMES_DIFFUSERS, "unet.", "conv_in."},
    {BL_UNET, BL_NAMES_DIFFUSERS, "", "up_blocks."},
    {BL_TRANSFORMER, BL_NAMES_DIFFUSERS, "", "all_x_embedder."},
    {BL_TRANSFORMER, BL_NAMES_ZIMAGE, "model.diffusion_model.", "cap_pad_token"},
    {BL_TRANSFORMER, BL_NAMES_ZIMAGE, "", "cap_pad_token"},
    {BL_TRANSFORMER, BL_NAMES_DIFFUSERS, "", "single_transformer_blocks.0.proj_mlp."},
    {BL_TRANSFORMER, BL_NAMES_FLUX1, "model.diffusion_model.", "double_blocks.0.img_mod.lin."},
    {BL_TRANSFORMER, BL_NAMES_FLUX1, "", "double_blocks.0.img_mod.lin."},
    {BL_TRANSFORMER, BL_NAMES_SD3, "model.diffusion_model.", "joint_blocks."},
    {BL_TRANSFORMER, BL_NAMES_SD3, "", "joint_blocks."},
    {BL_TRANSFORMER, BL_NAMES_DIFFUSERS, "", "double_stream_modulation_img.linear."},
    {BL_TRANSFORMER, BL_NAMES_FLUX2, "model.diffusion_model.", "double_stream_modulation_img.lin."},
    {BL_TRANSFORMER, BL_NAMES_FLUX2, "", "double_stream_modulation_img.lin."},
    {BL_TEXT_ENCODER, BL_NAMES_DIFFUSERS, "text_encoders.qwen3_4b.transformer.", "model.layers."},
    {BL_TEXT_ENCODER, BL_NAMES_DIFFUSERS, "text_encoders.qwen3_8b.transformer.", "model.layers."},
    {BL_TEXT_ENCODER, BL_NAMES_DIFFUSERS, "text_encoders.clip_l.transformer.", "text_model."},
    {BL_TEXT_ENCODER_2, BL_NAMES_DIFFUSERS, "text_encoders.clip_g.transformer.", "text_model."},
    {BL_TEXT_ENCODER_2, BL_NAMES_DIFFUSERS, "text_encoders.t5xxl.transformer.", "encoder.block."},
    {BL_TEXT_ENCODER_3, BL_NAMES_DIFFUSERS, "text_encoders.t5xxl.transformer.", "encoder.block."},
    {BL_TEXT_ENCODER, BL_NAMES_DIFFUSERS, "cond_stage_model.transformer.", "text_model."},
    {BL_TEXT_ENCODER, BL_NAMES_CLIP_BARE, "cond_stage_model.transformer.", "encoder."},
    {BL_TEXT_ENCODER, BL_NAMES_OPEN_CLIP, "cond_stage_model.model.", "transformer.resblocks."},
    {BL_TEXT_ENCODER, BL_NAMES_DIFFUSERS, "conditioner.embedders.0.transformer.", "text_model."},
    {BL_TEXT_ENCODER, BL_NAMES_CLIP_BARE, "conditioner.embedders.0.transformer.", "encoder."},
    {BL_TEXT_ENCODER, BL_NAMES_OPEN_CLIP, "conditioner.embedders.0.model.", "transformer.resblocks."},
    {BL_TEXT_ENCODER, BL_NAMES_DIFFUSERS, "text_encoder.", "text_model."},
    {BL_TEXT_ENCODER, BL_NAMES_CLIP_BARE, "text_encoder.", "encoder."},
    {BL_TEXT_ENCODER_2, BL_NAMES_OPEN_CLIP, "conditioner.embedders.1.model.", "transformer.resblocks."},
    {BL_TEXT_ENCODER_2, BL_NAMES_DIFFUSERS, "text_encoder_2.", "text_model."},
    {BL_TEXT_ENCODER_2, BL_NAMES_CLIP_BARE, "text_encoder_2.", "encoder."},
};

typedef struct probe_context {
    const bl_checkpoint *c;
    const bl_module_files *files;
} probe_context;

static bool has_start(const void *payload, const char *start) {
    const probe_context *p = payload;
    char full[BL_PREFIX_BYTES + BL_STORED_BYTES];
    snprintf(full, sizeof full, "%s%s", p->files->prefix, start);
    for (int i = 0; i < p->files->file_count; i++) {
        if (bl_safetensors_find_prefix(p->c->files[p->files->first_file + i], full)) {
            return true;
        }
    }
    return false;
}

bool bl_find_vae(bl_module_files *out, const bl_checkpoint *c, int first_file, int file_count,
                 const char *prefix, const char *side) {
    bl_module_files p = {.first_file = first_file, .file_count = file_count};
    snprintf(p.prefix, sizeof p.prefix, "%s", prefix);
    probe_context probe = {.c = c, .files = &p};
    char start[64];
    snprintf(start, sizeof start, "%smid.", side);
    if (has_start(&probe, start)) {
        p.naming = BL_NAMES_LDM_VAE;
        do {
            snprintf(start, sizeof start, "decoder.up.%d.", p.depth);
        } while (has_start(&probe, start) && ++p.depth < BL_MAX_LEVELS);
    } else {
        snprintf(start, sizeof start, "%smid_block.", side);
        if (!has_start(&probe, start)) {
            return false;
        }
        p.naming = BL_NAMES_DIFFUSERS;
    }
    p.present = true;
    *out = p;
    return true;
}

/* Both halves below the wrapper and one of the prefixes. Has it any? */
static bool find_vae_halves(bl_module_files *encoder, bl_module_files *decoder, const bl_checkpoint *c,
                            int file, const char *wrapper, const char *const *prefixes, int count) {
    char prefix[BL_PREFIX_BYTES];
    for (int i = 0; i < count; i++) {
        snprintf(prefix, sizeof prefix, "%s%s", wrapper, prefixes[i]);
        if (!encoder->present) {
            bl_find_vae(encoder, c, file, 1, prefix, "encoder.");
        }
        if (!decoder->present) {
            bl_find_vae(decoder, c, file, 1, prefix, "decoder.");
        }
    }
    return encoder->present || decoder->present;
}

/* Has it any module below this wrapper? */
static bool find_modules(bl_checkpoint *c, int file, const char *wrapper) {
    bool found = false;
    for (int i = 0; i < COUNT(layouts); i++) {
        const layout *l = &layouts[i];
        bl_module_files p = {.present = true, .first_file = file, .file_count = 1, .naming = l->naming};
        snprintf(p.prefix, sizeof p.prefix, "%s%s", wrapper, l->prefix);
        const probe_context probe = {.c = c, .files = &p};
        /* T5 is SD3's third, and FLUX.1's second */
        const bool sd3 = c->modules[BL_TRANSFORMER].naming == BL_NAMES_SD3,
                   t5 = !strcmp(l->probe, "encoder.block.");
        if ((t5 && sd3 != (l->module == BL_TEXT_ENCODER_3)) || c->modules[l->module].present ||
            !has_start(&probe, l->probe)) {
            continue;
        }
        for (char start[32] = "joint_blocks.0."; l->naming == BL_NAMES_SD3 && has_start(&probe, start);) {
            snprintf(start, sizeof start, "joint_blocks.%d.", ++p.depth);
        }
        if (l->naming == BL_NAMES_LDM_UNET) {
            bl_ldm_number(&p.numbers, has_start, &probe);
        }
        c->modules[l->module] = p;
        found = true;
    }
    static const char *const prefixes[] = {"first_stage_model.", "vae."};
    return find_vae_halves(&c->modules[BL_VAE_ENCODER], &c->modules[BL_VAE_DECODER], c, file, wrapper,
                           prefixes, COUNT(prefixes)) ||
           found;
}

void bl_find_single_file_modules(bl_checkpoint *c, int file) {
    char wrapper[BL_WRAPPER_BYTES] = "";
    bool found;
    do {
        found = find_modules(c, file, wrapper);
    } while (!found && bl_next_wrapper(wrapper, c->files[file]));
    snprintf(c->wrapper, sizeof c->wrapper, "%s", found ? wrapper : "");
}

int bl_take_vae(bl_checkpoint *c, int file, bl_error *err) {
    static const char *const prefixes[] = {"", "first_stage_model.", "vae."};
    bl_module_files halves[2] = {{.present = false}, {.present = false}};
    json_t *config;
    char wrapper[BL_WRAPPER_BYTES] = "";
    while (!find_vae_halves(&halves[0], &halves[1], c, file, wrapper, prefixes, COUNT(prefixes)) &&
           bl_next_wrapper(wrapper, c->files[file])) {
    }
    if (!halves[0].present && !halves[1].present) {
        return bl_fail(err, BL_E_FORMAT, "%.400s holds no autoencoder (VAE) of a kind that is known",
                       bl_safetensors_path(c->files[file]));
    }
    int rc = bl_config_beside(&config, bl_safetensors_path(c->files[file]), err);
    if (rc) {
        return rc;
    }
    for (int i = 0; i < 2; i++) {
        bl_module_files *p = &c->modules[i ? BL_VAE_DECODER : BL_VAE_ENCODER];
        if (halves[i].present) {
            json_decref(p->config); /* it described the other autoencoder */
            *p = halves[i];
            p->config = json_incref(config);
        }
    }
    json_decref(config);
    return 0;
}
