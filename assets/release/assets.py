"""Dagster assets of the release stage: the marked bundle, the model card and the summary of the training data."""

import json

import dagster as dg

from assets.evaluation.report import measured, shown
from assets.home import Home
from assets.model.published import CurrentModel, current_model
from assets.pages.plots import markdown_table
from assets.registry import CHAMPION, Registry
from assets.release import bundle

MARKED = "nothing_leaves_unmarked"


@dg.asset(
    deps=["champion", "samples"],
    check_specs=[
        dg.AssetCheckSpec(
            MARKED,
            asset="release_bundle",
            blocking=True,
            description="Every released video, read again from the store: its bytes, its manifest, its watermark.",
        )
    ],
    kinds={"c2pa"},
    owners=["team:ml"],
    code_version="1",
)
def release_bundle(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """The champion's sample videos with watermark and signed provenance, their checksums and a manifest."""
    model, registry = current_model(home), Registry(home)
    champion = registry.alias(CHAMPION)
    serving = registry.version(champion).model_key if champion else None
    if (
        serving != model.model_key
    ):  # the newest model did not become champion: the earlier release stays, and is read again
        why = f"version {champion}, released before, stays champion" if champion else "no version is champion"
        return dg.MaterializeResult(
            metadata={"outcome": f"nothing new is released: {why}"}, check_results=[_marked(home, serving)]
        )
    built = bundle.build(home, model.claims, model.samples(home))
    context.log.info(f"{len(built.files)} videos in the bundle, {built.marked_now} marked now")
    return dg.MaterializeResult(
        metadata={
            "version": champion,
            "model_key": model.model_key,
            "videos": len(built.files),
            "marked_now": built.marked_now,
            "dagster/uri": home.store.uri(bundle.folder(model.model_key)),
            "files": dg.MetadataValue.md(markdown_table(built.files, ("name", "sha256", "prompt", "seed"))),
        },
        check_results=[_marked(home, model.model_key)],
    )


def _marked(home: Home, model_key: str | None) -> dg.AssetCheckResult:
    """A bundle's check. Without a bundle nothing left, so nothing left unmarked."""
    problems = bundle.unmarked(home, model_key) if model_key else {}
    read = len(bundle.read_manifest(home, model_key).get("files", [])) if model_key else 0
    rows = [{"file": name, "problems": "; ".join(why)} for name, why in problems.items()]
    return dg.AssetCheckResult(
        check_name=MARKED,
        passed=not problems,
        metadata={"files_read": read, "problems": dg.MetadataValue.md(markdown_table(rows))},
    )


@dg.asset(
    deps=["champion", "scorecard", "data_summary"], kinds={"markdown", "mlflow"}, owners=["team:ml"], code_version="1"
)
def model_card(home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """What the newest version is, learned from, reaches and cannot do; beside its bundle and in its MLflow run."""
    model, registry = current_model(home), Registry(home)
    version = registry.version(model.registered(registry))
    text = bundle.model_card(
        bundle.Facts(
            version=version.number,
            aliases=version.aliases,
            tags=version.tags,
            record=model.record,
            summary=bundle.summarise(home, model.sealed.manifest),
            scores=shown(measured(model.scores(home))),
        )
    )
    key = _publish(home, registry, model, "model_card.md", text)
    return dg.MaterializeResult(
        metadata={"card": dg.MetadataValue.md(text), "dagster/uri": home.store.uri(key), "version": version.number}
    )


@dg.asset(deps=["training_snapshot", "registered_model"], kinds={"json"}, owners=["team:data"], code_version="1")
def data_summary(home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Sources, licences, hours, contributors and territories of the training data, for the public; no person is named."""
    model = current_model(home)
    summary = bundle.summarise(home, model.sealed.manifest)
    text = bundle.summary_page(summary)
    registry = Registry(home)
    _publish(home, registry, model, "data_summary.md", text)
    key = _publish(home, registry, model, "data_summary.json", json.dumps(summary, indent=1, sort_keys=True) + "\n")
    return dg.MaterializeResult(
        metadata={
            "summary": dg.MetadataValue.md(text),
            "clips": summary["general"]["clips"],
            "hours": summary["general"]["hours"],
            "dagster/uri": home.store.uri(key),
        }
    )


def _publish(home: Home, registry: Registry, model: CurrentModel, name: str, text: str) -> str:
    """Store a document beside the bundle and in the run that trained the model. Returns its key."""
    key = f"{bundle.folder(model.model_key)}/{name}"
    home.store.put(key, text.encode())
    registry.log_artifact(model.run_id, home.store.fetch(key), "release")
    return key
