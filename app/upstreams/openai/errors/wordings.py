"""Wordings: how servers that speak OpenAI's dialect phrase what is wrong.

Each pattern covers a kind of phrase, in the plain form that `reading` gives
codes, types and words: lower case, spaces between all words, `…` for what was quoted.
None reaches further than a sentence.
"""

import re


def _any(*phrases: str) -> re.Pattern[str]:
    """Any of these. `~` stands for a few more words of the same sentence."""
    within = r"(?:[^.\n]|\.\S){0,80}?"
    return re.compile("|".join(phrases).replace("~", within))


# Limits that are over soon.
SOON = _any(
    r"\bper (min|sec|hour)",
    r"\b[rt]p[ms]\b",
    r"please wait",
    r"\b(try|retry) (again )?(in|after) \d",
    r"quota metric",
)
QUOTA = _any(
    r"\binsufficient (\w+ )?(quota|balance|credit|fund)",
    r"\b(quota|balance|credits?|funds?)\b~(not enough|insufficient|exceeded)",
    r"\b(quota|balance|credits?|funds?)\b~\bexhausted",
    r"\b(quota|balance|credits?)\b~\b(too low|used up|depleted|failed)",
    r"\b(exceed\w*|exhaust\w*|out of|no more)\b~\b(quota|credits?|budget)\b",
    r"\bkey limit",
    r"\bbilling\b",
    r"payment required",
    r"can only afford",
    r"\b(usage|spend\w*) limit",
    r"\bno (more )?credits?\b|\bcredit limit",
    r"\btrial\b~\b(expired|ended|is over)",
    r"\bbalance\b~\b(negative|zero)",
    r"(?<!thinking )(?<!token )\bbudget (has been )?exceeded|\bexceeded ?budget",
    r"\barrearage\b|\bin good standing\b",
    r"\bfree tier\b~\b(only|exhausted|ended|used)",
    r"额度不足|余额不足|欠费",
)
TOO_FAST = _any(
    r"\brate limit",
    r"too many (concurrent )?requests",
    r"\bthrottl",
    r"resource exhausted",
    r"\bper day\b",
    r"\b(error|status|http)( code)?\W{0,3}429\b",
    r"capacity exceeded",
    r"\brequest limit",
    r"\bconcurren\w+ limit",
    r"频繁|速率限制|并发",
)
# Our own key is not taken; it is told with 400, too.
BAD_KEY = _any(
    r"\bapi key\b~\b(not valid|invalid|incorrect|expired|missing|required|revoked)",
    r"\b(invalid|incorrect|expired|missing|wrong) (api )?(key|token|credential)s?\b",
    r"\bauthentication (error|failed|required|fails)|\bunauthori[sz]ed\b",
)
# Of a limit per minute, but beyond all of it: no rest will help.
TOO_LARGE = _any(r"\brequest too large for\b")
TOO_LONG = _any(
    r"\bcontext (length|size|window|limit|overflow)",
    r"exceeds? max(imum)? context",
    r"exceed context size|prompt too long|context shift is disabled",
    r"\b(prompts?|inputs?|messages?|conversation|string|text|history)( \S+){0,4} too "
    r"(long|large|big)\b",
    r"too (long|large) for (the |this |requested )?model",
    r"\b(tokens?|prompt|input)\b~\b(exceed|longer than)",
    r"\b(exceed\w*|more than)\b~\b(token limit|tokens\b|max\w* length)",
    r"\bmax\w* ((allowed|input) )*(prompt|model|sequence|input|context|token)s? "
    r"(length|limit|count|size)",
    r"\bmax prompt tokens exceeded",
    r"string above max length",
    r"too many (input |prompt )?tokens",
    r"\b(reduce|shorten)\b~\b(length|prompt|messages|conversation|input)\b",
    r"tokens?\b~\+~must be (<|less|at most)",
    r"\+~\btokens?\b~must be (<|less|at most)",
    r"\btotal tokens?\b~\b(more|greater|over|beyond)\b",
    r"\bmax (total tokens|model len|seq len)\b",
    r"must have less than \d+ tokens",
    r"range of input length",
    r"\d tokens? > \d+ max",
    r"max tokens must be at least 1, got",
    r"\brequest (was|is) too long\b|\bn ctx\b",
    r"\b(prompt|input|context|sequence|message)s? (length|size)\b~"
    r"\b(exceed|over|greater|longer|larger|more)",
    r"\d tokens?\b~\b(over|above|beyond)\b~\b(limit|max)",
    r"\d tokens?\b~\bonly\b~\d",
    r"\b(total|number of|input|prompt) tokens~\b(must|should) be (less|at most|below)",
    r"\bfit\b~\bcontext\b|\bnot enough context\b",
    r"(输入|上下文|长度|文本|prompt|tokens?) ?\S{0,12}(超过|超出|超长|超限|过长)",
)
FILTERED = _any(
    r"\bcontent (management )?(filter|policy)",
    r"responsible ?ai",
    r"\bmoderation\b",
    r"\bflagged\b",
    r"data inspection failed",
    r"\b(usage|safety|content) polic",
    r"blocked by~\b(safety|content|guardrail)",
    r"prohibited content",
    r"\bsafety (system|filter|reason)|\bdue to safety\b",
    r"\b(harmful|inappropriate|sensitive|unsafe) (content|information|words?)\b",
    r"\bguard ?rails?\b~\b(interven|block|trigger)",
    r"\bviolat\w*\b~\b(polic|guideline)",
    r"\b(content exists|considered high) risk\b|\bnew sensitive\b",
    r"(?<![^\n])(safety|recitation|sensitive|prohibited content)(?![^\n])",
    r"敏感|违规",
)
UNKNOWN_MODEL = _any(
    r"\b(model|deployment)( \S+)?( id)? (is )?not (found|exist)",
    r"\b(models?|llm|deployment|engine)\b~\b(not found|not exist|not available\b"
    r"|not loaded|not (been )?(installed|deployed|registered|configured|served))",
    r"\b(unknown|invalid|unrecognized|no such|incorrect|wrong|unsupported) model\b",
    r"\bnot a (valid|known|supported) model",
    r"\bmodel( \S+)? (is )?(unknown|invalid|not (supported|recognized|known|valid))",
    r"\bno models?( named| loaded| found| available)",
    r"\bno (endpoints?|available channels?|providers?|route) ?(found )?for\b",
    r"\b(could not|cannot|unable to|failed( to)?) "
    r"(find|load\w*|get|resolve)( \w+){0,2} model",
    r"\bmodel requires more system memory",
    r"\bmodel load(ing)? (failed|error)",
    r"\baccess to~\bmodel",
    r"\b(must|need to) (provide|specify|select)~\bmodel\b",
    r"\bmodel( parameter| name)? is required|not found the model",
    r"\bpinned to\b|\ballowed now, your model\b",
    r"\bmodel access denied\b|\ballowed to access model\b",
    r"\bllm provider not provided\b|\bno … with this model\b",
    r"\bno suitable~\bfor\b|\bsuitable inference\b",
    r"\bmodel\b~not (exist|found|available)\b",
    r"\bmodel\b~\b(is|was|been) (deprecated|retired|decommissioned|removed"
    r"|discontinued)",
    r"\bthere is no model\b|\bmodel\b~\bnot in the list|\bmodel must be one of",
    r"模型\S{0,12}(不存在|未找到|不可用)|无可用渠道",
)
# Turns of a conversation that do not fit together.
TURNS = _any(
    r"\b(function|tool) calls?\b~\b(must be followed|responses)\b",
    r"\b(must be a|no) (response|matching|preceding|corresponding)\b",
    r"\btool call ids?\b~\bnot\b|\bnot\b~\btool call ids?\b",
    r"\btool (results?|messages?)\b~\b(without|not match|must (follow|be preceded))",
)
UNABLE = _any(
    r"\b(not|un|no|no longer) ?(yet )?support",
    r"\bonly (support|accept|one completion|(the )?default|user and assistant)",
    r"found that support",
    r"\bmm ?proj\b|\bmulti ?modal\b|\bvision\b",
    r"\bat most \d+ (image|audio|video)",
    r"\b(image|audio|video|file)s?\b~\b(not (allowed|enabled|accepted)|invalid)",
    r"\b(failed|unable|could not|cannot)\b~\b(image|audio|video)",
    r"\btool (choice|call parser)~\brequire",
    r"\btools? param\w* requires",
    r"\b(tools?|tool use|tool calls|function calling)\b~\bnot (enabled|available)",
    r"\b(tools?|function)( use| call\w*| choice)?\b~"
    r"\b(unavailable|disabled|not|requires?|only)\b",
    r"\b(no|not|cannot)\b~\b(tools?|function call\w*)\b|\btools must be empty\b",
    r"\b(unknown|invalid) field tools\b|\bfield must not be set\b",
    r"\btool use failed|failed to call a function",
    r"\btool (call )?arguments?\b~\bjson|parse tool call|invalid tool call arguments",
    r"\b(pars|compil|convert|conver|initializ|generat)\w*\b~\b(grammar|json schema"
    r"|samplers?|parser)",
    r"\b(invalid|unsupported) (grammar|json schema|schema|response format)",
    r"\b(grammar|json schema)\b~\b(not|fail|error|invalid)",
    r"\bjinja\b|\bchat template|\bat row \d+, column",
    r"\btemplate~\b(error|fail|exception)",
    r"\broles? must\b|\bmust alternate|\b(first|last) (message|role)",
    r"\bsystem message must|\bprefill\b|assistant messages? at the end",
    r"\bstream options\b",
    r"\b(unknown|unrecognized|unexpected|unsupported|extra) (\w+ )?(param|arg|field"
    r"|name|input|key|propert)",
    r"\bextra forbidden|not permitted\b|additional propert",
    r"\b(param\w*|field|argument|option)s?\b~\bnot (allowed|enabled|recognized)",
    r"\bnot (yet )?implemented|\bmultiple (completions|choices)\b|\bn must be 1\b",
    r"\bn\b~(must be (1\b|one)|> 1\b)",
    r"\b(logprobs|logit bias|seed|streaming|json mode)\b~\bnot (available|allowed)",
    r"… (is|are) not (allowed|enabled|available)",
    r"\bno (image|vision|audio|video)\b",
    r"\bunknown variant\b|\binvalid content type\b",
    r"\bexpected (a )?string, (got|but|found)|\bcontent must be a string",
    r"\binput should be a valid string",
    r"\b(unknown|invalid|unexpected|unsupported)( message)? roles?\b",
    r"\brole\b~\binvalid\b",
    r"\bcannot unmarshal\b|\binvalid (message )?content type\b",
    r"\binvalid type: (sequence|map|string|null|boolean|integer)\b",
    r"\b(not) (yet )?(compatible|combin)\w*",
)
# What is so for a while only is an outage, where the status says so, too.
PASSING = _any(
    r"\b(currently|temporar\w+|right now|at the moment|overloaded|at capacity)\b",
    r"\b(high|heavy) (demand|load|traffic)\b",
    r"\b(try|retry)( again)? (later|shortly|soon)\b",
)
# A part of a request's form, and that it is not taken. Only for a status that already
# says that the request is to blame: another server may take that form.
FORM = _any(
    r"\b(response format|tool choice|tools?|function call\w*|functions?|json mode"
    r"|json schema|schema|logprobs|logit bias|best of|stream\w*|reasoning\w*|thinking"
    r"|prediction|web search\w*|service tier|modalit\w+|audio|images?|image url|video"
    r"|file|developer|system|roles?|parallel tool calls|verbosity|store|metadata"
    r"|prompt cache\w*|safety identifier|stop|top [kp]|min p|seed|penalty|prefix"
    r"|max( completion| output)? tokens|content parts?)\b~"
    r"\b(not|no|un\w+|invalid|only|must|should|at most|max|requires?|cannot|fail\w*"
    r"|deprecated|disabled|exceed\w*|missing|illegal|forbidden|expected)\b",
    r"\b(not|no|un\w+|invalid|illegal|cannot|disabled|missing)\b~\b(response format"
    r"|tool choice|tools?|function calls?|json schema|logprobs|stream\w*|reasoning\w*"
    r"|modalit\w+|audio|images?|image url|roles?|content type)\b",
    r"\b(param\w*|field|argument|option|property)s?\b~"
    r"\b(invalid|not|un\w+|must|cannot)\b",
    r"… (must|should) (be|not)\b|\bmodality\b",
    r"\b(request|payload|body)( \w+){0,2} (too large|exceeds?)\b",
    r"\bsupported values\b|\bunsupported value\b|\bmax images\b",
)
# A code or type that says so of a status that would tell of an outage.
INVALID = _any(
    r"invalid request", r"bad request", r"unprocessable", r"validation error"
)
