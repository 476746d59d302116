"""The command-line arguments that choose and override a configuration, alike in every program."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from config.choices import OnBadRows
from config.finding import find_config
from config.loading import parse_assignments
from config.schema import Config
from runtime.errors import UserError
from runtime.names import is_idle_pipe
from runtime.secrets import mask_secrets

_NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?(,.*)?\Z", re.IGNORECASE | re.DOTALL)
MOST, MOST_SEED = 1_000_000_000, 2**63 - 1


def add_bad_rows_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --on_bad_rows, which says what a program does with trips that cannot be."""
    parser.add_argument(
        "--on_bad_rows", choices=get_args(OnBadRows), default="error", help="bad trips"
    )


class Parser(argparse.ArgumentParser):
    """A parser to which dashes and underscores in a flag's name are alike.

    Its errors are one line, like every other mistake of a user's. What begins with a negative
    number, as a box west of Greenwich, is a value and no flag.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = _NEGATIVE

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses with every flag spelled as it was declared."""
        words = list(sys.argv[1:] if args is None else args)
        declared = {name.replace("_", "-"): name for name in self._option_string_actions}
        flags = words.index("--") if "--" in words else len(words)
        for place, word in enumerate(words[:flags]):
            name, separator, value = word.partition("=")
            known = declared.get(name.replace("_", "-"))
            if name.startswith("--") and known is not None:
                words[place] = f"{known}{separator}{value}"
        parsed = super().parse_known_args(words, namespace)
        self._refuse_pipes(parsed[0])
        self._refuse_numbers(parsed[0])
        if args is None:  # the experiment tracker writes down how the program was called
            sys.argv[1:] = [mask_secrets(word) for word in sys.argv[1:]]
        return parsed

    def _refuse_pipes(self, arguments: argparse.Namespace) -> None:
        """A pipe that nobody writes to would be waited for without a word, for ever."""
        for name, _, value in self._given(arguments):
            if isinstance(value, str | Path) and is_idle_pipe(value):
                self.error(f"{name} is {str(value)!r}, a pipe; give a file or a folder")

    def _refuse_numbers(self, arguments: argparse.Namespace) -> None:
        """No count of ours is negative, or larger than any machine could serve; nothing is NaN."""
        for name, kind, value in self._given(arguments):
            if kind is float and isinstance(value, float) and math.isnan(value):
                self.error(f"{name} is {value}; expected a number")
            most = MOST_SEED if name == "--seed" else MOST
            if kind is int and isinstance(value, int) and not 0 <= value <= most:
                self.error(f"{name} is {value}; expected a whole number from 0 to {most:,}")

    def _given(self, arguments: argparse.Namespace) -> Iterator[tuple[str, Any, Any]]:
        """Name, type and value of each argument, one by one where there are several."""
        for action in self._actions:
            value = getattr(arguments, action.dest, None)
            name = action.option_strings[0] if action.option_strings else action.dest
            for each in value if isinstance(value, list) else [value]:
                yield name, action.type, each

    def error(self, message: str) -> Any:
        raise UserError(f"{message}; see {self.prog} --help.")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples' line breaks and names the defaults that are worth knowing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, default = action.help or "", action.default
        silent = default in (None, "", argparse.SUPPRESS) or isinstance(default, bool | list)
        silent = silent or "default" in text
        return text if silent or not action.option_strings else f"{text} (default: %(default)s)"


def example_parser(description: str, examples: str, prog: str | None = None) -> Parser:
    """A parser that shows examples, line breaks kept, below its options."""
    return Parser(
        prog=prog,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=HelpFormatter,
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --dataset, --config, --data_dir, --seed, --cuda, --device and --set."""
    group = parser.add_argument_group("configuration")
    group.add_argument("--dataset", help="the city's name; default: demo")
    group.add_argument("--config", help="YAML file; default: config/<dataset>.yaml")
    group.add_argument("--data_dir", help="dataset folder (roadmap.geo, train.csv, ...)")
    group.add_argument("--seed", type=int, help="seed of everything random")
    group.add_argument("--cuda", type=int, metavar="N", help="GPU to use")
    group.add_argument("--device", help="cpu, cuda or cuda:N; default: a GPU where there is one")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a configuration key; may be given several times",
    )


def config_from_arguments(
    arguments: argparse.Namespace, own: Mapping[str, Any] | None = None
) -> Config:
    """The configuration that the arguments of `add_config_arguments` describe.

    `own` are the values of a program's own arguments, by their keys; those that are None were
    not given.
    """
    overrides = parse_assignments(arguments.set)
    overrides |= {key: value for key, value in (own or {}).items() if value is not None}
    if arguments.seed is not None:
        overrides["training.seed"] = arguments.seed
    if arguments.cuda is not None:
        if arguments.device is not None and not arguments.device.startswith("cuda"):
            raise UserError(
                f"--cuda {arguments.cuda} and --device {arguments.device} contradict each other."
            )
        overrides["training.device"] = f"cuda:{arguments.cuda}"
    elif arguments.device is not None:
        overrides["training.device"] = arguments.device
    return find_config(arguments.config, arguments.dataset, arguments.data_dir, overrides)
