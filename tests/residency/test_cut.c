/* Phases that end before all of their passes were made: what lies on the device and in the store afterwards
 * is what the plan says, and no more was brought in for that than a pass takes. */
#include "described.h"

#include "support/slow.h"

/* A card; with a host there is a machine around it. */
static bl_sim_card with_host(uint64_t host) {
    bl_sim_card card = described_card();
    card.host_bytes = host;
    card.file_rate = host ? 3e9 : 0;
    card.file_latency = host ? 1e-4 : 0;
    return card;
}

static void look_at_memory(described_machine *x, bl_problem *p, const bl_sim_card *card) {
    if (card->host_bytes) {
        p->has_store = true;
        p->host_bytes = card->host_bytes;
        CHECK(bl_executor_open_store(x->executor, p, NULL, &described_error));
    }
    bl_executor_resident(x->executor, p);
    CHECK(bl_problem_finish(p, &described_error));
}

static void same_places(const bl_problem *got, const bl_problem *wanted) {
    for (int m = 0; m < wanted->module_count; m++) {
        for (int b = 0; b < wanted->modules[m].block_count; b++) {
            const bl_problem_block *x = &got->modules[m].blocks[b], *y = &wanted->modules[m].blocks[b];
            assert_true(x->resident_at == y->resident_at);
            assert_true(!wanted->has_store || x->stored_at == y->stored_at);
        }
    }
}

/* A whole run, one whose phase `cut` ends after `passes`, and one that finds what that left. */
static void try_cut(const bl_sim_card *card, bl_offload mode, int cut, int passes) {
    bl_problem *p = small_budget(card, 2000000000), *after;
    described_machine x;
    machine_open(&x, p, card, NULL);
    bl_offload_settings s = bl_offload_defaults();
    s.mode = mode;
    for (int i = 0; i < 3; i++) {
        bl_plan *plan;
        look_at_memory(&x, p, card);
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        CHECK(bl_problem_copy(&after, p, &described_error));
        bl_replay_after(after, plan);
        CHECK(machine_run_cut(&x, p, plan, i == 1 ? cut : -1, passes, &described_error));
        bl_executor_resident(x.executor, p);
        same_places(p, after);
        if (i == 1) {
            assert_true(x.ledger.moved_bytes <= plan->moved_bytes);
        } else {
            ledger_matches(&x, plan);
        }
        bl_problem_free(&after);
        bl_plan_free(&plan);
    }
    machine_close(&x);
    bl_problem_free(&p);
}

static void test_places(void **state) {
    static const uint64_t hosts[] = {0, 8000000000, 1500000000, 400000000};
    static const bl_offload modes[] = {BL_OFFLOAD_AUTO, BL_OFFLOAD_SEQUENTIAL, BL_OFFLOAD_MODEL};
    (void)state;
    for (size_t h = 0; h < sizeof hosts / sizeof *hosts; h += bl_test_slow() ? 3 : 1) {
        bl_sim_card card = with_host(hosts[h]);
        bl_problem *p = small_budget(&card, 2000000000);
        for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
            for (int f = 0; f < p->phase_count; f++) {
                for (int passes = 0; passes < p->phases[f].passes && passes < 3; passes++) {
                    try_cut(&card, modes[m], f, passes);
                }
            }
        }
        bl_problem_free(&p);
    }
}

/* Of a phase that is streamed in each pass hardly more comes in than was needed until then. */
static void test_bytes(void **state) {
    (void)state;
    bl_sim_card card = with_host(0);
    bl_problem *p = small_budget(&card, 2000000000);
    described_machine x;
    machine_open(&x, p, &card, NULL);
    bl_offload_settings s = bl_offload_defaults();
    s.mode = BL_OFFLOAD_SEQUENTIAL;
    int longest = 0;
    for (int f = 0; f < p->phase_count; f++) {
        longest = p->phases[f].passes > p->phases[longest].passes ? f : longest;
    }
    bl_plan *plan;
    look_at_memory(&x, p, &card);
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    CHECK(machine_run_cut(&x, p, plan, longest, 2, &described_error));
    uint64_t module = p->modules[p->phases[longest].module].bytes;
    uint64_t left_out = (uint64_t)(p->phases[longest].passes - 3) * module;
    assert_true(x.ledger.moved_bytes <= plan->moved_bytes - left_out);
    bl_plan_free(&plan);
    machine_close(&x);
    bl_problem_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places), cmocka_unit_test(test_bytes)};
    return cmocka_run_group_tests_name("residency.cut", tests, NULL, NULL);
}
