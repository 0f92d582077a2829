/* Tags for adapters are found and taken out; nothing else between angle brackets is. */
#include "text/adapter_tags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void tags_are_taken_out(void **state) {
    static const char *const texts[][2] = {
        {"a red heart <lora:x:0.8>", "a red heart "},
        {"<hypernet:y>a<LoRA:z z:-1:2><lyco:w>, b", "a, b"},
        {"(<lora:x:1>:1.2)", "(:1.2)"},
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

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tags_are_taken_out),
                                       cmocka_unit_test(the_first_is_found)};
    return cmocka_run_group_tests_name("text.adapter_tags", tests, NULL, NULL);
}
