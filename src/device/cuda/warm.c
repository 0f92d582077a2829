/* Plans run once before memory is laid out. CUDA loads a library's kernels into the card's memory when they
 * run for the first time: a region that took everything would make them fail then, and loading can make
 * streams wait for each other. All that an op reads and writes lies at one address of a scratch as large as
 * the largest of it; nobody reads what comes out. */
#include "device/cuda/internal.h"

#include <stdlib.h>
#include <string.h>

/* Whether the op has nothing to do with the host but for a table. */
static bool is_inside(const bl_op *op) {
    return op->kind != BL_OP_IMPORT && op->kind != BL_OP_EXPORT && op->kind != BL_OP_SINUSOID &&
           op->kind != BL_OP_EMBED && op->kind != BL_OP_TAKE_ROW;
}

uint64_t bl_cuda_footprint(const bl_executable *x, int op) {
    const bl_op *o = &x->graph->ops[op];
    uint64_t most = x->steps[op].scratch_bytes;
    const bl_tensor_id tensors[] = {o->in[0], o->in[1], o->in[2], o->out};
    const bl_weight_id weights[] = {o->weight, o->weight2};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        uint64_t bytes = tensors[i] == BL_NONE ? 0 : bl_tensor_bytes(&x->graph->tensors[tensors[i]]);
        most = bytes > most ? bytes : most;
    }
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        const bl_cuda_weight *w = weights[i] == BL_NONE ? NULL : &x->module->weights[weights[i]];
        uint64_t bytes = w ? w->row_bytes * (uint64_t)w->weight.shape[0] : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

int bl_cuda_run_at(bl_executable *x, int op, bl_cu_pointer at, bl_error *err) {
    bl_cuda *c = x->module->c;
    bl_cuda_running r = {.c = c,
                         .x = x,
                         .stream = c->stream[BL_STREAM_COMPUTE],
                         .element = bl_dtype_size(x->graph->dtype),
                         .only = at};
    return bl_cuda_run_op(&r, op, err);
}

/* Notes that a plan was run; whether it was not before. 0: there is none. */
static bool is_new(bl_cuda *c, int number) {
    if (number >= c->ran_room) {
        int room = number + 256;
        unsigned char *more = realloc(c->ran, (size_t)room);
        if (!more) {
            return number > 0; /* once more does no harm */
        }
        memset(more + c->ran_room, 0, (size_t)(room - c->ran_room));
        c->ran = more;
        c->ran_room = room;
    }
    bool was = c->ran[number];
    c->ran[number] = 1;
    return number > 0 && !was;
}

static bool has_new(bl_cuda *c, const bl_cuda_step *s) {
    bool product = is_new(c, s->product ? s->product->number : 0);
    bool rest = is_new(c, s->rest ? s->rest->number : 0);
    bool conv = is_new(c, s->conv ? s->conv->number : 0);
    bool attention = is_new(c, s->attention ? s->attention->number : 0);
    return product || rest || conv || attention;
}

/* Whether the op makes a weight wide by a kernel that was not run before. Notes that it is. */
static bool widens_anew(bl_cuda *c, const bl_executable *x, const bl_op *op) {
    const bl_cuda_weight *p = bl_cuda_small_weight(x, op);
    bool anew = false;
    for (int i = 0; p && i < p->weight.parts; i++) {
        bool *ran = &c->widened[x->graph->dtype == BL_BF16][p->small.form[i].rotation != 0];
        anew = anew || !*ran;
        *ran = true;
    }
    return anew;
}

static int run_all(bl_executable *x, const unsigned char *wanted, bl_cu_pointer at, bl_error *err) {
    bl_cuda *c = x->module->c;
    const bl_cuda_driver *cu = &c->libs->cu;
    int rc = bl_cuda_check_dnn(c, c->libs->dnn.cudnnSetStream(c->dnn, c->stream[BL_STREAM_COMPUTE]),
                               "a stream", err);
    bl_cuda_work(c, BL_STREAM_COMPUTE);
    for (int i = 0; i < x->graph->op_count && !rc; i++) {
        rc = wanted[i] ? bl_cuda_run_at(x, i, at, err) : 0;
    }
    int waited = bl_cuda_check(c, cu->cuStreamSynchronize(c->stream[BL_STREAM_COMPUTE]), "a first run",
                               rc ? NULL : err);
    return rc ? rc : waited;
}

void bl_cuda_note_own(bl_cuda *c) {
    size_t left = 0, all = 0;
    if (!c->libs->cu.cuMemGetInfo(&left, &all)) {
        uint64_t held = left + c->region_bytes;
        uint64_t own = c->first_free > held ? c->first_free - held : 0;
        c->own_bytes = own > c->own_bytes ? own : c->own_bytes;
    }
}

int bl_cuda_warm(bl_executable *x, bl_error *err) {
    bl_cuda *c = x->module->c;
    const bl_cuda_driver *cu = &c->libs->cu;
    int which = x->graph->dtype == BL_BF16, count = x->graph->op_count;
    uint64_t most = 0;
    bl_cu_pointer at = 0;
    bool kinds[BL_OP_KIND_COUNT] = {false};
    unsigned char *wanted = calloc((size_t)count + 1, 1);
    if (!wanted) {
        return bl_fail_memory(err, "preparing a graph", (uint64_t)count);
    }
    for (int i = 0; i < count; i++) {
        const bl_op *op = &x->graph->ops[i];
        bool first = !c->kernels_ran[which] && !kinds[op->kind];
        bool plan = has_new(c, &x->steps[i]), widens = widens_anew(c, x, op);
        if (is_inside(op) && (plan || widens || first)) {
            kinds[op->kind] = true;
            uint64_t bytes = bl_cuda_footprint(x, i);
            most = bytes > most ? bytes : most;
            wanted[i] = 1;
        }
    }
    int rc = 0;
    if (most && !cu->cuMemAlloc(&at, most)) {
        rc = run_all(x, wanted, at, err);
        cu->cuMemFree(at);
        c->kernels_ran[which] = true;
        bl_cuda_note_own(c);
    } else if (most) {
        bl_log_line(c->head.log, BL_LOG_DEBUG, "cuda: no memory to run new plans once beforehand");
        free(c->ran);
        c->ran = NULL;
        c->ran_room = 0;
        memset(c->widened, 0, sizeof c->widened);
    }
    free(wanted);
    return rc;
}
