/* Lists of flow-matching models against diffusers' (floats there: 1e-6). */
#include "sample/flow.h"

#include "support/goldens.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOLERANCE 1e-6
#define MOST_STEPS 200

static void check_list(const char *name, const json_t *gold, int steps, double shift) {
    double sigmas[MOST_STEPS + 1];
    assert_true(steps >= 1 && steps <= MOST_STEPS);
    bl_flow_sigmas(sigmas, steps, shift);
    assert_int_equal(json_array_size(gold), steps + 1);
    for (int i = 0; i <= steps; i++) {
        const double g = json_number_value(json_array_get(gold, (size_t)i));
        if (!(fabs(sigmas[i] - g) < TOLERANCE)) {
            fail_msg("%s: sigma %d is %.9g, not %.9g", name, i, sigmas[i], g);
        }
    }
}

static void zimage_shifts_by_three(void **state) {
    (void)state;
    json_t *root = bl_test_json("zimage/golden/schedule.json"), *list;
    const char *steps;
    assert_true(json_object_size(root) > 4);
    json_object_foreach(root, steps, list) {
        check_list(steps, json_object_get(list, "sigmas"), atoi(steps), 3);
    }
    json_decref(root);
}

static void flux2_shifts_by_tokens_and_steps(void **state) {
    (void)state;
    json_t *root = bl_test_json("flux2/schedule.json"), *entry;
    const char *name;
    int lists = 0;
    json_object_foreach(root, name, entry) { /* "TOKENS.STEPS" */
        const int tokens = atoi(name), steps = atoi(strchr(name, '.') + 1);
        const double shift = bl_flow_shift_of(tokens, steps);
        assert_true(fabs(log(shift) - json_number_value(json_object_get(entry, "mu"))) < 1e-9);
        if (json_object_get(entry, "sigmas")) {
            check_list(name, json_object_get(entry, "sigmas"), steps, shift);
            lists++;
        }
    }
    assert_true(lists > 10);
    json_decref(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zimage_shifts_by_three),
        cmocka_unit_test(flux2_shifts_by_tokens_and_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
