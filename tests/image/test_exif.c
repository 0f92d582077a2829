/* What an EXIF block says: parameters as A1111 and others write them, and any damage says nothing. */
#include "image/exif.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void there_and_back(void **state) {
    static const char *const texts[] = {"a", "a fox\nSteps: 20, Sampler: Euler a",
                                        "\u72d0 \U0001f98a \u00e9"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint8_t *block;
        size_t n;
        char *back;
        assert_int_equal(bl_exif_encode(&block, &n, texts[i], NULL), 0);
        assert_memory_equal(block + 44, "UNICODE\0", 8);
        assert_int_equal(bl_exif_comment(&back, block, n, NULL), 0);
        assert_string_equal(back, texts[i]);
        free(back);
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *short_block = malloc(cut ? cut : 1);
            memcpy(short_block, block, cut);
            assert_int_equal(bl_exif_comment(&back, short_block, cut, NULL), 0);
            assert_null(back);
            free(short_block);
        }
        for (size_t at = 0; at < n; at++) { /* whatever it says, nothing is lost */
            block[at] ^= 0xa5;
            assert_int_equal(bl_exif_comment(&back, block, n, NULL), 0);
            free(back);
            block[at] ^= 0xa5;
        }
        free(block);
    }
}

/* A block in either order with this comment, its name of characters in front. */
static size_t make(uint8_t out[128], int big, const char *comment, size_t n) {
    static const uint8_t motorola[44] = "MM\0*\0\0\0\10\0\1\207\151\0\4\0\0\0\1\0\0\0\32\0\0\0\0"
                                        "\0\1\222\206\0\7\0\0\0\0\0\0\0\54\0\0\0",
                         intel[44] = "II*\0\10\0\0\0\1\0\151\207\4\0\1\0\0\0\32\0\0\0\0\0\0\0"
                                     "\1\0\206\222\7\0\0\0\0\0\54\0\0\0\0\0\0";
    memcpy(out, big ? motorola : intel, 44);
    out[big ? 35 : 32] = (uint8_t)n;
    memcpy(out + 44, comment, n);
    return 44 + n;
}

static void expect(int big, const char *comment, size_t n, const char *text) {
    uint8_t block[128];
    char *back;
    size_t bytes = make(block, big, comment, n);
    assert_int_equal(bl_exif_comment(&back, block, bytes, NULL), 0);
    if (!text || !back) {
        assert_true(text == back);
        return;
    }
    assert_string_equal(back, text);
    free(back);
}
#define EXPECT(big, comment, text) expect(big, comment, sizeof(comment) - 1, text)

static void as_programs_write(void **state) {
    (void)state;
    EXPECT(1, "UNICODE\0\0a\0 \0f\0o\0x", "a fox");
    EXPECT(0, "UNICODE\0\0a\0 \0f\0o\0x", "a fox"); /* its own order, whatever the block's is */
    EXPECT(0, "UNICODE\0a\0 \0f\0o\0x\0", "a fox");
    EXPECT(1, "UNICODE\0a\0 \0f\0o\0x\0", "a fox");
    EXPECT(1, "UNICODE\0\xff\xfe\xd0\x72", "\u72d0");
    EXPECT(0, "UNICODE\0\xfe\xff\x72\xd0", "\u72d0");
    EXPECT(0, "UNICODE\0\xd0\x72", "\u72d0");
    EXPECT(1, "UNICODE\0\xd8\x3e\xdd\x8a\xd8\x3e", "\U0001f98a\ufffd");
    EXPECT(1, "ASCII\0\0\0a fox\0\0", "a fox");
    EXPECT(1, "\0\0\0\0\0\0\0\0caf\xc3\xa9", "caf\u00e9");
    EXPECT(1, "\0\0\0\0\0\0\0\0caf\xe9", "caf\u00e9");
    EXPECT(1, "a fox in the snow", "a fox in the snow");
    EXPECT(1, "JIS\0\0\0\0\0abc", NULL);
    EXPECT(1, "ASCII\0\0\0\0\0", NULL);
    EXPECT(1, "UNICODE\0", NULL);
}

static void too_long(void **state) {
    uint8_t *block;
    size_t n;
    bl_error err;
    char *text = malloc(40000);
    (void)state;
    memset(text, 'x', 40000);
    text[32737] = 0;
    assert_int_equal(bl_exif_encode(&block, &n, text, &err), 0);
    assert_true(n <= BL_EXIF_MOST);
    free(block);
    text[32737] = 'x';
    text[32738] = 0;
    assert_int_equal(bl_exif_encode(&block, &n, text, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "write a PNG"));
    text[0] = (char)0xff;
    assert_int_equal(bl_exif_encode(&block, &n, text, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "UTF-8"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(as_programs_write),
        cmocka_unit_test(too_long),
    };
    return cmocka_run_group_tests_name("image.exif", tests, NULL, NULL);
}
