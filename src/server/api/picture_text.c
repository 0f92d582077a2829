/* A kept picture in the form that was asked for, as answers carry it. */
#include "server/api/internal.h"

#include "ballast.h"
#include "server/base/base64.h"

#include <stdlib.h>
#include <string.h>

/* The same pixels and parameters as another kind of file, in base64. */
static char *other_form(const char *png, size_t bytes, const char *format, int quality, struct problem *p) {
    uint8_t *rgb = NULL, *file = NULL;
    char *parameters = NULL;
    ballast_png_options o;
    ballast_error err = {0};
    ballast_png_options_init(&o, sizeof o);
    int code = ballast_image_decode(&rgb, &o.width, &o.height, &parameters, NULL, png, bytes, 0, &err);
    o.rgb = rgb;
    o.parameters = parameters;
    code = code ? code : ballast_image_encode(&file, &bytes, format, quality, &o, &err);
    char *text = code ? NULL : base64_encode((const char *)file, bytes);
    if (code) {
        problem_set(p, 500, NULL, "%s", err.message);
    }
    ballast_bytes_free(&file);
    ballast_bytes_free(&rgb);
    ballast_string_free(&parameters);
    return text;
}

char *picture_text(struct api *api, const char *job, int index, const char *format, int quality,
                   struct problem *p) {
    char *png = NULL;
    size_t bytes;
    if (api->service.picture(api->service.self, job, index, &png, &bytes, p)) {
        return NULL;
    }
    char *text =
        strcmp(format, "png") != 0 ? other_form(png, bytes, format, quality, p) : base64_encode(png, bytes);
    free(png);
    if (!text && !p->status) {
        problem_set(p, 503, NULL, "out of memory");
    }
    return text;
}
