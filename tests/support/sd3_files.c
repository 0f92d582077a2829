#include "support/sd3_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/files.h"
#include "support/flux1_files.h"
#include "support/synth.h"
#include "support/weight_list.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NO_T5 "{\"text_encoder_3\": [null, null], \"tokenizer_3\": [null, null]}"

void bl_test_sd3_folder(const char *folder, const char *family, bool t5) {
    static const char *const same[] = {"text_encoder", "text_encoder_2", "text_encoder_3",  "transformer",
                                       "vae",          "scheduler",      "model_index.json"};
    char synth[BL_TEST_PATH], from[BL_TEST_PATH], to[BL_TEST_PATH];
    bl_synth_folder(synth, family);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (!t5 && strstr("text_encoder_3 model_index.json", same[i]) && strcmp(same[i], "text_encoder")) {
            continue;
        }
        bl_test_join(from, synth, same[i]);
        bl_test_join(to, folder, same[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    if (t5) {
        bl_test_t5_vocabulary(folder, "tokenizer_3/tokenizer.json");
    } else {
        bl_test_join(to, folder, "model_index.json");
        bl_test_write(to, NO_T5, strlen(NO_T5));
    }
}

enum { WIDTH = 32, CLIP_WIDTH = 48, CLIP_HIDDEN = 64 };

/* A layer by either's name, whose halves are exchanged by its authors'. */
static const struct lora_layer {
    const char *diffusers[3], *authors;
    int rows, columns;
    bool swapped;
} lora_layers[] = {
    {{"transformer.transformer_blocks.0.attn.to_q", "transformer.transformer_blocks.0.attn.to_k",
      "transformer.transformer_blocks.0.attn.to_v"},
     "lora_unet_joint_blocks_0_x_block_attn_qkv",
     WIDTH,
     WIDTH,
     false},
    {{"transformer.norm_out.linear"}, "lora_unet_final_layer_adaLN_modulation_1", 2 * WIDTH, WIDTH, true},
    {{"transformer.transformer_blocks.2.norm1_context.linear"},
     "lora_unet_joint_blocks_2_context_block_adaLN_modulation_1",
     2 * WIDTH,
     WIDTH,
     true},
    {{"transformer.transformer_blocks.1.norm1_context.linear"},
     "lora_unet_joint_blocks_1_context_block_adaLN_modulation_1",
     6 * WIDTH,
     WIDTH,
     false},
    {{"text_encoder_2.text_model.encoder.layers.0.mlp.fc1"},
     "lora_te2_text_model_encoder_layers_0_mlp_fc1",
     CLIP_HIDDEN,
     CLIP_WIDTH,
     false}};

void bl_test_sd3_lora(const char *path, bool kohya) {
    bl_weight_list *l = calloc(1, sizeof *l);
    assert_non_null(l);
    for (size_t i = 0; i < sizeof lora_layers / sizeof *lora_layers; i++) {
        const struct lora_layer *x = &lora_layers[i];
        int count = 0;
        for (; count < 3 && x->diffusers[count]; count++) {
            if (!kohya) {
                bl_weight_list_add_lora(l, x->diffusers[count], true, x->rows, x->columns);
            }
        }
        if (kohya) {
            bl_weight_list_add_lora(l, x->authors, false, count * x->rows, x->columns);
        }
        if (kohya && x->swapped) {
            bl_weight_list_swap(l);
        }
    }
    bl_weight_list_write(l, path);
    free(l);
}
