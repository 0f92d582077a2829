/* Models and files that are known but not run: what they are, in one sentence. */
#include "checkpoint/detect.h"
#include "checkpoint/internal.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

typedef struct known {
    const char *start; /* a tensor's name starts with this */
    const char *what;
} known;

/* Looked for in this order, with and without "model.diffusion_model." before them. */
static const known others[] = {
    {"lora_unet_", "a LoRA, not a whole model"},
    {"lora_te", "a LoRA, not a whole model"},
    {"unet.down_blocks.", "a LoRA, not a whole model"},
    {"base_model.model.", "a LoRA, not a whole model"},
    {"control_model.", "a ControlNet, not a whole model"},
    {"controlnet_", "a ControlNet, not a whole model"},
    {"emb_params", "a textual inversion, not a model"},
    {"string_to_param", "a textual inversion, not a model"},
    {"clip_g", "a textual inversion, not a model"},
    {"distilled_guidance_layer.", "Chroma, a relative of FLUX.1"},
    {"double_blocks.0.", "a relative of FLUX.1"},
    {"single_transformer_blocks.0.", "a relative of FLUX.1"},
    {"double_layers.0.", "AuraFlow"},
    {"transformer_blocks.0.", "a diffusion transformer"},
    {"cond_stage_model.", "a text encoder without a unet"},
    {"text_model.", "a text encoder without a unet"},
    {"first_stage_model.", "an autoencoder (VAE) without a unet; use it with --vae beside a model"},
    {"decoder.mid", "an autoencoder (VAE) without a unet; use it with --vae beside a model"},
};

/* "3 x \"model\", 12 x \"encoder\"": how often each first word occurs; names are sorted, so equal ones are
 * neighbours. */
static void first_words(char *text, size_t room, const bl_safetensors *file) {
    int count, kinds = 0;
    const bl_file_tensor *t = bl_safetensors_tensors(file, &count);
    size_t n = 0;
    text[0] = '\0';
    for (int i = 0; i < count && kinds < 6 && n < room; kinds++) {
        int length = (int)strcspn(t[i].name, "."), same = i;
        while (same < count && (int)strcspn(t[same].name, ".") == length &&
               memcmp(t[same].name, t[i].name, (size_t)length) == 0) {
            same++;
        }
        n += (size_t)snprintf(text + n, room - n, "%s%d x \"%.*s\"", i ? ", " : "", same - i,
                              length > 48 ? 48 : length, t[i].name);
        i = same;
    }
}

int bl_refuse_without_unet(const bl_checkpoint *c, bl_error *err) {
    if (c->folder) {
        const char *name = json_string_value(json_object_get(c->index, "_class_name"));
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "%.400s is a %.80s without weights in unet/ or transformer/: Ballast "
                       "runs " BL_FAMILIES_RUN,
                       c->path, name ? name : "diffusers folder");
    }
    const bl_safetensors *f = c->files[0];
    const char *own_name = bl_safetensors_metadata(f, "modelspec.architecture");
    for (int i = 0; i < COUNT(others); i++) {
        char deeper[96];
        snprintf(deeper, sizeof deeper, "model.diffusion_model.%s", others[i].start);
        if (bl_safetensors_find_prefix(f, others[i].start) || bl_safetensors_find_prefix(f, deeper)) {
            return bl_fail(err, BL_E_UNSUPPORTED, "%.400s is %s: Ballast runs " BL_FAMILIES_RUN, c->path,
                           others[i].what);
        }
    }
    char words[400];
    int count;
    bl_safetensors_tensors(f, &count);
    first_words(words, sizeof words, f);
    return bl_fail(err, BL_E_UNSUPPORTED,
                   "%.300s: unknown architecture%s%.60s%s; saw %d tensors (%s) and no denoiser of SD 1.x, SD "
                   "2.x, SDXL, Z-Image, FLUX.1 or FLUX.2",
                   c->path, own_name ? " \"" : "", own_name ? own_name : "", own_name ? "\"" : "", count,
                   words);
}

static int refuse(const bl_checkpoint *c, const char *what, bl_error *err) {
    return bl_fail(err, BL_E_UNSUPPORTED, "%.400s is %s; Ballast does not run these", c->path, what);
}

int bl_refuse_unet(const bl_checkpoint *c, const bl_unet_architecture *u, bl_error *err) {
    if (u->in_channels == 9) {
        return refuse(c, "an inpainting model (its unet takes 9 channels: latent, mask and masked picture)",
                      err);
    }
    if (u->in_channels == 8) {
        return refuse(c, "a model that edits pictures or doubles their size (its unet takes 8 channels)",
                      err);
    }
    if (u->in_channels == 5) {
        return refuse(c, "a depth-guided model (its unet takes 5 channels)", err);
    }
    bool first = bl_checkpoint_has_module(c, BL_TEXT_ENCODER),
         second = bl_checkpoint_has_module(c, BL_TEXT_ENCODER_2);
    bool own =
        !c->modules[BL_TEXT_ENCODER].given && !c->modules[BL_TEXT_ENCODER_2].given && (first || second);
    /* One encoder of OpenCLIP's beside conditions: the refiner has pooled text and five sizes among them,
     * unCLIP models a picture's embedding. */
    bool alone = u->adm_dim && first && !second && c->modules[BL_TEXT_ENCODER].naming == BL_NAMES_OPEN_CLIP;
    bool refines = u->adm_dim == u->context_dim + (BL_SIZE_VALUES - 1) * BL_SIZE_VALUE_DIM;
    if ((refines && (alone || !own)) || (own && u->adm_dim && second && !first)) {
        return refuse(c, "SDXL's refiner (one text encoder, and an aesthetic score among its conditions)",
                      err);
    }
    if ((own && alone) || bl_has_tensor(c, BL_UNET, "class_embedding.linear_1.weight")) {
        return refuse(c, "an unCLIP or upscaling model (its unet is conditioned on a picture's embedding)",
                      err);
    }
    if (bl_has_tensor(c, BL_UNET, "time_embedding.cond_proj.weight")) {
        return refuse(c, "a distilled model whose unet takes the guidance scale as an input (LCM)", err);
    }
    if (bl_find_marker(c, "edm_mean") || bl_safetensors_find_prefix(c->files[0], "edm_vpred.")) {
        return refuse(c, "a model of the EDM kind (Playground v2.5, CosXL), with a noise schedule of its own",
                      err);
    }
    return 0;
}
