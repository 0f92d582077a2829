#include "residency/run/ledger.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

void bl_ledger_init(bl_ledger *l) {
    memset(l, 0, sizeof *l);
}

void bl_ledger_free(bl_ledger *l) {
    free(l->entries);
    free(l->stages);
    memset(l, 0, sizeof *l);
}

void bl_ledger_clear(bl_ledger *l) {
    l->count = 0;
    l->stage_count = 0;
    memset(l->phases, 0, sizeof l->phases);
    l->moved_bytes = l->loaded_bytes = 0;
    l->peak_bytes = 0;
    l->phase_count = 0;
    l->widened = l->widen_seconds = 0;
    l->began = l->ended = 0;
}

int bl_ledger_stage_of(bl_ledger *l, const char *name, bl_error *err) {
    for (int i = 0; i < l->stage_count; i++) {
        if (!strcmp(l->stages[i].name, name)) {
            return i;
        }
    }
    if (l->stage_count == l->stage_room) {
        int room = l->stage_room ? l->stage_room * 2 : 16;
        bl_ledger_stage *stages = realloc(l->stages, (size_t)room * sizeof *stages);
        if (!stages) {
            return bl_fail_memory(err, "the ledger's stages", (size_t)room * sizeof *stages);
        }
        l->stages = stages;
        l->stage_room = room;
    }
    bl_ledger_stage *s = &l->stages[l->stage_count];
    memset(s, 0, sizeof *s);
    snprintf(s->name, sizeof s->name, "%s", name);
    return l->stage_count++;
}

int bl_ledger_add(bl_ledger *l, bl_ledger_entry entry, bl_error *err) {
    if (l->count == l->room) {
        int room = l->room ? l->room * 2 : 1024;
        bl_ledger_entry *entries = realloc(l->entries, (size_t)room * sizeof *entries);
        if (!entries) {
            return bl_fail_memory(err, "the ledger", (size_t)room * sizeof *entries);
        }
        l->entries = entries;
        l->room = room;
    }
    l->entries[l->count++] = entry;
    bl_ledger_stage *s = &l->stages[entry.stage];
    s->seconds += entry.seconds;
    if (entry.work == BL_WORK_ONLOAD) {
        l->moved_bytes += entry.bytes;
    }
    if (entry.work == BL_WORK_LOAD) {
        l->loaded_bytes += entry.bytes;
    }
    const bool counts = entry.work == BL_WORK_COMPUTE || entry.work == BL_WORK_WAIT ||
                        (entry.work == BL_WORK_ONLOAD && !l->async_copy);
    if (counts && entry.phase >= 0 && entry.phase < BL_PROBLEM_PHASES) {
        l->phases[entry.phase].shares[entry.share] += entry.seconds;
    }
    if (l->began + entry.start + entry.seconds > l->ended) {
        l->ended = l->began + entry.start + entry.seconds;
    }
    return 0;
}

int bl_ledger_add_host(bl_ledger *l, const char *stage, double start, double seconds, bl_error *err) {
    int s = bl_ledger_stage_of(l, stage, err);
    if (s < 0) {
        return s;
    }
    return bl_ledger_add(l,
                         (bl_ledger_entry){.work = BL_WORK_HOST,
                                           .stage = s,
                                           .phase = -1,
                                           .module = -1,
                                           .block = -1,
                                           .run = -1,
                                           .start = start - l->began,
                                           .seconds = seconds},
                         err);
}

void bl_ledger_name(bl_ledger *l, const char *stage) {
    bl_error ignored = {0};
    int s = bl_ledger_stage_of(l, stage, &ignored);
    if (s >= 0) {
        l->stages[s].named = true;
    }
}

void bl_ledger_split(bl_ledger *l, const char *from, const char *name, double seconds) {
    bl_error ignored = {0};
    int a = bl_ledger_stage_of(l, from, &ignored), b = bl_ledger_stage_of(l, name, &ignored);
    if (a >= 0 && b >= 0) {
        double taken = seconds < l->stages[a].seconds ? seconds : l->stages[a].seconds;
        l->stages[a].seconds -= taken;
        l->stages[b].seconds += taken;
    }
}

double bl_ledger_seconds(const bl_ledger *l, bl_work work) {
    double sum = 0;
    for (int i = 0; i < l->count; i++) {
        sum += l->entries[i].work == work ? l->entries[i].seconds : 0;
    }
    return sum;
}

double bl_ledger_device_seconds(const bl_ledger *l) {
    double sum = bl_ledger_seconds(l, BL_WORK_COMPUTE) + bl_ledger_seconds(l, BL_WORK_WAIT);
    return l->async_copy ? sum : sum + bl_ledger_seconds(l, BL_WORK_ONLOAD);
}

double bl_ledger_share(const bl_ledger *l, bl_share share) {
    double sum = 0;
    for (int i = 0; i < l->phase_count; i++) {
        sum += l->phases[i].shares[share];
    }
    return sum;
}
