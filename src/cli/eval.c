#include "cli/cli.h"

#include <stdio.h>

int command_eval(int argc, char **argv) {
    struct settings s;
    struct session session = {0};
    struct inputs in = {0};
    const ballast_adapter *adapters = NULL;
    size_t adapter_count = 0;
    ballast_error err = {0};
    int result = settings_load(&s, CMD_EVAL, 1, argc, argv);
    const char *inputs = result ? NULL : setting_text(&s, S_INPUTS);
    const char *output = result ? NULL : setting_text(&s, S_OUTPUT);
    bool overwrite = !result && setting_on(&s, S_OVERWRITE);
    if (!result && (!s.positional_count || !inputs || !output)) {
        fprintf(stderr, "ballast: eval wants MODULE --inputs IN.safetensors -o OUT.safetensors; modules: "
                        "text_encoder, text_encoder_2, unet, transformer, vae_decoder, vae_encoder, taesd\n");
        result = EXIT_USAGE;
    }
    if (!result) {
        result = check_output(&s, S_OUTPUT, output);
    }
    result = result ? result : read_adapters(&adapters, &adapter_count, &in, &s);
    if (!result) {
        result = open_session(&session, &s, NULL, NULL);
    }
    if (!result) {
        result = make_folders(&s, S_OUTPUT, output);
    }
    if (!result && ballast_eval_adapted(session.model, s.positional[0], inputs, output, overwrite, adapters,
                                        adapter_count, &err)) {
        result = report_error(&s, &err);
    }
    if (!result && !setting_on(&s, S_QUIET)) {
        printf("%s\n", output);
    }
    close_session(&session);
    free_inputs(&in);
    settings_free(&s);
    return result;
}
