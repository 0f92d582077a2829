#include "device/sim/card.h"

#include "device/card_json.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_BYTES (1 << 20) /* of a card's file */

static int read_fields(bl_sim_card *c, const json_t *o, const char *origin, bl_error *err) {
    const json_t *name = json_object_get(o, "name"), *flops = json_object_get(o, "flops");
    const json_t *shares = json_object_get(o, "shares_cores");
    double memory = 0;
    if (!json_is_string(name) || !json_is_object(flops) || (shares && !json_is_boolean(shares))) {
        return bl_fail(err, BL_E_FORMAT, "%s: a card needs a \"name\" and \"flops\" by dtype", origin);
    }
    int rc = bl_card_number(&memory, o, "memory_bytes", DBL_MIN, true, origin, err);
    rc = rc ? rc : bl_card_number(&c->copy_rate, o, "copy_rate", DBL_MIN, true, origin, err);
    rc = rc ? rc : bl_card_number(&c->copy_latency, o, "copy_latency", 0, true, origin, err);
    rc = rc ? rc : bl_card_number(&c->memory_rate, o, "memory_rate", DBL_MIN, true, origin, err);
    rc = rc ? rc : bl_card_number(&c->flops_f32, flops, "f32", DBL_MIN, true, origin, err);
    rc = rc ? rc : bl_card_number(&c->flops_bf16, flops, "bf16", DBL_MIN, true, origin, err);
    rc = rc ? rc : bl_card_slowdown(&c->copy_slowdown, o, origin, err);
    if (rc) {
        return rc;
    }
    if (json_object_get(o, "host_bytes")) {
        double host = 0;
        rc = bl_card_number(&host, o, "host_bytes", DBL_MIN, true, origin, err);
        rc = rc ? rc : bl_card_number(&c->file_rate, o, "file_rate", DBL_MIN, true, origin, err);
        rc = rc ? rc : bl_card_number(&c->file_latency, o, "file_latency", 0, true, origin, err);
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

int bl_sim_card_parse(bl_sim_card *out, const char *text, size_t length, const char *origin, bl_error *err) {
    static const char *const known[] = {"name",        "memory_bytes", "copy_rate",    "copy_latency",
                                        "memory_rate", "flops",        "shares_cores", "sources",
                                        "host_bytes",  "file_rate",    "file_latency", "copy_slowdown"};
    bl_sim_card card = {0};
    json_t *root;
    int rc = bl_card_parse(&root, text, length, known, sizeof known / sizeof *known, origin, err);
    rc = rc ? rc : read_fields(&card, root, origin, err);
    json_decref(root);
    if (!rc) {
        *out = card;
    }
    return rc;
}

int bl_sim_card_load(bl_sim_card *out, const char *path, bl_error *err) {
    char *text;
    size_t length;
    int rc = bl_card_read(&text, &length, path, MOST_BYTES, err);
    rc = rc ? rc : bl_sim_card_parse(out, text, length, path, err);
    free(text);
    return rc;
}
