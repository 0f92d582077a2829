/* What a file recommends: numbers in range, and anything else passed over by name. */
#include "checkpoint/recommended.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bl_recommended recommended(const char *metadata) {
    char header[512];
    bl_checkpoint *c;
    bl_error err = {0};
    snprintf(header, sizeof header,
             "{%s\"model.diffusion_model.x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
             metadata);
    bl_test_write_header(path, header, 1);
    if (bl_checkpoint_open(&c, path, NULL, &err)) {
        fail_msg("%s", err.message);
    }
    bl_recommended r = bl_recommended_of(c, &bl_sd1);
    bl_checkpoint_close(&c);
    return r;
}

static bl_recommended entry(const char *key, const char *value) {
    char metadata[256];
    snprintf(metadata, sizeof metadata, "\"__metadata__\":{\"%s\":\"%s\"},", key, value);
    return recommended(metadata);
}

static void numbers_are_read(void **state) {
    (void)state;
    bl_recommended r = recommended("\"__metadata__\":{\"ballast.cfg\":\"1.5\",\"ballast.steps\":\"4\"},");
    assert_true(r.steps == 4 && r.cfg == 1.5 && !r.unread);
    r = recommended("");
    assert_true(r.steps == 0 && r.cfg == -1 && !r.unread);
    r = entry("ballast.cfg", "0");
    assert_true(r.steps == 0 && r.cfg == 0 && !r.unread);
    r = entry("ballast.steps", "1000");
    assert_true(r.steps == 1000 && r.cfg == -1 && !r.unread);
}

static void others_are_passed_over(void **state) {
    static const char *const none[] = {
        "", "x", "-1", "5x", "1e3", "1e999", "nan", "inf", "1001", " 5", "0x5", "1,5", "99999999999999999999",
        "."};
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        bl_recommended r = entry("ballast.cfg", none[i]);
        if (r.cfg != -1 || r.steps || !r.unread || strcmp(r.unread, "ballast.cfg") != 0) {
            fail_msg("cfg \"%s\" is %g", none[i], r.cfg);
        }
        r = entry("ballast.steps", none[i]);
        assert_true(r.steps == 0 && r.cfg == -1 && !strcmp(r.unread, "ballast.steps"));
    }
    assert_string_equal(entry("ballast.steps", "0").unread, "ballast.steps");
    assert_string_equal(entry("ballast.steps", "2.5").unread, "ballast.steps");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(numbers_are_read),
        TEST(others_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
