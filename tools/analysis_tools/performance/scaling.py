"""Training time and memory on GPUs, computed from counted operations and stated assumptions, not measured."""

from dataclasses import dataclass

SECONDS_PER_DAY = 86400


@dataclass(frozen=True)
class Cluster:
    """Assumptions on the machines.

    Attributes:
        name: of the GPU.
        tflops: its dense bfloat16 peak, in 1e12 floating point operations per second, from its data sheet.
        float32_tflops: the same in float32, without tensor cores.
        utilization: the share of that peak that a training step reaches, in (0, 1].
        gpus_per_node: GPUs that talk at ``fast_gbytes``.
        fast_gbytes: all-reduce bandwidth inside a node, in 1e9 bytes per second.
        slow_gbytes: the same between nodes, for each GPU.
    """

    name: str
    tflops: float
    float32_tflops: float
    utilization: float
    gpus_per_node: int = 8
    fast_gbytes: float = 150.0
    slow_gbytes: float = 20.0


@dataclass(frozen=True)
class Workload:
    """The training that is extrapolated.

    Attributes:
        macs: multiply-accumulate operations of one image's forward pass.
        parameters: their number.
        bytes_per_image: activations of one image, in bytes.
        images: images until the end, iterations times batch size.
        batch_size: of all GPUs together.
    """

    macs: float
    parameters: int
    bytes_per_image: float
    images: float
    batch_size: int


@dataclass(frozen=True)
class Estimate:
    """One row of the table."""

    gpus: int
    gbytes_per_gpu: float
    images_per_second: float
    days: float


def estimate(workload: Workload, cluster: Cluster, gpus: int) -> Estimate:
    """Estimated cost of a training.

    A step is forward, forward again for activation checkpointing, and backward: four times the forward pass; then a
    ring all-reduce of float32 gradients, which is not overlapped. A GPU holds parameters, gradients and AdamW's two
    moments in float32.

    Raises:
        ValueError: the batch is not divisible by the number of GPUs.
    """
    if workload.batch_size % gpus:
        raise ValueError(f'batch_size must be a multiple of the GPUs, got {workload.batch_size} and {gpus}')
    per_gpu = workload.batch_size // gpus
    compute = per_gpu * 4 * 2 * workload.macs / (cluster.tflops * 1e12 * cluster.utilization)
    bandwidth = cluster.fast_gbytes if gpus <= cluster.gpus_per_node else cluster.slow_gbytes
    exchange = 2 * (gpus - 1) / gpus * 4 * workload.parameters / (bandwidth * 1e9)
    rate = workload.batch_size / (compute + exchange)
    memory = 16 * workload.parameters + per_gpu * workload.bytes_per_image
    return Estimate(gpus, memory / 1e9, rate, workload.images / rate / SECONDS_PER_DAY)


def most_predictions(macs: float, cluster: Cluster) -> float:
    """Images per second that one GPU cannot exceed in float32, in which robustness is evaluated.

    Args:
        macs: multiply-accumulate operations of one image's forward pass.
        cluster: the GPU.
    """
    return cluster.float32_tflops * 1e12 / (2 * macs)
