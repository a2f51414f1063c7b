"""A training script in the style of nanoGPT, which uses only PyTorch.

Usage: training_script.py key=value ...  Prints the loss of each iteration.
"""

import ast
import inspect
import math
import os
import sys

import torch
import torch.nn as nn
from torch.nn import functional
from torch.optim import AdamW

out_dir = "out"
init_from = "scratch"  # or "resume"
max_iters = 24
stop_at = 24  # the iteration after which a checkpoint is written
gradient_accumulation_steps = 2
batch_size, block_size, vocab_size = 4, 16, 32
n_layer, n_head, n_embd = 2, 2, 32
learning_rate, min_lr, warmup_iters = 3e-3, 3e-4, 4
weight_decay, beta1, beta2, grad_clip = 1e-1, 0.9, 0.95, 1.0
dtype = "float32"  # or "bfloat16", "float16"
scale = 2.0**16  # of the losses in float16
for arg in sys.argv[1:]:
    key, value = arg.split("=")
    assert key in globals(), key
    globals()[key] = type(globals()[key])(ast.literal_eval(value) if value[0].isdigit() else value)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd, bias=False)
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.ln_2 = nn.LayerNorm(n_embd, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd)
        )

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.c_attn(self.ln_1(x)).split(n_embd, dim=2)
        q, k, v = (part.view(b, t, n_head, c // n_head).transpose(1, 2) for part in qkv)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.wpe = nn.Embedding(block_size, n_embd)
        self.h = nn.Sequential(*(Block() for _ in range(n_layer)))
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.wte.weight = self.lm_head.weight  # tied
        for p in self.parameters():
            if p.dim() >= 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, idx, targets):
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1]))
        logits = self.lm_head(self.ln_f(self.h(x)))
        return functional.cross_entropy(logits.view(-1, vocab_size), targets.view(-1))

    def configure_optimizers(self):
        param_dict = {name: p for name, p in self.named_parameters() if p.requires_grad}
        optim_groups = [
            {"params": [p for p in param_dict.values() if p.dim() >= 2]},
            {"params": [p for p in param_dict.values() if p.dim() < 2], "weight_decay": 0.0},
        ]
        optim_groups[0]["weight_decay"] = weight_decay
        fused_available = "fused" in inspect.signature(AdamW).parameters
        extra_args = dict(fused=True) if fused_available else dict()
        return AdamW(optim_groups, lr=learning_rate, betas=(beta1, beta2), **extra_args)


def get_batch(step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randint(vocab_size, (batch_size, 1), generator=generator)
    x = (x + torch.arange(block_size + 1) * torch.randint(1, 4, (batch_size, 1))) % vocab_size
    return x[:, :-1].contiguous(), x[:, 1:].contiguous()


def get_lr(it):
    if it < warmup_iters:
        return learning_rate * (it + 1) / (warmup_iters + 1)
    ratio = (it - warmup_iters) / (max_iters - warmup_iters)
    return min_lr + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (learning_rate - min_lr)


torch.manual_seed(1337)
os.makedirs(out_dir, exist_ok=True)
ckpt_path = os.path.join(out_dir, "ckpt.pt")
ptdtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
ctx = torch.amp.autocast("cpu", dtype=ptdtype, enabled=dtype != "float32")
model = GPT()
scaler = torch.amp.GradScaler(
    "cpu", init_scale=scale, growth_interval=6, enabled=dtype == "float16"
)
optimizer = model.configure_optimizers()
iter_num = 0
if init_from == "resume":
    checkpoint = torch.load(ckpt_path, weights_only=True)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scaler.load_state_dict(checkpoint["scaler"])
    iter_num = checkpoint["iter_num"]
    torch.set_rng_state(checkpoint["rng"])

losses = []
while iter_num < stop_at:
    for param_group in optimizer.param_groups:
        param_group["lr"] = get_lr(iter_num)
    for micro_step in range(gradient_accumulation_steps):
        with ctx:
            loss = model(*get_batch(gradient_accumulation_steps * iter_num + micro_step))
            loss = loss / gradient_accumulation_steps
        scaler.scale(loss).backward()
    if grad_clip != 0.0:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    iter_num += 1
    losses.append(loss.item() * gradient_accumulation_steps)
    print(f"iter {iter_num}: loss {losses[-1]:.4f}")

torch.save(
    {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "iter_num": iter_num,
        "rng": torch.get_rng_state(),
    },
    ckpt_path,
)
