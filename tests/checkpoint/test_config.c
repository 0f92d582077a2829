/* Every key of a diffusers folder's configuration: computed with, without effect, or refused by name. What is
 * right was found by running diffusers and transformers with each value. */
#include "checkpoint/architecture.h"
#include "checkpoint/config.h"
#include "scratch.h"
#include "support/synth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define UNET "unet/config.json"
#define TRANSFORMER "transformer/config.json"
#define VAE "vae/config.json"
#define TEXT "text_encoder/config.json"
#define TEXT_2 "text_encoder_2/config.json"
#define SCHEDULER "scheduler/scheduler_config.json"
#define INDEX "model_index.json"

static const char *const configs[] = {INDEX, SCHEDULER, UNET, TRANSFORMER, VAE, TEXT, TEXT_2};
#define CONFIGS ((int)(sizeof configs / sizeof *configs))

/* `folder` becomes one of this family: its weights are links, its configurations copies. */
static void link_family(const char *family) {
    static const char *const weights[] = {
        "unet/diffusion_pytorch_model.safetensors", "transformer/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors"};
    enum { WEIGHTS = sizeof weights / sizeof *weights };
    char source[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    if (strcmp(family, "zimage") == 0) {
        bl_synth_folder(source, family);
    } else {
        bl_synth_checkpoint(source, family, BL_SYNTH_FOLDER);
    }
    for (int i = 0; i < WEIGHTS + CONFIGS; i++) {
        const char *name = i < WEIGHTS ? weights[i] : configs[i - WEIGHTS];
        bl_test_join(from, source, name);
        bl_test_join(to, folder, name);
        char *real = realpath(from, NULL);
        unlink(to); /* of another family */
        json_error_t why;
        json_t *root = real && i >= WEIGHTS ? json_load_file(real, 0, &why) : NULL;
        if (root) {
            assert_int_equal(json_dump_file(root, to, 0), 0);
        } else if (real) {
            assert_int_equal(symlink(real, to), 0);
        }
        json_decref(root);
        free(real);
    }
}

/* Puts a key of one file, detects, and puts the file back as it was. `value`: JSON. */
static int with(bl_architecture *a, const char *file, const char *key, const char *value, bl_error *err) {
    char name[BL_TEST_PATH];
    json_error_t why;
    bl_checkpoint *c;
    bl_test_join(name, folder, file);
    json_t *before = json_load_file(name, 0, &why), *after = json_deep_copy(before);
    json_t *v = json_loads(value, JSON_DECODE_ANY, &why);
    if (!before || !v) {
        fail_msg("%s, %s: %s", file, value, why.text);
    }
    assert_int_equal(json_object_set_new(after, key, v), 0);
    assert_int_equal(json_dump_file(after, name, 0), 0);
    int rc = bl_checkpoint_open(&c, folder, NULL, err);
    rc = rc ? rc : bl_architecture_detect(a, c, err);
    bl_checkpoint_close(&c);
    assert_int_equal(json_dump_file(before, name, 0), 0);
    json_decref(before);
    json_decref(after);
    return rc;
}

typedef struct one {
    const char *file, *key, *value;
} one;

static void expect_refused(const one *cases, int count) {
    for (int i = 0; i < count; i++) {
        bl_architecture a;
        bl_error err = {.code = 0};
        char quoted[96];
        int rc = with(&a, cases[i].file, cases[i].key, cases[i].value, &err);
        snprintf(quoted, sizeof quoted, "\"%s\"", cases[i].key);
        if (rc != BL_E_UNSUPPORTED || !strstr(err.message, cases[i].file) || !strstr(err.message, quoted) ||
            strchr(err.message, '\n')) {
            fail_msg("%s, %s = %s: %d %s", cases[i].file, cases[i].key, cases[i].value, rc, err.message);
        }
    }
}
#define EXPECT_REFUSED(cases) expect_refused(cases, (int)(sizeof(cases) / sizeof *(cases)))

/* What is run stays what it is. */
static void expect_no_effect(const one *cases, int count) {
    bl_architecture plain, a;
    bl_error err;
    assert_int_equal(with(&plain, INDEX, "_name_or_path", "\"x\"", &err), 0);
    assert_string_equal(plain.unknown_keys, "");
    for (int i = 0; i < count; i++) {
        if (with(&a, cases[i].file, cases[i].key, cases[i].value, &err) || a.unknown_keys[0] ||
            memcmp(&a.unet, &plain.unet, sizeof a.unet) != 0 ||
            memcmp(&a.vae, &plain.vae, sizeof a.vae) != 0 ||
            memcmp(&a.text, &plain.text, sizeof a.text) != 0 || a.zero_snr || a.alpha_to_one) {
            fail_msg("%s, %s = %s: %s", cases[i].file, cases[i].key, cases[i].value, err.message);
        }
    }
}
#define EXPECT_NO_EFFECT(cases) expect_no_effect(cases, (int)(sizeof(cases) / sizeof *(cases)))

static void unets_are_refused_by_name(void **state) {
    static const one cases[] = {
        {UNET, "_class_name", "\"UNetMotionModel\""},
        {UNET, "quantization_config", "{\"load_in_8bit\":true}"},
        {UNET, "center_input_sample", "true"},
        {UNET, "flip_sin_to_cos", "false"},
        {UNET, "freq_shift", "1"},
        {UNET, "down_block_types", "[\"SimpleCrossAttnDownBlock2D\",\"CrossAttnDownBlock2D\"]"},
        {UNET, "down_block_types", "[\"DownBlock2D\",\"DownBlock2D\",\"DownBlock2D\",\"DownBlock2D\"]"},
        {UNET, "down_block_types", "[\"CrossAttnDownBlock2D\"]"},
        {UNET, "down_block_types", "\"DownBlock2D\""},
        {UNET, "mid_block_type", "\"UNetMidBlock2DSimpleCrossAttn\""},
        {UNET, "mid_block_type", "null"},
        {UNET, "up_block_types", "[\"AttnUpBlock2D\"]"},
        {UNET, "up_block_types", "[\"UpBlock2D\",\"UpBlock2D\",\"UpBlock2D\",\"UpBlock2D\"]"},
        {UNET, "only_cross_attention", "true"},
        {UNET, "only_cross_attention", "[false,true,false,false]"},
        {UNET, "block_out_channels", "[64,96,64]"},
        {UNET, "layers_per_block", "1"},
        {UNET, "layers_per_block", "[2,2,2,3]"},
        {UNET, "downsample_padding", "0"},
        {UNET, "mid_block_scale_factor", "1.4"},
        {UNET, "act_fn", "\"gelu\""},
        {UNET, "norm_num_groups", "null"},
        {UNET, "norm_num_groups", "0"},
        {UNET, "norm_num_groups", "-1"},
        {UNET, "norm_num_groups", "1.5"},
        {UNET, "norm_num_groups", "\"32\""},
        {UNET, "norm_eps", "0"},
        {UNET, "norm_eps", "[1e-5]"},
        {UNET, "norm_eps", "\"1e-5\""},
        {UNET, "cross_attention_dim", "64"},
        {UNET, "transformer_layers_per_block", "2"},
        {UNET, "transformer_layers_per_block", "[1,1,2,1]"},
        {UNET, "transformer_layers_per_block", "{}"},
        {UNET, "reverse_transformer_layers_per_block", "[1,2,1,1]"},
        {UNET, "encoder_hid_dim", "16"},
        {UNET, "encoder_hid_dim_type", "\"text_proj\""},
        {UNET, "attention_head_dim", "[]"},
        {UNET, "attention_head_dim", "[8,8,8]"},
        {UNET, "attention_head_dim", "-5"},
        {UNET, "attention_head_dim", "99999999999"},
        {UNET, "attention_head_dim", "\"8\""},
        {UNET, "num_attention_heads", "8"},
        {UNET, "dual_cross_attention", "true"},
        {UNET, "class_embed_type", "\"timestep\""},
        {UNET, "addition_embed_type", "\"text\""},
        {UNET, "addition_embed_type", "\"text_time\""},
        {UNET, "addition_time_embed_dim", "128"},
        {UNET, "num_class_embeds", "10"},
        {UNET, "resnet_time_scale_shift", "\"scale_shift\""},
        {UNET, "resnet_skip_time_act", "true"},
        {UNET, "resnet_out_scale_factor", "2.0"},
        {UNET, "time_embedding_type", "\"fourier\""},
        {UNET, "time_embedding_dim", "128"},
        {UNET, "time_embedding_act_fn", "\"silu\""},
        {UNET, "timestep_post_act", "\"silu\""},
        {UNET, "time_cond_proj_dim", "256"},
        {UNET, "conv_in_kernel", "1"},
        {UNET, "conv_out_kernel", "5"},
        {UNET, "attention_type", "\"gated\""},
        {UNET, "class_embeddings_concat", "true"},
        {UNET, "mid_block_only_cross_attention", "true"},
        {UNET, "cross_attention_norm", "\"layer_norm\""},
        {UNET, "in_channels", "5"},
        {UNET, "out_channels", "8"},
    };
    (void)state;
    link_family("sd15");
    EXPECT_REFUSED(cases);
    link_family("sdxl");
    static const one xl[] = {
        {UNET, "addition_embed_type", "null"},
        {UNET, "addition_embed_type", "\"image\""},
        {UNET, "projection_class_embeddings_input_dim", "2816"},
        {UNET, "transformer_layers_per_block", "[1,2,10]"},
    };
    EXPECT_REFUSED(xl);
}

static void other_files_are_refused_by_name(void **state) {
    static const one cases[] = {
        {VAE, "_class_name", "\"AutoencoderTiny\""},
        {VAE, "in_channels", "6"},
        {VAE, "out_channels", "4"},
        {VAE, "down_block_types", "[\"AttnDownEncoderBlock2D\"]"},
        {VAE, "up_block_types", "[\"AttnUpDecoderBlock2D\"]"},
        {VAE, "block_out_channels", "[64,96,64,32]"},
        {VAE, "layers_per_block", "1"},
        {VAE, "latent_channels", "16"},
        {VAE, "act_fn", "\"mish\""},
        {VAE, "norm_num_groups", "null"},
        {VAE, "norm_num_groups", "[32]"},
        {VAE, "latent_channels", "[4]"},
        {VAE, "scaling_factor", "\"NaN\""},
        {VAE, "scaling_factor", "-1"},
        {VAE, "shift_factor", "0.1"},
        {VAE, "latents_mean", "[0,0,0,0]"},
        {VAE, "latents_std", "[1,1,1,1]"},
        {VAE, "mid_block_add_attention", "false"},
        {TEXT, "architectures", "[\"RobertaSeriesModelWithTransformation\"]"},
        {TEXT, "model_type", "\"t5\""},
        {TEXT, "hidden_act", "\"gelu_new\""},
        {TEXT, "layer_norm_eps", "1e-6"},
        {TEXT, "num_hidden_layers", "\"12\""},
        {TEXT, "num_attention_heads", "0"},
        {TEXT, "num_attention_heads", "[4]"},
        {TEXT, "pruned_heads", "{\"0\":[1]}"},
        {SCHEDULER, "beta_start", "0.0001"},
        {SCHEDULER, "beta_end", "0.02"},
        {SCHEDULER, "beta_schedule", "\"linear\""},
        {SCHEDULER, "trained_betas", "[0.1]"},
        {SCHEDULER, "num_train_timesteps", "500"},
        {SCHEDULER, "prediction_type", "\"sample\""},
        {SCHEDULER, "rescale_betas_zero_snr", "7"},
        {SCHEDULER, "timestep_spacing", "\"other\""},
        {SCHEDULER, "timestep_type", "\"continuous\""},
        {SCHEDULER, "steps_offset", "2"},
        {SCHEDULER, "thresholding", "true"},
        {SCHEDULER, "interpolation_type", "\"log_linear\""},
        {SCHEDULER, "sigma_min", "0.1"},
        {SCHEDULER, "sigma_max", "80"},
        {SCHEDULER, "use_flow_sigmas", "true"},
        {SCHEDULER, "use_dynamic_shifting", "true"},
        {SCHEDULER, "variance_type", "\"learned_range\""},
        {SCHEDULER, "original_inference_steps", "100"},
        {SCHEDULER, "timestep_scaling", "5"},
        {INDEX, "controlnet", "[\"diffusers\",\"ControlNetModel\"]"},
        {INDEX, "motion_adapter", "[\"diffusers\",\"MotionAdapter\"]"},
        {INDEX, "text_encoder", "[\"transformers\",\"T5EncoderModel\"]"},
        {INDEX, "vae", "[\"diffusers\",\"ConsistencyDecoderVAE\"]"},
        {INDEX, "unet", "[\"diffusers\",\"UNetMotionModel\"]"},
        {INDEX, "tokenizer", "[\"transformers\",\"XLMRobertaTokenizer\"]"},
        {INDEX, "requires_aesthetics_score", "true"},
    };
    (void)state;
    link_family("sd15");
    EXPECT_REFUSED(cases);
    link_family("sdxl");
    static const one xl[] = {{TEXT_2, "eos_token_id", "5"},
                             {TEXT_2, "eos_token_id", "null"},
                             {TEXT_2, "hidden_act", "\"relu\""},
                             {SCHEDULER, "clip_sample", "true"}};
    EXPECT_REFUSED(xl);
}

static void what_makes_no_difference_is_taken(void **state) {
    static const one cases[] = {
        {UNET, "sample_size", "96"},
        {UNET, "dropout", "0.5"},
        {UNET, "act_fn", "\"swish\""},
        {UNET, "use_linear_projection", "true"},
        {UNET, "upcast_attention", "true"},
        {UNET, "only_cross_attention", "[false,false,false,false]"},
        {UNET, "layers_per_block", "[2,2,2,2]"},
        {UNET, "cross_attention_dim", "[32,32,32,32]"},
        {UNET, "transformer_layers_per_block", "[1,1,1,1]"},
        {UNET, "reverse_transformer_layers_per_block", "[1,[1,1,1],1,1]"},
        {UNET, "attention_head_dim", "[8,8,8,8]"},
        {UNET, "resnet_out_scale_factor", "1"},
        {UNET, "center_input_sample", "0"},
        {UNET, "mid_block_only_cross_attention", "false"},
        {UNET, "time_embedding_dim", "256"},
        {UNET, "projection_class_embeddings_input_dim", "64"},
        {UNET, "addition_embed_type_num_heads", "32"},
        {UNET, "decay", "0.9999"},
        {UNET, "norm_eps", "0.00001"},
        {VAE, "sample_size", "512"},
        {VAE, "force_upcast", "false"},
        {VAE, "shift_factor", "0.0"},
        {TEXT, "eos_token_id", "5"}, /* nothing is pooled */
        {TEXT, "pad_token_id", "0"},
        {TEXT, "attention_dropout", "0.5"},
        {TEXT, "projection_dim", "7"},
        {TEXT, "pruned_heads", "{}"},
        {TEXT, "id2label", "{\"0\":\"LABEL_0\"}"},
        {TEXT, "architectures", "null"},
        {SCHEDULER, "solver_order", "3"},
        {SCHEDULER, "use_karras_sigmas", "true"},
        {SCHEDULER, "clip_sample", "true"},
        {SCHEDULER, "steps_offset", "0"},
        {SCHEDULER, "algorithm_type", "\"sde-dpmsolver++\""},
        {INDEX, "safety_checker", "[\"stable_diffusion\",\"StableDiffusionSafetyChecker\"]"},
        {INDEX, "controlnet", "[null,null]"},
        {INDEX, "tokenizer", "[\"transformers\",\"CLIPTokenizerFast\"]"},
        {INDEX, "requires_safety_checker", "true"},
        {INDEX, "_class_name", "\"StableDiffusionImg2ImgPipeline\""},
    };
    (void)state;
    link_family("sd15");
    EXPECT_NO_EFFECT(cases);
}

static void what_makes_a_difference_is_computed(void **state) {
    (void)state;
    bl_architecture a;
    bl_error err;
    link_family("sd15");
    assert_int_equal(with(&a, UNET, "norm_eps", "1e-3", &err), 0);
    assert_true(a.unet.norm_eps == 1e-3f);
    assert_int_equal(with(&a, UNET, "norm_num_groups", "16", &err), 0);
    assert_int_equal(a.unet.groups, 16);
    assert_int_equal(with(&a, UNET, "attention_head_dim", "[4,2,4,2]", &err), 0);
    assert_int_equal(a.unet.heads[1], 2);
    assert_int_equal(with(&a, VAE, "norm_num_groups", "16", &err), 0);
    assert_int_equal(a.vae.groups, 16);
    assert_int_equal(with(&a, VAE, "scaling_factor", "0.3", &err), 0);
    assert_true(a.vae.scale == 0.3);
    assert_int_equal(with(&a, VAE, "use_quant_conv", "false", &err), 0);
    assert_true(!a.vae.quant_conv && a.vae.post_quant_conv);
    assert_int_equal(with(&a, VAE, "use_post_quant_conv", "false", &err), 0);
    assert_true(a.vae.quant_conv && !a.vae.post_quant_conv);
    assert_int_equal(with(&a, TEXT, "num_hidden_layers", "11", &err), 0); /* a clip skip for good */
    assert_int_equal(a.text[0].layers, 11);
    assert_int_equal(with(&a, TEXT, "num_attention_heads", "8", &err), 0);
    assert_int_equal(a.text[0].heads, 8);
    assert_int_equal(with(&a, TEXT, "hidden_act", "\"gelu\"", &err), 0);
    assert_false(a.text[0].quick_gelu);
    assert_int_equal(with(&a, SCHEDULER, "set_alpha_to_one", "true", &err), 0);
    assert_true(a.alpha_to_one);
    assert_int_equal(with(&a, SCHEDULER, "rescale_betas_zero_snr", "true", &err), 0);
    assert_true(a.zero_snr);
    assert_int_equal(with(&a, SCHEDULER, "timestep_spacing", "\"trailing\"", &err), 0);
    assert_int_equal(a.spacing, BL_SPACING_TRAILING);
    assert_int_equal(with(&a, UNET, "sample_size", "96", &err), 0);
    assert_int_equal(a.sample_size, 96);
    assert_int_equal(with(&a, UNET, "sample_size", "[96,64]", &err), 0); /* two: the family's is taken */
    assert_int_equal(a.sample_size, 0);
    link_family("sdxl");
    assert_int_equal(with(&a, INDEX, "force_zeros_for_empty_prompt", "true", &err), 0);
    assert_false(a.encodes_empty_negative);
    assert_int_equal(with(&a, INDEX, "force_zeros_for_empty_prompt", "false", &err), 0);
    assert_true(a.encodes_empty_negative);
    assert_true(a.text[1].pools_largest);
    assert_int_equal(with(&a, TEXT_2, "eos_token_id", "49407", &err), 0);
    assert_false(a.text[1].pools_largest);
}

static void transformers_are_held_against_rules(void **state) {
    static const one refused[] = {
        {TRANSFORMER, "_class_name", "\"FluxTransformer2DModel\""},
        {TRANSFORMER, "all_patch_size", "[4]"},
        {TRANSFORMER, "qk_norm", "false"},
        {TRANSFORMER, "siglip_feat_dim", "1152"},
        {TRANSFORMER, "t_scale", "1"},
        {TRANSFORMER, "dim", "64"},
        {TRANSFORMER, "n_layers", "3"},
        {TRANSFORMER, "cap_feat_dim", "\"16\""},
        {TRANSFORMER, "n_refiner_layers", "[1]"}, /* one number is read, of a list none */
        {TRANSFORMER, "in_channels", "[16]"},
        {TEXT, "num_key_value_heads", "[1]"},
        {TEXT, "head_dim", "[16,16]"},
        {SCHEDULER, "base_image_seq_len", "[256]"},
        {VAE, "shift_factor", "\"0.1159\""},
        {VAE, "shift_factor", "true"},
        {VAE, "latents_mean", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"},
        {TEXT, "model_type", "\"qwen2\""},
        {TEXT, "attention_bias", "true"},
        {TEXT, "num_attention_heads", "4"},
        {TEXT, "layer_types", "[\"full_attention\",\"sliding_attention\"]"},
        {TEXT, "rope_scaling", "{\"type\":\"yarn\",\"factor\":4}"},
        {TEXT, "rope_parameters", "7"},
        {TEXT, "rope_theta", "[5000]"},
        {SCHEDULER, "_class_name", "\"EulerDiscreteScheduler\""},
        {SCHEDULER, "shift", "0"},
        {SCHEDULER, "shift", "[6]"},
        {SCHEDULER, "use_karras_sigmas", "true"},
        {INDEX, "controlnet", "[\"diffusers\",\"ZImageControlNetModel\"]"},
    };
    (void)state;
    bl_architecture a;
    bl_error err = {.code = 0};
    link_family("zimage");
    EXPECT_REFUSED(refused);
    assert_int_equal(with(&a, VAE, "shift_factor", "-2", &err), 0);
    assert_true(a.vae.shift == -2);
    /* rope_theta moved into an object, where other kinds of frequencies are, too */
    assert_int_equal(
        with(&a, TEXT, "rope_parameters", "{\"rope_theta\":5000,\"rope_type\":\"default\"}", &err), 0);
    assert_true(a.qwen3.theta == 5000);
    assert_string_equal(a.unknown_keys, "");
    assert_int_equal(with(&a, TEXT, "rope_parameters", "{\"rope_type\":\"yarn\",\"factor\":4}", &err),
                     BL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, TEXT));
    assert_non_null(strstr(err.message, "\"rope_type\" is \"yarn\""));
    assert_int_equal(with(&a, TEXT, "rope_parameters", "{\"rope_theta\":[5000]}", &err), BL_E_UNSUPPORTED);
}

static void unknown_keys_are_told(void **state) {
    static const one cases[] = {{UNET, "foo", "3"},
                                {VAE, "foo", "\"x\""},
                                {TEXT, "foo", "[1]"},
                                {SCHEDULER, "foo", "true"},
                                {INDEX, "foo", "{\"a\":1}"}};
    (void)state;
    bl_architecture a;
    bl_error err;
    char expected[96];
    link_family("sd15");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(with(&a, cases[i].file, cases[i].key, cases[i].value, &err), 0);
        snprintf(expected, sizeof expected, "\"foo\" in ");
        assert_non_null(strstr(a.unknown_keys, expected));
        assert_non_null(strstr(a.unknown_keys, cases[i].file));
    }
    static const char *const nothings[] = {"null", "false", "[]", "{}", "\"\""};
    for (size_t i = 0; i < sizeof nothings / sizeof *nothings; i++) {
        assert_int_equal(with(&a, UNET, "foo", nothings[i], &err), 0);
        assert_string_equal(a.unknown_keys, "");
    }
    json_t *many = json_object();
    char unknown[BL_UNKNOWN_BYTES] = "";
    for (int i = 0; i < 100; i++) {
        snprintf(expected, sizeof expected, "a_long_name_of_a_key_%d", i);
        json_object_set_new(many, expected, json_integer(i));
    }
    assert_int_equal(
        bl_config_check(many, bl_unet_folder_rules.denoiser, "/x/unet/config.json", unknown, &err), 0);
    json_decref(many);
    assert_true(strlen(unknown) < sizeof unknown);
    assert_string_equal(unknown + strlen(unknown) - 5, ", ...");
    assert_non_null(strstr(unknown, "\"a_long_name_of_a_key_0\" in unet/config.json, "));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(unets_are_refused_by_name),           TEST(other_files_are_refused_by_name),
        TEST(what_makes_no_difference_is_taken),   TEST(what_makes_a_difference_is_computed),
        TEST(transformers_are_held_against_rules), TEST(unknown_keys_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
