/* The bodies of /sdapi/v1, field by field. */
#include "server/api/sdapi.h"

#define AT(member) offsetof(struct sd_body, member)
#define SETTING_AT(member) offsetof(struct sd_settings, member)

/* Shared by text and picture. */
#define COMMON(steps_row, cfg_row)                                                                           \
    {"prompt", FIELD_TEXT, "\"\"", 0, MOST_PROMPT, AT(prompt), "what to draw, in A1111's syntax"},           \
        {"negative_prompt", FIELD_TEXT, "\"\"", 0, MOST_PROMPT, AT(negative_prompt), "what to avoid"},       \
        {"styles",                                                                                           \
         FIELD_LIST,                                                                                         \
         "[]",                                                                                               \
         0,                                                                                                  \
         0,                                                                                                  \
         AT(styles),                                                                                         \
         "names of styles, of which there are none here: done without"},                                     \
        ROW_SEED(""),                                                                                        \
        {"subseed", FIELD_SEED, "-1", 0, 0, AT(subseed), "the variation's seed; -1 draws one"},              \
        {"subseed_strength", FIELD_NUMBER, "0", 0, 1, AT(subseed_strength), "how far to lean to it"},        \
        {"seed_resize_from_h",                                                                               \
         FIELD_REFUSED,                                                                                      \
         "-1",                                                                                               \
         0,                                                                                                  \
         0,                                                                                                  \
         0,                                                                                                  \
         "noise of another size cannot be made here; leave it out"},                                         \
        {"seed_resize_from_w",                                                                               \
         FIELD_REFUSED,                                                                                      \
         "-1",                                                                                               \
         0,                                                                                                  \
         0,                                                                                                  \
         0,                                                                                                  \
         "noise of another size cannot be made here; leave it out"},                                         \
        ROW_SAMPLER(""), {"sampler_index",                                                                   \
                          FIELD_TEXT,                                                                        \
                          "\"Euler\"",                                                                       \
                          0,                                                                                 \
                          200,                                                                               \
                          AT(sampler_index),                                                                 \
                          "the older name of sampler_name"},                                                 \
        ROW_SCHEDULER(""),                                                                                   \
        {"batch_size", FIELD_INT, "1", 1, 64, AT(batch_size), "pictures that are computed together"},        \
        {"n_iter", FIELD_INT, "1", 1, 1000, AT(n_iter), "batches, one after the other"}, steps_row, cfg_row, \
        {"width", FIELD_INT, "null", 8, 65528, AT(width), "pixels; null: the model's own size"},             \
        {"height", FIELD_INT, "null", 8, 65528, AT(height), "pixels; null: the model's own size"},           \
        {"restore_faces", FIELD_WARNED, "false", 0, 0, 0, "no face restorer is here: done without"},         \
        {"tiling", FIELD_REFUSED, "false", 0, 0, 0, "pictures that tile cannot be made yet; send false"},    \
        {"do_not_save_samples", FIELD_PASSED, "false", 0, 0, 0, "every picture is kept in the history"},     \
        {"do_not_save_grid", FIELD_PASSED, "false", 0, 0, 0, "no grids are made"},                           \
        {"eta",                                                                                              \
         FIELD_NUMBER,                                                                                       \
         "null",                                                                                             \
         0,                                                                                                  \
         1,                                                                                                  \
         AT(eta),                                                                                            \
         "noise of DDIM and the ancestral samplers; null: their own"},                                       \
        {"denoising_strength", FIELD_NUMBER, "0.75", 0, 1, AT(denoising_strength), "how much is redone"},    \
        {"s_min_uncond",                                                                                     \
         FIELD_REFUSED,                                                                                      \
         "0",                                                                                                \
         0,                                                                                                  \
         0,                                                                                                  \
         0,                                                                                                  \
         "leaving guidance out of steps is not done here; send 0"},                                          \
        {"s_churn", FIELD_REFUSED, "0", 0, 0, 0, "churn is not done here; send 0"},                          \
        {"s_tmax", FIELD_PASSED, "null", 0, 0, 0, "only counts with s_churn"},                               \
        {"s_tmin", FIELD_PASSED, "null", 0, 0, 0, "only counts with s_churn"},                               \
        {"s_noise", FIELD_REFUSED, "1", 0, 0, 0, "noise of another strength is not done here; send 1"},      \
        {"override_settings",                                                                                \
         FIELD_OBJECT,                                                                                       \
         "null",                                                                                             \
         0,                                                                                                  \
         0,                                                                                                  \
         AT(override_settings),                                                                              \
         "settings for this request alone, of those that POST options takes"},                               \
        {"override_settings_restore_afterwards",                                                             \
         FIELD_SWITCH,                                                                                       \
         "true",                                                                                             \
         0,                                                                                                  \
         0,                                                                                                  \
         AT(restore_afterwards),                                                                             \
         "false: sd_model_checkpoint stays the current model"},                                              \
        {"refiner_checkpoint", FIELD_REFUSED, "null", 0, 0, 0, "a refiner is not run; leave it out"},        \
        {"refiner_switch_at", FIELD_PASSED, "null", 0, 0, 0, "only counts with refiner_checkpoint"},         \
        {"disable_extra_networks", FIELD_PASSED, "false", 0, 0, 0, "none are read"},                         \
        {"comments", FIELD_PASSED, "null", 0, 0, 0, "has no meaning here"},                                  \
        {"script_name", FIELD_REFUSED, "null", 0, 0, 0, "there are no scripts here; leave it out"},          \
        {"script_args", FIELD_PASSED, "[]", 0, 0, 0, "only counts with script_name"},                        \
        {"send_images", FIELD_SWITCH, "true", 0, 0, AT(send_images), "false: the answer has no pictures"},   \
        {"save_images", FIELD_PASSED, "false", 0, 0, 0, "every picture is kept in the history"},             \
        {"alwayson_scripts",                                                                                 \
         FIELD_OBJECT,                                                                                       \
         "null",                                                                                             \
         0,                                                                                                  \
         0,                                                                                                  \
         AT(alwayson_scripts),                                                                               \
         "scripts that are off may stand here"},                                                             \
        {"infotext", FIELD_WARNED, "null", 0, 0, 0, "settings are not read from it: done without"},          \
        {"model", FIELD_TEXT, "null", 0, 1000, AT(model), "ours: the model, as sd_model_checkpoint"},        \
        {"distilled_cfg_scale",                                                                              \
         FIELD_NUMBER,                                                                                       \
         "null",                                                                                             \
         0,                                                                                                  \
         100,                                                                                                \
         AT(guidance),                                                                                       \
         "Forge's: what FLUX.1 dev is told of guidance; null: the model's own"},                             \
        {"cfg_rescale", FIELD_NUMBER, "0", 0, 1, AT(cfg_rescale), "ours: pulls back guidance's contrast"},   \
        {"tiled_decode", FIELD_TEXT, "null", 0, 8, AT(tiled_decode), "ours: off, auto or on"},               \
        {"decode", FIELD_TEXT, "null", 0, 8, AT(decode), "ours: vae, or taesd for a draft"}, {               \
        "priority", FIELD_INT, "0", -100, 100, AT(priority), "ours: larger goes first"                       \
    }

#define OF_TEXT                                                                                                \
    {"enable_hr", FIELD_SWITCH, "false", 0, 0, AT(enable_hr), "a second pass at a larger size"},               \
        {"hr_scale", FIELD_NUMBER, "2.0", 0, 8, AT(hr_scale), "how much larger; counts with enable_hr"},       \
        {"hr_upscaler", FIELD_TEXT, "null", 0, 200, AT(hr_upscaler), "what stands between the passes"},        \
        {"hr_second_pass_steps", FIELD_INT, "0", 0, 1000, AT(hr_steps), "0: as steps"},                        \
        {"hr_resize_x", FIELD_INT, "0", 0, 65528, AT(hr_resize_x), "the larger width, instead of hr_scale"},   \
        {"hr_resize_y", FIELD_INT, "0", 0, 65528, AT(hr_resize_y), "the larger height, instead of hr_scale"},  \
        {"hr_checkpoint_name", FIELD_TEXT, "null", 0, 1000, AT(hr_checkpoint), "another model is refused"},    \
        {"hr_sampler_name", FIELD_TEXT, "null", 0, 200, AT(hr_sampler), "another sampler is refused"},         \
        {"hr_scheduler", FIELD_TEXT, "null", 0, 200, AT(hr_scheduler), "another schedule is refused"},         \
        {"hr_prompt", FIELD_TEXT, "\"\"", 0, MOST_PROMPT, AT(hr_prompt), "another prompt is refused"},         \
        {"hr_negative_prompt",       FIELD_TEXT, "\"\"", 0, MOST_PROMPT, AT(hr_negative),                      \
         "another prompt is refused"},                                                                         \
        {"firstphase_width", FIELD_REFUSED, "0", 0, 0, 0, "give width and hr_scale instead"},                  \
        {"firstphase_height", FIELD_REFUSED, "0", 0, 0, 0, "give height and hr_scale instead"},                \
        {"init_images", FIELD_LIST, "null", 0, 0, AT(init_images), "ours: a picture makes it image to image"}, \
    {                                                                                                          \
        "mask", FIELD_REFUSED, "null", 0, 0, 0, "inpainting is not done yet; leave the mask out"               \
    }

#define OF_PICTURE                                                                                         \
    {"init_images",                                                                                        \
     FIELD_LIST,                                                                                           \
     "null",                                                                                               \
     0,                                                                                                    \
     0,                                                                                                    \
     AT(init_images),                                                                                      \
     "the picture to start from, PNG, JPEG or WebP in base64; several are a batch"},                       \
        {"resize_mode",                                                                                    \
         FIELD_INT,                                                                                        \
         "0",                                                                                              \
         0,                                                                                                \
         3,                                                                                                \
         AT(resize_mode),                                                                                  \
         "0 stretches the start picture, 1 crops it, 2 fills up with its edges"},                          \
        {"image_cfg_scale", FIELD_PASSED, "null", 0, 0, 0, "only counts for models that edit"},            \
        {"mask", FIELD_REFUSED, "null", 0, 0, 0, "inpainting is not done yet; leave the mask out"},        \
        {"mask_blur", FIELD_PASSED, "null", 0, 0, 0, "only counts with mask"},                             \
        {"mask_blur_x", FIELD_PASSED, "4", 0, 0, 0, "only counts with mask"},                              \
        {"mask_blur_y", FIELD_PASSED, "4", 0, 0, 0, "only counts with mask"},                              \
        {"mask_round", FIELD_PASSED, "true", 0, 0, 0, "only counts with mask"},                            \
        {"latent_mask", FIELD_REFUSED, "null", 0, 0, 0, "inpainting is not done yet; leave the mask out"}, \
        {"inpainting_fill", FIELD_PASSED, "0", 0, 0, 0, "only counts with mask"},                          \
        {"inpaint_full_res", FIELD_PASSED, "true", 0, 0, 0, "only counts with mask"},                      \
        {"inpaint_full_res_padding", FIELD_PASSED, "0", 0, 0, 0, "only counts with mask"},                 \
        {"inpainting_mask_invert", FIELD_PASSED, "0", 0, 0, 0, "only counts with mask"},                   \
        {"initial_noise_multiplier",                                                                       \
         FIELD_REFUSED,                                                                                    \
         "1",                                                                                              \
         0,                                                                                                \
         0,                                                                                                \
         0,                                                                                                \
         "noise of another strength is not done here; send 1"},                                            \
    {                                                                                                      \
        "include_init_images", FIELD_SWITCH, "false", 0, 0, AT(include_init_images),                       \
            "true: the start picture is in the answer's parameters"                                        \
    }

/* A1111's defaults. */
#define SD_COMMON COMMON(ROW_STEPS("50", "denoising steps"), ROW_CFG_SCALE("7.0", "guidance"))
#define OWN_COMMON COMMON(ROW_STEPS("null", OWN_STEPS), ROW_CFG_SCALE("null", OWN_CFG))

const struct field sd_txt2img_fields[] = {SD_COMMON, OF_TEXT, {0}};
const struct field sd_img2img_fields[] = {SD_COMMON, OF_PICTURE, {0}};
const struct field own_txt2img_fields[] = {OWN_COMMON, OF_TEXT, {0}};
const struct field own_img2img_fields[] = {OWN_COMMON, OF_PICTURE, {0}};

const struct field sd_setting_fields[] = {
    {"sd_model_checkpoint", FIELD_TEXT, "null", 0, 1000, SETTING_AT(checkpoint), "the current model"},
    {"sd_vae", FIELD_TEXT, "\"Automatic\"", 0, 1000, SETTING_AT(vae), "Automatic, None, or a VAE's name"},
    {"samples_format", FIELD_TEXT, "\"png\"", 0, 20, SETTING_AT(samples_format),
     "png, jpg or webp: of the pictures in answers of /sdapi/v1"},
    {"sd_vae_decode_method", FIELD_TEXT, "\"Full\"", 0, 20, SETTING_AT(decode_method),
     "Full; TAESD, for drafts"},
    {"CLIP_stop_at_last_layers", FIELD_INT, "1", 1, 12, SETTING_AT(clip_skip),
     "which hidden state of the text encoder"},
    {"randn_source", FIELD_TEXT, "\"CPU\"", 0, 20, SETTING_AT(randn_source),
     "CPU; GPU or NV for the numbers of a card"},
    {"eta_noise_seed_delta", FIELD_INT, "0", 0, 2147483647, SETTING_AT(ensd),
     "what the seed of the noise between steps is raised by"},
    {"pad_cond_uncond", FIELD_SWITCH, "false", 0, 0, SETTING_AT(pad_conds),
     "the shorter of prompt and negative prompt is padded"},
    {0}};
