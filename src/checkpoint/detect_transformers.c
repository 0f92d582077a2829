/* Families without a UNet: a transformer denoises. What reads the text: detect_readers.c. */
#include "checkpoint/config.h"
#include "checkpoint/detect.h"
#include "checkpoint/internal.h"

#include <string.h>

#define MOST_POSITIONS 4096 /* along a side of a table of them */

/* How a head's channels are shared out to the axes: as the configuration says, or as in the published models.
 */
static int share_axes(int *axis, const int *published, int count, const char *key, const bl_checkpoint *c,
                      int head, bl_error *err) {
    const json_t *list = json_object_get(c->modules[BL_TRANSFORMER].config, key);
    int sum = 0;
    bool even = !list || json_array_size(list) == (size_t)count;
    for (int i = 0; i < count; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        const json_int_t n = list ? json_integer_value(v) : published[i];
        even = even && n > 0 && n <= head && n % 2 == 0;
        axis[i] = even ? (int)n : 0;
        sum += axis[i];
    }
    return even && sum == head
               ? 0
               : bl_fail(
                     err, BL_E_FORMAT,
                     "%.400s: heads of the transformer have %d channels, which its axes (\"%s\"%s) do not "
                     "share out",
                     c->path, head, key, list ? "" : ", as published");
}

/* ---- Z-Image */

static int detect_zimage(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    static const char *const layer[3] = {".attention.to_q.weight", ".feed_forward.w1.weight",
                                         ".attention_norm1.weight"};
    static const int axes[3] = {32, 48, 48};
    const bl_module m = BL_TRANSFORMER;
    const json_t *config = c->modules[m].config;
    bl_zimage z = {.eps = (float)bl_config_number(config, "norm_eps", 1e-5),
                   .theta = bl_config_number(config, "rope_theta", 256)};
    int head = 0, squares = 0;
    int rc = bl_dimension(&z.caption, c, m, 1, err, "cap_embedder.1.weight");
    rc = rc ? rc : bl_dimension(&z.width, c, m, 0, err, "cap_embedder.1.weight");
    rc = rc ? rc : bl_dimension(&squares, c, m, 1, err, "all_x_embedder.2-1.weight");
    rc = rc ? rc : bl_dimension(&z.hidden, c, m, 0, err, "layers.0.feed_forward.w1.weight");
    rc = rc ? rc : bl_dimension(&z.time_hidden, c, m, 0, err, "t_embedder.mlp.0.weight");
    rc = rc ? rc : bl_dimension(&z.time, c, m, 0, err, "t_embedder.mlp.2.weight");
    rc = rc ? rc : bl_dimension(&head, c, m, 0, err, "layers.0.attention.norm_q.weight");
    rc = rc ? rc : share_axes(z.axis, axes, 3, "axes_dims", c, head, err);
    if (rc) {
        return rc;
    }
    z.channels = squares / (a->family->patch * a->family->patch);
    z.layers = bl_count_numbered(c, m, "layers.", layer, BL_MOST_LAYERS);
    z.refiners = bl_count_numbered(c, m, "noise_refiner.", layer, BL_MOST_LAYERS);
    z.heads = z.width / head;
    if (z.width % head || z.channels != a->family->latent_channels || z.layers < 1 || z.refiners < 1) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: the transformer has %d layers and %d refiners of width %d, heads of %d and "
                       "%d latent channels: not one that Ballast knows",
                       c->path, z.layers, z.refiners, z.width, head, z.channels);
    }
    a->zimage = z;
    a->context_dim = z.caption;
    a->width = z.width;
    rc = bl_agree_number(c, m, "dim", z.width, err);
    rc = rc ? rc : bl_agree_number(c, m, "n_heads", z.heads, err);
    rc = rc ? rc : bl_agree_number(c, m, "n_layers", z.layers, err);
    rc = rc ? rc : bl_agree_number(c, m, "n_refiner_layers", z.refiners, err);
    rc = rc ? rc : bl_agree_number(c, m, "in_channels", z.channels, err);
    return rc ? rc : bl_agree_number(c, m, "cap_feat_dim", z.caption, err);
}

/* ---- FLUX.1 and FLUX.2 */

/* What the transformers of FLUX.1 and FLUX.2 both have. */
typedef struct flux {
    int doubles, singles, heads, head_dim, channels, context;
    bool guided;
} flux;

static int check_flux(const bl_architecture *a, const bl_checkpoint *c, const flux *f, bl_error *err) {
    const bl_module m = BL_TRANSFORMER;
    const json_t *guided = json_object_get(c->modules[m].config, "guidance_embeds");
    if (a->width % f->head_dim || f->channels != a->family->latent_channels || f->doubles < 1 ||
        f->singles < 1) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: the transformer has %d double and %d single blocks of width %d, heads of %d "
                       "and %d latent channels: not one that Ballast knows",
                       c->path, f->doubles, f->singles, a->width, f->head_dim, f->channels);
    }
    if (json_is_boolean(guided) && json_is_true(guided) != f->guided) {
        return bl_fail(err, BL_E_FORMAT, "%.400s: \"guidance_embeds\" is %s, the weights say otherwise",
                       c->path, f->guided ? "false" : "true");
    }
    int rc = bl_agree_number(c, m, "num_layers", f->doubles, err);
    rc = rc ? rc : bl_agree_number(c, m, "num_single_layers", f->singles, err);
    rc = rc ? rc : bl_agree_number(c, m, "num_attention_heads", f->heads, err);
    rc = rc ? rc : bl_agree_number(c, m, "attention_head_dim", f->head_dim, err);
    rc = rc ? rc
            : bl_agree_number(c, m, "in_channels", f->channels * a->family->patch * a->family->patch, err);
    return rc ? rc : bl_agree_number(c, m, "joint_attention_dim", f->context, err);
}

/* Relatives whose networks are FLUX.1's, but that they read more beside the latents. */
static int refuse_flux1_inputs(const bl_checkpoint *c, int columns, bl_error *err) {
    const char *what = columns == 384   ? "Fill, which reads a picture and a mask"
                       : columns == 128 ? "Canny or Depth, which reads a picture's edges or depth"
                                        : NULL;
    return what ? bl_fail(err, BL_E_UNSUPPORTED, "%.400s is FLUX.1 %s; Ballast does not run these", c->path,
                          what)
                : 0;
}

static int detect_flux1(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    static const char *const two[3] = {".attn.to_q.weight", ".ff.net.2.weight", ".attn.add_q_proj.weight"},
                             *const one[3] = {".attn.to_q.weight", ".proj_out.weight", ".attn.norm_q.weight"};
    static const int axes[BL_FLUX1_AXES] = {16, 56, 56};
    const bl_module m = BL_TRANSFORMER;
    int squares = 0;
    bl_flux1 f = {.eps = 1e-6f,
                  .theta = 10000,
                  .guided = bl_has_tensor(c, m, "time_text_embed.guidance_embedder.linear_1.weight")};
    int rc = bl_dimension(&a->width, c, m, 0, err, "x_embedder.weight");
    rc = rc ? rc : bl_dimension(&squares, c, m, 1, err, "x_embedder.weight");
    rc = rc ? rc : refuse_flux1_inputs(c, squares, err);
    rc = rc ? rc : bl_dimension(&f.context, c, m, 1, err, "context_embedder.weight");
    rc = rc ? rc : bl_dimension(&f.hidden, c, m, 1, err, "transformer_blocks.0.ff.net.2.weight");
    rc = rc ? rc : bl_dimension(&f.head_dim, c, m, 0, err, "transformer_blocks.0.attn.norm_q.weight");
    rc = rc ? rc : bl_dimension(&f.time, c, m, 1, err, "time_text_embed.timestep_embedder.linear_1.weight");
    rc = rc ? rc : bl_dimension(&f.pooled, c, m, 1, err, "time_text_embed.text_embedder.linear_1.weight");
    rc = rc ? rc : share_axes(f.axis, axes, BL_FLUX1_AXES, "axes_dims_rope", c, f.head_dim, err);
    if (rc) {
        return rc;
    }
    f.channels = squares / (a->family->patch * a->family->patch);
    f.heads = a->width / f.head_dim;
    f.doubles = bl_count_numbered(c, m, "transformer_blocks.", two, BL_MOST_LAYERS);
    f.singles = bl_count_numbered(c, m, "single_transformer_blocks.", one, BL_MOST_LAYERS);
    a->flux1 = f;
    a->context_dim = f.context;
    const flux both = {f.doubles, f.singles, f.heads, f.head_dim, f.channels, f.context, f.guided};
    rc = check_flux(a, c, &both, err);
    return rc ? rc : bl_agree_number(c, m, "pooled_projection_dim", f.pooled, err);
}

static int detect_flux2(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    static const char *const two[3] = {".attn.to_q.weight", ".ff.linear_out.weight",
                                       ".attn.add_q_proj.weight"},
                             *const one[3] = {".attn.to_qkv_mlp_proj.weight", ".attn.to_out.weight",
                                              ".attn.norm_q.weight"};
    static const int axes[BL_FLUX2_AXES] = {32, 32, 32, 32};
    const bl_module m = BL_TRANSFORMER;
    const json_t *config = c->modules[m].config;
    bl_flux2 f = {.eps = (float)bl_config_number(config, "eps", 1e-6),
                  .theta = bl_config_number(config, "rope_theta", 2000),
                  .guided = bl_has_tensor(c, m, "time_guidance_embed.guidance_embedder.linear_1.weight")};
    int rc = bl_dimension(&a->width, c, m, 0, err, "x_embedder.weight");
    rc = rc ? rc : bl_dimension(&f.channels, c, m, 1, err, "x_embedder.weight");
    rc = rc ? rc : bl_dimension(&f.context, c, m, 1, err, "context_embedder.weight");
    rc = rc ? rc : bl_dimension(&f.hidden, c, m, 1, err, "transformer_blocks.0.ff.linear_out.weight");
    rc = rc ? rc : bl_dimension(&f.head_dim, c, m, 0, err, "transformer_blocks.0.attn.norm_q.weight");
    rc = rc ? rc
            : bl_dimension(&f.time, c, m, 1, err, "time_guidance_embed.timestep_embedder.linear_1.weight");
    rc = rc ? rc : share_axes(f.axis, axes, BL_FLUX2_AXES, "axes_dims_rope", c, f.head_dim, err);
    if (rc) {
        return rc;
    }
    f.heads = a->width / f.head_dim;
    f.doubles = bl_count_numbered(c, m, "transformer_blocks.", two, BL_MOST_LAYERS);
    f.singles = bl_count_numbered(c, m, "single_transformer_blocks.", one, BL_MOST_LAYERS);
    a->flux2 = f;
    a->context_dim = f.context;
    const flux both = {f.doubles, f.singles, f.heads, f.head_dim, f.channels, f.context, f.guided};
    rc = check_flux(a, c, &both, err);
    return rc ? rc : bl_agree_number(c, m, "timestep_guidance_channels", f.time, err);
}

/* ---- SD3 */

/* Which blocks have a second attention, by the weights and by the configuration: the first ones. */
static int count_duals(int *out, const bl_checkpoint *c, int layers, bl_error *err) {
    const json_t *list = json_object_get(c->modules[BL_TRANSFORMER].config, "dual_attention_layers");
    int duals = 0, seen = 0;
    for (int i = 0; i < layers; i++) {
        const bool has = bl_has_tensor(c, BL_TRANSFORMER, "transformer_blocks.%d.attn2.to_q.weight", i);
        seen += has;
        duals += has && duals == i;
    }
    bool good = seen == duals && (!json_is_array(list) || json_array_size(list) == (size_t)duals);
    for (int i = 0; json_is_array(list) && i < duals && good; i++) {
        good = json_integer_value(json_array_get(list, (size_t)i)) == i;
    }
    *out = duals;
    return good ? 0
                : bl_fail(err, BL_E_UNSUPPORTED,
                          "%.400s: %d blocks of the transformer have a second attention, and they, or "
                          "\"dual_attention_layers\", are not the first %d",
                          c->path, seen, seen);
}

static int detect_sd3(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    static const char *const block[3] = {".attn.to_q.weight", ".ff.net.2.weight", ".attn.add_k_proj.weight"};
    const bl_module m = BL_TRANSFORMER;
    bl_sd3 s = {.eps = 1e-6f, .head_norms = bl_has_tensor(c, m, "transformer_blocks.0.attn.norm_q.weight")};
    bl_view table;
    int rc = bl_dimension(&a->width, c, m, 0, err, "pos_embed.proj.weight");
    rc = rc ? rc : bl_dimension(&s.channels, c, m, 1, err, "pos_embed.proj.weight");
    rc = rc ? rc : bl_dimension(&s.context, c, m, 1, err, "context_embedder.weight");
    rc = rc ? rc : bl_dimension(&s.hidden, c, m, 1, err, "transformer_blocks.0.ff.net.2.weight");
    rc = rc ? rc : bl_dimension(&s.time, c, m, 1, err, "time_text_embed.timestep_embedder.linear_1.weight");
    rc = rc ? rc : bl_dimension(&s.pooled, c, m, 1, err, "time_text_embed.text_embedder.linear_1.weight");
    /* all that are published have heads of 64 channels */
    s.head_dim = bl_config_whole(c, m, "attention_head_dim", 64);
    if (!rc && s.head_norms) {
        rc = bl_dimension(&s.head_dim, c, m, 0, err, "transformer_blocks.0.attn.norm_q.weight");
    }
    if (rc) {
        return rc;
    }
    s.heads = a->width / s.head_dim;
    s.layers = bl_count_numbered(c, m, "transformer_blocks.", block, BL_MOST_LAYERS);
    if (bl_checkpoint_find(&table, c, m, BL_SD3_TABLE)) {
        const int64_t rows = bl_view_rows(&table) * bl_view_row_elements(&table) / a->width;
        while ((int64_t)(s.positions + 1) * (s.positions + 1) <= rows && s.positions < MOST_POSITIONS) {
            s.positions++;
        }
    }
    if (a->width % s.head_dim || s.channels != a->family->latent_channels || s.layers < 1) {
        return bl_fail(
            err, BL_E_FORMAT,
            "%.400s: the transformer has %d blocks of width %d, heads of %d and %d latent channels: "
            "not one that Ballast knows",
            c->path, s.layers, a->width, s.head_dim, s.channels);
    }
    const int64_t shape[2] = {(int64_t)s.positions * s.positions, a->width};
    rc = bl_checkpoint_require(&table, c, m, BL_SD3_TABLE, shape, 2, err);
    rc = rc ? rc : count_duals(&s.duals, c, s.layers, err);
    const json_t *norm = json_object_get(c->modules[m].config, "qk_norm");
    if (!rc && norm && json_is_string(norm) != s.head_norms) {
        rc = bl_fail(err, BL_E_FORMAT, "%.400s: \"qk_norm\" is %s, the weights say otherwise", c->path,
                     s.head_norms ? "null" : "\"rms_norm\"");
    }
    a->sd3 = s;
    a->context_dim = s.context;
    rc = rc ? rc : bl_agree_number(c, m, "num_layers", s.layers, err);
    rc = rc ? rc : bl_agree_number(c, m, "num_attention_heads", s.heads, err);
    rc = rc ? rc : bl_agree_number(c, m, "attention_head_dim", s.head_dim, err);
    rc = rc ? rc : bl_agree_number(c, m, "in_channels", s.channels, err);
    rc = rc ? rc : bl_agree_number(c, m, "joint_attention_dim", s.context, err);
    rc = rc ? rc : bl_agree_number(c, m, "caption_projection_dim", a->width, err);
    rc = rc ? rc : bl_agree_number(c, m, "pooled_projection_dim", s.pooled, err);
    return rc ? rc : bl_agree_number(c, m, "pos_embed_max_size", s.positions, err);
}

/* ---- the whole */

/* One a network. */
typedef int detect_net(bl_architecture *a, const bl_checkpoint *c, bl_error *err);
static detect_net *const nets[] = {[BL_NET_ZIMAGE] = detect_zimage,
                                   [BL_NET_FLUX1] = detect_flux1,
                                   [BL_NET_FLUX2] = detect_flux2,
                                   [BL_NET_SD3] = detect_sd3};

const bl_family *bl_transformer_family(const bl_checkpoint *c) {
    for (const bl_family *const *f = bl_families; *f; f++) {
        if ((*f)->probe && bl_has_tensor(c, BL_TRANSFORMER, "%s", (*f)->probe) &&
            (!(*f)->also || bl_has_tensor(c, BL_TRANSFORMER, "%s", (*f)->also))) {
            return *f;
        }
    }
    return NULL;
}

/* A transformer that no family of ours has. */
static int refuse_unknown(const bl_checkpoint *c, bl_error *err) {
    const char *name = json_string_value(json_object_get(c->modules[BL_TRANSFORMER].config, "_class_name"));
    return bl_fail(err, BL_E_UNSUPPORTED,
                   "%.400s holds a transformer%s%.80s that is not among what Ballast runs: " BL_FAMILIES_RUN,
                   c->path, name ? ", " : "", name ? name : "");
}

/* How the noise levels are shifted. A scheduler that does not do it by the picture has one factor for all
 * pictures, whatever the family is known for; one that does takes FLUX.2's own rule for how far. */
static void detect_flow(bl_architecture *a, const bl_checkpoint *c) {
    const char *type = json_string_value(json_object_get(c->scheduler, "time_shift_type"));
    const bool linear = type && !strcmp(type, "linear");
    bl_flow_rule f = a->family->flow;
    if (c->scheduler && !json_is_true(json_object_get(c->scheduler, "use_dynamic_shifting"))) {
        f = (bl_flow_rule){.kind = BL_SHIFT_FIXED,
                           .shift = bl_config_number(c->scheduler, "shift", f.shift > 0 ? f.shift : 1),
                           .to_least = f.to_least};
    } else if (f.kind == BL_SHIFT_BY_STEPS) {
        f.linear = linear;
    } else if (c->scheduler) {
        f = (bl_flow_rule){.kind = BL_SHIFT_BY_SIZE,
                           .low = bl_config_number(c->scheduler, "base_shift", 0.5),
                           .high = bl_config_number(c->scheduler, "max_shift", 1.15),
                           .low_tokens = bl_config_number(c->scheduler, "base_image_seq_len", 256),
                           .high_tokens = bl_config_number(c->scheduler, "max_image_seq_len", 4096),
                           .linear = linear,
                           .to_least = f.to_least};
    }
    a->flow = f;
    a->prediction = a->family->prediction;
    a->prediction_source = "usual for the family";
}

int bl_detect_transformer(bl_architecture *out, const bl_checkpoint *c, bl_error *err) {
    bl_architecture a = {.family = bl_transformer_family(c)};
    if (!a.family) {
        return refuse_unknown(c, err);
    }
    int rc = bl_check_vae_channels(c, a.family, err);
    rc = rc ? rc : bl_check_configs(a.unknown_keys, c, a.family, err);
    rc = rc ? rc : nets[a.family->net](&a, c, err);
    rc = rc ? rc : bl_detect_reader(&a, c, err);
    rc = rc ? rc : bl_detect_vae(&a.vae, c, a.family, err);
    rc = rc ? rc : bl_detect_taesd(&a.taesd, c, a.family, err);
    rc = rc ? rc : bl_agree_with_configs(&a, c, err);
    if (!rc) {
        a.distilled = json_is_true(json_object_get(c->index, "is_distilled"));
        detect_flow(&a, c);
        *out = a;
    }
    return rc;
}
