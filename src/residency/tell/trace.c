/* The ledger as Chrome trace events. */
#include "residency/tell/trace.h"

#include <string.h>

enum { lane_picture = 1, lane_compute, lane_copy, lane_load, lane_wait, lane_host };

static const char *const lane_names[] = {"",      "pictures",         "compute", "copies",
                                         "loads", "waits for copies", "host"};

/* Names come from files: what JSON cannot hold plainly becomes '_'. */
static void print_name(FILE *f, const char *name) {
    for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
        fputc(*c < 0x20 || *c >= 0x7f || *c == '"' || *c == '\\' ? '_' : *c, f);
    }
}

/* Microseconds with three decimals, in integers: printf's decimal point follows the locale. */
static void print_micro(FILE *f, const char *key, double seconds) {
    long long nano = (long long)(seconds * 1e9 + (seconds < 0 ? -0.5 : 0.5));
    fprintf(f, ",\"%s\":%s%lld.%03lld", key, nano < 0 ? "-" : "", (nano < 0 ? -nano : nano) / 1000,
            (nano < 0 ? -nano : nano) % 1000);
}

static int lane_of(const bl_ledger_entry *e) {
    return e->work == BL_WORK_COMPUTE  ? lane_compute
           : e->work == BL_WORK_ONLOAD ? lane_copy
           : e->work == BL_WORK_LOAD   ? lane_load
           : e->work == BL_WORK_WAIT   ? lane_wait
                                       : lane_host;
}

static void print_entry(FILE *f, const bl_ledger *l, const bl_problem *p, const bl_ledger_entry *e, int lane,
                        double offset) {
    fputs(",\n{\"ph\":\"X\",\"pid\":1,\"name\":\"", f);
    if (e->module >= 0) {
        print_name(f, p->modules[e->module].name);
        fputc('/', f);
        print_name(f, p->modules[e->module].blocks[e->block].name);
    } else {
        print_name(f, l->stages[e->stage].name);
    }
    fputs("\",\"cat\":\"", f);
    print_name(f, l->stages[e->stage].name);
    fprintf(f, "\",\"tid\":%d", lane);
    print_micro(f, "ts", offset + e->start);
    print_micro(f, "dur", e->seconds);
    fprintf(f, ",\"args\":{\"run\":%d,\"bytes\":%llu", e->run, (unsigned long long)e->bytes);
    if (e->phase >= 0) {
        fputs(",\"phase\":\"", f);
        print_name(f, p->phases[e->phase].name);
        fputc('"', f);
    }
    fputs("}}", f);
}

void bl_trace_begin(FILE *file) {
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
          "{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{\"name\":\"ballast\"}}",
          file);
    for (int i = lane_picture; i <= lane_host; i++) {
        fprintf(file,
                ",\n{\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"name\":\"thread_name\",\"args\":{\"name\":\"%s\"}}",
                i, lane_names[i]);
        fprintf(file,
                ",\n{\"ph\":\"M\",\"pid\":1,\"tid\":%d,\"name\":\"thread_sort_index\",\"args\":{\"sort_"
                "index\":%d}}",
                i, i);
    }
}

void bl_trace_add(FILE *file, const bl_ledger *l, const bl_problem *p, double offset, const char *title) {
    fputs(",\n{\"ph\":\"X\",\"pid\":1,\"name\":\"", file);
    print_name(file, title);
    fprintf(file, "\",\"tid\":%d", lane_picture);
    print_micro(file, "ts", offset);
    print_micro(file, "dur", l->ended - l->began);
    fputc('}', file);
    for (int i = 0; i < l->count; i++) {
        const bl_ledger_entry *e = &l->entries[i];
        print_entry(file, l, p, e, lane_of(e), offset);
        if (e->work == BL_WORK_ONLOAD && !l->async_copy) {
            print_entry(file, l, p, e, lane_wait, offset);
        }
    }
}

void bl_trace_end(FILE *file) {
    fputs("\n]}\n", file);
}
