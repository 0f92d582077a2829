/* Each allocation of the heart fails once: an error, and what was to be handed out is NULL. */
#include "described.h"

#include "residency/tell/explain.h"
#include "residency/tell/sweep.h"
#include "support/failing.h"

typedef int attempt(const bl_problem *p, bl_error *err);

static int copy(const bl_problem *p, bl_error *err) {
    bl_problem *x = (bl_problem *)p; /* anything but NULL */
    int rc = bl_problem_copy(&x, p, err);
    assert_true(rc ? !x : x && x != p);
    bl_problem_free(&x);
    return rc;
}

static int plan_and_explain(const bl_problem *p, bl_error *err) {
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan = NULL;
    char *text = NULL;
    int rc = bl_plan_steady(&plan, p, &s, err);
    assert_true(rc ? !plan : plan != NULL);
    if (!rc) {
        rc = bl_plan_explain(&text, plan, p, err);
        assert_true(rc ? !text : text != NULL);
    }
    free(text);
    bl_plan_free(&plan);
    return rc;
}

static int compare(const bl_problem *p, bl_error *err) {
    bl_offload_settings s = bl_offload_defaults();
    bl_sweep_row rows[BL_COMPARE_ROWS];
    return bl_compare(rows, p, &s, err);
}

static int simulate(const bl_problem *p, bl_error *err) {
    (void)p;
    bl_sim_card card = described_card();
    bl_device *d = NULL;
    int rc = bl_sim_open(&d, &card, NULL, err);
    assert_true(rc ? !d : d != NULL);
    bl_device_close(&d);
    return rc;
}

/* Lets the first, the second, ... (or every `step`th) allocation fail until all succeed. */
static void fail_each(attempt *run, const bl_problem *p, long step) {
    for (long n = 0;; n += step) {
        bl_error err = {.code = 0};
        bl_test_fail(n);
        int rc = run(p, &err);
        if (!bl_test_failed()) {
            assert_int_equal(rc, 0);
            print_message("%ld allocations\n", n);
            return;
        }
        if (rc != BL_E_MEMORY || err.code != rc || strncmp(err.message, "out of memory", 13) != 0) {
            fail_msg("allocation %ld: code %d, %s", n, rc, err.message);
        }
    }
}

/* Two small modules under a budget that holds one and a half of them. */
static bl_problem *small_problem(void) {
    bl_problem *p;
    CHECK(bl_problem_new(&p, &described_error));
    for (int m = 0; m < 2; m++) {
        bl_problem_block blocks[6];
        double seconds[6];
        memset(blocks, 0, sizeof blocks);
        for (int b = 0; b < 6; b++) {
            snprintf(blocks[b].name, sizeof blocks[b].name, "b%d", b);
            blocks[b].bytes = blocks[b].source_bytes = 1000000;
            blocks[b].copy_seconds = -1;
            blocks[b].resident_at = BL_NOWHERE;
            seconds[b] = 1e-3;
        }
        int number;
        CHECK(bl_problem_add_module(&number, p, m ? "b" : "a", "bf16", blocks, 6, &described_error));
        CHECK(bl_problem_add_phase(&number, p, m ? "b" : "a", "work", m, 3, 1000000, seconds,
                                   &described_error));
        CHECK(bl_problem_add_level(p, m, 500000, seconds, &described_error));
    }
    bl_sim_card card = described_card();
    card.memory_bytes = 9000000;
    described_finish(p, &card);
    return p;
}

static void each_allocation_may_fail(void **state) {
    (void)state;
    bl_problem *p = small_problem();
    fail_each(copy, p, 1);
    fail_each(simulate, p, 1);
    fail_each(plan_and_explain, p, 1);
    fail_each(compare, p, 7);
    bl_problem_free(&p);
}

/* The same where weights pass through a store that holds four blocks of the twelve. */
static void with_a_store_too(void **state) {
    (void)state;
    bl_problem *p = small_problem();
    p->has_store = true;
    p->host_bytes = 4 * p->modules[0].largest_block;
    p->budget_bytes = 4 * p->modules[0].largest_block;
    p->load_rate = p->copy_rate / 8;
    for (int m = 0; m < p->module_count; m++) {
        for (int b = 0; b < p->modules[m].block_count; b++) {
            p->modules[m].blocks[b].load_seconds = -1;
            p->modules[m].blocks[b].stored_at = BL_NOWHERE;
        }
    }
    bl_problem_set_repeats(p, true);
    CHECK(bl_problem_finish(p, &described_error));
    fail_each(plan_and_explain, p, 1);
    bl_problem_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(with_a_store_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
