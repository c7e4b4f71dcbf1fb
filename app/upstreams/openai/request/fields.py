"""Fields of a request that go to an upstream, as callers wrote them.

What is not named here does not go: a proxy behind us obeys fields that choose another
address, key or model, under the key that is ours (docs/decisions/0033).
"""

_NAMES = (
    # OpenAI's own, but those that store, or that buy another class of service.
    """
    audio frequency_penalty function_call functions logit_bias logprobs
    max_completion_tokens max_tokens metadata modalities n parallel_tool_calls
    prediction presence_penalty prompt_cache_key reasoning_effort response_format
    safety_identifier seed stop temperature tool_choice tools top_logprobs top_p user
    verbosity web_search_options
    """
    # Thoughts, by the names that servers give them.
    """
    enable_thinking include_reasoning prompt_mode reasoning reasoning_budget
    reasoning_format reasoning_split think thinking thinking_budget
    """
    # How the next token is chosen: llama.cpp, vLLM, SGLang, TGI, Ollama, Mistral.
    """
    allowed_token_ids bad_words best_of dry_allowed_length dry_base dry_multiplier
    dry_penalty_last_n dry_sequence_breakers dynatemp_exponent dynatemp_range
    ignore_eos length_penalty min_keep min_p min_tokens mirostat mirostat_eta
    mirostat_tau n_predict no_repeat_ngram_size random_seed repeat_last_n
    repeat_penalty repetition_penalty samplers stop_regex stop_token_ids
    tfs_z top_a top_k top_n_sigma typical_p use_beam_search xtc_probability
    xtc_threshold
    """
    # What form the answer has, and what is told beside it.
    """
    ebnf format grammar guided_choice guided_grammar guided_json guided_regex
    guided_whitespace_pattern include_stop_str_in_output json_schema n_probs
    parse_tool_calls post_sampling_probs prompt_logprobs regex return_token_ids
    return_tokens_as_token_ids separate_reasoning skip_special_tokens
    spaces_between_special_tokens stream_reasoning structured_outputs
    timings_per_token
    """
    # Texts that are gone on with, and embeddings.
    """
    dimensions encoding_format input input_type normalize prompt prompt_name suffix
    task truncate truncation_direction
    """
    # How a conversation is written for the model.
    """
    add_generation_prompt add_special_tokens cache_prompt chat_template_kwargs
    continue_final_message documents echo mm_processor_kwargs safe_prompt
    truncate_prompt_tokens
    """
)
PASSED_ON = frozenset(_NAMES.split())
