/* Adapters of tests/data on the tiny checkpoints, without a device. What goes wrong in here fails the test.
 */
#ifndef BALLAST_TESTS_ADAPTER_RIG_H
#define BALLAST_TESTS_ADAPTER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapter/merge.h"
#include "checkpoint/architecture.h"
#include "model/clip_text.h"
#include "model/unet.h"
#include "model/weights.h"
#include "support/files.h"
#include "support/synth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RIG_FAMILIES 3
#define RIG_MODULES (BL_UNET + 1) /* text encoders and UNet */
static const char *const rig_families[RIG_FAMILIES] = {"sd15", "sd21v", "sdxl"};

typedef struct rig {
    const char *family;
    bl_checkpoint *ckpt;
    bl_architecture arch;
    bl_layers *layers;
    bl_graph *graph[RIG_MODULES]; /* with all weights of the module; NULL: the family has none */
    bl_model_weights weights[RIG_MODULES];
    bl_merge *merge[RIG_MODULES];
} rig;

static inline void rig_ok(int rc, const bl_error *err) {
    if (rc) {
        fail_msg("%s", err->message);
    }
}

static inline void rig_open_module(rig *r, bl_module module) {
    bl_error err = {0};
    int second = module == BL_TEXT_ENCODER_2;
    bl_graph **g = &r->graph[module];
    if (module == BL_UNET) {
        bl_unet_shape shape = {.batch = 1, .height = 8, .width = 8, .tokens = 77};
        rig_ok(bl_unet_graph(g, &r->arch.unet, shape, BL_F32, NULL, &err), &err);
    } else if (r->arch.text[second].present) {
        bl_clip_text_outputs want = {.last_hidden_state = true, .text_embeds = second};
        rig_ok(bl_clip_text_graph(g, module, &r->arch.text[second], 1, 77, want, BL_F32, NULL, &err), &err);
    } else {
        return;
    }
    rig_ok(bl_model_weights_open(&r->weights[module], *g, r->ckpt, &err), &err);
    bl_source base = bl_model_source(&r->weights[module]);
    rig_ok(bl_merge_new(&r->merge[module], *g, &base, &err), &err);
}

static inline void rig_open(rig *r, const char *family, bl_synth_layout layout) {
    char path[BL_TEST_PATH];
    bl_error err = {0};
    *r = (rig){.family = family};
    bl_synth_checkpoint(path, family, layout);
    rig_ok(bl_checkpoint_open(&r->ckpt, path, NULL, &err), &err);
    rig_ok(bl_architecture_detect(&r->arch, r->ckpt, &err), &err);
    rig_ok(bl_layers_new(&r->layers, &r->arch, &err), &err);
    rig_open_module(r, BL_TEXT_ENCODER);
    rig_open_module(r, BL_TEXT_ENCODER_2);
    rig_open_module(r, BL_UNET);
}

static inline void rig_close(rig *r) {
    for (int i = 0; i < RIG_MODULES; i++) {
        bl_merge_free(&r->merge[i]);
        bl_model_weights_close(&r->weights[i]);
        bl_graph_free(&r->graph[i]);
    }
    bl_layers_free(&r->layers);
    bl_checkpoint_close(&r->ckpt);
}

/* Path of FAMILY/adapters/lora/NAME.safetensors. */
static inline void rig_path(char path[BL_TEST_PATH], const rig *r, const char *name) {
    char inside[256];
    snprintf(inside, sizeof inside, "%s/adapters/lora/%s.safetensors", r->family, name);
    bl_test_data(path, inside);
}

static inline bl_adapter *rig_adapter(const rig *r, const char *name) {
    char path[BL_TEST_PATH];
    bl_error err = {0};
    bl_adapter *a = NULL;
    rig_path(path, r, name);
    rig_ok(bl_adapter_open(&a, path, r->layers, &err), &err);
    return a;
}

/* A JSON file of the family's adapters. */
static inline json_t *rig_json(const rig *r, const char *name) {
    char inside[256];
    snprintf(inside, sizeof inside, "%s/adapters/%s", r->family, name);
    return bl_test_json(inside);
}

#endif
