"""Every error that dagcelery raises on purpose, the family tree on top.

::

    DagceleryError
    ├── InvalidDag (ValueError)
    │   ├── InvalidDagType (TypeError)
    │   ├── InvalidConfig
    │   └── CyclicDependency
    ├── InvalidParameters (ValueError)
    │   └── KeyReused
    ├── InvalidSetting (ValueError)
    ├── InvalidLocation (OSError)
    ├── NotConfigured
    │   └── FunctionNotAllowed
    ├── NodeFailed
    ├── PieceDied
    ├── TimeLimitExceeded (TimeoutError)
    ├── NotStarted
    ├── NotResumable
    ├── RunCancelled
    ├── RunTimedOut
    ├── ResultTimeout (TimeoutError)
    ├── RunNotFound (LookupError)
    ├── NotKept (KeyError)
    ├── BadSignature
    │   └── UnknownKey
    ├── CodeMismatch
    │   └── CodeUnknown
    ├── FunctionNotFound
    ├── SerializationError
    ├── DeserializationError
    │   ├── SpillDamaged
    │   └── ValueFreed
    ├── LimitExceeded
    │   └── PayloadTooLarge
    ├── StoreUnavailable
    │   └── StoreRefused
    ├── SpillUnavailable
    ├── BrokerUnavailable
    ├── NotSent
    └── PlanVersionUnsupported

An error is a small record: its ``args`` are its constructor's arguments, so it survives pickle, copy and
result backends that rebuild ``cls(*args)``. Its ``str()`` is one sentence: the culprit, what is wrong,
what would be right.
"""

from dagcelery.errors.family import (
    DagceleryError,
    sentence,
)
from dagcelery.errors.graphs import (
    CyclicDependency,
    InvalidConfig,
    InvalidDag,
    InvalidDagType,
    InvalidParameters,
    KeyReused,
)
from dagcelery.errors.runs import (
    NodeFailed,
    NotKept,
    NotResumable,
    NotStarted,
    PieceDied,
    ResultTimeout,
    RunCancelled,
    RunNotFound,
    RunTimedOut,
    TimeLimitExceeded,
)
from dagcelery.errors.surroundings import (
    BrokerUnavailable,
    CodeMismatch,
    CodeUnknown,
    FunctionNotAllowed,
    FunctionNotFound,
    InvalidLocation,
    InvalidSetting,
    NotConfigured,
    NotSent,
    PlanVersionUnsupported,
    SpillUnavailable,
    StoreRefused,
    StoreUnavailable,
)
from dagcelery.errors.tracebacks import Shortened, shortened
from dagcelery.errors.values import (
    BadSignature,
    DeserializationError,
    LimitExceeded,
    PayloadTooLarge,
    SerializationError,
    SpillDamaged,
    UnknownKey,
    ValueFreed,
)

__all__ = [
    "BadSignature",
    "BrokerUnavailable",
    "CodeMismatch",
    "CodeUnknown",
    "CyclicDependency",
    "DagceleryError",
    "DeserializationError",
    "FunctionNotAllowed",
    "FunctionNotFound",
    "InvalidConfig",
    "InvalidDag",
    "InvalidDagType",
    "InvalidLocation",
    "InvalidParameters",
    "InvalidSetting",
    "KeyReused",
    "LimitExceeded",
    "NodeFailed",
    "NotConfigured",
    "NotKept",
    "NotResumable",
    "NotSent",
    "NotStarted",
    "PayloadTooLarge",
    "PieceDied",
    "PlanVersionUnsupported",
    "ResultTimeout",
    "RunCancelled",
    "RunNotFound",
    "RunTimedOut",
    "SerializationError",
    "Shortened",
    "SpillDamaged",
    "SpillUnavailable",
    "StoreRefused",
    "StoreUnavailable",
    "TimeLimitExceeded",
    "UnknownKey",
    "ValueFreed",
    "sentence",
    "shortened",
]
