/* OpenCLIP's names for the text tower (open_clip/transformer.py): q, k and v are one matrix, and
 * text_projection is stored as the right factor of a product, transposed against a linear layer's weight. */
#include "checkpoint/names.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

static const bl_rename ends[] = {
    {"embeddings.token_embedding.weight", "token_embedding.weight"},
    {"embeddings.position_embedding.weight", "positional_embedding"},
    {"final_layer_norm", "ln_final"},
};

static const bl_rename layer[] = {
    {"layer_norm1", "ln_1"},
    {"layer_norm2", "ln_2"},
    {"mlp.fc1", "mlp.c_fc"},
    {"mlp.fc2", "mlp.c_proj"},
    {"self_attn.out_proj", "attn.out_proj"},
};

static bool layer_name(bl_stored *out, int number, const char *rest) {
    char head[64];
    snprintf(head, sizeof head, "transformer.resblocks.%d.", number);
    static const char *const fused[] = {"self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."};
    for (int i = 0; i < 3; i++) {
        const char *kind = bl_after(rest, fused[i]);
        if (kind) {
            out->share = i;
            out->shares = 3;
            int n = snprintf(out->name, sizeof out->name, "%sattn.in_proj_%s", head, kind);
            return n < (int)sizeof out->name;
        }
    }
    return bl_renamed(out, head, rest, layer, COUNT(layer), false);
}

bool bl_open_clip_name(bl_stored *out, const char *name) {
    if (strcmp(name, "text_projection.weight") == 0) {
        out->transposed = true;
        return bl_renamed(out, "", "text_projection", NULL, 0, true);
    }
    const char *rest = bl_after(name, "text_model.");
    if (!rest) {
        return false;
    }
    const char *inner = bl_after(rest, "encoder.layers.");
    if (inner) {
        int number = bl_take_number(&inner);
        return number >= 0 && layer_name(out, number, inner);
    }
    return bl_renamed(out, "", rest, ends, COUNT(ends), false);
}
