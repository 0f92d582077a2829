/* Makes in the folder that it is given a model folder of each family of transformers, tiny and whole: what
 * test_families.py serves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "support/files.h"
#include "support/flux1_files.h"
#include "support/flux2_files.h"
#include "support/sd3_files.h"
#include "support/zimage_files.h"

static const char *within(char path[BL_TEST_PATH], const char *folder, const char *name) {
    bl_test_join(path, folder, name);
    return path;
}

int main(int argc, char **argv) {
    char path[BL_TEST_PATH];
    if (argc != 2) {
        fprintf(stderr, "%s FOLDER\n", argv[0]);
        return 2;
    }
    bl_test_flux1_folder(within(path, argv[1], "flux1-dev"), "flux1/dev");
    bl_test_flux1_folder(within(path, argv[1], "flux1-schnell"), "flux1/schnell");
    bl_test_flux2_folder(within(path, argv[1], "klein"));
    bl_test_sd3_folder(within(path, argv[1], "sd35"), "sd3/medium", true);
    bl_test_zimage_folder(within(path, argv[1], "z-image"));
    return 0;
}
