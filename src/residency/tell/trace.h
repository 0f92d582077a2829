/* The ledger as a picture over time. */
#ifndef BALLAST_RESIDENCY_TRACE_H
#define BALLAST_RESIDENCY_TRACE_H

#include "residency/run/ledger.h"

#include <stdio.h>

/* Chrome trace events (JSON), which Perfetto opens: a lane each for compute, copies, waits and the host. `p`
 * gives the names. BL_E_IO when writing fails. */
int bl_ledger_trace(const bl_ledger *l, const bl_problem *p, FILE *file, bl_error *err);

#endif
