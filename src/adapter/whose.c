#include "adapter/whose.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { ANY = 0 };

/* A layer's block and name in it, dots written as underscores, and how many inputs and outputs it has. */
static const struct {
    const char *block, *layer;
    int64_t inputs, outputs;
    const char *family;
} known[] = {
    {"", "attention_to_q", 3840, ANY, "Z-Image"},
    {"", "attention_qkv", 3840, ANY, "Z-Image"},
    /* FLUX.1 is 3072 wide, FLUX.2 klein 3072 or 4096, dev 6144; a gate doubles what FLUX.2's MLPs are */
    {"single_transformer_blocks", "attn_to_qkv_mlp_proj", 3072, ANY, "FLUX.2 klein"},
    {"single_transformer_blocks", "attn_to_qkv_mlp_proj", 4096, ANY, "FLUX.2 klein"},
    {"single_transformer_blocks", "attn_to_qkv_mlp_proj", 6144, ANY, "FLUX.2 dev"},
    {"single_transformer_blocks", "proj_mlp", 3072, ANY, "FLUX.1"},
    {"single_transformer_blocks", "attn_to_k", 3072, ANY, "FLUX.1"},
    {"transformer_blocks", "ff_net_0_proj", 3072, ANY, "FLUX.1"},
    {"transformer_blocks", "ff_linear_in", 3072, ANY, "FLUX.2 klein"},
    {"transformer_blocks", "ff_linear_in", 4096, ANY, "FLUX.2 klein"},
    {"transformer_blocks", "ff_linear_in", 6144, ANY, "FLUX.2 dev"},
    {"single_blocks", "linear1", ANY, 21504, "FLUX.1"},
    {"single_blocks", "linear1", ANY, 27648, "FLUX.2 klein"},
    {"single_blocks", "linear1", 4096, ANY, "FLUX.2 klein"},
    {"single_blocks", "linear1", 6144, ANY, "FLUX.2 dev"},
    {"double_blocks", "img_attn_qkv", 4096, ANY, "FLUX.2 klein"},
    {"double_blocks", "img_attn_qkv", 6144, ANY, "FLUX.2 dev"},
    {"double_blocks", "img_mlp_0", ANY, 12288, "FLUX.1"},
    {"double_blocks", "img_mlp_0", ANY, 18432, "FLUX.2 klein"},
    {"double_blocks", "img_mod_lin", 3072, ANY, "FLUX.1"},
    /* SD3.5 medium alone has a second attention; without it SD3 medium's layers are the same */
    {"transformer_blocks", "attn2_to_q", 1536, ANY, "SD3.5 medium"},
    {"joint_blocks", "x_block_attn2_qkv", 1536, ANY, "SD3.5 medium"},
    {"transformer_blocks", "attn_to_q", 1536, ANY, "SD3 or SD3.5 medium"},
    {"joint_blocks", "x_block_attn_qkv", 1536, ANY, "SD3 or SD3.5 medium"},
    {"transformer_blocks", "attn_to_q", 2432, ANY, "SD3.5 large"},
    {"joint_blocks", "x_block_attn_qkv", 2432, ANY, "SD3.5 large"},
};

/* Is `words` in the key, and where does it end? NULL: it is not. */
static const char *behind(const char *key, const char *words) {
    for (; *key; key++) {
        size_t n = 0;
        while (words[n] && (key[n] == words[n] || (key[n] == '.' && words[n] == '_'))) {
            n++;
        }
        if (!words[n]) {
            return key + n;
        }
    }
    return NULL;
}

const char *bl_adapter_whose(const char *key, int64_t inputs, int64_t outputs) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *rest = behind(key, known[i].block);
        rest = rest ? behind(rest, known[i].layer) : NULL;
        const bool whole = rest && (*rest == '.' || *rest == '_');
        if (whole && (!known[i].inputs || known[i].inputs == inputs) &&
            (!known[i].outputs || known[i].outputs == outputs)) {
            return known[i].family;
        }
    }
    return NULL;
}
