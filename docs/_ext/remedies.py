"""What to do about each error, for its section in the reference; the error's own text says it of the case at hand."""

from __future__ import annotations

REMEDIES = {
    "BadSignature": "Find out who can write to the store: somebody changed what is in it, or moved it to "
    "another place. Delete the run and submit it again. See [security](../security.md).",
    "BrokerUnavailable": "Start the broker, or correct `DAGCELERY_BROKER_URL`; then submit again. A run that "
    "could not be sent was cancelled, and its key is free.",
    "CodeMismatch": "Resume with `allow_code_change=True` if the change is meant, or run a worker that "
    "has the old code. See [upgrades](../howto/upgrade.md).",
    "CodeUnknown": "Compare it yourself, and resume with `allow_code_change=True`; or resume where the "
    "module can be imported.",
    "CyclicDependency": "Leave out one of the edges: a node can use only what does not need its result.",
    "DagceleryError": "Catch it to catch all of them; `culprit`, `problem` and `remedy` are its parts.",
    "DeserializationError": "Give the process the class or package that the text names, in the version that wrote "
    "the value.",
    "FunctionNotAllowed": "Set `DAGCELERY_SIGNING_KEY` everywhere, or add the module to `DAGCELERY_IMPORTS` of "
    "the worker. See [security](../security.md).",
    "FunctionNotFound": "Deploy the module to the workers of that queue, or name what the function was called "
    "before with `@task(aliases=…)`. Until then the run waits.",
    "InvalidConfig": "Correct the line of the file that the text names; `dagcelery config check FILE` "
    "checks all of it.",
    "InvalidDag": "Follow the text: it names the line of the body, or the option. [What a body may "
    "say](../bodies.md) has the rules.",
    "InvalidDagType": "Pass an object of the type that the text names.",
    "InvalidLocation": "Choose a folder that exists, is empty where that matters, and can be written.",
    "InvalidParameters": "Pass the parameters that the DAG has, with the types that its serializers take.",
    "InvalidSetting": "Correct the environment variable or argument that the text names. The "
    "[settings](settings.md) list them.",
    "KeyReused": "Choose another key, or submit with the same parameters. See [submit once](../howto/submit_once.md).",
    "LimitExceeded": "Make it smaller, or raise the setting that the text names, on the process that raised it.",
    "NodeFailed": "Read `traceback`, mend the task, and `resume()` the run. See [retry and "
    "resume](../howto/retry_and_resume.md).",
    "NodeNotDone": "Wait for the run, or look at the status of the node, which says why it waits.",
    "NodeSkipped": "Read it only where its branch was taken: `state` of the node says whether it was.",
    "NotConfigured": "Set or install what the text names.",
    "NotExportable": "Leave out what the text names, or run the DAG on workers. See [Argo](../argo.md).",
    "NotKept": "Let a stage in front of it write the value, and `after` order the two.",
    "NotResumable": "Wait for the end of a run that goes on; of one that is done, execute a part again "
    "with `retry_from()`.",
    "NotSent": "Mend what `reason` says, mostly a setting of the Celery app, such as a queue that "
    "`task_queues` lacks; then submit again.",
    "NotStarted": "Start workers for that queue, more of them, or give the task a longer `start_within`.",
    "PayloadTooLarge": "Pass a path or a key in place of the value, raise `DAGCELERY_MAX_PAYLOAD_BYTES`, or "
    "keep [large values as files](../howto/large_values.md).",
    "PieceDied": "Look in the worker's machine for what ended it, mostly the kernel for lack of "
    "memory; then `resume()`.",
    "PlanVersionUnsupported": "Bring the two to one version of dagcelery, or keep a worker of the old one until its "
    "runs are over. See [upgrades](../howto/upgrade.md).",
    "ResultTimeout": "Ask again, or wait longer: the run goes on. The text says what it waits for; if that "
    "is a worker, start one.",
    "RunCancelled": "`resume()` it if it was cancelled by mistake.",
    "RunNotFound": "Check the id and the store's address. A run that is over is kept for "
    "`DAGCELERY_RESULT_TTL_SECONDS`.",
    "RunTimedOut": "Give it a longer `deadline`, and `resume()` it, which starts the deadline anew.",
    "SerializationError": "Return what JSON can say, annotate the class, or choose another "
    "[serializer](../howto/serializers.md).",
    "SpillDamaged": "Bring the file back, or execute its node again with `retry_from()`.",
    "SpillUnavailable": "Mend the place that `DAGCELERY_SPILL_URL` names, or its credentials, in the process "
    "that said so.",
    "StoreDamaged": "Find out what else writes to keys of dagcelery's: give it [keys of its "
    "own](../howto/shared_redis.md). If nothing does, report the bug.",
    "StoreFull": "Give the server more `maxmemory`, delete runs, or keep [large values as "
    "files](../howto/large_values.md). Workers go on when there is room.",
    "StoreRefused": "Do what the text says of the server: name the primary, give its disk room, or its user the right.",
    "StoreUnavailable": "Start the server, or correct `DAGCELERY_STORE_URL`; workers that run wait for it.",
    "TimeLimitExceeded": "Give the task a longer `timeout`, or less to do in one piece.",
    "UnknownKey": "Add the key that sealed it to `DAGCELERY_SIGNING_KEY` of this process, behind its "
    "own. See [changing keys](../howto/upgrade.md).",
    "ValueFreed": 'Submit with `keep="all"`, or read the value as an output of the DAG.',
}
