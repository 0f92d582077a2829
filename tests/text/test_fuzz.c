/* Random prompts, the same every run: nothing may crash (build with BALLAST_SANITIZE for the full proof), and
 * what comes out must be well formed. */
#include "text/prompt.h"
#include "text/tokenizer_state.h"
#include "text/unicode.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint32_t next(uint32_t *seed) { /* xorshift32 */
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void check_chunks(const bl_chunks *c) {
    assert_true(c->count >= 1);
    for (int i = 0; i < c->count; i++) {
        const int32_t *ids = c->ids + i * BL_CHUNK_TOKENS;
        assert_int_equal(ids[0], BL_TOKEN_BOS);
        assert_in_range(c->eos_index[i], 1, BL_CHUNK_TOKENS - 1);
        for (int k = 1; k < BL_CHUNK_TOKENS; k++) {
            assert_in_range(ids[k], 0, BL_TOKEN_EOS);
            assert_true(k >= c->eos_index[i] || ids[k] != BL_TOKEN_EOS);
            assert_true(fabsf(c->weights[i * BL_CHUNK_TOKENS + k]) <= 1000.0f);
        }
        assert_int_equal(ids[c->eos_index[i]], BL_TOKEN_EOS);
    }
}

/* All syntaxes take the text or all refuse it, but for the emphasis that plain text does not know. */
static void try_text(const bl_tokenizer *t, const char *text, size_t bytes, int *taken) {
    bl_chunks c;
    bl_error err = {0};
    int plain = bl_prompt_parse(&c, t, text, bytes, BL_PROMPT_PLAIN, 0, &err);
    if (plain == BL_OK) {
        check_chunks(&c);
        bl_chunks_clear(&c);
        (*taken)++;
    } else {
        assert_int_equal(plain, BL_E_ARGUMENT);
        assert_int_equal(err.code, plain);
    }
    for (int syntax = BL_PROMPT_A1111; syntax <= BL_PROMPT_COMFYUI; syntax++) {
        int rc = bl_prompt_parse(&c, t, text, bytes, (bl_prompt_syntax)syntax, BL_TOKEN_EOS, &err);
        if (rc == BL_OK) {
            assert_int_equal(plain, BL_OK);
            check_chunks(&c);
            bl_chunks_clear(&c);
        } else {
            assert_int_equal(rc, BL_E_ARGUMENT);
            assert_true(plain == rc || strstr(err.message, "emphasis"));
        }
    }
}

static void random_bytes(void **state) {
    uint32_t seed = 1;
    int taken = 0;
    for (int i = 0; i < 3000; i++) {
        char text[64];
        size_t n = next(&seed) % sizeof text;
        for (size_t k = 0; k < n; k++) {
            text[k] = (char)(next(&seed) >> 11);
        }
        char *copy = malloc(n ? n : 1); /* of the exact size, so that a byte read too far is seen */
        assert_non_null(copy);
        memcpy(copy, text, n);
        try_text(*state, copy, n, &taken);
        free(copy);
    }
    assert_true(taken > 0);
}

static void random_syntax(void **state) {
    static const char *const parts[] = {
        "(",
        ")",
        "[",
        "]",
        "\\",
        ":",
        "1.2",
        "-",
        ".",
        "word",
        ",",
        " ",
        "BREAK",
        " BREAK ",
        ":1.3)",
        ":0)",
        "\xc4\xb0",
        "\xcc\x81",
        "\xf0\x9f\x90\x88",
        "<|endoftext|>",
        "(a:2",
        "((((",
        "\xe2\x80\x83",
        "\xff",
        "'s",
        "9",
        "\xea\xb0\x80",
        "<|start",
        "\xc3\xa9",
        "\n",
        "#",
    };
    uint32_t seed = 2;
    int taken = 0;
    for (int i = 0; i < 3000; i++) {
        char text[1024];
        size_t n = 0, count = next(&seed) % 60;
        for (size_t k = 0; k < count; k++) {
            const char *part = parts[(next(&seed) >> 7) % (sizeof parts / sizeof *parts)];
            if ((unsigned char)*part == 0xff && next(&seed) % 64) {
                continue; /* few of them, or no prompt would be valid */
            }
            memcpy(text + n, part, strlen(part));
            n += strlen(part);
        }
        char *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, text, n);
        try_text(*state, copy, n, &taken);
        free(copy);
    }
    assert_true(taken > 2000);
}

/* The longest prompts of one thing repeated: time and memory must stay small. */
static void long_repetitions(void **state) {
    static const char *const units[] = {
        "(", "[(", "a(b)", ":", ":1", "\\", "BREAK ", "'", "9", ",", "\xcc\x81\xcc\xa7", "\xc4\xb0", "ab"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t length = strlen(units[i]), n = BL_PROMPT_MAX_BYTES / length * length;
        char *text = malloc(n);
        assert_non_null(text);
        for (size_t k = 0; k < n; k += length) {
            memcpy(text + k, units[i], length);
        }
        int taken = 0;
        try_text(*state, text, n, &taken);
        assert_int_equal(taken, 1);
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_bytes),
        cmocka_unit_test(random_syntax),
        cmocka_unit_test(long_repetitions),
    };
    return cmocka_run_group_tests(tests, tokenizer_setup, tokenizer_teardown);
}
