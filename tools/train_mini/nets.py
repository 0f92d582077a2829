"""The networks, as diffusers and transformers classes, with SD1.x's topology and this model's sizes."""
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from config import (END, LATENT, SIZE, START, TEXT_HEADS, TEXT_LAYERS, TEXT_WIDTH, TOKENS, UNET_CHANNELS, VAE_CHANNELS,
                    VAE_SCALE, VOCAB)


def make_vae():
    return AutoencoderKL(block_out_channels=VAE_CHANNELS, latent_channels=4, layers_per_block=2, sample_size=SIZE,
                         down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                         scaling_factor=VAE_SCALE)


def make_unet():
    return UNet2DConditionModel(
        sample_size=LATENT, block_out_channels=UNET_CHANNELS, layers_per_block=2, cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=8,                       # by diffusers' old naming this is the number of heads
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3)


def make_text(vocabulary=VOCAB):
    """CLIP's text tower. While training it holds only the tokens that the captions use (captions.Vocabulary)."""
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=TEXT_WIDTH, intermediate_size=4 * TEXT_WIDTH, num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=TEXT_HEADS, max_position_embeddings=TOKENS, hidden_act="quick_gelu", projection_dim=TEXT_WIDTH,
        bos_token_id=START, eos_token_id=END, pad_token_id=END))


def parameters(net):
    return sum(p.numel() for p in net.parameters())
