/* The rebuilt checkpoints are those that the goldens were made with; one that is not fails its test alone. */
#include "support/files.h"
#include "support/synth.h"

#include "core/parallel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

static void another_digest(void **state) {
    char path[BL_TEST_PATH];
    (void)state;
    bl_synth_checkpoint(path, "other", BL_SYNTH_SINGLE);
}

/* Two tests in a process of their own: the first may not keep the second waiting for the cache. */
static void the_next_test_goes_on(void **state) {
    static const char weights[] = "{\"seed\": 1, \"family\": \"other\", \"metadata\": {},"
                                  "\"sha256\": {\"single_file/model.safetensors\": \"0123456789abcdef\"},"
                                  "\"single_file\": [[\"a\", \"const\", \"F32\", 1]]}";
    const struct CMUnitTest two[] = {cmocka_unit_test(another_digest), cmocka_unit_test(another_digest)};
    char folder[BL_TEST_PATH], path[BL_TEST_PATH];
    int status = 0;
    (void)state;
    bl_test_folder(folder);
    bl_test_join(path, folder, "other/weights.json");
    bl_test_write(path, weights, strlen(weights));
    fflush(NULL);
    pid_t child = fork();
    if (!child) {
        alarm(20);
        setenv("BALLAST_TEST_DATA", folder, 1);
        setenv("BALLAST_TEST_CACHE", folder, 1);
        _exit(!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)
                  ? 9
                  : cmocka_run_group_tests(two, NULL, NULL));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    bl_test_folder_remove(folder);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 2); /* both failed */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_file_has_its_digest),
                                       cmocka_unit_test(the_next_test_goes_on)};
    bl_set_threads(bl_usable_cores());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
