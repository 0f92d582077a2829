#include "support/zimage_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/files.h"
#include "support/synth.h"
#include "support/weight_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WIDTH = 256, HEAD = 128, HIDDEN = 128, CAPTION = 16, TIME_HIDDEN = 64, TIME = 32, SQUARE = 64 };

static void add_layer(bl_weight_list *l, const char *layer, bool timed, bool fused) {
    if (fused) {
        bl_weight_list_add_in(l, layer, "attention.qkv.weight", 3 * WIDTH, WIDTH, 0);
    } else {
        bl_weight_list_add_in(l, layer, "attention.to_q.weight", WIDTH, WIDTH, 0);
        bl_weight_list_add_in(l, layer, "attention.to_k.weight", WIDTH, WIDTH, 0);
        bl_weight_list_add_in(l, layer, "attention.to_v.weight", WIDTH, WIDTH, 0);
    }
    bl_weight_list_add_in(l, layer, fused ? "attention.out.weight" : "attention.to_out.0.weight", WIDTH,
                          WIDTH, 0);
    bl_weight_list_add_in(l, layer, fused ? "attention.q_norm.weight" : "attention.norm_q.weight", HEAD, 0,
                          1);
    bl_weight_list_add_in(l, layer, fused ? "attention.k_norm.weight" : "attention.norm_k.weight", HEAD, 0,
                          1);
    bl_weight_list_add_in(l, layer, "feed_forward.w1.weight", HIDDEN, WIDTH, 0);
    bl_weight_list_add_in(l, layer, "feed_forward.w2.weight", WIDTH, HIDDEN, 0);
    bl_weight_list_add_in(l, layer, "feed_forward.w3.weight", HIDDEN, WIDTH, 0);
    static const char *const norms[] = {"attention_norm1.weight", "ffn_norm1.weight",
                                        "attention_norm2.weight", "ffn_norm2.weight"};
    for (int i = 0; i < 4; i++) {
        bl_weight_list_add_in(l, layer, norms[i], WIDTH, 0, 1);
    }
    if (timed) {
        bl_weight_list_add_in(l, layer, "adaLN_modulation.0.weight", 4 * WIDTH, TIME, 0);
        bl_weight_list_add_in(l, layer, "adaLN_modulation.0.bias", 4 * WIDTH, 0, 0);
    }
}

static void write_transformer(const char *path, const char *prefix, bool fused) {
    bl_weight_list *l = calloc(1, sizeof *l);
    char name[128];
    assert_non_null(l);
    snprintf(name, sizeof name, "%scap_embedder", prefix);
    bl_weight_list_add_in(l, name, "0.weight", CAPTION, 0, 1);
    bl_weight_list_add_in(l, name, "1.weight", WIDTH, CAPTION, 0);
    bl_weight_list_add_in(l, name, "1.bias", WIDTH, 0, 0);
    snprintf(name, sizeof name, "%s%s", prefix, fused ? "x_embedder" : "all_x_embedder.2-1");
    bl_weight_list_add_in(l, name, "weight", WIDTH, SQUARE, 0);
    bl_weight_list_add_in(l, name, "bias", WIDTH, 0, 0);
    snprintf(name, sizeof name, "%s%s", prefix, fused ? "final_layer" : "all_final_layer.2-1");
    bl_weight_list_add_in(l, name, "linear.weight", SQUARE, WIDTH, 0);
    bl_weight_list_add_in(l, name, "linear.bias", SQUARE, 0, 0);
    bl_weight_list_add_in(l, name, "adaLN_modulation.1.weight", WIDTH, TIME, 0);
    bl_weight_list_add_in(l, name, "adaLN_modulation.1.bias", WIDTH, 0, 0);
    snprintf(name, sizeof name, "%st_embedder.mlp", prefix);
    bl_weight_list_add_in(l, name, "0.weight", TIME_HIDDEN, 256, 0);
    bl_weight_list_add_in(l, name, "0.bias", TIME_HIDDEN, 0, 0);
    bl_weight_list_add_in(l, name, "2.weight", TIME, TIME_HIDDEN, 0);
    bl_weight_list_add_in(l, name, "2.bias", TIME, 0, 0);
    static const char *const layers[] = {"noise_refiner.0", "context_refiner.0", "layers.0"};
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, layers[i]);
        add_layer(l, name, i != 1, fused);
    }
    static const char *const pads[] = {"x_pad_token", "cap_pad_token"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, pads[i]);
        bl_weight_list_add(l, name, 1, WIDTH, 0, 1);
    }
    bl_weight_list_write(l, path);
    free(l);
}

void bl_test_zimage_folder(const char *path) {
    static const char config[] =
        "{\"_class_name\": \"ZImageTransformer2DModel\", \"dim\": 256, \"n_heads\": 2, "
        "\"n_layers\": 1, \"axes_dims\": [32, 48, 48]}";
    static const char *const same[] = {"text_encoder", "vae", "scheduler", "model_index.json"};
    char synth[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    bl_synth_folder(synth, "zimage");
    bl_test_join(to, path, "transformer/config.json");
    bl_test_write(to, config, sizeof config - 1);
    bl_test_join(to, path, "transformer/diffusion_pytorch_model.safetensors");
    write_transformer(to, "", false);
    for (int i = 0; i < 4; i++) {
        bl_test_join(from, synth, same[i]);
        bl_test_join(to, path, same[i]);
        assert_int_equal(symlink(from, to), 0);
    }
}

void bl_test_zimage_single(const char *path, const char *prefix) {
    write_transformer(path, prefix, true);
}
