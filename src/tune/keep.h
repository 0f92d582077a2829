/* What a search has found, kept. */
#ifndef BALLAST_TUNE_KEEP_H
#define BALLAST_TUNE_KEEP_H

#include "residency/run/tuned.h"
#include "tune/search.h"

/* Keeps `entry`, whose names and choices are there, with what was found; where nothing won, what an earlier
 * search has kept goes. With `lost` the search was stopped: then only what won counts, and where it cannot be
 * kept *lost says why and 0 is returned. */
int bl_tune_keep(bl_calibration *c, bl_tuned *entry, const bl_tune_search_result *found, bl_error *lost,
                 bl_error *err);

#endif
