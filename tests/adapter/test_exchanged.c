/* A layer whose halves its authors' files have in the other order (FLUX.2's last modulation): every kind of
 * change under their name is, bit for bit, the change under diffusers' name whose rows were exchanged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapter/merge.h"
#include "checkpoint/architecture.h"
#include "model/flux2.h"
#include "model/weights.h"
#include "support/files.h"
#include "support/flux2_files.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 512, COLUMNS = 256, MOST = 5 };

static char folder[BL_TEST_PATH], file[BL_TEST_PATH];
static bl_checkpoint *ckpt;
static bl_architecture arch;
static bl_layers *layers;
static bl_graph *graph;
static bl_model_weights weights;
static bl_merge *merge;
static const bl_weight *modulation;

static void good(int rc, const bl_error *err) {
    if (rc) {
        fail_msg("%s", err->message);
    }
}

static int open_model(void **state) {
    const bl_flux2_shape shape = {.batch = 1, .height = 8, .width = 8, .tokens = 32};
    bl_error err = {0};
    (void)state;
    bl_test_folder(folder);
    bl_test_flux2_folder(folder);
    bl_test_join(file, folder, "lora.safetensors");
    good(bl_checkpoint_open(&ckpt, folder, NULL, &err), &err);
    good(bl_architecture_detect(&arch, ckpt, &err), &err);
    good(bl_layers_new(&layers, &arch, &err), &err);
    good(bl_flux2_graph(&graph, &arch.flux2, &shape, BL_F32, NULL, &err), &err);
    good(bl_model_weights_open(&weights, graph, ckpt, &err), &err);
    const bl_source base = bl_model_source(&weights);
    good(bl_merge_new(&merge, graph, &base, &err), &err);
    for (int i = 0; i < graph->weight_count; i++) {
        const bl_weight *w = &graph->weights[i];
        modulation = strcmp(w->name[0], "norm_out.linear.weight") ? modulation : w;
    }
    assert_non_null(modulation);
    assert_true(modulation->shape[0] == ROWS && modulation->shape[1] == COLUMNS);
    return 0;
}

static int close_model(void **state) {
    (void)state;
    bl_merge_free(&merge);
    bl_model_weights_close(&weights);
    bl_graph_free(&graph);
    bl_layers_free(&layers);
    bl_checkpoint_close(&ckpt);
    bl_test_folder_remove(folder);
    return 0;
}

/* A tensor of a change. `by_row`: its first axis is the layer's outputs, or LoKr's blocks of them. */
typedef struct tensor {
    const char *leaf;
    int rows, columns;
    bool by_row;
} tensor;

typedef struct change {
    const char *what;
    tensor tensors[MOST];
} change;

static const change changes[] = {
    {"LoRA", {{"lora_down.weight", 3, COLUMNS, false}, {"lora_up.weight", ROWS, 3, true}}},
    {"full", {{"diff", ROWS, COLUMNS, true}}},
    {"LoKr", {{"lokr_w1", 4, 8, true}, {"lokr_w2", ROWS / 4, COLUMNS / 8, false}}},
    {"LoHa",
     {{"hada_w1_a", ROWS, 2, true},
      {"hada_w1_b", 2, COLUMNS, false},
      {"hada_w2_a", ROWS, 2, true},
      {"hada_w2_b", 2, COLUMNS, false}}},
    {"DoRA by output",
     {{"lora_down.weight", 3, COLUMNS, false},
      {"lora_up.weight", ROWS, 3, true},
      {"dora_scale", ROWS, 1, true}}},
    {"DoRA by input",
     {{"lora_down.weight", 3, COLUMNS, false},
      {"lora_up.weight", ROWS, 3, true},
      {"dora_scale", 1, COLUMNS, false}}},
};

/* `exchanged`: the halves of what is by row. */
static void write_change(const change *c, const char *layer, bool exchanged) {
    bl_tensor_data data[MOST] = {{0}};
    char names[MOST][128];
    bl_error err = {0};
    int count = 0;
    for (; count < MOST && c->tensors[count].leaf; count++) {
        const tensor *t = &c->tensors[count];
        const int n = t->rows * t->columns;
        float *values = malloc((size_t)n * sizeof *values);
        assert_non_null(values);
        snprintf(names[count], sizeof names[0], "%s.%s", layer, t->leaf);
        uint32_t seed = (uint32_t)(count + 1);
        for (int i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            values[exchanged && t->by_row ? (i + n / 2) % n : i] = (float)(seed >> 8) / 83886080.0f;
        }
        data[count] = (bl_tensor_data){
            .name = names[count], .dtype = BL_F32, .rank = 2, .shape = {t->rows, t->columns}, .data = values};
    }
    good(bl_safetensors_write(file, data, count, NULL, 0, &err), &err);
    for (int i = 0; i < count; i++) {
        free((void *)(uintptr_t)data[i].data);
    }
}

/* All rows of the modulation with the file's change, read in pieces that reach over the middle. */
static void merged(float *out) {
    bl_error err = {0};
    bl_adapter *a;
    good(bl_adapter_open(&a, file, layers, &err), &err);
    assert_int_equal(a->unmatched, 0);
    const bl_wanted wanted = {.adapter = a, .text = 0, .denoiser = 0.5};
    good(bl_merge_set(merge, &(bl_changes){&wanted, 1, NULL}, &err), &err);
    const bl_source s = bl_merge_source(merge);
    for (int b = 0; b < ROWS; b += 100) {
        const int e = b + 100 < ROWS ? b + 100 : ROWS;
        good(s.read(s.payload, modulation, 0, b, e, out + (size_t)b * COLUMNS, &err), &err);
    }
    good(bl_merge_set(merge, &(bl_changes){NULL, 0, NULL}, &err), &err);
    bl_adapter_drop(&a);
}

static void every_kind_finds_its_rows(void **state) {
    static const char *const authors[] = {"diffusion_model.final_layer.adaLN_modulation.1",
                                          "lora_unet_final_layer_adaLN_modulation_1"};
    static float wanted[ROWS * COLUMNS], got[ROWS * COLUMNS], other[ROWS * COLUMNS];
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        write_change(&changes[i], "transformer.norm_out.linear", true);
        merged(wanted);
        write_change(&changes[i], "transformer.norm_out.linear", false);
        merged(other);
        write_change(&changes[i], authors[i % 2], false);
        merged(got);
        if (memcmp(got, wanted, sizeof got) != 0 || !memcmp(other, wanted, sizeof other)) {
            fail_msg("%s: other rows", changes[i].what);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kind_finds_its_rows)};
    return cmocka_run_group_tests(tests, open_model, close_model);
}
