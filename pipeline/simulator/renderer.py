"""OpenGL through EGL, without a screen: developed pictures and exact masks of posed people in a place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import ConfigError
from pipeline.simulator.camera import Camera
from pipeline.simulator.mesh import BONE_INDEX, Mesh
from pipeline.simulator.person import Person
from pipeline.simulator.scene import Place, Scene
from pipeline.simulator.skeleton import SIDES
from pipeline.simulator.textures import city_textures

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
SHADOW_PIXELS = 1280
SHADOW_REACH_M = 13.0
MAX_FEET = 64
INSTALL_HINT = 'pip install "mspf-pipeline[simulate]" and apt-get install libegl1 libgl1-mesa-dri'


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One view.

    Attributes:
        image_bgr: (H, W, 3) uint8, developed but without the sensor's blur and noise.
        owner: (H * s, W * s) uint8 at s-fold supersampling: number of the person seen there (from 1), 0 elsewhere.
    """

    image_bgr: U8
    owner: U8


@dataclass(frozen=True, slots=True, eq=False)
class _Actor:
    """A person on the graphics card."""

    person: Person
    mesh: Mesh
    painted: Any
    masked: Any


class Renderer:
    """Draws one cast in one scene; use as a context manager.

    Actors are numbered from 1 in the order of the cast; `poses` maps such a number to bone matrices (17, 4, 4).

    Raises:
        ConfigError: moderngl is not installed, or EGL finds no driver.
    """

    def __init__(
        self,
        scene: Scene,
        cast: Sequence[tuple[Person, Mesh]],
        size_wh: tuple[int, int],
        supersampling: int = 1,
    ) -> None:
        self._gl, self._context = _open_context()
        self._size_wh = size_wh
        self._supersampling = supersampling
        context = self._context
        self._person_program = self._program(["skin.vert", "person.vert"], ["light.frag", "person.frag"])
        self._mask_program = self._program(["skin.vert", "mask.vert"], ["mask.frag"])
        self._static_program = self._program(["static.vert"], ["light.frag", "static.frag"])
        self._static_depth_program = self._program(["static_depth.vert"], ["mask.frag"])
        self._develop_program = self._program(["develop.vert"], ["develop.frag"])
        self._places = {name: self._upload_place(place) for name, place in scene.places.items()}
        self._actors = [self._upload_actor(person, mesh) for person, mesh in cast]
        layers = city_textures(scene.seed)
        self._surfaces = context.texture_array((*layers.shape[2:0:-1], len(layers)), 3, layers.tobytes())
        self._surfaces.build_mipmaps()
        self._surfaces.filter = (self._gl.LINEAR_MIPMAP_LINEAR, self._gl.LINEAR)
        self._shadow_map = context.depth_texture((SHADOW_PIXELS, SHADOW_PIXELS))
        self._shadow_map.compare_func = "<="
        self._shadow_map.filter = (self._gl.LINEAR, self._gl.LINEAR)
        self._shadow_target = context.framebuffer(depth_attachment=self._shadow_map)
        fine = (size_wh[0] * supersampling, size_wh[1] * supersampling)
        self._light = context.texture(fine, 4, dtype="f2")
        self._owner = context.texture(fine, 1)
        self._target = context.framebuffer([self._light, self._owner], context.depth_renderbuffer(fine))
        self._mask_target = context.framebuffer([context.texture(fine, 1)])
        self._developed = context.framebuffer([context.texture(size_wh, 4)])
        self._develop = context.vertex_array(self._develop_program, [])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.release()

    def light_place(self, place: Place, poses: Mapping[int, F32]) -> None:
        """Cast the shadows of this place and time; do this before drawing its cameras."""
        projection = _shadow_projection(place)
        self._shadow_target.use()
        self._context.enable(self._gl.DEPTH_TEST)
        self._shadow_target.clear(depth=1.0)
        _write(self._static_depth_program, view_projection=projection.T)
        self._places[place.name][1].render()
        _write(self._mask_program, view_projection=projection.T)
        for number, bones in poses.items():
            _write(self._mask_program, bones=bones.transpose(0, 2, 1))
            self._actors[number - 1].masked.render()
        for program in (self._static_program, self._person_program):
            _write(
                program,
                shadow_projection=projection.T,
                shadow_texel=1 / SHADOW_PIXELS,
                sun_direction=place.light.direction,
                sun_colour=place.light.sun,
                sky_colour=place.light.sky,
                ground_colour=place.light.ground,
            )
        feet = [self._contacts(number, bones) for number, bones in poses.items()]
        contacts = np.concatenate([np.zeros((0, 3)), *feet])[:MAX_FEET]
        padded = np.zeros((MAX_FEET, 3))
        padded[: len(contacts)] = contacts
        _write(self._static_program, feet=padded)
        self._static_program["feet_count"] = len(contacts)

    def draw(self, camera: Camera, place: Place, poses: Mapping[int, F32]) -> Picture:
        """The place as this camera sees it."""
        self._target.use()
        self._target.clear(*place.light.sky, 0.0, depth=1.0)
        self._context.enable(self._gl.DEPTH_TEST)
        self._shadow_map.use(0)
        self._surfaces.use(1)
        projection = camera.view_projection().T
        _write(self._static_program, view_projection=projection)
        self._places[place.name][0].render()
        _write(self._person_program, view_projection=projection, eye=camera.eye)
        for number, bones in poses.items():
            self._draw_actor(number, bones)
        return Picture(self._develop_picture(camera), self._read_owner())

    def alone(self, camera: Camera, number: int, bones: F32) -> U8:
        """(H * s, W * s) uint8 mask, 1 where this person would be seen if nothing else were there."""
        self._mask_target.use()
        self._mask_target.clear()
        self._context.disable(self._gl.DEPTH_TEST)
        _write(
            self._mask_program,
            view_projection=camera.view_projection().T,
            bones=bones.transpose(0, 2, 1),
            mask_value=1 / 255,
        )
        self._actors[number - 1].masked.render()
        mask = np.frombuffer(self._mask_target.read(components=1, alignment=1), np.uint8)
        return mask.reshape(self._owner.height, self._owner.width)[::-1]

    def _draw_actor(self, number: int, bones: F32) -> None:
        actor = self._actors[number - 1]
        paints = actor.person.paints
        _write(
            self._person_program,
            bones=bones.transpose(0, 2, 1),
            first_colour=[paint.colour for paint in paints],
            second_colour=[paint.second for paint in paints],
            pattern=[(paint.pattern, paint.scale) for paint in paints],
            height=actor.person.build.height_m,
            open_front=actor.person.open_front,
            identity=number / 255,
        )
        actor.painted.render()

    def _develop_picture(self, camera: Camera) -> U8:
        self._developed.use()
        self._context.disable(self._gl.DEPTH_TEST)
        self._light.use(2)
        look = camera.look
        _write(
            self._develop_program,
            size=self._size_wh,
            gain=np.multiply(look.white_balance, look.exposure),
            saturation=look.saturation,
            vignette=look.vignette,
        )
        self._develop_program["light"] = 2
        self._develop_program["supersampling"] = self._supersampling
        self._develop.render(self._gl.TRIANGLES, vertices=3)
        width, height = self._size_wh
        rgba = np.frombuffer(self._developed.read(components=4), np.uint8).reshape(height, width, 4)
        return np.ascontiguousarray(rgba[::-1, :, 2::-1])

    def _read_owner(self) -> U8:
        numbers = np.frombuffer(self._target.read(components=1, attachment=1, alignment=1), np.uint8)
        return numbers.reshape(self._owner.height, self._owner.width)[::-1]

    def _contacts(self, number: int, bones: F32) -> F64:
        """(2, 3) ground x, y and closeness 0..1 of both feet."""
        mesh = self._actors[number - 1].mesh
        contacts = []
        for side, _ in SIDES:
            sole = mesh.joints[f"foot_{side}"] * (1, 1, 0) + (0, 0.07, 0)
            x, y, z = (bones[BONE_INDEX[f"foot_{side}"]] @ (*sole, 1))[:3]
            contacts.append((x, y, np.clip(1 - 5 * z, 0, 1)))
        return np.array(contacts)

    def _program(self, vertex: list[str], fragment: list[str]) -> Any:
        return self._context.program(_source(vertex), _source(fragment))

    def _upload_place(self, place: Place) -> tuple[Any, Any]:
        buffer = self._context.buffer(place.vertices.tobytes())
        names = ("vertex", "normal", "texture_uvw", "tint")
        lit = self._context.vertex_array(self._static_program, [(buffer, "3f 3f 3f 3f", *names)])
        depth = self._context.vertex_array(self._static_depth_program, [(buffer, "3f 36x", "vertex")])
        self._static_program["shadow_map"] = 0
        self._static_program["surfaces"] = 1
        return lit, depth

    def _upload_actor(self, person: Person, mesh: Mesh) -> _Actor:
        columns = (
            mesh.vertices,
            mesh.bone_index,
            mesh.bone_weight,
            mesh.normals,
            mesh.material[:, None],
            mesh.occlusion[:, None],
        )
        buffer = self._context.buffer(np.hstack(columns).astype(np.float32).tobytes())
        triangles = self._context.buffer(mesh.triangles.tobytes())
        names = ("vertex", "bone_index", "bone_weight", "normal", "material", "occlusion")
        painted = self._context.vertex_array(self._person_program, [(buffer, "3f 4f 4f 3f 1f 1f", *names)], triangles)
        masked = self._context.vertex_array(self._mask_program, [(buffer, "3f 4f 4f 20x", *names[:3])], triangles)
        self._person_program["shadow_map"] = 0
        return _Actor(person, mesh, painted, masked)


def _open_context() -> tuple[Any, Any]:
    try:
        import moderngl
    except ImportError as error:
        raise ConfigError(f"moderngl is missing: {INSTALL_HINT}") from error
    headless: dict[str, Any] = {"backend": "egl"}
    try:
        return moderngl, moderngl.create_context(standalone=True, require=330, **headless)
    except Exception as error:  # moderngl and glcontext raise bare Exception and OSError
        raise ConfigError(f"no OpenGL through EGL ({error}): {INSTALL_HINT}") from error


def _source(names: list[str]) -> str:
    folder = files("pipeline.simulator")
    return "\n".join(["#version 330", *((folder / f"{name}.glsl").read_text() for name in names)])


def _write(program: Any, **uniforms: ArrayLike) -> None:
    for name, value in uniforms.items():
        if name in program:  # the compiler drops what a shader does not use
            program[name].write(np.ascontiguousarray(value, np.float32).tobytes())


def _shadow_projection(place: Place) -> F64:
    """(4, 4) orthographic world to clip space as the light sees the place."""
    forward = -place.light.direction
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    view = np.eye(4)
    view[:3, :3] = np.stack([right, np.cross(right, forward), -forward])
    view[:3, 3] = -view[:3, :3] @ np.array([*place.centre, 1.0])
    reach = 1 / SHADOW_REACH_M
    return np.asarray(np.diag([reach, reach, -1 / 60, 1.0]) @ view)
