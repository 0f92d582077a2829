/* Parts of bl_architecture_detect; internal to the room. */
#ifndef BALLAST_CHECKPOINT_DETECT_H
#define BALLAST_CHECKPOINT_DETECT_H

#include "checkpoint/architecture.h"

#include <jansson.h>

/* For messages. */
#define BL_FAMILIES_RUN "SD 1.x, SD 2.x, SDXL base, Z-Image, FLUX.1, FLUX.2 klein and SD3.5"

/* Writes the error for a checkpoint that holds no UNet, and returns its code. */
int bl_refuse_without_unet(const bl_checkpoint *c, bl_error *err);

/* Refuses UNets that are recognised but not run; 0 for those that may be. */
int bl_refuse_unet(const bl_checkpoint *c, const bl_unet_architecture *u, bl_error *err);

/* By what makes it one: the conditions, and the text encoder that the context comes from. *u needs adm_dim
 * and context_dim. */
const bl_family *bl_detect_family(const bl_checkpoint *c, const bl_unet_architecture *u);

/* The whole architecture of a family without a UNet. */
int bl_detect_transformer(bl_architecture *out, const bl_checkpoint *c, bl_error *err);

/* Its text encoders; *a needs the family, context_dim and what the transformer reads of a vector. */
int bl_detect_reader(bl_architecture *a, const bl_checkpoint *c, bl_error *err);

int bl_detect_unet(bl_unet_architecture *out, const bl_checkpoint *c, bl_error *err);
int bl_detect_text(bl_text_architecture *out, const bl_checkpoint *c, bl_module module,
                   const bl_family *family, bl_error *err);
/* Whether the decoder's latents have the family's channels: where they do not it is another model's, which is
 * said before its configuration is found wrong. BL_E_UNSUPPORTED. */
int bl_check_vae_channels(const bl_checkpoint *c, const bl_family *family, bl_error *err);

/* Checks the words that encoder 0 or 1 has beside CLIP's vocabulary, and takes its pad token (tokens.c). *t
 * needs vocab and the family's pad_token. */
int bl_detect_tokens(bl_text_architecture *t, const bl_checkpoint *c, int encoder, bl_error *err);
int bl_detect_vae(bl_vae_architecture *out, const bl_checkpoint *c, const bl_family *family, bl_error *err);

/* Holds all configurations against their rules, before anything else is looked at, and against the weights
 * when those are known (config_shape.c). */
int bl_check_configs(char unknown[BL_UNKNOWN_BYTES], const bl_checkpoint *c, const bl_family *family,
                     bl_error *err);
int bl_agree_with_configs(const bl_architecture *a, const bl_checkpoint *c, bl_error *err);
/* A number of a module's configuration that must be the weights', where it is there. */
int bl_agree_number(const bl_checkpoint *c, bl_module module, const char *key, int weights, bl_error *err);

/* Fills in prediction, what it comes from, zero_snr and spacing; out->family must be there. */
int bl_detect_prediction(bl_architecture *out, const bl_checkpoint *c, bl_error *err);

/* Dimension `axis` of a tensor that must be there with `rank` or, for one-sized ends, more dimensions; 1 to
 * 262144. The name may use printf's format. */
int bl_dimension(int *out, const bl_checkpoint *c, bl_module module, int axis, bl_error *err,
                 const char *format, ...) __attribute__((format(printf, 6, 7)));

#define BL_MOST_LAYERS 99 /* of any network */

/* How many layers are numbered from 0 behind `before`: one more than the last of which a tensor is there that
 * is called so behind the number; at most `limit`. */
int bl_count_numbered(const bl_checkpoint *c, bl_module module, const char *before,
                      const char *const behind[3], int limit);

/* A whole number of the module's configuration, or `otherwise`. */
int bl_config_whole(const bl_checkpoint *c, bl_module module, const char *key, int otherwise);

/* A number above 0 of a configuration, which may be NULL, or `otherwise`. */
double bl_config_number(const json_t *config, const char *key, double otherwise);

/* Is there such a tensor? */
bool bl_has_tensor(const bl_checkpoint *c, bl_module module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
