#!/usr/bin/env python3
"""unigram_goldens.py DATA: a small Unigram tokenizer as T5's is one, and the ids of many strings.

Needs sentencepiece and tokenizers. The vocabulary is trained on the strings of DATA/common/tokens.json and
qwen_tokens.json; the normaliser's table has some of NFKC's rules. Writes DATA/common/unigram/tokenizer.json, as the
tokenizers library does, and strings.json: string -> ids, of sentencepiece, and, where it says another, of tokenizers
too. `unigram_goldens.py DATA OUT nmt_nfkc` writes the same with SentencePiece's whole table."""
import io
import json
import os
import sys
import unicodedata

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram

SPECIAL = ["<pad>", "</s>", "<unk>"]
EXTRA = [f"<extra_id_{i}>" for i in range(3)]
MORE = ["", " ", "   ", "a", " a", "a ", "  two  blanks   here ", "tab\tand\nline\r\nend", "\u00a0no-break\u00a0", "\u3000wide\u3000blank\u3000",
        "ﬁne ﬂow eﬃcient", "Ｆｕｌｌ　ｗｉｄｔｈ １２３！", "cafe\u0301 café", "a\u0308\u0301", "é" * 40, "ｶﾞｷﾞﾊﾟ", "½ ² ™ ℃", "\u200bzero\u200bwidth",
        "</s>", "a</s>b", " </s> ", "<extra_id_1>", "x<extra_id_0> y<extra_id_2>", "<pad", "<unk>", "emoji 🐱🐶🌈 unknown", "🐱", "🐱🐱 🐱", "▁▁ literal ▁x",
        "a photo of a cat", "A majestic mountain landscape, 8k, highly detailed, (masterpiece:1.2)", "word" * 60, "…", "e\u0301\u0323\u0302", "\U0001d400\U0001d401",
        "한국어 프롬프트", "한", "กำ", "नमस्ते", "\u0627\u0644\u0633", "x\u0000y", "ﷺ", "Å Å Å", "ǆ ß ſ", "1,000.50€", "http://example.org/?q=1&b=2"]


def rules():
    """Lines of SentencePiece's table: what NFKC makes of some ranges, and blanks."""
    out = {c: " " for c in "\t\n\r\u00a0\u2000\u2001\u2002\u2003\u2009\u200a\u200b\u3000\u2028"}
    out.update({c: "" for c in "\u0001\u0002\u007f\u200e"})
    ranges = ((0xA1, 0x250), (0x1E00, 0x1F00), (0x2100, 0x2150), (0xFB00, 0xFB07), (0xFF01, 0xFFA0), (0x2070, 0x208F))
    for first, last in ranges:
        for code in range(first, last):
            c = chr(code)
            made, apart = unicodedata.normalize("NFKC", c), unicodedata.normalize("NFD", c)
            if made != c:
                out[c] = made
            if apart != c and unicodedata.normalize("NFC", apart) == made:
                out[apart] = made
    for code in range(0xFF66, 0xFF9E):
        for mark in "ﾞﾟ":
            made = unicodedata.normalize("NFKC", chr(code) + mark)
            if len(made) == 1:
                out[chr(code) + mark] = made
    spell = lambda s: " ".join(f"{ord(c):X}" for c in s)
    return "".join(f"{spell(k)}\t{spell(v)}\n" for k, v in sorted(out.items()) if k != v)


def strings(data):
    out = list(MORE)
    for name in ("tokens.json", "qwen_tokens.json"):
        with open(f"{data}/common/{name}") as f:
            found = json.load(f)
        for item in found["strings"] if isinstance(found, dict) and "strings" in found else found:
            text = item["text"] if isinstance(item, dict) else item
            if isinstance(text, str) and len(text) < 4000:
                out.append(text)
    return list(dict.fromkeys(out))


def train(texts, folder, table):
    path, model = os.path.join(folder, "rules.tsv"), io.BytesIO()
    with open(path, "w") as f:
        f.write(rules())
    named = {"normalization_rule_name": table} if table else {"normalization_rule_tsv": path}
    lines = [line for t in texts for line in t.replace("\0", " ").splitlines() if line.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 3), model_writer=model, model_type="unigram", vocab_size=700, pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>", character_coverage=0.98, num_threads=1,
        hard_vocab_limit=False, minloglevel=2, **named)
    os.remove(path)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()), model.getvalue()


def charsmap(proto):
    """Field 2 of field 3 (the normaliser) of the model's protocol buffer."""
    def fields(blob):
        at = 0
        def number():
            nonlocal at
            value = shift = 0
            while True:
                byte = blob[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value
        while at < len(blob):
            key = number()
            kind, size = key & 7, 0
            if kind == 2:
                size = number()
            else:
                size = {5: 4, 1: 8}.get(kind) or (number(), 0)[1]
            yield key >> 3, blob[at:at + size]
            at += size
    normaliser = next(v for k, v in fields(proto) if k == 3)
    return next(v for k, v in fields(normaliser) if k == 2)


def main(data, out, table):
    os.makedirs(out, exist_ok=True)
    texts = strings(data)
    model, proto = train(texts, out, table)
    vocab = [(model.id_to_piece(i), model.get_score(i)) for i in range(model.get_piece_size())]
    tokenizer = Tokenizer(Unigram(vocab, unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap(proto)), normalizers.Strip(left=False, right=True),
                                                 normalizers.Replace(Regex(" {2,}"), "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL + EXTRA])
    tokenizer.save(os.path.join(out, "tokenizer.json"), pretty=False)
    records = []
    for text in texts:
        theirs = tokenizer.encode(text, add_special_tokens=False).ids
        record = {"text": text, "ids": theirs}
        if not any(t in text for t in SPECIAL + EXTRA):
            mine = model.encode(text)
            if mine != theirs:
                record = {"text": text, "ids": mine, "tokenizers": theirs}
        records.append(record)
    with open(os.path.join(out, "strings.json"), "w") as f:
        f.write(json.dumps(records, separators=(",", ":")).replace(",{\"text\"", "\n,{\"text\"") + "\n")
    print(len(records), "strings;", sum("tokenizers" in r for r in records), "where the two differ;", len(vocab), "pieces")
    for r in records:
        if "tokenizers" in r:
            print(repr(r["text"][:40]), r["ids"][:9], r["tokenizers"][:9])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else os.path.join(sys.argv[1], "common/unigram"),
         sys.argv[3] if len(sys.argv) > 3 else None)
