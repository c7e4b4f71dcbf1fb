"""Fields of a request that do not go to an upstream, whoever wrote them.

A proxy behind us may obey them under the key that is ours: they choose another address,
key or model, or who else hears what is said (docs/decisions/0033). All others go on as
they came, known to us or not.
"""

_NAMES = (
    # Where a request goes, and by which key.
    """
    api_base api_key api_type api_version azure_ad_token base_url
    custom_llm_provider extra_body extra_headers extra_query headers organization
    """
    # Which model answers instead of ours, and what comes instead of an answer.
    """
    context_window_fallback_dict context_window_fallbacks fallbacks mock_response
    mock_timeout mock_tool_calls model_list models route
    """
    # Who else hears it, and what a proxy does with it.
    """
    callbacks failure_callback guardrails input_callback litellm_metadata
    litellm_params logger_fn success_callback
    """
)
KEPT_BACK = frozenset(_NAMES.split())
