"""Trains a small model with two processes on the CPU, each of which keeps half of it."""

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

from fastopt.torch import AdamW  # in place of: from torch.optim import AdamW

dist.init_process_group("gloo")
torch.manual_seed(0)
model = fully_shard(torch.nn.Linear(20, 1))
opt = AdamW(model.parameters(), lr=1e-2, max_grad_norm=1.0)
X = torch.randn(256, 20)[dist.get_rank() :: dist.get_world_size()]
for _ in range(200):
    opt.zero_grad()
    loss = (model(X) - X[:, :1]).square().mean()
    loss.backward()
    opt.step()
if dist.get_rank() == 0:
    print(f"loss {loss.item():.4f}")
dist.destroy_process_group()
