"""A file's signed provenance: what we write reads back as trusted, and nothing else does."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from assets.marks.c2pa import TRAINED, ProvenanceError, read_provenance, sign_as_ai_generator, sign_video
from assets.marks.certificates import make_certificate

CLAIMS = {"model_id": "m-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": {"size": 7, "root": "cd" * 32}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 17-frame mp4 without a manifest."""
    import av

    path = tmp_path_factory.mktemp("video") / "plain.mp4"
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(17):
            picture = noise.integers(0, 255, (64, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def signed(plain: Path, tmp_path: Path) -> Path:
    return sign_video(plain, tmp_path / "signed.mp4", CLAIMS, tmp_path / "keys")


def test_a_file_without_a_manifest_reads_as_absent(plain: Path, tmp_path: Path):
    make_certificate(tmp_path / "keys")
    assert read_provenance(plain, tmp_path / "keys").state == "absent"


def test_what_we_sign_reads_back_as_trusted_with_its_claims(signed: Path, tmp_path: Path):
    provenance = read_provenance(signed, tmp_path / "keys")
    assert (provenance.state, provenance.source_type, provenance.claims) == ("trusted", TRAINED, CLAIMS)
    assert provenance.says_generated


def test_a_signature_under_another_root_is_valid_but_not_trusted(signed: Path, tmp_path: Path):
    make_certificate(tmp_path / "others")
    assert read_provenance(signed, tmp_path / "others").state == "valid"
    assert read_provenance(signed).state == "valid"


def test_the_training_and_mining_assertion_allows_nothing(signed: Path):
    import c2pa

    with c2pa.Reader(str(signed)) as reader:
        assertions = reader.get_active_manifest()["assertions"]
    (entries,) = [a["data"]["entries"] for a in assertions if a["label"] == "cawg.training-mining"]
    assert {entry["use"] for entry in entries.values()} == {"notAllowed"}


def test_one_changed_picture_byte_makes_the_file_invalid(signed: Path, tmp_path: Path):
    data = bytearray(signed.read_bytes())
    data[data.find(b"mdat") + 500] ^= 1
    (tmp_path / "tampered.mp4").write_bytes(data)
    provenance = read_provenance(tmp_path / "tampered.mp4", tmp_path / "keys")
    assert provenance.state == "invalid"
    assert "bmffHash" in (provenance.detail or "")


def test_a_changed_declaration_makes_the_file_invalid(signed: Path, tmp_path: Path):
    data = signed.read_bytes().replace(b"trainedAlgorithmicMedia", b"trainedAlgorithmicMediA")
    (tmp_path / "lied.mp4").write_bytes(data)
    assert read_provenance(tmp_path / "lied.mp4", tmp_path / "keys").state == "invalid"


def test_a_generator_of_another_company_is_recognised_under_any_extension(plain: Path, tmp_path: Path):
    marked = sign_as_ai_generator(plain, tmp_path / "theirs.mp4", tmp_path / "their_keys")
    hidden = marked.rename(tmp_path / "holiday.webm")
    make_certificate(tmp_path / "keys")
    provenance = read_provenance(hidden, tmp_path / "keys")
    assert (provenance.state, provenance.says_generated) == ("valid", True)
    assert provenance.claims == {}


def test_a_synthetic_ingredient_is_seen_through_a_clean_outer_manifest(plain: Path, tmp_path: Path):
    import c2pa

    marked = sign_as_ai_generator(plain, tmp_path / "theirs.mp4", tmp_path / "keys")
    identity = make_certificate(tmp_path / "keys")
    manifest = {
        "claim_generator_info": [{"name": "editor", "version": "1"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [
            {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}]}}],
    }  # fmt: skip
    info = c2pa.C2paSignerInfo(b"es256", identity.chain.read_bytes(), identity.key.read_bytes(), None)
    with (
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(json.dumps(manifest)) as builder,
        marked.open("rb") as parent,
    ):
        builder.add_ingredient(
            json.dumps({"title": "p", "relationship": "parentOf", "label": "parent"}), "video/mp4", parent
        )
        builder.sign_file(str(marked), str(tmp_path / "edited.mp4"), signer)
    provenance = read_provenance(tmp_path / "edited.mp4", tmp_path / "keys")
    assert (provenance.state, provenance.source_type) == ("trusted", None)
    assert provenance.says_generated


@pytest.mark.parametrize("content", [b"", b"not a video", b"\0\0\0\x18ftypmp42" + b"\xff" * 200])
def test_junk_is_an_answer_and_not_an_exception(content: bytes, tmp_path: Path):
    path = tmp_path / "junk.mp4"
    path.write_bytes(content)
    assert read_provenance(path).state in {"absent", "unreadable"}


def test_a_cut_off_marked_file_never_reads_as_whole(signed: Path, tmp_path: Path):
    data = signed.read_bytes()
    for share in (0.2, 0.5, 0.9):
        (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
        assert read_provenance(tmp_path / "cut.mp4", tmp_path / "keys").state in {"invalid", "unreadable"}


def test_signing_a_file_onto_itself_is_refused_and_leaves_it_whole(plain: Path, tmp_path: Path):
    before = plain.read_bytes()
    with pytest.raises(ProvenanceError, match="itself"):
        sign_video(plain, plain, CLAIMS, tmp_path / "keys")
    assert plain.read_bytes() == before


def test_signing_over_another_manifest_is_refused(signed: Path, tmp_path: Path):
    with pytest.raises(ProvenanceError, match="history"):
        sign_video(signed, tmp_path / "again.mp4", CLAIMS, tmp_path / "keys")
    assert not (tmp_path / "again.mp4").exists()


def test_a_file_that_cannot_be_signed_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ProvenanceError):
        sign_video(tmp_path / "text.mp4", tmp_path / "out" / "signed.mp4", CLAIMS, tmp_path / "keys")
    assert list((tmp_path / "out").iterdir()) == []


def test_keys_are_made_once_and_private(tmp_path: Path):
    first = make_certificate(tmp_path / "keys")
    before = first.chain.read_bytes()
    assert make_certificate(tmp_path / "keys").chain.read_bytes() == before
    secrets = list((tmp_path / "keys" / "c2pa").glob("*.key"))
    assert len(secrets) == 2
    assert all(stat.S_IMODE(secret.stat().st_mode) == 0o600 for secret in secrets)
