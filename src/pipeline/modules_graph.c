/* The network of a module in a shape. */
#include "model/autoencoder_kl.h"
#include "model/clip_text.h"
#include "model/flux1.h"
#include "model/flux2.h"
#include "model/qwen3.h"
#include "model/sd3.h"
#include "model/t5.h"
#include "model/taesd.h"
#include "model/unet.h"
#include "model/zimage.h"
#include "pipeline/modules_parts.h"
#include "text/prompt.h"

static int text_graph(bl_graph **out, const bl_modules *m, bl_module module, bl_shape_key key,
                      const char *const *taps, bl_error *err) {
    const bool words =
        m->o.arch->family->reader != BL_READER_CLIP && module == bl_family_words_module(m->o.arch->family);
    if (words && m->o.arch->family->reader == BL_READER_T5) {
        return bl_t5_graph(out, &m->o.arch->t5, module, key.batch, key.tokens, key.second,
                           bl_modules_dtype(m, module), taps, err);
    }
    if (words) {
        return bl_qwen3_graph(out, &m->o.arch->qwen3, key.batch, key.tokens, key.second,
                              m->o.arch->qwen3.outputs, bl_modules_dtype(m, module), taps, err);
    }
    const int encoder = module == BL_TEXT_ENCODER_2;
    const bl_text_architecture *t = &m->o.arch->text[encoder];
    const bool pooled = encoder == m->o.arch->family->pooled || m->o.arch->family->words.beside;
    bl_clip_text_outputs want = {
        .context = true, .clip_skip = key.clip_skip, .own_context = key.own_context, .text_embeds = pooled};
    if (m->o.arch->family->reader == BL_READER_T5 &&
        !m->o.arch->family->words.beside) { /* the vector alone */
        want = (bl_clip_text_outputs){.pooled = true};
    } else if (!t->projection) { /* what is read of it is read as it is */
        want.pooled = want.text_embeds;
        want.text_embeds = false;
    }
    return bl_clip_text_graph(out, module, t, key.batch, BL_CHUNK_TOKENS, want, bl_modules_dtype(m, module),
                              taps, err);
}

static int transformer_graph(bl_graph **out, const bl_modules *m, bl_shape_key key, const char *const *taps,
                             bl_error *err) {
    const bl_architecture *arch = m->o.arch;
    const bl_dtype dtype = bl_modules_dtype(m, BL_TRANSFORMER);
    switch (arch->family->net) {
    case BL_NET_ZIMAGE: {
        bl_zimage_shape shape = {.batch = key.batch,
                                 .height = key.height,
                                 .width = key.width,
                                 .caption = key.tokens,
                                 .own_lengths = key.own_lengths};
        return bl_zimage_graph(out, &arch->zimage, &shape, dtype, taps, err);
    }
    case BL_NET_FLUX1: {
        bl_flux1_shape shape = {.batch = key.batch,
                                .height = key.height,
                                .width = key.width,
                                .tokens = key.tokens,
                                .form = key.form,
                                .times = key.times};
        return bl_flux1_graph(out, &arch->flux1, &shape, dtype, taps, err);
    }
    case BL_NET_FLUX2: {
        bl_flux2_shape shape = {.batch = key.batch,
                                .height = key.height,
                                .width = key.width,
                                .tokens = key.tokens,
                                .form = key.form,
                                .times = key.times};
        return bl_flux2_graph(out, &arch->flux2, &shape, dtype, taps, err);
    }
    case BL_NET_SD3: {
        bl_sd3_shape shape = {.batch = key.batch,
                              .height = key.height,
                              .width = key.width,
                              .tokens = key.tokens,
                              .form = key.form,
                              .times = key.times};
        return bl_sd3_graph(out, &arch->sd3, &shape, dtype, taps, err);
    }
    default:
        return bl_fail(err, BL_E_INTERNAL, "a family whose transformer has no graph");
    }
}

int bl_modules_graph(bl_graph **out, const bl_modules *m, bl_module module, bl_shape_key key,
                     const char *const *taps, bl_error *err) {
    const bl_architecture *arch = m->o.arch;
    switch (module) {
    case BL_UNET: {
        bl_unet_shape shape = {.batch = key.batch,
                               .height = key.height,
                               .width = key.width,
                               .tokens = key.tokens,
                               .own_lengths = key.own_lengths,
                               .late_crop = key.late_crop,
                               .form = key.form};
        return bl_unet_graph(out, &arch->unet, shape, bl_modules_dtype(m, module), taps, err);
    }
    case BL_TRANSFORMER:
        return transformer_graph(out, m, key, taps, err);
    case BL_VAE_DECODER:
        return bl_vae_decoder_graph(out, &arch->vae, (bl_vae_shape){key.batch, key.height, key.width},
                                    bl_modules_dtype(m, module), taps, err);
    case BL_VAE_ENCODER:
        return bl_vae_encoder_graph(out, &arch->vae, (bl_vae_shape){key.batch, key.height, key.width},
                                    bl_modules_dtype(m, module), taps, err);
    case BL_TAESD:
        return bl_taesd_graph(out, &arch->taesd, (bl_taesd_shape){key.batch, key.height, key.width, key.kept},
                              bl_modules_dtype(m, module), taps, err);
    default:
        return text_graph(out, m, module, key, taps, err);
    }
}
