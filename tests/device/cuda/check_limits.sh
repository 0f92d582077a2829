#!/bin/bash
# tools/device_check.sh keeps to its time when nothing that it runs ever ends, and still writes its table.
set -eu
script=$(cd "$(dirname "$0")/../../.." && pwd)/tools/device_check.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/tree/bin" "$folder/tree/lib" "$folder/path"
for name in ballast bench_device bench_offload cuda_card test_pipeline_goldens test_model_transformers \
    test_pipeline_stored test_cli_eval; do
    printf '#!/bin/sh\nexec sleep 600\n' >"$folder/tree/bin/$name"
    chmod +x "$folder/tree/bin/$name"
done
for name in nvidia-smi python3 compute-sanitizer; do
    ln -s "$folder/tree/bin/ballast" "$folder/path/$name"
done
tar -C "$folder/tree" -cJf "$folder/tree.tar.xz" .
cp "$script" "$folder"
SECONDS=0
PATH="$folder/path:$PATH" TOTAL=3 "$folder/device_check.sh" >"$folder/said" && { echo "it says that all is well"; exit 1; }
[ "$SECONDS" -le 15 ] || { echo "it took $SECONDS s of 3"; exit 1; }
grep -q '^| goldens, pictures |' "$folder/said" || { cat "$folder/said"; exit 1; }
grep -q 'no time was left' "$folder/out/log.txt" || { cat "$folder/out/log.txt"; exit 1; }
[ "$(find "$folder/out" -type f | wc -l)" -le 5 ] || { ls "$folder/out"; exit 1; }

# Where there is no card each part says so in its row, at once.
printf '#!/bin/sh\necho "cuda    not here: no driver"\n' >"$folder/tree/bin/ballast"
tar -C "$folder/tree" -cJf "$folder/tree.tar.xz" .
code=0
"$folder/device_check.sh" >"$folder/said" || code=$?
[ "$code" -eq 2 ] || { echo "exit code $code"; exit 1; }
for part in pictures goldens eval ops rates networks torch table memcheck offload; do
    grep -q "^| $part |.*| not run: no driver |" "$folder/said" || { cat "$folder/said"; exit 1; }
done
echo "$SECONDS s"
