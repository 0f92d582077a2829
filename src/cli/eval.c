#include "cli/cli.h"

#include <stdio.h>

int command_eval(int argc, char **argv) {
    struct settings s;
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    ballast_error err = {0};
    int result = settings_load(&s, CMD_EVAL, 1, argc, argv);
    if (!result && (!s.positional_count || !setting_text(&s, S_INPUTS) || !setting_text(&s, S_OUTPUT))) {
        fprintf(
            stderr,
            "ballast: eval wants MODULE --inputs IN.safetensors -o OUT.safetensors; modules: text_encoder, "
            "text_encoder_2, unet, vae_decoder, vae_encoder\n");
        result = EXIT_USAGE;
    }
    if (!result) {
        result = check_output(setting_text(&s, S_OUTPUT), setting_on(&s, S_OVERWRITE));
    }
    if (!result) {
        result = open_model(&context, &model, &s, NULL);
    }
    if (!result && ballast_eval(model, s.positional[0], setting_text(&s, S_INPUTS),
                                setting_text(&s, S_OUTPUT), setting_on(&s, S_OVERWRITE), &err)) {
        result = report_error(&err);
    }
    ballast_model_close(&model);
    ballast_context_close(&context);
    settings_free(&s);
    return result;
}
