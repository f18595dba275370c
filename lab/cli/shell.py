"""``lab shell``: talk to a running system by hand, the same words over all four middlewares."""

import argparse
import cmd
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property

from lab.bootstrap import on_a_terminal
from lab.contract import Application, Architecture, InsultFilter, InsultService, Subscription, Target
from lab.errors import Code, LabError
from lab.middleware import MIDDLEWARES, VARIANTS_HELP, middleware_name
from lab.options import Parser, interval, namespace
from lab.process.node import print_ticks
from lab.settings import settings
from lab.validation import clean_deadline

RESULT_SECONDS = 5.0


def main(argv: list[str]) -> int:
    """Read commands from the terminal or standard input; return 1 if one of these failed."""
    parser = Parser(
        prog="python3 -m lab shell", description="Talk to a running system by hand; `help` lists the words."
    )
    parser.add_argument("middleware", type=middleware_name, metavar="MIDDLEWARE", help=VARIANTS_HELP)
    parser.add_argument("--address", default="", help="node, master, name server or broker; none: the usual")
    parser.add_argument(
        "--architecture",
        type=Architecture,
        choices=list(Architecture),
        default=Architecture.ONE_NODE,
        help="that of the system (default one-node)",
    )
    parser.add_argument(
        "--namespace", type=namespace, default=settings().namespace, help="that of the system"
    )
    parser.add_argument("--deadline", type=interval, default=5.0, metavar="TIME", help="per call (5s)")
    options = parser.parse_args(argv)
    clean_deadline(options.deadline)
    with Shell(options) as shell:
        shell.cmdloop()
    return 1 if shell.failed and not on_a_terminal() else 0


class Shell(cmd.Cmd):
    """The words. A client is connected when it is first needed, for either application."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self._options = options
        self._middleware = MIDDLEWARES[options.middleware]
        self._open = ExitStack()
        self._subscription: Subscription | None = None
        self.failed = False
        is_terminal = on_a_terminal()
        self.prompt = f"{self._middleware.label}> " if is_terminal else ""
        self.intro = "help lists the words, quit ends" if is_terminal else None

    def __enter__(self) -> "Shell":
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    @cached_property
    def service(self) -> InsultService:
        """A client of the InsultService."""
        target = self._target(Application.SERVICE)
        return self._open.enter_context(self._middleware.service_client(target, self._options.deadline))

    @cached_property
    def filter(self) -> InsultFilter:
        """A client of the InsultFilter."""
        target = self._target(Application.FILTER)
        return self._open.enter_context(self._middleware.filter_client(target, self._options.deadline))

    def do_add(self, insult: str) -> None:
        """add INSULT: store it"""
        self._say(lambda: "stored" if self.service.add_insult(insult) else "it was there already")

    def do_remove(self, insult: str) -> None:
        """remove INSULT: forget it"""
        self._say(lambda: "removed" if self.service.remove_insult(insult) else "it was not there")

    def do_list(self, after: str) -> None:
        """list [AFTER]: up to 1,000 stored insults, those behind AFTER"""
        self._say(lambda: "\n".join(self.service.get_insults(after)) or "no more")

    def do_insult(self, _: str) -> None:
        """insult: a random one"""
        self._say(lambda: self.service.insult_me())

    def do_start(self, _: str) -> None:
        """start: let the broadcast run"""
        self._say(lambda: "started" if self.service.start_broadcast() else "it was on already")

    def do_stop(self, _: str) -> None:
        """stop: stop the broadcast"""
        self._say(lambda: "stopped" if self.service.stop_broadcast() else "it was off already")

    def do_subscribe(self, _: str) -> None:
        """subscribe: print what is broadcast, until `unsubscribe`"""
        self._say(self._subscribe)

    def do_unsubscribe(self, _: str) -> None:
        """unsubscribe: leave the broadcast"""
        self._say(self._unsubscribe)

    def do_filter(self, text: str) -> None:
        """filter TEXT: the text with every insult CENSORED"""
        self._say(lambda: self.filter.filter(text))

    def do_submit(self, text: str) -> None:
        """submit TEXT: put it on the work queue; prints its id"""
        self._say(lambda: self.filter.submit(text))

    def do_result(self, petition_id: str) -> None:
        """result ID: the result of a submitted text"""
        self._say(lambda: self.filter.result(petition_id, RESULT_SECONDS))

    def do_results(self, _: str) -> None:
        """results: the newest results"""
        self._say(lambda: "\n".join(f"{id_}  {text}" for id_, text in self.filter.get_results()) or "none")

    def do_resolve(self, _: str) -> None:
        """resolve: filter the oldest waiting text now"""
        self._say(lambda: self.filter.resolve() or "none waits")

    def do_quit(self, _: str) -> bool:
        """quit: end the shell (so does Ctrl-D)"""
        return True

    do_EOF = do_quit  # noqa: N815 (the name that cmd gives the end of the input)

    def get_names(self) -> list[str]:
        """Return the names of the methods, for `help`: without the end of the input."""
        return [name for name in super().get_names() if name != "do_EOF"]

    def precmd(self, line: str) -> str:
        """Refuse a line that is not text, before a word reads it."""
        if line.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in line):
            return line
        self._fail(f"{Code.BAD_ENCODING}: this line is not {sys.stdin.encoding}")
        return ""

    def emptyline(self) -> bool:
        """Do nothing: cmd would repeat the last word."""
        return False

    def default(self, line: str) -> None:
        """Answer an unknown word."""
        self._fail(f"no word {line.split()[0]!r}; `help` lists them")

    def _target(self, application: Application) -> Target:
        architecture = self._options.architecture
        usual = self._options.address or self._middleware.default_address(architecture, application)
        return Target(usual, architecture, self._options.namespace)

    def _say(self, act: Callable[[], str]) -> None:
        try:
            print(act(), flush=True)
        except LabError as error:
            self._fail(f"{error.code}: {error}")

    def _fail(self, message: str) -> None:
        self.failed = True
        print(message, file=sys.stderr, flush=True)

    def _subscribe(self) -> str:
        if self._subscription:
            return "subscribed already"
        self._subscription = self._open.enter_context(self.service.subscribe())
        threading.Thread(target=print_ticks, args=(self._subscription,), daemon=True).start()
        return "subscribed; ticks are printed as they come"

    def _unsubscribe(self) -> str:
        if not self._subscription:
            return "not subscribed"
        self._subscription.close()
        self._subscription = None
        return "left"
