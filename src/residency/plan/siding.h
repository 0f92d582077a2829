/* Copies in two orders: what the host store has comes in the order of its runs, when it is due; what has to
 * be loaded is copied as soon as it has arrived, past the others, to a siding: a part of the window where it
 * waits for its run. So loads go on where a phase has all that it needs. */
#ifndef BALLAST_RESIDENCY_SIDING_H
#define BALLAST_RESIDENCY_SIDING_H

#include "residency/plan/pager.h"

/* As bl_march_plan, where every phase has homes and the same generation comes again. options->through: bytes
 * of each phase's window, from its arena on, that no block waits in. */
int bl_siding_plan(bool *fits, bl_plan *plan, const bl_problem *p, const bl_pager_options *options,
                   bl_error *err);

#endif
