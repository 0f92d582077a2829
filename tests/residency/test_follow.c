/* What follows: generations of other models in turn, and by habit. */
#include "random.h"

#include "residency/bound/bound.h"
#include "support/slow.h"

static const double likelihoods[] = {0.6, 0.3, 0.1};

static const bl_sim_card machines[] = {
    {.flops_bf16 = 115e12, .copy_rate = 53.5e9, .memory_rate = 1.79e12},
    {.flops_bf16 = 14e12, .copy_rate = 26.8e9, .memory_rate = 0.36e12},
    {.flops_bf16 = 2e12, .copy_rate = 3e9, .memory_rate = 20e9, .shares_cores = true}};
#define MACHINES (sizeof machines / sizeof *machines)

static bl_sim_card machine(size_t number) {
    bl_sim_card card = described_card();
    card.flops_bf16 = machines[number].flops_bf16;
    card.copy_rate = machines[number].copy_rate;
    card.memory_rate = machines[number].memory_rate;
    card.shares_cores = machines[number].shares_cores;
    return card;
}

static void add_phases(bl_problem *p, const bl_problem *one, int model, int most_passes) {
    for (int i = 0; i < one->phase_count; i++) {
        const bl_problem_phase *f = &one->phases[i];
        int number, passes = f->passes < most_passes ? f->passes : most_passes;
        CHECK(bl_problem_add_phase(&number, p, f->name, f->stage, f->module + model * one->module_count,
                                   passes, f->levels[0].arena_bytes, f->levels[0].block_seconds,
                                   &described_error));
    }
}

/* `count` SDXL, each with modules of its own, in one problem; a generation of number `now` is planned.
 * `listed`: those of the others are there to be named as followers. `state` (may be NULL): what is resident.
 */
static bl_problem *models(const bl_sim_card *card, int count, int now, int most_passes, bool listed,
                          const bl_problem *state) {
    bl_problem *one = described_model("sdxl", card), *p;
    int number;
    CHECK(bl_problem_new(&p, &described_error));
    for (int i = 0; i < count; i++) {
        for (int m = 0; m < one->module_count; m++) {
            const bl_problem_module *from =
                state ? &state->modules[i * one->module_count + m] : &one->modules[m];
            CHECK(bl_problem_add_module(&number, p, from->name, "bf16", from->blocks, from->block_count,
                                        &described_error));
        }
    }
    add_phases(p, one, now, most_passes);
    for (int i = 0; i < count && listed; i++) {
        if (i != now) {
            CHECK(bl_problem_add_generation(p, &described_error));
            add_phases(p, one, i, most_passes);
        }
    }
    p->open_bytes = state ? state->open_bytes : 0;
    bl_problem_free(&one);
    described_finish(p, card);
    p->follower_count = 0;
    return p;
}

/* The largest arena and so many times one model's weights. */
static uint64_t budget_for(const bl_problem *p, double times) {
    uint64_t weights_bytes = 0;
    for (int m = 0; m < p->module_count; m++) {
        weights_bytes += p->modules[m].bytes;
    }
    uint64_t arena = bl_problem_working_set(p) - weights_bytes;
    return arena + (uint64_t)(times * (double)weights_bytes / p->generation_count);
}

/* Plans this generation, checks it, and leaves in `p` what is resident then. */
static double next_seconds(bl_problem *p, uint64_t *moved_bytes) {
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    CHECK(bl_replay_check(plan, p, &described_error));
    assert_true(plan->region_bytes <= p->budget_bytes);
    assert_int_equal(plan->phase_count, p->phase_count);
    double seconds = plan->seconds;
    *moved_bytes += plan->moved_bytes;
    bl_replay_after(p, plan);
    bl_plan_free(&plan);
    return seconds;
}

/* Two in turn where there is room for one and a half: twenty generations, the first ones from nothing,
 * against what the two take at least in the long run. */
static void two_models_in_turn(void **state) {
    (void)state;
    static const int passes[] = {4, 30};
    for (size_t i = 0; i < 2 * MACHINES; i += bl_test_slow() ? MACHINES : 1) {
        bl_sim_card card = machine(i / 2);
        bl_problem *p = models(&card, 2, 0, passes[i % 2], true, NULL), *round;
        p->budget_bytes = budget_for(p, 1.5);
        CHECK(bl_problem_add_follower(p, 1, 1, &described_error));
        CHECK(bl_problem_add_follower(p, 0, 1, &described_error));
        double least, sum = 0, alone = 0;
        CHECK(bl_problem_round(&round, p, &described_error));
        assert_int_equal(round->phase_count, 2 * p->phase_count);
        CHECK(bl_bound_steady(&least, round, &described_error));
        CHECK(bl_bound_refine(&least, round, true, &described_error));
        bl_problem_free(&round);
        uint64_t moved = 0, moved_alone = 0;
        bl_problem *blind;
        CHECK(bl_problem_copy(&blind, p, &described_error));
        for (int k = 0; k < 20; k++) {
            bl_problem *next;
            sum += next_seconds(p, &moved);
            CHECK(bl_problem_next(&next, p, 0, &described_error));
            bl_problem_free(&p);
            p = next;
            /* The same where nothing is known of what follows. */
            bl_problem *unknown = models(&card, 2, k % 2, passes[i % 2], false, blind);
            unknown->budget_bytes = p->budget_bytes;
            alone += next_seconds(unknown, &moved_alone);
            bl_problem_free(&blind);
            blind = unknown;
        }
        print_message("machine %zu, at most %d passes: %.2f s, %.0f GB; nothing known %.2f s, %.0f GB; bound "
                      "%.2f s\n",
                      i / 2, passes[i % 2], sum, (double)moved / 1e9, alone, (double)moved_alone / 1e9,
                      10 * least);
        assert_true(sum >= 10 * least * (1 - 1e-3));
        assert_true(sum <= 10 * least * 1.05);
        assert_true(sum <= alone * (1 + 1e-3));
        bl_problem_free(&blind);
        bl_problem_free(&p);
    }
}

/* Three models that are asked for with likelihoods of 0.6, 0.3 and 0.1, at random. What is known: nothing, or
 * the habits. */
static void habits_are_worth_knowing(void **state) {
    (void)state;
    static const double times[] = {1.2, 2.2};
    for (size_t i = 0; i < 2 * MACHINES; i += bl_test_slow() ? MACHINES : 1) {
        bl_sim_card card = machine(i % MACHINES);
        double seconds[2] = {0, 0};
        uint64_t moved[2] = {0, 0};
        for (int known = 0; known < 2; known++) {
            random_state r = {.s = 11};
            bl_problem *p = models(&card, 3, 0, 4, true, NULL);
            uint64_t budget = budget_for(p, times[i / MACHINES]);
            for (int k = 0; k < 40; k++) {
                double u = random_unit(&r);
                int now = u < 0.6 ? 0 : u < 0.9 ? 1 : 2;
                bl_problem *next = models(&card, 3, now, 4, known, p);
                next->budget_bytes = budget;
                for (int m = 0; m < 3 && known; m++) {
                    int number = m == now ? 0 : m < now ? m + 1 : m;
                    CHECK(bl_problem_add_follower(next, number, likelihoods[m], &described_error));
                }
                seconds[known] += next_seconds(next, &moved[known]);
                bl_problem_free(&p);
                p = next;
            }
            bl_problem_free(&p);
        }
        print_message("machine %zu, room for %.1f models: nothing known %.2f s, %.0f GB; habits %.2f s, %.0f "
                      "GB\n",
                      i % MACHINES, times[i / MACHINES], seconds[0], (double)moved[0] / 1e9, seconds[1],
                      (double)moved[1] / 1e9);
        assert_true(seconds[1] < seconds[0]);
        assert_true((double)moved[1] < 0.95 * (double)moved[0]);
    }
}

/* The list, turned: what is this generation and what follows. */
static void the_list_turns(void **state) {
    (void)state;
    bl_sim_card card = machine(0);
    bl_problem *p = models(&card, 3, 0, 2, true, NULL), *next, *last;
    int blocks = p->modules[0].block_count, modules = p->module_count / 3;
    CHECK(bl_problem_add_follower(p, 1, 1, &described_error));
    CHECK(bl_problem_add_follower(p, 0, 1, &described_error));
    CHECK(bl_problem_add_follower(p, 2, 0.5, &described_error));
    assert_true(bl_problem_certain(p) == 2 && bl_problem_comes_round(p) && !bl_problem_repeats(p));
    CHECK(bl_problem_next(&next, p, 0, &described_error));
    assert_int_equal(next->phases[0].module, p->phases[p->phase_count].module);
    assert_int_equal(next->phase_count, p->phase_count);
    assert_int_equal(next->follower_count, 3);
    assert_true(next->followers[0].generation == 1 && next->followers[1].generation == 0 &&
                next->followers[2].likelihood == 0.5);
    assert_int_equal(next->phases[next->phase_count].module / modules, 0);
    CHECK(bl_problem_next(&last, next, 2, &described_error));
    assert_int_equal(last->phases[0].module / modules, 2);
    assert_int_equal(last->modules[0].block_count, blocks);
    bl_problem_free(&last);
    bl_problem_free(&next);
    /* A list that ends: nothing is known once it has. */
    p->follower_count = 1;
    CHECK(bl_problem_next(&next, p, 0, &described_error));
    assert_true(next->follower_count == 0 && next->generation_count == 1);
    bl_problem_free(&next);
    bl_problem_set_repeats(p, true);
    assert_true(bl_problem_repeats(p));
    bl_problem_free(&p);
}

static void what_follows_is_checked(void **state) {
    (void)state;
    bl_sim_card card = machine(0);
    bl_problem *p = models(&card, 2, 0, 2, true, NULL);
    bl_error err;
    static const struct {
        int generation;
        double likelihood;
        const char *says;
    } wrong[] = {{2, 1, "generation 2 of 2"},   {-1, 1, "generation -1"},  {1, 0, "likelihood of 0"},
                 {1, 1.5, "likelihood of 1.5"}, {1, NAN, "likelihood of"}, {1, 1, "certain comes before"},
                 {1, 0.7, "add up to 1.2"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        p->follower_count = 0;
        if (i >= 5) {
            CHECK(bl_problem_add_follower(p, 0, 0.5, &described_error));
        }
        assert_int_equal(bl_problem_add_follower(p, wrong[i].generation, wrong[i].likelihood, &err),
                         BL_E_ARGUMENT);
        if (!strstr(err.message, wrong[i].says)) {
            fail_msg("%s", err.message);
        }
    }
    p->follower_count = 0;
    for (int i = 0; i < BL_PROBLEM_FOLLOWERS; i++) {
        CHECK(bl_problem_add_follower(p, 1, 1, &described_error));
    }
    assert_int_equal(bl_problem_add_follower(p, 1, 1, &err), BL_E_ARGUMENT);
    bl_problem_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_models_in_turn),
        cmocka_unit_test(habits_are_worth_knowing),
        cmocka_unit_test(the_list_turns),
        cmocka_unit_test(what_follows_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
