/* Which texts a request is told, and which of them when: the negative prompt, and the prompts that AND joins,
 * each one text throughout or several in turn (text/edit.h). */
#ifndef BALLAST_PIPELINE_TEXTS_H
#define BALLAST_PIPELINE_TEXTS_H

#include "pipeline/request.h"

#define BL_MOST_SUBPROMPTS 16 /* that AND may join */

/* What one row of the denoiser's batch is told in one pass. */
typedef struct bl_text_row {
    int count;     /* at least 1 */
    int *ends;     /* [count] see bl_edits_at; owned, with `texts` */
    int *texts;    /* [count] numbers in bl_texts.text */
    double weight; /* of a prompt; 1 unless it says otherwise */
} bl_text_row;

typedef struct bl_texts {
    char **text; /* [count] the distinct ones, owned; those of the negative prompt first */
    int count;
    int negative;        /* how many are of the negative prompt alone */
    bool guided;         /* row 0 is the negative prompt's */
    int rows;            /* of the denoiser for one picture */
    bl_text_row *row[2]; /* [pass][rows]; without a second pass as in the first one */
} bl_texts;

/* Reads both prompts, without adapters' tags. The caller frees with bl_texts_clear. BL_E_ARGUMENT,
 * BL_E_MEMORY. */
int bl_texts_read(bl_texts *out, const bl_request *r, const char *negative, const char *prompt,
                  bl_error *err);
void bl_texts_clear(bl_texts *texts);

/* The text that a row is told at a call of the denoiser. */
int bl_texts_at(const bl_texts *texts, int pass, int row, int call);

/* Is each row told one text throughout? */
bool bl_texts_constant(const bl_texts *texts);

/* Calls of a pass after which nothing changes any more. */
int bl_texts_calls(const bl_texts *texts, int pass);

#endif
