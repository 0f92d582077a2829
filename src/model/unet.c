#include "model/unet.h"

#include "model/layers.h"

/* conv_in, and on each level its resnets and a downsampler. */
#define MAX_SKIPS (1 + BL_ARCH_LEVELS * (BL_ARCH_BLOCKS + 1))

static const bl_conv_options plain = {.residual = BL_NONE, .channels = BL_NONE};

/* What the parts of one network pass on to each other. */
typedef struct unet {
    bl_graph *g;
    const bl_unet_architecture *arch;
    bool late_crop;
    bl_tensor_id temb; /* [n,1,1,time_dim], SiLU applied */
    bl_net_context context;
    bl_tensor_id skips[MAX_SKIPS];
    int skip_count;
} unet;

static void push_skip(unet *u, bl_tensor_id x) {
    u->skips[u->skip_count++] = x;
}

/* The embedding of timestep (and of SDXL's sizes and pooled prompt), as every resnet reads it. */
static void embed_time(unet *u, bl_tensor_id timestep, bl_tensor_id text_embeds, bl_tensor_id time_ids) {
    bl_graph *g = u->g;
    int width = u->arch->time_dim;
    bl_tensor_id t = bl_sinusoid(g, timestep, u->arch->channels[0]);
    t = bl_net_linear(g, t, "time_embedding.linear_1", width, BL_ACT_SILU, BL_NONE);
    t = bl_net_linear(g, t, "time_embedding.linear_2", width, BL_ACT_NONE, BL_NONE);
    bl_tap(g, t, "time_embedding");
    if (text_embeds != BL_NONE) {
        bl_tensor_id sizes = bl_sinusoid(g, time_ids, BL_SIZE_VALUE_DIM);
        bl_tensor_id a = bl_concat(g, bl_import(g, text_embeds), sizes);
        a = bl_net_linear(g, a, "add_embedding.linear_1", width, BL_ACT_SILU, BL_NONE);
        a = bl_net_linear(g, a, "add_embedding.linear_2", width, BL_ACT_NONE, BL_NONE);
        bl_tap(g, a, "add_embedding");
        t = bl_add(g, t, a);
    }
    u->temb = bl_activation(g, t, BL_ACT_SILU);
}

/* A block of one resnet; `skip`, where there is one, is joined to x first. */
static bl_tensor_id resnet(unet *u, bl_tensor_id x, bl_tensor_id skip, const char *name, int level) {
    bl_graph_block(u->g, "%s", name);
    if (skip != BL_NONE) {
        x = bl_concat(u->g, x, skip);
    }
    x = bl_net_resnet(u->g, x, u->temb, name, u->arch->channels[level], u->arch->groups, u->arch->norm_eps);
    bl_tap(u->g, x, "%s", name);
    return x;
}

static bl_tensor_id transformer(unet *u, bl_tensor_id x, const char *name, int level, int depth) {
    if (depth == 0) {
        return x;
    }
    return bl_net_transformer(u->g, x, u->context, name, u->arch->heads[level], depth, u->arch->groups);
}

static bl_tensor_id down(unet *u, bl_tensor_id x, int level) {
    const bl_unet_architecture *c = u->arch;
    for (int i = 0; i < c->resnets[level]; i++) {
        x = resnet(u, x, BL_NONE, bl_path_make("down_blocks.%d.resnets.%d", level, i).s, level);
        x = transformer(u, x, bl_path_make("down_blocks.%d.attentions.%d", level, i).s, level,
                        c->down_depth[level][i]);
        push_skip(u, x);
    }
    if (level + 1 < c->levels) {
        bl_path name = bl_path_make("down_blocks.%d.downsamplers.0", level);
        bl_graph_block(u->g, "%s", name.s);
        x = bl_net_downsampler(u->g, x, name.s);
        push_skip(u, x);
    }
    bl_tap(u->g, x, "down_blocks.%d", level);
    return x;
}

static bl_tensor_id middle(unet *u, bl_tensor_id x) {
    int level = u->arch->levels - 1;
    if (u->arch->mid_resnets > 0) {
        x = resnet(u, x, BL_NONE, "mid_block.resnets.0", level);
    }
    x = transformer(u, x, "mid_block.attentions.0", level, u->arch->mid_depth);
    if (u->arch->mid_resnets > 1) {
        x = resnet(u, x, BL_NONE, "mid_block.resnets.1", level);
    }
    bl_tap(u->g, x, "mid_block");
    return x;
}

/* Up block `index` works at level `levels - 1 - index`. */
static bl_tensor_id up(unet *u, bl_tensor_id x, int index) {
    bl_graph *g = u->g;
    const bl_unet_architecture *c = u->arch;
    int level = c->levels - 1 - index;
    for (int i = 0; i <= c->resnets[level]; i++) {
        bl_tensor_id skip = u->skips[--u->skip_count];
        x = resnet(u, x, skip, bl_path_make("up_blocks.%d.resnets.%d", index, i).s, level);
        x = transformer(u, x, bl_path_make("up_blocks.%d.attentions.%d", index, i).s, level,
                        c->up_depth[index][i]);
    }
    if (level > 0) {
        bl_path name = bl_path_make("up_blocks.%d.upsamplers.0", index);
        bl_tensor_id skip = u->skips[u->skip_count - 1];
        bl_graph_block(g, "%s", name.s);
        /* An odd side was rounded up on the way down: go back to the skip's size, not to twice ours. */
        if (skip != BL_NONE) {
            x = bl_net_upsampler(g, x, name.s, g->tensors[skip].h, g->tensors[skip].w, u->late_crop);
        }
    }
    bl_tap(g, x, "up_blocks.%d", index);
    return x;
}

static bl_tensor_id context_input(bl_graph *g, const bl_unet_architecture *c, bl_unet_shape s) {
    return bl_input(g, "context", BL_F32, BL_CHANNELS_LAST, s.batch, s.tokens, 1, c->context_dim);
}

/* In the order in which the transformers of build() come: so they are kept, and so they are found. */
static void build_prologue(bl_graph *g, const bl_unet_architecture *c, bl_unet_shape s) {
    bl_tensor_id context = context_input(g, c, s), tokens = BL_NONE;
    for (int level = 0; level < c->levels; level++) {
        for (int i = 0; i < c->resnets[level]; i++) {
            bl_path name = bl_path_make("down_blocks.%d.attentions.%d", level, i);
            bl_net_keep_context(g, context, &tokens, name.s, c->channels[level], c->down_depth[level][i]);
        }
    }
    bl_net_keep_context(g, context, &tokens, "mid_block.attentions.0", c->channels[c->levels - 1],
                        c->mid_depth);
    for (int index = 0; index < c->levels; index++) {
        int level = c->levels - 1 - index;
        for (int i = 0; i <= c->resnets[level]; i++) {
            bl_path name = bl_path_make("up_blocks.%d.attentions.%d", index, i);
            bl_net_keep_context(g, context, &tokens, name.s, c->channels[level], c->up_depth[index][i]);
        }
    }
}

static void build(unet *u, bl_unet_shape s) {
    bl_graph *g = u->g;
    const bl_unet_architecture *c = u->arch;
    bl_tensor_id sample = bl_input(g, "sample", BL_F32, BL_NCHW, s.batch, s.height, s.width, c->in_channels);
    bl_tensor_id timestep = bl_input(g, "timestep", BL_F32, BL_CHANNELS_LAST, s.batch, 1, 1, 1);
    bl_tensor_id context = s.form == BL_UNET_STEP ? BL_NONE : context_input(g, c, s);
    bl_tensor_id text_embeds = BL_NONE, time_ids = BL_NONE;
    u->context.counts =
        s.own_lengths ? bl_input(g, "context_rows", BL_I32, BL_CHANNELS_LAST, s.batch, 1, 1, 1) : BL_NONE;
    if (c->adm_dim) {
        int pooled = c->adm_dim - BL_SIZE_VALUES * BL_SIZE_VALUE_DIM;
        text_embeds = bl_input(g, "text_embeds", BL_F32, BL_CHANNELS_LAST, s.batch, 1, 1, pooled);
        time_ids = bl_input(g, "time_ids", BL_F32, BL_CHANNELS_LAST, s.batch, 1, 1, BL_SIZE_VALUES);
    }

    bl_graph_block(g, "conv_in");
    embed_time(u, timestep, text_embeds, time_ids);
    u->context.tokens = context == BL_NONE ? BL_NONE : bl_import(g, context);
    u->context.batch = s.batch;
    u->context.rows = s.tokens;
    bl_tensor_id x = bl_net_conv(g, bl_import(g, sample), "conv_in", c->channels[0], 3, plain);
    bl_tap(g, x, "conv_in");
    push_skip(u, x);
    for (int level = 0; level < c->levels; level++) {
        x = down(u, x, level);
    }
    x = middle(u, x);
    for (int i = 0; i < c->levels; i++) {
        x = up(u, x, i);
    }
    bl_graph_block(g, "conv_out");
    x = bl_net_norm_out(g, x, "conv_norm_out", c->groups, c->norm_eps);
    x = bl_net_conv(g, x, "conv_out", c->out_channels, 3, plain);
    bl_export(g, x, "output", BL_NCHW);
}

int bl_unet_graph(bl_graph **out, const bl_unet_architecture *arch, bl_unet_shape shape, bl_dtype dtype,
                  const char *const *taps, bl_error *err) {
    *out = NULL;
    if (shape.form == BL_UNET_PROLOGUE) {
        shape.height = shape.width = 1;
    }
    int rc = bl_net_check_shape(BL_UNET, shape.batch, shape.height, shape.width, shape.tokens, err);
    if (rc) {
        return rc;
    }
    bl_graph *g = bl_graph_new(BL_UNET, dtype, taps);
    if (!g) {
        return bl_fail_memory(err, "a graph", sizeof *g);
    }
    unet u = {.g = g, .arch = arch, .late_crop = shape.late_crop};
    if (shape.form == BL_UNET_PROLOGUE) {
        build_prologue(g, arch, shape);
    } else {
        build(&u, shape);
    }
    return bl_net_finish(out, g, err);
}
