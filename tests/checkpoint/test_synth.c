/* The rebuilt checkpoints are those that the goldens were made with. */
#include "support/synth.h"

#include "core/parallel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static void every_file_has_its_digest(void **state) {
    static const char *const families[] = {"sd15", "sd21v", "sdxl"};
    char path[BL_TEST_PATH];
    (void)state;
    for (int i = 0; i < 3; i++) {
        bl_synth_checkpoint(path, families[i], BL_SYNTH_SINGLE);
        bl_synth_checkpoint(path, families[i], BL_SYNTH_FOLDER);
    }
    bl_synth_checkpoint(path, "sd15", BL_SYNTH_SINGLE_F16);
    assert_int_equal(access(path, R_OK), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_file_has_its_digest)};
    bl_set_threads(bl_usable_cores());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
