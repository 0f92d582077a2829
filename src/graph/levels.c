#include "graph/levels.h"

#include "graph/apart.h"

/* A batch apart costs least: the same work in smaller pieces. */
const bl_level bl_levels[BL_LEVELS] = {
    {.apart = false, .folds = BL_FOLD_NOTHING},
    {.apart = true, .folds = BL_FOLD_NOTHING},
    {.apart = true, .folds = BL_FOLD_INPUTS},
    {.apart = true, .folds = BL_FOLD_PRODUCTS},
};

int bl_graph_at_level(bl_graph **out, const bl_graph *g, bl_level level, bl_error *err) {
    *out = NULL;
    bl_graph *folded = NULL, *apart = NULL;
    int rc = level.folds == BL_FOLD_NOTHING ? 0 : bl_graph_fold(&folded, g, level.folds, err);
    if (!rc && level.apart) {
        rc = bl_graph_apart(&apart, folded ? folded : g, err);
    }
    if (rc || apart) {
        bl_graph_free(&folded);
    }
    *out = apart ? apart : folded;
    return rc;
}
