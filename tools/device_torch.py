#!/usr/bin/env python3
"""What PyTorch takes for the same networks on the same card: bf16, channels last, SDPA, eager; then compiled, if there is
time. Prints lines "torch ...: milliseconds"; says what is missing and ends where torch, diffusers or a card is."""
import sys
import time

SDXL = dict(sample_size=128, block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=[5, 10, 20],
            transformer_layers_per_block=[1, 2, 10], use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
SD15 = dict(sample_size=64, cross_attention_dim=768)
VAE = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2,
           down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)


def main():
    try:
        import torch
        from diffusers import AutoencoderKL, UNet2DConditionModel
    except ImportError as missing:
        print(f"torch: not run: {missing}")
        return 0
    if not torch.cuda.is_available():
        print("torch: not run: no card")
        return 0
    options = dict(device="cuda", dtype=torch.bfloat16)

    def seconds(call):
        best = 1e9
        for _ in range(6):
            torch.cuda.synchronize()
            begin = time.perf_counter()
            call()
            torch.cuda.synchronize()
            best = min(best, time.perf_counter() - begin)
        return best

    def unet(config, size, text, added):
        net = UNet2DConditionModel(**config).to(**options).eval().to(memory_format=torch.channels_last)
        x = torch.randn(2, 4, size, size, **options).to(memory_format=torch.channels_last)
        context = torch.randn(2, 77, text, **options)
        more = dict(text_embeds=torch.randn(2, 1280, **options), time_ids=torch.zeros(2, 6, **options)) if added else None
        return lambda: net(x, 500, context, added_cond_kwargs=more), net

    def decoder(size):
        net = AutoencoderKL(**VAE).to(**options).eval().to(memory_format=torch.channels_last)
        x = torch.randn(1, 4, size, size, **options).to(memory_format=torch.channels_last)
        return lambda: net.decode(x), net

    with torch.inference_mode():
        for name, made in (("sdxl 1024 batch 2", lambda: unet(SDXL, 128, 2048, True)),
                           ("sd15 512 batch 2", lambda: unet(SD15, 64, 768, False)), ("vae 1024", lambda: decoder(128))):
            call, _net = made()
            print(f"torch {torch.__version__} {name}: {seconds(call) * 1e3:.2f} ms", flush=True)
            del call, _net
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
