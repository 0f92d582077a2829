/* A context with a model of the tiny checkpoints, through the shared library alone. What goes wrong in here
 * fails the running test. */
#ifndef BALLAST_TESTS_API_STUDIO_H
#define BALLAST_TESTS_API_STUDIO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ballast.h"
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 64 /* pixels of the pictures that are made */

typedef struct studio {
    ballast_context *context;
    ballast_model *model;
    char log[4096]; /* all lines, one behind the other */
} studio;

static inline void studio_log(void *payload, int level, const char *line) {
    studio *s = payload;
    size_t used = strlen(s->log);
    (void)level;
    snprintf(s->log + used, sizeof s->log - used, "%s\n", line);
}

static inline ballast_context_options studio_options(studio *s) {
    ballast_context_options o;
    ballast_context_options_init(&o, sizeof o);
    o.cache_dir = "";
    o.threads = 1;
    o.log = studio_log;
    o.log_payload = s;
    return o;
}

static inline void studio_open_model(ballast_model **model, ballast_context *context) {
    char path[BL_TEST_PATH];
    ballast_error err = {0};
    ballast_model_options o;
    ballast_model_options_init(&o, sizeof o);
    bl_synth_checkpoint(path, "sd15", BL_SYNTH_SINGLE);
    o.path = path;
    o.dtype = "f32";
    if (ballast_model_open(model, context, &o, &err)) {
        fail_msg("%s", err.message);
    }
}

static inline void studio_open(studio *s) {
    ballast_error err = {0};
    *s = (studio){0};
    ballast_context_options o = studio_options(s);
    if (ballast_context_open(&s->context, &o, &err)) {
        fail_msg("%s", err.message);
    }
    studio_open_model(&s->model, s->context);
}

static inline void studio_close(studio *s) {
    assert_int_equal(ballast_model_close(&s->model), 0);
    assert_int_equal(ballast_context_close(&s->context), 0);
    assert_null(s->model);
    assert_null(s->context);
}

static inline ballast_generate_options studio_request(void) {
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    o.prompt = "a photo of a red fox in the snow";
    o.width = o.height = SIDE;
    o.steps = 2;
    o.seed = 7;
    o.hints = 0;
    return o;
}

static inline uint64_t studio_sum_of(const ballast_image *image) {
    uint64_t sum = 0;
    for (int i = 0; i < 3 * image->width * image->height; i++) {
        sum = sum * 31 + image->rgb[i];
    }
    return sum;
}

static inline int studio_take_sum(void *payload, const ballast_image *image) {
    *(uint64_t *)payload = studio_sum_of(image);
    return 0;
}

/* A picture of the plain request. */
static inline uint64_t studio_picture(ballast_model *model) {
    ballast_error err = {0};
    uint64_t sum = 0;
    ballast_generate_options o = studio_request();
    o.image = studio_take_sum;
    o.payload = &sum;
    if (ballast_generate(NULL, model, &o, &err)) {
        fail_msg("%s", err.message);
    }
    return sum;
}

/* The message of an error holds each of these; the list ends with NULL. */
#define EXPECT_SAYS(err, ...) expect_says(err, (const char *const[]){__VA_ARGS__, NULL})
static inline void expect_says(const ballast_error *err, const char *const *pieces) {
    for (int i = 0; pieces[i]; i++) {
        if (!strstr(err->message, pieces[i])) {
            fail_msg("\"%s\" does not say \"%s\"", err->message, pieces[i]);
        }
    }
}

#endif
