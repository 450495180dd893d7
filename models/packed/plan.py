"""Turns a network into tables: which operations run on which bits and floats, with parameters as torch rounds them.

Each batch norm, with the activation beside it, is compared with torch's on every value that its convolution can take;
bounds on all numbers exclude overflow, after which minimum and maximum would depend on the order of their operands.
Whatever cannot be shown to be equal to torch is `Refused`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from lcrbench.models.binary import input_levels
from lcrbench.models.network import Network
from lcrbench.models.packed import deployed, filters, finishes, graph, machine, maps, probes
from lcrbench.models.packed import fields as f
from lcrbench.models.packed.graph import Convolution, Finish, Map, Real, Refused, Shrink, Stem, Step
from lcrbench.models.packed.memory import Memory

MOST = 1e30
"""What no number may exceed, by a bound on all of them."""
LARGEST_INPUT = 16.0
"""The magnitude of pixels up to which the bounds hold."""
SAMPLED = 4096
POOLS = {"": f.UNPOOLED, "first": f.POOL_FIRST, "last": f.POOL_LAST, "three": f.POOL_THREE}


@dataclass(frozen=True)
class Plan:
    """The tables of a network for images of one size. Before each segment but the first, torch computes `reals[k]`."""

    graph: graph.Graph
    segments: tuple[machine.Segment, ...]
    reals: tuple[Real, ...]
    tables: machine.Tables
    needs: machine.Needs


@dataclass(frozen=True)
class _Signs:
    """How the input of a convolution becomes bits."""

    rule: probes.Rule
    thresholds: np.ndarray
    falls: bool


def of(network: nn.Module, height: int, width: int) -> Plan:
    """Return the plan of a network in evaluation mode; raises `Refused` with the reason."""
    processor = torch.from_numpy(np.empty(0, np.float32)).device  # where numpy's arrays lie
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.device != processor:
            raise Refused(f"it lies on the device {tensor.device}")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise Refused(f"{name} is {tensor.dtype}, not float32")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Refused(f"{name} is not finite")
    return _Writer(network, graph.of(network, height, width)).plan()


class _Writer:
    def __init__(self, network: nn.Module, known: graph.Graph) -> None:
        self.network, self.graph = network, known
        self.tables: dict[str, list[np.ndarray]] = {"weights": [], "parameters": [], "bases": [], "levels": []}
        self.sizes = dict.fromkeys(self.tables, 0)
        self.rows: list[np.ndarray] = []
        self.segments: list[machine.Segment] = []
        self.reals: list[Real] = []
        self.words, self.positions = 0, 0
        self.own = Memory()
        self.places: dict[Map, tuple[int, int]] = {known.start: (f.GIVEN, 0)}
        self.given, self.beside = known.start.numbers, 0
        self.bits: dict[Map, list[tuple[_Signs, int]]] = {}
        self.bound: dict[Map, float] = {known.start: self._stem_bound()}
        self.signs = {id(s): self._signs_of(s) for s in known.steps if isinstance(s, Convolution)}
        self.last = {x: k for k, step in enumerate(known.steps) for x in self._reads(step)}

    def _reads(self, step: Step) -> list[Map]:
        beside = [step.shortcut] if isinstance(step, Convolution) and step.shortcut else []
        return [step.source, *beside]

    def _stem_bound(self) -> float:
        network, first = self.network, self.graph.first
        assert isinstance(network, Network)
        pixel = float(((LARGEST_INPUT + network.mean.abs()) / network.std.abs()).max())
        return self._checked(pixel * float(first.weight.detach().double().abs().flatten(1).sum(1).max()))

    def _checked(self, bound: float) -> float:
        if not bound < MOST:
            raise Refused(f"its numbers may exceed {MOST:g}, near float32's end")
        return bound

    def _signs_of(self, step: Convolution) -> _Signs:
        sign = step.layer.sign
        rule = probes.rule(sign)
        if rule == "mean":
            self._check_mean(step.source)
            return _Signs(rule, np.zeros(step.source.channels, np.float32), False)
        return _Signs(rule, *probes.thresholds(sign, step.source.channels))

    def _check_mean(self, x: Map) -> None:
        work = np.zeros(32, np.float32)

        def mean(image: np.ndarray) -> float:
            found = maps.total(image.ctypes.data, image.size, work.ctypes.data)
            return float(np.float32(found) / np.float32(image.size))

        if not probes.mean_is_known(x.channels, x.height, x.width, mean):
            raise Refused("this torch adds up an image's numbers in an order that is not known")

    def plan(self) -> Plan:
        for k, step in enumerate(self.graph.steps):
            if isinstance(step, Real):
                self._real(step, k)
            elif isinstance(step, Shrink):
                self._shrink(step, k)
            elif isinstance(step, Convolution):
                self._convolution(step, k)
            else:
                assert isinstance(step, Stem)
                self._stem(step, k)
            self._forget(k)
        self._end(self.graph.end)
        types = {"weights": np.int32, "parameters": np.float32, "bases": np.int32, "levels": np.float32}
        joined = {n: np.concatenate([np.zeros(0, t), *self.tables[n]]).astype(t) for n, t in types.items()}
        tables, needs = machine.Tables(**joined), machine.Needs(self.words, self.positions, self.own.most)
        for segment in self.segments:
            segment.check(tables, needs)
        return Plan(self.graph, tuple(self.segments), tuple(self.reals), tables, needs)

    # Where maps lie.

    def _kept(self, x: Map, k: int) -> bool:
        """Tell whether a map's floats are read after step k, and not its bits alone."""
        if x is self.graph.end:
            return True
        for step in self.graph.steps[k + 1 :]:
            if isinstance(step, Convolution):
                if step.shortcut is x or (step.source is x and not self._fused(step, x)):
                    return True
            elif step.source is x:
                return True
        return False

    def _readers(self, x: Map) -> list[Convolution]:
        return [s for s in self.graph.steps if isinstance(s, Convolution) and s.source is x]

    def _fused(self, step: Convolution, x: Map) -> bool:
        """Tell whether whatever makes a map also writes the signs that a convolution reads."""
        mine, first = self.signs[id(step)], self.signs[id(self._readers(x)[0])]
        made_by = [s for s in self.graph.steps if s.target is x]
        writes = all(isinstance(s, (Convolution, Stem)) for s in made_by)
        return writes and not self._wanted(x) and mine.rule == "channel" and _same(mine, first)

    def _wanted(self, x: Map) -> bool:
        """Tell whether a map ends a segment: its bits are not carried into the next one."""
        return x is self.graph.end or any(isinstance(s, Real) and s.source is x for s in self.graph.steps)

    def _put(self, x: Map, k: int, over: Map | None = None) -> tuple[int, int]:
        """Return where a map's floats go: over those of a map that no later operation reads, if there is one."""
        if x in self.places:
            return self.places[x]
        if not self._kept(x, k):
            return f.NONE, 0
        if self._wanted(x):
            self.places[x] = f.WANTED, 0
        elif over is not None and over in self.own.taken and self.last[over] == k and over.numbers == x.numbers:
            self.own.taken[x] = self.own.taken.pop(over)
            self.places[x] = f.OWN, self.own.taken[x][0]
        else:
            self.places[x] = f.OWN, self.own.place(x)
        return self.places[x]

    def _forget(self, k: int) -> None:
        for x in [x for x in self.own.taken if self.last.get(x, -1) <= k and x is not self.graph.steps[k].target]:
            del self.own.taken[x]

    def _from(self, x: Map) -> tuple[int, int]:
        if x not in self.places:
            raise Refused("a map is read in another segment than it is made in")
        return self.places[x]

    def _end(self, x: Map) -> None:
        """End a segment with the map x as its output."""
        operations = np.array(self.rows, np.int64).reshape(-1, f.FIELDS)
        self.segments.append(machine.Segment(operations, self.given, self.beside, x.numbers))
        self.rows = []

    # Operations.

    def _row(self, kind: int, x: Map, out: Map, **values: int) -> np.ndarray:
        row = np.zeros(f.FIELDS, np.int64)
        row[[f.SIGNS, f.TO, f.FROM]] = f.NONE
        row[[f.KIND, f.KERNEL, f.STRIDE, f.IN, f.OUT, f.HEIGHT, f.WIDTH]] = (
            kind, 1, 1, x.channels, out.channels, x.height, x.width,
        )  # fmt: skip
        row[[f.ROWS, f.COLUMNS]] = out.height, out.width
        row[f.TO_PITCH] = out.channels
        for name, value in values.items():
            row[getattr(f, name)] = value
        self.rows.append(row)
        return row

    def _add(self, table: str, values: np.ndarray) -> int:
        at = self.sizes[table]
        self.tables[table].append(values.reshape(-1))
        self.sizes[table] += values.size
        return at

    def _real(self, step: Real, k: int) -> None:
        if self._from(step.source)[0] != f.WANTED:
            raise Refused("a real shortcut begins where no segment ends")
        self._end(step.source)
        self.reals.append(step)
        self.places = {step.source: (f.GIVEN, 0), step.target: (f.BESIDE, 0)}
        self.given, self.beside = step.source.numbers, step.target.numbers
        self.bits.clear()
        self.own.taken.clear()
        conv, norm = list(step.module.children())[-2:]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        weight = conv.weight.detach().double().abs().flatten(1).sum(1).numpy()
        alpha, beta = probes.affine(norm)
        inside = self.bound[step.source] * weight
        self.bound[step.target] = self._checked(float((inside * np.abs(alpha.astype(float)) + np.abs(beta)).max()))

    def _shrink(self, step: Shrink, k: int) -> None:
        kind = f.MEAN if step.mean else f.TAKE
        row = self._row(kind, step.source, step.target, STRIDE=step.stride)
        row[[f.FROM, f.FROM_AT]] = self._from(step.source)
        row[[f.TO, f.TO_AT]] = self._put(step.target, k)
        self.bound[step.target] = self._checked(4 * self.bound[step.source])

    def _stem(self, step: Stem, k: int) -> None:
        x, finish = step.source, step.finish
        row = self._row(f.FINISH, x, step.target, POOL=POOLS[finish.pool])
        row[[f.FROM, f.FROM_AT]] = self._from(x)
        values, self.bound[step.target] = self._finish(row, finish, x.channels, np.full(x.channels, self.bound[x]))
        random = np.random.default_rng(0)
        sampled = random.standard_normal((SAMPLED, x.channels)) * 10.0 ** random.uniform(-3, 2, (SAMPLED, 1))
        single = x.height == x.width == 1
        row[f.FUSED] = finishes.rounding(row, finish, values, sampled.astype(np.float32), single=single)
        self._write(step, row, values, k)

    def _convolution(self, step: Convolution, k: int) -> None:
        layer, x = step.layer, step.source
        finish = finishes.of_channels(step.finish, step.channel, layer.out_channels)
        rows, columns = (graph.side(n, layer, axis) for axis, n in enumerate((x.height, x.width)))
        made, signs = Map(layer.out_channels, rows, columns), self.signs[id(step)]
        at = self._bits_of(x, signs)
        row = self._row(f.CONVOLVE, x, made, KERNEL=layer.kernel_size[0], STRIDE=layer.stride[0], BITS=at)
        row[f.POOL] = POOLS[finish.pool]
        self.positions = max(self.positions, (x.height + 2) * (x.width + 2))
        bits, scale, offset = (None if t is None else t.contiguous().numpy() for t in deployed(layer))
        assert bits is not None
        if signs.falls:
            bits, offset = -bits, None if offset is None else -offset
        packed = filters.words(bits)
        row[f.WEIGHTS], row[f.WORDS] = self._add("weights", packed), packed.shape[1]
        row[f.CASES] = self._add("bases", filters.bases(bits))
        constants = filters.levels(layer, x.height, x.width)
        self._add("levels", constants)
        of_scale = np.ones(layer.out_channels) if scale is None else np.broadcast_to(scale, layer.out_channels)
        numbers = layer.in_channels * layer.kernel_size[0] ** 2
        bound = numbers * np.abs(of_scale.astype(float))
        affine = np.zeros((2, layer.out_channels), np.float32)
        affine[1] = 1
        if (levels := input_levels(layer)) is not None or offset is not None:
            row[f.LEVELS] = 1
            affine[0] = 0 if offset is None else offset
            affine[1] = 1 if levels is None else float(torch.as_tensor(levels[0]).detach())
            bound = bound + numbers * np.abs(affine[0].astype(float))
            bound = bound * np.abs(affine[1].astype(float)) + np.abs(constants.astype(float)).max(0)
        beside = self.bound[step.shortcut] if step.shortcut is not None else 0.0
        values, found = self._finish(row, finish, layer.out_channels, bound, beside)
        self.bound[step.target] = max(found, self.bound.get(step.target, 0.0))
        values[f.SCALE] = of_scale
        values[[f.OFFSET, f.LEVEL]] = affine
        if step.shortcut is not None:
            row[[f.FROM, f.FROM_AT]] = self._from(step.shortcut)
            finish = replace(finish, after=None)
        attained = finishes.attainable(numbers, values, constants, affine=bool(row[f.LEVELS]))
        row[f.FUSED] = finishes.rounding(row, finish, values, attained, single=rows == columns == 1)
        row[[f.TO_PITCH, f.TO_CHANNEL]] = step.target.channels, step.channel
        self._write(step, row, values, k)

    def _write(self, step: Stem | Convolution, row: np.ndarray, values: np.ndarray, k: int) -> None:
        """Say where an operation's floats and bits go, and add its parameters."""
        over = step.shortcut if isinstance(step, Convolution) else None
        row[[f.TO, f.TO_AT]] = self._put(step.target, k, over)
        readers = self._readers(step.target)
        if readers and self._fused(readers[0], step.target):
            signs = self.signs[id(readers[0])]
            if step.target not in self.bits:
                self.bits[step.target] = [(signs, self._more_bits(step.target))]
            row[f.SIGNS] = self.bits[step.target][0][1]
            row[[f.SIGNS_PITCH, f.SIGNS_BLOCK]] = step.target.channels // 16, step.channel // 16
            values[f.THRESHOLD] = signs.thresholds[step.channel : step.channel + values.shape[1]]
        row[f.PARAMETERS] = self._add("parameters", finishes.by_block(values))

    def _more_bits(self, x: Map) -> int:
        at = self.words
        self.words += machine.bits_words(x.channels, x.height, x.width)
        return at

    def _bits_of(self, x: Map, signs: _Signs) -> int:
        """Return where the bits of a map lie, after an operation that makes them if there are none yet."""
        for known, at in self.bits.setdefault(x, []):
            if _same(known, signs):
                return at
        at = self._more_bits(x)
        self.bits[x].append((signs, at))
        kind = f.CENTRE if signs.rule == "mean" else f.SIGN
        row = self._row(kind, x, x, SIGNS=at, SIGNS_PITCH=x.channels // 16)
        row[[f.FROM, f.FROM_AT]] = self._from(x)
        if kind == f.SIGN:
            values = np.zeros((f.ROWS_OF_PARAMETERS, x.channels), np.float32)
            values[f.THRESHOLD] = signs.thresholds
            row[f.PARAMETERS] = self._add("parameters", finishes.by_block(values))
        return at

    def _finish(
        self, row: np.ndarray, finish: Finish, channels: int, bound: np.ndarray, beside: float = 0.0
    ) -> tuple[np.ndarray, float]:
        """Note the kinds of what follows a convolution whose output has a `bound` (C) and to which `beside` is added.

        Returns its parameters (rows, C) and a bound on what comes out.
        """
        values = np.zeros((f.ROWS_OF_PARAMETERS, channels), np.float32)
        values[f.ALPHA], values[f.BETA] = probes.affine(finish.norm)
        if not np.isfinite(values).all():
            raise Refused("a batch norm has no finite factors")
        if finish.before is not None and finish.after is not None:
            raise Refused("two activations follow one convolution")
        self._checked(float(bound.max()))
        for field, module in ((f.BEFORE, finish.before), (f.AFTER, finish.after)):
            if field == f.AFTER:
                bound = bound * np.abs(values[f.ALPHA].astype(float)) + np.abs(values[f.BETA]) + beside
                self._checked(float(bound.max()))
            if module is not None:
                row[field] = finishes.ACTIVATIONS[type(module)]
                found = finishes.activation(module, channels)
                values[f.FIRST : f.THIRD + 1] = found
                bound = finishes.bound_after(int(row[field]), found.astype(float), bound)
        return values, self._checked(float(bound.max()))


def _same(a: _Signs, b: _Signs) -> bool:
    return (a.rule, a.falls) == (b.rule, b.falls) and np.array_equal(a.thresholds, b.thresholds)
