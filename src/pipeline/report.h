/* The report of a request, as docs/report.md and share/report.schema.json say it. */
#ifndef BALLAST_PIPELINE_REPORT_H
#define BALLAST_PIPELINE_REPORT_H

#include "pipeline/job.h"

/* A report that is being written. Begin with bl_report_begin; bl_report_clear. */
typedef struct bl_report {
    double began;
    int images;       /* that were made */
    int hits, misses; /* chunks of text: the sums of the batches' */
    json_t *batches;  /* NULL: nobody wants one */
    json_t *hint;     /* of the last batch that was added */
} bl_report;

int bl_report_begin(bl_report *r, bool wanted, bl_error *err);
/* Adds a finished generation, a batch of the request. */
int bl_report_add(bl_report *r, const bl_job *j, const bl_told *told, bl_error *err);
/* *out: the whole, owned by the caller; NULL if nobody wants it. */
int bl_report_end(json_t **out, bl_report *r, const bl_job *j, bl_error *err);
void bl_report_clear(bl_report *r);

#endif
