/* What comes next, as far as the queue says it: the planner keeps on the device what that needs. Beyond the
 * queue the library's own memory of what followed what is asked. */
#include "server/jobs/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fill_options(ballast_generate_options *o, const struct jobs *j, const struct picture_request *r) {
    ballast_generate_options_init(o, sizeof *o);
    o->prompt = r->prompt ? r->prompt : "";
    o->negative_prompt = r->negative_prompt ? r->negative_prompt : "";
    o->width = r->width;
    o->height = r->height;
    o->steps = r->steps;
    o->sampler = r->sampler ? r->sampler : o->sampler;
    o->schedule = r->schedule;
    o->cfg = r->cfg;
    o->guidance = r->guidance;
    o->cfg_rescale = r->cfg_rescale;
    o->eta = r->eta;
    o->seed = r->seed;
    o->batch = r->batch;
    o->count = r->count;
    o->clip_skip = r->clip_skip;
    o->rng = r->rng ? r->rng : o->rng;
    o->variation_seed = r->variation_seed;
    o->variation_strength = r->variation_strength;
    o->strength = r->strength;
    o->hires_scale = r->hires_scale;
    o->hires_steps = r->hires_steps;
    o->hires_strength = r->hires_strength;
    o->hires_upscaler = r->hires_upscaler ? r->hires_upscaler : o->hires_upscaler;
    o->tiled_decode = r->tiled_decode ? r->tiled_decode : o->tiled_decode;
    o->decode = r->decode ? r->decode : o->decode;
    o->fit = r->fit ? r->fit : o->fit;
    o->ensd = r->ensd;
    o->pad_conds = r->pad_conds;
    o->missing_adapters = r->missing_adapters;
    o->adapter_folders = j->options.adapters;
    o->embedding_folders = j->options.embeddings;
}

void next_gather(struct jobs *j, struct upcoming *up) {
    char ids[MOST_UPCOMING][JOB_ID];
    int count = 0;
    *up = (struct upcoming){.count = 0};
    pthread_mutex_lock(&j->lock);
    for (; count < MOST_UPCOMING && count < j->queue_count; count++) {
        memcpy(ids[count], j->queue[count].id, JOB_ID);
    }
    pthread_mutex_unlock(&j->lock);
    for (int i = 0; i < count; i++) {
        json_t *object = NULL;
        char *init = NULL;
        size_t bytes;
        struct problem p = {0};
        ballast_model *model = NULL;
        struct picture_request *r = &up->requests[up->count];
        picture_request_init(r);
        int status = j->keeper.request(j->keeper.self, ids[i], &object, &init, &bytes, &p);
        status = status ? status : picture_request_read(r, object, &p);
        status = status || !r->model ? 1 : device_model(j, &model, r->model, r->vae, &p);
        json_decref(object);
        free(init);
        if (status) {
            picture_request_free(r);
            continue;
        }
        fill_options(&up->options[up->count], j, r);
        ballast_expected *e = &up->expected[up->count];
        ballast_expected_init(e, sizeof *e);
        e->model = model;
        e->options = &up->options[up->count];
        up->count++;
    }
}

void next_free(struct upcoming *up) {
    for (int i = 0; i < up->count; i++) {
        picture_request_free(&up->requests[i]);
    }
    up->count = 0;
}
