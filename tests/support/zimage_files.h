/* A Z-Image whose heads have the published 128 channels, so that files without a configuration can hold it:
 * of random weights, one layer of each kind. What goes wrong in here fails the running test. */
#ifndef BALLAST_TESTS_SUPPORT_ZIMAGE_FILES_H
#define BALLAST_TESTS_SUPPORT_ZIMAGE_FILES_H

#include "support/goldens.h"

/* Makes the diffusers folder `path`, with the text encoder and the VAE of bl_synth_folder("zimage"). */
void bl_test_zimage_folder(const char *path);

/* Writes its transformer as its authors and ComfyUI name the tensors: behind `prefix`, queries, keys and
 * values in one. */
void bl_test_zimage_single(const char *path, const char *prefix);

#endif
