/* /ballast/v1: the pictures themselves, whole or small. */
#include "server/api/handlers.h"
#include "server/api/internal.h"

#include "ballast.h"

#include <stdlib.h>
#include <string.h>

#define MOST_SIDE 1024 /* of a small one */
#define QUALITY 82

/* The picture with its longer side `side`, as WebP: a history of thousands is looked at in these. It replaces
 * *file. */
static int shrink(char **file, size_t *bytes, int side, struct problem *p) {
    uint8_t *rgb = NULL, *little = NULL, *webp = NULL;
    int width, height;
    size_t webp_bytes = 0;
    ballast_error err = {0};
    ballast_png_options o;
    ballast_png_options_init(&o, sizeof o);
    int code = ballast_image_decode(&rgb, &width, &height, NULL, NULL, *file, *bytes, 0, &err);
    if (!code) {
        int longer = width > height ? width : height;
        side = side < longer ? side : longer;
        o.width = (int)((long long)width * side / longer);
        o.height = (int)((long long)height * side / longer);
        o.width = o.width ? o.width : 1;
        o.height = o.height ? o.height : 1;
        code = ballast_image_resize(&little, o.width, o.height, rgb, width, height, "Bicubic", &err);
    }
    if (!code) {
        o.rgb = little;
        code = ballast_image_encode(&webp, &webp_bytes, "webp", QUALITY, &o, &err);
    }
    char *copy = code ? NULL : malloc(webp_bytes);
    if (copy) {
        memcpy(copy, webp, webp_bytes);
        free(*file);
        *file = copy;
        *bytes = webp_bytes;
    }
    ballast_bytes_free(&rgb);
    ballast_bytes_free(&little);
    ballast_bytes_free(&webp);
    return code   ? problem_set(p, code == BALLAST_E_MEMORY ? 503 : 500, NULL, "%s", err.message)
           : copy ? 0
                  : problem_set(p, 503, NULL, "out of memory");
}

void own_image(struct call *c) {
    struct problem p = {0};
    char *file = NULL, *end;
    size_t bytes;
    const char *size = exchange_query(c->x, "size");
    char *size_end = NULL;
    long number = strtol(c->parts[1], &end, 10), side = size ? strtol(size, &size_end, 10) : 0;
    int status =
        *end || number < 0 || number > 1000000
            ? problem_set(&p, 404, NULL, "there is no picture %.20s", c->parts[1])
        : size && (*size_end || side < 16 || side > MOST_SIDE)
            ? problem_set(&p, 422, "size", "size: 16 to %d pixels", MOST_SIDE)
            : c->api->service.picture(c->api->service.self, c->parts[0], (int)number, &file, &bytes, &p);
    if (!status && size) {
        status = shrink(&file, &bytes, (int)side, &p);
    }
    if (status) {
        free(file);
        reply_problem(c->x, &p);
        return;
    }
    exchange_set_header(c->x, "Cache-Control", "private, max-age=31536000, immutable");
    reply_bytes(c->x, size ? "image/webp" : "image/png", file, bytes);
}
