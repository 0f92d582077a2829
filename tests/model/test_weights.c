/* The weights of the graphs: each tensor of a checkpoint is used once, and what is missing or misshapen is
 * named. */
#include "rig.h"

#include "model/autoencoder_kl.h"
#include "model/clip_text.h"
#include "model/unet.h"

#define MAX_GRAPHS 2

/* The graphs that together use all tensors of a component of weights.json. Returns how many. */
static int graphs_of(const rig *r, const char *component, bl_graph *graphs[MAX_GRAPHS]) {
    bl_error err = {0};
    if (!strcmp(component, "unet")) {
        bl_unet_shape shape = {.batch = 1, .height = 8, .width = 8, .tokens = 77};
        rig_ok(bl_unet_graph(&graphs[0], &r->arch.unet, shape, BL_F32, NULL, &err), &err);
        return 1;
    }
    if (!strcmp(component, "vae")) {
        bl_vae_shape shape = {.batch = 1, .height = 8, .width = 8};
        rig_ok(bl_vae_decoder_graph(&graphs[0], &r->arch.vae, shape, BL_F32, NULL, &err), &err);
        rig_ok(bl_vae_encoder_graph(&graphs[1], &r->arch.vae, shape, BL_F32, NULL, &err), &err);
        return 2;
    }
    int second = !strcmp(component, "text_encoder_2");
    bl_clip_text_outputs want = {.last_hidden_state = true, .text_embeds = second};
    rig_ok(bl_clip_text_graph(&graphs[0], second ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER, &r->arch.text[second],
                              1, 77, want, BL_F32, NULL, &err),
           &err);
    return 1;
}

static void check_weights(const bl_graph *g, const bl_checkpoint *ckpt) {
    bl_error err = {0};
    bl_model_weights weights;
    rig_ok(bl_model_weights_open(&weights, g, ckpt, &err), &err);
    assert_int_equal(weights.view_count, g->weight_count);
    bl_model_weights_close(&weights);
}

/* How many weights of the graphs read this tensor. */
static int uses(bl_graph *const *graphs, int count, const char *name) {
    int n = 0;
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < graphs[i]->weight_count; k++) {
            const bl_weight *w = &graphs[i]->weights[k];
            for (int part = 0; part < w->parts; part++) {
                n += !strcmp(w->name[part], name);
            }
        }
    }
    return n;
}

static int parts_of(bl_graph *const *graphs, int count) {
    int n = 0;
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < graphs[i]->weight_count; k++) {
            n += graphs[i]->weights[k].parts;
        }
    }
    return n;
}

/* Every tensor of the diffusers folder is used exactly once, and nothing else is; both layouts pass the
 * check. */
static void test_every_tensor_once(void **state) {
    (void)state;
    for (int i = 0; i < RIG_FAMILIES; i++) {
        rig single, folder;
        char name[RIG_NAME];
        rig_open(&single, rig_families[i], BL_SYNTH_SINGLE, "text", 1);
        rig_open(&folder, rig_families[i], BL_SYNTH_FOLDER, "text", 1);
        rig_name(name, "%s/weights.json", rig_families[i]);
        json_t *weights = bl_test_json(name), *tensors;
        const char *component;
        json_object_foreach(json_object_get(weights, "components"), component, tensors) {
            if (!strcmp(component, "text_encoder_extra")) { /* what single files hold and nobody reads */
                continue;
            }
            bl_graph *graphs[MAX_GRAPHS];
            int count = graphs_of(&single, component, graphs);
            size_t index;
            json_t *tensor;
            json_array_foreach(tensors, index, tensor) {
                const char *tensor_name = json_string_value(json_array_get(tensor, 0));
                assert_non_null(tensor_name);
                if (uses(graphs, count, tensor_name) != 1) {
                    fail_msg("%s %s: %s is used %d times", rig_families[i], component, tensor_name,
                             uses(graphs, count, tensor_name));
                }
            }
            assert_int_equal(parts_of(graphs, count), json_array_size(tensors));
            for (int k = 0; k < count; k++) {
                check_weights(graphs[k], single.ckpt);
                check_weights(graphs[k], folder.ckpt);
                bl_graph_free(&graphs[k]);
            }
        }
        json_decref(weights);
        rig_close(&single);
        rig_close(&folder);
    }
}

static void assert_mentions(const char *message, const char *const *words) {
    for (; *words; words++) {
        if (!strstr(message, *words)) {
            fail_msg("\"%s\" is not in: %s", *words, message);
        }
    }
}

/* Checks the UNet of `arch` against the checkpoint: must be refused in these words. */
static void assert_refused(const rig *r, const bl_unet_architecture *arch, const char *const *words) {
    bl_graph *g = NULL;
    bl_error err = {0};
    bl_unet_shape shape = {.batch = 1, .height = 8, .width = 8, .tokens = 77};
    rig_ok(bl_unet_graph(&g, arch, shape, BL_F32, NULL, &err), &err);
    bl_model_weights weights;
    assert_int_equal(bl_model_weights_open(&weights, g, r->ckpt, &err), BL_E_FORMAT);
    assert_null(weights.views);
    assert_mentions(err.message, words);
    bl_graph_free(&g);
}

static void test_wrong_shape(void **state) {
    (void)state;
    rig r;
    rig_open(&r, "sd15", BL_SYNTH_FOLDER, "text", 1);
    bl_unet_architecture arch = r.arch.unet;
    arch.context_dim = 40;
    assert_refused(&r, &arch,
                   (const char *const[]){"unet",
                                         "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
                                         "[64, 40]", "[64, 32]", NULL});
    rig_close(&r);
}

static void test_missing(void **state) {
    (void)state;
    rig r;
    rig_open(&r, "sd15", BL_SYNTH_SINGLE, "text", 1);
    bl_unet_architecture arch = r.arch.unet;
    arch.mid_depth = 2;
    assert_refused(&r, &arch,
                   (const char *const[]){"unet", "middle_block.1.transformer_blocks.1.norm1.weight",
                                         "missing", "[64]", NULL});
    rig_close(&r);
}

/* Rows read apart are the rows read at once; the text projection, which one layout stores transposed, is the
 * same in both. */
static void test_source(void **state) {
    (void)state;
    rig single, folder;
    bl_error err = {0};
    rig_open(&single, "sdxl", BL_SYNTH_SINGLE, "text", 1);
    rig_open(&folder, "sdxl", BL_SYNTH_FOLDER, "text", 1);
    bl_graph *graphs[MAX_GRAPHS];
    graphs_of(&single, "text_encoder_2", graphs);
    bl_model_weights in_single, in_folder;
    rig_ok(bl_model_weights_open(&in_single, graphs[0], single.ckpt, &err), &err);
    rig_ok(bl_model_weights_open(&in_folder, graphs[0], folder.ckpt, &err), &err);
    bl_source a = bl_model_source(&in_single), b = bl_model_source(&in_folder);
    int compared = 0;
    for (int i = 0; i < graphs[0]->weight_count; i++) {
        bl_weight nameless = graphs[0]->weights[i]; /* names were looked up when the source was made */
        memset(nameless.name, 0, sizeof nameless.name);
        const bl_weight *w = &nameless;
        int64_t rows = w->shape[0] / w->parts, each = bl_weight_elements(w) / w->shape[0];
        for (int part = 0; part < w->parts && w->kind != BL_W_EMBEDDING; part++) {
            size_t row_bytes = (size_t)each * sizeof(float);
            char *whole = malloc((size_t)rows * row_bytes), *pieces = malloc((size_t)rows * row_bytes);
            assert_true(whole && pieces);
            assert_int_equal(a.dtype(a.payload, w, part), BL_F32);
            rig_ok(a.read(a.payload, w, part, 0, rows, whole, &err), &err);
            for (int64_t row = 0; row < rows; row += 7) {
                int64_t end = row + 7 < rows ? row + 7 : rows;
                rig_ok(b.read(b.payload, w, part, row, end, pieces + (size_t)row * row_bytes, &err), &err);
            }
            assert_memory_equal(whole, pieces, (size_t)rows * row_bytes);
            assert_int_not_equal(a.read(a.payload, w, part, 0, rows + 1, whole, &err), 0);
            free(whole);
            free(pieces);
            compared++;
        }
    }
    assert_int_equal(compared, 515); /* all 517 but the two tables */
    bl_model_weights_close(&in_single);
    bl_model_weights_close(&in_folder);
    bl_graph_free(&graphs[0]);
    rig_close(&single);
    rig_close(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tensor_once),
        cmocka_unit_test(test_wrong_shape),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
