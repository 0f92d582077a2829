/* What the files of /sdapi/v1 share. */
#ifndef BALLAST_SERVER_API_SDAPI_H
#define BALLAST_SERVER_API_SDAPI_H

#include "server/api/internal.h"

#define MOST_PROMPT 100000 /* bytes */

/* The body of txt2img and img2img, as A1111 names it. */
struct sd_body {
    const char *prompt, *negative_prompt;
    int width, height, steps, batch_size, n_iter;
    double cfg_scale, eta, denoising_strength, subseed_strength;
    struct field_seed seed, subseed;
    const char *sampler_name, *sampler_index, *scheduler;
    bool enable_hr, send_images, restore_afterwards, include_init_images;
    double hr_scale;
    int hr_steps, hr_resize_x, hr_resize_y;
    const char *hr_upscaler, *hr_checkpoint, *hr_sampler, *hr_scheduler, *hr_prompt, *hr_negative;
    const char *script_name;
    const char *format; /* of the pictures in the answer: "png", "jpeg", "webp" */
    json_t *init_images, *override_settings, *alwayson_scripts, *styles;
    int resize_mode;
    /* Beside A1111's: */
    const char *model, *tiled_decode, *decode;
    double cfg_rescale, guidance;
    int priority;
};

/* Rows that the APIs share; AT is the user's. `lead` stands before the sentence. */
#define ROW_SEED(lead) \
    { "seed", FIELD_SEED, "-1", 0, 0, AT(seed), lead "of the first picture; -1 draws one" }
#define ROW_STEPS(fallback, text) \
    { "steps", FIELD_INT, fallback, 1, 1000, AT(steps), text }
#define ROW_CFG_SCALE(fallback, text) \
    { "cfg_scale", FIELD_NUMBER, fallback, 0, 1000, AT(cfg_scale), text }
/* Where there is no default, it is the model's: sd_recommend. */
#define OWN_STEPS "denoising steps; null: as the model's file recommends, or 20"
#define OWN_CFG "guidance; null: as the model's file recommends, or 7"
#define ROW_SAMPLER(lead)                                             \
    {                                                                 \
        "sampler_name", FIELD_TEXT, "null", 0, 200, AT(sampler_name), \
            lead "a schedule may follow it: DPM++ 2M Karras"          \
    }
#define ROW_SCHEDULER(lead)                                             \
    {                                                                   \
        "scheduler", FIELD_TEXT, "null", 0, 200, AT(scheduler),         \
            lead "name or label; null and automatic: the sampler's own" \
    }

/* override_settings, and POST options. */
struct sd_settings {
    const char *checkpoint, *vae, *randn_source, *samples_format, *decode_method;
    int clip_skip, ensd;
    bool pad_conds;
};

/* Of /ballast/v1 the same, but for the defaults of steps and guidance. */
extern const struct field sd_txt2img_fields[], sd_img2img_fields[], sd_setting_fields[], own_txt2img_fields[],
    own_img2img_fields[];

/* A body as a request for pictures. *request is filled and has to be freed even after a failure. `warnings`:
 * an array that gets what is done without. */
int sd_read(struct api *api, struct picture_request *request, struct sd_body *body,
            const struct field *fields, json_t *object, json_t *warnings, struct problem *p);

/* Draws the random seeds; checks pixels and pictures; names the sampler, model and VAE in full. */
int sd_resolve_sampler(struct picture_request *r, const char *sampler, const char *scheduler,
                       struct problem *p);
int sd_check_size(const struct api *api, const struct picture_request *r, struct problem *p);
uint64_t sd_draw_seed(void);
/* Steps and guidance that nobody gave (0, -1): what the model's file recommends, or 20 and 7. */
void sd_recommend(const struct api *api, struct picture_request *r);
/* Pixels in whole latents, as A1111 cuts them down; said in `warnings`, which may be NULL. */
int sd_whole(int pixels, const char *name, json_t *warnings);

/* A picture file from base64, with a "data:" prefix or without; size: its width and height. 422 names
 * `field`. */
int sd_read_picture(const struct api *api, char **file, size_t *bytes, int size[2], const json_t *value,
                    const char *field, struct problem *p);

/* 404, 422: a setting that names what there is not. The text may be NULL. */
int sd_check_vae(struct api *api, const char *name, struct problem *p);
int sd_check_rng(const char *name, struct problem *p);
/* The form that ballast_image_encode knows it by: "jpeg" of "JPG"; NULL: it is none. */
const char *sd_format(const char *name);
int sd_check_format(const char *name, struct problem *p);
int sd_check_decode_method(const struct api *api, const char *name, struct problem *p);

/* The title that is the current model; freed by the caller. NULL: no memory. */
char *sd_current_model(struct api *api);

/* What every answer with pictures carries under "ballast". */
json_t *ballast_part(const json_t *job);

#endif
