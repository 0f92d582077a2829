/* Any bytes as the files of a folder's tokenizer: refused with a line, or words that CLIP's tokenizer can be
 * given. The input is the four files, a form feed between each two, in the order of `files`. */
#include "fuzz.h"

#include "checkpoint/detect.h"
#include "checkpoint/internal.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <unistd.h>

#define ROWS 49410 /* of embeddings */

static const char *const files[] = {"tokenizer_config.json", "added_tokens.json", "special_tokens_map.json",
                                    "tokenizer.json"};
#define FILES (sizeof files / sizeof *files)

/* A part that is empty is a file that is not there. */
static void write_files(const char *folder, const uint8_t *data, size_t size) {
    char path[128];
    for (size_t i = 0; i < FILES; i++) {
        const uint8_t *end = i + 1 < FILES && size ? memchr(data, '\f', size) : NULL;
        size_t n = end ? (size_t)(end - data) : size;
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        FILE *f = n ? fopen(path, "we") : NULL;
        MUST(!n || (f && fwrite(data, 1, n, f) == n && !fclose(f)));
        data += end ? n + 1 : n;
        size -= end ? n + 1 : n;
    }
}

static void remove_files(const char *folder) {
    char path[128];
    for (size_t i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* The words found in a prompt that holds them all are words of the list, or CLIP's. */
static void tokenize(const bl_checkpoint *c) {
    static bl_tokenizer *clip;
    bl_error err = {.code = 0};
    MUST(clip || !bl_tokenizer_new(&clip, &err));
    int count = bl_checkpoint_added_tokens(c, 0);
    bl_added_token *words = calloc((size_t)count + 1, sizeof *words);
    bl_tokenizer *own = NULL;
    MUST(words);
    for (int i = 0; i < count; i++) {
        words[i] = bl_checkpoint_added_token(c, 0, i);
        MUST(words[i].text && words[i].id >= 0 && words[i].id < ROWS);
    }
    MUST(!bl_tokenizer_extend(&own, clip, words, count, &err));
    for (int i = 0; i < count; i++) {
        bl_token_list list = {0};
        int rc = bl_tokenize(&list, own, 0, words[i].text, strlen(words[i].text), &err);
        MUST(!rc || rc == BL_E_ARGUMENT);
        for (size_t k = 0; !rc && k < list.count; k++) {
            MUST(list.ids[k] >= 0 && list.ids[k] < ROWS);
        }
        free(list.ids);
    }
    bl_tokenizer_free(&own);
    free(words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char folder[] = "/tmp/ballast-tokens-XXXXXX";
    bl_error err = {.code = 0};
    bl_checkpoint c = {.path = folder, .folder = true};
    bl_text_architecture t = {.vocab = ROWS, .pad_token = -1};
    MUST(mkdtemp(folder));
    write_files(folder, data, size);
    int rc = bl_open_tokenizer(&c.tokenizers[0], folder, true, &err);
    rc = rc ? rc : bl_detect_tokens(&t, &c, 0, &err);
    MUST(!rc ||
         ((rc == BL_E_FORMAT || rc == BL_E_UNSUPPORTED) && err.message[0] && !strchr(err.message, '\n')));
    if (!rc) {
        MUST(t.pad_token >= -1 && t.pad_token < ROWS);
        tokenize(&c);
    }
    json_decref(c.tokenizers[0].config);
    json_decref(c.tokenizers[0].words);
    remove_files(folder);
    return 0;
}
