#include "tune/entries.h"

#include "core/json_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The texts of an entry. */
typedef struct name_row {
    const char *key;
    size_t at, room;
} name_row;

#define NAME(field) \
    { #field, offsetof(bl_tuned, field), sizeof(((bl_tuned *)NULL)->field) }
static const name_row names[] = {NAME(device), NAME(model), NAME(dtype),
                                 NAME(module), NAME(shape), NAME(version)};
#define NAMES (sizeof names / sizeof *names)

static json_t *entry_json(const bl_tuned *t) {
    char choices[BL_TUNING_TEXT];
    bl_tuning_text(choices, &t->tuning);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:b}", "device", t->device, "model",
                     t->model, "dtype", t->dtype, "module", t->module, "shape", t->shape, "version",
                     t->version, "choices", choices, "untuned_seconds", t->untuned_seconds, "seconds",
                     t->seconds, "psnr", t->psnr, "on_trial", t->on_trial);
}

int bl_entries_json(json_t **out, const bl_calibration *c, bl_error *err) {
    bl_tuned *list;
    int count;
    *out = NULL;
    int result = bl_tuned_list(&list, &count, c, err);
    json_t *entries = result ? NULL : json_array();
    bool fine = entries != NULL;
    for (int i = 0; i < count && fine; i++) {
        fine = !json_array_append_new(entries, entry_json(&list[i]));
    }
    free(list);
    *out = fine ? json_pack("{s:i, s:o}", "ballast_tuned", BL_ENTRIES_SCHEMA, "entries", entries) : NULL;
    if (!fine) {
        json_decref(entries);
    }
    return result ? result : *out ? 0 : bl_fail_memory(err, "what was tuned", 0);
}

static int refuse(int number, const char *key, const char *what, bl_error *err) {
    return bl_fail(err, BL_E_FORMAT, "what was tuned: entry %d, \"%s\": %s", number + 1, key, what);
}

/* Printable, and not longer than its room. */
static bool is_name(const char *text, size_t room) {
    size_t n = text ? strlen(text) : 0;
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            return false;
        }
    }
    return n > 0 && n < room;
}

static int read_seconds(double *out, const json_t *object, int number, const char *key, bl_error *err) {
    const json_t *v = json_object_get(object, key);
    *out = json_number_value(v);
    return json_is_number(v) && isfinite(*out) && *out > 0 && *out < 1e6
               ? 0
               : refuse(number, key, "seconds are a number above 0 and below 1000000", err);
}

static int read_entry(bl_tuned *t, const json_t *object, int number, bl_error *err) {
    *t = (bl_tuned){0};
    for (size_t i = 0; i < NAMES; i++) {
        const char *text = json_string_value(json_object_get(object, names[i].key));
        if (!is_name(text, names[i].room)) {
            return refuse(number, names[i].key, "a short text is expected", err);
        }
        memcpy((char *)t + names[i].at, text, strlen(text) + 1);
    }
    const json_t *psnr = json_object_get(object, "psnr");
    const char *choices = json_string_value(json_object_get(object, "choices"));
    t->psnr = json_number_value(psnr);
    if (!json_is_number(psnr) || !(t->psnr >= 0 && t->psnr < 1000)) {
        return refuse(number, "psnr", "a number from 0 to 1000 is expected", err);
    }
    if (!choices || !*choices || strlen(choices) >= BL_TUNING_TEXT) {
        return refuse(number, "choices", "a short text is expected", err);
    }
    const json_t *trial = json_object_get(object, "on_trial");
    t->on_trial = json_is_true(trial);
    if (trial && !json_is_boolean(trial)) {
        return refuse(number, "on_trial", "true or false is expected", err);
    }
    bl_error why = {0};
    if (bl_tuning_parse(&t->tuning, choices, &why)) {
        return refuse(number, "choices", why.message, err);
    }
    int result = read_seconds(&t->untuned_seconds, object, number, "untuned_seconds", err);
    return result ? result : read_seconds(&t->seconds, object, number, "seconds", err);
}

int bl_entries_read(bl_tuned **out, int *count, const char *text, bl_error *err) {
    *out = NULL;
    *count = 0;
    size_t bytes = strnlen(text, BL_ENTRIES_BYTES + 1);
    if (bytes > BL_ENTRIES_BYTES) {
        return bl_fail(err, BL_E_FORMAT, "what was tuned: more than %d MB are no such file",
                       BL_ENTRIES_BYTES >> 20);
    }
    json_error_t why = {0};
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    if (!root) {
        return bl_json_lacked_memory(&why, text, bytes)
                   ? bl_fail_memory(err, "what was tuned", bytes)
                   : bl_fail(err, BL_E_FORMAT, "what was tuned: line %d is no JSON: %.100s", why.line,
                             why.text);
    }
    const json_t *list = json_object_get(root, "entries"), *schema = json_object_get(root, "ballast_tuned");
    size_t n = json_array_size(list);
    int result = 0;
    if (!json_is_integer(schema) || json_integer_value(schema) != BL_ENTRIES_SCHEMA || !json_is_array(list)) {
        result = bl_fail(err, BL_E_FORMAT,
                         "what was tuned: this is not what `ballast tune --export` of this version writes");
    } else if (n > BL_TUNED_MOST) {
        result = bl_fail(err, BL_E_FORMAT, "what was tuned: %zu entries are more than %d", n, BL_TUNED_MOST);
    }
    bl_tuned *entries = result ? NULL : calloc(n + 1, sizeof *entries);
    if (!result && !entries) {
        result = bl_fail_memory(err, "what was tuned", n * sizeof *entries);
    }
    for (size_t i = 0; i < n && !result; i++) {
        result = read_entry(&entries[i], json_array_get(list, i), (int)i, err);
    }
    json_decref(root);
    if (result) {
        free(entries);
        return result;
    }
    *out = entries;
    *count = (int)n;
    return 0;
}
