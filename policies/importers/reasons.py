"""Why settings of LiteLLM's proxy are not carried over: what is there instead, or that there is nothing."""

from __future__ import annotations

NO_SETTING = "Sluice has no such setting"
IN_ORDER = "targets are asked in order, and the next when one fails; calls are not shared out among them"
EVERY_MODEL = "a fallback of every model: Sluice has none such, so it is written out as further targets of each"
OTHER_MODE = "chat is no fallback for embeddings, nor the other way round; there it is left out"
_LOGS = "Sluice keeps its own ledger and metrics; it calls no logging service"
KEYS = "clients need keys of Sluice's own: make them with `sluice keys create`, or under `keys`"
_DATABASE = "Sluice needs no database; the ledger lies in its state folder"
REDIS = "start the gateway with --redis-url to share caches"
_OTHER_FALLBACKS = "only fallbacks for failed calls are carried over"
ENVIRONMENT = "set it in the gateway's environment"
ROUTER = {
    **dict.fromkeys(("redis_host", "redis_port", "redis_password", "redis_url"), REDIS),
    **dict.fromkeys(("allowed_fails", "cooldown_time", "allowed_fails_policy"), "an upstream's `breaker` decides this"),
    **dict.fromkeys(("context_window_fallbacks", "content_policy_fallbacks"), _OTHER_FALLBACKS),
    "stream_timeout": "give an upstream's `timeouts.first_byte`",
    "routing_strategy_args": IN_ORDER,
    "retry_after": "an upstream's own Retry-After is obeyed",
}
LITELLM = {
    **dict.fromkeys(("callbacks", "success_callback", "failure_callback", "service_callbacks"), _LOGS),
    **dict.fromkeys(("context_window_fallbacks", "content_policy_fallbacks"), _OTHER_FALLBACKS),
    "drop_params": "fields that a provider does not take are refused with their name, not dropped",
    "set_verbose": "the log never holds prompts or answers",
    "turn_off_message_logging": "content is recorded only where a rule's `record` says so",
    "allowed_fails": "an upstream's `breaker` decides this",
}
GENERAL = {
    "master_key": KEYS,
    "database_url": _DATABASE,
    **dict.fromkeys(("database_connection_pool_limit", "store_model_in_db"), _DATABASE),
    "alerting": "alert on Sluice's metrics instead",
}
