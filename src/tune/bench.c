/* Whole passes of a phase, in pairs. */
#include "tune/bench_parts.h"

#include "core/splitmix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a whole number of this input is: of keys that an attention has, all of them, which is the most work;
 * else 0, which is a token, a row and a place wherever there are any. */
static int32_t whole_of(const bl_graph *g, const bl_tensor *t) {
    int32_t keys = 0;
    for (int i = 0; i < g->op_count; i++) {
        const bl_op *op = &g->ops[i];
        if (op->kind == BL_OP_ATTENTION && op->in[3] != BL_NONE && &g->tensors[op->in[3]] == t) {
            const int32_t rows = g->tensors[op->in[1]].h * g->tensors[op->in[1]].w;
            keys = keys && keys < rows ? keys : rows;
        }
    }
    return keys;
}

/* Numbers of either sign up to 1, as latents and contexts have them. */
static void fill(void *data, const bl_graph *g, const bl_tensor *t, uint64_t seed) {
    const int32_t whole = t->dtype == BL_I32 ? whole_of(g, t) : 0;
    uint64_t count = bl_tensor_bytes(t) / sizeof(float), state = seed;
    for (uint64_t i = 0; i < count; i++) {
        if (t->dtype == BL_I32) {
            ((int32_t *)data)[i] = whole;
        } else {
            ((float *)data)[i] = (float)(2 * bl_splitmix_unit(&state) - 1);
        }
    }
}

static void drop_ports(bl_bench_ports *p) {
    for (int i = 0; i < BL_BENCH_PORTS; i++) {
        free(p->in[i]);
        free(p->out[i]);
    }
    *p = (bl_bench_ports){0};
}

static int make_port(void **out, const bl_tensor *t, bl_error *err) {
    *out = NULL;
    uint64_t bytes = bl_tensor_bytes(t);
    void *data = calloc(1, bytes);
    *out = data;
    return data ? 0 : bl_fail_memory(err, "what is measured", bytes);
}

/* `inputs`: whose inputs it takes, or NULL: it gets its own. */
static int make_ports(bl_bench_ports *p, const bl_graph *g, const bl_bench_ports *inputs, bl_error *err) {
    int result = 0;
    p->input_count = g->input_count;
    p->output_count = g->output_count;
    if (g->input_count > BL_BENCH_PORTS || g->output_count > BL_BENCH_PORTS) {
        return bl_fail(err, BL_E_INTERNAL, "%s: too many inputs or outputs", bl_module_name(g->module));
    }
    for (int i = 0; i < g->input_count && !result; i++) {
        const bl_tensor *t = bl_graph_port(g, BL_INPUT, i);
        result = inputs ? 0 : make_port(&p->in[i], t, err);
        if (p->in[i]) {
            fill(p->in[i], g, t, (uint64_t)i + 1);
        }
        p->inputs[i] = (bl_port){t->name, inputs ? inputs->in[i] : p->in[i]};
    }
    for (int i = 0; i < g->output_count && !result; i++) {
        const bl_tensor *t = bl_graph_port(g, BL_OUTPUT, i);
        result = make_port(&p->out[i], t, err);
        p->outputs[i] = (bl_port){t->name, p->out[i]};
        p->bytes[i] = bl_tensor_bytes(t);
    }
    return result;
}

int bl_bench_open(bl_bench **out, const bl_bench_options *o, bl_error *err) {
    *out = NULL;
    bl_bench *b = calloc(1, sizeof *b);
    if (!b) {
        return bl_fail_memory(err, "what is measured", sizeof *b);
    }
    b->o = *o;
    b->device = bl_memory_device(bl_modules_given(o->modules)->memory);
    int result = make_ports(&b->ports, o->phase->prepared->graph, NULL, err);
    result = result ? result : make_ports(&b->other, o->phase->prepared->graph, &b->ports, err);
    if (!result && o->before) {
        result = make_ports(&b->before, o->before->prepared->graph, NULL, err);
    }
    if (result) {
        bl_bench_close(&b);
        return result;
    }
    *out = b;
    return 0;
}

void bl_bench_close(bl_bench **bp) {
    bl_bench *b = *bp;
    if (!b) {
        return;
    }
    for (int i = 0; i < b->way_count; i++) {
        if (b->ways[i].prepared) {
            bl_modules_give(b->o.modules, b->ways[i].prepared);
        }
    }
    drop_ports(&b->ports);
    drop_ports(&b->other);
    drop_ports(&b->before);
    free(b);
    *bp = NULL;
}

/* The present one is first and last of two pairs, so that what drifts disturbs both alike. */
static bool is_other(int turn) {
    return turn % 4 == 1 || turn % 4 == 2;
}

static int declare(bl_generation *g, const bl_bench *b, const bl_tuning *present, const bl_tuning *other,
                   int turns, bl_error *err) {
    bl_generation_adapt(g, b->o.changes);
    int result = b->o.before ? bl_generation_phase_tuned(g, b->o.before, err) : 0;
    bl_phase_of p = *b->o.phase;
    p.passes = 1;
    for (int i = 0; i < turns && result >= 0; i++) {
        p.tuning = is_other(i) ? *other : *present;
        result = bl_generation_phase_tuned(g, &p, err);
    }
    return result < 0 ? result : 0;
}

static int run(bl_generation *g, bl_bench *b, int turns, bl_error *err) {
    const int first = b->o.before != NULL;
    int result = first ? bl_generation_pass(g, 0, b->before.inputs, b->before.outputs, err) : 0;
    for (int i = 0; i < turns && !result; i++) {
        bl_bench_ports *p = is_other(i) ? &b->other : &b->ports;
        result = bl_generation_pass(g, first + i, p->inputs, p->outputs, err);
    }
    return result;
}

/* Peak signal to noise ratio, the range of the one as the peak. */
static double psnr_of(const float *x, const float *y, uint64_t count) {
    double low = INFINITY, high = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    }
    double psnr = 10 * log10((high - low) * (high - low) * (double)count / sum);
    return isfinite(psnr) ? psnr : 0;
}

static void compare(bl_pairs *out, const bl_bench *b) {
    out->same_bits = true;
    out->psnr = 0;
    for (int i = 0; i < b->ports.output_count; i++) {
        if (memcmp(b->ports.out[i], b->other.out[i], b->ports.bytes[i]) != 0) {
            double psnr = psnr_of(b->ports.out[i], b->other.out[i], b->ports.bytes[i] / sizeof(float));
            out->psnr = out->same_bits || psnr < out->psnr ? psnr : out->psnr;
            out->same_bits = false;
        }
    }
}

int bl_bench_pairs(bl_bench *b, bl_pairs *out, const bl_tuning *present, const bl_tuning *other, int pairs,
                   bl_error *err) {
    bl_generation *g = NULL;
    const int first = b->o.before != NULL, turns = 2 * (pairs + 1);
    *out = (bl_pairs){0};
    int result = bl_generation_new(&g, b->o.modules, err);
    result = result ? result : declare(g, b, present, other, turns, err);
    result = result ? result : bl_generation_start(g, b->o.placement, b->o.poll, b->o.payload, err);
    if (!result) {
        result = run(g, b, turns, err);
        int ended = bl_generation_end(g, !result, err);
        result = result ? result : ended;
    }
    for (int i = 2; i < turns && !result; i++) {
        double seconds = bl_generation_pass_seconds(g, first + i);
        (is_other(i) ? out->other : out->present)[i / 2 - 1] = seconds;
    }
    if (!result) {
        out->count = pairs;
        compare(out, b);
    }
    bl_generation_free(&g);
    return result;
}
