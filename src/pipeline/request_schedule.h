/* The noise levels that a request's passes walk. */
#ifndef BALLAST_PIPELINE_REQUEST_SCHEDULE_H
#define BALLAST_PIPELINE_REQUEST_SCHEDULE_H

#include "pipeline/request.h"

/* The list of the first or of the second pass of a request whose sizes, program and sampler are known; owner:
 * the caller, bl_schedule_free. Errors: those of bl_schedule_new; BL_E_UNSUPPORTED for a size that a flow
 * model's configuration gives no shift. */
int bl_request_schedule(bl_schedule **out, const bl_request *r, const bl_architecture *arch,
                        bl_schedule_id schedule, bl_schedule_id spacing, bool second, bl_error *err);

/* As bl_job_times, of a request. */
int bl_request_times(const bl_request *r, const bl_family *family, bool second);

#endif
