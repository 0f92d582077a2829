#include "support/zimage_lora.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "checkpoint/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 256, HIDDEN = 128, RANK = BL_TEST_LORA_RANK, MOST = 256 };

const bl_test_lora_form bl_test_lora_forms[BL_TEST_LORA_FORMS] = {
    {"diffusers", "transformer.", false, false, "lora_A.weight", "lora_B.weight"},
    {"PEFT", "base_model.model.", false, false, "lora_A.default.weight", "lora_B.default.weight"},
    {"ComfyUI, layers apart", "diffusion_model.", false, false, "lora_down.weight", "lora_up.weight"},
    {"ComfyUI", "diffusion_model.", false, true, "lora_A.weight", "lora_B.weight"},
    {"kohya, layers apart", "lora_unet_", true, false, "lora_down.weight", "lora_up.weight"},
    {"kohya", "lora_unet_", true, true, "lora_down.weight", "lora_up.weight"},
    {"OneTrainer", "lora_transformer_", true, false, "lora_down.weight", "lora_up.weight"},
    {"LyCORIS", "lycoris_", true, true, "lora_down.weight", "lora_up.weight"},
};

static const char bias_layer[] = "all_x_embedder.2-1";

/* A change: of up to three layers that have their down in common. */
typedef struct change {
    const char *layer[3], *authors;
    int count, rows, columns;
} change;

static const change changes[] = {
    {{"attention.to_q", "attention.to_k", "attention.to_v"}, "attention.qkv", 3, WIDTH, WIDTH},
    {{"attention.to_out.0"}, "attention.out", 1, WIDTH, WIDTH},
    {{"feed_forward.w1"}, "feed_forward.w1", 1, HIDDEN, WIDTH},
    {{"feed_forward.w2"}, "feed_forward.w2", 1, WIDTH, HIDDEN},
    {{"feed_forward.w3"}, "feed_forward.w3", 1, HIDDEN, WIDTH},
};
static const char *const blocks[] = {"noise_refiner.0", "context_refiner.0", "layers.0"};

/* About +-0.3, the same for the same name. */
static void draw(float *v, int64_t n, const char *name, char side) {
    uint32_t state = (uint32_t)side;
    for (const char *p = name; *p; p++) {
        state = state * 31 + (uint32_t)*p;
    }
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        v[i] = 0.3f * ((float)(state >> 8) / 8388608.0f - 1);
    }
}

typedef struct list {
    bl_tensor_data tensors[MOST];
    char names[MOST][160];
    int count;
} list;

/* Takes the values, of malloc. */
static void add(list *l, const bl_test_lora_form *form, const char *layer, const char *leaf, int rows,
                int columns, float *values) {
    char *name = l->names[l->count];
    assert_true(l->count < MOST && values);
    const int head = snprintf(name, sizeof l->names[0], "%s%s", form->prefix, layer);
    for (char *p = name; form->flat && *p; p++) {
        *p = *p == '.' ? '_' : *p;
    }
    snprintf(name + head, sizeof l->names[0] - (size_t)head, ".%s", leaf);
    l->tensors[l->count++] = (bl_tensor_data){.name = name,
                                              .dtype = BL_F32,
                                              .rank = columns ? 2
                                                      : rows  ? 1
                                                              : 0,
                                              .shape = {rows, columns},
                                              .data = values};
}

static float *drawn(int64_t n, const char *name, char side) {
    float *v = malloc((size_t)n * sizeof *v);
    assert_non_null(v);
    draw(v, n, name, side);
    return v;
}

static float *one(float value) {
    float *v = malloc(sizeof *v);
    assert_non_null(v);
    *v = value;
    return v;
}

static void full_name(char out[128], const char *block, const char *layer) {
    snprintf(out, 128, "%s.%s", block, layer);
}

/* The rows of a layer's up by the name of the layer itself, the down by that of the first. */
static void add_change(list *l, const bl_test_lora_form *form, const char *block, const change *c) {
    char first[128], name[128];
    full_name(first, block, c->layer[0]);
    if (form->authors) {
        const int64_t share = (int64_t)c->rows * RANK;
        float *up = malloc((size_t)(c->count * share) * sizeof *up);
        assert_non_null(up);
        for (int i = 0; i < c->count; i++) {
            full_name(name, block, c->layer[i]);
            draw(up + i * share, share, name, 'u');
        }
        full_name(name, block, c->authors);
        add(l, form, name, form->up, c->count * c->rows, RANK, up);
        add(l, form, name, form->down, RANK, c->columns, drawn((int64_t)RANK * c->columns, first, 'd'));
        add(l, form, name, "alpha", 0, 0, one(BL_TEST_LORA_ALPHA));
        return;
    }
    for (int i = 0; i < c->count; i++) {
        full_name(name, block, c->layer[i]);
        add(l, form, name, form->up, c->rows, RANK, drawn((int64_t)c->rows * RANK, name, 'u'));
        add(l, form, name, form->down, RANK, c->columns, drawn((int64_t)RANK * c->columns, first, 'd'));
        add(l, form, name, "alpha", 0, 0, one(BL_TEST_LORA_ALPHA));
    }
}

void bl_test_zimage_lora(const char *path, const bl_test_lora_form *form) {
    list *l = calloc(1, sizeof *l);
    bl_error err;
    assert_non_null(l);
    for (int b = 0; b < 3; b++) {
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
            add_change(l, form, blocks[b], &changes[i]);
        }
    }
    add(l, form, form->authors ? "x_embedder" : bias_layer, "diff_b", WIDTH, 0,
        drawn(WIDTH, bias_layer, 'b'));
    if (bl_safetensors_write(path, l->tensors, l->count, NULL, 0, &err)) {
        fail_msg("%s", err.message);
    }
    for (int i = 0; i < l->count; i++) {
        free((void *)(uintptr_t)l->tensors[i].data);
    }
    free(l);
}

/* The change of a layer, which is number *which of its layers; NULL: none. */
static const change *change_of(const char *layer, int *which, char first[128]) {
    char name[128];
    for (int b = 0; b < 3; b++) {
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
            for (*which = 0; *which < changes[i].count; ++*which) {
                full_name(name, blocks[b], changes[i].layer[*which]);
                full_name(first, blocks[b], changes[i].layer[0]);
                if (!strcmp(name, layer)) {
                    return &changes[i];
                }
            }
        }
    }
    return NULL;
}

double *bl_test_zimage_delta(const char *layer, bool bias, int64_t *count) {
    char first[128];
    int which;
    const change *c = bias ? NULL : change_of(layer, &which, first);
    const int rows = c ? c->rows : WIDTH, columns = c ? c->columns : 1;
    *count = (int64_t)rows * columns;
    if (!c && (!bias || strcmp(layer, bias_layer) != 0)) {
        return NULL;
    }
    float *up = c ? drawn((int64_t)rows * RANK, layer, 'u') : drawn(rows, layer, 'b');
    float *down = c ? drawn((int64_t)RANK * columns, first, 'd') : NULL;
    double *out = calloc((size_t)*count, sizeof *out);
    assert_non_null(out);
    for (int64_t i = 0; i < *count; i++) {
        for (int k = 0; k < (c ? RANK : 0); k++) {
            out[i] += (double)up[i / columns * RANK + k] * (double)down[k * columns + i % columns] *
                      (double)BL_TEST_LORA_ALPHA / RANK;
        }
        out[i] += c ? 0 : (double)up[i];
    }
    free(up);
    free(down);
    return out;
}
