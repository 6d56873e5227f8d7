"""Run pydags' six stages, one by one and in several threads; only the imports are new.

Notice that a stage starts when the stages before it are done, without waiting for a group, and that no Redis has to
run.
"""

from __future__ import annotations

from dagcelery.compat.pydags.pipeline import Pipeline
from dagcelery.compat.pydags.stage import stage


@stage
def stage_1() -> None:
    """Print."""
    print("Running stage 1")


@stage
def stage_2() -> None:
    """Print."""
    print("Running stage 2")


@stage
def stage_3() -> None:
    """Print."""
    print("Running stage 3")


@stage
def stage_4() -> None:
    """Print."""
    print("Running stage 4")


@stage
def stage_5() -> None:
    """Print."""
    print("Running stage 5")


@stage
def stage_6() -> None:
    """Print."""
    print("Running stage 6")


def build_pipeline() -> Pipeline:
    """Order the stages."""
    stage1 = stage_1()
    stage2 = stage_2()
    stage3 = stage_3().after(stage2)
    stage4 = stage_4().after(stage2)
    stage5 = stage_5().after(stage1)
    stage6 = stage_6().after(stage3).after(stage4).after(stage5)

    pipeline = Pipeline()
    pipeline.add_stages([stage1, stage2, stage3, stage4, stage5, stage6])
    return pipeline


pipeline = build_pipeline()

if __name__ == "__main__":
    pipeline.visualize()
    pipeline.start()
    pipeline.start(num_cores=2)
