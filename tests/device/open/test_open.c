/* Devices by name: which are found, and what is said of those that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/open/open.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const bl_cpu_options cpu;

static void refused(const char *name, int code, const char *words) {
    bl_device *d = (bl_device *)(uintptr_t)1;
    bl_error err = {0};
    assert_int_equal(bl_device_open(&d, name, &cpu, &err), code);
    assert_null(d);
    if (!strstr(err.message, words)) {
        fail_msg("%s: \"%s\" does not say \"%s\"", name, err.message, words);
    }
}

static void test_names_that_are_none(void **state) {
    (void)state;
    refused("", BL_E_NOT_FOUND, "no \"\"");
    refused("../cpu", BL_E_NOT_FOUND, "no \"../cpu\"");
    refused("a/b", BL_E_NOT_FOUND, "no \"a/b\"");
    refused("CPU", BL_E_NOT_FOUND, "no \"CPU\"");
    refused("a_name_that_is_longer_than_any_device_has", BL_E_NOT_FOUND, "no \"");
    refused("cpu2", BL_E_NOT_FOUND, "no ballast-cpu2.so in ");
    refused("sim:no/such/file.json", BL_E_NOT_FOUND, "no/such/file.json");
}

static void test_plugins(void **state) {
    (void)state;
    bl_device *d;
    bl_error err = {0};
    char told[80];
    snprintf(told, sizeof told, "version %d of the device contract, this library has %d",
             BL_DEVICE_VERSION - 1, BL_DEVICE_VERSION);
    refused("old", BL_E_DEVICE, told);
    refused("stranger", BL_E_DEVICE, "ballast-stranger.so is no plugin");
    assert_int_equal(bl_device_open(&d, "faulty:1", &cpu, &err), 0);
    assert_string_equal(d->ops->name, "faulty");
    bl_device_close(&d);
}

static void test_the_librarys_own_folder(void **state) {
    (void)state;
    char *given = strdup(getenv("BALLAST_PLUGINS"));
    unsetenv("BALLAST_PLUGINS");
    refused("faulty", BL_E_NOT_FOUND, "/bin"); /* where this program is, which has the room linked in */
    setenv("BALLAST_PLUGINS", "/nowhere::", 1);
    refused("faulty", BL_E_NOT_FOUND, "no ballast-faulty.so in /nowhere");
    setenv("BALLAST_PLUGINS", given, 1);
    free(given);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names_that_are_none),
                                       cmocka_unit_test(test_plugins),
                                       cmocka_unit_test(test_the_librarys_own_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
