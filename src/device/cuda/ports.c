/* What passes between host and card beside weights: inputs and outputs, through pinned memory of their own,
 * since a copy from or to other memory makes the caller wait. An input is taken when the op that reads it is
 * put on its stream; an output is handed over by a host function behind its copy. */
#include "device/cuda/internal.h"

#include "core/checked.h"

#include <stdlib.h>
#include <string.h>

static uint64_t room_of(const bl_graph *g, bl_place place, int count) {
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++) {
        bytes += bl_align_up(bl_tensor_bytes(bl_graph_port(g, place, i)), BL_ALIGN);
    }
    return bytes;
}

static int open_ports(bl_cuda_port **list, bl_executable *x, bl_place place, int count, unsigned char **at,
                      bl_error *err) {
    bl_cuda *c = x->module->c;
    bl_cuda_port *ports = calloc((size_t)count + 1, sizeof *ports);
    *list = ports;
    if (!ports) {
        return bl_fail_memory(err, "inputs and outputs", (uint64_t)count * sizeof *ports);
    }
    int rc = 0;
    for (int i = 0; i < count && !rc; i++) {
        ports[i].bytes = bl_tensor_bytes(bl_graph_port(x->graph, place, i));
        ports[i].memory = *at;
        *at += bl_align_up(ports[i].bytes, BL_ALIGN);
        rc = bl_cuda_check(c, c->libs->cu.cuEventCreate(&ports[i].done, BL_CU_EVENT_BLOCKING_SYNC),
                           "an event", err);
        ports[i].done = rc ? NULL : ports[i].done;
    }
    return rc;
}

int bl_cuda_ports_open(bl_executable *x, bl_error *err) {
    bl_cuda *c = x->module->c;
    const bl_graph *g = x->graph;
    void *memory = NULL;
    uint64_t bytes = room_of(g, BL_INPUT, g->input_count) + room_of(g, BL_OUTPUT, g->output_count) + BL_ALIGN;
    x->ports_pinned = !c->libs->cu.cuMemHostAlloc(&memory, bytes, 0);
    memory = x->ports_pinned ? memory : aligned_alloc(BL_ALIGN, bytes);
    if (!memory) {
        return bl_fail_memory(err, "inputs and outputs", bytes);
    }
    unsigned char *at = x->ports = memory;
    int rc = open_ports(&x->inputs, x, BL_INPUT, g->input_count, &at, err);
    return rc ? rc : open_ports(&x->outputs, x, BL_OUTPUT, g->output_count, &at, err);
}

static void close_ports(bl_cuda_port *ports, int count, bl_cuda *c) {
    for (int i = 0; ports && i < count; i++) {
        if (ports[i].done) {
            c->libs->cu.cuEventDestroy(ports[i].done);
        }
    }
    free(ports);
}

void bl_cuda_ports_close(bl_executable *x) {
    bl_cuda *c = x->module->c;
    if (x->ports) {
        c->libs->cu.cuCtxSetCurrent(c->context);
        close_ports(x->inputs, x->graph->input_count, c);
        close_ports(x->outputs, x->graph->output_count, c);
        if (x->ports_pinned) {
            c->libs->cu.cuMemFreeHost(x->ports);
        } else {
            free(x->ports);
        }
    }
}

static int wait_for(bl_cuda_port *p, bl_cuda *c, bl_error *err) {
    int rc = p->used ? bl_cuda_check(c, c->libs->cu.cuEventSynchronize(p->done), "an input's copy", err) : 0;
    p->used = p->used && rc;
    return rc;
}

int bl_cuda_ports_take(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *t = bl_cuda_tensor(r, r->step->host_input), *out = bl_cuda_tensor(r, r->op->out);
    int rc = 0;
    if (t) {
        bl_cuda_port *p = &r->x->inputs[t->port];
        const void *from = r->binding->inputs[t->port];
        if (!p->used || memcmp(p->memory, from, p->bytes) != 0) {
            rc = wait_for(p, r->c, err);
            if (!rc) {
                memcpy(p->memory, from, p->bytes);
            }
        }
    } else if (r->op->kind == BL_OP_EXPORT) {
        bl_cuda_port *p = &r->x->outputs[out->port];
        rc = wait_for(p, r->c, err);
        p->to = r->binding->outputs[out->port];
    }
    return rc;
}

int bl_cuda_ports_given(const bl_cuda_running *r, bl_error *err) {
    const bl_tensor *t = bl_cuda_tensor(r, r->step->host_input), *out = bl_cuda_tensor(r, r->op->out);
    bl_cuda_port *p = t                             ? &r->x->inputs[t->port]
                      : r->op->kind == BL_OP_EXPORT ? &r->x->outputs[out->port]
                                                    : NULL;
    int rc = p ? bl_cuda_check(r->c, r->c->libs->cu.cuEventRecord(p->done, r->stream), "an event", err) : 0;
    if (p) {
        p->used = !rc;
    }
    return rc;
}

int bl_cuda_port_in(const bl_cuda_running *r, bl_tensor_id id, bl_cu_pointer to, bl_error *err) {
    const bl_cuda_port *p = &r->x->inputs[bl_cuda_tensor(r, id)->port];
    return bl_cuda_check(r->c, r->c->libs->cu.cuMemcpyHtoDAsync(to, p->memory, p->bytes, r->stream),
                         "an input's copy", err);
}

static void hand_over(void *payload) {
    const bl_cuda_port *p = payload;
    memcpy(p->to, p->memory, p->bytes);
}

int bl_cuda_port_out(const bl_cuda_running *r, bl_tensor_id id, bl_error *err) {
    bl_cuda_port *p = &r->x->outputs[bl_cuda_tensor(r, id)->port];
    int rc = bl_cuda_check(r->c, r->c->libs->cu.cuMemcpyDtoHAsync(p->memory, r->scratch, p->bytes, r->stream),
                           "an output's copy", err);
    return rc ? rc
              : bl_cuda_check(r->c, r->c->libs->cu.cuLaunchHostFunc(r->stream, hand_over, p),
                              "an output's copy", err);
}
