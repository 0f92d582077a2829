/* Whose turn it is: one call at a time on a context and its models. */
#include "api/api.h"

#include "core/parallel.h"

#include <unistd.h>

/* Its address is another one in each thread. */
static _Thread_local char this_thread;

bool bl_turn_is_ours(const ballast_context *context) {
    return context->process == getpid() && atomic_load(&context->worker) == &this_thread;
}

int bl_turn_begin(bl_turn *turn, ballast_context *context, ballast_model *model, const char *what,
                  bl_error *err) {
    const void *worker = NULL;
    if (context->process != getpid()) {
        return bl_fail(
            err, BL_E_ARGUMENT,
            "%s: this context was opened before fork(), by process %ld; a child opens one of its own", what,
            (long)context->process);
    }
    if (!atomic_compare_exchange_strong(&context->worker, &worker, &this_thread)) {
        return bl_fail(
            err, BL_E_BUSY,
            worker == &this_thread
                ? "%s: called from a callback of a call that is still at work on this context; return "
                  "from it first (ballast_cancel stops it)"
                : "%s: another thread's call is at work on this context; one at a time, or a context "
                  "for each thread",
            what);
    }
    *turn = (bl_turn){context, model, bl_threads()};
    int result = model ? bl_start_threads(context->threads, err) : 0; /* closing must not fail for that */
    if (result) {
        bl_set_threads(turn->threads_before);
        atomic_store(&context->worker, NULL);
        return result;
    }
    if (model) {
        atomic_store(&model->stop, BL_WORKING);
    }
    return 0;
}

void bl_turn_end(bl_turn *turn) {
    if (turn->model) {
        atomic_store(&turn->model->stop, BL_IDLE);
    }
    bl_pin_threads(0);
    bl_rest_threads(false);
    bl_set_threads(turn->threads_before);
    atomic_store(&turn->context->worker, NULL);
}

int ballast_cancel(ballast_model *model) {
    int state = BL_WORKING;
    return model &&
           (atomic_compare_exchange_strong(&model->stop, &state, BL_STOPPING) || state == BL_STOPPING);
}
