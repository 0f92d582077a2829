/* The search for the fastest of many ways to do one thing. It knows choices by number and seconds; what they
 * are, and how they are measured, are the caller's: a machine, or a test's made-up one.
 *
 * A cheap measurement sorts out what is not worth more (successive halving: the faster half is measured
 * again, for twice as long). What is left is held against the present best in pairs, one choice at a time;
 * one that is faster beyond doubt is kept, and becomes the present best. When something was kept all is tried
 * again around it. The end: nothing is left to try, the bound leaves less than 2%, or the time is up. */
#ifndef BALLAST_TUNE_SEARCH_H
#define BALLAST_TUNE_SEARCH_H

#include "core/error.h"
#include "tune/paired.h"

#define BL_SEARCH_ROWS 16
#define BL_SEARCH_VALUES 16
#define BL_SEARCH_ENOUGH 0.02 /* of the seconds: less than that is not looked for */

typedef struct bl_tune_search_row {
    const char *name;
    int count;
    int values[BL_SEARCH_VALUES]; /* [count] to try beside 0, which is how it is without a choice */
    bool same_bits;               /* other bits are a reason not to take a value */
    bool when_quiet;              /* and so is that somebody else used the machine */
} bl_tune_search_row;

/* A value of each row. */
typedef struct bl_tune_search_point {
    int value[BL_SEARCH_ROWS];
} bl_tune_search_point;

/* What became of a try, for whoever watches. */
typedef struct bl_tune_search_try {
    int row, value;
    double seconds;   /* as the cheap measurement has it, or the median of the pairs */
    double low, high; /* interval of its change against the present best: ratios; 0: not held in pairs */
    const char *end;  /* "kept", "slower", "no faster", "other bits", "busy", "fails", "no time", "little to
                         win". Static storage */
    double psnr;      /* where bits differ and may; else 0 */
} bl_tune_search_try;

typedef struct bl_tune_search {
    const bl_tune_search_row *rows; /* [row_count] */
    int row_count;
    bl_tune_search_point start;
    double until; /* of `now`: when the time is up */
    void *payload;
    double (*now)(void *payload);
    /* Cheap: an estimate of the seconds of each of `count` points, by `effort` (1, 2, 4) times as much work.
     * A point that cannot be: INFINITY. 1, as of the next: the time was up meanwhile. */
    int (*rough)(void *payload, double *seconds, const bl_tune_search_point *points, int count, int effort,
                 bl_error *err);
    /* Whole runs of both, in turn: out->count = pairs. */
    int (*pair)(void *payload, bl_pairs *out, const bl_tune_search_point *present,
                const bl_tune_search_point *other, int pairs, bl_error *err);
    /* Of a point's seconds, by what was measured so far: the part that no point can do without. */
    double (*bound)(void *payload, const bl_tune_search_point *point);
    /* Whether somebody else uses the machine. NULL: nobody does */
    bool (*others)(void *payload);
    void (*told)(void *payload, const bl_tune_search_try *t); /* may be NULL */
} bl_tune_search;

typedef struct bl_tune_search_result {
    bl_tune_search_point best;
    double start_seconds, seconds; /* of a run at the start, and at the best */
    double low, high;              /* interval of seconds / start_seconds */
    double bound;                  /* seconds that no point tried goes below */
    double psnr;                   /* of the best against the start; 0: the same bits */
    double spread;   /* of the pairs' seconds, the widest: above BL_SEARCH_BUSY somebody disturbs */
    int tried, kept; /* values of rows */
    bool in_time;    /* all was tried before the time was up */
    bool enough;     /* it ended because the bound leaves nothing */
} bl_tune_search_result;

#define BL_SEARCH_BUSY 0.05

/* BL_E_CANCELLED, or an error of a measurement: *out is what was learnt until then. */
int bl_tune_search_run(bl_tune_search_result *out, const bl_tune_search *s, bl_error *err);

#endif
