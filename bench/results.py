"""Where the measurements put their figures."""

from __future__ import annotations

from statistics import median

from bench.targets import Target


class Results:
    """Samples by measurement, quantity and target. Mutable state: the samples, added by `add` only."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str], dict[str, list[float]]] = {}

    def add(self, measurement: str, quantity: str, target: Target, value: float) -> None:
        self._samples.setdefault((measurement, quantity), {}).setdefault(target.name, []).append(value)

    def rows(self) -> list[tuple[str, str]]:
        """What has been measured, as (measurement, quantity), in that order."""
        return list(self._samples)

    def value(self, measurement: str, quantity: str, target: str) -> float | None:
        """The median of the samples, or None when this was not measured."""
        samples = self._samples.get((measurement, quantity), {}).get(target)
        return median(samples) if samples else None

    def samples(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """All of it: measurement → quantity → target → samples."""
        nested: dict[str, dict[str, dict[str, list[float]]]] = {}
        for (measurement, quantity), by_target in self._samples.items():
            nested.setdefault(measurement, {})[quantity] = by_target
        return nested
