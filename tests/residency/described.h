/* Described models and machines for the heart's tests: block lists of real models from tests/data/residency,
 * random instances, and a run of any plan on the simulated device. */
#ifndef BALLAST_TESTS_RESIDENCY_DESCRIBED_H
#define BALLAST_TESTS_RESIDENCY_DESCRIBED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/sim/sim.h"
#include "residency/run/executor.h"
#include "residency/plan/planner.h"
#include "residency/plan/replay.h"
#include "residency/problem/follow.h"
#include "support/slow.h"

#define CHECK(call)                                             \
    do {                                                        \
        if (call) {                                             \
            fail_msg("%s: %s", #call, described_error.message); \
        }                                                       \
    } while (0)

static bl_error described_error;

/* About an RTX 5090: figures only have to be of the right size here. */
static inline bl_sim_card described_card(void) {
    return (bl_sim_card){.name = "card",
                         .memory_bytes = 32ull << 30,
                         .copy_rate = 50e9,
                         .copy_latency = 10e-6,
                         .memory_rate = 1.79e12,
                         .flops_f32 = 50e12,
                         .flops_bf16 = 120e12};
}

/* The problem on that card, all of whose memory it may use, one generation after the other. */
static inline void described_finish(bl_problem *p, const bl_sim_card *card) {
    p->memory_bytes = p->budget_bytes = card->memory_bytes;
    p->copy_rate = card->copy_rate;
    p->copy_latency = card->copy_latency;
    p->copy_slowdown = card->copy_slowdown;
    p->async_copy = !card->shares_cores;
    p->has_store = card->host_bytes > 0;
    p->host_bytes = card->host_bytes;
    p->load_rate = card->file_rate;
    p->load_latency = card->file_latency;
    bl_problem_set_repeats(p, true);
    CHECK(bl_problem_finish(p, &described_error));
}

/* tests/data/residency/NAME.json: blocks with their bytes, phases with GFLOP of each block. */
static inline bl_problem *described_model(const char *name, const bl_sim_card *card) {
    char path[512];
    const char *data = getenv("BALLAST_TEST_DATA");
    snprintf(path, sizeof path, "%s/residency/%s.json", data ? data : "tests/data", name);
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    assert_non_null(root);
    bl_problem *p;
    CHECK(bl_problem_new(&p, &described_error));
    size_t i, k;
    json_t *m, *f, *v;
    json_array_foreach(json_object_get(root, "modules"), i, m) {
        bl_problem_block blocks[256];
        memset(blocks, 0, sizeof blocks);
        json_array_foreach(json_object_get(m, "blocks"), k, v) {
            snprintf(blocks[k].name, sizeof blocks[k].name, "%s", json_string_value(json_array_get(v, 0)));
            blocks[k].bytes = blocks[k].source_bytes = (uint64_t)json_integer_value(json_array_get(v, 1));
            blocks[k].copy_seconds = blocks[k].load_seconds = -1;
            blocks[k].resident_at = blocks[k].stored_at = BL_NOWHERE;
        }
        int number;
        CHECK(bl_problem_add_module(&number, p, json_string_value(json_object_get(m, "name")), "bf16", blocks,
                                    (int)json_array_size(json_object_get(m, "blocks")), &described_error));
    }
    json_array_foreach(json_object_get(root, "phases"), i, f) {
        double seconds[256];
        int number, module = (int)json_integer_value(json_object_get(f, "module"));
        json_array_foreach(json_object_get(f, "gflop"), k, v) {
            double compute = json_number_value(v) * 1e9 / card->flops_bf16;
            double reading = (double)p->modules[module].blocks[k].bytes / card->memory_rate;
            seconds[k] = compute > reading ? compute : reading;
        }
        CHECK(bl_problem_add_phase(&number, p, json_string_value(json_object_get(f, "name")),
                                   json_string_value(json_object_get(f, "stage")), module,
                                   (int)json_integer_value(json_object_get(f, "passes")),
                                   (uint64_t)json_integer_value(json_object_get(f, "arena")), seconds,
                                   &described_error));
    }
    json_decref(root);
    described_finish(p, card);
    return p;
}

/* A described machine with the problem's modules on it, ready to run plans. */
typedef struct described_machine {
    bl_device *device;
    bl_device_module *modules[BL_PROBLEM_MODULES];
    int module_count;
    bl_executor *executor;
    bl_ledger ledger;
} described_machine;

static inline void machine_open(described_machine *x, const bl_problem *p, const bl_sim_card *card,
                                const bl_executor_options *options) {
    memset(x, 0, sizeof *x);
    CHECK(bl_sim_open(&x->device, card, NULL, &described_error));
    for (int m = 0; m < p->module_count; m++) {
        int n = p->modules[m].block_count;
        bl_block_cost *costs = calloc((size_t)n, sizeof *costs);
        for (int b = 0; b < n; b++) {
            costs[b].packed_bytes = p->modules[m].blocks[b].bytes;
            costs[b].source_bytes = p->modules[m].blocks[b].source_bytes;
        }
        CHECK(bl_sim_module_describe(&x->modules[m], x->device, costs, n, &described_error));
        free(costs);
    }
    x->module_count = p->module_count;
    CHECK(bl_executor_open(&x->executor, x->device, options, &described_error));
    for (int m = 0; m < p->module_count; m++) {
        int id;
        CHECK(bl_executor_add(&id, x->executor, x->modules[m], p->modules[m].block_count, &described_error));
        assert_int_equal(id, p->modules[m].id);
    }
    bl_ledger_init(&x->ledger);
}

static inline void machine_close(described_machine *x) {
    bl_executor_close(&x->executor);
    for (int m = 0; m < x->module_count; m++) {
        bl_device_module_close(x->device, x->modules[m]);
    }
    bl_device_close(&x->device);
    bl_ledger_free(&x->ledger);
}

/* Runs a plan; the first error stops it. Phase `cut` ends after so many passes; -1: none does. */
static inline int machine_run_cut(described_machine *x, const bl_problem *p, const bl_plan *plan, int cut,
                                  int passes, bl_error *err) {
    bl_executable *executables[BL_PROBLEM_PHASES];
    int rc = 0, left_out = 0;
    for (int i = 0; i < p->phase_count; i++) {
        const bl_problem_level *l = &p->phases[i].levels[plan->phases[i].level];
        CHECK(bl_sim_executable_describe(&executables[i], x->modules[p->phases[i].module], l->arena_bytes,
                                         l->block_seconds, &described_error));
    }
    rc = bl_executor_start(x->executor, p, plan, executables, &x->ledger, err);
    for (int i = 0; i < p->phase_count && !rc; i++) {
        rc = bl_executor_phase_begin(x->executor, i, err);
        for (int k = 0; k < p->phases[i].passes && (i != cut || k < passes) && !rc; k++) {
            rc = bl_executor_pass(x->executor, NULL, NULL, err);
        }
        rc = rc || i != cut ? rc : bl_executor_phase_cut(x->executor, &left_out, err);
        rc = rc ? rc : bl_executor_phase_end(x->executor, err);
    }
    int end = bl_executor_finish(x->executor, rc ? NULL : err);
    for (int i = 0; i < p->phase_count; i++) {
        bl_device_executable_close(x->device, executables[i]);
    }
    assert_true(rc || left_out == (cut < 0 ? 0 : p->phases[cut].passes - passes));
    return rc ? rc : end;
}

/* From end to end. */
static inline int machine_run(described_machine *x, const bl_problem *p, const bl_plan *plan, bl_error *err) {
    return machine_run_cut(x, p, plan, -1, 0, err);
}

/* The ledger must say what the plan said: bytes equal, peak equal, seconds equal but for rounding. */
static inline void ledger_matches(const described_machine *x, const bl_plan *plan) {
    assert_true(x->ledger.moved_bytes == plan->moved_bytes);
    assert_true(x->ledger.loaded_bytes == plan->loaded_bytes);
    assert_true(x->ledger.peak_bytes == plan->peak_bytes);
    assert_int_equal(x->ledger.phase_count, plan->phase_count);
    for (int i = 0; i < plan->phase_count; i++) {
        assert_true(x->ledger.arena_bytes[i] == plan->phases[i].arena_bytes);
        double sum = 0;
        for (int k = 0; k < BL_SHARE_COUNT; k++) {
            double planned = plan->phases[i].shares[k], was = x->ledger.phases[i].shares[k];
            sum += planned;
            if (was > planned + 1e-9 * plan->seconds + 1e-9 || was < planned - 1e-9 * plan->seconds - 1e-9) {
                fail_msg("%s, phase %d: planned %s %.9f, the ledger says %.9f", plan->method, i,
                         bl_share_name((bl_share)k), planned, was);
            }
        }
        assert_true(fabs(sum - plan->phases[i].seconds) < 1e-9 * plan->seconds + 1e-9);
    }
    double seconds = bl_ledger_device_seconds(&x->ledger);
    if (seconds > plan->seconds * (1 + 1e-9) + 1e-9 || seconds < plan->seconds * (1 - 1e-9) - 1e-9) {
        fail_msg("%s: planned %.9f s, the ledger says %.9f s", plan->method, plan->seconds, seconds);
    }
}

/* SD1.5 with so many bytes. */
static inline bl_problem *small_budget(const bl_sim_card *card, uint64_t budget) {
    bl_problem *p = described_model("sd15", card);
    p->budget_bytes = budget;
    return p;
}

/* Of the pieces of work that fail once, every how manieth. */
#define FAULTS_STEP (bl_test_slow() ? 7 : 1)

#endif
