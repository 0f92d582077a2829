/* The handlers of all routes. Each gets a call whose body, if its route reads one, is an object, and ends the
 * exchange, now or when a job has ended. */
#ifndef BALLAST_SERVER_API_HANDLERS_H
#define BALLAST_SERVER_API_HANDLERS_H

struct call;

/* sdapi_pictures.c */
void sd_txt2img(struct call *c);
void sd_img2img(struct call *c);

/* sdapi_lists.c */
void sd_models(struct call *c);
void sd_vaes(struct call *c);
void sd_loras(struct call *c);
void sd_samplers(struct call *c);
void sd_schedulers(struct call *c);
void sd_upscalers(struct call *c);
void sd_latent_modes(struct call *c);
void sd_empty_list(struct call *c);
void sd_embeddings(struct call *c);
void sd_scripts(struct call *c);
void sd_cmd_flags(struct call *c);
void sd_config(struct call *c);

/* sdapi_state.c */
void sd_get_options(struct call *c);
void sd_set_options(struct call *c);
void sd_progress(struct call *c);
void sd_interrupt(struct call *c);
void sd_skip(struct call *c);
void sd_unload(struct call *c);
void sd_reload(struct call *c);
void sd_refresh(struct call *c);
void sd_memory(struct call *c);
void sd_queue_status(struct call *c);
void sd_login(struct call *c);

/* sdapi_extras.c */
void sd_png_info(struct call *c);
void sd_extra_single(struct call *c);
void sd_extra_batch(struct call *c);
void sd_interrogate(struct call *c);

/* own_jobs.c */
void own_add_job(struct call *c);
void own_jobs(struct call *c);
void own_job(struct call *c);
void own_cancel(struct call *c);
void own_move(struct call *c);
void own_history(struct call *c);
void own_forget(struct call *c);

/* own_image.c */
void own_image(struct call *c);

/* own_lists.c */
void own_lists(struct call *c);

/* own_words.c */
void own_adapter(struct call *c);
void own_tags(struct call *c);

/* openai.c */
void oa_models(struct call *c);
void oa_generate(struct call *c);
void oa_edit(struct call *c);

/* events.c */
void own_events(struct call *c);

/* own_device.c */
void own_plan(struct call *c);
void own_curve(struct call *c);
void own_residency(struct call *c);
void own_devices(struct call *c);
void own_get_settings(struct call *c);
void own_set_settings(struct call *c);

/* metrics.c, openapi.c */
void sys_metrics(struct call *c);
void sys_openapi(struct call *c);

/* system.c */
void sys_health(struct call *c);
void sys_ready(struct call *c);

/* page.c */
void page_root(struct call *c);
void page_file(struct call *c);

#endif
