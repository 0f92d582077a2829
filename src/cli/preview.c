/* The file of --preview-file. Its pictures are compressed and written by a thread of their own, so that a
 * card need not wait for that; one that comes while another is written replaces the one that waits. */
#include "cli/cli.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct preview_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    const char *path;
    int quality;
    uint8_t *rgb; /* [height, width, 3], what waits; NULL: nothing */
    int width, height;
    bool stop, told;   /* `stop` once nothing waits; `err` is told once */
    ballast_error err; /* of the first that could not be written */
};

static void write_one(struct preview_writer *w, const uint8_t *rgb, int width, int height,
                      ballast_error *err) {
    ballast_png_options o;
    ballast_png_options_init(&o, sizeof o);
    o.rgb = rgb;
    o.width = width;
    o.height = height;
    ballast_image_write(&o, form_of(w->path), w->quality, w->path, 1, err);
}

static void *work(void *payload) {
    struct preview_writer *w = payload;
    pthread_mutex_lock(&w->lock);
    while (!w->stop || w->rgb) {
        if (!w->rgb) {
            pthread_cond_wait(&w->change, &w->lock);
            continue;
        }
        uint8_t *rgb = w->rgb;
        int width = w->width, height = w->height;
        ballast_error err = {0};
        w->rgb = NULL;
        pthread_mutex_unlock(&w->lock);
        write_one(w, rgb, width, height, &err);
        free(rgb);
        pthread_mutex_lock(&w->lock);
        w->err = w->err.code ? w->err : err;
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

struct preview_writer *preview_writer_open(const char *path, int quality) {
    struct preview_writer *w = calloc(1, sizeof *w);
    if (!w) {
        return NULL;
    }
    w->path = path;
    w->quality = quality;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->change, NULL);
    if (pthread_create(&w->thread, NULL, work, w)) {
        pthread_cond_destroy(&w->change);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return NULL;
    }
    return w;
}

/* What went wrong, the first time that it is asked for. */
static ballast_error untold(struct preview_writer *w) {
    ballast_error err = {0};
    if (!w->told) {
        err = w->err;
        w->told = err.code;
    }
    return err;
}

int preview_writer_put(struct preview_writer *w, const ballast_image *image, const struct settings *s) {
    const size_t bytes = 3 * (size_t)image->width * (size_t)image->height;
    uint8_t *rgb = malloc(bytes);
    if (!rgb) {
        return out_of_memory();
    }
    memcpy(rgb, image->rgb, bytes);
    pthread_mutex_lock(&w->lock);
    ballast_error err = untold(w);
    if (!err.code) {
        uint8_t *before = w->rgb;
        w->rgb = rgb;
        w->width = image->width;
        w->height = image->height;
        rgb = before;
    }
    pthread_cond_signal(&w->change);
    pthread_mutex_unlock(&w->lock);
    free(rgb);
    return err.code ? report_error(s, &err) : 0;
}

int preview_writer_close(struct preview_writer **w, const struct settings *s) {
    ballast_error err = {0};
    if (*w) {
        pthread_mutex_lock(&(*w)->lock);
        (*w)->stop = true;
        pthread_cond_signal(&(*w)->change);
        pthread_mutex_unlock(&(*w)->lock);
        pthread_join((*w)->thread, NULL);
        err = untold(*w);
        pthread_cond_destroy(&(*w)->change);
        pthread_mutex_destroy(&(*w)->lock);
        free(*w);
        *w = NULL;
    }
    return err.code ? report_error(s, &err) : 0;
}
