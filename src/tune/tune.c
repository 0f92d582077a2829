#include "tune/tune.h"

#include "core/clock.h"
#include "pipeline/job.h"
#include "pipeline/tuned.h"
#include "tune/bench.h"
#include "tune/compare.h"
#include "tune/search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_SUBJECTS 16
#define LEAST_SHARE 0.02 /* of a picture: a phase that takes less is left as it is */

/* A phase of the request that is measured; phases that are alike are one. */
typedef struct subject {
    bl_phase_of phase, before; /* before.prepared NULL: there is none */
    int passes;                /* of all that are alike */
    double seconds;            /* of a pass, by the cheap measurement */
    bool done;
    bl_tune_search_result result;
    bl_tuning best;
} subject;

/* What searching needs. */
typedef struct tuning {
    bl_job job;
    bl_placement placement;
    const bl_tune_wish *wish;
    subject subjects[MOST_SUBJECTS];
    int subject_count;
    bl_tune_search_row rows[BL_CHOICES];
    int row_of[BL_CHOICES]; /* the choice that a row is */
    int row_count;
    const subject *now;
    bl_bench *bench;
    json_t *tries;
    bool no_memory; /* for a row of the report */
} tuning;

static void say(const tuning *t, const char *line) {
    if (t->wish->line) {
        t->wish->line(t->wish->payload, line);
    }
}

/* Takes the row. */
static void add(tuning *t, json_t *list, json_t *row) {
    t->no_memory = json_array_append_new(list, row) || t->no_memory;
}

/* ---- what the search measures */

static bl_tuning tuning_of(const tuning *t, const bl_tune_search_point *p) {
    bl_tuning x = {0};
    for (int i = 0; i < t->row_count; i++) {
        *bl_tuning_field(&x, &bl_choices[t->row_of[i]]) = p->value[i];
    }
    return x;
}

static double now(void *payload) {
    (void)payload;
    return bl_now();
}

static int rough(void *payload, double *seconds, const bl_tune_search_point *points, int count, int effort,
                 bl_error *err) {
    tuning *t = payload;
    bl_tuning list[BL_SEARCH_ROWS * BL_SEARCH_VALUES + 1];
    for (int i = 0; i < count; i++) {
        list[i] = tuning_of(t, &points[i]);
    }
    int result = bl_bench_blocks(t->bench, seconds, list, count, effort, err);
    if (result == BL_E_MEMORY) { /* what whole passes left there can be brought in again */
        bl_modules_release(t->job.p->modules);
        result = bl_bench_blocks(t->bench, seconds, list, count, effort, err);
    }
    return result;
}

static int pair(void *payload, bl_pairs *out, const bl_tune_search_point *present,
                const bl_tune_search_point *other, int pairs, bl_error *err) {
    tuning *t = payload;
    bl_tuning a = tuning_of(t, present), b = tuning_of(t, other);
    return bl_bench_pairs(t->bench, out, &a, &b, pairs, err);
}

static double bound(void *payload, const bl_tune_search_point *p) {
    const tuning *t = payload;
    bl_tuning x = tuning_of(t, p);
    return bl_bench_bound(t->bench, &x);
}

static void told(void *payload, const bl_tune_search_try *x) {
    tuning *t = payload;
    char line[160], change[40] = "", value[16] = "-", psnr[24] = "";
    const char *name = t->rows[x->row].name;
    if (x->value) {
        snprintf(value, sizeof value, "%d", x->value);
    }
    if (x->low > 0) {
        snprintf(change, sizeof change, "%+.1f%% to %+.1f%%", 100 * (x->low - 1), 100 * (x->high - 1));
    }
    if (x->psnr > 0) {
        snprintf(psnr, sizeof psnr, ", PSNR %.0f dB", x->psnr);
    }
    snprintf(line, sizeof line, "%-16.16s %-9s %5s  %9.4f  %-18s %s%s", t->now->phase.name, name, value,
             x->seconds, change, x->end, psnr);
    say(t, line);
    add(t, t->tries,
        json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:s, s:f}", "phase", t->now->phase.name, "choice", name,
                  "value", x->value, "seconds", isfinite(x->seconds) ? x->seconds : 0.0, "low", x->low,
                  "high", x->high, "end", x->end, "psnr", x->psnr));
}

/* ---- which phases there are */

static bool same_phase(const bl_phase_of *a, const bl_phase_of *b) {
    return a->module == b->module && bl_shape_same(a->key, b->key);
}

static void list_subjects(tuning *t) {
    bl_phase_of p, before = {0};
    for (int i = 0; bl_generation_phase_at(&p, t->job.generation, i); i++) {
        int k = 0;
        if (p.prepared->graph->kept_bytes && p.key.form == BL_UNET_PROLOGUE) {
            before = p;
            continue;
        }
        while (k < t->subject_count && !same_phase(&t->subjects[k].phase, &p)) {
            k++;
        }
        if (k == t->subject_count && k < MOST_SUBJECTS) {
            t->subjects[t->subject_count++] = (subject){.phase = p};
            if (p.key.form == BL_UNET_STEP) {
                t->subjects[k].before = before;
            }
        }
        if (k < t->subject_count) {
            t->subjects[k].passes += p.passes;
        }
    }
}

static void list_rows(tuning *t) {
    for (int i = 0; i < BL_CHOICES; i++) {
        bl_tune_search_row *r = &t->rows[t->row_count];
        *r = (bl_tune_search_row){.name = bl_choices[i].name, .same_bits = bl_choices[i].same_bits};
        r->count = bl_choices[i].values(r->values, &t->wish->where);
        if (r->count && (r->same_bits || t->wish->any_bits)) {
            t->row_of[t->row_count++] = i;
        }
    }
}

static int open_bench(tuning *t, const subject *s, bl_error *err) {
    bl_bench_options o = {.modules = t->job.p->modules,
                          .changes = {t->job.adapters.list, t->job.adapters.count, &t->job.embeddings.rows},
                          .placement = &t->placement,
                          .phase = &s->phase,
                          .before = s->before.prepared ? &s->before : NULL,
                          .poll = bl_job_poll,
                          .payload = &t->job};
    t->now = s;
    return bl_bench_open(&t->bench, &o, err);
}

/* How long each takes as it is: what the time is shared by. */
static int weigh(tuning *t, double until, bl_error *err) {
    int result = 0;
    for (int i = 0; i < t->subject_count && !result && bl_now() < until; i++) {
        bl_tune_search_point as_it_is = {{0}};
        subject *s = &t->subjects[i];
        result = open_bench(t, s, err);
        result = result ? result : rough(t, &s->seconds, &as_it_is, 1, 1, err);
        bl_bench_close(&t->bench);
        s->result = (bl_tune_search_result){.start_seconds = s->seconds,
                                            .seconds = s->seconds,
                                            .bound = s->seconds,
                                            .low = 1,
                                            .high = 1,
                                            .in_time = true};
    }
    return result;
}

/* ---- what comes of it */

static double passes_seconds(const subject *s) {
    return s->passes * s->seconds;
}

static int keep(const tuning *t, subject *s, bl_error *err) {
    bl_tuned entry;
    bl_tuned_names(&entry, t->job.p->modules, s->phase.module, s->phase.key);
    bl_calibration *c = bl_memory_calibration(bl_modules_given(t->job.p->modules)->memory);
    s->best = tuning_of(t, &s->result.best);
    if (!s->result.kept) {
        return bl_tuned_drop(c, &entry, err); /* what an earlier search has kept did not win again */
    }
    entry.tuning = s->best;
    entry.untuned_seconds = s->result.start_seconds;
    entry.seconds = s->result.seconds;
    entry.psnr = s->result.psnr;
    return bl_tuned_keep(c, &entry, err);
}

static int search(tuning *t, subject *s, double until, bl_error *err) {
    bl_tune_search how = {.rows = t->rows,
                          .row_count = t->row_count,
                          .until = until,
                          .payload = t,
                          .now = now,
                          .rough = rough,
                          .pair = pair,
                          .bound = bound,
                          .told = told};
    bl_tune_search_result found;
    int result = open_bench(t, s, err);
    if (!result) {
        result = bl_tune_search_run(&found, &how, err);
        bool learnt = found.seconds > 0 && (!result || result == BL_E_CANCELLED);
        if (learnt) {
            s->result = found;
        }
        if (learnt && (!result || found.kept)) {
            int kept = keep(t, s, result ? NULL : err);
            result = result ? result : kept;
        }
    }
    bl_bench_close(&t->bench);
    s->done = true;
    return result;
}

/* The one that has the most to win and was not searched yet; NULL: none is worth it. *rest: seconds a picture
 * of all such. */
static subject *next(tuning *t, double *rest) {
    subject *most = NULL;
    double all = 0;
    *rest = 0;
    for (int i = 0; i < t->subject_count; i++) {
        all += passes_seconds(&t->subjects[i]);
    }
    for (int i = 0; i < t->subject_count; i++) {
        subject *s = &t->subjects[i];
        if (!s->done && passes_seconds(s) > LEAST_SHARE * all) {
            *rest += passes_seconds(s);
            most = !most || passes_seconds(s) > passes_seconds(most) ? s : most;
        }
    }
    return most;
}

static int search_all(tuning *t, double until, bl_error *err) {
    subject *s;
    double rest;
    int result = 0;
    say(t, "phase            choice    value    seconds  change             ");
    while (!result && (s = next(t, &rest))) {
        double left = until - bl_now();
        result = search(t, s, bl_now() + left * passes_seconds(s) / rest, err);
    }
    return result;
}

/* Of a picture. */
typedef struct sums {
    double start, seconds, low, high, bound, spread, psnr;
    int tried, kept;
    bool in_time;
    double picture_psnr; /* 0: the same picture, or it was not made */
    bool compared;
} sums;

static sums add_up(const tuning *t) {
    sums a = {.in_time = true};
    for (int i = 0; i < t->subject_count; i++) {
        const subject *s = &t->subjects[i];
        const bl_tune_search_result *r = &s->result;
        a.start += s->passes * r->start_seconds;
        a.seconds += s->passes * r->seconds;
        a.low += s->passes * r->start_seconds * r->low;
        a.high += s->passes * r->start_seconds * r->high;
        a.bound += s->passes * (r->bound > 0 ? r->bound : r->seconds);
        a.spread = r->spread > a.spread ? r->spread : a.spread;
        a.psnr = r->psnr > 0 && (!(a.psnr > 0) || r->psnr < a.psnr) ? r->psnr : a.psnr;
        a.tried += r->tried;
        a.kept += r->kept;
        a.in_time = a.in_time && r->in_time;
    }
    return a;
}

static json_t *entries(tuning *t) {
    json_t *list = json_array();
    for (int i = 0; i < t->subject_count; i++) {
        const subject *s = &t->subjects[i];
        char text[BL_TUNING_TEXT];
        bl_tuned n;
        bl_tuned_names(&n, t->job.p->modules, s->phase.module, s->phase.key);
        bl_tuning_text(text, &s->best);
        add(t, list,
            json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f}", "phase",
                      s->phase.name, "passes", s->passes, "device", n.device, "model", n.model, "dtype",
                      n.dtype, "module", n.module, "shape", n.shape, "version", n.version, "choices", text,
                      "untuned_seconds", s->result.start_seconds, "seconds", s->result.seconds,
                      "bound_seconds", s->result.bound, "psnr", s->result.psnr));
    }
    return list;
}

/* With bits that may differ: how much a picture does. Needs the time of two; without it, or where one fails,
 * nothing is said of pictures. */
static void compare(sums *a, const tuning *t, double until) {
    bl_error ignored = {0};
    a->compared = a->psnr > 0 && bl_now() + a->start + a->seconds < until &&
                  !bl_tune_compare(&a->picture_psnr, t->job.p, t->job.r.o, &ignored);
}

/* What the planner says of other settings, now that rates are measured; "" where that is nothing. */
static bl_hint ask_planner(tuning *t) {
    bl_hint hint = {0};
    bl_error ignored = {0};
    if (bl_job_declare(&t->job, &t->placement, &ignored) ||
        bl_tell_hint(&hint, t->job.generation, &t->placement, &ignored)) {
        hint = (bl_hint){0};
    }
    return hint;
}

static int print_line(char **text, const sums *a, const bl_hint *hint, bool stopped, bl_error *err) {
    size_t bytes;
    *text = NULL;
    FILE *f = open_memstream(text, &bytes);
    if (!f) {
        return bl_fail_memory(err, "the result", 0);
    }
    double change = a->start > 0 ? 100 * (a->seconds / a->start - 1) : 0;
    double half = a->start > 0 ? 50 * (a->high - a->low) / a->start : 0;
    fprintf(f, "tuned: %.2f s -> %.2f s a picture (%+.1f%% +-%.1f%%), bound %.2f s; %d choices, %d kept",
            a->start, a->seconds, change, half, a->bound, a->tried, a->kept);
    if (a->psnr > 0) {
        fprintf(f, "\nother bits, as --bits any allows: PSNR of a pass %.0f dB", a->psnr);
        if (a->compared && a->picture_psnr > 0) {
            fprintf(f, ", of the picture %.1f dB", a->picture_psnr);
        } else {
            fprintf(f, a->compared ? ", the picture is the same" : "; no picture was made for it");
        }
    }
    if (a->spread > BL_SEARCH_BUSY) {
        fprintf(f, "\nthe machine is busy: one and the same step varied by %.0f%%; a quiet one shows more",
                100 * a->spread);
    }
    if (!a->in_time && !stopped) {
        fprintf(f, "\nthe time was up before all was tried: --time gives it more");
    }
    if (hint->text[0]) {
        fprintf(f, "\nby the rates that were measured: %s", hint->text);
    }
    if (fclose(f)) {
        free(*text);
        *text = NULL;
        return bl_fail_memory(err, "the result", 0);
    }
    return 0;
}

static int tell(json_t **out, char **text, tuning *t, double until, bool stopped, bl_error *err) {
    *out = NULL;
    sums a = add_up(t);
    json_t *phases = entries(t);
    bl_hint hint = {0};
    if (t->no_memory) {
        json_decref(phases);
        return bl_fail_memory(err, "the result", 0);
    }
    if (!stopped) {
        compare(&a, t, until);
        hint = ask_planner(t);
    }
    *out = json_pack("{s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:b, s:b, s:f, s:b, s:f, s:f, s:o, s:o, s:O}",
                     "untuned_seconds", a.start, "seconds", a.seconds, "low", a.low, "high", a.high,
                     "bound_seconds", a.bound, "tried", a.tried, "kept", a.kept, "in_time", a.in_time,
                     "stopped", stopped, "spread", a.spread, "busy", a.spread > BL_SEARCH_BUSY, "psnr",
                     a.psnr, "picture_psnr", a.picture_psnr, "hint", bl_hint_json(&hint), "phases", phases,
                     "tries", t->tries);
    return *out ? print_line(text, &a, &hint, stopped, err) : bl_fail_memory(err, "the result", 0);
}

static int open_request(tuning *t, const bl_pipeline *p, const ballast_generate_options *o, bl_error *err) {
    int result = bl_job_open(&t->job, p, o, err);
    result = result ? result
                    : bl_placement_parse(&t->placement, o,
                                         bl_memory_caps(bl_modules_given(p->modules)->memory), err);
    result = result ? result : bl_job_declare(&t->job, &t->placement, err);
    return result ? result : bl_job_enter(&t->job, "tune", 0, err);
}

int bl_tune(json_t **out, char **text, const bl_pipeline *p, const ballast_generate_options *o,
            const bl_tune_wish *wish, bl_error *err) {
    const double until = bl_now() + wish->seconds;
    *out = NULL;
    *text = NULL;
    tuning *t = calloc(1, sizeof *t);
    if (!t || !(t->tries = json_array())) {
        free(t);
        return bl_fail_memory(err, "tuning", sizeof *t);
    }
    t->wish = wish;
    int result = open_request(t, p, o, err);
    if (!result) {
        list_subjects(t);
        list_rows(t);
        result = weigh(t, until, err);
        result = result ? result : search_all(t, until, err);
    }
    if (!result || (result == BL_E_CANCELLED && t->subject_count)) {
        int failed = tell(out, text, t, until, result != 0, result ? NULL : err);
        result = result ? result : failed;
    }
    bl_job_close(&t->job);
    json_decref(t->tries);
    free(t);
    return result;
}
