"""Hugging Face Trainer, Accelerate and Lightning with an optimizer of fastopt.torch.

Each training is compared with the same training by torch.optim's class of the same name, and a
training that is resumed from a checkpoint with the uninterrupted one.
"""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import fastopt.torch

STEPS, BATCH, FEATURES = 12, 4, 6
CLASSES = {
    "SGD": dict(lr=0.1, momentum=0.9),
    "AdamW": dict(lr=0.02, betas=(0.8, 0.95), weight_decay=0.1),
}
each_class = pytest.mark.parametrize(("name", "options"), CLASSES.items(), ids=CLASSES.keys())


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    """Keep frameworks from the network and from the working directory, and use one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Points(Dataset):
    """Points and a nonlinear function of them, as tuples or as the dicts that Trainer needs."""

    def __init__(self, n, as_dict=False):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, FEATURES, generator=generator)
        self.y = self.x.sin().sum(1, keepdim=True)
        self.as_dict = as_dict

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"x": self.x[i], "labels": self.y[i]} if self.as_dict else (self.x[i], self.y[i])


class Net(torch.nn.Module):
    """A network that returns its loss, as models of transformers do."""

    def __init__(self, dropout=0.1, dtype=torch.float32):
        super().__init__()
        self.batches = 0  # the number of batches seen
        torch.manual_seed(1)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, 8),
            torch.nn.LayerNorm(8),
            torch.nn.Dropout(dropout),
            torch.nn.Linear(8, 1),
        ).to(dtype)
        self.dtype = dtype

    def forward(self, x, labels):
        self.batches += 1
        return {"loss": torch.nn.functional.mse_loss(self.layers(x.to(self.dtype)).float(), labels)}


def require_close(found, expected):
    """Require that parameters have changed, and are equal within single precision."""
    start = list(Net().parameters())
    for p, q, before in zip(found.parameters(), expected.parameters(), start, strict=True):
        assert not torch.equal(p, before)
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


def require_resumed(found, expected):
    """Require equal bits of a resumed training, which took only the second half of the steps."""
    assert 0 < found.batches == expected.batches / 2
    for p, q in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.equal(p, q)


def cosine(opt):
    return torch.optim.lr_scheduler.CosineAnnealingLR(opt, STEPS)


# Hugging Face Trainer


def hf_trained(cls, options, how, folder, resume=None, max_grad_norm=0.5, dtype=torch.float32):
    """Train with Trainer and its checkpoints; return the trainer."""
    pytest.importorskip("accelerate", reason="Trainer needs it")
    transformers = pytest.importorskip("transformers")
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=2,
        max_grad_norm=max_grad_norm,
        save_steps=STEPS // 2,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    model = Net(dtype=dtype)
    if how == "optimizers":
        opt = cls(model.parameters(), **options)
        given = {how: (opt, cosine(opt))}
    else:
        given = {how: (cls, options)}
    points = Points(2 * STEPS * BATCH, as_dict=True)
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=points, **given)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@each_class
@pytest.mark.parametrize("how", ["optimizers", "optimizer_cls_and_kwargs"])
def test_trainer(name, options, how, tmp_path):
    ours, theirs = getattr(fastopt.torch, name), getattr(torch.optim, name)
    found = hf_trained(ours, options, how, tmp_path / "ours")
    assert isinstance(found.optimizer.optimizer, ours)  # Accelerate wraps it
    require_close(found.model, hf_trained(theirs, options, how, tmp_path / "theirs").model)
    saved = str(tmp_path / f"ours/checkpoint-{STEPS // 2}")
    require_resumed(hf_trained(ours, options, how, tmp_path / "again", saved).model, found.model)


def test_trainer_that_leaves_clipping_to_the_optimizer(tmp_path):
    how, options = "optimizer_cls_and_kwargs", CLASSES["SGD"]
    clipping = {**options, "max_grad_norm": 0.5}
    found = hf_trained(fastopt.torch.SGD, clipping, how, tmp_path / "ours", max_grad_norm=0.0)
    expected = hf_trained(torch.optim.SGD, options, how, tmp_path / "theirs")
    require_close(found.model, expected.model)


@pytest.mark.parametrize(
    "own",
    [
        dict(master="float32", ema_decay=0.9, ema_warmup=True),
        dict(state_dtype="bfloat16", rounding="stochastic", seed=3),
    ],
    ids=str,
)
def test_trainer_resumes_in_bfloat16(own, tmp_path):
    how, options = "optimizer_cls_and_kwargs", {**CLASSES["AdamW"], **own}
    found, resumed = (
        hf_trained(fastopt.torch.AdamW, options, how, tmp_path / "1", saved, dtype=torch.bfloat16)
        for saved in (None, str(tmp_path / f"1/checkpoint-{STEPS // 2}"))
    )
    require_resumed(resumed.model, found.model)
    for p, q in zip(resumed.model.parameters(), found.model.parameters(), strict=True):
        ours, theirs = resumed.optimizer.state[p], found.optimizer.state[q]
        assert list(ours) == list(theirs)
        for key, value in ours.items():
            assert value.dtype is theirs[key].dtype
            assert torch.equal(value, theirs[key])


# Accelerate


def accelerate_trained(cls, options, folder=None, resume=False, stop=STEPS):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = Net()
    opt = cls(model.parameters(), **options)
    points = DataLoader(Points(2 * STEPS * BATCH), BATCH, generator=torch.Generator())
    model, opt, loader, scheduler = accelerator.prepare(model, opt, points, cosine(opt))
    torch.manual_seed(2)
    if resume:
        accelerator.load_state(folder)
        loader = accelerator.skip_first_batches(loader, STEPS)
    for i, (x, y) in enumerate(loader):
        if i == 2 * stop:
            break
        with accelerator.accumulate(model):
            accelerator.backward(model(x, y)["loss"])
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
            opt.step()
            scheduler.step()
            opt.zero_grad()
    if folder and not resume:
        accelerator.save_state(folder)
    return accelerator.unwrap_model(model)


@each_class
def test_accelerate(name, options, tmp_path):
    ours, theirs = getattr(fastopt.torch, name), getattr(torch.optim, name)
    found = accelerate_trained(ours, options)
    require_close(found, accelerate_trained(theirs, options))
    folder = str(tmp_path / "saved")
    accelerate_trained(ours, options, folder, stop=STEPS // 2)
    require_resumed(accelerate_trained(ours, options, folder, resume=True), found)


# Lightning


def lightning_trained(cls, options, folder, resume=None, accumulate=1):
    """Train with Trainer, a step and a checkpoint in each epoch; return the network."""
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net(dropout=0.0)  # checkpoints are without the state of the random numbers

        def training_step(self, batch, _):
            return self.net(*batch)

        def configure_optimizers(self):
            opt = cls(self.parameters(), **options)
            return {
                "optimizer": opt,
                "lr_scheduler": {"scheduler": cosine(opt), "interval": "step"},
            }

    module = Module()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=0.5,
        default_root_dir=folder,
        logger=False,
        callbacks=[lightning.pytorch.callbacks.ModelCheckpoint(folder, "{step}", save_top_k=-1)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(Points(accumulate * BATCH), BATCH, num_workers=0)
    trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
    assert isinstance(trainer.optimizers[0], cls)
    return module.net


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning 2.6 with torch 2.13
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty:UserWarning")
@each_class
def test_lightning(name, options, tmp_path):
    ours, theirs = getattr(fastopt.torch, name), getattr(torch.optim, name)
    found = lightning_trained(ours, options, tmp_path / "ours")
    require_close(found, lightning_trained(theirs, options, tmp_path / "theirs"))
    pair = [lightning_trained(cls, options, tmp_path / "2", accumulate=2) for cls in (ours, theirs)]
    require_close(*pair)
    # Lightning 2.6 repeats the first batch after it has resumed: an epoch has one batch here.
    saved = tmp_path / f"ours/step={STEPS // 2}.ckpt"
    require_resumed(lightning_trained(ours, options, tmp_path / "ours", saved), found)
