"""A training script that is written for torch.optim runs with one line changed."""

import numpy as np

import fastopt.torch

# In the manner of nanoGPT: groups with and without decay, fused if the class has it, warm-up and
# cosine written into the groups, accumulation, GradScaler, clipping, and a checkpoint in between.
SCRIPT = """
import inspect
import io
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import AdamW

torch.manual_seed(1337)
text = "".join(chr(97 + (7 * i * i + i // 3) % 26) for i in range(5000))
data = torch.tensor([ord(c) - 97 for c in text])
block_size, batch_size, n_embd, accumulate, max_iters, warmup = 16, 4, 32, 2, 40, 5


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.qkv, self.proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 64), nn.GELU(), nn.Linear(64, n_embd))

    def forward(self, x):
        B, T, C = x.shape
        heads = self.qkv(self.ln_1(x)).view(B, T, 3, 4, C // 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(26, n_embd), nn.Embedding(block_size, n_embd)
        self.h = nn.Sequential(Block(), Block())
        self.ln_f, self.lm_head = nn.LayerNorm(n_embd), nn.Linear(n_embd, 26, bias=False)
        self.wte.weight = self.lm_head.weight  # weight tying

    def forward(self, idx, targets):
        x = self.h(self.wte(idx) + self.wpe.weight)
        return F.cross_entropy(self.lm_head(self.ln_f(x)).flatten(0, 1), targets.flatten())

    def configure_optimizers(self):
        params = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in params if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
        ]
        extra = {"fused": True} if "fused" in inspect.signature(AdamW).parameters else {}
        return AdamW(groups, lr=1e-3, betas=(0.9, 0.95), **extra)


def get_batch():
    ix = torch.randint(len(data) - block_size, (batch_size,))
    x = torch.stack([data[i : i + block_size] for i in ix])
    y = torch.stack([data[i + 1 : i + 1 + block_size] for i in ix])
    return x, y


def get_lr(it):
    if it < warmup:
        return 1e-3 * (it + 1) / (warmup + 1)
    return 1e-4 + 0.45e-3 * (1 + math.cos(math.pi * (it - warmup) / (max_iters - warmup)))


model = GPT()
optimizer = model.configure_optimizers()
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
losses = []
for iter_num in range(max_iters):
    if iter_num == max_iters // 2:  # stop and resume
        file = io.BytesIO()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        file.seek(0)
        checkpoint = torch.load(file)
        model = GPT()
        model.load_state_dict(checkpoint["model"])
        optimizer = model.configure_optimizers()
        optimizer.load_state_dict(checkpoint["optimizer"])
    for param_group in optimizer.param_groups:
        param_group["lr"] = get_lr(iter_num)
    for micro_step in range(accumulate):
        loss = model(*get_batch()) / accumulate
        scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    losses.append(loss.item() * accumulate)
"""


def test_a_script_with_one_line_changed_gives_the_same_losses():
    line, ours = "from torch.optim import AdamW\n", "from fastopt.torch import AdamW\n"
    assert SCRIPT.count(line) == 1
    theirs, changed = {"__name__": "theirs"}, {"__name__": "changed"}
    exec(SCRIPT, theirs)
    exec(SCRIPT.replace(line, ours), changed)
    assert isinstance(changed["optimizer"], fastopt.torch.AdamW)
    assert not isinstance(theirs["optimizer"], fastopt.torch.AdamW)
    losses = theirs["losses"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    np.testing.assert_allclose(changed["losses"], losses, rtol=0, atol=1e-5)
