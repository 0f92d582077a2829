#include "core/size_text.h"

#include <stdio.h>

bl_size_text bl_size_of(uint64_t bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    bl_size_text out;
    double value = (double)bytes;
    int unit = 0;
    while (value >= 999.5 && unit + 1 < (int)(sizeof units / sizeof *units)) {
        value /= 1000;
        unit++;
    }
    int decimals = !unit || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(out.text, sizeof out.text, "%.*f %s", decimals, value, units[unit]);
    return out;
}
