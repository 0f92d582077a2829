/* What came of tuning a request: a report, and a line for people. */
#include "tune/tune_parts.h"

#include "core/clock.h"
#include "core/lines.h"
#include "pipeline/tuned.h"
#include "tune/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a picture. */
typedef struct sums {
    double start, seconds, low, high, bound, spread, psnr;
    int tried, kept;
    bool in_time;
    double picture_psnr; /* 0: the same picture, or it was not made */
    bool compared;
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

/* With bits that may differ: how much a picture does. Needs the time of two; without it, or where one fails,
 * nothing is said of pictures. */
static void compare(sums *a, bl_tune_work *t, double until) {
    bl_error ignored = {0};
    double began = bl_now();
    a->compared = a->psnr > 0 && began + a->start + a->seconds < until &&
                  !bl_tune_compare(&a->picture_psnr, t->job.p, t->job.r.o, &ignored);
    bl_tune_step(t, began);
}

/* What the planner says of other settings, now that rates are measured; "" where that is nothing. */
static bl_hint ask_planner(bl_tune_work *t) {
    bl_hint hint = {0};
    bl_error ignored = {0};
    double began = bl_now();
    if (bl_job_declare(&t->job, &t->placement, &ignored) ||
        bl_tell_hint(&hint, t->job.generation, &t->placement, &ignored)) {
        hint = (bl_hint){0};
    }
    bl_tune_step(t, began);
    return hint;
}

/* What was kept although it changes bits, each by itself. */
static void print_other_bits(FILE *f, const bl_tune_work *t, const sums *a) {
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
    if (a->compared && a->picture_psnr > 0) {
        fprintf(f, "\n    of the picture, with all of them: %.1f dB", a->picture_psnr);
    } else {
        fprintf(f, "\n    %s", a->compared ? "the picture is the same" : "no picture was made for it");
    }
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
    fprintf(f, "tuned: %.2f s -> %.2f s a picture (%+.1f%% +-%.1f%%), bound %.2f s; %d choices, %d kept",
            a->start, a->seconds, change, half, a->bound, a->tried, a->kept);
    if (a->psnr > 0) {
        print_other_bits(f, t, a);
    }
    if (a->spread > BL_SEARCH_BUSY) {
        fprintf(f, "\nthe machine is busy: one and the same step varied by %.0f%%; a quiet one shows more",
                100 * a->spread);
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

static json_t *machine(const bl_choice_place *w) {
    char pages[16];
    huge_pages(pages);
    return w->cores ? json_pack("{s:i, s:i, s:i, s:s}", "cores", w->cores, "processors", w->processors,
                                "nodes", w->nodes, "huge_pages", pages)
                    : json_null();
}

int bl_tune_tell(json_t **out, char **text, bl_tune_work *t, double until, bool stopped, bl_error *err) {
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
    json_t *more = json_pack("{s:f, s:f, s:f, s:o, s:s?}", "limit_seconds", t->wish->seconds, "took_seconds",
                             bl_now() - t->began, "longest_seconds", t->longest, "machine",
                             machine(&t->wish->where), "not_kept", t->lost.code ? t->lost.message : NULL);
    bool fine = *out && more && !json_object_update(*out, more);
    json_decref(more);
    return fine ? print_line(text, t, &a, &hint, stopped, err) : bl_fail_memory(err, "the result", 0);
}
