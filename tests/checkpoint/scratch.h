/* A folder for one test, made and removed by TEST(f), and the name of a file in it. */
#ifndef BALLAST_TESTS_CHECKPOINT_SCRATCH_H
#define BALLAST_TESTS_CHECKPOINT_SCRATCH_H

#include "support/files.h"

static char folder[BL_TEST_PATH], path[BL_TEST_PATH];

static inline int make_folder(void **state) {
    (void)state;
    bl_test_folder(folder);
    bl_test_join(path, folder, "x.safetensors");
    return 0;
}

static inline int remove_folder(void **state) {
    (void)state;
    bl_test_folder_remove(folder);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

#endif
