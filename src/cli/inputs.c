#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a row of the table fills, by its kind; what is not set keeps the library's default. */
static void fill(ballast_generate_options *o, const struct settings *s) {
    ballast_generate_options_init(o, sizeof *o);
    for (int i = 0; i < S_COUNT_OF_SETTINGS; i++) {
        enum setting_id id = (enum setting_id)i;
        void *field = (char *)o + setting_table[i].option;
        if (!setting_table[i].option || !setting_text(s, id)) {
            continue;
        }
        switch (setting_table[i].kind) {
        case SET_INT:
            *(int *)field = setting_int(s, id);
            break;
        case SET_NUMBER:
            *(double *)field = setting_number(s, id);
            break;
        case SET_SEED:
            *(uint64_t *)field = setting_seed(s, id);
            break;
        case SET_SWITCH:
            *(int *)field = setting_on(s, id);
            break;
        default:
            *(const char **)field = setting_text(s, id);
        }
    }
}

/* FILE or FILE:TENSOR; a colon may also be part of the file's name. */
static int read_latents(ballast_generate_options *o, float **data, const struct settings *s) {
    const char *text = setting_text(s, S_LATENTS);
    int shape[4];
    ballast_error err = {0};
    char *copy = strdup(text);
    if (!copy) {
        return out_of_memory();
    }
    char *colon = access(text, F_OK) ? strrchr(copy, ':') : NULL;
    const char *tensor = NULL;
    if (colon) {
        *colon = 0;
        tensor = colon + 1;
    }
    int result = ballast_latents_read(data, shape, copy, tensor, &err) ? report_error(s, &err) : 0;
    free(copy);
    if (!result) {
        o->latents = *data;
        o->latents_batch = shape[0];
        o->latents_channels = (size_t)shape[1];
        o->latents_height = shape[2];
        o->latents_width = shape[3];
    }
    return result;
}

#define MOST_INPUT ((size_t)512 << 20) /* bytes, as of a file */

/* All of standard input. *data: freed by the caller. */
static int read_stdin(uint8_t **data, size_t *bytes, const struct settings *s) {
    size_t room = 0;
    *data = NULL;
    *bytes = 0;
    if (isatty(STDIN_FILENO)) {
        return complain_of(s, S_INIT_IMAGE,
                           "standard input (\"-\") is a terminal: send a PNG into it, as in "
                           "`ballast generate -i - <picture.png`");
    }
    for (size_t got = 1; got; *bytes += got) {
        if (*bytes == room) {
            room = room ? 2 * room : 1 << 16;
            uint8_t *more = room <= MOST_INPUT ? realloc(*data, room) : NULL;
            if (!more) {
                free(*data);
                *data = NULL;
                return room <= MOST_INPUT
                           ? out_of_memory()
                           : complain_of(s, S_INIT_IMAGE, "standard input (\"-\") does not end");
            }
            *data = more;
        }
        got = fread(*data + *bytes, 1, room - *bytes, stdin);
    }
    return 0;
}

/* "-" is standard input. */
static int read_picture(ballast_generate_options *o, uint8_t **rgb, const char *path,
                        const struct settings *s) {
    ballast_error err = {0};
    if (strcmp(path, "-") != 0) {
        return ballast_image_read_png(rgb, &o->init_width, &o->init_height, path, &err)
                   ? report_error(s, &err)
                   : 0;
    }
    uint8_t *png;
    size_t bytes;
    int result = read_stdin(&png, &bytes, s);
    if (!result && ballast_image_decode(rgb, &o->init_width, &o->init_height, NULL, png, bytes, 0, &err)) {
        result = err.code == BALLAST_E_MEMORY
                     ? report_error(s, &err)
                     : complain_of(s, S_INIT_IMAGE, "standard input (\"-\"): %s", err.message);
    }
    free(png);
    return result;
}

int read_options(ballast_generate_options *o, struct inputs *in, const struct settings *s) {
    const char *image = setting_text(s, S_INIT_IMAGE);
    fill(o, s);
    int result = image ? read_picture(o, &in->init, image, s) : 0;
    if (result) {
        return result;
    }
    o->init_rgb = in->init;
    return setting_text(s, S_LATENTS) ? read_latents(o, &in->latents, s) : 0;
}

void free_inputs(struct inputs *in) {
    ballast_bytes_free(&in->init);
    ballast_floats_free(&in->latents);
}
