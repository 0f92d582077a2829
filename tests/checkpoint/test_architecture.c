/* What a checkpoint is: the three families in both layouts, and what others make of them. */
#include "variant.h"

#include <math.h>

static int config_int(const json_t *config, const char *key) {
    json_t *v = json_object_get(config, key);
    assert_true(json_is_integer(v));
    return (int)json_integer_value(v);
}

static json_t *load_config(const char *family, const char *name) {
    char file[256];
    snprintf(file, sizeof file, "%s/%s", family, name);
    return bl_test_json(file);
}

static int item_or_same(const json_t *v, size_t i) {
    return (int)json_integer_value(json_is_array(v) ? json_array_get(v, i) : v);
}

/* Everything that diffusers' configuration says, found in the single file without it. */
static void check_unet(const bl_unet_architecture *u, const char *family) {
    json_t *config = load_config(family, "diffusers/unet/config.json");
    json_t *channels = json_object_get(config, "block_out_channels"),
           *types = json_object_get(config, "down_block_types");
    json_t *up_types = json_object_get(config, "up_block_types"),
           *heads = json_object_get(config, "attention_head_dim");
    json_t *depth = json_object_get(config, "transformer_layers_per_block");
    size_t levels = json_array_size(channels);
    assert_int_equal(u->levels, levels);
    assert_int_equal(u->in_channels, config_int(config, "in_channels"));
    assert_int_equal(u->out_channels, config_int(config, "out_channels"));
    assert_int_equal(u->context_dim, config_int(config, "cross_attention_dim"));
    assert_int_equal(u->groups, config_int(config, "norm_num_groups"));
    assert_true(fabs((double)u->norm_eps - json_number_value(json_object_get(config, "norm_eps"))) < 1e-10);
    json_t *adm = json_object_get(config, "projection_class_embeddings_input_dim");
    assert_int_equal(u->adm_dim, json_is_integer(adm) ? json_integer_value(adm) : 0);
    assert_int_equal(u->time_dim, 4 * u->channels[0]);
    assert_int_equal(u->mid_depth, item_or_same(depth, levels - 1));
    for (size_t l = 0; l < levels; l++) {
        bool attends = strstr(json_string_value(json_array_get(types, l)), "CrossAttn") != NULL;
        bool up_attends = strstr(json_string_value(json_array_get(up_types, l)), "CrossAttn") != NULL;
        assert_int_equal(u->channels[l], json_integer_value(json_array_get(channels, l)));
        assert_int_equal(u->heads[l], item_or_same(heads, l));
        assert_int_equal(u->resnets[l], config_int(config, "layers_per_block"));
        for (int j = 0; j < u->resnets[l]; j++) {
            assert_int_equal(u->down_depth[l][j], attends ? item_or_same(depth, l) : 0);
        }
        for (int j = 0; j <= u->resnets[levels - 1 - l]; j++) {
            assert_int_equal(u->up_depth[l][j], up_attends ? item_or_same(depth, levels - 1 - l) : 0);
        }
    }
    json_decref(config);
}

static void check_vae(const bl_vae_architecture *v, const char *family) {
    json_t *config = load_config(family, "diffusers/vae/config.json");
    json_t *channels = json_object_get(config, "block_out_channels");
    assert_true(v->has_encoder && v->quant_conv && v->post_quant_conv);
    assert_int_equal(v->levels, json_array_size(channels));
    for (int l = 0; l < v->levels; l++) {
        assert_int_equal(v->channels[l], json_integer_value(json_array_get(channels, (size_t)l)));
    }
    assert_int_equal(v->resnets, config_int(config, "layers_per_block"));
    assert_int_equal(v->latent_channels, config_int(config, "latent_channels"));
    assert_int_equal(v->groups, config_int(config, "norm_num_groups"));
    assert_true(v->scale == json_number_value(json_object_get(config, "scaling_factor")));
    json_decref(config);
}

static void check_text(const bl_text_architecture *t, const char *family, const char *component,
                       bool projected) {
    char file[128];
    snprintf(file, sizeof file, "diffusers/%s/config.json", component);
    json_t *config = load_config(family, file);
    assert_true(t->present);
    assert_int_equal(t->width, config_int(config, "hidden_size"));
    assert_int_equal(t->heads, config_int(config, "num_attention_heads"));
    assert_int_equal(t->ff_dim, config_int(config, "intermediate_size"));
    assert_int_equal(t->positions, config_int(config, "max_position_embeddings"));
    assert_int_equal(t->vocab, config_int(config, "vocab_size"));
    assert_int_equal(t->projection, projected ? config_int(config, "projection_dim") : 0);
    assert_int_equal(t->quick_gelu,
                     strcmp(json_string_value(json_object_get(config, "hidden_act")), "quick_gelu") == 0);
    /* A single file of SD 2.x holds one layer more, which is left out. */
    int skipped = t->context_norm ? t->context_skip : 0;
    assert_int_equal(t->layers - skipped, config_int(config, "num_hidden_layers"));
    json_decref(config);
}

static void check_expectations(const bl_architecture *a, const char *family) {
    json_t *expect = load_config(family, "single_file/expect.json");
    assert_string_equal(a->family->name, json_string_value(json_object_get(expect, "architecture")));
    assert_string_equal(bl_prediction_name(a->prediction),
                        json_string_value(json_object_get(expect, "prediction_type")));
    assert_true(a->vae.scale == json_number_value(json_object_get(expect, "vae_scaling_factor")));
    size_t i;
    json_t *pad;
    json_array_foreach(json_object_get(expect, "text_pad_token"), i, pad) {
        assert_int_equal(a->text[i].pad_token, json_integer_value(pad));
    }
    json_decref(expect);
}

static void families_are_recognised(void **state) {
    static const char *const families[] = {"sd15", "sd21v", "sdxl"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        for (int layout = BL_SYNTH_SINGLE; layout <= BL_SYNTH_FOLDER;
             layout += BL_SYNTH_FOLDER - BL_SYNTH_SINGLE) {
            char file[BL_TEST_PATH];
            bl_synth_checkpoint(file, families[i], (bl_synth_layout)layout);
            bl_architecture a = detect(file);
            check_unet(&a.unet, families[i]);
            check_vae(&a.vae, families[i]);
            check_text(&a.text[0], families[i], "text_encoder", false);
            assert_int_equal(a.text[1].present, i == 2);
            if (i == 2) {
                check_text(&a.text[1], families[i], "text_encoder_2", true);
            }
            check_expectations(&a, families[i]);
            assert_false(a.zero_snr);
            assert_int_equal(a.text[0].context_skip, i == 2 || (i == 1 && layout == BL_SYNTH_SINGLE));
            assert_int_equal(a.text[0].context_norm, i != 2);
            assert_int_equal(a.spacing, layout == BL_SYNTH_FOLDER ? BL_SPACING_LEADING : BL_SPACING_UNKNOWN);
        }
    }
}

/* 1x1 convolutions and linear layers are the same numbers: neither says what family it is. */
static void layout_of_projections_says_nothing(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *family = i ? "sd21v" : "sd15";
        for (int rank = 2; rank <= 4; rank += 2) {
            make_variant(family, (variant){.projections = rank}, NULL, 0);
            bl_architecture a = detect(path);
            assert_ptr_equal(a.family, i ? &bl_sd2 : &bl_sd1);
            check_unet(&a.unet, family);
        }
    }
}

static void sd2_folder_of_convolutions_is_sd2(void **state) {
    char from[BL_TEST_PATH], file[BL_TEST_PATH], to[BL_TEST_PATH];
    static const char weights[] = "unet/diffusion_pytorch_model.safetensors";
    (void)state;
    link_folder("sd21v");
    bl_architecture linear = detect(folder);
    bl_synth_checkpoint(from, "sd21v", BL_SYNTH_FOLDER);
    bl_test_join(file, folder, "unet");
    assert_int_equal(unlink(file), 0);
    bl_test_join(file, from, weights);
    bl_test_join(to, folder, weights);
    variant v = {.projections = 4};
    bl_test_rewrite(to, file, apply, &v, NULL, 0);
    json_t *config = load_config("sd21v", "diffusers/unet/config.json");
    json_object_set_new(config, "use_linear_projection", json_false());
    bl_test_join(to, folder, "unet/config.json");
    assert_int_equal(json_dump_file(config, to, 0), 0);
    json_decref(config);
    bl_architecture a = detect(folder);
    assert_ptr_equal(a.family, &bl_sd2);
    assert_memory_equal(&a.unet, &linear.unet, sizeof a.unet);
    assert_memory_equal(&a.text, &linear.text, sizeof a.text);
}

/* SGM's layout, as SD-Turbo's file has it. */
static void sd2_below_sgms_conditioner_is_read(void **state) {
    (void)state;
    make_variant("sd21v",
                 (variant){.named = "cond_stage_model.model.", .renamed = "conditioner.embedders.0.model."},
                 NULL, 0);
    bl_architecture a = detect(path);
    assert_ptr_equal(a.family, &bl_sd2);
    check_text(&a.text[0], "sd21v", "text_encoder", false);
    assert_false(a.text[1].present);
}

/* Files converted back from diffusers hold 23 layers: then none is left out. */
static void sd2_without_its_last_layer_is_read(void **state) {
    (void)state;
    make_variant("sd21v", (variant){.without = "resblocks.23."}, NULL, 0);
    bl_architecture a = detect(path);
    assert_int_equal(a.text[0].layers, 23);
    assert_int_equal(a.text[0].context_skip, 0);
}

/* Distilled models leave transformers out; the names say which. */
static void missing_transformers_are_seen(void **state) {
    (void)state;
    make_variant("sdxl", (variant){.without = "middle_block.1.transformer_blocks.3."}, NULL, 0);
    bl_architecture a = detect(path);
    assert_int_equal(a.unet.mid_depth, 3);
    make_variant("sdxl", (variant){.without = "output_blocks.4.1."}, NULL, 0);
    a = detect(path);
    assert_int_equal(a.unet.up_depth[1][0], 2);
    assert_int_equal(a.unet.up_depth[1][1], 0);
    assert_int_equal(a.unet.up_depth[1][2], 2);
    make_variant("sdxl", (variant){.without = "input_blocks.4.1.transformer_blocks.1."}, NULL, 0);
    a = detect(path);
    assert_int_equal(a.unet.down_depth[1][0], 1);
    assert_int_equal(a.unet.down_depth[1][1], 2);
}

static void text_encoders_of_old_files_are_read(void **state) {
    (void)state;
    make_variant("sd15", (variant){.named = "transformer.text_model.", .renamed = "transformer."}, NULL, 0);
    assert_int_equal(detect(path).text[0].layers, 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(families_are_recognised),
        TEST(layout_of_projections_says_nothing),
        TEST(sd2_folder_of_convolutions_is_sd2),
        TEST(sd2_below_sgms_conditioner_is_read),
        TEST(sd2_without_its_last_layer_is_read),
        TEST(missing_transformers_are_seen),
        TEST(text_encoders_of_old_files_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
