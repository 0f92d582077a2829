/* Qwen's vocabulary as models' files have it: the own one is taken, any other refused by the first token that
 * differs, whichever file it is in. */
#include "text/qwen_files.h"

#include "checkpoint/safetensors.h"
#include "support/files.h"
#include "text/qwen_vocabulary.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>

enum { ROOM = 4 << 20 };

static const char *const special[] = {
    "<|endoftext|>",  "<|im_start|>",   "<|im_end|>",      "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>",  "<|box_end|>",    "<|quad_start|>",  "<|quad_end|>",         "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",   "<|video_pad|>",        "<tool_call>",
    "</tool_call>",   "<|fim_prefix|>", "<|fim_middle|>",  "<|fim_suffix|>",       "<|fim_pad|>",
    "<|repo_name|>",  "<|file_sep|>",   "<tool_response>", "</tool_response>",     "<think>",
    "</think>"};

static char folder[BL_TEST_PATH], *text;
static const char *words[BL_QWEN_TOKENS]; /* as files write them */
static bl_byte_bpe *bpe;

/* Bytes as GPT-2's letters: what is neither printable nor Latin-1 gets those from U+0100 on, in turn. */
static void make_letters(char letters[256][3]) {
    unsigned next = 256;
    for (unsigned b = 0; b < 256; b++) {
        const bool own = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        const unsigned c = own ? b : next++;
        snprintf(letters[b], 3, c < 128 ? "%c" : "%c%c", c < 128 ? (int)c : (int)(0xc0 | c >> 6),
                 (int)(0x80 | (c & 63)));
    }
}

static int setup(void **state) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char letters[256][3], *lines = malloc(BL_QWEN_UNPACKED + 1), *to = text = malloc(ROOM);
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bl_qwen_vocabulary,
                  .avail_in = (uInt)(bl_qwen_vocabulary_end - bl_qwen_vocabulary),
                  .next_out = (Bytef *)lines,
                  .avail_out = BL_QWEN_UNPACKED};
    (void)state;
    bl_test_folder(folder);
    if (!lines || !text || inflateInit2(&z, 16 + MAX_WBITS) != Z_OK ||
        inflate(&z, Z_FINISH) != Z_STREAM_END) {
        return -1;
    }
    inflateEnd(&z);
    lines[BL_QWEN_UNPACKED] = 0;
    make_letters(letters);
    int id = 0;
    for (char *save, *line = strtok_r(lines, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned bits = 0, count = 0;
        words[id++] = to;
        for (const char *digit; *line != ' ' && *line != '='; line++) {
            digit = strchr(digits, *line);
            bits = bits << 6 | (unsigned)(digit - digits);
            count += 6;
            if (count >= 8) {
                count -= 8;
                to = stpcpy(to, letters[bits >> count & 255]);
            }
        }
        to++;
    }
    free(lines);
    memcpy(words + id, special, sizeof special);
    return id != BL_QWEN_RANKS || to > text + ROOM || bl_byte_bpe_new(&bpe, NULL);
}

static int teardown(void **state) {
    (void)state;
    bl_byte_bpe_free(&bpe);
    free(text);
    bl_test_folder_remove(folder);
    return 0;
}

/* ---- files */

typedef enum kind { VOCAB_JSON, TOKENIZER_JSON, GGUF } kind;

static void put_number(FILE *f, uint64_t v, size_t bytes) {
    assert_int_equal(fwrite(&v, 1, bytes, f), bytes);
}

static void put_text(FILE *f, const char *s) {
    put_number(f, strlen(s), 8);
    fputs(s, f);
}

static void put_json(FILE *f, const char *s) {
    fputc('"', f);
    for (; *s; s++) {
        fprintf(f, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    }
    fputc('"', f);
}

static void put_vocabulary(FILE *f, int count) {
    for (int i = 0; i < count; i++) {
        fputs(i ? ", " : "{", f);
        put_json(f, words[i]);
        fprintf(f, ": %d", i);
    }
    fputs("}\n", f);
}

/* Of the first `count` tokens. A text follows the special words of tokenizer.json. */
static void write_words(char path[BL_TEST_PATH], kind k, int count, const char *more) {
    static const char *const names[] = {"vocab.json", "tokenizer.json", "words.gguf"};
    bl_test_join(path, folder, names[k]);
    FILE *f = fopen(path, "wbe");
    assert_non_null(f);
    if (k == VOCAB_JSON) {
        put_vocabulary(f, count);
    } else if (k == TOKENIZER_JSON) {
        fputs("{\"model\": {\"type\": \"BPE\", \"vocab\": ", f);
        put_vocabulary(f, BL_QWEN_RANKS);
        fputs("}, \"added_tokens\": [", f);
        for (int i = BL_QWEN_RANKS; i < count; i++) {
            fprintf(f, "%s{\"id\": %d, \"content\": \"%s\"}", i > BL_QWEN_RANKS ? ", " : "", i, words[i]);
        }
        fprintf(f, "%s]}\n", more);
    } else {
        fputs("GGUF", f);
        put_number(f, 3, 4);
        put_number(f, 1, 8); /* tensors */
        put_number(f, 1, 8); /* keys */
        put_text(f, "tokenizer.ggml.tokens");
        put_number(f, 9, 4); /* an array */
        put_number(f, 8, 4); /* of texts */
        put_number(f, (uint64_t)count, 8);
        for (int i = 0; i < count; i++) {
            put_text(f, i < BL_QWEN_TOKENS ? words[i] : "[PAD]");
        }
        put_text(f, "x");
        put_number(f, 1, 4); /* an axis */
        put_number(f, 8, 8); /* values */
        put_number(f, 0, 4); /* F32 */
        put_number(f, 0, 8); /* offset */
        const long at = ftell(f);
        for (long i = 0; i < (32 - at % 32) % 32 + 32; i++) {
            fputc(0, f);
        }
    }
    fclose(f);
}

static int check(kind k, int count, const char *more, bl_error *err) {
    char path[BL_TEST_PATH];
    write_words(path, k, count, more);
    if (k != GGUF) {
        return bl_qwen_check_file(bpe, path, err);
    }
    bl_safetensors *f;
    uint64_t held;
    assert_int_equal(bl_safetensors_open(&f, path, NULL), 0);
    const char *list = bl_safetensors_words(f, &held);
    assert_non_null(list);
    assert_int_equal(held, count);
    const int rc = bl_qwen_check_words(bpe, list, held, path, err);
    bl_safetensors_close(&f);
    return rc;
}

static void refused(kind k, int count, const char *more, const char *why) {
    bl_error err = {0};
    assert_int_equal(check(k, count, more, &err), BL_E_UNSUPPORTED);
    if (!strstr(err.message, why)) {
        fail_msg("\"%s\" is not in: %s", why, err.message);
    }
}

/* ---- tests */

static void own_words_are_taken(void **state) {
    bl_error err = {0};
    (void)state;
    assert_int_equal(check(VOCAB_JSON, BL_QWEN_RANKS, "", &err), 0);
    assert_int_equal(check(VOCAB_JSON, BL_QWEN_TOKENS, "", &err), 0);
    assert_int_equal(check(TOKENIZER_JSON, BL_QWEN_TOKENS, "", &err), 0);
    assert_int_equal(check(TOKENIZER_JSON, BL_QWEN_RANKS + 22, "", &err), 0); /* Qwen2.5's */
    assert_int_equal(check(GGUF, BL_QWEN_TOKENS, "", &err), 0);
    assert_int_equal(check(GGUF, BL_QWEN_TOKENS + 267, "", &err), 0); /* filled up, as all are */
}

static void exchange(int a, int b) {
    const char *word = words[a];
    words[a] = words[b];
    words[b] = word;
}

static void other_words_are_refused(void **state) {
    (void)state;
    exchange(300, 150000);
    refused(VOCAB_JSON, BL_QWEN_RANKS, "", "token 300 is another");
    refused(TOKENIZER_JSON, BL_QWEN_TOKENS, "", "token 300 is another");
    refused(GGUF, BL_QWEN_TOKENS, "", "token 300 is another");
    exchange(300, 150000);
    exchange(BL_QWEN_RANKS + 1, BL_QWEN_RANKS + 2);
    refused(TOKENIZER_JSON, BL_QWEN_TOKENS, "", "token 151644 is another");
    refused(GGUF, BL_QWEN_TOKENS, "", "token 151644 is another");
    exchange(BL_QWEN_RANKS + 1, BL_QWEN_RANKS + 2);
    refused(VOCAB_JSON, 49408, "", "its vocabulary has 49408 tokens, Qwen3's 151643");
    refused(GGUF, 32000, "", "its vocabulary has 32000 tokens, Qwen3's 151669");
    refused(TOKENIZER_JSON, BL_QWEN_TOKENS, ", {\"id\": 151669, \"content\": \"<cat-toy>\"}",
            "token 151669 was added");
    refused(TOKENIZER_JSON, BL_QWEN_TOKENS, ", {\"id\": 7}", "token 7 is another");
}

/* What makes no sense, of any kind, ends with an error. */
static void damaged_files_are_refused(void **state) {
    static const char *const files[] = {"{}",
                                        "{\"model\": {}}",
                                        "{\"model\": {\"type\": 3}}",
                                        "{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", -1]]}}",
                                        "{\"model\": {\"vocab\": []}}",
                                        "{\"model\": 3}",
                                        "{\"!\": -1}",
                                        "{\"!\": 151643}",
                                        "{\"!\": 9223372036854775807}",
                                        "{\"!\": \"0\"}",
                                        "[]",
                                        "{"};
    char path[BL_TEST_PATH];
    (void)state;
    bl_test_join(path, folder, "damaged.json");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        bl_error err = {0};
        FILE *f = fopen(path, "wbe");
        assert_non_null(f);
        fputs(files[i], f);
        fclose(f);
        assert_true(bl_qwen_check_file(bpe, path, &err) < 0);
        assert_non_null(strstr(err.message, path));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_words_are_taken),
        cmocka_unit_test(other_words_are_refused),
        cmocka_unit_test(damaged_files_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
