/* What is refused: relatives that cannot be computed, other files, parts that do not agree, senseless shapes.
 */
#include "variant.h"

static void expect_refusal(const char *file, int code, const char *text) {
    bl_checkpoint *c;
    bl_architecture a;
    bl_error err = {.code = 0};
    if (bl_checkpoint_open(&c, file, NULL, &err)) {
        fail_msg("%s", err.message);
    }
    int rc = bl_architecture_detect(&a, c, &err);
    if (rc != code || !strstr(err.message, text) || strchr(err.message, '\n')) {
        fail_msg("expected code %d and \"%s\", got code %d: %s", code, text, rc, err.message);
    }
    bl_checkpoint_close(&c);
}

static void known_relatives_are_refused(void **state) {
    static const struct {
        const char *family;
        variant v;
        int code;
        const char *text;
    } cases[] = {
        {"sd15",
         {.reshaped = UNET "input_blocks.0.0.weight", .axis = 1, .size = 9},
         BL_E_UNSUPPORTED,
         "inpainting"},
        {"sdxl",
         {.reshaped = UNET "input_blocks.0.0.weight", .axis = 1, .size = 9},
         BL_E_UNSUPPORTED,
         "inpainting"},
        {"sd15",
         {.reshaped = UNET "input_blocks.0.0.weight", .axis = 1, .size = 8},
         BL_E_UNSUPPORTED,
         "edits pictures"},
        {"sd21v",
         {.reshaped = UNET "input_blocks.0.0.weight", .axis = 1, .size = 5},
         BL_E_UNSUPPORTED,
         "depth"},
        {"sd15",
         {.reshaped = UNET "input_blocks.0.0.weight", .axis = 1, .size = 7},
         BL_E_UNSUPPORTED,
         "from 7 to 4"},
        {"sdxl", {.without = "conditioner.embedders.0."}, BL_E_UNSUPPORTED, "refiner"},
        {"sdxl",
         {.without = "conditioner.embedders.0.",
          .named = "embedders.1.",
          .renamed = "embedders.0.",
          .reshaped = UNET "label_emb.0.0.weight",
          .axis = 1,
          .size = 80 + 5 * 256},
         BL_E_UNSUPPORTED,
         "refiner"},
        {"sdxl",
         {.without = "conditioner.embedders.0.", .named = "embedders.1.", .renamed = "embedders.0."},
         BL_E_UNSUPPORTED,
         "unCLIP"},
        {"sdxl", {.without = "conditioner.embedders.1."}, BL_E_FORMAT, "second text encoder"},
        {"sd15", {.named = "model_ema.decay", .renamed = "edm_mean"}, BL_E_UNSUPPORTED, "EDM"},
        {"sd21v", {.named = "model_ema.decay", .renamed = "edm_vpred.sigma_max"}, BL_E_UNSUPPORTED, "EDM"},
        {"sd15",
         {.named = "model_ema.decay", .renamed = UNET "time_embed.cond_proj.weight"},
         BL_E_UNSUPPORTED,
         "LCM"},
        {"sd15", {.without = "cond_stage_model."}, BL_E_FORMAT, "no text encoder"},
        {"sd15", {.without = "first_stage_model.decoder."}, BL_E_FORMAT, "--vae"},
        {"sd15", {.without = UNET}, BL_E_UNSUPPORTED, "a text encoder without a unet"},
        {"sd15", {.without = "attn2.to_k"}, BL_E_FORMAT, "attn2.to_k.weight\" of the unet is missing"},
        {"sd15", {.without = "time_embed.0."}, BL_E_FORMAT, "time_embed.0.weight\" of the unet is missing"},
        {"sd15", {.without = UNET "output_blocks.11."}, BL_E_FORMAT, "on the way up"},
        {"sd15", {.without = "transformer_blocks"}, BL_E_UNSUPPORTED, "no attention"},
        {"sd15",
         {.without = "text_model.encoder.layers."},
         BL_E_FORMAT,
         "layers.0.mlp.fc1.weight\" of the text_encoder is missing"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_variant(cases[i].family, cases[i].v, NULL, 0);
        expect_refusal(path, cases[i].code, cases[i].text);
    }
}

static void parts_must_agree(void **state) {
    (void)state;
    /* SDXL with the first encoder of other width: 80 values are expected, 40 + 48 are given */
    make_variant(
        "sdxl",
        (variant){.reshaped =
                      "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
                  .axis = 1,
                  .size = 40},
        NULL, 0);
    expect_refusal(path, BL_E_FORMAT, "context of width 80, the text encoders give 88");
    make_variant("sdxl", (variant){.reshaped = UNET "label_emb.0.0.weight", .axis = 1, .size = 2816}, NULL,
                 0);
    expect_refusal(path, BL_E_FORMAT, "expects 2816 values");
    make_variant("sd15",
                 (variant){.reshaped = UNET "input_blocks.1.0.in_layers.2.weight", .axis = 0, .size = 72},
                 NULL, 0);
    expect_refusal(path, BL_E_FORMAT, "32 groups do not divide");
    make_variant("sd15",
                 (variant){.reshaped = "first_stage_model.decoder.conv_in.weight", .axis = 1, .size = 16},
                 NULL, 0);
    expect_refusal(path, BL_E_UNSUPPORTED, "16 latent channels");
}

/* FLUX.1's networks with more inputs than latents, by as many tensors as tell. */
static void relatives_of_flux1_are_named(void **state) {
    static const struct {
        int columns;
        const char *text;
    } cases[] = {{384, "FLUX.1 Fill"}, {128, "FLUX.1 Canny or Depth"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int end = 8 + 4 * cases[i].columns;
        char header[512];
        snprintf(header, sizeof header,
                 "{\"double_blocks.0.img_mod.lin.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],"
                 "\"data_offsets\":[0,4]},\"guidance_in.in_layer.weight\":{\"dtype\":\"F32\","
                 "\"shape\":[1,1],\"data_offsets\":[4,8]},\"img_in.weight\":{\"dtype\":\"F32\","
                 "\"shape\":[1,%d],\"data_offsets\":[8,%d]}}",
                 cases[i].columns, end);
        bl_test_write_header(path, header, (uint64_t)end);
        expect_refusal(path, BL_E_UNSUPPORTED, cases[i].text);
    }
}

static void other_files_are_named(void **state) {
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"lora_unet_down_blocks_0.lora_up.weight", "a LoRA"},
        {"control_model.input_hint_block.0.weight", "a ControlNet"},
        {"emb_params", "a textual inversion"},
        {"distilled_guidance_layer.in_proj.weight", "is Chroma"},
        {"double_blocks.0.img_attn.qkv.weight", "a relative of FLUX.1"},
        {"model.diffusion_model.double_layers.0.w", "AuraFlow"},
        {"transformer_blocks.0.norm1.linear.weight", "a diffusion transformer"},
        {"first_stage_model.decoder.conv_in.weight", "use it with --vae"},
        {"decoder.mid.block_1.conv1.weight", "use it with --vae"},
        {"text_model.final_layer_norm.weight", "a text encoder"},
        {"body.0.rdb1.conv1.weight", "unknown architecture; saw 1 tensors (1 x \"body\")"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char header[256];
        snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                 cases[i].name);
        bl_test_write_header(path, header, 1);
        expect_refusal(path, BL_E_UNSUPPORTED, cases[i].text);
    }
    bl_test_write_header(path, "{}", 0);
    expect_refusal(path, BL_E_UNSUPPORTED, "saw 0 tensors");
    bl_test_write_header(path,
                         "{\"__metadata__\":{\"modelspec.architecture\":\"wuerstchen\"},"
                         "\"a.x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                         "\"a.y\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},"
                         "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}",
                         3);
    expect_refusal(path, BL_E_UNSUPPORTED, "\"wuerstchen\"; saw 3 tensors (2 x \"a\", 1 x \"b\")");
}

static void folders_of_other_pipelines_are_named(void **state) {
    (void)state;
    char file[BL_TEST_PATH];
    static const char text[] = "{\"_class_name\": \"FluxPipeline\"}";
    bl_test_join(file, folder, "model_index.json");
    bl_test_write(file, text, sizeof text - 1);
    expect_refusal(folder, BL_E_UNSUPPORTED, "is a FluxPipeline without weights in unet/");
}

/* Shapes of the right names that make no sense: an error, whatever it says, and no crash. */
static void senseless_shapes_are_errors(void **state) {
    static const char *const names[] = {
        UNET "input_blocks.0.0.weight",
        UNET "out.2.weight",
        UNET "time_embed.0.weight",
        UNET "input_blocks.4.0.in_layers.2.weight",
        UNET "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        "first_stage_model.decoder.conv_in.weight",
        "first_stage_model.decoder.up.0.block.0.conv1.weight",
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (int axis = 0; axis < 2; axis++) {
            bl_checkpoint *c;
            bl_architecture a;
            bl_error err;
            make_variant("sd15", (variant){.reshaped = names[i], .axis = axis, .size = 0}, NULL, 0);
            assert_int_equal(bl_checkpoint_open(&c, path, NULL, &err), 0);
            int rc = bl_architecture_detect(&a, c, &err);
            assert_true(rc == 0 || rc == BL_E_FORMAT || rc == BL_E_UNSUPPORTED);
            bl_checkpoint_close(&c);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(known_relatives_are_refused), TEST(parts_must_agree),
        TEST(other_files_are_named),       TEST(folders_of_other_pipelines_are_named),
        TEST(senseless_shapes_are_errors), TEST(relatives_of_flux1_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
