"""What is chosen in the launchpad or named in the environment is what every asset of the run trains with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.home import Home
from assets.model.config import CHOICES, SPREAD, TASKS, choices, parent_setting, preset_of, spread
from assets.model.presets import PRESETS
from orchestration.choices import NIGHT, CaptionMix, Preset, TaskChoices, TrainingChoices
from orchestration.definitions import build
from orchestration.session import Session
from tests.orchestration.graph import settings_in
from training.config import TrainConfig
from training.model.config import LADDER
from training.model.config import build as build_config

NAMES = ("run_dir", "manifest", "snapshot_root", "database_url", "frames_dir", "latents_dir", "codec_dir", "text_dir")
PLACES = dict.fromkeys((*NAMES, "text_encoder", "networks"), "somewhere")

own = st.fixed_dictionaries(
    {}, optional={"steps": st.integers(1, 99), "lr": st.floats(0.001, 1), "strategy": st.just("fsdp")}
)
variables = st.fixed_dictionaries(
    {},
    optional={
        "preset": st.sampled_from([*PRESETS, "demo"]),
        "seed": st.integers(0, 9),
        "steps": st.integers(1, 99),
        "minutes": st.floats(0.5, 9),
        "parent_model": st.sampled_from(["none", "base", "m-1"]),
        "codec": own,
        "transformer": own,
    },
)


def trained(settings: dict[str, Any]) -> list[Any]:
    """All that the settings decide of a run."""
    of_tasks = [(choices(settings, task), spread(settings, task)) for task in TASKS]
    return [preset_of(settings), parent_setting(settings), *of_tasks]


@given(variables, variables)
def test_what_a_command_passes_on_trains_what_its_variable_says_whatever_the_nights_is(
    variable: dict[str, Any], night: dict[str, Any]
) -> None:
    assert trained(TrainingChoices(**TrainingChoices.of(variable)).over(night)) == trained(variable)


@given(variables)
def test_without_a_choice_a_run_trains_what_the_night_trains(night: dict[str, Any]) -> None:
    assert TrainingChoices().over(night) == night


def test_there_is_a_preset_for_each_size_and_a_choice_behind_every_field() -> None:
    assert list(get_args(Preset)) == [NIGHT, *LADDER] == [NIGHT, *PRESETS]
    for size, tasks in PRESETS.items():
        assert {choices({"preset": size}, task).get("size", TrainConfig.size) for task in tasks} == {size}
        for task in TASKS:  # raises where one is wrong
            build_config(TrainConfig, PLACES | {"task": task} | choices({"preset": size}, task))
    everything = TaskChoices(steps=5, minutes=2.0, batch_tokens=77, learning_rate=0.5, patience=6)
    chosen = TrainingChoices(
        preset="S",
        minutes=8.0,
        seed=3,
        start="none",
        rendered_share=0.125,
        captions=CaptionMix(structured=1.0, long=2.0, short=3.0, empty=0.25),
        transformer=everything,
        autoencoder=TaskChoices(),
        strategy="fsdp",
        more={"ema_decay": 0.5},
    ).over({"lr": 9.0, "seed": 99})
    assert trained(chosen)[:2] == ["S", "none"]
    transformer, codec = choices(chosen, "transformer"), choices(chosen, "codec")
    expected = {"steps": 5, "minutes": 2.0, "batch_tokens": 77, "lr": 0.5, "patience": 6, "caption_dropout": 0.25}
    expected |= {"structured_caption": 1.0, "long_captions": 2.0, "short_captions": 3.0}
    assert expected | {"seed": 3, "rendered_share": 0.125, "ema_decay": 0.5, "size": "S"} == {
        name: transformer[name] for name in [*expected, "seed", "rendered_share", "ema_decay", "size"]
    }
    assert (codec["steps"], codec["minutes"], codec["lr"]) == (0, 2.0, PRESETS["S"]["codec"]["lr"]), "a quarter of 8"
    assert spread(chosen, "transformer") == {"strategy": "fsdp"}
    assert set(transformer) | set(codec) <= set(CHOICES)
    assert not set(SPREAD) & set(CHOICES)


def test_minutes_take_the_place_of_steps_that_were_chosen_below_them_and_steps_that_of_minutes() -> None:
    night = {"steps": 500, "codec": {"steps": 40, "minutes": 3.0}}
    timed = TrainingChoices(minutes=4.0).over(night)
    assert [(choices(timed, task)["steps"], choices(timed, task)["minutes"]) for task in TASKS] == [(0, 1.0), (0, 3.0)]
    stepped = TrainingChoices(transformer=TaskChoices(steps=7)).over({"minutes": 4.0})
    assert (choices(stepped, "transformer")["steps"], choices(stepped, "transformer")["minutes"]) == (7, 0)
    assert choices(stepped, "codec")["minutes"] == 1.0


@dg.asset
def first(home: dg.ResourceParam[Home]) -> dict[str, Any]:
    return home.training


@dg.asset
def second(first: dict[str, Any], home: dg.ResourceParam[Home]) -> bool:
    return home.training == first


def test_every_asset_of_a_run_sees_the_choices_of_the_launchpad(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, training='{"seed": 7, "codec": {"steps": 5}}')
    resources = {name: build(settings).resources[name] for name in ("home", "training")}  # type: ignore[index]
    chosen = {"minutes": 30, "captions": {"short": 1.0}, "autoencoder": {"learning_rate": 0.01}}
    passed_on = {"preset": "S", "seed": 1, "codec": {"steps": 2, "codec_shape": {"width": 8}}}

    def seen(config: dict[str, Any]) -> dict[str, Any]:
        with dg.DagsterInstance.ephemeral() as instance:
            run_config = {"resources": {"training": {"config": config}}}
            result = dg.materialize([first, second], resources=resources, instance=instance, run_config=run_config)
        assert result.output_for_node("second")
        return result.output_for_node("first")

    expected = {"seed": 7, "minutes": 30.0, "codec": {"lr": 0.01}, "transformer": {"short_captions": 1.0}}
    assert seen(chosen) == expected, "the night's steps give way to minutes, and its seed stays"
    assert seen(TrainingChoices.of(passed_on)) == passed_on


def test_each_field_of_the_launchpad_has_its_help() -> None:
    pages = [
        model.to_config_schema().as_field().config_type.fields for model in (TrainingChoices, TaskChoices, CaptionMix)
    ]  # type: ignore[attr-defined]
    help_texts = {name: field.description or "" for page in pages for name, field in page.items()}
    assert {"preset", "minutes", "steps", "batch_tokens", "learning_rate", "seed", "start", "empty"} <= set(help_texts)
    assert [name for name, text in help_texts.items() if len(text) < 20] == []
    assert "not reproducible" in pages[0]["minutes"].description


@pytest.mark.parametrize(
    ("variable", "passed"),
    [
        (None, None),
        ("{}", {"preset": "nano"}),
        ('{"seed": 3}', {"preset": "nano", "more": {"seed": 3}}),
        ('{"preset": "S", "codec": {"steps": 2}}', {"preset": "S", "more": {"codec": {"steps": 2}}}),
    ],
)
def test_a_command_passes_its_variable_on_to_services_that_run_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, passed: Any
) -> None:
    launched: list[Any] = []
    monkeypatch.setattr("orchestration.launch.follow_run", lambda *arguments: None)
    session = Session(settings_in(tmp_path, **({"training": variable} if variable else {})))
    session.instance = None  # type: ignore[assignment]
    session.client = SimpleNamespace(run=lambda *arguments: launched.append(arguments) or "run")  # type: ignore[assignment]
    for job in ("retrain", "refresh"):
        session.job(job)
    config = {"resources": {"training": {"config": passed}}} if passed else None
    assert [(name, json.loads(json.dumps(config))) for name, _, config in launched] == [
        ("retrain", config),
        ("refresh", None),
    ]
