/* What came of tuning a request: a report, and a line for people. */
#include "tune/tune_parts.h"

#include "core/clock.h"
#include "core/lines.h"
#include "pipeline/tuned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a picture. */
typedef struct sums {
    double start, seconds, low, high, bound, spread, psnr;
    int tried, kept;
    bool in_time, on_trial;
} sums;

static sums add_up(const bl_tune_work *t) {
    sums a = {.in_time = true};
    for (int i = 0; i < t->subject_count; i++) {
        const bl_tune_subject *s = &t->subjects[i];
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
        a.on_trial = a.on_trial || (s->busy && bl_tuning_yields(&s->best));
    }
    return a;
}

static json_t *entries(bl_tune_work *t) {
    json_t *list = json_array();
    for (int i = 0; i < t->subject_count; i++) {
        const bl_tune_subject *s = &t->subjects[i];
        char text[BL_TUNING_TEXT];
        bl_tuned n;
        bl_tuned_names(&n, t->job.p->modules, s->phase.module, s->phase.key);
        bl_tuning_text(text, &s->best);
        bl_tune_add(t, list,
                    json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f}", "phase",
                              s->phase.name, "passes", s->passes, "device", n.device, "model", n.model,
                              "dtype", n.dtype, "module", n.module, "shape", n.shape, "version", n.version,
                              "choices", text, "untuned_seconds", s->result.start_seconds, "seconds",
                              s->result.seconds, "bound_seconds", s->result.bound, "psnr", s->result.psnr));
    }
    return list;
}

/* What the planner says of other settings, now that rates are measured; "" where that is nothing. */
static bl_hint ask_planner(bl_tune_work *t) {
    bl_hint hint = {0};
    bl_error ignored = {0};
    if (bl_job_declare(&t->job, &t->placement, &ignored) ||
        bl_tell_hint(&hint, t->job.generation, &t->placement, &ignored)) {
        hint = (bl_hint){0};
    }
    return hint;
}

/* What was kept although it changes bits, each by itself. */
static void print_other_bits(FILE *f, const bl_tune_work *t) {
    const json_t *x;
    size_t i;
    fprintf(f, "\nother bits, as --bits any allows");
    json_array_foreach(t->tries, i, x) {
        double psnr = json_real_value(json_object_get(x, "psnr"));
        if (psnr > 0 && !strcmp(json_string_value(json_object_get(x, "end")), "kept")) {
            fprintf(f, "\n    %s, %s=%d: PSNR of a pass %.0f dB",
                    json_string_value(json_object_get(x, "phase")),
                    json_string_value(json_object_get(x, "choice")),
                    (int)json_integer_value(json_object_get(x, "value")), psnr);
        }
    }
    if (t->compared && t->bits.psnr > 0) {
        fprintf(f, "\n    of the picture, with all of them: %.1f dB", t->bits.psnr);
    } else {
        fprintf(f, "\n    %s",
                t->compared ? "the picture is the same" : "there was no time for pictures of it");
    }
}

/* The other type, listed apart: an offer. */
static void print_type(FILE *f, const bl_tune_type *x) {
    const bl_tune_pictures *p = &x->pictures;
    const char *own = bl_dtype_name(x->own), *other = bl_dtype_name(x->other);
    fprintf(f, "\nthe other type, which is not kept: ");
    if (!x->tried) {
        fprintf(f, "no picture in %s: %s", other, x->why[0] ? x->why : "no time, of which --time gives more");
        return;
    }
    fprintf(f, "%s %.2f s -> %s %.2f s a picture (%+.1f%%", own, p->seconds, other, p->other,
            100 * (p->other / p->seconds - 1));
    if (p->low > 0) {
        fprintf(f, ", %+.1f%% to %+.1f%% by %d pairs", 100 * (p->low - 1), 100 * (p->high - 1), p->pairs);
    } else {
        fprintf(f, ", too few for an interval");
    }
    if (p->psnr > 0) {
        fprintf(f, "), PSNR of the picture %.1f dB; --dtype %s takes it", p->psnr,
                x->other == BL_F32 ? "f32" : "bf16");
    } else {
        fprintf(f, "), the same picture; --dtype %s takes it", x->other == BL_F32 ? "f32" : "bf16");
    }
}

/* That the machine is busy, and what comes of it. */
static void print_busy(FILE *f, const bl_tune_work *t, const sums *a) {
    fprintf(f, "\nthe machine is busy: ");
    if (t->others > BL_SEARCH_BUSY) {
        fprintf(f, "others used %.0f%% of its processors%s", 100 * t->others,
                a->spread > BL_SEARCH_BUSY ? ", and " : "");
    }
    if (a->spread > BL_SEARCH_BUSY) {
        fprintf(f, "one and the same step varied by %.0f%%", 100 * a->spread);
    }
    fprintf(f, "; a quiet one shows more");
    if (a->on_trial) {
        fprintf(f,
                "\nthreads, pin and rest are kept on trial: %d of %d runs go without them, and what does not "
                "help there is dropped",
                BL_TUNED_WITHOUT, BL_TUNED_RUNS);
    }
}

static bool is_busy(const bl_tune_work *t, const sums *a) {
    return a->spread > BL_SEARCH_BUSY || t->others > BL_SEARCH_BUSY;
}

static int print_line(char **text, const bl_tune_work *t, const sums *a, const bl_hint *hint, bool stopped,
                      bl_error *err) {
    size_t bytes;
    *text = NULL;
    FILE *f = open_memstream(text, &bytes);
    if (!f) {
        return bl_fail_memory(err, "the result", 0);
    }
    double change = a->start > 0 ? 100 * (a->seconds / a->start - 1) : 0;
    double half = a->start > 0 ? 50 * (a->high - a->low) / a->start : 0;
    const int batch = t->job.r.o->batch;
    char what[40] = "a picture";
    if (batch > 1) {
        snprintf(what, sizeof what, "for %d pictures", batch);
    }
    fprintf(f, "tuned: %.2f s -> %.2f s %s (%+.1f%% +-%.1f%%), bound %.2f s; %d choices, %d kept", a->start,
            a->seconds, what, change, half, a->bound, a->tried, a->kept);
    if (a->psnr > 0) {
        print_other_bits(f, t);
    }
    if (t->offers && !stopped) {
        print_type(f, &t->type);
    }
    if (is_busy(t, a)) {
        print_busy(f, t, a);
    }
    if (!a->in_time && !stopped) {
        fprintf(f, "\nthe time was up before all was tried: --time gives it more");
    }
    if (t->lost.code) {
        fprintf(f, "\nthis could not be kept: %s", t->lost.message);
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

/* The word in brackets: "always", "madvise", "never"; "" where the kernel says nothing. */
static void huge_pages(char out[16]) {
    char line[64];
    out[0] = 0;
    if (bl_first_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line)) {
        const char *open = strchr(line, '[');
        snprintf(out, 16, "%.*s", open ? (int)strcspn(open + 1, "]") : 0, open ? open + 1 : "");
    }
}

void bl_tune_say_machine(const bl_tune_work *t) {
    const bl_choice_place *w = &t->wish->where;
    char line[160], pages[16];
    if (!w->cores || !t->wish->line) {
        return;
    }
    huge_pages(pages);
    int n = snprintf(line, sizeof line, "%d core%s of %d NUMA node%s, %s SMT siblings", w->cores,
                     w->cores > 1 ? "s" : "", w->nodes, w->nodes > 1 ? "s" : "",
                     w->processors > w->cores ? "with" : "no");
    if (!strcmp(pages, "never")) {
        snprintf(
            line + n, sizeof line - (size_t)n,
            "; no huge pages: /sys/kernel/mm/transparent_hugepage/enabled says never, madvise allows them");
    }
    t->wish->line(t->wish->payload, line);
}

/* null: bits are to stay, or the device computes in one type alone. */
static json_t *type_json(const bl_tune_work *t) {
    const bl_tune_type *x = &t->type;
    const bl_tune_pictures *p = &x->pictures;
    return t->offers ? json_pack("{s:s, s:s, s:b, s:s, s:f, s:f, s:f, s:f, s:i, s:f}", "own",
                                 bl_dtype_name(x->own), "other", bl_dtype_name(x->other), "measured",
                                 x->tried, "why", x->why, "seconds", p->seconds, "other_seconds", p->other,
                                 "low", p->low, "high", p->high, "pairs", p->pairs, "psnr", p->psnr)
                     : json_null();
}

static json_t *machine(const bl_choice_place *w) {
    char pages[16];
    huge_pages(pages);
    return w->cores ? json_pack("{s:i, s:i, s:i, s:s}", "cores", w->cores, "processors", w->processors,
                                "nodes", w->nodes, "huge_pages", pages)
                    : json_null();
}

int bl_tune_tell(json_t **out, char **text, bl_tune_work *t, bool stopped, bl_error *err) {
    *out = NULL;
    sums a = add_up(t);
    json_t *phases = entries(t);
    bl_hint hint = {0};
    if (t->no_memory) {
        json_decref(phases);
        return bl_fail_memory(err, "the result", 0);
    }
    if (!stopped) {
        hint = ask_planner(t);
    }
    *out =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:b, s:b, s:f, s:b, s:f, s:f, s:o, s:o, s:O}",
                  "untuned_seconds", a.start, "seconds", a.seconds, "low", a.low, "high", a.high,
                  "bound_seconds", a.bound, "tried", a.tried, "kept", a.kept, "in_time", a.in_time, "stopped",
                  stopped, "spread", a.spread, "busy", is_busy(t, &a), "psnr", a.psnr, "picture_psnr",
                  t->bits.psnr, "hint", bl_hint_json(&hint), "phases", phases, "tries", t->tries);
    json_t *more =
        json_pack("{s:f, s:f, s:f, s:b, s:o, s:o, s:s?}", "limit_seconds", t->wish->seconds, "took_seconds",
                  bl_now() - t->began, "others", t->others, "on_trial", a.on_trial, "dtype", type_json(t),
                  "machine", machine(&t->wish->where), "not_kept", t->lost.code ? t->lost.message : NULL);
    bool fine = *out && more && !json_object_update(*out, more);
    json_decref(more);
    return fine ? print_line(text, t, &a, &hint, stopped, err) : bl_fail_memory(err, "the result", 0);
}
