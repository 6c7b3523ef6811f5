"""The command line: reads options, makes one call, prints the result.

Exit codes: 0 done; 1 a worker process died, memory ran out, or the reader of our output went away; 2 the input must be
fixed (one line on stderr explains how); 3 training diverged; 130 interrupted, 143 by SIGTERM.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from cyclopts import CoercionError, CycloptsError, MissingArgumentError

# Each of these adds its verb to `app`.
from videocompressa.cli import (  # noqa: F401
    bench,
    cache,
    compress,
    demo,
    export,
    finetune,
    keyframes,
    plan,
    predict,
    push,
    sets,
    settings,
    train,
)
from videocompressa.cli.app import app
from videocompressa.cli.terminal import escape_unwritable
from videocompressa.engine import WorkerError
from videocompressa.errors import DivergedError, InputError
from videocompressa.texts import printable

GRACE_SECONDS = 10
"""After an interrupt, for what is to be stopped and removed."""
DONE, ENDED, BAD_INPUT, DIVERGED, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name, None takes the process's own."""
    # Threads that wait by spinning take the cores of those they wait for: with two threads on two busy cores, training
    # took three times as long. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    escape_unwritable()
    if threading.current_thread() is not threading.main_thread():
        return _run(argv)
    heeded = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in heeded}
    try:
        return _run(argv)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(argv: Sequence[str] | None) -> int:
    try:
        command, bound, _ = app.parse_args(
            sys.argv[1:] if argv is None else list(argv), print_error=False, exit_on_error=False
        )
        command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except MissingArgumentError as error:
        return _fail(_missing(error), BAD_INPUT)
    except CoercionError as error:
        return _fail(_not_understood(error), BAD_INPUT)
    except CycloptsError as error:
        return _fail(f"{error} ({_see_help(error)})", BAD_INPUT)
    except (InputError, DivergedError, WorkerError) as error:
        code = DIVERGED if isinstance(error, DivergedError) else ENDED if isinstance(error, WorkerError) else BAD_INPUT
        return _fail(str(error), code)
    except BrokenPipeError:
        sys.stderr.close()  # The interpreter would complain once more on its way out.
        return ENDED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}; check the disk and the permissions", BAD_INPUT)
    except MemoryError:
        return _fail("out of memory; give a smaller --size, fewer --frames or --workers, or end other programs", ENDED)
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("interrupted; run the same command again to resume\n")
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        return TERMINATED if interrupt.args else INTERRUPTED
    return DONE


def run() -> NoReturn:
    """Run the command of this process and end it."""
    code = main()
    if code in (INTERRUPTED, TERMINATED):  # now: threads of an upload may still wait for a server that says nothing
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _interrupt(number: int, frame: object) -> None:
    """End as by Ctrl-C: workers are stopped and unfinished files removed; what waits for longer than that is killed."""
    if hasattr(signal, "alarm"):
        signal.alarm(GRACE_SECONDS)
    raise KeyboardInterrupt(*(["SIGTERM"] if number == signal.SIGTERM else []))


def _missing(error: MissingArgumentError) -> str:
    """Return the message for an argument that was forgotten: its names as they are typed."""
    argument = error.argument
    misspelled = any(token.startswith("--") for token in error.unused_tokens or ())
    if argument is None or error.keyword is not None or misspelled:  # keyword: an option without its value
        return f"{error} ({_see_help(error)})"
    return f"{' or '.join(sorted(argument.names, key=len))} is missing; give it ({_see_help(error)})"


def _not_understood(error: CoercionError) -> str:
    """Return the message of our own type that refused a value, or that of the parser."""
    reason = error.__cause__ or error.__context__
    if not isinstance(reason, InputError) or error.argument is None:
        return f"{error} ({_see_help(error)})"
    return f"{error.argument.name}: {reason}"


def _see_help(error: CycloptsError) -> str:
    return f"see {' '.join(('videocompressa', *(error.command_chain or ()), '--help'))}"


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"error: {printable(' '.join(text.split()))}\n")
    return code
