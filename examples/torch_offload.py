"""Keep torch's optimizer state in host memory: python examples/torch_offload.py [--steps N].

The model is on the device, if there is one. Its parameters have copies in the host's memory, pinned so that transfers
are fast. An update copies the gradients there, steps with `CPUAdam`, and copies the parameters back. So the device
holds neither the moments nor a second copy of the weights. Without a device, all of it runs on the CPU.
"""

import argparse
import sys

try:
    import torch
except ModuleNotFoundError:
    print('this example needs torch: pip install "pyfastlr[interop]"', file=sys.stderr)
    raise SystemExit(2) from None

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from pyfastlr import schedules as S
from pyfastlr.interop.torch import CPUAdam


class Offloaded:
    """Copies of a model's parameters in host memory, and the optimizer that updates them."""

    def __init__(self, model, **options):
        self.model = list(model.parameters())
        is_pinned = any(p.is_cuda for p in self.model)
        self.copies = [torch.nn.Parameter(self.host_copy(p, is_pinned)) for p in self.model]
        for copy in self.copies:
            copy.grad = self.host_copy(copy, is_pinned)
        self.optimizer = CPUAdam(self.copies, **options)

    @staticmethod
    def host_copy(p, is_pinned):
        """Return the values of a tensor in host memory, which a device reaches faster if it is pinned."""
        return torch.empty(p.shape, dtype=p.dtype, pin_memory=is_pinned).copy_(p.detach())

    def step(self):
        """Update the copies with the model's gradients, then the model."""
        for p, copy in zip(self.model, self.copies, strict=True):
            copy.grad.copy_(p.grad, non_blocking=True)
        if any(p.is_cuda for p in self.model):
            torch.cuda.synchronize()
        self.optimizer.step()
        with torch.no_grad():
            for p, copy in zip(self.model, self.copies, strict=True):
                p.copy_(copy, non_blocking=True)


def main():
    """Train, print the loss during training, and check the accuracy on the held-out images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=600, help="updates (default: %(default)s)")
    steps = parser.parse_args().steps

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split((images / 16).astype("f4"), labels, stratify=labels, random_state=0)
    x, x_test, y, y_test = (torch.from_numpy(part).to(device) for part in (x, x_test, y, y_test))
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)).to(device)
    optimizer = Offloaded(model, lr=S.Cosine(3e-3, steps=steps), weight_decay=0.01)
    for step in range(steps):
        batch = torch.randperm(len(x), device=device)[:64]
        loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
        model.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            rate = optimizer.optimizer.param_groups[0]["lr"]
            print(f"update {step:5d}  rate {rate:.2e}  loss {loss.item():.4f}")

    reached = (model(x_test).argmax(dim=1) == y_test).double().mean().item()
    print(f"accuracy on {len(y_test)} held-out images: {reached:.4f} (expected: at least 0.95)")
    if reached < 0.95:
        raise SystemExit("the accuracy is too low")


if __name__ == "__main__":
    main()
