#include "support/flux2_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/files.h"
#include "support/synth.h"
#include "support/weight_list.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WIDTH = 256, HEAD = 128, HIDDEN = 256, CONTEXT = 48, CHANNELS = 128, SINUSOIDS = 256 };

/* A tensor in both layouts. */
typedef struct named {
    const char *diffusers, *authors;
    int rows, columns; /* of a vector of ones and noise: 0 */
} named;

static const named ends[] = {
    {"time_guidance_embed.timestep_embedder.linear_1.weight", "time_in.in_layer.weight", WIDTH, SINUSOIDS},
    {"time_guidance_embed.timestep_embedder.linear_2.weight", "time_in.out_layer.weight", WIDTH, WIDTH},
    {"double_stream_modulation_img.linear.weight", "double_stream_modulation_img.lin.weight", 6 * WIDTH,
     WIDTH},
    {"double_stream_modulation_txt.linear.weight", "double_stream_modulation_txt.lin.weight", 6 * WIDTH,
     WIDTH},
    {"single_stream_modulation.linear.weight", "single_stream_modulation.lin.weight", 3 * WIDTH, WIDTH},
    {"x_embedder.weight", "img_in.weight", WIDTH, CHANNELS},
    {"context_embedder.weight", "txt_in.weight", WIDTH, CONTEXT},
    {"proj_out.weight", "final_layer.linear.weight", CHANNELS, WIDTH},
    {"single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight", "single_blocks.0.linear1.weight",
     3 * WIDTH + 2 * HIDDEN, WIDTH},
    {"single_transformer_blocks.0.attn.to_out.weight", "single_blocks.0.linear2.weight", WIDTH,
     WIDTH + HIDDEN},
    {"single_transformer_blocks.0.attn.norm_q.weight", "single_blocks.0.norm.query_norm.scale", HEAD, 0},
    {"single_transformer_blocks.0.attn.norm_k.weight", "single_blocks.0.norm.key_norm.scale", HEAD, 0},
    {"transformer_blocks.0.attn.norm_q.weight", "double_blocks.0.img_attn.norm.query_norm.scale", HEAD, 0},
    {"transformer_blocks.0.attn.norm_k.weight", "double_blocks.0.img_attn.norm.key_norm.scale", HEAD, 0},
    {"transformer_blocks.0.attn.norm_added_q.weight", "double_blocks.0.txt_attn.norm.query_norm.scale", HEAD,
     0},
    {"transformer_blocks.0.attn.norm_added_k.weight", "double_blocks.0.txt_attn.norm.key_norm.scale", HEAD,
     0},
    {"transformer_blocks.0.attn.to_out.0.weight", "double_blocks.0.img_attn.proj.weight", WIDTH, WIDTH},
    {"transformer_blocks.0.attn.to_add_out.weight", "double_blocks.0.txt_attn.proj.weight", WIDTH, WIDTH},
    {"transformer_blocks.0.ff.linear_in.weight", "double_blocks.0.img_mlp.0.weight", 2 * HIDDEN, WIDTH},
    {"transformer_blocks.0.ff.linear_out.weight", "double_blocks.0.img_mlp.2.weight", WIDTH, HIDDEN},
    {"transformer_blocks.0.ff_context.linear_in.weight", "double_blocks.0.txt_mlp.0.weight", 2 * HIDDEN,
     WIDTH},
    {"transformer_blocks.0.ff_context.linear_out.weight", "double_blocks.0.txt_mlp.2.weight", WIDTH, HIDDEN},
};

/* `prefix`: of its authors' names; NULL: diffusers'. `guided`: with the weights that dev has more. */
static void write_transformer(const char *path, const char *prefix, bool guided) {
    static const char *const three[2][3] = {{"attn.to_q", "attn.to_k", "attn.to_v"},
                                            {"attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"}};
    bl_weight_list *l = calloc(1, sizeof *l);
    char name[128];
    assert_non_null(l);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const named *e = &ends[i];
        snprintf(name, sizeof name, "%s%s", prefix ? prefix : "", prefix ? e->authors : e->diffusers);
        bl_weight_list_add(l, name, e->rows, e->columns, e->columns ? 0 : 1, e->columns ? 0.1f : 0.2f);
    }
    for (int i = 1; i <= 2 && guided; i++) {
        snprintf(name, sizeof name, "time_guidance_embed.guidance_embedder.linear_%d.weight", i);
        bl_weight_list_add(l, name, WIDTH, i == 1 ? SINUSOIDS : WIDTH, 0, 0.1f);
    }
    for (int text = 0; text < 2; text++) {
        for (int i = 0; i < (prefix ? 1 : 3); i++) {
            snprintf(name, sizeof name, "transformer_blocks.0.%s.weight", three[text][i]);
            if (prefix) {
                snprintf(name, sizeof name, "%sdouble_blocks.0.%s_attn.qkv.weight", prefix,
                         text ? "txt" : "img");
            }
            bl_weight_list_add(l, name, prefix ? 3 * WIDTH : WIDTH, WIDTH, 0, 0.1f);
        }
    }
    snprintf(name, sizeof name, "%s%s", prefix ? prefix : "",
             prefix ? "final_layer.adaLN_modulation.1.weight" : "norm_out.linear.weight");
    bl_weight_list_add(l, name, 2 * WIDTH, WIDTH, 0, 0.1f);
    if (prefix) {
        bl_weight_list_swap(l);
    }
    bl_weight_list_write(l, path);
    free(l);
}

void bl_test_flux2_folder(const char *path) {
    static const char config[] =
        "{\"_class_name\": \"Flux2Transformer2DModel\", \"num_layers\": 1, \"num_single_layers\": 1, "
        "\"num_attention_heads\": 2, \"attention_head_dim\": 128, \"joint_attention_dim\": 48}";
    static const char *const same[] = {"text_encoder", "vae", "scheduler", "model_index.json"};
    char synth[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    bl_synth_folder(synth, "flux2/klein_2_2");
    bl_test_join(to, path, "transformer/config.json");
    bl_test_write(to, config, sizeof config - 1);
    bl_test_join(to, path, "transformer/diffusion_pytorch_model.safetensors");
    write_transformer(to, NULL, false);
    for (int i = 0; i < 4; i++) {
        bl_test_join(from, synth, same[i]);
        bl_test_join(to, path, same[i]);
        assert_int_equal(symlink(from, to), 0);
    }
}

/* A Mistral of 31 layers, width 16 and one head of keys, in a model that reads pictures, too. */
static void write_mistral(const char *path) {
    enum { NARROW = 16, LAYERS = 31 };
    bl_weight_list *l = calloc(1, sizeof *l);
    char layer[64];
    assert_non_null(l);
    bl_weight_list_add_in(l, "language_model.model", "embed_tokens.weight", 64, NARROW, 0);
    for (int i = 0; i < LAYERS; i++) {
        snprintf(layer, sizeof layer, "language_model.model.layers.%d", i);
        bl_weight_list_add_in(l, layer, "self_attn.q_proj.weight", 2 * NARROW, NARROW, 0);
        bl_weight_list_add_in(l, layer, "self_attn.k_proj.weight", NARROW, NARROW, 0);
        bl_weight_list_add_in(l, layer, "self_attn.v_proj.weight", NARROW, NARROW, 0);
        bl_weight_list_add_in(l, layer, "self_attn.o_proj.weight", NARROW, 2 * NARROW, 0);
        bl_weight_list_add_in(l, layer, "mlp.gate_proj.weight", NARROW, NARROW, 0);
        bl_weight_list_add_in(l, layer, "mlp.up_proj.weight", NARROW, NARROW, 0);
        bl_weight_list_add_in(l, layer, "mlp.down_proj.weight", NARROW, NARROW, 0);
        bl_weight_list_add_in(l, layer, "input_layernorm.weight", NARROW, 0, 1);
        bl_weight_list_add_in(l, layer, "post_attention_layernorm.weight", NARROW, 0, 1);
    }
    bl_weight_list_write(l, path);
    free(l);
}

void bl_test_flux2_dev_folder(const char *path) {
    static const char config[] = "{\"guidance_embeds\": true}",
                      text[] = "{\"model_type\": \"mistral3\", \"text_config\": {\"model_type\": "
                               "\"mistral\", \"head_dim\": 16}}",
                      index[] = "{\"_class_name\": \"Flux2Pipeline\"}";
    char synth[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    bl_synth_folder(synth, "flux2/klein_2_2");
    bl_test_join(to, path, "model_index.json");
    bl_test_write(to, index, sizeof index - 1);
    bl_test_join(to, path, "transformer/config.json");
    bl_test_write(to, config, sizeof config - 1);
    bl_test_join(to, path, "transformer/diffusion_pytorch_model.safetensors");
    write_transformer(to, NULL, true);
    bl_test_join(to, path, "text_encoder/config.json");
    bl_test_write(to, text, sizeof text - 1);
    bl_test_join(to, path, "text_encoder/model.safetensors");
    write_mistral(to);
    bl_test_join(from, synth, "vae");
    bl_test_join(to, path, "vae");
    assert_int_equal(symlink(from, to), 0);
}

void bl_test_flux2_single(const char *path, const char *prefix) {
    write_transformer(path, prefix, false);
}
