#include "checkpoint/config.h"

#include "core/json_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int bl_config_refuse(const char *path, const char *key, const json_t *value, const char *why, bl_error *err) {
    char *text = value ? bl_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (value && !text) {
        return bl_fail_memory(err, "a value of a configuration", 0);
    }
    int rc = bl_fail(err, BL_E_UNSUPPORTED, "%.400s: \"%.60s\" is %.100s%s; %s", path, key,
                     text ? text : "missing", text && strlen(text) > 100 ? "..." : "", why);
    free(text);
    return rc;
}

/* An array of values is written without its brackets. */
static int refuse_by_rule(const char *path, const bl_config_rule *rule, const json_t *value, bl_error *err) {
    char why[160];
    int cut = rule->runs[0] == '[' ? 1 : 0;
    snprintf(why, sizeof why, "Ballast runs %.*s", (int)strlen(rule->runs) - 2 * cut, rule->runs + cut);
    return bl_config_refuse(path, rule->key, value, why, err);
}

/* Equal as Python has it: true is 1, and 1 is 1.0. */
static bool same_value(const json_t *a, const json_t *b) {
    bool a_number = json_is_number(a) || json_is_boolean(a),
         b_number = json_is_number(b) || json_is_boolean(b);
    if (a_number && b_number) {
        double x = json_is_number(a) ? json_number_value(a) : json_is_true(a),
               y = json_is_number(b) ? json_number_value(b) : json_is_true(b);
        return fabs(x - y) <= 1e-6 * fabs(y);
    }
    return json_equal(a, b);
}

/* `values`: the rule's, parsed; NULL for a kind of numbers. */
static bool is_run(const json_t *value, const char *runs, const json_t *values) {
    size_t i;
    const json_t *item;
    if (strcmp(runs, BL_WHOLE) == 0 && json_is_integer(value)) {
        return json_integer_value(value) > 0;
    }
    if (strcmp(runs, BL_ONE_WHOLE) == 0) {
        return json_is_integer(value) && json_integer_value(value) > 0;
    }
    if (strcmp(runs, BL_POSITIVE) == 0 || strcmp(runs, BL_NUMBER) == 0) {
        return json_is_number(value) && (strcmp(runs, BL_NUMBER) == 0 || json_number_value(value) > 0);
    }
    json_array_foreach(values, i, item) {
        if (same_value(value, item)) {
            return true;
        }
    }
    bool all = json_is_array(value) && json_array_size(value) > 0;
    json_array_foreach(value, i, item) {
        all = all && !json_is_array(item) && is_run(item, runs, values);
    }
    return all;
}

static const bl_config_rule *find_rule(const bl_config_rule *rules, const char *key) {
    while (rules->key && strcmp(rules->key, key) != 0) {
        rules++;
    }
    return rules->key ? rules : NULL;
}

static int check_value(const json_t *value, const bl_config_rule *rule, const char *path, bl_error *err) {
    json_t *values = NULL;
    if (rule->runs && rule->runs[0] == '[') {
        values = json_loads(rule->runs, 0, NULL);
        if (!values) {
            return bl_fail_memory(err, "a rule for configurations", strlen(rule->runs));
        }
    }
    bool good = !rule->runs || is_run(value, rule->runs, values);
    json_decref(values);
    return good ? 0 : refuse_by_rule(path, rule, value, err);
}

/* Does the value say that there is nothing? */
static bool is_nothing(const json_t *v) {
    size_t i;
    const json_t *item;
    json_array_foreach(v, i, item) {
        if (!json_is_null(item)) {
            return false;
        }
    }
    return json_is_null(v) || json_is_false(v) || json_is_array(v) ||
           (json_is_object(v) && json_object_size(v) == 0) ||
           (json_is_string(v) && json_string_length(v) == 0);
}

/* "unet/config.json" of a path that ends so: file and folder. */
static const char *short_path(const char *path) {
    const char *at = path + strlen(path);
    for (int slashes = 0; at > path; at--) {
        if (at[-1] == '/' && ++slashes == 2) {
            break;
        }
    }
    return at;
}

static void note_unknown(char unknown[BL_UNKNOWN_BYTES], const char *key, const char *path) {
    static const char more[] = ", ...";
    size_t n = strlen(unknown), room = BL_UNKNOWN_BYTES - sizeof more - n;
    int length = snprintf(NULL, 0, "%s\"%s\" in %s", n ? ", " : "", key, short_path(path));
    if (n >= sizeof more && strcmp(unknown + n - (sizeof more - 1), more) == 0) {
        return;
    }
    if (length < (int)room) {
        snprintf(unknown + n, room, "%s\"%s\" in %s", n ? ", " : "", key, short_path(path));
    } else {
        memcpy(unknown + n, more, sizeof more);
    }
}

int bl_config_check(const json_t *config, const bl_config_rule *rules, const char *path,
                    char unknown[BL_UNKNOWN_BYTES], bl_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)config, key, value) {
        const bl_config_rule *rule = find_rule(rules, key);
        int rc = rule ? check_value(value, rule, path, err) : 0;
        if (rc) {
            return rc;
        }
        if (!rule && key[0] != '_' && !is_nothing(value)) {
            note_unknown(unknown, key, path);
        }
    }
    return 0;
}
