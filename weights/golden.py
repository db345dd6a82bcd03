#!/usr/bin/env python3
"""Greedy ids of the model in this folder, from a plain float64 forward pass that shares nothing with the crate.

    python3 weights/golden.py > tests/data/embedded_greedy.json

Standard library only. `min_gap` is the smallest distance between the best logit and the next: ids are a fair
expectation for any implementation whose logits are closer than half of it.
"""
import json
import math
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
PROMPT_TEXT, GENERATED = "ROMEO:\n", 12


def load():
    raw = (HERE / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            assert entry["dtype"] == "F16"
            values = struct.unpack(f"<{(end - begin) // 2}e", raw[8 + size + begin : 8 + size + end])
            width = entry["shape"][-1]
            rows = [values[i : i + width] for i in range(0, len(values), width)]
            tensors[name] = rows if len(entry["shape"]) == 2 else rows[0]
    return tensors


def encode(text):
    """Byte-level BPE of a text whose bytes are printable ASCII or newline, by the ranks of the merges."""
    model = json.loads((HERE / "tokenizer.json").read_text())["model"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    rank = {pair: i for i, pair in enumerate(merges)}
    ids = []
    word = [c if c != "\n" else "\u010a" for c in text]
    for piece in ([c for c in word if c.isascii() and c.isalpha()], [":"], ["\u010a"]):
        while len(piece) > 1:
            best = min(range(len(piece) - 1), key=lambda i: rank.get((piece[i], piece[i + 1]), 1 << 30))
            if (piece[best], piece[best + 1]) not in rank:
                break
            piece[best : best + 2] = [piece[best] + piece[best + 1]]
        ids += [model["vocab"][p] for p in piece]
    return ids


def matmul(rows, x):
    return [math.fsum(map(float.__mul__, row, x)) for row in rows]


def norm(x, g, eps):
    inv = 1 / math.sqrt(math.fsum(v * v for v in x) / len(x) + eps)
    return [v * inv * w for v, w in zip(x, g)]


def rope(v, position, dim, theta):
    out = []
    for head in range(0, len(v), dim):
        low, high = v[head : head + dim // 2], v[head + dim // 2 : head + dim]
        angles = [position * theta ** (-2 * i / dim) for i in range(dim // 2)]
        out += [a * math.cos(t) - b * math.sin(t) for a, b, t in zip(low, high, angles)]
        out += [b * math.cos(t) + a * math.sin(t) for a, b, t in zip(low, high, angles)]
    return out


def step(t, c, cache, token, position):
    heads, kv_heads, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    x = [float(v) for v in t["model.embed_tokens.weight"][token]]
    for layer in range(c["num_hidden_layers"]):
        w = lambda name: t[f"model.layers.{layer}.{name}.weight"]
        h = norm(x, w("input_layernorm"), c["rms_norm_eps"])
        q = rope(matmul(w("self_attn.q_proj"), h), position, dim, c["rope_theta"])
        k = rope(matmul(w("self_attn.k_proj"), h), position, dim, c["rope_theta"])
        cache[layer].append((k, matmul(w("self_attn.v_proj"), h)))
        attended = []
        for head in range(heads):
            kv = head * kv_heads // heads * dim
            mine = q[head * dim : head * dim + dim]
            scores = [math.fsum(map(float.__mul__, mine, k[kv : kv + dim])) / math.sqrt(dim) for k, _ in cache[layer]]
            top = max(scores)
            weights = [math.exp(s - top) for s in scores]
            total = math.fsum(weights)
            for d in range(kv, kv + dim):
                attended.append(math.fsum(p * v[d] for p, (_, v) in zip(weights, cache[layer])) / total)
        x = [a + b for a, b in zip(x, matmul(w("self_attn.o_proj"), attended))]
        h = norm(x, w("post_attention_layernorm"), c["rms_norm_eps"])
        gate, up = matmul(w("mlp.gate_proj"), h), matmul(w("mlp.up_proj"), h)
        gated = [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up)]
        x = [a + b for a, b in zip(x, matmul(w("mlp.down_proj"), gated))]
    return matmul(t["model.embed_tokens.weight"], norm(x, t["model.norm.weight"], c["rms_norm_eps"]))


def main():
    c = json.loads((HERE / "config.json").read_text())
    t, prompt = load(), encode(PROMPT_TEXT)
    t = {n: [tuple(map(float, r)) for r in v] if isinstance(v[0], tuple) else v for n, v in t.items()}
    cache, ids, gap = [[] for _ in range(c["num_hidden_layers"])], [], math.inf
    fed = list(prompt)
    for position in range(len(prompt) + GENERATED - 1):
        logits = step(t, c, cache, fed[position], position)
        if position + 1 >= len(prompt):
            best, second = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:2]
            gap = min(gap, logits[best] - logits[second])
            ids.append(best)
            fed.append(best)
    print(json.dumps({"prompt": PROMPT_TEXT, "prompt_ids": prompt, "greedy_ids": ids, "min_gap": round(gap, 6)}))


main()
