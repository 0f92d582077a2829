#include "sample/precondition.h"

#include <math.h>

static bl_precondition epsilon(double sigma) {
    return (bl_precondition){.in = 1 / sqrt(sigma * sigma + 1), .skip = 1, .out = -sigma};
}

/* v = (noise - sigma x0) / sqrt(sigma^2 + 1) (Salimans and Ho 2022) */
static bl_precondition velocity(double sigma) {
    return (bl_precondition){.in = 1 / sqrt(sigma * sigma + 1),
                             .skip = 1 / (sigma * sigma + 1),
                             .out = -sigma / sqrt(sigma * sigma + 1)};
}

/* x = (1 - sigma) x0 + sigma noise, v = noise - x0 */
static bl_precondition flow(double sigma) {
    return (bl_precondition){.in = 1, .skip = 1, .out = -sigma};
}

bl_precondition bl_precondition_at(bl_prediction prediction, double sigma) {
    static bl_precondition (*const table[BL_PREDICTION_COUNT])(double) = {
        [BL_PREDICT_EPSILON] = epsilon, [BL_PREDICT_V] = velocity, [BL_PREDICT_FLOW] = flow};
    return table[prediction](sigma);
}
