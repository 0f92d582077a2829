#include "residency/plan/pager_state.h"

#include <math.h>

/* Of a byte that nobody is known to need again: a later generation may. Far below all other prices. */
static const double least_price = 1e-60;

/* seconds ^ distance, which is a small whole number. */
static double power(const pager *g, double seconds) {
    double x = seconds > 1e-9 ? seconds : 1e-9, y = 1;
    for (int i = 0; i < g->o->distance; i++) {
        y *= x;
    }
    return y;
}

/* How many times dearer than a copy it is to bring an item in again for this run. */
static double dearness(const pager *g, const bl_space_item *x, int phase, int run) {
    double load = load_seconds(g, phase, run), copy = g->p->modules[x->module].blocks[x->block].copy_seconds;
    return load > 0 && copy > 0 ? 1 + g->o->store.dearness * load / copy : 1;
}

/* What it costs to give up an item's place. */
static double price_of(const pager *g, const bl_space_item *x) {
    const page *known = &g->pages[x->module][x->block];
    int phase = known->use_phase;
    if (known->use == never) {
        const chance *m = &g->chances[x->module];
        return (double)x->bytes * (m->likelihood > 0
                                       ? m->likelihood / power(g, m->seconds - g->prefix[g->run])
                                       : least_price); /* who knows: room that is free is better */
    }
    if (phase > g->phase && x->offset < arena_until(g, phase)) {
        return 0; /* an arena will take it before it is used */
    }
    return (double)x->bytes * dearness(g, x, phase, known->use) /
           power(g, known->use_seconds - g->prefix[g->run]);
}

/* Whether it is said where the blocks of a phase's module lie. */
static bool has_homes(const pager *g, int phase) {
    return g->o->homes && g->o->homes->pin[phase];
}

/* Whether it is streamed through the window anyway. */
static bool passes_by(const pager *g, const bl_space_item *x, int phase) {
    return has_homes(g, g->phase) && g->missing_phase == g->phase && phase == g->phase &&
           !g->o->homes->pin[phase][x->block];
}

/* Whether the options want the block to stay through the present phase. Not while another waits for its
 * place. */
static bool stays(const pager *g, const bl_space_item *x, int phase) {
    const bl_pager_options *o = g->o;
    if (g->missing == g->run) {
        return false;
    }
    if (has_homes(g, g->phase) && g->p->phases[g->phase].module == x->module) {
        return phase == g->phase && o->homes->pin[phase][x->block] &&
               x->offset == o->homes->home[x->module][x->block];
    }
    if (g->p->phases[g->phase].module == x->module) {
        return o->pin && phase == g->phase && o->pin[phase] && o->pin[phase][x->block];
    }
    return o->keep &&
           g->pages[x->module][x->block].first_bytes < o->keep[g->phase * g->p->module_count + x->module];
}

/* Prices those that reach into [low, high). */
static void price_items(pager *g, uint64_t low, uint64_t high) {
    const bl_space *s = &g->b.space;
    for (int i = bl_space_find(s, low); i < s->count && s->items[i].offset < high; i++) {
        const bl_space_item *x = &s->items[i];
        int use = g->pages[x->module][x->block].use, phase = g->pages[x->module][x->block].use_phase;
        g->price[i] = use <= g->missing || stays(g, x, phase) ? INFINITY
                      : passes_by(g, x, phase)                ? 0
                                                              : price_of(g, x);
    }
}

/* The one place that a resident with a home has. */
static bool find_home(pager *g, uint64_t bytes, uint64_t home, spot *out) {
    const bl_space *s = &g->b.space;
    price_items(g, home, home + bytes);
    int first = bl_space_find(s, home), last = first;
    double price = 0;
    for (; last < s->count && s->items[last].offset < home + bytes; last++) {
        price += g->price[last];
    }
    *out = (spot){
        .first = first, .last = last, .low = home, .high = home + bytes, .at_low = true, .price = price};
    return price < INFINITY;
}

/* The cheapest place for `bytes` in [floor, ceiling); of equals the highest, or the lowest. False when there
 * is none. */
static bool find_spot(pager *g, uint64_t bytes, uint64_t floor, uint64_t ceiling, double lost_price,
                      uint64_t lost_below, bool lowest, spot *out) {
    const bl_space *s = &g->b.space;
    bool found = false;
    int last = bl_space_find(s, ceiling);
    last += last < s->count && s->items[last].offset < ceiling;
    price_items(g, floor, ceiling);
    for (int first = last; first >= 0; first--) {
        /* The room begins where item first - 1 ends. */
        uint64_t low = first > 0 ? s->items[first - 1].offset + s->items[first - 1].bytes : 0;
        low = low > floor ? low : floor;
        /* Shrink from above while the block still fits. */
        while (last > first && s->items[last - 1].offset >= low + bytes) {
            last--;
        }
        uint64_t high = last < s->count ? s->items[last].offset : ceiling;
        high = high < ceiling ? high : ceiling;
        if (high >= low + bytes) {
            double price = 0;
            for (int i = first; i < last; i++) {
                price += g->price[i];
            }
            price += (lowest ? low : high - bytes) < lost_below ? lost_price : 0;
            if (price < INFINITY && (!found || price < out->price || (lowest && price == out->price))) {
                *out = (spot){
                    .first = first, .last = last, .low = low, .high = high, .at_low = lowest, .price = price};
                found = true;
            }
        }
        if (first > 0 && s->items[first - 1].offset < floor &&
            s->items[first - 1].offset + s->items[first - 1].bytes <= floor) {
            break;
        }
    }
    return found;
}

/* What a place that an arena takes is worth less, because the missing block is used again in a later phase:
 * all that lies below *below. */
static double find_lost(const pager *g, uint64_t bytes, uint64_t *below) {
    const bl_problem *p = g->p;
    int module = phase_ahead(g, g->missing_phase)->module;
    int again =
        g->missing_phase < p->phase_count ? g->next_phase[g->missing_phase * p->module_count + module] : -1;
    *below = 0;
    if (again < 0) {
        return 0;
    }
    *below = g->arena_to[g->missing_phase * g->ahead_count + again];
    int use = g->ahead[again].first_run + bl_pager_missing_block(g);
    return (double)bytes / power(g, seconds_before(g, again, use) - g->prefix[g->run]);
}

bool bl_pager_find_place(pager *g, spot *out) {
    const bl_problem *p = g->p;
    int phase = g->ahead[g->missing_phase].phase, module = p->phases[phase].module;
    int block = bl_pager_missing_block(g);
    uint64_t bytes = p->modules[module].blocks[block].bytes, lost_below;
    uint64_t floor = arena_until(g, g->missing_phase);
    double nothing = (double)g->plan->region_bytes * least_price;
    bool found;
    if (!has_homes(g, phase)) {
        double lost = find_lost(g, bytes, &lost_below);
        bool lowest = g->o->pin && g->missing < p->run_count && g->o->pin[phase] && !g->o->pin[phase][block];
        found = find_spot(g, bytes, floor, g->plan->region_bytes, lost, lost_below, lowest, out);
        nothing += found && (lowest ? out->low : out->high - bytes) < lost_below ? lost : 0;
    } else if (g->o->homes->pin[phase][block]) {
        uint64_t home = g->o->homes->home[module][block];
        found = home >= floor && find_home(g, bytes, home, out);
    } else {
        uint64_t window = g->o->homes->window[phase];
        found = find_spot(g, bytes, floor, window, 0, 0, true, out);
        if (found) { /* at the end of the window that is away from the one that runs */
            out->at_low = out->low == floor || out->high != window;
        }
    }
    if (found) {
        out->is_free = out->price <= nothing;
    }
    return found;
}
