/* Every key that a configuration of a family of transformers may hold. */
#include "checkpoint/config.h"

#include <stddef.h>

/* diffusers' ZImageTransformer2DModel. Its shapes are the tensors'. */
static const bl_config_rule zimage_rules[] = {
    {"_class_name", "[\"ZImageTransformer2DModel\"]"},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"quantization_config", "[null]"},
    {"all_patch_size", "[2]"},
    {"all_f_patch_size", "[1]"},
    {"in_channels", BL_ONE_WHOLE},
    {"dim", BL_ONE_WHOLE},
    {"n_layers", BL_ONE_WHOLE},
    {"n_refiner_layers", BL_ONE_WHOLE},
    {"n_heads", BL_ONE_WHOLE},
    {"n_kv_heads", NULL}, /* diffusers passes it over, too */
    {"norm_eps", BL_POSITIVE},
    {"qk_norm", "[true]"},
    {"cap_feat_dim", BL_ONE_WHOLE},
    {"siglip_feat_dim", "[null]"},
    {"rope_theta", BL_POSITIVE},
    {"t_scale", "[1000]"},
    {"axes_dims", BL_WHOLE},
    {"axes_lens", NULL}, /* how long diffusers makes its tables */
    {NULL, NULL},
};

/* diffusers' FluxTransformer2DModel. */
static const bl_config_rule flux1_rules[] = {
    {"_class_name", "[\"FluxTransformer2DModel\"]"},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"quantization_config", "[null]"},
    {"patch_size", "[1]"},
    {"in_channels", BL_ONE_WHOLE},
    {"out_channels", "[null,64]"},
    {"num_layers", BL_ONE_WHOLE},
    {"num_single_layers", BL_ONE_WHOLE},
    {"attention_head_dim", BL_ONE_WHOLE},
    {"num_attention_heads", BL_ONE_WHOLE},
    {"joint_attention_dim", BL_ONE_WHOLE},
    {"pooled_projection_dim", BL_ONE_WHOLE},
    {"guidance_embeds", "[true,false]"},
    {"axes_dims_rope", BL_WHOLE},
    {NULL, NULL},
};

/* diffusers' SD3Transformer2DModel. Which blocks have a second attention, the tensors say. */
static const bl_config_rule sd3_rules[] = {
    {"_class_name", "[\"SD3Transformer2DModel\"]"},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"quantization_config", "[null]"},
    {"sample_size", NULL}, /* of the table of positions, which the weights hold */
    {"patch_size", "[2]"},
    {"in_channels", BL_ONE_WHOLE},
    {"out_channels", "[null,16]"},
    {"num_layers", BL_ONE_WHOLE},
    {"attention_head_dim", BL_ONE_WHOLE},
    {"num_attention_heads", BL_ONE_WHOLE},
    {"joint_attention_dim", BL_ONE_WHOLE},
    {"caption_projection_dim", BL_ONE_WHOLE},
    {"pooled_projection_dim", BL_ONE_WHOLE},
    {"pos_embed_max_size", BL_ONE_WHOLE},
    {"dual_attention_layers", NULL}, /* detect_sd3 */
    {"qk_norm", "[null,\"rms_norm\"]"},
    {NULL, NULL},
};

/* diffusers' Flux2Transformer2DModel. */
static const bl_config_rule flux2_rules[] = {
    {"_class_name", "[\"Flux2Transformer2DModel\"]"},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"quantization_config", "[null]"},
    {"patch_size", "[1]"},
    {"in_channels", BL_ONE_WHOLE},
    {"out_channels", "[null,128]"},
    {"num_layers", BL_ONE_WHOLE},
    {"num_single_layers", BL_ONE_WHOLE},
    {"attention_head_dim", BL_ONE_WHOLE},
    {"num_attention_heads", BL_ONE_WHOLE},
    {"joint_attention_dim", BL_ONE_WHOLE},
    {"timestep_guidance_channels", BL_ONE_WHOLE},
    {"mlp_ratio", BL_POSITIVE}, /* the tensors' shapes */
    {"axes_dims_rope", BL_WHOLE},
    {"rope_theta", BL_POSITIVE},
    {"eps", BL_POSITIVE},
    {"guidance_embeds", "[true,false]"},
    {NULL, NULL},
};

/* diffusers' AutoencoderKL, as Flux.1 has it. */
static const bl_config_rule vae_rules[] = {
    {"_class_name", "[\"AutoencoderKL\"]"},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"quantization_config", "[null]"},
    {"in_channels", "[3]"},
    {"out_channels", "[3]"},
    {"down_block_types", "[\"DownEncoderBlock2D\"]"},
    {"up_block_types", "[\"UpDecoderBlock2D\"]"},
    {"block_out_channels", BL_WHOLE},
    {"layers_per_block", BL_ONE_WHOLE},
    {"act_fn", "[\"silu\",\"swish\"]"},
    {"latent_channels", BL_ONE_WHOLE},
    {"norm_num_groups", BL_ONE_WHOLE},
    {"sample_size", NULL}, /* of diffusers' tiles */
    {"scaling_factor", BL_POSITIVE},
    {"shift_factor", BL_NUMBER},
    {"latents_mean", "[null]"},
    {"latents_std", "[null]"},
    {"force_upcast", NULL}, /* of half precision */
    {"use_quant_conv", "[true,false]"},
    {"use_post_quant_conv", "[true,false]"},
    {"mid_block_add_attention", "[true]"},
    {NULL, NULL},
};

/* diffusers' AutoencoderKLFlux2. */
static const bl_config_rule flux2_vae_rules[] = {
    {"_class_name", "[\"AutoencoderKLFlux2\"]"},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"quantization_config", "[null]"},
    {"in_channels", "[3]"},
    {"out_channels", "[3]"},
    {"down_block_types", "[\"DownEncoderBlock2D\"]"},
    {"up_block_types", "[\"UpDecoderBlock2D\"]"},
    {"block_out_channels", BL_WHOLE},
    {"decoder_block_out_channels", "[null]"},
    {"layers_per_block", BL_ONE_WHOLE},
    {"act_fn", "[\"silu\",\"swish\"]"},
    {"latent_channels", BL_ONE_WHOLE},
    {"norm_num_groups", BL_ONE_WHOLE},
    {"patch_size", "[2]"},
    {"batch_norm_eps", BL_POSITIVE},
    {"batch_norm_momentum", NULL}, /* of training */
    {"sample_size", NULL},         /* of diffusers' tiles */
    {"force_upcast", NULL},        /* of half precision */
    {"use_quant_conv", "[true,false]"},
    {"use_post_quant_conv", "[true,false]"},
    {"mid_block_add_attention", "[true]"},
    {NULL, NULL},
};

/* transformers' Qwen3Config. Its shapes are the tensors'. What else a configuration of transformers may hold
 * is about training, output and writing text. */
static const bl_config_rule qwen3_rules[] = {
    {"architectures", "[null,\"Qwen3ForCausalLM\",\"Qwen3Model\"]"},
    {"model_type", "[\"qwen3\"]"},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"quantization_config", "[null]"},
    {"vocab_size", BL_ONE_WHOLE},
    {"hidden_size", BL_ONE_WHOLE},
    {"intermediate_size", BL_ONE_WHOLE},
    {"num_hidden_layers", BL_ONE_WHOLE},
    {"num_attention_heads", BL_ONE_WHOLE},
    {"num_key_value_heads", BL_ONE_WHOLE},
    {"head_dim", BL_ONE_WHOLE},
    {"hidden_act", "[\"silu\"]"},
    {"rms_norm_eps", BL_POSITIVE},
    {"rope_theta", BL_POSITIVE},
    {"rope_scaling", "[null]"},
    {"rope_parameters", NULL}, /* rope_rules */
    {"attention_bias", "[false]"},
    {"use_sliding_window", "[false]"},
    {"sliding_window", NULL},
    {"max_window_layers", NULL},
    {"layer_types", "[null,\"full_attention\"]"},
    {"attention_dropout", NULL},
    {"max_position_embeddings", NULL}, /* far above what a prompt has */
    {"tie_word_embeddings", NULL},     /* no words are written */
    {"initializer_range", NULL},
    {"pad_token_id", NULL},
    {"bos_token_id", NULL},
    {"eos_token_id", NULL},
    {"transformers_version", NULL},
    {"attn_implementation", NULL},
    {"use_cache", NULL},
    {"chunk_size_feed_forward", NULL},
    {"id2label", NULL},
    {"label2id", NULL},
    {"is_decoder", NULL},
    {"is_encoder_decoder", NULL},
    {"output_attentions", NULL},
    {"output_hidden_states", NULL},
    {"problem_type", NULL},
    {"return_dict", NULL},
    {"add_cross_attention", NULL},
    {"cross_attention_hidden_size", NULL},
    {"pruned_heads", "[null,{}]"},
    {"use_bfloat16", NULL},
    {"torchscript", NULL},
    {NULL, NULL},
};

/* transformers' MistralConfig, as far as it says what is planned. */
static const bl_config_rule mistral_rules[] = {
    {"architectures", NULL},
    {"model_type", "[null,\"mistral\"]"},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"quantization_config", "[null]"},
    {"vocab_size", BL_ONE_WHOLE},
    {"hidden_size", BL_ONE_WHOLE},
    {"intermediate_size", BL_ONE_WHOLE},
    {"num_hidden_layers", BL_ONE_WHOLE},
    {"num_attention_heads", BL_ONE_WHOLE},
    {"num_key_value_heads", BL_ONE_WHOLE},
    {"head_dim", BL_ONE_WHOLE},
    {"hidden_act", "[\"silu\"]"},
    {"rms_norm_eps", BL_POSITIVE},
    {"rope_theta", BL_POSITIVE},
    {"rope_parameters", NULL},
    {"sliding_window", NULL},
    {"attention_dropout", NULL},
    {"initializer_range", NULL},
    {"max_position_embeddings", NULL},
    {"tie_word_embeddings", NULL},
    {"use_cache", NULL},
    {NULL, NULL},
};

/* transformers' T5Config, of version 1.1. Its shapes are the tensors'. */
static const bl_config_rule t5_rules[] = {
    {"architectures", "[null,\"T5EncoderModel\",\"T5ForConditionalGeneration\",\"T5Model\"]"},
    {"model_type", "[\"t5\"]"},
    {"torch_dtype", NULL},
    {"dtype", NULL},
    {"quantization_config", "[null]"},
    {"vocab_size", BL_ONE_WHOLE},
    {"d_model", BL_ONE_WHOLE},
    {"d_kv", BL_ONE_WHOLE},
    {"d_ff", BL_ONE_WHOLE},
    {"num_layers", BL_ONE_WHOLE},
    {"num_decoder_layers", NULL}, /* nothing decodes */
    {"num_heads", BL_ONE_WHOLE},
    {"relative_attention_num_buckets", BL_ONE_WHOLE},
    {"relative_attention_max_distance", BL_ONE_WHOLE},
    {"layer_norm_epsilon", BL_POSITIVE},
    {"feed_forward_proj", "[\"gated-gelu\"]"},
    {"dense_act_fn", "[\"gelu_new\"]"},
    {"is_gated_act", "[true]"},
    {"dropout_rate", NULL},
    {"classifier_dropout", NULL},
    {"initializer_factor", NULL},
    {"is_encoder_decoder", NULL},
    {"is_decoder", NULL},
    {"use_cache", NULL},
    {"output_past", NULL},
    {"n_positions", NULL},
    {"pad_token_id", NULL},
    {"eos_token_id", NULL},
    {"bos_token_id", NULL},
    {"decoder_start_token_id", NULL},
    {"task_specific_params", NULL},
    {"tie_word_embeddings", NULL},
    {"scale_decoder_outputs", NULL},
    {"transformers_version", NULL},
    {NULL, NULL},
};

/* transformers 5 has rope_theta in here, and other kinds of frequencies by their names. */
static const bl_config_rule rope_rules[] = {
    {"rope_type", "[\"default\"]"},
    {"rope_theta", BL_POSITIVE},
    {NULL, NULL},
};

/* diffusers' FlowMatchEulerDiscreteScheduler: what it says of the noise levels counts. Which sampler it is,
 * is for --sampler to say. */
static const bl_config_rule flow_rules[] = {
    {"_class_name", "[\"FlowMatchEulerDiscreteScheduler\"]"},
    {"num_train_timesteps", "[1000]"},
    {"shift", BL_POSITIVE},
    {"use_dynamic_shifting", "[true,false]"},
    {"base_shift", BL_POSITIVE},
    {"max_shift", BL_POSITIVE},
    {"base_image_seq_len", BL_ONE_WHOLE},
    {"max_image_seq_len", BL_ONE_WHOLE},
    {"time_shift_type", "[\"exponential\",\"linear\"]"},
    {"invert_sigmas", "[false]"},
    {"shift_terminal", "[null]"},
    {"use_karras_sigmas", "[null,false]"},
    {"use_exponential_sigmas", "[null,false]"},
    {"use_beta_sigmas", "[null,false]"},
    {"stochastic_sampling", "[null,false]"},
    {NULL, NULL},
};

/* model_index.json. Components are checked by their classes. */
static const bl_config_rule zimage_index_rules[] = {
    {"transformer", "[null,\"diffusers\",\"ZImageTransformer2DModel\"]"},
    {"vae", "[null,\"diffusers\",\"AutoencoderKL\"]"},
    {"text_encoder", "[null,\"transformers\",\"Qwen3Model\",\"Qwen3ForCausalLM\"]"},
    {"tokenizer", "[null,\"transformers\",\"Qwen2Tokenizer\",\"Qwen2TokenizerFast\"]"},
    {"scheduler", NULL}, /* its own file says more */
    {NULL, NULL},
};

/* Kontext's network is dev's: its pipeline alone says that it was trained to change pictures. */
static const bl_config_rule flux1_index_rules[] = {
    {"_class_name", "[\"FluxPipeline\",\"FluxImg2ImgPipeline\",\"FluxInpaintPipeline\"]"},
    {"transformer", "[null,\"diffusers\",\"FluxTransformer2DModel\"]"},
    {"vae", "[null,\"diffusers\",\"AutoencoderKL\"]"},
    {"text_encoder", "[null,\"transformers\",\"CLIPTextModel\"]"},
    {"text_encoder_2", "[null,\"transformers\",\"T5EncoderModel\"]"},
    {"tokenizer", NULL}, /* nothing reads its words */
    {"tokenizer_2", NULL},
    {"scheduler", NULL}, /* its own file says more */
    {"image_encoder", "[null]"},
    {"feature_extractor", NULL},
    {NULL, NULL},
};

static const bl_config_rule sd3_index_rules[] = {
    {"transformer", "[null,\"diffusers\",\"SD3Transformer2DModel\"]"},
    {"vae", "[null,\"diffusers\",\"AutoencoderKL\"]"},
    {"text_encoder", "[null,\"transformers\",\"CLIPTextModelWithProjection\"]"},
    {"text_encoder_2", "[null,\"transformers\",\"CLIPTextModelWithProjection\"]"},
    {"text_encoder_3", "[null,\"transformers\",\"T5EncoderModel\"]"},
    {"tokenizer", "[null,\"transformers\",\"CLIPTokenizer\",\"CLIPTokenizerFast\"]"},
    {"tokenizer_2", "[null,\"transformers\",\"CLIPTokenizer\",\"CLIPTokenizerFast\"]"},
    {"tokenizer_3", "[null,\"transformers\",\"T5Tokenizer\",\"T5TokenizerFast\"]"},
    {"scheduler", NULL}, /* its own file says more */
    {"image_encoder", "[null]"},
    {"feature_extractor", NULL},
    {NULL, NULL},
};

static const bl_config_rule flux2_index_rules[] = {
    {"transformer", "[null,\"diffusers\",\"Flux2Transformer2DModel\"]"},
    {"vae", "[null,\"diffusers\",\"AutoencoderKLFlux2\"]"},
    {"text_encoder", "[null,\"transformers\",\"Qwen3Model\",\"Qwen3ForCausalLM\"]"},
    {"tokenizer", "[null,\"transformers\",\"Qwen2Tokenizer\",\"Qwen2TokenizerFast\"]"},
    {"scheduler", NULL},              /* its own file says more */
    {"is_distilled", "[true,false]"}, /* what is recommended */
    {NULL, NULL},
};

static const bl_config_rule flux2_dev_index_rules[] = {
    {"transformer", "[null,\"diffusers\",\"Flux2Transformer2DModel\"]"},
    {"vae", "[null,\"diffusers\",\"AutoencoderKLFlux2\"]"},
    {"text_encoder", "[null,\"transformers\",\"Mistral3ForConditionalGeneration\"]"},
    {"tokenizer", NULL}, /* nothing reads its words */
    {"scheduler", NULL}, /* its own file says more */
    {NULL, NULL},
};

/* Qwen's words are those that Ballast has; nothing that a tokenizer's file says beside its class changes what
 * a prompt is read as. */
static const bl_config_rule qwen_tokenizer_rules[] = {
    {"tokenizer_class", "[null,\"Qwen2Tokenizer\",\"Qwen2TokenizerFast\"]"},
    {"auto_map", "[null]"},
    {"add_bos_token", "[null,false]"},
    {"add_prefix_space", "[null,false]"},
    {"split_special_tokens", "[null,false]"},
    {"pad_token", NULL},
    {"bos_token", NULL},
    {"eos_token", NULL},
    {"unk_token", NULL},
    {"added_tokens_decoder", NULL},
    {"additional_special_tokens", NULL},
    {"extra_special_tokens", NULL},
    {"chat_template", NULL}, /* the family's own is asked by */
    {"clean_up_tokenization_spaces", NULL},
    {"errors", NULL},
    {"model_max_length", NULL},
    {"model_specific_special_tokens", NULL},
    {"padding_side", NULL},
    {"truncation_side", NULL},
    {"backend", NULL},
    {"is_local", NULL},
    {"local_files_only", NULL},
    {"name_or_path", NULL},
    {"processor_class", NULL},
    {"tokenizer_file", NULL},
    {"vocab_file", NULL},
    {"merges_file", NULL},
    {"use_fast", NULL},
    {NULL, NULL},
};

const bl_config_rules bl_zimage_folder_rules = {.index = zimage_index_rules,
                                                .scheduler = flow_rules,
                                                .denoiser = zimage_rules,
                                                .text = qwen3_rules,
                                                .vae = vae_rules,
                                                .tokenizer = qwen_tokenizer_rules,
                                                .rope = rope_rules};

const bl_config_rules bl_flux1_folder_rules = {.index = flux1_index_rules,
                                               .scheduler = flow_rules,
                                               .denoiser = flux1_rules,
                                               .text = bl_clip_text_rules,
                                               .text_2 = t5_rules,
                                               .vae = vae_rules};

const bl_config_rules bl_sd3_folder_rules = {.index = sd3_index_rules,
                                             .scheduler = flow_rules,
                                             .denoiser = sd3_rules,
                                             .text = bl_clip_text_rules,
                                             .text_3 = t5_rules,
                                             .vae = vae_rules};

const bl_config_rules bl_flux2_folder_rules = {.index = flux2_index_rules,
                                               .scheduler = flow_rules,
                                               .denoiser = flux2_rules,
                                               .text = qwen3_rules,
                                               .vae = flux2_vae_rules,
                                               .tokenizer = qwen_tokenizer_rules,
                                               .rope = rope_rules};

const bl_config_rules bl_flux2_dev_folder_rules = {.index = flux2_dev_index_rules,
                                                   .scheduler = flow_rules,
                                                   .denoiser = flux2_rules,
                                                   .text = mistral_rules,
                                                   .vae = flux2_vae_rules};
