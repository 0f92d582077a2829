#include "api/api.h"

#include "image/decode.h"
#include "image/file.h"
#include "image/parameters.h"
#include "image/resize.h"
#include "pipeline/request.h"
#include "sample/names.h"

#include <stdlib.h>
#include <string.h>

int ballast_image_decode(uint8_t **rgb, int *width, int *height, char **parameters, int *transparent,
                         const void *data, size_t bytes, size_t most_pixels, ballast_error *err) {
    bl_picture picture = {0};
    if (transparent) {
        *transparent = 0;
    }
    if (parameters) {
        *parameters = NULL;
    }
    BL_NEED(rgb);
    *rgb = NULL;
    BL_NEED(width);
    *width = 0;
    BL_NEED(height);
    *height = 0;
    BL_NEED(data);
    int result = bl_picture_decode(&picture, data, bytes, most_pixels, "the picture", err);
    if (!result) {
        *rgb = picture.rgb;
        *width = (int)picture.width;
        *height = (int)picture.height;
        picture.rgb = NULL;
        if (parameters) {
            *parameters = picture.parameters;
            picture.parameters = NULL;
        }
        if (transparent) {
            *transparent = picture.transparent;
        }
        bl_picture_clear(&picture);
    }
    return result;
}

int ballast_parameters_read(const char *text, ballast_entry_fn *entry, void *payload, ballast_error *err) {
    BL_NEED(text);
    BL_NEED(entry);
    return bl_parameters_each(text, entry, payload, err);
}

int ballast_image_encode(uint8_t **file, size_t *bytes, const char *form, int quality,
                         const ballast_png_options *options, ballast_error *err) {
    ballast_png_options o;
    BL_NEED(file);
    *file = NULL;
    BL_NEED(bytes);
    *bytes = 0;
    BL_NEED(form);
    BL_NEED(options);
    if (!strcmp(form, "png")) {
        return ballast_image_encode_png(file, bytes, options, err);
    }
    int result = bl_take_png_options(&o, options, err);
    if (!result && (quality < 0 || quality > 100)) {
        result = bl_fail(err, BL_E_ARGUMENT, "quality: %d is not within 0 to 100", quality);
    }
    if (!result && !o.rgb) {
        result = bl_fail(err, BL_E_ARGUMENT, "png options: `rgb` is NULL");
    }
    if (result) {
        return result;
    }
    const char *parameters = o.parameters && *o.parameters ? o.parameters : NULL;
    if (!strcmp(form, "jpeg")) {
        return bl_jpeg_encode(file, bytes, o.rgb, o.height, o.width, quality, parameters, err);
    }
    if (!strcmp(form, "webp")) {
        return bl_webp_encode(file, bytes, o.rgb, o.height, o.width, quality, parameters, err);
    }
    return bl_fail(err, BL_E_ARGUMENT, "form: \"%.40s\" is none of png, jpeg, webp", form);
}

int ballast_image_write(const ballast_png_options *options, const char *form, int quality, const char *path,
                        int overwrite, ballast_error *err) {
    uint8_t *file = NULL;
    size_t bytes;
    BL_NEED(options);
    BL_NEED(form);
    BL_NEED(path);
    int result = ballast_image_encode(&file, &bytes, form, quality, options, err);
    if (!result) {
        result = bl_file_write(path, file, bytes, overwrite != 0, err);
    }
    free(file);
    return result;
}

int ballast_image_resize(uint8_t **rgb, int width, int height, const uint8_t *in, int in_width, int in_height,
                         const char *upscaler, ballast_error *err) {
    const bl_upscaler *how;
    BL_NEED(rgb);
    *rgb = NULL;
    BL_NEED(in);
    BL_NEED(upscaler);
    int result = bl_upscaler_find(&how, upscaler, err);
    if (result) {
        return result;
    }
    if (how->latent) {
        return bl_fail(err, BL_E_ARGUMENT, "upscaler: \"%s\" works on latents, not on pictures", how->name);
    }
    if (width < 1 || height < 1 || width > BL_RESIZE_MAX_SIDE || height > BL_RESIZE_MAX_SIDE) {
        return bl_fail(err, BL_E_ARGUMENT, "width, height: %d x %d is no size of a picture", width, height);
    }
    uint8_t *out = malloc((size_t)width * (size_t)height * 3);
    if (!out) {
        return bl_fail_memory(err, "a picture", (size_t)width * (size_t)height * 3);
    }
    result = bl_resize_rgb8(out, height, width, in, in_height, in_width, how->filter, err);
    if (result) {
        free(out);
        return result;
    }
    *rgb = out;
    return 0;
}

int ballast_sampler_find(const char **sampler, const char **schedule, const char *name, ballast_error *err) {
    bl_sampler_id id;
    bl_schedule_id behind = BL_SCHEDULE_COUNT;
    if (schedule) {
        *schedule = NULL;
    }
    BL_NEED(sampler);
    *sampler = NULL;
    BL_NEED(name);
    int result = bl_sampler_find(&id, schedule ? &behind : NULL, name, err);
    if (!result) {
        *sampler = bl_sampler_name(id);
        if (schedule && behind != BL_SCHEDULE_COUNT) {
            *schedule = bl_schedule_name(behind);
        }
    }
    return result;
}

int ballast_sampler_takes(const char *name, const char *option) {
    bl_sampler_id id;
    bl_schedule_id behind;
    bl_error none;
    if (!name || !option || bl_sampler_find(&id, &behind, name, &none)) {
        return 0;
    }
    return (!strcmp(option, "eta") && bl_sampler_takes_eta(id)) ||
           (!strcmp(option, "ensd") && bl_sampler_takes_ensd(id));
}

int ballast_schedule_find(const char **schedule, const char *name, ballast_error *err) {
    bl_schedule_id id;
    BL_NEED(schedule);
    *schedule = NULL;
    BL_NEED(name);
    int result = bl_schedule_find(&id, NULL, name, err);
    if (!result) {
        *schedule = bl_schedule_name(id);
    }
    return result;
}
