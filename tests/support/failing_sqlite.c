#include "support/failing.h"

#include <malloc.h>
#include <sqlite3.h>
#include <stdlib.h>

static void *take(int bytes) {
    return malloc((size_t)bytes);
}

static void *resize(void *p, int bytes) {
    return realloc(p, (size_t)bytes);
}

static int size_of(void *p) {
    return (int)malloc_usable_size(p);
}

static int round_up(int bytes) {
    return (bytes + 7) & ~7;
}

static int begin(void *data) {
    (void)data;
    return SQLITE_OK;
}

static void end(void *data) {
    (void)data;
}

bool bl_test_fail_sqlite(void) {
    static const sqlite3_mem_methods ours = {take, free, resize, size_of, round_up, begin, end, NULL};
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) == SQLITE_OK;
}
