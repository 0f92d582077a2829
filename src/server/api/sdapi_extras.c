/* Pictures without a model: what is written in them, and enlarging them. */
#include "server/api/handlers.h"
#include "server/api/sdapi.h"

#include "ballast.h"
#include "server/base/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct picture {
    uint8_t *rgb;
    int width, height;
    char *parameters;
};

static int decode(const struct api *api, struct picture *out, const json_t *value, const char *field,
                  struct problem *p) {
    char *file = NULL;
    size_t bytes;
    ballast_error err = {0};
    memset(out, 0, sizeof *out);
    const char *text = json_string_value(value), *comma;
    if (!text || !*text) {
        return problem_set(p, 422, field, "%s: a picture in base64 is needed", field);
    }
    if (!strncmp(text, "data:", 5) && (comma = strchr(text, ','))) {
        text = comma + 1;
    }
    file = base64_decode(text, strlen(text), &bytes);
    if (!file) {
        return problem_set(p, 422, field, "%s: this is no base64", field);
    }
    int code = ballast_image_decode(&out->rgb, &out->width, &out->height, &out->parameters, NULL, file, bytes,
                                    (size_t)api->options.most_pixels, &err);
    free(file);
    return code ? problem_set(p, code == BALLAST_E_MEMORY ? 503 : 422, field, "%s: %s", field, err.message)
                : 0;
}

static void picture_free(struct picture *picture) {
    ballast_bytes_free(&picture->rgb);
    ballast_string_free(&picture->parameters);
}

void sd_png_info(struct call *c) {
    struct picture picture;
    struct problem p = {0};
    int status = decode(c->api, &picture, json_object_get(c->body, "image"), "image", &p);
    if (status) {
        reply_problem(c->x, &p);
    } else {
        json_t *items = json_object(), *parameters = json_object();
        if (picture.parameters) {
            json_object_set_new(items, "parameters", json_string(picture.parameters));
        }
        reply_json(c->x, 200,
                   json_pack("{s:s, s:o, s:o}", "info", picture.parameters ? picture.parameters : "", "items",
                             items, "parameters", parameters));
    }
    picture_free(&picture);
}

struct extras {
    int resize_mode, width, height;
    double resize;
    const char *upscaler;
    json_t *list;
};

#define AT(member) offsetof(struct extras, member)
#define EXTRAS                                                                                              \
    {"resize_mode",                                                                                         \
     FIELD_INT,                                                                                             \
     "0",                                                                                                   \
     0,                                                                                                     \
     1,                                                                                                     \
     AT(resize_mode),                                                                                       \
     "0: by upscaling_resize; 1: to the width and height"},                                                 \
        {"upscaling_resize", FIELD_NUMBER, "2", 0.0625, 8, AT(resize), "how much larger"},                  \
        {"upscaling_resize_w", FIELD_INT, "512", 1, 65535, AT(width), "pixels, with resize_mode 1"},        \
        {"upscaling_resize_h", FIELD_INT, "512", 1, 65535, AT(height), "pixels, with resize_mode 1"},       \
        {"upscaling_crop", FIELD_PASSED, "true", 0, 0, 0, "the picture is stretched"},                      \
        {"upscaler_1", FIELD_TEXT, "\"None\"", 0, 200, AT(upscaler), "None leaves the picture as it is"},   \
        {"upscaler_2", FIELD_PASSED, "\"None\"", 0, 0, 0, "only counts with extras_upscaler_2_visibility"}, \
        {"extras_upscaler_2_visibility",                                                                    \
         FIELD_REFUSED,                                                                                     \
         "0",                                                                                               \
         0,                                                                                                 \
         0,                                                                                                 \
         0,                                                                                                 \
         "a second upscaler is not mixed in; send 0"},                                                      \
        {"gfpgan_visibility", FIELD_REFUSED, "0", 0, 0, 0, "no face restorer is here; send 0"},             \
        {"codeformer_visibility", FIELD_REFUSED, "0", 0, 0, 0, "no face restorer is here; send 0"},         \
        {"codeformer_weight", FIELD_PASSED, "0", 0, 0, 0, "only counts with codeformer_visibility"},        \
        {"upscale_first", FIELD_PASSED, "false", 0, 0, 0, "only counts with a face restorer"}, {            \
        "show_extras_results", FIELD_PASSED, "true", 0, 0, 0, "has no meaning here"                         \
    }

const struct field sd_extra_single_fields[] = {
    EXTRAS, {"image", FIELD_PASSED, "\"\"", 0, 0, 0, "the picture in base64"}, {0}};
const struct field sd_extra_batch_fields[] = {
    EXTRAS, {"imageList", FIELD_LIST, "[]", 0, 0, AT(list), "objects with data (base64) and name"}, {0}};

/* The enlarged picture as a PNG in base64; NULL: *p says why not. */
static char *enlarge(const struct api *api, const struct extras *e, const json_t *value, const char *field,
                     struct problem *p) {
    struct picture in;
    uint8_t *rgb = NULL, *png = NULL;
    size_t bytes = 0;
    ballast_error err = {0};
    if (decode(api, &in, value, field, p)) {
        return NULL;
    }
    double width = e->resize_mode ? e->width : in.width * e->resize;
    double height = e->resize_mode ? e->height : in.height * e->resize;
    bool none = !e->upscaler || !*e->upscaler || !strcasecmp(e->upscaler, "none");
    char *text = NULL;
    if (width * height > (double)api->options.most_pixels || width < 1 || height < 1) {
        problem_set(p, 422, "upscaling_resize",
                    "upscaling_resize: %.0f x %.0f is not within the %lld pixels that are allowed", width,
                    height, (long long)api->options.most_pixels);
        picture_free(&in);
        return NULL;
    }
    int w = none ? in.width : (int)width, h = none ? in.height : (int)height, code = 0;
    if (!none) {
        code = ballast_image_resize(&rgb, w, h, in.rgb, in.width, in.height, e->upscaler, &err);
    }
    if (!code) {
        ballast_png_options o;
        ballast_png_options_init(&o, sizeof o);
        o.rgb = none ? in.rgb : rgb;
        o.width = w;
        o.height = h;
        o.parameters = in.parameters;
        code = ballast_image_encode_png(&png, &bytes, &o, &err);
    }
    if (code) {
        problem_set(p, code == BALLAST_E_MEMORY ? 503 : 422, "upscaler_1", "%s", err.message);
    } else if (!(text = base64_encode(png, bytes))) {
        problem_set(p, 503, NULL, "out of memory");
    }
    ballast_bytes_free(&png);
    ballast_bytes_free(&rgb);
    picture_free(&in);
    return text;
}

void sd_extra_single(struct call *c) {
    struct extras e = {0};
    struct problem p = {0};
    char *text = NULL;
    if (!fields_read(&e, sd_extra_single_fields, c->body, NULL, &p)) {
        text = enlarge(c->api, &e, json_object_get(c->body, "image"), "image", &p);
    }
    if (text) {
        reply_json(c->x, 200, json_pack("{s:s, s:s}", "html_info", "", "image", text));
    } else {
        reply_problem(c->x, &p);
    }
    free(text);
}

void sd_extra_batch(struct call *c) {
    struct extras e = {0};
    struct problem p = {0};
    json_t *images = json_array(), *item;
    size_t i;
    int status = fields_read(&e, sd_extra_batch_fields, c->body, NULL, &p);
    if (!status && json_array_size(e.list) > (size_t)c->api->options.most_pictures) {
        status = problem_set(&p, 422, "imageList", "imageList: at most %d pictures",
                             c->api->options.most_pictures);
    }
    if (!status) {
        json_array_foreach(e.list, i, item) {
            char *text = enlarge(c->api, &e, json_object_get(item, "data"), "imageList", &p);
            if (!text) {
                status = p.status;
                break;
            }
            json_array_append_new(images, json_string_nocheck(text));
            free(text);
        }
    }
    if (status) {
        json_decref(images);
        reply_problem(c->x, &p);
    } else {
        reply_json(c->x, 200, json_pack("{s:s, s:o}", "html_info", "", "images", images));
    }
}

void sd_interrogate(struct call *c) {
    reply_problem(c->x, &(struct problem){.status = 404, .text = "no model that describes pictures is here"});
}
