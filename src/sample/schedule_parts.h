/* Between schedule.c and schedule_flow.c. */
#ifndef BALLAST_SAMPLE_SCHEDULE_PARTS_H
#define BALLAST_SAMPLE_SCHEDULE_PARTS_H

#include "sample/schedule.h"

/* A1111's t_enc: one less than the steps that its sigma samplers run. */
int bl_a1111_encode_step(const bl_schedule_options *o, int total);

/* The refusal of a strength of which nothing is left. */
int bl_schedule_no_step(const bl_schedule_options *o, bl_error *err);

/* Fills the list of a flow model: `total` steps, of which strength leaves a part. Of s the lists are there,
 * with room for them. */
int bl_schedule_fill_flow(bl_schedule *s, const bl_schedule_options *o, int total, bl_error *err);

#endif
