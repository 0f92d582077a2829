/* How weights are placed, as texts that the flags of the same names take; NULL: not said. */
#ifndef BALLAST_SERVER_BASE_PLACEMENT_H
#define BALLAST_SERVER_BASE_PLACEMENT_H

#define PLACEMENT_TEXTS         \
    PLACEMENT_TEXT(offload)     \
    PLACEMENT_TEXT(budget)      \
    PLACEMENT_TEXT(reserve)     \
    PLACEMENT_TEXT(host_budget) \
    PLACEMENT_TEXT(low)         \
    PLACEMENT_TEXT(high)        \
    PLACEMENT_TEXT(never)       \
    PLACEMENT_TEXT(always)      \
    PLACEMENT_TEXT(fit_check) /* on, off */

struct placement {
#define PLACEMENT_TEXT(name) const char *name;
    PLACEMENT_TEXTS
#undef PLACEMENT_TEXT
};

#endif
