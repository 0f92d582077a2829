#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
    o->preview_every = (size_t)setting_int(s, S_PREVIEW_EVERY);
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

/* All of a file. *data: freed by the caller. */
static int read_all(uint8_t **data, size_t *bytes, FILE *f, enum setting_id id, const char *name,
                    const struct settings *s) {
    size_t room = 0;
    *data = NULL;
    *bytes = 0;
    for (size_t got = 1; got; *bytes += got) {
        if (*bytes == room) {
            room = room ? 2 * room : 1 << 16;
            uint8_t *more = room <= MOST_INPUT ? realloc(*data, room) : NULL;
            if (!more) {
                free(*data);
                *data = NULL;
                return room <= MOST_INPUT ? out_of_memory() : complain_of(s, id, "%s does not end", name);
            }
            *data = more;
        }
        got = fread(*data + *bytes, 1, room - *bytes, f);
    }
    return 0;
}

static int read_stdin(uint8_t **data, size_t *bytes, const struct settings *s) {
    *data = NULL;
    if (isatty(STDIN_FILENO)) {
        return complain_of(s, S_INIT_IMAGE,
                           "standard input (\"-\") is a terminal: send a picture into it, as in "
                           "`ballast generate -i - <picture.png`");
    }
    return read_all(data, bytes, stdin, S_INIT_IMAGE, "standard input (\"-\")", s);
}

int read_file(uint8_t **data, size_t *bytes, enum setting_id id, const char *path, const struct settings *s) {
    struct stat st;
    *data = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO without a writer would hold us */
    FILE *f = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) ? fdopen(fd, "rb") : NULL;
    int result;
    if (f) {
        errno = 0;
        result = read_all(data, bytes, f, id, path, s);
        if (!result && ferror(f)) {
            result = complain_of(s, id, "cannot read %s: %s", path, strerror(errno));
        }
        fclose(f);
        return result;
    }
    result =
        complain_of(s, id, "cannot read %s: %s", path, fd < 0 ? strerror(errno) : "it is not a regular file");
    if (fd >= 0) {
        close(fd);
    }
    return result;
}

/* "-" is standard input. */
int read_picture(struct picture *out, enum setting_id id, const char *path, const struct settings *s) {
    ballast_error err = {0};
    uint8_t *file;
    size_t bytes;
    int transparent = 0;
    bool given = id == S_INIT_IMAGE && !strcmp(path, "-");
    int result = given ? read_stdin(&file, &bytes, s) : read_file(&file, &bytes, id, path, s);
    if (!result && ballast_image_decode(&out->rgb, &out->width, &out->height, &out->parameters, &transparent,
                                        file, bytes, 0, &err)) {
        result = err.code == BALLAST_E_MEMORY
                     ? report_error(s, &err)
                     : complain_of(s, id, "%s: %s", given ? "standard input (\"-\")" : path, err.message);
    }
    free(file);
    if (!result && transparent && id == S_INIT_IMAGE && !setting_on(s, S_QUIET)) {
        fprintf(stderr, "ballast: --init-image: where the picture is transparent it is laid over white\n");
    }
    return result;
}

void free_picture(struct picture *picture) {
    ballast_bytes_free(&picture->rgb);
    ballast_string_free(&picture->parameters);
}

int read_options(ballast_generate_options *o, struct inputs *in, const struct settings *s) {
    const char *image = setting_text(s, S_INIT_IMAGE);
    fill(o, s);
    int result = image ? read_picture(&in->init, S_INIT_IMAGE, image, s) : 0;
    if (result) {
        return result;
    }
    o->init_rgb = in->init.rgb;
    o->init_width = in->init.width;
    o->init_height = in->init.height;
    result = setting_text(s, S_LATENTS) ? read_latents(o, &in->latents, s) : 0;
    result = result ? result : read_adapters(&o->adapters, &o->adapter_count, in, s);
    result = result ? result
                    : read_folders(&o->adapter_folders, &in->adapter_folders, "lora", S_LORA_DIR, s, NULL);
    return result ? result
                  : read_folders(&o->embedding_folders, &in->embedding_folders, "embeddings", S_EMBEDDING_DIR,
                                 s, NULL);
}

void free_inputs(struct inputs *in) {
    free_picture(&in->init);
    ballast_floats_free(&in->latents);
    free(in->adapters);
    free(in->adapter_files);
    free(in->adapter_folders);
    free(in->embedding_folders);
}
