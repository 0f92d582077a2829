#include "residency/run/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUESSED_COPY_RATE 2e9 /* bytes a second, until it has been measured */
#define GUESSED_LOAD_RATE 1e9 /* likewise, from the file into the host store */

/* A module as problems are told of it, by its number; without blocks the number is free. */
typedef struct known {
    char name[BL_PROBLEM_NAME], model[BL_PROBLEM_NAME], dtype[16];
    bl_problem_block *blocks; /* [block_count] */
    int block_count;
    uint64_t used; /* when a problem last had it in front */
} known;

struct bl_memory {
    bl_device *device;
    bl_device_caps caps;
    bl_executor *executor;
    bl_calibration *calibration;
    known *modules; /* [module_count] */
    int module_count;
    uint64_t clock; /* counts problems */
};

int bl_memory_open(bl_memory **out, bl_device *d, const char *calibration_path, const bl_log *log,
                   bl_error *err) {
    bl_memory *m = calloc(1, sizeof *m);
    const char *debug = getenv("BALLAST_MOVE_DEBUG");
    bl_executor_options options = {.log = log, .move_debug = debug && *debug && strcmp(debug, "0") != 0};
    *out = NULL;
    if (!m) {
        return bl_fail_memory(err, "the memory owner", sizeof *m);
    }
    m->device = d;
    int result = bl_executor_open(&m->executor, d, &options, err);
    if (!result) {
        result = bl_calibration_open(&m->calibration, calibration_path, log, err);
    }
    if (result) {
        bl_memory_close(&m);
        return result;
    }
    *out = m;
    return 0;
}

void bl_memory_close(bl_memory **mp) {
    bl_memory *m = *mp;
    if (m) {
        bl_executor_close(&m->executor);
        bl_calibration_close(&m->calibration);
        for (int i = 0; i < m->module_count; i++) {
            free(m->modules[i].blocks);
        }
        free(m->modules);
        free(m);
        *mp = NULL;
    }
}

bl_device *bl_memory_device(const bl_memory *m) {
    return m->device;
}

bl_executor *bl_memory_executor(const bl_memory *m) {
    return m->executor;
}

bl_calibration *bl_memory_calibration(const bl_memory *m) {
    return m->calibration;
}

const bl_device_caps *bl_memory_caps(bl_memory *m) {
    m->caps = bl_device_caps_of(m->device);
    return &m->caps;
}

/* Room for the module that gets this number. */
static int make_room(bl_memory *m, int id, bl_error *err) {
    if (id < m->module_count) {
        return 0;
    }
    known *more = realloc(m->modules, (size_t)(id + 1) * sizeof *more);
    if (!more) {
        return bl_fail_memory(err, "the modules of all models", (size_t)(id + 1) * sizeof *more);
    }
    m->modules = more;
    memset(more + m->module_count, 0, (size_t)(id + 1 - m->module_count) * sizeof *more);
    m->module_count = id + 1;
    return 0;
}

int bl_memory_add(int *id, bl_memory *m, const bl_memory_module *module, bl_error *err) {
    size_t bytes = (size_t)module->block_count * sizeof *module->blocks;
    int number, result = bl_executor_add(&number, m->executor, module->device, module->block_count, err);
    if (result) {
        return result;
    }
    known k = {.blocks = malloc(bytes), .block_count = module->block_count};
    result = k.blocks ? make_room(m, number, err) : bl_fail_memory(err, "a module's blocks", bytes);
    if (result) {
        free(k.blocks);
        bl_executor_remove(m->executor, number);
        return result;
    }
    memcpy(k.blocks, module->blocks, bytes);
    snprintf(k.name, sizeof k.name, "%s", module->name);
    snprintf(k.model, sizeof k.model, "%s", module->model ? module->model : "");
    snprintf(k.dtype, sizeof k.dtype, "%s", module->dtype);
    m->modules[number] = k;
    *id = number;
    return 0;
}

void bl_memory_release(bl_memory *m, int id) {
    bl_executor_forget(m->executor, id);
}

void bl_memory_drop(bl_memory *m, int id, int block) {
    bl_executor_drop(m->executor, id, block);
}

void bl_memory_resize(bl_memory *m, int id, int block, uint64_t bytes) {
    m->modules[id].blocks[block].bytes = bytes;
}

void bl_memory_remove(bl_memory *m, int id) {
    bl_executor_remove(m->executor, id);
    free(m->modules[id].blocks);
    m->modules[id] = (known){0};
}

bool bl_memory_look(bl_memory_places *out, const bl_memory *m, int id) {
    if (id < 0 || id >= m->module_count || !m->modules[id].blocks) {
        return false;
    }
    const known *k = &m->modules[id];
    *out = (bl_memory_places){
        .name = k->name, .dtype = k->dtype, .blocks = k->blocks, .block_count = k->block_count};
    return bl_executor_places(&out->at, &out->stored, m->executor, id);
}

static int add_module(bl_problem *p, bl_memory *m, int id, bl_error *err) {
    const known *k = &m->modules[id];
    int number, result = bl_problem_add_module(&number, p, k->name, k->dtype, k->blocks, k->block_count, err);
    if (!result) {
        p->modules[number].id = id;
        snprintf(p->modules[number].model, sizeof k->model, "%s", k->model);
    }
    return result;
}

static bool in_front(const int *ids, int count, int id) {
    for (int i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* The module used last of those that have something on the device and are not in the problem yet; -1: none.
 */
static int next_other(const bl_memory *m, const int *ids, int count, uint64_t before) {
    int best = -1;
    for (int i = 0; i < m->module_count; i++) {
        const known *k = &m->modules[i];
        if (k->blocks && k->used < before && (best < 0 || k->used > m->modules[best].used) &&
            !in_front(ids, count, i) && bl_executor_holds(m->executor, i)) {
            best = i;
        }
    }
    return best;
}

/* What others have on the device is part of the problem: its places may be taken, or may be left alone. What
 * there is no room for in a problem was used longest ago, and is given up when the plan starts. */
static int add_others(bl_problem *p, bl_memory *m, const int *ids, int count, bl_error *err) {
    int result = 0;
    uint64_t before = UINT64_MAX;
    for (int i = next_other(m, ids, count, before); i >= 0 && !result && p->module_count < BL_PROBLEM_MODULES;
         i = next_other(m, ids, count, before)) {
        before = m->modules[i].used;
        result = add_module(p, m, i, err);
    }
    return result;
}

int bl_memory_problem(bl_problem **out, bl_memory *m, const int *ids, int count, bl_error *err) {
    bl_problem *p = NULL;
    *out = NULL;
    int result = bl_problem_new(&p, err);
    for (int i = 0; i < count && !result; i++) {
        m->modules[ids[i]].used = ++m->clock; /* each its own, so that an order is complete */
        result = add_module(p, m, ids[i], err);
    }
    if (!result) {
        result = add_others(p, m, ids, count, err);
    }
    if (result) {
        bl_problem_free(&p);
        return result;
    }
    const bl_device_caps *caps = bl_memory_caps(m);
    bl_executor_resident(m->executor, p);
    p->memory_bytes = caps->memory_bytes;
    p->own_bytes = caps->own_bytes;
    p->copy_rate = caps->copy_rate > 0 ? caps->copy_rate : GUESSED_COPY_RATE;
    p->copy_latency = caps->copy_latency;
    p->copy_slowdown = caps->copy_slowdown;
    p->async_copy = caps->async_copy;
    p->has_store = caps->host_store;
    p->host_bytes = caps->host_free_bytes + bl_executor_store_bytes(m->executor);
    p->host_memory_bytes = caps->host_bytes;
    p->load_rate = caps->file_rate > 0 ? caps->file_rate : GUESSED_LOAD_RATE;
    p->load_latency = caps->file_latency;
    p->alignment = caps->alignment;
    *out = p;
    return 0;
}
