#include "residency/tell/hints.h"

#include "core/size_text.h"
#include "residency/plan/planner.h"
#include "residency/problem/follow.h"
#include "residency/tell/sweep.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const double worth_saying = 0.05;

/* What is asked, and the best answer so far. */
typedef struct search {
    const bl_problem *p;
    const bl_plan *plan;
    const bl_offload_settings *settings;
    double wall; /* seconds that the generation took */
    double now;  /* seconds of its plan */
    double best; /* seconds that the best hint saves, or the least that is worth a word */
    bl_hint *out;
} search;

/* Takes a hint as the best so far. */
static void suggest(search *s, const char *flag, const char *value, double saves, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static void suggest(search *s, const char *flag, const char *value, double saves, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(s->out->text, sizeof s->out->text, format, args);
    va_end(args);
    snprintf(s->out->flag, sizeof s->out->flag, "%s", flag);
    snprintf(s->out->value, sizeof s->out->value, "%s", value);
    s->out->saves_seconds = s->best = saves;
}

/* "of 8.7 s", of which one is spoken of, or "of each 8.7 s", which come again and again. */
typedef struct seconds_text {
    char text[24];
} seconds_text;

/* "4.2 s", "0.03 s" */
static seconds_text seconds_of(double seconds) {
    seconds_text out;
    snprintf(out.text, sizeof out.text, "%.*f s", seconds < 0.95 ? 2 : 1, seconds);
    return out;
}

static const char *of(const search *s) {
    return bl_problem_repeats(s->p) ? "of each" : "of";
}

/* What another plan of `seconds` would have saved: of what the generation really took, never more. */
static double saved(const search *s, double seconds) {
    double difference = s->now - seconds;
    return s->now > s->wall ? difference * (s->wall / s->now) : difference;
}

/* The module that was copied most, and how many times over. */
static int busiest(const bl_problem *p, const bl_plan *plan, double *times) {
    uint64_t moved[BL_PROBLEM_MODULES] = {0};
    int worst = 0;
    for (int i = 0; i < plan->move_count; i++) {
        const bl_move *v = &plan->moves[i];
        moved[v->module] += v->kind != BL_MOVE_COPY ? 0 : p->modules[v->module].blocks[v->block].bytes;
    }
    for (int m = 1; m < p->module_count; m++) {
        worst = moved[m] > moved[worst] ? m : worst;
    }
    *times = (double)moved[worst] / (double)p->modules[worst].bytes;
    return worst;
}

static int try_fit_check(search *s, bl_error *err) {
    bl_offload_settings tried = *s->settings;
    bl_sweep_row other;
    tried.fit_check = true;
    int rc = bl_sweep_plan(&other, s->p, &tried, s->p->budget_bytes, err);
    if (rc || !other.works || saved(s, other.seconds) <= s->best) {
        return rc;
    }
    double times, saves = saved(s, other.seconds);
    int m = busiest(s->p, s->plan, &times);
    char loads[24] = "again";
    if (times >= 1.5 || !bl_problem_repeats(s->p)) {
        snprintf(loads, sizeof loads, "%.0fx", times);
    }
    suggest(s, "--fit-check", "on", saves,
            "%s (%s) was loaded %s although the working set (%s) fits the budget (%s): --fit-check on saves "
            "about %s %s %s",
            s->p->modules[m].name, bl_size_of(s->p->modules[m].bytes).text, loads,
            bl_size_of(s->plan->working_set_bytes).text, bl_size_of(s->p->budget_bytes).text,
            seconds_of(saves).text, of(s), seconds_of(s->wall).text);
    return 0;
}

static int try_auto(search *s, bl_error *err) {
    bl_offload_settings tried = *s->settings;
    bl_sweep_row other;
    tried.mode = BL_OFFLOAD_AUTO;
    int rc = bl_sweep_plan(&other, s->p, &tried, s->p->budget_bytes, err);
    /* The smaller change is named when it does nearly as well. */
    if (!rc && other.works && saved(s, other.seconds) > s->best * (s->out->text[0] ? 1.05 : 1)) {
        double saves = saved(s, other.seconds);
        suggest(s, "--offload", "auto", saves,
                "--offload auto saves about %s %s %s with the same budget (%s)", seconds_of(saves).text,
                of(s), seconds_of(s->wall).text, bl_size_of(s->p->budget_bytes).text);
    }
    return rc;
}

/* The smallest budget up to `high` that takes at most a fiftieth longer than `seconds`. */
static int enough(uint64_t *out, const search *s, uint64_t high, double seconds, bl_error *err) {
    uint64_t low = s->p->budget_bytes;
    for (int i = 0; i < 6; i++) {
        bl_sweep_row row;
        uint64_t middle = low + (high - low) / 2;
        int rc = bl_sweep_plan(&row, s->p, s->settings, middle, err);
        if (rc) {
            return rc;
        }
        if (row.works && row.seconds <= seconds * 1.02) {
            high = middle;
        } else {
            low = middle;
        }
    }
    *out = high;
    return 0;
}

static int try_budget(search *s, bl_error *err) {
    uint64_t all = s->plan->working_set_bytes, budget;
    bl_sweep_row other;
    if (s->p->budget_bytes >= all || all > s->p->memory_bytes) {
        return 0;
    }
    int rc = bl_sweep_plan(&other, s->p, s->settings, all, err);
    if (rc || !other.works || saved(s, other.seconds) <= s->best) {
        return rc;
    }
    rc = enough(&budget, s, all, other.seconds, err);
    if (!rc) {
        double saves = saved(s, other.seconds);
        char value[24]; /* rounded up: what is set must be enough */
        uint64_t told = budget + s->p->reserved_bytes;
        snprintf(value, sizeof value, "%lluM", (unsigned long long)(told / 1000000 + 1));
        suggest(s, "--budget", value, saves, "%s more budget (%s) %s: %s becomes about %s",
                bl_size_of(budget - s->p->budget_bytes).text, bl_size_of(told).text,
                budget == all ? "ends streaming" : "ends waiting for weights", seconds_of(s->wall).text,
                seconds_of(s->wall - saves).text);
    }
    return rc;
}

/* The same with another host budget. */
static int with_host(bl_sweep_row *out, const search *s, uint64_t host_bytes, bl_error *err) {
    bl_problem here = *s->p; /* shares the lists, which bl_sweep_plan leaves alone */
    here.host_bytes = host_bytes;
    return bl_sweep_plan(out, &here, s->settings, here.budget_bytes, err);
}

/* More host memory for weights, where some are read from the file each time. */
static int try_host_budget(search *s, bl_error *err) {
    uint64_t low = s->p->host_bytes, high = 0;
    bl_sweep_row other;
    for (int m = 0; m < s->p->module_count; m++) {
        high += s->p->modules[m].bytes;
    }
    high = high < s->p->host_memory_bytes ? high : s->p->host_memory_bytes;
    if (low >= high) {
        return 0;
    }
    int rc = with_host(&other, s, high, err);
    if (rc || !other.works || saved(s, other.seconds) <= s->best) {
        return rc;
    }
    for (int i = 0; i < 5 && !rc; i++) {
        bl_sweep_row row;
        uint64_t middle = low + (high - low) / 2;
        rc = with_host(&row, s, middle, err);
        bool enough_there = !rc && row.works && row.seconds <= other.seconds * 1.02;
        high = enough_there ? middle : high;
        low = enough_there ? low : middle;
    }
    if (!rc) {
        double saves = saved(s, other.seconds);
        char value[24]; /* rounded up: what is set must be enough */
        snprintf(value, sizeof value, "%lluM", (unsigned long long)(high / 1000000 + 1));
        suggest(s, "--host-budget", value, saves,
                "%s more host memory (%s) ends reading weights again: %s becomes about %s",
                bl_size_of(high - s->p->host_bytes).text, bl_size_of(high).text, seconds_of(s->wall).text,
                seconds_of(s->wall - saves).text);
    }
    return rc;
}

/* Weights of the modules that the generation runs and that are of another type in the other problem. */
static uint64_t changed_bytes(const bl_problem *p, const bl_problem *other) {
    bool used[BL_PROBLEM_MODULES] = {false};
    uint64_t sum = 0;
    for (int i = 0; i < p->phase_count; i++) {
        int m = p->phases[i].module;
        if (!used[m] && strcmp(p->modules[m].dtype, other->modules[m].dtype) != 0) {
            sum += p->modules[m].bytes;
        }
        used[m] = true;
    }
    return sum;
}

static int try_bf16(search *s, const bl_hint_bf16 *bf16, bl_error *err) {
    bl_sweep_row other;
    int rc = bl_sweep_plan(&other, bf16->problem, s->settings, s->p->budget_bytes, err);
    if (!rc && other.works && saved(s, other.seconds) > s->best) {
        s->out->changes_picture = true;
        suggest(s, bf16->flag, "bf16", saved(s, other.seconds),
                "bf16 halves the weights (%s to %s): %s bf16 saves about %s %s %s; it changes the "
                "picture "
                "a little",
                bl_size_of(changed_bytes(s->p, bf16->problem)).text,
                bl_size_of(changed_bytes(bf16->problem, s->p)).text, bf16->flag,
                seconds_of(saved(s, other.seconds)).text, of(s), seconds_of(s->wall).text);
    }
    return rc;
}

int bl_hint_find(bl_hint *out, const bl_problem *p, const bl_plan *plan, const bl_offload_settings *s,
                 const bl_hint_bf16 *bf16, double wall_seconds, bl_error *err) {
    search x = {.p = p,
                .plan = plan,
                .settings = s,
                .wall = wall_seconds,
                .best = worth_saying * wall_seconds,
                .out = out};
    bl_sweep_row now;
    *out = (bl_hint){0};
    int rc = bl_sweep_plan(&now, p, s, p->budget_bytes, err);
    if (rc || !now.works) {
        return rc;
    }
    x.now = now.seconds;
    bool planned = s->mode == BL_OFFLOAD_AUTO;
    if (s->mode == BL_OFFLOAD_BALANCED && !s->fit_check) {
        rc = try_fit_check(&x, err);
    }
    if (!rc && !planned) {
        rc = try_auto(&x, err);
    }
    if (!rc && (!planned || now.moved_bytes)) {
        rc = try_budget(&x, err);
    }
    if (!rc && p->has_store && plan->load_count) {
        rc = try_host_budget(&x, err);
    }
    if (!rc && !out->text[0] && bf16) {
        rc = try_bf16(&x, bf16, err);
    }
    return rc;
}

json_t *bl_hint_json(const bl_hint *h) {
    return h->text[0]
               ? json_pack("{s:s, s:s, s:s, s:f, s:b}", "text", h->text, "flag", h->flag, "value", h->value,
                           "saves_seconds", h->saves_seconds, "changes_picture", h->changes_picture)
               : json_null();
}
