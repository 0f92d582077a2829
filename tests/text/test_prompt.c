/* Chunks of 75 tokens as A1111 cuts them, and emphasis on an encoded chunk. "x" is one token, 343 ("x</w>").
 */
#include "text/prompt.h"
#include "text/tokenizer_state.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define X (256 + 'x' - 33)
#define Y (256 + 'y' - 33)
#define COMMA (256 + ',' - 33)

static bl_chunks parse(void **state, const char *text, bl_prompt_syntax syntax, int32_t pad) {
    bl_chunks c;
    assert_int_equal(bl_prompt_parse(&c, *state, text, strlen(text), syntax, pad, NULL), 0);
    return c;
}

/* Appends `count` words, each a token, to text. */
static void words(char *text, const char *word, int count) {
    for (int i = 0; i < count; i++) {
        strcat(text, word);
        strcat(text, " ");
    }
}

static int32_t id(const bl_chunks *c, int chunk, int place) {
    return c->ids[chunk * BL_CHUNK_TOKENS + place];
}

static float weight(const bl_chunks *c, int chunk, int place) {
    return c->weights[chunk * BL_CHUNK_TOKENS + place];
}

static void check_chunk(const bl_chunks *c, int chunk, const int32_t *text, int count, int32_t pad) {
    assert_int_equal(id(c, chunk, 0), BL_TOKEN_BOS);
    for (int i = 0; i < count; i++) {
        assert_int_equal(id(c, chunk, 1 + i), text[i]);
    }
    assert_int_equal(id(c, chunk, 1 + count), BL_TOKEN_EOS);
    assert_int_equal(c->eos_index[chunk], 1 + count);
    for (int i = count + 2; i < BL_CHUNK_TOKENS; i++) {
        assert_int_equal(id(c, chunk, i), pad);
        assert_true(weight(c, chunk, i) == 1.0f);
    }
}

static void an_empty_prompt_is_one_empty_chunk(void **state) {
    static const char *const empty[] = {"", "  \n\t", "()", "[[]"};
    for (size_t i = 0; i < 4; i++) {
        for (int32_t pad = 0; pad <= BL_TOKEN_EOS; pad += BL_TOKEN_EOS) {
            bl_chunks c = parse(state, empty[i], BL_PROMPT_A1111, pad);
            assert_int_equal(c.count, 1);
            check_chunk(&c, 0, NULL, 0, pad);
            bl_chunks_clear(&c);
        }
    }
}

static void weights_reach_their_tokens(void **state) {
    bl_chunks c = parse(state, "x (y:1.5) [x]", BL_PROMPT_A1111, 0);
    static const int32_t ids[] = {X, Y, X};
    assert_int_equal(c.count, 1);
    check_chunk(&c, 0, ids, 3, 0);
    assert_true(weight(&c, 0, 0) == 1.0f);
    assert_true(weight(&c, 0, 1) == 1.0f);
    assert_true(weight(&c, 0, 2) == 1.5f);
    assert_true(weight(&c, 0, 3) == (float)(1.0 / 1.1));
    assert_true(weight(&c, 0, 4) == 1.0f);
    bl_chunks_clear(&c);

    c = parse(state, "(y:1.5)", BL_PROMPT_PLAIN, 0);
    assert_true(c.eos_index[0] > 4); /* brackets and number are tokens */
    for (int i = 0; i < BL_CHUNK_TOKENS; i++) {
        assert_true(weight(&c, 0, i) == 1.0f);
    }
    bl_chunks_clear(&c);
}

static void seventy_five_tokens_fill_a_chunk(void **state) {
    int32_t ids[75];
    for (int i = 0; i < 75; i++) {
        ids[i] = X;
    }
    for (int n = 74; n <= 76; n++) {
        char text[512] = "";
        words(text, "x", n);
        bl_chunks c = parse(state, text, n % 2 ? BL_PROMPT_COMFYUI : BL_PROMPT_A1111, 0);
        assert_int_equal(c.count, n > 75 ? 2 : 1);
        check_chunk(&c, 0, ids, n > 75 ? 75 : n, 0);
        if (n > 75) {
            check_chunk(&c, 1, ids, 1, 0);
        }
        bl_chunks_clear(&c);
    }
}

/* `head` words, a comma, `tail` words: where is the cut? */
static void check_backtrack(void **state, int head, int tail, int first, int second) {
    char text[1024] = "";
    words(text, "x", head);
    words(text, ",", 1);
    words(text, "y", tail);
    int32_t ids[160];
    for (int i = 0; i < head + 1 + tail; i++) {
        ids[i] = i < head ? X : i == head ? COMMA : Y;
    }
    bl_chunks c = parse(state, text, BL_PROMPT_A1111, BL_TOKEN_EOS);
    assert_int_equal(c.count, second ? 2 : 1);
    check_chunk(&c, 0, ids, first, BL_TOKEN_EOS);
    if (second) {
        check_chunk(&c, 1, ids + first, second, BL_TOKEN_EOS);
    }
    bl_chunks_clear(&c);
}

static void a_full_chunk_breaks_behind_a_near_comma(void **state) {
    check_backtrack(state, 60, 14, 75, 0);  /* fits: nothing moves */
    check_backtrack(state, 60, 15, 61, 15); /* the comma is 15 back */
    check_backtrack(state, 55, 30, 56, 30); /* exactly 20 back */
    check_backtrack(state, 54, 30, 75, 10); /* 21 back: too far */
    check_backtrack(state, 74, 3, 75, 3);   /* the comma is the last of the chunk */
    check_backtrack(state, 75, 3, 75, 4);   /* it is the first that does not fit: it goes to the next chunk */
    check_backtrack(state, 73, 3, 74, 3);
}

static void plain_text_is_cut_at_75_whatever_stands_there(void **state) {
    char text[1024] = "";
    words(text, "x", 70);
    words(text, ",", 1);
    words(text, "y", 10);
    bl_chunks c = parse(state, text, BL_PROMPT_PLAIN, 0);
    assert_int_equal(c.count, 1);
    assert_int_equal(id(&c, 0, 75), Y);
    assert_int_equal(c.eos_index[0], 76);
    assert_int_equal(c.left_out, 6);
    bl_chunks_clear(&c);
}

/* `before` words, then a span of `span` tokens, which goes into the first chunk as far as `first` tokens. */
static void check_span(void **state, int before, int span, int first) {
    char text[1024] = "";
    words(text, "x", before);
    strcat(text, "(");
    words(text, "y", span);
    strcat(text, ":1.5)x");
    bl_chunks c = parse(state, text, BL_PROMPT_COMFYUI, 0);
    assert_int_equal(c.count, 2);
    assert_int_equal(c.eos_index[0], 1 + before + first);
    assert_int_equal(c.eos_index[1], 1 + span - first + 1);
    for (int i = 0; i < span; i++) {
        int chunk = i >= first, at = chunk ? 1 + i - first : 1 + before + i;
        assert_int_equal(id(&c, chunk, at), Y);
        assert_true(weight(&c, chunk, at) == 1.5f);
    }
    assert_int_equal(id(&c, 1, 1 + span - first), X);
    assert_true(weight(&c, 1, 1 + span - first) == 1.0f);
    assert_int_equal(id(&c, 0, 2 + before + first < 77 ? 2 + before + first : 76),
                     2 + before + first < 77 ? 0 : BL_TOKEN_EOS);
    bl_chunks_clear(&c);
}

static void comfyui_keeps_short_spans_whole(void **state) {
    check_span(state, 70, 7, 0);  /* 7 tokens do not fit and go on whole */
    check_span(state, 70, 8, 5);  /* 8 are cut where the chunk is full */
    check_span(state, 75, 20, 0); /* of a full chunk nothing is left */
    check_span(state, 60, 15, 15);
    check_span(state, 70, 5, 5);
}

static void comfyui_reads_no_break_and_no_comma(void **state) {
    char text[1024] = "";
    words(text, "x", 70);
    words(text, ",", 1);
    words(text, "y", 10);
    bl_chunks c = parse(state, text, BL_PROMPT_COMFYUI, BL_TOKEN_EOS);
    assert_int_equal(c.count, 2);
    assert_int_equal(c.eos_index[0], 76);
    assert_int_equal(c.eos_index[1], 1 + 6);
    bl_chunks_clear(&c);
    c = parse(state, "x BREAK y", BL_PROMPT_COMFYUI, 0);
    assert_int_equal(c.count, 1);
    bl_chunks_clear(&c);
    c = parse(state, "", BL_PROMPT_COMFYUI, 0);
    assert_int_equal(c.count, 1);
    check_chunk(&c, 0, NULL, 0, 0);
    bl_chunks_clear(&c);
}

static void moved_tokens_keep_their_weights(void **state) {
    char text[1024] = "";
    words(text, "x", 70);
    strcat(text, ", (");
    words(text, "y", 8);
    strcat(text, ":1.25)");
    bl_chunks c = parse(state, text, BL_PROMPT_A1111, 0);
    assert_int_equal(c.count, 2);
    assert_int_equal(c.eos_index[0], 1 + 71);
    assert_int_equal(c.eos_index[1], 1 + 8);
    for (int i = 0; i < 75; i++) {
        assert_true(weight(&c, 0, 1 + i) == 1.0f);
        assert_true(weight(&c, 1, 1 + i) == (i < 8 ? 1.25f : 1.0f));
    }
    bl_chunks_clear(&c);
}

static void break_begins_a_chunk(void **state) {
    static const int32_t x[] = {X}, y[] = {Y};
    bl_chunks c = parse(state, "x BREAK (y:0.5)", BL_PROMPT_A1111, 0);
    assert_int_equal(c.count, 2);
    check_chunk(&c, 0, x, 1, 0);
    check_chunk(&c, 1, y, 1, 0);
    assert_true(weight(&c, 1, 1) == 0.5f);
    bl_chunks_clear(&c);

    c = parse(state, "x BREAK BREAK y", BL_PROMPT_A1111, 0);
    assert_int_equal(c.count, 3);
    check_chunk(&c, 1, NULL, 0, 0);
    check_chunk(&c, 2, y, 1, 0);
    bl_chunks_clear(&c);

    c = parse(state, "x BREAK", BL_PROMPT_A1111, 0);
    assert_int_equal(c.count, 1);
    bl_chunks_clear(&c);

    /* A comma of an earlier chunk is no place to break at. */
    char text[1024] = ", BREAK ";
    words(text, "x", 76);
    c = parse(state, text, BL_PROMPT_A1111, 0);
    assert_int_equal(c.count, 3);
    assert_int_equal(c.eos_index[1], 76);
    bl_chunks_clear(&c);
}

static void an_end_token_in_the_prompt_ends_its_chunk(void **state) {
    bl_chunks c = parse(state, "x <|endoftext|> y", BL_PROMPT_A1111, 0);
    assert_int_equal(c.count, 1);
    assert_int_equal(c.eos_index[0], 2);
    assert_int_equal(id(&c, 0, 3), 0);
    bl_chunks_clear(&c);
    c = parse(state, "x <|endoftext|> y", BL_PROMPT_A1111, BL_TOKEN_EOS);
    assert_int_equal(c.eos_index[0], 2);
    assert_int_equal(id(&c, 0, 3), Y);
    bl_chunks_clear(&c);
    for (int syntax = BL_PROMPT_COMFYUI; syntax <= BL_PROMPT_PLAIN; syntax++) { /* only in A1111 */
        c = parse(state, "x <|endoftext|> y", (bl_prompt_syntax)syntax, 0);
        assert_int_equal(c.eos_index[0], 2);
        assert_int_equal(id(&c, 0, 3), Y);
        assert_int_equal(id(&c, 0, 4), BL_TOKEN_EOS);
        assert_int_equal(id(&c, 0, 5), 0);
        bl_chunks_clear(&c);
    }
}

static void extending_adds_empty_chunks(void **state) {
    static const int32_t x[] = {X};
    bl_chunks c = parse(state, "x", BL_PROMPT_A1111, 0);
    assert_int_equal(bl_chunks_extend(&c, 3, 0, NULL), 0);
    assert_int_equal(c.count, 3);
    check_chunk(&c, 0, x, 1, 0);
    check_chunk(&c, 1, NULL, 0, 0);
    check_chunk(&c, 2, NULL, 0, 0);
    assert_int_equal(bl_chunks_extend(&c, 2, 0, NULL), 0);
    assert_int_equal(c.count, 3);
    bl_chunks_clear(&c);
    assert_null(c.ids);
}

static void emphasis_restores_the_mean(void **state) {
    (void)state;
    enum { T = 4, C = 3 };
    static const float start[T * C] = {1, 2, 3, -4, 5, 6, 7, -8, 9, 10, 11, -12};
    static const float weights[T] = {1.0f, 1.5f, 0.5f, 1.0f};
    float h[T * C];
    memcpy(h, start, sizeof h);
    bl_emphasis_apply(h, weights, T, C);
    /* Sums by hand: 30 before; 6 + 1.5*7 + 0.5*8 + 9 = 29.5 after. */
    for (int i = 0; i < T * C; i++) {
        assert_true(fabs(h[i] - start[i] * weights[i / C] * 30.0 / 29.5) < 1e-5);
    }
}

static void comfyui_weighs_the_way_from_the_empty_text(void **state) {
    (void)state;
    float h[4] = {1, 2, 3, 4};
    bl_emphasis_apply_comfyui(h, (const float[]){1.0f, 1.5f}, (const float[]){9, 9, 1, 6}, 2, 2);
    assert_true(h[0] == 1 && h[1] == 2);
    assert_true(h[2] == 4 && h[3] == 3); /* (3 - 1) 1.5 + 1, (4 - 6) 1.5 + 6 */
}

static void no_emphasis_changes_no_bit(void **state) {
    (void)state;
    float h[4] = {0.1f, NAN, -0.0f, 3e38f}, before[4];
    memcpy(before, h, sizeof h);
    bl_emphasis_apply(h, (const float[]){1.0f, 1.0f}, 2, 2);
    assert_memory_equal(h, before, sizeof h);
}

static void a_mean_of_zero_is_left(void **state) {
    (void)state;
    float h[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    bl_emphasis_apply(h, (const float[]){0.0f, 0.0f}, 2, 2);
    for (int i = 0; i < 4; i++) {
        assert_true(h[i] == 0.0f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_prompt_is_one_empty_chunk),
        cmocka_unit_test(weights_reach_their_tokens),
        cmocka_unit_test(seventy_five_tokens_fill_a_chunk),
        cmocka_unit_test(a_full_chunk_breaks_behind_a_near_comma),
        cmocka_unit_test(plain_text_is_cut_at_75_whatever_stands_there),
        cmocka_unit_test(moved_tokens_keep_their_weights),
        cmocka_unit_test(break_begins_a_chunk),
        cmocka_unit_test(an_end_token_in_the_prompt_ends_its_chunk),
        cmocka_unit_test(extending_adds_empty_chunks),
        cmocka_unit_test(emphasis_restores_the_mean),
        cmocka_unit_test(comfyui_keeps_short_spans_whole),
        cmocka_unit_test(comfyui_reads_no_break_and_no_comma),
        cmocka_unit_test(comfyui_weighs_the_way_from_the_empty_text),
        cmocka_unit_test(no_emphasis_changes_no_bit),
        cmocka_unit_test(a_mean_of_zero_is_left),
    };
    return cmocka_run_group_tests(tests, tokenizer_setup, tokenizer_teardown);
}
