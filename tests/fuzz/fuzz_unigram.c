/* Any bytes as the tokenizer.json of a Unigram model: refused with a line, or a tokenizer that gives ids
 * below its end for any text. The input is the file, a form feed, the text. */
#include "fuzz.h"

#include "text/unicode.h"
#include "text/unigram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, '\f', size) : NULL;
    const size_t n = end ? (size_t)(end - data) : size, rest = end ? size - n - 1 : 0;
    char path[64];
    const int fd = file_of(path, data, n);
    bl_unigram *t;
    bl_error err = {.code = 0};
    const int rc = bl_unigram_open(&t, path, &err);
    close(fd);
    MUST(!rc || ((rc == BL_E_FORMAT || rc == BL_E_UNSUPPORTED) && !t && err.message[0] &&
                 !strchr(err.message, '\n')));
    char *text = text_of(data + size - rest, rest);
    if (!rc && !bl_text_check(text, rest, NULL)) {
        bl_token_list list = {0};
        MUST(!bl_unigram_encode(&list, t, text, rest, &err));
        for (size_t i = 0; i < list.count; i++) {
            MUST(list.ids[i] >= 0 && list.ids[i] < bl_unigram_ids(t));
        }
        free(list.ids);
    }
    free(text);
    bl_unigram_free(&t);
    return 0;
}
