/* The header alone, as strict C and as C++; what the library exports. */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STRICT "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"

static void compile(const char *const *argv) {
    outcome o = {0};
    rig_run(&o, argv);
    if (o.code) {
        fail_msg("%s says:\n%s", argv[0], o.err);
    }
    rig_free(&o);
}

/* Every option struct can be made, twice over the header. */
static const char use[] = "#include \"ballast.h\"\n#include \"ballast.h\"\n"
                          "static ballast_context_options c = BALLAST_CONTEXT_OPTIONS_INIT;\n"
                          "static ballast_model_options m = BALLAST_MODEL_OPTIONS_INIT;\n"
                          "int main(void) { ballast_generate_options g; ballast_generate_options_init(&g);\n"
                          "return (int)(c.struct_size + m.struct_size + g.struct_size) & BALLAST_OK; }\n";

static void test_as_c(void **state) {
    (void)state;
    bl_test_write("use.c", use, sizeof use - 1);
    compile((const char *const[]){CC, "-std=c99", STRICT, "-I", SOURCE_FOLDER "/include", "use.c", NULL});
    compile((const char *const[]){CC, "-std=c17", STRICT, "-I", SOURCE_FOLDER "/include", "use.c", NULL});
}

static void test_as_cxx(void **state) {
    (void)state;
    if (!CXX[0]) {
        skip();
    }
    bl_test_write("use.cpp", use, sizeof use - 1);
    compile((const char *const[]){CXX, "-std=c++11", STRICT, "-Wno-missing-field-initializers", "-I",
                                  SOURCE_FOLDER "/include", "use.cpp", NULL});
}

/* Nothing but ballast_* leaves the library, and all that the header declares is there. */
static void test_symbols(void **state) {
    outcome o = {0};
    int count = 0;
    (void)state;
    rig_run(&o, (const char *const[]){NM, "-D", "--defined-only", "--format=posix", LIBRARY, NULL});
    assert_int_equal(o.code, 0);
    for (char *line = o.out, *end; (end = strchr(line, '\n')); line = end + 1, count++) {
        if (strncmp(line, "ballast_", 8) != 0) {
            fail_msg("the library exports %.*s", (int)(end - line), line);
        }
    }
    char *header = rig_read(SOURCE_FOLDER "/include/ballast.h", NULL), name[64];
    int declared = 0;
    for (char *p = header; (p = strstr(p, "\nBALLAST_API ")); p++) {
        char *open = strchr(p, '('), *start = open;
        while (start[-1] == '_' || (start[-1] >= 'a' && start[-1] <= 'z') ||
               (start[-1] >= '0' && start[-1] <= '9')) {
            start--;
        }
        snprintf(name, sizeof name, "%.*s ", (int)(open - start), start);
        expect_contains(o.out, name);
        declared++;
    }
    assert_int_equal(count, declared);
    free(header);
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_c),
        cmocka_unit_test(test_as_cxx),
        cmocka_unit_test(test_symbols),
    };
    return cmocka_run_group_tests_name("api.header", tests, rig_open, rig_close);
}
