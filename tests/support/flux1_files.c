#include "support/flux1_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/files.h"
#include "support/synth.h"

#include <unistd.h>

static void link_to(const char *from, const char *folder, const char *name) {
    char to[BL_TEST_PATH];
    bl_test_join(to, folder, name);
    assert_int_equal(symlink(from, to), 0);
}

void bl_test_t5_vocabulary(const char *path, const char *name) {
    char from[BL_TEST_PATH];
    bl_test_data(from, "common/unigram/tokenizer.json");
    link_to(from, path, name);
}

void bl_test_flux1_folder(const char *path, const char *family) {
    static const char *const same[] = {"text_encoder", "text_encoder_2", "transformer",
                                       "vae",          "scheduler",      "model_index.json"};
    char synth[BL_TEST_PATH], from[BL_TEST_PATH];
    bl_synth_folder(synth, family);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        bl_test_join(from, synth, same[i]);
        link_to(from, path, same[i]);
    }
    bl_test_t5_vocabulary(path, "tokenizer_2/tokenizer.json");
}
