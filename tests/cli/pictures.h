/* What tests of whole pictures share: the tiny model, and a small request. */
#ifndef BALLAST_TESTS_CLI_PICTURES_H
#define BALLAST_TESTS_CLI_PICTURES_H

#include "rig.h"

#include "image/decode.h"
#include "image/parameters.h"
#include "image/png.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PROMPT "a photo of a red fox in the snow, highly detailed"
#define NEGATIVE "blurry, low quality"

static char model[BL_TEST_PATH];

static inline int setup(void **state) {
    int result = rig_open(state);
    bl_synth_checkpoint(model, "sd15", BL_SYNTH_SINGLE);
    return result;
}

static inline void read_png(bl_picture *out, const char *path) {
    bl_error err;
    if (bl_png_read(out, path, &err)) {
        fail_msg("%s", err.message);
    }
}

#define SMALL(o, ...)                                                                                    \
    BALLAST(o, "generate", "-m", model, "-p", PROMPT, "-n", NEGATIVE, "-W", "64", "-H", "72", "-s", "3", \
            __VA_ARGS__)

#endif
