#include "tune/tune_parts.h"

#include "core/clock.h"
#include "pipeline/tuned.h"
#include "pipeline/words.h"
#include "tune/keep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LEAST_SHARE 0.02 /* of a picture: a phase that takes less is left as it is */
#define LATE 1.05        /* of the time: what is under way then is given up */
#define F32_TAKES 3      /* times as long as bf16, or less, where that is fast */

static void say(const bl_tune_work *t, const char *line) {
    if (t->wish->line) {
        t->wish->line(t->wish->payload, line);
    }
}

void bl_tune_add(bl_tune_work *t, json_t *list, json_t *row) {
    t->no_memory = json_array_append_new(list, row) || t->no_memory;
}

/* Asked between any two blocks. */
static int poll(void *payload) {
    bl_tune_work *t = payload;
    int stop = bl_job_poll(&t->job);
    t->late = t->late || (!stop && !t->whole && bl_now() > t->until.end);
    return stop || t->late;
}

/* 1: the time was up before the measurement was done. */
static int ended(const bl_tune_work *t, int result) {
    return result == BL_E_CANCELLED && t->late ? 1 : result;
}

/* Whether somebody else works here; notes how much. */
static bool is_busy(bl_tune_work *t) {
    bl_others now;
    (void)bl_others_now(&now);
    t->others = bl_others_between(&t->since, &now);
    return t->others > BL_SEARCH_BUSY;
}

/* ---- what the search measures */

static bl_tuning tuning_of(const bl_tune_work *t, const bl_tune_search_point *p) {
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
    bl_tune_work *t = payload;
    bl_tuning list[BL_SEARCH_ROWS * BL_SEARCH_VALUES + 1];
    for (int i = 0; i < count; i++) {
        list[i] = tuning_of(t, &points[i]);
    }
    int result = bl_bench_blocks(t->bench, seconds, list, count, effort, err);
    if (result == BL_E_MEMORY) { /* what whole passes left there can be brought in again */
        bl_modules_release(t->job.p->modules);
        result = bl_bench_blocks(t->bench, seconds, list, count, effort, err);
    }
    return ended(t, result);
}

static int pair(void *payload, bl_pairs *out, const bl_tune_search_point *present,
                const bl_tune_search_point *other, int pairs, bl_error *err) {
    bl_tune_work *t = payload;
    bl_tuning a = tuning_of(t, present), b = tuning_of(t, other);
    return ended(t, bl_bench_pairs(t->bench, out, &a, &b, pairs, err));
}

static bool others(void *payload) {
    return is_busy(payload);
}

static double bound(void *payload, const bl_tune_search_point *p) {
    const bl_tune_work *t = payload;
    bl_tuning x = tuning_of(t, p);
    return bl_bench_bound(t->bench, &x);
}

static void told(void *payload, const bl_tune_search_try *x) {
    bl_tune_work *t = payload;
    char line[160], change[40] = "", value[16] = "-", psnr[24] = "", seconds[16] = "-";
    const char *name = t->rows[x->row].name;
    if (x->value) {
        snprintf(value, sizeof value, "%d", x->value);
    }
    if (x->low > 0) {
        snprintf(change, sizeof change, "%+.1f%% to %+.1f%%", 100 * (x->low - 1), 100 * (x->high - 1));
    }
    if (isfinite(x->seconds)) {
        snprintf(seconds, sizeof seconds, "%.4f", x->seconds);
    }
    if (x->psnr > 0) {
        snprintf(psnr, sizeof psnr, ", PSNR %.0f dB", x->psnr);
    }
    snprintf(line, sizeof line, "%-16.16s %-10s %4s  %9s  %-18s %s%s", t->now->phase.name, name, value,
             seconds, change, x->end, psnr);
    say(t, line);
    bl_tune_add(t, t->tries,
                json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:s, s:f}", "phase", t->now->phase.name, "choice",
                          name, "value", x->value, "seconds", isfinite(x->seconds) ? x->seconds : 0.0, "low",
                          x->low, "high", x->high, "end", x->end, "psnr", x->psnr));
}

/* ---- which phases there are */

static bool same_phase(const bl_phase_of *a, const bl_phase_of *b) {
    return a->module == b->module && bl_shape_same(a->key, b->key);
}

static void list_subjects(bl_tune_work *t) {
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
        if (k == t->subject_count && k < BL_TUNE_SUBJECTS) {
            t->subjects[t->subject_count++] = (bl_tune_subject){.phase = p};
            if (p.key.form == BL_UNET_STEP) {
                t->subjects[k].before = before;
            }
        }
        if (k < t->subject_count) {
            t->subjects[k].passes += p.passes;
            t->subjects[k].judged = t->subjects[k].judged || p.passes > 1;
        }
    }
}

/* The choices that there are for the phase: of a device, and of what its graph does. */
static void list_rows(bl_tune_work *t, const bl_tune_subject *s) {
    const bl_graph *g = s->phase.prepared->graph;
    bl_choice_place where = t->wish->where;
    const int widest = where.convolves && g->dtype == BL_BF16 ? bl_graph_widest(g) : 0;
    for (int i = 0; i < g->op_count && widest; i++) {
        const bl_tensor *out = &g->tensors[g->ops[i].out];
        if (bl_op_has_ways(&g->ops[i])) {
            where.tiles[bl_tuning_size(widest, out->w)] = (out->h + 3) / 4 * ((out->w + 3) / 4);
        }
    }
    t->row_count = 0;
    for (int i = 0; i < BL_CHOICES; i++) {
        bl_tune_search_row *r = &t->rows[t->row_count];
        *r = (bl_tune_search_row){.name = bl_choices[i].name,
                                  .same_bits = bl_choices[i].same_bits,
                                  .when_quiet = bl_choices[i].yields && !s->judged};
        r->count = bl_choices[i].values(r->values, &where);
        if (r->count && (r->same_bits || t->wish->any_bits)) {
            t->row_of[t->row_count++] = i;
        }
    }
}

static int open_bench(bl_tune_work *t, const bl_tune_subject *s, bl_error *err) {
    bl_bench_options o = {.modules = t->job.p->modules,
                          .changes = {t->job.adapters.list, t->job.adapters.count, &t->job.embeddings.rows},
                          .placement = &t->placement,
                          .phase = &s->phase,
                          .before = s->before.prepared ? &s->before : NULL,
                          .poll = poll,
                          .payload = t};
    t->now = s;
    list_rows(t, s);
    return bl_bench_open(&t->bench, &o, err);
}

/* How long each takes as it is: what the time is shared by. */
static int weigh(bl_tune_work *t, bl_error *err) {
    int result = 0;
    for (int i = 0; i < t->subject_count && !result && bl_now() < t->until.begin; i++) {
        bl_tune_search_point as_it_is = {{0}};
        bl_tune_subject *s = &t->subjects[i];
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

static double passes_seconds(const bl_tune_subject *s) {
    return s->passes * s->seconds;
}

/* The one that has the most to win and was not searched yet; NULL: none is worth it. *rest: seconds a picture
 * of all such. */
static bl_tune_subject *next(bl_tune_work *t, double *rest) {
    bl_tune_subject *most = NULL;
    double all = 0;
    *rest = 0;
    for (int i = 0; i < t->subject_count; i++) {
        all += passes_seconds(&t->subjects[i]);
    }
    for (int i = 0; i < t->subject_count; i++) {
        bl_tune_subject *s = &t->subjects[i];
        if (!s->done && passes_seconds(s) > LEAST_SHARE * all) {
            *rest += passes_seconds(s);
            most = !most || passes_seconds(s) > passes_seconds(most) ? s : most;
        }
    }
    return most;
}

/* On a card plans go by the rates of copies: with one run of the longest phase they are known. */
static int measure_rates(bl_tune_work *t, bl_error *err) {
    const bl_tuning as_it_is = {0};
    bl_pairs ignored;
    double rest;
    const bl_tune_subject *s = next(t, &rest);
    if (!s || !bl_memory_caps(bl_modules_given(t->job.p->modules)->memory)->host_store ||
        4 * s->seconds > t->wish->seconds) { /* a pair, and one to warm up */
        return 0;
    }
    t->whole = true; /* half a run would teach nothing */
    int result = open_bench(t, s, err);
    result = result ? result : bl_bench_pairs(t->bench, &ignored, &as_it_is, &as_it_is, 1, err);
    bl_bench_close(&t->bench);
    t->whole = false;
    return result;
}

/* ---- what comes of it */

static int keep(bl_tune_work *t, bl_tune_subject *s, bool stopped, bl_error *err) {
    bl_tuned entry;
    bl_tuned_names(&entry, t->job.p->modules, s->phase.module, s->phase.key);
    s->best = entry.tuning = tuning_of(t, &s->result.best);
    entry.on_trial = s->busy && bl_tuning_yields(&s->best);
    bl_calibration *c = bl_memory_calibration(bl_modules_given(t->job.p->modules)->memory);
    return bl_tune_keep(c, &entry, &s->result, stopped ? &t->lost : NULL, err);
}

static int search(bl_tune_work *t, bl_tune_subject *s, double until, bl_error *err) {
    bl_tune_search how = {.rows = t->rows,
                          .row_count = t->row_count,
                          .until = until,
                          .payload = t,
                          .now = now,
                          .rough = rough,
                          .pair = pair,
                          .bound = bound,
                          .others = others,
                          .told = told};
    bl_tune_search_result found;
    int result = open_bench(t, s, err);
    if (!result) {
        result = bl_tune_search_run(&found, &how, err);
        s->busy = is_busy(t) || found.spread > BL_SEARCH_BUSY;
        if (found.seconds > 0 && (!result || result == BL_E_CANCELLED)) {
            s->result = found;
            int kept = keep(t, s, result != 0, err);
            result = result ? result : kept;
        }
        s->result.in_time = found.in_time;
    }
    bl_bench_close(&t->bench);
    s->done = true;
    return result;
}

static int search_all(bl_tune_work *t, double until, bl_error *err) {
    bl_tune_subject *s;
    double rest;
    int result = 0;
    say(t, "phase            choice    value    seconds  change             ");
    while (!result && (s = next(t, &rest))) {
        double left = until - bl_now();
        result = search(t, s, bl_now() + left * passes_seconds(s) / rest, err);
    }
    return result;
}

static int open_request(bl_tune_work *t, const bl_pipeline *p, const ballast_generate_options *o,
                        bl_error *err) {
    int result = bl_words_need(p->arch, &p->words, err); /* nobody would make pictures of it */
    result = result ? result : bl_job_open(&t->job, p, o, err);
    result = result ? result
                    : bl_placement_parse(&t->placement, o,
                                         bl_memory_caps(bl_modules_given(p->modules)->memory), err);
    result = result ? result : bl_job_declare(&t->job, &t->placement, err);
    return result ? result : bl_job_enter(&t->job, "tune", 0, err);
}

/* ---- pictures, where bits may differ */

static double picture_seconds(const bl_tune_work *t) {
    double all = 0;
    for (int i = 0; i < t->subject_count; i++) {
        all += passes_seconds(&t->subjects[i]);
    }
    return all;
}

/* Seconds that pictures need: one untuned, one tuned, one in the other type. */
static double pictures_take(const bl_tune_work *t) {
    const double other = !t->offers ? 0 : t->type.other == BL_F32 ? F32_TAKES : 1;
    return 1.2 * (2 + other) * picture_seconds(t);
}

/* What of the time the search has: where pictures are wanted, and half of it is enough for them, the rest. */
static double search_until(const bl_tune_work *t) {
    const double left = t->until.begin - bl_now(), need = pictures_take(t);
    return !t->wish->any_bits || need > left / 2 ? t->until.begin : t->until.begin - fmax(need, left / 6);
}

static bool bits_differ(const bl_tune_work *t) {
    bool differ = false;
    for (int i = 0; i < t->subject_count; i++) {
        differ = differ || t->subjects[i].result.psnr > 0;
    }
    return differ;
}

/* How much of a picture what was kept changes, and what the other type is worth. BL_E_CANCELLED alone is an
 * error: without a picture nothing is said of pictures. */
static int make_pictures(bl_tune_work *t, bl_error *err) {
    const ballast_generate_options *o = t->job.r.o;
    bl_error why = {0};
    int result = 0;
    if (!t->wish->any_bits) {
        return 0;
    }
    if (bits_differ(t) && bl_now() + 2 * picture_seconds(t) < t->until.end) {
        bl_pipeline without = *t->job.p;
        without.untuned = true;
        result = bl_tune_pictures_make(&t->bits, &without, t->job.p, o, 0, t->until, &why);
        t->compared = !result;
    }
    if (result == BL_E_CANCELLED) {
        return bl_fail(err, result, "%s", why.message);
    }
    if (t->offers && bl_now() + 2 * picture_seconds(t) < t->until.end) {
        return bl_tune_type_try(&t->type, t->job.p, o, BL_PAIRS_MOST, t->until, err);
    }
    return 0;
}

static int measure_all(bl_tune_work *t, bl_error *err) {
    list_subjects(t);
    bl_tune_say_machine(t);
    t->offers = t->wish->any_bits && bl_tune_type_find(&t->type, t->job.p->modules);
    int result = weigh(t, err);
    result = result ? result : measure_rates(t, err);
    result = result ? result : search_all(t, search_until(t), err);
    result = result == 1 ? 0 : result; /* with what is known */
    return result ? result : make_pictures(t, err);
}

int bl_tune(json_t **out, char **text, const bl_pipeline *p, const ballast_generate_options *o,
            const bl_tune_wish *wish, bl_error *err) {
    const double began = bl_now();
    *out = NULL;
    *text = NULL;
    bl_tune_work *t = calloc(1, sizeof *t);
    if (!t || !(t->tries = json_array())) {
        free(t);
        return bl_fail_memory(err, "tuning", sizeof *t);
    }
    t->wish = wish;
    t->began = began;
    t->until = (bl_tune_until){began + wish->seconds, began + LATE * wish->seconds};
    (void)bl_others_now(&t->since);
    int result = open_request(t, p, o, err);
    result = result ? result : measure_all(t, err);
    if (!result || (result == BL_E_CANCELLED && t->subject_count)) {
        int failed = bl_tune_tell(out, text, t, result != 0, result ? NULL : err);
        result = result ? result : failed;
    }
    bl_job_close(&t->job);
    json_decref(t->tries);
    free(t);
    return result;
}
