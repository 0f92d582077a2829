/* Which blocks lie on the device, phase by phase, at the moment when most bytes do: in a phase of several
 * passes between its first and its last. */
#ifndef BALLAST_RESIDENCY_FULLEST_H
#define BALLAST_RESIDENCY_FULLEST_H

#include "residency/plan/plan.h"

#include <jansson.h>

/* Adds to a plan as data, whose "phases" are there:
 *
 *   "modules": [{"model", "module", "blocks": [[name, bytes], ...]}]: those of which something lies there,
 *              their blocks in the order in which they run;
 *   to each phase "held": [{"module", "first", "last", "streamed"}]: neighbours that lie there then, by the
 *              module's and the blocks' numbers in that list. "streamed": of the phase's own module, brought
 *              in again for later passes.
 *
 * false: no memory. */
bool bl_fullest_add(json_t *root, const bl_plan *plan, const bl_problem *p);

#endif
