#include "core/prediction.h"

const char *bl_prediction_name(bl_prediction prediction) {
    static const char *const names[BL_PREDICTION_COUNT] = {
        [BL_PREDICT_EPSILON] = "epsilon", [BL_PREDICT_V] = "v_prediction", [BL_PREDICT_FLOW] = "flow"};
    return names[prediction];
}
