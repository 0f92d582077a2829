#include "tune/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES (BL_SEARCH_ROWS * BL_SEARCH_VALUES)
#define FINALISTS 3 /* that go into pairs without being halved further */
#define EFFORT 4    /* the most of a cheap measurement */
#define PAIRS 8
#define WORSE 1.02    /* than the present best by the cheap measurement: not worth pairs */
#define FAR_WORSE 1.3 /* by the first of it, which is rough */
#define ROUNDS 3

/* A value of a row that could be taken beside the present best. */
typedef struct candidate {
    int row, value;
    double seconds; /* cheap */
} candidate;

typedef struct walk {
    const bl_tune_search *s;
    bl_tune_search_result *r;
    candidate list[CANDIDATES];
    int count;
    candidate
        open[CANDIDATES]; /* of this round: with their seconds as parts of the best's, until pairs decide */
    int open_count;
    double present; /* cheap seconds of the best */
    double unit;    /* seconds that one point takes with effort 1; 0: not known */
    bool paired;    /* whole runs were measured */
    double scale;   /* of a whole run to its cheap seconds; 0: not known */
    bool told[BL_SEARCH_ROWS][BL_SEARCH_VALUES]; /* tried before, so not counted again */
    bool left_out;                               /* there was no time for some */
} walk;

static double left(const walk *w) {
    return w->s->until - w->s->now(w->s->payload);
}

static bl_tune_search_point with(const bl_tune_search_point *p, int row, int value) {
    bl_tune_search_point q = *p;
    q.value[row] = value;
    return q;
}

static void tell(walk *w, const candidate *c, double seconds, const bl_verdict *v, const char *end,
                 double psnr) {
    if (w->s->told) {
        bl_tune_search_try t = {
            .row = c->row, .value = c->value, .seconds = seconds, .end = end, .psnr = psnr};
        if (v) {
            t.low = v->low;
            t.high = v->high;
        }
        w->s->told(w->s->payload, &t);
    }
}

/* All values of all rows but the best's own, and those of which nothing could be kept now: each row's first
 * before anyone's second, as there may be time for the first of them alone. */
static void list(walk *w) {
    const bool busy = w->s->others && w->s->others(w->s->payload);
    w->count = 0;
    for (int i = -1; i < BL_SEARCH_VALUES; i++) {
        for (int row = 0; row < w->s->row_count; row++) {
            const bl_tune_search_row *r = &w->s->rows[row];
            int value = i < 0 ? 0 : r->values[i];
            if (i >= r->count || value == w->r->best.value[row]) {
                continue;
            }
            const candidate c = {.row = row, .value = value};
            const bool first = i >= 0 && !w->told[row][i], none = busy && r->when_quiet;
            if (first) {
                w->told[row][i] = true;
                w->r->tried += !none;
            }
            if (!none) {
                w->list[w->count++] = c;
            } else if (first) {
                tell(w, &c, INFINITY, NULL, "busy", 0);
            }
        }
    }
}

static int by_seconds(const void *a, const void *b) {
    double x = ((const candidate *)a)->seconds, y = ((const candidate *)b)->seconds;
    return (x > y) - (x < y);
}

static void note_open(walk *w, const candidate *c) {
    int i = 0;
    while (i < w->open_count && (w->open[i].row != c->row || w->open[i].value != c->value)) {
        i++;
    }
    w->open[i] = (candidate){c->row, c->value, w->present > 0 ? c->seconds / w->present : 1};
    w->open_count += i == w->open_count;
}

/* What pairs have decided promises nothing more: this value, or, with another one kept, all of its row. */
static void close(walk *w, const candidate *c, bool row) {
    for (int i = 0; i < w->open_count; i++) {
        if (w->open[i].row == c->row && (row || w->open[i].value == c->value)) {
            w->open[i].seconds = 1;
        }
    }
}

/* The part of the best's seconds that would be left if the best that each row promises came true together. */
static double promised(const walk *w) {
    double all = 1;
    for (int row = 0; row < w->s->row_count; row++) {
        double least = 1;
        for (int i = 0; i < w->open_count; i++) {
            least = w->open[i].row == row && w->open[i].seconds < least ? w->open[i].seconds : least;
        }
        all *= least;
    }
    return all;
}

/* Leaves out the candidates that could be measured only in the half of the time that is for pairs. */
static void fit(walk *w) {
    int room = (int)fmax(0, fmin(left(w) / (2 * w->unit) - 1, w->count)); /* one is the best */
    for (int i = room; i < w->count; i++) {
        tell(w, &w->list[i], INFINITY, NULL, "no time", 0);
        w->left_out = true;
    }
    w->count = room;
}

/* Measures the best and all candidates cheaply. 1: there is no time for that; of more than the least effort,
 * none beside that for pairs. */
static int measure(walk *w, int effort, bl_error *err) {
    bl_tune_search_point points[CANDIDATES + 1];
    double seconds[CANDIDATES + 1];
    if (w->unit * effort * (w->count + 1) * (effort > 1 ? 2 : 1) > left(w)) {
        return 1;
    }
    points[0] = w->r->best;
    for (int i = 0; i < w->count; i++) {
        points[i + 1] = with(&w->r->best, w->list[i].row, w->list[i].value);
    }
    double began = w->s->now(w->s->payload);
    int result = w->s->rough(w->s->payload, seconds, points, w->count + 1, effort, err);
    if (result) {
        return result;
    }
    w->unit = (w->s->now(w->s->payload) - began) / (effort * (w->count + 1));
    w->present = seconds[0];
    for (int i = 0; i < w->count; i++) {
        w->list[i].seconds = seconds[i + 1];
        note_open(w, &w->list[i]);
    }
    qsort(w->list, (size_t)w->count, sizeof *w->list, by_seconds);
    return 0;
}

/* Leaves out what takes more than `worse` as long as the best, and all behind the first `most`. */
static void cut(walk *w, int most, double worse) {
    int kept = 0;
    for (int i = 0; i < w->count; i++) {
        const candidate *c = &w->list[i];
        if (kept < most && c->seconds < worse * w->present) {
            w->list[kept++] = *c;
        } else {
            tell(w, c, c->seconds, NULL, isinf(c->seconds) ? "fails" : "slower", 0);
        }
    }
    w->count = kept;
}

/* Sorts out what is worth pairs. 1: the time is up. */
static int halve(walk *w, bl_error *err) {
    if (w->unit > 0) {
        fit(w);
    }
    int result = 0;
    for (int effort = 1; effort <= EFFORT && w->count && !result; effort *= 2) {
        result = measure(w, effort, err);
        if (result == 1 && effort > 1) { /* then by what is known */
            return 0;
        }
        if (!result) {
            int half = (w->count + 1) / 2;
            cut(w, half > FINALISTS ? half : FINALISTS, effort < EFFORT ? FAR_WORSE : WORSE);
        }
    }
    return result;
}

/* How many pairs there is time for; 0: too few to show anything. */
static int pairs_in_time(const walk *w, double seconds) {
    double each = 2 * seconds, room = left(w);
    int pairs = each > 0 && room / each - 1 < PAIRS ? (int)(room / each - 1) : PAIRS; /* one to warm up */
    return pairs < BL_PAIRS_LEAST ? 0 : pairs;
}

/* Of a whole run, by its cheap seconds. */
static double expected(const walk *w, double cheap) {
    return w->scale > 0 ? w->scale * cheap : cheap;
}

/* Notes what pairs with the best have shown. */
static void learn(walk *w, const bl_verdict *v) {
    bl_tune_search_result *r = w->r;
    r->spread = v->spread > r->spread ? v->spread : r->spread;
    if (!w->paired) { /* until now they were cheap ones */
        r->start_seconds = r->seconds = v->present;
        w->paired = true;
    }
    w->scale = w->present > 0 ? v->present / w->present : w->scale;
}

/* The candidate becomes the best. The intervals of what was kept one after the other are multiplied: no
 * interval that they hold is narrower. */
static void keep(walk *w, const candidate *c, const bl_verdict *v, double psnr) {
    bl_tune_search_result *r = w->r;
    r->best = with(&r->best, c->row, c->value);
    r->seconds *= v->ratio;
    r->low *= v->low;
    r->high *= v->high;
    r->psnr = psnr > 0 && (!(r->psnr > 0) || psnr < r->psnr) ? psnr : r->psnr;
    w->present = c->seconds;
}

/* Holds the candidate against the best. 1: the time is up. */
static int try_pairs(walk *w, const candidate *c, bool *kept, bl_error *err) {
    bl_pairs p;
    int pairs = pairs_in_time(w, expected(w, w->present));
    *kept = false;
    if (!pairs) {
        return 1;
    }
    bl_tune_search_point other = with(&w->r->best, c->row, c->value);
    int result = w->s->pair(w->s->payload, &p, &w->r->best, &other, pairs, err);
    if (result) {
        return result;
    }
    bl_verdict v = bl_pairs_judge(&p);
    learn(w, &v);
    /* other bits, where they may be, that are numbers still */
    bool allowed = p.same_bits || (!w->s->rows[c->row].same_bits && p.psnr > 0);
    const bool disturbed = v.spread > BL_SEARCH_BUSY || (w->s->others && w->s->others(w->s->payload)),
               quiet = !w->s->rows[c->row].when_quiet || !disturbed;
    *kept = v.faster && allowed && quiet;
    double psnr = p.same_bits ? 0 : p.psnr;
    close(w, c, *kept);
    if (*kept) {
        keep(w, c, &v, psnr);
    }
    tell(w, c, v.other, &v,
         *kept      ? "kept"
         : !allowed ? "other bits"
         : v.slower ? "slower"
         : v.faster ? "busy"
                    : "no faster",
         psnr);
    return 0;
}

static void set_bound(walk *w) {
    bl_tune_search_result *r = w->r;
    if (!(r->seconds > 0)) { /* before any pair: the cheap ones */
        r->start_seconds = r->seconds = w->present;
    }
    double part = w->s->bound(w->s->payload, &r->best), promise = promised(w);
    part = promise < part ? promise : part;
    r->bound = r->seconds * (part < 1 ? part : 1);
    r->enough = r->seconds > 0 && part > 1 - BL_SEARCH_ENOUGH;
}

/* Has another value of this candidate's row won in this round? */
static bool is_taken(const walk *w, int i) {
    bool taken = false;
    for (int k = 0; k < i; k++) {
        taken = taken ||
                (w->list[k].row == w->list[i].row && w->r->best.value[w->list[k].row] == w->list[k].value);
    }
    return taken;
}

/* All candidates around the best, once. */
static int go_round(walk *w, bool *changed, bl_error *err) {
    *changed = false;
    w->open_count = 0;
    list(w);
    int result = halve(w, err), i = 0;
    set_bound(w);
    while (i < w->count && !result && !w->r->enough) {
        bool kept = false;
        result = is_taken(w, i) ? 0 : try_pairs(w, &w->list[i], &kept, err);
        *changed = *changed || kept;
        set_bound(w);
        i += !result;
    }
    for (; i < w->count && (!result || result == 1); i++) { /* what nobody got to */
        tell(w, &w->list[i], w->list[i].seconds, NULL, result ? "no time" : "little to win", 0);
    }
    return result;
}

static int count_kept(const bl_tune_search *s, const bl_tune_search_point *p) {
    int kept = 0;
    for (int i = 0; i < s->row_count; i++) {
        kept += p->value[i] != s->start.value[i];
    }
    return kept;
}

int bl_tune_search_run(bl_tune_search_result *out, const bl_tune_search *s, bl_error *err) {
    walk w = {.s = s, .r = out};
    *out = (bl_tune_search_result){.best = s->start, .low = 1, .high = 1};
    bool changed = true;
    int result = measure(&w, 1, err); /* the best alone: what a point costs */
    for (int round = 0; round < ROUNDS && changed && !result && !out->enough; round++) {
        result = go_round(&w, &changed, err);
    }
    out->kept = count_kept(s, &out->best);
    out->in_time = result != 1 && !w.left_out;
    return result == 1 ? 0 : result;
}
