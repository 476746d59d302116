"""Flags: how they may be spelled, alike in every program."""

from __future__ import annotations

import pytest

from config.arguments import Parser
from runtime.errors import UserError


@pytest.fixture
def parser() -> Parser:
    parser = Parser(prog="program")
    parser.add_argument("--num_gene", type=int)
    group = parser.add_argument_group("more")
    group.add_argument("--skip-eval", action="store_true")
    group.add_argument("--set", action="append", default=[])
    return parser


@pytest.mark.parametrize(
    "words", [["--num_gene", "7"], ["--num-gene", "7"], ["--num-gene=7"], ["--num_gene=7"]]
)
@pytest.mark.parametrize("flag", ["--skip-eval", "--skip_eval"])
def test_dashes_and_underscores_are_alike(parser: Parser, words: list[str], flag: str) -> None:
    found = parser.parse_args([*words, flag])
    assert (found.num_gene, found.skip_eval) == (7, True)


def test_values_are_left_alone(parser: Parser) -> None:
    assert parser.parse_args(["--set", "a-b=c_d", "--set=x_y=--z-z"]).set == [
        "a-b=c_d",
        "x_y=--z-z",
    ]


def test_unknown_flags_stay_errors(parser: Parser) -> None:
    with pytest.raises(UserError, match="--num-genes"):
        parser.parse_args(["--num-genes", "7"])
