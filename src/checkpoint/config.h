/* The configuration files of a diffusers folder. Every key that diffusers or transformers know is known here
 * too: it is computed with, or makes no difference, or is refused by name where its value is one that would
 * make another picture. Keys that nobody knows are passed over, as diffusers does, and told. */
#ifndef BALLAST_CHECKPOINT_CONFIG_H
#define BALLAST_CHECKPOINT_CONFIG_H

#include "checkpoint/architecture.h"

#include <jansson.h>

/* What is run of one key. */
typedef struct bl_config_rule {
    const char *key;
    /* NULL: any value, as it makes no difference, or is looked at elsewhere. BL_POSITIVE, BL_NUMBER,
     * BL_ONE_WHOLE: a number alone. BL_WHOLE: numbers. Else the values that are run, as a JSON array. Of
     * these two a value that is an array is fine where all of its elements are. */
    const char *runs;
} bl_config_rule;

#define BL_WHOLE "whole numbers from 1 up"
#define BL_ONE_WHOLE "one whole number from 1 up"
#define BL_POSITIVE "a number above 0"
#define BL_NUMBER "a number"

/* Rules of the kinds of files in a family's folder; each list ends with a NULL key. */
typedef struct bl_config_rules {
    const bl_config_rule *index, *scheduler, *denoiser, *text, *vae;
    const bl_config_rule *tokenizer; /* NULL: nothing reads its words */
    const bl_config_rule *text_2;    /* of the second text encoder; NULL: those of `text` */
    const bl_config_rule *text_3;    /* of the third; NULL: it has none */
    const bl_config_rule *rope;      /* of the text encoder's "rope_parameters"; NULL: it has none */
} bl_config_rules;

extern const bl_config_rules bl_unet_folder_rules, /* of SD 1.x, SD 2.x and SDXL */
    bl_zimage_folder_rules, bl_flux1_folder_rules, bl_flux2_folder_rules, bl_flux2_dev_folder_rules,
    bl_sd3_folder_rules;
extern const bl_config_rule bl_clip_text_rules[];

/* Holds a configuration against rules. `path`: of its file, for messages. Keys without a rule, but for those
 * that are null, false or empty and those that begin with "_", are added to the text `unknown`. Errors:
 * BL_E_UNSUPPORTED with path, key and value; BL_E_MEMORY. */
int bl_config_check(const json_t *config, const bl_config_rule *rules, const char *path,
                    char unknown[BL_UNKNOWN_BYTES], bl_error *err);

/* The refusal of a value, which may be NULL: missing. `why`: what follows behind a semicolon. */
int bl_config_refuse(const char *path, const char *key, const json_t *value, const char *why, bl_error *err);

#endif
