/* Running plans: order of calls, faults by script, cancelling, memory that vanishes, what is told and traced.
 */
#include "described.h"

#include "residency/tell/explain.h"
#include "residency/tell/line.h"
#include "residency/tell/trace.h"

#include <math.h>
#include "residency/run/start.h"

typedef struct lines {
    int count;
    char text[16384];
} lines;

static void collect(void *payload, bl_log_level level, const char *line) {
    (void)level;
    lines *l = payload;
    size_t used = strlen(l->text);
    snprintf(l->text + used, sizeof l->text - used, "%s\n", line);
    l->count++;
}

static void calls_out_of_turn_are_refused(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = small_budget(&card, 2000000000);
    described_machine x;
    bl_error err;
    machine_open(&x, p, &card, NULL);
    assert_int_equal(bl_executor_phase_begin(x.executor, 0, &err), BL_E_ARGUMENT);
    assert_int_equal(bl_executor_pass(x.executor, NULL, NULL, &err), BL_E_ARGUMENT);
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    bl_executable *e[16];
    for (int i = 0; i < p->phase_count; i++) {
        CHECK(bl_sim_executable_describe(&e[i], x.modules[p->phases[i].module],
                                         p->phases[i].levels[0].arena_bytes,
                                         p->phases[i].levels[0].block_seconds, &described_error));
    }
    CHECK(bl_executor_start(x.executor, p, plan, e, &x.ledger, &described_error));
    assert_int_equal(bl_executor_start(x.executor, p, plan, e, &x.ledger, &err), BL_E_ARGUMENT);
    assert_int_equal(bl_executor_phase_begin(x.executor, 1, &err), BL_E_ARGUMENT);
    CHECK(bl_executor_phase_begin(x.executor, 0, &described_error));
    assert_int_equal(bl_executor_phase_end(x.executor, &err), BL_E_ARGUMENT);
    CHECK(bl_executor_pass(x.executor, NULL, NULL, &described_error));
    assert_int_equal(bl_executor_pass(x.executor, NULL, NULL, &err), BL_E_ARGUMENT);
    CHECK(bl_executor_phase_end(x.executor, &described_error));
    CHECK(bl_executor_finish(x.executor, &described_error));
    for (int i = 0; i < p->phase_count; i++) {
        bl_device_executable_close(x.device, e[i]);
    }
    bl_plan_free(&plan);
    machine_close(&x);
    bl_problem_free(&p);
}

/* After any fault at any place the next generation, planned from what is left, runs as planned. */
static void the_next_generation_survives_a_fault(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    for (int at = 1; at < 400; at += 57) {
        for (int kind = 0; kind < 2; kind++) {
            bl_problem *p = small_budget(&card, 1200000000);
            described_machine x;
            bl_error err;
            bl_offload_settings s = bl_offload_defaults();
            bl_plan *plan;
            machine_open(&x, p, &card, NULL);
            bl_sim_set_faults(x.device,
                              &(bl_sim_faults){.fail_copy = kind ? at : 0, .fail_run = kind ? 0 : at});
            CHECK(bl_plan_make(&plan, p, &s, &described_error));
            assert_int_equal(machine_run(&x, p, plan, &err), BL_E_DEVICE);
            assert_non_null(strstr(err.message, "as scripted"));
            bl_plan_free(&plan);
            bl_executor_resident(x.executor, p);
            CHECK(bl_plan_make(&plan, p, &s, &described_error));
            CHECK(bl_replay_check(plan, p, &described_error));
            CHECK(machine_run(&x, p, plan, &described_error));
            assert_true(x.ledger.moved_bytes == plan->moved_bytes);
            bl_plan_free(&plan);
            machine_close(&x);
            bl_problem_free(&p);
        }
    }
}

/* Each of the first 300 pieces of work fails late once, with the device's memory lost or not: the generation
 * ends with the device's own words, and the next one, planned from what is left, finds every block that a run
 * reads where it should be (the device would say). */
static void late_faults_leave_a_region_that_is_right(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = small_budget(&card, 1200000000);
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *first;
    CHECK(bl_plan_make(&first, p, &s, &described_error));
    for (int at = 1; at <= 300; at += FAULTS_STEP) {
        described_machine x;
        bl_error err;
        bl_plan *plan;
        machine_open(&x, p, &card, NULL);
        bl_sim_set_faults(x.device, &(bl_sim_faults){.late = at, .lose = at % 3 == 0});
        assert_int_equal(machine_run(&x, p, first, &err), BL_E_DEVICE);
        assert_non_null(strstr(err.message, "failed late, as scripted"));
        bl_executor_resident(x.executor, p);
        assert_true(!p->open_bytes == (at % 3 == 0));
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        CHECK(bl_replay_check(plan, p, &described_error));
        CHECK(machine_run(&x, p, plan, &described_error));
        assert_true(x.ledger.moved_bytes == plan->moved_bytes);
        bl_plan_free(&plan);
        machine_close(&x);
    }
    bl_plan_free(&first);
    bl_problem_free(&p);
}

/* The problem with its last phase alone. */
static bl_problem *last_phase(const bl_problem *p) {
    const bl_problem_phase *f = &p->phases[p->phase_count - 1];
    bl_problem *out;
    int number;
    CHECK(bl_problem_new(&out, &described_error));
    for (int m = 0; m < p->module_count; m++) {
        const bl_problem_module *x = &p->modules[m];
        CHECK(bl_problem_add_module(&number, out, x->name, x->dtype, x->blocks, x->block_count,
                                    &described_error));
    }
    CHECK(bl_problem_add_phase(&number, out, f->name, f->stage, f->module, f->passes,
                               f->levels[0].arena_bytes, f->levels[0].block_seconds, &described_error));
    out->memory_bytes = p->memory_bytes;
    out->budget_bytes = p->budget_bytes;
    out->copy_rate = p->copy_rate;
    out->async_copy = p->async_copy;
    CHECK(bl_problem_finish(out, &described_error));
    return out;
}

/* The ledger's peak and arenas are what the device used: of a region that an earlier generation opened only
 * the part that this one used, and of an arena no more than the graph took, whatever was planned. */
static void the_ledger_says_what_was_used(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = small_budget(&card, 4000000000), *last = last_phase(p);
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    described_machine x;
    machine_open(&x, p, &card, NULL);
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    CHECK(machine_run(&x, p, plan, &described_error));
    ledger_matches(&x, plan);
    assert_true(plan->peak_bytes == plan->region_bytes);
    bl_plan_free(&plan);

    bl_executor_resident(x.executor, last);
    CHECK(bl_plan_make(&plan, last, &s, &described_error));
    CHECK(machine_run(&x, last, plan, &described_error));
    ledger_matches(&x, plan);
    assert_true(plan->moved_bytes == 0 && plan->peak_bytes < plan->region_bytes);
    bl_plan_free(&plan);

    bl_executor_resident(x.executor, p);
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    uint64_t smaller = p->phases[1].levels[0].arena_bytes -= 640;
    CHECK(machine_run(&x, p, plan, &described_error));
    assert_true(x.ledger.arena_bytes[1] == smaller && plan->phases[1].arena_bytes == smaller + 640);
    assert_true(x.ledger.arena_bytes[0] == plan->phases[0].arena_bytes);
    bl_plan_free(&plan);
    machine_close(&x);
    bl_problem_free(&last);
    bl_problem_free(&p);
}

static int stop_at(void *payload) {
    int *left = payload;
    return --*left <= 0;
}

static void cancelling_is_clean(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    for (int at = 1; at < 600; at += 83) {
        bl_problem *p = small_budget(&card, 1000000000);
        described_machine x;
        bl_error err;
        int left = at;
        machine_open(&x, p, &card, NULL);
        bl_executor_watch(x.executor, stop_at, &left);
        bl_offload_settings s = bl_offload_defaults();
        bl_plan *plan;
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        assert_int_equal(machine_run(&x, p, plan, &err), BL_E_CANCELLED);
        bl_plan_free(&plan);
        left = 1 << 30;
        bl_executor_resident(x.executor, p);
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        CHECK(machine_run(&x, p, plan, &described_error));
        bl_plan_free(&plan);
        machine_close(&x);
        bl_problem_free(&p);
    }
}

typedef struct preparer {
    described_machine *x;
    const bl_problem *p;
    bl_executable *e[16];
    int calls;
} preparer;

static void forget(preparer *y) {
    for (int i = 0; i < y->p->phase_count && y->calls; i++) {
        bl_device_executable_close(y->x->device, y->e[i]);
    }
}

static int prepare(void *payload, bl_executable *const **out, const bl_plan *plan, bl_error *err) {
    preparer *y = payload;
    forget(y);
    for (int i = 0; i < y->p->phase_count; i++) {
        const bl_problem_level *l = &y->p->phases[i].levels[plan->phases[i].level];
        int rc = bl_sim_executable_describe(&y->e[i], y->x->modules[y->p->phases[i].module], l->arena_bytes,
                                            l->block_seconds, err);
        if (rc) {
            return rc;
        }
    }
    y->calls++;
    *out = y->e;
    return 0;
}

/* Another program takes memory between plan and run: planned again, finished, said in one line. */
static void vanished_memory_is_planned_around(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    card.memory_bytes = 3000000000;
    for (int m = 0; m < BL_OFFLOAD_COUNT; m++) {
        bl_problem *p = small_budget(&card, 2900000000);
        lines said = {0};
        bl_log log = {.fn = collect, .payload = &said};
        described_machine x;
        machine_open(&x, p, &card, NULL);
        bl_sim_set_faults(x.device, &(bl_sim_faults){.vanished_bytes = 1500000000});
        preparer y = {.x = &x, .p = p};
        bl_offload_settings s = bl_offload_defaults();
        s.mode = (bl_offload)m;
        bl_plan *plan;
        CHECK(bl_start(&plan, x.executor, p, &s, prepare, &y, &x.ledger, &log, &described_error));
        bool small = m == BL_OFFLOAD_SEQUENTIAL; /* asks for little from the start */
        assert_int_equal(said.count, small ? 0 : 1);
        assert_int_equal(y.calls, small ? 1 : 2);
        assert_true(plan->region_bytes <= 1500000000);
        for (int i = 0; i < p->phase_count; i++) {
            CHECK(bl_executor_phase_begin(x.executor, i, &described_error));
            for (int k = 0; k < p->phases[i].passes; k++) {
                CHECK(bl_executor_pass(x.executor, NULL, NULL, &described_error));
            }
            CHECK(bl_executor_phase_end(x.executor, &described_error));
        }
        CHECK(bl_executor_finish(x.executor, &described_error));
        ledger_matches(&x, plan);
        bl_plan_free(&plan);
        forget(&y);
        machine_close(&x);
        bl_problem_free(&p);
    }
    /* Nothing is left: refused with the smallest budget that works. */
    bl_problem *p = small_budget(&card, 2900000000);
    described_machine x;
    bl_error err;
    machine_open(&x, p, &card, NULL);
    bl_sim_set_faults(x.device, &(bl_sim_faults){.vanished_bytes = 2950000000});
    preparer y = {.x = &x, .p = p};
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    assert_int_equal(bl_start(&plan, x.executor, p, &s, prepare, &y, &x.ledger, NULL, &err), BL_E_BUDGET);
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)bl_problem_min_budget(p));
    assert_non_null(strstr(err.message, number));
    forget(&y);
    machine_close(&x);
    bl_problem_free(&p);
}

/* A budget that leaves less than the process takes beside the region, where that is the same memory. */
static void room_for_the_process_is_left(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    card.memory_bytes = 3000000000;
    bl_problem *p = small_budget(&card, 2900000000);
    p->process_bytes = 1300000000;
    described_machine x;
    machine_open(&x, p, &card, NULL);
    preparer y = {.x = &x, .p = p};
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    CHECK(bl_start(&plan, x.executor, p, &s, prepare, &y, &x.ledger, NULL, &described_error));
    assert_int_equal(y.calls, 2);
    assert_true(plan->region_bytes <= 1700000000 && plan->region_bytes > 1500000000);
    CHECK(bl_executor_finish(x.executor, &described_error));
    bl_plan_free(&plan);
    forget(&y);
    machine_close(&x);
    bl_problem_free(&p);
}

static void decisions_are_told(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = described_model("sdxl", &card);
    lines *said = calloc(1, sizeof *said);
    bl_log log = {.fn = collect, .payload = said};
    bl_executor_options o = {.log = &log, .move_debug = true};
    described_machine x;
    machine_open(&x, p, &card, &o);
    bl_offload_settings s = bl_offload_defaults();
    s.mode = BL_OFFLOAD_BALANCED;
    s.never = "";
    for (int i = 0; i < 2; i++) {
        bl_plan *plan;
        s.fit_check = i == 0;
        bl_executor_resident(x.executor, p);
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        CHECK(machine_run(&x, p, plan, &described_error));
        bl_plan_free(&plan);
    }
    assert_non_null(strstr(said->text, "offload mode=balanced op=keep why=fits gpu="));
    assert_non_null(strstr(said->text,
                           "offload mode=balanced op=evict why=pressure gpu=9.344/34.36 used=0.27 low=0.20 "
                           "module=unet dtype=bf16 size=5.138"));
    free(said);
    machine_close(&x);
    bl_problem_free(&p);
}

static void the_trace_is_json(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = small_budget(&card, 1500000000);
    snprintf(p->modules[0].name, sizeof p->modules[0].name, "a \"quoted\"\\ name");
    described_machine x;
    machine_open(&x, p, &card, NULL);
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    CHECK(machine_run(&x, p, plan, &described_error));
    CHECK(bl_ledger_add_host(&x.ledger, "save", x.ledger.ended, 0.25, &described_error));
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    bl_trace_begin(f);
    bl_trace_add(f, &x.ledger, p, 0, "picture 1"); /* nothing of the first is lost */
    bl_trace_add(f, &x.ledger, p, 100, "picture 2");
    bl_trace_end(f);
    fclose(f);
    json_t *root = json_loadb(text, size, 0, NULL), *event;
    size_t i;
    int lanes = 0, late = 0, events[7] = {0};
    double computed = 0;
    json_array_foreach(json_object_get(root, "traceEvents"), i, event) {
        const char *name = json_string_value(json_object_get(event, "name"));
        lanes += !strcmp(name, "thread_name");
        if (!strcmp(json_string_value(json_object_get(event, "ph")), "X")) {
            int lane = (int)json_integer_value(json_object_get(event, "tid"));
            assert_true(lane < 7 && json_real_value(json_object_get(event, "ts")) >= 0);
            events[lane]++;
            late += json_real_value(json_object_get(event, "ts")) >= 100e6;
            computed += lane == 2 ? json_real_value(json_object_get(event, "dur")) * 1e-6 : 0;
        }
    }
    assert_true(lanes == 6 && events[1] == 2 && late == 1 + x.ledger.count);
    assert_int_equal(events[2], 2 * p->run_count);
    assert_int_equal(events[3], 2 * plan->onload_count);
    assert_true(computed > 1.999 * bl_ledger_seconds(&x.ledger, BL_WORK_COMPUTE));
    bl_line l;
    bl_line_make(&l, &x.ledger, 1.5, "GPU", 15730000000u, 64000000000u);
    assert_non_null(strstr(l.text, "Time: 1.50s | total "));
    assert_non_null(strstr(l.text, " pipeline "));
    assert_non_null(strstr(l.text, " onload "));
    assert_non_null(strstr(l.text, " save 0.25"));
    assert_non_null(strstr(l.text, " | first load "));
    assert_true(l.first_load_seconds > 0 && l.swap_seconds == 0); /* nothing was there before */
    assert_true(fabs(l.first_load_seconds + l.steady_seconds - bl_ledger_device_seconds(&x.ledger)) < 1e-9);
    assert_non_null(strstr(l.text, "| GPU memory 1.50 GB 4.4% | RAM 15.7 GB 25%"));
    double sum = 0;
    for (int k = 0; k < l.stage_count; k++) {
        sum += l.stages[k].seconds;
        assert_true(!k || l.stages[k].seconds <= l.stages[k - 1].seconds);
    }
    assert_true(fabs(sum - l.total_seconds) < 1e-9 * sum && l.wall_seconds == 1.5);
    assert_true(l.peak_bytes == x.ledger.peak_bytes && l.ram_bytes == 15730000000u);
    bl_line_make(&l, &x.ledger, 1.5, "GPU", 0, 0); /* not known: left out */
    assert_null(strstr(l.text, "RAM"));
    json_decref(root);
    free(text);
    bl_plan_free(&plan);
    machine_close(&x);
    bl_problem_free(&p);
}

/* Each phase's blocks are told at the moment when most lie there: what stays, and of what is streamed what is
 * there then, between the arena and the peak. */
static void check_held(const json_t *plan) {
    size_t i, k;
    json_t *phase, *held;
    json_array_foreach(json_object_get(plan, "phases"), i, phase) {
        json_int_t all = 0, own = 0, streamed = 0;
        json_array_foreach(json_object_get(phase, "held"), k, held) {
            json_t *module = json_array_get(json_object_get(plan, "modules"),
                                            (size_t)json_integer_value(json_object_get(held, "module")));
            bool is_own = !strcmp(json_string_value(json_object_get(module, "module")),
                                  json_string_value(json_object_get(phase, "module")));
            json_int_t last = json_integer_value(json_object_get(held, "last"));
            for (json_int_t b = json_integer_value(json_object_get(held, "first")); b <= last; b++) {
                const json_t *block = json_array_get(json_object_get(module, "blocks"), (size_t)b);
                json_int_t bytes = json_integer_value(json_array_get(block, 1));
                assert_true(bytes > 0 && *json_string_value(json_array_get(block, 0)));
                bool again = json_is_true(json_object_get(held, "streamed"));
                assert_true(is_own || !again);
                all += bytes;
                own += is_own && !again ? bytes : 0;
                streamed += again ? bytes : 0;
            }
        }
        json_int_t passes = json_integer_value(json_object_get(phase, "passes"));
        json_int_t stays = json_integer_value(json_object_get(phase, "resident_bytes"));
        assert_true(passes == 1 ? own <= stays : own == stays);
        assert_true((streamed > 0) == (json_integer_value(json_object_get(phase, "streamed_bytes")) > 0));
        assert_true(all + json_integer_value(json_object_get(phase, "arena_bytes")) <=
                    json_integer_value(json_object_get(plan, "peak_bytes")));
    }
}

static void ledger_and_plan_become_json(void **state) {
    (void)state;
    bl_sim_card card = described_card();
    bl_problem *p = small_budget(&card, 1500000000);
    described_machine x;
    machine_open(&x, p, &card, NULL);
    bl_offload_settings s = bl_offload_defaults();
    bl_plan *plan;
    CHECK(bl_plan_make(&plan, p, &s, &described_error));
    CHECK(machine_run(&x, p, plan, &described_error));
    json_t *j = bl_plan_json(plan, p), *l = bl_ledger_json(&x.ledger);
    assert_non_null(j);
    assert_non_null(l);
    assert_true((uint64_t)json_integer_value(json_object_get(j, "peak_bytes")) == plan->peak_bytes);
    assert_true(json_integer_value(json_object_get(j, "moved_bytes")) ==
                json_integer_value(json_object_get(l, "moved_bytes")));
    assert_int_equal(json_array_size(json_object_get(j, "phases")), p->phase_count);
    json_t *d;
    size_t k;
    json_int_t onloads = 0;
    json_array_foreach(json_object_get(j, "decisions"), k, d) {
        bool onload = !strcmp(json_string_value(json_object_get(d, "op")), "onload");
        onloads += onload ? json_integer_value(json_object_get(d, "blocks")) : 0;
    }
    assert_int_equal(onloads, plan->onload_count);
    check_held(j);
    assert_true(json_real_value(json_object_get(json_object_get(l, "stages"), "pipeline")) > 0);
    double planned = json_real_value(json_object_get(j, "seconds")),
           was = json_real_value(json_object_get(l, "seconds"));
    assert_true(was > planned * (1 - 1e-9) && was < planned * (1 + 1e-9));
    char *text;
    CHECK(bl_plan_explain(&text, plan, p, &described_error));
    assert_non_null(strstr(text, "denoise hires"));
    assert_non_null(strstr(text, "smallest budget that works"));
    char line[256];
    bl_plan_against_ledger(line, sizeof line, plan, &x.ledger);
    assert_non_null(strstr(line, "(+0.0%)"));
    free(text);
    json_decref(j);
    json_decref(l);
    bl_plan_free(&plan);
    machine_close(&x);
    bl_problem_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_out_of_turn_are_refused),
        cmocka_unit_test(the_next_generation_survives_a_fault),
        cmocka_unit_test(late_faults_leave_a_region_that_is_right),
        cmocka_unit_test(cancelling_is_clean),
        cmocka_unit_test(the_ledger_says_what_was_used),
        cmocka_unit_test(vanished_memory_is_planned_around),
        cmocka_unit_test(room_for_the_process_is_left),
        cmocka_unit_test(decisions_are_told),
        cmocka_unit_test(the_trace_is_json),
        cmocka_unit_test(ledger_and_plan_become_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
