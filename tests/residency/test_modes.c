/* The modes that do not plan, on described models: what they move, what they refuse, and that the ledger of a
 * run says what the plan said. */
#include "described.h"

static bl_offload_settings mode(bl_offload m) {
    bl_offload_settings s = bl_offload_defaults();
    s.mode = m;
    return s;
}

/* Plans and runs three generations, one after the other, and returns the last one's plan. */
static bl_plan *run_three(bl_problem *p, const bl_sim_card *card, const bl_offload_settings *s) {
    described_machine x;
    bl_plan *plan = NULL;
    machine_open(&x, p, card, NULL);
    for (int i = 0; i < 3; i++) {
        bl_plan_free(&plan);
        bl_executor_resident(x.executor, p);
        CHECK(bl_plan_make(&plan, p, s, &described_error));
        CHECK(machine_run(&x, p, plan, &described_error));
        ledger_matches(&x, plan);
        assert_true(plan->peak_bytes == plan->region_bytes);
        assert_true(bl_sim_peak_bytes(x.device) == plan->peak_bytes);
    }
    machine_close(&x);
    bl_problem_clear_resident(p);
    return plan;
}

static void every_mode_runs_as_planned(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    const char *models[] = {"sd15", "sdxl"};
    for (int shares = 0; shares < 2; shares++) {
        card.shares_cores = shares;
        for (int i = 0; i < 2; i++) {
            bl_problem *p = described_model(models[i], &card);
            for (int m = 0; m <= BL_OFFLOAD_BALANCED; m++) {
                bl_offload_settings s = mode((bl_offload)m);
                bl_plan *plan = run_three(p, &card, &s);
                if (m == BL_OFFLOAD_NONE) {
                    assert_int_equal(plan->moved_bytes, 0);
                }
                bl_plan_free(&plan);
            }
            bl_problem_free(&p);
        }
    }
}

static void fit_check_moves_nothing_when_all_fits(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = described_model("sdxl", &card);
    bl_offload_settings s = mode(BL_OFFLOAD_BALANCED);
    s.never = "";
    bl_plan *plan = run_three(p, &card, &s);
    assert_int_equal(plan->moved_bytes, 0);
    bl_plan_free(&plan);

    /* The old rule throws the UNet out when the VAE begins, and again when the text encoders do. */
    s.fit_check = false;
    plan = run_three(p, &card, &s);
    assert_true(plan->moved_bytes >= 2 * p->modules[2].bytes);
    bl_plan_free(&plan);

    /* What is never to go stays; a zero low watermark throws out all the rest. */
    s.never = "unet, text_encoder,text_encoder_2,vae_decoder,vae_encoder";
    plan = run_three(p, &card, &s);
    assert_int_equal(plan->moved_bytes, 0);
    s.fit_check = true;
    s.low = 0;
    s.never = "unet";
    bl_plan_free(&plan);
    plan = run_three(p, &card, &s);
    assert_true(plan->moved_bytes > 0 && plan->moved_bytes < p->modules[2].bytes);
    bl_plan_free(&plan);
    s.never = "sdxl";
    s.model_type = "sdxl";
    plan = run_three(p, &card, &s);
    assert_int_equal(plan->moved_bytes, 0);
    bl_plan_free(&plan);
    s.low = -1;
    s.never = "";
    s.always = "unet";
    plan = run_three(p, &card, &s);
    assert_true(plan->moved_bytes >= 2 * p->modules[2].bytes);
    bl_plan_free(&plan);
    bl_problem_free(&p);
}

static void small_budgets_are_refused_with_the_number(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = described_model("sdxl", &card);
    bl_plan *plan;
    bl_error err;
    bl_offload_settings s = mode(BL_OFFLOAD_NONE);
    p->budget_bytes = bl_problem_working_set(p);
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    assert_true(plan->peak_bytes == p->budget_bytes);
    bl_plan_free(&plan);
    p->budget_bytes--;
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)bl_problem_working_set(p));
    assert_int_equal(bl_plan_make(&plan, p, &s, &err), BL_E_BUDGET);
    assert_non_null(strstr(err.message, number));

    s.mode = BL_OFFLOAD_SEQUENTIAL;
    p->budget_bytes = bl_problem_min_budget(p);
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    assert_true(plan->peak_bytes == p->budget_bytes);
    bl_plan_free(&plan);
    p->budget_bytes--;
    snprintf(number, sizeof number, "%llu", (unsigned long long)bl_problem_min_budget(p));
    assert_int_equal(bl_plan_make(&plan, p, &s, &err), BL_E_BUDGET);
    assert_non_null(strstr(err.message, number));
    bl_problem_free(&p);
}

static void balanced_streams_what_does_not_fit(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = described_model("sdxl", &card);
    bl_offload_settings s = mode(BL_OFFLOAD_BALANCED);
    p->memory_bytes = p->budget_bytes = 4ull << 30;
    bl_plan *plan = run_three(p, &card, &s);
    assert_true(plan->phases[2].streamed_blocks > 0 && plan->phases[2].resident_bytes > 0);
    assert_true(plan->peak_bytes <= p->budget_bytes);
    bl_plan_free(&plan);
    bl_problem_free(&p);
}

static void lists_and_watermarks(void **state) {
    (void)state;
    assert_true(bl_offload_lists(" unet , vae", "vae"));
    assert_false(bl_offload_lists("unet,vae_decoder", "vae"));
    assert_false(bl_offload_lists(NULL, "vae"));
    bl_offload_settings s = bl_offload_defaults();
    double low, high;
    bl_offload_watermarks(&s, 12ull << 30, &low, &high);
    assert_true(low == 0.0 && high == 0.6);
    bl_offload_watermarks(&s, 16ull << 30, &low, &high);
    assert_true(low == 0.2 && high == 0.6);
    bl_offload_watermarks(&s, 24ull << 30, &low, &high);
    assert_true(low == 0.2 && high == 0.8);
    s.low = 0.5;
    bl_offload_watermarks(&s, 24ull << 30, &low, &high);
    assert_true(low == 0.5 && high == 0.8);
    assert_null(bl_offload_never(&s, 22ull << 30));
    assert_true(bl_offload_lists(bl_offload_never(&s, 24ull << 30), "vae_decoder"));
    s.never = "unet";
    assert_string_equal(bl_offload_never(&s, 24ull << 30), "unet");
}

/* Reasons that a mode's moves may have. */
static const struct {
    bl_offload mode;
    bl_why onload[5], drop[9]; /* each list ends with BL_WHY_COUNT */
} reasons[] = {
    {BL_OFFLOAD_NONE, {BL_WHY_ALL, BL_WHY_COUNT}, {BL_WHY_ARENA, BL_WHY_COUNT}},
    {BL_OFFLOAD_MODEL, {BL_WHY_NEEDED, BL_WHY_COUNT}, {BL_WHY_MODULE, BL_WHY_ARENA, BL_WHY_COUNT}},
    {BL_OFFLOAD_SEQUENTIAL, {BL_WHY_NEEDED, BL_WHY_COUNT}, {BL_WHY_DONE, BL_WHY_COUNT}},
    {BL_OFFLOAD_BALANCED,
     {BL_WHY_NEEDED, BL_WHY_COUNT},
     {BL_WHY_ALWAYS, BL_WHY_LOW_0, BL_WHY_PRESSURE, BL_WHY_ROOM, BL_WHY_ARENA, BL_WHY_SLOT, BL_WHY_DONE,
      BL_WHY_COUNT}},
    {BL_OFFLOAD_AUTO,
     {BL_WHY_NEEDED, BL_WHY_EARLY, BL_WHY_IN_TIME, BL_WHY_NEXT, BL_WHY_COUNT},
     {BL_WHY_ARENA, BL_WHY_LATER, BL_WHY_PLACE, BL_WHY_COUNT}},
};

static bool is_among(bl_why why, const bl_why *list) {
    while (*list != BL_WHY_COUNT && *list != why) {
        list++;
    }
    return *list == why;
}

static void check_reasons(const bl_plan *plan, const bl_problem *p, size_t mode, int *seen) {
    for (int i = 0; i < plan->move_count; i++) {
        const bl_move *v = &plan->moves[i];
        if (!is_among(v->why, v->kind == BL_MOVE_DROP ? reasons[mode].drop : reasons[mode].onload)) {
            fail_msg("%s: %s of %s because \"%s\"", bl_offload_name(plan->mode),
                     v->kind == BL_MOVE_DROP ? "drop" : "onload", p->modules[v->module].name,
                     bl_why_name(v->why));
        }
        if (v->why == BL_WHY_NEXT) {
            assert_int_equal(v->before, plan->run_count);
        } else if (v->why == BL_WHY_NEEDED && plan->mode == BL_OFFLOAD_AUTO) {
            assert_int_equal(v->before, v->after + 1);
        } else if (v->why == BL_WHY_ARENA) {
            int phase = 0;
            while (phase + 1 < p->phase_count && p->phases[phase + 1].first_run <= v->before) {
                phase++;
            }
            assert_true(v->offset < plan->phases[phase].arena_bytes || plan->mode == BL_OFFLOAD_NONE);
        }
        seen[v->why]++;
    }
}

/* Each move has the reason that its mode had, and the reason is true. */
static void moves_say_why(void **state) {
    int seen[BL_WHY_COUNT] = {0};
    bl_sim_card card = described_card();
    (void)state;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        bl_problem *p = described_model("sdxl", &card);
        for (uint64_t budget = 4; budget <= 12; budget += 4) {
            bl_plan *plan;
            bl_offload_settings s = mode(reasons[i].mode);
            s.fit_check = false;
            bl_error err = {0};
            p->budget_bytes = p->memory_bytes = budget << 30;
            for (int k = 0; k < 2 && !bl_plan_make(&plan, p, &s, &err); k++) {
                check_reasons(plan, p, i, seen);
                bl_replay_after(p, plan);
                bl_plan_free(&plan);
            }
            bl_problem_clear_resident(p);
        }
        bl_problem_free(&p);
    }
    for (int why = BL_WHY_NEEDED; why <= BL_WHY_DONE; why++) {
        if (!seen[why] && why != BL_WHY_PLACE) {
            fail_msg("no move because \"%s\"", bl_why_name((bl_why)why));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_runs_as_planned),
        cmocka_unit_test(fit_check_moves_nothing_when_all_fits),
        cmocka_unit_test(small_budgets_are_refused_with_the_number),
        cmocka_unit_test(balanced_streams_what_does_not_fit),
        cmocka_unit_test(lists_and_watermarks),
        cmocka_unit_test(moves_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
