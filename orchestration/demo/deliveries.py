"""The sample world's story: who asks for what, who delivers what on which day, and with whose consent. Data only.

The contributors, their places and times of capture are invented; the footage's real origin is in each clip's `source`.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.demo.footage import CUTS
from training.simulate import Scene, random_scene

EVERYTHING = ("review", "train", "eval", "publish_sample")
FPS_SIMULATED = 24
FRAMES_SIMULATED = 60


@dataclass(frozen=True)
class Place:
    """Where and when contributors say that they filmed."""

    location: str
    time_of_day: str
    captured_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    device: str | None = None


CITY = Place("Hong Kong", "night", "2026-10-24T13:30:00Z", 22.28, 114.16, "Nikon Z6")
STREET = Place("Brussels", "day", "2026-09-18T11:00:00Z", 50.85, 4.35, "Canon C70")
VOLCANO = Place("Iceland", "day", "2026-08-15T13:00:00Z", 63.89, -22.27, "DJI Mavic 3")
SNOW = Place("Vermont", "day", "2026-03-14T17:00:00Z", 44.5, -72.8, "GoPro Hero 12")
PARK = Place("Grenoble", "sunset", "2026-09-20T17:20:00Z", 45.19, 5.72, "Pixel 9")
NEWSROOM = Place("Cleveland", "day", device="Sony FX6")
STUDIO = "simulation"


@dataclass(frozen=True)
class Clip:
    """One delivered file. `cut` names footage; `scene` a simulated scene; neither makes a file that is no video.

    `resolution`, `aspect_ratio` and `length_s` are declared as they are unless the contributor says otherwise.
    `consent` lists the scopes granted (none: no consent); `expires_at` ends it. `damage` is done before delivery.
    """

    file: str
    subject: str
    place: Place
    cut: str | None = None
    scene: int | None = None
    size: tuple[int, int] | None = None
    consent: tuple[str, ...] = EVERYTHING
    expires_at: str | None = None
    revoked_by: str | None = None  # the delivery that brings the withdrawal
    persons: tuple[tuple[str, bool], ...] = ()  # (person, identifiable) as declared
    damage: str | None = None
    aspect_ratio: str | None = None
    length_s: float | None = None

    @property
    def identifiable(self) -> int:
        """How many people in it could be recognised, which is known because every cut was looked at."""
        return CUTS[self.cut].identifiable if self.cut else 0


@dataclass(frozen=True)
class Delivery:
    delivery_id: str
    received_at: str
    contributor_id: str
    request_id: str | None
    clips: tuple[Clip, ...]

    @property
    def day(self) -> str:
        return self.received_at[:10]


REQUESTS: dict[str, tuple[str, str]] = {  # identity -> who asks, the line
    "r-skyline": ("org-northlight", "city skyline at night, 16:9, 2 to 8 seconds, 8 clips, EUR 15 per clip"),
    "r-eruption": (
        "org-northlight",
        "erupting volcano in Iceland by day, 480p, 16:9, 2 to 6 seconds, 10 clips, max 8 per contributor, EUR 40 per clip",
    ),
    "r-snow": ("org-fieldguide", "animal in the snow by day, 1 to 5 seconds, 5 clips, EUR 20 per clip"),
    "r-sunset": (
        "org-fieldguide",
        "sunset over houses in Grenoble, 480p, 16:9, 3 to 6 seconds, 4 clips, EUR 12 per clip",
    ),
    "r-street": ("org-fieldguide", "bicycles in Brussels by day, 1 to 5 seconds, 6 clips, EUR 10 per clip"),
    "r-shapes": ("org-basics", "coloured shapes in motion, 2 to 4 seconds, 45 clips, EUR 1 per clip"),
}


def _real(file: str, cut: str, subject: str, place: Place, **more: object) -> Clip:
    return Clip(file, subject, place, cut=cut, size=CUTS[cut].size, **more)  # type: ignore[arg-type]


# sizes and shapes of the simulated pictures, in turn
_SIZES = ((256, 144), (256, 144), (192, 192), (256, 192), (144, 256), (256, 256), (224, 160))


def _simulated(first: int, count: int) -> tuple[Clip, ...]:
    clips = []
    for seed in range(first, first + count):
        scene = random_scene(seed)
        place = Place(STUDIO, scene.time_of_day)
        clips.append(Clip(f"scene-{seed:03}.mp4", scene.subject(), place, scene=seed, size=_SIZES[seed % len(_SIZES)]))
    return tuple(clips)


_SKYLINE = (
    _real("towers.mp4", "city-towers", "skyscrapers seen from the street", CITY),
    _real("facade.mp4", "city-facade", "a wavy facade of a skyscraper", CITY),
    _real("curve.mp4", "city-curve", "a curved glass tower", CITY),
    _real("offices.mp4", "city-offices", "lit office windows", CITY),
    _real("roof.mp4", "city-roof", "the lit roof of a skyscraper", CITY),
    _real("twins.mp4", "city-twins", "two office towers", CITY),
    _real("sky.mp4", "city-sky", "a dark sky over a city skyline", CITY),
)
_STREET = (
    _real("crossing.mp4", "street-crossing", "cars at a crossing behind parked bicycles", STREET),
    _real(
        "bicycle.mp4",
        "street-bicycle",
        "a bicycle at a wall, somebody walks by",
        STREET,
        persons=(("p-passer-by", False),),
    ),
)
_ERUPTION = (
    _real("eruption-4k.mp4", "volcano-4k", "an erupting volcano with a river of lava", VOLCANO),
    _real("crater.mp4", "volcano-crater", "a fountain of lava in a crater", VOLCANO),
    _real("river.mp4", "volcano-river", "a river of lava", VOLCANO),
    _real("smoke.mp4", "volcano-smoke", "white smoke of a volcano", VOLCANO),
    _real("fountain.mp4", "volcano-fountain", "lava and smoke of a volcano", VOLCANO),
    _real("column.mp4", "volcano-column", "a column of smoke over lava", VOLCANO),
    _real("flyby.mp4", "volcano-flyby", "flight past an erupting volcano", VOLCANO),
    _real("slope.mp4", "volcano-slope", "smoke over a dark slope", VOLCANO, revoked_by="d-lava"),
)
_SNOW = (
    _real("ride.mp4", "snow-ride", "an opossum in a sweater rides a snowboard", SNOW),
    _real("portrait.mp4", "snow-portrait", "an opossum in a striped sweater", SNOW),
    _real("board.mp4", "snow-board", "an opossum behind a snowboard", SNOW),
    _real("sweater.mp4", "snow-sweater", "a striped sweater on an opossum", SNOW),
)
_BROKEN = (
    _real("crossing.mp4", "street-crossing", "cars at a crossing", STREET, damage="truncated"),
    _real("ride.mp4", "snow-ride", "an opossum on a snowboard", SNOW, damage="overdeclared"),
    Clip("empty.mp4", "lava", VOLCANO, size=(1280, 720), damage="empty", length_s=5.0),
    Clip("notes.mp4", "lava", VOLCANO, size=(1280, 720), damage="text", length_s=5.0),
)
_PARK = (
    _real("sun.mp4", "park-sun", "low sun behind trees", PARK),
    _real("houses.mp4", "park-houses", "houses before a mountain", PARK),
)
_DREAM = Place("nowhere", random_scene(907).time_of_day)
_COPIES = (
    Clip(
        "holiday-in-iceland.mp4",
        "lava on our holiday",
        VOLCANO,
        cut="volcano-crater",
        size=(640, 360),
        damage="reencoded",
    ),
    Clip("dream.mp4", "a shape in a dreamlike landscape", _DREAM, scene=907, size=(256, 144), damage="ai-marked"),
)
_LAVA = (
    _real("hills.mp4", "volcano-hills", "hills under clouds beside a volcano", VOLCANO),
    _real("plain.mp4", "volcano-plain", "a plain of black lava", VOLCANO),
    _real("rock.mp4", "volcano-rock", "lava flows over black rock", VOLCANO),
)
_BY_DAY = Place("Hong Kong", "day", "2026-10-24T04:00:00Z", 22.28, 114.16)
_CARELESS = (
    _real("ridge.mp4", "volcano-ridge", "a ridge of black rock", VOLCANO, aspect_ratio="4:3", length_s=6.0),
    _real("edge.mp4", "city-edge", "an office tower", _BY_DAY),
    _real("ash.mp4", "volcano-ash", "ash and smoke", VOLCANO, consent=()),
    _real("lodge.mp4", "snow-lodge", "a lodge in the snow", SNOW, consent=("review", "eval")),
    _real("hedge.mp4", "park-hedge", "sun through trees", PARK, expires_at="2026-12-01T00:00:00Z"),
)
_ENGINEER = (("p-engineer", True),)
_NEWSROOM = (
    _real("glass.mp4", "crew-glass", "a glass of beer and medals on a wall", NEWSROOM),
    _real("interview.mp4", "crew-interview", "an engineer speaks to the camera", NEWSROOM, persons=_ENGINEER),
)

DELIVERIES: tuple[Delivery, ...] = (
    Delivery("d-skyline", "2026-11-02T08:15:00Z", "c-ming", "r-skyline", _SKYLINE),
    Delivery("d-street", "2026-11-02T16:40:00Z", "c-anouk", "r-street", _STREET),
    Delivery("d-eruption", "2026-11-03T07:05:00Z", "c-sigrun", "r-eruption", _ERUPTION),
    Delivery("d-scenes-1", "2026-11-03T12:00:00Z", "c-sim-ada", "r-shapes", _simulated(0, 24)),
    Delivery("d-snow", "2026-11-04T09:30:00Z", "c-ruth", "r-snow", _SNOW),
    Delivery("d-broken", "2026-11-04T10:10:00Z", "c-leo", None, _BROKEN),
    Delivery("d-scenes-2", "2026-11-04T18:20:00Z", "c-sim-bo", "r-shapes", _simulated(100, 10)),
    Delivery("d-park", "2026-11-05T06:50:00Z", "c-david", "r-sunset", _PARK),
    Delivery("d-copies", "2026-11-05T08:00:00Z", "c-leo", "r-eruption", _COPIES),
    Delivery("d-scenes-3", "2026-11-05T18:20:00Z", "c-sim-cy", "r-shapes", _simulated(200, 10)),
    Delivery("d-lava", "2026-11-05T19:00:00Z", "c-sigrun", "r-eruption", _LAVA),
    Delivery("d-careless", "2026-11-06T07:45:00Z", "c-nadia", None, _CARELESS),
    Delivery("d-newsroom", "2026-11-06T11:20:00Z", "c-nasa-desk", None, _NEWSROOM),
)


def scene_of(clip: Clip) -> Scene:
    """The simulated scene that a clip shows."""
    if clip.scene is None:
        raise ValueError(f"{clip.file} is no simulation")
    return random_scene(clip.scene)
