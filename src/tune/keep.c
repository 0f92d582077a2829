#include "tune/keep.h"

int bl_tune_keep(bl_calibration *c, bl_tuned *entry, const bl_tune_search_result *found, bl_error *lost,
                 bl_error *err) {
    if (!found->kept) {
        return lost ? 0 : bl_tuned_drop(c, entry, err);
    }
    entry->untuned_seconds = found->start_seconds;
    entry->seconds = found->seconds;
    entry->psnr = found->psnr;
    int result = bl_tuned_keep(c, entry, lost ? lost : err);
    return lost ? 0 : result;
}
