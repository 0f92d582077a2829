/* Folders of the tiny FLUX.1 dev and schnell of bl_synth_folder("flux1/..."), with a vocabulary of T5's kind;
 * and a dev whose heads have the published 128 channels, so that files without a configuration can hold it.
 */
#ifndef BALLAST_TESTS_SUPPORT_FLUX1_FILES_H
#define BALLAST_TESTS_SUPPORT_FLUX1_FILES_H

#include <stdbool.h>

/* Makes the diffusers folder `path` of `family`, "flux1/dev" or "flux1/schnell". */
void bl_test_flux1_folder(const char *path, const char *family);

/* Puts a vocabulary of T5's kind into the folder `path` as file `name`. */
void bl_test_t5_vocabulary(const char *path, const char *name);

/* Makes the diffusers folder `path` of the dev with a transformer of one block of each kind and a head of 128
 * channels, beside the encoders and the VAE of "flux1/dev". */
void bl_test_flux1_wide_folder(const char *path);

/* Writes that transformer alone under its authors' names, `prefix` before each: queries, keys and values in
 * one, of the single block with the feed-forward layer, the last layer's shift before its scale. */
void bl_test_flux1_single(const char *path, const char *prefix);

/* Writes a LoRA of that dev's single block and of CLIP's first layer: as kohya's tools name them, whose first
 * matrix is of four layers; or by diffusers' names. */
void bl_test_flux1_lora(const char *path, bool kohya);

/* Writes the T5 of "flux1/dev" with llama.cpp's names. */
void bl_test_t5_llama(const char *path);

#endif
