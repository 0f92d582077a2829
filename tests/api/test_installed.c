/* `make install` into an empty tree: the example builds against it with pkg-config and runs, the command
 * runs, the manual is there. */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void run(const char *command) {
    outcome o = {0};
    rig_run(&o, (const char *const[]){"sh", "-c", command, NULL});
    if (o.code) {
        fail_msg("%s: exit code %d\n%s%s", command, o.code, o.out, o.err);
    }
    rig_free(&o);
}

static void test_example(void **state) {
    static const char *const installed[] = {"bin/ballast",
                                            "include/ballast.h",
                                            LIBDIR "/libballast.so",
                                            LIBDIR "/pkgconfig/ballast.pc",
                                            "share/man/man1/ballast.1",
                                            "share/bash-completion/completions/ballast",
                                            "share/ballast/report.schema.json"};
    char command[BL_TEST_PATH];
    (void)state;
    run(CMAKE " --install '" BUILD_FOLDER "' --prefix \"$PWD/tree\"");
    for (size_t i = 0; i < sizeof installed / sizeof *installed; i++) {
        snprintf(command, sizeof command, "tree/%s", installed[i]);
        if (access(command, R_OK)) {
            fail_msg("%s is not installed", installed[i]);
        }
    }
    run("PKG_CONFIG_PATH=$PWD/tree/" LIBDIR "/pkgconfig; export PKG_CONFIG_PATH; " CC " " TEST_FLAGS
        " -std=c17 -Wall -Wextra -Wpedantic -Werror '" SOURCE_FOLDER
        "/examples/generate.c' -o example $(pkg-config --cflags --libs ballast) "
        "-Wl,-rpath,\"$PWD/tree/" LIBDIR "\"");
    /* the embedded model: the example makes pictures of a model's own size */
    run("./example tree/share/ballast/ballast-mini.safetensors 'a panda' panda.png");
    run("tree/bin/ballast generate --threads 0 -p 'a panda' -n blurry -S 42 -o same.png");
    expect_same_file("panda.png", "same.png");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_example)};
    return cmocka_run_group_tests_name("api.installed", tests, rig_open, rig_close);
}
