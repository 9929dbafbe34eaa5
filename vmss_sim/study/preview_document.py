"""A preview as published JSON: `vmss-sim/preview/1` (docs/preview-json.md, docs/preview.schema.json)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from planner.model import RollingPolicy
from planner.platform import ForecastBatch, Gate
from vmss_sim.study.own import Simulated, fails
from vmss_sim.study.preview import Foreseen, Preview
from vmss_sim.study.preview_surge import Surge

SCHEMA = "vmss-sim/preview/1"


def document(preview: Preview, simulated: Sequence[Simulated | None]) -> dict[str, Any]:
    """Everything that was found, times in seconds; within a version of the schema keys are only added."""
    model = preview.setup.scale_set.model
    return {
        "schema": SCHEMA,
        "scale_set": {
            "name": model.name,
            "mode": model.mode.value,
            "orchestration": model.orchestration.value,
            "health_source": model.health_source.value,
            "instances": preview.setup.total,
        },
        "change": {"says": preview.change, "assumed": preview.change_assumed},
        "count_in_flight": preview.count_in_flight,
        "fails": fails(preview, simulated),
        "rollouts": [_rollout(one, expected) for one, expected in zip(preview.rollouts, simulated, strict=True)],
        "findings": [
            {"code": one.code, "grade": one.grade.value, "text": one.text, "subject": one.subject, "fix": one.fix}
            for one in preview.findings
        ],
        "assumptions": [
            {"name": one.name, "value": one.value, "origin": one.origin, "key": one.key} for one in preview.assumptions
        ],
    }


def _rollout(one: Foreseen, expected: Simulated | None) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "title": one.title,
        "outcome": one.outcome.value,
        "error_code": one.code or None,
        "says": one.says,
        "starts": one.starts,
        "policy": None if one.policy is None else _policy(one.policy),
        "batches": [_batch(batch, up) for batch, up in zip(one.batches, one.serving, strict=True)],
        "gates": [_gate(gate) for gate in one.gates],
        "surge": None if one.surge is None else _surge(one.surge),
        "tells": [{"about": heading, "sentences": list(lines)} for heading, lines in one.tells],
        "expected": None if expected is None else _expected(expected),
    }


def _surge(surge: Surge) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(surge)
    return {**told, "in_place": [index + 1 for index in surge.in_place]}


def _policy(policy: RollingPolicy) -> dict[str, Any]:
    return {
        "max_batch_percent": policy.max_batch_percent,
        "max_unhealthy_percent": policy.max_unhealthy_percent,
        "max_unhealthy_upgraded_percent": policy.max_unhealthy_upgraded_percent,
        "pause_s": policy.pause_between_batches_ms / 1000,
        "cross_zone": policy.cross_zone,
        "prioritize_unhealthy": policy.prioritize_unhealthy,
        "rollback_failed": policy.rollback_failed,
        "max_surge": policy.max_surge,
    }


def _batch(batch: ForecastBatch, serving: int) -> dict[str, Any]:
    return {
        "instances": list(batch.ids),
        "zone": batch.zone,
        "update_domain": batch.update_domain,
        "phase": batch.phase,
        "unhealthy_first": batch.unhealthy_first,
        "why": batch.why,
        "cut_by": batch.cut or None,
        "serving": serving,
    }


def _gate(gate: Gate) -> dict[str, Any]:
    return {
        "rule": gate.rule,
        "batch": gate.batch + 1,
        "percent": gate.percent,
        "of": gate.of,
        "allowed": gate.allowed,
        "unhealthy_now": gate.known,
        "verdict": gate.verdict.value,
        "error_code": gate.code,
    }


def _expected(expected: Simulated) -> dict[str, Any]:
    return {
        "seed": expected.seed,
        "replications": expected.replications,
        "metrics": {
            name: {key: getattr(value, key) for key in ("mean", "p05", "p50", "p95", "p99", "ci95")}
            for name, value in expected.metrics.items()
        },
        "completed": {"estimate": expected.completed.estimate, "ci95": expected.completed.ci95},
        "endings": dict(expected.endings),
    }
