#include "server/api/fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool field_number(const json_t *value, double *out) {
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    if (json_is_boolean(value)) {
        *out = json_is_true(value);
        return true;
    }
    const char *text = json_string_value(value);
    if (!text || strlen(text) > 64) {
        return false;
    }
    text += strspn(text, " \t");
    text += *text == '+';
    json_t *inner =
        json_loads(text, JSON_DECODE_ANY, NULL); /* numbers as JSON has them, whatever the locale */
    bool good = json_is_number(inner);
    *out = good ? json_number_value(inner) : 0;
    json_decref(inner);
    return good;
}

static bool read_switch(const json_t *value, bool *out) {
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    double number;
    for (int i = 0; json_is_string(value) && i < 8; i++) {
        if (!strcasecmp(json_string_value(value), words[i])) {
            *out = i % 2;
            return true;
        }
    }
    if (!field_number(value, &number) || (number != 0 && number != 1)) {
        return false;
    }
    *out = number == 1;
    return true;
}

bool field_is_neutral(const json_t *value) {
    double number;
    bool is_true;
    switch (json_typeof(value)) {
    case JSON_NULL:
    case JSON_FALSE:
        return true;
    case JSON_STRING:
        return !json_string_value(value)[0] || !strcasecmp(json_string_value(value), "none") ||
               (field_number(value, &number) && number <= 0) || (read_switch(value, &is_true) && !is_true);
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(value) <= 0;
    case JSON_ARRAY: {
        size_t i;
        json_t *item;
        json_array_foreach(value, i, item) {
            if (!field_is_neutral(item)) {
                return false;
            }
        }
        return true;
    }
    case JSON_OBJECT:
        return json_object_size(value) == 0;
    default:
        return false;
    }
}

static bool read_seed(const json_t *value, struct field_seed *out) {
    const char *text = json_string_value(value);
    double number;
    if (text && *text && strlen(text) <= 20 && strspn(text, "0123456789") == strlen(text)) {
        unsigned long long wide = strtoull(text, NULL, 10);
        *out = (struct field_seed){false, wide};
        return strlen(text) < 20 || strcmp(text, "18446744073709551615") <= 0;
    }
    if (json_is_integer(value)) {
        json_int_t whole = json_integer_value(value);
        *out = (struct field_seed){whole < 0, whole < 0 ? 0 : (uint64_t)whole};
        return true;
    }
    if (text && !*text) {
        *out = (struct field_seed){true, 0};
        return true;
    }
    if (!field_number(value, &number) || number != floor(number) || number >= 9007199254740992.0) {
        return false;
    }
    *out = (struct field_seed){number < 0, number < 0 ? 0 : (uint64_t)number};
    return true;
}

static int fail(const struct field *f, struct problem *p, const char *need, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    int status = problem_set(p, 422, f->name, "%s: %.60s%s is not %s", f->name, text ? text : "this",
                             text && strlen(text) > 60 ? "..." : "", need);
    free(text);
    return status;
}

static int read_number(char *at, const struct field *f, const json_t *value, struct problem *p) {
    double number;
    char range[96];
    bool whole = f->kind == FIELD_INT;
    if (!field_number(value, &number) || (whole && number != floor(number))) {
        return fail(f, p, whole ? "a whole number" : "a number", value);
    }
    if (number < f->least || number > f->most) {
        snprintf(range, sizeof range, "within %.15g to %.15g", f->least, f->most);
        return fail(f, p, range, value);
    }
    if (whole) {
        *(int *)(void *)at = (int)number;
    } else {
        *(double *)(void *)at = number;
    }
    return 0;
}

static int read_text(char *at, const struct field *f, json_t *object, json_t *value, struct problem *p) {
    char number[40];
    if (json_is_number(value)) {
        snprintf(number, sizeof number, "%.15g", json_number_value(value));
        if (json_object_set_new(object, f->name, json_string(number))) {
            return problem_set(p, 503, f->name, "out of memory");
        }
        value = json_object_get(object, f->name);
    }
    if (!json_is_string(value)) {
        return fail(f, p, "a text", value);
    }
    if (json_string_length(value) > f->most) {
        return problem_set(p, 422, f->name, "%s: it has %zu bytes, more than the %.0f that are taken",
                           f->name, json_string_length(value), f->most);
    }
    if (json_string_length(value) < f->least) {
        return problem_set(p, 422, f->name, "%s: it must not be empty", f->name);
    }
    *(const char **)(void *)at = json_string_value(value);
    return 0;
}

/* A value that is there. */
static int read_value(char *at, const struct field *f, json_t *object, json_t *value, json_t *warnings,
                      struct problem *p) {
    char line[200];
    switch (f->kind) {
    case FIELD_TEXT:
        return read_text(at, f, object, value, p);
    case FIELD_INT:
    case FIELD_NUMBER:
        return read_number(at, f, value, p);
    case FIELD_SWITCH:
        return read_switch(value, (bool *)at) ? 0 : fail(f, p, "true or false", value);
    case FIELD_SEED:
        return read_seed(value, (struct field_seed *)(void *)at) ? 0 : fail(f, p, "a seed", value);
    case FIELD_LIST:
        *(json_t **)(void *)at = value;
        return json_is_array(value) ? 0 : fail(f, p, "a list", value);
    case FIELD_OBJECT:
        *(json_t **)(void *)at = value;
        return json_is_object(value) ? 0 : fail(f, p, "an object", value);
    case FIELD_WARNED:
    case FIELD_REFUSED:
        break;
    case FIELD_PASSED:
        return 0;
    }
    json_t *still = json_loads(f->fallback, JSON_DECODE_ANY, NULL);
    double a, b;
    /* Where 1 changes nothing, 0 changes something. */
    bool factor = json_is_number(still) && json_number_value(still) > 0 && field_number(value, &a);
    bool neutral = (!factor && field_is_neutral(value)) || json_equal(still, value) ||
                   (field_number(value, &a) && field_number(still, &b) && a == b);
    json_decref(still);
    if (!neutral && f->kind == FIELD_REFUSED) {
        return problem_set(p, 422, f->name, "%s: %s", f->name, f->help);
    }
    if (!neutral && warnings) {
        snprintf(line, sizeof line, "%s: %s", f->name, f->help);
        json_array_append_new(warnings, json_string(line));
    }
    return 0;
}

int fields_read(void *out, const struct field *table, json_t *object, json_t *warnings, struct problem *p) {
    for (const struct field *f = table; f->name; f++) {
        json_t *value = json_object_get(object, f->name);
        char *at = (char *)out + f->at;
        int status = 0;
        if (value && !json_is_null(value)) {
            status = read_value(at, f, object, value, warnings, p);
        } else if (f->kind == FIELD_NUMBER || f->kind == FIELD_INT || f->kind == FIELD_SWITCH ||
                   f->kind == FIELD_SEED) {
            /* Defaults are ours: null stands for what the struct was begun with. */
            json_t *fallback = json_loads(f->fallback, JSON_DECODE_ANY, NULL);
            if (!json_is_null(fallback)) {
                struct field wide = *f;
                wide.least = -1e300;
                wide.most = 1e300;
                status = read_value(at, &wide, object, fallback, NULL, p);
            }
            json_decref(fallback);
        }
        if (status) {
            return status;
        }
    }
    return 0;
}

json_t *fields_echo(const struct field *table, const json_t *object) {
    json_t *echo = json_object();
    for (const struct field *f = table; f->name; f++) {
        json_t *given = json_object_get(object, f->name);
        double number;
        json_t *value = NULL;
        if (given && (f->kind == FIELD_INT || f->kind == FIELD_NUMBER) && field_number(given, &number)) {
            value = f->kind == FIELD_INT ? json_integer((json_int_t)number) : json_real(number);
        } else if (given) {
            value = json_incref(given);
        } else {
            value = json_loads(f->fallback, JSON_DECODE_ANY, NULL);
        }
        json_object_set_new(echo, f->name, value);
    }
    return echo;
}

static json_t *schema_of(const struct field *f) {
    static const char *const types[] = {
        [FIELD_TEXT] = "string",    [FIELD_INT] = "integer",  [FIELD_NUMBER] = "number",
        [FIELD_SWITCH] = "boolean", [FIELD_SEED] = "integer", [FIELD_LIST] = "array",
        [FIELD_OBJECT] = "object"};
    json_t *schema = json_object();
    if (f->kind <= FIELD_OBJECT) {
        json_object_set_new(schema, "type", json_pack("[s, s]", types[f->kind], "null"));
    }
    if (f->kind == FIELD_INT || f->kind == FIELD_NUMBER) {
        json_object_set_new(schema, "minimum", json_real(f->least));
        json_object_set_new(schema, "maximum", json_real(f->most));
    } else if (f->kind == FIELD_TEXT) {
        json_object_set_new(schema, "maxLength", json_integer((json_int_t)f->most));
    } else if (f->kind == FIELD_LIST) {
        json_object_set_new(schema, "items", json_object());
    }
    json_t *fallback = json_loads(f->fallback, JSON_DECODE_ANY, NULL);
    if (fallback && !json_is_null(fallback)) {
        json_object_set(schema, "default", fallback);
    }
    json_decref(fallback);
    json_object_set_new(schema, "description", json_string(f->help));
    json_object_set_new(schema, "x-ballast",
                        json_string(f->kind == FIELD_PASSED    ? "ignored"
                                    : f->kind == FIELD_WARNED  ? "warned"
                                    : f->kind == FIELD_REFUSED ? "refused"
                                                               : "done"));
    return schema;
}

json_t *fields_schema(const struct field *table) {
    json_t *properties = json_object();
    for (const struct field *f = table; f->name; f++) {
        json_object_set_new(properties, f->name, schema_of(f));
    }
    return json_pack("{s:s, s:o}", "type", "object", "properties", properties);
}
