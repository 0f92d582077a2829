/* Plans for a host whose memory is smaller than the weights: against their bound, against the modes that do
 * not plan, and against a host that has room for all. */
#include "random.h"

#include "residency/bound/bound.h"

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

enum { problems = 500 };
static bool every_problem; /* is planned, not just the first of them */

/* How far the steady state's plan is above the bound. */
static double gap_of(bl_problem *p, int number) {
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan = steady_plan(p, &s);
    double bound;
    CHECK(bl_bound_steady(&bound, p, &described_error));
    CHECK(bl_bound_refine(&bound, p, true, &described_error));
    double gap = plan->end_seconds / bound - 1;
    if (gap < -0.01) {
        fail_msg("problem %d: %.4f s is below the bound %.4f s", number, plan->end_seconds, bound);
    }
    assert_true(plan->store_peak_bytes <= p->host_bytes);
    bl_plan_free(&plan);
    return gap;
}

/* How far plans are above their bound where the store is small: not yet what is held where copies alone
 * count (test_planner.c). docs/planner.md says how that comes about. */
static void small_hosts(void **state) {
    (void)state;
    random_state r = {.s = 2024};
    int count = every_problem ? problems : 60, above = 0;
    double gap[problems], sum = 0;
    for (int i = 0; i < count; i++) {
        bl_problem *p = random_small_host(&r);
        gap[i] = gap_of(p, i);
        if (every_problem) {
            print_message("problem %d: %.2f%%\n", i, 100 * gap[i]);
        }
        sum += gap[i];
        above += gap[i] > 0.15;
        bl_problem_free(&p);
    }
    qsort(gap, count, sizeof *gap, by_size);
    print_message(
        "small hosts: %d problems, %.2f%% over the bound on average, half of them within %.2f%%, three "
        "quarters within %.2f%%, nine tenths within %.1f%%; worst %.1f%%, %d above 15%%\n",
        count, 100 * sum / count, 100 * gap[count / 2], 100 * gap[count * 3 / 4], 100 * gap[count * 9 / 10],
        100 * gap[count - 1], above);
    assert_true(sum / count <= 0.022);
    assert_true(gap[count / 2] <= 0.001);
    assert_true(gap[count * 3 / 4] <= 0.0085);
    assert_true(gap[count * 9 / 10] <= 0.082);
    assert_true(gap[count - 1] <= (every_problem ? 0.51 : 0.49));
    assert_true(above <= (every_problem ? 23 : 2));
}

typedef struct held {
    int number;
    double most; /* over the bound */
} held;

static void hold(const held *list, int count) {
    random_state r = {.s = 2024};
    for (int i = 0, k = 0; k < count; i++) {
        bl_problem *p = random_small_host(&r);
        if (i == list[k].number) {
            double gap = gap_of(p, i);
            if (gap > list[k++].most) {
                fail_msg("problem %d: %.1f%% over the bound", i, 100 * gap);
            }
        }
        bl_problem_free(&p);
    }
}

/* Modules that take turns, of which each keeps its own share of the device and of the store all the while;
 * and a plan that costs now and is to pay off later has to do so. */
static void shares_are_kept(void **state) {
    (void)state;
    static const held list[] = {{68, 0.08}, {95, 0.23}, {341, 0.12}, {392, 0.22}, {424, 0.18}};
    hold(list, sizeof list / sizeof *list);
}

/* What a plan sees of the generations after it is what is planned when they come. */
static void what_is_foreseen_comes(void **state) {
    (void)state;
    static const held list[] = {{30, 0.01}, {36, 0.06}, {116, 0.07}, {289, 0.17}, {346, 0.13}, {350, 0.02}};
    hold(list, sizeof list / sizeof *list);
}

/* A generation of one pass ends with nothing under way: what has begun by then is waited for. */
static void one_pass_each(void **state) {
    (void)state;
    static const held list[] = {{181, 0.52}, {233, 0.02}, {365, 0.14}, {397, 0.28}, {418, 0.18}, {488, 0.08}};
    hold(list, sizeof list / sizeof *list);
}

/* A store that holds everything is as good as none that has to be filled: loads are made once. */
static void a_large_host_is_filled_once(void **state) {
    (void)state;
    random_state r = {.s = 12};
    for (int i = 0; i < 20; i++) {
        bl_problem *p = random_small_host(&r), *direct;
        uint64_t all = 0;
        for (int m = 0; m < p->module_count; m++) {
            all += p->modules[m].bytes;
        }
        p->host_bytes = 2 * all;
        CHECK(bl_problem_copy(&direct, p, &described_error));
        direct->has_store = false;
        CHECK(bl_problem_finish(direct, &described_error));
        bl_offload_settings s = bl_offload_defaults();
        bl_plan *plan = steady_plan(p, &s), *without = steady_plan(direct, &s);
        if (plan->load_count || plan->end_seconds > 1.02 * without->seconds) {
            fail_msg("problem %d: %d loads, %.4f s; without a store %.4f s", i, plan->load_count,
                     plan->end_seconds, without->seconds);
        }
        bl_plan_free(&plan);
        bl_plan_free(&without);
        bl_problem_free(&direct);
        bl_problem_free(&p);
    }
}

static void planning_is_never_worse(void **state) {
    (void)state;
    random_state r = {.s = 7};
    for (int i = 0; i < 40; i++) {
        bl_problem *p = random_small_host(&r);
        bl_offload_settings s = bl_offload_defaults();
        bl_plan *plan, *other;
        bl_problem_set_repeats(p, false); /* else what is left for the next counts, too */
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        for (int m = 0; m < BL_OFFLOAD_AUTO; m++) {
            s.mode = (bl_offload)m;
            if (!bl_plan_make(&other, p, &s, &described_error)) {
                CHECK(bl_replay_check(other, p, &described_error));
                if (plan->end_seconds > other->end_seconds * (1 + 2e-4)) {
                    fail_msg("problem %d: auto takes %.6f s, %s %.6f s", i, plan->end_seconds,
                             bl_offload_name(s.mode), other->end_seconds);
                }
                bl_plan_free(&other);
            }
        }
        bl_plan_free(&plan);
        bl_problem_free(&p);
    }
}

/* The largest block must fit the store; it is enough. */
static void the_smallest_host(void **state) {
    (void)state;
    random_state r = {.s = 3};
    for (int i = 0; i < 10; i++) {
        bl_problem *p = random_small_host(&r);
        bl_offload_settings s = bl_offload_defaults();
        bl_plan *plan;
        bl_error err;
        p->host_bytes = bl_problem_min_host(p);
        p->budget_bytes = bl_problem_min_budget(p);
        plan = steady_plan(p, &s);
        assert_true(plan->store_peak_bytes <= p->host_bytes);
        bl_plan_free(&plan);
        p->host_bytes--;
        assert_int_equal(bl_plan_make(&plan, p, &s, &err), BL_E_BUDGET);
        char number[32];
        snprintf(number, sizeof number, "%llu", (unsigned long long)bl_problem_min_host(p));
        assert_non_null(strstr(err.message, number));
        assert_non_null(strstr(err.message, "host budget"));
        bl_problem_free(&p);
    }
}

static void add_part(bl_problem *p, const char *name, int count, double gigabytes, int passes, double arena,
                     double seconds) {
    bl_problem_block blocks[64];
    double each[64];
    int number, module;
    memset(blocks, 0, sizeof blocks);
    for (int b = 0; b < count; b++) {
        snprintf(blocks[b].name, sizeof blocks[b].name, "%.32s.%d", name, b);
        blocks[b].bytes = blocks[b].source_bytes = (uint64_t)(gigabytes * 1e9 / count);
        blocks[b].copy_seconds = blocks[b].load_seconds = -1;
        blocks[b].resident_at = blocks[b].stored_at = BL_NOWHERE;
        each[b] = seconds / count;
    }
    CHECK(bl_problem_add_module(&module, p, name, "bf16", blocks, count, &described_error));
    CHECK(bl_problem_add_phase(&number, p, name, "pipeline", module, passes, (uint64_t)(arena * 1e9), each,
                               &described_error));
}

/* A transformer of 57 blocks with a large text encoder, 24 GB together, on a card of 8 GB: 20 steps of 2
 * seconds. The file is read at 2.5 GB/s, copies take 12 GB/s. */
static bl_problem *large_model(double host) {
    bl_problem *p;
    CHECK(bl_problem_new(&p, &described_error));
    p->copy_rate = 12e9;
    p->copy_latency = 10e-6;
    p->load_rate = 2.5e9;
    p->load_latency = 100e-6;
    p->async_copy = p->has_store = true;
    p->host_bytes = (uint64_t)(host * 1e9);
    p->budget_bytes = p->memory_bytes = 8000000000;
    add_part(p, "text_encoder", 24, 4.9, 1, 0.2, 0.2);
    add_part(p, "transformer", 57, 18.9, 20, 1.2, 2);
    add_part(p, "vae_decoder", 8, 0.2, 1, 2.5, 0.8);
    bl_problem_set_repeats(p, true);
    CHECK(bl_problem_finish(p, &described_error));
    return p;
}

static void a_large_model_on_a_small_machine(void **state) {
    (void)state;
    static const double hosts[] = {64, 24, 16, 12, 8, 1};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        bl_problem *p = large_model(hosts[i]);
        bl_offload_settings s = bl_offload_defaults();
        bl_plan *first;
        CHECK(bl_plan_make(&first, p, &s, &described_error));
        bl_plan *plan = steady_plan(p, &s);
        double bound;
        CHECK(bl_bound_steady(&bound, p, &described_error));
        CHECK(bl_bound_refine(&bound, p, true, &described_error));
        print_message("24 GB model, 8 GB card, %g GB host: first %.1f s, then %.1f s, bound %.1f s; loads "
                      "%.1f GB, %.1f "
                      "s; copies %.1f GB; store %.2f GB\n",
                      hosts[i], first->seconds, plan->end_seconds, bound, (double)plan->loaded_bytes / 1e9,
                      plan->load_seconds, (double)plan->moved_bytes / 1e9,
                      (double)plan->store_peak_bytes / 1e9);
        assert_true(plan->end_seconds <= bound * (hosts[i] >= 16 ? 1.01 : 1.14));
        bl_plan_free(&first);
        bl_plan_free(&plan);
        bl_problem_free(&p);
    }
}

int main(int argc, char **argv) {
    every_problem = argc > 1 && !strcmp(argv[1], "all");
    const struct CMUnitTest all_problems[] = {
        cmocka_unit_test(small_hosts),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_hosts),
        cmocka_unit_test(shares_are_kept),
        cmocka_unit_test(what_is_foreseen_comes),
        cmocka_unit_test(one_pass_each),
        cmocka_unit_test(a_large_host_is_filled_once),
        cmocka_unit_test(planning_is_never_worse),
        cmocka_unit_test(the_smallest_host),
        cmocka_unit_test(a_large_model_on_a_small_machine),
    };
    return every_problem ? cmocka_run_group_tests(all_problems, NULL, NULL)
                         : cmocka_run_group_tests(tests, NULL, NULL);
}
