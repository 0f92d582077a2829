/* Two ways to do one thing, timed in turn: which is the faster, and how sure that is. What disturbs a machine
 * disturbs both of a pair, so the pairs say more than the times do. */
#ifndef BALLAST_TUNE_PAIRED_H
#define BALLAST_TUNE_PAIRED_H

#include <stdbool.h>

#define BL_PAIRS_MOST 12
#define BL_PAIRS_LEAST 5    /* fewer show nothing at this level */
#define BL_PAIRS_LEVEL 0.05 /* chance to call one faster that is not */

typedef struct bl_pairs {
    int count;
    double present[BL_PAIRS_MOST], other[BL_PAIRS_MOST]; /* seconds */
    bool same_bits;
    double psnr; /* dB, where they are not; 0: no number came out */
} bl_pairs;

typedef struct bl_verdict {
    double ratio;          /* of the other's seconds to the present's: geometric mean */
    double low, high;      /* 95% interval of it, by a paired bootstrap of 2000 draws */
    double present, other; /* seconds: medians */
    double spread;         /* of the present's seconds: middle half of them, against their median */
    bool faster;           /* the other one: sign test at BL_PAIRS_LEVEL, and the interval lies below 1 */
    bool slower;           /* as sure */
} bl_verdict;

/* Chance that of `count` fair coins at least `heads` show heads. */
double bl_sign_test(int heads, int count);

/* The same pairs always give the same verdict. None: all 1 and 0. */
bl_verdict bl_pairs_judge(const bl_pairs *p);

#endif
