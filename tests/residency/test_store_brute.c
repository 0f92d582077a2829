/* Small instances with a host store against every possible schedule: equal blocks, whole seconds, one cold
 * generation.
 */
#include "random.h"

#include "residency/bound/bound.h"

enum { most_blocks = 4, most_runs = 14, nobody = most_blocks };

typedef struct instance {
    int modules, blocks, own[2]; /* blocks: of both together */
    int phases, module[3], passes[3];
    int runs, block_of[most_runs]; /* numbered over both modules */
    int slots, places;             /* blocks that fit the device, and the store */
    int load, copy, compute;       /* seconds */
} instance;

static instance random_instance(random_state *r) {
    instance x = {.load = random_int(r, 1, 3), .copy = random_int(r, 1, 2), .compute = random_int(r, 1, 2)};
    x.modules = random_int(r, 1, 2);
    x.own[0] = random_int(r, 2, x.modules == 1 ? most_blocks : 2);
    x.own[1] = x.modules == 2 ? 2 : 0;
    x.blocks = x.own[0] + x.own[1];
    int phases = random_int(r, x.modules, 3);
    for (int i = 0; i < phases; i++) {
        int m = i < x.modules ? i : random_int(r, 0, x.modules - 1), first = m ? x.own[0] : 0;
        int most = (most_runs - x.runs) / x.own[m], passes = random_int(r, 1, 4);
        passes = passes < most ? passes : most;
        if (!passes) {
            break;
        }
        x.module[x.phases] = m;
        x.passes[x.phases++] = passes;
        for (int k = 0; k < passes * x.own[m]; k++) {
            x.block_of[x.runs++] = first + k % x.own[m];
        }
    }
    x.slots = random_int(r, 2, x.blocks);
    x.places = random_int(r, 1, x.blocks);
    return x;
}

static bl_problem *problem_of(const instance *x) {
    bl_problem *p;
    int number;
    double seconds[most_blocks];
    CHECK(bl_problem_new(&p, &described_error));
    p->copy_rate = 64.0 / x->copy;
    p->load_rate = 64.0 / x->load;
    p->async_copy = p->has_store = true;
    p->host_bytes = 64 * (uint64_t)x->places;
    p->budget_bytes = 64 + 64 * (uint64_t)x->slots;
    for (int b = 0; b < most_blocks; b++) {
        seconds[b] = x->compute;
    }
    for (int m = 0; m < x->modules; m++) {
        bl_problem_block blocks[most_blocks];
        memset(blocks, 0, sizeof blocks);
        for (int b = 0; b < x->own[m]; b++) {
            blocks[b].bytes = 64;
            blocks[b].copy_seconds = blocks[b].load_seconds = -1;
            blocks[b].resident_at = blocks[b].stored_at = BL_NOWHERE;
        }
        CHECK(bl_problem_add_module(&number, p, m ? "b" : "a", "f32", blocks, x->own[m], &described_error));
    }
    for (int i = 0; i < x->phases; i++) {
        CHECK(bl_problem_add_phase(&number, p, "p", "work", x->module[i], x->passes[i], 64, seconds,
                                   &described_error));
    }
    CHECK(bl_problem_finish(p, &described_error));
    return p;
}

/* Everything that can be going on at a full second. */
typedef struct moment {
    int run, run_left;             /* runs that ended; seconds of the one under way */
    int set, coming, copy_left;    /* on the device; being copied, or nobody */
    int store, loading, load_left; /* in the store; being loaded, or nobody */
} moment;

enum { moments = (most_runs + 1) * 3 * 16 * 5 * 3 * 16 * 5 * 4 };

static int moment_number(const moment *m) {
    int n = m->run;
    n = n * 3 + m->run_left;
    n = n * 16 + m->set;
    n = n * 5 + m->coming;
    n = n * 3 + m->copy_left;
    n = n * 16 + m->store;
    n = n * 5 + m->loading;
    return n * 4 + m->load_left;
}

static unsigned char seen[moments];
static moment queue[2][moments];

/* Begins to bring block b in place of v, or (v nobody) in a free place. False: that cannot be. A place is
 * taken from the beginning on. */
static bool begin(int *set, int *coming, int b, int v, int places, int busy, int blocks) {
    int taken = __builtin_popcount((unsigned)*set) + (*coming != nobody);
    if (*coming != nobody || b >= blocks || *set & 1 << b || (v == nobody) != (taken < places)) {
        return false;
    }
    if (v != nobody) {
        if (v == busy || !(*set & 1 << v)) {
            return false;
        }
        *set &= ~(1 << v);
    }
    *coming = b;
    return true;
}

/* A second goes by. */
static int second(const moment *m, moment *out, int more) {
    moment n = *m;
    if (n.run_left && --n.run_left == 0) {
        n.run++;
    }
    if (n.coming != nobody && --n.copy_left == 0) {
        n.set |= 1 << n.coming;
        n.coming = nobody;
    }
    if (n.loading != nobody && --n.load_left == 0) {
        n.store |= 1 << n.loading;
        n.loading = nobody;
    }
    int number = moment_number(&n);
    if (!seen[number]) {
        seen[number] = 1;
        out[more++] = n;
    }
    return more;
}

/* All schedules, second by second. */
static int best_of_all(const instance *x) {
    enum { choices = most_blocks * (most_blocks + 1) };
    int count = 1, now = 0;
    memset(seen, 0, sizeof seen);
    queue[0][0] = (moment){.coming = nobody, .loading = nobody};
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
            int busy = m.run_left ? x->block_of[m.run] : nobody;
            for (int c = -1; c < choices; c++) {
                moment a = m;
                int b = c / (most_blocks + 1);
                if (c >= 0) {
                    if (!(a.store & 1 << b) ||
                        !begin(&a.set, &a.coming, b, c % (most_blocks + 1), x->slots, busy, x->blocks)) {
                        continue;
                    }
                    a.copy_left = x->copy;
                }
                for (int l = -1; l < choices; l++) {
                    moment n = a;
                    if (l >= 0) {
                        int v = l % (most_blocks + 1);
                        if (!begin(&n.store, &n.loading, l / (most_blocks + 1), v, x->places, n.coming,
                                   x->blocks)) {
                            continue;
                        }
                        n.load_left = x->load;
                    }
                    more = second(&n, queue[now ^ 1], more);
                }
            }
        }
        count = more;
        assert_true(count > 0);
    }
}

static void no_schedule_is_better(void **state) {
    (void)state;
    random_state r = {.s = 42};
    int equal = 0, total = 200;
    double sum = 0;
    for (int i = 0; i < total; i++) {
        instance x = random_instance(&r);
        bl_problem *p = problem_of(&x);
        int best = best_of_all(&x);
        bl_offload_settings s = bl_offload_defaults();
        bl_plan *plan;
        CHECK(bl_plan_make(&plan, p, &s, &described_error));
        CHECK(bl_replay_check(plan, p, &described_error));
        double fine = 0;
        CHECK(bl_bound_refine(&fine, p, false, &described_error));
        if (plan->seconds < best - 1e-6 || plan->bound_seconds > best + 1e-6 || fine > best + 1e-6) {
            fail_msg("instance %d: plan %.3f, bound %.3f, finer %.3f, but the best of all schedules takes %d",
                     i, plan->seconds, plan->bound_seconds, fine, best);
        }
        equal += plan->seconds < best + 1e-6;
        sum += plan->seconds / best - 1;
        bl_plan_free(&plan);
        bl_problem_free(&p);
    }
    print_message("%d of %d as good as the best of all schedules, %.2f%% over it on average\n", equal, total,
                  100 * sum / total);
    assert_true(equal * 100 >= 95 * total);
    assert_true(sum / total <= 0.005);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_schedule_is_better),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
