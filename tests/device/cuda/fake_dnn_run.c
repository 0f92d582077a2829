/* What cuDNN's fake computes: convolutions, additions and attention in plain C, on tensors of F32. */
#include "fake_dnn.h"

#include <math.h>
#include <string.h>

static int64_t dense_size(const tensor *t) {
    return t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
}

/* Element (i1, i2, i3); an axis of one element is the same everywhere. */
static float at(const tensor *t, int64_t i1, int64_t i2, int64_t i3) {
    i1 = t->dims[1] > 1 ? i1 : 0;
    i2 = t->dims[2] > 1 ? i2 : 0;
    i3 = t->dims[3] > 1 ? i3 : 0;
    return t->dense[(i2 * t->dims[3] + i3) * t->dims[1] + i1];
}

/* Between the tensor's own memory and its dense form. */
static void carry(tensor *t, void *memory, bool out) {
    float *dense = t->dense;
    for (int64_t i = 0; i < t->dims[0] * t->dims[2] * t->dims[3]; i++) {
        int64_t x = i % t->dims[3], y = i / t->dims[3];
        int64_t from = y / t->dims[2] * t->strides[0] + y % t->dims[2] * t->strides[2] + x * t->strides[3];
        for (int64_t c = 0; c < t->dims[1]; c++, dense++) {
            if (out) {
                fake_store(memory, t->bf16, from + c * t->strides[1], *dense);
            } else {
                *dense = fake_load(memory, t->bf16, from + c * t->strides[1]);
            }
        }
    }
}

static void convolve(const operation *o, tensor *t) {
    tensor *x = &t[o->x], *w = &t[o->w], *y = &t[o->y];
    int64_t c = w->dims[1], kh = w->dims[2], kw = w->dims[3], k = kh * kw * c,
            pixels = y->dims[2] * y->dims[3];
    float *patches = fake_memory((size_t)(pixels * k) * sizeof *patches);
    for (int64_t p = 0; p < pixels; p++) {
        for (int64_t q = 0; q < kh * kw; q++) {
            int64_t sy = p / y->dims[3] * o->stride[0] + q / kw - o->pre[0];
            int64_t sx = p % y->dims[3] * o->stride[1] + q % kw - o->pre[1];
            if (sy >= 0 && sy < x->dims[2] && sx >= 0 && sx < x->dims[3]) {
                memcpy(patches + p * k + q * c, x->dense + (sy * x->dims[3] + sx) * c,
                       (size_t)c * sizeof *patches);
            }
        }
    }
    fake_product(y->dense, patches, w->dense, pixels, y->dims[1], k);
    fake_give_back(patches);
}

static void add(const operation *o, tensor *t) {
    tensor *y = &t[o->y];
    for (int64_t i = 0; i < y->dims[2] * y->dims[3]; i++) {
        for (int64_t c = 0; c < y->dims[1]; c++) {
            y->dense[i * y->dims[1] + c] = at(&t[o->x], c, i / y->dims[3], i % y->dims[3]) +
                                           at(&t[o->w], c, i / y->dims[3], i % y->dims[3]);
        }
    }
}

static void attend(const operation *o, tensor *t) {
    tensor *q = &t[o->x], *k = &t[o->w], *v = &t[o->v], *y = &t[o->y];
    int64_t heads = q->dims[1], share = heads / k->dims[1], rows = q->dims[2], keys = k->dims[2],
            dim = q->dims[3];
    float scale = t[o->scale].dense[0], *p = fake_memory((size_t)keys * sizeof *p);
    for (int64_t i = 0; i < heads * rows; i++) {
        int64_t head = i % heads, row = i / heads;
        float most = -INFINITY, sum = 0.0f;
        for (int64_t j = 0; j < keys; j++) {
            float s = 0.0f;
            for (int64_t d = 0; d < dim; d++) {
                s += at(q, head, row, d) * at(k, head / share, j, d);
            }
            p[j] = s * scale;
            most = p[j] > most ? p[j] : most;
        }
        for (int64_t j = 0; j < keys; j++) {
            sum += p[j] = expf(p[j] - most);
        }
        for (int64_t d = 0; d < dim; d++) {
            float s = 0.0f;
            for (int64_t j = 0; j < keys; j++) {
                s += p[j] * at(v, head / share, j, d);
            }
            y->dense[(row * dim + d) * heads + head] = s / sum;
        }
    }
    fake_give_back(p);
}

void fake_dnn_run(void *payload) {
    running *r = payload;
    program *p = &r->p;
    memset(r->workspace, 0x5a, scratch_of(p));
    for (int i = 0; i < p->tensors; i++) {
        tensor *t = &p->t[i];
        bool written = false;
        for (int o = 0; o < p->ops; o++) {
            written = written || p->op[o].y == i;
        }
        t->dense = fake_memory((size_t)dense_size(t) * sizeof *t->dense);
        if (t->by_value) {
            t->dense[0] = r->scalar;
        } else if (!written) {
            carry(t, r->memory[i], false);
        }
    }
    for (int i = 0; i < p->ops; i++) {
        const operation *o = &p->op[i];
        (o->kind == BL_DNN_KIND_OP_CONV        ? convolve
         : o->kind == BL_DNN_KIND_OP_POINTWISE ? add
                                               : attend)(o, p->t);
        if (!p->t[o->y].is_virtual) {
            carry(&p->t[o->y], r->memory[o->y], true);
        }
    }
    for (int i = 0; i < p->tensors; i++) {
        fake_give_back(p->t[i].dense);
    }
}
