"""How fast a machine is: given, or measured here in a moment."""

from __future__ import annotations

from domino_lightning.planning.cost import Cost

PROGRAM_S = 0.02  # one program in the sandbox (docs/performance.md)


class Machine:
    """Rates of one device.

    Args:
        tflops: 10¹² FLOP/s of matrix products; None: what this machine reaches.
        bandwidth_gbs: 10⁹ bytes a second that memory is read with; None: what this machine reaches.
        gpu_memory: bytes of a GPU's memory; None: of the GPU that is here, if one is.
    """

    def __init__(
        self, tflops: float | None = None, bandwidth_gbs: float | None = None, gpu_memory: float | None = None
    ) -> None:
        self.tflops, self.bandwidth_gbs, self.gpu_memory = tflops, bandwidth_gbs, gpu_memory
        self.rates: dict[str, float] = {}

    def flops(self, dtype: str) -> float:
        """FLOP/s in the dtype; in float32 where a CPU has no units for it."""
        if self.tflops is not None:
            return self.tflops * 1e12
        import torch

        from domino_lightning.callbacks.throughput import matmul_peak
        from domino_lightning.models.backbone import computes_bfloat16

        on_gpu = torch.cuda.is_available()
        dtype = dtype if on_gpu or (dtype == "bfloat16" and computes_bfloat16()) else "float32"
        if dtype not in self.rates:
            device = torch.device("cuda" if on_gpu else "cpu")
            self.rates[dtype] = matmul_peak(device, getattr(torch, dtype), size=4096 if on_gpu else 1024)
        return self.rates[dtype]

    def bandwidth(self) -> float:
        """Bytes a second that memory is read with."""
        if self.bandwidth_gbs is None:
            self.bandwidth_gbs = _measured_gbs()
        return self.bandwidth_gbs * 1e9

    def memory(self) -> float | None:
        """Bytes that a stage has on a GPU; None where there is none and none is described."""
        if self.gpu_memory is None:
            import torch

            if torch.cuda.is_available():
                self.gpu_memory = float(torch.cuda.get_device_properties(0).total_memory)
        return self.gpu_memory

    def seconds(self, cost: Cost) -> float:
        """About how long it takes. Each rank is taken to have a device of its own."""
        products = cost.flops / (cost.share * self.flops(cost.dtype)) if cost.flops else 0.0
        reading = cost.read / self.bandwidth() if cost.read else 0.0
        return max(products, reading) / cost.ranks + cost.programs * PROGRAM_S / cost.workers


def _measured_gbs(megabytes: int = 64, repeats: int = 3) -> float:
    import time

    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    block = torch.ones(megabytes << 18, device=device)
    best = float("inf")
    for _ in range(repeats + 1):
        started = time.perf_counter()
        block.sum().item()
        best = min(best, time.perf_counter() - started)
    return block.nbytes / best / 1e9
