/* A FLUX.2 klein whose heads have the published 128 channels, so that files without a configuration can hold
 * it: a transformer of one block of each kind that reads what the narrow encoder of bl_synth_folder(
 * "flux2/klein_2_2") gives. */
#ifndef BALLAST_TESTS_SUPPORT_FLUX2_FILES_H
#define BALLAST_TESTS_SUPPORT_FLUX2_FILES_H

/* Makes the diffusers folder `path`, with the text encoder and the VAE of bl_synth_folder. */
void bl_test_flux2_folder(const char *path);

/* Makes the folder of a FLUX.2 dev: the transformer with its guidance, a narrow Mistral, the same VAE. */
void bl_test_flux2_dev_folder(const char *path);

/* Writes the same transformer alone under its authors' names, `prefix` before each: queries, keys and values
 * in one, norms' weights called "scale", the last layer's shift before its scale. */
void bl_test_flux2_single(const char *path, const char *prefix);

#endif
