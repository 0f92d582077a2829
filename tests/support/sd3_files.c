#include "support/sd3_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/files.h"
#include "support/flux1_files.h"
#include "support/synth.h"

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
