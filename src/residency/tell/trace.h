/* The ledger as a picture over time. */
#ifndef BALLAST_RESIDENCY_TRACE_H
#define BALLAST_RESIDENCY_TRACE_H

#include "residency/run/ledger.h"

#include <stdio.h>

/* Chrome trace events (JSON), which Perfetto opens, of one ledger after the other: a lane each for pictures,
 * compute, copies, loads, waits and the host. Where copies share the cores, compute waits for each of them.
 * What goes wrong with the file is said at the end. */
void bl_trace_begin(FILE *file);
/* `p` gives the names, `title` that of the whole; `offset`: seconds from the first ledger's begin to its own.
 */
void bl_trace_add(FILE *file, const bl_ledger *l, const bl_problem *p, double offset, const char *title);
/* Whether all was written the file knows: ferror. */
void bl_trace_end(FILE *file);

#endif
