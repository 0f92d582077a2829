#include "residency/problem/follow.h"

int bl_problem_add_generation(bl_problem *p, bl_error *err) {
    if (p->generation_count == BL_PROBLEM_GENERATIONS) {
        return bl_fail(err, BL_E_ARGUMENT, "more than %d generations in one problem", BL_PROBLEM_GENERATIONS);
    }
    p->generations[p->generation_count++] = (bl_problem_generation){.first_phase = p->listed_phases};
    return 0;
}

int bl_problem_add_follower(bl_problem *p, int generation, double likelihood, bl_error *err) {
    if (p->follower_count == BL_PROBLEM_FOLLOWERS) {
        return bl_fail(err, BL_E_ARGUMENT, "more than %d generations that follow", BL_PROBLEM_FOLLOWERS);
    }
    p->followers[p->follower_count++] =
        (bl_problem_follower){.generation = generation, .likelihood = likelihood};
    return bl_problem_check_followers(p, err);
}

void bl_problem_set_repeats(bl_problem *p, bool repeats) {
    p->follower_count = repeats;
    p->followers[0] = (bl_problem_follower){.generation = 0, .likelihood = 1};
}

int bl_problem_certain(const bl_problem *p) {
    int count = 0;
    while (count < p->follower_count && p->followers[count].likelihood >= 1) {
        count++;
    }
    return count;
}

bool bl_problem_comes_round(const bl_problem *p) {
    int certain = bl_problem_certain(p);
    return certain && p->followers[certain - 1].generation == 0;
}

bool bl_problem_repeats(const bl_problem *p) {
    return p->follower_count == 1 && bl_problem_comes_round(p);
}

int bl_problem_check_followers(const bl_problem *p, bl_error *err) {
    double sum = 0;
    for (int i = 0; i < p->follower_count; i++) {
        const bl_problem_follower *f = &p->followers[i];
        if (f->generation < 0 || f->generation >= p->generation_count) {
            return bl_fail(err, BL_E_ARGUMENT, "what follows: generation %d of %d", f->generation,
                           p->generation_count);
        }
        if (!(f->likelihood > 0 && f->likelihood <= 1)) {
            return bl_fail(err, BL_E_ARGUMENT,
                           "what follows: a likelihood of %g is not above 0 and at most 1", f->likelihood);
        }
        if (f->likelihood == 1 && sum > 0) {
            return bl_fail(err, BL_E_ARGUMENT, "what follows: what is certain comes before what is not");
        }
        sum += f->likelihood < 1 ? f->likelihood : 0;
    }
    if (sum > 1 + 1e-9) {
        return bl_fail(err, BL_E_ARGUMENT, "what follows: likelihoods add up to %g", sum);
    }
    return 0;
}

/* What is known once follower number `follower` has begun, in p's numbers of generations. */
static int followers_then(bl_problem_follower *out, const bl_problem *p, int follower) {
    int certain = bl_problem_certain(p), count = 0;
    bool round = follower < certain && bl_problem_comes_round(p);
    for (int i = follower < certain; i < certain; i++) {
        out[count++] = p->followers[i];
    }
    if (round) {
        out[count++] = p->followers[0];
    }
    for (int i = certain; i < p->follower_count; i++) {
        out[count++] = p->followers[i];
    }
    return count;
}

int bl_problem_next(bl_problem **out, const bl_problem *p, int follower, bl_error *err) {
    *out = NULL;
    bl_problem_follower then[BL_PROBLEM_FOLLOWERS];
    int count = followers_then(then, p, follower), number[BL_PROBLEM_GENERATIONS];
    for (int g = 0; g < BL_PROBLEM_GENERATIONS; g++) {
        number[g] = -1;
    }
    bl_problem *next;
    int rc = bl_problem_copy_modules(&next, p, err);
    if (rc) {
        return rc;
    }
    number[p->followers[follower].generation] = 0;
    rc = bl_problem_copy_phases(next, p, p->followers[follower].generation, err);
    for (int i = 0; i < count && !rc; i++) {
        int from = then[i].generation;
        if (number[from] < 0) {
            number[from] = next->generation_count;
            rc = bl_problem_add_generation(next, err);
            rc = rc ? rc : bl_problem_copy_phases(next, p, from, err);
        }
        next->followers[i] =
            (bl_problem_follower){.generation = number[from], .likelihood = then[i].likelihood};
    }
    next->follower_count = count;
    rc = rc ? rc : bl_problem_finish(next, err);
    if (rc) {
        bl_problem_free(&next);
        return rc;
    }
    *out = next;
    return 0;
}

/* The phases of `generations`, of [count] problems with the same modules, as one generation. */
static int join(bl_problem **out, const bl_problem *const *list, const int *generations, int count,
                bl_error *err) {
    *out = NULL;
    bl_problem *all;
    int rc = bl_problem_copy_modules(&all, list[0], err);
    if (rc) {
        return rc;
    }
    for (int i = 0; i < count && !rc; i++) {
        rc = bl_problem_copy_phases(all, list[i], generations[i], err);
    }
    rc = rc ? rc : bl_problem_finish(all, err);
    if (rc) {
        bl_problem_free(&all);
        return rc;
    }
    *out = all;
    return 0;
}

int bl_problem_join(bl_problem **out, const bl_problem *const *list, int count, bl_error *err) {
    *out = NULL;
    int generations[BL_PROBLEM_PHASES] = {0};
    return join(out, list, generations, count < BL_PROBLEM_PHASES ? count : BL_PROBLEM_PHASES, err);
}

int bl_problem_round(bl_problem **out, const bl_problem *p, bl_error *err) {
    *out = NULL;
    const bl_problem *list[BL_PROBLEM_FOLLOWERS + 1];
    int generations[BL_PROBLEM_FOLLOWERS + 1] = {0}, count = 0;
    list[count++] = p;
    for (int i = 0; i < bl_problem_certain(p) && p->followers[i].generation; i++) {
        generations[count] = p->followers[i].generation;
        list[count++] = p;
    }
    return join(out, list, generations, count, err);
}
