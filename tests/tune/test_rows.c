/* The rows of choices: where each is one, and how they are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/tuning.h"

/* All of a row's values, each with what changes; the longest text there is has room. */
static void longest_text(void **state) {
    (void)state;
    bl_tuning t = {0}, again;
    char text[BL_TUNING_TEXT];
    bl_error err = {0};
    for (int i = 0; i < BL_CHOICES; i++) {
        *bl_tuning_field(&t, &bl_choices[i]) = bl_choices[i].most;
    }
    bl_tuning_text(text, &t);
    assert_true(strlen(text) < BL_TUNING_TEXT - 1);
    assert_int_equal(bl_tuning_parse(&again, text, &err), 0);
    assert_true(bl_tuning_same(&t, &again));
}

/* "name=value name=value" of each row that is offered there. */
static const char *offered(const bl_choice_place *where) {
    static char text[256];
    int n = 0, values[BL_CHOICE_VALUES];
    text[0] = 0;
    for (int i = 0; i < BL_CHOICES; i++) {
        int count = bl_choices[i].values(values, where);
        for (int k = 0; k < count; k++) {
            n += snprintf(text + n, sizeof text - (size_t)n, "%s%s=%d", n ? " " : "", bl_choices[i].name,
                          values[k]);
        }
    }
    return text;
}

/* What is no choice on a device is not offered there. */
static void where_they_are(void **state) {
    (void)state;
    assert_string_equal(
        offered(&(bl_choice_place){.threads = 1, .cores = 1, .processors = 1, .nodes = 1, .arena_levels = 1}),
        "");
    assert_string_equal(
        offered(&(bl_choice_place){.threads = 4, .cores = 4, .processors = 8, .nodes = 1, .arena_levels = 2}),
        "threads=1 threads=2 threads=3 threads=8 level=1 pin=1 rest=1");
    assert_string_equal(
        offered(&(bl_choice_place){.threads = 2, .cores = 2, .processors = 2, .nodes = 2, .arena_levels = 1}),
        "threads=1 pin=1 pin=2 rest=1");
    assert_string_equal(offered(&(bl_choice_place){.arena_levels = 1, .launches = true}),
                        "graphs=1 graphs=2");
    assert_string_equal(
        offered(&(bl_choice_place){.arena_levels = 1, .convolves = true, .tiles = {256, 8, 4}}),
        "winograd=1 winograd/2=1 winograd/4=2"); /* small ones are oneDNN's as it is */
}

/* Each half as wide as the one before, or a pixel more. */
static void sizes(void **state) {
    (void)state;
    static const int even[] = {64, 32, 16, 8, 4}, odd[] = {97, 49, 25, 13, 7}, expected[] = {0, 1, 2, 3, 3};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(bl_tuning_size(64, even[i]), expected[i]);
        assert_int_equal(bl_tuning_size(97, odd[i]), expected[i]);
    }
    assert_int_equal(bl_tuning_size(1, 1), 0);
}

static void texts(void **state) {
    (void)state;
    char text[BL_TUNING_TEXT];
    bl_tuning t = {.threads = 12, .winograd = {2, 0, 1}}, again;
    bl_error err = {0};
    bl_tuning_text(text, &t);
    assert_string_equal(text, "threads=12,winograd=2,winograd/4=1");
    assert_int_equal(bl_tuning_parse(&again, text, &err), 0);
    assert_true(bl_tuning_same(&t, &again));
    bl_tuning_text(text, &(bl_tuning){0});
    assert_string_equal(text, "");
    assert_int_equal(bl_tuning_parse(&again, "", &err), 0);
    static const char *const wrong[] = {"threads",
                                        "threads=",
                                        "threads=0",
                                        "threads=1025",
                                        "threads=-1",
                                        "threads=2,",
                                        "thread=2",
                                        "=2",
                                        ",",
                                        "threads=2 ",
                                        "level=4",
                                        "winograd=00003",
                                        "threads=2x",
                                        "level=1;x",
                                        "threads=1,threads=2",
                                        "threads=99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(bl_tuning_parse(&again, wrong[i], &err), BL_E_FORMAT);
    }
}

/* Threads, places and waiting are what a busy machine makes look good; the rest is good on any. */
static void yielding(void **state) {
    (void)state;
    bl_tuning all = {0};
    char text[BL_TUNING_TEXT];
    for (int i = 0; i < BL_CHOICES; i++) {
        *bl_tuning_field(&all, &bl_choices[i]) = 1;
    }
    bl_tuning rest = bl_tuning_unyielding(&all);
    bl_tuning_text(text, &rest);
    assert_string_equal(text, "level=1,graphs=1,winograd=1,winograd/2=1,winograd/4=1,winograd/8=1");
    assert_true(bl_tuning_yields(&all));
    assert_false(bl_tuning_yields(&rest));
    assert_false(bl_tuning_yields(&(bl_tuning){0}));
    for (int i = 0; i < BL_CHOICES; i++) { /* a run without them has the same bits */
        assert_true(!bl_choices[i].yields || bl_choices[i].same_bits);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts), cmocka_unit_test(longest_text), cmocka_unit_test(where_they_are),
        cmocka_unit_test(sizes), cmocka_unit_test(yielding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
