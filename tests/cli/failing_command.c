/* What the command is linked with so that allocation number BALLAST_TEST_FAIL of a run fails. Where
 * BALLAST_TEST_FAIL_WAYS names a file, none does, and the numbers that are worth failing go there, one a
 * line, after how many allocations there were. */
#include "support/failing.h"

#include <stdio.h>
#include <stdlib.h>

#define ROOM 100000

__attribute__((constructor)) static void begin(void) {
    const char *number = getenv("BALLAST_TEST_FAIL");
    bl_test_fail_sqlite();
    bl_test_fail_json(true);
    if (getenv("BALLAST_TEST_FAIL_WAYS")) {
        bl_test_watch();
    } else {
        bl_test_fail(number ? strtol(number, NULL, 10) : -1);
    }
}

__attribute__((destructor)) static void end(void) {
    static long numbers[ROOM];
    const char *path = getenv("BALLAST_TEST_FAIL_WAYS");
    long count = bl_test_allocations(), worth = bl_test_ways(numbers, ROOM);
    bl_test_failed();
    FILE *f = path ? fopen(path, "we") : NULL;
    if (f) {
        fprintf(f, "%ld\n", count);
        for (long i = 0; i < worth; i++) {
            fprintf(f, "%ld\n", numbers[i]);
        }
        fclose(f);
    }
}
