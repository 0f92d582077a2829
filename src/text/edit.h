/* Prompts that change while a picture is made, as A1111 reads them: a prompt becomes parts, and each part a
 * list of texts, one after the other. What a text means by itself is in emphasis.h. */
#ifndef BALLAST_TEXT_EDIT_H
#define BALLAST_TEXT_EDIT_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

/* Deeper brackets are text. */
#define BL_EDIT_DEPTH 200

/* One of the prompts that AND joins. */
typedef struct bl_subprompt {
    const char *text; /* borrowed; not NUL-terminated */
    size_t length;
    double weight; /* 1 unless it ends in ":1.2" */
} bl_subprompt;

/* Splits a prompt at each AND that is a word of its own, whatever brackets there are. *parts: [*count], at
 * least one, freed by the caller. BL_E_ARGUMENT (a weight beyond +-1000), BL_E_MEMORY. */
int bl_subprompts_split(bl_subprompt **parts, int *count, const char *text, size_t bytes, bl_error *err);

/* Until which step a text holds. */
typedef struct bl_edit {
    int end;
    size_t start, length; /* in bl_edits.text */
} bl_edit;

typedef struct bl_edits {
    bl_edit *list; /* [count], owned, by their ends; no two neighbours are alike */
    int count;     /* at least 1 */
    char *text;    /* owned; not NUL-terminated */
} bl_edits;

/* What a part is at each step of a pass:
 *   [to:when] [from::when] [from:to:when]   until step `when`, and behind it
 *   [a|b|c]                                 each in turn, a step each
 *   (text), (text:1.2), [text]              as they stand, with what is edited in them
 *   \[ and its like                         as they stand
 * A `when` with a point is a fraction of the pass's steps: 0 to 1 of the first pass, 1 to 2 of the second,
 * whose whole numbers count on from the first one's. A bracket that belongs to nothing is text; a | that
 * stands in no alternation, or a backslash with nothing behind it, makes all of it text.
 *
 * `steps`: of the pass; `before`: those of the first pass, where this is the second, else -1. The caller
 * frees with bl_edits_clear. BL_E_MEMORY. */
int bl_edits_read(bl_edits *out, const bl_subprompt *part, int steps, int before, bl_error *err);
void bl_edits_clear(bl_edits *edits);

/* Which of `count` edits with these ends holds at the denoiser's call number `call` (0, 1, ...) of the pass.
 * A1111 compares that number with the ends, so that the first lasts a call longer; behind the last end comes
 * the first edit again. */
int bl_edits_at(const int *ends, int count, int call);

#endif
