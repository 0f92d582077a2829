/* What a denoiser's output says, under the names that checkpoints, settings and reports share. */
#ifndef BALLAST_CORE_PREDICTION_H
#define BALLAST_CORE_PREDICTION_H

typedef enum bl_prediction {
    BL_PREDICT_EPSILON,
    BL_PREDICT_V,
    BL_PREDICT_FLOW, /* the velocity of flow matching: sample/flow.h */
    BL_PREDICTION_COUNT
} bl_prediction;

/* "epsilon", "v_prediction", "flow". Static storage. */
const char *bl_prediction_name(bl_prediction prediction);

#endif
