#include "core/size_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* Three digits and the unit that fits: 0.01 GB is no figure of a small model. */
static void test_sizes(void **state) {
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},
                 {999, "999 B"},
                 {1000, "1.00 kB"},
                 {7964416, "7.96 MB"},
                 {9994999, "9.99 MB"},
                 {9999999, "10.0 MB"},
                 {35256000, "35.3 MB"},
                 {99960000, "100 MB"},
                 {999499999, "999 MB"},
                 {999500000, "1.00 GB"},
                 {9344000000, "9.34 GB"},
                 {34360000000, "34.4 GB"},
                 {UINT64_MAX, "18446744 TB"}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_string_equal(bl_size_of(sizes[i].bytes).text, sizes[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests_name("core.size_text", tests, NULL, NULL);
}
