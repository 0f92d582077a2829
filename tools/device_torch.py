#!/usr/bin/env python3
"""What PyTorch takes for the same networks on the same card, channels last, with its own attention (SDPA):

    device_torch.py torch|compiled "NETWORK DTYPE SIZE BATCH"...

NETWORK is sdxl, unet (SD 1.5), vae (decoder) or tiny, which runs on a CPU, too. Prints a line
"torch VERSION torch|compiled NETWORK DTYPE SIZE BATCH: MILLISECONDS ms" each; says what is missing, and what could not be
compiled, and ends where torch, diffusers or a card is."""
import sys
import time

SDXL = dict(sample_size=128, block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=[5, 10, 20],
            transformer_layers_per_block=[1, 2, 10], use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
SD15 = dict(sample_size=64, cross_attention_dim=768)
TINY = dict(sample_size=8, cross_attention_dim=32, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
UNETS = dict(sdxl=SDXL, unet=SD15, tiny=TINY)
VAE = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2,
           down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
RUNS = 6


def main(whose, networks):
    try:
        import torch
        from diffusers import AutoencoderKL, UNet2DConditionModel
    except ImportError as missing:
        print(f"torch: not run: {missing}")
        return 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and any(not network.startswith("tiny ") for network in networks):
        print("torch: not run: no card")
        return 0

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def seconds(call):
        best = 1e9
        for _ in range(RUNS):
            wait()
            begin = time.perf_counter()
            call()
            wait()
            best = min(best, time.perf_counter() - begin)
        return best

    def made(kind, config, options):
        return kind(**config).to(**options).eval().to(memory_format=torch.channels_last)

    def compiled(net):
        return torch.compile(net) if whose == "compiled" else net

    def unet(config, size, batch, options):
        net = compiled(made(UNet2DConditionModel, config, options))
        x = torch.randn(batch, 4, size, size, **options).to(memory_format=torch.channels_last)
        context = torch.randn(batch, 77, config["cross_attention_dim"], **options)
        more = None
        if "addition_embed_type" in config:
            more = dict(text_embeds=torch.randn(batch, 1280, **options), time_ids=torch.zeros(batch, 6, **options))
        return lambda: net(x, 500, context, added_cond_kwargs=more)

    def decoder(size, batch, options):
        net = made(AutoencoderKL, VAE, options)
        net.decoder = compiled(net.decoder)
        x = torch.randn(batch, 4, size, size, **options).to(memory_format=torch.channels_last)
        return lambda: net.decode(x)

    with torch.inference_mode():
        for network in networks:
            name, dtype, size, batch = network.split()
            options = dict(device=device, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
            size, batch = int(size) // 8, int(batch)
            try:
                call = decoder(size, batch, options) if name == "vae" else unet(UNETS[name], size, batch, options)
                print(f"torch {torch.__version__} {whose} {network}: {seconds(call) * 1e3:.2f} ms", flush=True)
            except Exception as error:  # pylint: disable=broad-except; what compiles, and with what, is PyTorch's affair
                print(f"torch: not run: {network}: {str(error).strip().splitlines()[0][:200]}", flush=True)
            call = None
            if device == "cuda":
                torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("torch", "compiled"):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
