#include "pipeline/placement.h"

#include "core/decimal.h"
#include "core/size_text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

int bl_size_parse(uint64_t *out, const char *text, uint64_t memory_bytes, const char *what, bl_error *err) {
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {{"", 1},       {"B", 1},           {"K", 1e3},           {"KB", 1e3}, {"M", 1e6},
                 {"MB", 1e6},   {"G", 1e9},         {"GB", 1e9},          {"T", 1e12}, {"TB", 1e12},
                 {"KIB", 1024}, {"MIB", 1048576.0}, {"GIB", 1073741824.0}};
    double value;
    const char *rest = bl_decimal(text, &value);
    char upper[8] = "";
    for (size_t i = 0; rest && rest[i] && i + 1 < sizeof upper; i++) {
        upper[i] = (char)toupper((unsigned char)rest[i]);
    }
    if (rest && !strcmp(rest, "%") && value <= 100) {
        *out = (uint64_t)((double)memory_bytes * value / 100);
        return 0;
    }
    for (size_t i = 0; rest && strlen(rest) < sizeof upper && i < sizeof units / sizeof *units; i++) {
        if (!strcmp(upper, units[i].suffix) && value * units[i].factor < 1e18) {
            *out = (uint64_t)(value * units[i].factor);
            return 0;
        }
    }
    return bl_fail(err, BL_E_ARGUMENT, "%s: \"%.40s\" is no size; write 6G, 800M, 512MiB or 80%%", what,
                   text);
}

int bl_budget_range_parse(bl_budget_range *out, const char *text, uint64_t memory_bytes, bl_error *err) {
    char low[32], high[32];
    bl_budget_range sweep = {.points = 23};
    int used = 0, fields = sscanf(text, "%31[^:]:%31[^:]%n:%5d%n", low, high, &used, &sweep.points, &used);
    if (fields < 2 || text[used] || sweep.points < 2 || sweep.points > 1000) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "sweep: \"%.60s\" is no range; write 2G:24G, or 2G:24G:45 for 45 budgets", text);
    }
    int result = bl_size_parse(&sweep.low, low, memory_bytes, "sweep", err);
    if (!result) {
        result = bl_size_parse(&sweep.high, high, memory_bytes, "sweep", err);
    }
    if (!result && sweep.low >= sweep.high) {
        result = bl_fail(err, BL_E_ARGUMENT, "sweep: %s is not below %s", low, high);
    }
    *out = sweep;
    return result;
}

static int parse_tiled(bl_tiled *out, const char *text, bl_error *err) {
    static const char *const names[] = {"off", "auto", "on"};
    for (int i = 0; text && i < 3; i++) {
        if (!strcmp(text, names[i])) {
            *out = (bl_tiled)i;
            return 0;
        }
    }
    return text
               ? bl_fail(err, BL_E_NOT_FOUND, "tiled-decode: not \"%.40s\"; there are off, auto and on", text)
               : 0;
}

/* Memory for weights that wait on the host. */
static int parse_host(bl_placement *p, const ballast_generate_options *o, const bl_device_caps *caps,
                      bl_error *err) {
    if (!o->host_budget) {
        return 0;
    }
    if (!caps->host_store) {
        return bl_fail(
            err, BL_E_UNSUPPORTED,
            "host-budget: on this device (%s) no weights wait in host memory beside those that --budget "
            "counts; leave it out",
            caps->name);
    }
    return bl_size_parse(&p->store_bytes, o->host_budget, caps->host_bytes, "host-budget", err);
}

int bl_placement_parse(bl_placement *out, const ballast_generate_options *o, const bl_device_caps *caps,
                       bl_error *err) {
    bl_placement p = {.offload = bl_offload_defaults()};
    uint64_t reserve = 0;
    if (o->offload && !bl_offload_parse(o->offload, &p.offload.mode)) {
        return bl_fail(err, BL_E_NOT_FOUND,
                       "offload: no mode \"%.40s\"; there are auto, none, model, sequential and balanced",
                       o->offload);
    }
    int result = parse_tiled(&p.tiled, o->tiled_decode, err);
    if (result) {
        return result;
    }
    result = o->budget ? bl_size_parse(&p.budget_bytes, o->budget, caps->memory_bytes, "budget", err) : 0;
    if (!result && o->reserve) {
        result = bl_size_parse(&reserve, o->reserve, caps->memory_bytes, "reserve", err);
    }
    result = result ? result : parse_host(&p, o, caps, err);
    if (result) {
        return result;
    }
    if (o->budget && p.budget_bytes <= reserve) {
        return bl_fail(err, BL_E_ARGUMENT, "budget: nothing is left of %llu bytes after a reserve of %llu",
                       (unsigned long long)p.budget_bytes, (unsigned long long)reserve);
    }
    p.budget_bytes = o->budget ? p.budget_bytes - reserve : 0;
    p.reserve_bytes = o->budget ? 0 : reserve;
    p.reserved_bytes = reserve;
    /* turned round, so that NaN is refused */
    if (!(o->low <= 1) || !(o->high <= 1) || (o->high >= 0 && o->low > o->high)) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "low, high: watermarks are fractions with low <= high <= 1, not %g and %g", o->low,
                       o->high);
    }
    p.offload.low = o->low;
    p.offload.high = o->high;
    p.offload.never = o->never;
    p.offload.always = o->always;
    p.offload.fit_check = o->fit_check != 0;
    *out = p;
    return 0;
}

void bl_placement_tell(const bl_placement *p, uint64_t memory_bytes, const bl_log *log) {
    if (p->budget_bytes > memory_bytes) {
        bl_log_line(log, BL_LOG_WARNING,
                    "budget: %s is more than the memory that there is, %s: it limits nothing",
                    bl_size_of(p->budget_bytes).text, bl_size_of(memory_bytes).text);
    }
}
