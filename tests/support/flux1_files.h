/* Folders of the tiny FLUX.1 dev and schnell of bl_synth_folder("flux1/..."), with a vocabulary of T5's kind.
 */
#ifndef BALLAST_TESTS_SUPPORT_FLUX1_FILES_H
#define BALLAST_TESTS_SUPPORT_FLUX1_FILES_H

/* Makes the diffusers folder `path` of `family`, "flux1/dev" or "flux1/schnell". */
void bl_test_flux1_folder(const char *path, const char *family);

/* Puts a vocabulary of T5's kind into the folder `path` as file `name`. */
void bl_test_t5_vocabulary(const char *path, const char *name);

#endif
