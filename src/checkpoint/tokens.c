/* What a folder's tokenizer has beside CLIP's vocabulary, and what it pads with: read from the files that
 * transformers reads, in its order. */
#include "checkpoint/detect.h"
#include "checkpoint/internal.h"
#include "checkpoint/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORD 16384 /* bytes: as long as a prompt */

/* The text of a token, which is a string or an object around one; NULL if it is neither. */
static const char *text_of(const json_t *token) {
    const json_t *content = json_object_get(token, "content");
    return json_string_value(content ? content : token);
}

static bool flag_of(const json_t *token, const char *key, bool otherwise) {
    const json_t *flag = json_object_get(token, key);
    return flag ? json_is_true(flag) : otherwise;
}

/* Adds a word to the list, or puts it in the place of the one that has this id. */
static int add_word(json_t *words, const char *text, json_int_t id, bool normalized, bool whole_word,
                    const char *path, bl_error *err) {
    if (id < 0 || id > INT32_MAX || !text || strlen(text) > MAX_WORD) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: token %lld is none: a text and a number from 0 up are wanted", path,
                       (long long)id);
    }
    json_t *word = json_pack("{s:s, s:I, s:b, s:b}", "text", text, "id", id, "normalized", normalized,
                             "whole_word", whole_word);
    size_t i;
    json_t *old;
    json_array_foreach(words, i, old) {
        if (json_integer_value(json_object_get(old, "id")) == id) {
            break;
        }
    }
    int rc =
        i < json_array_size(words) ? json_array_set_new(words, i, word) : json_array_append_new(words, word);
    return rc ? bl_fail_memory(err, "an added token", strlen(text)) : 0;
}

/* One token of "added_tokens_decoder" or of tokenizer.json, which says all about it. */
static int add_token(json_t *words, const json_t *token, json_int_t id, const char *path, bl_error *err) {
    return add_word(words, text_of(token), id, flag_of(token, "normalized", true),
                    flag_of(token, "single_word", false), path, err);
}

/* tokenizer_config.json's own list: no other file is read then. */
static int read_decoder(json_t *words, const json_t *decoder, const char *path, bl_error *err) {
    const char *key;
    json_t *token;
    json_object_foreach((json_t *)decoder, key, token) {
        char *end;
        json_int_t id = strtoll(key, &end, 10);
        int rc = add_token(words, token, *key && !*end ? id : -1, path, err);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* Is it one of the tokens that have a meaning of their own? These are found as they are written. */
static bool is_special(const json_t *config, const char *text) {
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    static const char *const lists[] = {"extra_special_tokens", "additional_special_tokens"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *special = text_of(json_object_get(config, names[i]));
        found = found || (special && strcmp(special, text) == 0);
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        size_t k;
        const json_t *item;
        json_array_foreach(json_object_get(config, lists[i]), k, item) {
            found = found || (text_of(item) && strcmp(text_of(item), text) == 0);
        }
    }
    return found;
}

static int read_added(json_t *words, const json_t *config, const char *folder, bl_error *err) {
    char path[BL_PATH_ROOM];
    json_t *root, *value;
    const char *text;
    int rc = bl_join_path(path, folder, "added_tokens.json", err);
    rc = rc ? rc : bl_json_load(&root, path, err);
    if (rc) {
        return rc;
    }
    json_object_foreach(root, text, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        rc = rc ? rc : add_word(words, text, id, !is_special(config, text), false, path, err);
    }
    json_decref(root);
    return rc;
}

static int read_tokenizer(json_t *words, const char *folder, bl_error *err) {
    char path[BL_PATH_ROOM];
    json_t *root, *token;
    size_t i;
    int rc = bl_join_path(path, folder, "tokenizer.json", err);
    rc = rc ? rc : bl_json_load(&root, path, err);
    if (rc) {
        return rc;
    }
    json_array_foreach(json_object_get(root, "added_tokens"), i, token) {
        const json_t *id = json_object_get(token, "id");
        rc = rc ? rc : add_token(words, token, json_is_integer(id) ? json_integer_value(id) : -1, path, err);
    }
    json_decref(root);
    return rc;
}

/* The special tokens' own file has the last word on them. */
static int merge_special(json_t *config, const char *folder, bl_error *err) {
    char path[BL_PATH_ROOM];
    json_t *root;
    int rc = bl_join_path(path, folder, "special_tokens_map.json", err);
    rc = rc ? rc : bl_json_load(&root, path, err);
    if (!rc && root && json_object_update(config, root)) {
        rc = bl_fail_memory(err, "a configuration", 0);
    }
    if (!rc) {
        json_decref(root);
    }
    return rc;
}

int bl_open_tokenizer(bl_tokenizer_files *out, const char *folder, bool words, bl_error *err) {
    char path[BL_PATH_ROOM];
    int rc = bl_join_path(path, folder, "tokenizer_config.json", err);
    rc = rc ? rc : bl_json_load(&out->config, path, err);
    if (rc || !words) {
        return rc;
    }
    out->config = out->config ? out->config : json_object();
    out->words = json_array();
    if (!out->config || !out->words) {
        return bl_fail_memory(err, "a tokenizer's configuration", 0);
    }
    const json_t *decoder = json_object_get(out->config, "added_tokens_decoder");
    if (decoder) {
        return read_decoder(out->words, decoder, path, err);
    }
    rc = merge_special(out->config, folder, err);
    rc = rc ? rc : read_added(out->words, out->config, folder, err);
    return rc ? rc : read_tokenizer(out->words, folder, err);
}

/* ---- asking */

/* Is it another model's: CLIP's, or a language model's? What cannot be read is not: who opens it says why. */
static bool is_of_others(const char *path) {
    json_t *root = NULL;
    bl_error ignored;
    const char *type = NULL;
    if (!bl_json_load(&root, path, &ignored)) {
        type = json_string_value(json_object_get(json_object_get(root, "model"), "type"));
    }
    const bool others = type && strcmp(type, "Unigram");
    json_decref(root);
    return others;
}

/* Files of a vocabulary, the first that is there is taken. */
static const char *const t5_files[2] = {"tokenizer.json", "spiece.model"}, *const qwen_files[2] = {
                                                                               "tokenizer.json",
                                                                               "vocab.json"};

/* The vocabulary in folder/below; *out stays NULL where there is none. */
static int find_vocabulary(char **out, const char *folder, const char *below, const char *const names[2],
                           bl_error *err) {
    char name[64], path[BL_PATH_ROOM];
    int rc = 0;
    *out = NULL;
    for (int i = 0; i < 2 && !*out && !rc; i++) {
        snprintf(name, sizeof name, "%s%s", below, names[i]);
        rc = bl_join_path(path, folder, name, err);
        if (!rc && bl_is_file(path) && (i || names != t5_files || !is_of_others(path))) {
            *out = strdup(path);
            rc = *out ? 0 : bl_fail_memory(err, "a path", strlen(path));
        }
    }
    return rc;
}

int bl_find_vocabulary(char **out, const char *folder, bl_error *err) {
    return find_vocabulary(out, folder, "", t5_files, err);
}

/* The same beside the file `path`. */
static int find_beside(char **out, const char *path, const char *below, const char *const names[2],
                       bl_error *err) {
    const char *slash = strrchr(path, '/');
    char folder[BL_PATH_ROOM];
    *out = NULL;
    if (snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 0, path) >=
        (int)sizeof folder) {
        return 0; /* no such file can be opened */
    }
    return find_vocabulary(out, folder[0] ? folder : slash ? "/" : ".", below, names, err);
}

int bl_checkpoint_vocabulary(char **out, const bl_checkpoint *c, bl_module module, bl_error *err) {
    const bl_module_files *words = &c->modules[module];
    const char *const below[] = {"", module == BL_TEXT_ENCODER_2 ? "tokenizer_2/" : "tokenizer_3/",
                                 module == BL_TEXT_ENCODER_2 ? "../tokenizer_2/" : "../tokenizer_3/"};
    int rc = 0;
    *out = NULL;
    if (c->vocabulary) {
        *out = strdup(c->vocabulary);
        return *out ? 0 : bl_fail_memory(err, "a path", strlen(c->vocabulary));
    }
    for (int i = 0; i < 3 && words->given && !*out && !rc; i++) {
        rc = find_beside(out, bl_safetensors_path(c->files[words->first_file]), below[i], t5_files, err);
    }
    for (int i = 1; i >= 0 && !*out && !rc; i--) {
        rc = c->folder ? find_vocabulary(out, c->path, below[i], t5_files, err)
                       : find_beside(out, c->path, below[i], t5_files, err);
    }
    return rc;
}

int bl_checkpoint_word_list(char **out, const bl_checkpoint *c, bl_error *err) {
    static const char *const below[] = {"", "tokenizer/", "../tokenizer/"};
    const bl_module_files *reader = &c->modules[BL_TEXT_ENCODER];
    int rc = 0;
    *out = NULL;
    if (!reader->given) {
        return c->folder ? find_vocabulary(out, c->path, "tokenizer/", qwen_files, err) : 0;
    }
    /* Beside a file that has no configuration beside it, another model's may lie. */
    for (int i = 0; i < 3 && reader->config && !*out && !rc; i++) {
        rc = find_beside(out, bl_safetensors_path(c->files[reader->first_file]), below[i], qwen_files, err);
    }
    return rc;
}

static const json_t *words_of(const bl_checkpoint *c, int encoder) {
    bl_module module = encoder ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER;
    return c->modules[module].given ? NULL : c->tokenizers[encoder].words;
}

int bl_checkpoint_added_tokens(const bl_checkpoint *c, int encoder) {
    return (int)json_array_size(words_of(c, encoder));
}

bl_added_token bl_checkpoint_added_token(const bl_checkpoint *c, int encoder, int index) {
    const json_t *word = json_array_get(words_of(c, encoder), (size_t)index);
    return (bl_added_token){.text = json_string_value(json_object_get(word, "text")),
                            .id = (int32_t)json_integer_value(json_object_get(word, "id")),
                            .normalized = json_is_true(json_object_get(word, "normalized")),
                            .whole_word = json_is_true(json_object_get(word, "whole_word"))};
}

static const char *const folders[] = {"tokenizer", "tokenizer_2"};

static int refuse(const bl_checkpoint *c, int encoder, const char *key, const char *value, const char *why,
                  bl_error *err) {
    return bl_fail(err, BL_E_UNSUPPORTED, "%.400s/%s/tokenizer_config.json: \"%s\" is \"%.60s\"; %s", c->path,
                   folders[encoder], key, value, why);
}

/* The number of a word, -1 if it is none of those beside the vocabulary. */
static int number_of(const bl_checkpoint *c, int encoder, const char *text) {
    for (int i = 0; i < bl_checkpoint_added_tokens(c, encoder); i++) {
        bl_added_token word = bl_checkpoint_added_token(c, encoder, i);
        if (strcmp(word.text, text) == 0) {
            return word.id;
        }
    }
    return -1;
}

/* Special words without a number would get the next ones. */
static int check_special(const bl_checkpoint *c, int encoder, const json_t *config, bl_error *err) {
    static const char *const ends[][2] = {{"bos_token", "<|startoftext|>"}, {"eos_token", "<|endoftext|>"}};
    static const char *const lists[] = {"extra_special_tokens", "additional_special_tokens"};
    for (int i = 0; i < 2; i++) {
        const char *text = text_of(json_object_get(config, ends[i][0]));
        if (text && strcmp(text, ends[i][1]) != 0) {
            return refuse(c, encoder, ends[i][0], text, "Ballast runs CLIP's own", err);
        }
        size_t k;
        const json_t *item;
        json_array_foreach(json_object_get(config, lists[i]), k, item) {
            const char *word = text_of(item);
            if (word && strcmp(word, ends[0][1]) != 0 && strcmp(word, ends[1][1]) != 0 &&
                number_of(c, encoder, word) < 0) {
                return refuse(c, encoder, lists[i], word, "no file says which row of embeddings is its", err);
            }
        }
    }
    return 0;
}

int bl_detect_tokens(bl_text_architecture *t, const bl_checkpoint *c, int encoder, bl_error *err) {
    for (int i = 0; i < bl_checkpoint_added_tokens(c, encoder); i++) {
        bl_added_token word = bl_checkpoint_added_token(c, encoder, i);
        if (word.id >= t->vocab) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.400s/%s: \"%.100s\" is token %d, but the text encoder has only %d rows of "
                           "embeddings",
                           c->path, folders[encoder], word.text, (int)word.id, t->vocab);
        }
    }
    const json_t *config = words_of(c, encoder) ? c->tokenizers[encoder].config : NULL;
    int rc = check_special(c, encoder, config, err);
    const char *pad = text_of(json_object_get(config, "pad_token"));
    if (rc || !pad) {
        return rc;
    }
    int number = number_of(c, encoder, pad);
    number = number >= 0                         ? number
             : strcmp(pad, "<|endoftext|>") == 0 ? BL_END_TOKEN
             : strcmp(pad, "!") == 0             ? 0
                                                 : -1;
    if (number < 0) {
        return refuse(c, encoder, "pad_token", pad, "Ballast runs \"<|endoftext|>\", \"!\" and added tokens",
                      err);
    }
    t->pad_token = number;
    return 0;
}
