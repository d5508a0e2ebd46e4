"""Every record a stage returns; a record's class is its table, its fields are the columns."""

from steerkit.records.base import Record
from steerkit.records.runs import Outcome, Picture, Run, RunEvent, Status, Unit, Verdict
from steerkit.records.scores import ANSWER_FIELDS, FOUNDATIONS, Answer, Arm, ArmKind, Effect, Prior, Vignette
from steerkit.records.steering import Calibration, Direction, DirectionLayer, Dose
from steerkit.records.texts import (
    Backtrack,
    Completion,
    ControllerStep,
    FilterDecision,
    FilterSet,
    Label,
    Role,
    TextGain,
    Trait,
)

TABLES: dict[str, type[Record]] = {
    "run": Run,
    "run_event": RunEvent,
    "unit": Unit,
    "vignette": Vignette,
    "direction": Direction,
    "direction_layer": DirectionLayer,
    "dose": Dose,
    "calibration": Calibration,
    "arm": Arm,
    "answer": Answer,
    "prior": Prior,
    "completion": Completion,
    "text_gain": TextGain,
    "backtrack": Backtrack,
    "controller_step": ControllerStep,
    "filter_set": FilterSet,
    "filter_decision": FilterDecision,
    "label": Label,
    "effect": Effect,
    "verdict": Verdict,
    "picture": Picture,
}

__all__ = [
    "ANSWER_FIELDS",
    "FOUNDATIONS",
    "TABLES",
    "Answer",
    "Arm",
    "ArmKind",
    "Backtrack",
    "Calibration",
    "Completion",
    "ControllerStep",
    "Direction",
    "DirectionLayer",
    "Dose",
    "Effect",
    "FilterDecision",
    "FilterSet",
    "Label",
    "Outcome",
    "Picture",
    "Prior",
    "Record",
    "Role",
    "Run",
    "RunEvent",
    "Status",
    "TextGain",
    "Trait",
    "Unit",
    "Verdict",
    "Vignette",
]
