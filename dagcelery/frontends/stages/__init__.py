"""Stages: objects that come `after` each other, collected in a pipeline, which is a DAG of the model."""

from dagcelery.frontends.stages.definition import Stage, stage
from dagcelery.frontends.stages.keeping import DiskCacheStage, RedisStage
from dagcelery.frontends.stages.pipeline import Pipeline

__all__ = ["DiskCacheStage", "Pipeline", "RedisStage", "Stage", "stage"]
