"""Training steps on a GPU as CUDA graphs.

A step of a small network is some hundred kernels of a few microseconds each, and Python takes longer to start one than
the GPU to run it. A graph records them once and starts them together.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from spectraldyn.errors import InputWarning
from spectraldyn.records import State

WARM_UP = 3
"""Steps before one is captured, in which the optimiser and the libraries of the GPU set themselves up."""

Step = Callable[[State], tuple[Tensor, State]]
"""From what the objective remembers to the loss, without gradient, and what it remembers then."""


_FAILED: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture failed: the allocator goes on asking them what belongs to them."""


class GraphedStep:
    """A step of training that is captured as a CUDA graph and replayed from then on.

    It runs as it is on the CPU, where the objective remembers something from batch to batch, and, with an
    `InputWarning`, where some operation waits for the GPU, which cannot be captured. The random numbers are the same.

    Parameters
    ----------
    step : callable, state → (loss, state)
        Draws a batch and changes the parameters in place. All that it does on the GPU is done again in every replay, to
        the same tensors and with the same Python numbers; nothing that it does in Python is.
    generator : torch.Generator
        The one that the step draws from, on the device where it works.

    References
    ----------
    https://docs.pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs", for the warm-up on a stream of its own.
    """

    def __init__(self, step: Step, generator: torch.Generator):
        self._step, self._generator = step, generator
        self._warm_up = WARM_UP
        self._captured: tuple[torch.cuda.CUDAGraph, Tensor] | None = None
        """With the loss, which every replay writes."""
        on_gpu = generator.device.type == "cuda"
        self._stream = torch.cuda.Stream(generator.device) if on_gpu else None
        """None where the step runs as it is."""

    @property
    def captured(self) -> bool:
        """Whether steps are replayed by now."""
        return self._captured is not None

    def __call__(self, state: State) -> tuple[Tensor, State]:
        if self._captured is not None:
            graph, loss = self._captured
            graph.replay()
            return loss, state
        if self._stream is None or state:
            return self._step(state)
        if self._warm_up:
            self._warm_up -= 1
            return (self._run_on if self._warm_up else self._try_on)(self._stream, state)
        self._capture(self._stream)
        return self(state)

    def _run_on(self, stream: torch.cuda.Stream, state: State) -> tuple[Tensor, State]:
        current = torch.cuda.current_stream(stream.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self._step(state)
        current.wait_stream(stream)
        return result

    def _try_on(self, stream: torch.cuda.Stream, state: State) -> tuple[Tensor, State]:
        """The same, and see whether something waits for the GPU: a capture would fail, and not without a trace."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                result = self._run_on(stream, state)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        if any("called a synchronizing CUDA operation" in str(warning.message) for warning in caught):
            self._give_up("an operation waits for the GPU")
        return result

    def _capture(self, stream: torch.cuda.Stream) -> None:
        """Record a step, which changes nothing yet."""
        current = torch.cuda.current_stream(stream.device)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        try:
            # Other threads may go on with work of their own.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                loss, _ = self._step({})
        except RuntimeError as error:
            torch.cuda.set_stream(current)
            _FAILED.append(graph)
            self._end_capture()
            self._give_up(str(error.__context__ or error).strip().partition("\n")[0])
        else:
            self._captured = graph, loss

    def _give_up(self, cause: str) -> None:
        self._stream = None
        sentence = f"training steps cannot be captured as a CUDA graph and are slower without one: {cause}"
        warnings.warn(sentence, InputWarning, stacklevel=5)

    def _end_capture(self) -> None:
        """Let generators, also that of the device, draw again: they wait for a capture to end, which one that fails
        never does."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        with torch.cuda.graph(graph):
            torch.zeros(1, device=self._generator.device)


def learning_rate(rate: float, device: torch.device) -> float | Tensor:
    """A rate for an optimiser: on a GPU a tensor, as a number would be the same in every replay of a graph."""
    return torch.tensor(rate, device=device) if device.type == "cuda" else rate


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next step."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
