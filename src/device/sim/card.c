#include "device/sim/card.h"

#include "core/json_text.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES (1 << 20) /* of a card's file */

/* A positive finite number below 2^63. */
static int get_number(double *out, const json_t *o, const char *key, bool zero_is_fine, const char *origin,
                      bl_error *err) {
    const json_t *v = json_object_get(o, key);
    double x = v ? json_number_value(v) : 0;
    if (!json_is_number(v) || !isfinite(x) || x < 0 || (x == 0 && !zero_is_fine) || x > 9e18) {
        return bl_fail(err, BL_E_FORMAT, "%s: \"%s\" must be a positive number", origin, key);
    }
    *out = x;
    return 0;
}

/* A field that is none is a mistyped one: "shares_core" would leave the cores unshared. */
static int check_names(json_t *o, const char *origin, bl_error *err) {
    static const char *const known[] = {"name",        "memory_bytes", "copy_rate",    "copy_latency",
                                        "memory_rate", "flops",        "shares_cores", "sources",
                                        "host_bytes",  "file_rate",    "file_latency"};
    const char *key;
    json_t *value;
    json_object_foreach(o, key, value) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(key, known[i]) != 0) {
            i++;
        }
        if (i == sizeof known / sizeof *known) {
            return bl_fail(err, BL_E_FORMAT, "%s: a card has no \"%.40s\"", origin, key);
        }
    }
    return 0;
}

static int read_fields(bl_sim_card *c, const json_t *o, const char *origin, bl_error *err) {
    const json_t *name = json_object_get(o, "name"), *flops = json_object_get(o, "flops");
    const json_t *shares = json_object_get(o, "shares_cores");
    double memory = 0;
    if (!json_is_string(name) || !json_is_object(flops) || (shares && !json_is_boolean(shares))) {
        return bl_fail(err, BL_E_FORMAT, "%s: a card needs a \"name\" and \"flops\" by dtype", origin);
    }
    int rc = get_number(&memory, o, "memory_bytes", false, origin, err);
    rc = rc ? rc : get_number(&c->copy_rate, o, "copy_rate", false, origin, err);
    rc = rc ? rc : get_number(&c->copy_latency, o, "copy_latency", true, origin, err);
    rc = rc ? rc : get_number(&c->memory_rate, o, "memory_rate", false, origin, err);
    rc = rc ? rc : get_number(&c->flops_f32, flops, "f32", false, origin, err);
    rc = rc ? rc : get_number(&c->flops_bf16, flops, "bf16", false, origin, err);
    if (rc) {
        return rc;
    }
    if (json_object_get(o, "host_bytes")) {
        double host = 0;
        rc = get_number(&host, o, "host_bytes", false, origin, err);
        rc = rc ? rc : get_number(&c->file_rate, o, "file_rate", false, origin, err);
        rc = rc ? rc : get_number(&c->file_latency, o, "file_latency", true, origin, err);
        c->host_bytes = (uint64_t)host;
    } else if (json_object_get(o, "file_rate") || json_object_get(o, "file_latency")) {
        rc = bl_fail(err, BL_E_FORMAT, "%s: a \"file_rate\" needs \"host_bytes\" beside it", origin);
    }
    if (rc) {
        return rc;
    }
    c->memory_bytes = (uint64_t)memory;
    c->shares_cores = json_is_true(shares);
    snprintf(c->name, sizeof c->name, "%s", json_string_value(name));
    return 0;
}

static int from_json(bl_sim_card *out, json_t *root, const json_error_t *error, const char *text,
                     size_t length, const char *origin, bl_error *err) {
    if (!root && bl_json_lacked_memory(error, text, length)) {
        return bl_fail_memory(err, "a card's description", length);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return bl_fail(err, BL_E_FORMAT, "%s: not a card's description: %s (line %d)", origin,
                       error->text[0] ? error->text : "not an object", error->line);
    }
    bl_sim_card card = {0};
    int rc = check_names(root, origin, err);
    rc = rc ? rc : read_fields(&card, root, origin, err);
    json_decref(root);
    if (!rc) {
        *out = card;
    }
    return rc;
}

int bl_sim_card_parse(bl_sim_card *out, const char *text, size_t length, const char *origin, bl_error *err) {
    json_error_t error = {0};
    return from_json(out, json_loadb(text, length, 0, &error), &error, text, length, origin, err);
}

int bl_sim_card_load(bl_sim_card *out, const char *path, bl_error *err) {
    FILE *f = fopen(path, "rbe");
    if (!f) {
        return bl_fail_open(err, path, errno);
    }
    char *text = malloc(MOST_BYTES + 1);
    size_t length = text ? fread(text, 1, MOST_BYTES + 1, f) : 0;
    bool lost = ferror(f);
    fclose(f);
    int rc = !text  ? bl_fail_memory(err, "a card's description", MOST_BYTES)
             : lost ? bl_fail(err, BL_E_IO, "cannot read %.400s", path)
             : length > MOST_BYTES
                 ? bl_fail(err, BL_E_FORMAT, "%.400s: not a card's description: it has more than %d bytes",
                           path, MOST_BYTES)
                 : bl_sim_card_parse(out, text, length, path, err);
    free(text);
    return rc;
}
