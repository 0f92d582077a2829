/* /metrics: what has been done, in the text that Prometheus reads. */
#include "server/api/handlers.h"
#include "server/api/internal.h"

#include <stdio.h>
#include <stdlib.h>

static const struct metric {
    const char *name, *kind, *key, *help;
} metrics[] = {
    {"ballast_queued_jobs", "gauge", "queued", "Jobs that wait."},
    {"ballast_running_jobs", "gauge", "running", "Jobs in work."},
    {"ballast_pictures_total", "counter", "pictures", "Pictures made."},
    {"ballast_moved_bytes_total", "counter", "moved_bytes", "Weights brought to the device."},
    {"ballast_kept_bytes_total", "counter", "kept_bytes",
     "Weights that lay on the device when their job began."},
    {"ballast_reloads_avoided_total", "counter", "reloads_avoided", "Jobs whose model lay on the device."},
    {"ballast_text_cache_hits_total", "counter", "text_hits", "Chunks of 75 tokens that were found encoded."},
    {"ballast_text_cache_misses_total", "counter", "text_misses",
     "Chunks of 75 tokens that the text encoders ran for."},
    {"ballast_text_cache_entries", "gauge", "text_entries", "Encoded chunks kept after the last job."},
    {"ballast_text_cache_bytes", "gauge", "text_bytes", "Memory that they take."},
    {"ballast_hints_total", "counter", "hints", "Hints given."},
    {"ballast_resident_bytes", "gauge", "resident_bytes", "Weights on the device after the last job."},
    {"ballast_region_bytes", "gauge", "region_bytes", "Memory of the device held after the last job."},
    {"ballast_budget_bytes", "gauge", "budget_bytes", "The last job's budget; 0 before the first."},
};

void sys_metrics(struct call *c) {
    json_t *totals = c->api->service.totals(c->api->service.self), *seconds;
    static const char *const ends[] = {"done", "failed", "cancelled"};
    const char *stage;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = totals ? open_memstream(&text, &bytes) : NULL;
    if (!out) {
        json_decref(totals);
        reply_problem(c->x, &(struct problem){.status = 503, .text = "out of memory"});
        return;
    }
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        const struct metric *m = &metrics[i];
        fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.0f\n", m->name, m->help, m->name, m->kind, m->name,
                json_number_value(json_object_get(totals, m->key)));
    }
    fprintf(out, "# HELP ballast_jobs_total Jobs that were begun and have ended.\n"
                 "# TYPE ballast_jobs_total counter\n");
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        fprintf(out, "ballast_jobs_total{state=\"%s\"} %.0f\n", ends[i],
                json_number_value(json_object_get(totals, ends[i])));
    }
    fprintf(out, "# HELP ballast_stage_seconds_total Where the time of all pictures went.\n"
                 "# TYPE ballast_stage_seconds_total counter\n");
    json_object_foreach(json_object_get(totals, "stages"), stage, seconds) {
        fprintf(out, "ballast_stage_seconds_total{stage=\"%s\"} %.6f\n", stage, json_number_value(seconds));
    }
    json_decref(totals);
    if (fclose(out)) {
        free(text);
        text = NULL;
    }
    exchange_answer(c->x, 200, "text/plain; version=0.0.4; charset=utf-8", text, bytes);
}
