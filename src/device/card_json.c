#include "device/card_json.h"

#include "core/json_text.h"
#include "core/text_file.h"

#include <errno.h>
#include <math.h>
#include <string.h>

int bl_card_read(char **out, size_t *n, const char *path, size_t most, bl_error *err) {
    int rc = bl_text_file_read(out, n, path, most, err);
    return rc || *out ? rc : bl_fail_open(err, path, ENOENT);
}

int bl_card_refuse(const char *origin, const char *key, const char *what, bl_error *err) {
    return bl_fail(err, BL_E_FORMAT, "%.400s: \"%s\" must be %s", origin, key, what);
}

static int check_names(json_t *o, const char *const *known, int count, const char *origin, bl_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach(o, key, value) {
        int i = 0;
        while (i < count && strcmp(key, known[i]) != 0) {
            i++;
        }
        if (i == count) {
            return bl_fail(err, BL_E_FORMAT, "%.400s: a card has no \"%.40s\"", origin, key);
        }
    }
    return 0;
}

int bl_card_parse(json_t **out, const char *text, size_t n, const char *const *known, int count,
                  const char *origin, bl_error *err) {
    json_error_t error = {0};
    json_t *root = json_loadb(text, n, 0, &error);
    *out = NULL;
    if (!root && bl_json_lacked_memory(&error, text, n)) {
        return bl_fail_memory(err, "a card's description", n);
    }
    int rc = json_is_object(root)
                 ? check_names(root, known, count, origin, err)
                 : bl_fail(err, BL_E_FORMAT, "%.400s: not a card's description: %s (line %d)", origin,
                           error.text[0] ? error.text : "not an object", error.line);
    if (rc) {
        json_decref(root);
        return rc;
    }
    *out = root;
    return 0;
}

int bl_card_number(double *out, const json_t *o, const char *key, double least, bool needed,
                   const char *origin, bl_error *err) {
    const json_t *v = json_object_get(o, key);
    double x = json_number_value(v);
    if (!v && !needed) {
        return 0;
    }
    if (!json_is_number(v) || !isfinite(x) || x < least || x > 0x1p53) {
        return bl_card_refuse(origin, key, least > 0 ? "a positive number" : "a number, not below 0", err);
    }
    *out = x;
    return 0;
}

int bl_card_slowdown(double *out, const json_t *o, const char *origin, bl_error *err) {
    double x = *out;
    int rc = bl_card_number(&x, o, "copy_slowdown", 0, false, origin, err);
    if (!rc && x > BL_CARD_SLOWDOWN) {
        return bl_card_refuse(origin, "copy_slowdown", "a share from 0 to 10: 0.08 is 8% longer", err);
    }
    *out = rc ? *out : x;
    return rc;
}
