"""Scripts that people have: packed batches, optimisers, data loaders, several processes."""

import socket

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, Dataset

import ostinato
import ostinato.torch as ours


def ordinary(library, n_steps=200):
    """An ordinary training script; the losses of every step."""
    torch.manual_seed(0)
    rnn, head = library.LSTM(4, 16, num_layers=2, dropout=0.1, batch_first=True), nn.Linear(16, 3)
    parameters = [*rnn.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(n_steps):
        x = torch.randn(8, 12, 4, generator=generator)
        lengths = torch.randint(1, 13, (8,), generator=generator)
        target = (x[:, 0, 0] > 0).long() + (x[:, 0, 1] > 0).long()
        packed, (h, _) = rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        y, _ = pad_packed_sequence(packed, batch_first=True)
        loss = nn.functional.cross_entropy(head(h[-1] + 0.1 * y.mean(1)), target)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses


def test_an_ordinary_script_learns_the_same_with_one_import_changed():
    theirs, mine = ordinary(nn), ordinary(ours)
    assert max(abs(a - b) for a, b in zip(theirs, mine, strict=True)) < 1e-4
    assert mine[-1] < mine[0]


class Lines(Dataset):
    """Runs a module in the process of a worker."""

    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 4

    def __getitem__(self, i):
        with torch.no_grad():
            return self.module(torch.full((5, 1, 3), float(i)))[0]


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_workers_of_a_data_loader_run_a_module(how):
    module = ours.GRU(3, 4)
    module(torch.zeros(5, 1, 3))
    loader = DataLoader(Lines(module), batch_size=2, num_workers=2, multiprocessing_context=how)
    found = torch.cat(list(loader))
    expected = torch.stack([module(torch.full((5, 1, 3), float(i)))[0].detach() for i in range(4)])
    assert torch.equal(found, expected)


def test_threads_are_those_of_torch():
    before = torch.get_num_threads(), ostinato.get_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            ours.LSTM(3, 4)(torch.zeros(5, 2, 3))
            assert ostinato.get_threads() == n
    finally:
        torch.set_num_threads(before[0])
        ostinato.set_threads(before[1])


# --- several processes ------------------------------------------------------------------------------------------------------

MODES = {
    "plain": {}, "static_graph": {"static_graph": True}, "find_unused_parameters": {"find_unused_parameters": True},
    "gradient_as_bucket_view": {"gradient_as_bucket_view": True},
}  # fmt: skip


class Model(nn.Module):
    """A recurrent module and a linear one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = ours.LSTM(3, 8), nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.rnn(x)[0][-1])


def batch(step):
    return torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(step))


def train(model, share):
    """Five steps of Adam with clipping on a share of every batch."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(5):
        optimiser.zero_grad()
        model(batch(step)[:, share]).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def worker(rank, port, queue):
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for options in MODES.values():
        model = Model()
        train(DistributedDataParallel(model, **options), slice(2 * rank, 2 * rank + 2))
        if rank == 0:
            queue.put([p.detach().numpy().copy() for p in model.parameters()])
    dist.destroy_process_group()


def test_two_processes_with_distributed_data_parallel_learn_as_one():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=worker, args=(rank, port, queue)) for rank in range(2)]
    for process in processes:
        process.start()
    found = {mode: queue.get(timeout=120) for mode in MODES}
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    model = Model()
    train(model, slice(None))
    for mode, parameters in found.items():
        for mine, expected in zip(parameters, model.parameters(), strict=True):
            assert np.abs(mine - expected.detach().numpy()).max() < 1e-5, mode
