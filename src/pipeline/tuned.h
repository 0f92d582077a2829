/* What was tuned of a model's graphs: looked up when a phase is declared, judged when a generation has ended.
 */
#ifndef BALLAST_PIPELINE_TUNED_H
#define BALLAST_PIPELINE_TUNED_H

#include "pipeline/generation.h"
#include "residency/run/tuned.h"
#include "residency/tell/hints.h"

/* The names under which a graph's entry is kept; the rest is 0. */
void bl_tuned_names(bl_tuned *out, const bl_modules *m, bl_module module, bl_shape_key key);

/* The choices that this graph runs with; none were made where it was not tuned. What the user has chosen is
 * left out, and more than two threads a processor, which no machine like this one has found. *without
 * becomes true where this time it goes without those that are on trial; NULL: it is not judged afterwards,
 * and has them. */
void bl_tuned_choices(bl_tuning *out, bool *without, const bl_modules *m, bl_module module, bl_shape_key key);

/* Says, once for a model, that its generation runs with what was tuned. */
void bl_tuned_tell(bl_generation *g);

/* Where nothing was tuned for the generation's denoiser, but for another size of it, where it gained: how
 * much that would be here, if it is worth a word; else *out stays as it is. */
void bl_tuned_hint(bl_hint *out, const bl_generation *g, double wall_seconds);

/* Holds the ledger of a generation that has ended against the entries that it ran with; one that turned out
 * slower is dropped, and that is said. */
void bl_tuned_judge(const bl_generation *g);

#endif
