/* Any bytes as the tokenizer.json of a Unigram model, or as its spiece.model: refused with a line, or a
 * tokenizer that gives ids below its end for any text. The input is the file, a form feed, the text. */
#include "fuzz.h"

#include "text/unicode.h"
#include "text/unigram.h"

static void try_file(int (*open)(bl_unigram **out, const char *path, bl_error *err), const char *path,
                     const char *text, size_t bytes) {
    bl_unigram *t;
    bl_error err = {.code = 0};
    const int rc = open(&t, path, &err);
    MUST(!rc || ((rc == BL_E_FORMAT || rc == BL_E_UNSUPPORTED) && !t && err.message[0] &&
                 !strchr(err.message, '\n')));
    if (!rc && !bl_text_check(text, bytes, NULL)) {
        bl_token_list list = {0};
        MUST(!bl_unigram_encode(&list, t, text, bytes, &err));
        for (size_t i = 0; i < list.count; i++) {
            MUST(list.ids[i] >= 0 && list.ids[i] < bl_unigram_ids(t));
        }
        free(list.ids);
    }
    bl_unigram_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, '\f', size) : NULL;
    const size_t n = end ? (size_t)(end - data) : size, rest = end ? size - n - 1 : 0;
    char path[64];
    const int fd = file_of(path, data, n);
    char *text = text_of(data + size - rest, rest);
    try_file(bl_unigram_open, path, text, rest);
    try_file(bl_unigram_open_model, path, text, rest);
    close(fd);
    free(text);
    return 0;
}
