/* The header alone, as strict C and as C++; what the library exports. */
#include "ballast.h"
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
static const char use[] =
    "#include \"ballast.h\"\n#include \"ballast.h\"\n"
    "#define MAKE(kind) ballast_##kind##_options kind; \\\n"
    "    ballast_##kind##_options_init(&kind, sizeof kind)\n"
    "int main(void) {\n"
    "    MAKE(context); MAKE(model); MAKE(generate); MAKE(plan); MAKE(png);\n"
    "    return (int)(context.struct_size + model.struct_size + generate.struct_size +\n"
    "                 plan.struct_size + png.struct_size) & BALLAST_OK;\n"
    "}\n";

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

/* Until 1.0 each minor version is another interface, and a program finds the one it was linked with. */
static void test_soname(void **state) {
    outcome o = {0};
    char wanted[64];
    (void)state;
    snprintf(wanted, sizeof wanted, "[libballast.so.%.*s]",
             (int)(strrchr(BALLAST_VERSION, '.') - BALLAST_VERSION), BALLAST_VERSION);
    rig_run(&o, (const char *const[]){"readelf", "-d", LIBRARY, NULL});
    assert_int_equal(o.code, 0);
    expect_contains(o.out, wanted);
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_c),
        cmocka_unit_test(test_as_cxx),
        cmocka_unit_test(test_symbols),
        cmocka_unit_test(test_soname),
    };
    return cmocka_run_group_tests_name("api.header", tests, rig_open, rig_close);
}
