/* Small instances against every possible schedule: equal blocks, whole seconds, one cold generation. */
#include "random.h"

#include "residency/bound/bound.h"
#include "support/slow.h"

/* Of compute and copies in the smallest unit: a quarter of a second where compute is slower beside copies. */
enum { most_blocks = 5, most_runs = 24, most_seconds = 8 };

typedef struct instance {
    int modules, blocks[2], first[2]; /* blocks of both together: at most most_blocks */
    int phases, module[3], passes[3];
    int slots, copy, compute;      /* blocks that fit; seconds */
    int runs, block_of[most_runs]; /* numbered over both modules */
} instance;

static instance random_instance(random_state *r) {
    instance x = {.copy = random_int(r, 1, 2), .compute = random_int(r, 1, 2)};
    x.modules = random_int(r, 1, 2);
    x.blocks[0] = random_int(r, 2, x.modules == 1 ? 5 : 3);
    x.blocks[1] = x.modules == 2 ? 2 : 0;
    x.first[1] = x.blocks[0];
    x.phases = random_int(r, x.modules, 3);
    for (int i = 0; i < x.phases; i++) {
        x.module[i] = i < x.modules ? i : random_int(r, 0, x.modules - 1);
        x.passes[i] = random_int(r, 1, 4);
        for (int k = 0; k < x.passes[i] * x.blocks[x.module[i]] && x.runs < most_runs; k++) {
            x.block_of[x.runs++] = x.first[x.module[i]] + k % x.blocks[x.module[i]];
        }
    }
    /* Passes that were cut off above are taken back. */
    int runs = 0;
    for (int i = 0; i < x.phases; i++) {
        int n = x.blocks[x.module[i]];
        int left = (most_runs - runs) / n;
        x.passes[i] = x.passes[i] < left ? x.passes[i] : left;
        runs += x.passes[i] * n;
        if (x.passes[i] == 0) {
            x.phases = i;
            break;
        }
    }
    x.runs = runs;
    x.slots = random_int(r, 2, x.blocks[0] + x.blocks[1]);
    return x;
}

static bl_problem *problem_of(const instance *x, bool async) {
    bl_problem *p;
    int number;
    double seconds[most_blocks];
    CHECK(bl_problem_new(&p, &described_error));
    p->copy_rate = 64.0 / x->copy;
    p->async_copy = async;
    for (int m = 0; m < x->modules; m++) {
        bl_problem_block blocks[most_blocks];
        memset(blocks, 0, sizeof blocks);
        for (int b = 0; b < x->blocks[m]; b++) {
            blocks[b].bytes = 64;
            blocks[b].copy_seconds = -1;
            blocks[b].resident_at = BL_NOWHERE;
            seconds[b] = x->compute;
        }
        CHECK(
            bl_problem_add_module(&number, p, m ? "b" : "a", "f32", blocks, x->blocks[m], &described_error));
    }
    for (int b = 0; b < most_blocks; b++) {
        seconds[b] = x->compute;
    }
    for (int i = 0; i < x->phases; i++) {
        CHECK(bl_problem_add_phase(&number, p, "p", "work", x->module[i], x->passes[i], 64, seconds,
                                   &described_error));
    }
    p->budget_bytes = 64 + 64 * (uint64_t)x->slots;
    CHECK(bl_problem_finish(p, &described_error));
    return p;
}

/* Copies share the cores: the fewest copies over all choices of victims. */
static int best_shared(const instance *x) {
    enum { sets = 1 << most_blocks };
    int fewest[sets], next[sets];
    for (int s = 0; s < sets; s++) {
        fewest[s] = s ? 1000 : 0;
    }
    for (int r = 0; r < x->runs; r++) {
        int bit = 1 << x->block_of[r];
        for (int s = 0; s < sets; s++) {
            next[s] = 1000;
        }
        for (int s = 0; s < sets; s++) {
            if (fewest[s] == 1000) {
                continue;
            }
            if (s & bit) {
                next[s] = fewest[s] < next[s] ? fewest[s] : next[s];
            } else if (__builtin_popcount((unsigned)s) < x->slots) {
                next[s | bit] = fewest[s] + 1 < next[s | bit] ? fewest[s] + 1 : next[s | bit];
            } else {
                for (int v = 0; v < most_blocks; v++) {
                    int t = (s & ~(1 << v)) | bit;
                    if (s & 1 << v && fewest[s] + 1 < next[t]) {
                        next[t] = fewest[s] + 1;
                    }
                }
            }
        }
        memcpy(fewest, next, sizeof fewest);
    }
    int best = 1000;
    for (int s = 0; s < sets; s++) {
        best = fewest[s] < best ? fewest[s] : best;
    }
    return x->runs * x->compute + best * x->copy;
}

/* Everything that can be going on at a full second. */
typedef struct moment {
    int run, run_left, set, coming, copy_left; /* coming: most_blocks when no copy is under way */
} moment;

enum {
    moments =
        (most_runs + 1) * (most_seconds + 1) * (1 << most_blocks) * (most_blocks + 1) * (most_seconds + 1)
};

static int moment_number(const moment *m) {
    int n = m->run;
    n = n * (most_seconds + 1) + m->run_left;
    n = n * (1 << most_blocks) + m->set;
    n = n * (most_blocks + 1) + m->coming;
    return n * (most_seconds + 1) + m->copy_left;
}

static unsigned char seen[moments];
static moment queue[2][moments];

/* Copies run beside compute: all schedules, second by second. A step without a copy does `alone` units of a
 * run's work, beside one it does one. With more than one unit a run that ends within a step waits for the
 * step's end: then the best may be a little better. */
static int best_beside(const instance *x, int alone) {
    int count = 1, now = 0;
    memset(seen, 0, sizeof seen);
    queue[0][0] = (moment){.coming = most_blocks};
    for (int t = 0;; t++, now ^= 1) {
        int more = 0;
        for (int i = 0; i < count; i++) {
            moment m = queue[now][i];
            if (m.run == x->runs) {
                return t;
            }
            if (!m.run_left && m.set & 1 << x->block_of[m.run]) {
                m.run_left = x->compute;
            }
            int busy = m.run_left ? x->block_of[m.run] : most_blocks;
            /* choice: no copy, or block b in place of v (v = most_blocks: in a free place) */
            for (int c = -1; c < most_blocks * (most_blocks + 1); c++) {
                moment n = m;
                if (c >= 0) {
                    int b = c / (most_blocks + 1), v = c % (most_blocks + 1);
                    bool full = __builtin_popcount((unsigned)n.set) == x->slots;
                    if (n.coming != most_blocks || n.set & 1 << b || b >= x->blocks[0] + x->blocks[1] ||
                        full != (v < most_blocks) || (full && (v == busy || !(n.set & 1 << v)))) {
                        continue;
                    }
                    n.set &= full ? ~(1 << v) : ~0;
                    n.coming = b;
                    n.copy_left = x->copy;
                }
                int done = n.coming == most_blocks ? alone : 1;
                if (n.run_left) {
                    n.run_left = n.run_left > done ? n.run_left - done : 0;
                    n.run += !n.run_left;
                }
                if (n.coming != most_blocks && --n.copy_left == 0) {
                    n.set |= 1 << n.coming;
                    n.coming = most_blocks;
                }
                int number = moment_number(&n);
                if (!seen[number]) {
                    seen[number] = 1;
                    queue[now ^ 1][more++] = n;
                }
            }
        }
        count = more;
        assert_true(count > 0);
    }
}

static void compare(bool async) {
    random_state r = {.s = 42};
    int equal = 0, total = bl_test_slow() ? 50 : 200;
    for (int i = 0; i < total; i++) {
        instance x = random_instance(&r);
        bl_problem *p = problem_of(&x, async);
        int best = async ? best_beside(&x, 1) : best_shared(&x);
        bl_offload_settings s = bl_offload_defaults();
        bl_plan *plan;
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        CHECK(bl_replay_check(plan, p, &described_error));
        if (plan->seconds < best - 1e-6 || plan->bound_seconds > best + 1e-6) {
            fail_msg("instance %d: plan %.3f, bound %.3f, but the best of all schedules takes %d", i,
                     plan->seconds, plan->bound_seconds, best);
        }
        double fine = 0;
        CHECK(bl_bound_refine(&fine, p, false, &described_error));
        if (fine > best + 1e-6) {
            fail_msg("instance %d: the finer bound is %.3f, but the best of all schedules takes %d", i, fine,
                     best);
        }
        equal += plan->seconds < best + 1e-6;
        bl_plan_free(&plan);
        bl_problem_free(&p);
    }
    print_message("%s: %d of %d as good as the best of all schedules\n",
                  async ? "copies beside compute" : "copies share the cores", equal, total);
    assert_true(equal * 100 >= 95 * total);
}

static void copies_share_the_cores(void **state) {
    (void)state;
    compare(false);
}

static void copies_beside_compute(void **state) {
    (void)state;
    compare(true);
}

/* Beside a copy compute takes twice as long: steps of half a second, work in quarters. No bound is above a
 * schedule that there is. */
static void compute_is_slower_beside_copies(void **state) {
    (void)state;
    random_state r = {.s = 43};
    double sum = 0;
    const int total = bl_test_slow() ? 15 : 60;
    for (int i = 0; i < total; i++) {
        instance x = random_instance(&r), steps = x;
        bl_problem *p = problem_of(&x, true);
        p->copy_slowdown = 1;
        CHECK(bl_problem_finish(p, &described_error));
        steps.copy = 2 * x.copy;
        steps.compute = 4 * x.compute;
        double best = best_beside(&steps, 2) / 2.0, fine = 0;
        bl_offload_settings s = bl_offload_defaults();
        bl_plan *plan;
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        CHECK(bl_replay_check(plan, p, &described_error));
        CHECK(bl_bound_refine(&fine, p, false, &described_error));
        if (plan->bound_seconds > best + 1e-6 || fine > best + 1e-6 || plan->seconds < fine - 1e-6) {
            fail_msg("instance %d: plan %.3f, bounds %.3f and %.3f, a schedule takes %.3f", i, plan->seconds,
                     plan->bound_seconds, fine, best);
        }
        sum += plan->seconds / best;
        bl_plan_free(&plan);
        bl_problem_free(&p);
    }
    print_message("compute slower beside copies: %.2f of the best in steps\n", sum / total);
    assert_true(sum / total < 1.03);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_share_the_cores),
        cmocka_unit_test(copies_beside_compute),
        cmocka_unit_test(compute_is_slower_beside_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
