/* A device that wants blocks and arenas at larger multiples than a cache line is given such, in every mode.
 */
#include "random.h"

#include "residency/run/memory.h"

#define ALIGNMENT 4096

/* ---- `sim`, but for what it says of itself */

static const bl_device_ops *plain;
static int placed;

static void caps(bl_device *d, bl_device_caps *out) {
    plain->caps(d, out);
    out->alignment = ALIGNMENT;
}

static int region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err) {
    assert_int_equal(bytes % ALIGNMENT, 0);
    return plain->region_open(out, d, bytes, err);
}

static int pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                bl_error *err) {
    assert_int_equal(offset % ALIGNMENT, 0);
    placed++;
    return plain->pack(m, block, to, offset, stream, err);
}

static int copy(bl_device_module *m, int block, const bl_host *from, uint64_t from_offset, bl_region *r,
                uint64_t offset, bl_stream stream, bl_error *err) {
    assert_int_equal(offset % ALIGNMENT, 0);
    placed++;
    return plain->copy(m, block, from, from_offset, r, offset, stream, err);
}

/* Sizes as such a device has them: packed blocks and arenas are multiples, blocks without weights are empty.
 */
static void make_even(bl_problem *p) {
    for (int m = 0; m < p->module_count; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            uint64_t *bytes = &p->modules[m].blocks[b].bytes;
            *bytes = b % 9 == 4 ? 0 : *bytes / ALIGNMENT * ALIGNMENT;
        }
    }
}

/* The problem's modules with the owner of the device's memory; then the problem as that one makes it. */
static bl_problem *taken_in(bl_memory *memory, const described_machine *x, const bl_problem *from) {
    int ids[BL_PROBLEM_MODULES], number;
    bl_problem *p;
    for (int m = 0; m < from->module_count; m++) {
        const bl_problem_module *a = &from->modules[m];
        CHECK(bl_memory_add(&ids[m], memory,
                            &(bl_memory_module){.device = x->modules[m],
                                                .name = a->name,
                                                .dtype = a->dtype,
                                                .blocks = a->blocks,
                                                .block_count = a->block_count},
                            &described_error));
    }
    CHECK(bl_memory_problem(&p, memory, ids, from->module_count, &described_error));
    for (int i = 0; i < from->phase_count; i++) {
        const bl_problem_phase *f = &from->phases[i];
        CHECK(bl_problem_add_phase(&number, p, f->name, f->stage, f->module, f->passes,
                                   f->levels[0].arena_bytes / ALIGNMENT * ALIGNMENT,
                                   f->levels[0].block_seconds, &described_error));
    }
    return p;
}

static void run_all_modes(const bl_sim_card *card, const bl_problem *from) {
    for (int mode = 0; mode < BL_OFFLOAD_COUNT; mode++) {
        described_machine x;
        bl_memory *memory;
        machine_open(&x, from, card, NULL);
        plain = x.device->ops;
        bl_device_ops ops = *plain;
        ops.caps = caps;
        ops.region_open = region_open;
        ops.pack = pack;
        ops.copy = copy;
        x.device->ops = &ops;
        CHECK(bl_memory_open(&memory, x.device, NULL, NULL, &described_error));
        bl_executor *own = x.executor;
        x.executor = bl_memory_executor(memory);
        bl_problem *p = taken_in(memory, &x, from);
        assert_int_equal(p->alignment, ALIGNMENT);
        p->budget_bytes = UINT64_MAX / 8;
        CHECK(bl_problem_finish(p, &described_error));
        uint64_t least = bl_problem_min_budget(p), all = bl_problem_working_set(p);
        p->budget_bytes = mode == BL_OFFLOAD_NONE || mode == BL_OFFLOAD_MODEL
                              ? all + 1000
                              : least + (all - least) / 3 / ALIGNMENT * ALIGNMENT + 1000; /* no multiple */
        bl_offload_settings s = bl_offload_defaults();
        bl_plan *plan;
        s.mode = (bl_offload)mode;
        CHECK(p->has_store ? bl_executor_open_store(x.executor, p, NULL, &described_error) : 0);
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        CHECK(bl_replay_check(plan, p, &described_error));
        placed = 0;
        CHECK(machine_run(&x, p, plan, &described_error));
        assert_true(x.ledger.moved_bytes == plan->moved_bytes && x.ledger.peak_bytes == plan->peak_bytes);
        assert_true(placed >= plan->onload_count && plan->onload_count > 0);
        bl_plan_free(&plan);
        bl_problem_free(&p);
        x.executor = own;
        bl_memory_close(&memory);
        x.device->ops = plain;
        machine_close(&x);
    }
}

static void blocks_lie_where_the_device_wants_them(void **state) {
    (void)state;
    random_state r = {.s = 31};
    bl_sim_card card = described_card(), with_store = card;
    with_store.host_bytes = (64ull << 30) - 24; /* no multiple */
    with_store.file_rate = 2e9;
    for (int i = 0; i < 6; i++) {
        bl_problem *p = random_problem(&r, true);
        make_even(p);
        run_all_modes(i % 2 ? &with_store : &card, p);
        bl_problem_free(&p);
    }
}

static void no_plan_lies_between(void **state) {
    (void)state;
    random_state r = {.s = 32};
    bl_problem *p = random_problem(&r, true);
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    bl_error err;
    CHECK(bl_plan_make(&plan, p, &s, &described_error)); /* for multiples of 64 */
    p->alignment = ALIGNMENT;
    assert_int_equal(bl_replay_check(plan, p, &err), BL_E_INTERNAL);
    assert_non_null(strstr(err.message, "alignment"));
    bl_plan_free(&plan);
    bl_problem_free(&p);
}

static void odd_alignments_are_refused(void **state) {
    (void)state;
    static const uint64_t wrong[] = {0, 32, 96, 65, 4ull << 20};
    random_state r = {.s = 33};
    bl_problem *p = random_problem(&r, true);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bl_error err;
        p->alignment = wrong[i];
        assert_int_equal(bl_problem_finish(p, &err), BL_E_ARGUMENT);
        assert_non_null(strstr(err.message, "alignment"));
    }
    bl_problem_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_lie_where_the_device_wants_them),
        cmocka_unit_test(no_plan_lies_between),
        cmocka_unit_test(odd_alignments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
