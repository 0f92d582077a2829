/* Who else uses the processors, by what the system says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "core/clock.h"
#include "core/others.h"

static void lines(void **state) {
    (void)state;
    int processor;
    double busy, all;
    assert_true(bl_others_line("cpu3 10 20 30 1000 5 1 2 7 9 9", &processor, &busy, &all));
    assert_int_equal(processor, 3);
    assert_true(busy == 70 && all == 1075); /* what others took below the system (7) is work, too */
    assert_true(bl_others_line("cpu0 10 20 30 1000", &processor, &busy, &all)); /* an old system's */
    assert_true(busy == 60 && all == 1060);
    static const char *const none[] = {"cpu 1 2 3 4 5 6 7 8", "intr 1 2", "", "cpu1",
                                       "cpu-1 1 2 3 4",       "cpux 1"};
    for (int i = 0; i < 6; i++) {
        assert_false(bl_others_line(none[i], &processor, &busy, &all));
    }
}

static void shares(void **state) {
    (void)state;
    const bl_others from = {.busy = 10, .all = 100, .own = 5};
    bl_others to = {.busy = 16, .all = 120, .own = 7};
    assert_true(fabs(bl_others_between(&from, &to) - 0.2) < 1e-9);
    to.own = 11;
    assert_true(fabs(bl_others_between(&from, &to)) < 1e-9); /* all of it was our own */
    to.own = 12;
    assert_true(bl_others_between(&from, &to) == 0); /* ticks are not exact */
    to = (bl_others){.busy = 10.2, .all = 100.3, .own = 5};
    assert_true(bl_others_between(&from, &to) == 0); /* too short to say */
    assert_true(bl_others_between(&(bl_others){0}, &to) == 0);
}

/* What this process works is not others' work. */
static void own_work(void **state) {
    (void)state;
    bl_others from, to;
    if (!bl_others_now(&from)) {
        skip(); /* no /proc */
    }
    double began = bl_now();
    volatile double x = 1;
    do {
        for (int i = 0; i < 1000000; i++) {
            x = x * 1.0000001;
        }
        assert_true(bl_others_now(&to));
    } while (bl_now() < began + 0.3 || to.all < from.all + 0.6);
    assert_true(to.own > from.own);
    assert_true(to.busy - from.busy > to.own - from.own - 0.1);
    double others = bl_others_between(&from, &to);
    assert_true(others >= 0 && others <= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(shares),
        cmocka_unit_test(own_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
