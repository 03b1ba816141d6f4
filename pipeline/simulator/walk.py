"""Where everybody is at every moment: people stroll in a place, pause, walk to the next one, leave and come back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.simulator.person import Person
from pipeline.simulator.scene import Place, PlaceName, Prop, Scene
from pipeline.simulator.skeleton import stride_m

F64 = NDArray[np.float64]
STEP_S = 0.05
PERSONAL_SPACE_M = 1.25
BODY_M = 0.5
ARRIVED_M = 0.6
TURN_RATE = 2.2  # radians a second


@dataclass(frozen=True, slots=True, eq=False)
class Walks:
    """Motion of P people over T frames.

    Attributes:
        position_xy: (T, P, 2) metres on the ground.
        heading: (T, P) radians from +x.
        phase: (T, P) gait cycle, 0..1.
        amplitude: (T, P) 0 stands, 1 walks.
    """

    position_xy: F64
    heading: F64
    phase: F64
    amplitude: F64


@dataclass(frozen=True, slots=True)
class Stop:
    """A point to walk to, and how long to stay there."""

    x: float
    y: float
    pause_s: float = 0.0


def walk(
    scene: Scene, cast: Sequence[Person], visited: Sequence[PlaceName], *, frames: int, fps: float, seed: int
) -> Walks:
    """Motion of the cast among the visited places, sampled at the frames' times; people keep clear of each other."""
    rng = np.random.default_rng([seed, 5])
    routes = [_route(rng, scene, visited, index, frames / fps) for index in range(len(cast))]
    props = tuple(prop for place in scene.places.values() for prop in place.props)
    crowd = _Crowd(rng, cast, routes, props)
    steps = max(1, round(1 / (fps * STEP_S)))
    samples = []
    for _ in range(frames):
        samples.append((crowd.position.copy(), crowd.heading.copy(), crowd.phase.copy(), crowd.swing()))
        for _ in range(steps):
            crowd.step(1 / (fps * steps))
    position, heading, phase, amplitude = (np.stack(column) for column in zip(*samples, strict=True))
    return Walks(position, heading, phase, amplitude)


def _route(
    rng: np.random.Generator, scene: Scene, visited: Sequence[PlaceName], index: int, seconds: float
) -> list[Stop]:
    """Stops that last longer than the clip; the first is where the person starts."""
    place = visited[index % len(visited)]
    stops = _stroll(rng, scene.places[place], int(rng.integers(2, 6)))
    while _duration(stops) < seconds + 20:
        gates = [pair for pair in scene.corridors if pair[0] is place]
        first, second = gates[int(rng.integers(len(gates)))]
        path = scene.corridors[first, second] + rng.uniform(-0.5, 0.5, (1, 2))
        if second in visited and rng.random() < 0.8:
            stops += [Stop(x, y) for x, y in path.tolist()]
            place = second
        else:
            inner, gate, (x, y) = path[:3].tolist()
            stops += [Stop(*inner), Stop(*gate), Stop(x, y, float(rng.uniform(1.5, 5))), Stop(*gate), Stop(*inner)]
        stops += _stroll(rng, scene.places[place], int(rng.integers(2, 5)))
    return stops


def _stroll(rng: np.random.Generator, place: Place, count: int) -> list[Stop]:
    """Points of the place that are clear of its props and apart from each other."""
    low_x, low_y, high_x, high_y = place.stroll
    stops: list[Stop] = []
    while len(stops) < count:
        x, y = float(rng.uniform(low_x, high_x)), float(rng.uniform(low_y, high_y))
        clear = all(np.hypot(x - prop.x, y - prop.y) > prop.radius_m + 0.4 for prop in place.props)
        if clear and (not stops or np.hypot(x - stops[-1].x, y - stops[-1].y) > 3):
            stops.append(Stop(x, y, float(rng.uniform(1, 3)) if rng.random() < 0.3 else 0.0))
    return stops


def _duration(stops: list[Stop]) -> float:
    points = np.array([(stop.x, stop.y) for stop in stops])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum() / 1.4 + sum(stop.pause_s for stop in stops))


class _Crowd:
    """State of P walkers; `step` moves everybody on."""

    def __init__(
        self, rng: np.random.Generator, cast: Sequence[Person], routes: list[list[Stop]], props: tuple[Prop, ...]
    ) -> None:
        count = len(cast)
        self.position = np.array([(route[0].x, route[0].y) for route in routes], float).reshape(count, 2)
        self.heading = rng.uniform(-np.pi, np.pi, count)
        self.phase = rng.random(count)
        self.speed = np.zeros(count)
        self._stride = np.array([stride_m(person.build, person.gait.speed) for person in cast])
        self._pace = np.array([person.gait.speed for person in cast])
        self._amplitude = np.ones(count)
        self._routes = routes
        self._next = np.ones(count, int)
        self._pause_s = np.zeros(count)
        self._leg_s = np.zeros(count)
        self._obstacles = np.array([(prop.x, prop.y, prop.radius_m) for prop in props]).reshape(-1, 3)

    def swing(self) -> F64:
        """(P,) how far limbs swing now, 0..1."""
        return self._amplitude * np.minimum(1, (self.speed / 1.25) ** 0.6)

    def step(self, seconds: float) -> None:
        """Move everybody on by some hundredths of a second."""
        self._arrive(seconds)
        targets = np.array([(route[i].x, route[i].y) for route, i in zip(self._routes, self._next, strict=True)])
        wish = _unit(targets.reshape(-1, 2) - self.position) + self._evasion()
        turn = (np.arctan2(wish[:, 1], wish[:, 0]) - self.heading + np.pi) % (2 * np.pi) - np.pi
        walking = np.where(self._pause_s > 0, 0.0, 1.0)
        self._amplitude += np.clip(walking - self._amplitude, -2 * seconds, 2 * seconds)
        self.heading = self.heading + np.clip(turn, -TURN_RATE * seconds, TURN_RATE * seconds) * self._amplitude
        self.speed = self._pace * self._amplitude * np.maximum(0.25, np.cos(np.clip(turn, -1.4, 1.4)))
        ahead = np.stack([np.cos(self.heading), np.sin(self.heading)], 1)
        self.position = self._apart(self.position + ahead * (self.speed * seconds)[:, None])
        self.phase = (self.phase + self.speed * seconds / self._stride) % 1

    def _arrive(self, seconds: float) -> None:
        """Go on to the next stop when there, or when the way is blocked for too long."""
        self._pause_s = np.maximum(0, self._pause_s - seconds)
        self._leg_s += seconds
        for index, route in enumerate(self._routes):
            stop = route[self._next[index]]
            distance = np.hypot(*(self.position[index] - (stop.x, stop.y)))
            if distance < ARRIVED_M or self._leg_s[index] > 25:
                self._next[index] = min(self._next[index] + 1, len(route) - 1)
                self._pause_s[index] = max(self._pause_s[index], stop.pause_s)
                self._leg_s[index] = 0

    def _evasion(self) -> F64:
        """(P, 2) push away from, and to the right of, people and props that are near."""
        people = self._pushes(self.position, np.full(len(self.position), PERSONAL_SPACE_M), 2.5, 0.7)
        return people + self._pushes(self._obstacles[:, :2], self._obstacles[:, 2], 2.5, 1.2)

    def _pushes(self, centres: F64, radii: F64, away: float, aside: float) -> F64:
        offset = self.position[:, None] - centres[None]
        distance = np.linalg.norm(offset, axis=2, keepdims=True)
        depth = np.where(distance > 1e-6, np.maximum(0, radii[None, :, None] - distance), 0)
        outward = offset / np.maximum(distance, 1e-6)
        sideways = np.stack([-outward[..., 1], outward[..., 0]], 2)
        return np.asarray((outward * depth * away + sideways * depth * aside).sum(1))

    def _apart(self, position: F64) -> F64:
        """Bodies that overlap are moved apart, half each."""
        offset = position[:, None] - position[None]
        distance = np.linalg.norm(offset, axis=2, keepdims=True)
        overlap = np.where(distance > 1e-6, np.maximum(0, BODY_M - distance), 0)
        return np.asarray(position + (offset / np.maximum(distance, 1e-6) * overlap / 2).sum(1))


def _unit(vectors: F64) -> F64:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6))
