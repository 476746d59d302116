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


@pytest.mark.parametrize("value", ["-8.7,41.1,-8.5,41.2", "-8", "-.5", "-1e-3", "-8.7,west"])
@pytest.mark.parametrize("joined", [True, False])
def test_what_begins_with_a_negative_number_is_a_value(
    parser: Parser, value: str, joined: bool
) -> None:
    parser.add_argument("--bbox")
    words = [f"--bbox={value}"] if joined else ["--bbox", value]
    assert parser.parse_args([*words, "--skip-eval"]).bbox == value


@pytest.mark.parametrize("flag", ["-8x", "-x", "-", "-8.5-2"])
def test_other_words_with_a_dash_stay_no_values(parser: Parser, flag: str) -> None:
    parser.add_argument("--bbox", nargs="?")
    with pytest.raises(UserError, match="unrecognized arguments"):
        parser.parse_args(["--skip-eval", flag])
