"""The pipelines: each lists its stages in order and yields what they return; whoever consumes the steps stores them."""

from steerkit.pipeline.compare import CompareJob, compare
from steerkit.pipeline.gate1 import Gate1Job, gate1
from steerkit.pipeline.gate2 import Gate2Job, gate2
from steerkit.pipeline.gate3 import gate3
from steerkit.pipeline.healing import Gate3Job
from steerkit.pipeline.layers import ScanJob, layers
from steerkit.pipeline.loop import Gate4Job, loop
from steerkit.pipeline.study import Job, Memory, Pipeline, Step
from steerkit.pipeline.sweep import sweep

__all__ = [
    "CompareJob",
    "Gate1Job",
    "Gate2Job",
    "Gate3Job",
    "Gate4Job",
    "Job",
    "Memory",
    "Pipeline",
    "ScanJob",
    "Step",
    "compare",
    "gate1",
    "gate2",
    "gate3",
    "layers",
    "loop",
    "sweep",
]
