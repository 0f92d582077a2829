/* What tuning a request consists of: tune.c measures, told.c tells of it. */
#ifndef BALLAST_TUNE_TUNE_PARTS_H
#define BALLAST_TUNE_TUNE_PARTS_H

#include "core/others.h"
#include "pipeline/job.h"
#include "tune/bench.h"
#include "tune/pictures.h"
#include "tune/search.h"
#include "tune/tune.h"

#define BL_TUNE_SUBJECTS 16

/* A phase of the request that is measured; phases that are alike are one. */
typedef struct bl_tune_subject {
    bl_phase_of phase, before; /* before.prepared NULL: there is none */
    int passes;                /* of all that are alike */
    bool judged;               /* later runs of it are held against what was found */
    double seconds;            /* of a pass, by the cheap measurement */
    bool done;
    bool busy; /* others used the machine while it was searched */
    bl_tune_search_result result;
    bl_tuning best;
} bl_tune_subject;

/* What searching needs. */
typedef struct bl_tune_work {
    bl_job job;
    bl_placement placement;
    const bl_tune_wish *wish;
    bl_tune_subject subjects[BL_TUNE_SUBJECTS];
    int subject_count;
    bl_tune_search_row rows[BL_CHOICES];
    int row_of[BL_CHOICES]; /* the choice that a row is */
    int row_count;
    const bl_tune_subject *now;
    bl_bench *bench;
    json_t *tries;
    bool no_memory; /* for a row of the report */
    double began;
    bl_tune_until until;
    bool whole;      /* what is measured now is not given up */
    bool late;       /* a measurement was given up when the time was up */
    bl_others since; /* when it began */
    double others;   /* part of the processors that others used since, up to the end of the last search */
    bl_tune_pictures bits; /* of what was kept although it changes bits, against untuned; looked at where */
    bool compared;         /* this is set */
    bool offers;           /* there is another type */
    bl_tune_type type;
    bl_error lost; /* why what was found until somebody stopped it could not be kept; code 0: it is */
} bl_tune_work;

/* Puts a row into a list of the report, and takes it. */
void bl_tune_add(bl_tune_work *t, json_t *list, json_t *row);

/* told.c: the report and the line that it ends with, as bl_tune has them. */
int bl_tune_tell(json_t **out, char **text, bl_tune_work *t, bool stopped, bl_error *err);
/* A line on the machine, before the table. */
void bl_tune_say_machine(const bl_tune_work *t);

#endif
