/* Single layers against diffusers and transformers, also on input of rms 0.003, where a wrong eps of a norm
 * or a tanh GELU is far out of tolerance; a whole network hardly shows them. */
#include "rig.h"

#include "model/layers.h"

#define NETWORK_EPS 1e-5f /* UNet */
#define VAE_EPS 1e-6f
#define GROUPS 32

/* One layer and what it may need. */
typedef struct layer_case {
    const rig *r;
    bl_graph *g;
    char module[RIG_NAME]; /* the layer's name in its network */
    char golden[RIG_NAME]; /* "resnet_small" */
    bl_tensor_id h;
} layer_case;

/* An input of the golden's shape: pictures are NCHW, tokens and vectors channels-last. */
static bl_tensor_id input(const layer_case *c, const char *leaf) {
    char name[RIG_NAME];
    rig_name(name, "%s.%s", c->golden, leaf);
    const bl_file_tensor *t = bl_golden_tensor(&c->r->golden, name);
    const int64_t *s = t->shape;
    if (t->rank == 4) {
        return bl_import(c->g,
                         bl_input(c->g, leaf, BL_F32, BL_NCHW, (int)s[0], (int)s[2], (int)s[3], (int)s[1]));
    }
    int tokens = t->rank == 3 ? (int)s[1] : 1;
    return bl_import(
        c->g, bl_input(c->g, leaf, BL_F32, BL_CHANNELS_LAST, (int)s[0], tokens, 1, (int)s[t->rank - 1]));
}

/* Channels of the golden output. */
static int out_channels(const layer_case *c) {
    char name[RIG_NAME];
    rig_name(name, "%s.out", c->golden);
    return (int)bl_golden_tensor(&c->r->golden, name)->shape[1];
}

static bl_tensor_id resnet(const layer_case *c) {
    bl_tensor_id temb = bl_activation(c->g, input(c, "temb"), BL_ACT_SILU);
    return bl_net_resnet(c->g, c->h, temb, c->module, out_channels(c), GROUPS, NETWORK_EPS);
}

/* Heads at the level that the module's name begins with: "down_blocks.1.attentions.0". */
static int heads(const layer_case *c) {
    int level = -1;
    assert_int_equal(sscanf(c->module, "down_blocks.%d.", &level), 1);
    assert_true(level >= 0 && level < c->r->arch.unet.levels);
    return c->r->arch.unet.heads[level];
}

static bl_tensor_id transformer(const layer_case *c) {
    int level = c->module[strlen("down_blocks.")] - '0';
    return bl_net_transformer(c->g, c->h, (bl_net_context){.tokens = input(c, "context"), .counts = BL_NONE},
                              c->module, heads(c), c->r->arch.unet.down_depth[level][0], GROUPS);
}

static bl_tensor_id transformer_block(const layer_case *c) {
    return bl_net_transformer_block(
        c->g, c->h, (bl_net_context){.tokens = input(c, "context"), .counts = BL_NONE}, c->module, heads(c));
}

static bl_tensor_id downsample(const layer_case *c) {
    return bl_net_downsampler(c->g, c->h, c->module);
}

static bl_tensor_id upsample(const layer_case *c) {
    return bl_net_upsampler(c->g, c->h, c->module, 2 * c->g->tensors[c->h].h, 2 * c->g->tensors[c->h].w,
                            false);
}

static bl_tensor_id vae_resnet(const layer_case *c) {
    return bl_net_resnet(c->g, c->h, BL_NONE, c->module, out_channels(c), GROUPS, VAE_EPS);
}

static bl_tensor_id vae_attention(const layer_case *c) {
    return bl_net_pixel_attention(c->g, c->h, c->module, GROUPS, VAE_EPS);
}

static bl_tensor_id vae_downsample(const layer_case *c) {
    return bl_net_downsampler_asymmetric(c->g, c->h, c->module);
}

static bl_tensor_id text_layer(const layer_case *c) {
    const bl_text_architecture *t = &c->r->arch.text[0];
    return bl_net_clip_layer(c->g, c->h, c->module, t->heads, t->ff_dim,
                             t->quick_gelu ? BL_ACT_QUICK_GELU : BL_ACT_GELU);
}

static const struct {
    const char *name;
    bl_tensor_id (*build)(const layer_case *c);
} layers[] = {
    {"resnet", resnet},
    {"resnet_skip", resnet},
    {"transformer", transformer},
    {"transformer_block", transformer_block},
    {"downsample", downsample},
    {"upsample", upsample},
    {"vae_resnet", vae_resnet},
    {"vae_attention", vae_attention},
    {"vae_downsample", vae_downsample},
    {"text_layer", text_layer},
};

static void check_layer(const rig *r, size_t index, const char *amplitude, const json_t *where,
                        bl_dtype dtype) {
    const json_t *layer = json_object_get(where, layers[index].name);
    const char *network = json_string_value(json_object_get(layer, "network"));
    const char *module = json_string_value(json_object_get(layer, "module"));
    assert_true(network && module);
    bool text = !strcmp(network, "text_encoder"), vae = !strcmp(network, "vae");
    layer_case c = {.r = r};
    rig_name(c.module, "%s%s", text ? "text_model." : "", module);
    rig_name(c.golden, "%s%s", layers[index].name, amplitude);
    bl_module of = text                             ? BL_TEXT_ENCODER
                   : !vae                           ? BL_UNET
                   : !strncmp(module, "encoder", 7) ? BL_VAE_ENCODER
                                                    : BL_VAE_DECODER;
    c.g = bl_graph_new(of, dtype, NULL);
    assert_non_null(c.g);
    bl_graph_block(c.g, "layer");
    c.h = input(&c, "h");
    bl_tensor_id out = layers[index].build(&c);
    bl_error err = {0};
    bool picture = c.g->error.code == 0 && c.g->tensors[out].w > 1;
    bl_export(c.g, out, "out", picture ? BL_NCHW : BL_CHANNELS_LAST);
    bl_graph *g = NULL;
    rig_ok(bl_net_finish(&g, c.g, &err), &err);
    rig_check(r, g, c.golden, dtype);
}

static void check_all(const char *family, bl_synth_layout layout, bl_dtype dtype, int threads) {
    rig r;
    char name[RIG_NAME];
    rig_open(&r, family, layout, "layers", threads);
    rig_name(name, "%s/golden/layers.json", family);
    json_t *where = bl_test_json(name);
    assert_int_equal(json_object_size(where), sizeof layers / sizeof *layers);
    for (size_t i = 0; i < sizeof layers / sizeof *layers && (dtype == BL_F32 || rig_has_bf16(&r)); i++) {
        check_layer(&r, i, "", where, dtype);
        check_layer(&r, i, "_small", where, dtype);
    }
    json_decref(where);
    rig_close(&r);
}

static rig_checker all = {check_all};

int main(void) {
    const struct CMUnitTest tests[] = {RIG_WAYS(all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
