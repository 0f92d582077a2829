/* Reading a generation: what it did, and what it would do. The timing line, hints, reports, traces, plans. */
#ifndef BALLAST_PIPELINE_TELLING_H
#define BALLAST_PIPELINE_TELLING_H

#include "core/new_file.h"
#include "core/stop.h"
#include "pipeline/generation.h"
#include "residency/tell/hints.h"
#include "residency/tell/line.h"

#include <jansson.h>

/* The form of reports and plans: another number when a field goes or means something else. */
#define BL_REPORT_SCHEMA 1

/* What is said of a finished generation. */
typedef struct bl_told {
    bl_line line;
    bl_hint hint;
} bl_told;

/* It, with its plan and ledger: a new object {"line", "plan", "ledger", "left_out"}, or NULL. */
json_t *bl_tell_report(const bl_generation *g, const bl_told *told);

/* What to say of it beside the timing line. */
typedef struct bl_tell_wish {
    bool hint;  /* one, if something could be better */
    bool again; /* there are several like it, and the hint is for those that follow others */
    bool both;  /* a line that holds the plan against the ledger */
} bl_tell_wish;

/* The timing line of a finished generation and what is wished for; each line goes to the log. */
void bl_tell(bl_told *out, const bl_generation *g, bl_tell_wish wish);

/* What other settings would do to generations like this one, which follow each other: declared, and not
 * started. */
int bl_tell_hint(bl_hint *out, bl_generation *g, const bl_placement *placement, bl_error *err);

/* A request's ledgers as Chrome trace events, in a file that appears when it is closed. Begin with {0}. */
typedef struct bl_trace {
    bl_new_file file;
    bool open;
    double began; /* of the first ledger, on the device's clock */
} bl_trace;

/* Adds the ledger of a finished generation, of pictures `first` and on ([count], numbered from 0); the first
 * one opens the file. */
int bl_tell_trace(bl_trace *t, const bl_generation *g, const char *path, int first, int count, bl_error *err);
/* Gives the file its name, or with `failed` removes it; returns `failed`, or what went wrong with the file.
 */
int bl_trace_close(bl_trace *t, int failed, bl_error *err);

/* What to plan without running it. */
typedef struct bl_plan_wish {
    int count;             /* generations of the request */
    bl_generation *first;  /* of them, where it is another than those that are told of; or NULL */
    int chunks, missing;   /* of text, and how many of them the first has to encode */
    bool cached;           /* the others need not */
    bool described;        /* the device is not there to be measured */
    bool compare;          /* a row a mode */
    const char *advise;    /* the program to advise about, or NULL */
    bl_budget_range sweep; /* no points: no curve */
    const char *svg_path;  /* where to plot the curve, or NULL */
    const bl_stop *stop;   /* looked at between the curve's budgets; may be NULL */
} bl_plan_wish;

/* Plans the declared phases without starting them: a new object as bl_plan_json makes it, with "compare",
 * "advise" and "sweep" where wished for. *text is the same for people, freed with free(). */
int bl_tell_plan(json_t **out, char **text, bl_generation *g, const bl_placement *placement,
                 const bl_plan_wish *wish, bl_error *err);

#endif
