"""From YAML text and `section.key=value` overrides to a checked configuration.

Every mistake becomes a `UserError` that names the key's path, the value and what is allowed.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml
from pydantic import BaseModel, ValidationError

from config import presets
from config.evaluation import EvaluationConfig
from config.schema import Config
from runtime.errors import UserError, one_line
from runtime.names import refuse_idle_pipe
from runtime.secrets import SecretAddress, mask_secrets

MAX_FILE_BYTES = 1 << 20
MAX_NODES = 20_000

Model = TypeVar("Model", bound=BaseModel)

# What other programs of this kind call the same things.
OTHER_NAMES = {
    "weight": "lambda",
    "kl_weight": "lambda",
    "tau": "temperature",
    "temp": "temperature",
    "temp_start": "temperature",
    "temp_end": "temperature_end",
    "curriculum_stages": "temperature_stages",
    "teacher_ckpt": "ckpt",
    "teacher_checkpoint": "ckpt",
    "epochs": "max_epoch",
    "lr": "learning_rate",
    "n_epochs": "max_epoch",
}


class Written(str):
    """A value as somebody wrote it after `--set key=`, where quotes and `null` are YAML's."""


class _Loader(yaml.SafeLoader):
    """Plain YAML that also refuses duplicate keys and aliases that would multiply."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise UserError(f"line {line}: the key {key.value!r} is given twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def load_config(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Loads a training configuration.

    `overrides` maps dotted paths to values, `{"training.seed": 1}`. A string stands for itself
    where the key holds text, and is read as YAML elsewhere. Without `path`, the schema's defaults.
    """
    tree = _read_with_base(path) if path is not None else {}
    overrides = overrides or {}
    if "distill.preset" in overrides:
        presets.replace(tree, overrides["distill.preset"])
    apply_overrides(tree, overrides, Config)
    distill = tree.get("distill")
    presets.fill_in(tree, distill.get("preset") if isinstance(distill, dict) else None)
    return validate(Config, tree, str(path) if path is not None else "the configuration")


def load_evaluation_config(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> EvaluationConfig:
    """Loads the configuration of the evaluation pipeline."""
    tree = _read_with_base(path) if path is not None else {}
    apply_overrides(tree, overrides or {}, EvaluationConfig)
    where = str(path) if path is not None else "the configuration"
    return validate(EvaluationConfig, tree, where)


def dump_config(config: BaseModel) -> str:
    """The resolved configuration as YAML that loads back to the same values."""
    tree = config.model_dump(mode="json", by_alias=True)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML mapping; anything else in the file is a `UserError`."""
    path = Path(path)
    try:
        refuse_idle_pipe(path)
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"The configuration {path} cannot be read: {error.strerror or error}."
        ) from error
    if len(raw) > MAX_FILE_BYTES:
        raise UserError(f"The configuration {path} is larger than 1 MiB; is it the right file?")
    try:
        text = raw.decode("utf-8")
        tree = _parse(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at {error.start}).") from error
    except Exception as error:  # a scalar with a tag can raise anything from its constructor
        raise UserError(f"{path} is not valid YAML: {one_line(error)}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UserError(f"{path} must hold sections (`name: ...`), not {type(tree).__name__}.")
    return tree


def _read_with_base(path: str | Path) -> dict[str, Any]:
    """The file's keys over those of the file beside it that its `extends` names, if it does."""
    tree = read_yaml(path)
    base_name = tree.pop("extends", None)
    if base_name is None:
        return tree
    if not isinstance(base_name, str):
        raise UserError(f"{path}: extends is {_show(base_name)}; it must name a file beside it.")
    try:
        base = read_yaml(Path(path).parent / base_name)
    except UserError as error:
        raise UserError(f"{path} extends {_show(base_name)}: {error}") from error
    if "extends" in base:
        raise UserError(f"{path}: {base_name} extends another file itself; name that one.")
    return _merged(base, tree)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `own`, section by section."""
    merged = dict(base)
    for key, value in own.items():
        below = base.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _parse(text: str) -> Any:
    loader = _Loader(text)
    root = loader.get_single_node()
    if root is None:
        return None
    if _expanded_size(root, {}) > MAX_NODES:
        raise UserError("the file is too deeply aliased or too large for a configuration")
    return loader.construct_document(root)


def _expanded_size(node: yaml.Node, memo: dict[int, int]) -> int:
    """How many nodes the document has once every alias is written out."""
    if id(node) in memo:
        return memo[id(node)]
    memo[id(node)] = MAX_NODES + 1  # an alias to an enclosing node never ends
    size = 1
    if isinstance(node, yaml.MappingNode):
        size += sum(
            _expanded_size(key, memo) + _expanded_size(val, memo) for key, val in node.value
        )
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_expanded_size(item, memo) for item in node.value)
    memo[id(node)] = min(size, MAX_NODES + 1)
    return memo[id(node)]


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """`["training.seed=1"]` as overrides; used by every program's `--set`."""
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        path, separator, value = assignment.partition("=")
        if not separator or not path.strip():
            raise UserError(f"--set {assignment!r} is not of the form section.key=value.")
        overrides[path.strip()] = Written(value)
    return overrides


def apply_overrides(tree: dict[str, Any], overrides: Mapping[str, Any], model: type) -> None:
    """Writes `overrides` into `tree`, refusing paths that the schema does not have."""
    for path, value in overrides.items():
        annotation = _annotation_at(path, model)
        if isinstance(value, str):
            value = _read_text(path, value, annotation)
        *parents, leaf = path.split(".")
        section = tree
        for name in parents:
            below = section.get(name)
            if not isinstance(below, dict):
                section[name] = {"kind": below} if isinstance(below, str) else {}
            section = section[name]
        section[leaf] = value


def _read_text(path: str, text: str, annotation: Any) -> Any:
    """The value that a string stands for: itself where the key holds text, else YAML."""
    is_union = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is Union
    options = typing.get_args(annotation) if is_union else (annotation,)
    if str in options or SecretAddress in options:
        written = isinstance(text, Written)
        quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
        if written and type(None) in options and text in ("", "null", "~"):
            return None
        if not (written and quoted):
            return str(text)
    if any(
        typing.get_origin(each) is Literal and text in typing.get_args(each) for each in options
    ):
        return str(text)  # a choice by its name, also where YAML knows the word, as it does `off`
    try:
        return _parse(text)
    except Exception as error:  # a scalar with a tag can raise anything from its constructor
        raise UserError(f"{path}={_show(str(text))} is not a YAML value.") from error


def _annotation_at(path: str, model: type) -> Any:
    """The type of the key at a dotted path; a `UserError` where the schema has no such key."""
    current: type | None = model
    annotation: Any = model
    walked: list[str] = []
    for name in path.split("."):
        annotations = dict(_annotations(current))
        if name not in annotations:
            where = ".".join([*walked, name])
            hint = _suggest(name, list(annotations))
            raise UserError(f"{where} is not a configuration key{hint}.")
        annotation = annotations[name]
        current = _section_of(annotation)
        walked.append(name)
    return annotation


def _annotations(model: type | None) -> Iterator[tuple[str, Any]]:
    """The keys of a section as a user writes them, with the type of each."""
    if model is None or not issubclass(model, BaseModel):
        return
    for name, field in model.model_fields.items():
        yield field.alias or name, field.annotation


def _fields(model: type | None) -> Iterator[tuple[str, type | None]]:
    """The keys of a section as a user writes them, with the section below each, if any."""
    for name, annotation in _annotations(model):
        yield name, _section_of(annotation)


def _section_of(annotation: Any) -> type | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is Union:
        for option in typing.get_args(annotation):
            found = _section_of(option)
            if found is not None:
                return found
    return None


def _suggest(name: str, allowed: list[str]) -> str:
    meant = OTHER_NAMES.get(name.lower().removeprefix("distill_"))
    if meant in allowed:
        return f"; here it is called {meant!r}"
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; allowed here: {', '.join(sorted(allowed))}" if allowed else "; nothing is below it"


def validate(model: type[Model], tree: dict[str, Any], where: str) -> Model:
    """Checks `tree` against the schema; the first mistake becomes the error, the rest a count."""
    try:
        _refuse_booleans(model, tree, "")
        return model.model_validate(tree)
    except ValidationError as error:
        problems: dict[str, list[Any]] = {}
        for problem in error.errors():
            problems.setdefault(".".join(_location(model, problem)), []).append(problem)
        text = _describe(model, next(iter(problems.values())))
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{where}: {text}{more}") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except RecursionError as error:
        raise UserError(f"{where} is nested too deeply.") from error


def _refuse_booleans(model: type, tree: Any, path: str) -> None:
    """`true` is no number, though Python would take it for 1."""
    if not isinstance(tree, dict) or not issubclass(model, BaseModel):
        return
    for field_name, field in model.model_fields.items():
        name = field.alias or field_name
        section = _section_of(field.annotation)
        if section is not None:
            _refuse_booleans(section, tree.get(name), f"{path}{name}.")
        elif isinstance(tree.get(name), bool) and field.annotation is not bool:
            value = str(tree[name]).lower()
            raise UserError(f"{path}{name} is {value}; it must not be true or false.")


def _location(model: type[BaseModel], problem: Any) -> list[str]:
    return _without_union_tags(model, [part for part in problem["loc"] if isinstance(part, str)])


def _describe(model: type[BaseModel], problems: list[Any]) -> str:
    """One sentence for the problems of one key; a union's branches each name what they allow."""
    problem = problems[0]
    location = _location(model, problem)
    path = ".".join(location) or "the configuration"
    value = problem.get("input")
    if problem["type"] == "extra_forbidden":
        section: type | None = model
        for name in location[:-1]:
            section = dict(_fields(section)).get(name)
        allowed = [name for name, _ in _fields(section)]
        return f"{path} is not a configuration key{_suggest(location[-1], allowed)}."
    if problem["type"] == "value_error":
        prefix = f"{path}: " if location else ""
        return f"{prefix}{problem['msg'].removeprefix('Value error, ')}."
    if problem["type"] == "missing":
        return f"{path} is missing; it is required."
    allowed_texts = list(dict.fromkeys(_allowed(each) for each in problems))
    return f"{path} is {_show(value)}; {', or '.join(allowed_texts)}."


def _without_union_tags(model: type[BaseModel], location: list[str]) -> list[str]:
    """Drops the names pydantic adds for the branches of a union ("literal['full']", "int")."""
    kept: list[str] = []
    section: type | None = model
    for index, name in enumerate(location):
        fields = dict(_fields(section))
        unknown_key = section is not None and index in (0, len(location) - 1)
        if name in fields or unknown_key:
            kept.append(name)
            section = fields.get(name)
    return kept


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes out no number of more than 4300 digits
        return "a number of thousands of digits"
    text = mask_secrets(text)
    return text if len(text) <= 60 else text[:57] + "..."


def _allowed(problem: Any) -> str:
    context = problem.get("ctx") or {}
    kind = problem["type"]
    limits = {
        "greater_than": ("must be greater than", "gt"),
        "greater_than_equal": ("must be at least", "ge"),
        "less_than": ("must be less than", "lt"),
        "less_than_equal": ("must be at most", "le"),
    }
    if kind in limits:
        text, key = limits[kind]
        return f"it {text} {context[key]}"
    if kind == "literal_error":
        return f"allowed: {context['expected']}"
    names = {
        "string_pattern_mismatch": "a function of yours, FILE.py:FUNCTION",
        "int_type": "a whole number",
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "float_parsing": "a number",
        "finite_number": "a finite number",
        "bool_type": "true or false",
        "bool_parsing": "true or false",
        "string_type": "a text",
        "list_type": "a list",
        "model_type": "a section with keys",
    }
    if kind in names:
        return f"it must be {names[kind]}"
    return str(problem["msg"])[0].lower() + str(problem["msg"])[1:]
