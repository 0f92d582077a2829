#!/usr/bin/env python3
"""goldens_to_tests.py GOLDENS OUTDIR: writes tests/data from a folder of goldens.

GOLDENS holds reference outputs of diffusers, transformers and k-diffusion's formulas for tiny networks of SD1.x, SD2.x
and SDXL topology (folders common, sd15, sd21v, sdxl). What tests do not need, or can see elsewhere, is left out, so that
a clone stays small: decoded pictures that are there as PNG, model outputs that the trajectories contain, the longest
random sequences, the VAE's inner tensors of all families but one. Relative paths and tensor names stay as they are.

weights.json is rewritten without repetition (tests/support/synth.h says what the fields mean):
    components   {component: [[name, shape, scale, offset] or [name, shape, scale, offset, fixed], ...]}
    single_file  [[key, op, component, index, ...] ...]   index into the component's list; what is made of no tensor:
                 [key, "const", dtype, value], [key, "arange", dtype, shape], [key, "schedule", dtype, shape]
    sha256       {path of a checkpoint file below the family's folder: digest}

The same input gives the same bytes. Only Python's own library is needed."""
import json
import os
import re
import shutil
import struct
import sys

FAMILIES = ("sd15", "sd21v", "sdxl")
# What is dropped: file below the family's `golden`, families, pattern of tensor names.
DROP = [
    ("pipeline/txt2img.safetensors", FAMILIES, r".*\.(decoded|model_output)"),
    ("pipeline/hires.safetensors", FAMILIES, r".*\.(decoded|model_output)|base_u8|upscaled_u8"),
    ("vae.safetensors", ("sd15",), r"[de]\.square\..*|.*\.at\.(decoder\.(up_blocks\.2|conv_norm_out)|encoder\.conv_in)"),
    ("vae.safetensors", ("sd21v",), r"[de]\.(tall|square)\..*|.*\.at\..*"),
    ("vae.safetensors", ("sdxl",), r"[de]\.(tall|batch2)\..*|.*\.at\..*"),
    ("text.safetensors", ("sdxl",), r"te.\.hidden_states_of_prompt1"),
]
# Adapters' whole pictures, a few of each family; what merged weights do is seen in the weights.
ADAPTED_PICTURES = r"(kohya\.1|kohya_te0\.3_unet0\.8|combo_.*|dora\.1|lokr\.1)\..*"
COMMON = ("samplers.safetensors", "diffusers_samplers.safetensors",
          "resize/resize.safetensors", "resize/source.png")
LONG_SEQUENCES = r"\.1x4x128x128$|\.seed(1|42|123456789)\.1x4x64x64$"
KEPT_TOLERANCES = ("peak", "tol_abs", "f16_abs", "bf16_abs", "bf16_rms")


def read_tensors(path):
    """{name: (dtype, shape, bytes)} in the order of the file."""
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(size))
        data = f.read()
    header.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in header.items()}


def write_tensors(path, tensors):
    header, at = {}, 0
    for k, (dtype, shape, data) in tensors.items():
        header[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with open(make_room(path), "wb") as f:
        f.write(struct.pack("<Q", len(raw)) + raw)
        for _, _, data in tensors.values():
            f.write(data)


def make_room(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def load(path):
    with open(path) as f:
        return json.load(f)


def save(path, value, line=None):
    """Compact JSON; a line ends before each `line`, after its first character, so that entries are lines."""
    text = json.dumps(value, separators=(",", ":"))
    text = text.replace(line, line[0] + "\n" + line[1:]) if line else text
    assert json.loads(text) == value
    with open(make_room(path), "w") as f:
        f.write(text + "\n")


def compact_weights(weights, digests, family):
    index = {c: {e["name"]: i for i, e in enumerate(es)} for c, es in weights["components"].items()}
    out = {k: weights[k] for k in ("seed", "family", "f16_exact", "metadata", "files")}
    out["sha256"] = {k[len(family) + 1:]: v for k, v in sorted(digests.items())
                     if re.match(family + r"/(diffusers|single_file)/.*\.safetensors$", k)}
    out["components"] = {
        c: [[e["name"], e["shape"], e["scale"], e["offset"]] + ([e["fixed"]] if e["fixed"] else []) for e in es]
        for c, es in weights["components"].items()}
    items = []
    for i in weights["single_file"]:
        if i["from"]:
            component = i["from"][0][0]
            assert all(c == component for c, _ in i["from"])
            items.append([i["key"], i["op"], component] + [index[component][n] for _, n in i["from"]])
        else:
            items.append([i["key"], i["op"], i["dtype"], i["value"] if i["op"] == "const" else i["shape"]])
    out["single_file"] = items
    return out


def family_files(goldens, out, family, digests, pictures_off):
    source, target = os.path.join(goldens, family), os.path.join(out, family)
    weights = load(os.path.join(source, "weights.json"))
    save(os.path.join(target, "weights.json"), compact_weights(weights, digests, family), line=",[\"")
    shutil.copyfile(os.path.join(source, "single_file/expect.json"),
                    make_room(os.path.join(target, "single_file/expect.json")))
    for folder, _, files in os.walk(os.path.join(source, "diffusers")):
        for name in files:
            if name in ("model_index.json", "config.json", "scheduler_config.json"):
                path = os.path.join(folder, name)
                save(os.path.join(target, os.path.relpath(path, source)), load(path), line=",\"")
    kept = {}
    for name in ("text", "unet", "vae", "layers", "pipeline/txt2img", "pipeline/hires"):
        name += ".safetensors"
        drop = "|".join(d for f, families, d in DROP if f == name and family in families) or r"(?!)"
        tensors = read_tensors(os.path.join(source, "golden", name))
        tensors = {k: v for k, v in tensors.items() if not re.fullmatch(drop, k)}
        write_tensors(os.path.join(target, "golden", name), tensors)
        kept[os.path.basename(name)] = tensors
    for name in sorted(os.listdir(os.path.join(source, "golden/pipeline"))):
        if name.endswith((".png", ".json")):
            shutil.copyfile(os.path.join(source, "golden/pipeline", name), os.path.join(target, "golden/pipeline", name))
    shutil.copyfile(os.path.join(source, "golden/layers.json"), os.path.join(target, "golden/layers.json"))
    tolerances = load(os.path.join(source, "golden/tolerances.json"))
    kept_tolerances = {f: {k: {a: t[a] for a in KEPT_TOLERANCES if a in t} for k, t in ts.items() if k in kept[f]}
                       for f, ts in tolerances.items()}
    kept_tolerances["png"] = {k: {"off": off} for k, off in pictures_off.items()}
    save(os.path.join(target, "golden/tolerances.json"), kept_tolerances, line="},\"")


def adapter_files(goldens, out, family):
    """GOLDENS/adapters/FAMILY to FAMILY/adapters."""
    source, target = os.path.join(goldens, "adapters", family), os.path.join(out, family, "adapters")
    for folder in ("lora", "embedding"):
        for name in sorted(os.listdir(os.path.join(source, folder))):
            shutil.copyfile(os.path.join(source, folder, name), make_room(os.path.join(target, folder, name)))
    kept = {}
    for name, wanted in (("merged", r".*"), ("text", ADAPTED_PICTURES), ("unet", ADAPTED_PICTURES), ("txt2img", ADAPTED_PICTURES)):
        name += ".safetensors"
        tensors = read_tensors(os.path.join(source, "golden", name))
        kept[name] = {k: v for k, v in tensors.items() if re.fullmatch(wanted, k)}
        write_tensors(os.path.join(target, "golden", name), kept[name])
    for name in ("cases", "merged"):
        save(os.path.join(target, "golden", name + ".json"), load(os.path.join(source, "golden", name + ".json")),
             line=",\"")
    tolerances = load(os.path.join(source, "golden/tolerances.json"))
    save(os.path.join(target, "golden/tolerances.json"),
         {f: {k: {a: t[a] for a in KEPT_TOLERANCES if a in t} for k, t in ts.items() if k in kept[f]}
          for f, ts in tolerances.items() if f in kept}, line="},\"")


def copy_folder(source, target):
    for folder, _, names in os.walk(source):
        for name in names:
            path = os.path.join(folder, name)
            shutil.copyfile(path, make_room(os.path.join(target, os.path.relpath(path, source))))


# What of the transformers' goldens is kept: family -> files below its `golden`.
TRANSFORMERS = {"qwen3": ("hidden.safetensors",), "zimage": ("transformer.safetensors",),
                "flux2/klein_2_2": ("transformer.safetensors",), "flux2/dev_1_2": ("transformer.safetensors",)}


def transformer_files(goldens, out, family):
    """GOLDENS/transformers/FAMILY to FAMILY: weights, configurations, inputs and outputs of its networks."""
    source, target = os.path.join(goldens, "transformers", family), os.path.join(out, family)
    save(os.path.join(target, "weights.json"), compact_weights(load(os.path.join(source, "weights.json")), {}, family),
         line=",[\"")
    copy_folder(os.path.join(source, "diffusers"), os.path.join(target, "diffusers"))
    tolerances = load(os.path.join(source, "golden/tolerances.json"))
    for name in TRANSFORMERS[family]:
        shutil.copyfile(os.path.join(source, "golden", name), make_room(os.path.join(target, "golden", name)))
    save(os.path.join(target, "golden/tolerances.json"),
         {f: {k: {a: t[a] for a in KEPT_TOLERANCES if a in t} for k, t in tolerances[f].items()}
          for f in TRANSFORMERS[family]}, line="},\"")


def taesd_files(goldens, out):
    """Of GOLDENS/adapters/taesd the small network: its decoder in both layouts, and what that makes of latents."""
    source, target = os.path.join(goldens, "adapters/taesd"), os.path.join(out, "common/taesd")
    for name, kept in (("taesd_decoder", "decoder"), ("diffusers/diffusion_pytorch_model", "diffusers")):
        shutil.copyfile(os.path.join(source, "tiny", name + ".safetensors"),
                        make_room(os.path.join(target, kept + ".safetensors")))
    tensors = {k: v for k, v in read_tensors(os.path.join(source, "tiny.safetensors")).items() if k.startswith("d.")}
    write_tensors(os.path.join(target, "golden.safetensors"), tensors)
    tolerances = load(os.path.join(source, "tolerances.json"))["tiny.safetensors"]
    save(os.path.join(target, "tolerances.json"),
         {"golden.safetensors": {k: {a: t[a] for a in KEPT_TOLERANCES if a in t} for k, t in tolerances.items()
                                 if k in tensors}}, line="},\"")


def main(goldens, out):
    digests = load(os.path.join(goldens, "sha256.json"))
    report = load(os.path.join(goldens, "report.json"))
    for name in COMMON:
        shutil.copyfile(os.path.join(goldens, "common", name), make_room(os.path.join(out, "common", name)))
    for name in ("tokens.json", "schedules.json"):
        save(os.path.join(out, "common", name), load(os.path.join(goldens, "common", name)), line=",\"")
    rng = read_tensors(os.path.join(goldens, "common/rng.safetensors"))
    write_tensors(os.path.join(out, "common/rng.safetensors"),
                  {k: v for k, v in rng.items() if not re.search(LONG_SEQUENCES, k)})
    if os.path.isdir(os.path.join(goldens, "adapters/taesd")):
        taesd_files(goldens, out)
    for family in FAMILIES:
        family_files(goldens, out, family, digests, report["families"][family]["png_pixels_that_differ_f32_vs_f64"])
        if os.path.isdir(os.path.join(goldens, "adapters", family)):
            adapter_files(goldens, out, family)
    copy_folder(os.path.join(goldens, "transformers/stored"), os.path.join(out, "stored"))
    copy_folder(os.path.join(goldens, "transformers/ops/golden"), os.path.join(out, "common/transformer_ops"))
    for family in TRANSFORMERS:
        transformer_files(goldens, out, family)
    for name in ("zimage/golden/schedule.json", "flux2/schedule.json"):
        save(os.path.join(out, name), load(os.path.join(goldens, "transformers", name)), line=",\"")
    shutil.copyfile(os.path.join(goldens, "transformers/tokens/tokens.json"),
                    make_room(os.path.join(out, "common/qwen_tokens.json")))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
