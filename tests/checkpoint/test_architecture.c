/* What a checkpoint is: the three families in both layouts, how prediction is found, and what is refused. */
#include "checkpoint/architecture.h"
#include "scratch.h"
#include "support/synth.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bl_architecture detect(const char *file) {
    bl_checkpoint *c;
    bl_architecture a = {.family = &bl_sd1};
    bl_error err;
    if (bl_checkpoint_open(&c, file, NULL, &err) || bl_architecture_detect(&a, c, &err)) {
        fail_msg("%s", err.message);
    }
    bl_checkpoint_close(&c);
    return a;
}

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

/* ---- the families */

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

/* ---- variants made from a family */

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

static bool apply(void *context, char *name, bl_tensor_data *t) {
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

static void make_variant(const char *family, variant v, const char *const *metadata, int metadata_count) {
    char from[BL_TEST_PATH];
    bl_synth_checkpoint(from, family, BL_SYNTH_SINGLE);
    bl_test_rewrite(path, from, apply, &v, metadata, metadata_count);
}

static void expect_prediction(bl_prediction prediction, bool zero_snr, const char *source) {
    bl_architecture a = detect(path);
    if (a.prediction != prediction || a.zero_snr != zero_snr || !strstr(a.prediction_source, source)) {
        fail_msg("%s by \"%s\", zero SNR %d", bl_prediction_name(a.prediction), a.prediction_source,
                 a.zero_snr);
    }
}

/* A tensor of no use is there in every file of the first two families: it becomes the marker. */
#define MARK(name) ((variant){.named = "model_ema.decay", .renamed = (name)})

static void markers_and_metadata_decide(void **state) {
    (void)state;
    static const char *const v_type[] = {"modelspec.prediction_type", "v"};
    static const char *const epsilon_type[] = {"modelspec.prediction_type", "epsilon"};
    static const char *const odd_type[] = {"modelspec.prediction_type", "flow"};
    static const char *const base[] = {"modelspec.architecture", "stable-diffusion-v2-512"};
    static const char *const v768[] = {"modelspec.architecture", "stable-diffusion-v2-768-v"};
    make_variant("sd15", MARK("v_pred"), NULL, 0);
    expect_prediction(BL_PREDICT_V, false, "v_pred");
    make_variant("sd15", MARK("ztsnr"), NULL, 0);
    expect_prediction(BL_PREDICT_EPSILON, true, "usual");
    make_variant("sd15", (variant){.named = "model_ema.decay", .renamed = "v_pred", .without = "betas"},
                 epsilon_type, 1);
    expect_prediction(BL_PREDICT_V, false, "v_pred");
    make_variant("sd15", (variant){.without = NULL}, v_type, 1);
    expect_prediction(BL_PREDICT_V, false, "modelspec.prediction_type");
    make_variant("sd15", (variant){.without = NULL}, odd_type, 1);
    expect_prediction(BL_PREDICT_EPSILON, false, "usual");
    make_variant("sd21v", (variant){.without = NULL}, epsilon_type, 1);
    expect_prediction(BL_PREDICT_EPSILON, false, "modelspec.prediction_type");
    make_variant("sd21v", (variant){.without = NULL}, base, 1);
    expect_prediction(BL_PREDICT_EPSILON, false, "modelspec.architecture");
    make_variant("sd21v", (variant){.without = NULL}, v768, 1);
    expect_prediction(BL_PREDICT_V, false, "modelspec.architecture");
    assert_false(detect(path).prediction_guessed);
}

/* The spread of one tensor tells SD 2.x's two kinds apart; it stays a guess. */
static void weights_of_sd2_tell_what_they_predict(void **state) {
    static const char bias[] = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
    (void)state;
    make_variant("sd21v", (variant){.floats = true}, NULL, 0);
    expect_prediction(BL_PREDICT_V, false, "spreads as in v models");
    assert_true(detect(path).prediction_guessed);
    make_variant("sd21v", (variant){.floats = true, .reshaped = bias, .size = 100}, NULL, 0); /* zeros */
    expect_prediction(BL_PREDICT_EPSILON, false, "spreads as in base models");
    assert_true(detect(path).prediction_guessed);
    make_variant("sd21v", (variant){.floats = true, .without = bias}, NULL, 0);
    expect_prediction(BL_PREDICT_EPSILON, false, "usual");
    assert_true(detect(path).prediction_guessed);
}

/* `folder` becomes one of this family without a scheduler; its parts are links. */
static void link_folder(const char *family) {
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

static void schedulers_decide(void **state) {
    static const struct {
        const char *text;
        bl_prediction prediction;
        bool zero_snr;
        bl_spacing spacing;
    } cases[] = {
        {"{\"prediction_type\":\"v_prediction\",\"rescale_betas_zero_snr\":true,\"timestep_spacing\":"
         "\"trailing\"}",
         BL_PREDICT_V, true, BL_SPACING_TRAILING},
        {"{\"timestep_spacing\":\"linspace\"}", BL_PREDICT_EPSILON, false, BL_SPACING_LINSPACE},
        {"{}", BL_PREDICT_EPSILON, false, BL_SPACING_UNKNOWN},
    };
    (void)state;
    char file[BL_TEST_PATH];
    link_folder("sd21v");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_test_join(file, folder, "scheduler/scheduler_config.json");
        bl_test_write(file, cases[i].text, strlen(cases[i].text));
        bl_architecture a = detect(folder);
        assert_int_equal(a.prediction, cases[i].prediction);
        assert_int_equal(a.zero_snr, cases[i].zero_snr);
        assert_int_equal(a.spacing, cases[i].spacing);
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

/* ---- refusals */

#define UNET "model.diffusion_model."

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

static void other_files_are_named(void **state) {
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"lora_unet_down_blocks_0.lora_up.weight", "a LoRA"},
        {"control_model.input_hint_block.0.weight", "a ControlNet"},
        {"emb_params", "a textual inversion"},
        {"model.diffusion_model.joint_blocks.0.x.weight", "Stable Diffusion 3"},
        {"joint_blocks.0.x.weight", "Stable Diffusion 3"},
        {"double_blocks.0.img_attn.qkv.weight", "Flux"},
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
        TEST(families_are_recognised),
        TEST(markers_and_metadata_decide),
        TEST(weights_of_sd2_tell_what_they_predict),
        TEST(schedulers_decide),
        TEST(layout_of_projections_says_nothing),
        TEST(sd2_folder_of_convolutions_is_sd2),
        TEST(sd2_below_sgms_conditioner_is_read),
        TEST(sd2_without_its_last_layer_is_read),
        TEST(missing_transformers_are_seen),
        TEST(text_encoders_of_old_files_are_read),
        TEST(known_relatives_are_refused),
        TEST(parts_must_agree),
        TEST(other_files_are_named),
        TEST(folders_of_other_pipelines_are_named),
        TEST(senseless_shapes_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
