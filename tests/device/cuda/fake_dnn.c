/* cuDNN's backend: descriptors that hold what was set; a finalized plan is a program (fake_dnn.h). It has no
 * plan for convolutions of stride 2 and heads of more than 128 channels; the first engine that it proposes
 * does not repeat its bits, the second computes on tensor cores. */
#include "fake_dnn.h"

#include "core/dtype.h"

#include <string.h>

#define PROPERTIES "{\"fake\":1}" /* of the card */
#define ATTRIBUTES 16
#define NOT_SUPPORTED 3000
#define BAD 2000
#define BROKEN 4000

typedef struct attribute {
    bl_dnn_attr name;
    int64_t count;
    union {
        unsigned char bytes[64];
        int64_t i64[8];
        int32_t i32[16];
        void *pointer[8];
        float f32[8];
    } v;
} attribute;

typedef struct descriptor {
    bl_dnn_kind kind;
    bool final, ran;
    int count;
    attribute a[ATTRIBUTES];
    int engine;                /* of configurations, engines and plans */
    struct descriptor *origin; /* the graph that they are for */
    program p;                 /* of a plan */
} descriptor;

static const attribute *find(const descriptor *d, bl_dnn_attr name) {
    for (int i = 0; d && i < d->count; i++) {
        if (d->a[i].name == name) {
            return &d->a[i];
        }
    }
    return NULL;
}

static descriptor *child(const descriptor *d, bl_dnn_attr name, int at) {
    const attribute *a = find(d, name);
    return a && at < a->count ? a->v.pointer[at] : NULL;
}

static size_t size_of(bl_dnn_type type) {
    return type == BL_DNN_OF_BOOLEAN || type == BL_DNN_OF_CHAR ? 1
           : type == BL_DNN_OF_INT64 || type == BL_DNN_OF_POINTER || type == BL_DNN_OF_HANDLE ||
                   type == BL_DNN_OF_DESCRIPTOR
               ? 8
               : 4;
}

/* ---- descriptors */

static bl_dnn_status make(bl_dnn_kind kind, bl_dnn_descriptor *out) {
    *out = NULL;
    if (fake_fails()) {
        return BROKEN;
    }
    descriptor *d = *out = fake_new(sizeof *d);
    d->kind = kind;
    return 0;
}

static bl_dnn_status destroy(bl_dnn_descriptor d) {
    fake_free(d);
    return 0;
}

static bl_dnn_status set(bl_dnn_descriptor to, bl_dnn_attr name, bl_dnn_type type, int64_t count,
                         const void *elements) {
    descriptor *d = to;
    size_t bytes = (size_t)count * size_of(type);
    if (fake_fails()) {
        return BROKEN;
    }
    if (d && name == BL_DNN_PLAN_JSON && (size_t)count == sizeof d->p) {
        memcpy(&d->p, elements, sizeof d->p);
        return 0;
    }
    if (!d || d->final || d->count == ATTRIBUTES || count < 1 || bytes > sizeof d->a[0].v || find(d, name)) {
        return BAD;
    }
    attribute *a = &d->a[d->count++];
    a->name = name;
    a->count = count;
    memcpy(a->v.bytes, elements, bytes);
    for (int64_t i = 0; type == BL_DNN_OF_DESCRIPTOR && i < count; i++) {
        if (!a->v.pointer[i] || !((descriptor *)a->v.pointer[i])->final) {
            return BAD;
        }
    }
    return 0;
}

static bool has(const descriptor *d, const bl_dnn_attr *names, int count) {
    for (int i = 0; i < count; i++) {
        if (!find(d, names[i])) {
            return false;
        }
    }
    return true;
}
#define HAS(d, ...) \
    has(d, (const bl_dnn_attr[]){__VA_ARGS__}, sizeof((bl_dnn_attr[]){__VA_ARGS__}) / sizeof(bl_dnn_attr))

static bl_dnn_status is_supported(const descriptor *graph) {
    for (int i = 0; i < find(graph, BL_DNN_GRAPH_OPS)->count; i++) {
        const descriptor *op = child(graph, BL_DNN_GRAPH_OPS, i);
        if (op->kind == BL_DNN_KIND_OP_CONV &&
            find(child(op, BL_DNN_OP_CONV_DESC, 0), BL_DNN_CONV_STRIDES)->v.i64[0] != 1) {
            return NOT_SUPPORTED;
        }
        if (op->kind == BL_DNN_KIND_OP_SDPA &&
            find(child(op, BL_DNN_OP_SDPA_Q, 0), BL_DNN_TENSOR_DIMS)->v.i64[3] > 128) {
            return NOT_SUPPORTED;
        }
    }
    return 0;
}

/* ---- plans: as text they are their own bytes */

static int kept_plans, late_plans;

int fake_kept_plans(void) {
    return kept_plans;
}

int fake_late_plans(void) {
    return late_plans;
}

static tensor tensor_of(const descriptor *d) {
    tensor t = {.id = find(d, BL_DNN_TENSOR_ID)->v.i64[0],
                .bf16 = find(d, BL_DNN_TENSOR_TYPE)->v.i32[0] == BL_DNN_BF16,
                .alignment = find(d, BL_DNN_TENSOR_ALIGNMENT)->v.i64[0]};
    const attribute *is_virtual = find(d, BL_DNN_TENSOR_VIRTUAL), *by_value = find(d, BL_DNN_TENSOR_BY_VALUE);
    t.is_virtual = is_virtual && is_virtual->v.bytes[0];
    t.by_value = by_value && by_value->v.bytes[0];
    const attribute *dims = find(d, BL_DNN_TENSOR_DIMS), *strides = find(d, BL_DNN_TENSOR_STRIDES);
    for (int i = 0; dims && strides && i < 4; i++) {
        t.dims[i] = dims->v.i64[i];
        t.strides[i] = strides->v.i64[i];
    }
    return t;
}

static int number_of(program *p, const descriptor *d) {
    tensor t = tensor_of(d);
    for (int i = 0; i < p->tensors; i++) {
        if (p->t[i].id == t.id) {
            return i;
        }
    }
    p->t[p->tensors] = t;
    return p->tensors++;
}

static void add_operation(program *p, const descriptor *d) {
    operation o = {.kind = d->kind};
    if (d->kind == BL_DNN_KIND_OP_CONV) {
        const descriptor *how = child(d, BL_DNN_OP_CONV_DESC, 0);
        o.x = number_of(p, child(d, BL_DNN_OP_CONV_X, 0));
        o.w = number_of(p, child(d, BL_DNN_OP_CONV_W, 0));
        o.y = number_of(p, child(d, BL_DNN_OP_CONV_Y, 0));
        const attribute *stride = find(how, BL_DNN_CONV_STRIDES), *pre = find(how, BL_DNN_CONV_PRE);
        for (int i = 0; stride && pre && i < 2; i++) {
            o.stride[i] = stride->v.i64[i];
            o.pre[i] = pre->v.i64[i];
        }
    } else if (d->kind == BL_DNN_KIND_OP_POINTWISE) {
        o.x = number_of(p, child(d, BL_DNN_OP_POINTWISE_X, 0));
        o.w = number_of(p, child(d, BL_DNN_OP_POINTWISE_B, 0));
        o.y = number_of(p, child(d, BL_DNN_OP_POINTWISE_Y, 0));
    } else {
        o.x = number_of(p, child(d, BL_DNN_OP_SDPA_Q, 0));
        o.w = number_of(p, child(d, BL_DNN_OP_SDPA_K, 0));
        o.v = number_of(p, child(d, BL_DNN_OP_SDPA_V, 0));
        o.y = number_of(p, child(d, BL_DNN_OP_SDPA_O, 0));
        o.scale = number_of(p, child(d, BL_DNN_OP_SDPA_SCALE, 0));
    }
    p->op[p->ops++] = o;
}

static bl_dnn_status finalize(bl_dnn_descriptor to) {
    descriptor *d = to;
    bool good = true;
    if (fake_fails()) {
        return BROKEN;
    }
    switch ((int)d->kind) {
    case BL_DNN_KIND_TENSOR:
        good = HAS(d, BL_DNN_TENSOR_ID, BL_DNN_TENSOR_TYPE, BL_DNN_TENSOR_DIMS, BL_DNN_TENSOR_STRIDES,
                   BL_DNN_TENSOR_ALIGNMENT);
        break;
    case BL_DNN_KIND_CONV:
        good = HAS(d, BL_DNN_CONV_COMP_TYPE, BL_DNN_CONV_MODE, BL_DNN_CONV_DIMS, BL_DNN_CONV_DILATIONS,
                   BL_DNN_CONV_STRIDES, BL_DNN_CONV_PRE, BL_DNN_CONV_POST);
        break;
    case BL_DNN_KIND_OP_CONV:
        good = HAS(d, BL_DNN_OP_CONV_DESC, BL_DNN_OP_CONV_X, BL_DNN_OP_CONV_W, BL_DNN_OP_CONV_Y,
                   BL_DNN_OP_CONV_ALPHA, BL_DNN_OP_CONV_BETA);
        break;
    case BL_DNN_KIND_OP_POINTWISE:
        good = HAS(d, BL_DNN_OP_POINTWISE_DESC, BL_DNN_OP_POINTWISE_X, BL_DNN_OP_POINTWISE_B,
                   BL_DNN_OP_POINTWISE_Y);
        break;
    case BL_DNN_KIND_OP_SDPA:
        good = HAS(d, BL_DNN_OP_SDPA_Q, BL_DNN_OP_SDPA_K, BL_DNN_OP_SDPA_V, BL_DNN_OP_SDPA_O,
                   BL_DNN_OP_SDPA_SCALE);
        break;
    case BL_DNN_KIND_GRAPH:
        good = HAS(d, BL_DNN_GRAPH_OPS);
        break;
    case BL_DNN_KIND_ENGINE_HEUR:
        d->origin = child(d, BL_DNN_HEUR_GRAPH, 0);
        good = d->origin && (find(d->origin, BL_DNN_GRAPH_HANDLE) || find(d, BL_DNN_HEUR_PROPERTIES));
        return good ? is_supported(d->origin) : BAD; /* for a card that is here, or is described */
    case BL_DNN_KIND_PROPERTIES:
        good = find(d, BL_DNN_PROPERTIES_ID) ||
               (find(d, BL_DNN_PROPERTIES_JSON) &&
                !memcmp(find(d, BL_DNN_PROPERTIES_JSON)->v.bytes, PROPERTIES, strlen(PROPERTIES)));
        break;
    case BL_DNN_KIND_PLAN:
        late_plans += fake_is_stepping();
        if (d->p.ops && find(d, BL_DNN_PLAN_HANDLE)) {
            kept_plans++;
            break;
        }
        if (!HAS(d, BL_DNN_PLAN_HANDLE, BL_DNN_PLAN_CFG)) {
            return BAD;
        }
        d->p.engine = d->engine = child(d, BL_DNN_PLAN_CFG, 0)->engine;
        d->origin = child(d, BL_DNN_PLAN_CFG, 0)->origin;
        for (int i = 0; i < find(d->origin, BL_DNN_GRAPH_OPS)->count; i++) {
            add_operation(&d->p, child(d->origin, BL_DNN_GRAPH_OPS, i));
        }
        for (int i = 0; i < d->p.tensors; i++) { /* F32 does not go through tensor cores */
            good = good && (d->p.t[i].id != 1 || d->p.t[i].bf16 || d->engine == 2);
        }
        good = good && d->engine > 0;
        break;
    default:
        break;
    }
    d->final = good;
    return good ? 0 : BAD;
}

static bl_dnn_status get(bl_dnn_descriptor from, bl_dnn_attr name, bl_dnn_type type, int64_t room,
                         int64_t *count, void *elements) {
    descriptor *d = from, *const *given = elements;
    (void)type;
    if (fake_fails()) {
        return BROKEN;
    }
    switch ((int)name) {
    case BL_DNN_PLAN_JSON:
        *count = sizeof d->p;
        if (room) {
            memcpy(elements, &d->p, sizeof d->p);
        }
        return 0;
    case BL_DNN_PROPERTIES_JSON:
        *count = (int64_t)strlen(PROPERTIES);
        if (room) {
            memcpy(elements, PROPERTIES, strlen(PROPERTIES));
        }
        return 0;
    case BL_DNN_HEUR_RESULTS:
        *count = room < 3 ? room : 3;
        for (int i = 0; i < *count; i++) {
            given[i]->engine = i;
            given[i]->origin = d->origin;
            given[i]->final = true;
        }
        return 0;
    case BL_DNN_CFG_SCRATCH:
        *count = 1;
        *(int64_t *)elements = (int64_t)scratch_of(&(program){.engine = d->engine});
        return 0;
    case BL_DNN_CFG_ENGINE:
        given[0]->engine = d->engine;
        return 0;
    case BL_DNN_ENGINE_NOTES:
        *count = d->engine < 2;
        *(int32_t *)elements = d->engine ? BL_DNN_NOTE_TENSOR_CORE : BL_DNN_NOTE_NONDETERMINISTIC;
        return 0;
    case BL_DNN_PLAN_WORKSPACE:
        *count = 1;
        *(int64_t *)elements = (int64_t)scratch_of(&d->p);
        return 0;
    default:
        return BAD;
    }
}

/* ---- running a plan */

struct cudnnContext {
    bl_cu_stream stream;
};

static bl_dnn_status execute(bl_dnn_handle h, bl_dnn_descriptor plan, bl_dnn_descriptor pack) {
    descriptor *d = plan;
    const attribute *ids = find(pack, BL_DNN_PACK_IDS), *pointers = find(pack, BL_DNN_PACK_POINTERS),
                    *workspace = find(pack, BL_DNN_PACK_WORKSPACE);
    running r = {.p = d->p};
    if (fake_fails() || !d->final || !ids || !pointers || !workspace || ids->count != pointers->count) {
        return 5000;
    }
    r.workspace = workspace->v.pointer[0];
    for (int i = 0; i < r.p.tensors; i++) {
        const tensor *t = &r.p.t[i];
        void *found = NULL;
        for (int k = 0; k < ids->count; k++) {
            found = ids->v.i64[k] == t->id ? pointers->v.pointer[k] : found;
        }
        if ((!found && !t->is_virtual) || (uintptr_t)found % (uintptr_t)(t->by_value ? 4 : t->alignment)) {
            return BAD;
        }
        r.memory[i] = found;
        if (t->by_value) {
            memcpy(&r.scalar, found, sizeof r.scalar);
        }
    }
    if (!d->ran) { /* kernels are loaded now */
        fake_take_own(fake.script.lazy);
        d->ran = true;
    }
    return fake_put_kernel(h->stream, fake_dnn_run, &r, sizeof r) ? 5000 : 0;
}

static size_t version(void) {
    return 91900;
}

static const char *status_string(bl_dnn_status s) {
    return s == NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED" : "CUDNN_STATUS_SCRIPTED";
}

static bl_dnn_status create(bl_dnn_handle *out) {
    *out = NULL;
    if (fake_fails()) {
        return 1001;
    }
    *out = fake_new(sizeof **out);
    return 0;
}

static bl_dnn_status destroy_handle(bl_dnn_handle h) {
    fake_free(h);
    return 0;
}

static bl_dnn_status set_stream(bl_dnn_handle h, bl_cu_stream s) {
    h->stream = s;
    return fake_fails() ? BROKEN : 0;
}

const bl_cudnn fake_cudnn = {.cudnnGetVersion = version,
                             .cudnnGetErrorString = status_string,
                             .cudnnCreate = create,
                             .cudnnDestroy = destroy_handle,
                             .cudnnSetStream = set_stream,
                             .cudnnBackendCreateDescriptor = make,
                             .cudnnBackendDestroyDescriptor = destroy,
                             .cudnnBackendFinalize = finalize,
                             .cudnnBackendSetAttribute = set,
                             .cudnnBackendGetAttribute = get,
                             .cudnnBackendExecute = execute};
