/* Checkpoints of the tiny families with something changed, and what they are taken for. */
#ifndef BALLAST_TESTS_CHECKPOINT_VARIANT_H
#define BALLAST_TESTS_CHECKPOINT_VARIANT_H

#include "checkpoint/architecture.h"
#include "scratch.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNET "model.diffusion_model." /* what the names of its tensors begin with */

static inline bl_architecture detect(const char *file) {
    bl_checkpoint *c;
    bl_architecture a = {.family = &bl_sd1};
    bl_error err;
    if (bl_checkpoint_open(&c, file, NULL, &err) || bl_architecture_detect(&a, c, &err)) {
        fail_msg("%s", err.message);
    }
    bl_checkpoint_close(&c);
    return a;
}

/* Names and shapes are nearly all that counts here, so that copies hold bytes instead of floats. */
typedef struct variant {
    bool floats;                 /* values count */
    const char *without;         /* names that hold this are left out */
    const char *named, *renamed; /* names that hold `named` */
    const char *reshaped;        /* this name ... */
    int axis;                    /* ... has this axis ... */
    int64_t size;                /* ... of this size */
    int projections;             /* rank of proj_in and proj_out: 2 linear layers, 4 convolutions */
} variant;

static inline bool apply(void *context, char *name, bl_tensor_data *t) {
    const variant *v = context;
    t->dtype = v->floats ? t->dtype : BL_U8;
    if (v->without && strstr(name, v->without)) {
        return false;
    }
    if (v->reshaped && strcmp(name, v->reshaped) == 0) {
        t->shape[v->axis] = v->size;
    }
    if (v->projections && (strstr(name, ".proj_in.weight") || strstr(name, ".proj_out.weight"))) {
        t->rank = v->projections;
        t->shape[2] = t->shape[3] = 1;
    }
    char *at = v->named ? strstr(name, v->named) : NULL;
    if (at) {
        char tail[256];
        snprintf(tail, sizeof tail, "%s", at + strlen(v->named));
        snprintf(at, 256 - (size_t)(at - name), "%s%s", v->renamed, tail);
    }
    return true;
}

static inline void make_variant(const char *family, variant v, const char *const *metadata,
                                int metadata_count) {
    char from[BL_TEST_PATH];
    bl_synth_checkpoint(from, family, BL_SYNTH_SINGLE);
    bl_test_rewrite(path, from, apply, &v, metadata, metadata_count);
}

/* `folder` becomes one of this family without a scheduler; its parts are links. */
static inline void link_folder(const char *family) {
    char from[BL_TEST_PATH], file[BL_TEST_PATH], to[BL_TEST_PATH];
    static const char *const parts[] = {"unet", "vae", "text_encoder"};
    bl_synth_checkpoint(from, family, BL_SYNTH_FOLDER);
    for (int i = 0; i < 3; i++) {
        bl_test_join(file, from, parts[i]);
        bl_test_join(to, folder, parts[i]);
        char *real = realpath(file, NULL);
        assert_true(real && symlink(real, to) == 0);
        free(real);
    }
}

#endif
