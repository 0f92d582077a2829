#include "checkpoint/detect.h"

#include "checkpoint/internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_DIMENSION 262144 /* the largest vocabulary has 151936 */

int bl_dimension(int *out, const bl_checkpoint *c, bl_module module, int axis, bl_error *err,
                 const char *format, ...) {
    char name[160], stored[BL_PREFIX_BYTES + BL_STORED_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    bl_view v;
    if (!bl_checkpoint_find(&v, c, module, name)) {
        bl_checkpoint_stored_name(stored, sizeof stored, c, module, name);
        return bl_fail(err, BL_E_FORMAT, "%.400s: tensor \"%.200s\" of the %s is missing", c->path, stored,
                       bl_module_name(module));
    }
    if (axis >= v.rank || v.shape[axis] < 1 || v.shape[axis] > MAX_DIMENSION) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: tensor \"%.200s\" of the %s has a shape that no known model has",
                       bl_safetensors_path(v.file), v.stored->name, bl_module_name(module));
    }
    *out = (int)v.shape[axis];
    return 0;
}

bool bl_has_tensor(const bl_checkpoint *c, bl_module module, const char *format, ...) {
    char name[160];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    bl_view v;
    return bl_checkpoint_find(&v, c, module, name);
}

/* How many layers are numbered from 0: one more than the last of which any of these tensors is there. Several
 * are looked for, and small gaps are stepped over, so that a file that lacks one tensor does not pass for a
 * smaller model. */
int bl_count_numbered(const bl_checkpoint *c, bl_module module, const char *before,
                      const char *const behind[3], int limit) {
    int count = 0;
    for (int i = 0; i < limit && i < count + 3; i++) {
        for (int k = 0; k < 3; k++) {
            if (bl_has_tensor(c, module, "%s%d%s", before, i, behind[k])) {
                count = i + 1;
            }
        }
    }
    return count;
}

static const char *const first_resnet[3] = {".resnets.0.conv1.weight", ".resnets.0.conv2.weight",
                                            ".resnets.1.conv1.weight"};
static const char *const resnet[3] = {".conv1.weight", ".conv2.weight", ".norm1.weight"};

/* ---- text encoders */

int bl_config_whole(const bl_checkpoint *c, bl_module module, const char *key, int otherwise) {
    json_t *v = json_object_get(c->modules[module].config, key);
    json_int_t n = json_integer_value(v);
    return json_is_integer(v) && n > 0 && n <= MAX_DIMENSION ? (int)n : otherwise;
}

double bl_config_number(const json_t *config, const char *key, double otherwise) {
    const json_t *v = json_object_get(config, key);
    return json_is_number(v) && json_number_value(v) > 0 ? json_number_value(v) : otherwise;
}

static const char *config_string(const bl_checkpoint *c, bl_module module, const char *key) {
    return json_string_value(json_object_get(c->modules[module].config, key));
}

static bool is_false(const bl_checkpoint *c, bl_module module, const char *key) {
    return json_is_false(json_object_get(c->modules[module].config, key));
}

int bl_detect_text(bl_text_architecture *out, const bl_checkpoint *c, bl_module module,
                   const bl_family *family, bl_error *err) {
    bl_text_architecture t = {.present = true};
    int rc = bl_dimension(&t.vocab, c, module, 0, err, "text_model.embeddings.token_embedding.weight");
    rc = rc ? rc : bl_dimension(&t.width, c, module, 1, err, "text_model.embeddings.token_embedding.weight");
    rc =
        rc ? rc
           : bl_dimension(&t.positions, c, module, 0, err, "text_model.embeddings.position_embedding.weight");
    rc = rc ? rc : bl_dimension(&t.ff_dim, c, module, 0, err, "text_model.encoder.layers.0.mlp.fc1.weight");
    if (rc) {
        return rc;
    }
    static const char *const layer[3] = {".layer_norm1.weight", ".mlp.fc1.weight", ".mlp.fc2.weight"};
    t.layers = bl_count_numbered(c, module, "text_model.encoder.layers.", layer, BL_MOST_LAYERS);
    int run = bl_config_whole(c, module, "num_hidden_layers", t.layers);
    if (run > t.layers) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: the %s has %d layers; its config.json says \"num_hidden_layers\": %d",
                       c->path, bl_module_name(module), t.layers, run);
    }
    t.layers = run; /* of those that are there transformers runs so many: a clip skip for good */
    t.heads = bl_config_whole(c, module, "num_attention_heads", t.width % 64 ? t.width / 8 : t.width / 64);
    if (t.layers < 2 || t.heads < 1 || t.width % t.heads) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: the %s has %d layers of width %d with %d heads: no known encoder has",
                       c->path, bl_module_name(module), t.layers, t.width, t.heads);
    }
    /* OpenAI's CLIP was trained with quick_gelu, OpenCLIP's H and G with gelu. */
    const char *act = config_string(c, module, "hidden_act");
    t.quick_gelu =
        act ? strcmp(act, "quick_gelu") == 0 : family->encoder[module == BL_TEXT_ENCODER_2].quick_gelu;
    *out = t;
    return 0;
}

/* ---- autoencoder */

static int check_groups(const bl_checkpoint *c, const char *what, const int *channels, int levels, int groups,
                        bl_error *err) {
    for (int i = 0; i < levels; i++) {
        if (channels[i] % groups) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.400s: level %d of the %s has %d channels, which %d groups do not divide",
                           c->path, i, what, channels[i], groups);
        }
    }
    return 0;
}

/* The running mean and variance of packed latents' channels, which every pass of the autoencoder needs. */
static int read_statistics(bl_vae_architecture *v, const bl_checkpoint *c, const bl_family *family,
                           bl_error *err) {
    static const char *const names[2] = {"bn.running_mean", "bn.running_var"};
    const int64_t n = family->latent_channels;
    const json_t *eps = json_object_get(c->modules[BL_VAE_DECODER].config, "batch_norm_eps");
    const float least = json_is_number(eps) ? (float)json_number_value(eps) : 1e-4f;
    float *const to[2] = {v->mean, v->deviation};
    for (int i = 0; i < 2; i++) {
        double stored[BL_ARCH_STATISTICS]; /* room for any type */
        bl_view view;
        int rc = bl_checkpoint_require(&view, c, BL_VAE_DECODER, names[i], &n, 1, err);
        rc = rc ? rc : bl_view_read(&view, 0, n, stored, err);
        if (rc) {
            return rc;
        }
        bl_convert(to[i], BL_F32, stored, view.dtype, (size_t)n);
    }
    for (int64_t i = 0; i < n; i++) {
        v->deviation[i] = sqrtf(v->deviation[i] + least);
        if (!isfinite(v->mean[i]) || !(v->deviation[i] > 0) || !isfinite(v->deviation[i])) {
            return bl_fail(err, BL_E_FORMAT, "%.400s: \"%s\" or \"%s\" holds no number at %lld",
                           bl_safetensors_path(bl_checkpoint_module_file(c, BL_VAE_DECODER)), names[0],
                           names[1], (long long)i);
        }
    }
    return 0;
}

int bl_check_vae_channels(const bl_checkpoint *c, const bl_family *family, bl_error *err) {
    int channels;
    if (!bl_has_tensor(c, BL_VAE_DECODER, "decoder.conv_in.weight")) {
        return 0;
    }
    int rc = bl_dimension(&channels, c, BL_VAE_DECODER, 1, err, "decoder.conv_in.weight");
    return rc || channels == bl_family_vae_channels(family)
               ? rc
               : bl_fail(err, BL_E_UNSUPPORTED,
                         "%.400s: this autoencoder (VAE) has %d latent channels; that of %s has %d",
                         bl_safetensors_path(bl_checkpoint_module_file(c, BL_VAE_DECODER)), channels,
                         family->name, bl_family_vae_channels(family));
}

int bl_detect_vae(bl_vae_architecture *out, const bl_checkpoint *c, const bl_family *family, bl_error *err) {
    bl_vae_architecture v = {.has_encoder = bl_checkpoint_has_module(c, BL_VAE_ENCODER)};
    const bl_module d = BL_VAE_DECODER;
    if (!bl_checkpoint_has_module(c, d)) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s holds no autoencoder (VAE) that decodes; give one with --vae FILE", c->path);
    }
    int from_latent[BL_ARCH_LEVELS]; /* channels of up_blocks.i */
    v.levels = bl_count_numbered(c, d, "decoder.up_blocks.", first_resnet, BL_ARCH_LEVELS);
    for (int i = 0; i < v.levels; i++) {
        int rc =
            bl_dimension(&from_latent[i], c, d, 0, err, "decoder.up_blocks.%d.resnets.0.conv1.weight", i);
        if (rc) {
            return rc;
        }
    }
    for (int i = 0; i < v.levels; i++) {
        v.channels[i] = from_latent[v.levels - 1 - i];
    }
    int resnets = bl_count_numbered(c, d, "decoder.up_blocks.0.resnets.", resnet, BL_ARCH_BLOCKS);
    int rc = bl_dimension(&v.latent_channels, c, d, 1, err, "decoder.conv_in.weight");
    if (rc) {
        return rc;
    }
    if (v.levels < 1 || resnets < 2) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: the VAE's decoder has %d levels of %d resnets: no known one has", c->path,
                       v.levels, resnets);
    }
    v.resnets = resnets - 1;
    rc = bl_check_vae_channels(c, family, err);
    if (rc) {
        return rc;
    }
    /* one that the configuration denies is left over */
    v.quant_conv = v.has_encoder && !is_false(c, BL_VAE_ENCODER, "use_quant_conv") &&
                   (bl_has_tensor(c, BL_VAE_ENCODER, "quant_conv.weight") ||
                    bl_has_tensor(c, BL_VAE_ENCODER, "quant_conv.bias"));
    v.post_quant_conv =
        !is_false(c, d, "use_post_quant_conv") &&
        (bl_has_tensor(c, d, "post_quant_conv.weight") || bl_has_tensor(c, d, "post_quant_conv.bias"));
    v.groups = bl_config_whole(c, d, "norm_num_groups", 32);
    json_t *scaling = json_object_get(c->modules[d].config, "scaling_factor");
    double scale = json_number_value(scaling);
    v.scale = json_is_number(scaling) && scale > 0 ? scale : family->latent_scale;
    json_t *shift = json_object_get(c->modules[d].config, "shift_factor");
    v.shift = json_is_number(shift) ? json_number_value(shift) : family->latent_shift;
    rc = family->packed ? read_statistics(&v, c, family, err) : 0;
    *out = v;
    return rc ? rc : check_groups(c, "VAE", v.channels, v.levels, v.groups, err);
}

/* ---- UNet */

static int transformer_depth(const bl_checkpoint *c, const char *attention) {
    static const char *const block[3] = {".norm1.weight", ".attn1.to_q.weight", ".ff.net.2.weight"};
    char before[96];
    snprintf(before, sizeof before, "%s.transformer_blocks.", attention);
    return bl_count_numbered(c, BL_UNET, before, block, 99);
}

/* Levels: their channels, resnets and the depth of each transformer. */
static int detect_levels(bl_unet_architecture *u, const bl_checkpoint *c, bl_error *err) {
    char at[64];
    u->levels = bl_count_numbered(c, BL_UNET, "down_blocks.", first_resnet, BL_ARCH_LEVELS);
    for (int l = 0; l < u->levels; l++) {
        int rc =
            bl_dimension(&u->channels[l], c, BL_UNET, 0, err, "down_blocks.%d.resnets.0.conv1.weight", l);
        if (rc) {
            return rc;
        }
        snprintf(at, sizeof at, "down_blocks.%d.resnets.", l);
        u->resnets[l] = bl_count_numbered(c, BL_UNET, at, resnet,
                                          BL_ARCH_BLOCKS - 1); /* there is one more on the way up */
        for (int j = 0; j < u->resnets[l]; j++) {
            snprintf(at, sizeof at, "down_blocks.%d.attentions.%d", l, j);
            u->down_depth[l][j] = transformer_depth(c, at);
        }
    }
    for (int i = 0; i < u->levels; i++) {
        int expected = u->resnets[u->levels - 1 - i] + 1;
        snprintf(at, sizeof at, "up_blocks.%d.resnets.", i);
        if (bl_count_numbered(c, BL_UNET, at, resnet, BL_ARCH_BLOCKS + 1) != expected) {
            return bl_fail(
                err, BL_E_FORMAT,
                "%.400s: the unet's level %d has %d resnets on the way down and not %d on the way up",
                c->path, u->levels - 1 - i, expected - 1, expected);
        }
        for (int j = 0; j < expected; j++) {
            snprintf(at, sizeof at, "up_blocks.%d.attentions.%d", i, j);
            u->up_depth[i][j] = transformer_depth(c, at);
        }
    }
    u->mid_depth = transformer_depth(c, "mid_block.attentions.0");
    u->mid_resnets = u->mid_depth ? 2 : bl_count_numbered(c, BL_UNET, "mid_block.resnets.", resnet, 2);
    return 0;
}

/* The first attention there is, to look at its shapes. */
static bool first_attention(char *at, size_t room, const bl_unet_architecture *u) {
    for (int l = 0; l < u->levels; l++) {
        for (int j = 0; j < u->resnets[l]; j++) {
            if (u->down_depth[l][j]) {
                snprintf(at, room, "down_blocks.%d.attentions.%d", l, j);
                return true;
            }
        }
    }
    snprintf(at, room, "mid_block.attentions.0");
    return u->mid_depth > 0;
}

/* diffusers' "attention_head_dim" is the number of heads, for historical reasons; one number, or one a level.
 */
static int heads_of(const bl_checkpoint *c, const bl_unet_architecture *u, const bl_family *family,
                    int level) {
    json_t *config = c->modules[BL_UNET].config;
    json_t *heads = json_object_get(config, "attention_head_dim");
    heads = json_is_array(heads) ? json_array_get(heads, (size_t)level) : heads;
    if (json_is_integer(heads) && json_integer_value(heads) > 0 &&
        json_integer_value(heads) <= u->channels[level]) {
        return (int)json_integer_value(heads);
    }
    return family->heads ? family->heads : u->channels[level] / 64;
}

int bl_detect_unet(bl_unet_architecture *out, const bl_checkpoint *c, bl_error *err) {
    bl_unet_architecture u = {.norm_eps = 1e-5f};
    char at[64];
    int rc = bl_dimension(&u.in_channels, c, BL_UNET, 1, err, "conv_in.weight");
    rc = rc ? rc : bl_dimension(&u.out_channels, c, BL_UNET, 0, err, "conv_out.weight");
    rc = rc ? rc : bl_dimension(&u.time_dim, c, BL_UNET, 0, err, "time_embedding.linear_1.weight");
    rc = rc ? rc : detect_levels(&u, c, err);
    if (rc) {
        return rc;
    }
    if (bl_has_tensor(c, BL_UNET, "add_embedding.linear_1.weight") ||
        bl_has_tensor(c, BL_UNET, "add_embedding.linear_2.weight")) {
        rc = bl_dimension(&u.adm_dim, c, BL_UNET, 1, err, "add_embedding.linear_1.weight");
    }
    if (!rc && (!u.levels || !first_attention(at, sizeof at, &u))) {
        rc = bl_fail(err, BL_E_UNSUPPORTED,
                     "%.400s: the unet has %d levels and no attention to the text: not a model that "
                     "Ballast knows",
                     c->path, u.levels);
    }
    rc = rc ? rc
            : bl_dimension(&u.context_dim, c, BL_UNET, 1, err, "%s.transformer_blocks.0.attn2.to_k.weight",
                           at);
    if (rc) {
        return rc;
    }
    const bl_family *family = bl_detect_family(c, &u);
    for (int l = 0; l < u.levels; l++) {
        u.heads[l] = heads_of(c, &u, family, l);
        if (u.heads[l] < 1 || u.channels[l] % u.heads[l]) {
            return bl_fail(err, BL_E_UNSUPPORTED,
                           "%.400s: level %d of the unet has %d channels; %d heads do not divide them",
                           c->path, l, u.channels[l], u.heads[l]);
        }
    }
    u.groups = bl_config_whole(c, BL_UNET, "norm_num_groups", 32);
    json_t *eps = json_object_get(c->modules[BL_UNET].config, "norm_eps");
    u.norm_eps =
        json_is_number(eps) && json_number_value(eps) > 0 ? (float)json_number_value(eps) : u.norm_eps;
    *out = u;
    return check_groups(c, "unet", u.channels, u.levels, u.groups, err);
}
