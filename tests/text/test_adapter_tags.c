/* Tags for adapters are found and taken out; other words between angle brackets are not. */
#include "text/adapter_tags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

static void tags_are_taken_out(void **state) {
    static const char *const texts[][2] = {
        {"a red heart <lora:x:0.8>", "a red heart "},
        {"<hypernet:y>a<LoRA:z z:-1:2><lyco:w>, b", "a, b"},
        {"(<lora:x:1>:1.2)", "(:1.2)"},
        {"a <lroa:x:1> cat <wild_card:y>, <:z> <a b:c> <\u00e9:d>", "a  cat , <:z> <a b:c> <\u00e9:d>"},
        {"a <cat-toy> < b > <lora> <lora:> <lora:x", "a <cat-toy> < b > <lora> <lora:> <lora:x"},
        {"<<lora:x>lora:y>", "<lora:y>"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *plain = bl_without_adapter_tags(texts[i][0]);
        assert_non_null(plain);
        assert_string_equal(plain, texts[i][1]);
        free(plain);
    }
}

static void the_first_is_found(void **state) {
    size_t length;
    (void)state;
    const char *text = "a <b> <lora:x:0.8> <lora:y>", *tag = bl_adapter_tag(text, &length);
    assert_ptr_equal(tag, text + 6);
    assert_int_equal(length, 12);
    assert_null(bl_adapter_tag("a < b", &length));
}

static void tags_are_read(void **state) {
    static const struct {
        const char *tag, *name;
        bool lora;
        double text, denoiser; /* NaN: refused */
    } cases[] = {
        {"<lora:x>", "x", true, 1, 1},
        {"<lora:x:0.8>", "x", true, 0.8, 0.8},
        {"<LYCO:a b:-.5: 1.25 >", "a b", true, -0.5, 1.25},
        {"<lora:x:unet=0.3>", "x", true, 1, 0.3},
        {"<lora:x:te=0>", "x", true, 0, 0},
        {"<lora:x:unet=0.5:te=0.25>", "x", true, 0.25, 0.5},
        {"<lora:x:0.7:unet=2>", "x", true, 0.7, 2},
        {"<hypernet:x:1>", "", false, 1, 1},
        {"<lroa:x:much>", "", false, 1, 1},
        {"<lora:x:>", "x", true, NAN, 0},
        {"<lora:x:1,5>", "x", true, NAN, 0},
        {"<lora:x:1e3>", "x", true, NAN, 0},
        {"<lora:x:nan>", "x", true, NAN, 0},
        {"<lora:x:1:1:8>", "x", true, NAN, 0},
        {"<lora:x:dyn=8>", "x", true, NAN, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bl_adapter_call c;
        bl_error err = {0};
        int rc = bl_adapter_tag_read(&c, cases[i].tag, strlen(cases[i].tag), &err);
        assert_int_equal(rc, isnan(cases[i].text) ? BL_E_ARGUMENT : 0);
        assert_int_equal(c.lora, cases[i].lora);
        assert_string_equal(c.name, cases[i].name);
        if (rc) {
            assert_non_null(strstr(err.message, "is no strength"));
        } else if (c.text != cases[i].text || c.denoiser != cases[i].denoiser) {
            fail_msg("%s: %g and %g", cases[i].tag, c.text, c.denoiser);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tags_are_taken_out),
                                       cmocka_unit_test(the_first_is_found), cmocka_unit_test(tags_are_read)};
    return cmocka_run_group_tests_name("text.adapter_tags", tests, NULL, NULL);
}
