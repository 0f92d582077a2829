/* Spans of time: what lies in them, and how long work takes that goes more slowly there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/spans.h"

#include <math.h>
#include <stdbool.h>

static bl_error err;

static void near(double a, double b) {
    if (!(fabs(a - b) < 1e-12)) {
        fail_msg("%.15f instead of %.15f", a, b);
    }
}

static void seconds_inside(void **state) {
    (void)state;
    bl_spans s = {0};
    near(bl_spans_inside(&s, 0, 1), 0);
    assert_int_equal(bl_spans_add(&s, 1, 2, &err), 0);
    assert_int_equal(bl_spans_add(&s, 2, 2, &err), 0); /* nothing */
    assert_int_equal(bl_spans_add(&s, 2, 3, &err), 0); /* goes on */
    assert_int_equal(bl_spans_add(&s, 5, 6, &err), 0);
    near(bl_spans_inside(&s, 0, 1), 0);
    near(bl_spans_inside(&s, 0, 10), 3);
    near(bl_spans_inside(&s, 2.5, 5.25), 0.75);
    near(bl_spans_inside(&s, 5.5, 5.75), 0.25);
    near(bl_spans_inside(&s, 6, 100), 0);
    bl_spans_free(&s);
}

static void work_is_slowed(void **state) {
    (void)state;
    bl_spans s = {0};
    assert_int_equal(bl_spans_add(&s, 1, 3, &err), 0);
    assert_int_equal(bl_spans_add(&s, 4, 6, &err), 0);
    near(bl_spans_end(&s, 0, 1, 0.5), 1);      /* before the first */
    near(bl_spans_end(&s, 0, 1.25, 0.5), 1.5); /* its last quarter takes twice as long */
    near(bl_spans_end(&s, 0, 3, 0.5), 4);      /* up to the second */
    near(bl_spans_end(&s, 0, 10, 0.5), 12);    /* through both, of which 2 s are lost */
    near(bl_spans_end(&s, 2, 0.25, 0.5), 2.5); /* inside one */
    near(bl_spans_end(&s, 3, 1, 0.5), 4);      /* between them */
    near(bl_spans_end(&s, 4.5, 0.75, 0.25), 5.5);
    near(bl_spans_end(&s, 7, 2, 0.5), 9);
    bl_spans_free(&s);
}

/* Thousands, most of them over. */
static void old_spans_are_forgotten(void **state) {
    (void)state;
    bl_spans s = {0};
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(bl_spans_add(&s, i, i + 0.5, &err), 0);
        near(bl_spans_inside(&s, i, i + 1), 0.5);
    }
    assert_true(s.room < 500);
    bl_spans_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seconds_inside),
        cmocka_unit_test(work_is_slowed),
        cmocka_unit_test(old_spans_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
