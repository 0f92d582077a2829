/* Tuning a request: each of its phases is measured in the ways there are to run it (core/tuning.h), and what
 * is faster beyond doubt is kept for all that run the same phase here (residency/run/tuned.h). */
#ifndef BALLAST_TUNE_TUNE_H
#define BALLAST_TUNE_TUNE_H

#include "pipeline/generate.h"

typedef struct bl_tune_wish {
    double seconds;                                /* that it may take */
    bool any_bits;                                 /* choices that change the last bits count, too */
    bl_choice_place where;                         /* what there is to choose from */
    void (*line)(void *payload, const char *line); /* rows of the table while it works; may be NULL */
    void *payload;
} bl_tune_wish;

/* Runs the phases of the request, not the request. *out: a new object (docs/tune.md); *text: the line that it
 * ends with, freed with free(). After BL_E_CANCELLED what was found until then is kept, and both are there,
 * too. */
int bl_tune(json_t **out, char **text, const bl_pipeline *p, const ballast_generate_options *o,
            const bl_tune_wish *wish, bl_error *err);

#endif
