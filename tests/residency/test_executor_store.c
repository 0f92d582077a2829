/* Running plans through a host store: what is loaded, and late faults on the way. */
#include "described.h"

#include "residency/run/memory.h"

/* A card with a machine around it. */
static bl_sim_card with_host(void) {
    bl_sim_card card = described_card();
    card.host_bytes = 2500000000;
    card.file_rate = 3e9;
    card.file_latency = 1e-4;
    return card;
}

/* The plan of a problem, made as if there were no store, with every block passing through one of three places
 * of it on the way. */
static bl_plan *through_the_store(bl_problem *p) {
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *direct, *plan;
    uint64_t largest = 0;
    int copies = 0;
    for (int m = 0; m < p->module_count; m++) {
        largest = p->modules[m].largest_block > largest ? p->modules[m].largest_block : largest;
    }
    p->has_store = false;
    CHECK(bl_plan_make(&direct, p, &s, &described_error));
    p->has_store = true;
    CHECK(bl_plan_new(&plan, p, direct->mode, &described_error));
    plan->region_bytes = direct->region_bytes;
    plan->reopen = direct->reopen;
    for (int i = 0; i < p->phase_count; i++) {
        plan->phases[i].level = direct->phases[i].level;
    }
    for (int i = 0; i < direct->move_count; i++) {
        bl_move v = direct->moves[i], load = v;
        load.kind = BL_MOVE_LOAD;
        load.offset = (uint64_t)(copies % 3) * largest;
        if (v.kind == BL_MOVE_COPY) {
            CHECK(bl_plan_add_move(plan, load, &described_error));
        }
        CHECK(bl_plan_add_move(plan, v, &described_error));
        if (v.kind == BL_MOVE_COPY) {
            load.kind = BL_MOVE_LEAVE;
            load.before = load.after + 1;
            CHECK(bl_plan_add_move(plan, load, &described_error));
            copies++;
        }
    }
    bl_plan_free(&direct);
    CHECK(bl_replay_check(plan, p, &described_error));
    return plan;
}

/* What a generation begins with: the store, and what lies in it and on the device. */
static void look_at_memory(described_machine *x, bl_problem *p, const bl_sim_card *card) {
    p->has_store = true;
    p->host_bytes = card->host_bytes;
    CHECK(bl_executor_open_store(x->executor, p, NULL, &described_error));
    bl_executor_resident(x->executor, p);
}

/* Weights pass through a host store: what was planned is what happens, with loads on a clock of their own. */
static void plans_with_a_store_are_walked(void **state) {
    (void)state;
    bl_sim_card card = with_host();
    bl_problem *p = small_budget(&card, 1500000000);
    described_machine x;
    machine_open(&x, p, &card, NULL);
    for (int i = 0; i < 3; i++) {
        look_at_memory(&x, p, &card);
        bl_plan *plan = through_the_store(p);
        assert_true(plan->loaded_bytes == plan->moved_bytes && plan->store_peak_bytes <= p->host_bytes);
        CHECK(machine_run(&x, p, plan, &described_error));
        ledger_matches(&x, plan);
        bl_plan_free(&plan);
    }
    machine_close(&x);
    bl_problem_free(&p);
}

/* The same with what is planned: for a host that has room for all, for some, and for hardly any. */
static void planned_loads_happen(void **state) {
    (void)state;
    static const uint64_t hosts[] = {8000000000, 1500000000, 400000000};
    for (size_t h = 0; h < sizeof hosts / sizeof *hosts; h++) {
        bl_sim_card card = with_host();
        card.host_bytes = hosts[h];
        bl_problem *p = small_budget(&card, 1500000000);
        described_machine x;
        machine_open(&x, p, &card, NULL);
        for (int i = 0; i < 3; i++) {
            bl_offload_settings s = bl_offload_defaults();
            look_at_memory(&x, p, &card);
            bl_plan *plan;
            CHECK(bl_plan_make(&plan, p, &s, &described_error));
            CHECK(machine_run(&x, p, plan, &described_error));
            ledger_matches(&x, plan);
            assert_true(plan->store_peak_bytes <= p->host_bytes);
            bl_plan_free(&plan);
        }
        machine_close(&x);
        bl_problem_free(&p);
    }
}

/* Each of the first 300 pieces of work fails late once, loads among them; the next generation finds every
 * block that it copies or runs where it should be. Pinned memory is refused: pageable does. */
static void late_faults_leave_a_store_that_is_right(void **state) {
    (void)state;
    bl_sim_card card = with_host();
    bl_problem *p = small_budget(&card, 1500000000);
    bl_plan *first = NULL;
    for (int at = 1; at <= 300; at += FAULTS_STEP) {
        described_machine x;
        bl_error err;
        machine_open(&x, p, &card, NULL);
        bl_sim_set_faults(x.device,
                          &(bl_sim_faults){.late = at, .lose = at % 5 == 0, .refuse_pinned = at % 2 == 0});
        look_at_memory(&x, p, &card);
        first = first ? first : through_the_store(p);
        assert_int_equal(machine_run(&x, p, first, &err), BL_E_DEVICE);
        assert_non_null(strstr(err.message, "failed late, as scripted"));
        look_at_memory(&x, p, &card);
        bl_plan *plan = through_the_store(p);
        CHECK(machine_run(&x, p, plan, &described_error));
        assert_true(x.ledger.loaded_bytes == plan->loaded_bytes);
        bl_plan_free(&plan);
        machine_close(&x);
    }
    bl_plan_free(&first);
    bl_problem_free(&p);
}

/* What the open store takes of the host is the next plan's, too: it would shrink from one to the next. */
static void an_open_store_is_planned_with(void **state) {
    (void)state;
    bl_sim_card card = with_host();
    bl_device *device;
    bl_device_module *module;
    bl_memory *memory;
    bl_problem *p;
    bl_problem_block blocks[4] = {0};
    bl_block_cost costs[4] = {0};
    double seconds[4] = {1, 1, 1, 1};
    int id, phase;
    for (int b = 0; b < 4; b++) {
        blocks[b].copy_seconds = blocks[b].load_seconds = -1;
        blocks[b].resident_at = blocks[b].stored_at = BL_NOWHERE;
        snprintf(blocks[b].name, sizeof blocks[b].name, "b%d", b);
        costs[b].packed_bytes = costs[b].source_bytes = blocks[b].bytes = blocks[b].source_bytes = 100000000;
    }
    CHECK(bl_sim_open(&device, &card, NULL, &described_error));
    CHECK(bl_sim_module_describe(&module, device, costs, 4, &described_error));
    CHECK(bl_memory_open(&memory, device, NULL, NULL, &described_error));
    bl_memory_module m = {
        .device = module, .name = "unet", .dtype = "bf16", .blocks = blocks, .block_count = 4};
    CHECK(bl_memory_add(&id, memory, &m, &described_error));
    for (int i = 0; i < 2; i++) {
        CHECK(bl_memory_problem(&p, memory, &id, 1, &described_error));
        assert_true(p->has_store && p->host_bytes == card.host_bytes);
        CHECK(bl_problem_add_phase(&phase, p, "p", "work", 0, 1, 64, seconds, &described_error));
        p->budget_bytes = card.memory_bytes;
        CHECK(bl_problem_finish(p, &described_error));
        CHECK(bl_executor_open_store(bl_memory_executor(memory), p, NULL, &described_error));
        assert_true(bl_executor_store_bytes(bl_memory_executor(memory)) >= 400000000);
        bl_problem_free(&p);
    }
    bl_memory_close(&memory);
    bl_device_module_close(device, module);
    bl_device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_store_is_planned_with),
        cmocka_unit_test(plans_with_a_store_are_walked),
        cmocka_unit_test(planned_loads_happen),
        cmocka_unit_test(late_faults_leave_a_store_that_is_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
