#include "device/cuda/dnn.h"
#include "device/cuda/internal.h"
#include "device/cuda/keep.h"

#include <stdlib.h>
#include <string.h>

#define CANDIDATES 16

bl_dnn_descriptor bl_dnn_make(bl_dnn_graph *g, bl_dnn_kind kind, const char *what) {
    bl_dnn_descriptor d = NULL;
    if (g->status || g->count == BL_DNN_MOST) {
        return NULL;
    }
    g->what = what;
    g->status = g->dnn->cudnnBackendCreateDescriptor(kind, &d);
    if (!g->status) {
        g->made[g->count++] = d;
    }
    return d;
}

void bl_dnn_set(bl_dnn_graph *g, bl_dnn_descriptor d, bl_dnn_attr name, bl_dnn_type type, int64_t count,
                const void *elements) {
    if (!g->status) {
        g->status = g->dnn->cudnnBackendSetAttribute(d, name, type, count, elements);
    }
}

void bl_dnn_set_tensor(bl_dnn_graph *g, bl_dnn_descriptor d, bl_dnn_attr name, bl_dnn_descriptor tensor) {
    bl_dnn_set(g, d, name, BL_DNN_OF_DESCRIPTOR, 1, &tensor);
}

void bl_dnn_finalize(bl_dnn_graph *g, bl_dnn_descriptor d) {
    if (!g->status) {
        g->status = g->dnn->cudnnBackendFinalize(d);
    }
}

bl_dnn_descriptor bl_dnn_tensor(bl_dnn_graph *g, int64_t id, int64_t dtype, const int64_t *dims,
                                const int64_t *strides, int64_t alignment) {
    bl_dnn_descriptor d = bl_dnn_make(g, BL_DNN_KIND_TENSOR, "a tensor");
    int32_t type = id && dtype == BL_BF16 ? BL_DNN_BF16 : BL_DNN_F32;
    bool is_virtual = !id;
    int64_t own = id ? id : 1000 + g->count;
    bl_dnn_set(g, d, BL_DNN_TENSOR_TYPE, BL_DNN_OF_DATA_TYPE, 1, &type);
    bl_dnn_set(g, d, BL_DNN_TENSOR_DIMS, BL_DNN_OF_INT64, 4, dims);
    bl_dnn_set(g, d, BL_DNN_TENSOR_STRIDES, BL_DNN_OF_INT64, 4, strides);
    bl_dnn_set(g, d, BL_DNN_TENSOR_ID, BL_DNN_OF_INT64, 1, &own);
    bl_dnn_set(g, d, BL_DNN_TENSOR_ALIGNMENT, BL_DNN_OF_INT64, 1, &alignment);
    bl_dnn_set(g, d, BL_DNN_TENSOR_VIRTUAL, BL_DNN_OF_BOOLEAN, 1, &is_virtual);
    bl_dnn_finalize(g, d);
    return d;
}

bl_dnn_descriptor bl_dnn_scalar(bl_dnn_graph *g, int64_t id) {
    static const int64_t ones[4] = {1, 1, 1, 1}, alignment = 4;
    static const int32_t type = BL_DNN_F32;
    static const bool yes = true;
    bl_dnn_descriptor d = bl_dnn_make(g, BL_DNN_KIND_TENSOR, "a scalar");
    bl_dnn_set(g, d, BL_DNN_TENSOR_TYPE, BL_DNN_OF_DATA_TYPE, 1, &type);
    bl_dnn_set(g, d, BL_DNN_TENSOR_DIMS, BL_DNN_OF_INT64, 4, ones);
    bl_dnn_set(g, d, BL_DNN_TENSOR_STRIDES, BL_DNN_OF_INT64, 4, ones);
    bl_dnn_set(g, d, BL_DNN_TENSOR_ID, BL_DNN_OF_INT64, 1, &id);
    bl_dnn_set(g, d, BL_DNN_TENSOR_ALIGNMENT, BL_DNN_OF_INT64, 1, &alignment);
    bl_dnn_set(g, d, BL_DNN_TENSOR_BY_VALUE, BL_DNN_OF_BOOLEAN, 1, &yes);
    bl_dnn_finalize(g, d);
    return d;
}

void bl_dnn_op(bl_dnn_graph *g, bl_dnn_descriptor op) {
    bl_dnn_finalize(g, op);
    if (!g->status) {
        g->ops[g->op_count++] = op;
    }
}

void bl_dnn_add(bl_dnn_graph *g, bl_dnn_descriptor a, bl_dnn_descriptor b, bl_dnn_descriptor y) {
    static const int32_t mode = BL_DNN_ADD, precision = BL_DNN_F32;
    bl_dnn_descriptor how = bl_dnn_make(g, BL_DNN_KIND_POINTWISE, "an addition");
    bl_dnn_set(g, how, BL_DNN_POINTWISE_MODE, BL_DNN_OF_POINTWISE, 1, &mode);
    bl_dnn_set(g, how, BL_DNN_POINTWISE_PREC, BL_DNN_OF_DATA_TYPE, 1, &precision);
    bl_dnn_finalize(g, how);
    bl_dnn_descriptor op = bl_dnn_make(g, BL_DNN_KIND_OP_POINTWISE, "an addition");
    bl_dnn_set_tensor(g, op, BL_DNN_OP_POINTWISE_DESC, how);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_POINTWISE_X, a);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_POINTWISE_B, b);
    bl_dnn_set_tensor(g, op, BL_DNN_OP_POINTWISE_Y, y);
    bl_dnn_op(g, op);
}

bl_dnn_descriptor bl_dnn_operations(bl_dnn_graph *g) {
    bl_dnn_descriptor d = bl_dnn_make(g, BL_DNN_KIND_GRAPH, "a graph of operations");
    if (g->c && g->c->dnn) {
        bl_dnn_set(g, d, BL_DNN_GRAPH_HANDLE, BL_DNN_OF_HANDLE, 1, &g->c->dnn);
    }
    bl_dnn_set(g, d, BL_DNN_GRAPH_OPS, BL_DNN_OF_DESCRIPTOR, g->op_count, g->ops);
    bl_dnn_finalize(g, d);
    return d;
}

void bl_dnn_free(bl_dnn_graph *g) {
    while (g->count) {
        g->dnn->cudnnBackendDestroyDescriptor(g->made[--g->count]);
    }
}

/* "This graph is none of mine", in one of cuDNN's ways of saying so, or an engine whose kernels it cannot
 * compile or that it takes for broken: the same answer each time. All else is a failure: to go on with what
 * comes next would be to let it choose the bits. */
static bool is_a_no(bl_dnn_status status) {
    return (status >= 2000 && status < 4000) || status == BL_DNN_NOT_COMPILED ||
           status == BL_DNN_UNEXPECTED_VALUE;
}

/* Does an engine repeat its bits, and keep to the types of its inputs? */
static bool is_wanted(bl_dnn_graph *g, bl_dnn_descriptor configuration, bool f32) {
    bl_dnn_descriptor engine = NULL;
    int32_t notes[BL_DNN_NOTE_COUNT] = {0};
    int64_t count = 0;
    g->what = "asking an engine";
    g->status = g->dnn->cudnnBackendCreateDescriptor(BL_DNN_KIND_ENGINE, &engine);
    if (g->status) {
        return false;
    }
    g->status = g->dnn->cudnnBackendGetAttribute(configuration, BL_DNN_CFG_ENGINE, BL_DNN_OF_DESCRIPTOR, 1,
                                                 &count, &engine);
    if (!g->status) {
        g->status = g->dnn->cudnnBackendGetAttribute(engine, BL_DNN_ENGINE_NOTES, BL_DNN_OF_NOTE,
                                                     BL_DNN_NOTE_COUNT, &count, notes);
    }
    bool wanted = !g->status;
    for (int64_t i = 0; i < count && i < BL_DNN_NOTE_COUNT && wanted; i++) {
        int32_t n = notes[i];
        wanted = n != BL_DNN_NOTE_NONDETERMINISTIC && n != BL_DNN_NOTE_REDUCED && n != BL_DNN_NOTE_WINOGRAD &&
                 n != BL_DNN_NOTE_FFT &&
                 !(f32 && (n == BL_DNN_NOTE_TENSOR_CORE || n == BL_DNN_NOTE_DOWN_CONVERT));
    }
    g->dnn->cudnnBackendDestroyDescriptor(engine);
    return wanted;
}

/* A plan from one configuration, or NULL where it is none, or wants more scratch than there is. */
static bl_dnn_descriptor plan_of(bl_dnn_graph *g, bl_dnn_descriptor configuration,
                                 uint64_t *workspace_bytes) {
    const bl_cudnn *dnn = g->dnn;
    bl_dnn_descriptor plan = NULL;
    int64_t bytes = 0, count = 0;
    g->what = "making a plan";
    g->status = dnn->cudnnBackendCreateDescriptor(BL_DNN_KIND_PLAN, &plan);
    bl_dnn_set(g, plan, BL_DNN_PLAN_HANDLE, BL_DNN_OF_HANDLE, 1, &g->c->dnn);
    bl_dnn_set_tensor(g, plan, BL_DNN_PLAN_CFG, configuration);
    bl_dnn_finalize(g, plan);
    if (!g->status) {
        g->status =
            dnn->cudnnBackendGetAttribute(plan, BL_DNN_PLAN_WORKSPACE, BL_DNN_OF_INT64, 1, &count, &bytes);
    }
    if (g->status || bytes < 0 || bytes > (int64_t)BL_CUDA_WORKSPACE) {
        if (plan) {
            dnn->cudnnBackendDestroyDescriptor(plan);
        }
        return NULL;
    }
    *workspace_bytes = (uint64_t)bytes;
    return plan;
}

/* The configurations that cuDNN's decision tree proposes, best first. */
static int64_t propose(bl_dnn_graph *g, bl_dnn_descriptor *configurations) {
    static const int32_t mode = BL_DNN_HEUR_A;
    int64_t count = 0;
    bl_dnn_descriptor operations = bl_dnn_operations(g);
    bl_dnn_descriptor heuristics = bl_dnn_make(g, BL_DNN_KIND_ENGINE_HEUR, "the choice of an engine");
    bl_dnn_set_tensor(g, heuristics, BL_DNN_HEUR_GRAPH, operations);
    bl_dnn_set(g, heuristics, BL_DNN_HEUR_MODE, BL_DNN_OF_HEUR_MODE, 1, &mode);
    if (g->c->planning) {
        bl_dnn_set_tensor(g, heuristics, BL_DNN_HEUR_PROPERTIES, g->c->properties);
    }
    bl_dnn_finalize(g, heuristics);
    for (int i = 0; i < CANDIDATES && !g->status; i++) {
        g->status = g->dnn->cudnnBackendCreateDescriptor(BL_DNN_KIND_ENGINE_CFG, &configurations[i]);
    }
    if (!g->status) {
        g->status = g->dnn->cudnnBackendGetAttribute(heuristics, BL_DNN_HEUR_RESULTS, BL_DNN_OF_DESCRIPTOR,
                                                     CANDIDATES, &count, configurations);
    }
    return g->status ? 0 : count < CANDIDATES ? count : CANDIDATES;
}

/* Making plans can take cuDNN seconds each, as it compiles kernels: they are kept by all that they hang on.
 */
static uint64_t kept_key(const bl_cuda *c, uint64_t key, int choice) {
    key = bl_cuda_hash(key, &choice, sizeof choice);
    key = bl_cuda_hash(key, c->name, strlen(c->name)); /* with the libraries' versions */
    return bl_cuda_hash(key, &c->libs->driver, sizeof c->libs->driver);
}

static bl_dnn_descriptor kept_plan(bl_cuda *c, uint64_t key, uint64_t *workspace_bytes) {
    bl_cuda_kept text;
    bl_dnn_graph g = {.c = c, .dnn = &c->libs->dnn};
    int64_t bytes = -1, count = 0;
    if (!bl_cuda_keep_read(&text, key, "plan")) {
        return NULL;
    }
    bl_dnn_descriptor plan = bl_dnn_make(&g, BL_DNN_KIND_PLAN, "a kept plan");
    bl_dnn_set(&g, plan, BL_DNN_PLAN_HANDLE, BL_DNN_OF_HANDLE, 1, &c->dnn);
    bl_dnn_set(&g, plan, BL_DNN_PLAN_JSON, BL_DNN_OF_CHAR, (int64_t)text.count, text.bytes);
    bl_dnn_finalize(&g, plan);
    free(text.bytes);
    if (!g.status) {
        g.status =
            g.dnn->cudnnBackendGetAttribute(plan, BL_DNN_PLAN_WORKSPACE, BL_DNN_OF_INT64, 1, &count, &bytes);
    }
    if (g.status || bytes < 0 || bytes > (int64_t)BL_CUDA_WORKSPACE) {
        bl_dnn_free(&g);
        return NULL;
    }
    *workspace_bytes = (uint64_t)bytes;
    return plan;
}

static void keep_plan(const bl_cudnn *dnn, bl_dnn_descriptor plan, uint64_t key) {
    int64_t bytes = 0;
    bl_cuda_kept text = {0};
    if (dnn->cudnnBackendGetAttribute(plan, BL_DNN_PLAN_JSON, BL_DNN_OF_CHAR, 0, &bytes, NULL) ||
        bytes <= 0 || !(text.bytes = calloc((size_t)bytes + 1, 1))) {
        return;
    }
    text.count = (size_t)bytes;
    if (!dnn->cudnnBackendGetAttribute(plan, BL_DNN_PLAN_JSON, BL_DNN_OF_CHAR, bytes, &bytes, text.bytes)) {
        bl_cuda_keep_write(&text, key, "plan");
    }
    free(text.bytes);
}

/* Whether a configuration keeps to the scratch that there is; *bytes of it. To finalize a plan cuDNN loads
 * kernels into a card: where there is none, this is all that is asked. */
static bool fits(bl_dnn_graph *g, bl_dnn_descriptor configuration, uint64_t *bytes) {
    int64_t scratch = -1, count = 0;
    g->what = "asking for scratch";
    g->status = g->dnn->cudnnBackendGetAttribute(configuration, BL_DNN_CFG_SCRATCH, BL_DNN_OF_INT64, 1,
                                                 &count, &scratch);
    *bytes = (uint64_t)scratch;
    return !g->status && scratch >= 0 && scratch <= (int64_t)BL_CUDA_WORKSPACE;
}

/* Of cuDNN's proposals that are wanted and work number out->choice, or the last before it: then out->choice
 * is that one. */
static void choose(bl_dnn_plan_made *out, bl_dnn_graph *g, bool f32) {
    bl_dnn_descriptor configurations[CANDIDATES] = {NULL};
    int64_t count = propose(g, configurations);
    int found = -1;
    for (int64_t i = 0; i < count && found < out->choice && (!g->status || is_a_no(g->status)); i++) {
        bl_dnn_descriptor next = NULL;
        uint64_t bytes = 0;
        bool works = is_wanted(g, configurations[i], f32);
        if (works && g->c->planning) {
            works = fits(g, configurations[i], &bytes);
        } else if (works) {
            next = plan_of(g, configurations[i], &bytes);
            works = next != NULL;
        }
        if (works && out->plan) {
            g->dnn->cudnnBackendDestroyDescriptor(out->plan);
        }
        if (works) {
            out->plan = next;
            out->workspace_bytes = bytes;
            found++;
        }
    }
    out->exists = found >= 0;
    out->choice = found > 0 ? found : 0;
    for (int i = 0; i < CANDIDATES; i++) {
        if (configurations[i]) {
            g->dnn->cudnnBackendDestroyDescriptor(configurations[i]);
        }
    }
}

int bl_dnn_plan(bl_dnn_plan_made *out, bl_dnn_graph *g, bool f32, const char *what, uint64_t key,
                bl_error *err) {
    bl_cuda *c = g->c;
    *out = (bl_dnn_plan_made){.choice = bl_cuda_chosen(c, key)};
    uint64_t keep = kept_key(c, key, out->choice);
    out->plan = c->planning ? NULL : kept_plan(c, keep, &out->workspace_bytes);
    out->exists = out->plan != NULL;
    if (!out->exists) {
        choose(out, g, f32);
    }
    bl_dnn_free(g);
    if (g->status && !is_a_no(g->status) && !out->exists) {
        return bl_cuda_check_dnn(c, g->status, g->what, err);
    }
    if (out->plan) {
        keep_plan(g->dnn, out->plan, keep);
    } else if (!out->exists) {
        bl_log_line(c->head.log, BL_LOG_DEBUG, "cuda: cuDNN has no plan for %s (%s: %s), so products do it",
                    what, g->what ? g->what : "", g->dnn->cudnnGetErrorString(g->status));
    }
    return 0;
}

int bl_dnn_execute(bl_cuda *c, bl_dnn_descriptor plan, const bl_cu_pointer *tensors, int count,
                   const float *scalar, bl_cu_pointer workspace, const char *what, bl_error *err) {
    bl_dnn_graph g = {.c = c, .dnn = &c->libs->dnn};
    int64_t ids[8];
    void *pointers[8], *scratch = bl_cuda_workspace_at(workspace);
    union {
        const float *in;
        void *out;
    } value = {.in = scalar}; /* only read */
    for (int i = 0; i < count; i++) {
        ids[i] = i + 1;
        pointers[i] = (void *)(uintptr_t)tensors[i];
    }
    if (scalar) {
        ids[count] = count + 1;
        pointers[count++] = value.out;
    }
    bl_dnn_descriptor pack = bl_dnn_make(&g, BL_DNN_KIND_PACK, what);
    bl_dnn_set(&g, pack, BL_DNN_PACK_POINTERS, BL_DNN_OF_POINTER, count, pointers);
    bl_dnn_set(&g, pack, BL_DNN_PACK_IDS, BL_DNN_OF_INT64, count, ids);
    bl_dnn_set(&g, pack, BL_DNN_PACK_WORKSPACE, BL_DNN_OF_POINTER, 1, &scratch);
    bl_dnn_finalize(&g, pack);
    if (!g.status) {
        g.status = g.dnn->cudnnBackendExecute(c->dnn, plan, pack);
    }
    bl_dnn_free(&g);
    return bl_cuda_check_dnn(c, g.status, what, err);
}
