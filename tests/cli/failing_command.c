/* What the command is linked with so that allocation number BALLAST_TEST_FAIL of a run fails: how many there
 * were goes to the file BALLAST_TEST_FAIL_COUNT. */
#include "support/failing.h"

#include <stdio.h>
#include <stdlib.h>

__attribute__((constructor)) static void begin(void) {
    const char *number = getenv("BALLAST_TEST_FAIL");
    bl_test_fail_sqlite();
    bl_test_fail_json(true);
    bl_test_fail(number ? strtol(number, NULL, 10) : -1);
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("BALLAST_TEST_FAIL_COUNT");
    long count = bl_test_allocations();
    bl_test_failed();
    FILE *f = path ? fopen(path, "we") : NULL;
    if (f) {
        fprintf(f, "%ld", count);
        fclose(f);
    }
}
